// SPDX-License-Identifier: Apache-2.0
// service_peers.c: who may make sessions: peers of the channel, and the devices that enrol with
// the bootstrap server and become such.
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

enum { BODY_BYTES = 1024 };

// A certificate in PEM, where it is wanted; none is empty.
static bool find_pem(const struct kd_json *json, struct keyd_room *out) {
    if (out == NULL) {
        return true;
    }
    out->n = 0;
    return kd_json_get(json, "certificate") == NULL ||
           kd_service_find_text(json, "certificate", out);
}

static enum keyd_err show(struct keyd_service *s, const char *kind, const char *name,
                          kd_service_read_fn *read, void *out, struct keyd_room *pem) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (out == NULL || (pem != NULL && !kd_service_is_room(pem, KEYD_PEM_MAX))) {
        return kd_detail_end(kd_service_wrong("Room for what there is"));
    }
    const enum keyd_err err = kd_service_on(s, "GET", kind, name, "", &a);
    if (err != KEYD_OK) {
        return kd_detail_end(err);
    }
    return kd_detail_end(find_pem(kd_service_json(&a), pem) && read(kd_service_json(&a), out)
                             ? KEYD_OK
                             : kd_service_strange());
}

// ---- peers -----------------------------------------------------------------

static const struct kd_service_field peer_fields[] = {
    { "name", KD_SERVICE_PLACE(keyd_peer, name), KD_SERVICE_TEXT },
    { "uri", KD_SERVICE_PLACE(keyd_peer, uri), KD_SERVICE_TEXT, .is_optional = true },
    { "created", KD_SERVICE_PLACE(keyd_peer, created_s), KD_SERVICE_TIME },
    { "registered", KD_SERVICE_PLACE(keyd_peer, is_registered), KD_SERVICE_FLAG,
      .is_optional = true },
};

static bool read_peer(const struct kd_json *json, void *out) {
    struct keyd_peer peer = { .is_registered = 1 };
    struct keyd_room kid = { .p = peer.kid, .max = sizeof(peer.kid) };
    if (!kd_service_read(json, peer_fields, KD_COUNT_OF(peer_fields), &peer) ||
        (kd_json_get(json, "kid") != NULL && !kd_service_find_bytes(json, "kid", &kid))) {
        return false;
    }
    peer.n_kid = kid.n;
    peer.has_certificate = kd_json_get(json, "certificate") != NULL;
    if (!peer.has_certificate &&
        !kd_service_find_point(json, "public_key", peer.point, &peer.n_point)) {
        return false;
    }
    memcpy(out, &peer, sizeof(peer));
    return true;
}

// What is not would become U+FFFD on its way, and keyd would keep that.
static bool is_utf8(const char *text) {
    struct kd_bytes left = kd_bytes_of_text(text);
    for (size_t n; (n = kd_utf8_length(left)) > 0;) {
        left = (struct kd_bytes) { left.p + n, left.n - n };
    }
    return left.n == 0;
}

static bool is_peer_wrong(const struct keyd_peer_config *p) {
    return p == NULL || !kd_service_is_name(p->name) || p->pem == NULL ||
           strnlen(p->pem, KEYD_PEM_MAX + 1) > KEYD_PEM_MAX || kd_service_is_missing(p->kid) ||
           p->kid.n > KEYD_KID_MAX ||
           (p->uri != NULL &&
            (strnlen(p->uri, KEYD_URI_BYTES) == KEYD_URI_BYTES || !is_utf8(p->uri)));
}

enum keyd_err keyd_peer_create(struct keyd_service *s, const struct keyd_peer_config *p,
                               struct keyd_peer *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES + 6 * KEYD_PEM_MAX);
    struct keyd_peer peer;
    kd_service_begin();
    if (s == NULL || is_peer_wrong(p)) {
        return kd_detail_end(kd_service_wrong("The peer"));
    }
    const bool is_certificate = strstr(p->pem, "-----BEGIN CERTIFICATE-----") != NULL;
    kd_buf_u8(&b, '{');
    kd_json_member(&b, "name");
    kd_json_put_text(&b, p->name);
    kd_json_member(&b, is_certificate ? "certificate" : "public_key");
    kd_json_put_text(&b, p->pem);
    kd_service_put_given(&b, "kid", p->kid);
    if (p->uri != NULL) {
        kd_json_member(&b, "uri");
        kd_json_put_text(&b, p->uri);
    }
    kd_buf_u8(&b, '}');
    const enum keyd_err err = kd_service_post(s, "/v1/peers", &b, &a);
    if (err != KEYD_OK || !read_peer(kd_service_json(&a), &peer)) {
        return kd_detail_end(err == KEYD_OK ? kd_service_strange() : err);
    }
    if (out != NULL) {
        *out = peer;
    }
    return kd_detail_end(KEYD_OK);
}

enum keyd_err keyd_peer_show(struct keyd_service *s, const char *name, struct keyd_peer *out,
                             struct keyd_room *pem) {
    return show(s, "peers", name, read_peer, out, pem);
}

enum keyd_err keyd_peer_list(struct keyd_service *s, struct keyd_page *page, struct keyd_peer *out,
                             size_t max) {
    static const struct kd_service_list list = { "peers", sizeof(*out), read_peer };
    return kd_service_page(s, &list, page, out, max);
}

enum keyd_err keyd_peer_delete(struct keyd_service *s, const char *name) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(kd_service_on(s, "DELETE", "peers", name, "", &a));
}

// ---- devices ---------------------------------------------------------------

