// SPDX-License-Identifier: Apache-2.0
// peers.c: the handlers of /v1/peers: who may make a session.
#include "api/channel.h"
#include "api/jwk.h"
#include "api/page.h"
#include "api/route.h"

#include <stdio.h>
#include <stdlib.h>

// ---- writing ---------------------------------------------------------------

static void put_peer(struct kd_buf *out, const struct kd_peer_info *p) {
    kd_json_element(out);
    kd_buf_u8(out, '{');
    kd_json_member(out, "name");
    kd_json_put_text(out, p->name);
    if (p->certificate.n > 0) {
        kd_json_member(out, "certificate");
        kd_certificate_pem_write(out, p->certificate);
    } else {
        kd_json_member(out, "public_key");
        kd_jwk_write(out, p->point.n == 65 ? KD_KEY_EC_P256 : KD_KEY_EC_P384, p->point);
    }
    if (p->kid.n > 0) {
        kd_json_member(out, "kid");
        kd_json_put_bytes(out, p->kid);
    }
    if (p->uri[0] != '\0') {
        kd_json_member(out, "uri");
        kd_json_put_text(out, p->uri);
    }
    kd_json_member(out, "created");
    kd_json_put_time(out, p->created_ms);
    if (!p->is_registered) { // what is registered has only members that can be posted again
        kd_json_member(out, "registered");
        kd_json_put_bool(out, false);
    }
    kd_buf_u8(out, '}');
}

static void finish(struct kd_request *q, enum kd_err err, const char *detail,
                   const struct kd_peer_info *peer, unsigned status) {
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    if (peer != NULL) {
        put_peer(&q->out, peer);
    }
    kd_request_end(q, status);
}

static void on_made(void *arg, enum kd_err err, const char *detail,
                    const struct kd_peer_info *peer) {
    struct kd_request *q = arg;
    if (err == KD_OK) {
        snprintf(q->location, sizeof(q->location), "/v1/peers/%s", peer->name);
    }
    finish(q, err, detail, peer, 201);
}

static void on_deleted(void *arg, enum kd_err err, const char *detail,
                       const struct kd_peer_info *peer KD_UNUSED) {
    finish(arg, err, detail, NULL, 204);
}

// ---- POST /v1/peers --------------------------------------------------------

enum { KID_MAX_BYTES = 16 };

static enum kd_err read_certificate(const struct kd_json_in *in, struct kd_bytes *out) {
    struct kd_public_key key;
    struct kd_bytes der = KD_BYTES_NONE;
    enum kd_err err = kd_pem_read(in, "certificate", &key, &der);
    if (err != KD_OK) {
        return err;
    }
    if (der.n == 0) {
        return kd_json_blame(in, "certificate", KD_ERR_BAD_PUBLIC_KEY,
                             "A CERTIFICATE is expected; other keys go into public_key.");
    }
    *out = der;
    return KD_OK;
}

static enum kd_err read_public_key(const struct kd_json_in *in, struct kd_public_key *out) {
    if (kd_json_is(kd_json_get(in->object, "public_key"), KD_JSON_OBJECT)) {
        enum kd_err err = kd_jwk_read(in, "public_key", out);
        if (err != KD_OK) {
            return err;
        }
        return kd_public_key_is_on_curve(out)
                   ? KD_OK
                   : kd_json_blame(in, "public_key", KD_ERR_BAD_PUBLIC_KEY,
                                   "The point is not on the curve.");
    }
    struct kd_bytes der = KD_BYTES_NONE;
    enum kd_err err = kd_pem_read(in, "public_key", out, &der);
    if (err == KD_OK && der.n > 0) {
        return kd_json_blame(in, "public_key", KD_ERR_BAD_PUBLIC_KEY,
                             "A certificate goes into the member certificate.");
    }
    return err;
}

