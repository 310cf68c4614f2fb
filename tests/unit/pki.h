// SPDX-License-Identifier: Apache-2.0
// pki.h: certificates for tests, made as they are asked for, also wrong ones.
#ifndef KD_TESTS_PKI_H
#define KD_TESTS_PKI_H

#include "base/base.h"

#include <openssl/x509.h>

struct pki_spec {
    const char *name;  // common name
    const char *curve; // NULL: P-256
    const EVP_MD *md;  // NULL: SHA-256
    bool is_ca;
    const char *usage;       // as in openssl's configuration; NULL: what fits; "": none
    const char *extended;    // NULL: none
    const char *uris;        // subjectAltName, "URI:a,URI:b"; NULL: none
    long from_sec, upto_sec; // from now; both 0: an hour ago, in a day
};

struct pki_cert {
    X509 *x;
    EVP_PKEY *key;
};

// Signed by the issuer, or by itself (NULL).
struct pki_cert pki_make(const struct pki_spec *spec, const struct pki_cert *issuer);
struct pki_cert pki_ca(const char *name, const struct pki_cert *issuer);
void pki_wipe(struct pki_cert *c);
// In memory that stays.
struct kd_bytes pki_der(const struct pki_cert *c);
void pki_write_pem(const char *path, const struct pki_cert *certs, size_t n);
// A list of the issuer with one certificate on it, or none (NULL); upto_sec from now.
void pki_write_crl(const char *path, const struct pki_cert *issuer, const struct pki_cert *revoked,
                   long upto_sec);

#endif
