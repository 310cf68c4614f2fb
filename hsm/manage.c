// SPDX-License-Identifier: Apache-2.0
// manage.c: makes, describes, finds and destroys key objects of the token.
#include "hsm/exec.h"

#include <p11-kit/uri.h>
#include <string.h>

enum { FOUND_MAX = KD_HSM_BATCH_MAX_ITEMS, SAME_ID_MAX = 8, TEMPLATE_MAX = 16 };

// Object identifiers in DER: RFC 5480 2.1.1.1.
static const uint8_t oid_p256[] = { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };
static const uint8_t oid_p384[] = { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22 };

static const struct {
    CK_ATTRIBUTE_TYPE type;
    enum kd_key_usage usage;
} usage_attributes[] = {
    { CKA_SIGN, KD_USE_SIGN },       { CKA_VERIFY, KD_USE_VERIFY }, { CKA_ENCRYPT, KD_USE_ENCRYPT },
    { CKA_DECRYPT, KD_USE_DECRYPT }, { CKA_DERIVE, KD_USE_DERIVE },
};

// ---- generate --------------------------------------------------------------

struct template {
    CK_BBOOL yes;
    CK_BBOOL no;
    size_t n;
    CK_ATTRIBUTE list[TEMPLATE_MAX];
};

static void put(struct template *t, CK_ATTRIBUTE attribute) {
    t->list[t->n++] = attribute;
}

static void put_flag(struct template *t, CK_ATTRIBUTE_TYPE type, bool value) {
    put(t, (CK_ATTRIBUTE) { type, value ? &t->yes : &t->no, sizeof(CK_BBOOL) });
}

static void begin(struct template *t, const struct kd_key_ref *ref) {
    *t = (struct template) { .yes = CK_TRUE };
    put_flag(t, CKA_TOKEN, true);
    put(t, KD_ATTRIBUTE_BYTES(CKA_ID, ref->id));
    put(t, KD_ATTRIBUTE_BYTES(CKA_LABEL, ref->label));
}

// What must never leave.
static void put_guards(struct template *t) {
    put_flag(t, CKA_PRIVATE, true);
    put_flag(t, CKA_SENSITIVE, true);
    put_flag(t, CKA_EXTRACTABLE, false);
}

static enum kd_err generate_pair(struct kd_session *s, const struct kd_hsm_item *item,
                                 CK_OBJECT_HANDLE *private_key) {
    const struct kd_bytes oid = item->key.type == KD_KEY_EC_P256
                                    ? (struct kd_bytes) { oid_p256, sizeof(oid_p256) }
                                    : (struct kd_bytes) { oid_p384, sizeof(oid_p384) };
    struct template public;
    begin(&public, &item->key);
    put(&public, KD_ATTRIBUTE_BYTES(CKA_EC_PARAMS, oid));
    put_flag(&public, CKA_VERIFY, (item->usages & KD_USE_SIGN) != 0);
    struct template private;
    begin(&private, &item->key);
    put_guards(&private);
    put_flag(&private, CKA_SIGN, (item->usages & KD_USE_SIGN) != 0);
    put_flag(&private, CKA_DERIVE, (item->usages & KD_USE_DERIVE) != 0);
    put_flag(&private, CKA_DECRYPT, false);
    put_flag(&private, CKA_UNWRAP, false);
    CK_MECHANISM make = { CKM_EC_KEY_PAIR_GEN, NULL, 0 };
    CK_OBJECT_HANDLE public_key;
    return kd_ckr("C_GenerateKeyPair", s->token->p11->C_GenerateKeyPair(
                                           s->handle, &make, public.list, public.n, private.list,
                                           private.n, &public_key, private_key));
}

