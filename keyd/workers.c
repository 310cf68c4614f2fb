// SPDX-License-Identifier: Apache-2.0
// workers.c: which worker gets a request, what becomes of the requests of one
// that is lost, when workers are started.
#include "keyd/workers.h"

#include "keyd/worker.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRIES_MAX = 2, // workers that one request may take down
    RESTART_DELAY_MAX_MS = 30000,
    STEADY_MS = 10000,         // a worker that lived so long starts with a clean record
    PING_INTERVAL_MS = 15000,  // for one that has nothing else to do
    AFFINITY_SLACK_CALLS = 16, // how much longer a queue may be where a secret is cached
    HELLO_MAX_BYTES = 65536,
    DETAIL_BYTES = 256,
};

struct kd_workers {
    struct kd_loop *loop;
    const struct kd_config *config;
    struct kd_tally *tally;
    struct kd_workers_owner owner;
    struct kd_call_table table;
    struct kd_call_list waiting; // lost their worker; no other is ready
    unsigned n;
    unsigned n_ready;
    bool is_halted; // a PIN was refused: nothing is started before kd_workers_retry
    bool is_ending;
    enum kd_err err; // why none is ready
    char detail[DETAIL_BYTES];
    struct kd_buf token_frame; // what `token` borrows from
    struct kd_hsm_status token;
    bool has_token;
    size_t n_pin_record;
    uint8_t pin_record[KD_HSM_PIN_RECORD_MAX_BYTES];
    struct kd_worker workers[KD_WORKERS_MAX];
};

// ---- ends of calls ---------------------------------------------------------

// Ends a call that no list holds any more.
static enum kd_err finish(struct kd_workers *w, struct kd_call *c, const struct kd_hsm_reply *reply,
                          struct kd_reader *items) {
    kd_tally_count(w->tally, c->op, reply->err);
    kd_call_done *done = c->done;
    void *arg = c->arg;
    kd_call_table_give(&w->table, c);
    return done == NULL ? KD_OK : done(arg, reply, items);
}

static void fail(struct kd_workers *w, struct kd_call *c, enum kd_err err) {
    struct kd_reader none = kd_reader_of(KD_BYTES_NONE);
    const struct kd_hsm_reply reply = { .id = c->id, .err = err };
    (void)finish(w, c, &reply, &none);
}

// ---- choosing --------------------------------------------------------------

// The ready worker with the shortest queue; the first of equals, so that on a
// quiet machine one worker gets everything and takes it in batches.
static struct kd_worker *shortest(struct kd_workers *w) {
    struct kd_worker *best = NULL;
    for (unsigned i = 0; i < w->n; i++) {
        struct kd_worker *k = &w->workers[i];
        if (k->state == KD_PROCESS_READY && (best == NULL || k->calls.n < best->calls.n)) {
            best = k;
        }
    }
    return best;
}

// A derived secret is in the cache of the worker that made it: the same one is
// asked again, unless others are much less busy.
static struct kd_worker *choose(struct kd_workers *w, const uint8_t *near) {
    struct kd_worker *best = shortest(w);
    if (best == NULL || near == NULL) {
        return best;
    }
    struct kd_worker *home = &w->workers[near[0] % w->n];
    const bool is_good = home->state == KD_PROCESS_READY &&
                         home->calls.n <= best->calls.n + AFFINITY_SLACK_CALLS &&
                         home->calls.n < w->config->workers.queue_max;
    return is_good ? home : best;
}

// ---- calls -----------------------------------------------------------------

enum kd_err kd_workers_begin(struct kd_workers *w, struct kd_hsm_request *head,
                             const uint8_t *near, struct kd_call **out) {
    if (w->is_ending) {
        return KD_ERR_STOPPING;
    }
    struct kd_worker *k = choose(w, near);
    if (k == NULL) {
        return w->err;
    }
    if (k->calls.n >= w->config->workers.queue_max) {
        return KD_ERR_BUSY;
    }
    struct kd_call *c = NULL;
    enum kd_err r = kd_call_table_take(&w->table, &c);
    if (r != KD_OK) {
        return r;
    }
    c->pool = w;
    c->worker = k;
    c->op = head->op;
    head->id = c->id;
    c->start = kd_hsm_frame_begin(&c->frame);
    kd_hsm_put_request(&c->frame, head);
    *out = c;
    return KD_OK;
}

void kd_call_put(struct kd_call *c, const struct kd_hsm_item *item) {
    kd_hsm_put_item(&c->frame, c->op, item);
}

