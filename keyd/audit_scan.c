// SPDX-License-Identifier: Apache-2.0
// audit_scan.c: reads the audit log at the start: where its chain is, what was asked and not
// answered, and whether the last line is whole.  Members are found by their text: in what
// keyd writes, a quote within a value is escaped.
#include "keyd/audit_scan.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 16 };

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
