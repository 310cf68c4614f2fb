// SPDX-License-Identifier: Apache-2.0
// otp.h: one-time passwords: HOTP (RFC 4226) and TOTP (RFC 6238) over HMAC-SHA-256,
// or any HMAC that the key's owner computes.
#ifndef KD_CHANNEL_OTP_H
#define KD_CHANNEL_OTP_H

#include "base/base.h"

#define KD_OTP_DIGITS_MIN 6
#define KD_OTP_DIGITS_MAX 9 // 31 bits have no more
#define KD_OTP_STEP_MAX_SEC 3600
#define KD_OTP_WINDOW_MAX 10
#define KD_OTP_MAC_BYTES 32

struct kd_otp_params {
    uint8_t digits;    // 8
    uint16_t step_sec; // 30
    uint8_t window;    // steps either way that are still accepted: 1
};
#define KD_OTP_DEFAULT ((struct kd_otp_params) { 8, 30, 1 })

bool kd_otp_params_are_valid(const struct kd_otp_params *p);
bool kd_otp_params_equal(const struct kd_otp_params *a, const struct kd_otp_params *b);
// [digits, step, window] in CBOR, for who must know them.  A reader that finds others than valid
// ones fails (KD_ERR_CBOR_RANGE), and gives the defaults.
void kd_otp_params_put(struct kd_buf *out, const struct kd_otp_params *p);
struct kd_otp_params kd_otp_params_read(struct kd_cbor *c);

struct kd_otp_code {
    uint8_t n;
    uint8_t digits[KD_OTP_DIGITS_MAX]; // ASCII
};

// HMAC-SHA-256 with the OTP key, in a token or in software.
typedef enum kd_err kd_otp_hmac_fn(void *ctx, struct kd_bytes message,
                                   uint8_t mac[static KD_OTP_MAC_BYTES]);
// The code of a step, which the key's owner may have kept from the last time.
typedef enum kd_err kd_otp_code_fn(void *ctx, const struct kd_otp_params *p, uint64_t step,
                                   struct kd_otp_code *out);

uint64_t kd_otp_step(const struct kd_otp_params *p, uint64_t now_ms);
// Whether a step that was received may be used now.
bool kd_otp_is_in_window(const struct kd_otp_params *p, uint64_t step, uint64_t now_ms);
// RFC 4226 5.3: dynamic truncation of a MAC of at least 20 bytes.
struct kd_otp_code kd_otp_truncate(struct kd_bytes mac, uint8_t digits);
KD_MUST_CHECK enum kd_err kd_otp_compute(const struct kd_otp_params *p, kd_otp_hmac_fn *hmac,
                                         void *ctx, uint64_t step, struct kd_otp_code *out);
// KD_ERR_RECORD_OTP where the step is not in the window (then the key is not
// used) or the code is not the one for it.
KD_MUST_CHECK enum kd_err kd_otp_check(const struct kd_otp_params *p, kd_otp_code_fn *code_of,
                                       void *ctx, uint64_t step, struct kd_bytes code,
                                       uint64_t now_ms);

#endif
