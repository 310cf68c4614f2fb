// SPDX-License-Identifier: Apache-2.0
// ended.h: the sessions that were ended before their time, and the peers that
// were deleted: their tickets are good for nothing here until they expire.  The
// list is bounded.  When it is full, the sessions that were made first leave it, and a floor
// takes their place: no session that was made up to then can be resumed.  So a full list
// costs old sessions a new handshake, and never lets one come back that was ended.
// What is here is in the store too (ended.c writes it through the store's thread).
#ifndef KD_KEYD_ENDED_H
#define KD_KEYD_ENDED_H

#include "base/base.h"
#include "keyd/store.h"

struct kd_ended_entry;

struct kd_ended {
    struct kd_map by_key;
    size_t n, cap, max;
    uint64_t floor_ms; // wall clock, when a session was made
    struct kd_ended_entry **all;
};

void kd_ended_init(struct kd_ended *e, size_t max);
void kd_ended_wipe(struct kd_ended *e);
// A kd_store_ended_fn; arg is the list.
KD_MUST_CHECK enum kd_err kd_ended_load(void *ended, const struct kd_store_ended *row);

// The session that was made at made_ms has ended (KD_ENDED_SESSION, its id), or all of a
// peer's that were made until made_ms (KD_ENDED_PEER, its name); their tickets expire by
// until_ms.  Wall clock.  Cannot fail: where there is no memory the floor rises.  True: others
// have left the list, and the store is to have the floor and to forget them.
bool kd_ended_add(struct kd_ended *e, enum kd_ended_kind kind, struct kd_bytes name,
                  uint64_t made_ms, uint64_t until_ms, uint64_t now_ms);
// May a ticket of this session not be taken?
bool kd_ended_has(const struct kd_ended *e, struct kd_bytes session, struct kd_bytes peer,
                  uint64_t made_ms);

#endif
