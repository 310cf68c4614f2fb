// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/ca_keys.h"
#include "tests/unit/unit.h"

#include <openssl/ec.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { YEAR_SEC = 31536000 };
static const uint64_t now_ms = UINT64_C(1767225600000); // 2026

EVP_PKEY *keys_new(const char *curve) {
    EVP_PKEY *pkey = EVP_EC_gen(curve);
    ck_assert_ptr_nonnull(pkey);
    return pkey;
}

struct kd_ca_point keys_point(EVP_PKEY *pkey) {
    struct kd_ca_point point = { 0 };
    ck_assert_int_eq(
        EVP_PKEY_get_octet_string_param(pkey, "pub", point.bytes, sizeof(point.bytes), &point.n),
        1);
    return point;
}

struct kd_bytes keys_sign(EVP_PKEY *pkey, struct kd_bytes data, uint8_t out[static 96]) {
    uint8_t der[128];
    size_t n = sizeof(der);
    const int half = EVP_PKEY_get_bits(pkey) / 8;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ck_assert_int_eq(
        EVP_DigestSignInit(ctx, NULL, half == 48 ? EVP_sha384() : EVP_sha256(), NULL, pkey), 1);
    ck_assert_int_eq(EVP_DigestSign(ctx, der, &n, data.p, data.n), 1);
    EVP_MD_CTX_free(ctx);
    const unsigned char *p = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)n);
    ck_assert_int_eq(BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, half), half);
    ck_assert_int_eq(BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + half, half), half);
    ECDSA_SIG_free(sig);
    return (struct kd_bytes) { out, (size_t)half * 2 };
}

static void make(EVP_PKEY *ca, struct kd_ca_profile *profile, struct kd_buf *der) {
    uint8_t signature[96];
    kd_auto(buf) struct kd_buf tbs = KD_BUF_INIT(KD_CA_CERTIFICATE_MAX_BYTES);
    memset(profile->serial, 0xa5, sizeof(profile->serial));
    profile->from_ms = now_ms;
    profile->upto_ms = now_ms + YEAR_SEC * UINT64_C(1000);
    profile->signer = keys_point(ca);
    ck_assert_err(kd_ca_begin_certificate(profile, &tbs), KD_OK);
    ck_assert_err(kd_ca_finish(kd_buf_get(&tbs), &profile->signer,
                               keys_sign(ca, kd_buf_get(&tbs), signature), der),
                  KD_OK);
}

void keys_root(EVP_PKEY *ca, struct kd_buf *der) {
    struct kd_ca_profile profile = { .subject = "unit CA", .key = keys_point(ca) };
    make(ca, &profile, der);
}

void keys_issue(EVP_PKEY *ca, struct kd_bytes issuer, const struct kd_ca_names *names,
                enum kd_ca_usage usage, const struct kd_ca_point *key, struct kd_buf *der) {
    struct kd_ca_profile profile = {
        .names = names, .usage = usage, .key = *key, .issuer = issuer
    };
    make(ca, &profile, der);
}

X509 *keys_parse(struct kd_bytes der) {
    const unsigned char *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);
    ck_assert_ptr_nonnull(x);
    ck_assert(p == der.p + der.n);
    return x;
}

static void add_extensions(X509_REQ *req, const char *const *extensions) {
    STACK_OF(X509_EXTENSION) *all = sk_X509_EXTENSION_new_null();
    for (; extensions != NULL && extensions[0] != NULL; extensions += 2) {
        X509_EXTENSION *e = X509V3_EXT_conf(NULL, NULL, extensions[0], extensions[1]);
        ck_assert_ptr_nonnull(e);
        sk_X509_EXTENSION_push(all, e);
    }
    ck_assert_int_eq(X509_REQ_add_extensions(req, all), 1);
    sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
}

void keys_request(EVP_PKEY *pkey, EVP_PKEY *signer, const char *digest, const char *common_name,
                  const char *const *extensions, struct kd_buf *der) {
    X509_REQ *req = X509_REQ_new();
    X509_REQ_set_version(req, 0);
    X509_REQ_set_pubkey(req, pkey);
    if (common_name != NULL) {
        X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(req), NID_commonName, MBSTRING_UTF8,
                                   (const uint8_t *)common_name, -1, -1, 0);
    }
    if (extensions != NULL) {
        add_extensions(req, extensions);
    }
    const EVP_MD *md = digest == NULL ? NULL : EVP_get_digestbyname(digest);
    ck_assert_int_gt(X509_REQ_sign(req, signer, md), 0);
    uint8_t *bytes = NULL;
    const int n = i2d_X509_REQ(req, &bytes);
    ck_assert_int_gt(n, 0);
    kd_buf_put(der, bytes, (size_t)n);
    OPENSSL_free(bytes);
    X509_REQ_free(req);
}
