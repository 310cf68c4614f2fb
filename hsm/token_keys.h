// SPDX-License-Identifier: Apache-2.0
// token_keys.h: struct kd_keyops (channel/keyops.h) on the token: ephemeral keys
// and ECDH secrets are session objects, and one key of the token takes part.
#ifndef KD_HSM_TOKEN_KEYS_H
#define KD_HSM_TOKEN_KEYS_H

#include "channel/channel.h"
#include "hsm/session.h"

// Handle of `own` below: its object is looked up at each use.
#define KD_TOKEN_KEY_OWN UINT64_MAX

// The ctx of the table.  Whoever runs a step sets the session to its own; objects
// of an earlier generation of sessions are gone: KD_ERR_SESSION_LOST.
struct kd_token_keys {
    struct kd_session *session;
    uint64_t generation;
    struct kd_key_ref own;
};

extern const struct kd_keyops kd_keyops_token;

enum kd_curve kd_curve_of(enum kd_key_type type); // of an EC key
enum kd_key_type kd_key_type_of(enum kd_curve curve);

#endif
