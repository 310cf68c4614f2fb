// SPDX-License-Identifier: Apache-2.0
// traffic_kept.c: traffic keys in software for who uses one session again and again.
#include "channel/traffic.h"

#include <assert.h>
#include <string.h>

void kd_kept_traffic_init(struct kd_kept_traffic *t, bool is_client, const struct kd_key32 *share) {
    *t = (struct kd_kept_traffic) { .is_client = is_client, .is_resident = share != NULL };
    if (share != NULL) {
        t->share = *share;
    }
}

void kd_kept_traffic_wipe(struct kd_kept_traffic *t) {
    for (size_t i = 0; i < KD_COUNT_OF(t->gcm); i++) {
        kd_host_gcm_free(t->gcm[i]);
    }
    kd_wipe(t, sizeof(*t));
}

enum kd_err kd_kept_traffic_install(void *ctx, enum kd_traffic which, const struct kd_key32 *d) {
    struct kd_kept_traffic *t = ctx;
    kd_auto(key32) struct kd_key32 key = *d;
    if (t->is_resident) {
        enum kd_err r = kd_host_cbc_data(&t->share, d, &key);
        if (r != KD_OK) {
            return r;
        }
    }
    if (which == KD_TRAFFIC_OTP) {
        t->otp = key;
        return KD_OK;
    }
    assert(t->gcm[which] == NULL);
    return kd_host_gcm_new(&key, t->is_client == (which == KD_TRAFFIC_C2S), &t->gcm[which]);
}

static enum kd_err seal(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes head, struct kd_bytes body, uint8_t *out) {
    const struct kd_kept_traffic *t = ctx;
    assert(t->is_client == (key == KD_TRAFFIC_C2S));
    return kd_host_gcm_seal(t->gcm[key], nonce, aad, head, body, out);
}

static enum kd_err open(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes sealed, uint8_t *out) {
    const struct kd_kept_traffic *t = ctx;
    assert(t->is_client == (key == KD_TRAFFIC_S2C));
    return kd_host_gcm_open(t->gcm[key], nonce, aad, sealed, out);
}

static enum kd_err otp_hmac(void *ctx, struct kd_bytes message,
                            uint8_t mac[static KD_OTP_MAC_BYTES]) {
    const struct kd_kept_traffic *t = ctx;
    return kd_host_hmac(KD_MD_SHA256, (struct kd_bytes) { t->otp.bytes, sizeof(t->otp.bytes) },
                        &message, 1, mac);
}

// Steps in use are neighbours: ours and, across a border, the peer's.
static enum kd_err otp_code(void *ctx, const struct kd_otp_params *p, uint64_t step,
                            struct kd_otp_code *out) {
    struct kd_kept_traffic *t = ctx;
    struct kd_kept_otp *known = &t->otps[step % KD_COUNT_OF(t->otps)];
    if (!known->is_known || known->step != step) {
        const enum kd_err r = kd_otp_compute(p, otp_hmac, t, step, &known->code);
        known->is_known = r == KD_OK;
        known->step = step;
        if (r != KD_OK) {
            return r;
        }
    }
    *out = known->code;
    return KD_OK;
}

const struct kd_traffic_ops kd_traffic_ops_kept = {
    .seal = seal,
    .open = open,
    .otp_code = otp_code,
};
