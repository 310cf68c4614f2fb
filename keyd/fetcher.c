// SPDX-License-Identifier: Apache-2.0
// fetcher.c: see fetcher.h.
#include "keyd/fetcher.h"

#include "keyd/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    GRACE_MS = 1000, // beyond the timeout that the process keeps itself
    RESTART_MIN_MS = 100,
    RESTART_MAX_MS = 30000,
    READ_BYTES = 65536,
};
enum { LOST = KD_FETCH_RESULTS };

struct kd_fetch_wait {
    struct kd_fetcher *f;
    struct flight *flight; // NULL: it has landed, and this is in `landed`
    kd_fetcher_done *done;
    void *arg;
    struct kd_fetch_wait *older, *newer;
};

struct flight {
    struct kd_fetcher *f;
    uint32_t id;
    uint64_t due_ms; // monotonic
    struct kd_fetch_wait *first;
    struct flight *older, *newer; // all have the same time, so the oldest is due first
    size_t n_uri;
    uint8_t uri[KD_FETCH_URI_MAX_BYTES];
};

struct failure {
    const char *why;
    uint64_t due_ms;
    struct failure *newer;
    size_t n_uri;
    uint8_t uri[KD_FETCH_URI_MAX_BYTES];
};

struct kd_fetcher {
    struct kd_loop *loop;
    const struct kd_fetch_config *config;
    size_t n_prefixes;
    struct kd_fetch_prefix prefixes[KD_FETCH_PREFIXES_MAX];
    bool is_running;
    struct kd_child child;
    struct kd_watch *io, *exit;
    struct kd_timer *timer;
    struct kd_buf in, out;
    uint32_t next_id, restarts, failures_in_row;
    uint64_t retry_ms;
    struct kd_map by_uri; // flights
    struct flight *oldest, *newest;
    struct kd_fetch_wait *landed; // that are still to be told
    struct kd_map failed_by_uri;
    struct failure *first_failed, *last_failed;
    uint64_t counts[KD_FETCH_RESULTS + 1];
};

static const struct {
    const char *name;
    const char *why;
} results[KD_FETCH_RESULTS + 1] = {
    [KD_FETCH_CERTIFICATE] = { "certificate", "" },
    [KD_FETCH_CHAIN] = { "chain", "" },
    [KD_FETCH_URI] = { "uri", "its URI is not allowed" },
    [KD_FETCH_BUSY] = { "busy", "too many URIs are being fetched" },
    [KD_FETCH_NO_HOST] = { "no-host", "the host of its URI is not known" },
    [KD_FETCH_ADDRESS] = { "address", "the host of its URI is at an address that is not public" },
    [KD_FETCH_CONNECT] = { "connect", "nobody answers at its URI" },
    [KD_FETCH_TLS] = { "tls", "the server at its URI is not trusted" },
    [KD_FETCH_TIMEOUT] = { "timeout", "the answer from its URI took too long" },
    [KD_FETCH_REDIRECT] = { "redirect", "its URI redirects, which is not followed" },
    [KD_FETCH_STATUS] = { "status", "its URI does not answer with 200" },
    [KD_FETCH_TYPE] = { "type", "the answer from its URI is not of a certificate's type" },
    [KD_FETCH_SIZE] = { "size", "the answer from its URI is empty or too large" },
    [KD_FETCH_OTHER] = { "other", "its URI cannot be fetched" },
    [LOST] = { "lost", "keyd-fetch ended meanwhile" },
};

const char *kd_fetch_result_name(unsigned result) {
    return results[result].name;
}

static struct kd_bytes uri_of(const struct flight *t) {
    return (struct kd_bytes) { t->uri, t->n_uri };
}

// ---- failures --------------------------------------------------------------

static void forget_first_failure(struct kd_fetcher *f) {
    struct failure *x = f->first_failed;
    kd_map_remove(&f->failed_by_uri, (struct kd_bytes) { x->uri, x->n_uri });
    f->first_failed = x->newer;
    f->last_failed = x->newer == NULL ? NULL : f->last_failed;
    free(x);
}

static void drop_old_failures(struct kd_fetcher *f) {
    const uint64_t now = kd_clock_mono_ms();
    while (f->first_failed != NULL && f->first_failed->due_ms <= now) {
        forget_first_failure(f);
    }
}

