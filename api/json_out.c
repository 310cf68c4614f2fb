// SPDX-License-Identifier: Apache-2.0
// json_out.c: JSON text (RFC 8259), written directly: the names are ours and
// most values are base64url, so no tree is built on the way.
#include "api/json_out.h"

#include <string.h>

// Length of the UTF-8 sequence at p (RFC 3629), 0 where it is none.
static size_t utf8_length(const uint8_t *p) {
    if (p[0] < 0x80) {
        return 1;
    }
    // Table 3-7 of Unicode: the second byte's range keeps out overlong forms and surrogates.
    const uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    const size_t n = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                     : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                     : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                    : 0;
    if (n == 0 || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) { // also the NUL that ends the text
            return 0;
        }
    }
    return n;
}

static void put_escaped(struct kd_buf *out, uint8_t c) {
    switch (c) {
    case '"':
        kd_buf_text(out, "\\\"");
        return;
    case '\\':
        kd_buf_text(out, "\\\\");
        return;
    case '\n':
        kd_buf_text(out, "\\n");
        return;
    default:
        kd_buf_printf(out, "\\u%04x", c);
        return;
    }
}

void kd_json_put_text(struct kd_buf *out, const char *text) {
    kd_buf_u8(out, '"');
    const uint8_t *p = (const uint8_t *)text;
    while (*p != '\0') {
        size_t run = 0; // plain characters
        while (p[run] >= 0x20 && p[run] < 0x7f && p[run] != '"' && p[run] != '\\') {
            run++;
        }
        kd_buf_put(out, p, run);
        p += run;
        if (*p == '\0') {
            break;
        }
        const size_t n = *p < 0x80 ? 0 : utf8_length(p);
        if (n > 0) {
            kd_buf_put(out, p, n);
            p += n;
        } else if (*p < 0x80) {
            put_escaped(out, *p++);
        } else {
            kd_buf_text(out, "\\ufffd");
            p++;
        }
    }
    kd_buf_u8(out, '"');
}

void kd_json_put_number(struct kd_buf *out, uint64_t n) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    kd_buf_put(out, digits + at, sizeof(digits) - at);
}

void kd_json_put_bool(struct kd_buf *out, bool b) {
    kd_buf_text(out, b ? "true" : "false");
}

void kd_json_put_bytes(struct kd_buf *out, struct kd_bytes b) {
    kd_buf_u8(out, '"');
    kd_b64_encode(out, b);
    kd_buf_u8(out, '"');
}

void kd_json_put_time(struct kd_buf *out, uint64_t wall_ms) {
    char text[KD_CLOCK_TEXT_BYTES];
    kd_clock_format(wall_ms, text);
    kd_buf_u8(out, '"');
    kd_buf_text(out, text);
    kd_buf_u8(out, '"');
}

void kd_json_element(struct kd_buf *out) {
    if (out->n > 0 && out->p[out->n - 1] != '[' && out->p[out->n - 1] != '{') {
        kd_buf_u8(out, ',');
    }
}

void kd_json_member(struct kd_buf *out, const char *name) {
    kd_json_element(out);
    kd_buf_u8(out, '"');
    kd_buf_text(out, name);
    kd_buf_text(out, "\":");
}
