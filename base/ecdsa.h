// SPDX-License-Identifier: Apache-2.0
// ecdsa.h: the two forms of an ECDSA signature: raw, r then s in one length (RFC 7518 3.4, as
// PKCS#11 and COSE have it), and DER (RFC 3279 2.2.3), as X.509 and openssl(1) have it.
#ifndef KD_BASE_ECDSA_H
#define KD_BASE_ECDSA_H

#include "attr.h"
#include "buf.h"

#define KD_ECDSA_RAW_MAX_BYTES 96  // P-384
#define KD_ECDSA_DER_MAX_BYTES 104 // the same, with a zero before r and s

// How many bytes of `out` it has; 0: raw is not of 64 or 96 bytes.
size_t kd_ecdsa_to_der(struct kd_bytes raw, uint8_t out[static KD_ECDSA_DER_MAX_BYTES]);

// To n bytes (64 or 96).  DER has one form for each signature (X.690 10.1, 8.3.2), and no other is
// read: false, and `out` untouched, for other lengths, bytes behind it, and numbers that are
// negative or do not fit.  Zero is a number here: no key verifies it.
KD_MUST_CHECK bool kd_ecdsa_from_der(struct kd_bytes der, uint8_t *out, size_t n);

#endif
