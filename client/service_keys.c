// SPDX-License-Identifier: Apache-2.0
// service_keys.c: keys of the token by their names: made, shown, renewed and destroyed.
#include "client/service_state.h"

#include <string.h>

enum { BODY_BYTES = 512, POINT_FORM = 4 };

static const char *const type_names[] = {
    [KEYD_AES_256] = "aes-256",         [KEYD_HMAC_SHA256] = "hmac-sha256",
    [KEYD_HMAC_SHA384] = "hmac-sha384", [KEYD_EC_P256] = "ec-p256",
    [KEYD_EC_P384] = "ec-p384",
};

static const struct {
    unsigned usage;
    const char *name;
} usages[] = {
    { KEYD_MAY_SIGN, "sign" },       { KEYD_MAY_VERIFY, "verify" }, { KEYD_MAY_ENCRYPT, "encrypt" },
    { KEYD_MAY_DECRYPT, "decrypt" }, { KEYD_MAY_DERIVE, "derive" },
};

// ---- reading ---------------------------------------------------------------

static bool read_type(const json_t *o, enum keyd_key_type *out) {
    char name[16];
    if (!kd_service_get_text(o, "type", sizeof(name), name)) {
        return false;
    }
    for (size_t i = 0; i < KD_COUNT_OF(type_names); i++) {
        if (strcmp(type_names[i], name) == 0) {
            *out = (enum keyd_key_type)i;
            return true;
        }
    }
    return false;
}

static unsigned read_usages(const json_t *array) {
    unsigned sum = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(array, i));
        for (size_t u = 0; name != NULL && u < KD_COUNT_OF(usages); u++) {
            sum |= strcmp(usages[u].name, name) == 0 ? usages[u].usage : 0;
        }
    }
    return sum;
}

// SEC 1 2.3.3: 04, x, y.
static bool read_point(const json_t *jwk, struct keyd_key *key) {
    const size_t n = key->type == KEYD_EC_P384 ? 48 : 32;
    struct keyd_room x = { .p = key->point + 1, .max = n };
    struct keyd_room y = { .p = key->point + 1 + n, .max = n };
    if (!kd_service_get_bytes(jwk, "x", &x) || !kd_service_get_bytes(jwk, "y", &y) || x.n != n ||
        y.n != n) {
        return false;
    }
    key->point[0] = POINT_FORM;
    key->n_point = 1 + 2 * n;
    return true;
}

// The version that is the primary, as JSON; NULL: none.
static const json_t *find_version(const json_t *versions, unsigned number) {
    uint64_t found = 0;
    for (size_t i = 0; i < json_array_size(versions); i++) {
        const json_t *v = json_array_get(versions, i);
        if (kd_service_get_number(v, "version", &found) && found == number) {
            return v;
        }
    }
    return NULL;
}

static bool read_key(const json_t *o, struct keyd_key *out) {
    struct keyd_key key = { .usages = read_usages(json_object_get(o, "usages")) };
    uint64_t primary = 0;
    if (!kd_service_get_text(o, "name", sizeof(key.name), key.name) || !read_type(o, &key.type)) {
        return false;
    }
    const json_t *versions = json_object_get(o, "versions");
    if (kd_service_get_number(o, "primary", &primary)) {
        key.version = (unsigned)primary;
    } else if (!json_is_null(json_object_get(o, "primary"))) {
        return false;
    }
    const json_t *jwk = json_object_get(find_version(versions, key.version), "jwk");
    if (jwk != NULL && !read_point(jwk, &key)) {
        return false;
    }
    *out = key;
    return true;
}

// ---- calls -----------------------------------------------------------------

static enum keyd_err take_key(enum keyd_err err, const struct kd_service_answer *a,
                              struct keyd_key *out) {
    struct keyd_key key;
    if (err != KEYD_OK) {
        return err;
    }
    if (!read_key(a->http.json, &key)) {
        return kd_service_strange();
    }
    if (out != NULL) {
        *out = key;
    }
    return KEYD_OK;
}

static void put_usages(struct kd_buf *b, unsigned sum) {
    kd_service_put_name(b, "usages");
    const char *comma = "[";
    for (size_t i = 0; i < KD_COUNT_OF(usages); i++) {
        if ((sum & usages[i].usage) != 0) {
            kd_buf_printf(b, "%s\"%s\"", comma, usages[i].name);
            comma = ",";
        }
    }
    kd_buf_text(b, comma[0] == '[' ? "[]" : "]");
}

enum keyd_err keyd_key_create(struct keyd_service *s, const char *name, enum keyd_key_type type,
                              unsigned sum, struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES);
    kd_service_begin();
    if (s == NULL || !kd_service_is_name(name) || (size_t)type >= KD_COUNT_OF(type_names)) {
        return kd_detail_end(kd_service_wrong("The name or type of the key"));
    }
    kd_buf_u8(&b, '{');
    kd_service_put_text(&b, "name", name);
    kd_service_put_text(&b, "type", type_names[type]);
    put_usages(&b, sum);
    kd_buf_u8(&b, '}');
    const enum keyd_err err = kd_service_post(s, "/v1/keys", &b, false, &a);
    return kd_detail_end(take_key(err, &a, out));
}

// The key's own address, or that of `operation`.
static enum keyd_err on_key(struct keyd_service *s, const char *method, const char *name,
                            const char *operation, struct kd_service_answer *a) {
    char path[KD_SERVICE_PATH_BYTES];
    const struct keyd_with with = { .key = name };
    if (s == NULL || name == NULL) {
        return kd_service_wrong("The name of the key");
    }
    const enum keyd_err err = kd_service_path(&with, operation, path);
    const size_t n = strlen(path);
    if (err == KEYD_OK && operation[0] == '\0') {
        path[n - 1] = '\0'; // the slash
    }
    return err == KEYD_OK ? kd_service_do(s, method, path, a) : err;
}

enum keyd_err keyd_key_show(struct keyd_service *s, const char *name, struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(take_key(on_key(s, "GET", name, "", &a), &a, out));
}

enum keyd_err keyd_key_rotate(struct keyd_service *s, const char *name, struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(take_key(on_key(s, "POST", name, "rotate", &a), &a, out));
}

enum keyd_err keyd_key_delete(struct keyd_service *s, const char *name) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(on_key(s, "DELETE", name, "", &a));
}
