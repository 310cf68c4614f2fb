// SPDX-License-Identifier: Apache-2.0
#include "client/device_wire.h"

#include "channel/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIRST_AGAIN_MS = 1000, LAST_AGAIN_MS = 8000 };

struct waiter {
    struct waiter *next;
    uint32_t id;
    struct kd_buf *answer;
    bool is_done;
};

struct push {
    struct push *next;
    struct kd_buf frame;
};

// All of it is under the wire's lock, but what `link` says of itself.
struct kd_wire_link {
    struct kd_link *link;
    uint64_t number;
    unsigned holds; // threads, and the wire itself
    struct kd_wire_turns alone, *turns;
    bool is_dead;
    enum kd_err why; // it is dead
    struct waiter *waiters;
    struct push *first, **last;
    size_t n_pushes, n_push_bytes;
};

// ---- life of a link --------------------------------------------------------

static void free_pushes(struct kd_wire_link *l) {
    for (struct push *p = l->first, *next; p != NULL; p = next) {
        next = p->next;
        kd_buf_wipe(&p->frame);
        free(p);
    }
    l->first = NULL;
    l->last = &l->first;
    l->n_pushes = l->n_push_bytes = 0;
}

static void let_go(struct kd_wire_link *l) {
    if (--l->holds == 0) {
        free_pushes(l);
        kd_link_free(l->link);
        free(l);
    }
}

// Who waits at it sees that it is dead; `reason` is an errno, where the link knows none.
static void kill_link(struct kd_wire *w, struct kd_wire_link *l, enum kd_err why, int reason) {
    if (!l->is_dead) {
        l->is_dead = true;
        l->why = why;
        kd_link_shut(l->link, reason);
    }
    if (w->link == l) {
        w->link = NULL;
        let_go(l);
    }
    pthread_cond_broadcast(&w->changed);
}

static enum kd_err why_dead(const struct kd_wire_link *l) {
    if (l->why == KD_ERR_SYSTEM) {
        kd_link_explain(l->link, KEYD_ERR_TRANSPORT);
    }
    return l->why;
}

static void sleep_until(struct kd_wire *w, uint64_t until_ms) {
    const struct timespec t = { .tv_sec = (time_t)(until_ms / 1000),
                                .tv_nsec = (long)(until_ms % 1000) * 1000000 };
    (void)pthread_cond_timedwait(&w->changed, &w->lock, &t);
}

static enum kd_err connect_link(struct kd_wire *w, uint64_t until_ms) {
    struct kd_wire_link *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    l->last = &l->first;
    l->turns = w->place.send != NULL ? &w->own : &l->alone;
    l->holds = 1; // the wire's
    w->is_connecting = true;
    pthread_mutex_unlock(&w->lock);
    const enum kd_err r = kd_link_open(&w->place, until_ms, &l->link);
    pthread_mutex_lock(&w->lock);
    w->is_connecting = false;
    pthread_cond_broadcast(&w->changed);
    if (r != KD_OK) {
        free(l);
        return r;
    }
    l->number = ++w->n_links;
    w->link = l;
    return KD_OK;
}

// ---- sending ---------------------------------------------------------------

static enum kd_err send_frame(struct kd_wire *w, struct kd_wire_link *l, struct kd_bytes frame,
                              uint64_t until_ms) {
    while (l->turns->has_writer && !l->is_dead) {
        if (kd_clock_mono_ms() >= until_ms) {
            return KD_ERR_DEADLINE;
        }
        sleep_until(w, until_ms);
    }
    if (l->is_dead) {
        return why_dead(l);
    }
    l->turns->has_writer = true;
    pthread_mutex_unlock(&w->lock);
    const enum kd_err r = kd_link_send(l->link, frame, until_ms);
    pthread_mutex_lock(&w->lock);
    l->turns->has_writer = false;
    pthread_cond_broadcast(&w->changed);
    if (r != KD_OK) {
        // Perhaps half of it is on its way.
        kill_link(w, l, KD_ERR_SYSTEM, r == KD_ERR_DEADLINE ? ETIMEDOUT : EIO);
        if (r == KD_ERR_SYSTEM) {
            kd_link_explain(l->link, KEYD_ERR_TRANSPORT);
        }
    }
    return r;
}

