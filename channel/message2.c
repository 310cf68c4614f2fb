// SPDX-License-Identifier: Apache-2.0
// message2.c: message_2 = G_Y | CIPHERTEXT_2 in one byte string, RFC 9528 5.3;
// PLAINTEXT_2 = ( C_R, ID_CRED_R, Signature_or_MAC_2, ? EAD_2 ).
#include "channel/edhoc_state.h"

#include <string.h>

void kd_edhoc_put_plaintext(struct kd_buf *out, const struct kd_idcred *id, struct kd_bytes proof,
                            struct kd_bytes ead) {
    kd_idcred_put_compact(out, id);
    kd_cbor_put_bytes(out, proof);
    kd_buf_put(out, ead.p, ead.n);
}

enum kd_err kd_edhoc_read_plaintext(struct kd_edhoc *e, struct kd_cbor *c,
                                    enum kd_edhoc_role side) {
    kd_idcred_read_compact(c, &e->kid_map, &e->peer_id);
    if (c->err == KD_ERR_HS_CREDENTIAL) {
        return kd_edhoc_because(e, c->err, "ID_CRED is of a kind, or with a hash, not used here.");
    }
    e->peer_proof = kd_cbor_read_bytes(c);
    e->peer_ead = (struct kd_bytes) { c->in.p, c->in.n };
    if (c->err == KD_OK && e->peer_proof.n != kd_edhoc_proof_bytes(e, side)) {
        return kd_edhoc_because(e, KD_ERR_HS_MESSAGE,
                                "Signature_or_MAC has not the length of method and suite.");
    }
    kd_ead_read(c, kd_edhoc_labels(e, side == KD_EDHOC_RESPONDER ? 2 : 3), &e->ead);
    return kd_edhoc_form(e, kd_cbor_finish(c));
}

// ---- responder -------------------------------------------------------------

static enum kd_err write_2(struct kd_edhoc *e, const struct kd_ead *ead, struct kd_buf *out) {
    const struct kd_keys *keys = &e->config.keys;
    kd_auto(buf) struct kd_buf ead_2 = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    kd_ead_put(&ead_2, ead);
    enum kd_err r = kd_buf_finish(&ead_2);
    if (r != KD_OK ||
        (r = keys->ops->generate(keys->ctx, e->suite->curve, &e->ephemeral, &e->own_point)) !=
            KD_OK ||
        (r = kd_edhoc_th_2(e, &e->own_point)) != KD_OK ||
        (r = kd_edhoc_derive_prk_2e(e)) != KD_OK ||
        (r = kd_edhoc_derive_prk_3e2m(e, NULL)) != KD_OK) {
        return r;
    }
    if (!kd_edhoc_is_static(e, KD_EDHOC_INITIATOR)) {
        kd_edhoc_drop_ephemeral(e); // nothing else needs it
    }
    uint8_t proof[KD_SIGNATURE_MAX_BYTES];
    const struct kd_edhoc_proof p = kd_edhoc_proof_2(e, e->config.conn_id, e->identity->id_cred,
                                                     e->identity->cred, kd_buf_get(&ead_2));
    if ((r = kd_edhoc_prove(e, &p, proof)) != KD_OK) {
        return r;
    }
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    kd_identifier_put(&text, e->config.conn_id);
    kd_edhoc_put_plaintext(&text, &e->own_id,
                           (struct kd_bytes) { proof, kd_edhoc_proof_bytes(e, p.side) }, p.ead);
    if ((r = kd_buf_finish(&text)) != KD_OK ||
        (r = kd_edhoc_th_next(e, e->th_2, kd_buf_get(&text), e->identity->cred, e->th_3)) !=
            KD_OK) {
        return r;
    }
    struct kd_bytes g_y = kd_point_get_x(&e->own_point);
    kd_cbor_put_bytes_head(out, g_y.n + text.n);
    kd_buf_put(out, g_y.p, g_y.n);
    uint8_t *to = kd_buf_extend(out, text.n);
    return to == NULL ? kd_buf_finish(out) : kd_edhoc_crypt_2(e, kd_buf_get(&text), to);
}

