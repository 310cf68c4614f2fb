// SPDX-License-Identifier: Apache-2.0
// gateway.c: the gateway as a whole: what it has, and what it says of itself.
#include "gateway/released.h"

static void head(struct kd_buf *out, const char *name, const char *type, const char *help) {
    kd_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void line(struct kd_buf *out, const char *name, const char *label, const char *value,
                 uint64_t n) {
    kd_buf_printf(out, "%s{%s=\"%s\"} %llu\n", name, label, value, (unsigned long long)n);
}

static void number(struct kd_buf *out, const char *name, const char *type, const char *help,
                   uint64_t n) {
    head(out, name, type, help);
    kd_buf_printf(out, "%s %llu\n", name, (unsigned long long)n);
}

void kd_gateway_metrics(const struct kd_gateway *g, struct kd_buf *out) {
    static const char *const failures[KD_FAILURE_LAST + 1] = {
        [KD_FAILURE_REFUSED] = "refused",     [KD_FAILURE_UNKNOWN_SESSION] = "unknown-session",
        [KD_FAILURE_BUSY] = "busy",           [KD_FAILURE_MALFORMED] = "malformed",
        [KD_FAILURE_TOO_LARGE] = "too-large", [KD_FAILURE_RETRY] = "retry",
    };
    static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
    const struct kd_gateway_counts *c = &g->counts;
    head(out, "keyd_gateway_frames_total", "counter", "Frames of devices, by kind.");
    for (enum kd_frame_kind i = 1; i <= KD_FRAME_KIND_LAST; i++) {
        line(out, "keyd_gateway_frames_total", "kind", kd_frame_kind_name(i), c->frames[i]);
    }
    head(out, "keyd_gateway_answers_total", "counter", "Frames that got their answer.");
    for (enum kd_frame_kind i = 1; i <= KD_FRAME_KIND_LAST; i++) {
        line(out, "keyd_gateway_answers_total", "kind", kd_frame_kind_name(i), c->answered[i]);
    }
    head(out, "keyd_gateway_failures_total", "counter", "Frames that got a failure.");
    for (size_t i = 1; i <= KD_FAILURE_LAST; i++) {
        line(out, "keyd_gateway_failures_total", "code", failures[i], c->failed[i]);
    }
    number(out, "keyd_gateway_over_share_total", "counter",
           "Frames of devices that had pending-per-peer without an answer.", c->over_share);
    head(out, "keyd_gateway_backend_total", "counter", "Answers of the backend.");
    for (size_t i = 0; i < KD_COUNT_OF(classes); i++) {
        line(out, "keyd_gateway_backend_total", "status", classes[i], c->backend[i]);
    }
    number(out, "keyd_gateway_repeated_total", "counter", "Datagrams that had come before.",
           c->repeated);
    number(out, "keyd_gateway_batches_total", "counter", "Requests of records to keyd.",
           c->batches);
    number(out, "keyd_gateway_batched_total", "counter", "Records in them.", c->batched);
    number(out, "keyd_gateway_own_records_total", "counter", "Records opened and sealed here.",
           c->own_records);
    number(out, "keyd_gateway_released", "gauge", "Sessions whose keys are here.",
           kd_released_count(g));
    head(out, "keyd_gateway_pushes_total", "counter",
         "Messages of the backend to devices, by class of what it was told.");
    for (size_t i = 2; i < KD_COUNT_OF(classes); i++) {
        line(out, "keyd_gateway_pushes_total", "status", classes[i], c->pushes[i]);
    }
    number(out, "keyd_gateway_connected", "gauge", "Devices that messages can be sent to.",
           kd_routes_count(g));
    number(out, "keyd_gateway_pending", "gauge", "Frames without an answer.", g->pending);
}
