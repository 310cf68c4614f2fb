// SPDX-License-Identifier: Apache-2.0
// workers_report.c: what is said of the workers.
#include "keyd/pool.h"

#include <inttypes.h>

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

void kd_workers_load(const struct kd_workers *w, size_t *used, size_t *room) {
    *used = *room = 0;
    for (unsigned i = 0; i < w->n; i++) {
        const struct kd_worker *k = &w->workers[i];
        if (k->state == KD_PROCESS_READY) {
            *used += k->calls.n;
            *room += w->config->workers.queue_max;
        }
    }
}

void kd_workers_report(const struct kd_workers *w, struct kd_service_report *out) {
    out->token = kd_workers_token(w);
    out->n_workers = w->n;
    out->in_flight = 0;
    out->queued = count_queued(w);
    for (unsigned i = 0; i < w->n; i++) {
        const struct kd_worker *k = &w->workers[i];
        out->workers[i] = (struct kd_worker_report) {
            .state = k->state == KD_PROCESS_READY                      ? KD_WORKER_READY
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
        kd_buf_printf(out, "keyd_worker_in_flight{worker=\"%u\"} %zu\n", i, w->workers[i].calls.n);
    }
    kd_tally_head(out, "keyd_queue_length", "gauge", "Requests that have not left yet.");
    kd_buf_printf(out, "keyd_queue_length %zu\n", count_queued(w));
}
