// SPDX-License-Identifier: Apache-2.0
// push.c: messages of the backend to a device that has not asked: over the connection, or to
// the address, by which the device proved itself last.  Delivered is what the device has
// acknowledged, in a record of its session (docs/protocol.md, Frames).
#include "gateway/gateway.h"

#include <stdlib.h>
#include <string.h>

enum {
    STATUS_DELIVERED = 204,
    STATUS_NOT_CONNECTED = 404,
    STATUS_TOO_LARGE = 413,
    STATUS_LATER = 503,
    STATUS_NOBODY_KNOWS = 504, // perhaps the device has it
};
enum { AGAIN_MS = 1000, TIMES_MAX = 5 }; // as devices do: after 1, 2, 4 and 8 seconds

struct push {
    struct push *next, **at; // of those that wait to be acknowledged, in the order of their time
    struct kd_pushes *all;
    uint8_t id[4]; // as in the frame
    uint64_t due_ms;
    uint64_t again_ms;   // when it is sent again; where `frame` is one
    unsigned n_times;    // that it was sent
    struct kd_buf frame; // empty: it cannot be lost
    char peer[KD_NAME_MAX_BYTES + 1];
    char session[17];
    kd_pushed_fn *done;
    void *arg;
};

struct kd_pushes {
    struct kd_gateway *g;
    struct kd_map routes;  // by peer
    struct kd_map waiting; // by id
    struct push *first, **last;
    struct kd_timer *timer;
    struct kd_timer *again;
    bool is_again_set;
    uint32_t next_id;
};

// ---- routes ----------------------------------------------------------------

static struct kd_bytes peer_of(const struct kd_route *route) {
    return kd_bytes_of_text(route->peer);
}

static void unlist(struct kd_route *route) {
    if (route->is_listed) {
        kd_map_remove(&route->g->pushes->routes, peer_of(route));
        route->is_listed = false;
    }
}

// Its connection may have ended while keyd opened the record: listed then, it would be found here
// after it is freed.
void kd_route_prove(struct kd_route *route, const char *peer, const char *session) {
    if (route->is_closed) {
        return;
    }
    memcpy(route->session, session, strlen(session) + 1);
    if (route->is_listed && strcmp(route->peer, peer) == 0) {
        return;
    }
    unlist(route);
    struct kd_route *before = kd_map_get(&route->g->pushes->routes, kd_bytes_of_text(peer));
    if (before != NULL) {
        unlist(before);
    }
    memcpy(route->peer, peer, strlen(peer) + 1);
    route->is_listed = kd_map_add(&route->g->pushes->routes, peer_of(route), route) == KD_OK;
}

size_t kd_routes_count(const struct kd_gateway *g) {
    return kd_map_count(&g->pushes->routes);
}

// ---- the end of a push -----------------------------------------------------

static struct kd_bytes id_of(const struct push *p) {
    return (struct kd_bytes) { p->id, sizeof(p->id) };
}

static void finish(struct push *p, unsigned status, const char *why) {
    struct kd_pushes *all = p->all;
    if (p->at != NULL) {
        kd_map_remove(&all->waiting, id_of(p));
        *p->at = p->next;
        if (p->next != NULL) {
            p->next->at = p->at;
        } else {
            all->last = p->at;
        }
    }
    all->g->counts.pushes[status / 100]++;
    if (status != STATUS_DELIVERED) {
        kd_log(KD_LOG_INFO, "gateway", "a message to a device was not acknowledged",
               "peer=%s session=%s status=%u reason=%s", p->peer, p->session, status, why);
    }
    p->done(p->arg, status, why);
    kd_buf_wipe(&p->frame);
    free(p);
}

static void set_timer(struct kd_pushes *all) {
    if (all->first != NULL) {
        kd_timer_set_at(all->timer, all->first->due_ms);
    }
}

