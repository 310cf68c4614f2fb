// SPDX-License-Identifier: Apache-2.0
// gcm.h: AES-256-GCM with a key of the token, 96-bit IV and 128-bit tag.
#ifndef KD_HSM_GCM_H
#define KD_HSM_GCM_H

#include "hsm/session.h"

// out: text.n + KD_HSM_GCM_TAG_BYTES.
KD_MUST_CHECK enum kd_err kd_gcm_seal(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                                      struct kd_bytes aad, struct kd_bytes text, uint8_t *out);
// out has room for sealed.n bytes (SoftHSM wants that), which are at least those of
// the tag; sealed.n - KD_HSM_GCM_TAG_BYTES of them are the text.  KD_ERR_NOT_AUTHENTIC.
KD_MUST_CHECK enum kd_err kd_gcm_open(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                                      struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out);

#endif
