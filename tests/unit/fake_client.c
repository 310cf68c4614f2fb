// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/fake_client.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct fake_asked *first;
static struct fake_asked **last = &first;

// ---- in place of client.c --------------------------------------------------

void kd_client_init_library(void) {
}

enum kd_err kd_client_new(struct kd_loop *loop KD_UNUSED, const struct kd_client_config *config,
                          struct kd_client **out) {
    struct kd_client *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    c->config = config;
    *out = c;
    return KD_OK;
}

void kd_client_free(struct kd_client *c) {
    assert(c == NULL || c->pending == 0);
    free(c);
}

size_t kd_client_pending(const struct kd_client *c) {
    return c->pending;
}

static void free_asked(struct fake_asked *a) {
    kd_buf_wipe(&a->body);
    free(a);
}

enum kd_err kd_client_send(struct kd_client *c, const struct kd_client_request *r,
                           kd_client_done *done, void *arg) {
    struct fake_asked *a = calloc(1, sizeof(*a));
    if (a == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    a->client = c;
    a->done = done;
    a->arg = arg;
    a->is_connect = r->is_connect;
    a->body = KD_BUF_INIT(4 << 20);
    snprintf(a->path, sizeof(a->path), "%s", r->path == NULL ? "" : r->path);
    kd_buf_put(&a->body, r->body.p, r->body.n);
    if (kd_buf_finish(&a->body) != KD_OK) {
        free_asked(a);
        return KD_ERR_NO_MEMORY;
    }
    c->pending++;
    *last = a;
    last = &a->next;
    return KD_OK;
}

// ---- for the test ----------------------------------------------------------

const struct fake_asked *fake_client_first(void) {
    return first;
}

static void answer(struct fake_asked **at, unsigned status, struct kd_bytes body) {
    struct fake_asked *a = *at;
    *at = a->next;
    last = a->next == NULL ? at : last;
    a->client->pending--;
    a->done(a->arg, status, body);
    free_asked(a);
}

void fake_client_answer(unsigned status, struct kd_bytes body) {
    answer(&first, status, body);
}

void fake_client_answer_newest(unsigned status, struct kd_bytes body) {
    struct fake_asked **at = &first;
    while ((*at)->next != NULL) {
        at = &(*at)->next;
    }
    answer(at, status, body);
}

// ---- a gateway -------------------------------------------------------------

static bool on_route(struct kd_route *route, struct kd_bytes frame) {
    struct fake_gateway *f =
        (struct fake_gateway *)(void *)((char *)route - offsetof(struct fake_gateway, route));
    struct kd_frame parsed;
    const bool is_push = kd_frame_parse(frame, &parsed) == KD_OK && parsed.kind == KD_FRAME_PUSH;
    f->n_sent += is_push ? 1 : 0;
    return is_push;
}

enum kd_err fake_gateway_open(struct fake_gateway *f) {
    struct kd_gateway *g = &f->g;
    *f = (struct fake_gateway) {
        .config = { .pending_max = 64,
                    .pending_per_peer = 32,
                    .batch_max = 16,
                    .push_timeout_ms = 60000,
                    .released_check_ms = 1000,
                    .takes_over = true },
        .route = { .g = g, .send = on_route },
    };
    g->config = &f->config;
    enum kd_err r;
    if ((r = kd_loop_new(&g->loop)) != KD_OK ||
        (r = kd_client_new(g->loop, &f->config.keyd, &g->keyd)) != KD_OK ||
        (r = kd_client_new(g->loop, &f->config.keyd, &g->strangers)) != KD_OK ||
        (r = kd_client_new(g->loop, &f->config.backend, &g->backend)) != KD_OK ||
        (r = kd_pushes_new(g)) != KD_OK || (r = kd_ready_new(g)) != KD_OK ||
        (r = kd_records_new(g)) != KD_OK || (r = kd_released_new(g)) != KD_OK) {
        fake_gateway_close(f);
    }
    return r;
}

void fake_gateway_close(struct fake_gateway *f) {
    struct kd_gateway *g = &f->g;
    assert(g->pending == 0 && first == NULL);
    kd_route_close(&f->route);
    kd_pushes_free(g);
    kd_ready_free(g);
    kd_client_free(g->backend);
    kd_client_free(g->strangers);
    kd_client_free(g->keyd);
    kd_records_free(g);
    kd_released_free(g);
    kd_places_wipe(g);
    kd_loop_free(g->loop);
}

// Until this process ends, as tests/system/harness/gateway.py has its own, that run beside it.
static bool is_leased(unsigned port) {
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    const int n = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "keyd-test-port-%u", port);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&name, size) == 0) {
        return true;
    }
    close(fd);
    return false;
}

// The system gives none of these to who connects, or binds 0: its range begins at 32768.
struct sockaddr_in fake_free_address(void) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    bool is_free = false;
    while (!is_free) {
        uint16_t any = 0;
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || getrandom(&any, sizeof(any), 0) != sizeof(any)) {
            abort();
        }
        a.sin_port = htons(16384 + any % 16384);
        is_free =
            is_leased(ntohs(a.sin_port)) && bind(fd, (const struct sockaddr *)&a, sizeof(a)) == 0;
        close(fd);
    }
    return a;
}
