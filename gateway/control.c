// SPDX-License-Identifier: Apache-2.0
// control.c: what is not a message: handshakes, resumption, tickets, renewed keys,
// closed sessions, envelopes.  Rare beside messages, so they go to keyd one by one.
#include "gateway/answer.h"
#include "gateway/released.h"

#include <stdio.h>
#include <string.h>

enum { PATH_MAX_BYTES = 96, ERROR_MAX_BYTES = 48, ENVELOPE_MEMBERS = 5 };

#define JSON "application/json"

// ---- answers in JSON -------------------------------------------------------

// False: keyd refused, which ends the question.
static bool take_answer(struct kd_question *q, unsigned status, struct kd_bytes body,
                        struct kd_answer *answer) {
    kd_answer_read(answer, body);
    if (!kd_client_is_answer(status)) {
        kd_question_fail_by(q, 0, "keyd-away");
    } else if (status > 299) {
        kd_question_fail_by(q, status, kd_answer_error(answer));
    } else if (answer->object == NULL) {
        kd_question_fail_by(q, 500, "keyd-answer");
    } else {
        return true;
    }
    return false;
}

// ---- requests --------------------------------------------------------------

// What comes in no record has connections of its own, and may take no more than half of all places.
static void send(struct kd_question *q, const char *path, const char *type, struct kd_bytes body,
                 kd_client_done *done) {
    const struct kd_client_request request = {
        .path = path, .type = type, .body = body, .who = q->peer
    };
    struct kd_client *c = q->is_opened ? q->g->keyd : q->g->strangers;
    if (!q->is_opened && kd_client_pending(c) > q->g->config->pending_max / 2) {
        kd_question_fail_by(q, 503, "busy");
    } else if (kd_client_send(c, &request, done, q) != KD_OK) {
        kd_question_fail_by(q, 503, "no-memory");
    }
}

// The members of a body: {"name": bytes, ...}.
static void put_bytes(struct kd_buf *body, const char *name, struct kd_bytes value) {
    kd_json_member(body, name);
    kd_json_put_bytes(body, value);
}

static void send_json(struct kd_question *q, const char *path, struct kd_buf *body,
                      kd_client_done *done) {
    kd_buf_u8(body, '}');
    if (kd_buf_finish(body) != KD_OK) {
        kd_question_fail_by(q, 503, "no-memory");
        return;
    }
    send(q, path, JSON, kd_buf_get(body), done);
}

static struct kd_buf begin_json(void) {
    struct kd_buf body = KD_BUF_INIT(2 * KD_FRAME_MAX_BYTES);
    kd_buf_u8(&body, '{');
    return body;
}

// ---- handshakes ------------------------------------------------------------

static void on_handshake(void *arg, unsigned status, struct kd_bytes body);

// message_1, with the cookie where keyd asked for one.
static void begin_handshake(struct kd_question *q, struct kd_bytes message,
                            struct kd_bytes cookie) {
    kd_auto(buf) struct kd_buf body = begin_json();
    put_bytes(&body, "message", message);
    kd_json_member(&body, "address");
    kd_json_put_text(&body, q->address);
    if (cookie.n > 0) {
        put_bytes(&body, "cookie", cookie);
    }
    send_json(q, "/v1/handshakes", &body, on_handshake);
}

// keyd has much to do, and asks who has sent message_1 to come again with a cookie.  Over TCP the
// address has been proven: the gateway brings the cookie back itself.
static bool retry(struct kd_question *q, const struct kd_answer *problem) {
    kd_auto(buf) struct kd_buf cookie = KD_BUF_INIT(KD_FRAME_COOKIE_MAX_BYTES);
    struct kd_bytes before, message;
    if (strcmp(kd_answer_error(problem), "handshake-retry") != 0 || q->has_retried ||
        !kd_answer_bytes(problem->object, "cookie", &cookie) || cookie.n == 0 ||
        !kd_frame_is_first(q->frame.body, &before, &message)) {
        return false;
    }
    if (!q->is_stream) {
        kd_question_retry(q, kd_buf_get(&cookie));
        return true;
    }
    q->has_retried = true;
    begin_handshake(q, message, kd_buf_get(&cookie));
    return true;
}

