// SPDX-License-Identifier: Apache-2.0
// sessions.h: the sessions of the channel: whose they are, their limits, and
// their attachments, which have the ticket, the sequence numbers and the replay
// window.  The loop's thread only.
#ifndef KD_KEYD_SESSIONS_H
#define KD_KEYD_SESSIONS_H

#include "keyd/channel.h"
#include "keyd/peers.h"

#define KD_SESSION_USES 3
#define KD_SESSION_GRACE_MS 300000 // an expired session can still say that it is

struct kd_session_entry;
struct kd_session_owner;
struct kd_session_line;

enum kd_session_end {
    KD_SESSION_DELETED,
    KD_SESSION_CLOSED, // by a close record
    KD_SESSION_EXPIRED,
    KD_SESSION_UNUSED,     // the client did not use what was resumed; it may do so again
    KD_SESSION_OF_NO_PEER, // its peer was deleted
    KD_SESSION_OF_OTHER,   // its peer has another certificate now, or is registered
    KD_SESSION_UNTRUSTED,  // its peer's certificate is not believed any more
    KD_SESSION_DISPLACED,  // its peer has made as many others; a ticket may bring it back
};
#define KD_SESSION_END_LAST KD_SESSION_DISPLACED

// Whose the keys of a use are (release_work.c).
enum kd_use_state {
    KD_USE_KEPT, // keyd's
    KD_USE_RELEASING,
    KD_USE_RELEASED, // a message server's: no number of them is taken or looked at here any more
};

// Who waits until nothing is under way with a use's keys.
struct kd_session_waiter {
    void (*fn)(void *arg);
    void *arg;
};

// One use of a session: keys of its own, sequences from 0.  Requests that are
// with a worker hold it, also when its session has ended.
struct kd_session_use {
    unsigned refs;
    struct kd_session_entry *session; // NULL: it has ended
    uint8_t cache[KD_HSM_SECRET_ID_BYTES];
    uint32_t ticket_version;
    uint32_t root_version; // 0: released
    uint32_t update;
    size_t n_client_nonce, n_node_nonce, n_ticket;
    uint8_t client_nonce[KD_SESSION_NONCE_MAX_BYTES];
    uint8_t node_nonce[KD_HSM_CHANNEL_NONCE_BYTES];
    uint8_t ticket[KD_HSM_TICKET_MAX_BYTES];
    struct kd_sequence send;
    struct kd_window window;
    uint64_t sent, bytes; // of a resume, until its client follows (limits.c)
    enum kd_use_state state;
    struct kd_session_waiter *waiter; // NULL: nobody; it holds the use
};

struct kd_session_entry {
    uint8_t id[KD_HSM_SESSION_ID_BYTES];
    char text[KD_SESSION_TEXT_BYTES];
    const struct kd_peer_entry *peer;  // lives longer: its sessions end with it
    struct kd_hsm_session_terms terms; // `peer` is the peer's name
    uint8_t method, suite;
    uint64_t sent, received, bytes;
    enum kd_record_expiry expired; // 0: not
    bool is_updating;
    // now: NULL until the first record after a resume.  before: the one of the keys
    // before an update.  next: of a resume, until the first record.
    struct kd_session_use *now, *before, *next;
    char next_owner[KD_NAME_MAX_BYTES + 1];
    uint64_t before_due_ms, next_due_ms; // monotonic; 0: none
    uint64_t end_due_ms;                 // lifetime, then grace
    struct kd_heap_node due;             // the least of these
    struct kd_buf expiry;                // the sealed record that says so, for its step
    uint64_t expiry_step;
    uint64_t sealing_step; // the one that is being sealed, and not to be sealed twice
    struct kd_session_owner *owner;
    struct kd_session_entry *less, *more; // in the owner's tree, by id
    struct kd_session_line *line;
    struct kd_session_entry *earlier, *later; // of the same peer
};

struct kd_sessions {
    struct kd_timer *timer;
    void (*gone)(void *arg, const struct kd_session_entry *e, enum kd_session_end why);
    void (*expired)(void *arg, const struct kd_session_entry *e); // e->expired says why
    void (*lost)(void *arg, const struct kd_session_use *use); // its keys are not needed any more
    void *arg;
    struct kd_map by_id, owners, lines;
    struct kd_heap due; // all of them
};

KD_MUST_CHECK enum kd_err kd_sessions_open(struct kd_sessions *s, struct kd_loop *loop);
void kd_sessions_close(struct kd_sessions *s); // tells nobody

