// SPDX-License-Identifier: Apache-2.0
// buf.h: bytes.  A borrowed slice, a bounded growing writer that remembers its
// first failure, and a reader that remembers it has run past the end.  Numbers
// are big endian.  Not for keys: see secret.h.
#ifndef KD_BASE_BUF_H
#define KD_BASE_BUF_H

#include "attr.h"
#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Borrowed bytes; p may be NULL only where n is 0.
struct kd_bytes {
    const uint8_t *p;
    size_t n;
};

#define KD_BYTES_NONE ((struct kd_bytes) { NULL, 0 })

struct kd_bytes kd_bytes_of_text(const char *text);
bool kd_bytes_equal(struct kd_bytes a, struct kd_bytes b); // public data only

// Checked size arithmetic: false, and *out untouched, where it would overflow.
KD_MUST_CHECK bool kd_size_add(size_t a, size_t b, size_t *out);
KD_MUST_CHECK bool kd_size_mul(size_t a, size_t b, size_t *out);

// ---- writer ----------------------------------------------------------------

struct kd_buf {
    uint8_t *p;      // owned; NULL while empty
    size_t n;        // bytes written
    size_t cap;      // bytes allocated
    size_t max;      // n never passes this
    enum kd_err err; // first failure; later writes do nothing
};

#define KD_BUF_INIT(max_bytes) ((struct kd_buf) { .max = (max_bytes) })
// Over an array of the caller's, for short things: never grows, and is not for kd_auto.
#define KD_BUF_OVER(array)                                                                         \
    ((struct kd_buf) { .p = (array), .cap = sizeof(array), .max = sizeof(array) })

// Overwrites and frees; the limit stays, so it can be used again.  What a buffer
// leaves behind when it grows is overwritten too: callers' plaintext goes through.
void kd_buf_wipe(struct kd_buf *b);
void kd_buf_reset(struct kd_buf *b); // empties and forgets the failure, keeps the memory
KD_AUTO_DEFINE_IN_PLACE(buf, struct kd_buf, kd_buf_wipe)

// Writers return nothing: ask kd_buf_finish once.  Past `max` the failure is
// KD_ERR_ITEM_TOO_LARGE, without memory KD_ERR_NO_MEMORY.
void kd_buf_u8(struct kd_buf *b, uint8_t v);
void kd_buf_u16(struct kd_buf *b, uint16_t v);
void kd_buf_u32(struct kd_buf *b, uint32_t v);
void kd_buf_u64(struct kd_buf *b, uint64_t v);
void kd_buf_put(struct kd_buf *b, const void *p, size_t n);
void kd_buf_text(struct kd_buf *b, const char *text); // without its NUL
KD_PRINTF(2, 3) void kd_buf_printf(struct kd_buf *b, const char *format, ...);

// A length of 1, 2 or 4 bytes and then the bytes; one that does not fit its
// length field is KD_ERR_ITEM_TOO_LARGE.
void kd_buf_block8(struct kd_buf *b, struct kd_bytes v);
void kd_buf_block16(struct kd_buf *b, struct kd_bytes v);
void kd_buf_block32(struct kd_buf *b, struct kd_bytes v);

// Room for n more bytes, for a function that writes into place; NULL on
// failure.  The bytes count as written.
uint8_t *kd_buf_extend(struct kd_buf *b, size_t n);
void kd_buf_drop_front(struct kd_buf *b, size_t n); // n <= b->n; the rest is in one place only
KD_MUST_CHECK enum kd_err kd_buf_finish(const struct kd_buf *b);
struct kd_bytes kd_buf_get(const struct kd_buf *b);

// Puts a NUL behind the text (not counted in n) and borrows it; "" when failed.
const char *kd_buf_get_text(struct kd_buf *b);

// ---- reader ----------------------------------------------------------------

struct kd_reader {
    const uint8_t *p;
    size_t n;    // bytes left
    bool failed; // a read went past the end; all later reads give 0 or nothing
};

struct kd_reader kd_reader_of(struct kd_bytes b);
uint8_t kd_read_u8(struct kd_reader *r);
uint16_t kd_read_u16(struct kd_reader *r);
uint32_t kd_read_u32(struct kd_reader *r);
uint64_t kd_read_u64(struct kd_reader *r);
struct kd_bytes kd_read_bytes(struct kd_reader *r, size_t n); // borrowed
struct kd_bytes kd_read_block8(struct kd_reader *r);
struct kd_bytes kd_read_block16(struct kd_reader *r);
struct kd_bytes kd_read_block32(struct kd_reader *r);

// KD_ERR_MALFORMED where a read failed or bytes are left.
KD_MUST_CHECK enum kd_err kd_reader_finish(const struct kd_reader *r);

#endif
