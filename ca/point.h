// SPDX-License-Identifier: Apache-2.0
// point.h: public keys between our bytes and OpenSSL's objects.  Private to ca/.
#ifndef KD_CA_POINT_H
#define KD_CA_POINT_H

#include "ca/ca.h"

#include <openssl/evp.h>

// The caller frees with EVP_PKEY_free.  NULL: not a point of P-256 or P-384.
EVP_PKEY *kd_ca_pkey_of(const struct kd_ca_point *point);
// False: not a key of these curves, named as such.
KD_MUST_CHECK bool kd_ca_point_of(EVP_PKEY *pkey, struct kd_ca_point *out);

#endif
