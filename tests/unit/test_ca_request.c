// SPDX-License-Identifier: Apache-2.0
// Requests of devices (A02, A04): what is refused, and what is taken from those that are not.
#include "tests/unit/ca_keys.h"
#include "tests/unit/unit.h"

#include <string.h>

static const struct kd_ca_names names = {
    .device = "sensor-7",
    .server = "hub",
    .relation = "field-2",
    .uri = "https://boot.example/c/hub/sensor-7",
};

static enum kd_err read_der(struct kd_bytes der, struct kd_ca_point *key) {
    const char *why = "";
    const enum kd_err r = kd_ca_read_request(der, &names, key, &why);
    ck_assert((r == KD_OK) == (why[0] == '\0')); // a refusal says why
    return r;
}

static enum kd_err read_request(EVP_PKEY *pkey, const char *common_name,
                                const char *const *extensions) {
    struct kd_ca_point key;
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(65536);
    keys_request(pkey, pkey, "SHA256", common_name, extensions, &der);
    return read_der(kd_buf_get(&der), &key);
}

START_TEST(a_request_gives_its_key) {
    static const char *const curves[] = { "P-256", "P-384" };
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        struct kd_ca_point key;
        EVP_PKEY *pkey = keys_new(curves[i]);
        const struct kd_ca_point wanted = keys_point(pkey);
        kd_auto(buf) struct kd_buf der = KD_BUF_INIT(65536);
        keys_request(pkey, pkey, "SHA384", "sensor-7", NULL, &der);
        ck_assert_err(read_der(kd_buf_get(&der), &key), KD_OK);
        ck_assert_mem_eq(key.bytes, wanted.bytes, wanted.n);
        EVP_PKEY_free(pkey);
    }
}
END_TEST

START_TEST(a_request_that_another_key_signed_is_refused) {
    struct kd_ca_point key;
    EVP_PKEY *pkey = keys_new("P-256");
    EVP_PKEY *other = keys_new("P-256");
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(65536);
    keys_request(pkey, other, "SHA256", NULL, NULL, &der);
    ck_assert_err(read_der(kd_buf_get(&der), &key), KD_ERR_BAD_CSR);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(other);
}
END_TEST

START_TEST(every_byte_of_a_request_counts) {
    struct kd_ca_point key;
    EVP_PKEY *pkey = keys_new("P-256");
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(65536);
    keys_request(pkey, pkey, "SHA256", "sensor-7", NULL, &der);
    for (size_t i = 0; i < der.n; i++) {
        der.p[i] ^= 1;
        ck_assert_err(read_der(kd_buf_get(&der), &key), KD_ERR_BAD_CSR);
        der.p[i] ^= 1;
        ck_assert_err(read_der((struct kd_bytes) { der.p, i }, &key), KD_ERR_BAD_CSR);
    }
    kd_buf_u8(&der, 0); // one byte behind it
    ck_assert_err(read_der(kd_buf_get(&der), &key), KD_ERR_BAD_CSR);
    der.n--;
    ck_assert_err(read_der(kd_buf_get(&der), &key), KD_OK);
    EVP_PKEY_free(pkey);
}
END_TEST

START_TEST(a_request_is_as_long_as_its_limit_at_most) {
    struct kd_ca_point key;
    static uint8_t zeros[KD_CA_CSR_MAX_BYTES + 1];
    ck_assert_err(read_der((struct kd_bytes) { zeros, sizeof(zeros) }, &key),
                  KD_ERR_ITEM_TOO_LARGE);
    ck_assert_err(read_der((struct kd_bytes) { zeros, sizeof(zeros) - 1 }, &key), KD_ERR_BAD_CSR);
}
END_TEST

START_TEST(other_kinds_of_keys_are_refused) {
    static const char *const curves[] = { "P-521", "secp256k1", "P-224" };
    struct kd_ca_point key;
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        EVP_PKEY *pkey = keys_new(curves[i]);
        ck_assert_err(read_request(pkey, NULL, NULL), KD_ERR_BAD_CSR);
        EVP_PKEY_free(pkey);
    }
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    ck_assert_err(read_request(rsa, NULL, NULL), KD_ERR_BAD_CSR);
    EVP_PKEY_free(rsa);
    EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(65536);
    keys_request(ed, ed, NULL, NULL, NULL, &der);
    ck_assert_err(read_der(kd_buf_get(&der), &key), KD_ERR_BAD_CSR);
    EVP_PKEY_free(ed);
}
END_TEST

START_TEST(a_weak_digest_is_refused) {
    struct kd_ca_point key;
    EVP_PKEY *pkey = keys_new("P-256");
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(65536);
    keys_request(pkey, pkey, "SHA1", "sensor-7", NULL, &der);
    ck_assert_err(read_der(kd_buf_get(&der), &key), KD_ERR_BAD_CSR);
    EVP_PKEY_free(pkey);
}
END_TEST

START_TEST(only_its_own_names_are_taken) {
    static const char *const bad[] = {
        "URI:urn:keyd:device:sensor-8",
        "URI:urn:keyd:device:sensor-7,URI:urn:keyd:device:sensor-8",
        "URI:urn:keyd:device:sensor-77",
        "URI:urn:keyd:device:",
        "URI:urn:keyd:server:other",
        "URI:urn:keyd:relation:field-3",
        "URI:https://boot.example/c/hub/sensor-8",
        "DNS:boot.example",
        "IP:127.0.0.1",
        "email:a@b.example",
    };
    static const char *const own[] = {
        "subjectAltName",
        "URI:urn:keyd:device:sensor-7,URI:urn:keyd:server:hub,"
        "URI:urn:keyd:relation:field-2,URI:https://boot.example/c/hub/sensor-7",
        NULL,
    };
    EVP_PKEY *pkey = keys_new("P-256");
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        const char *const extensions[] = { "subjectAltName", bad[i], NULL };
        ck_assert_msg(read_request(pkey, NULL, extensions) == KD_ERR_BAD_CSR, "%s", bad[i]);
    }
    ck_assert_err(read_request(pkey, "sensor-7", own), KD_OK);
    ck_assert_err(read_request(pkey, NULL, NULL), KD_OK);
    ck_assert_err(read_request(pkey, "sensor-8", NULL), KD_ERR_BAD_CSR);
    ck_assert_err(read_request(pkey, "hub", NULL), KD_ERR_BAD_CSR);
    EVP_PKEY_free(pkey);
}
END_TEST

START_TEST(a_request_to_be_a_ca_is_refused) {
    static const char *const ca[] = { "basicConstraints", "CA:TRUE", NULL };
    static const char *const none[] = { "basicConstraints", "CA:FALSE", NULL };
    EVP_PKEY *pkey = keys_new("P-256");
    ck_assert_err(read_request(pkey, NULL, ca), KD_ERR_BAD_CSR);
    ck_assert_err(read_request(pkey, NULL, none), KD_OK);
    EVP_PKEY_free(pkey);
}
END_TEST

static TCase *tcase_request(void) {
    TCase *t = tcase_create("request");
    tcase_add_test(t, a_request_gives_its_key);
    tcase_add_test(t, a_request_that_another_key_signed_is_refused);
    tcase_add_test(t, every_byte_of_a_request_counts);
    tcase_add_test(t, a_request_is_as_long_as_its_limit_at_most);
    tcase_add_test(t, other_kinds_of_keys_are_refused);
    tcase_add_test(t, a_weak_digest_is_refused);
    tcase_add_test(t, only_its_own_names_are_taken);
    tcase_add_test(t, a_request_to_be_a_ca_is_refused);
    return t;
}

UNIT_MAIN("ca-request", tcase_request())
