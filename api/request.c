// SPDX-License-Identifier: Apache-2.0
// request.c: the life of a request, from its first line to its whole answer.
// What can be refused early (intake.c) is remembered, the body is then read without being
// kept, and the connection stays usable; only a body that is far over its limit ends it.
#include "api/http.h"

#include "api/json_in.h"
#include "api/problem.h"
#include "api/route.h"
#include "api/share.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_BYTES = 65536 }; // up to here a request is always let in

// ---- making and freeing ----------------------------------------------------

// 16 hex digits that do not repeat while the process lives and do not tell how
// many there were.  They are names, not secrets.
static void make_id(struct kd_http *h, char out[static 17]) {
    uint64_t x = h->id_seed + ++h->id_count * 0x9e3779b97f4a7c15u; // splitmix64
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    uint8_t bytes[8];
    memcpy(bytes, &x, sizeof(bytes));
    kd_hex_encode(bytes, sizeof(bytes), out);
}

void *kd_request_begin(void *http, const char *uri, struct MHD_Connection *mhd) {
    struct kd_http *h = http;
    struct kd_connection *c = kd_connection_of(mhd);
    struct kd_request *q = c == NULL ? NULL : calloc(1, sizeof(*q));
    if (q == NULL) {
        return NULL; // kd_request_access closes the connection
    }
    q->http = h;
    q->connection = c;
    q->mhd = mhd;
    q->holders = 1;
    q->retry_after_sec = h->config.retry_after_sec;
    q->content_type = "application/json";
    q->cache_control = "no-store";
    q->started_us = kd_clock_mono_us();
    q->out = KD_BUF_INIT(KD_HTTP_ANSWER_MAX_BYTES);
    make_id(h, q->caller.request_id);
    q->refused = kd_route_find(uri, &q->path, q->name, &q->version);
    if (q->path != NULL && q->path->is_for_devices != h->config.is_bootstrap) {
        q->path = NULL; // of the other server
        q->refused = KD_ERR_NO_ROUTE;
    }
    q->is_spaced = strchr(uri, ' ') != NULL;
    q->body = KD_BUF_INIT(kd_request_body_max(q));
    q->arena = KD_BUF_INIT(kd_request_body_max(q));
    h->n_pending++;
    kd_connection_await(c, false);
    kd_connection_allow(c, h->config.header_timeout_ms);
    return q;
}

static void let_go(struct kd_request *q) {
    if (--q->holders > 0) {
        return;
    }
    q->http->held -= q->held;
    kd_json_wipe(&q->json);
    kd_buf_wipe(&q->body);
    kd_buf_wipe(&q->arena);
    kd_buf_wipe(&q->out);
    free(q->work);
    free(q);
}

enum kd_err kd_request_hold(struct kd_request *q, size_t n) {
    struct kd_http *h = q->http;
    q->wanted += n;
    if (q->wanted <= SMALL_BYTES) {
        return KD_OK;
    }
    const size_t more = q->wanted - q->held;
    if (more > h->config.large_max_bytes - h->held) {
        kd_request_say(q, "Too many large requests are under way.");
        return KD_ERR_BUSY;
    }
    h->held += more;
    q->held = q->wanted;
    return KD_OK;
}

static void response_freed(void *request) {
    let_go(request);
}

// ---- log -------------------------------------------------------------------

// As far as it could be one of ours: who asks may write what he likes in its place, also what
// looks like other values of the line.
static int field_length(const struct kd_request *q) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-[]";
    return (int)strspn(q->why.field, allowed);
}

static void log_request(const struct kd_request *q, enum kd_log_level level, const char *what) {
    char origin[KD_ORIGIN_BYTES];
    kd_request_origin(q, origin);
    kd_log(level, "http", what,
           "request=%s principal=%s method=%s route=%s name=%s status=%u problem=%s field=%.*s "
           "from=%s us=%llu",
           q->caller.request_id, q->principal, q->route == NULL ? "-" : q->route->method,
           q->path == NULL ? "-" : q->path->path, q->name, q->status,
           q->problem == KD_OK ? "-" : kd_err_name(q->problem), field_length(q), q->why.field,
           origin, (unsigned long long)(kd_clock_mono_us() - q->started_us));
}

