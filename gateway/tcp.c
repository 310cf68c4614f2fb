// SPDX-License-Identifier: Apache-2.0
// tcp.c: devices over TCP: frames with a length before each, many in flight.  Who takes
// no answers is read no more, and who sends nothing for too long is let go.
#include "gateway/gateway.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 65536, SWEEP_MS = 250, ACCEPTS_MAX = 64, LOOKED_AT = 64 };

struct connection {
    struct connection *next, *previous;
    struct kd_tcp *t;
    int fd; // -1: closed, and waits for its questions
    struct kd_watch *watch;
    uint32_t events;
    struct connection *next_dirty;
    bool is_dirty;      // has something to send or to read on: held
    unsigned holds;     // who would miss it
    unsigned in_flight; // questions; each holds it
    bool is_last;       // what is to be sent is the last of it
    uint64_t active_ms, frame_ms, unsent_ms;
    struct kd_buf in, out;
    struct kd_route route;
    char address[KD_ADDRESS_TEXT_BYTES];
};

struct kd_tcp {
    struct kd_gateway *g;
    int fd;
    struct kd_watch *watch;
    struct kd_timer *sweep;
    struct connection *first, *last; // the newest, and those known to be of a peer; the oldest
    struct connection *dirty;
    size_t n;       // with a descriptor
    bool is_paused; // accepts none
};

// ---- life of a connection --------------------------------------------------

static void link_first(struct connection *c) {
    struct kd_tcp *t = c->t;
    c->previous = NULL;
    c->next = t->first;
    *(t->first == NULL ? &t->last : &t->first->previous) = c;
    t->first = c;
}

static void unlink_connection(struct connection *c) {
    *(c->previous == NULL ? &c->t->first : &c->previous->next) = c->next;
    *(c->next == NULL ? &c->t->last : &c->next->previous) = c->previous;
}

static void free_connection(struct connection *c) {
    unlink_connection(c);
    kd_buf_wipe(&c->in);
    kd_buf_wipe(&c->out);
    free(c);
}

static void hang_up(struct connection *c) {
    kd_route_close(&c->route);
    kd_watch_free(c->watch);
    close(c->fd);
    c->fd = -1;
    c->watch = NULL;
    c->t->n--;
}

static void drop(struct connection *c) {
    if (c->fd >= 0) {
        hang_up(c);
    }
    if (c->holds == 0) {
        free_connection(c);
    }
}

// After the last hold the caller must not touch it any more.
static void let_go(struct connection *c) {
    c->holds--;
    if (c->fd < 0 && c->holds == 0) {
        free_connection(c);
    }
}

static void mark(struct connection *c) {
    if (!c->is_dirty) {
        c->is_dirty = true;
        c->holds++;
        c->next_dirty = c->t->dirty;
        c->t->dirty = c;
    }
}

static bool may_read(const struct connection *c) {
    const struct kd_gateway *g = c->t->g;
    return !c->is_last && !g->is_stopping && c->in_flight < g->config->in_flight_max &&
           c->out.n < g->config->unsent_max_bytes;
}

static void set_events(struct connection *c) {
    const uint32_t events = (may_read(c) ? EPOLLIN : 0u) | (c->out.n > 0 ? EPOLLOUT : 0u);
    if (c->fd >= 0 && events != c->events && kd_watch_set(c->watch, events) == KD_OK) {
        c->events = events;
    }
}

// False: the connection is gone.
static bool flush(struct connection *c) {
    while (c->out.n > 0 && kd_buf_finish(&c->out) == KD_OK) { // else on_prepare ends it
        const ssize_t n = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (n < 0) {
            drop(c);
            return false;
        }
        kd_buf_drop_front(&c->out, (size_t)n);
        c->unsent_ms = kd_clock_mono_ms();
    }
    if (c->out.n == 0 && c->is_last && c->in_flight == 0) {
        drop(c);
        return false;
    }
    set_events(c);
    return true;
}

// ---- frames ----------------------------------------------------------------

// The connection is held: it is there after this, if without a descriptor.
static void put_out(struct connection *c, struct kd_bytes frame) {
    if (c->fd < 0) {
        return;
    }
    if (frame.n > 0) {
        c->unsent_ms = c->out.n == 0 ? kd_clock_mono_ms() : c->unsent_ms;
        kd_buf_u32(&c->out, (uint32_t)frame.n);
        kd_buf_put(&c->out, frame.p, frame.n);
    }
    mark(c); // without memory for it the connection ends in on_prepare, not under who sends
}

static void on_answer(void *arg, struct kd_bytes answer) {
    struct connection *c = arg;
    c->in_flight--;
    put_out(c, answer);
    let_go(c);
}

static bool on_push(struct kd_route *route, struct kd_bytes frame) {
    struct connection *c =
        (struct connection *)(void *)((char *)route - offsetof(struct connection, route));
    if (c->out.n >= c->t->g->config->unsent_max_bytes) {
        return false;
    }
    c->holds++;
    c->active_ms = kd_clock_mono_ms();
    put_out(c, frame);
    const bool is_put = c->fd >= 0 && kd_buf_finish(&c->out) == KD_OK;
    let_go(c);
    return is_put;
}

