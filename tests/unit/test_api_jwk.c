// SPDX-License-Identifier: Apache-2.0
// test_api_jwk.c: public keys in and out, against OpenSSL's own.
#include "api/jwk.h"

#include "json_body.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

static struct kd_json_in pem_body(const char *pem) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(16384);
    kd_buf_text(&text, "{\"pem\":");
    kd_json_put_text(&text, pem);
    kd_buf_u8(&text, '}');
    return json_body(kd_buf_get_text(&text));
}

#define X256 "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY"
#define Y256 "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
#define Y256_BAD "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfQ"

static void expect_jwk(const char *jwk, enum kd_err expected) {
    char text[1024];
    snprintf(text, sizeof(text), "{\"jwk\":%s}", jwk);
    const struct kd_json_in in = json_body(text);
    struct kd_public_key key;
    ck_assert_msg(kd_jwk_read(&in, "jwk", &key) == expected, "%s", jwk);
    ck_assert(expected == KD_OK || strcmp(jb.why.field, "jwk") == 0);
}

START_TEST(jwk_that_is_not_an_ec_public_key_is_refused) {
    expect_jwk("5", KD_ERR_FIELD_INVALID);
    expect_jwk("\"text\"", KD_ERR_FIELD_INVALID);
    expect_jwk("{}", KD_ERR_BAD_PUBLIC_KEY);
    expect_jwk("{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\"}", KD_ERR_BAD_PUBLIC_KEY);
    expect_jwk("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X256 "\"}", KD_ERR_BAD_PUBLIC_KEY);
    expect_jwk("{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"" X256 "\",\"y\":\"" Y256 "\"}",
               KD_ERR_BAD_PUBLIC_KEY);
    expect_jwk("{\"kty\":\"EC\",\"x\":\"" X256 "\",\"y\":\"" Y256 "\"}", KD_ERR_BAD_PUBLIC_KEY);
    expect_jwk("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "\"}", KD_ERR_BAD_PUBLIC_KEY);
    expect_jwk("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":1,\"y\":2}", KD_ERR_BAD_PUBLIC_KEY);
}
END_TEST

START_TEST(private_part_is_refused_whatever_else_is_there) {
    expect_jwk("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "\",\"y\":\"" Y256
               "\",\"d\":\"AQ\"}",
               KD_ERR_PRIVATE_KEY_IMPORT);
    expect_jwk("{\"kty\":\"oct\",\"k\":\"AQ\"}", KD_ERR_PRIVATE_KEY_IMPORT);
    expect_jwk("{\"kty\":\"oct\"}", KD_ERR_PRIVATE_KEY_IMPORT);
    expect_jwk("{\"kty\":\"RSA\",\"d\":null}", KD_ERR_PRIVATE_KEY_IMPORT);
}
END_TEST

START_TEST(coordinates_have_the_length_of_the_field) {
    // One byte short, one byte long, the other curve's, empty, padded, not base64url.
    static const char *const wrong[] = {
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwg",
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpYA",
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpYAAAAAAAAAAAAAAAAAAAAA",
        "",
        (X256 "="),
        ("+" X256),
    };
    for (size_t i = 0; i < KD_COUNT_OF(wrong); i++) {
        char jwk[512];
        snprintf(jwk, sizeof(jwk), "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}",
                 wrong[i], Y256);
        expect_jwk(jwk, KD_ERR_BAD_PUBLIC_KEY);
        snprintf(jwk, sizeof(jwk), "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}",
                 X256, wrong[i]);
        expect_jwk(jwk, KD_ERR_BAD_PUBLIC_KEY);
    }
    expect_jwk("{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" X256 "\",\"y\":\"" Y256 "\"}",
               KD_ERR_BAD_PUBLIC_KEY);
}
END_TEST