static void on_handshake(void *arg, unsigned status, struct kd_bytes body) {
    struct kd_question *q = arg;
    kd_auto(answer) struct kd_answer answer = KD_ANSWER_INIT;
    kd_auto(buf) struct kd_buf message = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    const bool is_done = status == 200 || status == 201;
    kd_answer_read(&answer, body);
    if (status == 503 && retry(q, &answer)) {
        return;
    }
    // An EDHOC error message is for the peer; without one it is a failure of ours.
    if (answer.object == NULL || !kd_answer_bytes(answer.object, "message", &message) ||
        (!is_done && message.n == 0)) {
        kd_question_fail_by(q, status,
                            kd_client_is_answer(status) ? kd_answer_error(&answer) : "keyd-away");
        return;
    }
    if (!is_done) {
        kd_log_limited(&q->g->said.handshake, KD_LOG_INFO, "gateway", "a handshake was refused",
                       "address=%s error=%s", q->address, kd_answer_error(&answer));
    }
    const struct kd_json *session = kd_json_get(answer.object, "session"); // at the end
    if (is_done && strcmp(kd_answer_text(session, "profile"), "released") == 0) {
        kd_buf_reset(&q->body);
        kd_buf_put(&q->body, message.p, message.n);
        kd_released_take(q, kd_answer_text(session, "session"));
        return;
    }
    kd_question_answer(q, kd_buf_get(&message));
}

static void ask_handshake(struct kd_question *q) {
    const struct kd_bytes m = q->frame.body;
    char id[17], path[PATH_MAX_BYTES];
    struct kd_bytes cookie, message;
    if (kd_frame_is_first(m, &cookie, &message)) {
        begin_handshake(q, message, cookie);
        return;
    }
    if (m.n <= 9 || m.p[0] != 0x48) { // a byte string of 8: ours
        kd_question_fail(q, KD_FAILURE_MALFORMED, 0, "handshake-message");
        return;
    }
    kd_hex_encode(m.p + 1, 8, id);
    snprintf(path, sizeof(path), "/v1/handshakes/%s", id);
    kd_auto(buf) struct kd_buf body = begin_json();
    put_bytes(&body, "message", (struct kd_bytes) { m.p + 9, m.n - 9 });
    send_json(q, path, &body, on_handshake);
}

// ---- resume ----------------------------------------------------------------

static void on_resumed(void *arg, unsigned status, struct kd_bytes body) {
    struct kd_question *q = arg;
    kd_auto(answer) struct kd_answer answer = KD_ANSWER_INIT;
    if (!take_answer(q, status, body, &answer)) {
        return;
    }
    kd_auto(buf) struct kd_buf nonce = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    uint8_t id[8];
    const char *session = kd_answer_text(kd_json_get(answer.object, "session"), "session");
    if (!kd_answer_bytes(answer.object, "node_nonce", &nonce) ||
        !kd_answer_bytes(answer.object, "record", &record) || strlen(session) != 16 ||
        kd_hex_decode(session, id, sizeof(id)) != KD_OK) {
        kd_question_fail_by(q, 500, "keyd-answer");
        return;
    }
    kd_cbor_put_array(&out, 3);
    kd_cbor_put_bytes(&out, (struct kd_bytes) { id, sizeof(id) });
    kd_cbor_put_bytes(&out, kd_buf_get(&nonce));
    kd_cbor_put_bytes(&out, kd_buf_get(&record));
    kd_question_answer(q, kd_buf_get(&out));
}

static void ask_resume(struct kd_question *q) {
    struct kd_cbor c = kd_cbor_of(q->frame.body);
    const size_t n = kd_cbor_read_array(&c);
    const struct kd_bytes ticket = kd_cbor_read_bytes(&c);
    const struct kd_bytes nonce = kd_cbor_read_bytes(&c);
    if (kd_cbor_finish(&c) != KD_OK || n != 2 || ticket.n == 0 || nonce.n == 0) {
        kd_question_fail(q, KD_FAILURE_MALFORMED, 0, "resume");
        return;
    }
    kd_auto(buf) struct kd_buf body = begin_json();
    put_bytes(&body, "ticket", ticket);
    put_bytes(&body, "client_nonce", nonce);
    send_json(q, "/v1/sessions/resume", &body, on_resumed);
}

// ---- envelopes -------------------------------------------------------------

static void on_delivered(void *arg, unsigned status, struct kd_bytes body KD_UNUSED) {
    struct kd_question *q = arg;
    q->g->counts.backend[status < 600 ? status / 100 : 0]++;
    if (status < 200 || status > 299) {
        kd_log_limited(&q->g->said.envelope, KD_LOG_WARN, "gateway",
                       "the backend did not take an opened envelope: it is lost",
                       "address=%s status=%u", q->address, kd_client_status(status));
        kd_question_fail(q, KD_FAILURE_REFUSED, 0, "backend");
        return;
    }
    kd_question_answer(q, KD_BYTES_NONE);
}

