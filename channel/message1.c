// SPDX-License-Identifier: Apache-2.0
// message1.c: message_1 = ( METHOD, SUITES_I, G_X, C_I, ? EAD_1 ), RFC 9528 5.2.
#include "channel/edhoc_state.h"

#include <string.h>

// ---- initiator -------------------------------------------------------------

static enum kd_err write_1(struct kd_edhoc *e, const struct kd_ead *ead, struct kd_buf *out) {
    struct kd_suites offer;
    enum kd_err r = kd_suites_offer(&e->config.suites, e->config.peer_suites, &offer);
    if (r != KD_OK) {
        return kd_edhoc_because(e, r, "The responder supports none of our cipher suites.");
    }
    e->suite = kd_suite_get(offer.ids[offer.n - 1]);
    const struct kd_keys *keys = &e->config.keys;
    if ((r = kd_edhoc_choose_identity(e)) != KD_OK ||
        (r = keys->ops->generate(keys->ctx, e->suite->curve, &e->ephemeral, &e->own_point)) !=
            KD_OK) {
        return r;
    }
    size_t start = out->n;
    kd_cbor_put_int(out, e->method);
    kd_suites_put(out, &offer);
    kd_cbor_put_bytes(out, kd_point_get_x(&e->own_point));
    kd_identifier_put(out, e->config.conn_id);
    kd_ead_put(out, ead);
    if ((r = kd_buf_finish(out)) != KD_OK) {
        return r;
    }
    const struct kd_bytes message = { out->p + start, out->n - start };
    return kd_host_hash(e->suite->md, &message, 1, e->h_message_1);
}

enum kd_err kd_edhoc_write_1(struct kd_edhoc *e, const struct kd_ead *ead, struct kd_buf *out) {
    enum kd_err r = kd_edhoc_begin(e, KD_STEP_WRITE_1);
    if (r != KD_OK) {
        return r;
    }
    size_t start = out->n;
    return kd_edhoc_end_write(e, KD_STEP_WRITE_1, write_1(e, ead, out), out, start);
}

// ---- responder -------------------------------------------------------------

// METHOD and SUITES_I decide what the rest may be, so they are judged first.
static enum kd_err agree(struct kd_edhoc *e, struct kd_cbor *c) {
    int64_t method = kd_cbor_read_int(c);
    struct kd_suites offer = { .n = 0 };
    kd_suites_read(c, &offer);
    if (c->err != KD_OK) {
        return kd_edhoc_form(e, c->err);
    }
    if (method < 0 || method > KD_EDHOC_METHOD_MAX || (e->config.methods >> method & 1u) == 0) {
        return KD_ERR_HS_METHOD;
    }
    e->method = (int)method;
    enum kd_err r = kd_suites_accept(&e->config.suites, &offer, &e->suite);
    return r == KD_OK ? kd_edhoc_choose_identity(e) : r;
}

static enum kd_err keep_conn_id(struct kd_edhoc *e, struct kd_bytes id) {
    if (id.n > sizeof(e->peer_conn_id)) {
        return kd_edhoc_because(e, KD_ERR_HS_MESSAGE, "C_I is longer than 16 bytes.");
    }
    if (id.n > 0) {
        memcpy(e->peer_conn_id, id.p, id.n);
    }
    e->n_peer_conn_id = id.n;
    return KD_OK;
}

static enum kd_err read_1(struct kd_edhoc *e, struct kd_bytes message) {
    kd_buf_reset(&e->received);
    kd_buf_put(&e->received, message.p, message.n);
    enum kd_err r = kd_buf_finish(&e->received);
    if (r != KD_OK) {
        return r;
    }
    struct kd_cbor c = kd_cbor_of(kd_buf_get(&e->received));
    if ((r = agree(e, &c)) != KD_OK) {
        return r;
    }
    struct kd_bytes g_x = kd_cbor_read_bytes(&c);
    struct kd_bytes c_i = kd_identifier_read(&c);
    kd_ead_read(&c, kd_edhoc_labels(e, 1), &e->ead);
    if ((r = kd_edhoc_form(e, kd_cbor_finish(&c))) != KD_OK ||
        (r = keep_conn_id(e, c_i)) != KD_OK) {
        return r;
    }
    r = kd_point_from_x(e->suite->curve, g_x, &e->peer_point);
    if (r != KD_OK) {
        return kd_edhoc_because(e, r, "G_X is not the x coordinate of a point on the curve.");
    }
    e->is_ead_known = true;
    return kd_host_hash(e->suite->md, &message, 1, e->h_message_1);
}

enum kd_err kd_edhoc_read_1(struct kd_edhoc *e, struct kd_bytes message) {
    enum kd_err r = kd_edhoc_begin(e, KD_STEP_READ_1);
    return r == KD_OK ? kd_edhoc_end(e, KD_STEP_READ_1, read_1(e, message)) : r;
}

enum kd_err kd_edhoc_peek_ead_1(struct kd_bytes message, const struct kd_ead_labels *understood,
                                struct kd_ead *out) {
    struct kd_cbor c = kd_cbor_of(message);
    struct kd_suites offer = { .n = 0 };
    (void)kd_cbor_read_int(&c);
    kd_suites_read(&c, &offer);
    (void)kd_cbor_read_bytes(&c);
    (void)kd_identifier_read(&c);
    struct kd_ead ead = { .n = 0 };
    kd_ead_read(&c, understood, &ead);
    const enum kd_err r = kd_cbor_finish(&c);
    if (r == KD_OK) {
        *out = ead;
    }
    return r == KD_OK || r == KD_ERR_HS_EAD ? r : KD_ERR_HS_MESSAGE;
}
