// SPDX-License-Identifier: Apache-2.0
// point.c: points on a curve, and signatures to verify, on OpenSSL 3: the rest
// of host.h.  All of it is public data.
#include "channel/host.h"
#include "channel/openssl_ec.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <string.h>

KD_AUTO_DEFINE(ec_point, EC_POINT *, EC_POINT_free)

size_t kd_curve_bytes(enum kd_curve curve) {
    return curve == KD_CURVE_P384 ? 48 : 32;
}

size_t kd_point_bytes(enum kd_curve curve) {
    return 1 + 2 * kd_curve_bytes(curve);
}

struct kd_bytes kd_point_get(const struct kd_point *p) {
    return (struct kd_bytes) { p->bytes, kd_point_bytes(p->curve) };
}

struct kd_bytes kd_point_get_x(const struct kd_point *p) {
    return (struct kd_bytes) { p->bytes + 1, kd_curve_bytes(p->curve) };
}

// oct2point refuses coordinates that are not below the prime, and points that
// are not on the curve; infinity has another length.
enum kd_err kd_point_decode(enum kd_curve curve, struct kd_bytes in, struct kd_point *out) {
    const EC_GROUP *group = kd_ec_group(curve);
    kd_auto(ec_point) EC_POINT *point = group == NULL ? NULL : EC_POINT_new(group);
    if (point == NULL) {
        ERR_clear_error();
        return KD_ERR_NO_MEMORY;
    }
    struct kd_point p = { .curve = curve };
    const size_t n = kd_point_bytes(curve);
    bool is_good = EC_POINT_oct2point(group, point, in.p, in.n, NULL) == 1;
    if (is_good && in.n == n && in.p[0] == POINT_CONVERSION_UNCOMPRESSED) {
        memcpy(p.bytes, in.p, n); // what point2oct would find again, by an inversion
    } else if (is_good) {
        is_good =
            EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, p.bytes, n, NULL) == n;
    }
    ERR_clear_error();
    if (!is_good) {
        return KD_ERR_BAD_POINT;
    }
    *out = p;
    return KD_OK;
}

enum kd_err kd_point_read(enum kd_curve curve, struct kd_bytes uncompressed, struct kd_point *out) {
    if (uncompressed.n != kd_point_bytes(curve) ||
        uncompressed.p[0] != POINT_CONVERSION_UNCOMPRESSED) {
        return KD_ERR_BAD_POINT;
    }
    return kd_point_decode(curve, uncompressed, out);
}

enum kd_err kd_point_from_x(enum kd_curve curve, struct kd_bytes x, struct kd_point *out) {
    uint8_t compressed[1 + KD_CURVE_MAX_BYTES] = { POINT_CONVERSION_COMPRESSED };
    size_t n = kd_curve_bytes(curve);
    if (x.n != n) {
        return KD_ERR_BAD_POINT;
    }
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) {
        any |= x.p[i];
    }
    if (any == 0) {
        return KD_ERR_BAD_POINT;
    }
    memcpy(compressed + 1, x.p, n);
    return kd_point_decode(curve, (struct kd_bytes) { compressed, 1 + n }, out);
}

// ---- ECDSA -----------------------------------------------------------------

enum kd_err kd_host_verify_digest(const struct kd_point *key, struct kd_bytes digest,
                                  struct kd_bytes signature) {
    if (signature.n != 2 * kd_curve_bytes(key->curve)) {
        return KD_ERR_NOT_AUTHENTIC;
    }
    kd_auto(pkey) EVP_PKEY *pkey = NULL;
    enum kd_err r = kd_pkey_of_point(key, &pkey);
    if (r != KD_OK) {
        return r;
    }
    uint8_t der[KD_ECDSA_DER_MAX_BYTES];
    const size_t n = kd_ecdsa_to_der(signature, der);
    kd_auto(pkey_ctx) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(pkey, NULL);
    if (n == 0 || c == NULL || EVP_PKEY_verify_init(c) != 1) {
        ERR_clear_error();
        return KD_ERR_NO_MEMORY;
    }
    bool good = EVP_PKEY_verify(c, der, n, digest.p, digest.n) == 1;
    ERR_clear_error();
    return good ? KD_OK : KD_ERR_NOT_AUTHENTIC;
}

enum kd_err kd_host_verify(enum kd_md md, const struct kd_point *key, struct kd_bytes message,
                           struct kd_bytes signature) {
    uint8_t digest[KD_MD_MAX_BYTES];
    enum kd_err r = kd_host_hash(md, &message, 1, digest);
    return r == KD_OK ? kd_host_verify_digest(key, (struct kd_bytes) { digest, kd_md_bytes(md) },
                                              signature)
                      : r;
}
