// SPDX-License-Identifier: Apache-2.0
// load.c: the load generator: one epoll loop, blocking nowhere but there.
#include "client/load.h"

#include "client/histogram.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    HEADER_MAX_BYTES = 16384,
    READ_BYTES = 65536,
    SILENCE_MS = 10000,
};

// ---- connections -----------------------------------------------------------

struct connection {
    int fd;                  // -1: not open
    struct kd_bytes request; // under way
    size_t turn;             // its place in the list
    size_t sent;
    bool waits_to_send;
    uint64_t started_us;
    size_t n_header; // bytes of the answer's header so far
    size_t body_left;
    size_t body_bytes;
    bool in_body;
    unsigned status;
    char header[HEADER_MAX_BYTES + 1];
};

struct load {
    const struct kd_load_config *config;
    struct kd_load_result *result;
    struct kd_histogram *latencies;
    struct connection *connections;
    int epoll;
    size_t n_begun;
    unsigned n_idle; // connections for which there is no request any more
    bool counting;
    bool done;
    char *why; // KD_LOAD_WHY_BYTES
    uint8_t *read;
};

static KD_PRINTF(3, 4) enum kd_err fail(struct load *l, enum kd_err e, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(l->why, KD_LOAD_WHY_BYTES, format, ap);
    va_end(ap);
    return e;
}

// Edge triggered: each event is followed by reading until there is no more.  Whether more can be
// sent is asked only where it matters: the server would wake us for each request that it reads.
static bool watch(const struct load *l, struct connection *c, int how, bool to_send) {
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c };
    event.events |= to_send ? (uint32_t)EPOLLOUT : 0;
    c->waits_to_send = to_send;
    return epoll_ctl(l->epoll, how, c->fd, &event) == 0;
}

// Sends what the socket takes; a request fits its buffer nearly always.
static enum kd_err send_more(struct load *l, struct connection *c) {
    const struct kd_bytes q = c->request;
    while (c->sent < q.n) {
        ssize_t n = send(c->fd, q.p + c->sent, q.n - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return c->waits_to_send || watch(l, c, EPOLL_CTL_MOD, true)
                       ? KD_OK
                       : fail(l, KD_ERR_SYSTEM, "epoll: %s.", strerror(errno));
        }
        if (n < 0) {
            return fail(l, KD_ERR_SYSTEM, "A request could not be sent: %s.", strerror(errno));
        }
        c->sent += (size_t)n;
    }
    if (c->waits_to_send && !watch(l, c, EPOLL_CTL_MOD, false)) {
        return fail(l, KD_ERR_SYSTEM, "epoll: %s.", strerror(errno));
    }
    return KD_OK;
}

static enum kd_err begin(struct load *l, struct connection *c) {
    if (l->config->once && l->n_begun == l->config->n_requests) {
        c->request = KD_BYTES_NONE;
        c->sent = 0;
        l->n_idle++;
        l->done = l->n_idle == l->config->connections;
        return KD_OK;
    }
    c->turn = l->n_begun++ % l->config->n_requests;
    c->request = l->config->requests[c->turn];
    c->sent = 0;
    c->n_header = 0;
    c->in_body = false;
    c->started_us = kd_clock_mono_us();
    return send_more(l, c);
}

static enum kd_err connect_one(struct load *l, struct connection *c) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = l->config->socket;
    if (strlen(path) >= sizeof(address.sun_path)) {
        return fail(l, KD_ERR_CONFIG, "The path of the socket is too long: %s.", path);
    }
    memcpy(address.sun_path, path, strlen(path));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        return fail(l, KD_ERR_SYSTEM, "No socket: %s (ulimit -n?).", strerror(errno));
    }
    if (connect(c->fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        return fail(l, KD_ERR_TOKEN_AWAY, "%s: %s.", path, strerror(errno));
    }
    if (!watch(l, c, EPOLL_CTL_ADD, false)) {
        return fail(l, KD_ERR_SYSTEM, "epoll: %s.", strerror(errno));
    }
    return KD_OK;
}

// ---- answers ---------------------------------------------------------------

