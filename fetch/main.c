// SPDX-License-Identifier: Apache-2.0
// main.c: keyd-fetch.  keyd is at the other end of descriptor 3: it says what may be fetched,
// then asks for URIs.  The process has neither token nor store, and ends with its stream.
#include "fetch/get.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEYD_FD = 3, READ_BYTES = 8192 };

struct server {
    struct kd_buf in;
    struct kd_getter *getter;
    // So that nothing is lost without memory: what was read, and an answer.
    uint8_t read[4 * READ_BYTES];
    uint8_t frame[KD_FETCH_FRAME_MAX_BYTES];
};

static bool is_child(void) {
    int type = 0;
    socklen_t n = sizeof(type);
    return getsockopt(KEYD_FD, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

// Keyd reads all the time, so the socket has room before long.
static void send_answer(void *server, const struct kd_fetch_answer *answer) {
    struct server *s = server;
    struct kd_buf out = KD_BUF_OVER(s->frame);
    kd_fetch_put_answer(&out, answer);
    size_t sent = 0;
    while (kd_buf_finish(&out) == KD_OK && sent < out.n) {
        const ssize_t n = send(KEYD_FD, out.p + sent, out.n - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            _exit(EXIT_SUCCESS); // keyd has gone
        }
        sent += n > 0 ? (size_t)n : 0;
    }
}

// What is there.  KD_ERR_STOPPING: keyd has gone.
static enum kd_err read_more(struct kd_buf *in, int flags) {
    uint8_t *to = kd_buf_extend(in, READ_BYTES);
    if (to == NULL) {
        return kd_buf_finish(in);
    }
    in->n -= READ_BYTES;
    const ssize_t n = recv(KEYD_FD, to, READ_BYTES, flags);
    if (n > 0) {
        in->n += (size_t)n;
        return KD_OK;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? KD_OK : KD_ERR_STOPPING;
}

static enum kd_err take_requests(struct server *s) {
    struct kd_bytes frame;
    size_t n = 0;
    enum kd_err r;
    while ((r = kd_fetch_next_frame(kd_buf_get(&s->in), KD_FETCH_URI_MAX_BYTES + 8, &frame, &n)) ==
               KD_OK &&
           n > 0) {
        struct kd_fetch_request q;
        if ((r = kd_fetch_get_request(frame, &q)) != KD_OK) {
            return r;
        }
        kd_getter_begin(s->getter, &q);
        kd_buf_drop_front(&s->in, n);
    }
    return r;
}

// `kept` has the bytes that the hello borrows.
static enum kd_err read_hello(struct kd_buf *kept, struct kd_fetch_hello *hello, size_t *n) {
    struct kd_bytes frame = KD_BYTES_NONE;
    while (*n == 0) {
        enum kd_err r = read_more(kept, 0);
        if (r != KD_OK || (r = kd_fetch_next_frame(kd_buf_get(kept), KD_FETCH_HELLO_MAX_BYTES,
                                                   &frame, n)) != KD_OK) {
            return r;
        }
    }
    return kd_fetch_get_hello(frame, hello);
}

static enum kd_err serve(struct server *s) {
    for (;;) {
        bool is_readable = false;
        enum kd_err r = kd_getter_run(s->getter, KEYD_FD, &is_readable);
        if (r != KD_OK) {
            return r;
        }
        if ((is_readable && (r = read_more(&s->in, MSG_DONTWAIT)) != KD_OK) ||
            (r = take_requests(s)) != KD_OK) {
            return r;
        }
    }
}

static enum kd_err run(void) {
    kd_auto(buf) struct kd_buf kept = KD_BUF_INIT(KD_FETCH_HELLO_MAX_BYTES + READ_BYTES + 8);
    struct server s = { .getter = NULL };
    struct kd_fetch_hello hello;
    size_t n = 0;
    enum kd_err r = read_hello(&kept, &hello, &n);
    s.in = KD_BUF_OVER(s.read);
    if (r == KD_OK) {
        kd_buf_put(&s.in, kept.p + n, kept.n - n); // requests that came with it
        r = kd_buf_finish(&s.in);
    }
    if (r == KD_OK && (r = kd_getter_new(&hello, send_answer, &s, &s.getter)) == KD_OK &&
        (r = kd_confine_calls(KD_CONFINE_CLIENT)) == KD_OK && (r = take_requests(&s)) == KD_OK) {
        r = serve(&s);
    }
    kd_getter_free(s.getter);
    return r == KD_ERR_STOPPING ? KD_OK : r;
}

int main(int argc, char **argv KD_UNUSED) {
    if (argc != 1 || !is_child()) {
        fputs("keyd-fetch is started by keyd; see keyd.conf(5), section fetch.\n", stderr);
        return 2;
    }
    kd_log_open();
    // No environment: the variables of curl and of the resolver are none of ours.
    enum kd_err r = clearenv() == 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 ? kd_confine_process()
                                                                             : KD_ERR_SYSTEM;
    if (r == KD_OK && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) {
        r = run();
    }
    if (r != KD_OK) {
        kd_log(KD_LOG_ERROR, "fetch", "the process ends", "error=%s", kd_err_name(r));
    }
    // Without the handlers of exit: they may want calls that are not allowed any more.
    _exit(r == KD_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}
