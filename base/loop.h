// SPDX-License-Identifier: Apache-2.0
// loop.h: the event loop of the front process (epoll).  Everything on the way
// of a request runs in this one thread, so nothing there needs a lock.  Only
// kd_loop_post and kd_loop_stop may be called from other threads.
#ifndef KD_BASE_LOOP_H
#define KD_BASE_LOOP_H

#include "attr.h"
#include "err.h"

#include <stdint.h>

struct kd_loop;

KD_MUST_CHECK enum kd_err kd_loop_new(struct kd_loop **out);
void kd_loop_free(struct kd_loop *loop); // watches and timers are freed before it
KD_AUTO_DEFINE(loop, struct kd_loop *, kd_loop_free)

// Until kd_loop_stop; KD_ERR_SYSTEM where epoll fails.
KD_MUST_CHECK enum kd_err kd_loop_run(struct kd_loop *loop);
void kd_loop_stop(struct kd_loop *loop);

// ---- file descriptors ------------------------------------------------------

struct kd_watch;
typedef void kd_watch_fn(void *arg, uint32_t epoll_events);

// Level triggered.  The descriptor stays the caller's: free the watch before
// closing it.  A watch may be freed from any callback, its own too.
KD_MUST_CHECK enum kd_err kd_watch_new(struct kd_loop *loop, int fd, uint32_t epoll_events,
                                       kd_watch_fn *fn, void *arg, struct kd_watch **out);
KD_MUST_CHECK enum kd_err kd_watch_set(struct kd_watch *w, uint32_t epoll_events);
void kd_watch_free(struct kd_watch *w);

// ---- timers ----------------------------------------------------------------

struct kd_timer;
typedef void kd_timer_fn(void *arg);

KD_MUST_CHECK enum kd_err kd_timer_new(struct kd_loop *loop, kd_timer_fn *fn, void *arg,
                                       struct kd_timer **out); // not set
void kd_timer_set(struct kd_timer *t, uint64_t delay_ms);      // once, from now; replaces
// The same at a time of kd_clock_mono_ms, which may be over; KD_LOOP_NO_LIMIT: never.
void kd_timer_set_at(struct kd_timer *t, uint64_t due_ms);
// Unless it is set to a time before that.
void kd_timer_set_sooner(struct kd_timer *t, uint64_t delay_ms);
void kd_timer_stop(struct kd_timer *t);
void kd_timer_free(struct kd_timer *t); // from any callback, its own too

// ---- before each wait ------------------------------------------------------

// Called before the loop waits, in the order of registration: the place to
// send what a round of events has gathered.  Gives the most milliseconds that
// the loop may sleep as far as this hook is concerned (KD_LOOP_NO_LIMIT).
// Hooks are registered before kd_loop_run and stay.
#define KD_LOOP_NO_LIMIT UINT64_MAX
typedef uint64_t kd_prepare_fn(void *arg);
KD_MUST_CHECK enum kd_err kd_loop_prepare(struct kd_loop *loop, kd_prepare_fn *fn, void *arg);

// ---- from other threads ----------------------------------------------------

// A piece of work for the loop's thread; embed it in your own object.
struct kd_post {
    struct kd_post *next; // the loop's
    void (*fn)(struct kd_post *post);
};

// Runs post->fn in the loop's thread, in the order posted.  The object stays
// the caller's, must live until then, and must not be posted again before.
void kd_loop_post(struct kd_loop *loop, struct kd_post *post);

#endif
