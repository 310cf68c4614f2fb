// SPDX-License-Identifier: Apache-2.0
// chain.c: the file with a CA's certificate and those above it.
#include "ca/point.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

static bool read_time(const ASN1_TIME *t, uint64_t *ms) {
    struct tm parts = { 0 };
    const time_t seconds = ASN1_TIME_to_tm(t, &parts) == 1 ? timegm(&parts) : -1;
    *ms = seconds < 0 ? 0 : (uint64_t)seconds * 1000;
    return seconds >= 0;
}

static bool is_ca(X509 *x) {
    return X509_check_ca(x) == 1 && (X509_get_key_usage(x) & KU_KEY_CERT_SIGN) != 0;
}

static const char *judge_first(X509 *x, struct kd_ca_chain *out) {
    if (!kd_ca_point_of(X509_get0_pubkey(x), &out->key)) {
        return "its key is not one of P-256 or P-384";
    }
    return read_time(X509_get0_notBefore(x), &out->from_ms) &&
                   read_time(X509_get0_notAfter(x), &out->upto_ms)
               ? NULL
               : "its dates cannot be read";
}

// The one below it must be signed by it.
static const char *judge(X509 *x, X509 *below, struct kd_ca_chain *out) {
    if (!is_ca(x)) {
        return "it has a certificate that is not a CA's";
    }
    if (below == NULL) {
        return judge_first(x, out);
    }
    return X509_check_issued(x, below) == X509_V_OK && X509_verify(below, X509_get0_pubkey(x)) == 1
               ? NULL
               : "a certificate in it is not signed by the next one";
}

static const char *keep(X509 *x, struct kd_ca_chain *out) {
    uint8_t *der = NULL;
    const int n = i2d_X509(x, &der);
    if (n <= 0 || n > KD_CA_CERTIFICATE_MAX_BYTES || out->n == KD_CA_CHAIN_MAX) {
        OPENSSL_free(der);
        return "it has too many certificates, or one that is too long";
    }
    kd_buf_put(&out->bytes, der, (size_t)n);
    out->certificates[out->n++].n = (size_t)n;
    OPENSSL_free(der);
    return NULL;
}

static const char *read_all(BIO *in, struct kd_ca_chain *out) {
    const char *why = NULL;
    X509 *below = NULL;
    for (X509 *x; why == NULL && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL;) {
        why = judge(x, below, out);
        why = why == NULL ? keep(x, out) : why;
        X509_free(below);
        below = x;
    }
    X509_free(below);
    ERR_clear_error();
    return why == NULL && out->n == 0 ? "it has no certificate (PEM)" : why;
}

enum kd_err kd_ca_read_chain(struct kd_bytes pem, struct kd_ca_chain *out, const char **why) {
    struct kd_ca_chain chain = KD_CA_CHAIN_INIT;
    BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
    const char *wrong = in == NULL ? "not enough memory" : read_all(in, &chain);
    BIO_free(in);
    if (wrong == NULL && kd_buf_finish(&chain.bytes) != KD_OK) {
        wrong = "not enough memory";
    }
    if (wrong != NULL) {
        kd_ca_chain_wipe(&chain);
        *why = wrong;
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    const uint8_t *at = chain.bytes.p;
    for (size_t i = 0; i < chain.n; i++) {
        chain.certificates[i].p = at;
        at += chain.certificates[i].n;
    }
    kd_ca_chain_wipe(out);
    *out = chain;
    return KD_OK;
}

void kd_ca_chain_wipe(struct kd_ca_chain *chain) {
    kd_buf_wipe(&chain->bytes);
    *chain = KD_CA_CHAIN_INIT;
}
