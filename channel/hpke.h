// SPDX-License-Identifier: Apache-2.0
// hpke.h: HPKE (RFC 9180) base mode with DHKEM(P-256, HKDF-SHA256),
// HKDF-SHA256 and AES-256-GCM: a digital envelope for data sent before there is
// a session.  The recipient's key is reached through struct kd_keyops, so it
// can be in a token.
#ifndef KD_CHANNEL_HPKE_H
#define KD_CHANNEL_HPKE_H

#include "channel/keyops.h"

// The suite, by the numbers of RFC 9180 7.
#define KD_HPKE_KEM 0x0010
#define KD_HPKE_KDF 0x0001
#define KD_HPKE_AEAD 0x0002
#define KD_HPKE_ENC_BYTES 65
#define KD_HPKE_TAG_BYTES 16

// One direction between one sender and one recipient.  Not thread safe.
struct kd_hpke;

// A new context; `enc` goes to the recipient in clear.
KD_MUST_CHECK enum kd_err kd_hpke_new_sender(const struct kd_keys *keys,
                                             const struct kd_point *recipient, struct kd_bytes info,
                                             uint8_t enc[static KD_HPKE_ENC_BYTES],
                                             struct kd_hpke **out);
// `key` is the recipient's ECDH key, `own` its public part.  KD_ERR_BAD_POINT
// for an enc that is not a point on the curve.
KD_MUST_CHECK enum kd_err kd_hpke_new_recipient(const struct kd_keys *keys, uint64_t key,
                                                const struct kd_point *own, struct kd_bytes enc,
                                                struct kd_bytes info, struct kd_hpke **out);
void kd_hpke_free(struct kd_hpke *h);
KD_AUTO_DEFINE(hpke, struct kd_hpke *, kd_hpke_free)

// Each call uses the next sequence number; append to `out`.
KD_MUST_CHECK enum kd_err kd_hpke_seal(struct kd_hpke *h, struct kd_bytes aad, struct kd_bytes text,
                                       struct kd_buf *out);
// KD_ERR_NOT_AUTHENTIC; the sequence number stays then.
KD_MUST_CHECK enum kd_err kd_hpke_open(struct kd_hpke *h, struct kd_bytes aad,
                                       struct kd_bytes sealed, struct kd_buf *out);
// Fills the whole of `out`.
KD_MUST_CHECK enum kd_err kd_hpke_export(struct kd_hpke *h, struct kd_bytes context,
                                         struct kd_secret *out);

#endif
