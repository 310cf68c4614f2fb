// SPDX-License-Identifier: Apache-2.0
// handshakes.c: the handlers of /v1/handshakes: the messages of EDHOC, which
// the caller carries between the peer and keyd.
#include "api/channel.h"
#include "api/route.h"

#include <stdio.h>

enum { METHOD_MAX = 3, COOKIE_MAX_BYTES = 64 };

// ---- answering -------------------------------------------------------------

static void put_result(struct kd_buf *out, const struct kd_handshake_result *r) {
    kd_buf_u8(out, '{');
    if (r->session == NULL) {
        kd_json_member(out, "handshake");
        kd_json_put_text(out, r->id);
        kd_json_member(out, "expires");
        kd_json_put_time(out, r->expires_ms);
    }
    if (r->message.n > 0) {
        kd_json_member(out, "message");
        kd_json_put_bytes(out, r->message);
    }
    if (r->session != NULL) {
        kd_json_member(out, "session");
        kd_session_put(out, r->session);
    }
    kd_buf_u8(out, '}');
}

// The bytes for the peer alone, what else there is in headers.
static void put_raw(struct kd_request *q, const struct kd_handshake_result *r) {
    kd_request_put_header(q, r->session == NULL ? "Keyd-Handshake" : "Keyd-Session",
                          r->session == NULL ? r->id : r->session->id);
    q->content_type = q->route->raw;
    kd_buf_put(&q->out, r->message.p, r->message.n);
}

static void finish(struct kd_request *q, enum kd_err err, const char *detail,
                   const struct kd_handshake_result *r, unsigned status) {
    const enum kd_err reason = err != KD_OK || r == NULL ? err : r->err;
    if (reason != KD_OK) {
        const enum kd_err told = kd_channel_told(q, reason);
        kd_request_say(q, detail);
        kd_request_fail_with(q, told, "message", r == NULL ? KD_BYTES_NONE : r->message);
    } else {
        if (q->is_raw) {
            put_raw(q, r);
        } else {
            put_result(&q->out, r);
        }
        if (r->session != NULL) {
            kd_request_note(q, "session", r->session->id);
            kd_request_note(q, "peer", r->session->peer);
        }
        kd_request_answer(q, status);
    }
    kd_request_resume(q);
}

static void on_begun(void *arg, enum kd_err err, const char *detail,
                     const struct kd_handshake_result *r) {
    struct kd_request *q = arg;
    if (err == KD_OK && r->err == KD_OK) {
        snprintf(q->location, sizeof(q->location), "/v1/handshakes/%s", r->id);
    }
    finish(q, err, detail, r, 201);
}

static void on_stepped(void *arg, enum kd_err err, const char *detail,
                       const struct kd_handshake_result *r) {
    finish(arg, err, detail, r, 200);
}

// ---- the routes ------------------------------------------------------------

static enum kd_err read_raw_message(struct kd_request *q, struct kd_bytes *out) {
    *out = kd_buf_get(&q->body);
    return out->n > KD_EDHOC_MESSAGE_MAX_BYTES
               ? kd_request_blame_length(q, "", KD_EDHOC_MESSAGE_MAX_BYTES)
               : KD_OK;
}

static enum kd_err read_message(struct kd_request *q, const struct kd_json_in *in,
                                struct kd_bytes *out) {
    static const char *const names[] = { "message" };
    if (q->is_raw) {
        return read_raw_message(q, out);
    }
    enum kd_err err = kd_json_only(in, names, KD_COUNT_OF(names));
    return err != KD_OK ? err
                        : kd_channel_read_bytes(in, "message", KD_EDHOC_MESSAGE_MAX_BYTES, out);
}

// Beside message_1: where the peer is, and the cookie that it brings back.
static enum kd_err read_first(struct kd_request *q, const struct kd_json_in *in,
                              struct kd_handshake_start *first) {
    static const char *const names[] = { "message", "address", "cookie" };
    const char *address = NULL;
    enum kd_err err;
    if (q->is_raw) {
        if ((err = read_raw_message(q, &first->message)) != KD_OK ||
            (err = kd_request_read_header(q, "Keyd-Address", &address)) != KD_OK ||
            (err = kd_request_read_header_bytes(q, "Keyd-Cookie", &first->cookie)) != KD_OK) {
            return err;
        }
    } else if ((err = kd_json_only(in, names, KD_COUNT_OF(names))) != KD_OK ||
               (err = kd_channel_read_bytes(in, "message", KD_EDHOC_MESSAGE_MAX_BYTES,
                                            &first->message)) != KD_OK ||
               (err = kd_json_text(in, "address", false, &address)) != KD_OK ||
               (err = kd_json_bytes(in, "cookie", false, &first->cookie)) != KD_OK) {
        return err;
    }
    first->address = kd_bytes_of_text(address == NULL ? "" : address);
    return first->address.n > KD_ADDRESS_MAX_BYTES
               ? kd_request_blame_length(q, q->is_raw ? "Keyd-Address" : "address",
                                         KD_ADDRESS_MAX_BYTES)
               : KD_OK;
}

// {"initiate": true, "method": 0}
static enum kd_err read_initiate(const struct kd_json_in *in, struct kd_handshake_start *first) {
    static const char *const names[] = { "initiate", "method" };
    uint32_t method = 0;
    bool initiate = false;
    enum kd_err err = kd_json_only(in, names, KD_COUNT_OF(names));
    if (err != KD_OK || (err = kd_json_bool(in, "initiate", true, &initiate)) != KD_OK) {
        return err;
    }
    if (!initiate) {
        return kd_json_blame(in, "initiate", KD_ERR_FIELD_INVALID,
                             "true is expected, or message in its place.");
    }
    err = kd_json_number(in, "method", false, 0, METHOD_MAX, &method);
    first->method = method;
    return err;
}

enum kd_err kd_handle_handshake_begin(struct kd_request *q) {
    const struct kd_json_in in = kd_channel_input(q);
    struct kd_handshake_start first = { 0 };
    kd_auto(buf) struct kd_buf cookie = KD_BUF_INIT(COOKIE_MAX_BYTES);
    enum kd_err err =
        kd_json_has(&in, "initiate") ? read_initiate(&in, &first) : read_first(q, &in, &first);
    if (err != KD_OK) {
        return err;
    }
    err = kd_channel_begin(q->http->service, &q->caller, &first, &cookie, on_begun, q);
    if (err != KD_ERR_HS_RETRY) {
        return kd_channel_wait(q, err);
    }
    kd_request_fail_with(q, err, "cookie", kd_buf_get(&cookie));
    return KD_OK; // it is answered
}

enum kd_err kd_handle_handshake_step(struct kd_request *q) {
    const struct kd_json_in in = kd_channel_input(q);
    struct kd_bytes message = KD_BYTES_NONE;
    enum kd_err err = read_message(q, &in, &message);
    if (err != KD_OK) {
        return err;
    }
    return kd_channel_wait(
        q, kd_channel_step(q->http->service, &q->caller, q->name, message, on_stepped, q));
}

enum kd_err kd_handle_handshake_delete(struct kd_request *q) {
    enum kd_err err = kd_channel_told(q, kd_channel_abandon(q->http->service, &q->caller, q->name));
    if (err == KD_OK) {
        kd_request_answer(q, 204);
    }
    return err;
}
