// SPDX-License-Identifier: Apache-2.0
// workers.c: requests and replies: which worker gets a request, and what becomes
// of the requests of one that is lost.  Their lives are in supervise.c.
#include "keyd/workers.h"

#include "hsm/channel.h"
#include "keyd/pool.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORGET_ITEMS = 64 };                   // in one request
enum { PLACES = KD_HSM_HANDSHAKES_MAX - 32 }; // those that were dropped may be there still
enum { AFFINITY_SLACK_CALLS = 16 }; // how much longer a queue may be where a secret is cached

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

void kd_pool_fail(struct kd_workers *w, struct kd_call *c, enum kd_err err) {
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

// Objects are made, found and destroyed by one worker, as long as it lives.
// SoftHSM 2.6 notices that another process has changed the token by a counter in
// a file; a process that has just made an object of its own takes the count that
// it wrote for the state that it knows, and does not see what others made just
// before: a delete would find nothing to destroy, and leave the key in the token.
// Those that write nothing miss nothing.
static struct kd_worker *writer(struct kd_workers *w) {
    for (unsigned i = 0; i < w->n && w->workers[w->writer].state != KD_PROCESS_READY; i++) {
        w->writer = (w->writer + 1) % w->n;
    }
    struct kd_worker *k = &w->workers[w->writer];
    return k->state == KD_PROCESS_READY ? k : NULL;
}

static struct kd_worker *worker_for(struct kd_workers *w, enum kd_hsm_op op) {
    const bool is_change = op == KD_HSM_GENERATE || op == KD_HSM_FIND || op == KD_HSM_DESTROY;
    return is_change ? writer(w) : shortest(w);
}

unsigned kd_workers_near(const struct kd_workers *w, const uint8_t *near) {
    return near[0] % w->n;
}

// Each has room for so many handshakes that wait for their peers; the others would be refused where
// one had all of them.
static struct kd_worker *with_fewest_handshakes(struct kd_workers *w) {
    const struct kd_worker *idle = shortest(w);
    struct kd_worker *best = NULL;
    for (unsigned i = 0; idle != NULL && i < w->n; i++) {
        struct kd_worker *k = &w->workers[i];
        const bool is_good = k->state == KD_PROCESS_READY &&
                             k->calls.n <= idle->calls.n + AFFINITY_SLACK_CALLS &&
                             k->calls.n < w->config->workers.queue_max;
        if (is_good && (best == NULL || k->n_handshakes < best->n_handshakes)) {
            best = k;
        }
    }
    return best == NULL ? shortest(w) : best;
}

void kd_workers_enter(struct kd_workers *w, const struct kd_worker_home *home) {
    assert(w->workers[home->index].life == home->life);
    w->workers[home->index].n_handshakes++;
}

void kd_workers_leave(struct kd_workers *w, const struct kd_worker_home *home) {
    struct kd_worker *k = &w->workers[home->index];
    if (k->life == home->life) {
        assert(k->n_handshakes > 0);
        k->n_handshakes--;
    }
}

size_t kd_workers_places(const struct kd_workers *w) {
    size_t n = 0;
    for (unsigned i = 0; i < w->n; i++) {
        const struct kd_worker *k = &w->workers[i];
        n +=
            k->state == KD_PROCESS_READY && k->n_handshakes < PLACES ? PLACES - k->n_handshakes : 0;
    }
    return n;
}

// A derived secret is in the cache of the worker that made it: the same one is
// asked again, unless others are much less busy.
static struct kd_worker *choose(struct kd_workers *w, enum kd_hsm_op op, const uint8_t *near) {
    if (op == KD_HSM_HS_START) {
        return with_fewest_handshakes(w);
    }
    struct kd_worker *best = worker_for(w, op);
    if (best == NULL || near == NULL) {
        return best;
    }
    struct kd_worker *home = &w->workers[kd_workers_near(w, near)];
    const bool is_good = home->state == KD_PROCESS_READY &&
                         home->calls.n <= best->calls.n + AFFINITY_SLACK_CALLS &&
                         home->calls.n < w->config->workers.queue_max;
    return is_good ? home : best;
}

// ---- calls -----------------------------------------------------------------

static enum kd_err begin_at(struct kd_worker *k, struct kd_hsm_request *head,
                            struct kd_call **out) {
    struct kd_workers *w = k->pool;
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
    c->n_items = head->n_items;
    head->id = c->id;
    c->start = kd_hsm_frame_begin(&c->frame);
    kd_hsm_put_request(&c->frame, head);
    *out = c;
    return KD_OK;
}

enum kd_err kd_workers_begin(struct kd_workers *w, struct kd_hsm_request *head, const uint8_t *near,
                             struct kd_call **out) {
    if (w->is_ending) {
        return KD_ERR_STOPPING;
    }
    struct kd_worker *k = choose(w, head->op, near);
    return k == NULL ? w->err : begin_at(k, head, out);
}

enum kd_err kd_workers_begin_at(struct kd_workers *w, struct kd_hsm_request *head,
                                const struct kd_worker_home *home, struct kd_call **out) {
    if (w->is_ending) {
        return KD_ERR_STOPPING;
    }
    struct kd_worker *k = home->index < w->n ? &w->workers[home->index] : NULL;
    if (k == NULL || k->state != KD_PROCESS_READY || k->life != home->life) {
        return KD_ERR_NO_HANDSHAKE;
    }
    enum kd_err r = begin_at(k, head, out);
    if (r == KD_OK) {
        (*out)->is_pinned = true;
    }
    return r;
}

void kd_call_pin(struct kd_call *c, struct kd_worker_home *home) {
    c->is_pinned = true;
    *home = (struct kd_worker_home) { c->worker->index, c->worker->life };
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
void kd_pool_send_own(struct kd_worker *k, enum kd_hsm_op op, const struct kd_hsm_item *items,
                      size_t n) {
    struct kd_call *c = NULL;
    if (kd_call_table_take(&k->pool->table, &c) != KD_OK) {
        return;
    }
    struct kd_hsm_request head = { .op = op, .id = c->id, .n_items = (uint16_t)n };
    c->pool = k->pool;
    c->worker = k;
    c->op = op;
    c->start = kd_hsm_frame_begin(&c->frame);
    kd_hsm_put_request(&c->frame, &head);
    for (size_t i = 0; i < n; i++) {
        kd_hsm_put_item(&c->frame, op, &items[i]);
    }
    if (kd_call_send(c, NULL, NULL) != KD_OK) {
        kd_log(KD_LOG_WARN, "workers", "a message could not be made", "operation=%s",
               kd_hsm_op_name(op));
    }
}

void kd_workers_forget(struct kd_workers *w, const uint8_t id[static KD_HSM_SECRET_ID_BYTES]) {
    kd_buf_put(&w->forgotten, id, KD_HSM_SECRET_ID_BYTES);
}

// In few requests: where a thousand sessions end at once the queues have room for others.
void kd_pool_send_forgotten(struct kd_workers *w) {
    struct kd_hsm_item items[FORGET_ITEMS];
    const size_t n = w->forgotten.n / KD_HSM_SECRET_ID_BYTES;
    for (size_t done = 0; done < n; done += FORGET_ITEMS) {
        const size_t some = n - done < FORGET_ITEMS ? n - done : FORGET_ITEMS;
        for (size_t i = 0; i < some; i++) {
            items[i] = (struct kd_hsm_item) { .data = { w->forgotten.p +
                                                            (done + i) * KD_HSM_SECRET_ID_BYTES,
                                                        KD_HSM_SECRET_ID_BYTES } };
        }
        for (unsigned i = 0; i < w->n; i++) {
            if (w->workers[i].state == KD_PROCESS_READY) {
                kd_pool_send_own(&w->workers[i], KD_HSM_FORGET, items, some);
            }
        }
    }
    kd_buf_reset(&w->forgotten);
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
    if (kd_hsm_op_is_secret(op)) {
        kd_wipe((void *)(uintptr_t)frame.p, frame.n);
    }
    return read == KD_OK;
}

void kd_pool_set_reason(struct kd_workers *w, enum kd_err err, struct kd_bytes detail) {
    w->err = err;
    snprintf(w->detail, sizeof(w->detail), "%.*s", (int)detail.n,
             detail.n == 0 ? "" : (const char *)detail.p);
}

static bool keep_status(struct kd_workers *w, struct kd_bytes frame) {
    kd_buf_reset(&w->token_frame);
    kd_buf_put(&w->token_frame, frame.p, frame.n);
    struct kd_reader r = kd_reader_of(kd_buf_get(&w->token_frame));
    uint32_t id;
    w->has_token =
        kd_buf_finish(&w->token_frame) == KD_OK && kd_hsm_get_status(&r, &id, &w->token) == KD_OK;
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
    k->life++;
    k->n_handshakes = 0;
    w->n_ready++;
    kd_pool_set_reason(w, KD_OK, KD_BYTES_NONE);
    log_token(k, s);
    keep_pin_record(w, KD_BYTES_NONE);
    while (w->waiting.first != NULL) {
        struct kd_call *c = w->waiting.first;
        kd_call_list_remove(&w->waiting, c);
        kd_worker_add(k, c);
    }
    w->owner.ready(w->owner.arg);
}

// It could not start, or can't go on, and will end by itself.
static void on_trouble(struct kd_worker *k, const struct kd_hsm_status *s) {
    struct kd_workers *w = k->pool;
    kd_pool_set_reason(w, s->err, s->detail);
    // What exactly is wrong the worker has logged itself.
    kd_log(KD_LOG_ERROR, "workers", "a worker cannot use the token", "worker=%u error=%s", k->index,
           kd_err_name(s->err));
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
    if (kd_hsm_get_status(&r, &said, &s) != KD_OK) {
        return false;
    }
    if (id == 0 && k->state == KD_PROCESS_READY && s.err == KD_ERR_SESSION_LOST) {
        k->has_lost_login = true; // its last words
        kd_worker_give_up(k, "the token has ended its login");
        return true;
    }
    // HELLO is answered once, and first.
    if ((id == 0) != (k->state == KD_PROCESS_STARTING)) {
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

void kd_workers_on_last_words(struct kd_worker *k, struct kd_bytes frame) {
    struct kd_hsm_status s;
    struct kd_reader r = kd_reader_of(frame);
    uint32_t id = 0;
    if (kd_hsm_get_status(&r, &id, &s) != KD_OK || id != 0) {
        return;
    }
    if (s.err == KD_OK) {
        keep_pin_record(k->pool, KD_BYTES_NONE);
    } else if (s.err == KD_ERR_PIN_REFUSED || s.err == KD_ERR_PIN_LAST_TRY) {
        on_trouble(k, &s);
    }
}

// ---- losses ----------------------------------------------------------------

// May it be given to another worker?  What has not left may always.  What has may
// if it is safe to do twice, and did not see too many workers die: only the
// oldest, one a thread, can have been the reason.
static bool may_move(const struct kd_worker *k, struct kd_call *c, size_t position) {
    if (c->op == KD_HSM_PING || c->op == KD_HSM_FORGET || c->is_pinned) {
        return false;
    }
    if (!c->is_sent && (c != k->unsent || k->sent == 0)) {
        return true;
    }
    if (position < k->pool->config->workers.threads) {
        c->tries++;
    }
    return kd_hsm_op_is_repeatable(c->op) && c->tries < KD_POOL_TRIES_MAX;
}

// Only what was lost with a worker that died waits for its successor: after a
// deadline the caller has waited long enough.  Where a worker has lost its login the
// others probably have, too: only one that starts from now on is sure to have one.
static void move(struct kd_worker *from, struct kd_call *c) {
    struct kd_workers *w = from->pool;
    struct kd_worker *other = from->has_lost_login ? NULL : worker_for(w, c->op);
    c->since_ms = kd_clock_mono_ms();
    if (other != NULL) {
        kd_worker_add(other, c);
    } else if (w->is_halted) {
        kd_pool_fail(w, c, w->err);
    } else if (from->is_hung) {
        kd_pool_fail(w, c, KD_ERR_DEADLINE);
    } else {
        c->worker = NULL;
        c->is_sent = false;
        kd_call_list_add(&w->waiting, c);
    }
}

void kd_workers_on_loss(struct kd_worker *k, enum kd_process_state was) {
    struct kd_workers *w = k->pool;
    if (was == KD_PROCESS_READY) {
        w->n_ready--;
        if (!w->is_halted && w->n_ready == 0 && w->err == KD_OK) {
            kd_pool_set_reason(w, KD_ERR_TOKEN_AWAY,
                               kd_bytes_of_text("the worker has ended; another is "
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
            move(k, c);
        } else {
            kd_pool_fail(w, c, err);
        }
    }
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
    w->forgotten = KD_BUF_INIT(SIZE_MAX);
    w->token_frame = KD_BUF_INIT(KD_POOL_STATUS_MAX_BYTES);
    kd_pool_set_reason(w, KD_ERR_TOKEN_AWAY, kd_bytes_of_text("the first worker is starting"));
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
    enum kd_err r = kd_loop_prepare(loop, kd_pool_tend, w);
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
            kd_pool_fail(w, c, KD_ERR_STOPPING);
        }
    }
    while (w->waiting.first != NULL) {
        struct kd_call *c = w->waiting.first;
        kd_call_list_remove(&w->waiting, c);
        kd_pool_fail(w, c, KD_ERR_STOPPING);
    }
    for (unsigned i = 0; i < w->n; i++) {
        kd_worker_dismiss(&w->workers[i]);
    }
    for (unsigned i = 0; i < w->n; i++) {
        kd_worker_wipe(&w->workers[i]);
    }
    kd_call_table_wipe(&w->table);
    kd_buf_wipe(&w->token_frame);
    kd_buf_wipe(&w->forgotten);
    free(w);
}
