// SPDX-License-Identifier: Apache-2.0
// worker.c: one worker process.  Requests leave straight from their own
// buffers, many with one call; replies are read in large pieces.
#include "keyd/worker.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    READ_BYTES = 256 * 1024,
    IN_KEEP_BYTES = 1024 * 1024, // a larger buffer goes back to the heap when empty
    IN_MAX_BYTES = KD_HSM_FRAME_MAX_BYTES + 4 + READ_BYTES,
    SEND_FRAMES = 256,      // by one call
    DISMISS_MS = 2000,      // for a worker to end by itself
    LOGIN_GRACE_MS = 10000, // the same, where its login may be under way
};

// ---- lists of calls --------------------------------------------------------

void kd_call_list_add(struct kd_call_list *l, struct kd_call *c) {
    c->next = NULL;
    c->prev = l->last;
    if (l->last == NULL) {
        l->first = c;
    } else {
        l->last->next = c;
    }
    l->last = c;
    l->n++;
}

void kd_call_list_remove(struct kd_call_list *l, struct kd_call *c) {
    *(c->prev == NULL ? &l->first : &c->prev->next) = c->next;
    *(c->next == NULL ? &l->last : &c->next->prev) = c->prev;
    c->next = NULL;
    c->prev = NULL;
    l->n--;
}

// ---- its end ---------------------------------------------------------------

static void close_stream(struct kd_worker *w) {
    kd_watch_free(w->io);
    w->io = NULL;
    if (w->child.fd >= 0) {
        close(w->child.fd);
        w->child.fd = -1;
    }
    w->unsent = NULL;
    w->sent = 0;
    w->wants_write = false;
    w->watches_write = false;
}

// The end of its input, for one whose login may be under way: SoftHSM writes the
// token's file at each login, and one that is killed at that moment leaves an
// empty file, and the token is lost.  What it says of the login is still read,
// by read_last_words: a PIN that was refused must be known.
static void ask_to_end(struct kd_worker *w) {
    kd_watch_free(w->io);
    w->io = NULL;
    shutdown(w->child.fd, SHUT_WR);
    w->kill_ms = kd_clock_mono_ms() + LOGIN_GRACE_MS;
}

void kd_worker_give_up(struct kd_worker *w, const char *why) {
    const enum kd_process_state was = w->state;
    if (was == KD_PROCESS_DOWN || was == KD_PROCESS_ENDING) {
        return;
    }
    kd_log(KD_LOG_WARN, "workers", "a worker is given up", "worker=%u pid=%d in_flight=%zu why=%s",
           w->index, (int)w->child.pid, w->calls.n, why);
    w->state = KD_PROCESS_ENDING;
    kd_workers_on_loss(w, was); // still knows from `unsent` what has not left
    if (was == KD_PROCESS_STARTING) {
        ask_to_end(w);
    } else { // workers log in before they are ready, and never again
        kd_starter_kill(&w->child);
        close_stream(w);
    }
}

uint64_t kd_worker_tend_end(struct kd_worker *w, uint64_t now) {
    if (w->state != KD_PROCESS_ENDING || w->kill_ms == 0) {
        return KD_LOOP_NO_LIMIT;
    }
    if (w->kill_ms > now) {
        return w->kill_ms - now;
    }
    kd_log(KD_LOG_WARN, "workers", "a worker that hangs in its login is killed", "worker=%u pid=%d",
           w->index, (int)w->child.pid);
    kd_starter_kill(&w->child);
    w->kill_ms = 0;
    return KD_LOOP_NO_LIMIT;
}

static void reap(struct kd_worker *w, bool waits) {
    int status = 0;
    const bool is_known = kd_starter_reap(&w->child, waits, &status);
    if (is_known && WIFSIGNALED(status)) {
        kd_log(KD_LOG_INFO, "workers", "a worker has ended", "worker=%u pid=%d signal=%d", w->index,
               (int)w->child.pid, WTERMSIG(status));
    } else if (is_known) {
        kd_log(KD_LOG_INFO, "workers", "a worker has ended", "worker=%u pid=%d exit=%d", w->index,
               (int)w->child.pid, WEXITSTATUS(status));
    }
    close_stream(w);
    kd_watch_free(w->exit);
    w->exit = NULL;
    close(w->child.pid_fd);
    w->child = (struct kd_child) { .pid_fd = -1, .fd = -1 };
    w->kill_ms = 0;
    w->state = KD_PROCESS_DOWN;
}

// ---- replies ---------------------------------------------------------------

