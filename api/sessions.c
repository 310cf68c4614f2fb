// SPDX-License-Identifier: Apache-2.0
// sessions.c: the handlers of /v1/sessions, and what the files of the channel
// share (channel.h).
#include "api/channel.h"
#include "api/page.h"
#include "api/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- shared ----------------------------------------------------------------

enum kd_err kd_channel_told(struct kd_request *q, enum kd_err err) {
    if (err == KD_ERR_CONFIG) {
        kd_request_say(
            q, "The channel is off: keyd.conf(5) names no identity for it (channel.identity).");
    } else if (err == KD_ERR_TOO_MANY) { // also at the end of a handshake
        kd_request_say(q, "There are as many peers as channel.peers-max of keyd.conf(5) allows.");
    }
    return err;
}

enum kd_err kd_channel_wait(struct kd_request *q, enum kd_err err) {
    if (err == KD_OK) {
        q->state = KD_REQUEST_WAITING;
    }
    return kd_channel_told(q, err);
}

enum kd_err kd_channel_check(struct kd_request *q) {
    struct kd_channel_report report;
    kd_channel_report(q->http->service, &report);
    return kd_channel_told(q, report.is_on ? KD_OK : KD_ERR_CONFIG);
}

struct kd_json_in kd_channel_input(struct kd_request *q) {
    return (struct kd_json_in) { .object = q->json.root, .arena = &q->arena, .why = &q->why };
}

static const char id_expected[] = "The id of a session is expected: 16 digits in hexadecimal.";

bool kd_channel_is_session(const char *text) {
    return strspn(text, "0123456789abcdef") == KD_SESSION_TEXT_BYTES - 1 &&
           text[KD_SESSION_TEXT_BYTES - 1] == '\0';
}

enum kd_err kd_channel_read_session(const struct kd_json_in *in, const char *name,
                                    const char **out) {
    const char *id = NULL;
    enum kd_err err = kd_json_text(in, name, true, &id);
    if (err != KD_OK) {
        return err;
    }
    if (!kd_channel_is_session(id)) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, id_expected);
    }
    *out = id;
    return KD_OK;
}

enum kd_err kd_channel_read_bytes(const struct kd_json_in *in, const char *name, size_t max,
                                  struct kd_bytes *out) {
    struct kd_bytes bytes = KD_BYTES_NONE;
    enum kd_err err = kd_json_bytes_upto(in, name, true, max, &bytes);
    if (err != KD_OK) {
        return err;
    }
    if (bytes.n == 0) {
        return kd_json_blame(in, name, KD_ERR_FIELD_INVALID, "At least one byte is expected.");
    }
    *out = bytes;
    return KD_OK;
}

// ---- writing ---------------------------------------------------------------

static void put_number(struct kd_buf *out, const char *name, uint64_t n) {
    kd_json_member(out, name);
    kd_json_put_number(out, n);
}

static const char *profile_name(enum kd_profile profile) {
    switch (profile) {
    case KD_PROFILE_RESIDENT:
        return "resident";
    case KD_PROFILE_RELEASED:
        return "released";
    }
    return "";
}

void kd_session_put(struct kd_buf *out, const struct kd_session_info *s) {
    kd_buf_u8(out, '{');
    kd_json_member(out, "session");
    kd_json_put_text(out, s->id);
    kd_json_member(out, "peer");
    kd_json_put_text(out, s->peer);
    if (s->relation[0] != '\0') {
        kd_json_member(out, "relation");
        kd_json_put_text(out, s->relation);
    }
    kd_json_member(out, "registered");
    kd_json_put_bool(out, s->is_registered);
    kd_json_member(out, "profile");
    kd_json_put_text(out, profile_name(s->profile));
    if (s->profile == KD_PROFILE_RELEASED) {
        kd_json_member(out, "released");
        kd_json_put_bool(out, s->is_released);
    }
    if (s->suite != 0) { // a session that was resumed does not say
        put_number(out, "method", s->method);
        put_number(out, "suite", s->suite);
    }
    put_number(out, "update", s->update);
    kd_json_member(out, "created");
    kd_json_put_time(out, s->created_ms);
    kd_json_member(out, "expires");
    kd_json_put_time(out, s->expires_ms);
    put_number(out, "sent", s->sent);
    put_number(out, "received", s->received);
    put_number(out, "bytes", s->bytes);
    put_number(out, "records_max", s->records_max);
    put_number(out, "bytes_max", s->bytes_max);
    kd_buf_u8(out, '}');
}

// ---- what is there ---------------------------------------------------------

