// SPDX-License-Identifier: Apache-2.0
// vectors.c: see vectors.h.
#include "vectors.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>

void vectors_bytes_free(struct vectors_bytes b) {
    free(b.p);
}

struct kd_bytes vectors_get(struct vectors_bytes b) {
    return (struct kd_bytes) { b.p, b.n };
}

void vectors_json_free(json_t *j) {
    json_decref(j);
}

json_t *vectors_load(const char *path) {
    char full[4096];
    const char *root = getenv("KD_SRCDIR");
    snprintf(full, sizeof(full), "%s/tests/vectors/%s", root == NULL ? "." : root, path);
    json_error_t error;
    json_t *j = json_load_file(full, 0, &error);
    if (j == NULL) { // numbers over 64 bits; nobody asks for their value
        j = json_load_file(full, JSON_DECODE_INT_AS_REAL, &error);
    }
    ck_assert_msg(j != NULL, "%s: %s (set KD_SRCDIR)", full, error.text);
    return j;
}

const char *vectors_text(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    ck_assert_msg(text != NULL, "no text %s", name);
    return text;
}

json_int_t vectors_int(const json_t *object, const char *name) {
    const json_t *j = json_object_get(object, name);
    ck_assert_msg(json_is_integer(j), "no number %s", name);
    return json_integer_value(j);
}

struct vectors_bytes vectors_from_hex(const char *hex) {
    size_t n = strlen(hex) / 2;
    struct vectors_bytes b = { malloc(n + 1), n };
    ck_assert_ptr_nonnull(b.p);
    ck_assert_err(kd_hex_decode(hex, b.p, n), KD_OK);
    return b;
}

struct vectors_bytes vectors_hex(const json_t *object, const char *name) {
    return vectors_from_hex(vectors_text(object, name));
}

struct vectors_bytes vectors_file(const char *path) {
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    struct vectors_bytes b = { malloc(1 << 20), 0 };
    ck_assert_ptr_nonnull(b.p);
    b.n = fread(b.p, 1, 1 << 20, f);
    fclose(f);
    return b;
}

void vectors_same(const char *what, struct kd_bytes got, struct kd_bytes expected) {
    if (kd_bytes_equal(got, expected)) {
        return;
    }
    char *a = malloc(2 * got.n + 1);
    char *b = malloc(2 * expected.n + 1);
    kd_hex_encode(got.p, got.n, a);
    kd_hex_encode(expected.p, expected.n, b);
    ck_abort_msg("%s: got %s, expected %s", what, a, b);
}