static void on_timer(void *arg) {
    struct kd_pushes *all = arg;
    while (all->first != NULL && all->first->due_ms <= kd_clock_mono_ms()) {
        finish(all->first, STATUS_NOBODY_KNOWS, "The device has not acknowledged it in time.");
    }
    set_timer(all);
}

void kd_route_close(struct kd_route *route) {
    const bool was_listed = route->is_listed;
    route->is_closed = true;
    unlist(route);
    for (struct push *p = was_listed ? route->g->pushes->first : NULL, *next; p != NULL; p = next) {
        next = p->next;
        if (strcmp(p->session, route->session) == 0) {
            finish(p, STATUS_NOBODY_KNOWS, "The connection ended before it was acknowledged.");
        }
    }
}

void kd_pushes_stop(struct kd_gateway *g) {
    while (g->pushes->first != NULL) {
        finish(g->pushes->first, STATUS_NOBODY_KNOWS,
               "The gateway stopped before it was acknowledged.");
    }
}

// ---- what can be lost --------------------------------------------------------

static void send_again(struct push *p, uint64_t now) {
    struct kd_route *route = kd_map_get(&p->all->routes, kd_bytes_of_text(p->peer));
    if (route != NULL && strcmp(route->session, p->session) == 0 &&
        p->frame.n <= route->frame_max_bytes) {
        (void)route->send(route, kd_buf_get(&p->frame));
    }
    p->again_ms = now + ((uint64_t)AGAIN_MS << p->n_times);
    p->n_times++;
}

static void set_again(struct kd_pushes *all) {
    if (!all->is_again_set) {
        all->is_again_set = true;
        kd_timer_set(all->again, AGAIN_MS);
    }
}

static void on_again(void *arg) {
    struct kd_pushes *all = arg;
    const uint64_t now = kd_clock_mono_ms();
    bool is_any = false;
    for (struct push *p = all->first; p != NULL; p = p->next) {
        if (p->frame.n > 0 && p->n_times < TIMES_MAX && p->again_ms <= now) {
            send_again(p, now);
        }
        is_any = is_any || (p->frame.n > 0 && p->n_times < TIMES_MAX);
    }
    all->is_again_set = false;
    if (is_any) {
        set_again(all);
    }
}

// The frame is kept as it is: the device knows it by its number, and takes it once.
static void keep_frame(struct push *p, struct kd_bytes frame) {
    p->frame = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    kd_buf_put(&p->frame, frame.p, frame.n);
    if (kd_buf_finish(&p->frame) != KD_OK) {
        kd_buf_wipe(&p->frame); // it is sent once
    }
    p->n_times = 1;
    p->again_ms = kd_clock_mono_ms() + AGAIN_MS;
    set_again(p->all);
}

// ---- there and back --------------------------------------------------------

static void wait_for_device(struct push *p) {
    struct kd_pushes *all = p->all;
    if (kd_map_add(&all->waiting, id_of(p), p) != KD_OK) {
        finish(p, STATUS_NOBODY_KNOWS, "There is not enough memory to wait for the device.");
        return;
    }
    p->due_ms = kd_clock_mono_ms() + all->g->config->push_timeout_ms;
    p->at = all->last;
    *all->last = p;
    all->last = &p->next;
    if (all->first == p) {
        set_timer(all);
    }
}

static void on_sealed(void *arg, struct kd_bytes frame) {
    struct push *p = arg;
    struct kd_gateway *g = p->all->g;
    struct kd_route *route = kd_map_get(&p->all->routes, kd_bytes_of_text(p->peer));
    struct kd_failure_body why;
    struct kd_frame parsed;
    if (kd_frame_parse(frame, &parsed) != KD_OK ||
        (parsed.role == KD_FRAME_FAILURE &&
         (kd_failure_parse(parsed.body, &why) != KD_OK || why.code == KD_FAILURE_BUSY))) {
        finish(p, STATUS_LATER, "keyd or its token is busy or away.");
    } else if (parsed.role == KD_FRAME_FAILURE || route == NULL ||
               strcmp(route->session, p->session) != 0) {
        finish(p, STATUS_NOT_CONNECTED, "The device is not connected, or has a new session.");
    } else if (g->is_stopping) {
        finish(p, STATUS_LATER, "The gateway is stopping.");
    } else if (frame.n > route->frame_max_bytes) {
        finish(p, STATUS_TOO_LARGE, "It is longer than a datagram to the device may be.");
    } else if (!route->send(route, frame)) {
        finish(p, STATUS_LATER, "The device does not take what is sent to it.");
    } else {
        if (route->is_lossy) {
            keep_frame(p, frame);
        }
        wait_for_device(p);
    }
}