enum kd_err kd_handle_session_list(struct kd_request *q) {
    struct kd_page page;
    enum kd_err err = kd_channel_check(q);
    if (err != KD_OK || (err = kd_page_read(q, &page)) != KD_OK) {
        return err;
    }
    if (page.after != NULL && !kd_channel_is_session(page.after)) {
        snprintf(q->why.field, sizeof(q->why.field), "after");
        kd_request_say(q, id_expected);
        return KD_ERR_FIELD_INVALID;
    }
    struct kd_session_info *sessions = calloc(page.limit + 1, sizeof(*sessions));
    q->work = sessions; // freed with the request
    if (sessions == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const size_t n =
        kd_channel_sessions(q->http->service, &q->caller, page.after, sessions, page.limit + 1);
    const size_t shown = n > page.limit ? page.limit : n;
    kd_buf_text(&q->out, "{\"sessions\":[");
    for (size_t i = 0; i < shown; i++) {
        kd_json_element(&q->out);
        kd_session_put(&q->out, &sessions[i]);
    }
    kd_buf_u8(&q->out, ']');
    kd_page_put_next(&q->out, n > shown ? sessions[shown - 1].id : NULL);
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_session_show(struct kd_request *q) {
    struct kd_session_info session;
    enum kd_err err =
        kd_channel_told(q, kd_channel_session(q->http->service, &q->caller, q->name, &session));
    if (err != KD_OK) {
        return err;
    }
    kd_session_put(&q->out, &session);
    kd_request_answer(q, 200);
    return KD_OK;
}

static void on_deleted(void *arg, enum kd_err err, const char *detail,
                       const struct kd_session_change *change KD_UNUSED) {
    struct kd_request *q = arg;
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    kd_request_note(q, "session", q->name);
    kd_request_end(q, 204);
}

enum kd_err kd_handle_session_delete(struct kd_request *q) {
    return kd_channel_wait(
        q, kd_channel_session_delete(q->http->service, &q->caller, q->name, on_deleted, q));
}

enum kd_err kd_handle_session_ticket(struct kd_request *q) {
    struct kd_bytes ticket = KD_BYTES_NONE;
    enum kd_err err =
        kd_channel_told(q, kd_channel_ticket(q->http->service, &q->caller, q->name, &ticket));
    if (err != KD_OK) {
        return err;
    }
    kd_buf_u8(&q->out, '{');
    kd_json_member(&q->out, "ticket");
    kd_json_put_bytes(&q->out, ticket);
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}

// ---- changes ---------------------------------------------------------------

static void finish(struct kd_request *q, enum kd_err err, const char *detail,
                   const struct kd_session_change *change, unsigned status) {
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    kd_request_note(q, "session", change->session.id);
    kd_request_note(q, "peer", change->session.peer);
    kd_buf_u8(&q->out, '{');
    kd_json_member(&q->out, "session");
    kd_session_put(&q->out, &change->session);
    if (change->node_nonce.n > 0) {
        kd_json_member(&q->out, "node_nonce");
        kd_json_put_bytes(&q->out, change->node_nonce);
    }
    if (change->record.n > 0) {
        kd_json_member(&q->out, "record");
        kd_json_put_bytes(&q->out, change->record);
    }
    kd_buf_u8(&q->out, '}');
    kd_request_end(q, status);
}

static void on_resumed(void *arg, enum kd_err err, const char *detail,
                       const struct kd_session_change *change) {
    struct kd_request *q = arg;
    if (err == KD_OK) {
        snprintf(q->location, sizeof(q->location), "/v1/sessions/%s", change->session.id);
    }
    finish(q, err, detail, change, 201);
}

static void on_updated(void *arg, enum kd_err err, const char *detail,
                       const struct kd_session_change *change) {
    finish(arg, err, detail, change, 200);
}

enum kd_err kd_handle_session_resume(struct kd_request *q) {
    static const char *const names[] = { "ticket", "client_nonce" };
    const struct kd_json_in in = kd_channel_input(q);
    struct kd_bytes ticket = KD_BYTES_NONE;
    struct kd_bytes nonce = KD_BYTES_NONE;
    enum kd_err err = kd_json_only(&in, names, KD_COUNT_OF(names));
    if (err != KD_OK ||
        (err = kd_channel_read_bytes(&in, "ticket", KD_HSM_TICKET_MAX_BYTES, &ticket)) != KD_OK ||
        (err = kd_channel_read_bytes(&in, "client_nonce", KD_SESSION_NONCE_MAX_BYTES, &nonce)) !=
            KD_OK) {
        return err;
    }
    return kd_channel_wait(
        q, kd_channel_resume(q->http->service, &q->caller, ticket, nonce, on_resumed, q));
}

enum kd_err kd_handle_session_update(struct kd_request *q) {
    const struct kd_json_in in = kd_channel_input(q);
    enum kd_err err = q->json.root == NULL ? KD_OK : kd_json_only(&in, NULL, 0);
    if (err != KD_OK) {
        return err;
    }
    return kd_channel_wait(q,
                           kd_channel_update(q->http->service, &q->caller, q->name, on_updated, q));
}
