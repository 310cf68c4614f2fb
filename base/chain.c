// SPDX-License-Identifier: Apache-2.0
// chain.c: the form of the audit log's lines, and what follows what.
#include "base/chain.h"

#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <string.h>

static const char seq_part[] = "{\"seq\":";
static const char prev_part[] = ",\"prev\":\"";
static const char time_part[] = "\",\"time\":\"";
static const char event_part[] = "\",\"event\":\"";

enum { SEQ_DIGITS_MAX = 20, HEX_BYTES = 2 * KD_CHAIN_HASH_BYTES };

// ---- writing ---------------------------------------------------------------

enum kd_err kd_chain_put(struct kd_chain *chain, uint64_t time_ms, struct kd_bytes members,
                         struct kd_buf *out) {
    char prev[HEX_BYTES + 1];
    char time[KD_CLOCK_TEXT_BYTES];
    uint8_t room[256];
    struct kd_buf head = KD_BUF_OVER(room);
    kd_hex_encode(chain->head, sizeof(chain->head), prev);
    kd_clock_format(time_ms, time);
    kd_buf_printf(&head, "%s%" PRIu64 "%s%s%s%s\",", seq_part, chain->seq + 1, prev_part, prev,
                  time_part, time);
    enum kd_err r = kd_buf_finish(&head);
    if (r != KD_OK || (r = kd_buf_finish(out)) != KD_OK) {
        return r;
    }
    const size_t n = head.n + members.n + 2;
    if (n > KD_CHAIN_LINE_MAX_BYTES || n > out->max - out->n) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    uint8_t *line = kd_buf_extend(out, n);
    if (line == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    memcpy(line, head.p, head.n);
    memcpy(line + head.n, members.p, members.n);
    line[n - 2] = '}';
    line[n - 1] = '\n';
    SHA256(line, n - 1, chain->head);
    chain->seq++;
    return KD_OK;
}

void kd_chain_put_text(struct kd_buf *members, const char *name, const char *text) {
    kd_buf_printf(members, "\"%s\":\"", name);
    for (const char *p = text; *p != '\0'; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
            kd_buf_printf(members, "\\u%04x", c);
        } else {
            kd_buf_u8(members, c);
        }
    }
    kd_buf_u8(members, '"');
}

void kd_chain_put_numbers(struct kd_buf *members, const char *name, const uint64_t *numbers,
                          size_t n) {
    kd_buf_printf(members, "\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        kd_buf_printf(members, "%s%" PRIu64, i == 0 ? "" : ",", numbers[i]);
    }
    kd_buf_u8(members, ']');
}

// ---- reading ---------------------------------------------------------------

static bool take_text(struct kd_bytes *at, const char *text) {
    const struct kd_bytes wanted = kd_bytes_of_text(text);
    if (at->n < wanted.n || !kd_bytes_equal((struct kd_bytes) { at->p, wanted.n }, wanted)) {
        return false;
    }
    *at = (struct kd_bytes) { at->p + wanted.n, at->n - wanted.n };
    return true;
}

// The next n bytes as a text; false where there are fewer, or one is NUL.
static bool take_some(struct kd_bytes *at, size_t n, char *out) {
    if (at->n < n || (n > 0 && memchr(at->p, '\0', n) != NULL)) {
        return false;
    }
    memcpy(out, at->p, n);
    out[n] = '\0';
    *at = (struct kd_bytes) { at->p + n, at->n - n };
    return true;
}

static bool take_seq(struct kd_bytes *at, uint64_t *out) {
    char digits[SEQ_DIGITS_MAX + 1];
    size_t n = 0;
    while (n < at->n && n < SEQ_DIGITS_MAX && at->p[n] >= '0' && at->p[n] <= '9') {
        n++;
    }
    return take_some(at, n, digits) && kd_number_parse(digits, 1, UINT64_MAX, out) == KD_OK;
}

static bool is_lower_hex(const char *text) {
    return text[strspn(text, "0123456789abcdef")] == '\0';
}

// Is it what kd_clock_format writes?
static bool is_time(const char *text) {
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        const bool is_digit = text[i] >= '0' && text[i] <= '9';
        if (form[i] == 'd' ? !is_digit : text[i] != form[i]) {
            return false;
        }
    }
    return true;
}

enum kd_err kd_chain_read(struct kd_bytes text, struct kd_chain_line *out) {
    struct kd_bytes at = text;
    struct kd_chain_line line;
    char prev[HEX_BYTES + 1];
    char time[KD_CLOCK_TEXT_BYTES];
    const bool is_good =
        text.n < KD_CHAIN_LINE_MAX_BYTES && take_text(&at, seq_part) && take_seq(&at, &line.seq) &&
        take_text(&at, prev_part) && take_some(&at, HEX_BYTES, prev) && is_lower_hex(prev) &&
        take_text(&at, time_part) && take_some(&at, KD_CLOCK_TEXT_BYTES - 1, time) &&
        is_time(time) && take_text(&at, event_part) && at.n > 1 && at.p[at.n - 1] == '}' &&
        kd_hex_decode(prev, line.prev, sizeof(line.prev)) == KD_OK;
    if (!is_good) {
        return KD_ERR_BAD_JSON;
    }
    SHA256(text.p, text.n, line.hash);
    *out = line;
    return KD_OK;
}

enum kd_chain_fault kd_chain_check(const struct kd_chain *before,
                                   const struct kd_chain_line *line) {
    if (line->seq <= before->seq) {
        return KD_CHAIN_BACK;
    }
    if (line->seq - before->seq > 1) {
        return KD_CHAIN_MISSING;
    }
    const struct kd_bytes named = { line->prev, sizeof(line->prev) };
    return kd_bytes_equal(named, (struct kd_bytes) { before->head, sizeof(before->head) })
               ? KD_CHAIN_GOOD
               : KD_CHAIN_CHANGED;
}

struct kd_chain kd_chain_at(const struct kd_chain_line *line) {
    struct kd_chain chain = { .seq = line->seq };
    memcpy(chain.head, line->hash, sizeof(chain.head));
    return chain;
}

void kd_chain_seal_input(const struct kd_chain *covered, uint8_t out[static KD_CHAIN_SEAL_BYTES]) {
    static const char purpose[] = "keyd audit seal"; // with its NUL
    memcpy(out, purpose, sizeof(purpose));
    for (size_t i = 0; i < 8; i++) {
        out[sizeof(purpose) + i] = (uint8_t)(covered->seq >> (56 - 8 * i));
    }
    memcpy(out + sizeof(purpose) + 8, covered->head, KD_CHAIN_HASH_BYTES);
}
