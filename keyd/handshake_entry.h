// SPDX-License-Identifier: Apache-2.0
// handshake_entry.h: a handshake under way, as handshake.c has it.
#ifndef KD_KEYD_HANDSHAKE_ENTRY_H
#define KD_KEYD_HANDSHAKE_ENTRY_H

#include "keyd/channel_state.h"

struct kd_handshake_entry {
    struct kd_later later; // first
    struct kd_channel *c;
    uint8_t id[KD_HSM_HANDSHAKE_ID_BYTES];
    uint8_t at_worker[KD_HSM_HANDSHAKE_ID_BYTES]; // its id there: another one for a second attempt
    char text[KD_SESSION_TEXT_BYTES];
    char owner[KD_NAME_MAX_BYTES + 1];
    struct kd_worker_home home;
    bool has_place; // there
    bool is_initiator;
    bool is_confirming; // initiator: message_3 is written, message_4 is due
    bool is_busy;       // a step is with the worker
    bool is_over;       // abandoned or late meanwhile
    bool has_retried;   // initiator: with a suite that the peer has
    unsigned wanted;    // initiator: the method
    uint8_t method, suite;
    char peer[KD_NAME_MAX_BYTES + 1]; // once it is known
    struct kd_suites theirs;          // of an error
    struct kd_claim claim;
    struct kd_hsm_session_terms terms;
    uint32_t ticket_version;
    uint64_t due_ms;     // monotonic
    uint64_t expires_ms; // wall clock
    kd_handshake_done *done;
    void *arg;
    struct kd_handshake_entry *older, *newer;
};

_Static_assert(KD_HSM_HANDSHAKE_ID_BYTES == KD_HSM_SESSION_ID_BYTES, "both have one text form");

#endif