void kd_call_put_written(struct kd_call *c, struct kd_bytes items) {
    kd_buf_put(&c->frame, items.p, items.n);
}

enum kd_err kd_call_send(struct kd_call *take_call, kd_call_done *done, void *arg) {
    struct kd_call *c = take_call;
    kd_hsm_frame_end(&c->frame, c->start);
    enum kd_err r = kd_buf_finish(&c->frame);
    if (r != KD_OK) {
        kd_call_drop(c);
        return r;
    }
    c->done = done;
    c->arg = arg;
    c->since_ms = kd_clock_mono_ms();
    kd_worker_add(c->worker, c);
    return KD_OK;
}

void kd_call_drop(struct kd_call *c) {
    kd_call_table_give(&c->pool->table, c);
}

// A request of ours that nobody waits for.
static void send_own(struct kd_worker *k, enum kd_hsm_op op, const struct kd_hsm_item *item) {
    struct kd_call *c = NULL;
    if (kd_call_table_take(&k->pool->table, &c) != KD_OK) {
        return;
    }
    struct kd_hsm_request head = { .op = op, .id = c->id, .n_items = item == NULL ? 0 : 1 };
    c->pool = k->pool;
    c->worker = k;
    c->op = op;
    c->start = kd_hsm_frame_begin(&c->frame);
    kd_hsm_put_request(&c->frame, &head);
    if (item != NULL) {
        kd_hsm_put_item(&c->frame, op, item);
    }
    if (kd_call_send(c, NULL, NULL) != KD_OK) {
        kd_log(KD_LOG_WARN, "workers", "a message could not be made", "operation=%s",
               kd_hsm_op_name(op));
    }
}

void kd_workers_forget(struct kd_workers *w, const uint8_t id[static KD_HSM_SECRET_ID_BYTES]) {
    const struct kd_hsm_item item = { .data = { id, KD_HSM_SECRET_ID_BYTES } };
    for (unsigned i = 0; i < w->n; i++) {
        if (w->workers[i].state == KD_PROCESS_READY) {
            send_own(&w->workers[i], KD_HSM_FORGET, &item);
        }
    }
}

// ---- replies ---------------------------------------------------------------

struct kd_call *kd_workers_find(struct kd_worker *k, uint32_t id) {
    struct kd_call *c = kd_call_table_find(&k->pool->table, id);
    return c != NULL && c->worker == k && c->is_sent ? c : NULL;
}

bool kd_workers_on_reply(struct kd_worker *k, struct kd_call *c, struct kd_bytes frame) {
    struct kd_workers *w = k->pool;
    struct kd_reader r = kd_reader_of(frame);
    struct kd_hsm_reply reply;
    const enum kd_hsm_op op = c->op;
    if (k->state != KD_PROCESS_READY || kd_hsm_get_reply(&r, &reply) != KD_OK) {
        return false; // the call is in the list still and goes the way of the lost
    }
    kd_call_list_remove(&k->calls, c);
    if (reply.err == KD_ERR_SESSION_LOST && c->tries == 0 && kd_hsm_op_is_repeatable(op)) {
        c->tries++; // the token has closed its sessions; the worker opens new ones
        c->since_ms = kd_clock_mono_ms();
        kd_worker_add(k, c);
        return true;
    }
    kd_tally_time(w->tally, op, reply.token_us);
    const enum kd_err read = finish(w, c, &reply, &r);
    if (op == KD_HSM_DECRYPT || op == KD_HSM_RELEASE) {
        kd_wipe((void *)(uintptr_t)frame.p, frame.n);
    }
    return read == KD_OK;
}

static void set_reason(struct kd_workers *w, enum kd_err err, struct kd_bytes detail) {
    w->err = err;
    snprintf(w->detail, sizeof(w->detail), "%.*s", (int)detail.n,
             detail.n == 0 ? "" : (const char *)detail.p);
}

static bool keep_status(struct kd_workers *w, struct kd_bytes frame) {
    kd_buf_reset(&w->token_frame);
    kd_buf_put(&w->token_frame, frame.p, frame.n);
    struct kd_reader r = kd_reader_of(kd_buf_get(&w->token_frame));
    uint32_t id;
    w->has_token = kd_buf_finish(&w->token_frame) == KD_OK &&
                   kd_hsm_get_status(&r, &id, &w->token) == KD_OK;
    return w->has_token;
}

