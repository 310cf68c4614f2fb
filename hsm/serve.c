// SPDX-License-Identifier: Apache-2.0
// serve.c: threads that take frames from one stream in turn.  Who holds the read
// lock takes the next whole frame from the buffer, or reads; then he works on it
// while the next one reads.  So there is no queue and no thread to wake that is
// not needed, and with one thread it is a plain loop.  Replies are gathered and
// written together once nothing waits, or when one has waited long enough.
#include "hsm/serve.h"

#include "hsm/exec.h"
#include "hsm/open.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BYTES = 256 * 1024,
    REPLY_WAIT_MAX_US = 100,
    OUT_MAX_BYTES = 64 << 20, // far over what queue-max lets wait
    HELLO_MAX_BYTES = 65536,
};

struct server {
    int fd;
    struct kd_opened *opened;

    pthread_mutex_t read_lock;
    // under read_lock
    struct kd_buf in;
    size_t taken; // of `in`: bytes that are done with
    bool is_ended;
    enum kd_worker_exit reason;

    // A whole frame is left in `in`, so a reply is still to come that can take
    // others along.  Written under read_lock; read under write_lock, at the
    // time of the reply and not of its request: by then the rest may be done.
    atomic_bool is_more;

    pthread_mutex_t write_lock;
    // under write_lock
    struct kd_buf out;
    uint64_t oldest_us; // when the first reply in `out` came
};

struct thread {
    struct server *server;
    struct kd_session *session;
    pthread_t id;
    struct kd_buf frame; // the thread's own copy of the request
    struct kd_buf reply;
};

static void end(struct server *v, enum kd_worker_exit reason) {
    if (!v->is_ended) {
        v->is_ended = true;
        v->reason = reason;
    }
}

// ---- reading, under read_lock ----------------------------------------------

