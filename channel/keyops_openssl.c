// SPDX-License-Identifier: Apache-2.0
// keyops_openssl.c: struct kd_keyops on OpenSSL 3: for clients without a token.
// A handle is the address of an object here, which is either a key or a secret.
#include "channel/keyops.h"
#include "channel/openssl_ec.h"

#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

KD_AUTO_DEFINE(bn, BIGNUM *, BN_clear_free)
KD_AUTO_DEFINE(md_ctx, EVP_MD_CTX *, EVP_MD_CTX_free)
KD_AUTO_DEFINE(param_bld, OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free)
KD_AUTO_DEFINE(params, OSSL_PARAM *, OSSL_PARAM_free)
KD_AUTO_DEFINE(decoder, OSSL_DECODER_CTX *, OSSL_DECODER_CTX_free)
KD_AUTO_DEFINE(ec_point, EC_POINT *, EC_POINT_free)

struct object {
    EVP_PKEY *key; // or
    struct kd_secret *z;
    enum kd_curve curve;
};

static void object_free(struct object *o) {
    if (o != NULL) {
        EVP_PKEY_free(o->key);
        kd_secret_free(o->z);
        free(o);
    }
}

static struct object *object_of(uint64_t handle) {
    return (struct object *)(uintptr_t)handle;
}

// Takes both, also on failure.
static enum kd_err object_take(EVP_PKEY *key, struct kd_secret *z, enum kd_curve curve,
                               uint64_t *handle) {
    struct object *o = calloc(1, sizeof(*o));
    if (o == NULL) {
        EVP_PKEY_free(key);
        kd_secret_free(z);
        return KD_ERR_NO_MEMORY;
    }
    *o = (struct object) { .key = key, .z = z, .curve = curve };
    *handle = (uint64_t)(uintptr_t)o;
    return KD_OK;
}

static enum kd_err failed(enum kd_err e) {
    ERR_clear_error();
    return e;
}

// ---- making keys -----------------------------------------------------------

static enum kd_err point_of_pkey(const EVP_PKEY *key, enum kd_curve curve, struct kd_point *out) {
    struct kd_point p = { .curve = curve };
    uint8_t bytes[KD_POINT_MAX_BYTES];
    size_t n = 0;
    if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, bytes,
                                        sizeof(bytes), &n) != 1 ||
        n != kd_point_bytes(curve)) {
        return failed(KD_ERR_BUG);
    }
    memcpy(p.bytes, bytes, n);
    *out = p;
    return KD_OK;
}

static enum kd_err generate(void *ctx, enum kd_curve curve, uint64_t *key, struct kd_point *point) {
    (void)ctx;
    kd_auto(pkey) EVP_PKEY *pkey = EVP_EC_gen(kd_curve_openssl_name(curve));
    if (pkey == NULL) {
        return failed(KD_ERR_NO_MEMORY);
    }
    struct kd_point p;
    uint64_t handle;
    enum kd_err r = point_of_pkey(pkey, curve, &p);
    if (r != KD_OK || (r = object_take(KD_STEAL(pkey), NULL, curve, &handle)) != KD_OK) {
        return r;
    }
    *key = handle;
    *point = p;
    return KD_OK;
}

// The public point of a scalar; false where the scalar is not in 1..order-1.
static bool multiply_base(const EC_GROUP *group, const BIGNUM *scalar, size_t n, uint8_t *point) {
    kd_auto(ec_point) EC_POINT *q = EC_POINT_new(group);
    return q != NULL && !BN_is_zero(scalar) && BN_cmp(scalar, EC_GROUP_get0_order(group)) < 0 &&
           EC_POINT_mul(group, q, scalar, NULL, NULL, NULL) == 1 &&
           EC_POINT_point2oct(group, q, POINT_CONVERSION_UNCOMPRESSED, point, n, NULL) == n;
}

enum kd_err kd_openssl_key_from_scalar(enum kd_curve curve, struct kd_bytes scalar, uint64_t *key) {
    if (scalar.n != kd_curve_bytes(curve)) {
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    const char *name = kd_curve_openssl_name(curve);
    const EC_GROUP *group = kd_ec_group(curve);
    kd_auto(bn) BIGNUM *d = BN_bin2bn(scalar.p, (int)scalar.n, NULL);
    uint8_t point[KD_POINT_MAX_BYTES];
    size_t n = kd_point_bytes(curve);
    if (group == NULL || d == NULL || !multiply_base(group, d, n, point)) {
        return failed(KD_ERR_BAD_PUBLIC_KEY);
    }
    kd_auto(param_bld) OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    if (b == NULL || OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, name, 0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, n) != 1 ||
        OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, d) != 1) {
        return failed(KD_ERR_NO_MEMORY);
    }
    kd_auto(params) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    kd_auto(pkey) EVP_PKEY *pkey = NULL;
    enum kd_err r = params == NULL
                        ? failed(KD_ERR_NO_MEMORY)
                        : kd_pkey_from(params, EVP_PKEY_KEYPAIR, KD_ERR_BAD_PUBLIC_KEY, &pkey);
    return r == KD_OK ? object_take(KD_STEAL(pkey), NULL, curve, key) : r;
}

