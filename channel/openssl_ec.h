// SPDX-License-Identifier: Apache-2.0
// openssl_ec.h: what point.c and keyops_openssl.c share of OpenSSL.  Nothing
// else includes it.  Any thread may call any of it.
#ifndef KD_CHANNEL_OPENSSL_EC_H
#define KD_CHANNEL_OPENSSL_EC_H

#include "channel/host.h"

#include <openssl/ec.h>
#include <openssl/evp.h>

KD_AUTO_DEFINE(group, EC_GROUP *, EC_GROUP_free)
KD_AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)
KD_AUTO_DEFINE(pkey_ctx, EVP_PKEY_CTX *, EVP_PKEY_CTX_free)

const char *kd_curve_openssl_name(enum kd_curve curve);

// Belongs to the process; NULL without memory.
const EC_GROUP *kd_ec_group(enum kd_curve curve);

// A key of what the parameters and the selection say; without it the refusal, or KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_pkey_from(const OSSL_PARAM *params, int selection, enum kd_err refusal,
                                       EVP_PKEY **out);
// A public key; KD_ERR_BAD_POINT where it is not on its curve.
KD_MUST_CHECK enum kd_err kd_pkey_of_point(const struct kd_point *point, EVP_PKEY **out);

#endif
