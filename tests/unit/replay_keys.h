// SPDX-License-Identifier: Apache-2.0
// replay_keys.h: struct kd_keyops for tests: the keys of a recorded handshake
// are made again, and a recorded signature is given for the recorded message.
// Everything else is kd_keyops_openssl.
#ifndef KD_TESTS_REPLAY_KEYS_H
#define KD_TESTS_REPLAY_KEYS_H

#include "channel/keyops.h"

struct replay_keys {
    struct kd_bytes ephemeral; // private scalar that generate gives
    struct kd_bytes to_sign;   // message that sign must get; empty: sign is an error
    struct kd_bytes signature;
    struct kd_key32 last_z; // what ecdh came to (its last 32 bytes)
};

extern const struct kd_keyops replay_keyops;

#endif
