// SPDX-License-Identifier: Apache-2.0
// client_queue.h: requests that wait for a connection.  Those for whom they are take turns, one
// request each: who has many waits for himself.  All wait equally long.
#ifndef KD_GATEWAY_CLIENT_QUEUE_H
#define KD_GATEWAY_CLIENT_QUEUE_H

#include "base/base.h"

struct kd_client_lane; // of one for whom something waits

// Embedded in what waits.
struct kd_waiter {
    struct kd_waiter *older, *newer; // of all
    struct kd_waiter *next;          // of the lane
    struct kd_client_lane *lane;
    uint64_t due_ms; // then it has waited too long; never before the due_ms of one that is older
};

struct kd_client_queue { // zero: empty
    struct kd_map lanes; // by for whom
    struct kd_client_lane *turn; // whose it is; they are in a ring
    struct kd_waiter *oldest, *newest;
    size_t n;
};

// `who` has at most KD_NAME_MAX_BYTES.
KD_MUST_CHECK enum kd_err kd_client_queue_put(struct kd_client_queue *q, struct kd_waiter *w,
                                              const char *who);
struct kd_waiter *kd_client_queue_take(struct kd_client_queue *q); // whose turn it is; NULL: none
struct kd_waiter *kd_client_queue_take_oldest(struct kd_client_queue *q); // NULL: none
void kd_client_queue_wipe(struct kd_client_queue *q); // an empty one

#endif
