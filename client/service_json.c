// SPDX-License-Identifier: Apache-2.0
// service_json.c: members of what libkeyd-service writes and reads.  What nobody asks for is passed
// over, if it is JSON.
#include "client/service_state.h"

#include <string.h>
#include <time.h>

// ---- writing ---------------------------------------------------------------

void kd_service_put_point(struct kd_buf *b, const char *name, const uint8_t *point, size_t n) {
    kd_json_member(b, name);
    kd_buf_text(b, "{\"kty\":\"EC\"");
    kd_json_member(b, "crv");
    kd_json_put_text(b, n == 48 ? "P-384" : "P-256");
    kd_json_member(b, "x");
    kd_json_put_bytes(b, (struct kd_bytes) { point + 1, n });
    kd_json_member(b, "y");
    kd_json_put_bytes(b, (struct kd_bytes) { point + 1 + n, n });
    kd_buf_u8(b, '}');
}

void kd_service_put_given(struct kd_buf *b, const char *name, struct keyd_bytes value) {
    if (value.n > 0) {
        kd_json_member(b, name);
        kd_json_put_bytes(b, kd_service_bytes(value));
    }
}

// ---- into the caller's memory ----------------------------------------------

bool kd_service_copy(struct kd_bytes from, struct keyd_room *out) {
    if (from.n > out->max) {
        return false;
    }
    if (from.n > 0) {
        memcpy(out->p, from.p, from.n);
    }
    out->n = from.n;
    return true;
}

bool kd_service_copy_text(struct kd_bytes from, size_t max, char *out) {
    out[0] = '\0';
    if (from.n >= max) {
        return false;
    }
    if (from.n > 0) {
        memcpy(out, from.p, from.n);
    }
    out[from.n] = '\0';
    return true;
}

static bool decode(struct kd_bytes text, struct keyd_room *out) {
    struct kd_buf b = { .p = out->p, .cap = out->max, .max = out->max };
    if (kd_b64_decode(text, &b) != KD_OK || kd_buf_finish(&b) != KD_OK) {
        return false;
    }
    out->n = b.n;
    return true;
}

// ---- values ----------------------------------------------------------------

static bool text_of(const struct kd_json *v, struct keyd_room *out) {
    return kd_json_is(v, KD_JSON_STRING) && kd_service_copy(kd_json_string_bytes(v), out);
}

static bool word_of(const struct kd_json *v, size_t max, char *out) {
    return kd_json_is(v, KD_JSON_STRING) && kd_service_copy_text(kd_json_string_bytes(v), max, out);
}

// What keyd counts stays far below 2^63: its configuration bounds records and bytes of a session at
// 2^40, and numbers of records have five bytes.
static bool number_of(const struct kd_json *v, uint64_t *out) {
    if (!kd_json_is(v, KD_JSON_INTEGER) || v->integer < 0) {
        return false;
    }
    *out = (uint64_t)v->integer;
    return true;
}

// RFC 3339 in UTC; seconds, which the fraction is not needed for.
static bool time_of(const struct kd_json *v, uint64_t *out) {
    const char *text = kd_json_string(v);
    struct tm parts = { .tm_year = 0 };
    const char *rest = text == NULL ? NULL : strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    const time_t seconds = rest == NULL ? -1 : timegm(&parts);
    if (seconds < 0) {
        return false;
    }
    rest += *rest == '.' ? 1 + strspn(rest + 1, "0123456789") : 0;
    *out = (uint64_t)seconds;
    return strcmp(rest, "Z") == 0;
}

static bool bytes_of(const struct kd_json *v, struct keyd_room *out) {
    return kd_json_is(v, KD_JSON_STRING) && decode(kd_json_string_bytes(v), out);
}

static bool fixed_of(const struct kd_json *v, uint8_t *out, size_t n) {
    struct keyd_room room = { .p = out, .max = n };
    return bytes_of(v, &room) && room.n == n;
}

// ---- members ---------------------------------------------------------------

