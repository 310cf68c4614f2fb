// SPDX-License-Identifier: Apache-2.0
// describe.c: what a key object of the token is.  A registry is built on these
// answers, so an attribute that could not be read is an error and not a no.
#include "hsm/exec.h"

CK_ATTRIBUTE_TYPE kd_usage_attribute(enum kd_key_usage usage) {
    switch (usage) {
    case KD_USE_SIGN:
        return CKA_SIGN;
    case KD_USE_VERIFY:
        return CKA_VERIFY;
    case KD_USE_ENCRYPT:
        return CKA_ENCRYPT;
    case KD_USE_DECRYPT:
        return CKA_DECRYPT;
    case KD_USE_DERIVE:
        return CKA_DERIVE;
    }
    return CKA_VENDOR_DEFINED;
}

// ---- single attributes -------------------------------------------------------

// One attribute of variable length, appended to s->out; empty where the object
// has it not.
static enum kd_err get_bytes(struct kd_session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type,
                             size_t max, struct kd_bytes *out) {
    CK_ATTRIBUTE a = { type, NULL, 0 };
    const CK_RV rv = s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1);
    *out = KD_BYTES_NONE;
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE) {
        return KD_OK;
    }
    enum kd_err r = kd_ckr("C_GetAttributeValue", rv);
    if (r != KD_OK || a.ulValueLen == 0 || a.ulValueLen > max) {
        return r;
    }
    const CK_ULONG room = a.ulValueLen;
    a.pValue = kd_buf_extend(&s->out, room);
    if (a.pValue == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    r = kd_ckr("C_GetAttributeValue", s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1));
    if (r != KD_OK || a.ulValueLen > room) {
        return r != KD_OK ? r : KD_ERR_TOKEN;
    }
    *out = (struct kd_bytes) { a.pValue, a.ulValueLen };
    return KD_OK;
}

// One of fixed length; `value` stays as it is where the object has it not.
static enum kd_err get_fixed(struct kd_session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type,
                             void *value, size_t n) {
    CK_ATTRIBUTE a = { type, value, n };
    const CK_RV rv = s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1);
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE) {
        return KD_OK;
    }
    enum kd_err r = kd_ckr("C_GetAttributeValue", rv);
    return r == KD_OK && a.ulValueLen != n ? KD_ERR_TOKEN : r;
}

static enum kd_err get_number(struct kd_session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type,
                              CK_ULONG *out) {
    *out = CK_UNAVAILABLE_INFORMATION;
    return get_fixed(s, handle, type, out, sizeof(*out));
}

static enum kd_err get_flag(struct kd_session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type,
                            bool *out) {
    CK_BBOOL v = CK_FALSE;
    enum kd_err r = get_fixed(s, handle, type, &v, sizeof(v));
    *out = v == CK_TRUE;
    return r;
}

// ---- type and proof ----------------------------------------------------------

static enum kd_err curve_of(struct kd_session *s, CK_OBJECT_HANDLE handle, enum kd_key_type *out) {
    static const enum kd_key_type curves[] = { KD_KEY_EC_P256, KD_KEY_EC_P384 };
    struct kd_bytes params;
    enum kd_err r = get_bytes(s, handle, CKA_EC_PARAMS, 64, &params);
    for (size_t i = 0; r == KD_OK && i < KD_COUNT_OF(curves); i++) {
        *out = kd_bytes_equal(params, kd_host_curve_oid(curves[i])) ? curves[i] : *out;
    }
    return r;
}

// 0: of a kind that keyd does not use.
static enum kd_err type_of(struct kd_session *s, CK_OBJECT_HANDLE handle, enum kd_key_type *out) {
    CK_ULONG kind;
    CK_ULONG n;
    *out = (enum kd_key_type)0;
    enum kd_err r = get_number(s, handle, CKA_KEY_TYPE, &kind);
    if (r == KD_OK && kind == CKK_EC) {
        return curve_of(s, handle, out);
    }
    if (r != KD_OK || (r = get_number(s, handle, CKA_VALUE_LEN, &n)) != KD_OK) {
        return r;
    }
    if (kind == CKK_AES && n == 32) {
        *out = KD_KEY_AES_256;
    } else if (kind == CKK_GENERIC_SECRET && (n == 32 || n == 48)) {
        *out = n == 32 ? KD_KEY_HMAC_SHA256 : KD_KEY_HMAC_SHA384;
    } else if (kind == CKK_SHA256_HMAC) { // nShield, YubiHSM: for HMAC alone
        *out = KD_KEY_HMAC_SHA256;
    } else if (kind == CKK_SHA384_HMAC) {
        *out = KD_KEY_HMAC_SHA384;
    }
    return KD_OK;
}

// The public half stands beside the private one under the same id.
static enum kd_err point_of(struct kd_session *s, CK_OBJECT_HANDLE handle, bool is_private,
                            const struct kd_key_ref *ref, struct kd_bytes *out) {
    struct kd_bytes value;
    enum kd_err r = get_bytes(s, handle, CKA_EC_POINT, 256, &value);
    if (r != KD_OK || value.n > 0 || !is_private) {
        *out = kd_ec_point_of(ref->type, value);
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
        *out = kd_ec_point_of(ref->type, value);
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

static enum kd_err usages_of(struct kd_session *s, CK_OBJECT_HANDLE handle, unsigned *out) {
    enum kd_err r = KD_OK;
    for (unsigned usage = 1; r == KD_OK && usage <= KD_USE_ALL; usage <<= 1) {
        bool has = false;
        r = get_flag(s, handle, kd_usage_attribute((enum kd_key_usage)usage), &has);
        *out |= has ? usage : 0;
    }
    return r;
}

enum kd_err kd_describe(struct kd_session *s, CK_OBJECT_HANDLE handle, struct kd_hsm_object *out) {
    // The slices of `out` point into s->out: it must not move while it grows.
    kd_buf_reset(&s->out);
    if (kd_buf_extend(&s->out, 2048) == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    kd_buf_reset(&s->out);
    struct kd_hsm_object o = { 0 };
    CK_ULONG class;
    enum kd_err r;
    if ((r = get_number(s, handle, CKA_CLASS, &class)) != KD_OK ||
        (r = get_bytes(s, handle, CKA_ID, KD_HSM_ID_MAX_BYTES, &o.ref.id)) != KD_OK ||
        (r = get_bytes(s, handle, CKA_LABEL, KD_HSM_LABEL_MAX_BYTES, &o.ref.label)) != KD_OK ||
        (r = type_of(s, handle, &o.ref.type)) != KD_OK ||
        (r = usages_of(s, handle, &o.usages)) != KD_OK ||
        (r = get_flag(s, handle, CKA_SENSITIVE, &o.is_sensitive)) != KD_OK ||
        (r = get_flag(s, handle, CKA_EXTRACTABLE, &o.is_extractable)) != KD_OK ||
        (r = get_flag(s, handle, CKA_LOCAL, &o.is_local)) != KD_OK) {
        return r;
    }
    o.is_private = class == CKO_PRIVATE_KEY || class == CKO_SECRET_KEY;
    o.has_type = o.ref.type != 0;
    if ((r = proof_of(s, handle, &o)) != KD_OK) {
        return r;
    }
    *out = o;
    return KD_OK;
}