// Reads more; false at the end of the stream.
static bool read_more(struct server *v) {
    kd_buf_drop_front(&v->in, v->taken);
    v->taken = 0;
    const size_t had = v->in.n;
    uint8_t *at = kd_buf_extend(&v->in, READ_BYTES);
    if (at == NULL) {
        end(v, KD_WORKER_EXIT_STREAM);
        return false;
    }
    ssize_t n;
    do {
        n = recv(v->fd, at, READ_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    v->in.n = had + (n > 0 ? (size_t)n : 0);
    if (n <= 0) {
        end(v, n == 0 && had == 0 ? KD_WORKER_EXIT_CLOSED : KD_WORKER_EXIT_STREAM);
        return false;
    }
    return true;
}

static struct kd_bytes unread(const struct server *v) {
    return v->in.n == v->taken ? KD_BYTES_NONE
                               : (struct kd_bytes) { v->in.p + v->taken, v->in.n - v->taken };
}

// The next frame that is whole in the buffer; empty: none.
static struct kd_bytes peek(struct server *v, size_t *size) {
    struct kd_bytes frame = KD_BYTES_NONE;
    if (kd_hsm_frame_next(unread(v), &frame, size) != KD_OK) {
        *size = 0;
    }
    return frame;
}

static bool is_malformed(struct server *v) {
    struct kd_bytes frame;
    size_t size;
    return kd_hsm_frame_next(unread(v), &frame, &size) != KD_OK;
}

// Copies the next frame into `frame`.  False when the server ends.
static bool take_frame(struct server *v, struct kd_buf *frame) {
    bool got = false;
    pthread_mutex_lock(&v->read_lock);
    while (!v->is_ended && !got) {
        size_t size = 0;
        const struct kd_bytes next = peek(v, &size);
        if (size > 0) {
            kd_buf_reset(frame);
            kd_buf_put(frame, next.p, next.n);
            v->taken += size;
            got = kd_buf_finish(frame) == KD_OK;
            if (!got) {
                end(v, KD_WORKER_EXIT_STREAM);
            }
        } else if (is_malformed(v)) {
            end(v, KD_WORKER_EXIT_STREAM);
        } else if (!read_more(v)) {
            break;
        }
    }
    size_t waiting = 0;
    if (got) {
        peek(v, &waiting);
    }
    atomic_store(&v->is_more, waiting > 0);
    pthread_mutex_unlock(&v->read_lock);
    return got;
}

// ---- writing ---------------------------------------------------------------

static bool write_all(int fd, const uint8_t *p, size_t n) {
    while (n > 0) {
        const ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return false;
        }
        p += sent > 0 ? (size_t)sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

// Replies may hold plaintexts and released values.
static bool flush(struct server *v) {
    const bool ok = write_all(v->fd, v->out.p, v->out.n);
    kd_wipe(v->out.p, v->out.n);
    kd_buf_reset(&v->out);
    return ok;
}

static bool put_reply(struct server *v, struct kd_buf *reply, bool is_last) {
    const uint64_t now = kd_clock_mono_us();
    pthread_mutex_lock(&v->write_lock);
    if (v->out.n == 0) {
        v->oldest_us = now;
    }
    kd_buf_put(&v->out, reply->p, reply->n);
    bool ok = kd_buf_finish(&v->out) == KD_OK;
    if (ok && (is_last || !atomic_load(&v->is_more) || now - v->oldest_us > REPLY_WAIT_MAX_US)) {
        ok = flush(v);
    }
    pthread_mutex_unlock(&v->write_lock);
    kd_wipe(reply->p, reply->n);
    kd_buf_reset(reply);
    return ok;
}

// ---- requests --------------------------------------------------------------

// The whole status: it takes the place of the one before it.
static void answer_ping(struct thread *t, struct kd_bytes frame) {
    struct server *v = t->server;
    struct kd_reader in = kd_reader_of(frame);
    struct kd_hsm_request q;
    struct kd_hsm_status status;
    if (kd_hsm_get_request(&in, &q) != KD_OK || kd_reader_finish(&in) != KD_OK) {
        return;
    }
    const size_t start = kd_hsm_frame_begin(&t->reply);
    pthread_mutex_lock(&v->write_lock); // the texts are in buffers that all threads share
    kd_open_status(v->opened, KD_OK, &status);
    kd_hsm_put_status(&t->reply, q.id, &status);
    pthread_mutex_unlock(&v->write_lock);
    kd_hsm_frame_end(&t->reply, start);
}

// What can be done when the answer has been sent.
static void tidy(struct kd_session *s) {
    if (kd_session_try_enter(s)) {
        kd_traffic_cache_make_room(s);
        kd_session_leave(s);
    }
}

// No other request may come for long; but a ping does not wait for a hung thread.
static void expire(struct kd_session *s) {
    if (kd_session_try_enter(s)) {
        kd_handshakes_expire(s);
        kd_traffic_cache_expire(s);
        kd_session_leave(s);
    }
}

static enum kd_err answer(struct thread *t) {
    const struct kd_bytes frame = kd_buf_get(&t->frame);
    if (frame.n > 0 && frame.p[0] == KD_HSM_PING) {
        expire(t->session);
        const enum kd_err r = kd_session_check(t->session);
        if (r != KD_OK) {
            return r; // no answer: this worker ends, and the next one says why it cannot start
        }
        answer_ping(t, frame);
        return t->reply.n > 0 ? KD_OK : KD_ERR_MALFORMED;
    }
    return kd_exec_request(t->session, frame, &t->reply);
}

static void *run(void *arg) {
    struct thread *t = arg;
    struct server *v = t->server;
    while (take_frame(v, &t->frame)) {
        const enum kd_err r = answer(t);
        kd_wipe(t->frame.p, t->frame.n);
        const bool is_last = r != KD_OK;
        const bool sent = put_reply(v, &t->reply, is_last);
        if (is_last || !sent) {
            // Also wakes a thread that waits in recv.
            shutdown(v->fd, SHUT_RD);
            pthread_mutex_lock(&v->read_lock);
            v->is_ended = false; // our reason is better than the end of the stream
            end(v, r == KD_ERR_TOKEN_AWAY ? KD_WORKER_EXIT_RENEW : KD_WORKER_EXIT_STREAM);
            pthread_mutex_unlock(&v->read_lock);
            break;
        }
        tidy(t->session);
    }
    return NULL;
}

static void run_threads(struct server *v) {
    const size_t n = v->opened->threads;
    struct thread *threads = calloc(n, sizeof(*threads));
    if (threads == NULL) {
        end(v, KD_WORKER_EXIT_STREAM);
        return;
    }
    size_t started = 0;
    for (size_t i = 0; i < n; i++) {
        threads[i] = (struct thread) { .server = v,
                                       .session = &v->opened->sessions[i],
                                       .frame = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES),
                                       .reply = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES + 4) };
    }
    // This thread is the first of them.
    for (size_t i = 1; i < n; i++, started++) {
        if (pthread_create(&threads[i].id, NULL, run, &threads[i]) != 0) {
            kd_log(KD_LOG_WARN, "worker", "a thread could not be started", "threads=%zu", i);
            break;
        }
    }
    run(&threads[0]);
    for (size_t i = 1; i <= started; i++) {
        pthread_join(threads[i].id, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        kd_buf_wipe(&threads[i].frame);
        kd_buf_wipe(&threads[i].reply);
    }
    free(threads);
}

// ---- hello -----------------------------------------------------------------

static bool send_status(struct server *v, enum kd_err err) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(HELLO_MAX_BYTES);
    struct kd_hsm_status status;
    kd_open_status(v->opened, err, &status);
    const size_t start = kd_hsm_frame_begin(&out);
    kd_hsm_put_status(&out, 0, &status);
    kd_hsm_frame_end(&out, start);
    return kd_buf_finish(&out) == KD_OK && write_all(v->fd, out.p, out.n);
}

// What was not answered is for a worker that logs in after this: the others may
// have lost their logins, too.
static void send_last_words(struct server *v) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(HELLO_MAX_BYTES);
    const struct kd_hsm_status status = { .err = KD_ERR_SESSION_LOST };
    const size_t start = kd_hsm_frame_begin(&out);
    kd_hsm_put_status(&out, 0, &status);
    kd_hsm_frame_end(&out, start);
    if (kd_buf_finish(&out) == KD_OK) {
        (void)write_all(v->fd, out.p, out.n);
    }
}

