// SPDX-License-Identifier: Apache-2.0
// service_keys.c: keys of the token by their names: made, shown, renewed and destroyed.
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

enum { BODY_BYTES = 512, URI_MAX_BYTES = 1024 };

const char *const kd_service_key_types[KD_SERVICE_KEY_TYPES] = {
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

static const char *const origins[] = {
    [KEYD_CREATED] = "created", [KEYD_ADOPTED] = "adopted", [KEYD_IMPORTED] = "imported"
};
static const char *const states[] = { "disabled", "enabled" };

static const struct kd_service_field key_fields[] = {
    { "name", KD_SERVICE_PLACE(keyd_key, name), KD_SERVICE_TEXT },
    { "type", KD_SERVICE_PLACE(keyd_key, type), KD_SERVICE_ENUM, false, kd_service_key_types,
      KD_SERVICE_KEY_TYPES },
    { "origin", KD_SERVICE_PLACE(keyd_key, origin), KD_SERVICE_ENUM, false, origins,
      KD_COUNT_OF(origins) },
    { "created", KD_SERVICE_PLACE(keyd_key, created_s), KD_SERVICE_TIME },
    { "primary", KD_SERVICE_PLACE(keyd_key, version), KD_SERVICE_NUMBER, .is_optional = true },
};

static const struct kd_service_field version_fields[] = {
    { "version", KD_SERVICE_PLACE(keyd_key_version, version), KD_SERVICE_NUMBER },
    { "state", KD_SERVICE_PLACE(keyd_key_version, is_enabled), KD_SERVICE_ENUM, false, states,
      KD_COUNT_OF(states) },
    { "local", KD_SERVICE_PLACE(keyd_key_version, is_local), KD_SERVICE_FLAG },
    { "extractable", KD_SERVICE_PLACE(keyd_key_version, is_extractable), KD_SERVICE_FLAG },
    { "created", KD_SERVICE_PLACE(keyd_key_version, created_s), KD_SERVICE_TIME },
};

// One that we do not know is a later keyd's.
static bool add_usage(void *sum, size_t i KD_UNUSED, const struct kd_json *value) {
    const char *name = kd_json_string(value);
    for (size_t u = 0; name != NULL && u < KD_COUNT_OF(usages); u++) {
        if (strcmp(name, usages[u].name) == 0) {
            *(unsigned *)sum |= usages[u].usage;
        }
    }
    return true;
}

static bool read_version(const struct kd_json *json, struct keyd_key_version *out) {
    struct keyd_key_version v = { .version = 0 };
    if (!kd_service_read(json, version_fields, KD_COUNT_OF(version_fields), &v) ||
        (kd_json_get(json, "jwk") != NULL &&
         !kd_service_find_point(json, "jwk", v.point, &v.n_point))) {
        return false;
    }
    *out = v;
    return true;
}

// The point of the version that is the primary.
static bool add_version(void *arg, size_t i KD_UNUSED, const struct kd_json *json) {
    struct keyd_key *key = arg;
    struct keyd_key_version v;
    if (!read_version(json, &v)) {
        return false;
    }
    if (v.version == key->version) {
        memcpy(key->point, v.point, v.n_point);
        key->n_point = v.n_point;
    }
    return true;
}

static bool read_key(const struct kd_json *json, void *out) {
    struct keyd_key key = { .usages = 0 };
    size_t n = 0;
    if (!kd_service_read(json, key_fields, KD_COUNT_OF(key_fields), &key) ||
        !kd_service_each(kd_json_get(json, "usages"), add_usage, &key.usages, &n) ||
        !kd_service_each(kd_json_get(json, "versions"), add_version, &key, &n)) {
        return false;
    }
    memcpy(out, &key, sizeof(key));
    return true;
}

static enum keyd_err take_key(enum keyd_err err, const struct kd_service_answer *a,
                              struct keyd_key *out) {
    struct keyd_key key;
    if (err != KEYD_OK) {
        return kd_detail_end(err);
    }
    if (!read_key(kd_service_json(a), &key)) {
        return kd_detail_end(kd_service_strange());
    }
    if (out != NULL) {
        *out = key;
    }
    return kd_detail_end(KEYD_OK);
}

// ---- new ones --------------------------------------------------------------

static void put_usages(struct kd_buf *b, unsigned sum) {
    kd_json_member(b, "usages");
    kd_buf_u8(b, '[');
    for (size_t i = 0; i < KD_COUNT_OF(usages); i++) {
        if ((sum & usages[i].usage) != 0) {
            kd_json_element(b);
            kd_json_put_text(b, usages[i].name);
        }
    }
    kd_buf_u8(b, ']');
}

enum keyd_err keyd_key_create(struct keyd_service *s, const char *name, enum keyd_key_type type,
                              unsigned sum, struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES);
    kd_service_begin();
    if (s == NULL || !kd_service_is_name(name) || (size_t)type >= KD_SERVICE_KEY_TYPES) {
        return kd_detail_end(kd_service_wrong("The name or type of the key"));
    }
    kd_buf_u8(&b, '{');
    kd_json_member(&b, "name");
    kd_json_put_text(&b, name);
    kd_json_member(&b, "type");
    kd_json_put_text(&b, kd_service_key_types[type]);
    put_usages(&b, sum);
    kd_buf_u8(&b, '}');
    return take_key(kd_service_post(s, "/v1/keys", &b, &a), &a, out);
}