static bool curve_of_pkey(const EVP_PKEY *key, enum kd_curve *out) {
    char name[32];
    size_t n = 0;
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, name, sizeof(name), &n) != 1) {
        return false;
    }
    if (strcmp(name, "prime256v1") == 0 || strcmp(name, "P-256") == 0) {
        *out = KD_CURVE_P256;
        return true;
    }
    if (strcmp(name, "secp384r1") == 0 || strcmp(name, "P-384") == 0) {
        *out = KD_CURVE_P384;
        return true;
    }
    return false;
}

enum kd_err kd_openssl_key_load(struct kd_bytes file, uint64_t *key) {
    kd_auto(pkey) EVP_PKEY *pkey = NULL;
    kd_auto(decoder) OSSL_DECODER_CTX *d =
        OSSL_DECODER_CTX_new_for_pkey(&pkey, NULL, NULL, "EC", EVP_PKEY_KEYPAIR, NULL, NULL);
    if (d == NULL) {
        return failed(KD_ERR_NO_MEMORY);
    }
    const uint8_t *p = file.p;
    size_t n = file.n;
    enum kd_curve curve;
    // A passphrase of no bytes keeps the library from asking on the terminal.
    if (OSSL_DECODER_CTX_set_passphrase(d, (const uint8_t *)"", 0) != 1 ||
        OSSL_DECODER_from_data(d, &p, &n) != 1 || !curve_of_pkey(pkey, &curve)) {
        return failed(KD_ERR_BAD_PUBLIC_KEY);
    }
    return object_take(KD_STEAL(pkey), NULL, curve, key);
}

enum kd_err kd_openssl_key_point(uint64_t key, struct kd_point *out) {
    const struct object *o = object_of(key);
    return point_of_pkey(o->key, o->curve, out);
}

// ---- using them ------------------------------------------------------------

static enum kd_err ecdh(void *ctx, uint64_t key, const struct kd_point *peer, uint64_t *secret) {
    (void)ctx;
    const struct object *o = object_of(key);
    if (peer->curve != o->curve) {
        return KD_ERR_BAD_POINT;
    }
    kd_auto(pkey) EVP_PKEY *other = NULL;
    kd_auto(secret) struct kd_secret *z = NULL;
    size_t n = kd_curve_bytes(o->curve);
    enum kd_err r = kd_pkey_of_point(peer, &other);
    if (r != KD_OK || (r = kd_secret_new(n, &z)) != KD_OK) {
        return r;
    }
    kd_auto(pkey_ctx) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_pkey(NULL, o->key, NULL);
    if (c == NULL || EVP_PKEY_derive_init(c) != 1 || EVP_PKEY_derive_set_peer(c, other) != 1 ||
        EVP_PKEY_derive(c, kd_secret_get(z), &n) != 1 || n != kd_secret_len(z)) {
        return failed(KD_ERR_BAD_POINT);
    }
    return object_take(NULL, KD_STEAL(z), o->curve, secret);
}

static enum kd_err extract(void *ctx, enum kd_md md, struct kd_bytes salt, struct kd_bytes prefix,
                           uint64_t secret, uint8_t *prk) {
    (void)ctx;
    struct kd_secret *z = object_of(secret)->z;
    const struct kd_bytes parts[] = { prefix, { kd_secret_get(z), kd_secret_len(z) } };
    return kd_host_hmac(md, salt, parts, KD_COUNT_OF(parts), prk);
}

static const EVP_MD *evp_md(enum kd_md md) {
    return md == KD_MD_SHA384 ? EVP_sha384() : EVP_sha256();
}

static enum kd_err sign(void *ctx, uint64_t key, enum kd_md md, struct kd_bytes message,
                        uint8_t *signature, size_t n) {
    (void)ctx;
    const struct object *o = object_of(key);
    if (n != 2 * kd_curve_bytes(o->curve)) {
        return KD_ERR_KEY_TYPE;
    }
    uint8_t der[KD_ECDSA_DER_MAX_BYTES];
    size_t n_der = sizeof(der);
    kd_auto(md_ctx) EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (c == NULL || EVP_DigestSignInit(c, NULL, evp_md(md), NULL, o->key) != 1 ||
        EVP_DigestSign(c, der, &n_der, message.p, message.n) != 1 ||
        !kd_ecdsa_from_der((struct kd_bytes) { der, n_der }, signature, n)) {
        return failed(KD_ERR_NO_MEMORY);
    }
    return KD_OK;
}

static enum kd_err verify(void *ctx, enum kd_md md, const struct kd_point *key,
                          struct kd_bytes message, struct kd_bytes signature) {
    (void)ctx;
    return kd_host_verify(md, key, message, signature);
}

static enum kd_err random_bytes(void *ctx, uint8_t *out, size_t n) {
    (void)ctx;
    return kd_host_random(out, n);
}

static void destroy(void *ctx, uint64_t handle) {
    (void)ctx;
    object_free(object_of(handle));
}

const struct kd_keyops kd_keyops_openssl = {
    .generate = generate,
    .ecdh = ecdh,
    .extract = extract,
    .sign = sign,
    .verify = verify,
    .random = random_bytes,
    .destroy = destroy,
};

enum kd_err kd_openssl_secret_share(uint64_t secret, struct kd_key32 *out) {
    struct kd_secret *z = object_of(secret)->z;
    size_t n = kd_secret_len(z);
    memcpy(out->bytes, kd_secret_get(z) + n - sizeof(out->bytes), sizeof(out->bytes));
    return KD_OK;
}
