// SPDX-License-Identifier: Apache-2.0
// worker.h: one worker process: its life, and the stream of requests and
// replies.  What is done about its death is decided in workers.c.
// Private to the workers.
#ifndef KD_KEYD_WORKER_H
#define KD_KEYD_WORKER_H

#include "keyd/call.h"
#include "keyd/starter.h"
#include "keyd/workers.h"

enum kd_process_state {
    KD_PROCESS_DOWN,     // not running
    KD_PROCESS_STARTING, // has its HELLO, has not said that it is ready
    KD_PROCESS_READY,
    KD_PROCESS_ENDING, // given up, not reaped yet
};

struct kd_call_list {
    struct kd_call *first;
    struct kd_call *last;
    size_t n;
};

void kd_call_list_add(struct kd_call_list *l, struct kd_call *c);
void kd_call_list_remove(struct kd_call_list *l, struct kd_call *c);

struct kd_worker {
    struct kd_workers *pool;
    struct kd_loop *loop;
    unsigned index;
    enum kd_process_state state;
    struct kd_child child;
    struct kd_watch *io;
    struct kd_watch *exit;
    struct kd_buf in;          // what was read and not taken yet
    struct kd_call_list calls; // in flight, in the order in which they came
    struct kd_call *unsent;    // the first that is not wholly sent, or NULL
    size_t sent;               // bytes of it that are
    size_t n_gathered;         // items that were added since it was sent to
    bool wants_write;          // the socket is full
    bool watches_write;
    bool is_hung;        // given up for a deadline
    bool has_lost_login; // it said so, and ends
    uint32_t restarts;
    uint32_t life;       // how often it became ready
    size_t n_handshakes; // in this life, as the front knows
    uint32_t failures;   // in a row
    uint64_t started_ms; // monotonic
    uint64_t ready_ms;
    uint64_t seen_ms;  // the last frame from it
    uint64_t retry_ms; // when down: not before
    uint64_t kill_ms;  // asked to end while starting, and killed then if it has not; or 0
};

// Starts it (keyd/starter.h).  On failure it is down.
KD_MUST_CHECK enum kd_err kd_worker_start(struct kd_worker *w, const struct kd_config *config,
                                          struct kd_bytes refused_pin);
// Kills it; one that is starting, and may be in its login, is asked to end first
// and has some seconds.  Its requests go to kd_workers_on_loss at once.
void kd_worker_give_up(struct kd_worker *w, const char *why);
// Kills one whose seconds are over.  Milliseconds until then.
uint64_t kd_worker_tend_end(struct kd_worker *w, uint64_t now);
// For the end of the pool, when there are no requests any more: first all are
// dismissed, then each is waited for, or killed.
void kd_worker_dismiss(struct kd_worker *w);
void kd_worker_wipe(struct kd_worker *w);

// Adds a call to its queue.  As soon as KD_WORKER_GATHER_ITEMS have gathered they are sent, so that
// the worker need not wait until the front has read all that there is to read.
#define KD_WORKER_GATHER_ITEMS 16
void kd_worker_add(struct kd_worker *w, struct kd_call *c);
// Sends the rest; called once a round of the loop.
void kd_worker_flush(struct kd_worker *w);

// ---- the pool's side (workers.c) -------------------------------------------

// A status message has come; false: give the worker up.
bool kd_workers_on_status(struct kd_worker *w, uint32_t id, struct kd_bytes frame);
bool kd_workers_on_reply(struct kd_worker *w, struct kd_call *c, struct kd_bytes frame);
// The same of one that was given up or dismissed while it started.
void kd_workers_on_last_words(struct kd_worker *w, struct kd_bytes frame);
struct kd_call *kd_workers_find(struct kd_worker *w, uint32_t id); // one of its calls
// It is lost: its calls have to go somewhere.
void kd_workers_on_loss(struct kd_worker *w, enum kd_process_state was);
// It has been reaped and may be started again.
void kd_workers_on_down(struct kd_worker *w);

#endif
