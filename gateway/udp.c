// SPDX-License-Identifier: Apache-2.0
// udp.c: devices over UDP.  A datagram that comes again, byte for byte from the same
// address, gets the answer that was given, and is not looked at again: so what was lost
// on the way back is repeated, and nothing is done twice (docs/protocol.md, Loss).  The
// datagram by which a device has proven itself last stays longer: its address is the way to it.
#include "gateway/gateway.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATAGRAM_BYTES = 65536 }; // more than any has
// An address that nobody has proven gets little more than came from it (RFC 9000 8.1 has the
// three).
enum { FIRST_ANSWER_TIMES = 3, FIRST_ANSWER_BYTES = 256 };
enum { READS_MAX = 256, SWEEP_MS = 1000, NAME_BYTES = 32, RECEIVE_BYTES = 4 * 1024 * 1024 };

struct exchange {
    struct exchange *next; // in the order of their coming
    struct kd_udp *u;
    uint8_t name[NAME_BYTES]; // SHA-256 of address and datagram
    uint64_t due_ms;
    bool is_answered;
    bool is_kept; // in the list
    size_t answer_max;
    struct kd_route route;
    socklen_t n_from;
    struct sockaddr_storage from;
    struct kd_buf answer;
};

struct kd_udp {
    struct kd_gateway *g;
    int fd;
    struct kd_watch *watch;
    struct kd_timer *sweep;
    struct kd_map exchanges;
    struct exchange *first, **last;
    struct exchange *ways; // not kept any more, but for pushes: the latest of a peer each
    uint8_t *datagram;
};

static struct kd_bytes name_of(const struct exchange *x) {
    return (struct kd_bytes) { x->name, sizeof(x->name) };
}

static void free_exchange(struct exchange *x) {
    kd_route_close(&x->route);
    kd_buf_wipe(&x->answer);
    free(x);
}

// A datagram that the network does not take is lost, as datagrams are.
static void send_answer(const struct exchange *x) {
    if (x->answer.n > 0) {
        (void)sendto(x->u->fd, x->answer.p, x->answer.n, MSG_NOSIGNAL,
                     (const struct sockaddr *)&x->from, x->n_from);
    }
}

static bool on_push(struct kd_route *route, struct kd_bytes frame) {
    const struct exchange *x =
        (struct exchange *)(void *)((char *)route - offsetof(struct exchange, route));
    (void)sendto(x->u->fd, frame.p, frame.n, MSG_NOSIGNAL, (const struct sockaddr *)&x->from,
                 x->n_from);
    return true;
}

static void put_too_large(struct kd_buf *out, struct kd_bytes answer) {
    struct kd_frame frame;
    const bool is_frame = kd_frame_parse(answer, &frame) == KD_OK;
    kd_frame_put_failure(out, is_frame ? frame.id : 0,
                         &(struct kd_failure_body) { .code = KD_FAILURE_TOO_LARGE });
}

static void on_answer(void *arg, struct kd_bytes answer) {
    struct exchange *x = arg;
    x->is_answered = true;
    if (answer.n > x->answer_max) {
        put_too_large(&x->answer, answer);
    } else {
        kd_buf_put(&x->answer, answer.p, answer.n);
    }
    if (kd_buf_finish(&x->answer) == KD_OK && x->u->fd >= 0) {
        send_answer(x);
    }
    if (!x->is_kept) {
        free_exchange(x);
    }
}

// ---- what was answered -------------------------------------------------------

static void forget_first(struct kd_udp *u) {
    struct exchange *x = u->first;
    u->first = x->next;
    u->last = u->first == NULL ? &u->first : u->last;
    kd_map_remove(&u->exchanges, name_of(x));
    x->is_kept = false;
    if (x->is_answered && x->route.is_listed) {
        kd_buf_wipe(&x->answer);
        x->due_ms = kd_clock_mono_ms() + u->g->config->idle_timeout_ms;
        x->next = u->ways;
        u->ways = x;
    } else if (x->is_answered) {
        free_exchange(x);
    }
}

// Of each peer there is one at most that is listed; the others are of no use.
static void forget_ways(struct kd_udp *u, uint64_t now) {
    for (struct exchange **at = &u->ways, *x; (x = *at) != NULL;) {
        if (x->route.is_listed && x->due_ms > now) {
            at = &x->next;
        } else {
            *at = x->next;
            free_exchange(x);
        }
    }
}

static enum kd_err keep(struct kd_udp *u, struct exchange *x) {
    while (kd_map_count(&u->exchanges) >= u->g->config->answers_max) {
        forget_first(u);
    }
    const enum kd_err r = kd_map_add(&u->exchanges, name_of(x), x);
    if (r == KD_OK) {
        x->is_kept = true;
        x->due_ms = kd_clock_mono_ms() + u->g->config->answers_for_ms;
        *u->last = x;
        u->last = &x->next;
    }
    return r;
}

static void on_sweep(void *udp) {
    struct kd_udp *u = udp;
    const uint64_t now = kd_clock_mono_ms();
    while (u->first != NULL && u->first->due_ms <= now) {
        forget_first(u);
    }
    forget_ways(u, now);
    kd_timer_set(u->sweep, SWEEP_MS);
}

