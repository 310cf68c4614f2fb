// SPDX-License-Identifier: Apache-2.0
// demo_tls.c: the TLS certificate of the demonstration's bootstrap server.
#include "client/demo.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { DAY_SEC = 86400, X509_V3 = 2 };

static bool add_address(X509 *x) {
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    const bool is_ok = e != NULL && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return is_ok;
}

static bool fill(X509 *x, EVP_PKEY *key) {
    X509_NAME *name = X509_get_subject_name(x); // of x
    return X509_set_version(x, X509_V3) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(x), 0) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(x), DAY_SEC) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 && add_address(x) &&
           X509_sign(x, key, EVP_sha256()) > 0;
}

static enum kd_err write_pem(const char *path, BIO *bio, mode_t mode) {
    char *p = NULL;
    const long n = BIO_get_mem_data(bio, &p);
    return n <= 0
               ? KD_ERR_NO_MEMORY
               : kd_io_write_new(path, (struct kd_bytes) { (const uint8_t *)p, (size_t)n }, mode);
}

enum kd_err kd_demo_make_tls(const char *key_path, const char *certificate_path) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    BIO *private = BIO_new(BIO_s_secmem());
    BIO *public = BIO_new(BIO_s_mem());
    enum kd_err e = KD_ERR_NO_MEMORY;
    if (key != NULL && x != NULL && private != NULL && public != NULL && fill(x, key) &&
        PEM_write_bio_PrivateKey(private, key, NULL, NULL, 0, NULL, NULL) == 1 &&
        PEM_write_bio_X509(public, x) == 1) {
        e = write_pem(key_path, private, 0600);
        e = e == KD_OK ? write_pem(certificate_path, public, 0644) : e;
    }
    BIO_free(public);
    BIO_free(private);
    X509_free(x);
    EVP_PKEY_free(key);
    return e;
}
