// SPDX-License-Identifier: Apache-2.0
// places.h: who has how many of the connections that may be open at once, and whose makes room for
// another when all places are taken.  No I/O: connection.c asks, and closes what it is given.
#ifndef KD_API_PLACES_H
#define KD_API_PLACES_H

#include "base/base.h"

struct kd_connection;

// A user of this host, a principal, a device; or one of the two below that are many.
struct kd_holder {
    size_t n;                    // connections
    struct kd_connection *first; // of those that may make room, the one that does it first
    struct kd_connection *last;
    size_t rank; // its index in `ranked`, while there are such
    char name[KD_NAME_MAX_BYTES + 1];
};

struct kd_places {
    struct kd_holder strangers; // over TCP, nobody has shown yet who he is: the oldest is first
    struct kd_holder surplus;   // without a place: the oldest is first
    // The others: what is idle may make room, and the longest idle is first.
    struct kd_map holders;
    struct kd_holder **ranked; // those that have idle ones, a heap: who has the most is first
    size_t n_ranked;
    size_t cap; // of `ranked`, for all holders
};

void kd_places_wipe(struct kd_places *p); // when there are no connections any more

// The connection counts as this one's from here on, and no more as who had it before; it is not
// idle.  NULL: a stranger's, which needs no memory.  KD_ERR_NO_MEMORY: all is as it was.
KD_MUST_CHECK enum kd_err kd_places_give(struct kd_places *p, struct kd_connection *c,
                                         const char *name);
void kd_places_bar(struct kd_places *p, struct kd_connection *c); // from here on it is surplus
void kd_places_leave(struct kd_places *p, struct kd_connection *c);

// Whether it may make room: it goes to the end of those that may, unless it is one of them.
void kd_places_list(struct kd_places *p, struct kd_connection *c);
void kd_places_unlist(struct kd_places *p, struct kd_connection *c);
// Strangers and surplus may make room with a request, too: there this does nothing.
void kd_places_begin(struct kd_places *p, struct kd_connection *c);

// The longest idle one of who has the most, without strangers, if those are more than n; or NULL.
struct kd_connection *kd_places_idle_of_most(const struct kd_places *p, size_t n);

#endif
