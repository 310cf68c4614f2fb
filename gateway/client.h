// SPDX-License-Identifier: Apache-2.0
// client.h: HTTP requests to one server, keyd or the backend, on the event loop
// (libcurl's multi interface): connections are kept and reused, answers come later.
#ifndef KD_GATEWAY_CLIENT_H
#define KD_GATEWAY_CLIENT_H

#include "base/base.h"

enum { KD_CLIENT_HEADERS_MAX = 8 };

struct kd_client;

struct kd_client_config {
    const char *url;          // of the server, without a path: "http://keyd"
    const char *unix_path;    // "": TCP
    const char *ca_file;      // "": the system's
    const char *bearer;       // file with a bearer token; "": none
    uint32_t connections_max; // what is asked beyond waits until one is free
    uint32_t per_who_max;     // of them, for one at once; 0: as many as there are
    uint32_t timeout_ms;      // of a request, with the time that it waits
    uint32_t answer_max_bytes;
};

// Before all else, once: libcurl's memory is wiped when it is given back.
void kd_client_init_library(void);

// The configuration lives as long as the client.
KD_MUST_CHECK enum kd_err kd_client_new(struct kd_loop *loop, const struct kd_client_config *config,
                                        struct kd_client **out);
// When no request is under way.
void kd_client_free(struct kd_client *c);

// In place of a status where there was no answer; then the body is a sentence why.
enum {
    KD_CLIENT_UNSENT = 0, // no connection, or none was free in time: the server has nothing of it
    KD_CLIENT_LOST = 1,   // sent, and the connection ended, or the answer is none: nobody knows
    KD_CLIENT_LATE = 2,   // sent, and not answered in time: nobody knows
};
static inline bool kd_client_is_answer(unsigned status) {
    return status >= 100;
}
// For logs: 0 where there was no answer.
static inline unsigned kd_client_status(unsigned status) {
    return kd_client_is_answer(status) ? status : 0;
}

// status: of the answer, or one of these.  The body is borrowed.
typedef void kd_client_done(void *arg, unsigned status, struct kd_bytes body);

struct kd_client_request {
    const char *path;           // NULL: the URL is whole
    const char *type;           // media type of the body; NULL: a GET
    struct kd_bytes body;       // copied
    const char *const *headers; // "Name: value", n_headers of them, at most KD_CLIENT_HEADERS_MAX
    size_t n_headers;
    const char *who;    // it is for; those that wait for a connection take turns.  NULL: ""
    const char *method; // NULL: GET, or POST with a body
    bool is_secret;     // the answer: nothing of it is left when `done` has returned
    bool is_connect;    // no request: status 200 when there is a new connection
    uint32_t probe_ms;  // its timeout, and it waits for no free connection; 0: as all others
};
// KD_OK: `done` comes later, exactly once.
KD_MUST_CHECK enum kd_err kd_client_send(struct kd_client *c, const struct kd_client_request *r,
                                         kd_client_done *done, void *arg);
size_t kd_client_pending(const struct kd_client *c);

#endif
