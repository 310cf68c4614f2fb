// SPDX-License-Identifier: Apache-2.0
// ca_keys.h: keys in software that sign what ca/ gives to be signed, and requests.
#ifndef KD_TESTS_CA_KEYS_H
#define KD_TESTS_CA_KEYS_H

#include "ca/ca.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

EVP_PKEY *keys_new(const char *curve); // "P-256", "P-384", "P-521", "secp256k1"
struct kd_ca_point keys_point(EVP_PKEY *pkey);
// r then s, as a token gives them.
struct kd_bytes keys_sign(EVP_PKEY *pkey, struct kd_bytes data, uint8_t out[static 96]);

// The CA's own certificate, and a certificate from it.
void keys_root(EVP_PKEY *ca, struct kd_buf *der);
void keys_issue(EVP_PKEY *ca, struct kd_bytes issuer, const struct kd_ca_names *names,
                enum kd_ca_usage usage, const struct kd_ca_point *key, struct kd_buf *der);
X509 *keys_parse(struct kd_bytes der);

// A request with this common name (NULL: none) and these extensions as openssl.cnf writes them
// (name, value; ended by NULL), signed with the digest by `signer`.
void keys_request(EVP_PKEY *pkey, EVP_PKEY *signer, const char *digest, const char *common_name,
                  const char *const *extensions, struct kd_buf *der);

#endif