START_TEST(point_off_the_curve_is_seen) {
    struct kd_public_key key;
    struct kd_json_in in = json_body("{\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256
                                     "\",\"y\":\"" Y256_BAD "\"}}");
    ck_assert_err(kd_jwk_read(&in, "jwk", &key), KD_OK);
    ck_assert(!kd_public_key_is_on_curve(&key));
    in = json_body("{\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "\",\"y\":\"" Y256
                   "\"}}");
    ck_assert_err(kd_jwk_read(&in, "jwk", &key), KD_OK);
    ck_assert(kd_public_key_is_on_curve(&key));
    memset(key.point + 1, 0, key.n - 1); // (0, 0) is on neither curve
    ck_assert(!kd_public_key_is_on_curve(&key));
    memset(key.point + 1, 0xff, key.n - 1); // over the field's prime
    ck_assert(!kd_public_key_is_on_curve(&key));
}
END_TEST

START_TEST(members_that_are_not_needed_are_ignored) {
    expect_jwk("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "\",\"y\":\"" Y256
               "\",\"kid\":\"1\",\"use\":\"sig\",\"alg\":\"ES256\",\"anything\":[1]}",
               KD_OK);
}
END_TEST

// ---- PEM, with keys that OpenSSL makes -------------------------------------

static char pem[4096];

static const char *pem_of(EVP_PKEY *pkey, bool is_private) {
    BIO *bio = BIO_new(BIO_s_mem());
    ck_assert_int_eq(is_private ? PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL)
                                : PEM_write_bio_PUBKEY(bio, pkey),
                     1);
    const int n = BIO_read(bio, pem, sizeof(pem) - 1);
    pem[n] = '\0';
    BIO_free(bio);
    return pem;
}

static const char *certificate_of(EVP_PKEY *pkey) {
    X509 *x509 = X509_new();
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, pkey);
    ck_assert_int_gt(X509_sign(x509, pkey, EVP_sha256()), 0);
    BIO *bio = BIO_new(BIO_s_mem());
    ck_assert_int_eq(PEM_write_bio_X509(bio, x509), 1);
    const int n = BIO_read(bio, pem, sizeof(pem) - 1);
    pem[n] = '\0';
    BIO_free(bio);
    X509_free(x509);
    return pem;
}

static enum kd_err read_pem(const char *text, struct kd_public_key *key,
                            struct kd_bytes *certificate) {
    const struct kd_json_in in = pem_body(text);
    return kd_pem_read(&in, "pem", key, certificate);
}