// ---- receiving -------------------------------------------------------------

static void keep_push(struct kd_wire_link *l, struct kd_bytes frame) {
    const bool has_room =
        l->n_pushes < KD_WIRE_PUSHES_MAX && frame.n <= KD_WIRE_PUSHES_MAX_BYTES - l->n_push_bytes;
    struct push *p = has_room ? calloc(1, sizeof(*p)) : NULL;
    if (p == NULL) {
        return;
    }
    p->frame = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    kd_buf_put(&p->frame, frame.p, frame.n);
    if (kd_buf_finish(&p->frame) != KD_OK) {
        free(p);
        return;
    }
    *l->last = p;
    l->last = &p->next;
    l->n_pushes++;
    l->n_push_bytes += frame.n;
}

// A late answer, which nobody waits for any more, is passed over.
static void hand_out(struct kd_wire_link *l, struct kd_bytes bytes) {
    struct kd_frame f;
    if (kd_frame_parse(bytes, &f) != KD_OK) {
        return;
    }
    if (f.role == KD_FRAME_REQUEST) {
        if (f.kind == KD_FRAME_PUSH) {
            keep_push(l, bytes);
        }
        return;
    }
    for (struct waiter *a = l->waiters; a != NULL; a = a->next) {
        if (a->id == f.id && !a->is_done) {
            kd_buf_put(a->answer, bytes.p, bytes.n);
            a->is_done = true;
            return;
        }
    }
}

// The link that a frame has come over.  A caller's function that was begun for one that is dead
// goes on, and what it brings is for the one that is there now.
static struct kd_wire_link *came_over(struct kd_wire *w, struct kd_wire_link *l) {
    return l->is_dead && w->link != NULL && w->link->turns == l->turns ? w->link : l;
}

// Receives one frame for whoever it is for, while nobody else does.
static enum kd_err receive_one(struct kd_wire *w, struct kd_wire_link *l, uint64_t until_ms) {
    kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    l->turns->has_reader = true;
    pthread_mutex_unlock(&w->lock);
    const enum kd_err r = kd_link_receive(l->link, until_ms, &frame);
    pthread_mutex_lock(&w->lock);
    l->turns->has_reader = false;
    if (r == KD_OK) {
        hand_out(came_over(w, l), kd_buf_get(&frame));
    } else if (r != KD_ERR_DEADLINE) {
        kill_link(w, l, r == KD_ERR_NO_MEMORY ? r : KD_ERR_SYSTEM, EIO);
    }
    pthread_cond_broadcast(&w->changed);
    return r;
}

// The same; or waits while another does.
static void receive_for_all(struct kd_wire *w, struct kd_wire_link *l, uint64_t until_ms) {
    if (l->turns->has_reader) {
        sleep_until(w, until_ms);
    } else {
        (void)receive_one(w, l, until_ms);
    }
}

// ---- questions -------------------------------------------------------------

// The other side may have closed a stream that nobody read from: what has come says so, and the
// link is dead before anything is lost by it.
static void look_at_link(struct kd_wire *w, uint64_t until_ms) {
    struct kd_wire_link *l = w->link;
    l->holds++;
    while (kd_link_is_stream(l->link) && !l->is_dead && !l->turns->has_reader &&
           receive_one(w, l, 0) == KD_OK && kd_clock_mono_ms() < until_ms) {
    }
    let_go(l);
}

// Holds the link, made where there is none.
static enum kd_err get_link(struct kd_wire *w, uint64_t until_ms, struct kd_wire_link **out) {
    if (w->link != NULL) {
        look_at_link(w, until_ms);
    }
    while (w->link == NULL) {
        if (kd_clock_mono_ms() >= until_ms) {
            return KD_ERR_DEADLINE;
        }
        if (w->is_connecting) {
            sleep_until(w, until_ms);
            continue;
        }
        const enum kd_err r = connect_link(w, until_ms);
        if (r != KD_OK) {
            return r;
        }
    }
    w->link->holds++;
    *out = w->link;
    return KD_OK;
}