static enum kd_worker_exit serve(struct server *v) {
    kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(HELLO_MAX_BYTES);
    struct kd_hsm_hello hello;
    if (!take_frame(v, &frame)) {
        return v->reason;
    }
    struct kd_reader in = kd_reader_of(kd_buf_get(&frame));
    if (kd_hsm_get_hello(&in, &hello) != KD_OK) {
        return KD_WORKER_EXIT_STREAM;
    }
    const enum kd_err r = kd_open(&hello, true, v->opened);
    if (r != KD_OK) {
        kd_log(KD_LOG_ERROR, "worker", "the token cannot be used", "error=%s detail=%s",
               kd_err_name(r), kd_buf_get_text(&v->opened->detail));
    }
    if (!send_status(v, r) || r != KD_OK) {
        kd_close(v->opened);
        return r == KD_OK ? KD_WORKER_EXIT_STREAM : KD_WORKER_EXIT_REFUSED;
    }
    run_threads(v);
    const bool is_login_lost = kd_session_login_is_lost(&v->opened->sessions[0]);
    kd_close(v->opened);
    if (is_login_lost) {
        send_last_words(v);
    }
    return v->reason;
}

enum kd_worker_exit kd_serve(int fd) {
    struct kd_opened *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return KD_WORKER_EXIT_STREAM;
    }
    struct server v = { .fd = fd,
                        .opened = opened,
                        .read_lock = PTHREAD_MUTEX_INITIALIZER,
                        .in = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES + 2 * READ_BYTES),
                        .write_lock = PTHREAD_MUTEX_INITIALIZER,
                        .out = KD_BUF_INIT(OUT_MAX_BYTES) };
    const enum kd_worker_exit reason = serve(&v);
    kd_wipe(v.in.p, v.in.n);
    kd_buf_wipe(&v.in);
    kd_buf_wipe(&v.out);
    free(opened);
    return reason;
}
