// SPDX-License-Identifier: Apache-2.0
// error.c: EDHOC error messages = ( ERR_CODE, ERR_INFO ), RFC 9528 6.  What the
// peer learns is which suites there are, or nothing.
#include "channel/edhoc_state.h"

enum kd_err kd_edhoc_write_error(struct kd_edhoc *e, struct kd_buf *out) {
    if (e->state != KD_STATE_FAILED) {
        return KD_ERR_HS_STATE;
    }
    if (e->failure == KD_ERR_HS_SUITE && e->config.role == KD_EDHOC_RESPONDER) {
        kd_cbor_put_int(out, KD_EDHOC_ERR_SUITE);
        kd_suites_put(out, &e->config.suites);
    } else {
        kd_cbor_put_int(out, KD_EDHOC_ERR_UNSPECIFIED);
        kd_cbor_put_text(out, "refused");
    }
    return kd_buf_finish(out);
}

enum kd_err kd_edhoc_error_parse(struct kd_bytes message, struct kd_edhoc_error *out) {
    struct kd_cbor c = kd_cbor_of(message);
    struct kd_edhoc_error error = { .code = kd_cbor_read_int(&c) };
    if (error.code == KD_EDHOC_ERR_SUITE) {
        kd_suites_read(&c, &error.suites);
    } else if (error.code == KD_EDHOC_ERR_UNSPECIFIED) {
        (void)kd_cbor_read_text(&c);
    } else {
        (void)kd_cbor_read_whole(&c);
    }
    enum kd_err r = kd_cbor_finish(&c);
    if (r == KD_OK) {
        *out = error;
    }
    return r;
}

const struct kd_edhoc_error *kd_edhoc_peer_error(const struct kd_edhoc *e) {
    return e->has_peer_error ? &e->peer_error : NULL;
}