static uint32_t length_at(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// What cannot be a frame ends the connection: nobody knows where the next one is.
static void refuse_stream(struct connection *c, size_t length) {
    kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(64);
    const enum kd_failure code =
        length > KD_FRAME_MAX_BYTES ? KD_FAILURE_TOO_LARGE : KD_FAILURE_MALFORMED;
    kd_frame_put_failure(&frame, 0, &(struct kd_failure_body) { .code = code });
    c->is_last = true;
    c->in_flight++;
    c->holds++;
    c->t->g->counts.failed[code]++;
    on_answer(c, kd_buf_get(&frame));
}

// Gives out all that is there and may be.  False: the connection is gone.
static bool take_frames(struct connection *c) {
    size_t at = 0;
    c->holds++; // nothing frees it meanwhile
    while (c->fd >= 0 && may_read(c) && c->in.n - at >= KD_FRAME_LENGTH_BYTES) {
        const uint32_t n = length_at(c->in.p + at);
        if (n < KD_FRAME_HEAD_BYTES || n > KD_FRAME_MAX_BYTES) {
            refuse_stream(c, n);
            break;
        }
        if (c->in.n - at - KD_FRAME_LENGTH_BYTES < n) {
            break;
        }
        const struct kd_bytes frame = { c->in.p + at + KD_FRAME_LENGTH_BYTES, n };
        at += KD_FRAME_LENGTH_BYTES + n;
        c->active_ms = c->frame_ms = kd_clock_mono_ms();
        c->in_flight++;
        c->holds++;
        const struct kd_origin origin = { c->address, true, &c->route };
        kd_gateway_ask(c->t->g, frame, &origin, on_answer, c);
    }
    if (c->fd < 0) {
        let_go(c);
        return false;
    }
    c->holds--;
    kd_buf_drop_front(&c->in, at);
    return flush(c);
}

static void read_some(struct connection *c) {
    const size_t had = c->in.n;
    uint8_t *p = kd_buf_extend(&c->in, READ_BYTES);
    if (p == NULL) {
        drop(c);
        return;
    }
    const ssize_t n = recv(c->fd, p, READ_BYTES, 0);
    c->in.n = had + (n > 0 ? (size_t)n : 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) { // also half closed: a device stays for its answers
        drop(c);
        return;
    }
    if (had == 0) {
        c->frame_ms = kd_clock_mono_ms();
    }
    (void)take_frames(c);
}

static void on_event(void *arg, uint32_t events) {
    struct connection *c = arg;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        drop(c);
        return;
    }
    if ((events & EPOLLOUT) != 0 && (!flush(c) || !take_frames(c))) {
        return;
    }
    if ((events & EPOLLIN) != 0 && may_read(c)) { // else there is no room for more
        read_some(c);
    }
}

// ---- the listener ----------------------------------------------------------

static size_t connections(const struct kd_gateway *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_tcp; i++) {
        n += g->tcp[i]->n;
    }
    return n;
}

// The oldest connection by which nobody has proven who he is, or whose device has come by another
// since: whoever opens many takes places from strangers, or from himself, alone.  Those that a
// device came by last go to the front, so that each is looked at in its turn.  False: there is
// none.
static bool make_room_at(struct kd_tcp *t) {
    struct connection *c = t->last;
    for (size_t i = 0; i < LOOKED_AT && c != NULL; i++) {
        struct connection *previous = c->previous;
        if (c->fd >= 0 && !c->route.is_listed) {
            kd_log(KD_LOG_DEBUG, "gateway", "a connection made room for another",
                   "address=%s peer=%s", c->address, c->route.peer);
            drop(c);
            return true;
        }
        unlink_connection(c);
        link_first(c);
        c = previous;
    }
    return false;
}

// At the listener that has the most of all first.
static bool make_room(const struct kd_gateway *g) {
    struct kd_tcp *most = g->tcp[0];
    for (size_t i = 1; i < g->n_tcp; i++) {
        most = g->tcp[i]->n > most->n ? g->tcp[i] : most;
    }
    bool has_room = make_room_at(most);
    for (size_t i = 0; i < g->n_tcp && !has_room; i++) {
        has_room = g->tcp[i] != most && make_room_at(g->tcp[i]);
    }
    return has_room;
}

