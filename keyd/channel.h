// SPDX-License-Identifier: Apache-2.0
// channel.h: the secure channel as the service gives it to the HTTP layer, beside
// service.h, whose rules hold here too (one thread; what is passed in is copied;
// `done` comes later, exactly once, if the call returned KD_OK).  Nothing here is secret: the
// front holds for each session its ticket (sealed by the token), its counters
// and its replay window; the rest is in the workers (hsm/channel.h).
//
// Identity, channel root and ticket key are named in the configuration ([channel]);
// the general operations refuse them with KD_ERR_KEY_RESERVED.  Without an identity the
// channel is off, and every call here is KD_ERR_CONFIG.
#ifndef KD_KEYD_CHANNEL_H
#define KD_KEYD_CHANNEL_H

#include "hsm/channel.h"
#include "keyd/fetcher.h"
#include "keyd/service.h"

// ---- peers -----------------------------------------------------------------

// Who may make a session, by a credential that an administrator registered.
// Permission KD_MAY_PEER (key: NULL) to add and delete, KD_MAY_SHOW to see.
struct kd_peer_spec {
    const char *name;            // as names of keys, at most KD_HSM_PEER_MAX_BYTES
    struct kd_bytes certificate; // DER, EC P-256 or P-384; or empty:
    struct kd_bytes point;       // a raw public key, uncompressed, named by `kid`; its CRED is a
                                 // CWT claims set (RFC 9528 3.5.2): {8: {1: COSE_Key}}
    struct kd_bytes kid;         // 1..16 bytes; empty: none
    const char *uri;             // x5u; NULL: none
};
struct kd_peer_info {
    const char *name;
    struct kd_bytes certificate;
    struct kd_bytes point;
    struct kd_bytes kid;
    const char *uri; // "" none
    uint64_t created_ms;
    bool is_registered; // else it is there while its sessions are (docs/references.md)
};
typedef void kd_peer_done(void *arg, enum kd_err err, const char *detail,
                          const struct kd_peer_info *peer);
// KD_ERR_PEER_EXISTS: the name, kid, URI or certificate is another's.
KD_MUST_CHECK enum kd_err kd_channel_peer_add(struct kd_service *s, const struct kd_caller *caller,
                                              const struct kd_peer_spec *spec, kd_peer_done *done,
                                              void *arg);
// Ends the peer's sessions.
KD_MUST_CHECK enum kd_err kd_channel_peer_delete(struct kd_service *s,
                                                 const struct kd_caller *caller, const char *name,
                                                 kd_peer_done *done, void *arg);
KD_MUST_CHECK enum kd_err kd_channel_peer(const struct kd_service *s,
                                          const struct kd_caller *caller, const char *name,
                                          struct kd_peer_info *out);
size_t kd_channel_peers(const struct kd_service *s, const struct kd_caller *caller,
                        const char *after, struct kd_peer_info *out, size_t max);

// ---- handshakes ------------------------------------------------------------

#define KD_SESSION_TEXT_BYTES (2 * KD_HSM_SESSION_ID_BYTES + 1) // ids in hexadecimal, with NUL

struct kd_session_info {
    char id[KD_SESSION_TEXT_BYTES];
    const char *peer;
    const char *relation; // that its certificate binds it to; "": none
    bool is_registered;   // else nobody registered it, and its certificate's issuer is believed
    enum kd_profile profile;
    uint8_t method, suite; // 0 for a session that was resumed
    bool is_released;      // its keys are with a message server (kd_channel_release)
    uint32_t update;
    uint64_t created_ms; // wall clock
    uint64_t expires_ms;
    uint64_t sent, received; // records
    uint64_t bytes;          // of bodies, both ways
    uint64_t records_max, bytes_max;
};

struct kd_handshake_result {
    enum kd_err err; // the reason, for our caller and the log; the peer sees `message` only
    char id[KD_SESSION_TEXT_BYTES];
    struct kd_bytes message; // to send to the peer; an EDHOC error message where err is set
    uint64_t expires_ms;     // of the handshake
    const struct kd_session_info *session; // when it is done; else NULL
};
typedef void kd_handshake_done(void *arg, enum kd_err err, const char *detail,
                               const struct kd_handshake_result *result);
