// SPDX-License-Identifier: Apache-2.0
// Certificates that the CA makes (A02, A10), as OpenSSL reads them, and the forms of EST.
#include "tests/unit/ca_keys.h"
#include "tests/unit/unit.h"

#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <string.h>

static const struct kd_ca_names names = {
    .device = "sensor-7",
    .server = "hub",
    .relation = "field-2",
    .uri = "https://boot.example/c/hub/sensor-7",
};
static EVP_PKEY *ca;
static EVP_PKEY *device;
static struct kd_buf root = { .max = KD_CA_CERTIFICATE_MAX_BYTES };
static struct kd_buf leaf = { .max = KD_CA_CERTIFICATE_MAX_BYTES };

static void begin(const char *curve, enum kd_ca_usage usage) {
    ca = keys_new(curve);
    device = keys_new("P-256");
    const struct kd_ca_point key = keys_point(device);
    keys_root(ca, &root);
    keys_issue(ca, kd_buf_get(&root), &names, usage, &key, &leaf);
}

static void end(void) {
    EVP_PKEY_free(ca);
    EVP_PKEY_free(device);
    kd_buf_wipe(&root);
    kd_buf_wipe(&leaf);
}

static int verify(X509 *x, X509 *anchor, int purpose) {
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, anchor);
    X509_STORE_CTX_init(ctx, store, x, NULL);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, 1767225600 + 86400);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_VERIFY_PARAM_set_purpose(param, purpose);
    const int r = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return r;
}

START_TEST(a_certificate_is_verified_by_its_root_strictly) {
    static const char *const curves[] = { "P-256", "P-384" };
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        begin(curves[i], KD_CA_SIGN);
        X509 *anchor = keys_parse(kd_buf_get(&root));
        X509 *x = keys_parse(kd_buf_get(&leaf));
        ck_assert_int_eq(verify(x, anchor, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
        ck_assert_int_ne(verify(x, anchor, X509_PURPOSE_SSL_SERVER), X509_V_OK);
        ck_assert_int_eq(X509_check_ca(x), 0);
        ck_assert_int_eq(X509_check_ca(anchor), 1);
        ck_assert_int_eq(X509_get_pathlen(anchor), 0);
        ck_assert_int_eq(X509_get_signature_nid(x),
                         i == 0 ? NID_ecdsa_with_SHA256 : NID_ecdsa_with_SHA384);
        X509_free(x);
        X509_free(anchor);
        end();
    }
}
END_TEST

START_TEST(A02_a_certificate_holds_device_server_relation_and_its_uri) {
    static const char *const wanted[] = { "urn:keyd:device:sensor-7", "urn:keyd:server:hub",
                                          "urn:keyd:relation:field-2",
                                          "https://boot.example/c/hub/sensor-7" };
    begin("P-256", KD_CA_SIGN);
    X509 *x = keys_parse(kd_buf_get(&leaf));
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    ck_assert_int_eq(sk_GENERAL_NAME_num(all), 4);
    for (int i = 0; i < 4; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        ck_assert_int_eq(name->type, GEN_URI);
        ck_assert_str_eq((const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
                         wanted[i]);
    }
    GENERAL_NAMES_free(all);
    char text[64];
    X509_NAME_oneline(X509_get_subject_name(x), text, sizeof(text));
    ck_assert_str_eq(text, "/CN=sensor-7");
    X509_free(x);
    end();
}
END_TEST

START_TEST(a_key_has_one_usage) {
    begin("P-256", KD_CA_SIGN);
    X509 *x = keys_parse(kd_buf_get(&leaf));
    ck_assert_uint_eq(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
    X509_free(x);
    end();
    begin("P-256", KD_CA_AGREE);
    x = keys_parse(kd_buf_get(&leaf));
    X509 *anchor = keys_parse(kd_buf_get(&root));
    ck_assert_uint_eq(X509_get_key_usage(x), KU_KEY_AGREEMENT);
    ck_assert_uint_eq(X509_get_key_usage(anchor), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    X509_free(x);
    X509_free(anchor);
    end();
}
END_TEST

START_TEST(a_serial_is_positive_whatever_was_drawn) {
    begin("P-256", KD_CA_SIGN); // it has the highest bit set in the profile
    X509 *x = keys_parse(kd_buf_get(&leaf));
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    ck_assert_int_eq(BN_is_negative(n), 0);
    ck_assert_int_eq(BN_num_bytes(n), KD_CA_SERIAL_BYTES);
    BN_free(n);
    X509_free(x);
    end();
}
END_TEST

START_TEST(a_signature_of_another_key_is_not_put_into_a_certificate) {
    uint8_t signature[96];
    begin("P-256", KD_CA_SIGN);
    const struct kd_ca_point signer = keys_point(ca);
    const struct kd_bytes tbs = kd_bytes_of_text("anything");
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_CA_CERTIFICATE_MAX_BYTES);
    struct kd_bytes sig = keys_sign(device, tbs, signature);
    ck_assert_err(kd_ca_finish(tbs, &signer, sig, &der), KD_ERR_NOT_AUTHENTIC);
    sig = keys_sign(ca, tbs, signature);
    sig.n--;
    ck_assert_err(kd_ca_finish(tbs, &signer, sig, &der), KD_ERR_NOT_AUTHENTIC);
    sig.n = 0;
    ck_assert_err(kd_ca_finish(tbs, &signer, sig, &der), KD_ERR_NOT_AUTHENTIC);
    ck_assert_uint_eq(der.n, 0);
    end();
}
END_TEST

START_TEST(a_request_for_a_ca_above_is_one_that_openssl_verifies) {
    uint8_t signature[96];
    begin("P-384", KD_CA_SIGN);
    const struct kd_ca_point key = keys_point(ca);
    kd_auto(buf) struct kd_buf tbs = KD_BUF_INIT(4096);
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(4096);
    ck_assert_err(kd_ca_begin_request("unit CA", &key, &tbs), KD_OK);
    ck_assert_err(
        kd_ca_finish(kd_buf_get(&tbs), &key, keys_sign(ca, kd_buf_get(&tbs), signature), &der),
        KD_OK);
    const unsigned char *p = der.p;
    X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)der.n);
    ck_assert_ptr_nonnull(req);
    ck_assert_int_eq(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)), 1);
    X509_REQ_free(req);
    end();
}
END_TEST

