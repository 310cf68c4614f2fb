// SPDX-License-Identifier: Apache-2.0
// Retry cookies: each is good for one message, address and caller, for a while,
// in the process that made it.
#include "keyd/cookie.h"
#include "unit.h"

#include <string.h>

static struct kd_cookies jar;
static uint8_t made[KD_COOKIE_BYTES];

static struct kd_cookie_of of(const char *message, const char *address, const char *principal) {
    return (struct kd_cookie_of) { kd_bytes_of_text(message), kd_bytes_of_text(address),
                                   kd_bytes_of_text(principal) };
}

static void make(const char *message, const char *address, uint64_t now_ms) {
    const struct kd_cookie_of what = of(message, address, "app");
    ck_assert_err(kd_cookie_make(&jar, &what, now_ms, made), KD_OK);
}

static bool is_good(const struct kd_cookie_of *what, uint64_t now_ms) {
    return kd_cookie_is_good(&jar, what, now_ms, (struct kd_bytes) { made, sizeof(made) });
}

static void set_up(void) {
    jar = (struct kd_cookies) { 0 };
}

static void tear_down(void) {
    kd_cookies_wipe(&jar);
}

START_TEST(what_nobody_made_is_not_good) {
    const struct kd_cookie_of what = of("m1", "here", "app");
    memset(made, 0, sizeof(made));
    ck_assert(!is_good(&what, 1000)); // there is no key, and none before it
    struct kd_cookies other = { 0 };
    ck_assert_err(kd_cookie_make(&other, &what, 1000, made), KD_OK);
    ck_assert(!is_good(&what, 1000));
    kd_cookies_wipe(&other);
    make("m1", "here", 1000);
    uint8_t zero_key[KD_COOKIE_BYTES] = { (uint8_t)(jar.number - 1) };
    ck_assert(
        !kd_cookie_is_good(&jar, &what, 1000, (struct kd_bytes) { zero_key, sizeof(zero_key) }));
}
END_TEST

START_TEST(cookie_is_good_for_what_it_was_made_for) {
    make("m1", "here", 1000);
    const struct kd_cookie_of what = of("m1", "here", "app");
    ck_assert(is_good(&what, 1000));
    const struct kd_cookie_of others[] = {
        of("m2", "here", "app"), of("m1", "there", "app"), of("m1", "", "app"),
        of("m1", "here", "pp"),  of("m1", "herea", "pp"),  of("em1", "her", "app"),
    };
    for (size_t i = 0; i < KD_COUNT_OF(others); i++) {
        ck_assert_msg(!is_good(&others[i], 1000), "%zu", i);
    }
    make("m1", "", 1000); // a caller that does not know where its peer is
    const struct kd_cookie_of nowhere = of("m1", "", "app");
    ck_assert(is_good(&nowhere, 1000) && !is_good(&what, 1000));
}
END_TEST

START_TEST(every_bit_and_the_length_count) {
    make("m1", "here", 1000);
    const struct kd_cookie_of what = of("m1", "here", "app");
    for (size_t i = 0; i < sizeof(made) * 8; i++) {
        made[i / 8] ^= (uint8_t)(1u << i % 8);
        ck_assert_msg(!is_good(&what, 1000 + KD_COOKIE_AGE_MS / 2), "bit %zu", i);
        made[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t n = 0; n < sizeof(made); n++) {
        ck_assert(!kd_cookie_is_good(&jar, &what, 1000, (struct kd_bytes) { made, n }));
    }
    uint8_t longer[KD_COOKIE_BYTES + 1] = { 0 };
    memcpy(longer, made, sizeof(made));
    ck_assert(!kd_cookie_is_good(&jar, &what, 1000, (struct kd_bytes) { longer, sizeof(longer) }));
}
END_TEST

START_TEST(cookie_is_good_for_its_time_to_the_last_millisecond) {
    const struct kd_cookie_of what = of("m1", "here", "app");
    make("m1", "here", 1000);
    ck_assert(is_good(&what, 1000 + KD_COOKIE_AGE_MS - 1));
    ck_assert(!is_good(&what, 1000 + KD_COOKIE_AGE_MS));
    make("m1", "here", 5000);
    ck_assert(!is_good(&what, 4999)); // a clock that went back
}
END_TEST

START_TEST(key_is_replaced_and_the_one_before_holds_for_its_cookies) {
    const struct kd_cookie_of what = of("m1", "here", "app");
    make("m1", "here", 1000);
    make("m1", "here", 1000 + KD_COOKIE_ROTATE_MS - 1);
    const unsigned number = jar.number;
    uint8_t last[KD_COOKIE_BYTES];
    memcpy(last, made, sizeof(last));
    const uint64_t now = 1000 + KD_COOKIE_ROTATE_MS;
    make("m1", "here", now);
    ck_assert_uint_ne(jar.number, number);
    ck_assert(is_good(&what, now));
    const struct kd_bytes before = { last, sizeof(last) };
    ck_assert(kd_cookie_is_good(&jar, &what, now + KD_COOKIE_AGE_MS - 2, before));
    ck_assert(!kd_cookie_is_good(&jar, &what, now + KD_COOKIE_AGE_MS - 1, before));
    make("m1", "here", now + KD_COOKIE_ROTATE_MS);
    ck_assert(!kd_cookie_is_good(&jar, &what, now + KD_COOKIE_ROTATE_MS, before));
    for (unsigned i = 2; i < 600; i++) { // the number of the key comes round
        make("m1", "here", now + i * (uint64_t)KD_COOKIE_ROTATE_MS);
        ck_assert(!kd_cookie_is_good(&jar, &what, now + i * (uint64_t)KD_COOKIE_ROTATE_MS, before));
    }
}
END_TEST

static TCase *tcase_cookie(void) {
    TCase *t = tcase_create("cookie");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, what_nobody_made_is_not_good);
    tcase_add_test(t, cookie_is_good_for_what_it_was_made_for);
    tcase_add_test(t, every_bit_and_the_length_count);
    tcase_add_test(t, cookie_is_good_for_its_time_to_the_last_millisecond);
    tcase_add_test(t, key_is_replaced_and_the_one_before_holds_for_its_cookies);
    return t;
}

UNIT_MAIN("cookie", tcase_cookie())
