// SPDX-License-Identifier: Apache-2.0
// text.c: base64url, hex, names, patterns, numbers.
#include "base/text.h"

#include "base/secret.h"

#include <endian.h>
#include <string.h>
#include <strings.h>

static const char hex_digits[16] = "0123456789abcdef";

// ---- base64url -------------------------------------------------------------

// What is coded may be a plaintext: a table would leave traces of it in the cache,
// and branches in the time.  So eight digits at once are computed, each in a byte of
// one number, the first in the highest; no byte carries into the next.
enum { DIGITS = 8, BYTES = 6 };

static uint64_t all(uint8_t v) {
    return v * UINT64_C(0x0101010101010101);
}

// 0xff in each byte of x (all under 0x80) that is at least `low`.
static uint64_t at_least(uint64_t x, uint8_t low) {
    const uint64_t high_bits = all(0x80);
    return (((x | high_bits) - all(low)) & high_bits) / 0x80 * 0xff;
}

static uint64_t in_range(uint64_t x, uint8_t low, uint8_t high) {
    return at_least(x, low) & ~at_least(x, (uint8_t)(high + 1));
}

static uint64_t digits_of(uint64_t values) {
    return values + all('A') + (at_least(values, 26) & all('a' - 26 - 'A')) -
           (at_least(values, 52) & all('a' - 26 - '0' + 52)) -
           (at_least(values, 62) & all('0' + 62 - 52 - '-')) +
           (at_least(values, 63) & all('_' - '-' - 1));
}

// What is not a digit sets *bad.
static uint64_t values_of(uint64_t digits, uint64_t *bad) {
    const uint64_t x = digits & all(0x7f);
    const uint64_t upper = in_range(x, 'A', 'Z'), lower = in_range(x, 'a', 'z');
    const uint64_t number = in_range(x, '0', '9');
    const uint64_t minus = in_range(x, '-', '-'), line = in_range(x, '_', '_');
    const uint64_t good = upper | lower | number | minus | line;
    *bad |= ~good | (digits & all(0x80));
    return (x & good) - (upper & all('A')) - (lower & all('a' - 26)) + (number & all(52 - '0')) +
           (minus & all(62 - '-')) - (line & all('_' - 63));
}

// From 48 bits to six in each byte, and back.
static uint64_t spread(uint64_t v) {
    v = (v & UINT64_C(0xffffff000000)) << 8 | (v & 0xffffff);
    v = (v & UINT64_C(0x00fff00000fff000)) << 4 | (v & UINT64_C(0x00000fff00000fff));
    return (v & UINT64_C(0x0fc00fc00fc00fc0)) << 2 | (v & UINT64_C(0x003f003f003f003f));
}

static uint64_t gather(uint64_t v) {
    v = (v & UINT64_C(0x3f003f003f003f00)) >> 2 | (v & UINT64_C(0x003f003f003f003f));
    v = (v & UINT64_C(0x0fff00000fff0000)) >> 4 | (v & UINT64_C(0x00000fff00000fff));
    return (v & UINT64_C(0x00ffffff00000000)) >> 8 | (v & 0xffffff);
}

static uint64_t load(const uint8_t p[DIGITS]) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

static void store(uint64_t v, uint8_t p[DIGITS]) {
    v = htobe64(v);
    memcpy(p, &v, sizeof(v));
}

static void encode_some(const uint8_t bytes[DIGITS], uint8_t digits[DIGITS]) {
    store(digits_of(spread(load(bytes) >> 16)), digits);
}

void kd_b64_encode(struct kd_buf *out, struct kd_bytes in) {
    uint8_t *at = in.n == 0 ? NULL : kd_buf_extend(out, KD_B64_LEN(in.n));
    if (at == NULL) {
        return;
    }
    const uint8_t *p = in.p;
    size_t left = in.n;
    for (; left >= DIGITS; left -= BYTES, p += BYTES, at += DIGITS) { // two too many are read
        encode_some(p, at);
    }
    uint8_t bytes[DIGITS], digits[DIGITS];
    for (; left > 0; left -= left < BYTES ? left : BYTES, p += BYTES, at += DIGITS) {
        memset(bytes, 0, sizeof(bytes));
        memcpy(bytes, p, left < BYTES ? left : BYTES);
        encode_some(bytes, digits);
        memcpy(at, digits, left < BYTES ? KD_B64_LEN(left) : DIGITS);
    }
    kd_wipe(bytes, sizeof(bytes));
    kd_wipe(digits, sizeof(digits));
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
    const size_t n = text.n / 4 * 3 + (rest == 0 ? 0 : rest - 1);
    uint8_t *at = kd_buf_extend(out, n);
    if (at == NULL) {
        return KD_OK; // kd_buf_finish says why
    }
    uint64_t bad = 0;
    const uint8_t *p = text.p;
    uint8_t bytes[DIGITS], digits[DIGITS];
    size_t left = text.n;
    for (; left >= DIGITS; left -= DIGITS, p += DIGITS, at += BYTES) {
        store(gather(values_of(load(p), &bad)) << 16, bytes);
        memcpy(at, bytes, BYTES);
    }
    if (left > 0) {
        const size_t n_last = n % BYTES;
        memset(digits, 'A', sizeof(digits)); // 0
        memcpy(digits, p, left);
        store(gather(values_of(load(digits), &bad)) << 16, bytes);
        memcpy(at, bytes, n_last);
        // RFC 4648 3.5: bits that stand for nothing must be zero.
        bad |= bytes[n_last];
    }
    kd_wipe(bytes, sizeof(bytes));
    kd_wipe(digits, sizeof(digits));
    if (bad != 0) {
        out->n = start;
        return KD_ERR_BAD_BASE64;
    }
    return KD_OK;
}

// ---- UTF-8 -----------------------------------------------------------------

size_t kd_utf8_length(struct kd_bytes text) {
    const uint8_t *p = text.p;
    if (text.n == 0 || p[0] < 0x80) {
        return text.n == 0 ? 0 : 1;
    }
    const size_t n = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                     : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                     : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                    : 0;
    if (n == 0 || n > text.n) {
        return 0;
    }
    // Table 3-7 of Unicode: the second byte's range keeps out overlong forms and surrogates.
    const uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    bool is_good = p[1] >= low && p[1] <= high;
    for (size_t i = 2; i < n; i++) {
        is_good = is_good && (p[i] & 0xc0) == 0x80;
    }
    return is_good ? n : 0;
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

// Up to the end of a media type or of one of its parameters.
static bool begins_with(const char *text, const char *word) {
    const size_t n = strlen(word);
    if (strncasecmp(text, word, n) != 0) {
        return false;
    }
    const char end = text[n + strspn(text + n, " \t")];
    return end == '\0' || end == ';';
}

bool kd_media_type_is(const char *content_type, const char *type) {
    return content_type != NULL && begins_with(content_type, type);
}

bool kd_media_type_has(const char *content_type, const char *parameter) {
    const char *p = content_type == NULL ? NULL : strchr(content_type, ';');
    while (p != NULL && !begins_with(p + 1 + strspn(p + 1, " \t"), parameter)) {
        p = strchr(p + 1, ';');
    }
    return p != NULL;
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
