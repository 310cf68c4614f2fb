// SPDX-License-Identifier: Apache-2.0
// json_in.c: typed reading of members, with precise complaints.
#include "api/json_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A value of two bytes takes the library a hundred and more, and a body may have
// millions of them.  The largest batch has a few ten thousand.
enum { VALUES_MAX = 65536 };

// Counts what begins a value or a member, also in a text that is not JSON.
static bool has_too_many_values(struct kd_bytes text) {
    if (text.n <= VALUES_MAX) {
        return false;
    }
    bool is_string = false;
    size_t n = 0;
    for (size_t i = 0; i < text.n && n <= VALUES_MAX; i++) {
        const uint8_t c = text.p[i];
        if (is_string) {
            i += c == '\\';
            is_string = c != '"';
        } else {
            is_string = c == '"';
            n += c == ',' || c == '[' || c == '{';
        }
    }
    return n > VALUES_MAX;
}

// The library's hook takes no argument of ours, so this is of the thread.
static _Thread_local bool is_short_of_memory;

void *kd_json_alloc(size_t n) {
    void *p = malloc(n);
    is_short_of_memory = is_short_of_memory || p == NULL;
    return p;
}

enum kd_err kd_json_parse(struct kd_bytes text, struct kd_why *why, json_t **out) {
    json_error_t error;
    if (has_too_many_values(text)) {
        snprintf(why->detail, sizeof(why->detail), "More than %d values", VALUES_MAX);
        return KD_ERR_BAD_JSON;
    }
    is_short_of_memory = false;
    json_t *root = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &error);
    if (is_short_of_memory) {
        json_decref(root); // not what was sent
        return KD_ERR_NO_MEMORY;
    }
    if (root == NULL) {
        // The library's text may quote the body; where it stopped says enough.
        snprintf(why->detail, sizeof(why->detail), "%s, at byte %d",
                 json_error_code(&error) == json_error_duplicate_key ? "A member is repeated"
                                                                     : "Not valid JSON",
                 error.position);
        return KD_ERR_BAD_JSON;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        snprintf(why->detail, sizeof(why->detail), "The body must be a JSON object.");
        return KD_ERR_BAD_JSON;
    }
    *out = root;
    return KD_OK;
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
    // json_object_iter wants an object it could change, and does not.
    json_t *object = json_incref((json_t *)(uintptr_t)in->object);
    enum kd_err err = KD_OK;
    for (void *at = json_object_iter(object); at != NULL && err == KD_OK;
         at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        if (!is_one_of(name, names, n)) {
            err = kd_json_blame(in, name, KD_ERR_FIELD_UNKNOWN, "");
        }
    }
    json_decref(object);
    return err;
}

bool kd_json_has(const struct kd_json_in *in, const char *name) {
    return json_object_get(in->object, name) != NULL;
}

// *out is NULL where the member may be missing and is.
static enum kd_err find(const struct kd_json_in *in, const char *name, bool needed,
                        const json_t **out) {
    *out = json_object_get(in->object, name);
    if (*out == NULL && needed) {
        return kd_json_blame(in, name, KD_ERR_FIELD_MISSING, "");
    }
    return KD_OK;
}

enum kd_err kd_json_bytes(const struct kd_json_in *in, const char *name, bool needed,
                          struct kd_bytes *out) {
    const json_t *v = NULL;
    enum kd_err err = find(in, name, needed, &v);
    if (err != KD_OK || v == NULL) {
        return err;
    }
    if (!json_is_string(v)) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, "A base64url string is expected.");
    }
    const struct kd_bytes text = { (const uint8_t *)json_string_value(v), json_string_length(v) };
    const size_t start = in->arena->n;
    if (start + text.n > in->arena->cap) {
        return KD_ERR_BUG; // the arena was not given the size of the body
    }
    if (kd_b64_decode(text, in->arena) != KD_OK) {
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

enum kd_err kd_json_text(const struct kd_json_in *in, const char *name, bool needed,
                         const char **out) {
    const json_t *v = NULL;
    enum kd_err err = find(in, name, needed, &v);
    if (err != KD_OK || v == NULL) {
        return err;
    }
    if (!json_is_string(v)) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, "A string is expected.");
    }
    const char *text = json_string_value(v);
    if (strlen(text) != json_string_length(v)) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, "The string has a NUL character.");
    }
    *out = text;
    return KD_OK;
}

enum kd_err kd_json_number(const struct kd_json_in *in, const char *name, bool needed, uint32_t low,
                           uint32_t high, uint32_t *out) {
    const json_t *v = NULL;
    enum kd_err err = find(in, name, needed, &v);
    if (err != KD_OK || v == NULL) {
        return err;
    }
    if (!json_is_integer(v) || json_integer_value(v) < low || json_integer_value(v) > high) {
        char detail[80];
        snprintf(detail, sizeof(detail), "A whole number from %u to %u is expected.", low, high);
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, detail);
    }
    *out = (uint32_t)json_integer_value(v);
    return KD_OK;
}

enum kd_err kd_json_bool(const struct kd_json_in *in, const char *name, bool needed, bool *out) {
    const json_t *v = NULL;
    enum kd_err err = find(in, name, needed, &v);
    if (err != KD_OK || v == NULL) {
        return err;
    }
    if (!json_is_boolean(v)) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, "true or false is expected.");
    }
    *out = json_is_true(v);
    return KD_OK;
}

enum kd_err kd_json_items(const struct kd_json_in *in, const json_t **array, size_t *n) {
    const json_t *v = json_object_get(in->object, "items");
    if (v == NULL) {
        *array = NULL;
        *n = 1;
        return KD_OK;
    }
    if (!json_is_array(v)) {
        return kd_json_blame(in, "items", KD_ERR_FIELD_INVALID, "An array is expected.");
    }
    const size_t count = json_array_size(v);
    if (count == 0) {
        return kd_json_blame(in, "items", KD_ERR_BATCH_EMPTY, "");
    }
    if (count > KD_HSM_BATCH_MAX_ITEMS) {
        return kd_json_blame(in, "items", KD_ERR_BATCH_TOO_LARGE, "");
    }
    *array = v;
    *n = count;
    return KD_OK;
}
