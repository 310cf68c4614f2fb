// SPDX-License-Identifier: Apache-2.0
// fake_worker_channel.h: the channel's operations as the fake worker does them, without
// any cryptography, and the peer's side for tests.  A message_3 (or message_2)
// is "id" and an ID_CRED; a ticket is its terms in clear; a record has the form of
// docs/protocol.md, its ciphertext is a tag of the keys, the type and the body.
#ifndef KD_TESTS_FAKE_WORKER_CHANNEL_H
#define KD_TESTS_FAKE_WORKER_CHANNEL_H

#include "hsm/channel.h"

#define FAKE_TAG_BYTES 16

// Room for what kd_hsm_get_item reads.
struct fake_channel_room {
    struct kd_hsm_handshake handshake;
    struct kd_hsm_session session;
    struct kd_hsm_session_terms terms;
};
void fake_channel_give(struct fake_channel_room *room, struct kd_hsm_item *item);
// False: not an operation of the channel.
bool fake_channel_answer(enum kd_hsm_op op, const struct kd_hsm_item *item,
                         struct kd_hsm_result *result);

// The tag of a use of a session: of its ticket and nonces.
void fake_tag(struct kd_bytes ticket, struct kd_bytes client_nonce, struct kd_bytes node_nonce,
              uint8_t tag[static FAKE_TAG_BYTES]);
void fake_record(struct kd_buf *out, struct kd_bytes session, uint64_t sequence,
                 const uint8_t tag[static FAKE_TAG_BYTES], uint8_t type, struct kd_bytes body);

#endif
