// SPDX-License-Identifier: Apache-2.0
// traffic_token.h: the traffic keys of a session of the channel: as session
// objects of the token (profile resident), or computed in locked memory (released).
// traffic_cache.c keeps those that were used last.
#ifndef KD_HSM_TRAFFIC_TOKEN_H
#define KD_HSM_TRAFFIC_TOKEN_H

#include "hsm/ticket.h"

// In locked memory.
struct kd_traffic_secrets {
    union {
        struct kd_soft_traffic soft;          // released
        struct kd_key32 data[KD_TRAFFIC_OTP]; // resident: D of a direction, until its first use
    };
    // The one-time password of the step that we are in: one use of the key for all
    // its records.  Under the token's lock.
    bool has_otp;
    uint64_t otp_step;
    struct kd_otp_code otp_code;
};

struct kd_traffic_keys {
    struct kd_pinned pinned;
    uint8_t session_id[KD_HSM_SESSION_ID_BYTES];
    enum kd_profile profile;
    bool is_client;
    uint64_t expires_ms;
    struct kd_otp_params otp;
    struct kd_record_ivs ivs;
    struct kd_traffic_secrets *secrets; // a cell of the token's
    // Resident only.  Most sessions that are restored are for one record: a direction has its key
    // from its first use on, and R is kept until both have theirs, so there are never more than
    // three objects (and R, for the moment of the last one).
    pthread_mutex_t derive_lock; // of `share`, and of handles that are 0
    CK_OBJECT_HANDLE share;      // R
    CK_OBJECT_HANDLE handles[KD_TRAFFIC_KEYS];
};

// The keys of a request's session.  ticket key: keys[0]; channel root: keys[1] or NULL.
KD_MUST_CHECK enum kd_err kd_traffic_make(struct kd_session *s, const struct kd_key_ref *ticket_key,
                                          const struct kd_key_ref *root,
                                          const struct kd_hsm_session *request,
                                          struct kd_traffic_keys **out);
// The key of the direction that is sealed in, or of the other, is there after this.
KD_MUST_CHECK enum kd_err kd_traffic_ready(struct kd_session *s, struct kd_traffic_keys *k,
                                           bool is_seal);
void kd_traffic_destroy(struct kd_session *s, struct kd_traffic_keys *k); // its objects
void kd_traffic_free(struct kd_token *t, struct kd_traffic_keys *k);

// ctx of the table: the thread that uses the keys.
struct kd_traffic_use {
    struct kd_session *session;
    struct kd_traffic_keys *keys;
};
extern const struct kd_traffic_ops kd_traffic_ops_token; // both profiles

// ---- traffic_cache.c -------------------------------------------------------

// From the cache, or made: pinned until it is released.
KD_MUST_CHECK enum kd_err kd_traffic_cache_get(struct kd_session *s,
                                               const struct kd_key_ref *ticket_key,
                                               const struct kd_key_ref *root,
                                               const struct kd_hsm_session *request,
                                               struct kd_traffic_keys **out);
// Before a record is sealed, or opened, with keys that are pinned.
KD_MUST_CHECK enum kd_err kd_traffic_cache_ready(struct kd_session *s, struct kd_traffic_keys *k,
                                                 bool is_seal);
void kd_traffic_cache_release(struct kd_session *s, struct kd_traffic_keys *k, bool is_stale);

#endif
