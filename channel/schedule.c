// SPDX-License-Identifier: Apache-2.0
// schedule.c: see schedule.h.  The labels are part of the protocol.
#include "channel/schedule.h"

#include <assert.h>

enum { INFO_MAX_BYTES = 128 };

static const char *const key_labels[KD_TRAFFIC_KEYS] = {
    [KD_TRAFFIC_C2S] = "c2s key",
    [KD_TRAFFIC_S2C] = "s2c key",
    [KD_TRAFFIC_OTP] = "otp key",
};

static enum kd_err expand(enum kd_md md, struct kd_secret *s, const struct kd_attachment *a,
                          const char *label, uint8_t *out, size_t n) {
    assert(kd_secret_len(s) == kd_md_bytes(md));
    if (a->client_nonce.n > KD_SESSION_NONCE_MAX_BYTES ||
        a->node_nonce.n > KD_SESSION_NONCE_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    kd_auto(buf) struct kd_buf info = KD_BUF_INIT(INFO_MAX_BYTES);
    kd_cbor_put_array(&info, 3);
    kd_cbor_put_text(&info, label);
    kd_cbor_put_bytes(&info, a->client_nonce);
    kd_cbor_put_bytes(&info, a->node_nonce);
    enum kd_err r = kd_buf_finish(&info);
    if (r != KD_OK) {
        return r;
    }
    return kd_host_expand(md, (struct kd_bytes) { kd_secret_get(s), kd_secret_len(s) },
                          kd_buf_get(&info), out, n);
}

enum kd_err kd_schedule_data(enum kd_md md, struct kd_secret *s,
                             const struct kd_attachment *attachment, enum kd_traffic which,
                             struct kd_key32 *out) {
    return expand(md, s, attachment, key_labels[which], out->bytes, sizeof(out->bytes));
}

enum kd_err kd_schedule_run(enum kd_md md, struct kd_secret *s,
                            const struct kd_attachment *attachment, kd_traffic_install_fn *install,
                            void *ctx, struct kd_record_ivs *ivs) {
    for (int which = 0; which < KD_TRAFFIC_KEYS; which++) {
        kd_auto(key32) struct kd_key32 d;
        enum kd_err r = kd_schedule_data(md, s, attachment, (enum kd_traffic)which, &d);
        if (r != KD_OK || (r = install(ctx, (enum kd_traffic)which, &d)) != KD_OK) {
            return r;
        }
    }
    struct kd_record_ivs both;
    enum kd_err r = expand(md, s, attachment, "c2s iv", both.c2s, sizeof(both.c2s));
    if (r == KD_OK) {
        r = expand(md, s, attachment, "s2c iv", both.s2c, sizeof(both.s2c));
    }
    if (r == KD_OK) {
        *ivs = both;
    }
    return r;
}