static bool take_frame(struct kd_worker *w, struct kd_bytes frame) {
    struct kd_reader r = kd_reader_of(frame);
    const uint32_t id = kd_read_u32(&r);
    w->seen_ms = kd_clock_mono_ms();
    if (id == 0) {
        return kd_workers_on_status(w, id, frame);
    }
    struct kd_call *c = kd_workers_find(w, id);
    if (c == NULL) {
        return false;
    }
    if (c->op == KD_HSM_PING) {
        return kd_workers_on_status(w, id, frame);
    }
    return kd_workers_on_reply(w, c, frame);
}

// All whole frames of the input.  A callback may give the worker up.
static void take_frames(struct kd_worker *w) {
    size_t at = 0;
    while (w->state != KD_PROCESS_ENDING) {
        const struct kd_bytes rest = { w->in.p + at, w->in.n - at };
        struct kd_bytes frame;
        size_t taken = 0;
        if (kd_hsm_frame_next(rest, &frame, &taken) != KD_OK) {
            kd_worker_give_up(w, "it sent a frame over the limit");
            return;
        }
        if (taken == 0) {
            break;
        }
        at += taken;
        if (!take_frame(w, frame)) {
            kd_worker_give_up(w, "it sent a message that is not well formed");
            return;
        }
    }
    kd_buf_drop_front(&w->in, at);
    if (w->in.n == 0 && w->in.cap > IN_KEEP_BYTES) {
        kd_buf_wipe(&w->in);
    }
}

// One read.  False: nothing came.
static bool read_some(struct kd_worker *w) {
    const size_t before = w->in.n;
    uint8_t *at = kd_buf_extend(&w->in, READ_BYTES);
    if (at == NULL) {
        kd_worker_give_up(w, "there is no memory for its answer");
        return false;
    }
    const ssize_t got = read(w->child.fd, at, READ_BYTES);
    const int error = errno;
    w->in.n = before + (got > 0 ? (size_t)got : 0);
    if (got > 0) {
        take_frames(w);
        return true;
    }
    if (got == 0 || (error != EAGAIN && error != EINTR)) {
        kd_worker_give_up(w, "it has closed its socket");
    }
    return false;
}

// What a worker that was asked to end has said of its login: its only frame.
static void read_last_words(struct kd_worker *w) {
    struct kd_bytes frame = KD_BYTES_NONE;
    size_t taken = 0;
    uint8_t *at = w->child.fd < 0 ? NULL : kd_buf_extend(&w->in, READ_BYTES);
    if (at == NULL) {
        return;
    }
    w->in.n -= READ_BYTES;
    const ssize_t got = recv(w->child.fd, at, READ_BYTES, MSG_DONTWAIT);
    w->in.n += got > 0 ? (size_t)got : 0;
    if (kd_hsm_frame_next(kd_buf_get(&w->in), &frame, &taken) == KD_OK && taken > 0) {
        kd_workers_on_last_words(w, frame);
    }
}

void kd_worker_dismiss(struct kd_worker *w) {
    assert(w->calls.n == 0);
    if (w->state == KD_PROCESS_STARTING) {
        w->state = KD_PROCESS_ENDING;
        ask_to_end(w);
    } else if (w->kill_ms == 0) {
        close_stream(w); // it reads the end of its input and closes its sessions
    }
}

static bool has_ended(const struct kd_worker *w, uint64_t until_ms) {
    struct pollfd ended = { .fd = w->child.pid_fd, .events = POLLIN };
    for (;;) {
        const uint64_t now = kd_clock_mono_ms();
        const int n = poll(&ended, 1, until_ms > now ? (int)(until_ms - now) : 0);
        if (n >= 0 || errno != EINTR) {
            return n == 1;
        }
    }
}

static void wait_for_end(struct kd_worker *w, uint64_t until_ms) {
    if (!has_ended(w, until_ms)) {
        kd_starter_kill(&w->child);
    }
    read_last_words(w);
    reap(w, true);
}

void kd_worker_wipe(struct kd_worker *w) {
    if (w->state != KD_PROCESS_DOWN) {
        wait_for_end(w, w->kill_ms != 0 ? w->kill_ms : kd_clock_mono_ms() + DISMISS_MS);
    }
    kd_buf_wipe(&w->in);
}

static void on_io(void *worker, uint32_t events) {
    struct kd_worker *w = worker;
    if ((events & EPOLLOUT) != 0 && w->wants_write) {
        w->wants_write = false;
        kd_worker_flush(w);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && w->state != KD_PROCESS_ENDING) {
        (void)read_some(w);
    }
}