#define KD_ADDRESS_MAX_BYTES 128
#define KD_HANDSHAKE_SILENCE_MS 3000
struct kd_handshake_start {
    struct kd_bytes message; // message_1; or empty: we initiate (reverse flow)
    unsigned method;         // then, 0..3
    struct kd_bytes address; // the peer's, in whatever form the caller writes it; empty: not known
    struct kd_bytes cookie;  // of a KD_ERR_HS_RETRY before; empty: none
};
// Permission KD_MAY_HANDSHAKE on the identity's name.  All before any token work:
// KD_ERR_SESSIONS_FULL; KD_ERR_BUSY where handshakes-max are unfinished (and no peer has been
// silent for KD_HANDSHAKE_SILENCE_MS: else the oldest such handshake ends) or the workers' queues
// are three quarters full.  KD_ERR_HS_RETRY from handshakes-retry or half-full queues on: `cookie`
// has what the peer is to bring back with the same message_1, soon, from the same address; nothing
// is kept of it.
KD_MUST_CHECK enum kd_err kd_channel_begin(struct kd_service *s, const struct kd_caller *caller,
                                           const struct kd_handshake_start *first,
                                           struct kd_buf *cookie, kd_handshake_done *done,
                                           void *arg);
// The next message of the peer.  KD_ERR_NO_HANDSHAKE; only its maker sees a handshake.
KD_MUST_CHECK enum kd_err kd_channel_step(struct kd_service *s, const struct kd_caller *caller,
                                          const char *id, struct kd_bytes message,
                                          kd_handshake_done *done, void *arg);
KD_MUST_CHECK enum kd_err kd_channel_abandon(struct kd_service *s, const struct kd_caller *caller,
                                             const char *id);

// ---- sessions --------------------------------------------------------------

// A session is seen by the principal that made or resumed it; to others it is
// KD_ERR_NO_SESSION.
KD_MUST_CHECK enum kd_err kd_channel_session(const struct kd_service *s,
                                             const struct kd_caller *caller, const char *id,
                                             struct kd_session_info *out);
// The caller's own by id, after this one, which need not be there any more (NULL: from the first).
size_t kd_channel_sessions(const struct kd_service *s, const struct kd_caller *caller,
                           const char *after, struct kd_session_info *out, size_t max);
// The ticket that another node, or this one after a restart, can continue from.
KD_MUST_CHECK enum kd_err kd_channel_ticket(const struct kd_service *s,
                                            const struct kd_caller *caller, const char *id,
                                            struct kd_bytes *ticket);

struct kd_record_work {
    bool is_open;   // else seal
    size_t n_items; // 1..KD_HSM_BATCH_MAX_ITEMS, also of different sessions
    const struct kd_record_item {
        const char *session;  // seal: its id; open: NULL, the record says it
        uint8_t type;         // seal: enum kd_record_type
        struct kd_bytes data; // seal: the body; open: the record
        struct kd_bytes aad;
    } * items;
};
struct kd_record_result {
    enum kd_err err; // KD_ERR_RECORD_..., KD_ERR_NO_SESSION, KD_ERR_SESSION_EXPIRED, ...
    char session[KD_SESSION_TEXT_BYTES];
    const char *peer;     // open: who is proven to have sent it
    const char *relation; // that its certificate binds it to; "": none
    bool is_registered;   // as in kd_session_info
    uint8_t type;
    uint64_t sequence;
    struct kd_bytes out;    // seal: the record; open: the body
    struct kd_bytes answer; // open, with KD_ERR_SESSION_EXPIRED: a sealed expire record to send
};
typedef void kd_record_done(void *arg, enum kd_err err, const char *detail,
                            const struct kd_record_result *results, size_t n);
// One failing item does not hold up the others.  An opened close record ends its session.
KD_MUST_CHECK enum kd_err kd_channel_records(struct kd_service *s, const struct kd_caller *caller,
                                             const struct kd_record_work *work,
                                             kd_record_done *done, void *arg);

struct kd_session_change {
    struct kd_session_info session;
    struct kd_bytes node_nonce; // resume: for the client, in clear
    struct kd_bytes record;     // resume: confirmation (data, empty body) under the new keys;
                                // update: the key-update record, sealed under the old keys;
                                // empty where these were released: who has them seals it
};
typedef void kd_session_done(void *arg, enum kd_err err, const char *detail,
                             const struct kd_session_change *change);
// Continues a session from its ticket with fresh keys (J13).  What was here of the session stays
// until the client's first valid record.  KD_ERR_TICKET, KD_ERR_SESSION_EXPIRED, KD_ERR_NO_PEER,
// KD_ERR_SESSION_ENDED (deleted, closed, its peer deleted, or too old for the list of those).
KD_MUST_CHECK enum kd_err kd_channel_resume(struct kd_service *s, const struct kd_caller *caller,
                                            struct kd_bytes ticket, struct kd_bytes client_nonce,
                                            kd_session_done *done, void *arg);