static enum kd_err read_names(const struct kd_json_in *in, struct kd_peer_spec *spec) {
    enum kd_err err = kd_json_text(in, "name", true, &spec->name);
    if (err != KD_OK) {
        return err;
    }
    if (!kd_name_is_valid(kd_bytes_of_text(spec->name))) {
        return kd_json_blame(in, "name", KD_ERR_BAD_NAME, "");
    }
    if (kd_json_has(in, "kid") &&
        (err = kd_channel_read_bytes(in, "kid", KID_MAX_BYTES, &spec->kid)) != KD_OK) {
        return err;
    }
    if ((err = kd_json_text(in, "uri", false, &spec->uri)) != KD_OK) {
        return err;
    }
    return spec->uri != NULL && spec->uri[0] == '\0'
               ? kd_json_blame(in, "uri", KD_ERR_FIELD_INVALID, "A URI is expected.")
               : KD_OK;
}

// A key has nothing but its kid to be named by.
static enum kd_err check_names_of_key(const struct kd_json_in *in,
                                      const struct kd_peer_spec *spec) {
    if (spec->uri != NULL) {
        return kd_json_blame(in, "uri", KD_ERR_FIELD_INVALID,
                             "It says where a certificate is; a public_key has a kid alone.");
    }
    return spec->kid.n > 0 ? KD_OK
                           : kd_json_blame(in, "kid", KD_ERR_FIELD_MISSING,
                                           "The peer names a public_key by its kid.");
}

// What is left, of what the service refuses.
static enum kd_err explain(const struct kd_json_in *in, enum kd_err err) {
    if (err == KD_ERR_FIELD_INVALID && kd_json_has(in, "uri")) {
        return kd_json_blame(in, "uri", err,
                             "A URI of at most 255 printable characters of ASCII is expected.");
    }
    if (err == KD_ERR_ITEM_TOO_LARGE) {
        return kd_json_blame(in, "certificate", err, "At most 7992 bytes are expected (DER).");
    }
    return err;
}

enum kd_err kd_handle_peer_new(struct kd_request *q) {
    const struct kd_json_in in = kd_channel_input(q);
    const bool is_raw = kd_json_has(&in, "public_key");
    const char *const names[] = { "name", "kid", "uri", is_raw ? "public_key" : "certificate" };
    struct kd_peer_spec spec = { .name = NULL };
    struct kd_public_key key;
    enum kd_err err = kd_json_only(&in, names, KD_COUNT_OF(names));
    if (err != KD_OK || (err = read_names(&in, &spec)) != KD_OK) {
        return err;
    }
    err = is_raw ? read_public_key(&in, &key) : read_certificate(&in, &spec.certificate);
    if (err != KD_OK || (is_raw && (err = check_names_of_key(&in, &spec)) != KD_OK)) {
        return err;
    }
    if (is_raw) {
        spec.point = (struct kd_bytes) { key.point, key.n };
    }
    err = kd_channel_peer_add(q->http->service, &q->caller, &spec, on_made, q);
    return kd_channel_wait(q, explain(&in, err));
}

// ---- the others ------------------------------------------------------------

enum kd_err kd_handle_peer_list(struct kd_request *q) {
    struct kd_page page;
    enum kd_err err = kd_channel_check(q);
    if (err != KD_OK || (err = kd_page_read(q, &page)) != KD_OK) {
        return err;
    }
    struct kd_peer_info *peers = calloc(page.limit + 1, sizeof(*peers));
    q->work = peers; // freed with the request
    if (peers == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const size_t n =
        kd_channel_peers(q->http->service, &q->caller, page.after, peers, page.limit + 1);
    const size_t shown = n > page.limit ? page.limit : n;
    kd_buf_text(&q->out, "{\"peers\":[");
    for (size_t i = 0; i < shown; i++) {
        put_peer(&q->out, &peers[i]);
    }
    kd_buf_u8(&q->out, ']');
    kd_page_put_next(&q->out, n > shown ? peers[shown - 1].name : NULL);
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_peer_show(struct kd_request *q) {
    struct kd_peer_info peer;
    enum kd_err err =
        kd_channel_told(q, kd_channel_peer(q->http->service, &q->caller, q->name, &peer));
    if (err != KD_OK) {
        return err;
    }
    put_peer(&q->out, &peer);
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_peer_delete(struct kd_request *q) {
    return kd_channel_wait(
        q, kd_channel_peer_delete(q->http->service, &q->caller, q->name, on_deleted, q));
}