START_TEST(A10_a_chain_is_read_and_what_is_none_is_refused) {
    struct kd_ca_chain chain = KD_CA_CHAIN_INIT;
    const char *why = "";
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(65536);
    begin("P-256", KD_CA_SIGN);
    ck_assert_err(kd_ca_read_chain(kd_bytes_of_text("no PEM"), &chain, &why),
                  KD_ERR_BAD_PUBLIC_KEY);
    kd_ca_put_pem(&pem, "CERTIFICATE", kd_buf_get(&leaf)); // not a CA
    ck_assert_err(kd_ca_read_chain(kd_buf_get(&pem), &chain, &why), KD_ERR_BAD_PUBLIC_KEY);
    kd_buf_reset(&pem);
    kd_ca_put_pem(&pem, "CERTIFICATE", kd_buf_get(&root));
    ck_assert_err(kd_ca_read_chain(kd_buf_get(&pem), &chain, &why), KD_OK);
    ck_assert_uint_eq(chain.n, 1);
    ck_assert(kd_bytes_equal(chain.certificates[0], kd_buf_get(&root)));
    ck_assert_uint_eq(chain.from_ms, UINT64_C(1767225600000));
    ck_assert_mem_eq(chain.key.bytes, keys_point(ca).bytes, 65);
    EVP_PKEY *other = keys_new("P-256"); // the same name, another key
    kd_auto(buf) struct kd_buf alike = KD_BUF_INIT(4096);
    keys_root(other, &alike);
    kd_ca_put_pem(&pem, "CERTIFICATE", kd_buf_get(&alike));
    ck_assert_err(kd_ca_read_chain(kd_buf_get(&pem), &chain, &why), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_uint_eq(chain.n, 1); // as it was
    kd_buf_reset(&pem);
    for (size_t i = 0; i < KD_CA_CHAIN_MAX; i++) {
        kd_ca_put_pem(&pem, "CERTIFICATE", kd_buf_get(&root));
    }
    ck_assert_err(kd_ca_read_chain(kd_buf_get(&pem), &chain, &why), KD_OK);
    kd_ca_put_pem(&pem, "CERTIFICATE", kd_buf_get(&root));
    ck_assert_err(kd_ca_read_chain(kd_buf_get(&pem), &chain, &why), KD_ERR_BAD_PUBLIC_KEY);
    kd_ca_chain_wipe(&chain);
    EVP_PKEY_free(other);
    end();
}
END_TEST

START_TEST(pkcs7_has_the_certificates_and_nothing_else) {
    begin("P-256", KD_CA_SIGN);
    const struct kd_bytes both[] = { kd_buf_get(&leaf), kd_buf_get(&root) };
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(65536);
    ck_assert_err(kd_ca_put_pkcs7(both, 2, &der), KD_OK);
    const unsigned char *p = der.p;
    PKCS7 *p7 = d2i_PKCS7(NULL, &p, (long)der.n);
    ck_assert_ptr_nonnull(p7);
    ck_assert(PKCS7_type_is_signed(p7));
    ck_assert_int_eq(sk_X509_num(p7->d.sign->cert), 2);
    ck_assert_int_eq(sk_PKCS7_SIGNER_INFO_num(p7->d.sign->signer_info), 0);
    PKCS7_free(p7);
    end();
}
END_TEST

START_TEST(attributes_are_der) {
    static const size_t points[] = { 65, 97 };
    for (size_t i = 0; i < KD_COUNT_OF(points); i++) {
        const struct kd_ca_point like = { .n = points[i] };
        kd_auto(buf) struct kd_buf der = KD_BUF_INIT(128);
        kd_ca_put_csrattrs(&der, &like);
        const unsigned char *p = der.p;
        ASN1_SEQUENCE_ANY *all = d2i_ASN1_SEQUENCE_ANY(NULL, &p, (long)der.n);
        ck_assert_ptr_nonnull(all);
        ck_assert(p == der.p + der.n);
        ck_assert_int_eq(sk_ASN1_TYPE_num(all), 2);
        sk_ASN1_TYPE_pop_free(all, ASN1_TYPE_free);
    }
}
END_TEST

START_TEST(base64_is_read_as_it_was_written_and_with_white_space) {
    uint8_t bytes[100];
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1024);
        kd_auto(buf) struct kd_buf back = KD_BUF_INIT(1024);
        memset(bytes, (int)n, sizeof(bytes));
        ck_assert_err(kd_ca_put_base64((struct kd_bytes) { bytes, n }, &text), KD_OK);
        ck_assert_err(kd_ca_read_base64(kd_buf_get(&text), &back), KD_OK);
        ck_assert(kd_bytes_equal(kd_buf_get(&back), (struct kd_bytes) { bytes, n }));
    }
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(16);
    ck_assert_err(kd_ca_read_base64(kd_bytes_of_text(" \r\nAQ\t I\nD "), &out), KD_OK);
    ck_assert_uint_eq(out.n, 3);
}
END_TEST

