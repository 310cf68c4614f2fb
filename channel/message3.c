// SPDX-License-Identifier: Apache-2.0
// message3.c: message_3 = CIPHERTEXT_3, RFC 9528 5.4;
// PLAINTEXT_3 = ( ID_CRED_I, Signature_or_MAC_3, ? EAD_3 ).
#include "channel/edhoc_state.h"

// TH_4 and PRK_out, the same on both sides.
static enum kd_err conclude(struct kd_edhoc *e, struct kd_bytes plaintext, struct kd_bytes cred) {
    enum kd_err r = kd_edhoc_th_next(e, e->th_3, plaintext, cred, e->th_4);
    return r == KD_OK ? kd_edhoc_derive_prk_out(e) : r;
}

// ---- initiator -------------------------------------------------------------

static enum kd_err write_3(struct kd_edhoc *e, const struct kd_ead *ead, struct kd_buf *out) {
    kd_auto(buf) struct kd_buf ead_3 = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    kd_ead_put(&ead_3, ead);
    enum kd_err r = kd_buf_finish(&ead_3);
    if (r != KD_OK || (r = kd_edhoc_derive_prk_4e3m(e, NULL)) != KD_OK) {
        return r;
    }
    kd_edhoc_drop_ephemeral(e);
    uint8_t proof[KD_SIGNATURE_MAX_BYTES];
    const struct kd_edhoc_proof p =
        kd_edhoc_proof_3(e, e->identity->id_cred, e->identity->cred, kd_buf_get(&ead_3));
    if ((r = kd_edhoc_prove(e, &p, proof)) != KD_OK) {
        return r;
    }
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    kd_edhoc_put_plaintext(&text, &e->own_id,
                           (struct kd_bytes) { proof, kd_edhoc_proof_bytes(e, p.side) }, p.ead);
    if ((r = kd_buf_finish(&text)) != KD_OK ||
        (r = kd_edhoc_seal(e, KD_CIPHER_3, kd_buf_get(&text), out)) != KD_OK) {
        return r;
    }
    return conclude(e, kd_buf_get(&text), e->identity->cred);
}

enum kd_err kd_edhoc_write_3(struct kd_edhoc *e, const struct kd_ead *ead, struct kd_buf *out) {
    enum kd_err r = kd_edhoc_begin(e, KD_STEP_WRITE_3);
    if (r != KD_OK) {
        return r;
    }
    size_t start = out->n;
    return kd_edhoc_end_write(e, KD_STEP_WRITE_3, write_3(e, ead, out), out, start);
}

// ---- responder -------------------------------------------------------------

static enum kd_err read_3(struct kd_edhoc *e, struct kd_bytes message) {
    struct kd_bytes sealed;
    enum kd_err r = kd_edhoc_unwrap(e, message, &sealed);
    if (r != KD_OK || (r = kd_edhoc_open(e, KD_CIPHER_3, sealed, &e->received)) != KD_OK) {
        return r;
    }
    struct kd_cbor c = kd_cbor_of(kd_buf_get(&e->received));
    return kd_edhoc_read_plaintext(e, &c, KD_EDHOC_INITIATOR);
}

enum kd_err kd_edhoc_read_3(struct kd_edhoc *e, struct kd_bytes message) {
    enum kd_err r = kd_edhoc_begin(e, KD_STEP_READ_3);
    return r == KD_OK ? kd_edhoc_end(e, KD_STEP_READ_3, read_3(e, message)) : r;
}

enum kd_err kd_edhoc_auth_3(struct kd_edhoc *e, const struct kd_peer *peer) {
    enum kd_err r = kd_edhoc_derive_prk_4e3m(e, &peer->key);
    if (r != KD_OK) {
        return r;
    }
    kd_edhoc_drop_ephemeral(e);
    const struct kd_edhoc_proof p =
        kd_edhoc_proof_3(e, e->peer_id.encoded, peer->cred, e->peer_ead);
    if ((r = kd_edhoc_check_proof(e, &p, &peer->key)) != KD_OK) {
        return r;
    }
    return conclude(e, kd_buf_get(&e->received), peer->cred);
}