// The sender is a claim, and may have any bytes: in base64url.
static void deliver(struct kd_question *q, struct kd_bytes id, struct kd_bytes sender,
                    struct kd_bytes text) {
    kd_auto(buf) struct kd_buf claim = KD_BUF_INIT(512);
    char hex[2 * KD_ENVELOPE_ID_BYTES + 1], envelope[64];
    kd_hex_encode(id.p, id.n, hex);
    snprintf(envelope, sizeof(envelope), "Keyd-Envelope: %s", hex);
    kd_buf_text(&claim, "Keyd-Sender: ");
    kd_b64_encode(&claim, sender);
    const char *const headers[] = { envelope, kd_buf_get_text(&claim) };
    const struct kd_client_request request = {
        .type = "application/octet-stream",
        .body = text,
        .headers = headers,
        .n_headers = sender.n == 0 ? 1 : 2,
    };
    if (kd_client_send(q->g->backend, &request, on_delivered, q) != KD_OK) {
        on_delivered(q, 0, KD_BYTES_NONE);
    }
}

static void on_envelope(void *arg, unsigned status, struct kd_bytes body) {
    struct kd_question *q = arg;
    if (status != 200) {
        kd_auto(answer) struct kd_answer problem = KD_ANSWER_INIT;
        kd_answer_read(&problem, body);
        kd_question_fail_by(q, status,
                            kd_client_is_answer(status) ? kd_answer_error(&problem) : "keyd-away");
        return;
    }
    struct kd_cbor c = kd_cbor_of(body);
    const size_t n = kd_cbor_read_array(&c);
    const struct kd_bytes id = kd_cbor_read_bytes(&c);
    (void)kd_cbor_read_uint(&c);
    (void)kd_cbor_read_uint(&c);
    const struct kd_bytes sender = kd_cbor_read_text(&c);
    const struct kd_bytes text = kd_cbor_read_bytes(&c);
    if (kd_cbor_finish(&c) != KD_OK || n != ENVELOPE_MEMBERS || id.n != KD_ENVELOPE_ID_BYTES ||
        sender.n > KD_ENVELOPE_SENDER_MAX_BYTES) {
        kd_question_fail_by(q, 500, "keyd-answer");
        return;
    }
    deliver(q, id, sender, text);
}

void kd_control_ask(struct kd_question *q) {
    if (q->frame.kind == KD_FRAME_HANDSHAKE) {
        ask_handshake(q);
    } else if (q->frame.kind == KD_FRAME_RESUME) {
        ask_resume(q);
    } else {
        send(q, "/v1/envelopes/open", "application/cbor", q->frame.body, on_envelope);
    }
}

// ---- tickets, new keys, closed sessions: by an opened record -----------------

static void on_ticket(void *arg, unsigned status, struct kd_bytes body) {
    struct kd_question *q = arg;
    kd_auto(answer) struct kd_answer answer = KD_ANSWER_INIT;
    if (!take_answer(q, status, body, &answer)) {
        return;
    }
    kd_buf_reset(&q->body);
    q->type = KD_RECORD_DATA;
    if (!kd_answer_bytes(answer.object, "ticket", &q->body)) {
        kd_question_fail_by(q, 500, "keyd-answer");
        return;
    }
    kd_records_seal(q);
}

static void on_updated(void *arg, unsigned status, struct kd_bytes body) {
    struct kd_question *q = arg;
    kd_auto(answer) struct kd_answer answer = KD_ANSWER_INIT;
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    if (!take_answer(q, status, body, &answer)) {
        return;
    }
    const struct kd_json *update = kd_json_get(kd_json_get(answer.object, "session"), "update");
    const bool is_number = kd_json_is(update, KD_JSON_INTEGER) && update->integer > 0;
    if (kd_json_get(answer.object, "record") == NULL) { // the keys before were released: to us?
        if (!is_number || !kd_released_update(q, (uint64_t)update->integer)) {
            kd_question_fail_by(q, 500, "keyd-answer");
        }
        return;
    }
    if (!kd_answer_bytes(answer.object, "record", &record)) {
        kd_question_fail_by(q, 500, "keyd-answer");
        return;
    }
    kd_question_answer(q, kd_buf_get(&record));
}

void kd_control_opened(struct kd_question *q) {
    char path[PATH_MAX_BYTES];
    const bool is_empty_data = q->type == KD_RECORD_DATA && q->body.n == 0;
    if (q->frame.kind == KD_FRAME_CLOSE && q->type == KD_RECORD_CLOSE) {
        kd_question_answer(q, KD_BYTES_NONE); // keyd has ended it
    } else if (q->frame.kind == KD_FRAME_TICKET && is_empty_data) {
        snprintf(path, sizeof(path), "/v1/sessions/%s/ticket", q->session);
        send(q, path, NULL, KD_BYTES_NONE, on_ticket);
    } else if (q->frame.kind == KD_FRAME_UPDATE && is_empty_data) {
        snprintf(path, sizeof(path), "/v1/sessions/%s/key-update", q->session);
        kd_auto(buf) struct kd_buf body = begin_json();
        send_json(q, path, &body, on_updated);
    } else {
        kd_question_fail(q, KD_FAILURE_MALFORMED, 0, "record-type");
    }
}
