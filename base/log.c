// SPDX-License-Identifier: Apache-2.0
// log.c: one line an event, written with one call.
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048, LIMIT_MS = 1000, UNSAID_MAX_BYTES = 32 };

static const char *const level_names[] = {
    [KD_LOG_ERROR] = "error",
    [KD_LOG_WARN] = "warn",
    [KD_LOG_INFO] = "info",
    [KD_LOG_DEBUG] = "debug",
};

// What the journal knows levels by (sd-daemon(3)).
static const char journal_levels[] = {
    [KD_LOG_ERROR] = '3',
    [KD_LOG_WARN] = '4',
    [KD_LOG_INFO] = '6',
    [KD_LOG_DEBUG] = '7',
};

static _Atomic enum kd_log_level threshold = KD_LOG_INFO;
static atomic_bool is_journal;

void kd_log_open(void) {
    const char *journal = getenv("JOURNAL_STREAM");
    struct stat st;
    char own[64] = "";
    if (fstat(STDERR_FILENO, &st) == 0) {
        snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    }
    is_journal = journal != NULL && strcmp(journal, own) == 0;
}

void kd_log_set_level(enum kd_log_level level) {
    threshold = level;
}

bool kd_log_level_parse(const char *text, enum kd_log_level *out) {
    for (size_t i = 0; i < KD_COUNT_OF(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum kd_log_level)i;
            return true;
        }
    }
    return false;
}

bool kd_log_is_on(enum kd_log_level level) {
    return level <= threshold;
}

// Appends text with all but ASCII's printable characters spelled out, so that it can neither
// begin a line nor talk to a terminal (U+009B does what ESC [ does) nor turn the reading round
// (U+202E); a full line loses its end.
static size_t put_escaped(char *line, size_t at, const char *text) {
    for (const char *p = text; *p != '\0' && at + 5 < LINE_MAX_BYTES; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c > 0x7e) {
            at += (size_t)snprintf(line + at, 5, "\\x%02x", c);
        } else {
            line[at++] = (char)c;
        }
    }
    return at;
}

static size_t put_head(char *line, enum kd_log_level level) {
    char now[KD_CLOCK_TEXT_BYTES];
    if (is_journal) {
        return (size_t)snprintf(line, LINE_MAX_BYTES, "<%c>", journal_levels[level]);
    }
    kd_clock_format(kd_clock_wall_ms(), now);
    return (size_t)snprintf(line, LINE_MAX_BYTES, "%s ", now);
}

static void write_line(enum kd_log_level level, const char *subsystem, const char *what,
                       const char *values) {
    char line[LINE_MAX_BYTES];
    size_t n = put_head(line, level);
    n += (size_t)snprintf(line + n, 128, "%s %.64s ", level_names[level], subsystem);
    n = put_escaped(line, n, what);
    if (values[0] != '\0') {
        n = put_escaped(line, n, "; ");
        n = put_escaped(line, n, values);
    }
    line[n++] = '\n';
    // A log that cannot be written must not stop the service.
    ssize_t written KD_UNUSED = write(STDERR_FILENO, line, n);
}

void kd_log(enum kd_log_level level, const char *subsystem, const char *what, const char *format,
            ...) {
    if (!kd_log_is_on(level)) {
        return;
    }
    char values[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(values, sizeof(values), format, args);
    va_end(args);
    write_line(level, subsystem, what, values);
}

bool kd_log_limited(struct kd_log_limit *limit, enum kd_log_level level, const char *subsystem,
                    const char *what, const char *format, ...) {
    const uint64_t now = kd_clock_mono_ms();
    const bool is_said = limit->said_ms == 0 || now - limit->said_ms >= LIMIT_MS;
    if (is_said ? kd_log_is_on(level) : kd_log_is_on(KD_LOG_DEBUG)) {
        char values[LINE_MAX_BYTES];
        const int room = sizeof(values) / 2; // a long value does not push out the number
        va_list args;
        va_start(args, format);
        const int n = vsnprintf(values, (size_t)room, format, args);
        va_end(args);
        if (is_said && limit->unsaid > 0 && n >= 0) {
            snprintf(values + (n < room ? n : room - 1), UNSAID_MAX_BYTES, " unsaid=%llu",
                     (unsigned long long)limit->unsaid);
        }
        write_line(is_said ? level : KD_LOG_DEBUG, subsystem, what, values);
    }
    *limit = is_said ? (struct kd_log_limit) { now, 0 }
                     : (struct kd_log_limit) { limit->said_ms, limit->unsaid + 1 };
    return is_said;
}