// Without memory it is not remembered, which is no harm.
static void remember_failure(struct kd_fetcher *f, struct kd_bytes uri, const char *why) {
    drop_old_failures(f);
    if (f->config->failed_sec == 0 || kd_map_get(&f->failed_by_uri, uri) != NULL) {
        return;
    }
    while (kd_map_count(&f->failed_by_uri) >= f->config->failed_max) {
        forget_first_failure(f);
    }
    struct failure *x = calloc(1, sizeof(*x));
    if (x == NULL) {
        return;
    }
    x->why = why;
    x->due_ms = kd_clock_mono_ms() + (uint64_t)f->config->failed_sec * 1000;
    x->n_uri = uri.n;
    memcpy(x->uri, uri.p, uri.n);
    if (kd_map_add(&f->failed_by_uri, (struct kd_bytes) { x->uri, x->n_uri }, x) != KD_OK) {
        free(x);
        return;
    }
    *(f->last_failed == NULL ? &f->first_failed : &f->last_failed->newer) = x;
    f->last_failed = x;
}

// ---- flights ---------------------------------------------------------------

static void set_timer(struct kd_fetcher *f) {
    const uint64_t due = f->oldest == NULL ? KD_LOOP_NO_LIMIT : f->oldest->due_ms;
    kd_timer_set_at(f->timer, !f->is_running && f->retry_ms < due ? f->retry_ms : due);
}

static void drop_flight(struct flight *t) {
    struct kd_fetcher *f = t->f;
    kd_map_remove(&f->by_uri, uri_of(t));
    *(t->older == NULL ? &f->oldest : &t->older->newer) = t->newer;
    *(t->newer == NULL ? &f->newest : &t->newer->older) = t->older;
    free(t);
}

// Those who wait are called when the flight is gone, so that they may begin another.
static void land(struct flight *t, unsigned result, struct kd_bytes body) {
    struct kd_fetcher *f = t->f;
    const bool is_good = result == KD_FETCH_CERTIFICATE || result == KD_FETCH_CHAIN;
    const bool is_ours = result == LOST || result == KD_FETCH_BUSY; // nothing is known of the URI
    const enum kd_err err = is_good ? KD_OK : is_ours ? KD_ERR_BUSY : KD_ERR_HS_CREDENTIAL;
    f->counts[result]++;
    if (!is_good && !is_ours) {
        remember_failure(f, uri_of(t), results[result].why);
    }
    f->landed = t->first;
    drop_flight(t);
    for (struct kd_fetch_wait *w = f->landed; w != NULL; w = w->newer) {
        w->flight = NULL;
    }
    while (f->landed != NULL) { // one who is told may cancel others
        struct kd_fetch_wait *w = f->landed;
        kd_fetcher_done *done = w->done;
        void *arg = w->arg;
        kd_fetcher_cancel(w);
        done(arg, err, results[result].why, body, result == KD_FETCH_CHAIN);
    }
}

static enum kd_err new_flight(struct kd_fetcher *f, struct kd_bytes uri, struct flight **out) {
    struct flight *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    t->f = f;
    t->id = ++f->next_id;
    t->due_ms = kd_clock_mono_ms() + f->config->timeout_ms + GRACE_MS;
    t->n_uri = uri.n;
    memcpy(t->uri, uri.p, uri.n);
    enum kd_err r = kd_map_add(&f->by_uri, uri_of(t), t);
    if (r != KD_OK) {
        free(t);
        return r;
    }
    t->older = f->newest;
    *(f->newest == NULL ? &f->oldest : &f->newest->newer) = t;
    f->newest = t;
    *out = t;
    return KD_OK;
}

// ---- the process -----------------------------------------------------------

static void start(struct kd_fetcher *f);

static void shut(struct kd_fetcher *f) {
    kd_watch_free(f->io);
    kd_watch_free(f->exit);
    f->io = f->exit = NULL;
    close(f->child.fd);
    close(f->child.pid_fd);
    kd_buf_reset(&f->in);
    kd_buf_reset(&f->out);
    f->is_running = false;
}

// It is dead or shall be; what it had under way has failed.
static void give_up(struct kd_fetcher *f, const char *why) {
    int status = 0;
    kill(f->child.pid, SIGKILL);
    (void)kd_reap(f->child.pid, true, &status);
    kd_log(KD_LOG_WARN, "fetch", "keyd-fetch has ended", "why=%s status=%d", why, status);
    shut(f);
    const uint64_t delay = (uint64_t)RESTART_MIN_MS
                           << (f->failures_in_row < 9 ? f->failures_in_row : 9);
    f->failures_in_row++;
    f->retry_ms = kd_clock_mono_ms() + (delay < RESTART_MAX_MS ? delay : RESTART_MAX_MS);
    while (f->oldest != NULL) {
        land(f->oldest, LOST, KD_BYTES_NONE);
    }
    set_timer(f);
}

static struct flight *find_flight(struct kd_fetcher *f, uint32_t id) {
    struct flight *t = f->oldest;
    while (t != NULL && t->id != id) {
        t = t->newer;
    }
    return t;
}

