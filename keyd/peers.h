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
    struct kd_peer_info info;  // its bytes are the entry's
    struct kd_public_key key;  // of the certificate, or the point
    struct kd_bytes cred;      // CRED, encoded; the entry's
    uint64_t from_ms, upto_ms; // when the certificate is valid; 0, UINT64_MAX
    uint8_t hash[KD_PEER_HASH_BYTES];
    bool is_changing; // being added or deleted: not found by a handshake, not shown
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
// A kd_store_peer_fn; arg is the peers.
KD_MUST_CHECK enum kd_err kd_peers_load(void *peers, const struct kd_store_peer *peer);

struct kd_peer_entry *kd_peers_get(const struct kd_peers *p, const char *name); // or NULL
// The first whose name is greater than `after` (NULL: the first), or NULL.
struct kd_peer_entry *kd_peers_next(const struct kd_peers *p, const char *after);

// Who is named by an ID_CRED.  KD_ERR_HS_CREDENTIAL: nobody, the credential is not the
// one that it says, or the certificate is not valid at `now_ms` (wall clock).  *why, for the log.
KD_MUST_CHECK enum kd_err kd_peers_resolve(const struct kd_peers *p, struct kd_bytes id_cred,
                                           uint64_t now_ms, const struct kd_peer_entry **out,
                                           const char **why);
// The same for a peer that is known (a ticket's): may it still make sessions?
KD_MUST_CHECK enum kd_err kd_peer_check(const struct kd_peer_entry *e, uint64_t now_ms,
                                        const char **why);

#endif