static void keep_pin_record(struct kd_workers *w, struct kd_bytes record) {
    const size_t n = record.n > sizeof(w->pin_record) ? 0 : record.n;
    if (n == 0 && w->n_pin_record == 0) {
        return;
    }
    if (n > 0) {
        memcpy(w->pin_record, record.p, n);
    }
    w->n_pin_record = n;
    w->owner.pin_record(w->owner.arg, (struct kd_bytes) { w->pin_record, n });
}

static void log_token(const struct kd_worker *k, const struct kd_hsm_status *s) {
    kd_log(KD_LOG_INFO, "workers", "a worker is ready",
           "worker=%u pid=%d token=%.*s module=%.*s threads=%u hkdf=%s", k->index,
           (int)k->child.pid, (int)s->token_label.n, (const char *)s->token_label.p,
           (int)s->module.n, (const char *)s->module.p, s->threads, kd_hsm_hkdf_name(s->hkdf));
    for (unsigned i = 0; i < KD_HSM_ABILITIES; i++) {
        if (s->probe[i] == KD_HSM_PROBE_WRONG) {
            kd_log(KD_LOG_ERROR, "workers", "the token gave a wrong answer to a known question",
                   "ability=%s", kd_hsm_ability_name((enum kd_hsm_ability)i));
        }
    }
}

static void on_ready(struct kd_worker *k, const struct kd_hsm_status *s) {
    struct kd_workers *w = k->pool;
    k->state = KD_PROCESS_READY;
    k->ready_ms = kd_clock_mono_ms();
    w->n_ready++;
    set_reason(w, KD_OK, KD_BYTES_NONE);
    log_token(k, s);
    keep_pin_record(w, KD_BYTES_NONE);
    while (w->waiting.first != NULL) {
        struct kd_call *c = w->waiting.first;
        kd_call_list_remove(&w->waiting, c);
        kd_worker_add(shortest(w), c);
    }
    w->owner.ready(w->owner.arg);
}

// It could not start, or can't go on, and will end by itself.
static void on_trouble(struct kd_worker *k, const struct kd_hsm_status *s) {
    struct kd_workers *w = k->pool;
    set_reason(w, s->err, s->detail);
    kd_log(KD_LOG_ERROR, "workers", "a worker cannot use the token", "worker=%u error=%s detail=%s",
           k->index, kd_err_name(s->err), w->detail);
    if (s->err == KD_ERR_PIN_REFUSED || s->err == KD_ERR_PIN_LAST_TRY) {
        w->is_halted = true;
        kd_log(KD_LOG_ERROR, "workers",
               "no worker is started again before the PIN is set right and keyd gets SIGHUP", "");
    }
    if (s->err == KD_ERR_PIN_REFUSED && s->refused_pin.n > 0) {
        keep_pin_record(w, s->refused_pin);
    }
    if (k->state == KD_PROCESS_READY) {
        kd_worker_give_up(k, "it has lost the token");
    }
}

bool kd_workers_on_status(struct kd_worker *k, uint32_t id, struct kd_bytes frame) {
    struct kd_workers *w = k->pool;
    struct kd_hsm_status s;
    struct kd_reader r = kd_reader_of(frame);
    uint32_t said = 0;
    // HELLO is answered once, and first.
    if ((id == 0) != (k->state == KD_PROCESS_STARTING) || kd_hsm_get_status(&r, &said, &s) != KD_OK) {
        return false;
    }
    if (id != 0) {
        struct kd_call *c = kd_workers_find(k, id);
        kd_call_list_remove(&k->calls, c);
        const struct kd_hsm_reply reply = { .id = id, .err = s.err };
        (void)finish(w, c, &reply, NULL);
    }
    if (s.err != KD_OK) {
        on_trouble(k, &s);
        return true;
    }
    if (!keep_status(w, frame)) {
        return false;
    }
    if (id == 0) {
        on_ready(k, &s);
    }
    return true;
}

// ---- losses ----------------------------------------------------------------

// May it be given to another worker?  What has not left may always.  What has may
// if it is safe to do twice, and did not see too many workers die: only the
// oldest, one a thread, can have been the reason.
static bool may_move(const struct kd_worker *k, struct kd_call *c, size_t position) {
    if (c->op == KD_HSM_PING || c->op == KD_HSM_FORGET) {
        return false;
    }
    if (!c->is_sent && (c != k->unsent || k->sent == 0)) {
        return true;
    }
    if (position < k->pool->config->workers.threads) {
        c->tries++;
    }
    return kd_hsm_op_is_repeatable(c->op) && c->tries < TRIES_MAX;
}

