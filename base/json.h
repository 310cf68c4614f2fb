// SPDX-License-Identifier: Apache-2.0
// json.h: reads JSON texts (RFC 8259) in the place where they came.  A text is taken whole or not
// at all: no member twice, no NUL in a string, only UTF-8, nothing behind the value, and within the
// limits below.  A library would copy each string, byte by byte, into memory that nobody wipes,
// which is half of the work of a batch, and the one at hand ends the process where memory ends.
// What is taken is held against it (tests/fuzz/fuzz_json.c).
#ifndef KD_BASE_JSON_H
#define KD_BASE_JSON_H

#include "attr.h"
#include "buf.h"
#include "err.h"

// A value of two bytes takes sixteen here, and a text may have millions of them.  The largest
// batch has about ten thousand; names of members count too.  Who needs more says so in the tree.
#define KD_JSON_VALUES_MAX 65535
#define KD_JSON_DEPTH_MAX 16   // objects and arrays in one another
#define KD_JSON_MEMBERS_MAX 64 // of an object, as each is held against the others

enum kd_json_type {
    KD_JSON_NULL,
    KD_JSON_FALSE,
    KD_JSON_TRUE,
    KD_JSON_INTEGER,
    KD_JSON_REAL, // has a fraction or an exponent, or is beyond 64 bits: not converted
    KD_JSON_STRING,
    KD_JSON_ARRAY,
    KD_JSON_OBJECT,
};

// A value, and behind it those in it: of an array its elements, of an object the name and the value
// of each member in turn.
struct kd_json {
    union {
        const char *text; // a string: UTF-8, a NUL behind it
        int64_t integer;
    };
    uint32_t n;         // bytes of the string, elements of the array, members of the object
    uint32_t span : 28; // from here to what comes after it and all in it
    uint32_t type : 4;
};

struct kd_json_tree {
    struct kd_json *root; // owned
    size_t n, cap;
    size_t max;        // of values, at most 2^28 - 1; 0: KD_JSON_VALUES_MAX
    const char *wrong; // why it is KD_ERR_BAD_JSON
    size_t at;         // which byte it is that cannot stand there, the first is 1
};
#define KD_JSON_TREE_INIT ((struct kd_json_tree) { .root = NULL })
void kd_json_wipe(struct kd_json_tree *t);
KD_AUTO_DEFINE_IN_PLACE(json_tree, struct kd_json_tree, kd_json_wipe)

// Writes into the text: its strings lose their escapes and get their NUL.  So the tree is good as
// long as the text is, whose bytes are only good for the tree from then on, also after a failure.
// KD_ERR_BAD_JSON, KD_ERR_NO_MEMORY: `t` is to be wiped all the same.
KD_MUST_CHECK enum kd_err kd_json_read(struct kd_json_tree *t, struct kd_buf *text);

// Each takes NULL, or a value of another type, for one in which nothing is.
const struct kd_json *kd_json_get(const struct kd_json *object, const char *name); // NULL: none
const char *kd_json_string(const struct kd_json *v); // NULL: no string
static inline bool kd_json_is(const struct kd_json *v, enum kd_json_type type) {
    return v != NULL && v->type == type;
}
static inline struct kd_bytes kd_json_string_bytes(const struct kd_json *string) {
    return (struct kd_bytes) { (const uint8_t *)string->text, string->n };
}

// The elements of an array in turn, and the names of an object's members (their value is the next
// in memory): for (at = first(v); at != end(v); at = next(at) or next(at + 1)).
static inline const struct kd_json *kd_json_next(const struct kd_json *v) {
    return v + v->span;
}
static inline const struct kd_json *kd_json_first(const struct kd_json *v) {
    return v + 1;
}
static inline const struct kd_json *kd_json_end(const struct kd_json *v) {
    return v + v->span;
}

#endif
