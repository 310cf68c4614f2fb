// SPDX-License-Identifier: Apache-2.0
// openssl_ec.c: curves of OpenSSL.  To make one takes longer than most of its uses: each is made
// at its first use and kept for the life of the process, for all threads.
#include "channel/openssl_ec.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <stdatomic.h>

static const struct {
    int nid;
    const char *name;
} curves[] = {
    [KD_CURVE_P256] = { NID_X9_62_prime256v1, "P-256" },
    [KD_CURVE_P384] = { NID_secp384r1, "P-384" },
};
static _Atomic(EC_GROUP *) groups[KD_COUNT_OF(curves)];
static _Atomic(EVP_PKEY *) empty_keys[KD_COUNT_OF(curves)]; // a group, and no point yet

static enum kd_err failed(enum kd_err e) {
    ERR_clear_error();
    return e;
}

const char *kd_curve_openssl_name(enum kd_curve curve) {
    return curves[curve].name;
}

const EC_GROUP *kd_ec_group(enum kd_curve curve) {
    EC_GROUP *kept = atomic_load(&groups[curve]);
    if (kept != NULL) {
        return kept;
    }
    kd_auto(group) EC_GROUP *made = EC_GROUP_new_by_curve_name(curves[curve].nid);
    if (made == NULL || atomic_compare_exchange_strong(&groups[curve], &kept, made)) {
        return KD_STEAL(made);
    }
    return kept; // that of a faster thread
}

enum kd_err kd_pkey_from(const OSSL_PARAM *params, int selection, enum kd_err refusal,
                         EVP_PKEY **out) {
    kd_auto(pkey_ctx) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (c == NULL || EVP_PKEY_fromdata_init(c) != 1) {
        return failed(KD_ERR_NO_MEMORY);
    }
    EVP_PKEY *key = NULL;
    // Takes parameters that are not const, and only reads them.
    if (EVP_PKEY_fromdata(c, &key, selection, (OSSL_PARAM *)(uintptr_t)params) != 1) {
        EVP_PKEY_free(key);
        return failed(refusal);
    }
    *out = key;
    return KD_OK;
}

static EVP_PKEY *empty_key(enum kd_curve curve) {
    EVP_PKEY *kept = atomic_load(&empty_keys[curve]);
    if (kept != NULL) {
        return kept;
    }
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
                                         (char *)(uintptr_t)curves[curve].name, 0),
        OSSL_PARAM_construct_end(),
    };
    kd_auto(pkey) EVP_PKEY *made = NULL;
    if (kd_pkey_from(params, EVP_PKEY_KEY_PARAMETERS, KD_ERR_NO_MEMORY, &made) != KD_OK ||
        atomic_compare_exchange_strong(&empty_keys[curve], &kept, made)) {
        return KD_STEAL(made);
    }
    return kept;
}

enum kd_err kd_pkey_of_point(const struct kd_point *point, EVP_PKEY **out) {
    EVP_PKEY *empty = empty_key(point->curve);
    kd_auto(pkey) EVP_PKEY *key = empty == NULL ? NULL : EVP_PKEY_dup(empty);
    if (key == NULL) {
        return failed(KD_ERR_NO_MEMORY);
    }
    if (EVP_PKEY_set1_encoded_public_key(key, point->bytes, kd_point_bytes(point->curve)) != 1) {
        return failed(KD_ERR_BAD_POINT);
    }
    *out = KD_STEAL(key);
    return KD_OK;
}
