// SPDX-License-Identifier: Apache-2.0
// client_queue.h: requests that wait for a connection.  Those for whom they are take turns, one
// request each, and have a share of the connections: who has many waits for himself.  All wait
// equally long.
#ifndef KD_GATEWAY_CLIENT_QUEUE_H
#define KD_GATEWAY_CLIENT_QUEUE_H

#include "base/base.h"

struct kd_client_lane; // of one for whom something waits, or is under way and counted

// Embedded in what waits and is under way.
struct kd_waiter {
    struct kd_waiter *older, *newer; // of all that wait
    struct kd_waiter *next;          // of the lane
    struct kd_client_lane *lane;     // NULL: under way, and nobody's share is counted
    uint64_t due_ms; // then it has waited too long; never before the due_ms of one that is older
};

struct kd_client_queue { // zero: empty
    struct kd_map lanes; // by for whom
    struct kd_client_lane *turn; // whose it is; they are in a ring with all who may have one more
    struct kd_waiter *oldest, *newest;
    size_t n;     // that wait
    size_t share; // that may be under way for one at once; 0: any number
};

// `who` has at most KD_NAME_MAX_BYTES.
KD_MUST_CHECK enum kd_err kd_client_queue_put(struct kd_client_queue *q, struct kd_waiter *w,
                                              const char *who);
// It is under way without waiting.  KD_ERR_BUSY: it must wait, as it is another's turn, or as many
// are under way for `who` as may be.
KD_MUST_CHECK enum kd_err kd_client_queue_pass(struct kd_client_queue *q, struct kd_waiter *w,
                                               const char *who);
// It is under way from here on.  NULL: none, or all have their share.
struct kd_waiter *kd_client_queue_take(struct kd_client_queue *q);
// One that is under way has ended.
void kd_client_queue_end(struct kd_client_queue *q, struct kd_waiter *w);
struct kd_waiter *kd_client_queue_take_oldest(struct kd_client_queue *q); // to give up; NULL: none
void kd_client_queue_wipe(struct kd_client_queue *q); // an empty one

#endif