// ---- datagrams -------------------------------------------------------------

// message_1 is the one question of which anybody can have an answer that is longer.
static size_t answer_max(const struct kd_udp *u, size_t n) {
    const size_t max = u->g->config->datagram_max_bytes;
    const size_t more = n * FIRST_ANSWER_TIMES;
    const size_t first = more > FIRST_ANSWER_BYTES ? more : FIRST_ANSWER_BYTES;
    struct kd_frame frame;
    struct kd_bytes cookie, message; // a cookie may be anything: keyd looks at it when it is busy
    const bool is_first = kd_frame_parse((struct kd_bytes) { u->datagram, n }, &frame) == KD_OK &&
                          frame.kind == KD_FRAME_HANDSHAKE &&
                          kd_frame_is_first(frame.body, &cookie, &message);
    return is_first && first < max ? first : max;
}

static void take_datagram(struct kd_udp *u, size_t n, const struct sockaddr_storage *from,
                          socklen_t n_from) {
    const struct kd_bytes parts[] = { { (const uint8_t *)from, n_from }, { u->datagram, n } };
    uint8_t name[NAME_BYTES];
    char address[KD_ADDRESS_TEXT_BYTES];
    if (kd_host_hash(KD_MD_SHA256, parts, KD_COUNT_OF(parts), name) != KD_OK) {
        return;
    }
    struct exchange *x = kd_map_get(&u->exchanges, (struct kd_bytes) { name, sizeof(name) });
    if (x != NULL) {
        u->g->counts.repeated++;
        if (x->is_answered) {
            send_answer(x);
        }
        return;
    }
    if ((x = calloc(1, sizeof(*x))) == NULL) {
        return;
    }
    x->u = u;
    x->route = (struct kd_route) { .g = u->g,
                                   .send = on_push,
                                   .is_lossy = true,
                                   .frame_max_bytes = u->g->config->datagram_max_bytes };
    x->answer = KD_BUF_INIT(u->g->config->datagram_max_bytes);
    x->answer_max = answer_max(u, n);
    x->n_from = n_from;
    memcpy(&x->from, from, n_from);
    memcpy(x->name, name, sizeof(name));
    if (keep(u, x) != KD_OK) {
        free_exchange(x);
        return;
    }
    kd_address_print(from, address);
    const struct kd_origin origin = { .address = address, .route = &x->route };
    kd_gateway_ask(u->g, (struct kd_bytes) { u->datagram, n }, &origin, on_answer, x);
}

static void on_event(void *arg, uint32_t events KD_UNUSED) {
    struct kd_udp *u = arg;
    const size_t max = u->g->config->datagram_max_bytes;
    for (size_t i = 0; i < READS_MAX && !u->g->is_stopping; i++) {
        struct sockaddr_storage from;
        socklen_t n_from = sizeof(from);
        memset(&from, 0, sizeof(from));
        const ssize_t n =
            recvfrom(u->fd, u->datagram, max + 1, 0, (struct sockaddr *)&from, &n_from);
        if (n < 0) {
            return;
        }
        if ((size_t)n >= KD_FRAME_HEAD_BYTES && (size_t)n <= max) { // others get no answer
            take_datagram(u, (size_t)n, &from, n_from);
        }
    }
}

// ---- life ------------------------------------------------------------------

enum kd_err kd_udp_open(struct kd_gateway *g, const char *where, struct kd_udp **out) {
    struct kd_udp *u = calloc(1, sizeof(*u));
    if (u == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const int room = RECEIVE_BYTES;
    u->g = g;
    u->fd = -1;
    u->last = &u->first;
    u->datagram = malloc(DATAGRAM_BYTES);
    enum kd_err r = u->datagram == NULL ? KD_ERR_NO_MEMORY : KD_OK;
    if (r != KD_OK || (r = kd_address_bind(where, SOCK_DGRAM, &u->fd)) != KD_OK ||
        (r = kd_watch_new(g->loop, u->fd, EPOLLIN, on_event, u, &u->watch)) != KD_OK ||
        (r = kd_timer_new(g->loop, on_sweep, u, &u->sweep)) != KD_OK) {
        kd_udp_close(u);
        return r;
    }
    (void)setsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    kd_timer_set(u->sweep, SWEEP_MS);
    *out = u;
    return KD_OK;
}

// The socket stays, for the answers.
void kd_udp_stop(struct kd_udp *u) {
    kd_watch_free(u->watch);
    u->watch = NULL;
}

void kd_udp_close(struct kd_udp *u) {
    if (u == NULL) {
        return;
    }
    kd_udp_stop(u);
    while (u->first != NULL) {
        u->first->is_answered = true;
        forget_first(u);
    }
    forget_ways(u, UINT64_MAX);
    kd_map_wipe(&u->exchanges);
    kd_timer_free(u->sweep);
    if (u->fd >= 0) {
        close(u->fd);
    }
    free(u->datagram);
    free(u);
}
