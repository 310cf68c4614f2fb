// SPDX-License-Identifier: Apache-2.0
// claim.h: from the ID_CRED of a handshake to the peer: one who is registered, or one whose
// certificate, sent or fetched, is believed (trust.h).  Private to the channel.
#ifndef KD_KEYD_CLAIM_H
#define KD_KEYD_CLAIM_H

#include "keyd/fetcher.h"
#include "keyd/peers.h"
#include "keyd/sessions.h"
#include "keyd/trust.h"

struct kd_channel;

// peer is borrowed until the credential is wiped or the peer is deleted; NULL with an error.
typedef void kd_claim_done(void *arg, enum kd_err err, const char *why,
                           const struct kd_peer_entry *peer);

#define KD_CLAIM_ID_MAX_BYTES (KD_X5U_MAX_BYTES + KD_MD_MAX_BYTES + 32)

// A peer that nobody registered, and that has sessions, is judged again when it makes another, at
// most once in this time.
#define KD_CLAIM_JUDGED_FOR_MS 60000

// Of one handshake; all zero is one that has looked for nobody.
struct kd_claim {
    struct kd_channel *c;
    enum kd_trust_use use;
    struct kd_fetch_wait *wait; // not NULL: a certificate is being fetched
    kd_claim_done *done;
    void *arg;
    struct kd_peer_entry *passing; // whom nobody registered; ours until kd_claim_settle
    uint32_t believed_at;          // the reading of trust (trust_reads) by which
    struct kd_public_key key;      // else of the one who was found: there may be another by then
    size_t n_id;
    uint8_t id[KD_CLAIM_ID_MAX_BYTES]; // of one that is being fetched
};

// `use`: what the peer does with its key.  KD_OK: *peer is found, or it is NULL and `done` comes
// later.  KD_ERR_HS_CREDENTIAL, KD_ERR_BUSY: *why is for the log; the peer is told neither.
KD_MUST_CHECK enum kd_err kd_claim_find(struct kd_claim *q, struct kd_bytes id_cred,
                                        const struct kd_peer_entry **peer, const char **why);
// The peer of this name has proven itself: where it has its sessions from now on, the first of
// which is made at made_ms (wall clock).
// KD_ERR_HS_CREDENTIAL: deleted meanwhile, registered with another key, or not believed any more.
KD_MUST_CHECK enum kd_err kd_claim_settle(struct kd_claim *q, const char *name, uint64_t made_ms,
                                          struct kd_peer_entry **out);
void kd_claim_wipe(struct kd_claim *q);

// Ends the sessions of a passing peer, with them the peer, and the tickets of what was made up
// to made_ms (wall clock).
void kd_claim_end_passing(struct kd_channel *c, struct kd_peer_entry *e, uint64_t made_ms,
                          enum kd_session_end why);

// Registration takes the place of a passing peer of this name; true where there was one.
bool kd_claim_end_namesake(struct kd_channel *c, const char *name);

// Reads the files of trust, if there are any.  KD_ERR_CONFIG: the log says why; what was read
// before stays.  Passing peers that would not be believed any more lose their sessions.
KD_MUST_CHECK enum kd_err kd_claim_read_trust(struct kd_channel *c);

#endif
