// SPDX-License-Identifier: Apache-2.0
// traffic.c: traffic keys in software.
#include "channel/traffic.h"

void kd_soft_traffic_init(struct kd_soft_traffic *t, const struct kd_key32 *share) {
    *t = (struct kd_soft_traffic) { .is_resident = share != NULL };
    if (share != NULL) {
        t->share = *share;
    }
}

void kd_soft_traffic_wipe(struct kd_soft_traffic *t) {
    kd_wipe(t, sizeof(*t));
}

enum kd_err kd_soft_traffic_install(void *ctx, enum kd_traffic which, const struct kd_key32 *d) {
    struct kd_soft_traffic *t = ctx;
    if (t->is_resident) {
        return kd_host_cbc_data(&t->share, d, &t->keys[which]);
    }
    t->keys[which] = *d;
    return KD_OK;
}

static enum kd_err seal(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes head, struct kd_bytes body, uint8_t *out) {
    const struct kd_soft_traffic *t = ctx;
    kd_auto(host_gcm) struct kd_host_gcm *g = NULL;
    enum kd_err r = kd_host_gcm_new(&t->keys[key], true, &g);
    return r == KD_OK ? kd_host_gcm_seal(g, nonce, aad, head, body, out) : r;
}

static enum kd_err open(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes sealed, uint8_t *out) {
    const struct kd_soft_traffic *t = ctx;
    return kd_host_open(KD_AEAD_A256GCM, t->keys[key].bytes, nonce, aad, sealed, out);
}

static enum kd_err otp_hmac(void *ctx, struct kd_bytes message,
                            uint8_t mac[static KD_OTP_MAC_BYTES]) {
    const struct kd_soft_traffic *t = ctx;
    const struct kd_key32 *key = &t->keys[KD_TRAFFIC_OTP];
    return kd_host_hmac(KD_MD_SHA256, (struct kd_bytes) { key->bytes, sizeof(key->bytes) },
                        &message, 1, mac);
}

static enum kd_err otp_code(void *ctx, const struct kd_otp_params *p, uint64_t step,
                            struct kd_otp_code *out) {
    return kd_otp_compute(p, otp_hmac, ctx, step, out);
}

const struct kd_traffic_ops kd_traffic_ops_soft = {
    .seal = seal,
    .open = open,
    .otp_code = otp_code,
};
