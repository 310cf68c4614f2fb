// SPDX-License-Identifier: Apache-2.0
// loop.c: epoll, timers, and an eventfd through which other threads hand work in.
//
// A watch or timer that is freed inside a callback may still stand in the
// round of events being dealt with: it is marked dead and freed after the round.
#include "base/loop.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_MAX = 256, PREPARE_MAX = 32 };

struct kd_watch {
    struct kd_loop *loop;
    int fd;
    kd_watch_fn *fn; // NULL: freed
    void *arg;
    struct kd_watch *next_dead;
};

struct kd_timer {
    struct kd_loop *loop;
    kd_timer_fn *fn; // NULL: freed
    void *arg;
    uint64_t due_ms; // KD_LOOP_NO_LIMIT: not set
    struct kd_timer *next;
};

struct prepare_hook {
    kd_prepare_fn *fn;
    void *arg;
};

struct kd_loop {
    int epoll_fd;
    int wake_fd;
    struct kd_timer *timers; // all of them, in no order: there are few
    struct kd_watch *dead_watches;
    bool has_dead_timers;
    size_t n_hooks;
    struct prepare_hook hooks[PREPARE_MAX];
    atomic_bool stopping;
    pthread_mutex_t post_lock;
    // under post_lock
    struct kd_post *first_post;
    struct kd_post **last_post;
};

// ---- making and freeing ----------------------------------------------------

enum kd_err kd_loop_new(struct kd_loop **out) {
    struct kd_loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    loop->last_post = &loop->first_post;
    pthread_mutex_init(&loop->post_lock, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) != 0) {
        kd_log(KD_LOG_ERROR, "loop", "epoll cannot be set up", "errno=%d", errno);
        kd_loop_free(loop);
        return KD_ERR_SYSTEM;
    }
    *out = loop;
    return KD_OK;
}

static void bury(struct kd_loop *loop) {
    while (loop->dead_watches != NULL) {
        struct kd_watch *w = loop->dead_watches;
        loop->dead_watches = w->next_dead;
        free(w);
    }
    struct kd_timer **at = &loop->timers;
    while (loop->has_dead_timers && *at != NULL) {
        struct kd_timer *t = *at;
        if (t->fn == NULL) {
            *at = t->next;
            free(t);
        } else {
            at = &t->next;
        }
    }
    loop->has_dead_timers = false;
}

void kd_loop_free(struct kd_loop *loop) {
    if (loop == NULL) {
        return;
    }
    bury(loop);
    assert(loop->timers == NULL);
    if (loop->wake_fd >= 0) {
        close(loop->wake_fd);
    }
    if (loop->epoll_fd >= 0) {
        close(loop->epoll_fd);
    }
    pthread_mutex_destroy(&loop->post_lock);
    free(loop);
}

// ---- watches ---------------------------------------------------------------

enum kd_err kd_watch_new(struct kd_loop *loop, int fd, uint32_t epoll_events, kd_watch_fn *fn,
                         void *arg, struct kd_watch **out) {
    assert(fn != NULL);
    struct kd_watch *w = malloc(sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *w = (struct kd_watch) { .loop = loop, .fd = fd, .fn = fn, .arg = arg };
    struct epoll_event event = { .events = epoll_events, .data.ptr = w };
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        kd_log(KD_LOG_ERROR, "loop", "a descriptor cannot be watched", "errno=%d", errno);
        free(w);
        return KD_ERR_SYSTEM;
    }
    *out = w;
    return KD_OK;
}

enum kd_err kd_watch_set(struct kd_watch *w, uint32_t epoll_events) {
    struct epoll_event event = { .events = epoll_events, .data.ptr = w };
    return epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &event) == 0 ? KD_OK : KD_ERR_SYSTEM;
}

void kd_watch_free(struct kd_watch *w) {
    if (w == NULL) {
        return;
    }
    epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->fn = NULL;
    w->next_dead = w->loop->dead_watches;
    w->loop->dead_watches = w;
}

// ---- timers ----------------------------------------------------------------