static void remove_waiter(struct kd_wire_link *l, const struct waiter *a) {
    struct waiter **at = &l->waiters;
    while (*at != a) {
        at = &(*at)->next;
    }
    *at = a->next;
}

static enum kd_err wait_for_answer(struct kd_wire *w, struct kd_wire_link *l, struct waiter *a,
                                   struct kd_bytes frame, uint64_t until_ms) {
    uint64_t again_ms = FIRST_AGAIN_MS;
    uint64_t due_ms = kd_clock_mono_ms(); // the first time at once
    while (!a->is_done) {
        const uint64_t now = kd_clock_mono_ms();
        if (l->is_dead) {
            return why_dead(l);
        }
        if (now >= until_ms) {
            return KD_ERR_DEADLINE;
        }
        if (now >= due_ms) {
            const enum kd_err r = send_frame(w, l, frame, until_ms);
            if (r != KD_OK) {
                return r;
            }
            due_ms = w->place.is_lossy && again_ms <= LAST_AGAIN_MS ? now + again_ms : until_ms;
            again_ms *= 2;
            continue;
        }
        receive_for_all(w, l, due_ms < until_ms ? due_ms : until_ms);
    }
    return kd_buf_finish(a->answer);
}

static enum kd_err exchange_by_link(struct kd_wire *w, struct kd_bytes frame, uint64_t until_ms,
                                    struct kd_buf *answer) {
    struct kd_frame question;
    struct kd_wire_link *l = NULL;
    enum kd_err r = kd_frame_parse(frame, &question);
    if (r != KD_OK || (r = get_link(w, until_ms, &l)) != KD_OK) {
        return r;
    }
    struct waiter a = { .next = l->waiters, .id = question.id, .answer = answer };
    const unsigned long came = kd_link_came(l->link);
    l->waiters = &a;
    r = wait_for_answer(w, l, &a, frame, until_ms);
    remove_waiter(l, &a);
    if (r == KD_ERR_DEADLINE) {
        kd_link_explain(l->link, KEYD_ERR_TIMEOUT);
    }
    if (r == KD_ERR_DEADLINE && kd_link_came(l->link) == came) {
        kill_link(w, l, KD_ERR_SYSTEM, ETIMEDOUT); // it may be no way any more
    }
    let_go(l);
    return r;
}

enum kd_err kd_wire_exchange(struct kd_wire *w, struct kd_bytes frame, unsigned timeout_ms,
                             struct kd_buf *answer) {
    const uint64_t until_ms = kd_clock_mono_ms() + timeout_ms;
    pthread_mutex_lock(&w->lock);
    struct kd_http *http = kd_http_hold(w->http);
    enum kd_err r = KD_OK;
    if (http == NULL) {
        r = exchange_by_link(w, frame, until_ms, answer);
    }
    pthread_mutex_unlock(&w->lock);
    if (http != NULL) {
        r = kd_http_exchange(http, frame, timeout_ms, answer);
        kd_http_let_go(http);
    }
    return r;
}

bool kd_wire_is_http(struct kd_wire *w) {
    pthread_mutex_lock(&w->lock);
    const bool is_http = w->http != NULL;
    pthread_mutex_unlock(&w->lock);
    return is_http;
}

bool kd_wire_is_udp(struct kd_wire *w) {
    pthread_mutex_lock(&w->lock);
    const bool is_udp = w->http == NULL && w->place.host != NULL && w->place.is_lossy;
    pthread_mutex_unlock(&w->lock);
    return is_udp;
}

// ---- unasked ---------------------------------------------------------------

uint64_t kd_wire_link(struct kd_wire *w) {
    pthread_mutex_lock(&w->lock);
    const uint64_t number = w->link == NULL ? 0 : w->link->number;
    pthread_mutex_unlock(&w->lock);
    return number;
}