static enum kd_err take_answers(struct kd_fetcher *f) {
    struct kd_bytes frame;
    size_t n = 0;
    enum kd_err r;
    while ((r = kd_fetch_next_frame(kd_buf_get(&f->in), KD_FETCH_FRAME_MAX_BYTES, &frame, &n)) ==
               KD_OK &&
           n > 0) {
        struct kd_fetch_answer a;
        if ((r = kd_fetch_get_answer(frame, &a)) != KD_OK) {
            return r;
        }
        struct flight *t = find_flight(f, a.id);
        f->failures_in_row = 0;
        if (t != NULL) { // else nobody waits any more
            land(t, a.result, a.body);
        }
        kd_buf_drop_front(&f->in, n);
    }
    return r;
}

static bool flush(struct kd_fetcher *f) {
    const ssize_t n =
        f->out.n == 0 ? 0 : send(f->child.fd, f->out.p, f->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        return false;
    }
    kd_buf_drop_front(&f->out, n > 0 ? (size_t)n : 0);
    return kd_watch_set(f->io, f->out.n > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN) == KD_OK;
}

static bool read_some(struct kd_fetcher *f) {
    uint8_t *to = kd_buf_extend(&f->in, READ_BYTES);
    if (to == NULL) {
        return false;
    }
    f->in.n -= READ_BYTES;
    const ssize_t n = recv(f->child.fd, to, READ_BYTES, MSG_DONTWAIT);
    f->in.n += n > 0 ? (size_t)n : 0;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void on_io(void *fetcher, uint32_t events) {
    struct kd_fetcher *f = fetcher;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !read_some(f)) {
        give_up(f, "its stream is at the end");
        return;
    }
    if (take_answers(f) != KD_OK) {
        give_up(f, "it said what is no answer");
    } else if (!flush(f)) {
        give_up(f, "it cannot be written to");
    } else {
        set_timer(f);
    }
}

static void on_exit_seen(void *fetcher, uint32_t events KD_UNUSED) {
    give_up(fetcher, "it has exited");
}

static enum kd_err greet(struct kd_fetcher *f) {
    struct kd_fetch_hello h = {
        .timeout_ms = f->config->timeout_ms,
        .bytes_max = f->config->bytes_max,
        .pending_max = f->config->pending_max,
        .ca_file = kd_bytes_of_text(f->config->ca_file),
        .n_prefixes = f->n_prefixes,
    };
    memcpy(h.prefixes, f->prefixes, sizeof(h.prefixes));
    kd_fetch_put_hello(&f->out, &h);
    return kd_buf_finish(&f->out);
}

static void start(struct kd_fetcher *f) {
    f->retry_ms = kd_clock_mono_ms() + RESTART_MAX_MS;
    if (kd_spawn(f->config->program, &f->child) != KD_OK) {
        return; // the log says why
    }
    f->is_running = true;
    enum kd_err r;
    if ((r = kd_watch_new(f->loop, f->child.fd, EPOLLIN, on_io, f, &f->io)) != KD_OK ||
        (r = kd_watch_new(f->loop, f->child.pid_fd, EPOLLIN, on_exit_seen, f, &f->exit)) != KD_OK ||
        (r = greet(f)) != KD_OK || !flush(f)) {
        give_up(f, "it cannot be greeted");
        return;
    }
    kd_log(KD_LOG_INFO, "fetch", "keyd-fetch is running", "pid=%d", (int)f->child.pid);
}

// What is overdue by so much is the process's fault.
static void on_timer(void *fetcher) {
    struct kd_fetcher *f = fetcher;
    const uint64_t now = kd_clock_mono_ms();
    if (f->is_running && f->oldest != NULL && f->oldest->due_ms <= now) {
        give_up(f, "it does not answer");
        return;
    }
    if (!f->is_running && f->retry_ms <= now) {
        f->restarts++;
        start(f);
    }
    set_timer(f);
}

// ---- for others ------------------------------------------------------------

// Sends the request in the loop's next round, with others that come in this one.
static enum kd_err ask(struct flight *t, struct kd_fetch_wait **wait) {
    struct kd_fetcher *f = t->f;
    const struct kd_fetch_request q = { .id = t->id, .uri = uri_of(t) };
    kd_fetch_put_request(&f->out, &q);
    enum kd_err r = kd_watch_set(f->io, EPOLLIN | EPOLLOUT);
    if (r != KD_OK) {
        kd_fetcher_cancel(*wait);
        *wait = NULL;
        drop_flight(t);
    }
    set_timer(f);
    return r;
}