START_TEST(what_is_not_base64_is_refused) {
    static const char *const bad[] = { "A",     "AQ",     "AQI",  "=",    "====",
                                       "AQ=I",  "AQID=",  "A===", "AQ-_", "-----BEGIN X-----",
                                       "AQID.", "\x80QID" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        kd_auto(buf) struct kd_buf out = KD_BUF_INIT(64);
        ck_assert_msg(kd_ca_read_base64(kd_bytes_of_text(bad[i]), &out) == KD_ERR_BAD_BASE64, "%s",
                      bad[i]);
        ck_assert_uint_eq(out.n, 0);
    }
}
END_TEST

START_TEST(a_uri_ends_at_its_limit) {
    char base[KD_CA_URI_MAX_BYTES + 1] = { 0 };
    memset(base, 'b', KD_CA_URI_MAX_BYTES - strlen("/c/s/d"));
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(1024);
    ck_assert_err(kd_ca_put_uri(&out, base, "s", "d"), KD_OK);
    kd_buf_reset(&out);
    ck_assert_err(kd_ca_put_uri(&out, base, "s", "dd"), KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

static TCase *tcase_certificates(void) {
    TCase *t = tcase_create("certificates");
    tcase_add_test(t, a_certificate_is_verified_by_its_root_strictly);
    tcase_add_test(t, A02_a_certificate_holds_device_server_relation_and_its_uri);
    tcase_add_test(t, a_key_has_one_usage);
    tcase_add_test(t, a_serial_is_positive_whatever_was_drawn);
    tcase_add_test(t, a_signature_of_another_key_is_not_put_into_a_certificate);
    tcase_add_test(t, a_request_for_a_ca_above_is_one_that_openssl_verifies);
    tcase_add_test(t, A10_a_chain_is_read_and_what_is_none_is_refused);
    tcase_add_test(t, a_uri_ends_at_its_limit);
    return t;
}

static TCase *tcase_forms(void) {
    TCase *t = tcase_create("forms");
    tcase_add_test(t, pkcs7_has_the_certificates_and_nothing_else);
    tcase_add_test(t, attributes_are_der);
    tcase_add_test(t, base64_is_read_as_it_was_written_and_with_white_space);
    tcase_add_test(t, what_is_not_base64_is_refused);
    return t;
}

UNIT_MAIN("ca", tcase_certificates(), tcase_forms())
