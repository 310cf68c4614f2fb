// SPDX-License-Identifier: Apache-2.0
// device_http.h: frames over HTTP: each is the body of a POST, its answer that of the
// response (docs/protocol.md, Frames).  By libcurl, which keeps the connections.
//
// Threads: all functions but kd_http_hold and kd_http_let_go from any; these two under the
// lock of whoever shares it.
#ifndef KD_CLIENT_DEVICE_HTTP_H
#define KD_CLIENT_DEVICE_HTTP_H

#include "base/base.h"

struct kd_http;

// "http://HOST:PORT", "https://HOST:PORT": held once.  KD_ERR_BAD_URI, KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_http_new(const char *url, struct kd_http **out);
struct kd_http *kd_http_hold(struct kd_http *h); // NULL stays NULL
void kd_http_let_go(struct kd_http *h);

// KD_ERR_SYSTEM: no answer, or one that is none of a gateway's; KD_ERR_DEADLINE, KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_http_exchange(struct kd_http *h, struct kd_bytes frame,
                                           unsigned timeout_ms, struct kd_buf *answer);

// One request to a bootstrap server, over TLS.
struct kd_http_request {
    const char *url;
    const char *ca_file; // NULL: the system's
    const char *user;    // for HTTP Basic; NULL: none
    const struct kd_secret *password;
    struct kd_bytes certificate; // of the client, DER; empty: none
    const char *key_file;        // its key, PEM
    const char *type; // of the body; NULL: a GET
    struct kd_bytes body;
    unsigned timeout_ms;
};

// Appends what a 200 brought; *status is that of any answer.  KD_ERR_SYSTEM, KD_ERR_DEADLINE.
KD_MUST_CHECK enum kd_err kd_http_ask(const struct kd_http_request *r, long *status,
                                      struct kd_buf *answer);

#endif
