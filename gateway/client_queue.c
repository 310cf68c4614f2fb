// SPDX-License-Identifier: Apache-2.0
#include "gateway/client_queue.h"

#include <assert.h>

struct kd_client_lane { // kd_map_named
    char who[KD_NAME_MAX_BYTES + 1];
    struct kd_client_lane *next, *previous; // NULL: not in the ring
    struct kd_waiter *first, *last;
    size_t n_under_way;
};

// ---- the ring ----------------------------------------------------------------

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

static void unlink_lane(struct kd_client_queue *q, struct kd_client_lane *lane) {
    if (q->turn == lane) {
        q->turn = lane->next == lane ? NULL : lane->next;
    }
    lane->next->previous = lane->previous;
    lane->previous->next = lane->next;
    lane->next = lane->previous = NULL;
}

static bool has_room(const struct kd_client_queue *q, const struct kd_client_lane *lane) {
    return q->share == 0 || lane->n_under_way < q->share;
}

// After a change of what waits or is under way for one.
static void settle(struct kd_client_queue *q, struct kd_client_lane *lane) {
    const bool has_turns = lane->first != NULL && has_room(q, lane);
    const bool had_turns = lane->next != NULL;
    if (has_turns && !had_turns) {
        link_lane(q, lane);
    } else if (had_turns && !has_turns) {
        unlink_lane(q, lane);
    }
    if (lane->first == NULL && lane->n_under_way == 0) {
        kd_map_free_named(&q->lanes, lane);
    }
}

// ---- what waits ----------------------------------------------------------------

enum kd_err kd_client_queue_put(struct kd_client_queue *q, struct kd_waiter *w, const char *who) {
    struct kd_client_lane *lane = kd_map_named(&q->lanes, who, sizeof(*lane));
    if (lane == NULL) {
        return KD_ERR_NO_MEMORY;
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
    settle(q, lane);
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
}

// Of all, so of its lane, too.
struct kd_waiter *kd_client_queue_take_oldest(struct kd_client_queue *q) {
    struct kd_waiter *w = q->oldest;
    if (w != NULL) {
        unlink_waiter(q, w);
        settle(q, w->lane);
        w->lane = NULL;
    }
    return w;
}

// ---- what is under way ---------------------------------------------------------

static void count(const struct kd_client_queue *q, struct kd_waiter *w,
                  struct kd_client_lane *lane) {
    w->lane = q->share == 0 ? NULL : lane;
    lane->n_under_way += q->share != 0;
}

enum kd_err kd_client_queue_pass(struct kd_client_queue *q, struct kd_waiter *w, const char *who) {
    w->lane = NULL;
    if (q->turn != NULL) {
        return KD_ERR_BUSY;
    }
    if (q->share == 0) {
        return KD_OK;
    }
    struct kd_client_lane *lane = kd_map_named(&q->lanes, who, sizeof(*lane));
    if (lane == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    if (!has_room(q, lane)) {
        return KD_ERR_BUSY;
    }
    count(q, w, lane);
    return KD_OK;
}

struct kd_waiter *kd_client_queue_take(struct kd_client_queue *q) {
    struct kd_client_lane *lane = q->turn;
    if (lane == NULL) {
        return NULL;
    }
    struct kd_waiter *w = lane->first;
    q->turn = lane->next;
    unlink_waiter(q, w);
    count(q, w, lane);
    settle(q, lane);
    return w;
}

void kd_client_queue_end(struct kd_client_queue *q, struct kd_waiter *w) {
    struct kd_client_lane *lane = w->lane;
    if (lane != NULL) {
        w->lane = NULL;
        lane->n_under_way--;
        settle(q, lane);
    }
}

void kd_client_queue_wipe(struct kd_client_queue *q) {
    assert(q->n == 0);
    kd_map_wipe(&q->lanes);
}
