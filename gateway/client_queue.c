// SPDX-License-Identifier: Apache-2.0
#include "gateway/client_queue.h"

#include <assert.h>

struct kd_client_lane { // kd_map_named
    char who[KD_NAME_MAX_BYTES + 1];
    struct kd_client_lane *next, *previous; // in the ring
    struct kd_waiter *first, *last;         // NULL: it is not in the ring yet
};

// A lane that comes is behind all others.
static void link_lane(struct kd_client_queue *q, struct kd_client_lane *lane) {
    if (q->turn == NULL) {
        q->turn = lane->next = lane->previous = lane;
        return;
    }
    lane->next = q->turn;
    lane->previous = q->turn->previous;
    lane->next->previous = lane->previous->next = lane;
}

static void free_lane(struct kd_client_queue *q, struct kd_client_lane *lane) {
    if (q->turn == lane) {
        q->turn = lane->next == lane ? NULL : lane->next;
    }
    lane->next->previous = lane->previous;
    lane->previous->next = lane->next;
    kd_map_free_named(&q->lanes, lane);
}

enum kd_err kd_client_queue_put(struct kd_client_queue *q, struct kd_waiter *w, const char *who) {
    struct kd_client_lane *lane = kd_map_named(&q->lanes, who, sizeof(*lane));
    if (lane == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    if (lane->first == NULL) {
        link_lane(q, lane);
    }
    *(lane->first == NULL ? &lane->first : &lane->last->next) = w;
    lane->last = w;
    w->lane = lane;
    w->next = NULL;
    w->newer = NULL;
    w->older = q->newest;
    *(q->newest == NULL ? &q->oldest : &q->newest->newer) = w;
    q->newest = w;
    q->n++;
    return KD_OK;
}

// The first of its lane.
static void unlink_waiter(struct kd_client_queue *q, struct kd_waiter *w) {
    struct kd_client_lane *lane = w->lane;
    assert(lane->first == w);
    *(w->older == NULL ? &q->oldest : &w->older->newer) = w->newer;
    *(w->newer == NULL ? &q->newest : &w->newer->older) = w->older;
    q->n--;
    lane->first = w->next;
    if (lane->first == NULL) {
        free_lane(q, lane);
    }
}

struct kd_waiter *kd_client_queue_take(struct kd_client_queue *q) {
    struct kd_client_lane *lane = q->turn;
    if (lane == NULL) {
        return NULL;
    }
    struct kd_waiter *w = lane->first;
    q->turn = lane->next;
    unlink_waiter(q, w);
    return w;
}

// Of all, so of its lane, too.
struct kd_waiter *kd_client_queue_take_oldest(struct kd_client_queue *q) {
    struct kd_waiter *w = q->oldest;
    if (w != NULL) {
        unlink_waiter(q, w);
    }
    return w;
}

void kd_client_queue_wipe(struct kd_client_queue *q) {
    assert(q->n == 0);
    kd_map_wipe(&q->lanes);
}
