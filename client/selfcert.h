// SPDX-License-Identifier: Apache-2.0
// selfcert.h: a self-signed certificate whose private key is somewhere else: it is put
// together here, and signed by whoever has the key.  ECDSA with P-256 and SHA-256 only.
#ifndef KD_CLIENT_SELFCERT_H
#define KD_CLIENT_SELFCERT_H

#include "base/base.h"

// What is to be signed (DER, TBSCertificate of RFC 5280 4.1): subject and issuer CN=name,
// good from an hour ago for `days`.  Appends.  KD_ERR_BAD_PUBLIC_KEY: not a PEM P-256 key.
KD_MUST_CHECK enum kd_err kd_selfcert_begin(const char *public_pem, const char *name, unsigned days,
                                            struct kd_buf *tbs);
// With its signature (r then s), in PEM.  KD_ERR_NOT_AUTHENTIC: it is not that key's.
KD_MUST_CHECK enum kd_err kd_selfcert_finish(struct kd_bytes tbs, struct kd_bytes signature,
                                             struct kd_buf *pem);

#endif