static enum kd_err finish_answer(struct load *l, struct connection *c) {
    struct kd_load_result *r = l->result;
    const bool good = c->status >= 200 && c->status <= 299;
    if (l->counting) {
        r->answers += good ? 1 : 0;
        r->refused += good ? 0 : 1;
        r->status = good ? r->status : c->status;
        r->body_min_bytes = c->body_bytes < r->body_min_bytes ? c->body_bytes : r->body_min_bytes;
        r->body_max_bytes = c->body_bytes > r->body_max_bytes ? c->body_bytes : r->body_max_bytes;
        kd_histogram_add(l->latencies, kd_clock_mono_us() - c->started_us);
        const uint64_t all = r->answers + r->refused;
        l->done = l->config->requests_max != 0 && all >= l->config->requests_max;
    }
    return l->done ? KD_OK : begin(l, c);
}

// "HTTP/1.1 200 ..." and Content-Length, of a header that is whole.
static enum kd_err read_header(struct load *l, struct connection *c) {
    unsigned status = 0;
    if (sscanf(c->header, "HTTP/1.%*1[01] %3u", &status) != 1 || status < 100) {
        return fail(l, KD_ERR_MALFORMED, "The answer is not HTTP/1.1.");
    }
    const char *length = strcasestr(c->header, "\r\nContent-Length:");
    if (length == NULL && status != 204) {
        return fail(l, KD_ERR_MALFORMED, "The answer has no Content-Length.");
    }
    c->body_left = length == NULL ? 0 : strtoul(length + 17, NULL, 10);
    c->body_bytes = c->body_left;
    c->status = status;
    c->in_body = true;
    return KD_OK;
}

// Takes the next bytes; a header is gathered, a body is passed over or kept.
static enum kd_err take_bytes(struct load *l, struct connection *c, const uint8_t *p, size_t n) {
    while (n > 0 && !l->done) {
        if (c->in_body) {
            const size_t part = n < c->body_left ? n : c->body_left;
            if (l->config->bodies != NULL) {
                kd_buf_put(&l->config->bodies[c->turn], p, part);
            }
            c->body_left -= part;
            p += part;
            n -= part;
        } else {
            if (c->n_header == HEADER_MAX_BYTES) {
                return fail(l, KD_ERR_MALFORMED, "The header of an answer does not end.");
            }
            const size_t room = HEADER_MAX_BYTES - c->n_header;
            const size_t part = n < room ? n : room;
            const size_t before = c->n_header;
            memcpy(c->header + before, p, part);
            c->header[before + part] = '\0';
            const char *end = strstr(c->header + (before < 3 ? 0 : before - 3), "\r\n\r\n");
            const size_t used = end == NULL ? part : (size_t)(end + 4 - c->header) - before;
            c->n_header += used;
            p += used;
            n -= used;
            if (end == NULL) {
                continue;
            }
            c->header[c->n_header] = '\0';
            enum kd_err e = read_header(l, c);
            if (e != KD_OK) {
                return e;
            }
        }
        if (c->in_body && c->body_left == 0) {
            if (n > 0) {
                return fail(l, KD_ERR_MALFORMED, "More came than the answer to a request.");
            }
            return finish_answer(l, c);
        }
    }
    return KD_OK;
}

static enum kd_err read_more(struct load *l, struct connection *c, bool is_closing) {
    while (!l->done) {
        ssize_t n = recv(c->fd, l->read, READ_BYTES, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return KD_OK;
        }
        if (n <= 0) {
            return fail(l, KD_ERR_SYSTEM, "The connection was closed%s%s.", n < 0 ? ": " : "",
                        n < 0 ? strerror(errno) : "");
        }
        enum kd_err e = take_bytes(l, c, l->read, (size_t)n);
        if (e != KD_OK) {
            return e;
        }
        // A read that was not full has emptied the socket: no second call for EAGAIN.
        // What comes later is a new event; but an end that this event told of is not.
        if (n < READ_BYTES && !is_closing) {
            return KD_OK;
        }
    }
    return KD_OK;
}