static void on_exit_seen(void *worker, uint32_t events KD_UNUSED) {
    struct kd_worker *w = worker;
    // What it said before it ended counts: the reason, perhaps.
    while (w->state != KD_PROCESS_ENDING && read_some(w)) {
    }
    kd_worker_give_up(w, "it has ended");
    read_last_words(w);
    reap(w, false);
    kd_workers_on_down(w);
}

// ---- requests --------------------------------------------------------------

// The frames that are not sent yet, as many as one call takes.
static size_t gather(const struct kd_worker *w, struct iovec *out) {
    size_t n = 0;
    size_t skip = w->sent;
    for (struct kd_call *c = w->unsent; c != NULL && n < SEND_FRAMES; c = c->next) {
        out[n++] = (struct iovec) { .iov_base = c->frame.p + skip, .iov_len = c->frame.n - skip };
        skip = 0;
    }
    return n;
}

static void count_sent(struct kd_worker *w, size_t n) {
    while (n > 0) {
        const size_t left = w->unsent->frame.n - w->sent;
        if (n < left) {
            w->sent += n;
            return;
        }
        n -= left;
        w->unsent->is_sent = true;
        w->unsent = w->unsent->next;
        w->sent = 0;
    }
}

// Sends what has been added, as far as the socket takes it.
static enum kd_err send_unsent(struct kd_worker *w) {
    struct iovec frames[SEND_FRAMES];
    w->n_gathered = 0;
    while (w->unsent != NULL && !w->wants_write) {
        const struct msghdr message = { .msg_iov = frames, .msg_iovlen = gather(w, frames) };
        const ssize_t sent = sendmsg(w->child.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            count_sent(w, (size_t)sent);
        } else if (errno == EAGAIN) {
            w->wants_write = true;
        } else if (errno == EPIPE) {
            return KD_OK; // it ends, and what it says until then is still to be read
        } else if (errno != EINTR) {
            return KD_ERR_SYSTEM;
        }
    }
    return KD_OK;
}

void kd_worker_add(struct kd_worker *w, struct kd_call *c) {
    c->worker = w;
    c->is_sent = false;
    kd_call_list_add(&w->calls, c);
    if (w->unsent == NULL) {
        w->unsent = c;
        w->sent = 0;
    }
    w->n_gathered += c->n_items;
    if (w->n_gathered >= KD_WORKER_GATHER_ITEMS) {
        (void)send_unsent(w); // kd_worker_flush meets the same error, and gives it up
    }
}

void kd_worker_flush(struct kd_worker *w) {
    if (send_unsent(w) != KD_OK) {
        kd_worker_give_up(w, "it does not take requests");
        return;
    }
    if (w->wants_write == w->watches_write) {
        return;
    }
    w->watches_write = w->wants_write;
    if (kd_watch_set(w->io, w->wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN) != KD_OK) {
        kd_worker_give_up(w, "its socket cannot be watched");
    }
}

// ---- its start -------------------------------------------------------------

static enum kd_err watch(struct kd_worker *w) {
    enum kd_err r = kd_watch_new(w->loop, w->child.fd, EPOLLIN, on_io, w, &w->io);
    return r == KD_OK ? kd_watch_new(w->loop, w->child.pid_fd, EPOLLIN, on_exit_seen, w, &w->exit)
                      : r;
}

enum kd_err kd_worker_start(struct kd_worker *w, const struct kd_config *config,
                            struct kd_bytes refused_pin) {
    assert(w->state == KD_PROCESS_DOWN && w->calls.n == 0);
    w->in.max = IN_MAX_BYTES;
    kd_buf_reset(&w->in);
    if (kd_buf_extend(&w->in, READ_BYTES) == NULL) { // what it says of its login will be read
        return KD_ERR_NO_MEMORY;
    }
    kd_buf_reset(&w->in);
    enum kd_err r = kd_starter_start(config, refused_pin, &w->child);
    if (r != KD_OK) {
        w->child = (struct kd_child) { .pid_fd = -1, .fd = -1 };
        return r;
    }
    w->is_hung = false;
    w->has_lost_login = false;
    w->started_ms = kd_clock_mono_ms();
    w->seen_ms = w->started_ms;
    w->state = KD_PROCESS_STARTING;
    r = watch(w);
    if (r != KD_OK) {
        ask_to_end(w);
        wait_for_end(w, w->kill_ms);
    }
    return r;
}
