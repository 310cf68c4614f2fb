// SPDX-License-Identifier: Apache-2.0
// workers.h: the worker processes as one thing that takes requests.  Requests
// of one round of the loop leave together, replies are taken as they come.
// Workers that die or hang are replaced, and what they had is given to another
// one where that is safe.  Read worker.h for one process, call.h for a request.
#ifndef KD_KEYD_WORKERS_H
#define KD_KEYD_WORKERS_H

#include "base/base.h"
#include "hsm/hsm.h"
#include "keyd/config.h"
#include "keyd/tally.h"
#include "keyd/service.h"

struct kd_workers;
struct kd_call;

// Called in the loop.
struct kd_workers_owner {
    void *arg;
    void (*ready)(void *arg);                              // a worker has become ready
    void (*pin_record)(void *arg, struct kd_bytes record); // keep it; empty: forget it
};

// Starts the first worker; the others follow when it is ready, so that a wrong
// PIN is tried once.  `config` and `tally` stay where they are.
KD_MUST_CHECK enum kd_err kd_workers_new(struct kd_loop *loop, const struct kd_config *config,
                                         struct kd_tally *tally,
                                         const struct kd_workers_owner *owner,
                                         struct kd_bytes refused_pin, struct kd_workers **out);
// Calls under way are done with KD_ERR_STOPPING; the processes end.
void kd_workers_free(struct kd_workers *w);
KD_AUTO_DEFINE(workers, struct kd_workers *, kd_workers_free)

// Starts again what was given up, at once (SIGHUP).
void kd_workers_retry(struct kd_workers *w);

// ---- requests --------------------------------------------------------------

// reply->err is the whole request's; with KD_OK, `items` is at its results.
// Returns KD_ERR_MALFORMED where these cannot be read: the worker is replaced.
typedef KD_MUST_CHECK enum kd_err kd_call_done(void *arg, const struct kd_hsm_reply *reply,
                                               struct kd_reader *items);

// Chooses a worker and writes the head (its id is set here).  `near` is the id
// of a secret, or NULL: its worker is preferred.  KD_ERR_BUSY where all queues
// are full; where no worker is ready, why.  Then kd_call_put for each of
// head->n_items, then kd_call_send or kd_call_drop.
KD_MUST_CHECK enum kd_err kd_workers_begin(struct kd_workers *w, struct kd_hsm_request *head,
                                           const uint8_t *near, struct kd_call **out);

// Requests at the workers that are ready, and how many these take at most.
void kd_workers_load(const struct kd_workers *w, size_t *used, size_t *room);
// Which worker is preferred for this id: calls of one number go well together.
unsigned kd_workers_near(const struct kd_workers *w, const uint8_t *near);

// One process, from when it became ready until it is lost: what it holds for us
// (a handshake) is nowhere else.
struct kd_worker_home {
    unsigned index;
    uint32_t life;
};
// Keeps a call that was begun at its worker: it is not given to another one.
void kd_call_pin(struct kd_call *c, struct kd_worker_home *home);
// A handshake that was begun there has a place until it leaves.  The next one is begun at the ready
// worker with the fewest.
void kd_workers_enter(struct kd_workers *w, const struct kd_worker_home *home);
void kd_workers_leave(struct kd_workers *w, const struct kd_worker_home *home);
// Places that are free at the workers that are ready.
size_t kd_workers_places(const struct kd_workers *w);
// As kd_workers_begin, at this worker and no other.  KD_ERR_NO_HANDSHAKE where it is not
// there any more; KD_ERR_BUSY where its queue is full.
KD_MUST_CHECK enum kd_err kd_workers_begin_at(struct kd_workers *w, struct kd_hsm_request *head,
                                              const struct kd_worker_home *home,
                                              struct kd_call **out);

void kd_call_put(struct kd_call *c, const struct kd_hsm_item *item);
// Items that kd_hsm_put_item has written elsewhere.
void kd_call_put_written(struct kd_call *c, struct kd_bytes items);
// Ends the call on failure: KD_ERR_ITEM_TOO_LARGE, KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_call_send(struct kd_call *take_call, kd_call_done *done, void *arg);
void kd_call_drop(struct kd_call *c);

// Tells every worker to let go of a secret.  Nobody waits for the answer.
void kd_workers_forget(struct kd_workers *w, const uint8_t id[static KD_HSM_SECRET_ID_BYTES]);

// ---- reports ---------------------------------------------------------------

// As kd_service_ready.
enum kd_err kd_workers_ready(const struct kd_workers *w, const char **detail);
const struct kd_hsm_status *kd_workers_token(const struct kd_workers *w); // NULL: none yet
void kd_workers_report(const struct kd_workers *w, struct kd_service_report *out);
void kd_workers_metrics(const struct kd_workers *w, struct kd_buf *out);

#endif