static enum kd_err receive_push(struct kd_wire *w, struct kd_wire_link *l, uint64_t until_ms,
                                struct kd_buf *frame) {
    for (bool has_looked = false; l->first == NULL; has_looked = true) {
        if (l->is_dead) {
            return why_dead(l);
        }
        if (has_looked && kd_clock_mono_ms() >= until_ms) {
            return KD_ERR_DEADLINE;
        }
        receive_for_all(w, l, until_ms);
    }
    struct push *p = l->first;
    l->first = p->next;
    l->last = l->first == NULL ? &l->first : l->last;
    l->n_pushes--;
    l->n_push_bytes -= p->frame.n;
    kd_buf_put(frame, p->frame.p, p->frame.n);
    kd_buf_wipe(&p->frame);
    free(p);
    return kd_buf_finish(frame);
}

enum kd_err kd_wire_receive(struct kd_wire *w, uint64_t link, uint64_t until_ms,
                            struct kd_buf *frame) {
    enum kd_err r = KD_ERR_SYSTEM;
    pthread_mutex_lock(&w->lock);
    struct kd_wire_link *l = w->link;
    if (l != NULL && l->number == link) {
        l->holds++;
        r = receive_push(w, l, until_ms, frame);
        let_go(l);
    }
    pthread_mutex_unlock(&w->lock);
    return r;
}

enum kd_err kd_wire_tell(struct kd_wire *w, struct kd_bytes frame, unsigned timeout_ms) {
    enum kd_err r = KD_ERR_SYSTEM;
    pthread_mutex_lock(&w->lock);
    struct kd_wire_link *l = w->link;
    if (l != NULL) {
        l->holds++;
        r = send_frame(w, l, frame, kd_clock_mono_ms() + timeout_ms);
        let_go(l);
    }
    pthread_mutex_unlock(&w->lock);
    return r;
}

// ---- life ------------------------------------------------------------------

enum kd_err kd_wire_init(struct kd_wire *w) {
    pthread_condattr_t monotonic;
    *w = (struct kd_wire) { 0 };
    if (pthread_mutex_init(&w->lock, NULL) != 0 || pthread_condattr_init(&monotonic) != 0) {
        return KD_ERR_NO_MEMORY;
    }
    const bool is_ok = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
                       pthread_cond_init(&w->changed, &monotonic) == 0;
    pthread_condattr_destroy(&monotonic);
    return is_ok ? KD_OK : KD_ERR_NO_MEMORY;
}

// With the lock, and nobody connects.
static void leave_place(struct kd_wire *w) {
    while (w->is_connecting) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    if (w->link != NULL) {
        kill_link(w, w->link, KD_ERR_SYSTEM, ECANCELED);
    }
    kd_http_let_go(w->http);
    w->http = NULL;
    kd_place_wipe(&w->place);
}

enum kd_err kd_wire_set(struct kd_wire *w, const char *server) {
    struct kd_place place = { 0 };
    struct kd_http *http = NULL;
    const bool is_http = strncmp(server, "http://", 7) == 0 || strncmp(server, "https://", 8) == 0;
    const enum kd_err r = is_http ? kd_http_new(server, &http) : kd_place_parse(server, &place);
    if (r != KD_OK) {
        return r;
    }
    pthread_mutex_lock(&w->lock);
    leave_place(w);
    w->place = place;
    w->http = http;
    pthread_mutex_unlock(&w->lock);
    return KD_OK;
}

void kd_wire_set_own(struct kd_wire *w, const struct kd_place *place) {
    pthread_mutex_lock(&w->lock);
    leave_place(w);
    w->place = *place;
    pthread_mutex_unlock(&w->lock);
}

void kd_wire_drop(struct kd_wire *w) {
    pthread_mutex_lock(&w->lock);
    if (w->link != NULL) {
        kill_link(w, w->link, KD_ERR_SYSTEM, ECANCELED);
    }
    pthread_mutex_unlock(&w->lock);
}

void kd_wire_wipe(struct kd_wire *w) {
    pthread_mutex_lock(&w->lock);
    leave_place(w);
    pthread_mutex_unlock(&w->lock);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}
