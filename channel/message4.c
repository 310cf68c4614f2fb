// SPDX-License-Identifier: Apache-2.0
// message4.c: message_4 = CIPHERTEXT_4, RFC 9528 5.5; PLAINTEXT_4 = ( ? EAD_4 ).
// keyd always sends it: it tells the initiator that it has been accepted.
#include "channel/edhoc_state.h"

static enum kd_err write_4(struct kd_edhoc *e, const struct kd_ead *ead, struct kd_buf *out) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    kd_ead_put(&text, ead);
    enum kd_err r = kd_buf_finish(&text);
    return r == KD_OK ? kd_edhoc_seal(e, KD_CIPHER_4, kd_buf_get(&text), out) : r;
}

enum kd_err kd_edhoc_write_4(struct kd_edhoc *e, const struct kd_ead *ead, struct kd_buf *out) {
    enum kd_err r = kd_edhoc_begin(e, KD_STEP_WRITE_4);
    if (r != KD_OK) {
        return r;
    }
    size_t start = out->n;
    return kd_edhoc_end_write(e, KD_STEP_WRITE_4, write_4(e, ead, out), out, start);
}

static enum kd_err read_4(struct kd_edhoc *e, struct kd_bytes message) {
    struct kd_bytes sealed;
    enum kd_err r = kd_edhoc_unwrap(e, message, &sealed);
    if (r != KD_OK || (r = kd_edhoc_open(e, KD_CIPHER_4, sealed, &e->received_4)) != KD_OK) {
        return r;
    }
    struct kd_cbor c = kd_cbor_of(kd_buf_get(&e->received_4));
    kd_ead_read(&c, kd_edhoc_labels(e, 4), &e->ead);
    r = kd_edhoc_form(e, kd_cbor_finish(&c));
    e->is_ead_known = r == KD_OK;
    return r;
}

enum kd_err kd_edhoc_read_4(struct kd_edhoc *e, struct kd_bytes message) {
    enum kd_err r = kd_edhoc_begin(e, KD_STEP_READ_4);
    return r == KD_OK ? kd_edhoc_end(e, KD_STEP_READ_4, read_4(e, message)) : r;
}
