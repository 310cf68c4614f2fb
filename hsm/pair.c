// SPDX-License-Identifier: Apache-2.0
// pair.c: EC key pairs, those that live as long as a session above all, and what CKA_EC_POINT says.
#include "hsm/session.h"

#include <string.h>

enum { POINT_ATTRIBUTE_BYTES = KD_HSM_POINT_MAX_BYTES + 3 };

enum kd_err kd_generate_pair(struct kd_session *s, CK_ATTRIBUTE *public, CK_ULONG n_public,
                             CK_ATTRIBUTE *private, CK_ULONG n_private, struct kd_pair *out) {
    CK_MECHANISM make = { CKM_EC_KEY_PAIR_GEN, NULL, 0 };
    const CK_RV rv =
        s->token->p11->C_GenerateKeyPair(s->handle, &make, public, n_public, private, n_private,
                                         &out->public_key, &out->private_key);
    if (rv != CKR_OK) {
        out->public_key = CK_INVALID_HANDLE;
    }
    return kd_ckr_made("C_GenerateKeyPair", rv, &out->private_key);
}

enum kd_err kd_session_pair_make(struct kd_session *s, enum kd_key_type type,
                                 enum kd_key_usage usage, struct kd_pair *out) {
    const struct kd_bytes oid = kd_host_curve_oid(type);
    const CK_BBOOL no = CK_FALSE;
    const CK_BBOOL yes = CK_TRUE;
    const CK_BBOOL can_derive = usage == KD_USE_DERIVE;
    const CK_BBOOL can_sign = usage == KD_USE_SIGN;
    CK_ATTRIBUTE public[] = { KD_ATTRIBUTE(CKA_TOKEN, no), KD_ATTRIBUTE_BYTES(CKA_EC_PARAMS, oid) };
    CK_ATTRIBUTE private[] = {
        KD_ATTRIBUTE(CKA_TOKEN, no),          KD_ATTRIBUTE(CKA_PRIVATE, yes),
        KD_ATTRIBUTE(CKA_SENSITIVE, yes),     KD_ATTRIBUTE(CKA_EXTRACTABLE, no),
        KD_ATTRIBUTE(CKA_DERIVE, can_derive), KD_ATTRIBUTE(CKA_SIGN, can_sign)
    };
    *out = (struct kd_pair) { CK_INVALID_HANDLE, CK_INVALID_HANDLE };
    if (s->token->keeps_pairs) {
        return KD_ERR_LACKING; // each would stay, where a worker dies
    }
    return kd_generate_pair(s, public, KD_COUNT_OF(public), private, KD_COUNT_OF(private), out);
}

void kd_pair_destroy(struct kd_session *s, const struct kd_pair *pair) {
    kd_destroy(s, pair->public_key);
    kd_destroy(s, pair->private_key);
}

struct kd_bytes kd_ec_point_of(enum kd_key_type type, struct kd_bytes value) {
    const size_t n = kd_key_type_point_bytes(type);
    if (value.n == n + 2 && value.p[0] == 0x04 && value.p[1] == n) { // OCTET STRING
        return (struct kd_bytes) { value.p + 2, n };
    }
    return value.n == n ? value : KD_BYTES_NONE;
}

enum kd_err kd_public_point(struct kd_session *s, enum kd_key_type type, CK_OBJECT_HANDLE public,
                            uint8_t out[static KD_HSM_POINT_MAX_BYTES]) {
    uint8_t value[POINT_ATTRIBUTE_BYTES];
    CK_ATTRIBUTE a = { CKA_EC_POINT, value, sizeof(value) };
    const enum kd_err r =
        kd_ckr("C_GetAttributeValue", s->token->p11->C_GetAttributeValue(s->handle, public, &a, 1));
    if (r != KD_OK || a.ulValueLen > sizeof(value)) {
        return r != KD_OK ? r : KD_ERR_TOKEN;
    }
    const struct kd_bytes point = kd_ec_point_of(type, (struct kd_bytes) { value, a.ulValueLen });
    if (point.n == 0) {
        return KD_ERR_TOKEN;
    }
    memcpy(out, point.p, point.n);
    return KD_OK;
}