static void move(struct kd_workers *w, struct kd_call *c) {
    struct kd_worker *other = shortest(w);
    if (other != NULL) {
        c->since_ms = kd_clock_mono_ms();
        kd_worker_add(other, c);
    } else if (w->is_halted) {
        fail(w, c, w->err);
    } else {
        c->worker = NULL;
        c->is_sent = false;
        kd_call_list_add(&w->waiting, c); // its deadline runs on
    }
}

void kd_workers_on_loss(struct kd_worker *k, enum kd_process_state was) {
    struct kd_workers *w = k->pool;
    if (was == KD_PROCESS_READY) {
        w->n_ready--;
        if (!w->is_halted && w->n_ready == 0 && w->err == KD_OK) {
            set_reason(w, KD_ERR_TOKEN_AWAY, kd_bytes_of_text("the worker has ended; another is "
                                                              "being started"));
        }
    }
    const enum kd_err err = k->is_hung ? KD_ERR_DEADLINE : KD_ERR_TOKEN_AWAY;
    // Callbacks may bring new requests, to other workers: this list is taken first.
    struct kd_call_list lost = k->calls;
    k->calls = (struct kd_call_list) { 0 };
    for (size_t position = 0; lost.first != NULL; position++) {
        struct kd_call *c = lost.first;
        const bool moves = may_move(k, c, position);
        kd_call_list_remove(&lost, c);
        if (moves) {
            move(w, c);
        } else {
            fail(w, c, err);
        }
    }
}

static uint64_t restart_delay(const struct kd_workers *w, uint32_t failures) {
    uint64_t ms = w->config->workers.restart_delay_ms;
    for (uint32_t i = 0; i < failures && ms < RESTART_DELAY_MAX_MS; i++) {
        ms *= 2;
    }
    return ms > RESTART_DELAY_MAX_MS ? RESTART_DELAY_MAX_MS : ms;
}

void kd_workers_on_down(struct kd_worker *k) {
    const uint64_t now = kd_clock_mono_ms();
    if (k->ready_ms != 0 && now - k->ready_ms >= STEADY_MS) {
        k->failures = 0;
    }
    k->ready_ms = 0;
    k->retry_ms = now + restart_delay(k->pool, k->failures);
    k->failures++;
}

// ---- starting --------------------------------------------------------------

static enum kd_err write_hello(const struct kd_workers *w, struct kd_buf *out) {
    const struct kd_token_config *t = &w->config->token;
    struct kd_hsm_hello h = {
        .module = kd_bytes_of_text(t->module),
        .init_args = kd_bytes_of_text(t->init_args),
        .token_uri = kd_bytes_of_text(t->uri),
        .pin_file = kd_bytes_of_text(t->pin_file),
        .n_env = (uint8_t)t->n_environment,
        .threads = (uint16_t)w->config->workers.threads,
        .cached_secrets = w->config->secrets.cached_in_token,
        .may_extract = w->config->secrets.allow_extractable,
        .refused_pin = { w->pin_record, w->n_pin_record },
    };
    for (size_t i = 0; i < t->n_environment; i++) {
        h.env[i] = kd_bytes_of_text(t->environment[i]);
    }
    const size_t start = kd_hsm_frame_begin(out);
    kd_hsm_put_hello(out, &h);
    kd_hsm_frame_end(out, start);
    return kd_buf_finish(out);
}

static void start(struct kd_workers *w, struct kd_worker *k) {
    kd_auto(buf) struct kd_buf hello = KD_BUF_INIT(HELLO_MAX_BYTES);
    enum kd_err r = write_hello(w, &hello);
    if (k->failures > 0) {
        k->restarts++;
    }
    if (r == KD_OK) {
        r = kd_worker_start(k, w->config->workers.program, kd_buf_get(&hello));
    }
    if (r != KD_OK) {
        set_reason(w, KD_ERR_TOKEN_AWAY, kd_bytes_of_text("the worker program cannot be started"));
        kd_workers_on_down(k);
    }
}

// One at a time, and while none is ready always the same one, so that a wrong
// PIN reaches the token once and not once for each worker.
static struct kd_worker *next_to_start(struct kd_workers *w) {
    struct kd_worker *next = NULL;
    for (unsigned i = 0; i < w->n; i++) {
        struct kd_worker *k = &w->workers[i];
        if (k->state == KD_PROCESS_STARTING) {
            return NULL;
        }
        const bool is_first = w->n_ready > 0 || next == NULL;
        if (k->state == KD_PROCESS_DOWN && is_first &&
            (next == NULL || k->retry_ms < next->retry_ms)) {
            next = k;
        }
    }
    return w->is_halted ? NULL : next;
}

