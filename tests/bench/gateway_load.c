// SPDX-License-Identifier: Apache-2.0
// gateway_load.c: frames of devices over TCP connections that are there already, so many of each
// in flight until all are answered; prints what was counted as JSON.  The benchmark has made the
// connections, their sessions and the frames.
//     gateway_load FILE IN-FLIGHT DESCRIPTOR...
// FILE: for each descriptor its frames as they are sent, after the length of them all (4 bytes,
// big-endian).  The ids of one connection's frames follow each other.
#include "client/histogram.h"
#include "tests/bench/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 4096,
    IN_FLIGHT_MAX = 1024,
    READ_BYTES = 65536,
    LENGTH_BYTES = 4,
    HEAD_BYTES = 5, // kind and id
    FAILURE = 0xff,
    SILENCE_MS = 60000,
};

struct connection {
    int fd;
    struct kd_reader waiting; // frames
    uint32_t first_id;
    size_t n;          // frames in all
    uint64_t *sent_us; // of each
    size_t n_sent, n_answered;
    size_t n_got;
    uint8_t got[READ_BYTES];
};

static struct kd_histogram latencies;

static _Noreturn void end(const char *why) {
    fprintf(stderr, "gateway_load: %s\n", why);
    exit(EXIT_FAILURE);
}

static uint32_t id_of(const uint8_t *frame) {
    struct kd_reader in = { frame + 1, HEAD_BYTES - 1, false };
    return kd_read_u32(&in);
}

static void prepare(struct connection *c, int fd, struct kd_bytes frames) {
    c->fd = fd;
    c->waiting = kd_reader_of(frames);
    struct kd_reader in = c->waiting;
    for (; in.n > 0; c->n++) {
        const struct kd_bytes frame = kd_read_block32(&in);
        if (in.failed || frame.n < HEAD_BYTES) {
            end("the file is not as it should be");
        }
        c->first_id = c->n == 0 ? id_of(frame.p) : c->first_id;
    }
    if ((c->sent_us = calloc(c->n + 1, sizeof(*c->sent_us))) == NULL) {
        end("there is not enough memory");
    }
}

// The next frames, as far as there are any; those of one connection stand together.
static void send_next(struct connection *c, size_t n) {
    const uint8_t *begin = c->waiting.p;
    const uint64_t now = kd_clock_mono_us();
    for (; n > 0 && c->waiting.n > 0; n--) {
        (void)kd_read_block32(&c->waiting);
        c->sent_us[c->n_sent++] = now;
    }
    while (begin < c->waiting.p) {
        const ssize_t sent = send(c->fd, begin, (size_t)(c->waiting.p - begin), MSG_NOSIGNAL);
        if (sent <= 0) {
            end("the gateway takes nothing more");
        }
        begin += sent;
    }
}

static void take_answer(struct connection *c, struct kd_bytes frame) {
    const size_t i = frame.n < HEAD_BYTES ? c->n : id_of(frame.p) - c->first_id;
    if (i >= c->n_sent || c->sent_us[i] == 0 || frame.p[0] == FAILURE) {
        end("an answer is a failure, or of nothing that was asked");
    }
    kd_histogram_add(&latencies, kd_clock_mono_us() - c->sent_us[i]);
    c->sent_us[i] = 0;
    c->n_answered++;
}

static size_t receive(struct connection *c) {
    const size_t before = c->n_answered;
    const ssize_t n = recv(c->fd, c->got + c->n_got, sizeof(c->got) - c->n_got, 0);
    if (n <= 0) {
        end("the gateway has closed a connection");
    }
    c->n_got += (size_t)n;
    struct kd_reader in = { c->got, c->n_got, false };
    while (in.n >= LENGTH_BYTES) {
        struct kd_reader whole = in;
        const struct kd_bytes frame = kd_read_block32(&whole);
        if (whole.failed) {
            break;
        }
        take_answer(c, frame);
        in = whole;
    }
    c->n_got = in.n;
    memmove(c->got, in.p, in.n);
    send_next(c, c->n_answered - before);
    return c->n_answered - before;
}

static void run(struct connection *all, size_t n, size_t in_flight) {
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &all[i] };
        left += all[i].n;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event) != 0) {
            end("epoll");
        }
    }
    const size_t total = left;
    const uint64_t begin = kd_clock_mono_us();
    for (size_t i = 0; i < n; i++) {
        send_next(&all[i], in_flight);
    }
    while (left > 0) {
        struct epoll_event events[256];
        const int ready = epoll_wait(epoll, events, 256, SILENCE_MS);
        if (ready <= 0) {
            end("no answer came for a minute");
        }
        for (int i = 0; i < ready; i++) {
            left -= receive(events[i].data.ptr);
        }
    }
    printf("{\"answers\": %zu, \"elapsed_us\": %llu, \"p50_us\": %u, \"p99_us\": %u}\n", total,
           (unsigned long long)(kd_clock_mono_us() - begin), kd_histogram_at(&latencies, 500),
           kd_histogram_at(&latencies, 990));
    close(epoll);
}

int main(int argc, char **argv) {
    kd_auto(buf) struct kd_buf file = KD_BUF_INIT(INPUT_MAX_BYTES);
    static struct connection *all;
    uint64_t in_flight;
    if (argc < 4 || argc > 3 + CONNECTIONS_MAX ||
        kd_number_parse(argv[2], 1, IN_FLIGHT_MAX, &in_flight) != KD_OK) {
        end("usage: gateway_load FILE IN-FLIGHT DESCRIPTOR...");
    }
    if (!input_read(argv[1], &file)) {
        end("the file cannot be read");
    }
    const size_t n = (size_t)argc - 3;
    if ((all = calloc(n, sizeof(*all))) == NULL) {
        end("there is not enough memory");
    }
    struct kd_reader in = kd_reader_of(kd_buf_get(&file));
    for (size_t i = 0; i < n; i++) {
        uint64_t fd;
        if (kd_number_parse(argv[3 + i], 0, INT32_MAX, &fd) != KD_OK) {
            end("a descriptor is a number");
        }
        prepare(&all[i], (int)fd, kd_read_block32(&in));
    }
    run(all, n, (size_t)in_flight);
    for (size_t i = 0; i < n; i++) {
        free(all[i].sent_us);
    }
    free(all);
    return EXIT_SUCCESS;
}
