// SPDX-License-Identifier: Apache-2.0
// channel.h: the messages of the secure channel between the front and a worker
// (beside hsm.h, whose frames they use).  The worker runs EDHOC, because its
// secrets pass through it; the front chooses ids, finds the peer's credential,
// counts sequence numbers, and keeps of a session only what is public and the
// ticket, which the ticket key of the token has sealed.  A request on a session
// says everything that is needed to serve it, so any worker can take it.
#ifndef KD_HSM_CHANNEL_H
#define KD_HSM_CHANNEL_H

#include "channel/channel.h"
#include "hsm/hsm.h"

#define KD_HSM_HANDSHAKE_ID_BYTES 8
#define KD_HSM_HANDSHAKES_MAX 512 // in one worker; each has pages in locked memory
#define KD_HSM_SESSION_ID_BYTES 8 // in each record (docs/protocol.md)
#define KD_HSM_TICKET_MAX_BYTES 384
#define KD_HSM_PEER_MAX_BYTES 64 // name of the peer in the front's registry
#define KD_HSM_STRANGER_BYTES 16   // of SHA-256 of a certificate
#define KD_HSM_EAD_MAX_BYTES 512 // value of our EAD item
#define KD_HSM_CHANNEL_NONCE_BYTES 16
#define KD_HSM_RELEASED_BYTES (KD_TRAFFIC_KEYS * sizeof(struct kd_key32) + 2 * KD_RECORD_IV_BYTES)

// ---- handshakes ------------------------------------------------------------

// The steps of one handshake go to one worker: its state is there, under `id`,
// for at most `timeout_ms`.  An unknown id is KD_ERR_NO_HANDSHAKE: the worker has
// been replaced, or the time is over.
//
//   as responder                          as initiator (the reverse flow)
//   HS_START  message_1 -> message_2      HS_START  (nothing)  -> message_1
//   HS_READ   message_3 -> ID_CRED_I      HS_READ   message_2  -> ID_CRED_R
//   HS_FINISH credential -> message_4,    HS_FINISH credential -> message_3
//             ticket                      HS_CONFIRM message_4 -> ticket
//
// A step that fails has the reason in result.err and, in result.out, the error
// message for the peer (may be empty); the state is gone then, except for
// KD_ERR_HS_STATE.  Head of the request: HS_START has keys[0] = identity;
// HS_FINISH and HS_CONFIRM have keys[0] = the ticket key, keys[1] = the channel
// root (profile resident only).  Exactly one item.
struct kd_hsm_handshake {
    uint8_t id[KD_HSM_HANDSHAKE_ID_BYTES];
    struct kd_bytes message; // what the peer sent
    // HS_START
    bool is_initiator;
    unsigned methods;        // as in kd_edhoc_config
    struct kd_suites suites; // most preferred first
    struct kd_suites
        peer_suites;         // initiator: those of them that the responder has; n = 0: not known
    bool is_static_dh;       // how the identity key is used
    struct kd_bytes id_cred; // our ID_CRED, the map, encoded
    struct kd_bytes cred;    // our CRED, the item, encoded
    struct kd_bytes conn_id;
    uint32_t timeout_ms;
    // HS_FINISH: the peer, found by the ID_CRED of HS_READ
    struct kd_bytes peer_point; // uncompressed; its length tells the curve; empty: there is
                                // none, and out says so to the peer (KD_ERR_HS_CREDENTIAL)
    struct kd_bytes peer_cred;
    // HS_FINISH (responder: rides on message_4; initiator: on message_3): the value
    // of our one EAD item, label KD_CHANNEL_EAD_LABEL; empty: none
    struct kd_bytes ead;
    // HS_FINISH as responder, HS_CONFIRM: what the session is
    struct kd_hsm_session_terms *terms; // NULL otherwise; borrowed
};

#define KD_CHANNEL_EAD_LABEL 32768

enum kd_profile {
    KD_PROFILE_RESIDENT = 1, // traffic keys are in the token (docs/protocol.md)
    KD_PROFILE_RELEASED,     // traffic keys are computed in the worker's locked memory, and may
                             // be released from there
};

// What a ticket says besides its secret.  The worker puts it in; only a ticket
// that the ticket key has sealed comes back out.
struct kd_hsm_session_terms {
    uint8_t id[KD_HSM_SESSION_ID_BYTES];
    enum kd_profile profile;
    bool is_client;       // our role in the session: the server unless said
    struct kd_bytes peer; // its name
    // Of a peer that nobody had registered: the first bytes of SHA-256 of its certificate, because
    // another may have its name when the ticket comes.
    bool is_stranger;
    uint8_t stranger[KD_HSM_STRANGER_BYTES];
    uint64_t created_ms;  // wall clock
    uint64_t expires_ms;  // wall clock; over: KD_ERR_SESSION_EXPIRED
    uint64_t records_max;
    uint64_t bytes_max;
    uint32_t update;       // how often the keys have been renewed
    uint32_t root_version; // of the channel root key
    struct kd_otp_params otp;
};

// ---- records ---------------------------------------------------------------

// The use of a session at this node.  RECORD_SEAL, RECORD_OPEN, TICKET_UPDATE, SESSION_RELEASE:
// one in each item, so that one request can be of many sessions.  Head of the
// request: keys[0] = the ticket key, keys[1] = the channel root if any is resident.
struct kd_hsm_session {
    uint8_t cache[KD_HSM_SECRET_ID_BYTES]; // random; names the traffic keys in the worker's
                                           // cache: another after each update or attachment
    struct kd_bytes ticket;
    struct kd_bytes client_nonce; // both empty right after the handshake
    struct kd_bytes node_nonce;
};

//   RECORD_SEAL    session, record_type, sequence, data: body, aad -> out: the record
//   RECORD_OPEN    session, data: the record, aad      -> which: type, out: body
//   TICKET_READ    data: a ticket (any node's)         -> terms
//   TICKET_UPDATE  session, terms: update one higher, data: the context
//                                                      -> out: another ticket
//   ENVELOPE_OPEN  keys[0] = the recipient key; data: enc || ciphertext,
//                  iv: info, aad                       -> out: plaintext
//   SESSION_RELEASE  keys[0] = the ticket key; session, of profile released
//                                                      -> out: KD_HSM_RELEASED_BYTES
// What SESSION_RELEASE gives are the keys c2s, s2c and otp, then the IVs c2s and s2c
// (channel/schedule.h); the worker keeps none of them.  KD_ERR_KEY_TYPE: they are in the token,
// and stay there.  That nothing else is done with these keys from then on is for the front
// to see to.
// The sequence number of a record to open is the front's to check before and to
// commit after.  Times are of the worker's clock.

#endif
