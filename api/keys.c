// SPDX-License-Identifier: Apache-2.0
// keys.c: the handlers of /v1/keys: create, adopt, import, list, show, rotate,
// disable, enable, delete, also one version.
#include "api/json_in.h"
#include "api/jwk.h"
#include "api/page.h"
#include "api/route.h"

#include <stdio.h>
#include <string.h>

enum {
    NOTED_ID_BYTES = 32,      // of a CKA_ID, at most
    PAGE_MAX_BYTES = 8 << 20, // of more than one key: another may be behind it within the answer
};

// ---- writing ---------------------------------------------------------------

static void put_usages(struct kd_buf *out, unsigned usages) {
    kd_buf_u8(out, '[');
    for (unsigned usage = 1; usage <= KD_USE_ALL; usage <<= 1) {
        if ((usages & usage) != 0) {
            kd_json_element(out);
            kd_json_put_text(out, kd_key_usage_name((enum kd_key_usage)usage));
        }
    }
    kd_buf_u8(out, ']');
}

static void put_version(struct kd_buf *out, const struct kd_key *key,
                        const struct kd_key_version *v) {
    kd_json_element(out);
    kd_buf_u8(out, '{');
    kd_json_member(out, "version");
    kd_json_put_number(out, v->number);
    kd_json_member(out, "state");
    kd_json_put_text(out, v->state == KD_VERSION_ENABLED ? "enabled" : "disabled");
    kd_json_member(out, "created");
    kd_json_put_time(out, v->created_ms);
    kd_json_member(out, "local");
    kd_json_put_bool(out, v->is_local);
    kd_json_member(out, "extractable");
    kd_json_put_bool(out, v->is_extractable);
    if (kd_key_type_is_ec(key->type)) {
        kd_json_member(out, "jwk");
        kd_jwk_write(out, key->type, v->ref.proof);
        kd_json_member(out, "pem");
        kd_spki_pem_write(out, key->type, v->ref.proof);
    }
    kd_buf_u8(out, '}');
}

static void put_key(struct kd_buf *out, const struct kd_key *key) {
    kd_json_element(out);
    kd_buf_u8(out, '{');
    kd_json_member(out, "name");
    kd_json_put_text(out, key->name);
    kd_json_member(out, "type");
    kd_json_put_text(out, kd_key_type_name(key->type));
    kd_json_member(out, "usages");
    put_usages(out, key->usages);
    kd_json_member(out, "origin");
    kd_json_put_text(out, kd_key_origin_name(key->origin));
    kd_json_member(out, "created");
    kd_json_put_time(out, key->created_ms);
    kd_json_member(out, "primary");
    const struct kd_key_version *primary = kd_key_primary(key);
    if (primary != NULL) {
        kd_json_put_number(out, primary->number);
    } else {
        kd_buf_text(out, "null");
    }
    if (key->certificate.n > 0) {
        kd_json_member(out, "certificate");
        kd_certificate_pem_write(out, key->certificate);
    }
    kd_json_member(out, "versions");
    kd_buf_u8(out, '[');
    for (size_t i = 0; i < key->n_versions; i++) {
        if (key->versions[i].state != KD_VERSION_PENDING) {
            put_version(out, key, &key->versions[i]);
        }
    }
    kd_buf_text(out, "]}");
}

// ---- answers of the service ------------------------------------------------

static void finish(struct kd_request *q, enum kd_err err, const char *detail,
                   const struct kd_key *key, unsigned status) {
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    if (key != NULL) {
        put_key(&q->out, key);
    }
    kd_request_end(q, status);
}

// Which object of the token it is now: for the audit log.
static void note_version(struct kd_request *q, const struct kd_key *key) {
    const struct kd_key_version *v = &key->versions[key->n_versions - 1];
    char id[2 * NOTED_ID_BYTES + 1];
    kd_request_note_number(q, "version", v->number);
    kd_request_note(q, "origin",
                    v->is_local                         ? "created"
                    : key->origin == KD_ORIGIN_IMPORTED ? "imported"
                                                        : "adopted");
    if (v->ref.id.n > 0) {
        kd_hex_encode(v->ref.id.p, v->ref.id.n < NOTED_ID_BYTES ? v->ref.id.n : NOTED_ID_BYTES, id);
        kd_request_note(q, "cka_id", id);
    }
    if (v->is_extractable) {
        kd_request_note(q, "extractable", "yes");
    }
}

static void on_made(void *arg, enum kd_err err, const char *detail, const struct kd_key *key) {
    struct kd_request *q = arg;
    if (err == KD_OK) {
        snprintf(q->location, sizeof(q->location), "/v1/keys/%s", key->name);
        note_version(q, key);
    }
    finish(q, err, detail, key, 201);
}

static void on_rotated(void *arg, enum kd_err err, const char *detail, const struct kd_key *key) {
    if (err == KD_OK) {
        note_version(arg, key);
    }
    finish(arg, err, detail, key, 201);
}