static void log_answer(const struct kd_request *q) {
    if (q->problem != KD_OK) {
        if (kd_http_may_warn(q->http)) {
            log_request(q, KD_LOG_WARN, "a request was refused");
        }
        return;
    }
    if (kd_log_is_on(KD_LOG_DEBUG)) {
        log_request(q, KD_LOG_DEBUG, "a request was answered");
    }
}

// ---- answering -------------------------------------------------------------

void kd_request_say(struct kd_request *q, const char *detail) {
    if (detail != NULL && detail[0] != '\0') {
        snprintf(q->why.detail, sizeof(q->why.detail), "%s", detail);
    }
}

void kd_request_answer(struct kd_request *q, unsigned status) {
    const enum kd_err err = kd_buf_finish(&q->out);
    if (err != KD_OK) {
        q->why = (struct kd_why) { "", "" };
        kd_request_fail(q, err == KD_ERR_NO_MEMORY ? err : KD_ERR_BUG);
        return;
    }
    q->status = status;
    q->state = KD_REQUEST_ANSWERED;
}

void kd_request_put_header(struct kd_request *q, const char *name, const char *value) {
    assert(q->n_headers < KD_HTTP_HEADERS_MAX);
    struct kd_header *h = &q->headers[q->n_headers++];
    h->name = name;
    snprintf(h->value, sizeof(h->value), "%s", value);
}

void kd_request_fail(struct kd_request *q, enum kd_err err) {
    kd_request_fail_with(q, err, "", KD_BYTES_NONE);
}

void kd_request_fail_with(struct kd_request *q, enum kd_err err, const char *name,
                          struct kd_bytes value) {
    kd_request_explain(q, err);
    kd_buf_reset(&q->out);
    kd_problem_write_with(&q->out, err, q->why.detail, q->why.field, q->caller.request_id, name,
                          value);
    if (kd_buf_finish(&q->out) != KD_OK) {
        kd_buf_wipe(&q->out); // no memory for the words: the status alone
        err = KD_ERR_NO_MEMORY;
    }
    q->problem = err;
    q->status = kd_problem_status(err);
    q->content_type = "application/problem+json";
    q->cache_control = "no-store";
    q->state = KD_REQUEST_ANSWERED;
}

void kd_request_wake(struct kd_request *q) {
    MHD_resume_connection(q->mhd);
    q->http->has_resumed = true;
}

void kd_request_resume(struct kd_request *q) {
    assert(q->state == KD_REQUEST_ANSWERED);
    kd_share_give(q);
    if (!kd_audit_hold(q)) {
        kd_request_wake(q);
    }
}

void kd_request_end(struct kd_request *q, unsigned status) {
    kd_request_answer(q, status);
    kd_request_resume(q);
}

void kd_request_refuse(struct kd_request *q, enum kd_err err, const char *detail) {
    kd_request_say(q, detail);
    kd_request_fail(q, err);
    kd_request_resume(q);
}

static bool add_headers(const struct kd_request *q, struct MHD_Response *r) {
    bool is_ok = MHD_add_response_header(r, "X-Request-Id", q->caller.request_id) == MHD_YES &&
                 MHD_add_response_header(r, "Cache-Control", q->cache_control) == MHD_YES;
    if (q->out.n > 0) {
        is_ok = is_ok && MHD_add_response_header(r, "Content-Type", q->content_type) == MHD_YES;
    }
    if (q->location[0] != '\0') {
        is_ok = is_ok && MHD_add_response_header(r, "Location", q->location) == MHD_YES;
    }
    for (size_t i = 0; i < q->n_headers; i++) {
        const struct kd_header *h = &q->headers[i];
        is_ok = is_ok && MHD_add_response_header(r, h->name, h->value) == MHD_YES;
    }
    if (q->status == 503) {
        char seconds[16];
        snprintf(seconds, sizeof(seconds), "%u", q->retry_after_sec);
        is_ok = is_ok && MHD_add_response_header(r, "Retry-After", seconds) == MHD_YES;
    }
    if (q->status == 401) {
        const char *scheme = q->http->config.is_bootstrap ? "Basic realm=\"keyd\"" : "Bearer";
        is_ok = is_ok && MHD_add_response_header(r, "WWW-Authenticate", scheme) == MHD_YES;
    }
    if (q->status == 405) {
        kd_auto(buf) struct kd_buf allow = KD_BUF_INIT(64);
        kd_route_allow(q->path, &allow);
        is_ok = is_ok && MHD_add_response_header(r, "Allow", kd_buf_get_text(&allow)) == MHD_YES;
    }
    if (q->connection->is_surplus || q->http->is_stopping || q->is_last) {
        is_ok = is_ok && MHD_add_response_header(r, "Connection", "close") == MHD_YES;
    }
    return is_ok;
}

