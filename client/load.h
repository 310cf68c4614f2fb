// SPDX-License-Identifier: Apache-2.0
// load.h: a load generator for HTTP requests over the Unix socket: N keep-alive
// connections, each with one request under way, the same bytes every time or the
// next of a list.  It counts answers and their latencies.  For keydctl bench and `make
// bench`; it knows of HTTP only what keyd's answers need (Content-Length).
#ifndef KD_CLIENT_LOAD_H
#define KD_CLIENT_LOAD_H

#include "base/base.h"

#define KD_LOAD_CONNECTIONS_MAX 10000
#define KD_LOAD_WHY_BYTES 256

struct kd_load_config {
    const char *socket;      // path of the Unix socket
    unsigned connections;    // 1..KD_LOAD_CONNECTIONS_MAX
    uint64_t duration_ms;    // what is measured
    uint64_t warmup_ms;      // before it, not counted
    uint64_t requests_max;   // ends earlier after so many answers; 0: no limit
    // Whole requests, header and body, in turn; after the last comes the first again,
    // or with `once` the end, when all are answered.
    const struct kd_bytes *requests;
    size_t n_requests;
    bool once;
    struct kd_buf *bodies; // with `once`: n_requests of them, for what is answered; or NULL
};

struct kd_load_result {
    uint64_t answers; // with status 2xx
    uint64_t refused; // with another status
    unsigned status;  // the last that was not 2xx; 0: none
    uint64_t elapsed_us;
    double per_sec;  // answers
    uint64_t body_min_bytes; // the smallest and the largest answer: a part that failed shows
    uint64_t body_max_bytes;
    uint32_t p50_us; // latencies of all answers, to 1/32 of their value
    uint32_t p90_us;
    uint32_t p99_us;
    uint32_t max_us;
};

// Runs in this thread until the time is over.  With anything but KD_OK why says
// what happened: KD_ERR_TOKEN_AWAY nobody listens, KD_ERR_SYSTEM a connection
// broke, KD_ERR_MALFORMED an answer is not as expected, KD_ERR_DEADLINE none
// came for ten seconds.
KD_MUST_CHECK enum kd_err kd_load_run(const struct kd_load_config *config,
                                      struct kd_load_result *result,
                                      char why[static KD_LOAD_WHY_BYTES]);

// The bytes of a POST with a JSON body, for config.requests.
KD_MUST_CHECK enum kd_err kd_load_request(const char *path, const char *json, struct kd_buf *out);

#endif
