// SPDX-License-Identifier: Apache-2.0
// json_out.c: JSON text (RFC 8259), written directly: the names are ours and
// most values are base64url, so no tree is built on the way.
#include "base/json_out.h"

#include "base/clock.h"
#include "base/text.h"

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
    struct kd_bytes left = kd_bytes_of_text(text);
    kd_buf_u8(out, '"');
    while (left.n > 0) {
        const uint8_t *p = left.p;
        size_t n = 0; // plain characters
        while (n < left.n && p[n] >= 0x20 && p[n] < 0x7f && p[n] != '"' && p[n] != '\\') {
            n++;
        }
        if (n == 0 && *p >= 0x80) {
            n = kd_utf8_length(left);
        }
        if (n > 0) {
            kd_buf_put(out, p, n);
        } else if (*p < 0x80) {
            put_escaped(out, *p);
        } else {
            kd_buf_text(out, "\\ufffd");
        }
        n = n == 0 ? 1 : n;
        left = (struct kd_bytes) { p + n, left.n - n };
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
