// SPDX-License-Identifier: Apache-2.0
// channel_state.h: the channel's own view of itself.  Private to channel.c,
// identity.c, peer_work.c, claim.c, handshake.c, record_work.c, session_work.c, release_work.c and
// channel_report.c.
#ifndef KD_KEYD_CHANNEL_STATE_H
#define KD_KEYD_CHANNEL_STATE_H

#include "keyd/channel.h"
#include "keyd/cookie.h"
#include "keyd/ended.h"
#include "keyd/envelopes.h"
#include "keyd/claim.h"
#include "keyd/peers.h"
#include "keyd/sessions.h"
#include "keyd/state.h"

struct kd_handshake_entry; // handshake.c

// What waits for the next round of the loop, so that no answer comes before its
// call has returned.
struct kd_later {
    struct kd_later *next;
    void (*fn)(struct kd_later *l);
};

// The identity's certificate, read when it is used first and after a reload.
struct kd_channel_identity {
    bool is_read;
    bool is_static_dh;
    struct kd_public_key key;
    uint64_t from_ms, upto_ms;
    uint64_t warned_ms; // monotonic: when the log said that it expires soon; 0: never
    struct kd_buf cred;
    size_t n_chain;
    struct kd_buf chain[KD_X5CHAIN_MAX]; // DER, our own first
};

// The floor of the list of ends, where it has risen.
struct kd_end_floor {
    bool is_raised;
    uint64_t floor_ms, now_ms;
};

// Ends on their way to the disk: one transaction at a time, the others wait (end_work.c).
struct kd_end_note;
struct kd_end_writer {
    struct kd_store_job job; // first: a job's address is its writer's
    struct kd_channel *c;
    struct kd_end_note *writing, *waiting;
    struct kd_end_floor floor, next_floor; // that are written with them
};

struct kd_channel_counts {
    uint64_t handshakes[KD_ERR_COUNT]; // ended, by result
    uint64_t sealed[KD_ERR_COUNT];     // records, by result
    uint64_t opened[KD_ERR_COUNT];
    uint64_t ended[KD_SESSION_END_LAST + 1]; // sessions, by enum kd_session_end
    uint64_t expired[KD_EXPIRED_BYTES + 1];  // by enum kd_record_expiry
    uint64_t resumed[KD_ERR_COUNT];
    uint64_t updated[KD_ERR_COUNT];
    uint64_t released[KD_ERR_COUNT];
};

// A kind of refusal that was logged: others of it wait a while, and other kinds do not.
#define KD_CHANNEL_SAID 32
struct kd_channel_said {
    const char *kind;
    enum kd_err err;
    struct kd_log_limit limit;
};

struct kd_channel {
    struct kd_service *s;
    const struct kd_channel_config *config;
    struct kd_channel_identity identity;
    struct kd_peers peers;
    struct kd_trust *trust; // NULL: nobody is believed who is not registered
    uint32_t trust_reads;   // how often it was read: whom it was asked about before is asked again
    struct kd_fetcher *fetcher;
    struct kd_sessions sessions;
    struct kd_ended ended;
    uint64_t latest_made_ms; // of sessions, by a clock that may have been set back since
    struct kd_envelopes envelopes;
    struct kd_end_writer end_writer;
    // handshakes, the oldest first: all have the same time
    struct kd_map handshakes;
    struct kd_handshake_entry *oldest, *newest;
    struct kd_cookies cookies;
    struct kd_timer *handshake_timer;
    struct kd_timer *later_timer;
    struct kd_later *first_later;
    struct kd_later **last_later;
    struct kd_channel_counts counts;
    struct kd_channel_said said[KD_CHANNEL_SAID]; // refusals that were logged
    struct kd_log_limit resuming;
};

// The channel, for a caller that may make sessions: KD_ERR_CONFIG (off),
// KD_ERR_STOPPING, KD_ERR_DENIED.
KD_MUST_CHECK enum kd_err kd_channel_admit(const struct kd_service *s,
                                           const struct kd_caller *caller, struct kd_channel **out);

// May another handshake begin?  KD_ERR_BUSY, KD_ERR_SESSIONS_FULL; KD_ERR_HS_RETRY: `cookie` has
// what message_1 is to come back with.  (admission.c)
KD_MUST_CHECK enum kd_err kd_channel_admit_handshake(struct kd_channel *c,
                                                     const struct kd_caller *caller,
                                                     const struct kd_handshake_start *start,
                                                     struct kd_buf *cookie);

// Whether a peer has let one of the handshakes wait for KD_HANDSHAKE_SILENCE_MS, and the end of the
// oldest of them: it makes room for another when all places are taken.  (handshake.c)
bool kd_channel_has_silent(const struct kd_channel *c);
void kd_channel_end_silent(struct kd_channel *c);

// Keys of the configuration.  version 0: the primary one; its number in *number.
KD_MUST_CHECK enum kd_err kd_channel_key(const struct kd_channel *c, const char *name,
                                         uint32_t version, const struct kd_key_version **out);
// The identity's version that the certificate is of.
KD_MUST_CHECK enum kd_err kd_channel_identity(struct kd_channel *c,
                                              const struct kd_key_version **out);
