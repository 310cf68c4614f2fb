// SPDX-License-Identifier: Apache-2.0
// log.c: one line an event, written with one call.
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static const char *const level_names[] = {
    [KD_LOG_ERROR] = "error",
    [KD_LOG_WARN] = "warn",
    [KD_LOG_INFO] = "info",
    [KD_LOG_DEBUG] = "debug",
};

static _Atomic enum kd_log_level threshold = KD_LOG_INFO;

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

    char now[KD_CLOCK_TEXT_BYTES];
    kd_clock_format(kd_clock_wall_ms(), now);
    char line[LINE_MAX_BYTES];
    size_t n = (size_t)snprintf(line, 128, "%s %s %.64s ", now, level_names[level], subsystem);
    n = put_escaped(line, n, what);
    if (values[0] != '\0') {
        n = put_escaped(line, n, "; ");
        n = put_escaped(line, n, values);
    }
    line[n++] = '\n';
    // A log that cannot be written must not stop the service.
    ssize_t written KD_UNUSED = write(STDERR_FILENO, line, n);
}
