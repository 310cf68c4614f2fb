// SPDX-License-Identifier: Apache-2.0
// metrics.c: GET /metrics, the server's lines and then the service's
// (Prometheus text format 0.0.4).
#include "api/metrics.h"

#include "api/route.h"

#include <string.h>

// Every status that kd_problem_status gives or a handler answers with; the
// last place counts any other.
static const unsigned statuses[KD_METRICS_STATUSES - 1] = {
    200, 201, 204, 400, 401, 403, 404, 405, 409, 413, 415, 422, 431, 500, 501, 502, 503, 504,
};

struct bucket {
    uint64_t up_to_us;
    const char *le; // in seconds
};

static const struct bucket buckets[KD_METRICS_BUCKETS] = {
    { 100, "0.0001" },  { 250, "0.00025" }, { 500, "0.0005" },      { 1000, "0.001" },
    { 2500, "0.0025" }, { 5000, "0.005" },  { 10000, "0.01" },      { 25000, "0.025" },
    { 50000, "0.05" },  { 100000, "0.1" },  { 250000, "0.25" },     { 500000, "0.5" },
    { 1000000, "1" },   { 5000000, "5" },   { UINT64_MAX, "+Inf" },
};

void kd_metrics_count(struct kd_http_metrics *m, size_t route, unsigned status,
                      uint64_t latency_us) {
    struct kd_route_metrics *r = &m->routes[route];
    size_t i = 0;
    while (i < KD_METRICS_STATUSES - 1 && statuses[i] != status) {
        i++;
    }
    r->by_status[i]++;
    size_t b = 0;
    while (latency_us > buckets[b].up_to_us) {
        b++;
    }
    r->by_latency[b]++;
    r->sum_us += latency_us;
}

static void put_labels(struct kd_buf *out, size_t route) {
    if (route == kd_route_count()) {
        kd_buf_text(out, "method=\"other\",route=\"none\"");
        return;
    }
    const struct kd_route *r = kd_route_at(route);
    kd_buf_printf(out, "method=\"%s\",route=\"%s\"", r->method, r->path);
}

static void put_requests(struct kd_buf *out, const struct kd_http_metrics *m) {
    kd_buf_text(out, "# HELP keyd_http_requests_total Requests answered.\n"
                     "# TYPE keyd_http_requests_total counter\n");
    for (size_t r = 0; r <= kd_route_count(); r++) {
        for (size_t s = 0; s < KD_METRICS_STATUSES; s++) {
            if (m->routes[r].by_status[s] == 0) {
                continue;
            }
            kd_buf_text(out, "keyd_http_requests_total{");
            put_labels(out, r);
            if (s < KD_METRICS_STATUSES - 1) {
                kd_buf_printf(out, ",status=\"%u\"} ", statuses[s]);
            } else {
                kd_buf_text(out, ",status=\"other\"} ");
            }
            kd_buf_printf(out, "%llu\n", (unsigned long long)m->routes[r].by_status[s]);
        }
    }
}

static void put_latency(struct kd_buf *out, const struct kd_http_metrics *m, size_t route) {
    const struct kd_route_metrics *r = &m->routes[route];
    unsigned long long count = 0;
    for (size_t b = 0; b < KD_METRICS_BUCKETS; b++) {
        count += r->by_latency[b];
    }
    if (count == 0) {
        return;
    }
    unsigned long long sum = 0;
    for (size_t b = 0; b < KD_METRICS_BUCKETS; b++) {
        sum += r->by_latency[b];
        kd_buf_text(out, "keyd_http_request_seconds_bucket{");
        put_labels(out, route);
        kd_buf_printf(out, ",le=\"%s\"} %llu\n", buckets[b].le, sum);
    }
    kd_buf_text(out, "keyd_http_request_seconds_sum{");
    put_labels(out, route);
    kd_buf_printf(out, "} %llu.%06llu\n", (unsigned long long)r->sum_us / 1000000,
                  (unsigned long long)r->sum_us % 1000000);
    kd_buf_text(out, "keyd_http_request_seconds_count{");
    put_labels(out, route);
    kd_buf_printf(out, "} %llu\n", count);
}

static void put_single(struct kd_buf *out, const char *name, const char *type, const char *help,
                       uint64_t value) {
    kd_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name,
                  (unsigned long long)value);
}

void kd_metrics_write(const struct kd_http *h, struct kd_buf *out) {
    const struct kd_http_metrics *m = &h->metrics;
    put_requests(out, m);
    kd_buf_text(out, "# HELP keyd_http_request_seconds From a request's first line to the end of "
                     "its answer.\n# TYPE keyd_http_request_seconds histogram\n");
    for (size_t r = 0; r <= kd_route_count(); r++) {
        put_latency(out, m, r);
    }
    put_single(out, "keyd_http_connections", "gauge", "Connections that are open.",
               h->n_connections);
    put_single(out, "keyd_http_connections_total", "counter", "Connections accepted.",
               m->connections_total);
    put_single(out, "keyd_http_connections_surplus_total", "counter",
               "Connections over the limit, answered with busy.", m->connections_surplus);
    put_single(out, "keyd_http_connections_displaced_total", "counter",
               "Connections closed at the limit to make room for another.",
               m->connections_displaced);
    put_single(out, "keyd_http_connections_timed_out_total", "counter",
               "Connections closed because a header, a body or the next request did not come in "
               "time.",
               m->connections_timed_out);
    put_single(out, "keyd_http_tls_refused_total", "counter",
               "TLS connections closed before their handshake, over http.tls-handshakes-max or "
               "http.tls-handshakes-per-source.",
               m->connections_refused +
                   (h->beside == NULL ? 0 : h->beside->metrics.connections_refused));
    put_single(out, "keyd_http_requests_pending", "gauge", "Requests without a whole answer.",
               h->n_pending);
    put_single(out, "keyd_http_requests_dropped_total", "counter",
               "Requests that ended without a whole answer.", m->requests_dropped);
    put_single(out, "keyd_tls_valid", "gauge",
               "0 where the last reload was refused and older TLS files are in force.",
               kd_http_tls_error(h)[0] == '\0');
}

enum kd_err kd_handle_metrics(struct kd_request *q) {
    enum kd_err err = kd_service_allows(q->http->service, &q->caller, KD_MAY_METRICS, NULL);
    if (err != KD_OK) {
        return err;
    }
    kd_metrics_write(q->http, &q->out);
    kd_service_metrics(q->http->service, &q->out);
    q->content_type = "text/plain; version=0.0.4; charset=utf-8";
    kd_request_answer(q, 200);
    return KD_OK;
}
