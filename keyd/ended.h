// SPDX-License-Identifier: Apache-2.0
// ended.h: the sessions that were ended before their time, and the peers that
// were deleted: their tickets are good for nothing here until they expire.  The
// list is bounded.  When it is full, the peer that has the most in it pays: one end of the peer
// takes the place of all its entries, and what it had made until then can not be resumed.  Where no
// peer has more than one, the sessions that were made first leave the list, and a floor
// takes their place: no session that was made up to then can be resumed.  So a full list
// costs sessions a new handshake, those of others last, and never lets one come back that was
// ended.  What is here is in the store too (end_work.c writes it through the store's thread), which
// has the same rule: what a peer's end covers has no row.
#ifndef KD_KEYD_ENDED_H
#define KD_KEYD_ENDED_H

#include "base/base.h"
#include "keyd/store.h"

struct kd_ended_entry;
struct kd_ended_share;

struct kd_ended {
    struct kd_map by_key, by_peer;
    size_t n, cap, max;
    size_t n_since_sweep; // that were added
    uint64_t floor_ms;    // wall clock, when a session was made
    struct kd_ended_entry **all;
    struct kd_heap shares; // the largest first
};

void kd_ended_init(struct kd_ended *e, size_t max);
void kd_ended_wipe(struct kd_ended *e);
// A kd_store_ended_fn; arg is the list.
KD_MUST_CHECK enum kd_err kd_ended_load(void *ended, const struct kd_store_ended *row);

// The session that was made at row->made_ms has ended (KD_ENDED_SESSION, its id and its peer), or
// all of a peer's that were made until then (KD_ENDED_PEER, its name); their tickets expire by
// until_ms.  Wall clock.  Cannot fail: where there is no memory the floor rises.  True: others
// have left the list, and the store is to have the floor and to forget them.  *of_peer, if its name
// is not empty: a peer's end that has taken the place of others, and is to be in the store; it
// borrows the name until the next call.
bool kd_ended_add(struct kd_ended *e, const struct kd_store_ended *row, uint64_t now_ms,
                  struct kd_store_ended *of_peer);
// May a ticket of this session not be taken?
bool kd_ended_has(const struct kd_ended *e, struct kd_bytes session, struct kd_bytes peer,
                  uint64_t made_ms);

#endif