static void on_changed(void *arg, enum kd_err err, const char *detail, const struct kd_key *key) {
    finish(arg, err, detail, key, 200);
}

static void on_deleted(void *arg, enum kd_err err, const char *detail,
                       const struct kd_key *key KD_UNUSED) {
    finish(arg, err, detail, NULL, 204);
}

static enum kd_err wait_if(struct kd_request *q, enum kd_err err) {
    if (err == KD_OK) {
        q->state = KD_REQUEST_WAITING;
    }
    return err;
}

// The same of what makes a key or a version: where there is no room, which limit it is; where a
// body asks for what the caller may not make, which permission that takes, and on which name.
static enum kd_err wait_if_room(struct kd_request *q, enum kd_permission permission,
                                const char *name, enum kd_err err) {
    kd_auto(buf) struct kd_buf why = KD_BUF_INIT(sizeof(q->why.detail));
    const bool is_named_in_body = permission != KD_MAY_ROTATE;
    if ((err == KD_ERR_TOO_MANY || (err == KD_ERR_DENIED && is_named_in_body)) &&
        kd_service_room(q->http->service, &q->caller, permission, name, &why) == err) {
        kd_request_say(q, kd_buf_get_text(&why));
    }
    return wait_if(q, err);
}

static struct kd_json_in input(struct kd_request *q) {
    return (struct kd_json_in) { .object = q->json.root, .arena = &q->arena, .why = &q->why };
}

// ---- POST /v1/keys ---------------------------------------------------------

static enum kd_err read_usages(const struct kd_json_in *in, unsigned *out) {
    const struct kd_json *array = kd_json_get(in->object, "usages");
    if (array == NULL) {
        return kd_json_blame(in, "usages", KD_ERR_FIELD_MISSING, "");
    }
    unsigned usages = 0;
    const bool is_array = array->type == KD_JSON_ARRAY;
    for (const struct kd_json *at = kd_json_first(array); is_array && at != kd_json_end(array);
         at = kd_json_next(at)) {
        const char *name = kd_json_string(at);
        enum kd_key_usage usage;
        if (name == NULL || !kd_key_usage_parse(name, &usage) || (usages & usage) != 0) {
            return kd_json_blame(in, "usages", KD_ERR_FIELD_INVALID,
                                 "Each of sign, verify, encrypt, decrypt, derive may stand once.");
        }
        usages |= usage;
    }
    if (usages == 0) {
        return kd_json_blame(in, "usages", KD_ERR_FIELD_INVALID,
                             "An array with at least one usage is expected.");
    }
    *out = usages;
    return KD_OK;
}

static enum kd_err create(struct kd_request *q, const struct kd_json_in *in, const char *name) {
    static const char *const names[] = { "name", "type", "usages" };
    const char *type = NULL;
    struct kd_key_spec spec = { .name = name };
    enum kd_err err = kd_json_only(in, names, KD_COUNT_OF(names));
    if (err != KD_OK || (err = kd_json_text(in, "type", true, &type)) != KD_OK) {
        return err;
    }
    if (!kd_key_type_parse(type, &spec.type)) {
        return kd_json_blame(in, "type", KD_ERR_FIELD_INVALID,
                             "One of ec-p256, ec-p384, hmac-sha256, hmac-sha384, aes-256 is "
                             "expected.");
    }
    err = read_usages(in, &spec.usages);
    if (err != KD_OK) {
        return err;
    }
    if (!kd_key_usages_fit(spec.type, spec.usages)) {
        return kd_json_blame(in, "usages", KD_ERR_FIELD_INVALID,
                             "A key of this type cannot have these usages; an EC key has either "
                             "sign or derive.");
    }
    return wait_if_room(q, KD_MAY_CREATE, name,
                        kd_service_key_create(q->http->service, &q->caller, &spec, on_made, q));
}

static enum kd_err adopt(struct kd_request *q, const struct kd_json_in *in, const char *name) {
    static const char *const names[] = { "name", "uri" };
    const char *uri = NULL;
    enum kd_err err = kd_json_only(in, names, KD_COUNT_OF(names));
    if (err != KD_OK || (err = kd_json_text(in, "uri", true, &uri)) != KD_OK) {
        return err;
    }
    return wait_if_room(q, KD_MAY_ADOPT, name,
                        kd_service_key_adopt(q->http->service, &q->caller, name, uri, on_made, q));
}