enum kd_err kd_fetcher_begin(struct kd_fetcher *f, struct kd_bytes uri, kd_fetcher_done *done,
                             void *arg, struct kd_fetch_wait **out, const char **why) {
    *why = results[KD_FETCH_URI].why;
    if (kd_fetch_find_prefix(f->prefixes, f->n_prefixes, uri) == NULL ||
        !kd_fetch_uri_is_plain(uri)) {
        return KD_ERR_HS_CREDENTIAL;
    }
    drop_old_failures(f);
    const struct failure *failed = kd_map_get(&f->failed_by_uri, uri);
    if (failed != NULL) {
        *why = failed->why;
        return KD_ERR_HS_CREDENTIAL;
    }
    struct flight *t = kd_map_get(&f->by_uri, uri);
    const bool is_new = t == NULL;
    if (is_new && (!f->is_running || kd_map_count(&f->by_uri) >= f->config->pending_max)) {
        *why = f->is_running ? results[KD_FETCH_BUSY].why : "keyd-fetch is not running";
        return KD_ERR_BUSY;
    }
    struct kd_fetch_wait *w = calloc(1, sizeof(*w));
    enum kd_err r = w == NULL ? KD_ERR_NO_MEMORY : is_new ? new_flight(f, uri, &t) : KD_OK;
    if (r != KD_OK) {
        free(w);
        return r;
    }
    *w =
        (struct kd_fetch_wait) { .f = f, .flight = t, .done = done, .arg = arg, .newer = t->first };
    if (t->first != NULL) {
        t->first->older = w;
    }
    t->first = w;
    *out = w;
    return is_new ? ask(t, out) : KD_OK;
}

// The flight goes on: its answer may fit the next who asks, and a failure is remembered.
void kd_fetcher_cancel(struct kd_fetch_wait *w) {
    if (w == NULL) {
        return;
    }
    if (w->older != NULL) {
        w->older->newer = w->newer;
    } else {
        *(w->flight == NULL ? &w->f->landed : &w->flight->first) = w->newer;
    }
    if (w->newer != NULL) {
        w->newer->older = w->older;
    }
    free(w);
}

void kd_fetcher_report(const struct kd_fetcher *f, struct kd_fetcher_report *out) {
    *out = (struct kd_fetcher_report) { .is_on = f != NULL && f->n_prefixes > 0 };
    if (out->is_on) {
        out->is_running = f->is_running;
        out->n_flights = kd_map_count(&f->by_uri);
        out->n_failed = kd_map_count(&f->failed_by_uri);
        out->restarts = f->restarts;
        memcpy(out->counts, f->counts, sizeof(out->counts));
    }
}

// ---- life ------------------------------------------------------------------

static void add_prefixes(struct kd_fetcher *f, const struct kd_text_list *list, bool is_private) {
    for (size_t i = 0; i < list->n && f->n_prefixes < KD_FETCH_PREFIXES_MAX; i++) {
        f->prefixes[f->n_prefixes++] =
            (struct kd_fetch_prefix) { .text = kd_bytes_of_text(list->values[i]),
                                       .is_private = is_private };
    }
}

_Static_assert(2 * KD_TEXTS_MAX <= KD_FETCH_PREFIXES_MAX, "both lists have room");

enum kd_err kd_fetcher_open(struct kd_loop *loop, const struct kd_fetch_config *c,
                            struct kd_fetcher **out) {
    struct kd_fetcher *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    f->loop = loop;
    f->config = c;
    f->in = KD_BUF_INIT(READ_BYTES + KD_FETCH_FRAME_MAX_BYTES);
    f->out = KD_BUF_INIT(KD_FETCH_HELLO_MAX_BYTES +
                         (size_t)c->pending_max * (KD_FETCH_URI_MAX_BYTES + 16));
    add_prefixes(f, &c->allow_private, true);
    add_prefixes(f, &c->allow, false);
    enum kd_err r = kd_timer_new(loop, on_timer, f, &f->timer);
    if (r == KD_OK && f->n_prefixes > 0) {
        // All of it now: a request that found no room later would hold up those after it.
        (void)kd_buf_extend(&f->out, f->out.max);
        r = kd_buf_finish(&f->out);
        kd_buf_reset(&f->out);
    }
    if (r != KD_OK) {
        kd_fetcher_close(f);
        return r;
    }
    if (f->n_prefixes > 0) {
        start(f);
        set_timer(f);
    }
    *out = f;
    return KD_OK;
}

void kd_fetcher_close(struct kd_fetcher *f) {
    if (f == NULL) {
        return;
    }
    if (f->is_running) {
        kill(f->child.pid, SIGKILL); // it has nothing to lose
        (void)kd_reap(f->child.pid, true, NULL);
        shut(f);
    }
    while (f->oldest != NULL) {
        struct flight *t = f->oldest;
        for (struct kd_fetch_wait *w = t->first, *next; w != NULL; w = next) {
            next = w->newer;
            free(w);
        }
        drop_flight(t);
    }
    while (f->first_failed != NULL) {
        forget_first_failure(f);
    }
    kd_map_wipe(&f->by_uri);
    kd_map_wipe(&f->failed_by_uri);
    kd_timer_free(f->timer);
    kd_buf_wipe(&f->in);
    kd_buf_wipe(&f->out);
    free(f);
}
