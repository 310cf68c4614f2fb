// SPDX-License-Identifier: Apache-2.0
// schedule.h: the traffic keys of a session.  S is the session secret, exported
// from the handshake; D = HKDF-Expand(S, [ label, client nonce, node nonce ]) for
// each label.  What becomes of D is the profile:
//   resident  key = AES-256-CBC(R, D), where R is the token's share, the ECDH of
//             the channel root key and the client's ephemeral key; in the token
//             that is CKM_AES_CBC_ENCRYPT_DATA and the key never leaves it
//   released  key = D
#ifndef KD_CHANNEL_SCHEDULE_H
#define KD_CHANNEL_SCHEDULE_H

#include "channel/host.h"

#define KD_SESSION_EXPORT_LABEL 32768 // S = EDHOC_Exporter(this, h'', hash length)
#define KD_SESSION_NONCE_MAX_BYTES 32
#define KD_RECORD_IV_BYTES 12

enum kd_traffic {
    KD_TRAFFIC_C2S, // AES-256-GCM, client to server
    KD_TRAFFIC_S2C, // AES-256-GCM, server to client
    KD_TRAFFIC_OTP, // HMAC-SHA-256
};
#define KD_TRAFFIC_KEYS (KD_TRAFFIC_OTP + 1)

// The use of a session at one node.  Both are empty right after the handshake.
struct kd_attachment {
    struct kd_bytes client_nonce;
    struct kd_bytes node_nonce;
};

// Not keys: they make the nonces of the two directions different for each session.
struct kd_record_ivs {
    uint8_t c2s[KD_RECORD_IV_BYTES];
    uint8_t s2c[KD_RECORD_IV_BYTES];
};

// Makes the traffic key `which` from D and keeps it in ctx: in the token, or in
// struct kd_soft_traffic.
typedef enum kd_err kd_traffic_install_fn(void *ctx, enum kd_traffic which,
                                          const struct kd_key32 *d);

// All three keys and both IVs.  `s` has the length of the hash.
// KD_ERR_ITEM_TOO_LARGE for a nonce over its limit, or what install returns.
KD_MUST_CHECK enum kd_err kd_schedule_run(enum kd_md md, struct kd_secret *s,
                                          const struct kd_attachment *attachment,
                                          kd_traffic_install_fn *install, void *ctx,
                                          struct kd_record_ivs *ivs);

// D of one key, for who wants it alone.
KD_MUST_CHECK enum kd_err kd_schedule_data(enum kd_md md, struct kd_secret *s,
                                           const struct kd_attachment *attachment,
                                           enum kd_traffic which, struct kd_key32 *out);

#endif
