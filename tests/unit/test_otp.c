// SPDX-License-Identifier: Apache-2.0
#include "channel/otp.h"

#include "channel/host.h"
#include "unit.h"
#include "vectors.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

struct otp_key {
    struct kd_bytes secret;
    int calls;
    enum kd_err err;
};

static enum kd_err hmac_sha256(void *ctx, struct kd_bytes message,
                               uint8_t mac[static KD_OTP_MAC_BYTES]) {
    struct otp_key *k = ctx;
    k->calls++;
    return k->err == KD_OK ? kd_host_hmac(KD_MD_SHA256, k->secret, &message, 1, mac) : k->err;
}

static enum kd_err code_of(void *ctx, const struct kd_otp_params *p, uint64_t step,
                           struct kd_otp_code *out) {
    return kd_otp_compute(p, hmac_sha256, ctx, step, out);
}

static const struct kd_otp_params usual = { 8, 30, 1 };

// One row of either list: HMAC with the library, truncation with ours.
static void check_row(const json_t *row, uint64_t counter) {
    kd_auto(vectors_bytes) struct vectors_bytes secret = vectors_hex(row, "secret");
    const char *alg = vectors_text(row, "alg");
    const char *expected = vectors_text(row, "otp");
    uint8_t message[8];
    for (int i = 0; i < 8; i++) {
        message[i] = (uint8_t)(counter >> (56 - 8 * i));
    }
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    ck_assert_ptr_nonnull(
        HMAC(EVP_get_digestbyname(alg), secret.p, (int)secret.n, message, 8, mac, &n));
    struct kd_otp_code code =
        kd_otp_truncate((struct kd_bytes) { mac, n }, (uint8_t)vectors_int(row, "digits"));
    vectors_same(alg, (struct kd_bytes) { code.digits, code.n }, kd_bytes_of_text(expected));
    if (strcmp(alg, "sha256") == 0) {
        struct otp_key k = { vectors_get(secret), 0, KD_OK };
        ck_assert_err(kd_otp_compute(&usual, hmac_sha256, &k, counter, &code), KD_OK);
        vectors_same("whole", (struct kd_bytes) { code.digits, code.n },
                     kd_bytes_of_text(expected));
    }
}

START_TEST(rfc4226_and_rfc6238_values) {
    kd_auto(json) json_t *all = vectors_load("hotp-totp-rfc/hotp_totp.json");
    const json_t *hotp = json_object_get(all, "hotp");
    const json_t *totp = json_object_get(all, "totp");
    ck_assert_uint_eq(json_array_size(hotp), 10);
    ck_assert_uint_eq(json_array_size(totp), 18);
    for (size_t i = 0; i < json_array_size(hotp); i++) {
        check_row(json_array_get(hotp, i),
                  (uint64_t)vectors_int(json_array_get(hotp, i), "counter"));
    }
    for (size_t i = 0; i < json_array_size(totp); i++) {
        const json_t *row = json_array_get(totp, i);
        check_row(row, kd_otp_step(&usual, 1000 * (uint64_t)vectors_int(row, "time")));
    }
}
END_TEST

// J02: one step either way, no more; the key is not used for a step outside.
START_TEST(a_code_is_good_in_its_window_only) {
    struct otp_key k = { kd_bytes_of_text("0123456789abcdef0123456789abcdef"), 0, KD_OK };
    const uint64_t step = 1000;
    struct kd_otp_code code;
    ck_assert_err(kd_otp_compute(&usual, hmac_sha256, &k, step, &code), KD_OK);
    struct kd_bytes text = { code.digits, code.n };
    static const struct {
        uint64_t now_sec;
        enum kd_err err;
    } rows[] = {
        { 30 * 998 + 29, KD_ERR_RECORD_OTP },
        { 30 * 999, KD_OK },
        { 30 * 1000, KD_OK },
        { 30 * 1001 + 29, KD_OK },
        { 30 * 1002, KD_ERR_RECORD_OTP },
        { 30 * 1000 + 3600, KD_ERR_RECORD_OTP },
        { 0, KD_ERR_RECORD_OTP },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        k.calls = 0;
        ck_assert_err(kd_otp_check(&usual, code_of, &k, step, text, 1000 * rows[i].now_sec),
                      rows[i].err);
        ck_assert_int_eq(k.calls, rows[i].err == KD_OK ? 1 : 0);
    }
    const struct kd_otp_params exact = { 8, 30, 0 };
    ck_assert_err(kd_otp_check(&exact, code_of, &k, step, text, 1000 * 30 * 999),
                  KD_ERR_RECORD_OTP);
    ck_assert_err(kd_otp_check(&usual, code_of, &k, UINT64_MAX, text, 0), KD_ERR_RECORD_OTP);
}
END_TEST