enum kd_err kd_timer_new(struct kd_loop *loop, kd_timer_fn *fn, void *arg, struct kd_timer **out) {
    assert(fn != NULL);
    struct kd_timer *t = malloc(sizeof(*t));
    if (t == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *t = (struct kd_timer) {
        .loop = loop, .fn = fn, .arg = arg, .due_ms = KD_LOOP_NO_LIMIT, .next = loop->timers
    };
    loop->timers = t;
    *out = t;
    return KD_OK;
}

void kd_timer_set(struct kd_timer *t, uint64_t delay_ms) {
    t->due_ms = kd_clock_mono_ms() + delay_ms;
}

void kd_timer_set_at(struct kd_timer *t, uint64_t due_ms) {
    t->due_ms = due_ms;
}

void kd_timer_set_sooner(struct kd_timer *t, uint64_t delay_ms) {
    const uint64_t due_ms = kd_clock_mono_ms() + delay_ms;
    t->due_ms = due_ms < t->due_ms ? due_ms : t->due_ms;
}

void kd_timer_stop(struct kd_timer *t) {
    t->due_ms = KD_LOOP_NO_LIMIT;
}

void kd_timer_free(struct kd_timer *t) {
    if (t == NULL) {
        return;
    }
    t->fn = NULL;
    t->due_ms = KD_LOOP_NO_LIMIT;
    t->loop->has_dead_timers = true;
}

static void run_timers(struct kd_loop *loop) {
    const uint64_t now = kd_clock_mono_ms();
    for (struct kd_timer *t = loop->timers; t != NULL; t = t->next) {
        if (t->due_ms <= now) {
            t->due_ms = KD_LOOP_NO_LIMIT;
            t->fn(t->arg);
        }
    }
}

// ---- prepare hooks, posts --------------------------------------------------

enum kd_err kd_loop_prepare(struct kd_loop *loop, kd_prepare_fn *fn, void *arg) {
    if (loop->n_hooks == PREPARE_MAX) {
        return KD_ERR_BUG;
    }
    loop->hooks[loop->n_hooks++] = (struct prepare_hook) { fn, arg };
    return KD_OK;
}

static void wake(struct kd_loop *loop) {
    const uint64_t one = 1;
    ssize_t written KD_UNUSED = write(loop->wake_fd, &one, sizeof(one));
}

void kd_loop_post(struct kd_loop *loop, struct kd_post *post) {
    post->next = NULL;
    pthread_mutex_lock(&loop->post_lock);
    const bool was_empty = loop->first_post == NULL;
    *loop->last_post = post;
    loop->last_post = &post->next;
    pthread_mutex_unlock(&loop->post_lock);
    if (was_empty) {
        wake(loop);
    }
}

static void run_posts(struct kd_loop *loop) {
    uint64_t count;
    ssize_t got KD_UNUSED = read(loop->wake_fd, &count, sizeof(count));
    pthread_mutex_lock(&loop->post_lock);
    struct kd_post *post = loop->first_post;
    loop->first_post = NULL;
    loop->last_post = &loop->first_post;
    pthread_mutex_unlock(&loop->post_lock);
    while (post != NULL) {
        struct kd_post *next = post->next; // fn may free the post
        post->fn(post);
        post = next;
    }
}

// ---- running ---------------------------------------------------------------

static uint64_t run_hooks(struct kd_loop *loop) {
    uint64_t limit = KD_LOOP_NO_LIMIT;
    for (size_t i = 0; i < loop->n_hooks; i++) {
        const uint64_t ms = loop->hooks[i].fn(loop->hooks[i].arg);
        limit = ms < limit ? ms : limit;
    }
    return limit;
}

// Milliseconds to wait for epoll: at most `limit`, and not past a timer.
static int wait_ms(const struct kd_loop *loop, uint64_t limit) {
    uint64_t due = KD_LOOP_NO_LIMIT;
    for (const struct kd_timer *t = loop->timers; t != NULL; t = t->next) {
        due = t->due_ms < due ? t->due_ms : due;
    }
    if (due != KD_LOOP_NO_LIMIT) {
        const uint64_t now = kd_clock_mono_ms();
        const uint64_t left = due > now ? due - now : 0;
        limit = left < limit ? left : limit;
    }
    if (limit == KD_LOOP_NO_LIMIT) {
        return -1;
    }
    return limit > INT32_MAX ? INT32_MAX : (int)limit;
}

enum kd_err kd_loop_run(struct kd_loop *loop) {
    struct epoll_event events[EVENTS_MAX];
    while (!loop->stopping) {
        const uint64_t limit = run_hooks(loop);
        if (loop->stopping) {
            break;
        }
        int n = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, wait_ms(loop, limit));
        if (n < 0 && errno != EINTR) {
            kd_log(KD_LOG_ERROR, "loop", "epoll_wait failed", "errno=%d", errno);
            return KD_ERR_SYSTEM;
        }
        bool has_posts = false;
        for (int i = 0; i < n; i++) {
            struct kd_watch *w = events[i].data.ptr;
            if (w == NULL) {
                has_posts = true;
            } else if (w->fn != NULL) {
                w->fn(w->arg, events[i].events);
            }
        }
        if (has_posts) {
            run_posts(loop);
        }
        run_timers(loop);
        bury(loop);
    }
    loop->stopping = false;
    return KD_OK;
}

void kd_loop_stop(struct kd_loop *loop) {
    loop->stopping = true;
    wake(loop);
}