enum MHD_Result kd_request_send(struct kd_request *q) {
    // The response borrows q->out, so it holds the request until it is freed,
    // which is after kd_request_completed.
    struct MHD_Response *r = MHD_create_response_from_buffer_with_free_callback_cls(
        q->out.n, q->out.p, response_freed, q);
    if (r == NULL) {
        return MHD_NO;
    }
    q->holders++;
    enum MHD_Result result = MHD_NO;
    if (add_headers(q, r)) {
        result = MHD_queue_response(q->mhd, q->status, r);
    }
    if (result == MHD_YES) {
        q->state = KD_REQUEST_SENDING;
        kd_connection_allow(q->connection, q->http->config.body_timeout_ms);
        kd_audit_end(q);
        log_answer(q);
    }
    MHD_destroy_response(r);
    return result;
}

void kd_request_completed(void *http, struct MHD_Connection *mhd KD_UNUSED, void **request,
                          enum MHD_RequestTerminationCode how) {
    struct kd_http *h = http;
    struct kd_request *q = *request;
    *request = NULL;
    if (q == NULL) {
        return;
    }
    h->n_pending--;
    kd_audit_end(q);
    if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK && q->state == KD_REQUEST_SENDING) {
        kd_metrics_count(&h->metrics, kd_route_index(q->route), q->status,
                         kd_clock_mono_us() - q->started_us);
    } else {
        h->metrics.requests_dropped++;
        if (kd_log_is_on(KD_LOG_DEBUG)) {
            log_request(q, KD_LOG_DEBUG, "a request ended without a whole answer");
        }
    }
    kd_connection_idle(q->connection);
    let_go(q);
}

// ---- the caller ------------------------------------------------------------

enum kd_err kd_request_identify(struct kd_request *q) {
    if (q->caller_turn == q->http->turn) {
        return KD_OK;
    }
    struct kd_credential credential;
    enum kd_err err = kd_credential_get(q, &credential);
    if (err != KD_OK) {
        return err;
    }
    struct kd_caller found = { .principal = NULL };
    err = kd_service_identify(q->http->service, &credential, &found);
    if (err != KD_OK) {
        return err;
    }
    q->caller.principal = found.principal;
    q->caller.policy = found.policy;
    q->caller_turn = q->http->turn;
    kd_connection_know(q->connection, found.principal);
    snprintf(q->principal, sizeof(q->principal), "%s", found.principal);
    return KD_OK;
}

// ---- the body --------------------------------------------------------------

// A body of unknown length grows here and not by realloc, which would leave
// its parts behind in freed memory.
static void keep(struct kd_request *q, const char *data, size_t n) {
    if (q->refused != KD_OK) {
        return;
    }
    if (n > q->body.max - q->body.n) {
        q->refused = KD_ERR_BODY_TOO_LARGE;
        kd_buf_wipe(&q->body);
        return;
    }
    if (n > q->body.cap - q->body.n) {
        struct kd_buf larger = KD_BUF_INIT(q->body.max);
        const size_t doubled = 2 * (q->body.n + n);
        q->refused = kd_request_hold(q, doubled - q->body.cap);
        if (q->refused != KD_OK) {
            kd_buf_wipe(&q->body);
            return;
        }
        (void)kd_buf_extend(&larger, doubled > larger.max ? larger.max : doubled);
        larger.n = 0;
        kd_buf_put(&larger, q->body.p, q->body.n);
        kd_buf_wipe(&q->body);
        q->body = larger;
    }
    kd_buf_put(&q->body, data, n);
    q->refused = kd_buf_finish(&q->body);
}