START_TEST(a_wrong_code_or_length_is_refused) {
    struct otp_key k = { kd_bytes_of_text("0123456789abcdef0123456789abcdef"), 0, KD_OK };
    struct kd_otp_code code;
    ck_assert_err(kd_otp_compute(&usual, hmac_sha256, &k, 5, &code), KD_OK);
    for (size_t i = 0; i < code.n; i++) {
        struct kd_otp_code wrong = code;
        wrong.digits[i] = wrong.digits[i] == '9' ? '0' : (uint8_t)(wrong.digits[i] + 1);
        ck_assert_err(kd_otp_check(&usual, code_of, &k, 5,
                                   (struct kd_bytes) { wrong.digits, wrong.n }, 150000),
                      KD_ERR_RECORD_OTP);
    }
    for (size_t n = 0; n <= 9; n++) {
        ck_assert_err(
            kd_otp_check(&usual, code_of, &k, 5, (struct kd_bytes) { code.digits, n }, 150000),
            n == 8 ? KD_OK : KD_ERR_RECORD_OTP);
    }
}
END_TEST

START_TEST(a_failing_key_is_not_a_wrong_code) {
    struct otp_key k = { KD_BYTES_NONE, 0, KD_ERR_TOKEN };
    struct kd_otp_code code;
    ck_assert_err(kd_otp_compute(&usual, hmac_sha256, &k, 5, &code), KD_ERR_TOKEN);
    ck_assert_err(kd_otp_check(&usual, code_of, &k, 5, kd_bytes_of_text("12345678"), 150000),
                  KD_ERR_TOKEN);
}
END_TEST

START_TEST(parameters_have_limits) {
    struct kd_otp_params p = KD_OTP_DEFAULT;
    ck_assert(kd_otp_params_are_valid(&p));
    p.digits = 5;
    ck_assert(!kd_otp_params_are_valid(&p));
    p.digits = 10;
    ck_assert(!kd_otp_params_are_valid(&p));
    p = KD_OTP_DEFAULT;
    p.step_sec = 0;
    ck_assert(!kd_otp_params_are_valid(&p));
    p.step_sec = KD_OTP_STEP_MAX_SEC;
    ck_assert(kd_otp_params_are_valid(&p));
    p.step_sec = KD_OTP_STEP_MAX_SEC + 1;
    ck_assert(!kd_otp_params_are_valid(&p));
    p = KD_OTP_DEFAULT;
    p.window = KD_OTP_WINDOW_MAX;
    ck_assert(kd_otp_params_are_valid(&p));
    p.window = KD_OTP_WINDOW_MAX + 1;
    ck_assert(!kd_otp_params_are_valid(&p));
}
END_TEST

START_TEST(parameters_are_read_as_written_and_no_others) {
    static const struct {
        uint64_t v[4];
        size_t n;
        bool is_good;
    } rows[] = {
        { { 8, 30, 1 }, 3, true },
        { { 6, 1, 0 }, 3, true },
        { { 9, KD_OTP_STEP_MAX_SEC, KD_OTP_WINDOW_MAX }, 3, true },
        { { 5, 30, 1 }, 3, false },
        { { 10, 30, 1 }, 3, false },
        { { 8, 0, 1 }, 3, false },
        { { 8, KD_OTP_STEP_MAX_SEC + 1, 1 }, 3, false },
        { { 8, 30, KD_OTP_WINDOW_MAX + 1 }, 3, false },
        { { 256 + 8, 30, 1 }, 3, false }, // what would fit without its upper bits
        { { 8, 65536 + 30, 1 }, 3, false },
        { { 8, 30, 256 }, 3, false },
        { { 8, 30 }, 2, false },
        { { 8, 30, 1, 0 }, 4, false },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        kd_auto(buf) struct kd_buf b = KD_BUF_INIT(64);
        kd_auto(buf) struct kd_buf again = KD_BUF_INIT(64);
        kd_cbor_put_array(&b, rows[i].n);
        for (size_t k = 0; k < rows[i].n; k++) {
            kd_cbor_put_uint(&b, rows[i].v[k]);
        }
        struct kd_cbor c = kd_cbor_of(kd_buf_get(&b));
        const struct kd_otp_params p = kd_otp_params_read(&c);
        ck_assert_int_eq(kd_cbor_finish(&c) == KD_OK, rows[i].is_good);
        kd_otp_params_put(&again, &p);
        ck_assert_int_eq(kd_bytes_equal(kd_buf_get(&again), kd_buf_get(&b)), rows[i].is_good);
    }
}
END_TEST

static TCase *tcase_otp(void) {
    TCase *t = tcase_create("otp");
    tcase_add_test(t, rfc4226_and_rfc6238_values);
    tcase_add_test(t, a_code_is_good_in_its_window_only);
    tcase_add_test(t, a_wrong_code_or_length_is_refused);
    tcase_add_test(t, a_failing_key_is_not_a_wrong_code);
    tcase_add_test(t, parameters_have_limits);
    tcase_add_test(t, parameters_are_read_as_written_and_no_others);
    return t;
}

UNIT_MAIN("otp", tcase_otp())
