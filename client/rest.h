// SPDX-License-Identifier: Apache-2.0
// rest.h: calls of the HTTP API (docs/api.md) over the Unix socket or TCP, one
// at a time.  Built on libcurl; follows no redirect, uses no proxy.  Whoever has jansson reads and
// writes JSON by rest_json.h.
#ifndef KD_CLIENT_REST_H
#define KD_CLIENT_REST_H

#include "base/base.h"

#define KD_REST_ANSWER_MAX_BYTES (16u << 20)
#define KD_REST_BEARER_MAX_BYTES 256
#define KD_REST_FAILURE_BYTES 512

// Strings are borrowed for the life of the client.  Either socket or url.
struct kd_rest_config {
    const char *socket;      // path of the Unix socket
    const char *url;         // "https://host:port"; "http://" only to this host itself
    const char *token_file;  // NULL: no bearer token
    const char *certificate; // client certificate and its key (PEM files), or NULL
    const char *key;
    const char *ca;          // NULL: what the system trusts
    uint32_t timeout_ms;     // of a call; 0: a minute
    size_t answer_max_bytes; // 0: KD_REST_ANSWER_MAX_BYTES
};

struct kd_rest;

// KD_ERR_CONFIG or KD_ERR_NO_FILE: the settings cannot be used; `failure` says
// which and what to do.
KD_MUST_CHECK enum kd_err kd_rest_open(const struct kd_rest_config *config, struct kd_rest **out,
                                       char failure[static KD_REST_FAILURE_BYTES]);
void kd_rest_close(struct kd_rest *r);
KD_AUTO_DEFINE(rest, struct kd_rest *, kd_rest_close)

// Who expects a secret reads it where it is, in `text`, which is wiped.
struct kd_rest_reply {
    unsigned status;
    unsigned retry_after_sec;
    bool is_json; // so it says
    struct kd_buf text;
};
#define KD_REST_REPLY_INIT ((struct kd_rest_reply) { .text.max = KD_REST_ANSWER_MAX_BYTES })
void kd_rest_reply_wipe(struct kd_rest_reply *a);
KD_AUTO_DEFINE_IN_PLACE(rest_reply, struct kd_rest_reply, kd_rest_reply_wipe)

struct kd_rest_request {
    const char *method;
    const char *path;
    const char *type; // of the body; NULL: there is none
    struct kd_bytes body;
    const char *const *headers; // lines "Name: value", then NULL; or NULL
};
// One call, whose request goes out once where it asks for anything to be done.
// KD_OK means that there is an answer, which may
// well be a problem (kd_rest_is_problem).  Else kd_rest_failure says what went
// wrong: KD_ERR_TOKEN_AWAY nobody is there to be asked, KD_ERR_DENIED we may
// not connect, KD_ERR_DEADLINE no answer in time, KD_ERR_SYSTEM the connection
// broke, KD_ERR_ITEM_TOO_LARGE or KD_ERR_MALFORMED what came is no answer of keyd.
KD_MUST_CHECK enum kd_err kd_rest_exchange(struct kd_rest *r, const struct kd_rest_request *request,
                                           struct kd_rest_reply *out);
// Of the last answer; borrowed until the next call of this or another function.  NULL: it has no
// such header.
const char *kd_rest_header(const struct kd_rest *r, const char *name);

bool kd_rest_is_problem(unsigned status);
// Borrowed until the next call.
const char *kd_rest_failure(const struct kd_rest *r);
KD_PRINTF(3, 4) // gives back e
enum kd_err kd_rest_fail(struct kd_rest *r, enum kd_err e, const char *format, ...);
// Where the calls go, for messages: the socket's path or the URL.
const char *kd_rest_place(const struct kd_rest *r);

#endif
