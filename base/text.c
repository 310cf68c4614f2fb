// SPDX-License-Identifier: Apache-2.0
// text.c: base64url, hex, names, patterns, numbers.
#include "base/text.h"

#include <string.h>

static const char b64_digits[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_digits[16] = "0123456789abcdef";

// ---- base64url -------------------------------------------------------------

void kd_b64_encode(struct kd_buf *out, struct kd_bytes in) {
    uint8_t *at = in.n == 0 ? NULL : kd_buf_extend(out, KD_B64_LEN(in.n));
    if (at == NULL) {
        return;
    }
    const uint8_t *p = in.p;
    size_t left = in.n;
    for (; left >= 3; left -= 3, p += 3) {
        const uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *at++ = (uint8_t)b64_digits[v >> 18];
        *at++ = (uint8_t)b64_digits[v >> 12 & 63];
        *at++ = (uint8_t)b64_digits[v >> 6 & 63];
        *at++ = (uint8_t)b64_digits[v & 63];
    }
    if (left > 0) {
        const uint32_t v = (uint32_t)p[0] << 16 | (left == 2 ? (uint32_t)p[1] << 8 : 0);
        *at++ = (uint8_t)b64_digits[v >> 18];
        *at++ = (uint8_t)b64_digits[v >> 12 & 63];
        if (left == 2) {
            *at++ = (uint8_t)b64_digits[v >> 6 & 63];
        }
    }
}

// The value of a digit, or 64.  Arithmetic instead of a table: what is decoded
// may be a plaintext, and a table would leave traces of it in the cache.
static uint32_t b64_value(uint8_t c) {
    uint32_t v = 64;
    v = c >= 'A' && c <= 'Z' ? (uint32_t)(c - 'A') : v;
    v = c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a' + 26) : v;
    v = c >= '0' && c <= '9' ? (uint32_t)(c - '0' + 52) : v;
    v = c == '-' ? 62 : v;
    v = c == '_' ? 63 : v;
    return v;
}

enum kd_err kd_b64_decode(struct kd_bytes text, struct kd_buf *out) {
    const size_t rest = text.n % 4;
    if (rest == 1) {
        return KD_ERR_BAD_BASE64;
    }
    if (text.n == 0) {
        return KD_OK;
    }
    const size_t start = out->n;
    uint8_t *at = kd_buf_extend(out, text.n / 4 * 3 + (rest == 0 ? 0 : rest - 1));
    if (at == NULL) {
        return KD_OK; // kd_buf_finish says why
    }
    uint32_t bad = 0;
    const uint8_t *p = text.p;
    for (size_t i = 0; i < text.n / 4; i++, p += 4) {
        const uint32_t a = b64_value(p[0]), b = b64_value(p[1]);
        const uint32_t c = b64_value(p[2]), d = b64_value(p[3]);
        bad |= (a | b | c | d) & 64;
        const uint32_t v = a << 18 | b << 12 | c << 6 | d;
        *at++ = (uint8_t)(v >> 16);
        *at++ = (uint8_t)(v >> 8);
        *at++ = (uint8_t)v;
    }
    if (rest != 0) {
        const uint32_t a = b64_value(p[0]), b = b64_value(p[1]);
        const uint32_t c = rest == 3 ? b64_value(p[2]) : 0;
        bad |= (a | b | c) & 64;
        // RFC 4648 3.5: bits that stand for nothing must be zero.
        bad |= rest == 2 ? b & 15 : c & 3;
        *at++ = (uint8_t)(a << 2 | b >> 4);
        if (rest == 3) {
            *at++ = (uint8_t)(b << 4 | c >> 2);
        }
    }
    if (bad != 0) {
        out->n = start;
        return KD_ERR_BAD_BASE64;
    }
    return KD_OK;
}

// ---- hex -------------------------------------------------------------------

void kd_hex_encode(const uint8_t *in, size_t n, char *out) {
    for (size_t i = 0; i < n; i++) {
        *out++ = hex_digits[in[i] >> 4];
        *out++ = hex_digits[in[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum kd_err kd_hex_decode(const char *text, uint8_t *out, size_t n) {
    if (strlen(text) != 2 * n) {
        return KD_ERR_FIELD_INVALID;
    }
    for (size_t i = 0; i < 2 * n; i++) {
        if (hex_value(text[i]) < 0) {
            return KD_ERR_FIELD_INVALID;
        }
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
    }
    return KD_OK;
}

// ---- names, patterns, numbers ----------------------------------------------

static bool is_letter_or_digit(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool kd_name_is_valid(struct kd_bytes name) {
    if (name.n == 0 || name.n > KD_NAME_MAX_BYTES || !is_letter_or_digit(name.p[0])) {
        return false;
    }
    for (size_t i = 1; i < name.n; i++) {
        const uint8_t c = name.p[i];
        if (!is_letter_or_digit(c) && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return true;
}

// Linear in the text for each star: on a mismatch only the last star's run
// grows, earlier ones never need to.
bool kd_glob_match(const char *pattern, const char *text) {
    const char *star = NULL;
    const char *resume = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern != '\0' && (*pattern == '?' || *pattern == *text)) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

enum kd_err kd_number_parse(const char *text, uint64_t low, uint64_t high, uint64_t *out) {
    uint64_t v = 0;
    if (*text == '\0' || (text[0] == '0' && text[1] != '\0')) {
        return KD_ERR_FIELD_INVALID;
    }
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v)) {
            return KD_ERR_FIELD_INVALID;
        }
    }
    if (v < low || v > high) {
        return KD_ERR_FIELD_INVALID;
    }
    *out = v;
    return KD_OK;
}
