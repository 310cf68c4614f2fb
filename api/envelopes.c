// SPDX-License-Identifier: Apache-2.0
// envelopes.c: /v1/envelopes: what is sealed to keyd before there is a session.
#include "api/channel.h"
#include "api/jwk.h"
#include "api/route.h"

enum { ANSWER_BYTES = 512 }; // but for the body

// KD_ERR_CONFIG: what is missing in the configuration.
static enum kd_err told(struct kd_request *q, enum kd_err err) {
    if (err == KD_ERR_CONFIG) {
        kd_request_say(q,
                       "Envelopes are off: keyd.conf(5) names no key for them (channel.envelope).");
    }
    return err;
}

// ---- GET /v1/envelopes/key -------------------------------------------------

static void put_suite(struct kd_buf *out) {
    kd_json_member(out, "suite");
    kd_buf_u8(out, '{');
    kd_json_member(out, "kem");
    kd_json_put_number(out, KD_HPKE_KEM);
    kd_json_member(out, "kdf");
    kd_json_put_number(out, KD_HPKE_KDF);
    kd_json_member(out, "aead");
    kd_json_put_number(out, KD_HPKE_AEAD);
    kd_buf_u8(out, '}');
}

enum kd_err kd_handle_envelope_key(struct kd_request *q) {
    struct kd_envelope_key key;
    enum kd_err err = kd_envelope_key(q->http->service, &q->caller, &key);
    if (err != KD_OK) {
        return told(q, err);
    }
    kd_buf_u8(&q->out, '{');
    kd_json_member(&q->out, "key");
    kd_json_put_text(&q->out, key.name);
    kd_json_member(&q->out, "version");
    kd_json_put_number(&q->out, key.version);
    kd_json_member(&q->out, "key_id");
    kd_json_put_bytes(&q->out, (struct kd_bytes) { key.id, sizeof(key.id) });
    kd_json_member(&q->out, "jwk");
    kd_jwk_write(&q->out, KD_KEY_EC_P256, key.point);
    kd_json_member(&q->out, "pem");
    kd_spki_pem_write(&q->out, KD_KEY_EC_P256, key.point);
    put_suite(&q->out);
    kd_json_member(&q->out, "validity_max");
    kd_json_put_number(&q->out, key.validity_max_s);
    kd_json_member(&q->out, "leeway");
    kd_json_put_number(&q->out, key.leeway_s);
    kd_json_member(&q->out, "body_max");
    kd_json_put_number(&q->out, KD_ENVELOPE_BODY_MAX_BYTES);
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}

// ---- POST /v1/envelopes/open -------------------------------------------------

static void put_json(struct kd_buf *out, const struct kd_envelope_opened *o) {
    char id[2 * KD_ENVELOPE_ID_BYTES + 1];
    kd_hex_encode(o->id, KD_ENVELOPE_ID_BYTES, id);
    kd_buf_u8(out, '{');
    kd_json_member(out, "id");
    kd_json_put_text(out, id);
    kd_json_member(out, "time");
    kd_json_put_time(out, o->time_s * 1000);
    kd_json_member(out, "expires");
    kd_json_put_time(out, o->expires_s * 1000);
    kd_json_member(out, "sender");
    kd_json_put_text(out, o->sender);
    kd_json_member(out, "data");
    kd_json_put_bytes(out, o->body);
    kd_buf_u8(out, '}');
}

static void put_cbor(struct kd_request *q, const struct kd_envelope_opened *o) {
    kd_cbor_put_array(&q->out, 5);
    kd_cbor_put_bytes(&q->out, (struct kd_bytes) { o->id, KD_ENVELOPE_ID_BYTES });
    kd_cbor_put_uint(&q->out, o->time_s);
    kd_cbor_put_uint(&q->out, o->expires_s);
    kd_cbor_put_text(&q->out, o->sender);
    kd_cbor_put_bytes(&q->out, o->body);
    q->content_type = q->route->raw;
}

static void on_opened(void *arg, enum kd_err err, const char *detail,
                      const struct kd_envelope_opened *opened) {
    struct kd_request *q = arg;
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    (void)kd_buf_extend(&q->out, ANSWER_BYTES + 2 * opened->body.n); // growing leaves parts behind
    q->out.n = 0;
    if (q->is_raw) {
        put_cbor(q, opened);
    } else {
        put_json(&q->out, opened);
    }
    kd_request_end(q, 200);
}

enum kd_err kd_handle_envelope_open(struct kd_request *q) {
    static const char *const names[] = { "envelope" };
    struct kd_bytes envelope = kd_buf_get(&q->body);
    enum kd_err err = KD_OK;
    if (!q->is_raw) {
        const struct kd_json_in in = kd_channel_input(q);
        if ((err = kd_json_only(&in, names, KD_COUNT_OF(names))) != KD_OK ||
            (err = kd_json_bytes(&in, "envelope", true, &envelope)) != KD_OK) {
            return err;
        }
    }
    if ((err = kd_request_hold(q, ANSWER_BYTES + 2 * envelope.n)) != KD_OK) {
        return err;
    }
    err = kd_envelope_open(q->http->service, &q->caller, envelope, on_opened, q);
    if (err == KD_OK) {
        q->state = KD_REQUEST_WAITING;
    }
    return told(q, err);
}
