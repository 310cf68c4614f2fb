// SPDX-License-Identifier: Apache-2.0
// store_thread.h: the one thread that waits for the disk, so that the loop
// never does.  Jobs run in the order given; each answer comes back through the
// loop.  From then on nothing else may touch the store.
#ifndef KD_KEYD_STORE_THREAD_H
#define KD_KEYD_STORE_THREAD_H

#include "base/base.h"
#include "keyd/store.h"

struct kd_store_thread;

// Embed it in the object that waits for the answer.
struct kd_store_job {
    struct kd_store_job *next;                                            // the thread's
    enum kd_err (*run)(struct kd_store_job *job, struct kd_store *store); // in the store's thread
    void (*done)(struct kd_store_job *job, enum kd_err err);              // in the loop's
    enum kd_err err;
};

// Takes the store, on failure too.
KD_MUST_CHECK enum kd_err kd_store_thread_new(struct kd_loop *loop, struct kd_store *take_store,
                                              struct kd_store_thread **out);
void kd_store_thread_submit(struct kd_store_thread *t, struct kd_store_job *job);
// Finishes the jobs given so far, delivers their answers, also the jobs that
// these give, and closes the store.  The loop must not run any more.
void kd_store_thread_free(struct kd_store_thread *t);

#endif
