// SPDX-License-Identifier: Apache-2.0
// transcript.c: the transcript hashes, and what goes into MACs and signatures
// (RFC 9528 5.2 to 5.4).  Nothing here is secret but the MAC.
#include "channel/edhoc_state.h"

enum { CONTEXT_MAX_BYTES = 3 * KD_EDHOC_MESSAGE_MAX_BYTES };

static struct kd_bytes hash_bytes(const struct kd_edhoc *e, const uint8_t *th) {
    return (struct kd_bytes) { th, kd_edhoc_hash_bytes(e) };
}

// H of a byte string and what follows it.
static enum kd_err hash_after(const struct kd_edhoc *e, struct kd_bytes first, struct kd_bytes rest,
                              struct kd_bytes rest2, uint8_t *out) {
    kd_auto(buf) struct kd_buf head = KD_BUF_INIT(64 + KD_HASH_MAX_BYTES);
    kd_cbor_put_bytes(&head, first);
    enum kd_err r = kd_buf_finish(&head);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_bytes parts[] = { kd_buf_get(&head), rest, rest2 };
    return kd_host_hash(e->suite->md, parts, KD_COUNT_OF(parts), out);
}

// TH_2 = H( G_Y, H(message_1) )
enum kd_err kd_edhoc_th_2(struct kd_edhoc *e, const struct kd_point *g_y) {
    kd_auto(buf) struct kd_buf h = KD_BUF_INIT(8 + KD_HASH_MAX_BYTES);
    kd_cbor_put_bytes(&h, hash_bytes(e, e->h_message_1));
    enum kd_err r = kd_buf_finish(&h);
    return r == KD_OK ? hash_after(e, kd_point_get_x(g_y), kd_buf_get(&h), KD_BYTES_NONE, e->th_2)
                      : r;
}

enum kd_err kd_edhoc_th_next(const struct kd_edhoc *e, const uint8_t *th, struct kd_bytes plaintext,
                             struct kd_bytes cred, uint8_t *out) {
    return hash_after(e, hash_bytes(e, th), plaintext, cred, out);
}

void kd_edhoc_put_context(const struct kd_edhoc *e, const struct kd_edhoc_proof *p,
                          struct kd_buf *out) {
    if (p->side == KD_EDHOC_RESPONDER) { // context_2 begins with C_R
        kd_identifier_put(out, p->c_r);
    }
    kd_buf_put(out, p->id_cred.p, p->id_cred.n);
    kd_cbor_put_bytes(out, hash_bytes(e, p->th));
    kd_buf_put(out, p->cred.p, p->cred.n);
    kd_buf_put(out, p->ead.p, p->ead.n);
}

// Sig_structure of COSE_Sign1 (RFC 9052 4.4):
// [ "Signature1", << ID_CRED >>, << TH, CRED, ? EAD >>, MAC ]
void kd_edhoc_put_to_be_signed(const struct kd_edhoc *e, const struct kd_edhoc_proof *p,
                               struct kd_bytes mac, struct kd_buf *out) {
    kd_auto(buf) struct kd_buf aad = KD_BUF_INIT(CONTEXT_MAX_BYTES);
    kd_cbor_put_bytes(&aad, hash_bytes(e, p->th));
    kd_buf_put(&aad, p->cred.p, p->cred.n);
    kd_buf_put(&aad, p->ead.p, p->ead.n);
    if (kd_buf_finish(&aad) != KD_OK) {
        out->err = kd_buf_finish(&aad);
        return;
    }
    kd_cbor_put_array(out, 4);
    kd_cbor_put_text(out, "Signature1");
    kd_cbor_put_bytes(out, p->id_cred);
    kd_cbor_put_bytes(out, kd_buf_get(&aad));
    kd_cbor_put_bytes(out, mac);
}
