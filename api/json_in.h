// SPDX-License-Identifier: Apache-2.0
// json_in.h: reads the members of a request's body.  A failure says in `why`
// which member it was and what was expected.
#ifndef KD_API_JSON_IN_H
#define KD_API_JSON_IN_H

#include "api/http.h"

struct kd_json_in {
    const struct kd_json *object; // NULL: nothing is in it
    struct kd_buf *arena;         // for decoded bytes; must have the room, as it must not move
    struct kd_why *why;
    bool is_item; // one of a batch
    size_t index; // which
};

// The body: a JSON object.  KD_ERR_BAD_JSON, KD_ERR_NO_MEMORY; *out is to be wiped all the same.
KD_MUST_CHECK enum kd_err kd_json_parse(struct kd_buf *text, struct kd_why *why,
                                        struct kd_json_tree *out);

// KD_ERR_FIELD_UNKNOWN for a member that is not in `names`.
KD_MUST_CHECK enum kd_err kd_json_only(const struct kd_json_in *in, const char *const *names,
                                       size_t n);

bool kd_json_has(const struct kd_json_in *in, const char *name);

// Each: KD_ERR_FIELD_MISSING where it is not there and `needed`; *out is
// untouched where it is not there and not needed.
KD_MUST_CHECK enum kd_err kd_json_bytes(const struct kd_json_in *in, const char *name, bool needed,
                                        struct kd_bytes *out); // base64url
// The same of at most `max`: KD_ERR_ITEM_TOO_LARGE.
KD_MUST_CHECK enum kd_err kd_json_bytes_upto(const struct kd_json_in *in, const char *name,
                                             bool needed, size_t max, struct kd_bytes *out);
KD_MUST_CHECK enum kd_err kd_json_text(const struct kd_json_in *in, const char *name, bool needed,
                                       const char **out); // no NUL inside
KD_MUST_CHECK enum kd_err kd_json_number(const struct kd_json_in *in, const char *name, bool needed,
                                         uint32_t low, uint32_t high, uint32_t *out);
KD_MUST_CHECK enum kd_err kd_json_bool(const struct kd_json_in *in, const char *name, bool needed,
                                       bool *out);

// The items of a batch: *array is NULL where the body is one item itself, and
// then *n is 1.  KD_ERR_BATCH_EMPTY, KD_ERR_BATCH_TOO_LARGE.
KD_MUST_CHECK enum kd_err kd_json_items(const struct kd_json_in *in, const struct kd_json **array,
                                        size_t *n);
// The one at *at, which goes to the next; it begins at kd_json_first(array).
KD_MUST_CHECK enum kd_err kd_json_item(const struct kd_json_in *batch, size_t index,
                                       const struct kd_json **at, struct kd_json_in *out);

// For a reader of its own: says which member it was and returns err.
enum kd_err kd_json_blame(const struct kd_json_in *in, const char *name, enum kd_err err,
                          const char *detail);

#endif
