// SPDX-License-Identifier: Apache-2.0
// service_channel.c: a server's end of the secure channel: handshakes and envelopes.  Sessions are
// in service_sessions.c, records in service_records.c.
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

enum { ADDRESS_MAX_BYTES = 128, COOKIE_MAX_BYTES = 64, LINE_BYTES = 192, METHOD_MAX = 3 };

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
        !kd_service_copy(kd_service_text(a), out)) {
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
        !kd_service_is_room(out, KEYD_HANDSHAKE_MAX)) {
        return kd_detail_end(kd_service_wrong("The handshake, its message or room for another"));
    }
    out->n = 0;
    const enum keyd_err err = send(s, h, message, &a);
    if (err == KEYD_OK) {
        return kd_detail_end(take_step(h, &a, out));
    }
    // For the peer, where there is one; either has its place in a problem of its own.
    if (!kd_service_find_bytes(kd_service_json(&a), "message", out)) {
        (void)kd_service_find_bytes(kd_service_json(&a), "cookie", out);
    }
    return kd_detail_end(err);
}

// ---- the reverse: keyd begins ----------------------------------------------

static enum keyd_err take_first(struct keyd_handshake *h, const struct kd_json *answer,
                                struct keyd_room *out) {
    char id[KEYD_ID_BYTES];
    if (!kd_service_find_word(answer, "handshake", sizeof(id), id) || !kd_service_is_id(id) ||
        !kd_service_find_bytes(answer, "message", out)) {
        return kd_service_strange();
    }
    snprintf(h->id, sizeof(h->id), "%s", id);
    return KEYD_OK;
}

enum keyd_err keyd_handshake_begin(struct keyd_service *s, unsigned method,
                                   struct keyd_handshake *h, struct keyd_room *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(LINE_BYTES);
    kd_service_begin();
    if (s == NULL || h == NULL || h->id[0] != '\0' || method > METHOD_MAX ||
        !kd_service_is_room(out, KEYD_HANDSHAKE_MAX)) {
        return kd_detail_end(kd_service_wrong("The method, the handshake or room for its message"));
    }
    kd_buf_printf(&b, "{\"initiate\":true,\"method\":%u}", method);
    const enum keyd_err err = kd_service_post(s, "/v1/handshakes", &b, &a);
    return kd_detail_end(err == KEYD_OK ? take_first(h, kd_service_json(&a), out) : err);
}

enum keyd_err keyd_handshake_abandon(struct keyd_service *s, const struct keyd_handshake *h) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(
        kd_service_on(s, "DELETE", "handshakes", h == NULL ? NULL : h->id, "", &a));
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
        !kd_service_is_room(out, envelope.n)) {
        return kd_detail_end(kd_service_wrong("The envelope, or room for its message,"));
    }
    const struct kd_rest_request q = { .method = "POST",
                                       .path = "/v1/envelopes/open",
                                       .type = "application/cbor",
                                       .body = kd_service_bytes(envelope) };
    const enum keyd_err err = kd_service_ask(s, &q, &a);
    return kd_detail_end(err == KEYD_OK ? take_envelope(kd_service_text(&a), about, out) : err);
}

static const struct kd_service_field key_fields[] = {
    { "key", KD_SERVICE_PLACE(keyd_envelope_key, name), KD_SERVICE_TEXT },
    { "version", KD_SERVICE_PLACE(keyd_envelope_key, version), KD_SERVICE_NUMBER },
    { "key_id", KD_SERVICE_PLACE(keyd_envelope_key, id), KD_SERVICE_BYTES },
    { "validity_max", KD_SERVICE_PLACE(keyd_envelope_key, validity_max_s), KD_SERVICE_NUMBER },
    { "leeway", KD_SERVICE_PLACE(keyd_envelope_key, leeway_s), KD_SERVICE_NUMBER },
    { "body_max", KD_SERVICE_PLACE(keyd_envelope_key, body_max), KD_SERVICE_NUMBER },
};
static const struct kd_service_field suite_fields[] = {
    { "kem", KD_SERVICE_PLACE(keyd_envelope_key, kem), KD_SERVICE_NUMBER },
    { "kdf", KD_SERVICE_PLACE(keyd_envelope_key, kdf), KD_SERVICE_NUMBER },
    { "aead", KD_SERVICE_PLACE(keyd_envelope_key, aead), KD_SERVICE_NUMBER },
};

static enum keyd_err take_key(const struct kd_json *answer, struct keyd_envelope_key *out) {
    struct keyd_envelope_key key = { .version = 0 };
    if (!kd_service_read(answer, key_fields, KD_COUNT_OF(key_fields), &key) ||
        !kd_service_find_point(answer, "jwk", key.point, &key.n_point) ||
        !kd_service_read(kd_json_get(answer, "suite"), suite_fields, KD_COUNT_OF(suite_fields),
                         &key)) {
        return kd_service_strange();
    }
    *out = key;
    return KEYD_OK;
}

enum keyd_err keyd_envelope_key(struct keyd_service *s, struct keyd_envelope_key *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (s == NULL || out == NULL) {
        return kd_detail_end(kd_service_wrong("Room for the key"));
    }
    const enum keyd_err err = kd_service_do(s, "GET", "/v1/envelopes/key", &a);
    return kd_detail_end(err == KEYD_OK ? take_key(kd_service_json(&a), out) : err);
}