// What is there already, as `member` says.
static enum keyd_err take_in(struct keyd_service *s, const char *name, const char *member,
                             const char *text, size_t max, struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES + 2 * max);
    kd_service_begin();
    if (s == NULL || !kd_service_is_name(name) || text == NULL || strnlen(text, max + 1) > max) {
        return kd_detail_end(kd_service_wrong("The name of the key, its URI or its PEM"));
    }
    kd_buf_u8(&b, '{');
    kd_json_member(&b, "name");
    kd_json_put_text(&b, name);
    kd_json_member(&b, member);
    kd_json_put_text(&b, text);
    kd_buf_u8(&b, '}');
    return take_key(kd_service_post(s, "/v1/keys", &b, &a), &a, out);
}

enum keyd_err keyd_key_adopt(struct keyd_service *s, const char *name, const char *uri,
                             struct keyd_key *out) {
    return take_in(s, name, "uri", uri, URI_MAX_BYTES, out);
}

enum keyd_err keyd_key_import(struct keyd_service *s, const char *name, const char *pem,
                              struct keyd_key *out) {
    return take_in(s, name, "pem", pem, KEYD_PEM_MAX, out);
}

enum keyd_err keyd_key_import_point(struct keyd_service *s, const char *name,
                                    enum keyd_key_type type, struct keyd_bytes point,
                                    struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES);
    const size_t n = type == KEYD_EC_P256 ? 32 : type == KEYD_EC_P384 ? 48 : 0;
    kd_service_begin();
    if (s == NULL || !kd_service_is_name(name) || n == 0) {
        return kd_detail_end(kd_service_wrong("The name or type of the key"));
    }
    if (point.n != 1 + 2 * n || *(const uint8_t *)point.p != KD_SERVICE_POINT_FORM) {
        return kd_detail_end(kd_service_wrong("The point"));
    }
    kd_buf_u8(&b, '{');
    kd_json_member(&b, "name");
    kd_json_put_text(&b, name);
    kd_service_put_point(&b, "jwk", point.p, n);
    kd_buf_u8(&b, '}');
    return take_key(kd_service_post(s, "/v1/keys", &b, &a), &a, out);
}

// ---- those that there are --------------------------------------------------

// The key's own address, or that of `operation`.
static enum keyd_err on_key(struct keyd_service *s, const char *method, const char *name,
                            const char *operation, struct kd_service_answer *a) {
    kd_service_begin();
    return kd_service_is_name(name) ? kd_service_on(s, method, "keys", name, operation, a)
                                    : kd_service_wrong("The name of the key");
}

enum keyd_err keyd_key_show(struct keyd_service *s, const char *name, struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    return take_key(on_key(s, "GET", name, "", &a), &a, out);
}