static enum kd_err on_event(struct load *l, const struct epoll_event *event) {
    struct connection *c = event->data.ptr;
    enum kd_err e = c->sent < c->request.n ? send_more(l, c) : KD_OK;
    if (e != KD_OK) {
        return e;
    }
    return read_more(l, c, (event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
}

// ---- the run ---------------------------------------------------------------

static enum kd_err run_until(struct load *l, uint64_t end_us) {
    struct epoll_event events[EVENTS];
    for (;;) {
        const uint64_t now = kd_clock_mono_us();
        if (now >= end_us || l->done) {
            return KD_OK;
        }
        const uint64_t left_ms = (end_us - now + 999) / 1000;
        const int wait_ms = left_ms < SILENCE_MS ? (int)left_ms : SILENCE_MS;
        const int n = epoll_wait(l->epoll, events, EVENTS, wait_ms);
        if (n < 0 && errno != EINTR) {
            return fail(l, KD_ERR_SYSTEM, "epoll: %s.", strerror(errno));
        }
        if (n == 0 && wait_ms == SILENCE_MS) {
            return fail(l, KD_ERR_DEADLINE, "No answer came for ten seconds.");
        }
        for (int i = 0; i < n && !l->done; i++) {
            enum kd_err e = on_event(l, &events[i]);
            if (e != KD_OK) {
                return e;
            }
        }
    }
}

static enum kd_err run(struct load *l) {
    enum kd_err e;
    uint64_t start = kd_clock_mono_us(); // requests go with the connections
    for (unsigned i = 0; i < l->config->connections; i++) {
        struct connection *c = &l->connections[i];
        if ((e = connect_one(l, c)) != KD_OK || (e = begin(l, c)) != KD_OK) {
            return e;
        }
    }
    if (l->config->warmup_ms > 0) {
        if ((e = run_until(l, start + l->config->warmup_ms * 1000)) != KD_OK) {
            return e;
        }
        start = kd_clock_mono_us();
    }
    l->counting = true;
    e = run_until(l, start + l->config->duration_ms * 1000);
    l->result->elapsed_us = kd_clock_mono_us() - start;
    return e;
}

static void fill_result(const struct load *l) {
    struct kd_load_result *r = l->result;
    r->per_sec = r->elapsed_us == 0 ? 0 : (double)r->answers * 1e6 / (double)r->elapsed_us;
    r->p50_us = kd_histogram_at(l->latencies, 500);
    r->p90_us = kd_histogram_at(l->latencies, 900);
    r->p99_us = kd_histogram_at(l->latencies, 990);
    r->max_us = l->latencies->max;
}

enum kd_err kd_load_run(const struct kd_load_config *config, struct kd_load_result *result,
                        char why[static KD_LOAD_WHY_BYTES]) {
    struct kd_load_result counted = { .body_min_bytes = UINT64_MAX };
    struct load l = { .config = config, .result = &counted, .why = why };
    if (config->connections == 0 || config->connections > KD_LOAD_CONNECTIONS_MAX ||
        config->n_requests == 0) {
        return fail(&l, KD_ERR_BAD_REQUEST, "1 to %d connections, and a request.",
                    KD_LOAD_CONNECTIONS_MAX);
    }
    why[0] = '\0';
    l.latencies = calloc(1, sizeof(*l.latencies));
    l.connections = calloc(config->connections, sizeof(*l.connections));
    l.read = malloc(READ_BYTES);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; l.connections != NULL && i < config->connections; i++) {
        l.connections[i].fd = -1;
    }
    enum kd_err e = KD_ERR_NO_MEMORY;
    if (l.latencies != NULL && l.connections != NULL && l.read != NULL && l.epoll >= 0) {
        e = run(&l);
    }
    if (e == KD_OK) {
        fill_result(&l);
        *result = counted;
    }
    for (unsigned i = 0; l.connections != NULL && i < config->connections; i++) {
        if (l.connections[i].fd >= 0) {
            close(l.connections[i].fd);
        }
    }
    if (l.epoll >= 0) {
        close(l.epoll);
    }
    free(l.latencies);
    free(l.connections);
    free(l.read);
    return e;
}

enum kd_err kd_load_request(const char *path, const char *json, struct kd_buf *out) {
    kd_buf_printf(out,
                  "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  "Content-Length: %zu\r\n\r\n",
                  path, strlen(json));
    kd_buf_text(out, json);
    return kd_buf_finish(out);
}
