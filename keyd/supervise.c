// SPDX-License-Identifier: Apache-2.0
// supervise.c: when workers are started, pinged and given up.  Called before
// each wait of the loop.
#include "keyd/pool.h"

enum {
    RESTART_DELAY_MAX_MS = 30000,
    STEADY_MS = 10000, // a worker that lived so long starts with a clean record
};

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// ---- starting --------------------------------------------------------------

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

static void start(struct kd_workers *w, struct kd_worker *k) {
    if (k->failures > 0) {
        k->restarts++;
    }
    if (kd_worker_start(k, w->config, (struct kd_bytes) { w->pin_record, w->n_pin_record }) !=
        KD_OK) {
        if (!w->is_halted) { // its last words have not said why
            kd_pool_set_reason(w, KD_ERR_TOKEN_AWAY,
                               kd_bytes_of_text("the worker program cannot be started"));
        }
        kd_workers_on_down(k);
    }
}

// One at a time, and while none is ready always the same one, so that a wrong
// PIN reaches the token once and not once for each worker.
static struct kd_worker *next_to_start(struct kd_workers *w) {
    struct kd_worker *next = NULL;
    for (unsigned i = 0; i < w->n; i++) {
        struct kd_worker *k = &w->workers[i];
        if (k->state == KD_PROCESS_STARTING || k->kill_ms != 0) {
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

static uint64_t tend_worker(struct kd_workers *w, struct kd_worker *k, uint64_t now) {
    const struct kd_workers_config *c = &w->config->workers;
    if (k->state == KD_PROCESS_STARTING) {
        const uint64_t left = until(k->started_ms + c->start_deadline_ms, now);
        if (left == 0) {
            kd_pool_set_reason(w, KD_ERR_DEADLINE,
                               kd_bytes_of_text("the token did not get ready within "
                                                "workers.start-deadline-ms"));
            kd_worker_give_up(k, "it did not get ready in time");
        }
        return left == 0 ? kd_worker_tend_end(k, now) : left;
    }
    if (k->state != KD_PROCESS_READY) {
        return kd_worker_tend_end(k, now);
    }
    if (k->calls.first == NULL) {
        const uint64_t left = until(k->seen_ms + c->ping_ms, now);
        if (left > 0) {
            return left;
        }
        kd_pool_send_own(k, KD_HSM_PING, NULL, 0);
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
        // What was at a worker already has had its time; the rest found none.
        kd_pool_fail(w, c,
                     w->is_halted   ? w->err
                     : c->tries > 0 ? KD_ERR_DEADLINE
                                    : KD_ERR_TOKEN_AWAY);
    }
    return KD_LOOP_NO_LIMIT;
}

// The loop's hook: deadlines, starts, and everything that has gathered is sent.
uint64_t kd_pool_tend(void *workers) {
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
    kd_pool_send_forgotten(w);
    for (unsigned i = 0; i < w->n; i++) {
        if (w->workers[i].unsent != NULL) {
            kd_worker_flush(&w->workers[i]);
        }
    }
    return limit;
}
