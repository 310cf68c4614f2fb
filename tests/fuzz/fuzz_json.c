// SPDX-License-Identifier: Apache-2.0
// fuzz_json.c: JSON, as jansson takes it but for the limits, with the same values; and bodies of
// requests, whose members are read by each of the readers: a refusal names the member.
#include "fuzz.h"

#include "api/json_in.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

// ---- the values ------------------------------------------------------------

static void compare_one(const struct kd_json *v, const json_t *other) {
    switch ((enum kd_json_type)v->type) {
    case KD_JSON_NULL:
        must(json_is_null(other));
        return;
    case KD_JSON_FALSE:
        must(json_is_false(other));
        return;
    case KD_JSON_TRUE:
        must(json_is_true(other));
        return;
    case KD_JSON_INTEGER:
        must(json_is_integer(other) && json_integer_value(other) == v->integer);
        return;
    case KD_JSON_REAL:
        must(json_is_real(other));
        return;
    case KD_JSON_STRING:
        must(json_is_string(other) && json_string_length(other) == v->n &&
             memcmp(json_string_value(other), v->text, v->n + 1) == 0);
        return;
    case KD_JSON_ARRAY:
        must(json_is_array(other) && json_array_size(other) == v->n);
        return;
    case KD_JSON_OBJECT:
        must(json_is_object(other) && json_object_size(other) == v->n);
        return;
    }
    abort();
}

// Each value is met by its way from the root, the next ones by recursion of at most
// KD_JSON_DEPTH_MAX.
static void compare(const struct kd_json *v, const json_t *other) {
    compare_one(v, other);
    const bool is_object = v->type == KD_JSON_OBJECT;
    size_t i = 0;
    const struct kd_json *at = kd_json_first(v);
    for (; at != kd_json_end(v); at = kd_json_next(is_object ? at + 1 : at)) {
        if (is_object) {
            must(kd_json_get(v, at->text) == at + 1);
            compare(at + 1, json_object_get(other, at->text));
        } else {
            compare(at, json_array_get(other, i));
        }
        i++;
    }
    must(at == kd_json_end(v) && (v->type < KD_JSON_ARRAY || i == v->n));
}

// What jansson refuses and we take: numbers beyond what it has.  The other way: the limits.
static void hold_against_jansson(const uint8_t *data, size_t size) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1 << 20);
    kd_auto(json_tree) struct kd_json_tree tree = KD_JSON_TREE_INIT;
    kd_buf_put(&text, data, size);
    if (kd_buf_finish(&text) != KD_OK) {
        return;
    }
    const enum kd_err err = kd_json_read(&tree, &text);
    if (memchr(data, 0, size) != NULL) { // which jansson passes over in some places
        must(err == KD_ERR_BAD_JSON);
        return;
    }
    json_error_t error;
    json_t *other =
        json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (err == KD_OK) {
        must(other != NULL || json_error_code(&error) == json_error_numeric_overflow);
    } else {
        must(err == KD_ERR_BAD_JSON && tree.wrong != NULL && tree.at >= 1 && tree.at <= size + 1);
        must(other == NULL || strcmp(tree.wrong, "Nested too deeply") == 0 ||
             strcmp(tree.wrong, "Too many values") == 0 ||
             strcmp(tree.wrong, "An object has too many members") == 0);
    }
    if (err == KD_OK && other != NULL) {
        must(tree.root->span == tree.n);
        compare(tree.root, other);
    }
    json_decref(other);
}

// ---- bodies ----------------------------------------------------------------

static void read_members(const struct kd_json_in *in) {
    static const char *const names[] = { "data", "name", "length", "release", "items" };
    struct kd_bytes bytes = KD_BYTES_NONE;
    const char *text = NULL;
    uint32_t number = 7;
    bool flag = false;
    const struct kd_json *array = NULL;
    size_t n = 0;
    const enum kd_err r = kd_json_only(in, names, KD_COUNT_OF(names));
    must(r == KD_OK || r == KD_ERR_FIELD_UNKNOWN);
    if (kd_json_bytes(in, "data", true, &bytes) == KD_OK) {
        must(bytes.n <= in->arena->n);
    }
    if (kd_json_text(in, "name", true, &text) == KD_OK) {
        must(text != NULL);
    }
    must(kd_json_number(in, "length", false, 5, 9, &number) != KD_OK ||
         (number >= 5 && number <= 9));
    must(kd_json_bool(in, "release", true, &flag) == KD_OK || in->why->field[0] != '\0');
    must(kd_json_items(in, &array, &n) != KD_OK || n > 0);
    const struct kd_json *at = array == NULL ? NULL : kd_json_first(array);
    for (size_t i = 0; array != NULL && i < n; i++) {
        struct kd_json_in item;
        must(kd_json_item(in, i, &at, &item) == KD_OK || in->why->field[0] != '\0');
    }
    must(array == NULL || at == kd_json_end(array));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kd_why why = { "", "" };
    kd_auto(buf) struct kd_buf arena = KD_BUF_INIT(1 << 20);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1 << 20);
    kd_auto(json_tree) struct kd_json_tree json = KD_JSON_TREE_INIT;
    hold_against_jansson(data, size);
    kd_buf_put(&text, data, size);
    if (kd_json_parse(&text, &why, &json) != KD_OK) {
        return 0;
    }
    (void)kd_buf_extend(&arena, size + 1);
    arena.n = 0;
    const struct kd_json_in in = { .object = json.root, .arena = &arena, .why = &why };
    read_members(&in);
    return 0;
}
