// SPDX-License-Identifier: Apache-2.0
// fuzz_listen.c: what anybody sends to the gateway's sockets: a stream over TCP in pieces,
// datagrams, and HTTP to devices' address, to the backend's for pushes and to the admin's.  The
// first byte says which socket and what keyd answers; then follow the pieces, each with its length
// before it.  Whatever they are, what comes back is whole frames, or HTTP, no more of them than
// were asked for, and nothing is left of who has gone.
#include "fuzz.h"

#include "tests/unit/fake_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum socket_kind { TCP, UDP, DEVICES, PUSH, ADMIN, KINDS };
enum { ROUNDS = 6, PIECES_MAX = 16, ANSWER_MAX_BYTES = 1 << 18 };

static struct fake_gateway f;
static struct sockaddr_in addresses[KINDS];
static struct kd_timer *rounds;
static unsigned rounds_left, status;
static uint8_t answer[ANSWER_MAX_BYTES];

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

// ---- the gateway, once -----------------------------------------------------

static uint64_t answer_all(void *arg KD_UNUSED) {
    while (fake_client_first() != NULL) {
        fake_client_answer(status, KD_BYTES_NONE);
    }
    return KD_LOOP_NO_LIMIT;
}

static uint64_t is_asked(void *arg KD_UNUSED) {
    return fake_client_first() != NULL ? 0 : KD_LOOP_NO_LIMIT;
}

static void on_round(void *arg KD_UNUSED) {
    if (rounds_left-- == 0) {
        kd_loop_stop(f.g.loop);
    } else {
        kd_timer_set(rounds, 0);
    }
}

static const char *place(enum socket_kind kind, char out[static 64]) {
    addresses[kind] = fake_free_address();
    snprintf(out, 64, "127.0.0.1:%u", ntohs(addresses[kind].sin_port));
    return out;
}

static void open_gateway(void) {
    char where[64];
    kd_log_set_level(KD_LOG_ERROR);
    must(fake_gateway_open(&f) == KD_OK);
    f.config.connections_max = 8;
    f.config.in_flight_max = 4;
    f.config.unsent_max_bytes = 70000;
    f.config.idle_timeout_ms = 300000;
    f.config.frame_timeout_ms = 30000;
    f.config.datagram_max_bytes = KD_FRAME_DATAGRAM_MAX_BYTES;
    f.config.answers_max = 64;
    f.config.answers_for_ms = 20000;
    f.config.push_token_file = "";
    f.g.n_tcp = f.g.n_udp = f.g.n_web = 1;
    must(kd_loop_prepare(f.g.loop, answer_all, NULL) == KD_OK);
    must(kd_tcp_open(&f.g, place(TCP, where), &f.g.tcp[0]) == KD_OK);
    must(kd_udp_open(&f.g, place(UDP, where), &f.g.udp[0]) == KD_OK);
    must(kd_web_open(&f.g, place(DEVICES, where), KD_WEB_DEVICES, &f.g.web[0]) == KD_OK);
    must(kd_web_open(&f.g, place(PUSH, where), KD_WEB_PUSH, &f.g.push) == KD_OK);
    must(kd_web_open(&f.g, place(ADMIN, where), KD_WEB_ADMIN, &f.g.admin) == KD_OK);
    must(kd_loop_prepare(f.g.loop, is_asked, NULL) == KD_OK);
    must(kd_timer_new(f.g.loop, on_round, NULL, &rounds) == KD_OK);
}

static void run(void) {
    rounds_left = ROUNDS;
    kd_timer_set(rounds, 0);
    must(kd_loop_run(f.g.loop) == KD_OK);
}

// ---- what came back --------------------------------------------------------

static bool is_answer(struct kd_bytes bytes) {
    struct kd_frame frame;
    struct kd_failure_body why;
    return kd_frame_parse(bytes, &frame) == KD_OK && frame.role != KD_FRAME_REQUEST &&
           (frame.role != KD_FRAME_FAILURE || kd_failure_parse(frame.body, &why) == KD_OK);
}

// Frames with their lengths before them, of which the last may be a part.  How many are whole.
static size_t count_frames(struct kd_bytes stream, bool are_answers, bool *is_bad) {
    struct kd_reader r = kd_reader_of(stream);
    size_t count = 0;
    *is_bad = false;
    while (r.n >= KD_FRAME_LENGTH_BYTES) {
        const uint32_t n = kd_read_u32(&r);
        *is_bad = n < KD_FRAME_HEAD_BYTES || n > KD_FRAME_MAX_BYTES;
        if (*is_bad || r.n < n) {
            break;
        }
        const struct kd_bytes frame = kd_read_bytes(&r, n);
        must(!are_answers || is_answer(frame));
        count++;
    }
    return count;
}

static void check_stream(struct kd_bytes sent, struct kd_bytes got) {
    bool is_refused, is_bad;
    const size_t n = count_frames(sent, false, &is_refused);
    must(count_frames(got, true, &is_bad) <= n + is_refused && !is_bad);
}

static void check_http(struct kd_bytes got) {
    static const char head[] = "HTTP/1.1 ";
    must(got.n == 0 || (got.n > sizeof(head) && memcmp(got.p, head, sizeof(head) - 1) == 0));
    must(got.n == 0 || memcmp(got.p + sizeof(head) - 1, "500", 3) != 0);
}

// ---- who sends -------------------------------------------------------------

static size_t receive(int fd, enum socket_kind kind, size_t had) {
    for (ssize_t n; had < sizeof(answer);) {
        n = recv(fd, answer + had, sizeof(answer) - had, MSG_DONTWAIT);
        if (n <= 0) {
            break;
        }
        must(kind != UDP || is_answer((struct kd_bytes) { answer, (size_t)n }));
        had += kind == UDP ? 0 : (size_t)n;
    }
    return had;
}

static void talk(int fd, enum socket_kind kind, struct kd_reader *in) {
    kd_auto(buf) struct kd_buf sent = KD_BUF_INIT(1 << 20);
    size_t n_got = 0;
    for (int i = 0; i < PIECES_MAX && in->n > 0; i++) {
        const size_t n = kd_read_u16(in);
        const struct kd_bytes piece = kd_read_bytes(in, n < in->n ? n : in->n);
        kd_buf_put(&sent, piece.p, piece.n);
        if (piece.n > 0) {
            (void)send(fd, piece.p, piece.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        run();
        n_got = receive(fd, kind, n_got);
    }
    const struct kd_bytes got = { answer, n_got };
    if (kind == TCP) {
        check_stream(kd_buf_get(&sent), got);
    } else if (kind != UDP) {
        check_http(got);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const unsigned statuses[] = { 0, 200, 404, 422, 503 };
    const struct linger now = { .l_onoff = 1 }; // no port waits after it
    if (n == 0 || n > 65536) {
        return 0;
    }
    if (f.g.loop == NULL) {
        open_gateway();
    }
    const enum socket_kind kind = data[0] % KINDS;
    status = statuses[data[0] / KINDS % KD_COUNT_OF(statuses)];
    struct kd_reader in = kd_reader_of((struct kd_bytes) { data + 1, n - 1 });
    const int fd = socket(AF_INET, (kind == UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&addresses[kind], sizeof(addresses[kind])) == 0) {
        talk(fd, kind, &in);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
    run();
    must(f.g.pending == 0);
    return 0;
}
