// SPDX-License-Identifier: Apache-2.0
// wire_hello.c: the first message each way: what a worker is to do, and what it
// found.
#include "hsm/hsm.h"
#include "hsm/wire.h"

#include <assert.h>

void kd_hsm_put_hello(struct kd_buf *out, const struct kd_hsm_hello *h) {
    assert(h->n_env <= KD_HSM_ENV_MAX);
    kd_buf_u8(out, KD_HSM_HELLO);
    kd_buf_block16(out, h->module);
    kd_buf_block16(out, h->init_args);
    kd_buf_block16(out, h->token_uri);
    kd_buf_block16(out, h->pin_file);
    kd_buf_u8(out, h->n_env);
    for (size_t i = 0; i < h->n_env; i++) {
        kd_buf_block16(out, h->env[i]);
    }
    kd_buf_u16(out, h->threads);
    kd_buf_u32(out, h->cached_secrets);
    kd_buf_u8(out, h->may_extract ? 1 : 0);
    kd_buf_block8(out, h->refused_pin);
}

enum kd_err kd_hsm_get_hello(struct kd_reader *in, struct kd_hsm_hello *h) {
    kd_wire_read_enum(in, KD_HSM_HELLO, KD_HSM_HELLO);
    h->module = kd_read_block16(in);
    h->init_args = kd_read_block16(in);
    h->token_uri = kd_read_block16(in);
    h->pin_file = kd_read_block16(in);
    h->n_env = kd_wire_read_enum(in, 0, KD_HSM_ENV_MAX);
    for (size_t i = 0; i < h->n_env; i++) {
        h->env[i] = kd_read_block16(in);
    }
    h->threads = kd_read_u16(in);
    h->cached_secrets = kd_read_u32(in);
    h->may_extract = kd_wire_read_bool(in);
    h->refused_pin = kd_read_block8(in);
    if (h->refused_pin.n > KD_HSM_PIN_RECORD_MAX_BYTES || h->threads == 0) {
        return KD_ERR_MALFORMED;
    }
    return kd_reader_finish(in);
}

void kd_hsm_put_status(struct kd_buf *out, uint32_t id, const struct kd_hsm_status *s) {
    kd_buf_u32(out, id);
    kd_buf_u8(out, (uint8_t)s->err);
    kd_buf_block16(out, s->detail);
    kd_buf_block8(out, s->refused_pin);
    kd_buf_block16(out, s->module);
    kd_buf_block16(out, s->token_label);
    kd_buf_block16(out, s->token_manufacturer);
    kd_buf_block16(out, s->token_model);
    kd_buf_block16(out, s->token_serial);
    kd_buf_block16(out, s->token_uri);
    kd_buf_u32(out, s->sessions_max);
    kd_buf_u16(out, s->threads);
    kd_buf_u32(out, s->secrets_cached);
    kd_buf_u8(out, (uint8_t)s->hkdf);
    for (size_t i = 0; i < KD_HSM_ABILITIES; i++) {
        kd_buf_u8(out, (uint8_t)s->probe[i]);
    }
}

enum kd_err kd_hsm_get_status(struct kd_reader *in, uint32_t *id, struct kd_hsm_status *s) {
    *id = kd_read_u32(in);
    s->err = kd_wire_read_err(in);
    s->detail = kd_read_block16(in);
    s->refused_pin = kd_read_block8(in);
    s->module = kd_read_block16(in);
    s->token_label = kd_read_block16(in);
    s->token_manufacturer = kd_read_block16(in);
    s->token_model = kd_read_block16(in);
    s->token_serial = kd_read_block16(in);
    s->token_uri = kd_read_block16(in);
    s->sessions_max = kd_read_u32(in);
    s->threads = kd_read_u16(in);
    s->secrets_cached = kd_read_u32(in);
    s->hkdf = (enum kd_hsm_hkdf)kd_wire_read_enum(in, 0, KD_HSM_HKDF_EXTRACT);
    for (size_t i = 0; i < KD_HSM_ABILITIES; i++) {
        s->probe[i] = (enum kd_hsm_probe)kd_wire_read_enum(in, 0, KD_HSM_PROBE_WRONG);
    }
    if (s->refused_pin.n > KD_HSM_PIN_RECORD_MAX_BYTES) {
        return KD_ERR_MALFORMED;
    }
    return kd_reader_finish(in);
}