void kd_push(struct kd_gateway *g, const char *peer, struct kd_bytes body, kd_pushed_fn *done,
             void *arg) {
    struct kd_pushes *all = g->pushes;
    struct kd_route *route = kd_map_get(&all->routes, kd_bytes_of_text(peer));
    struct push *p = calloc(1, sizeof(*p));
    if (route == NULL || body.n > KD_RECORD_BODY_MAX_BYTES || p == NULL) {
        free(p);
        done(arg,
             route == NULL                       ? STATUS_NOT_CONNECTED
             : body.n > KD_RECORD_BODY_MAX_BYTES ? STATUS_TOO_LARGE
                                                 : STATUS_LATER,
             route == NULL                       ? "No device of this name is connected."
             : body.n > KD_RECORD_BODY_MAX_BYTES ? "A message has at most 65536 bytes."
                                                 : "There is not enough memory.");
        return;
    }
    *p = (struct push) { .all = all, .done = done, .arg = arg };
    const uint32_t id = ++all->next_id;
    for (size_t i = 0; i < sizeof(p->id); i++) {
        p->id[i] = (uint8_t)(id >> (24 - 8 * i));
    }
    memcpy(p->peer, route->peer, sizeof(p->peer));
    memcpy(p->session, route->session, sizeof(p->session));
    struct kd_question *q = kd_gateway_new_push(g, id, on_sealed, p);
    if (q == NULL) {
        finish(p, STATUS_LATER, "The gateway has too much to do, or is stopping.");
        return;
    }
    memcpy(q->peer, p->peer, sizeof(q->peer));
    memcpy(q->session, p->session, sizeof(q->session));
    q->type = KD_RECORD_DATA;
    kd_buf_put(&q->body, body.p, body.n);
    if (kd_buf_finish(&q->body) == KD_OK) {
        kd_records_seal(q);
    } else {
        kd_question_fail_by(q, STATUS_LATER, "no-memory");
    }
}

// A late one is passed over: the backend has been told that nobody knows.
void kd_push_acknowledged(struct kd_question *q) {
    struct push *p =
        kd_map_get(&q->g->pushes->waiting, (struct kd_bytes) { q->head + 1, sizeof(p->id) });
    if (p != NULL && strcmp(p->session, q->session) == 0 && q->type == KD_RECORD_DATA &&
        q->body.n == 0) {
        finish(p, STATUS_DELIVERED, "");
    }
    kd_question_drop(q);
}

// ---- life ------------------------------------------------------------------

enum kd_err kd_pushes_new(struct kd_gateway *g) {
    struct kd_pushes *all = calloc(1, sizeof(*all));
    if (all == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    all->g = g;
    all->last = &all->first;
    g->pushes = all;
    const enum kd_err r = kd_timer_new(g->loop, on_timer, all, &all->timer);
    return r != KD_OK ? r : kd_timer_new(g->loop, on_again, all, &all->again);
}

// After the listeners, whose connections have routes here.
void kd_pushes_free(struct kd_gateway *g) {
    if (g->pushes != NULL) {
        kd_pushes_stop(g);
        kd_map_wipe(&g->pushes->routes);
        kd_map_wipe(&g->pushes->waiting);
        kd_timer_free(g->pushes->timer);
        kd_timer_free(g->pushes->again);
        free(g->pushes);
        g->pushes = NULL;
    }
}