void kd_workers_retry(struct kd_workers *w) {
    w->is_halted = false;
    for (unsigned i = 0; i < w->n; i++) {
        w->workers[i].failures = w->workers[i].failures > 0 ? 1 : 0;
        w->workers[i].retry_ms = 0;
    }
}

// ---- time ------------------------------------------------------------------

// Milliseconds from now until `due`, and 0 when it has come.
static uint64_t until(uint64_t due, uint64_t now) {
    return due > now ? due - now : 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t tend_worker(struct kd_workers *w, struct kd_worker *k, uint64_t now) {
    const struct kd_workers_config *c = &w->config->workers;
    if (k->state == KD_PROCESS_STARTING) {
        const uint64_t left = until(k->started_ms + c->start_deadline_ms, now);
        if (left == 0) {
            set_reason(w, KD_ERR_DEADLINE, kd_bytes_of_text("the token did not get ready within "
                                                            "workers.start-deadline-ms"));
            kd_worker_give_up(k, "it did not get ready in time");
        }
        return left == 0 ? KD_LOOP_NO_LIMIT : left;
    }
    if (k->state != KD_PROCESS_READY) {
        return KD_LOOP_NO_LIMIT;
    }
    if (k->calls.first == NULL) {
        const uint64_t left = until(k->seen_ms + PING_INTERVAL_MS, now);
        if (left > 0) {
            return left;
        }
        send_own(k, KD_HSM_PING, NULL);
        return c->deadline_ms;
    }
    const uint64_t left = until(k->calls.first->since_ms + c->deadline_ms, now);
    if (left == 0) {
        k->is_hung = true;
        kd_worker_give_up(k, "a request has passed its deadline");
        return KD_LOOP_NO_LIMIT;
    }
    return left;
}

// Those without a worker wait as long as a deadline.
static uint64_t tend_waiting(struct kd_workers *w, uint64_t now) {
    while (w->waiting.first != NULL) {
        struct kd_call *c = w->waiting.first;
        const uint64_t left = until(c->since_ms + w->config->workers.deadline_ms, now);
        if (left > 0 && !w->is_halted) {
            return left;
        }
        kd_call_list_remove(&w->waiting, c);
        fail(w, c, w->is_halted ? w->err : KD_ERR_TOKEN_AWAY);
    }
    return KD_LOOP_NO_LIMIT;
}

// The loop's hook: deadlines, starts, and everything that has gathered is sent.
static uint64_t tend(void *workers) {
    struct kd_workers *w = workers;
    if (w->is_ending) {
        return KD_LOOP_NO_LIMIT;
    }
    const uint64_t now = kd_clock_mono_ms();
    uint64_t limit = KD_LOOP_NO_LIMIT;
    for (unsigned i = 0; i < w->n; i++) {
        limit = least(limit, tend_worker(w, &w->workers[i], now));
    }
    limit = least(limit, tend_waiting(w, now));
    struct kd_worker *k = next_to_start(w);
    if (k != NULL && k->retry_ms <= now) {
        start(w, k);
        limit = least(limit, k->state == KD_PROCESS_STARTING ? w->config->workers.start_deadline_ms
                                                             : until(k->retry_ms, now));
    } else if (k != NULL) {
        limit = least(limit, until(k->retry_ms, now));
    }
    for (unsigned i = 0; i < w->n; i++) {
        if (w->workers[i].unsent != NULL) {
            kd_worker_flush(&w->workers[i]);
        }
    }
    return limit;
}

// ---- making and freeing ----------------------------------------------------

enum kd_err kd_workers_new(struct kd_loop *loop, const struct kd_config *config,
                           struct kd_tally *tally, const struct kd_workers_owner *owner,
                           struct kd_bytes refused_pin, struct kd_workers **out) {
    kd_auto(workers) struct kd_workers *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    assert(config->workers.processes > 0 && config->workers.processes <= KD_WORKERS_MAX);
    w->loop = loop;
    w->config = config;
    w->tally = tally;
    w->owner = *owner;
    w->n = config->workers.processes;
    w->token_frame = KD_BUF_INIT(HELLO_MAX_BYTES);
    set_reason(w, KD_ERR_TOKEN_AWAY, kd_bytes_of_text("the first worker is starting"));
    if (refused_pin.n > 0 && refused_pin.n <= sizeof(w->pin_record)) {
        memcpy(w->pin_record, refused_pin.p, refused_pin.n);
        w->n_pin_record = refused_pin.n;
    }
    for (unsigned i = 0; i < w->n; i++) {
        w->workers[i].pool = w;
        w->workers[i].loop = loop;
        w->workers[i].index = i;
        w->workers[i].child = (struct kd_child) { .pid_fd = -1, .fd = -1 };
    }
    enum kd_err r = kd_loop_prepare(loop, tend, w);
    if (r == KD_OK) {
        *out = KD_STEAL(w);
    }
    return r;
}

void kd_workers_free(struct kd_workers *w) {
    if (w == NULL) {
        return;
    }
    w->is_ending = true;
    for (unsigned i = 0; i < w->n; i++) {
        struct kd_call_list *calls = &w->workers[i].calls;
        while (calls->first != NULL) {
            struct kd_call *c = calls->first;
            kd_call_list_remove(calls, c);
            fail(w, c, KD_ERR_STOPPING);
        }
    }
    while (w->waiting.first != NULL) {
        struct kd_call *c = w->waiting.first;
        kd_call_list_remove(&w->waiting, c);
        fail(w, c, KD_ERR_STOPPING);
    }
    for (unsigned i = 0; i < w->n; i++) {
        kd_worker_wipe(&w->workers[i]);
    }
    kd_call_table_wipe(&w->table);
    kd_buf_wipe(&w->token_frame);
    free(w);
}

// ---- reports ---------------------------------------------------------------

enum kd_err kd_workers_ready(const struct kd_workers *w, const char **detail) {
    *detail = w->n_ready > 0 ? "" : w->detail;
    return w->n_ready > 0 ? KD_OK : w->err;
}

const struct kd_hsm_status *kd_workers_token(const struct kd_workers *w) {
    return w->has_token ? &w->token : NULL;
}

static size_t count_queued(const struct kd_workers *w) {
    size_t n = w->waiting.n;
    for (unsigned i = 0; i < w->n; i++) {
        for (const struct kd_call *c = w->workers[i].unsent; c != NULL; c = c->next) {
            n++;
        }
    }
    return n;
}

void kd_workers_report(const struct kd_workers *w, struct kd_service_report *out) {
    out->token = kd_workers_token(w);
    out->n_workers = w->n;
    out->in_flight = 0;
    out->queued = count_queued(w);
    for (unsigned i = 0; i < w->n; i++) {
        const struct kd_worker *k = &w->workers[i];
        out->workers[i] = (struct kd_worker_report) {
            .state = k->state == KD_PROCESS_READY                       ? KD_WORKER_READY
                     : w->is_halted && k->state != KD_PROCESS_STARTING ? KD_WORKER_FAILED
                                                                        : KD_WORKER_STARTING,
            .pid = k->state == KD_PROCESS_DOWN ? 0 : k->child.pid,
            .restarts = k->restarts,
            .in_flight = (uint32_t)k->calls.n,
            .ready_ms = k->ready_ms,
        };
        out->in_flight += k->calls.n;
    }
}

void kd_workers_metrics(const struct kd_workers *w, struct kd_buf *out) {
    kd_tally_head(out, "keyd_worker_restarts_total", "counter", "Starts after the first.");
    for (unsigned i = 0; i < w->n; i++) {
        kd_buf_printf(out, "keyd_worker_restarts_total{worker=\"%u\"} %" PRIu32 "\n", i,
                      w->workers[i].restarts);
    }
    kd_tally_head(out, "keyd_worker_ready", "gauge", "1 where the worker takes requests.");
    for (unsigned i = 0; i < w->n; i++) {
        kd_buf_printf(out, "keyd_worker_ready{worker=\"%u\"} %d\n", i,
                      w->workers[i].state == KD_PROCESS_READY);
    }
    kd_tally_head(out, "keyd_worker_in_flight", "gauge", "Requests at the worker.");
    for (unsigned i = 0; i < w->n; i++) {
        kd_buf_printf(out, "keyd_worker_in_flight{worker=\"%u\"} %zu\n", i,
                      w->workers[i].calls.n);
    }
    kd_tally_head(out, "keyd_queue_length", "gauge", "Requests that have not left yet.");
    kd_buf_printf(out, "keyd_queue_length %zu\n", count_queued(w));
}
