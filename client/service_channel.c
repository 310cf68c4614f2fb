// SPDX-License-Identifier: Apache-2.0
// service_channel.c: a server's end of the secure channel: handshakes, sessions, envelopes.  The
// records are in service_records.c.
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

enum { ADDRESS_MAX_BYTES = 128, COOKIE_MAX_BYTES = 64, LINE_BYTES = 192 };

static bool is_room_wrong(const struct keyd_room *out, size_t n) {
    return out == NULL || out->p == NULL || out->max < n;
}

// ---- handshakes ------------------------------------------------------------

// It becomes a line of a header.
static bool is_address(const char *address) {
    const size_t n = strnlen(address, ADDRESS_MAX_BYTES + 1);
    for (size_t i = 0; i < n; i++) {
        if (address[i] < ' ' || address[i] > '~') {
            return false;
        }
    }
    return n > 0 && n <= ADDRESS_MAX_BYTES;
}

static bool is_handshake_wrong(const struct keyd_handshake *h) {
    return h == NULL || (h->id[0] != '\0' && !kd_service_is_id(h->id)) ||
           (h->address != NULL && !is_address(h->address)) || kd_service_is_missing(h->cookie) ||
           h->cookie.n > COOKIE_MAX_BYTES;
}

// message_1 has more headers than those that follow.
static enum keyd_err send(struct keyd_service *s, const struct keyd_handshake *h,
                          struct keyd_bytes message, struct kd_service_answer *a) {
    char path[KD_SERVICE_PATH_BYTES] = "/v1/handshakes";
    char address[LINE_BYTES];
    uint8_t cookie[LINE_BYTES];
    const char *headers[3] = { NULL };
    size_t n = 0;
    if (h->id[0] != '\0') {
        snprintf(path, sizeof(path), "/v1/handshakes/%s", h->id);
    } else if (h->address != NULL) {
        snprintf(address, sizeof(address), "Keyd-Address: %s", h->address);
        headers[n++] = address;
    }
    if (h->id[0] == '\0' && h->cookie.n > 0) {
        struct kd_buf b = KD_BUF_OVER(cookie);
        kd_buf_text(&b, "Keyd-Cookie: ");
        kd_b64_encode(&b, kd_service_bytes(h->cookie));
        headers[n++] = kd_buf_get_text(&b);
    }
    const struct kd_rest_request q = { .method = "POST",
                                       .path = path,
                                       .type = "application/edhoc+cbor-seq",
                                       .body = kd_service_bytes(message),
                                       .headers = headers };
    return kd_service_ask(s, &q, a);
}

static enum keyd_err take_step(struct keyd_handshake *h, const struct kd_service_answer *a,
                               struct keyd_room *out) {
    const bool is_done = kd_rest_header(a->rest, "Keyd-Handshake") == NULL;
    const char *session = kd_rest_header(a->rest, "Keyd-Session");
    // A header is borrowed until the next is read.
    const char *id = is_done ? session : kd_rest_header(a->rest, "Keyd-Handshake");
    if ((!is_done && session != NULL) || !kd_service_is_id(id) ||
        !kd_service_copy(kd_buf_get(&a->http.text), out)) {
        return kd_service_strange();
    }
    snprintf(is_done ? h->session : h->id, KEYD_ID_BYTES, "%s", id);
    return KEYD_OK;
}

enum keyd_err keyd_handshake(struct keyd_service *s, struct keyd_handshake *h,
                             struct keyd_bytes message, struct keyd_room *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (s == NULL || is_handshake_wrong(h) || message.p == NULL || message.n > KEYD_HANDSHAKE_MAX ||
        is_room_wrong(out, KEYD_HANDSHAKE_MAX)) {
        return kd_detail_end(kd_service_wrong("The handshake, its message or room for another"));
    }
    out->n = 0;
    const enum keyd_err err = send(s, h, message, &a);
    if (err == KEYD_OK) {
        return kd_detail_end(take_step(h, &a, out));
    }
    // For the peer, where there is one; either has its place in a problem of its own.
    if (!kd_service_get_bytes(a.http.json, "message", out)) {
        (void)kd_service_get_bytes(a.http.json, "cookie", out);
    }
    return kd_detail_end(err);
}

// ---- sessions --------------------------------------------------------------

static enum keyd_err on_session(struct keyd_service *s, const char *method, const char *session,
                                const char *more, struct kd_service_answer *a) {
    char path[KD_SERVICE_PATH_BYTES];
    if (s == NULL || !kd_service_is_id(session)) {
        return kd_service_wrong("The id of the session");
    }
    snprintf(path, sizeof(path), "/v1/sessions/%s%s", session, more);
    return kd_service_do(s, method, path, a);
}

enum keyd_err keyd_session_ticket(struct keyd_service *s, const char *session,
                                  struct keyd_room *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (is_room_wrong(out, KEYD_TICKET_MAX)) {
        return kd_detail_end(kd_service_wrong("Room for the ticket"));
    }
    const enum keyd_err err = on_session(s, "GET", session, "/ticket", &a);
    return kd_detail_end(err != KEYD_OK || kd_service_get_bytes(a.http.json, "ticket", out)
                             ? err
                             : kd_service_strange());
}

enum keyd_err keyd_session_delete(struct keyd_service *s, const char *session) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(on_session(s, "DELETE", session, "", &a));
}

// ---- envelopes -------------------------------------------------------------

static enum keyd_err take_envelope(struct kd_bytes answer, struct keyd_envelope *about,
                                   struct keyd_room *out) {
    struct kd_cbor c = kd_cbor_of(answer);
    struct keyd_envelope e = { .time_s = 0 };
    const bool is_five = kd_cbor_read_array(&c) == 5;
    const struct kd_bytes id = kd_cbor_read_bytes(&c);
    e.time_s = kd_cbor_read_uint(&c);
    e.expires_s = kd_cbor_read_uint(&c);
    const struct kd_bytes sender = kd_cbor_read_text(&c);
    const struct kd_bytes body = kd_cbor_read_bytes(&c);
    if (!is_five || kd_cbor_finish(&c) != KD_OK || id.n != sizeof(e.id) ||
        !kd_service_copy_text(sender, sizeof(e.sender), e.sender) || !kd_service_copy(body, out)) {
        return kd_service_strange();
    }
    memcpy(e.id, id.p, sizeof(e.id));
    *about = e;
    return KEYD_OK;
}

enum keyd_err keyd_envelope_open(struct keyd_service *s, struct keyd_bytes envelope,
                                 struct keyd_envelope *about, struct keyd_room *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (s == NULL || about == NULL || envelope.p == NULL || envelope.n > KEYD_DATA_MAX ||
        is_room_wrong(out, envelope.n)) {
        return kd_detail_end(kd_service_wrong("The envelope, or room for its message,"));
    }
    const struct kd_rest_request q = { .method = "POST",
                                       .path = "/v1/envelopes/open",
                                       .type = "application/cbor",
                                       .body = kd_service_bytes(envelope) };
    const enum keyd_err err = kd_service_ask(s, &q, &a);
    return kd_detail_end(err == KEYD_OK ? take_envelope(kd_buf_get(&a.http.text), about, out)
                                        : err);
}