static void add_connection(struct kd_tcp *t, int fd, const struct sockaddr_storage *from) {
    struct connection *c = calloc(1, sizeof(*c));
    const int one = 1;
    if (c == NULL || (connections(t->g) >= t->g->config->connections_max && !make_room(t->g))) {
        close(fd);
        free(c);
        return;
    }
    *c = (struct connection) {
        .t = t,
        .fd = fd,
        .events = EPOLLIN,
        .in = KD_BUF_INIT(KD_FRAME_LENGTH_BYTES + KD_FRAME_MAX_BYTES + READ_BYTES),
        .out = KD_BUF_INIT(SIZE_MAX) // may_read and on_push see to it that it stays small
    };
    c->route = (struct kd_route) { .g = t->g, .send = on_push, .frame_max_bytes = SIZE_MAX };
    c->active_ms = c->frame_ms = c->unsent_ms = kd_clock_mono_ms();
    kd_address_print(from, c->address);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (kd_watch_new(t->g->loop, fd, EPOLLIN, on_event, c, &c->watch) != KD_OK) {
        close(fd);
        free(c);
        return;
    }
    link_first(c);
    t->n++;
}

static bool is_lacking(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

// Who waits to be accepted would wake us again and again: until the next sweep.
static void pause_accepting(struct kd_tcp *t) {
    (void)make_room(t->g);
    t->is_paused = kd_watch_set(t->watch, 0) == KD_OK;
    kd_log_limited(&t->g->said.accept, KD_LOG_WARN, "gateway",
                   "connections wait: there are no descriptors left; raise LimitNOFILE",
                   "connections=%zu", connections(t->g));
}

static void on_accept(void *arg, uint32_t events KD_UNUSED) {
    struct kd_tcp *t = arg;
    for (size_t i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage from;
        socklen_t n = sizeof(from);
        const int fd = accept4(t->fd, (struct sockaddr *)&from, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (is_lacking(errno)) {
                pause_accepting(t);
            }
            return;
        }
        add_connection(t, fd, &from);
    }
}

static bool is_overdue(const struct connection *c, uint64_t now) {
    const struct kd_gateway_config *config = c->t->g->config;
    const bool is_idle = c->in_flight == 0 && c->in.n == 0 && c->out.n == 0;
    return (is_idle && now - c->active_ms > config->idle_timeout_ms) ||
           (c->in.n > 0 && may_read(c) && now - c->frame_ms > config->frame_timeout_ms) ||
           (c->out.n > 0 && now - c->unsent_ms > config->frame_timeout_ms);
}

// Answers of this round are sent together, and who had too many in flight goes on.
static uint64_t on_prepare(void *tcp) {
    struct kd_tcp *t = tcp;
    for (struct connection *c; (c = t->dirty) != NULL;) {
        t->dirty = c->next_dirty;
        c->is_dirty = false;
        if (c->fd >= 0 && kd_buf_finish(&c->out) != KD_OK) {
            hang_up(c); // there was no memory for what is to be sent
        }
        if (c->fd >= 0 && flush(c)) { // held, so it is there in any case
            (void)take_frames(c);
        }
        let_go(c);
    }
    return kd_records_wait(t->g);
}

static void on_sweep(void *tcp) {
    struct kd_tcp *t = tcp;
    const uint64_t now = kd_clock_mono_ms();
    for (struct connection *c = t->first, *next; c != NULL; c = next) {
        next = c->next;
        if (c->fd >= 0 && is_overdue(c, now)) {
            kd_log(KD_LOG_DEBUG, "gateway", "a connection was too slow", "address=%s", c->address);
            drop(c);
        }
    }
    if (t->is_paused && t->watch != NULL && kd_watch_set(t->watch, EPOLLIN) == KD_OK) {
        t->is_paused = false;
    }
    kd_timer_set(t->sweep, SWEEP_MS);
}

enum kd_err kd_tcp_open(struct kd_gateway *g, const char *where, struct kd_tcp **out) {
    struct kd_tcp *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    t->g = g;
    t->fd = -1;
    enum kd_err r;
    if ((r = kd_address_bind(where, SOCK_STREAM, &t->fd)) != KD_OK ||
        (r = kd_watch_new(g->loop, t->fd, EPOLLIN, on_accept, t, &t->watch)) != KD_OK ||
        (r = kd_timer_new(g->loop, on_sweep, t, &t->sweep)) != KD_OK ||
        (r = kd_loop_prepare(g->loop, on_prepare, t)) != KD_OK) {
        kd_tcp_close(t);
        return r;
    }
    kd_timer_set(t->sweep, SWEEP_MS);
    *out = t;
    return KD_OK;
}

void kd_tcp_stop(struct kd_tcp *t) {
    kd_watch_free(t->watch);
    t->watch = NULL;
    if (t->fd >= 0) {
        close(t->fd);
        t->fd = -1;
    }
}

bool kd_tcp_is_idle(const struct kd_tcp *t) {
    for (const struct connection *c = t->first; c != NULL; c = c->next) {
        if (c->fd >= 0 && c->out.n > 0) {
            return false;
        }
    }
    return true;
}

void kd_tcp_close(struct kd_tcp *t) {
    if (t == NULL) {
        return;
    }
    kd_tcp_stop(t);
    for (struct connection *c = t->first, *next; c != NULL; c = next) {
        next = c->next;
        c->holds = 0;
        drop(c);
    }
    kd_timer_free(t->sweep);
    free(t);
}