bool kd_service_find_text(const struct kd_json *object, const char *name, struct keyd_room *out) {
    return text_of(kd_json_get(object, name), out);
}

bool kd_service_find_word(const struct kd_json *object, const char *name, size_t max, char *out) {
    return word_of(kd_json_get(object, name), max, out);
}

bool kd_service_find_number(const struct kd_json *object, const char *name, uint64_t *out) {
    return number_of(kd_json_get(object, name), out);
}

bool kd_service_find_bytes(const struct kd_json *object, const char *name, struct keyd_room *out) {
    return bytes_of(kd_json_get(object, name), out);
}

bool kd_service_find_fixed(const struct kd_json *object, const char *name, uint8_t *out, size_t n) {
    return fixed_of(kd_json_get(object, name), out, n);
}

bool kd_service_find_point(const struct kd_json *object, const char *name,
                           uint8_t point[static KEYD_POINT_MAX], size_t *n_point) {
    const struct kd_json *jwk = kd_json_get(object, name);
    char curve[8];
    if (!kd_service_find_word(jwk, "crv", sizeof(curve), curve)) {
        return false;
    }
    const size_t n = strcmp(curve, "P-384") == 0 ? 48 : 32;
    if (!kd_service_find_fixed(jwk, "x", point + 1, n) ||
        !kd_service_find_fixed(jwk, "y", point + 1 + n, n)) {
        return false;
    }
    point[0] = KD_SERVICE_POINT_FORM;
    *n_point = 1 + 2 * n;
    return true;
}

bool kd_service_each(const struct kd_json *array, kd_service_element_fn *take, void *arg,
                     size_t *n) {
    *n = 0;
    if (!kd_json_is(array, KD_JSON_ARRAY)) {
        return false;
    }
    for (const struct kd_json *v = kd_json_first(array); v != kd_json_end(array);
         v = kd_json_next(v)) {
        if (!take(arg, *n, v)) {
            return false;
        }
        (*n)++;
    }
    return true;
}

// ---- into a struct ---------------------------------------------------------

// Numbers of C, whatever their width.
static bool store(uint64_t value, void *at, size_t size) {
    const unsigned narrow = (unsigned)value;
    if (size == sizeof(value)) {
        memcpy(at, &value, size);
        return true;
    }
    memcpy(at, &narrow, sizeof(narrow));
    return narrow == value;
}

static bool read_enum(const char *word, const struct kd_service_field *f, void *at) {
    for (size_t i = 0; word != NULL && i < f->n_words; i++) {
        if (strcmp(word, f->words[i]) == 0) {
            return store(i, at, f->size);
        }
    }
    return false;
}

static bool read_field(const struct kd_json *v, const struct kd_service_field *f, void *at) {
    const bool is_true = kd_json_is(v, KD_JSON_TRUE);
    uint64_t number = 0;
    switch (f->kind) {
    case KD_SERVICE_TEXT:
        return word_of(v, f->size, at);
    case KD_SERVICE_NUMBER:
        return number_of(v, &number) && store(number, at, f->size);
    case KD_SERVICE_TIME:
        return time_of(v, &number) && store(number, at, f->size);
    case KD_SERVICE_FLAG:
        return (is_true || kd_json_is(v, KD_JSON_FALSE)) && store(is_true, at, f->size);
    case KD_SERVICE_ENUM:
        return read_enum(kd_json_string(v), f, at);
    case KD_SERVICE_BYTES:
        return fixed_of(v, at, f->size);
    }
    return false;
}

bool kd_service_read(const struct kd_json *object, const struct kd_service_field *fields, size_t n,
                     void *out) {
    if (!kd_json_is(object, KD_JSON_OBJECT)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const struct kd_service_field *f = &fields[i];
        const struct kd_json *v = kd_json_get(object, f->name);
        const bool is_missing = v == NULL || kd_json_is(v, KD_JSON_NULL);
        if (is_missing ? !f->is_optional : !read_field(v, f, (uint8_t *)out + f->at)) {
            return false;
        }
    }
    return true;
}
