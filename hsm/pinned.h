// SPDX-License-Identifier: Apache-2.0
// pinned.h: what was used last of what takes room in the token, by id: derived secrets
// (secrets.c) and traffic keys (traffic_cache.c).  Tokens hold few objects, so the one that nobody
// has used the longest gives way, and is made again when it is asked for.
//
// All of it between kd_session_enter and leave, so that what is found here is of the session's
// generation.  Any thread of the worker; takes the token's lock.
#ifndef KD_HSM_PINNED_H
#define KD_HSM_PINNED_H

#include "hsm/hsm.h"

struct kd_session;
struct kd_token;

// The first member of what is kept.
struct kd_pinned {
    uint8_t id[KD_HSM_SECRET_ID_BYTES];
    uint64_t generation; // whose objects it has
    // under the token's lock
    unsigned pins;     // users now: it is not freed before they are done
    bool is_forgotten; // not in the cache any more: the last user frees it
    struct kd_pinned *newer, *older;
};

struct kd_pinned_cache {
    // Destroys its objects in the token.
    void (*destroy)(struct kd_session *s, struct kd_pinned *p);
    void (*free)(struct kd_token *t, struct kd_pinned *p);
    // under the token's lock
    struct kd_map by_id;
    struct kd_pinned *newest, *oldest;
};

// NULL: it is not there.  Pinned, until it is released.
struct kd_pinned *kd_pinned_get(struct kd_session *s, struct kd_pinned_cache *c, const uint8_t *id);
// Takes what was just made, pinned.  Another thread may have put the same there meanwhile: then
// this one lives until its release.
void kd_pinned_put(struct kd_session *s, struct kd_pinned_cache *c, struct kd_pinned *p);
// is_stale: nobody else is to have it.
void kd_pinned_release(struct kd_session *s, struct kd_pinned_cache *c, struct kd_pinned *p,
                       bool is_stale);
void kd_pinned_forget(struct kd_session *s, struct kd_pinned_cache *c, struct kd_bytes id);
// Down to `max`, as far as nobody uses them.
void kd_pinned_make_room(struct kd_session *s, struct kd_pinned_cache *c, size_t max);
// Those that nobody uses and that are over, among the LOOKED_AT used longest ago.
void kd_pinned_expire(struct kd_session *s, struct kd_pinned_cache *c,
                      bool (*is_over)(const struct kd_pinned *p, uint64_t now_ms), uint64_t now_ms);
// After `r`: where it says that token or memory is full, the one of this cache that was used
// longest ago goes, else one of the other.  True: try again, there is more room now.  *left, at
// first KD_PINNED_AT_ONCE, says how often that may be: what is made takes so many objects at once.
bool kd_pinned_gives_way(struct kd_session *s, struct kd_pinned_cache *c, enum kd_err r,
                         unsigned *left);
#define KD_PINNED_AT_ONCE 2
size_t kd_pinned_count(struct kd_token *t, struct kd_pinned_cache *c);
// All of them, whose objects are gone; under the token's lock, or alone.
void kd_pinned_wipe(struct kd_token *t, struct kd_pinned_cache *c);

#endif