static enum kd_err parse_body(struct kd_request *q) {
    const bool may_be_empty =
        q->is_raw ? q->route->raw_may_be_empty : q->route->body != KD_BODY_NEEDED;
    if (q->body.n == 0 && may_be_empty) {
        return KD_OK;
    }
    if (q->body.n == 0) {
        kd_request_say(q, "This request needs a body.");
        return KD_ERR_BAD_JSON;
    }
    if (q->is_raw || q->is_cbor) {
        return KD_OK; // for the handler to read
    }
    // Decoded values are shorter than their text.
    (void)kd_buf_extend(&q->arena, q->body.n);
    q->arena.n = 0;
    enum kd_err err = kd_buf_finish(&q->arena);
    return err != KD_OK ? err : kd_json_parse(&q->body, &q->why, &q->json);
}

// All that is checked before anybody works.
static enum kd_err check_request(struct kd_request *q) {
    if (q->refused != KD_OK) {
        return q->refused;
    }
    if (q->http->is_closing) {
        return KD_ERR_STOPPING;
    }
    enum kd_err err = q->route->is_open ? KD_OK : kd_request_identify(q);
    if (err != KD_OK || (err = kd_request_check_query(q)) != KD_OK) {
        return err;
    }
    return parse_body(q);
}

// The audit log may come between the checks and the work: then this is called twice.
static enum kd_err dispatch(struct kd_request *q) {
    enum kd_err err;
    if (q->state == KD_REQUEST_BODY &&
        ((err = check_request(q)) != KD_OK || (err = kd_share_take(q)) != KD_OK ||
         (err = kd_audit_begin(q)) != KD_OK || q->state == KD_REQUEST_ASKING)) {
        return err;
    }
    if (q->http->is_closing) {
        return KD_ERR_STOPPING;
    }
    err = q->route->is_open ? KD_OK : kd_request_identify(q);
    return err == KD_OK ? q->route->handler(q) : err;
}

// The service has copied what it needs: while it works the body is not kept
// three times.
static void drop_input(struct kd_request *q) {
    kd_json_wipe(&q->json);
    kd_buf_wipe(&q->body);
    kd_buf_wipe(&q->arena);
}

static enum MHD_Result suspend(struct kd_request *q) {
    kd_connection_allow(q->connection, KD_LOOP_NO_LIMIT);
    q->http->has_submitted = true;
    MHD_suspend_connection(q->mhd);
    return MHD_YES;
}

static enum MHD_Result end_body(struct kd_request *q) {
    const enum kd_err err = dispatch(q);
    if (err != KD_OK) {
        kd_request_fail(q, err);
    }
    if (q->state == KD_REQUEST_WAITING) {
        drop_input(q);
    }
    const bool waits = q->state == KD_REQUEST_WAITING || q->state == KD_REQUEST_ASKING;
    if (!waits) {
        kd_share_give(q);
    }
    return waits || kd_audit_hold(q) ? suspend(q) : kd_request_send(q);
}

enum MHD_Result kd_request_access(void *http KD_UNUSED, struct MHD_Connection *mhd KD_UNUSED,
                                  const char *url, const char *method, const char *version,
                                  const char *upload_data, size_t *upload_data_size,
                                  void **request) {
    struct kd_request *q = *request;
    if (q == NULL) {
        return MHD_NO;
    }
    q->url = kd_route_path(url);
    switch (q->state) {
    case KD_REQUEST_HEADER:
        return kd_request_take_header(q, method, version);
    case KD_REQUEST_BODY:
        if (*upload_data_size > 0) {
            keep(q, upload_data, *upload_data_size);
            q->received += *upload_data_size;
            *upload_data_size = 0;
            return q->received > KD_HTTP_DRAIN_MAX_BYTES ? MHD_NO : MHD_YES;
        }
        return end_body(q);
    case KD_REQUEST_ASKED:
        return end_body(q);
    case KD_REQUEST_ANSWERED:
        return kd_request_send(q);
    case KD_REQUEST_ASKING:
    case KD_REQUEST_HELD:
    case KD_REQUEST_WAITING:
    case KD_REQUEST_SENDING:
        break;
    }
    return MHD_NO;
}
