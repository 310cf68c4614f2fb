// SPDX-License-Identifier: Apache-2.0
// import.c: public keys and certificates, checked by OpenSSL.
#include "keyd/import.h"

#include "channel/channel.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

static const struct {
    enum kd_key_type type;
    enum kd_curve curve;
    const char *group;
} curves[] = {
    { KD_KEY_EC_P256, KD_CURVE_P256, SN_X9_62_prime256v1 },
    { KD_KEY_EC_P384, KD_CURVE_P384, SN_secp384r1 },
};

// Decodes the point, which checks that it is on the curve, and writes it uncompressed.
static bool normalise(enum kd_curve curve, struct kd_bytes encoded, struct kd_public_key *out) {
    struct kd_point point;
    if (kd_point_decode(curve, encoded, &point) != KD_OK) {
        return false;
    }
    const struct kd_bytes whole = kd_point_get(&point);
    memcpy(out->point, whole.p, whole.n);
    out->n_point = whole.n;
    return true;
}

enum kd_err kd_import_point(enum kd_key_type type, struct kd_bytes point,
                            struct kd_public_key *out) {
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        struct kd_public_key key = { .type = type };
        if (curves[i].type == type && point.n == kd_key_type_point_bytes(type) &&
            point.p[0] == 0x04 && normalise(curves[i].curve, point, &key)) {
            *out = key;
            return KD_OK;
        }
    }
    return KD_ERR_BAD_PUBLIC_KEY;
}

static bool read_key(EVP_PKEY *pkey, struct kd_public_key *out) {
    char group[64];
    uint8_t encoded[2 * KD_HSM_POINT_MAX_BYTES];
    size_t n = 0;
    if (pkey == NULL || EVP_PKEY_is_a(pkey, "EC") != 1 ||
        EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                       NULL) != 1 ||
        EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, encoded, sizeof(encoded),
                                        &n) != 1) {
        return false;
    }
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        struct kd_public_key key = { .type = curves[i].type };
        if (strcmp(group, curves[i].group) == 0 &&
            normalise(curves[i].curve, (struct kd_bytes) { encoded, n }, &key)) {
            *out = key;
            return true;
        }
    }
    return false;
}

enum kd_err kd_import_certificate(struct kd_bytes der, struct kd_public_key *out) {
    if (der.n > KD_CERTIFICATE_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    const unsigned char *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);
    const bool is_good = x != NULL && p == der.p + der.n && read_key(X509_get0_pubkey(x), out);
    X509_free(x);
    ERR_clear_error();
    return is_good ? KD_OK : KD_ERR_BAD_PUBLIC_KEY;
}

static bool read_time(const ASN1_TIME *t, uint64_t *ms) {
    struct tm parts = { 0 };
    const time_t seconds = ASN1_TIME_to_tm(t, &parts) == 1 ? timegm(&parts) : -1;
    *ms = seconds < 0 ? 0 : (uint64_t)seconds * 1000;
    return seconds >= 0;
}

enum kd_err kd_import_dates(struct kd_bytes der, uint64_t *from_ms, uint64_t *upto_ms) {
    const unsigned char *p = der.p;
    uint64_t from = 0;
    uint64_t upto = 0;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);
    const bool is_good = x != NULL && read_time(X509_get0_notBefore(x), &from) &&
                         read_time(X509_get0_notAfter(x), &upto);
    X509_free(x);
    ERR_clear_error();
    if (!is_good) {
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    *from_ms = from;
    *upto_ms = upto;
    return KD_OK;
}
