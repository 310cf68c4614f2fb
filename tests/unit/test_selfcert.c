// SPDX-License-Identifier: Apache-2.0
// A certificate that is signed by a key which is elsewhere.
#include "client/selfcert.h"

#include "tests/unit/unit.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

static char public_pem[1024];

static EVP_PKEY *new_key(const char *group) {
    EVP_PKEY *key = EVP_EC_gen(group);
    BIO *out = BIO_new(BIO_s_mem());
    ck_assert_int_eq(PEM_write_bio_PUBKEY(out, key), 1);
    const int n = BIO_read(out, public_pem, (int)sizeof(public_pem) - 1);
    ck_assert_int_gt(n, 0);
    public_pem[n] = '\0';
    BIO_free(out);
    return key;
}

static void sign(EVP_PKEY *key, struct kd_bytes tbs, struct kd_buf *raw) {
    uint8_t der[128];
    size_t n = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ck_assert_int_eq(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    ck_assert_int_eq(EVP_DigestSign(ctx, der, &n, tbs.p, tbs.n), 1);
    EVP_MD_CTX_free(ctx);
    kd_buf_reset(raw);
    ck_assert(kd_ecdsa_from_der((struct kd_bytes) { der, n }, kd_buf_extend(raw, 64), 64));
}

START_TEST(keys_that_it_is_not_for_are_refused) {
    kd_auto(buf) struct kd_buf tbs = KD_BUF_INIT(4096);
    ck_assert_err(kd_selfcert_begin("", "keyd", 10, &tbs), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(kd_selfcert_begin("-----BEGIN PUBLIC KEY-----\n", "keyd", 10, &tbs),
                  KD_ERR_BAD_PUBLIC_KEY);
    EVP_PKEY_free(new_key("P-384"));
    ck_assert_err(kd_selfcert_begin(public_pem, "keyd", 10, &tbs), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_uint_eq(tbs.n, 0);
}
END_TEST

START_TEST(signature_of_another_key_or_text_is_refused) {
    kd_auto(buf) struct kd_buf tbs = KD_BUF_INIT(4096);
    kd_auto(buf) struct kd_buf raw = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(8192);
    EVP_PKEY *other = new_key("P-256");
    EVP_PKEY *key = new_key("P-256");
    ck_assert_err(kd_selfcert_begin(public_pem, "keyd", 10, &tbs), KD_OK);
    const struct kd_bytes whole = kd_buf_get(&tbs);
    sign(other, whole, &raw);
    ck_assert_err(kd_selfcert_finish(whole, kd_buf_get(&raw), &pem), KD_ERR_NOT_AUTHENTIC);
    sign(key, (struct kd_bytes) { whole.p, whole.n - 1 }, &raw);
    ck_assert_err(kd_selfcert_finish(whole, kd_buf_get(&raw), &pem), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(kd_selfcert_finish(whole, (struct kd_bytes) { raw.p, 63 }, &pem),
                  KD_ERR_FIELD_INVALID);
    sign(key, whole, &raw);
    ck_assert_err(kd_selfcert_finish(kd_bytes_of_text("x"), kd_buf_get(&raw), &pem),
                  KD_ERR_NOT_AUTHENTIC);
    ck_assert_uint_eq(pem.n, 0);
    EVP_PKEY_free(other);
    EVP_PKEY_free(key);
}
END_TEST

// Signatures in DER have 70 to 72 bytes, and certificates other lengths with them.
START_TEST(certificate_is_the_keys_and_says_what_it_is_for) {
    EVP_PKEY *key = new_key("P-256");
    for (unsigned i = 0; i < 50; i++) {
        kd_auto(buf) struct kd_buf tbs = KD_BUF_INIT(4096);
        kd_auto(buf) struct kd_buf raw = KD_BUF_INIT(64);
        kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(8192);
        ck_assert_err(kd_selfcert_begin(public_pem, "keyd", 10, &tbs), KD_OK);
        sign(key, kd_buf_get(&tbs), &raw);
        ck_assert_err(kd_selfcert_finish(kd_buf_get(&tbs), kd_buf_get(&raw), &pem), KD_OK);
        BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
        X509 *x = PEM_read_bio_X509(in, NULL, NULL, NULL);
        ck_assert_ptr_nonnull(x);
        ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(x), key), 1);
        ck_assert_int_eq(X509_verify(x, key), 1);
        ck_assert_int_eq(X509_NAME_cmp(X509_get_issuer_name(x), X509_get_subject_name(x)), 0);
        ck_assert_int_eq(X509_check_ca(x), 0);
        ck_assert_uint_eq(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
        ck_assert_int_lt(X509_cmp_current_time(X509_get0_notBefore(x)), 0);
        ck_assert_int_gt(X509_cmp_current_time(X509_get0_notAfter(x)), 0);
        X509_free(x);
        BIO_free(in);
    }
    EVP_PKEY_free(key);
}
END_TEST

static TCase *tcase_selfcert(void) {
    TCase *t = tcase_create("selfcert");
    tcase_add_test(t, keys_that_it_is_not_for_are_refused);
    tcase_add_test(t, signature_of_another_key_or_text_is_refused);
    tcase_add_test(t, certificate_is_the_keys_and_says_what_it_is_for);
    return t;
}

UNIT_MAIN("selfcert", tcase_selfcert())