static enum kd_err import(struct kd_request *q, const struct kd_json_in *in, const char *name) {
    const bool is_jwk = kd_json_has(in, "jwk");
    const char *const names[] = { "name", is_jwk ? "jwk" : "pem" };
    enum kd_err err = kd_json_only(in, names, KD_COUNT_OF(names));
    if (err != KD_OK) {
        return err;
    }
    struct kd_public_key key;
    struct kd_bytes certificate = KD_BYTES_NONE;
    err = is_jwk ? kd_jwk_read(in, "jwk", &key) : kd_pem_read(in, "pem", &key, &certificate);
    if (err != KD_OK) {
        return err;
    }
    if (is_jwk && !kd_public_key_is_on_curve(&key)) {
        return kd_json_blame(in, "jwk", KD_ERR_BAD_PUBLIC_KEY, "The point is not on the curve.");
    }
    const struct kd_bytes point =
        certificate.n > 0 ? KD_BYTES_NONE : (struct kd_bytes) { key.point, key.n };
    return wait_if_room(q, KD_MAY_IMPORT, name,
                        kd_service_key_import(q->http->service, &q->caller, name, key.type, point,
                                              certificate, on_made, q));
}

enum kd_err kd_handle_key_new(struct kd_request *q) {
    const struct kd_json_in in = input(q);
    const char *name = NULL;
    enum kd_err err = kd_json_text(&in, "name", true, &name);
    if (err != KD_OK) {
        return err;
    }
    if (!kd_name_is_valid(kd_bytes_of_text(name))) {
        return kd_json_blame(&in, "name", KD_ERR_BAD_NAME, "");
    }
    if (kd_json_has(&in, "uri")) {
        return adopt(q, &in, name);
    }
    if (kd_json_has(&in, "jwk") || kd_json_has(&in, "pem")) {
        return import(q, &in, name);
    }
    return create(q, &in, name);
}

// ---- the others ------------------------------------------------------------

// How many of them the page has: it ends before the one that would make it too long.
static size_t put_page(struct kd_buf *out, const struct kd_key *const *keys, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const size_t before = out->n;
        put_key(out, keys[i]);
        if (i > 0 && out->n > PAGE_MAX_BYTES) {
            out->n = before;
            out->err = KD_OK; // it may have been too long for the answer
            return i;
        }
    }
    return n;
}

enum kd_err kd_handle_key_list(struct kd_request *q) {
    struct kd_page page;
    enum kd_err err = kd_page_read(q, &page);
    if (err != KD_OK) {
        return err;
    }
    const struct kd_key *keys[KD_PAGE_MAX + 1];
    const size_t n =
        kd_service_keys(q->http->service, &q->caller, page.after, keys, page.limit + 1);
    kd_buf_text(&q->out, "{\"keys\":[");
    const size_t shown = put_page(&q->out, keys, n > page.limit ? page.limit : n);
    kd_buf_u8(&q->out, ']');
    kd_page_put_next(&q->out, n > shown ? keys[shown - 1]->name : NULL);
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_key_show(struct kd_request *q) {
    const struct kd_key *key = NULL;
    enum kd_err err = kd_service_key(q->http->service, &q->caller, q->name, &key);
    if (err != KD_OK) {
        return err;
    }
    put_key(&q->out, key);
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_key_delete(struct kd_request *q) {
    return wait_if(q, kd_service_key_delete(q->http->service, &q->caller, q->name, on_deleted, q));
}

enum kd_err kd_handle_key_delete_version(struct kd_request *q) {
    return wait_if(q, kd_service_key_delete_version(q->http->service, &q->caller, q->name,
                                                    q->version, on_deleted, q));
}

enum kd_err kd_handle_key_rotate(struct kd_request *q) {
    static const char *const names[] = { "uri" };
    const struct kd_json_in in = input(q);
    const char *uri = NULL;
    enum kd_err err = q->json.root == NULL ? KD_OK : kd_json_only(&in, names, KD_COUNT_OF(names));
    if (err == KD_OK && q->json.root != NULL) {
        err = kd_json_text(&in, "uri", false, &uri);
    }
    if (err != KD_OK) {
        return err;
    }
    struct kd_service *s = q->http->service;
    err = uri == NULL ? kd_service_key_rotate(s, &q->caller, q->name, on_rotated, q)
                      : kd_service_key_rotate_to(s, &q->caller, q->name, uri, on_rotated, q);
    return wait_if_room(q, KD_MAY_ROTATE, q->name, err);
}

static enum kd_err set_state(struct kd_request *q, bool enable) {
    static const char *const names[] = { "version" };
    const struct kd_json_in in = input(q);
    uint32_t version = 0;
    enum kd_err err = q->json.root == NULL ? KD_OK : kd_json_only(&in, names, KD_COUNT_OF(names));
    if (err == KD_OK && q->json.root != NULL) {
        err = kd_json_number(&in, "version", false, 1, UINT32_MAX, &version);
    }
    if (err != KD_OK) {
        return err;
    }
    return wait_if(q, kd_service_key_set_state(q->http->service, &q->caller, q->name, version,
                                               enable, on_changed, q));
}

enum kd_err kd_handle_key_disable(struct kd_request *q) {
    return set_state(q, false);
}

enum kd_err kd_handle_key_enable(struct kd_request *q) {
    return set_state(q, true);
}
