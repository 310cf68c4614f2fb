// SPDX-License-Identifier: Apache-2.0
// jwk.h: public EC keys as callers write them: JWK (RFC 7517, RFC 7518 6.2),
// SubjectPublicKeyInfo and certificates in PEM.
#ifndef KD_API_JWK_H
#define KD_API_JWK_H

#include "api/json_in.h"

struct kd_public_key {
    enum kd_key_type type; // KD_KEY_EC_P256 or KD_KEY_EC_P384
    size_t n;
    uint8_t point[KD_HSM_POINT_MAX_BYTES]; // uncompressed
};

// The JWK in a member of the body.  Members that an EC public key does not
// need are ignored, as RFC 7517 section 4 asks.  KD_ERR_PRIVATE_KEY_IMPORT
// where there is a private or secret part, else KD_ERR_BAD_PUBLIC_KEY.  Not
// checked: whether the point is on the curve.
KD_MUST_CHECK enum kd_err kd_jwk_read(const struct kd_json_in *in, const char *member,
                                      struct kd_public_key *out);

// One PEM block: PUBLIC KEY, or CERTIFICATE, whose DER is then in *certificate,
// in the arena.  Errors as kd_jwk_read; a point from here is on its curve.
KD_MUST_CHECK enum kd_err kd_pem_read(const struct kd_json_in *in, const char *member,
                                      struct kd_public_key *out, struct kd_bytes *certificate);

KD_MUST_CHECK bool kd_public_key_is_on_curve(const struct kd_public_key *key);

// Append JSON values: the JWK as an object, the PEM texts as strings.  The
// point is uncompressed, of the length of its type.
void kd_jwk_write(struct kd_buf *out, enum kd_key_type type, struct kd_bytes point);
void kd_spki_pem_write(struct kd_buf *out, enum kd_key_type type, struct kd_bytes point);
void kd_certificate_pem_write(struct kd_buf *out, struct kd_bytes der);

#endif
