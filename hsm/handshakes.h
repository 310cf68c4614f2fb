// SPDX-License-Identifier: Apache-2.0
// handshakes.h: an unfinished handshake of this worker, and who has it.
#ifndef KD_HSM_HANDSHAKES_H
#define KD_HSM_HANDSHAKES_H

#include "hsm/channel.h"
#include "hsm/token_keys.h"

struct kd_handshake {
    uint8_t id[KD_HSM_HANDSHAKE_ID_BYTES];
    bool is_initiator;
    struct kd_token_keys keys;
    struct kd_identity identity;
    struct kd_edhoc *e;
    struct kd_buf own; // what keys and identity point to
    struct kd_suites peer_suites;
    // under the token's lock
    uint64_t due_ms;
    bool is_busy;    // a thread works on it: it alone may touch the rest
    bool is_dropped; // and shall free it when it is done
};

// A new handshake, in use and not in the table.
KD_MUST_CHECK enum kd_err kd_handshake_new(struct kd_session *s, const struct kd_key_ref *key,
                                           const struct kd_hsm_handshake *request,
                                           struct kd_handshake **out);
void kd_handshake_free(struct kd_session *s, struct kd_handshake *h);

// Into the table.  KD_ERR_BUSY where KD_HSM_HANDSHAKES_MAX are there, KD_ERR_HS_STATE
// where its id is.
KD_MUST_CHECK enum kd_err kd_handshake_enter(struct kd_session *s, struct kd_handshake *h);
// The handshake, for this thread alone until it is given back.  KD_ERR_NO_HANDSHAKE;
// KD_ERR_HS_STATE while another thread has it.
KD_MUST_CHECK enum kd_err kd_handshake_take(struct kd_session *s, const uint8_t *id,
                                            struct kd_handshake **out);
// Goes on, or ends and is freed.
void kd_handshake_give_back(struct kd_session *s, struct kd_handshake *h, bool goes_on);
// Ends it, at once or when the thread that has it is done.
void kd_handshake_drop(struct kd_session *s, const uint8_t *id);

#endif