// With a random cache id and nothing counted; refs is 1.  KD_ERR_ITEM_TOO_LARGE; KD_ERR_TICKET for
// an empty one.
KD_MUST_CHECK enum kd_err kd_session_use_new(struct kd_bytes ticket, struct kd_bytes client_nonce,
                                             struct kd_bytes node_nonce,
                                             struct kd_session_use **out);
void kd_session_use_hold(struct kd_session_use *u);
void kd_session_use_release(struct kd_session_use *u); // NULL does nothing
// Calls the waiter, which holds the use and is borrowed until then, once nobody else does but its
// session: at once, or from the release of the last.
void kd_session_use_wait(struct kd_session_use *u, struct kd_session_waiter *waiter);
// May anything be done with its keys here?  KD_ERR_CHANGE_UNDER_WAY, KD_ERR_SESSION_RELEASED.
KD_MUST_CHECK enum kd_err kd_session_use_check(const struct kd_session_use *u);
// What a worker is told of it; borrowed.
struct kd_hsm_session kd_session_use_show(const struct kd_session_use *u);

// A session of these terms, without any use.  KD_ERR_NO_SESSION where the id is taken.
KD_MUST_CHECK enum kd_err kd_sessions_add(struct kd_sessions *s, const char *owner,
                                          const struct kd_peer_entry *peer,
                                          const struct kd_hsm_session_terms *terms,
                                          struct kd_session_entry **out);
// Ends the peer's sessions that were made first, until it has fewer than max (at least 1): who is
// hostile takes places from itself alone.  Those that were resumed and that no client has followed
// go before all others.  The peer is held by the caller.
void kd_sessions_make_room(struct kd_sessions *s, const char *peer, size_t max);
// For one that is resumed: at most one of the latter ends, or the peer has one more than max for a
// while.  Who has seen a ticket has shown nothing, and ends nothing that is in use.
void kd_sessions_make_room_to_resume(struct kd_sessions *s, const char *peer, size_t max);
// Puts the use (refs and all) in one of the session's places; what was there goes.
void kd_sessions_put(struct kd_sessions *s, struct kd_session_entry *e,
                     struct kd_session_use **place, struct kd_session_use *take_use);
// Another has the session now.  KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_sessions_give(struct kd_sessions *s, struct kd_session_entry *e,
                                           const char *owner);
void kd_sessions_set_due(struct kd_sessions *s, struct kd_session_entry *e);
// A record under this use was authentic: it is the session's now, and its peer, if it has more than
// max, loses others.
void kd_sessions_confirm(struct kd_sessions *s, struct kd_session_entry *e,
                         const struct kd_session_use *use, size_t max);
// A limit is reached: it says so for a while, and does nothing else.
void kd_sessions_expire(struct kd_sessions *s, struct kd_session_entry *e,
                        enum kd_record_expiry why);
void kd_sessions_remove(struct kd_sessions *s, struct kd_session_entry *e, enum kd_session_end why);
// The peer's sessions go on with another entry, of the same name, in its place.
void kd_sessions_move(struct kd_sessions *s, const struct kd_peer_entry *from,
                      const struct kd_peer_entry *to);
void kd_sessions_remove_of_peer(struct kd_sessions *s, const struct kd_peer_entry *peer,
                                enum kd_session_end why);

struct kd_session_entry *kd_sessions_find(const struct kd_sessions *s, struct kd_bytes id);
// The limit that the session has reached, also with one record more of that many bytes; 0: none.
// `u`: the use that it would be sealed with; NULL counts what is the session's already.  (limits.c)
enum kd_record_expiry kd_session_over(const struct kd_session_entry *e,
                                      const struct kd_session_use *u, size_t more);
void kd_session_count_sent(struct kd_session_entry *e, struct kd_session_use *u, size_t n);
bool kd_session_is_of(const struct kd_session_entry *e, const char *principal);
// The uses that a principal may have records of: now, next, before, each NULL where there is
// none.  Who resumes a session of another has its own use only, until the client follows: a
// ticket alone gives nothing of what was before.
void kd_session_uses(const struct kd_session_entry *e, const char *principal,
                     struct kd_session_use *out[static KD_SESSION_USES]);
// The principal's first whose id is greater than `after`, whether there is one of that id or
// not (NULL: the first of all); NULL at the end.
struct kd_session_entry *kd_sessions_next(const struct kd_sessions *s, const char *principal,
                                          const uint8_t *after);

#endif
