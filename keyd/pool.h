// SPDX-License-Identifier: Apache-2.0
// pool.h: what workers.c (requests), supervise.c (lives and deadlines) and
// workers_report.c share.  Private to these.
#ifndef KD_KEYD_POOL_H
#define KD_KEYD_POOL_H

#include "keyd/worker.h"
#include "keyd/workers.h"

#define KD_POOL_TRIES_MAX 2 // workers that one request may take down
#define KD_POOL_DETAIL_BYTES 256
#define KD_POOL_STATUS_MAX_BYTES 65536

struct kd_workers {
    struct kd_loop *loop;
    const struct kd_config *config;
    struct kd_tally *tally;
    struct kd_workers_owner owner;
    struct kd_call_table table;
    struct kd_call_list waiting; // lost their worker; no other is ready
    unsigned n;
    unsigned n_ready;
    unsigned writer; // the worker that makes and destroys objects
    bool is_halted;  // a PIN was refused: nothing is started before kd_workers_retry
    bool is_ending;
    enum kd_err err; // why none is ready
    char detail[KD_POOL_DETAIL_BYTES];
    struct kd_buf forgotten;   // ids of secrets that the workers are to be told of
    struct kd_buf token_frame; // what `token` borrows from
    struct kd_hsm_status token;
    bool has_token;
    size_t n_pin_record;
    uint8_t pin_record[KD_HSM_PIN_RECORD_MAX_BYTES];
    struct kd_worker workers[KD_WORKERS_MAX];
};

// Why none is ready; KD_OK where one is.
void kd_pool_set_reason(struct kd_workers *w, enum kd_err err, struct kd_bytes detail);
// Ends a call, which no list holds any more.
void kd_pool_fail(struct kd_workers *w, struct kd_call *c, enum kd_err err);
// A request of ours that nobody waits for.
void kd_pool_send_own(struct kd_worker *k, enum kd_hsm_op op, const struct kd_hsm_item *items,
                      size_t n);
// Tells the workers what has gathered to be forgotten.
void kd_pool_send_forgotten(struct kd_workers *w);
// The loop's hook: deadlines, starts, and everything that has gathered is sent.
uint64_t kd_pool_tend(void *workers);

#endif
