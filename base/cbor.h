// SPDX-License-Identifier: Apache-2.0
// cbor.h: CBOR (RFC 8949) in its deterministic encoding only (section 4.2.1):
// shortest forms, definite lengths, map keys in bytewise order and unique,
// valid UTF-8.  Of the simple values false, true and null; no floats.  Nothing
// is allocated: a cursor walks over borrowed bytes and remembers its first
// failure, writers append to a kd_buf.
#ifndef KD_BASE_CBOR_H
#define KD_BASE_CBOR_H

#include "attr.h"
#include "buf.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>

#define KD_CBOR_MAX_DEPTH 8          // arrays, maps and tags inside each other
#define KD_CBOR_MAX_BYTES (1u << 20) // one input

enum kd_cbor_type {
    KD_CBOR_UINT,
    KD_CBOR_NINT,
    KD_CBOR_BYTES,
    KD_CBOR_TEXT,
    KD_CBOR_ARRAY,
    KD_CBOR_MAP,
    KD_CBOR_TAG,
    KD_CBOR_FALSE,
    KD_CBOR_TRUE,
    KD_CBOR_NULL,
};

// One item, without what an array, a map or a tag holds: that follows.
struct kd_cbor_item {
    enum kd_cbor_type type;
    uint64_t value;        // UINT: itself; NINT: n of -1-n; ARRAY: items; MAP: pairs; TAG: number
    struct kd_bytes bytes; // BYTES, TEXT: borrowed
};

// ---- reading ---------------------------------------------------------------

struct kd_cbor {
    struct kd_reader in;
    enum kd_err err; // first failure; all later reads give 0 or nothing
};

// More than KD_CBOR_MAX_BYTES fail at once with KD_ERR_ITEM_TOO_LARGE.
struct kd_cbor kd_cbor_of(struct kd_bytes b);

// False at the end and after a failure.
bool kd_cbor_has_more(const struct kd_cbor *c);
// True if the next item is of this type, as far as its first byte tells.
bool kd_cbor_is_next(const struct kd_cbor *c, enum kd_cbor_type type);

// Any item.  A map is checked as a whole, with its keys and values, before its
// head is handed out.
struct kd_cbor_item kd_cbor_next(struct kd_cbor *c);

// An item of one type; any other type is KD_ERR_CBOR_TYPE, a number that does
// not fit is KD_ERR_CBOR_RANGE.
uint64_t kd_cbor_read_uint(struct kd_cbor *c);
int64_t kd_cbor_read_int(struct kd_cbor *c);
struct kd_bytes kd_cbor_read_bytes(struct kd_cbor *c); // borrowed
struct kd_bytes kd_cbor_read_text(struct kd_cbor *c);  // borrowed, UTF-8, no NUL behind it
size_t kd_cbor_read_array(struct kd_cbor *c);          // how many items follow
size_t kd_cbor_read_map(struct kd_cbor *c);            // how many pairs follow
uint64_t kd_cbor_read_tag(struct kd_cbor *c);
bool kd_cbor_read_bool(struct kd_cbor *c);
void kd_cbor_read_null(struct kd_cbor *c);

// One whole item with all that it holds, checked, as it is encoded.
struct kd_bytes kd_cbor_read_whole(struct kd_cbor *c); // borrowed

// Remembers a failure that the reader of a structure found; the first one stays.
void kd_cbor_fail(struct kd_cbor *c, enum kd_err e);

// The first failure, or KD_ERR_CBOR_TRAILING where bytes are left.
KD_MUST_CHECK enum kd_err kd_cbor_finish(const struct kd_cbor *c);

// KD_OK if the bytes are exactly one deterministic item.
KD_MUST_CHECK enum kd_err kd_cbor_check(struct kd_bytes b);

// ---- writing ---------------------------------------------------------------

// The caller writes the keys of a map in their order.  Failures show in
// kd_buf_finish.
void kd_cbor_put_uint(struct kd_buf *b, uint64_t v);
void kd_cbor_put_int(struct kd_buf *b, int64_t v);
void kd_cbor_put_bytes(struct kd_buf *b, struct kd_bytes v);
void kd_cbor_put_text(struct kd_buf *b, const char *text);
void kd_cbor_put_array(struct kd_buf *b, size_t n_items); // the items follow
void kd_cbor_put_map(struct kd_buf *b, size_t n_pairs);   // the pairs follow
void kd_cbor_put_tag(struct kd_buf *b, uint64_t tag);     // the item follows
void kd_cbor_put_bool(struct kd_buf *b, bool v);
void kd_cbor_put_null(struct kd_buf *b);
void kd_cbor_put_item(struct kd_buf *b, const struct kd_cbor_item *item);
// The head of a byte string of n bytes, which the caller writes next.
void kd_cbor_put_bytes_head(struct kd_buf *b, size_t n);

// Bytes that such a head takes: 1, 2, 3, 5 or 9.
size_t kd_cbor_head_bytes(uint64_t value);

#endif