// Whether it is that version, or could be as the certificate cannot be read.  NULL: false.
bool kd_channel_is_certified(struct kd_channel *c, const struct kd_entry *e,
                             const struct kd_key_version *v);
// Our ID_CRED for a handshake, in the form that the peer asks for in EAD_1 of its message_1
// (empty: none), if we have it, else in that of the configuration.  KD_ERR_HS_EAD: we have not, and
// the wish is critical.
KD_MUST_CHECK enum kd_err kd_channel_put_id_cred(const struct kd_channel *c,
                                                 struct kd_bytes message_1, struct kd_buf *out);
void kd_channel_identity_init(struct kd_channel *c);
void kd_channel_identity_wipe(struct kd_channel *c);
void kd_channel_identity_reload(struct kd_channel *c);
// keys[0] = the ticket key, keys[1] = the root (version 0: none).  KD_ERR_NO_SESSION: such a
// version was destroyed.
KD_MUST_CHECK enum kd_err kd_channel_put_keys(const struct kd_channel *c, uint32_t ticket_version,
                                              uint32_t root_version, struct kd_hsm_request *head);

// The terms of a session with this peer that begins now, and the keys that it is made with (root
// NULL: released).  It ends with the peer's certificate.  They borrow the peer's name.  (terms.c)
KD_MUST_CHECK enum kd_err kd_channel_choose_terms(const struct kd_channel *c,
                                                  const struct kd_peer_entry *peer,
                                                  struct kd_hsm_session_terms *terms,
                                                  uint32_t *ticket_version,
                                                  const struct kd_key_version **root);
// What a client learns with the last message: docs/protocol.md.
void kd_channel_put_ead(struct kd_buf *out, const struct kd_hsm_session_terms *terms,
                        const struct kd_key_version *root);
// Methods in which our side does what the identity's key can, as a set; as initiator `method`
// alone.
unsigned kd_channel_methods(const struct kd_channel *c, bool is_initiator, unsigned method);
struct kd_suites kd_channel_suites(const struct kd_channel *c); // of the identity's curve
// Whether a message is an EDHOC error about suites, and which the peer has.
bool kd_suites_of_error(struct kd_bytes message, struct kd_suites *theirs);
// A sentence for the caller: what an error of the peer says of its suites.
void kd_suites_print(const struct kd_suites *theirs, bool has_retried,
                     char out[static KD_DETAIL_BYTES]);

void kd_channel_later(struct kd_channel *c, struct kd_later *l);
// A line in the log about something refused; of many only some: of each error and kind (compared
// as pointers) one a second.  Without a kind, `what` is it.
void kd_channel_warn(struct kd_channel *c, const char *what, enum kd_err err, const char *who,
                     const char *why);
void kd_channel_warn_of(struct kd_channel *c, const char *what, enum kd_err err, const char *kind,
                        const char *who, const char *why);

struct kd_session_info kd_channel_info(const struct kd_session_entry *e);
// The caller's own: KD_ERR_NO_SESSION.
KD_MUST_CHECK enum kd_err kd_channel_find_session(const struct kd_channel *c,
                                                  const struct kd_caller *caller, const char *id,
                                                  struct kd_session_entry **out);

// The session, which is not to be resumed, ends: the list has it when this returns, the
// disk when `done` is called (NULL: nobody waits).  With `done`: KD_ERR_NO_MEMORY, and it is
// not noted.  Else it cannot fail.  (end_work.c)
KD_MUST_CHECK enum kd_err kd_channel_note_end(struct kd_channel *c,
                                              const struct kd_session_entry *e,
                                              kd_session_done *done, void *arg);
// All that the peer has had until now: the list has it, and who deletes the peer writes *row, which
// borrows its name, and what is returned (kd_end_write, in the store's thread) first.
struct kd_end_floor kd_channel_note_peer(struct kd_channel *c, const struct kd_peer_entry *peer,
                                         struct kd_store_ended *row);
KD_MUST_CHECK enum kd_err kd_end_write(struct kd_store *store, const struct kd_store_ended *rows,
                                       const struct kd_end_floor *floor);
// The same of a passing peer, which is in no job of the store: what was made up to made_ms.
void kd_channel_note_passing(struct kd_channel *c, const struct kd_peer_entry *peer,
                             uint64_t made_ms);
bool kd_channel_has_ended(const struct kd_channel *c, const struct kd_hsm_session_terms *terms);

// ---- the service's side (service.c) ------------------------------------------

KD_MUST_CHECK enum kd_err kd_channel_open(struct kd_service *s, struct kd_store *store,
                                          struct kd_channel **out);
void kd_channel_free(struct kd_channel *c); // when no request is under way; NULL does nothing
void kd_channel_reload(struct kd_channel *c);
void kd_channel_metrics(const struct kd_service *s, struct kd_buf *out);
void kd_channel_free_handshakes(struct kd_channel *c); // handshake.c
void kd_channel_on_handshake_timer(void *channel);
const char *kd_session_end_name(enum kd_session_end why); // channel_report.c
const char *kd_session_expiry_name(enum kd_record_expiry why);
void kd_channel_run_later(struct kd_channel *c);

#endif