static enum kd_err generate_secret(struct kd_session *s, const struct kd_hsm_item *item,
                                   CK_OBJECT_HANDLE *key) {
    const bool is_aes = item->key.type == KD_KEY_AES_256;
    const CK_ULONG n = item->key.type == KD_KEY_HMAC_SHA384 ? 48 : 32;
    struct template t;
    begin(&t, &item->key);
    put_guards(&t);
    put(&t, KD_ATTRIBUTE(CKA_VALUE_LEN, n));
    for (size_t i = 0; i < KD_COUNT_OF(usage_attributes); i++) {
        put_flag(&t, usage_attributes[i].type, (item->usages & usage_attributes[i].usage) != 0);
    }
    put_flag(&t, CKA_WRAP, false);
    put_flag(&t, CKA_UNWRAP, false);
    CK_MECHANISM make = { is_aes ? CKM_AES_KEY_GEN : CKM_GENERIC_SECRET_KEY_GEN, NULL, 0 };
    return kd_ckr("C_GenerateKey",
                  s->token->p11->C_GenerateKey(s->handle, &make, t.list, t.n, key));
}

enum kd_err kd_exec_generate(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                             const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    if (!kd_key_usages_fit(item->key.type, item->usages)) {
        return KD_ERR_KEY_USAGE;
    }
    CK_OBJECT_HANDLE key;
    enum kd_err r = kd_key_type_is_ec(item->key.type) ? generate_pair(s, item, &key)
                                                      : generate_secret(s, item, &key);
    return r == KD_OK ? kd_describe(s, key, &result->object) : r;
}

// ---- describe --------------------------------------------------------------

// One attribute of variable length, appended to s->out; empty where the object
// has it not.
static enum kd_err get_bytes(struct kd_session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type,
                             size_t max, struct kd_bytes *out) {
    CK_ATTRIBUTE a = { type, NULL, 0 };
    const CK_RV rv = s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1);
    *out = KD_BYTES_NONE;
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE ||
        a.ulValueLen == CK_UNAVAILABLE_INFORMATION || (rv == CKR_OK && a.ulValueLen > max)) {
        return KD_OK;
    }
    enum kd_err r = kd_ckr("C_GetAttributeValue", rv);
    if (r != KD_OK || a.ulValueLen == 0) {
        return r;
    }
    a.pValue = kd_buf_extend(&s->out, a.ulValueLen);
    if (a.pValue == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    r = kd_ckr("C_GetAttributeValue", s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1));
    *out = (struct kd_bytes) { a.pValue, a.ulValueLen };
    return r;
}

static bool get_flag(struct kd_session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type) {
    CK_BBOOL v = CK_FALSE;
    CK_ATTRIBUTE a = KD_ATTRIBUTE(type, v);
    return s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1) == CKR_OK && v == CK_TRUE;
}

static CK_ULONG get_number(struct kd_session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type) {
    CK_ULONG v = 0;
    CK_ATTRIBUTE a = KD_ATTRIBUTE(type, v);
    return s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1) == CKR_OK
               ? v
               : CK_UNAVAILABLE_INFORMATION;
}

static enum kd_err type_of(struct kd_session *s, CK_OBJECT_HANDLE handle, enum kd_key_type *out) {
    struct kd_bytes params;
    const CK_ULONG kind = get_number(s, handle, CKA_KEY_TYPE);
    const CK_ULONG n = kind == CKK_EC ? 0 : get_number(s, handle, CKA_VALUE_LEN);
    *out = (enum kd_key_type)0;
    if (kind == CKK_AES && n == 32) {
        *out = KD_KEY_AES_256;
    } else if (kind == CKK_GENERIC_SECRET && (n == 32 || n == 48)) {
        *out = n == 32 ? KD_KEY_HMAC_SHA256 : KD_KEY_HMAC_SHA384;
    } else if (kind == CKK_EC) {
        enum kd_err r = get_bytes(s, handle, CKA_EC_PARAMS, 64, &params);
        if (r != KD_OK) {
            return r;
        }
        if (kd_bytes_equal(params, (struct kd_bytes) { oid_p256, sizeof(oid_p256) })) {
            *out = KD_KEY_EC_P256;
        } else if (kd_bytes_equal(params, (struct kd_bytes) { oid_p384, sizeof(oid_p384) })) {
            *out = KD_KEY_EC_P384;
        }
    }
    return KD_OK;
}

// CKA_EC_POINT is a DER OCTET STRING (PKCS#11 2.3.3); some modules give the
// point itself.
static struct kd_bytes unwrap_point(enum kd_key_type type, struct kd_bytes v) {
    const size_t n = kd_key_type_point_bytes(type);
    if (v.n == n + 2 && v.p[0] == 0x04 && v.p[1] == n) {
        return (struct kd_bytes) { v.p + 2, n };
    }
    return v.n == n ? v : KD_BYTES_NONE;
}

