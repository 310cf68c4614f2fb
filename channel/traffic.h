// SPDX-License-Identifier: Apache-2.0
// traffic.h: what records need of the traffic keys, as a table: the keys may be
// in the token (hsm/) or, for clients and released sessions, here in software.
#ifndef KD_CHANNEL_TRAFFIC_H
#define KD_CHANNEL_TRAFFIC_H

#include "channel/host.h"
#include "channel/otp.h"
#include "channel/schedule.h"

#define KD_RECORD_TAG_BYTES 16

struct kd_traffic_ops {
    // AES-256-GCM with the key of a direction, of head and body as one text, so that
    // nobody need put a long body behind a head; out: both and KD_RECORD_TAG_BYTES.
    enum kd_err (*seal)(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes head, struct kd_bytes body, uint8_t *out);
    // KD_ERR_NOT_AUTHENTIC for a wrong tag, and only for that.  sealed is never
    // shorter than the tag; out: sealed.n - KD_RECORD_TAG_BYTES.
    enum kd_err (*open)(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes sealed, uint8_t *out);
    kd_otp_code_fn *otp_code; // with KD_TRAFFIC_OTP
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

// ---- in software, kept ready -----------------------------------------------

// For one end that has few sessions and uses them much: the key of each direction is set
// up once, and a one-time password is computed once a step.  The expanded keys are on the
// heap of the crypto library, as private keys in software are; a service with many
// sessions, or with several threads on one, takes the above.  One thread at a time.
struct kd_kept_otp {
    bool is_known;
    uint64_t step;
    struct kd_otp_code code; // of the one form that the session's passwords have
};

struct kd_kept_traffic {
    bool is_client;
    bool is_resident;
    struct kd_key32 share; // R; resident only
    struct kd_key32 otp;
    struct kd_host_gcm *gcm[KD_TRAFFIC_OTP]; // of the two directions
    struct kd_kept_otp otps[2];
};

// share: NULL for a released session.  What was in `t` must have been wiped.
void kd_kept_traffic_init(struct kd_kept_traffic *t, bool is_client, const struct kd_key32 *share);
void kd_kept_traffic_wipe(struct kd_kept_traffic *t); // all zero is good, too
KD_AUTO_DEFINE_IN_PLACE(kept_traffic, struct kd_kept_traffic, kd_kept_traffic_wipe)

// A kd_traffic_install_fn; ctx is a struct kd_kept_traffic, and each key is installed once.
KD_MUST_CHECK enum kd_err kd_kept_traffic_install(void *ctx, enum kd_traffic which,
                                                  const struct kd_key32 *d);

extern const struct kd_traffic_ops kd_traffic_ops_kept; // ctx: struct kd_kept_traffic

#endif
