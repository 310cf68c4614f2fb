// SPDX-License-Identifier: Apache-2.0
// json_in.c: typed reading of members, with precise complaints.
#include "api/json_in.h"

#include <stdio.h>
#include <string.h>

enum kd_err kd_json_parse(struct kd_buf *text, struct kd_why *why, struct kd_json_tree *out) {
    const enum kd_err err = kd_json_read(out, text);
    if (err == KD_ERR_BAD_JSON) {
        snprintf(why->detail, sizeof(why->detail), "%s, at byte %zu", out->wrong, out->at);
    } else if (err == KD_OK && !kd_json_is(out->root, KD_JSON_OBJECT)) {
        snprintf(why->detail, sizeof(why->detail), "The body must be a JSON object.");
        return KD_ERR_BAD_JSON;
    }
    return err;
}

enum kd_err kd_json_blame(const struct kd_json_in *in, const char *name, enum kd_err err,
                          const char *detail) {
    if (in->is_item) {
        snprintf(in->why->field, sizeof(in->why->field), "items[%zu]%s%s", in->index,
                 name[0] == '\0' ? "" : ".", name);
    } else {
        snprintf(in->why->field, sizeof(in->why->field), "%s", name);
    }
    snprintf(in->why->detail, sizeof(in->why->detail), "%s", detail);
    return err;
}

static bool is_one_of(const char *name, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

enum kd_err kd_json_only(const struct kd_json_in *in, const char *const *names, size_t n) {
    const struct kd_json *end = in->object == NULL ? NULL : kd_json_end(in->object);
    for (const struct kd_json *at = in->object == NULL ? NULL : kd_json_first(in->object);
         at != end; at = kd_json_next(at + 1)) {
        if (!is_one_of(at->text, names, n)) {
            return kd_json_blame(in, at->text, KD_ERR_FIELD_UNKNOWN, "");
        }
    }
    return KD_OK;
}

bool kd_json_has(const struct kd_json_in *in, const char *name) {
    return kd_json_get(in->object, name) != NULL;
}

// *out is NULL where the member may be missing and is.
static enum kd_err find(const struct kd_json_in *in, const char *name, bool needed,
                        const struct kd_json **out) {
    *out = kd_json_get(in->object, name);
    if (*out == NULL && needed) {
        return kd_json_blame(in, name, KD_ERR_FIELD_MISSING, "");
    }
    return KD_OK;
}

enum kd_err kd_json_bytes(const struct kd_json_in *in, const char *name, bool needed,
                          struct kd_bytes *out) {
    const struct kd_json *v = NULL;
    enum kd_err err = find(in, name, needed, &v);
    if (err != KD_OK || v == NULL) {
        return err;
    }
    if (!kd_json_is(v, KD_JSON_STRING)) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, "A base64url string is expected.");
    }
    const size_t start = in->arena->n;
    if (start + v->n > in->arena->cap) {
        return KD_ERR_BUG; // the arena was not given the size of the body
    }
    if (kd_b64_decode(kd_json_string_bytes(v), in->arena) != KD_OK) {
        return kd_json_blame(in, name, KD_ERR_BAD_BASE64, "");
    }
    err = kd_buf_finish(in->arena);
    if (err != KD_OK) {
        return err;
    }
    const size_t n = in->arena->n - start;
    *out = n == 0 ? KD_BYTES_NONE : (struct kd_bytes) { in->arena->p + start, n };
    return KD_OK;
}

enum kd_err kd_json_bytes_upto(const struct kd_json_in *in, const char *name, bool needed,
                               size_t max, struct kd_bytes *out) {
    struct kd_bytes bytes = *out;
    enum kd_err err = kd_json_bytes(in, name, needed, &bytes);
    if (err != KD_OK) {
        return err;
    }
    if (bytes.n > max) {
        char detail[64];
        snprintf(detail, sizeof(detail), "At most %zu bytes are expected.", max);
        return kd_json_blame(in, name, KD_ERR_ITEM_TOO_LARGE, detail);
    }
    *out = bytes;
    return KD_OK;
}

enum kd_err kd_json_text(const struct kd_json_in *in, const char *name, bool needed,
                         const char **out) {
    const struct kd_json *v = NULL;
    enum kd_err err = find(in, name, needed, &v);
    if (err != KD_OK || v == NULL) {
        return err;
    }
    if (!kd_json_is(v, KD_JSON_STRING)) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, "A string is expected.");
    }
    *out = v->text;
    return KD_OK;
}

enum kd_err kd_json_number(const struct kd_json_in *in, const char *name, bool needed, uint32_t low,
                           uint32_t high, uint32_t *out) {
    const struct kd_json *v = NULL;
    enum kd_err err = find(in, name, needed, &v);
    if (err != KD_OK || v == NULL) {
        return err;
    }
    if (!kd_json_is(v, KD_JSON_INTEGER) || v->integer < low || v->integer > high) {
        char detail[80];
        snprintf(detail, sizeof(detail), "A whole number from %u to %u is expected.", low, high);
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, detail);
    }
    *out = (uint32_t)v->integer;
    return KD_OK;
}

enum kd_err kd_json_bool(const struct kd_json_in *in, const char *name, bool needed, bool *out) {
    const struct kd_json *v = NULL;
    enum kd_err err = find(in, name, needed, &v);
    if (err != KD_OK || v == NULL) {
        return err;
    }
    if (!kd_json_is(v, KD_JSON_TRUE) && !kd_json_is(v, KD_JSON_FALSE)) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, "true or false is expected.");
    }
    *out = v->type == KD_JSON_TRUE;
    return KD_OK;
}

enum kd_err kd_json_items(const struct kd_json_in *in, const struct kd_json **array, size_t *n) {
    const struct kd_json *v = kd_json_get(in->object, "items");
    if (v == NULL) {
        *array = NULL;
        *n = 1;
        return KD_OK;
    }
    if (!kd_json_is(v, KD_JSON_ARRAY)) {
        return kd_json_blame(in, "items", KD_ERR_FIELD_INVALID, "An array is expected.");
    }
    if (v->n == 0) {
        return kd_json_blame(in, "items", KD_ERR_BATCH_EMPTY, "");
    }
    if (v->n > KD_HSM_BATCH_MAX_ITEMS) {
        return kd_json_blame(in, "items", KD_ERR_BATCH_TOO_LARGE, "");
    }
    *array = v;
    *n = v->n;
    return KD_OK;
}

enum kd_err kd_json_item(const struct kd_json_in *batch, size_t index, const struct kd_json **at,
                         struct kd_json_in *out) {
    *out = (struct kd_json_in) { *at, batch->arena, batch->why, true, index };
    *at = kd_json_next(*at);
    return kd_json_is(out->object, KD_JSON_OBJECT)
               ? KD_OK
               : kd_json_blame(out, "", KD_ERR_FIELD_INVALID, "Each item must be an object.");
}
