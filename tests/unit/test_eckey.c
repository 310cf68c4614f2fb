// SPDX-License-Identifier: Apache-2.0
// test_eckey.c: public keys from PEM, certificates and JWK; DER signatures.
#include "client/eckey.h"
#include "client/rest_json.h"
#include "tests/unit/unit.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

enum kind { PUBLIC, PRIVATE, CERTIFICATE };

// A new key on the curve, as PEM of the kind.
static void make_pem(const char *curve, enum kind kind, struct kd_buf *out) {
    EVP_PKEY *key = EVP_EC_gen(curve);
    ck_assert_ptr_nonnull(key);
    BIO *bio = BIO_new(BIO_s_mem());
    if (kind == PUBLIC) {
        ck_assert_int_eq(PEM_write_bio_PUBKEY(bio, key), 1);
    } else if (kind == PRIVATE) {
        ck_assert_int_eq(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    } else {
        X509 *x = X509_new();
        X509_set_pubkey(x, key);
        X509_gmtime_adj(X509_getm_notBefore(x), 0);
        X509_gmtime_adj(X509_getm_notAfter(x), 60);
        ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
        ck_assert_int_eq(PEM_write_bio_X509(bio, x), 1);
        X509_free(x);
    }
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    kd_buf_put(out, p, (size_t)n);
    BIO_free(bio);
    EVP_PKEY_free(key);
}

static void refused(const char *text, enum kd_err expected) {
    json_t *jwk = NULL;
    ck_assert_err(kd_eckey_read(kd_bytes_of_text(text), &jwk), expected);
    ck_assert_ptr_null(jwk);
}

START_TEST(refuses_what_is_no_public_key) {
    refused("", KD_ERR_BAD_PUBLIC_KEY);
    refused("hello", KD_ERR_BAD_PUBLIC_KEY);
    refused("[1]", KD_ERR_BAD_PUBLIC_KEY);
    refused("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", KD_ERR_BAD_PUBLIC_KEY);
    refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            KD_ERR_BAD_PUBLIC_KEY);
}
END_TEST

START_TEST(refuses_other_curves) {
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(4096);
    make_pem("P-521", PUBLIC, &pem);
    refused(kd_buf_get_text(&pem), KD_ERR_BAD_PUBLIC_KEY);
}
END_TEST

START_TEST(private_keys_are_seen_in_every_form) {
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(4096);
    make_pem("P-256", PRIVATE, &pem);
    refused(kd_buf_get_text(&pem), KD_ERR_PRIVATE_KEY_IMPORT);
    refused("-----BEGIN EC PRIVATE KEY-----", KD_ERR_PRIVATE_KEY_IMPORT);
    refused("-----BEGIN ENCRYPTED PRIVATE KEY-----", KD_ERR_PRIVATE_KEY_IMPORT);
    refused("{\"kty\":\"EC\",\"d\":\"AA\"}", KD_ERR_PRIVATE_KEY_IMPORT);
    refused("{\"kty\":\"oct\",\"k\":\"AA\"}", KD_ERR_PRIVATE_KEY_IMPORT);
    // A public key beside a private one does not make the file public.
    kd_auto(buf) struct kd_buf both = KD_BUF_INIT(8192);
    make_pem("P-256", PUBLIC, &both);
    make_pem("P-256", PRIVATE, &both);
    refused(kd_buf_get_text(&both), KD_ERR_PRIVATE_KEY_IMPORT);
}
END_TEST

static void check_jwk(const char *curve, enum kind kind, size_t coordinate_text) {
    // Often enough to meet a coordinate that begins with a zero byte.
    for (int i = 0; i < 40; i++) {
        kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(8192);
        kd_auto(json) json_t *jwk = NULL;
        make_pem(curve, kind, &pem);
        ck_assert_err(kd_eckey_read(kd_buf_get(&pem), &jwk), KD_OK);
        ck_assert_str_eq(json_string_value(json_object_get(jwk, "kty")), "EC");
        ck_assert_str_eq(json_string_value(json_object_get(jwk, "crv")), curve);
        ck_assert_uint_eq(json_string_length(json_object_get(jwk, "x")), coordinate_text);
        ck_assert_uint_eq(json_string_length(json_object_get(jwk, "y")), coordinate_text);
        ck_assert_uint_eq(json_object_size(jwk), 4);
    }
}

START_TEST(reads_public_keys_and_certificates) {
    check_jwk("P-256", PUBLIC, 43);
    check_jwk("P-384", PUBLIC, 64);
    check_jwk("P-256", CERTIFICATE, 43);
    kd_auto(json) json_t *jwk = NULL;
    ck_assert_err(kd_eckey_read(kd_bytes_of_text("{\"kty\":\"EC\",\"crv\":\"P-256\"}"), &jwk),
                  KD_OK); // keyd judges its members
    ck_assert_uint_eq(json_object_size(jwk), 2);
}
END_TEST

static TCase *tcase_eckey(void) {
    TCase *t = tcase_create("eckey");
    tcase_add_test(t, refuses_what_is_no_public_key);
    tcase_add_test(t, refuses_other_curves);
    tcase_add_test(t, private_keys_are_seen_in_every_form);
    tcase_add_test(t, reads_public_keys_and_certificates);
    return t;
}

UNIT_MAIN("eckey", tcase_eckey())
