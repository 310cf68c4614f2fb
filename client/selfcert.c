// SPDX-License-Identifier: Apache-2.0
// selfcert.c: OpenSSL writes the part to be signed; a throw-away key has it fill in
// the algorithm.  The outer SEQUENCE is written here.
#include "client/selfcert.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { SERIAL_BITS = 127, CERTIFICATE_MAX_BYTES = 4096, HOUR_SEC = 3600 };

KD_AUTO_DEFINE(x509, X509 *, X509_free)
KD_AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)
KD_AUTO_DEFINE(bio, BIO *, BIO_free_all)
KD_AUTO_DEFINE(bignum, BIGNUM *, BN_free)

// ---- what is signed --------------------------------------------------------

static bool add_extension(X509 *x, int nid, const char *value) {
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    const bool is_added = e != NULL && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return is_added;
}

static bool set_serial(X509 *x) {
    kd_auto(bignum) BIGNUM *n = BN_new();
    return n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
           BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
}

static bool set_name(X509 *x, const char *name) {
    X509_NAME *subject = X509_get_subject_name(x);
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                      -1, 0) == 1 &&
           X509_set_issuer_name(x, subject) == 1;
}

static bool fill(X509 *x, EVP_PKEY *key, const char *name, unsigned days) {
    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) && set_name(x, name) &&
           X509_gmtime_adj(X509_getm_notBefore(x), -HOUR_SEC) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(x), (int)days, 0, NULL) != NULL &&
           X509_set_pubkey(x, key) == 1 &&
           add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, NID_key_usage, "critical,digitalSignature");
}

enum kd_err kd_selfcert_begin(const char *public_pem, const char *name, unsigned days,
                              struct kd_buf *tbs) {
    kd_auto(bio) BIO *in = BIO_new_mem_buf(public_pem, -1);
    kd_auto(pkey) EVP_PKEY *key = in == NULL ? NULL : PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
    kd_auto(pkey) EVP_PKEY *other = EVP_EC_gen("P-256");
    kd_auto(x509) X509 *x = X509_new();
    char group[16] = "";
    ERR_clear_error();
    if (key == NULL || EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
        strcmp(group, "prime256v1") != 0) {
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    if (other == NULL || x == NULL || !fill(x, key, name, days) ||
        X509_sign(x, other, EVP_sha256()) <= 0) {
        return KD_ERR_SYSTEM;
    }
    unsigned char *der = NULL;
    const int n = i2d_re_X509_tbs(x, &der);
    if (n > 0) {
        kd_buf_put(tbs, der, (size_t)n);
    }
    OPENSSL_free(der);
    return n > 0 ? kd_buf_finish(tbs) : KD_ERR_SYSTEM;
}

// ---- signed ----------------------------------------------------------------

static void put_head(struct kd_buf *out, uint8_t tag, size_t n) {
    kd_buf_u8(out, tag);
    if (n >= 0x100) {
        kd_buf_u8(out, 0x82);
        kd_buf_u8(out, (uint8_t)(n >> 8));
    } else if (n >= 0x80) {
        kd_buf_u8(out, 0x81);
    }
    kd_buf_u8(out, (uint8_t)n);
}

static enum kd_err put_certificate(struct kd_bytes tbs, struct kd_bytes signature,
                                   struct kd_buf *out) {
    static const uint8_t ecdsa_with_sha256[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                                 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };
    uint8_t der[KD_ECDSA_DER_MAX_BYTES];
    const size_t n = kd_ecdsa_to_der(signature, der);
    if (n == 0) {
        return KD_ERR_FIELD_INVALID;
    }
    // The signature is below 0x7f bytes long, so its own head has two, and a byte of unused bits.
    put_head(out, 0x30, tbs.n + sizeof(ecdsa_with_sha256) + 3 + n);
    kd_buf_put(out, tbs.p, tbs.n);
    kd_buf_put(out, ecdsa_with_sha256, sizeof(ecdsa_with_sha256));
    put_head(out, 0x03, n + 1);
    kd_buf_u8(out, 0);
    kd_buf_put(out, der, n);
    return kd_buf_finish(out);
}

enum kd_err kd_selfcert_finish(struct kd_bytes tbs, struct kd_bytes signature, struct kd_buf *pem) {
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(CERTIFICATE_MAX_BYTES);
    enum kd_err e = put_certificate(tbs, signature, &der);
    if (e != KD_OK) {
        return e;
    }
    const unsigned char *at = der.p;
    kd_auto(x509) X509 *x = d2i_X509(NULL, &at, (long)der.n);
    kd_auto(bio) BIO *out = BIO_new(BIO_s_mem());
    if (x == NULL || out == NULL || X509_verify(x, X509_get0_pubkey(x)) != 1) {
        ERR_clear_error();
        return KD_ERR_NOT_AUTHENTIC;
    }
    char *text = NULL;
    const long n = PEM_write_bio_X509(out, x) == 1 ? BIO_get_mem_data(out, &text) : 0;
    if (n > 0) {
        kd_buf_put(pem, text, (size_t)n);
    }
    return n > 0 ? kd_buf_finish(pem) : KD_ERR_SYSTEM;
}
