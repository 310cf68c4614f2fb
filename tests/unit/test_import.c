// SPDX-License-Identifier: Apache-2.0
#include "keyd/import.h"
#include "unit.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

static EVP_PKEY *make_key(const char *curve) {
    EVP_PKEY *key = EVP_EC_gen(curve);
    ck_assert_ptr_nonnull(key);
    return key;
}

static struct kd_bytes point_of(EVP_PKEY *key, uint8_t out[static 200]) {
    size_t n = 0;
    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, out, 200, &n),
                     1);
    return (struct kd_bytes) { out, n };
}

START_TEST(points_that_are_none_are_refused) {
    uint8_t p[200];
    struct kd_public_key out = { 0 };
    EVP_PKEY *key = make_key("P-256");
    struct kd_bytes good = point_of(key, p);
    EVP_PKEY_free(key);
    ck_assert_uint_eq(good.n, 65);
    const struct kd_bytes cut = { good.p, 64 };
    const struct kd_bytes longer = { good.p, 66 };
    const struct kd_bytes compressed = { good.p, 33 };
    ck_assert_err(kd_import_point(KD_KEY_EC_P256, KD_BYTES_NONE, &out), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(kd_import_point(KD_KEY_EC_P256, cut, &out), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(kd_import_point(KD_KEY_EC_P256, longer, &out), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(kd_import_point(KD_KEY_EC_P256, compressed, &out), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(kd_import_point(KD_KEY_EC_P384, good, &out), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(kd_import_point(KD_KEY_AES_256, good, &out), KD_ERR_BAD_PUBLIC_KEY);
    p[40] ^= 1; // not on the curve
    ck_assert_err(kd_import_point(KD_KEY_EC_P256, good, &out), KD_ERR_BAD_PUBLIC_KEY);
    p[40] ^= 1;
    p[0] = 6; // hybrid form
    ck_assert_err(kd_import_point(KD_KEY_EC_P256, good, &out), KD_ERR_BAD_PUBLIC_KEY);
    p[0] = 4;
    ck_assert_uint_eq(out.n_point, 0);
    ck_assert_err(kd_import_point(KD_KEY_EC_P256, good, &out), KD_OK);
    ck_assert(kd_bytes_equal((struct kd_bytes) { out.point, out.n_point }, good));
}
END_TEST

START_TEST(points_of_both_curves_are_taken) {
    uint8_t p[200];
    struct kd_public_key out;
    EVP_PKEY *key = make_key("P-384");
    ck_assert_err(kd_import_point(KD_KEY_EC_P384, point_of(key, p), &out), KD_OK);
    ck_assert_uint_eq(out.n_point, 97);
    EVP_PKEY_free(key);
}
END_TEST

// A certificate of the key, signed with itself; the caller frees *der.
static size_t make_certificate(EVP_PKEY *key, unsigned char **der) {
    X509 *x = X509_new();
    ck_assert_ptr_nonnull(x);
    ck_assert_int_eq(X509_set_pubkey(x, key), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 60);
    ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
    *der = NULL;
    const int n = i2d_X509(x, der);
    ck_assert_int_gt(n, 0);
    X509_free(x);
    return (size_t)n;
}

START_TEST(certificates_that_are_cut_longer_or_of_another_kind_are_refused) {
    unsigned char *der = NULL;
    struct kd_public_key out = { 0 };
    EVP_PKEY *key = make_key("P-256");
    const size_t n = make_certificate(key, &der);
    EVP_PKEY_free(key);
    for (size_t i = 0; i < n; i++) {
        ck_assert_err(kd_import_certificate((struct kd_bytes) { der, i }, &out),
                      KD_ERR_BAD_PUBLIC_KEY);
    }
    uint8_t *longer = calloc(1, n + 1);
    ck_assert_ptr_nonnull(longer);
    memcpy(longer, der, n);
    ck_assert_err(kd_import_certificate((struct kd_bytes) { longer, n + 1 }, &out),
                  KD_ERR_BAD_PUBLIC_KEY);
    free(longer);
    OPENSSL_free(der);
    static const uint8_t big[KD_CERTIFICATE_MAX_BYTES + 1];
    ck_assert_err(kd_import_certificate((struct kd_bytes) { big, sizeof(big) }, &out),
                  KD_ERR_ITEM_TOO_LARGE);
    key = EVP_RSA_gen(2048);
    const size_t m = make_certificate(key, &der);
    ck_assert_err(kd_import_certificate((struct kd_bytes) { der, m }, &out), KD_ERR_BAD_PUBLIC_KEY);
    EVP_PKEY_free(key);
    OPENSSL_free(der);
    key = make_key("secp521r1");
    const size_t k = make_certificate(key, &der);
    ck_assert_err(kd_import_certificate((struct kd_bytes) { der, k }, &out), KD_ERR_BAD_PUBLIC_KEY);
    EVP_PKEY_free(key);
    OPENSSL_free(der);
    ck_assert_uint_eq(out.n_point, 0);
}
END_TEST

START_TEST(key_of_a_certificate_is_its_point) {
    static const struct {
        const char *curve;
        enum kd_key_type type;
    } rows[] = { { "P-256", KD_KEY_EC_P256 }, { "P-384", KD_KEY_EC_P384 } };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        uint8_t p[200];
        unsigned char *der = NULL;
        struct kd_public_key out;
        EVP_PKEY *key = make_key(rows[i].curve);
        const size_t n = make_certificate(key, &der);
        ck_assert_err(kd_import_certificate((struct kd_bytes) { der, n }, &out), KD_OK);
        ck_assert_int_eq(out.type, rows[i].type);
        ck_assert(kd_bytes_equal((struct kd_bytes) { out.point, out.n_point }, point_of(key, p)));
        EVP_PKEY_free(key);
        OPENSSL_free(der);
    }
}
END_TEST

static TCase *tcase_import(void) {
    TCase *t = tcase_create("import");
    tcase_add_test(t, points_that_are_none_are_refused);
    tcase_add_test(t, points_of_both_curves_are_taken);
    tcase_add_test(t, certificates_that_are_cut_longer_or_of_another_kind_are_refused);
    tcase_add_test(t, key_of_a_certificate_is_its_point);
    return t;
}

UNIT_MAIN("import", tcase_import())