// The public half stands beside the private one under the same id.
static enum kd_err point_of(struct kd_session *s, CK_OBJECT_HANDLE handle, bool is_private,
                            const struct kd_key_ref *ref, struct kd_bytes *out) {
    struct kd_bytes value;
    enum kd_err r = get_bytes(s, handle, CKA_EC_POINT, 256, &value);
    if (r != KD_OK || value.n > 0 || !is_private) {
        *out = unwrap_point(ref->type, value);
        return r;
    }
    const CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE template[] = { KD_ATTRIBUTE(CKA_CLASS, class),
                                KD_ATTRIBUTE_BYTES(CKA_ID, ref->id) };
    CK_OBJECT_HANDLE found[1];
    size_t n = 0;
    r = kd_object_find(s, template, KD_COUNT_OF(template), found, 1, &n);
    *out = KD_BYTES_NONE;
    if (r == KD_ERR_TOO_MANY || (r == KD_OK && n == 0)) {
        return KD_OK; // not known, or not certain
    }
    if (r == KD_OK && (r = get_bytes(s, found[0], CKA_EC_POINT, 256, &value)) == KD_OK) {
        *out = unwrap_point(ref->type, value);
    }
    return r;
}

static enum kd_err proof_of(struct kd_session *s, CK_OBJECT_HANDLE handle,
                            struct kd_hsm_object *o) {
    if (!o->has_type) {
        return KD_OK;
    }
    if (kd_key_type_is_ec(o->ref.type)) {
        return point_of(s, handle, o->is_private, &o->ref, &o->ref.proof);
    }
    uint8_t check[KD_HSM_CHECK_BYTES];
    size_t n = 0;
    enum kd_err r = kd_proof_of_secret(s, o->ref.type, o->usages, handle, check, &n);
    if (r != KD_OK || n == 0) {
        return r;
    }
    const size_t start = s->out.n;
    kd_buf_put(&s->out, check, n);
    o->ref.proof = (struct kd_bytes) { s->out.p + start, n };
    return kd_buf_finish(&s->out);
}

