// SPDX-License-Identifier: Apache-2.0
// import.h: public keys from outside, checked before they are believed.
#ifndef KD_KEYD_IMPORT_H
#define KD_KEYD_IMPORT_H

#include "base/base.h"
#include "hsm/hsm.h"

#define KD_CERTIFICATE_MAX_BYTES 16384

struct kd_public_key {
    enum kd_key_type type;
    size_t n_point;
    uint8_t point[KD_HSM_POINT_MAX_BYTES]; // uncompressed
};

// KD_ERR_BAD_PUBLIC_KEY: not an uncompressed point of the type's curve, which
// must be P-256 or P-384 (SP 800-56A 5.6.2.3.4: partial validation is enough,
// the cofactor is 1).
KD_MUST_CHECK enum kd_err kd_import_point(enum kd_key_type type, struct kd_bytes point,
                                          struct kd_public_key *out);
// The key of an X.509 certificate (DER).  Its signature and dates are not
// judged: who may import is the policy's matter.
KD_MUST_CHECK enum kd_err kd_import_certificate(struct kd_bytes der, struct kd_public_key *out);

// When a certificate is valid, in ms of the wall clock.
KD_MUST_CHECK enum kd_err kd_import_dates(struct kd_bytes der, uint64_t *from_ms,
                                          uint64_t *upto_ms);

#endif
