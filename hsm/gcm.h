// SPDX-License-Identifier: Apache-2.0
// gcm.h: AES-256-GCM with a key of the token, 96-bit IV and 128-bit tag.
#ifndef KD_HSM_GCM_H
#define KD_HSM_GCM_H

#include "hsm/session.h"

// out: text.n + KD_HSM_GCM_TAG_BYTES.  KD_ERR_LACKING: this token makes its IVs itself, or
// has no AES-GCM as keyd uses it.
KD_MUST_CHECK enum kd_err kd_gcm_seal(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                                      struct kd_bytes aad, struct kd_bytes text, uint8_t *out);
// The same under a new IV, random or the token's own, which is written to `iv`.
KD_MUST_CHECK enum kd_err kd_gcm_seal_anew(struct kd_session *s, CK_OBJECT_HANDLE key, uint8_t *iv,
                                           struct kd_bytes aad, struct kd_bytes text, uint8_t *out);
// out has room for sealed.n bytes (SoftHSM wants that), which are at least those of
// the tag; sealed.n - KD_HSM_GCM_TAG_BYTES of them are the text.  KD_ERR_NOT_AUTHENTIC;
// KD_ERR_LACKING as above.
KD_MUST_CHECK enum kd_err kd_gcm_open(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                                      struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out);

// Tries it with a session key whose value is known: whether the result is what OpenSSL has, who
// makes IVs, and what the token says of a forged tag.  Sets token->gcm and token->gcm_forged_rv.
KD_MUST_CHECK enum kd_err kd_gcm_probe(struct kd_session *s, CK_OBJECT_HANDLE key,
                                       const uint8_t value[static 32], bool *is_right);

#endif
