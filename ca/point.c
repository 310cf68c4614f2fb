// SPDX-License-Identifier: Apache-2.0
// point.c: see point.h.
#include "ca/point.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/objects.h>
#include <openssl/param_build.h>
#include <string.h>

static const struct {
    size_t n_point;
    int nid;
    const char *group;
} curves[] = {
    { 65, NID_X9_62_prime256v1, SN_X9_62_prime256v1 },
    { 97, NID_secp384r1, SN_secp384r1 },
};

// fromdata checks that the point is on the curve.
static EVP_PKEY *make(const char *group, const struct kd_ca_point *point) {
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
                                          (uint8_t *)(uintptr_t)point->bytes, point->n),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

EVP_PKEY *kd_ca_pkey_of(const struct kd_ca_point *point) {
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        if (point->n == curves[i].n_point && point->bytes[0] == 0x04) {
            return make(curves[i].group, point);
        }
    }
    return NULL;
}

// Written uncompressed, whatever form it came in; decoding checks that it is on the curve.
static bool normalise(int nid, const uint8_t *encoded, size_t n, struct kd_ca_point *out) {
    struct kd_ca_point found = { 0 };
    EC_GROUP *group = EC_GROUP_new_by_curve_name(nid);
    EC_POINT *point = group == NULL ? NULL : EC_POINT_new(group);
    if (point != NULL && EC_POINT_oct2point(group, point, encoded, n, NULL) == 1 &&
        EC_POINT_is_at_infinity(group, point) == 0) {
        found.n = EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, found.bytes,
                                     sizeof(found.bytes), NULL);
    }
    EC_POINT_free(point);
    EC_GROUP_free(group);
    if (found.n > 0) {
        *out = found;
    }
    return found.n > 0;
}

bool kd_ca_point_of(EVP_PKEY *pkey, struct kd_ca_point *out) {
    char group[64];
    uint8_t encoded[2 * KD_CA_POINT_MAX_BYTES];
    size_t n = 0;
    if (pkey == NULL || EVP_PKEY_is_a(pkey, "EC") != 1 ||
        EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                       NULL) != 1 ||
        EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, encoded, sizeof(encoded),
                                        &n) != 1) {
        return false;
    }
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        if (strcmp(group, curves[i].group) == 0) {
            return normalise(curves[i].nid, encoded, n, out);
        }
    }
    return false;
}
