// SPDX-License-Identifier: Apache-2.0
// places.h: who has how many of the connections that may be open at once, and whose makes room for
// another when all places are taken.  No I/O: connection.c asks, and closes what it is given.
#ifndef KD_API_PLACES_H
#define KD_API_PLACES_H

#include "base/base.h"

struct kd_connection;

// Those that may make room: they wait for their client.
enum kd_line_id {
    KD_LINE_IDLE, // for a request
    KD_LINE_SLOW, // for the rest of one, or to take its answer
    KD_LINES,
    KD_LINE_NONE = KD_LINES, // they wait for us
};

// A user of this host, a principal, a device; or one of the two below that are many.
struct kd_holder {
    char name[KD_NAME_MAX_BYTES + 1]; // first, as kd_map_named wants it
    size_t n;                         // connections
    struct kd_line {
        struct kd_connection *first; // the one that has waited the longest
        struct kd_connection *last;
        struct kd_heap_node node; // in `ranked`, unless it is empty
    } lines[KD_LINES];
};

struct kd_places {
    // These two have one line, where all wait in the order of their age, whatever for.
    struct kd_holder strangers; // over TCP, nobody has shown yet who he is
    struct kd_holder surplus;   // without a place
    struct kd_map holders;      // the others
    struct kd_heap ranked[KD_LINES]; // lines that are not empty, of who has the most first
};

void kd_places_wipe(struct kd_places *p); // when there are no connections any more

// The connection counts as this one's from here on, and no more as who had it before; it is in no
// line.  NULL: a stranger's, which needs no memory.  KD_ERR_NO_MEMORY: all is as it was.
KD_MUST_CHECK enum kd_err kd_places_give(struct kd_places *p, struct kd_connection *c,
                                         const char *name);
void kd_places_bar(struct kd_places *p, struct kd_connection *c); // from here on it is surplus
void kd_places_leave(struct kd_places *p, struct kd_connection *c);

// To the end of this line, from wherever it was.
void kd_places_line_up(struct kd_places *p, struct kd_connection *c, enum kd_line_id line);
// The same, but strangers and surplus stay where they are in their line, or go to its end.
void kd_places_wait(struct kd_places *p, struct kd_connection *c, enum kd_line_id line);

// The first in this line of who has the most, without strangers, if those are more than n; or NULL.
struct kd_connection *kd_places_of_most(const struct kd_places *p, enum kd_line_id line, size_t n);

#endif
