// SPDX-License-Identifier: Apache-2.0
// host.c: work with public values, by OpenSSL: points, digests, verification.
#include "hsm/session.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>
#include <openssl/x509.h>

KD_AUTO_DEFINE(group, EC_GROUP *, EC_GROUP_free)
KD_AUTO_DEFINE(point, EC_POINT *, EC_POINT_free)
KD_AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)
KD_AUTO_DEFINE(pkey_ctx, EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
KD_AUTO_DEFINE(ecdsa_sig, ECDSA_SIG *, ECDSA_SIG_free)

// SEC 2 version 2, 2.4.2 (P-256) and 2.5.1 (P-384).
static const uint8_t p256_generator[65] = {
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5,
    0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4,
    0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a,
    0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33,
    0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
};
static const uint8_t p384_generator[97] = {
    0x04, 0xaa, 0x87, 0xca, 0x22, 0xbe, 0x8b, 0x05, 0x37, 0x8e, 0xb1, 0xc7, 0x1e, 0xf3,
    0x20, 0xad, 0x74, 0x6e, 0x1d, 0x3b, 0x62, 0x8b, 0xa7, 0x9b, 0x98, 0x59, 0xf7, 0x41,
    0xe0, 0x82, 0x54, 0x2a, 0x38, 0x55, 0x02, 0xf2, 0x5d, 0xbf, 0x55, 0x29, 0x6c, 0x3a,
    0x54, 0x5e, 0x38, 0x72, 0x76, 0x0a, 0xb7, 0x36, 0x17, 0xde, 0x4a, 0x96, 0x26, 0x2c,
    0x6f, 0x5d, 0x9e, 0x98, 0xbf, 0x92, 0x92, 0xdc, 0x29, 0xf8, 0xf4, 0x1d, 0xbd, 0x28,
    0x9a, 0x14, 0x7c, 0xe9, 0xda, 0x31, 0x13, 0xb5, 0xf0, 0xb8, 0xc0, 0x0a, 0x60, 0xb1,
    0xce, 0x1d, 0x7e, 0x81, 0x9d, 0x7a, 0x43, 0x1d, 0x7c, 0x90, 0xea, 0x0e, 0x5f,
};

struct kd_bytes kd_host_generator(enum kd_key_type type) {
    return type == KD_KEY_EC_P256 ? (struct kd_bytes) { p256_generator, sizeof(p256_generator) }
                                  : (struct kd_bytes) { p384_generator, sizeof(p384_generator) };
}

// RFC 5480 2.1.1.1.
struct kd_bytes kd_host_curve_oid(enum kd_key_type type) {
    static const uint8_t p256[] = { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };
    static const uint8_t p384[] = { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22 };
    return type == KD_KEY_EC_P256 ? (struct kd_bytes) { p256, sizeof(p256) }
                                  : (struct kd_bytes) { p384, sizeof(p384) };
}

enum kd_err kd_host_point_check(enum kd_key_type type, struct kd_bytes p) {
    // Uncompressed form only (SEC 1 2.3.3); both curves have cofactor 1, so a
    // point on the curve that is not at infinity is a valid public key.
    if (!kd_key_type_is_ec(type) || p.n != kd_key_type_point_bytes(type) || p.p[0] != 4) {
        return KD_ERR_BAD_POINT;
    }
    const int nid = type == KD_KEY_EC_P256 ? NID_X9_62_prime256v1 : NID_secp384r1;
    kd_auto(group) EC_GROUP *group = EC_GROUP_new_by_curve_name(nid);
    kd_auto(point) EC_POINT *point = group == NULL ? NULL : EC_POINT_new(group);
    if (point == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    // EC_POINT_oct2point checks the curve's equation and the range of x and y.
    return EC_POINT_oct2point(group, point, p.p, p.n, NULL) == 1 ? KD_OK : KD_ERR_BAD_POINT;
}

enum kd_err kd_host_digest(enum kd_hash hash, struct kd_bytes data, uint8_t out[static 48],
                           size_t *n) {
    unsigned got = 0;
    const EVP_MD *md = hash == KD_HASH_SHA384 ? EVP_sha384() : EVP_sha256();
    if (EVP_Digest(data.n == 0 ? (const void *)"" : data.p, data.n, out, &got, md, NULL) != 1) {
        return KD_ERR_NO_MEMORY;
    }
    *n = got;
    return KD_OK;
}

static enum kd_err public_key(enum kd_key_type type, struct kd_bytes point, EVP_PKEY **out) {
    enum kd_err r = kd_host_point_check(type, point);
    if (r != KD_OK) {
        return r;
    }
    const char *curve = type == KD_KEY_EC_P256 ? "prime256v1" : "secp384r1";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)curve, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, kd_p11_bytes(point.p), point.n),
        OSSL_PARAM_construct_end(),
    };
    kd_auto(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, out, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        return KD_ERR_NO_MEMORY;
    }
    return KD_OK;
}

// r || s as DER, for OpenSSL.
static enum kd_err to_der(struct kd_bytes signature, uint8_t **der, int *n) {
    const size_t half = signature.n / 2;
    kd_auto(ecdsa_sig) ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature.p, (int)half, NULL);
    BIGNUM *s = BN_bin2bn(signature.p + half, (int)half, NULL);
    if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return KD_ERR_NO_MEMORY;
    }
    *n = i2d_ECDSA_SIG(sig, der);
    return *n > 0 ? KD_OK : KD_ERR_NO_MEMORY;
}

enum kd_err kd_host_ecdsa_verify(enum kd_key_type type, struct kd_bytes point,
                                 struct kd_bytes digest, struct kd_bytes signature,
                                 bool *is_valid) {
    if (signature.n != kd_key_type_point_bytes(type) - 1) {
        *is_valid = false;
        return KD_OK;
    }
    kd_auto(pkey) EVP_PKEY *key = NULL;
    uint8_t *der = NULL;
    int der_len = 0;
    enum kd_err r;
    if ((r = public_key(type, point, &key)) != KD_OK ||
        (r = to_der(signature, &der, &der_len)) != KD_OK) {
        return r;
    }
    kd_auto(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    if (ctx == NULL || EVP_PKEY_verify_init(ctx) != 1) {
        OPENSSL_free(der);
        return KD_ERR_NO_MEMORY;
    }
    *is_valid = EVP_PKEY_verify(ctx, der, (size_t)der_len, digest.p, digest.n) == 1;
    OPENSSL_free(der);
    return KD_OK;
}
