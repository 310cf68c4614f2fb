// SPDX-License-Identifier: Apache-2.0
// api.h: the HTTP server in front of the service (docs/api.md).  libmicrohttpd
// runs inside the event loop, without threads of its own: a request that waits
// for the token is suspended and resumed in the same thread.
#ifndef KD_API_API_H
#define KD_API_API_H

#include "base/base.h"
#include "keyd/service.h"

// Strings are borrowed for the life of the server.
struct kd_http_config {
    const char *unix_path;       // NULL or "": no Unix socket
    unsigned unix_mode;          // 0660
    const char *unix_group;      // NULL or "": as the process
    const char *tcp_address;     // NULL or "": no TCP
    uint16_t tcp_port;           // 0: any, the log says which
    const char *tls_certificate; // files in PEM; "": TCP without TLS, loopback addresses only
    const char *tls_key;
    const char *tls_client_ca; // "": clients are not asked for a certificate
    uint32_t connections_max;  // a few more are told "busy", others wait to be accepted
    uint32_t tls_handshakes_max; // in a second, at each address that is listened at
    uint32_t tls_handshakes_per_source; // of them, those of one address (IPv6: of one /64)
    uint32_t principal_max;    // requests of one principal that are worked on at once
    uint32_t body_max_bytes;
    uint32_t large_max_bytes;   // bodies and answers at once, of requests over 64 KiB
    uint32_t header_max_bytes;
    uint32_t header_timeout_ms; // from the first line of a request to the end of its header
    uint32_t body_timeout_ms;   // to the end of its body; also for taking the answer
    uint32_t idle_timeout_ms;   // a connection without a request
    uint32_t retry_after_sec;   // said in 503
    // The server for devices: other routes, no callers of the policy, and client certificates
    // are not verified but looked up (keyd/bootstrap.h).
    bool is_bootstrap;
};

struct kd_http;

// KD_ERR_SYSTEM or KD_ERR_CONFIG where a socket or certificate cannot be used;
// the log says which and why.  A stale Unix socket is replaced, one that
// another process serves is not.
KD_MUST_CHECK enum kd_err kd_http_open(struct kd_loop *loop, struct kd_service *service,
                                       const struct kd_http_config *config, struct kd_http **out);
// Reads the files for TLS again.  Connections that are open go on with what they began with; where
// the new files cannot be used, those in force stay.
void kd_http_reload(struct kd_http *h);
// What is to be said of the other's TLS files stands in h's /v1/status and /metrics, too.  `other`
// lives at least as long as h serves.
void kd_http_join(struct kd_http *h, const struct kd_http *other);
void kd_http_stop(struct kd_http *h);            // accepts no more connections; requests go on
size_t kd_http_pending(const struct kd_http *h); // requests without a whole answer
// All of the service's callbacks must have come, and the loop must not run again.
void kd_http_close(struct kd_http *h);
KD_AUTO_DEFINE(http, struct kd_http *, kd_http_close)

#endif