enum keyd_err keyd_key_rotate(struct keyd_service *s, const char *name, struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    return take_key(on_key(s, "POST", name, "rotate", &a), &a, out);
}

enum keyd_err keyd_key_delete(struct keyd_service *s, const char *name) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    return kd_detail_end(on_key(s, "DELETE", name, "", &a));
}

enum keyd_err keyd_key_delete_version(struct keyd_service *s, const char *name, unsigned version) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    char which[32];
    if (version == 0) { // elsewhere that is all of them
        kd_service_begin();
        return kd_detail_end(kd_service_wrong("The version"));
    }
    snprintf(which, sizeof(which), "versions/%u", version);
    return kd_detail_end(on_key(s, "DELETE", name, which, &a));
}

// Sends `body` to the key's `operation`.
static enum keyd_err change(struct keyd_service *s, const char *name, const char *operation,
                            struct kd_buf *body, struct keyd_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    char path[KD_SERVICE_PATH_BYTES];
    const struct keyd_with with = { .key = name };
    if (s == NULL || name == NULL) {
        return kd_detail_end(kd_service_wrong("The name of the key"));
    }
    enum keyd_err err = kd_service_path(&with, operation, path);
    return err != KEYD_OK ? kd_detail_end(err)
                          : take_key(kd_service_post(s, path, body, &a), &a, out);
}

enum keyd_err keyd_key_rotate_to(struct keyd_service *s, const char *name, const char *uri,
                                 struct keyd_key *out) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES + 2 * URI_MAX_BYTES);
    kd_service_begin();
    if (uri == NULL || strnlen(uri, URI_MAX_BYTES + 1) > URI_MAX_BYTES) {
        return kd_detail_end(kd_service_wrong("The URI of the object"));
    }
    kd_buf_u8(&b, '{');
    kd_json_member(&b, "uri");
    kd_json_put_text(&b, uri);
    kd_buf_u8(&b, '}');
    return change(s, name, "rotate", &b, out);
}

static enum keyd_err set_state(struct keyd_service *s, const char *name, const char *operation,
                               unsigned version, struct keyd_key *out) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES);
    kd_service_begin();
    kd_buf_u8(&b, '{');
    if (version != 0) {
        kd_json_member(&b, "version");
        kd_json_put_number(&b, version);
    }
    kd_buf_u8(&b, '}');
    return change(s, name, operation, &b, out);
}

enum keyd_err keyd_key_disable(struct keyd_service *s, const char *name, unsigned version,
                               struct keyd_key *out) {
    return set_state(s, name, "disable", version, out);
}

enum keyd_err keyd_key_enable(struct keyd_service *s, const char *name, unsigned version,
                              struct keyd_key *out) {
    return set_state(s, name, "enable", version, out);
}

enum keyd_err keyd_key_list(struct keyd_service *s, struct keyd_page *page, struct keyd_key *out,
                            size_t max) {
    static const struct kd_service_list list = { "keys", sizeof(*out), read_key };
    return kd_service_page(s, &list, page, out, max);
}

// ---- versions --------------------------------------------------------------

struct versions {
    struct keyd_key_version *out;
    size_t max;
};

static bool put_version(void *arg, size_t i, const struct kd_json *json) {
    const struct versions *v = arg;
    struct keyd_key_version one;
    return read_version(json, i < v->max ? &v->out[i] : &one);
}

enum keyd_err keyd_key_versions(struct keyd_service *s, const char *name,
                                struct keyd_key_version *out, size_t max, size_t *n) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    struct versions v = { out, max };
    struct keyd_key key;
    kd_service_begin();
    if (out == NULL || n == NULL) {
        return kd_detail_end(kd_service_wrong("Room for the versions"));
    }
    const enum keyd_err err = on_key(s, "GET", name, "", &a);
    if (err != KEYD_OK) {
        return kd_detail_end(err);
    }
    if (!read_key(kd_service_json(&a), &key) ||
        !kd_service_each(kd_json_get(kd_service_json(&a), "versions"), put_version, &v, n)) {
        return kd_detail_end(kd_service_strange());
    }
    return kd_detail_end(*n <= max ? KEYD_OK : kd_service_wrong("Room for the versions"));
}