// The session ends at once, for good: its tickets are refused at this node until they expire,
// after a restart too, once `done` is called (its change is NULL).  KD_ERR_STORE: a restart would
// forget that.
KD_MUST_CHECK enum kd_err kd_channel_session_delete(struct kd_service *s,
                                                    const struct kd_caller *caller, const char *id,
                                                    kd_session_done *done, void *arg);
// EDHOC_KeyUpdate with the update's number (CBOR) as context.  Sequences start at 0 again.
KD_MUST_CHECK enum kd_err kd_channel_update(struct kd_service *s, const struct kd_caller *caller,
                                            const char *id, kd_session_done *done, void *arg);

// All that a message server needs to go on with a session by itself.
struct kd_released {
    struct kd_session_info session;
    bool is_client;                        // keyd's role, which is the message server's now
    struct kd_bytes keys[KD_TRAFFIC_KEYS]; // secret; wiped when the callback has returned
    struct kd_bytes iv_c2s, iv_s2c;
    uint64_t send_next;       // the first sequence number that was not used
    bool has_received;        // else nothing was, and top does not count
    uint64_t received_top;    // the highest that was accepted
    struct kd_bytes received; // as kd_window_save writes it
    uint64_t left_ms;         // of the lifetime
    uint64_t records_left, bytes_left;
    struct kd_otp_params otp;
};
typedef void kd_release_done(void *arg, enum kd_err err, const char *detail,
                             const struct kd_released *released);
// Gives out the traffic keys that the session has now, once: keyd does not seal or open with
// them any more (KD_ERR_SESSION_RELEASED), whatever becomes of the answer.  What is under way is
// finished first; what comes meanwhile is KD_ERR_CHANGE_UNDER_WAY.  A key update or a resume makes
// keys that are keyd's again.  Permission KD_MAY_RELEASE on the identity, besides that for
// sessions. KD_ERR_SESSION_RESIDENT; KD_ERR_CHANGE_UNDER_WAY: an update, a release or a resume is.
KD_MUST_CHECK enum kd_err kd_channel_release(struct kd_service *s, const struct kd_caller *caller,
                                             const char *id, kd_release_done *done, void *arg);

// ---- envelopes ---------------------------------------------------------------

// The recipient key stays in the token; an envelope is opened once at this node until it
// expires, and its id is on the disk before its text is given out.
struct kd_envelope_key {
    const char *name;
    uint32_t version;
    struct kd_bytes point; // P-256, uncompressed
    uint8_t id[KD_ENVELOPE_KEY_ID_BYTES];
    uint32_t validity_max_s, leeway_s;
};
// What senders seal to: the primary version.  Permission KD_MAY_SHOW or KD_MAY_ENVELOPE on the
// key.  KD_ERR_CONFIG: no key is configured for envelopes.
KD_MUST_CHECK enum kd_err kd_envelope_key(const struct kd_service *s,
                                          const struct kd_caller *caller,
                                          struct kd_envelope_key *out);

struct kd_envelope_opened {
    const uint8_t *id; // KD_ENVELOPE_ID_BYTES
    uint64_t time_s, expires_s;
    const char *sender; // as it says
    struct kd_bytes body;
};
typedef void kd_envelope_done(void *arg, enum kd_err err, const char *detail,
                              const struct kd_envelope_opened *opened);
// Permission KD_MAY_ENVELOPE on the key.  KD_ERR_ENVELOPE_..., KD_ERR_NOT_AUTHENTIC,
// KD_ERR_BAD_POINT; KD_ERR_BUSY: as many as may be remembered have not expired yet.
KD_MUST_CHECK enum kd_err kd_envelope_open(struct kd_service *s, const struct kd_caller *caller,
                                           struct kd_bytes envelope, kd_envelope_done *done,
                                           void *arg);

// Lines for the log and /metrics are the service's own: sessions open, handshakes open,
// opened, refused (by reason), expired, records sealed, opened, refused.
struct kd_channel_report {
    bool is_on;
    size_t n_peers, n_handshakes, n_sessions;
    uint64_t certificate_upto_ms; // of our own; 0: it could not be read
    struct kd_fetcher_report fetch;
};
void kd_channel_report(const struct kd_service *s, struct kd_channel_report *out);

#endif
