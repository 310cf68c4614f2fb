// SPDX-License-Identifier: Apache-2.0
// status.c: GET /v1/status for operators, /healthz and /readyz for supervisors,
// and the API's own description.
#include "kd-build.h"

#include "api/openapi.h"
#include "api/problem.h"
#include "api/route.h"

#include <string.h>

// Text that came from the token, perhaps with the blanks that PKCS#11 pads with.
static void put_token_text(struct kd_buf *out, const char *name, struct kd_bytes text) {
    char copy[256];
    size_t n = text.n < sizeof(copy) - 1 ? text.n : sizeof(copy) - 1;
    while (n > 0 && text.p[n - 1] == ' ') {
        n--;
    }
    if (n > 0) {
        memcpy(copy, text.p, n);
    }
    copy[n] = '\0';
    kd_json_member(out, name);
    kd_json_put_text(out, copy);
}

static void put_member_text(struct kd_buf *out, const char *name, const char *text) {
    kd_json_member(out, name);
    kd_json_put_text(out, text);
}

static void put_member_number(struct kd_buf *out, const char *name, uint64_t n) {
    kd_json_member(out, name);
    kd_json_put_number(out, n);
}

static void put_token(struct kd_buf *out, const struct kd_hsm_status *token) {
    if (token == NULL) {
        kd_buf_text(out, ",\"token\":null,\"abilities\":null,\"hkdf\":null");
        return;
    }
    kd_json_member(out, "token");
    kd_buf_u8(out, '{');
    put_token_text(out, "module", token->module);
    put_token_text(out, "label", token->token_label);
    put_token_text(out, "manufacturer", token->token_manufacturer);
    put_token_text(out, "model", token->token_model);
    put_token_text(out, "serial", token->token_serial);
    put_token_text(out, "uri", token->token_uri);
    put_member_number(out, "sessions_max", token->sessions_max);
    put_member_number(out, "threads", token->threads);
    kd_buf_u8(out, '}');
    kd_json_member(out, "abilities");
    kd_buf_u8(out, '{');
    for (unsigned a = 0; a < KD_HSM_ABILITIES; a++) {
        put_member_text(out, kd_hsm_ability_name((enum kd_hsm_ability)a),
                        kd_hsm_probe_name(token->probe[a]));
    }
    kd_buf_u8(out, '}');
    put_member_text(out, "hkdf", kd_hsm_hkdf_name(token->hkdf));
}

static const char *worker_state(const struct kd_worker_report *w) {
    switch (w->state) {
    case KD_WORKER_STARTING:
        return "starting";
    case KD_WORKER_READY:
        return "ready";
    case KD_WORKER_FAILED:
        return "failed";
    }
    return "failed";
}

static void put_workers(struct kd_buf *out, const struct kd_service_report *report) {
    const uint64_t now_ms = kd_clock_mono_ms();
    kd_json_member(out, "workers");
    kd_buf_u8(out, '[');
    for (size_t i = 0; i < report->n_workers; i++) {
        const struct kd_worker_report *w = &report->workers[i];
        kd_json_element(out);
        kd_buf_u8(out, '{');
        put_member_text(out, "state", worker_state(w));
        put_member_number(out, "pid", (uint64_t)w->pid);
        put_member_number(out, "restarts", w->restarts);
        put_member_number(out, "in_flight", w->in_flight);
        const bool is_ready = w->state == KD_WORKER_READY && now_ms >= w->ready_ms;
        put_member_number(out, "ready_for_sec", is_ready ? (now_ms - w->ready_ms) / 1000 : 0);
        kd_buf_u8(out, '}');
    }
    kd_buf_u8(out, ']');
}

static void put_counts(struct kd_buf *out, const struct kd_http *h,
                       const struct kd_service_report *report) {
    kd_json_member(out, "counts");
    kd_buf_u8(out, '{');
    put_member_number(out, "keys", report->n_keys);
    put_member_number(out, "secrets", report->n_secrets);
    put_member_number(out, "in_flight", report->in_flight);
    put_member_number(out, "queued", report->queued);
    put_member_number(out, "connections", h->n_connections);
    kd_buf_u8(out, '}');
}

