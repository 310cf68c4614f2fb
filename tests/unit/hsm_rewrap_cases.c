// SPDX-License-Identifier: Apache-2.0
// What must hold of REWRAP on every token.
#include "exec_call.h"
#include "hsm_token_cases.h"
#include "token_fixture.h"
#include "unit.h"

#include <string.h>

static struct kd_session *s;

static void setup(void) {
    token_setup();
    s = token_session();
}

// Where the text was between the two keys.
static struct kd_bytes session_memory(void) {
    return (struct kd_bytes) { s->out.p, s->out.cap };
}

static bool has_bytes(struct kd_bytes in, struct kd_bytes what) {
    return in.n > 0 && memmem(in.p, in.n, what.p, what.n) != NULL;
}

START_TEST(what_is_rewrapped_opens_with_the_other_key_and_shows_nothing) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result again = { 0 };
    kd_auto(call) struct call_result c = { 0 };
    struct call_key from;
    struct call_key to;
    struct call_key mac;
    const struct kd_bytes aad = kd_bytes_of_text("aad");
    const struct kd_bytes plain = kd_bytes_of_text("a text that stays in the worker");
    const unsigned both = KD_USE_ENCRYPT | KD_USE_DECRYPT;
    ck_assert_err(call_generate(s, KD_KEY_AES_256, both, 1, &from), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_AES_256, both, 2, &to), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_HMAC_SHA256, KD_USE_SIGN, 3, &mac), KD_OK);
    ck_assert_err(call_encrypt(s, &from, NULL, plain, aad, &sealed), KD_OK);
    const struct kd_bytes iv = sealed.result.iv;
    const struct kd_bytes out = sealed.result.out;
    ck_assert_err(call_rewrap(s, &from, &to, iv, out, KD_BYTES_NONE, &c), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(call_rewrap(s, &to, &from, iv, out, aad, &c), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(call_rewrap(s, &from, &to, iv, (struct kd_bytes) { out.p, 15 }, aad, &c),
                  KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(call_rewrap(s, &from, &mac, iv, out, aad, &c), KD_ERR_KEY_TYPE);
    ck_assert_err(call_rewrap(s, &mac, &to, iv, out, aad, &c), KD_ERR_KEY_TYPE);
    ck_assert_err(call_rewrap(s, &from, &to, iv, out, aad, &again), KD_OK);
    ck_assert(!kd_bytes_equal(again.result.iv, iv));
    ck_assert_uint_eq(again.result.out.n, out.n);
    ck_assert(!has_bytes(kd_buf_get(&again.reply), plain));
    ck_assert(!has_bytes(session_memory(), plain));
    ck_assert_err(call_decrypt(s, &to, NULL, again.result.iv, again.result.out, aad, &c), KD_OK);
    ck_assert(kd_bytes_equal(c.result.out, plain));
    ck_assert_err(call_destroy(s, &to), KD_OK);
    ck_assert_err(call_rewrap(s, &from, &to, iv, out, aad, &c), KD_ERR_NO_OBJECT);
    ck_assert(!has_bytes(session_memory(), plain));
}
END_TEST

START_TEST(texts_of_each_length_are_rewrapped) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result again = { 0 };
    kd_auto(call) struct call_result c = { 0 };
    struct call_key from;
    struct call_key to;
    static const size_t sizes[] = { 0, 1, 16, 3 * 1024 * 1024 };
    static const uint8_t data[3 * 1024 * 1024] = { 1, 2, 3 };
    const unsigned both = KD_USE_ENCRYPT | KD_USE_DECRYPT;
    ck_assert_err(call_generate(s, KD_KEY_AES_256, both, 1, &from), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_AES_256, both, 2, &to), KD_OK);
    for (size_t i = 0; i < KD_COUNT_OF(sizes); i++) {
        const struct kd_bytes plain = { data, sizes[i] };
        ck_assert_err(call_encrypt(s, &from, NULL, plain, KD_BYTES_NONE, &sealed), KD_OK);
        ck_assert_err(
            call_rewrap(s, &from, &to, sealed.result.iv, sealed.result.out, KD_BYTES_NONE, &again),
            KD_OK);
        ck_assert_err(
            call_decrypt(s, &to, NULL, again.result.iv, again.result.out, KD_BYTES_NONE, &c),
            KD_OK);
        ck_assert(kd_bytes_equal(c.result.out, plain));
    }
}
END_TEST

TCase *tcase_token_rewrap(void) {
    TCase *c = tcase_create("rewrap");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, token_teardown);
    tcase_add_test(c, what_is_rewrapped_opens_with_the_other_key_and_shows_nothing);
    tcase_add_test(c, texts_of_each_length_are_rewrapped);
    return c;
}
