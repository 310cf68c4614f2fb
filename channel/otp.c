// SPDX-License-Identifier: Apache-2.0
// otp.c: see otp.h.
#include "channel/otp.h"

#include <assert.h>

bool kd_otp_params_are_valid(const struct kd_otp_params *p) {
    return p->digits >= KD_OTP_DIGITS_MIN && p->digits <= KD_OTP_DIGITS_MAX && p->step_sec > 0 &&
           p->step_sec <= KD_OTP_STEP_MAX_SEC && p->window <= KD_OTP_WINDOW_MAX;
}

bool kd_otp_params_equal(const struct kd_otp_params *a, const struct kd_otp_params *b) {
    return a->digits == b->digits && a->step_sec == b->step_sec && a->window == b->window;
}

void kd_otp_params_put(struct kd_buf *out, const struct kd_otp_params *p) {
    kd_cbor_put_array(out, 3);
    kd_cbor_put_uint(out, p->digits);
    kd_cbor_put_uint(out, p->step_sec);
    kd_cbor_put_uint(out, p->window);
}

struct kd_otp_params kd_otp_params_read(struct kd_cbor *c) {
    const size_t n = kd_cbor_read_array(c);
    const uint64_t digits = kd_cbor_read_uint(c);
    const uint64_t step = kd_cbor_read_uint(c);
    const uint64_t window = kd_cbor_read_uint(c);
    const struct kd_otp_params p = { (uint8_t)digits, (uint16_t)step, (uint8_t)window };
    if (n != 3 || digits > UINT8_MAX || step > UINT16_MAX || window > UINT8_MAX ||
        !kd_otp_params_are_valid(&p)) {
        kd_cbor_fail(c, KD_ERR_CBOR_RANGE);
        return KD_OTP_DEFAULT;
    }
    return p;
}

uint64_t kd_otp_step(const struct kd_otp_params *p, uint64_t now_ms) {
    return now_ms / 1000 / p->step_sec;
}

bool kd_otp_is_in_window(const struct kd_otp_params *p, uint64_t step, uint64_t now_ms) {
    uint64_t now = kd_otp_step(p, now_ms);
    uint64_t apart = step > now ? step - now : now - step;
    return apart <= p->window;
}

struct kd_otp_code kd_otp_truncate(struct kd_bytes mac, uint8_t digits) {
    assert(mac.n >= 20 && digits <= KD_OTP_DIGITS_MAX);
    const uint8_t *p = mac.p + (mac.p[mac.n - 1] & 0xf);
    uint32_t v = (uint32_t)(p[0] & 0x7f) << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    struct kd_otp_code code = { .n = digits };
    for (size_t i = digits; i > 0; i--) {
        code.digits[i - 1] = (uint8_t)('0' + v % 10);
        v /= 10;
    }
    return code;
}

enum kd_err kd_otp_compute(const struct kd_otp_params *p, kd_otp_hmac_fn *hmac, void *ctx,
                           uint64_t step, struct kd_otp_code *out) {
    uint8_t counter[8];
    for (size_t i = 0; i < sizeof(counter); i++) {
        counter[i] = (uint8_t)(step >> (56 - 8 * i));
    }
    uint8_t mac[KD_OTP_MAC_BYTES];
    enum kd_err r = hmac(ctx, (struct kd_bytes) { counter, sizeof(counter) }, mac);
    if (r == KD_OK) {
        *out = kd_otp_truncate((struct kd_bytes) { mac, sizeof(mac) }, p->digits);
    }
    kd_wipe(mac, sizeof(mac));
    return r;
}

enum kd_err kd_otp_check(const struct kd_otp_params *p, kd_otp_code_fn *code_of, void *ctx,
                         uint64_t step, struct kd_bytes code, uint64_t now_ms) {
    if (code.n != p->digits || !kd_otp_is_in_window(p, step, now_ms)) {
        return KD_ERR_RECORD_OTP;
    }
    struct kd_otp_code expected;
    enum kd_err r = code_of(ctx, p, step, &expected);
    if (r != KD_OK) {
        return r;
    }
    bool good = kd_ct_equal(code, (struct kd_bytes) { expected.digits, expected.n });
    kd_wipe(&expected, sizeof(expected));
    return good ? KD_OK : KD_ERR_RECORD_OTP;
}
