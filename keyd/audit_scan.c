// SPDX-License-Identifier: Apache-2.0
// audit_scan.c: reads the audit log at the start: where its chain is, what was asked and not
// answered, and whether the last line is whole.  Members are found by their text: in what
// keyd writes, a quote within a value is escaped.
#include "keyd/audit_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 16, PATH_BYTES = 1024 + 64 };

// The number behind the first `text` of the line; 0: it is not there.
static uint64_t number_behind(struct kd_bytes line, const char *text, struct kd_bytes *rest) {
    const size_t n = strlen(text);
    const uint8_t *at = line.n == 0 ? NULL : memmem(line.p, line.n, text, n);
    uint64_t v = 0;
    if (at == NULL) {
        return 0;
    }
    const uint8_t *p = at + n;
    const uint8_t *end = line.p + line.n;
    for (; p < end && *p >= '0' && *p <= '9' && v < UINT64_MAX / 10 - 1; p++) {
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *rest = (struct kd_bytes) { p, (size_t)(end - p) };
    return v;
}

static void note_open(struct kd_audit_scan *s, struct kd_bytes text, uint64_t seq) {
    static const char asked[] = "\"phase\":\"asked\"";
    struct kd_bytes rest = KD_BYTES_NONE;
    const bool is_asked = memmem(text.p, text.n, asked, sizeof(asked) - 1) != NULL;
    kd_audit_open_note(&s->open, is_asked ? seq : 0, number_behind(text, ",\"asked\":", &rest));
    uint64_t v = number_behind(text, "\"event\":\"audit.continue\",\"open\":[", &rest);
    for (; v != 0; v = rest.n > 0 && rest.p[0] == ',' ? number_behind(rest, ",", &rest) : 0) {
        kd_audit_open_note(&s->open, v, 0);
    }
}

// A line that keyd did not write has a number, too: the next.
static void take_line(struct kd_audit_scan *s, const struct kd_chain *known, struct kd_bytes text) {
    struct kd_chain_line line;
    s->n_lines++;
    s->size += text.n + 1;
    const bool is_line = kd_chain_read(text, &line) == KD_OK;
    const bool is_first = s->n_lines == 1;
    const bool follows = is_line && (is_first || kd_chain_check(&s->last, &line) == KD_CHAIN_GOOD);
    if (!follows && s->bad_line == 0) {
        s->bad_line = s->n_lines;
    }
    if (!is_line) {
        s->last.seq++;
        SHA256(text.p, text.n, s->last.head);
        return;
    }
    s->last = kd_chain_at(&line);
    s->first_seq = is_first ? line.seq : s->first_seq;
    const struct kd_bytes ours = { known->head, sizeof(known->head) };
    const struct kd_bytes theirs = { line.hash, sizeof(line.hash) };
    s->is_other = s->is_other || (line.seq == known->seq && !kd_bytes_equal(ours, theirs));
    note_open(s, text, line.seq);
    struct kd_bytes rest;
    s->n_seals += number_behind(text, "\"event\":\"audit.seal\",\"covers\":", &rest) > known->seq;
}

static void take_lines(struct kd_audit_scan *s, const struct kd_chain *known, struct kd_buf *text) {
    const uint8_t *p = text->p;
    size_t left = text->n;
    for (const uint8_t *end; left > 0 && (end = memchr(p, '\n', left)) != NULL; p = end + 1) {
        take_line(s, known, (struct kd_bytes) { p, (size_t)(end - p) });
        left -= (size_t)(end + 1 - p);
    }
    kd_buf_drop_front(text, text->n - left);
}

enum kd_err kd_audit_scan(int fd, const struct kd_chain *known, struct kd_audit_scan *out) {
    // Half a line may be any number of bytes, but keyd wrote none that long.
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(64u << 20);
    for (off_t at = 0;;) {
        uint8_t *room = kd_buf_extend(&text, PIECE_BYTES);
        if (room == NULL) {
            return kd_buf_finish(&text) == KD_ERR_NO_MEMORY ? KD_ERR_NO_MEMORY : KD_ERR_SYSTEM;
        }
        const ssize_t n = pread(fd, room, PIECE_BYTES, at);
        if (n < 0 && errno != EINTR) {
            return KD_ERR_SYSTEM;
        }
        text.n -= PIECE_BYTES - (size_t)(n < 0 ? 0 : n);
        if (n == 0) {
            break;
        }
        at += n < 0 ? 0 : n;
        take_lines(out, known, &text);
    }
    out->n_cut = text.n;
    return KD_OK;
}

// ---- files before this one -------------------------------------------------

// N of a file BASE.N; 0: it has another name.
static uint64_t number_of(const char *name, const char *base) {
    const size_t n = strlen(base);
    uint64_t v = 0;
    if (strncmp(name, base, n) != 0 || name[n] != '.' ||
        strlen(name + n + 1) < KD_AUDIT_NUMBER_DIGITS ||
        strspn(name + n + 1, "0123456789") != strlen(name + n + 1)) {
        return 0;
    }
    errno = 0;
    v = strtoull(name + n + 1, NULL, 10);
    return errno == 0 ? v : 0;
}

// The greatest N below this one of the files that are there; 0: none.
static uint64_t number_before(const char *path, uint64_t below) {
    char folder[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - path + 1),
             slash == NULL ? "." : path);
    DIR *d = opendir(folder);
    uint64_t found = 0;
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        const uint64_t n = number_of(e->d_name, base);
        found = n > found && n < below ? n : found;
    }
    if (d != NULL) {
        closedir(d);
    }
    return found;
}

static enum kd_err scan_one(const char *path, uint64_t number, const struct kd_chain *known,
                            struct kd_audit_scan *out) {
    char name[PATH_BYTES];
    struct stat st;
    snprintf(name, sizeof(name), "%s.%0*" PRIu64, path, KD_AUDIT_NUMBER_DIGITS, number);
    const int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const bool is_file = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    const enum kd_err r = is_file ? kd_audit_scan(fd, known, out) : KD_ERR_SYSTEM;
    if (fd >= 0) {
        close(fd);
    }
    if (r != KD_OK && r != KD_ERR_NO_MEMORY) {
        kd_log(KD_LOG_WARN, "audit", "an older file of the audit log cannot be read", "file=%s",
               name);
        return KD_OK;
    }
    return r;
}

enum kd_err kd_audit_scan_old(const char *path, const struct kd_chain *known,
                              struct kd_audit_scan *scan) {
    struct kd_audit_scan *old = malloc(sizeof(*old));
    enum kd_err r = old == NULL ? KD_ERR_NO_MEMORY : KD_OK;
    uint64_t first = scan->n_lines == 0 ? UINT64_MAX : scan->first_seq;
    for (int i = 0; r == KD_OK && i < KD_AUDIT_OLD_FILES_MAX && first > known->seq + 1 &&
                    scan->n_seals <= KD_AUDIT_SEALS_UNTOLD;
         i++) {
        if ((first = number_before(path, first)) == 0) {
            break;
        }
        *old = (struct kd_audit_scan) { 0 };
        r = scan_one(path, first, known, old);
        scan->n_seals += old->n_seals;
        scan->is_other = scan->is_other || old->is_other;
        if (scan->n_lines == 0 && i == 0 && old->n_lines > 0 && old->last.seq >= known->seq) {
            scan->last = old->last;
            scan->open = old->open;
        }
    }
    free(old);
    return r;
}
