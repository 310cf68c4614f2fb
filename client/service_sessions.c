// SPDX-License-Identifier: Apache-2.0
// service_sessions.c: sessions of the secure channel: looked at, continued with fresh keys, ended;
// and their traffic keys for who seals and opens by himself.
#include "client/service_state.h"

#include <string.h>

enum { BODY_BYTES = 1024 };

static const char *const profiles[] = { "resident", "released" };

static const struct kd_service_field fields[] = {
    { "session", KD_SERVICE_PLACE(keyd_session, id), KD_SERVICE_TEXT },
    { "peer", KD_SERVICE_PLACE(keyd_session, peer), KD_SERVICE_TEXT },
    { "relation", KD_SERVICE_PLACE(keyd_session, relation), KD_SERVICE_TEXT, .is_optional = true },
    { "registered", KD_SERVICE_PLACE(keyd_session, is_registered), KD_SERVICE_FLAG },
    { "profile", KD_SERVICE_PLACE(keyd_session, can_release), KD_SERVICE_ENUM, false, profiles,
      KD_COUNT_OF(profiles) },
    { "released", KD_SERVICE_PLACE(keyd_session, is_released), KD_SERVICE_FLAG,
      .is_optional = true },
    { "method", KD_SERVICE_PLACE(keyd_session, method), KD_SERVICE_NUMBER, .is_optional = true },
    { "suite", KD_SERVICE_PLACE(keyd_session, suite), KD_SERVICE_NUMBER, .is_optional = true },
    { "update", KD_SERVICE_PLACE(keyd_session, update), KD_SERVICE_NUMBER },
    { "created", KD_SERVICE_PLACE(keyd_session, created_s), KD_SERVICE_TIME },
    { "expires", KD_SERVICE_PLACE(keyd_session, expires_s), KD_SERVICE_TIME },
    { "sent", KD_SERVICE_PLACE(keyd_session, sent), KD_SERVICE_NUMBER },
    { "received", KD_SERVICE_PLACE(keyd_session, received), KD_SERVICE_NUMBER },
    { "records_max", KD_SERVICE_PLACE(keyd_session, records_max), KD_SERVICE_NUMBER },
    { "bytes", KD_SERVICE_PLACE(keyd_session, bytes), KD_SERVICE_NUMBER },
    { "bytes_max", KD_SERVICE_PLACE(keyd_session, bytes_max), KD_SERVICE_NUMBER },
};

static bool read_session(const struct kd_json *json, void *out) {
    struct keyd_session session = { .update = 0 };
    if (!kd_service_read(json, fields, KD_COUNT_OF(fields), &session)) {
        return false;
    }
    memcpy(out, &session, sizeof(session));
    return true;
}

// The member of an answer that has more.
static bool find_session(const struct kd_json *json, struct keyd_session *out) {
    return read_session(kd_json_get(json, "session"), out);
}

// ---- what there is ---------------------------------------------------------

enum keyd_err keyd_session_show(struct keyd_service *s, const char *session,
                                struct keyd_session *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (out == NULL) {
        return kd_detail_end(kd_service_wrong("Room for the session"));
    }
    const enum keyd_err err = kd_service_on(s, "GET", "sessions", session, "", &a);
    return kd_detail_end(
        err != KEYD_OK || read_session(kd_service_json(&a), out) ? err : kd_service_strange());
}

enum keyd_err keyd_session_list(struct keyd_service *s, struct keyd_page *page,
                                struct keyd_session *out, size_t max) {
    static const struct kd_service_list list = { "sessions", sizeof(*out), read_session };
    return kd_service_page(s, &list, page, out, max);
}

enum keyd_err keyd_session_ticket(struct keyd_service *s, const char *session,
                                  struct keyd_room *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (!kd_service_is_room(out, KEYD_TICKET_MAX)) {
        return kd_detail_end(kd_service_wrong("Room for the ticket"));
    }
    const enum keyd_err err = kd_service_on(s, "GET", "sessions", session, "ticket", &a);
    return kd_detail_end(err != KEYD_OK || kd_service_find_bytes(kd_service_json(&a), "ticket", out)
                             ? err
                             : kd_service_strange());
}

enum keyd_err keyd_session_delete(struct keyd_service *s, const char *session) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(kd_service_on(s, "DELETE", "sessions", session, "", &a));
}

// ---- fresh keys ------------------------------------------------------------

// False too where the member is there and wrong.
static bool find_given(const struct kd_json *json, const char *name, uint8_t *p, size_t max,
                       size_t *n) {
    struct keyd_room room = { .p = p, .max = max };
    const bool good = kd_json_get(json, name) == NULL || kd_service_find_bytes(json, name, &room);
    *n = room.n;
    return good;
}

static enum keyd_err take_change(const struct kd_json *json, bool is_resumed,
                                 struct keyd_change *out) {
    struct keyd_change c = { .n_record = 0 };
    if (!find_session(json, &c.session) ||
        !find_given(json, "node_nonce", c.node_nonce, sizeof(c.node_nonce), &c.n_node_nonce) ||
        !find_given(json, "record", c.record, sizeof(c.record), &c.n_record) ||
        (is_resumed && (c.n_node_nonce == 0 || c.n_record == 0))) {
        return kd_service_strange();
    }
    *out = c;
    return KEYD_OK;
}