enum kd_err kd_describe(struct kd_session *s, CK_OBJECT_HANDLE handle, struct kd_hsm_object *out) {
    // The slices of `out` point into s->out: it must not move while it grows.
    kd_buf_reset(&s->out);
    if (kd_buf_extend(&s->out, 2048) == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    kd_buf_reset(&s->out);
    struct kd_hsm_object o = { 0 };
    const CK_ULONG class = get_number(s, handle, CKA_CLASS);
    o.is_private = class == CKO_PRIVATE_KEY || class == CKO_SECRET_KEY;
    enum kd_err r;
    if ((r = get_bytes(s, handle, CKA_ID, KD_HSM_ID_MAX_BYTES, &o.ref.id)) != KD_OK ||
        (r = get_bytes(s, handle, CKA_LABEL, KD_HSM_LABEL_MAX_BYTES, &o.ref.label)) != KD_OK ||
        (r = type_of(s, handle, &o.ref.type)) != KD_OK) {
        return r;
    }
    o.has_type = o.ref.type != 0;
    for (size_t i = 0; i < KD_COUNT_OF(usage_attributes); i++) {
        o.usages |= get_flag(s, handle, usage_attributes[i].type) ? usage_attributes[i].usage : 0;
    }
    o.is_sensitive = get_flag(s, handle, CKA_SENSITIVE);
    o.is_extractable = get_flag(s, handle, CKA_EXTRACTABLE);
    o.is_local = get_flag(s, handle, CKA_LOCAL);
    if ((r = proof_of(s, handle, &o)) != KD_OK) {
        return r;
    }
    *out = o;
    return KD_OK;
}

// ---- find ------------------------------------------------------------------

KD_AUTO_DEFINE(p11_uri, P11KitUri *, p11_kit_uri_free)

static enum kd_err find_class(struct kd_session *s, P11KitUri *uri, CK_OBJECT_CLASS class,
                              struct kd_buf *reply, uint16_t *n_found) {
    CK_ATTRIBUTE template[TEMPLATE_MAX];
    CK_ULONG n_given = 0;
    size_t n = 0;
    const CK_ATTRIBUTE *given = p11_kit_uri_get_attributes(uri, &n_given);
    template[n++] = KD_ATTRIBUTE(CKA_CLASS, class);
    for (CK_ULONG i = 0; i < n_given && n < TEMPLATE_MAX; i++) {
        if (given[i].type == CKA_CLASS) {
            if (given[i].ulValueLen != sizeof(class) ||
                memcmp(given[i].pValue, &class, sizeof(class)) != 0) {
                return KD_OK; // the URI wants another class
            }
        } else {
            template[n++] = given[i];
        }
    }
    CK_OBJECT_HANDLE found[FOUND_MAX];
    size_t n_handles = 0;
    enum kd_err r = kd_object_find(s, template, n, found, FOUND_MAX, &n_handles);
    for (size_t i = 0; r == KD_OK && i < n_handles; i++) {
        struct kd_hsm_result result = { 0 };
        if ((r = kd_describe(s, found[i], &result.object)) == KD_OK) {
            kd_hsm_put_result(reply, KD_HSM_FIND, &result);
            r = ++*n_found > FOUND_MAX ? KD_ERR_TOO_MANY : kd_buf_finish(reply);
        }
    }
    return r;
}

enum kd_err kd_exec_find(struct kd_session *s, struct kd_bytes text, struct kd_buf *reply,
                         uint16_t *n) {
    static const CK_OBJECT_CLASS classes[] = { CKO_PRIVATE_KEY, CKO_SECRET_KEY };
    kd_auto(p11_uri) P11KitUri *uri = p11_kit_uri_new();
    kd_auto(buf) struct kd_buf copy = KD_BUF_INIT(4096);
    kd_buf_put(&copy, text.p, text.n);
    const char *ended = kd_buf_get_text(&copy);
    if (kd_buf_finish(&copy) != KD_OK || strlen(ended) != text.n ||
        p11_kit_uri_parse(ended, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, uri) != P11_KIT_URI_OK ||
        p11_kit_uri_any_unrecognized(uri) || p11_kit_uri_get_pin_value(uri) != NULL ||
        p11_kit_uri_get_pin_source(uri) != NULL) { // a PIN never comes in a URI
        return KD_ERR_BAD_URI;
    }
    *n = 0;
    if (!p11_kit_uri_match_token_info(uri, &s->token->info)) {
        return KD_OK; // of another token
    }
    enum kd_err r = KD_OK;
    for (size_t i = 0; r == KD_OK && i < KD_COUNT_OF(classes); i++) {
        r = find_class(s, uri, classes[i], reply, n);
    }
    return r;
}

// ---- destroy, forget -------------------------------------------------------

// Both halves of a pair.
enum kd_err kd_exec_destroy(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                            const struct kd_hsm_item *item,
                            struct kd_hsm_result *result KD_UNUSED) {
    const CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = { KD_ATTRIBUTE(CKA_TOKEN, yes),
                                KD_ATTRIBUTE_BYTES(CKA_ID, item->key.id),
                                KD_ATTRIBUTE_BYTES(CKA_LABEL, item->key.label) };
    CK_OBJECT_HANDLE found[SAME_ID_MAX];
    size_t n = 0;
    kd_object_forget(s, &item->key);
    enum kd_err r =
        kd_object_find(s, template, item->key.label.n > 0 ? 3 : 2, found, SAME_ID_MAX, &n);
    if (r != KD_OK) {
        return r == KD_ERR_TOO_MANY ? KD_ERR_OBJECT_AMBIGUOUS : r;
    }
    for (size_t i = 0; r == KD_OK && i < n; i++) {
        r = kd_ckr("C_DestroyObject", s->token->p11->C_DestroyObject(s->handle, found[i]));
    }
    return r == KD_OK && n == 0 ? KD_ERR_NO_OBJECT : r;
}

enum kd_err kd_exec_forget(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                           const struct kd_hsm_item *item, struct kd_hsm_result *result KD_UNUSED) {
    kd_cached_forget(s, item->data);
    return KD_OK;
}