START_TEST(pem_that_is_not_one_public_key_is_refused) {
    struct kd_public_key key;
    struct kd_bytes certificate;
    static const char *const texts[] = {
        "",
        "text",
        "-----BEGIN PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    };
    for (size_t i = 0; i < KD_COUNT_OF(texts); i++) {
        ck_assert_err(read_pem(texts[i], &key, &certificate), KD_ERR_BAD_PUBLIC_KEY);
    }
    EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    ck_assert_err(read_pem(pem_of(ed, false), &key, &certificate), KD_ERR_BAD_PUBLIC_KEY);
    EVP_PKEY_free(ed);
    EVP_PKEY *p521 = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-521");
    ck_assert_err(read_pem(pem_of(p521, false), &key, &certificate), KD_ERR_BAD_PUBLIC_KEY);
    EVP_PKEY_free(p521);
}
END_TEST

START_TEST(pem_with_a_private_key_is_refused) {
    struct kd_public_key key;
    struct kd_bytes certificate;
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    ck_assert_err(read_pem(pem_of(pkey, true), &key, &certificate), KD_ERR_PRIVATE_KEY_IMPORT);
    char both[8192];
    snprintf(both, sizeof(both), "%s-----BEGIN EC PRIVATE KEY-----\n", certificate_of(pkey));
    ck_assert_err(read_pem(both, &key, &certificate), KD_ERR_PRIVATE_KEY_IMPORT);
    snprintf(both, sizeof(both), "%s%s", pem_of(pkey, false), pem);
    ck_assert_err(read_pem(both, &key, &certificate), KD_ERR_BAD_PUBLIC_KEY); // two blocks
    EVP_PKEY_free(pkey);
}
END_TEST

START_TEST(pem_and_jwk_come_back_as_they_were_written) {
    static const struct {
        const char *curve;
        enum kd_key_type type;
    } rows[] = { { "P-256", KD_KEY_EC_P256 }, { "P-384", KD_KEY_EC_P384 } };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", rows[i].curve);
        struct kd_public_key key;
        struct kd_bytes certificate;
        ck_assert_err(read_pem(pem_of(pkey, false), &key, &certificate), KD_OK);
        ck_assert_int_eq(key.type, rows[i].type);
        ck_assert_uint_eq(certificate.n, 0);
        ck_assert(kd_public_key_is_on_curve(&key));
        const struct kd_bytes point = { key.point, key.n };

        // What we write as PEM is what OpenSSL writes.
        kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
        kd_spki_pem_write(&out, key.type, point);
        json_t *text = json_loadb((const char *)out.p, out.n, JSON_DECODE_ANY, NULL);
        ck_assert_str_eq(json_string_value(text), pem);
        json_decref(text);

        kd_buf_reset(&out);
        kd_buf_text(&out, "{\"jwk\":");
        kd_jwk_write(&out, key.type, point);
        kd_buf_u8(&out, '}');
        const struct kd_json_in in = json_body(kd_buf_get_text(&out));
        struct kd_public_key again;
        ck_assert_err(kd_jwk_read(&in, "jwk", &again), KD_OK);
        ck_assert(kd_bytes_equal((struct kd_bytes) { again.point, again.n }, point));

        ck_assert_err(read_pem(certificate_of(pkey), &again, &certificate), KD_OK);
        ck_assert(kd_bytes_equal((struct kd_bytes) { again.point, again.n }, point));
        ck_assert_uint_gt(certificate.n, 0);
        kd_buf_reset(&out);
        kd_certificate_pem_write(&out, certificate);
        text = json_loadb((const char *)out.p, out.n, JSON_DECODE_ANY, NULL);
        ck_assert_str_eq(json_string_value(text), pem);
        json_decref(text);
        EVP_PKEY_free(pkey);
    }
}
END_TEST

START_TEST(point_of_the_wrong_length_is_not_written) {
    const uint8_t point[97] = { 4 };
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(1024);
    kd_jwk_write(&out, KD_KEY_EC_P256, (struct kd_bytes) { point, 97 });
    ck_assert_str_eq(kd_buf_get_text(&out), "null");
    kd_buf_reset(&out);
    kd_spki_pem_write(&out, KD_KEY_EC_P384, (struct kd_bytes) { point, 65 });
    ck_assert_str_eq(kd_buf_get_text(&out), "null");
    kd_buf_reset(&out);
    kd_spki_pem_write(&out, KD_KEY_AES_256, KD_BYTES_NONE);
    ck_assert_str_eq(kd_buf_get_text(&out), "null");
}
END_TEST

static TCase *tcase_jwk(void) {
    TCase *c = tcase_create("jwk");
    tcase_add_checked_fixture(c, json_body_setup, json_body_teardown);
    tcase_add_test(c, jwk_that_is_not_an_ec_public_key_is_refused);
    tcase_add_test(c, private_part_is_refused_whatever_else_is_there);
    tcase_add_test(c, coordinates_have_the_length_of_the_field);
    tcase_add_test(c, point_off_the_curve_is_seen);
    tcase_add_test(c, members_that_are_not_needed_are_ignored);
    tcase_add_test(c, pem_that_is_not_one_public_key_is_refused);
    tcase_add_test(c, pem_with_a_private_key_is_refused);
    tcase_add_test(c, pem_and_jwk_come_back_as_they_were_written);
    tcase_add_test(c, point_of_the_wrong_length_is_not_written);
    return c;
}

UNIT_MAIN("api_jwk", tcase_jwk())
