// SPDX-License-Identifier: Apache-2.0
// peers.h: the peers of the channel in memory: by name, and by what a peer calls
// itself in a handshake.  What is here has been written to the store before.
#ifndef KD_KEYD_PEERS_H
#define KD_KEYD_PEERS_H

#include "keyd/channel.h"
#include "keyd/import.h"
#include "keyd/store.h"

#define KD_PEER_HASH_BYTES 32
#define KD_PEER_SHORT_BYTES 8 // SHA-256/64

struct kd_peer_entry {
    struct kd_peer_info info;             // its bytes are the entry's
    struct kd_public_key key;             // of the certificate, or the point
    struct kd_bytes cred;                 // CRED, encoded; the entry's
    char relation[KD_NAME_MAX_BYTES + 1]; // of the certificate; "": none
    uint64_t from_ms, upto_ms;            // when the certificate is valid; 0, UINT64_MAX
    uint8_t hash[KD_PEER_HASH_BYTES];
    struct kd_peers *place; // where places are kept for its names, until it is in the list
    bool is_changing;       // being added or deleted: not found by a handshake, not shown
    // Of a passing peer, which nobody registered: it is believed because of its certificate's
    // issuer (trust.h), is not in the store, and goes with its last session.
    bool is_passing;
    unsigned uses;          // what its certificate allows: enum kd_trust_use
    struct kd_bytes others; // the rest of its chain: a CBOR sequence of byte strings
    size_t holds;           // sessions, and who must not lose it now
    uint64_t judged_ms;     // when its chain was looked at again; monotonic, 0: not yet
};

struct kd_peers {
    struct kd_map by_name, by_kid, by_uri, by_hash, by_short;
    size_t n;
    size_t cap;
    struct kd_peer_entry **sorted;
};

#define KD_PEERS_INIT ((struct kd_peers) { 0 })
void kd_peers_wipe(struct kd_peers *p);

// Copies; the entry is marked as changing.  KD_ERR_BAD_NAME, KD_ERR_BAD_PUBLIC_KEY,
// KD_ERR_FIELD_INVALID, KD_ERR_PEER_EXISTS.
KD_MUST_CHECK enum kd_err kd_peers_add(struct kd_peers *p, const struct kd_store_peer *peer,
                                       struct kd_peer_entry **out);
void kd_peers_remove(struct kd_peers *p, struct kd_peer_entry *e);

// Another credential for a peer, in two steps, so that what can be refused is refused before
// anything is written.  The new entry is in no list and the caller's.
KD_MUST_CHECK enum kd_err kd_peers_prepare(struct kd_peers *p, const struct kd_store_peer *peer,
                                           struct kd_peer_entry **out);
void kd_peers_discard(struct kd_peer_entry *e); // of one that was prepared; NULL does nothing
// `fresh` stands in the place of `old`, which is the caller's from here, to be discarded when
// nothing points to it.  It needs no memory.  KD_ERR_PEER_EXISTS: another has one of its names by
// now; neither is in the list, and both are the caller's.
KD_MUST_CHECK enum kd_err kd_peers_replace(struct kd_peers *p, struct kd_peer_entry *old,
                                           struct kd_peer_entry *fresh);
// A kd_store_peer_fn; arg is the peers.
KD_MUST_CHECK enum kd_err kd_peers_load(void *peers, const struct kd_store_peer *peer);

struct kd_peer_entry *kd_peers_get(const struct kd_peers *p, const char *name); // or NULL
// The first whose name is greater than `after` (NULL: the first), or NULL.
struct kd_peer_entry *kd_peers_next(const struct kd_peers *p, const char *after);

// ---- passing peers ---------------------------------------------------------

struct kd_passing {
    struct kd_store_peer peer; // certificate, and the URI that it came from
    unsigned uses;
    const struct kd_bytes *others;
    size_t n_others;
};
// A peer that is in no list yet: the caller's, until it has proven itself.
KD_MUST_CHECK enum kd_err kd_peers_new_passing(const struct kd_passing *from,
                                               struct kd_peer_entry **out);
// Its place among the others: *out is it, or the one with the same certificate that was there
// before.  Takes e where it is KD_OK.  KD_ERR_PEER_EXISTS: a registered peer has the name, or
// another the certificate.  KD_ERR_CHANGE_UNDER_WAY: *out is a passing peer with another
// certificate that has the name.
KD_MUST_CHECK enum kd_err kd_peers_settle(struct kd_peers *p, struct kd_peer_entry *e,
                                          struct kd_peer_entry **out);
// Sessions, and who must not lose it now.
void kd_peers_hold(struct kd_peers *p, const struct kd_peer_entry *e);
// The last hold of a passing peer removes it.
void kd_peers_release(struct kd_peers *p, const struct kd_peer_entry *e);

// Who is named by an ID_CRED.  KD_ERR_NO_PEER: nobody who is known here.  KD_ERR_HS_CREDENTIAL:
// it is of no form that is used, the credential is not the one that it says, the certificate
// is not valid at `now_ms` (wall clock).  *why, for the log.
KD_MUST_CHECK enum kd_err kd_peers_resolve(const struct kd_peers *p, const struct kd_idcred *id,
                                           uint64_t now_ms, const struct kd_peer_entry **out,
                                           const char **why);
// The same for a peer that is known (a ticket's): may it still make sessions?
KD_MUST_CHECK enum kd_err kd_peer_check(const struct kd_peer_entry *e, uint64_t now_ms,
                                        const char **why);

#endif