static void put_references(struct kd_buf *out, const struct kd_channel_report *report) {
    const uint64_t now_ms = kd_clock_wall_ms();
    const uint64_t upto_ms = report->certificate_upto_ms;
    kd_json_member(out, "certificate");
    if (upto_ms == 0) {
        kd_buf_text(out, "null");
    } else {
        kd_buf_u8(out, '{');
        kd_json_member(out, "not_after");
        kd_json_put_time(out, upto_ms);
        put_member_number(out, "expires_in_sec", upto_ms > now_ms ? (upto_ms - now_ms) / 1000 : 0);
        kd_buf_u8(out, '}');
    }
    kd_json_member(out, "fetch");
    kd_buf_u8(out, '{');
    kd_json_member(out, "on");
    kd_json_put_bool(out, report->fetch.is_on);
    kd_json_member(out, "running");
    kd_json_put_bool(out, report->fetch.is_running);
    put_member_number(out, "pending", report->fetch.n_flights);
    put_member_number(out, "failed", report->fetch.n_failed);
    put_member_number(out, "restarts", report->fetch.restarts);
    kd_buf_u8(out, '}');
}

static void put_channel(struct kd_buf *out, const struct kd_service *service) {
    struct kd_channel_report report;
    kd_channel_report(service, &report);
    kd_json_member(out, "channel");
    kd_buf_u8(out, '{');
    kd_json_member(out, "on");
    kd_json_put_bool(out, report.is_on);
    put_member_number(out, "peers", report.n_peers);
    put_member_number(out, "handshakes", report.n_handshakes);
    put_member_number(out, "sessions", report.n_sessions);
    put_references(out, &report);
    kd_buf_u8(out, '}');
}

static void put_tls(struct kd_buf *out, const struct kd_http *h) {
    uint64_t read_ms = h->tls_ms;
    if (h->beside != NULL && h->beside->tls_ms > read_ms) {
        read_ms = h->beside->tls_ms;
    }
    kd_json_member(out, "tls");
    kd_buf_u8(out, '{');
    kd_json_member(out, "read");
    if (read_ms == 0) {
        kd_buf_text(out, "null");
    } else {
        kd_json_put_time(out, read_ms);
    }
    put_member_text(out, "error", kd_http_tls_error(h));
    kd_buf_u8(out, '}');
}

enum kd_err kd_handle_status(struct kd_request *q) {
    struct kd_service *service = q->http->service;
    enum kd_err err = kd_service_allows(service, &q->caller, KD_MAY_STATUS, NULL);
    if (err != KD_OK) {
        return err;
    }
    struct kd_service_report report;
    kd_service_report(service, &report);
    const char *detail = "";
    const enum kd_err ready = kd_service_ready(service, &detail);
    struct kd_buf *out = &q->out;
    kd_buf_u8(out, '{');
    put_member_text(out, "version", PACKAGE_VERSION);
    kd_json_member(out, "started");
    kd_json_put_time(out, report.started_ms);
    kd_json_member(out, "ready");
    kd_json_put_bool(out, ready == KD_OK);
    kd_json_member(out, "problem");
    if (ready == KD_OK) {
        kd_buf_text(out, "null");
    } else {
        kd_problem_write(out, ready, detail, "", "");
    }
    put_token(out, report.token);
    put_workers(out, &report);
    put_counts(out, q->http, &report);
    put_channel(out, service);
    kd_json_member(out, "policy");
    kd_buf_u8(out, '{');
    kd_json_member(out, "read");
    kd_json_put_time(out, report.policy_ms);
    put_member_text(out, "error", report.policy_error);
    kd_buf_u8(out, '}');
    put_tls(out, q->http);
    kd_buf_u8(out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_healthz(struct kd_request *q) {
    kd_buf_text(&q->out, "{\"healthy\":true}");
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_readyz(struct kd_request *q) {
    // The sentence for the operator may name files and tokens: it is in
    // /v1/status, and here, where nobody says who he is, the kind alone.
    const char *detail = "";
    enum kd_err err =
        q->http->is_stopping ? KD_ERR_STOPPING : kd_service_ready(q->http->service, &detail);
    if (err != KD_OK) {
        return err;
    }
    kd_buf_text(&q->out, "{\"ready\":true}");
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_openapi(struct kd_request *q) {
    kd_buf_text(&q->out, kd_openapi_json);
    kd_request_answer(q, 200);
    return KD_OK;
}
