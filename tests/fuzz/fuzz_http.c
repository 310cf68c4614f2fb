// SPDX-License-Identifier: Apache-2.0
// fuzz_http.c: requests, through libmicrohttpd and each handler, to a service that takes all
// that is well-formed.  The first byte is the row of the table of routes, the second the media
// type, the rest the body, or a device's proof where the route has no body; behind the last row
// the rest is all that a client says.  What the handlers do with a body is no fault of ours:
// there is no 500.
#include "fuzz.h"

#include "api/route.h"
#include "tests/unit/api_fixture.h"
#include "tests/unit/pki.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MS = 10000, HEAD_BYTES = 12 };
enum { HAS_PROOF = 0x80, WANTS_CBOR = 0x40 }; // of the second byte, for devices

static struct fixture callers, devices;
static struct pki_cert ca;

// What the server has said to the client.
struct ear {
    struct kd_loop *loop;
    int fd;
    size_t n;
    char head[HEAD_BYTES + 1];
};

static uint64_t awaited; // a connection that is to come and to go; 0: none

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

static void on_late(void *arg KD_UNUSED) {
    abort(); // a request without an answer, a connection that stays
}

static void on_said(void *arg, uint32_t events KD_UNUSED) {
    struct ear *e = arg;
    char bytes[65536];
    const ssize_t n = recv(e->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n <= 0) {
        kd_loop_stop(e->loop);
        return;
    }
    for (ssize_t i = 0; i < n && e->n < HEAD_BYTES; i++) {
        e->head[e->n++] = bytes[i];
    }
}

static void tell(struct fixture *f, const struct kd_buf *request) {
    struct ear e = { .loop = f->loop, .fd = client_connect(f) };
    struct kd_watch *watch = NULL;
    struct kd_timer *late = NULL;
    must(kd_watch_new(f->loop, e.fd, EPOLLIN, on_said, &e, &watch) == KD_OK);
    must(kd_timer_new(f->loop, on_late, NULL, &late) == KD_OK);
    kd_timer_set(late, ANSWER_MS);
    client_send_bytes(e.fd, request->p, request->n);
    must(kd_loop_run(f->loop) == KD_OK);
    kd_timer_free(late);
    kd_watch_free(watch);
    close(e.fd);
    const int status = e.n == HEAD_BYTES ? atoi(e.head + strlen("HTTP/1.1 ")) : 0;
    must(status >= 200 && status < 600 && status != 500);
}

// Says this, and is gone.
static void blurt(struct fixture *f, const struct kd_buf *request) {
    const int fd = client_connect(f);
    client_send_bytes(fd, request->p, request->n);
    close(fd);
    awaited = f->http->metrics.connections_total + 1;
    must(kd_loop_run(f->loop) == KD_OK);
    awaited = 0;
}

static uint64_t on_prepare(void *arg) {
    struct fixture *f = arg;
    if (awaited != 0 && f->http->metrics.connections_total >= awaited &&
        f->http->connections == NULL) {
        kd_loop_stop(f->loop);
    }
    return KD_LOOP_NO_LIMIT;
}

static void put_target(struct kd_buf *out, const struct kd_route *r) {
    const char *param = r->param == KD_PARAM_SECRET ? FAKE_SECRET
                        : r->param == KD_PARAM_SESSION || r->param == KD_PARAM_HANDSHAKE
                            ? FAKE_SESSION
                            : "k";
    for (const char *at = r->path; *at != '\0'; at++) {
        if (*at == '{') {
            kd_buf_text(out, param);
            at = strchr(at, '}');
        } else {
            kd_buf_u8(out, (uint8_t)*at);
        }
    }
}

// Of the bootstrap server: what says who asks, and the form that he wants.
static void put_device_headers(struct kd_buf *out, uint8_t media, struct kd_bytes proof) {
    if ((media & HAS_PROOF) != 0) {
        kd_buf_text(out, "Authorization: Basic ZDpvbmNl\r\n"); // d:once
    } else if (proof.n > 0) {
        kd_buf_text(out, "Authorization: ");
        for (size_t i = 0; i < proof.n; i++) {
            kd_buf_u8(out, proof.p[i] >= ' ' ? proof.p[i] : ' ');
        }
        kd_buf_text(out, "\r\n");
    }
    kd_buf_text(out, (media & WANTS_CBOR) != 0 ? "Accept: application/cbor\r\n" : "");
}

static void put_request(struct kd_buf *out, const struct kd_route *r, uint8_t media,
                        struct kd_bytes body) {
    const char *const types[] = { "application/json", r->raw == NULL ? "text/plain" : r->raw,
                                  KD_MEDIA_CBOR_SEQUENCE };
    char head[256];
    kd_buf_text(out, r->method);
    kd_buf_u8(out, ' ');
    put_target(out, r);
    kd_buf_text(out, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if (r->is_for_devices) {
        put_device_headers(out, media, r->body == KD_BODY_NONE ? body : KD_BYTES_NONE);
    }
    if (r->body != KD_BODY_NONE) {
        snprintf(head, sizeof(head), "Content-Type: %s\r\nContent-Length: %zu\r\n",
                 types[media % KD_COUNT_OF(types)], body.n);
        kd_buf_text(out, head);
    }
    kd_buf_text(out, "\r\n");
    if (r->body != KD_BODY_NONE) {
        kd_buf_put(out, body.p, body.n);
    }
}

static void stop(void) {
    kd_http_close(callers.http);
    kd_http_close(devices.http);
    callers.http = NULL;
    devices.http = NULL;
    fixture_stop(&callers);
    fixture_stop(&devices);
    pki_wipe(&ca);
}

static void start(void) {
    fixture_init(&callers);
    fixture_init(&devices);
    ca = pki_ca("CA", NULL);
    devices.service.ca = pki_der(&ca);
    devices.config.is_bootstrap = true;
    must(kd_http_open(callers.loop, &callers.service, &callers.config, &callers.http) == KD_OK);
    must(kd_http_open(devices.loop, &devices.service, &devices.config, &devices.http) == KD_OK);
    must(kd_loop_prepare(callers.loop, on_prepare, &callers) == KD_OK);
    must(kd_loop_prepare(devices.loop, on_prepare, &devices) == KD_OK);
    atexit(stop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    kd_auto(buf) struct kd_buf request = KD_BUF_INIT(1 << 20);
    if (n < 2 || n > 65536) {
        return 0;
    }
    if (callers.http == NULL) {
        start();
    }
    const size_t row = data[0] % (kd_route_count() + 1);
    const struct kd_bytes rest = { data + 2, n - 2 };
    if (row == kd_route_count()) {
        kd_buf_put(&request, rest.p, rest.n);
        blurt(data[1] % 2 == 0 ? &callers : &devices, &request);
        return 0;
    }
    const struct kd_route *route = kd_route_at(row);
    put_request(&request, route, data[1], rest);
    tell(route->is_for_devices ? &devices : &callers, &request);
    return 0;
}