enum keyd_err keyd_session_resume(struct keyd_service *s, struct keyd_bytes ticket,
                                  struct keyd_bytes client_nonce, struct keyd_change *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES);
    kd_service_begin();
    if (s == NULL || out == NULL || ticket.p == NULL || ticket.n > KEYD_TICKET_MAX ||
        client_nonce.p == NULL || client_nonce.n == 0 || client_nonce.n > KEYD_NONCE_MAX) {
        return kd_detail_end(kd_service_wrong("The ticket or the nonce"));
    }
    kd_buf_u8(&b, '{');
    kd_json_member(&b, "ticket");
    kd_json_put_bytes(&b, kd_service_bytes(ticket));
    kd_json_member(&b, "client_nonce");
    kd_json_put_bytes(&b, kd_service_bytes(client_nonce));
    kd_buf_u8(&b, '}');
    const enum keyd_err err = kd_service_post(s, "/v1/sessions/resume", &b, &a);
    return kd_detail_end(err == KEYD_OK ? take_change(kd_service_json(&a), true, out) : err);
}

enum keyd_err keyd_session_update(struct keyd_service *s, const char *session,
                                  struct keyd_change *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (out == NULL) {
        return kd_detail_end(kd_service_wrong("Room for the record"));
    }
    const enum keyd_err err = kd_service_on(s, "POST", "sessions", session, "key-update", &a);
    return kd_detail_end(err == KEYD_OK ? take_change(kd_service_json(&a), false, out) : err);
}

// ---- released keys ---------------------------------------------------------

static const char *const roles[] = { "server", "client" };

static const struct kd_service_field traffic_fields[] = {
    { "role", KD_SERVICE_PLACE(keyd_traffic, is_client), KD_SERVICE_ENUM, false, roles,
      KD_COUNT_OF(roles) },
    { "send_next", KD_SERVICE_PLACE(keyd_traffic, send_next), KD_SERVICE_NUMBER },
};
static const struct kd_service_field key_fields[] = {
    { "c2s", KD_SERVICE_PLACE(keyd_traffic, key_c2s), KD_SERVICE_BYTES },
    { "s2c", KD_SERVICE_PLACE(keyd_traffic, key_s2c), KD_SERVICE_BYTES },
    { "otp", KD_SERVICE_PLACE(keyd_traffic, key_otp), KD_SERVICE_BYTES },
};
static const struct kd_service_field iv_fields[] = {
    { "c2s", KD_SERVICE_PLACE(keyd_traffic, iv_c2s), KD_SERVICE_BYTES },
    { "s2c", KD_SERVICE_PLACE(keyd_traffic, iv_s2c), KD_SERVICE_BYTES },
};
static const struct kd_service_field window_fields[] = {
    { "highest", KD_SERVICE_PLACE(keyd_traffic, received_top), KD_SERVICE_NUMBER },
    { "seen", KD_SERVICE_PLACE(keyd_traffic, received), KD_SERVICE_BYTES },
};
static const struct kd_service_field left_fields[] = {
    { "milliseconds", KD_SERVICE_PLACE(keyd_traffic, left_ms), KD_SERVICE_NUMBER },
    { "records", KD_SERVICE_PLACE(keyd_traffic, left_records), KD_SERVICE_NUMBER },
    { "bytes", KD_SERVICE_PLACE(keyd_traffic, left_bytes), KD_SERVICE_NUMBER },
};
static const struct kd_service_field otp_fields[] = {
    { "digits", KD_SERVICE_PLACE(keyd_traffic, otp_digits), KD_SERVICE_NUMBER },
    { "step", KD_SERVICE_PLACE(keyd_traffic, otp_step_s), KD_SERVICE_NUMBER },
    { "window", KD_SERVICE_PLACE(keyd_traffic, otp_window), KD_SERVICE_NUMBER },
};
static const struct {
    const char *name;
    const struct kd_service_field *fields;
    size_t n;
} parts[] = {
    { "keys", key_fields, KD_COUNT_OF(key_fields) },
    { "ivs", iv_fields, KD_COUNT_OF(iv_fields) },
    { "left", left_fields, KD_COUNT_OF(left_fields) },
    { "otp", otp_fields, KD_COUNT_OF(otp_fields) },
};

static bool read_traffic(const struct kd_json *json, struct keyd_traffic *t) {
    if (!find_session(json, &t->session) ||
        !kd_service_read(json, traffic_fields, KD_COUNT_OF(traffic_fields), t)) {
        return false;
    }
    for (size_t i = 0; i < KD_COUNT_OF(parts); i++) {
        if (!kd_service_read(kd_json_get(json, parts[i].name), parts[i].fields, parts[i].n, t)) {
            return false;
        }
    }
    const struct kd_json *window = kd_json_get(json, "window");
    t->has_received = !kd_json_is(window, KD_JSON_NULL);
    return !t->has_received ||
           kd_service_read(window, window_fields, KD_COUNT_OF(window_fields), t);
}

void keyd_traffic_free(struct keyd_traffic *traffic) {
    kd_service_unlock(traffic);
}
KD_AUTO_DEFINE(traffic, struct keyd_traffic *, keyd_traffic_free)

enum keyd_err keyd_session_release(struct keyd_service *s, const char *session,
                                   struct keyd_traffic **out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (out == NULL) {
        return kd_detail_end(kd_service_wrong("A place for the keys"));
    }
    // Before the question: the keys come once.
    kd_auto(traffic) struct keyd_traffic *t = kd_service_locked(sizeof(*t));
    if (t == NULL) {
        return kd_detail_end(KEYD_ERR_MEMORY);
    }
    const enum keyd_err err = kd_service_on(s, "POST", "sessions", session, "release", &a);
    if (err != KEYD_OK || !read_traffic(kd_service_json(&a), t)) {
        return kd_detail_end(err == KEYD_OK ? kd_service_strange() : err);
    }
    *out = KD_STEAL(t);
    return kd_detail_end(KEYD_OK);
}