enum kd_err kd_edhoc_write_2(struct kd_edhoc *e, const struct kd_ead *ead, struct kd_buf *out) {
    enum kd_err r = kd_edhoc_begin(e, KD_STEP_WRITE_2);
    if (r != KD_OK) {
        return r;
    }
    size_t start = out->n;
    return kd_edhoc_end_write(e, KD_STEP_WRITE_2, write_2(e, ead, out), out, start);
}

// ---- initiator -------------------------------------------------------------

enum kd_err kd_edhoc_unwrap(struct kd_edhoc *e, struct kd_bytes message, struct kd_bytes *out) {
    e->is_ead_known = false;
    if (message.n > KD_EDHOC_MESSAGE_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    if (kd_edhoc_error_parse(message, &e->peer_error) == KD_OK) {
        e->has_peer_error = true;
        return KD_ERR_HS_PEER;
    }
    struct kd_cbor c = kd_cbor_of(message);
    struct kd_bytes inside = kd_cbor_read_bytes(&c);
    enum kd_err r = kd_edhoc_form(e, kd_cbor_finish(&c));
    if (r == KD_OK) {
        *out = inside;
    }
    return r;
}

// G_Y, and the keys that follow from it.
static enum kd_err take_g_y(struct kd_edhoc *e, struct kd_bytes g_y) {
    if (kd_bytes_equal(g_y, kd_point_get_x(&e->own_point))) {
        return KD_ERR_HS_REFLECTED;
    }
    enum kd_err r = kd_point_from_x(e->suite->curve, g_y, &e->peer_point);
    if (r != KD_OK) {
        return kd_edhoc_because(e, r, "G_Y is not the x coordinate of a point on the curve.");
    }
    if ((r = kd_edhoc_th_2(e, &e->peer_point)) != KD_OK) {
        return r;
    }
    return kd_edhoc_derive_prk_2e(e);
}

static enum kd_err read_2(struct kd_edhoc *e, struct kd_bytes message) {
    struct kd_bytes inside;
    enum kd_err r = kd_edhoc_unwrap(e, message, &inside);
    if (r != KD_OK) {
        return r;
    }
    size_t n_g_y = kd_curve_bytes(e->suite->curve);
    if (inside.n <= n_g_y) {
        return kd_edhoc_because(e, KD_ERR_HS_MESSAGE, "message_2 is too short for G_Y.");
    }
    const struct kd_bytes sealed = { inside.p + n_g_y, inside.n - n_g_y };
    if ((r = take_g_y(e, (struct kd_bytes) { inside.p, n_g_y })) != KD_OK) {
        return r;
    }
    kd_buf_reset(&e->received);
    uint8_t *to = kd_buf_extend(&e->received, sealed.n);
    if (to == NULL) {
        return kd_buf_finish(&e->received);
    }
    if ((r = kd_edhoc_crypt_2(e, sealed, to)) != KD_OK) {
        return r;
    }
    struct kd_cbor c = kd_cbor_of(kd_buf_get(&e->received));
    struct kd_bytes c_r = kd_identifier_read(&c);
    if (c_r.n > sizeof(e->peer_conn_id)) {
        return kd_edhoc_because(e, KD_ERR_HS_MESSAGE, "C_R is longer than 16 bytes.");
    }
    if (c.err == KD_OK && c_r.n > 0) {
        memcpy(e->peer_conn_id, c_r.p, c_r.n);
    }
    e->n_peer_conn_id = c_r.n;
    return kd_edhoc_read_plaintext(e, &c, KD_EDHOC_RESPONDER);
}

enum kd_err kd_edhoc_read_2(struct kd_edhoc *e, struct kd_bytes message) {
    enum kd_err r = kd_edhoc_begin(e, KD_STEP_READ_2);
    return r == KD_OK ? kd_edhoc_end(e, KD_STEP_READ_2, read_2(e, message)) : r;
}

enum kd_err kd_edhoc_auth_2(struct kd_edhoc *e, const struct kd_peer *peer) {
    enum kd_err r = kd_edhoc_derive_prk_3e2m(e, &peer->key);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_edhoc_proof p =
        kd_edhoc_proof_2(e, kd_edhoc_peer_conn_id(e), e->peer_id.encoded, peer->cred, e->peer_ead);
    if ((r = kd_edhoc_check_proof(e, &p, &peer->key)) != KD_OK) {
        return r;
    }
    return kd_edhoc_th_next(e, e->th_2, kd_buf_get(&e->received), peer->cred, e->th_3);
}
