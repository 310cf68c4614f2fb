// SPDX-License-Identifier: Apache-2.0
// metrics.h: what the server counts for GET /metrics.
#ifndef KD_API_METRICS_H
#define KD_API_METRICS_H

#include "base/base.h"

#define KD_METRICS_ROUTES_MAX 80 // routes, and one for requests without a route
#define KD_METRICS_STATUSES 19
#define KD_METRICS_BUCKETS 15 // the last one has no upper bound

struct kd_route_metrics {
    uint64_t by_status[KD_METRICS_STATUSES];
    uint64_t by_latency[KD_METRICS_BUCKETS];
    uint64_t sum_us;
};

struct kd_http_metrics {
    struct kd_route_metrics routes[KD_METRICS_ROUTES_MAX];
    uint64_t connections_total;
    uint64_t connections_surplus;   // answered with busy, over the limit
    uint64_t connections_displaced; // that made room at the limit
    uint64_t connections_timed_out;
    uint64_t connections_refused; // over tls_handshakes_max or tls_handshakes_per_source
    uint64_t requests_dropped; // ended by the client or by time, without a whole answer
};

// Counts one request that got its answer.
void kd_metrics_count(struct kd_http_metrics *m, size_t route, unsigned status,
                      uint64_t latency_us);

struct kd_http;
void kd_metrics_write(const struct kd_http *h, struct kd_buf *out); // Prometheus text format

#endif
