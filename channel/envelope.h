// SPDX-License-Identifier: Apache-2.0
// envelope.h: a digital envelope, for data that is sent before there is a session
// (J15): HPKE base mode to a key of the recipient (hpke.h), with what it is bound to:
//     [1, key id, message id, time, expires, sender, enc, ciphertext]
// in deterministic CBOR.  The first six are the additional data.  It proves nothing
// of its sender: anybody can make one.  Replay and time are the recipient's to check.
#ifndef KD_CHANNEL_ENVELOPE_H
#define KD_CHANNEL_ENVELOPE_H

#include "channel/hpke.h"

#define KD_ENVELOPE_VERSION 1
#define KD_ENVELOPE_KEY_ID_BYTES 8 // the first of SHA-256 of the public point, uncompressed
#define KD_ENVELOPE_ID_BYTES 16    // random, of the message
#define KD_ENVELOPE_SENDER_MAX_BYTES 64
#define KD_ENVELOPE_BODY_MAX_BYTES 65536
#define KD_ENVELOPE_MAX_BYTES (KD_ENVELOPE_BODY_MAX_BYTES + 256)
#define KD_ENVELOPE_INFO "keyd envelope v1"

// All borrowed from the bytes it was read from.
struct kd_envelope {
    struct kd_bytes key_id;
    struct kd_bytes id;
    uint64_t time_s, expires_s; // since 1970
    struct kd_bytes sender;     // UTF-8 without NUL, as the sender says
    struct kd_bytes aad;        // the encoded items from the version to the sender
    struct kd_bytes enc;
    struct kd_bytes sealed; // with its tag
};

// KD_ERR_ENVELOPE_FORM.
KD_MUST_CHECK enum kd_err kd_envelope_parse(struct kd_bytes bytes, struct kd_envelope *out);

void kd_envelope_key_id(const struct kd_point *recipient,
                        uint8_t out[static KD_ENVELOPE_KEY_ID_BYTES]);

// Appends.  Of `terms` id, times and sender count; KD_ERR_ITEM_TOO_LARGE for too long a body
// or sender, KD_ERR_ENVELOPE_FORM for terms that no recipient would take.
KD_MUST_CHECK enum kd_err kd_envelope_seal(const struct kd_keys *keys,
                                           const struct kd_point *recipient,
                                           const struct kd_envelope *terms, struct kd_bytes body,
                                           struct kd_buf *out);

#endif
