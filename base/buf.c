// SPDX-License-Identifier: Apache-2.0
// buf.c: the bounded writer and the reader.
#include "base/buf.h"
#include "base/secret.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_FIRST_BYTES = 256 };

struct kd_bytes kd_bytes_of_text(const char *text) {
    return (struct kd_bytes) { (const uint8_t *)text, strlen(text) };
}

bool kd_bytes_equal(struct kd_bytes a, struct kd_bytes b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool kd_size_add(size_t a, size_t b, size_t *out) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *out = sum;
    return true;
}

bool kd_size_mul(size_t a, size_t b, size_t *out) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *out = product;
    return true;
}

// ---- writer ----------------------------------------------------------------

void kd_buf_wipe(struct kd_buf *b) {
    if (b->p != NULL) {
        kd_wipe(b->p, b->cap);
        free(b->p);
    }
    *b = KD_BUF_INIT(b->max);
}

void kd_buf_reset(struct kd_buf *b) {
    b->n = 0;
    b->err = KD_OK;
}

KD_COLD static bool grow(struct kd_buf *b, size_t n) {
    size_t need;
    if (!kd_size_add(b->n, n, &need) || need > b->max) {
        b->err = KD_ERR_ITEM_TOO_LARGE;
        return false;
    }
    size_t cap = b->cap == 0 ? BUF_FIRST_BYTES : b->cap;
    while (cap < need) {
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    }
    cap = cap > b->max ? b->max : cap;
    uint8_t *p = malloc(cap); // realloc would leave what is here in freed memory
    if (p == NULL) {
        b->err = KD_ERR_NO_MEMORY;
        return false;
    }
    if (b->n > 0) {
        memcpy(p, b->p, b->n);
    }
    const size_t n_written = b->n;
    const size_t max = b->max;
    kd_buf_wipe(b);
    *b = (struct kd_buf) { .p = p, .n = n_written, .cap = cap, .max = max };
    return true;
}

// These two are told to be inline: libkeyd is made small, and every record comes here often.
// Makes room for n more bytes, without counting them.
static inline bool reserve(struct kd_buf *b, size_t n) {
    return b->err == KD_OK && (n <= b->cap - b->n || grow(b, n));
}

static inline uint8_t *extend(struct kd_buf *b, size_t n) {
    if (!reserve(b, n)) {
        return NULL;
    }
    uint8_t *at = b->p + b->n;
    b->n += n;
    return at;
}

uint8_t *kd_buf_extend(struct kd_buf *b, size_t n) {
    return extend(b, n);
}

void kd_buf_put(struct kd_buf *b, const void *p, size_t n) {
    if (n == 0) {
        return;
    }
    uint8_t *at = extend(b, n);
    if (at != NULL) {
        memcpy(at, p, n);
    }
}

static void put_number(struct kd_buf *b, uint64_t v, size_t n) {
    uint8_t *at = kd_buf_extend(b, n);
    for (size_t i = 0; at != NULL && i < n; i++) {
        at[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    }
}

void kd_buf_u8(struct kd_buf *b, uint8_t v) {
    uint8_t *at = extend(b, 1);
    if (at != NULL) {
        *at = v;
    }
}

void kd_buf_u16(struct kd_buf *b, uint16_t v) {
    put_number(b, v, 2);
}

void kd_buf_u32(struct kd_buf *b, uint32_t v) {
    put_number(b, v, 4);
}

void kd_buf_u64(struct kd_buf *b, uint64_t v) {
    put_number(b, v, 8);
}

void kd_buf_text(struct kd_buf *b, const char *text) {
    kd_buf_put(b, text, strlen(text));
}

void kd_buf_printf(struct kd_buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    // One byte more than counts: vsnprintf ends its text with NUL.
    if (n < 0 || !reserve(b, (size_t)n + 1)) {
        b->err = b->err == KD_OK ? KD_ERR_BUG : b->err;
        return;
    }
    va_start(args, format);
    vsnprintf((char *)b->p + b->n, (size_t)n + 1, format, args);
    va_end(args);
    b->n += (size_t)n;
}

static void put_block(struct kd_buf *b, struct kd_bytes v, size_t length_bytes) {
    if (length_bytes < sizeof(size_t) && v.n >> (8 * length_bytes) != 0) {
        b->err = b->err == KD_OK ? KD_ERR_ITEM_TOO_LARGE : b->err;
        return;
    }
    put_number(b, v.n, length_bytes);
    kd_buf_put(b, v.p, v.n);
}

void kd_buf_block8(struct kd_buf *b, struct kd_bytes v) {
    put_block(b, v, 1);
}

void kd_buf_block16(struct kd_buf *b, struct kd_bytes v) {
    put_block(b, v, 2);
}

void kd_buf_block32(struct kd_buf *b, struct kd_bytes v) {
    put_block(b, v, 4);
}

void kd_buf_drop_front(struct kd_buf *b, size_t n) {
    assert(n <= b->n);
    b->n -= n;
    if (n > 0 && b->n > 0) {
        memmove(b->p, b->p + n, b->n);
        const size_t stale = n > b->n ? n : b->n; // the rest as it was before
        kd_wipe(b->p + stale, b->n + n - stale);
    }
}

enum kd_err kd_buf_finish(const struct kd_buf *b) {
    return b->err;
}

struct kd_bytes kd_buf_get(const struct kd_buf *b) {
    return (struct kd_bytes) { b->p, b->n };
}

const char *kd_buf_get_text(struct kd_buf *b) {
    if (!reserve(b, 1)) {
        return "";
    }
    b->p[b->n] = '\0';
    return (const char *)b->p;
}

// ---- reader ----------------------------------------------------------------

struct kd_reader kd_reader_of(struct kd_bytes b) {
    return (struct kd_reader) { b.p, b.n, false };
}

struct kd_bytes kd_read_bytes(struct kd_reader *r, size_t n) {
    if (r->failed || n > r->n) {
        r->failed = true;
        return KD_BYTES_NONE;
    }
    struct kd_bytes out = { r->p, n };
    if (n > 0) {
        r->p += n;
        r->n -= n;
    }
    return out;
}

static uint64_t read_number(struct kd_reader *r, size_t n) {
    struct kd_bytes b = kd_read_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; i < b.n; i++) {
        v = v << 8 | b.p[i];
    }
    return v;
}

uint8_t kd_read_u8(struct kd_reader *r) {
    return (uint8_t)read_number(r, 1);
}

uint16_t kd_read_u16(struct kd_reader *r) {
    return (uint16_t)read_number(r, 2);
}

uint32_t kd_read_u32(struct kd_reader *r) {
    return (uint32_t)read_number(r, 4);
}

uint64_t kd_read_u64(struct kd_reader *r) {
    return read_number(r, 8);
}

struct kd_bytes kd_read_block8(struct kd_reader *r) {
    return kd_read_bytes(r, kd_read_u8(r));
}

struct kd_bytes kd_read_block16(struct kd_reader *r) {
    return kd_read_bytes(r, kd_read_u16(r));
}

struct kd_bytes kd_read_block32(struct kd_reader *r) {
    return kd_read_bytes(r, kd_read_u32(r));
}

enum kd_err kd_reader_finish(const struct kd_reader *r) {
    return r->failed || r->n != 0 ? KD_ERR_MALFORMED : KD_OK;
}
