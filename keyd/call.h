// SPDX-License-Identifier: Apache-2.0
// call.h: requests that are with a worker, in a table: an id finds its request
// at once, and an id that was used before does not.  Private to the workers.
#ifndef KD_KEYD_CALL_H
#define KD_KEYD_CALL_H

#include "keyd/workers.h"

struct kd_worker;

struct kd_call {
    struct kd_workers *pool;
    struct kd_worker *worker; // NULL: not sent yet, or free
    uint32_t id;              // index in the table and generation; never 0
    enum kd_hsm_op op;
    size_t n_items; // 0: one of our own, which nobody waits for
    bool is_sent;   // wholly, to this worker
    bool is_pinned; // to its worker
    unsigned tries; // workers that died or hung while they had it
    uint64_t since_ms;
    size_t start;        // of the frame, for kd_hsm_frame_end
    struct kd_buf frame; // kept until the reply, to be sent again
    kd_call_done *done;  // NULL: nobody waits
    void *arg;
    // The worker's requests, the oldest first; also the free list (next).
    struct kd_call *next;
    struct kd_call *prev;
};

struct kd_call_table {
    size_t n_chunks;
    struct kd_call **chunks;
    struct kd_call *free;
    size_t in_use;
};

#define KD_CALL_TABLE_INIT ((struct kd_call_table) { 0 })
void kd_call_table_wipe(struct kd_call_table *t); // none may be in use

// KD_ERR_NO_MEMORY; KD_ERR_BUSY at the table's limit.
KD_MUST_CHECK enum kd_err kd_call_table_take(struct kd_call_table *t, struct kd_call **out);
void kd_call_table_give(struct kd_call_table *t, struct kd_call *c);
struct kd_call *kd_call_table_find(const struct kd_call_table *t, uint32_t id); // NULL: no such

#endif
