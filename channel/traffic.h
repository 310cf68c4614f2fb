// SPDX-License-Identifier: Apache-2.0
// traffic.h: what records need of the traffic keys, as a table: the keys may be
// in the token (hsm/) or, for clients and released sessions, here in software.
#ifndef KD_CHANNEL_TRAFFIC_H
#define KD_CHANNEL_TRAFFIC_H

#include "channel/otp.h"
#include "channel/schedule.h"

#define KD_RECORD_TAG_BYTES 16

struct kd_traffic_ops {
    // AES-256-GCM with the key of a direction; out: text.n + KD_RECORD_TAG_BYTES.
    enum kd_err (*seal)(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes text, uint8_t *out);
    // KD_ERR_NOT_AUTHENTIC for a wrong tag, and only for that.  sealed is never
    // shorter than the tag; out: sealed.n - KD_RECORD_TAG_BYTES.
    enum kd_err (*open)(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes sealed, uint8_t *out);
    kd_otp_hmac_fn *otp_hmac; // with KD_TRAFFIC_OTP
};

// ---- in software -----------------------------------------------------------

struct kd_soft_traffic {
    bool is_resident;
    struct kd_key32 share; // R; resident only
    struct kd_key32 keys[KD_TRAFFIC_KEYS];
};

// share: NULL for a released session.
void kd_soft_traffic_init(struct kd_soft_traffic *t, const struct kd_key32 *share);
void kd_soft_traffic_wipe(struct kd_soft_traffic *t);
KD_AUTO_DEFINE_IN_PLACE(soft_traffic, struct kd_soft_traffic, kd_soft_traffic_wipe)

// A kd_traffic_install_fn; ctx is a struct kd_soft_traffic.
KD_MUST_CHECK enum kd_err kd_soft_traffic_install(void *ctx, enum kd_traffic which,
                                                  const struct kd_key32 *d);

extern const struct kd_traffic_ops kd_traffic_ops_soft; // ctx: struct kd_soft_traffic

#endif