static const char *const device_usages[] = { "sign", "agree" };
static const char *const device_states[] = {
    [KEYD_ENROLLED] = "enrolled", [KEYD_ACTIVE] = "active", [KEYD_REVOKED] = "revoked"
};

static const struct kd_service_field device_fields[] = {
    { "id", KD_SERVICE_PLACE(keyd_enrolment, id), KD_SERVICE_TEXT },
    { "relation", KD_SERVICE_PLACE(keyd_enrolment, relation), KD_SERVICE_TEXT,
      .is_optional = true },
    { "usage", KD_SERVICE_PLACE(keyd_enrolment, is_agreeing), KD_SERVICE_ENUM, false, device_usages,
      KD_COUNT_OF(device_usages) },
    { "state", KD_SERVICE_PLACE(keyd_enrolment, state), KD_SERVICE_ENUM, false, device_states,
      KD_COUNT_OF(device_states) },
    { "uri", KD_SERVICE_PLACE(keyd_enrolment, uri), KD_SERVICE_TEXT },
    { "created", KD_SERVICE_PLACE(keyd_enrolment, created_s), KD_SERVICE_TIME },
    { "secret_expires", KD_SERVICE_PLACE(keyd_enrolment, secret_expires_s), KD_SERVICE_TIME,
      .is_optional = true },
    { "serial", KD_SERVICE_PLACE(keyd_enrolment, serial), KD_SERVICE_TEXT, .is_optional = true },
    { "not_before", KD_SERVICE_PLACE(keyd_enrolment, not_before_s), KD_SERVICE_TIME,
      .is_optional = true },
    { "not_after", KD_SERVICE_PLACE(keyd_enrolment, not_after_s), KD_SERVICE_TIME,
      .is_optional = true },
};

static bool read_device(const struct kd_json *json, void *out) {
    struct keyd_enrolment device = { .state = KEYD_ENROLLED };
    if (!kd_service_read(json, device_fields, KD_COUNT_OF(device_fields), &device)) {
        return false;
    }
    memcpy(out, &device, sizeof(device));
    return true;
}

void keyd_one_time_free(struct keyd_one_time *secret) {
    kd_service_unlock(secret);
}
KD_AUTO_DEFINE(one_time, struct keyd_one_time *, keyd_one_time_free)

// A POST that has a one-time secret in its answer.
static enum keyd_err ask_secret(struct keyd_service *s, const char *path, struct kd_buf *b,
                                unsigned lifetime_s, struct keyd_enrolment *about,
                                struct keyd_one_time **out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(one_time) struct keyd_one_time *secret = kd_service_locked(sizeof(*secret));
    if (secret == NULL) {
        return KEYD_ERR_MEMORY;
    }
    if (lifetime_s != 0) {
        kd_json_member(b, "secret_lifetime");
        kd_json_put_number(b, lifetime_s);
    }
    kd_buf_u8(b, '}');
    const enum keyd_err err = kd_service_post(s, path, b, &a);
    if (err != KEYD_OK) {
        return err;
    }
    if (!kd_service_find_word(kd_service_json(&a), "secret", sizeof(secret->text), secret->text) ||
        (about != NULL && !read_device(kd_service_json(&a), about))) {
        return kd_service_strange();
    }
    *out = KD_STEAL(secret);
    return KEYD_OK;
}

enum keyd_err keyd_enrol(struct keyd_service *s, struct keyd_enrolment *e, unsigned lifetime_s,
                         struct keyd_one_time **secret) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES);
    kd_service_begin();
    if (s == NULL || e == NULL || secret == NULL || !kd_service_is_name(e->id) ||
        (e->relation[0] != '\0' && !kd_service_is_name(e->relation))) {
        return kd_detail_end(kd_service_wrong("The id or relation of the device"));
    }
    kd_buf_u8(&b, '{');
    kd_json_member(&b, "id");
    kd_json_put_text(&b, e->id);
    if (e->relation[0] != '\0') {
        kd_json_member(&b, "relation");
        kd_json_put_text(&b, e->relation);
    }
    kd_json_member(&b, "usage");
    kd_json_put_text(&b, device_usages[e->is_agreeing != 0]);
    return kd_detail_end(ask_secret(s, "/v1/devices", &b, lifetime_s, e, secret));
}

enum keyd_err keyd_enrolment_renew(struct keyd_service *s, const char *id, unsigned lifetime_s,
                                   struct keyd_one_time **secret) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(BODY_BYTES);
    char path[KD_SERVICE_PATH_BYTES];
    kd_service_begin();
    if (s == NULL || secret == NULL || !kd_service_is_name(id)) {
        return kd_detail_end(kd_service_wrong("The id of the device"));
    }
    snprintf(path, sizeof(path), "/v1/devices/%s/secret", id);
    kd_buf_u8(&b, '{');
    return kd_detail_end(ask_secret(s, path, &b, lifetime_s, NULL, secret));
}

enum keyd_err keyd_enrolment_show(struct keyd_service *s, const char *id,
                                  struct keyd_enrolment *out, struct keyd_room *pem) {
    return show(s, "devices", id, read_device, out, pem);
}

enum keyd_err keyd_enrolment_list(struct keyd_service *s, struct keyd_page *page,
                                  struct keyd_enrolment *out, size_t max) {
    static const struct kd_service_list list = { "devices", sizeof(*out), read_device };
    return kd_service_page(s, &list, page, out, max);
}

enum keyd_err keyd_enrolment_revoke(struct keyd_service *s, const char *id) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(kd_service_on(s, "POST", "devices", id, "revoke", &a));
}

enum keyd_err keyd_enrolment_delete(struct keyd_service *s, const char *id) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(kd_service_on(s, "DELETE", "devices", id, "", &a));
}
