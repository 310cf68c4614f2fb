// SPDX-License-Identifier: Apache-2.0
// Whether the gateway is ready: what is missing is said, it is found out anew for who asks, and
// many who ask are no work for keyd and the backend.
#include "tests/unit/fake_client.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

enum { KNOWN_FOR_MS = 1000, NOW_MS = 1000000 };

static struct fake_gateway f;
static unsigned n_told, status;
static char line[128];

static void set_up(void) {
    kd_log_set_level(KD_LOG_ERROR);
    kd_clock_hold(NOW_MS, NOW_MS);
    ck_assert_err(fake_gateway_open(&f), KD_OK);
    n_told = 0;
}

static void tear_down(void) {
    fake_gateway_close(&f);
    kd_clock_release();
}

static void on_told(void *arg KD_UNUSED, unsigned with, const char *why) {
    ck_assert_uint_lt(strlen(why), sizeof(line));
    strcpy(line, why);
    status = with;
    n_told++;
}

static void ask(void) {
    kd_ready_ask(&f.g, on_told, NULL);
}

static void expect(unsigned with, const char *why) {
    ck_assert_uint_eq(status, with);
    ck_assert_str_eq(line, why);
}

// Both are asked now, keyd first.
static void answer(unsigned keyd, const char *body, unsigned backend) {
    ck_assert_ptr_nonnull(fake_client_first());
    ck_assert_str_eq(fake_client_first()->path, "/readyz");
    ck_assert_ptr_ne(fake_client_first()->client, f.g.keyd); // no record waits for it
    fake_client_answer(keyd, kd_bytes_of_text(body));
    ck_assert_ptr_eq(fake_client_first()->client, f.g.backend);
    ck_assert(fake_client_first()->is_connect);
    fake_client_answer(backend, KD_BYTES_NONE);
    ck_assert_ptr_null(fake_client_first());
}

static void pass(uint64_t ms) {
    kd_clock_hold(kd_clock_mono_ms() + ms, NOW_MS);
}

static void ask_and_expect(unsigned keyd, const char *body, unsigned backend, unsigned with,
                           const char *why) {
    const unsigned before = n_told;
    pass(KNOWN_FOR_MS);
    ask();
    ck_assert_uint_eq(n_told, before);
    answer(keyd, body, backend);
    ck_assert_uint_eq(n_told, before + 1);
    expect(with, why);
}

#define PROBLEM "{\"type\":\"urn:keyd:error:token-away\",\"status\":503}"

START_TEST(what_is_missing_is_said_and_nothing_once_it_is_back) {
    ask_and_expect(0, "no such file", 200, 503, "keyd cannot be reached");
    ask_and_expect(503, PROBLEM, 200, 503, "keyd is not ready: token-away");
    ask_and_expect(500, "", 200, 503, "keyd is not ready: keyd-answer");
    ask_and_expect(503, PROBLEM, 0, 503, "keyd is not ready: token-away");
    ask_and_expect(200, "{}", 0, 503, "the backend cannot be reached");
    ask_and_expect(200, "{}", 200, 200, "ready");
    ask_and_expect(0, "", 200, 503, "keyd cannot be reached");
    ask_and_expect(200, "{}", 200, 200, "ready");
}
END_TEST

START_TEST(a_long_answer_of_keyd_is_cut) {
    char body[512];
    snprintf(body, sizeof(body), "{\"type\":\"urn:%0300d\"}", 0);
    pass(KNOWN_FOR_MS);
    ask();
    answer(503, body, 200);
    ck_assert_uint_eq(status, 503);
    ck_assert_uint_eq(strspn(line + strlen("keyd is not ready: "), "0"), 60);
}
END_TEST

START_TEST(who_asks_meanwhile_or_soon_after_gets_the_same_answer) {
    for (unsigned i = 0; i < 10; i++) {
        ask();
    }
    ck_assert_uint_eq(n_told, 0);
    answer(200, "{}", 0);
    ck_assert_uint_eq(n_told, 10);
    pass(KNOWN_FOR_MS - 1);
    ask();
    ck_assert_uint_eq(n_told, 11);
    expect(503, "the backend cannot be reached");
    ck_assert_ptr_null(fake_client_first());
    pass(1);
    ask();
    ck_assert_uint_eq(n_told, 11);
    answer(200, "{}", 200);
    expect(200, "ready");
}
END_TEST

START_TEST(a_stop_is_told_at_once_to_those_who_wait_too) {
    ask();
    ck_assert(!kd_ready_is_idle(&f.g));
    f.g.is_stopping = true;
    kd_ready_stop(&f.g);
    ck_assert_uint_eq(n_told, 1);
    expect(503, "stopping");
    ask();
    ck_assert_uint_eq(n_told, 2);
    expect(503, "stopping");
    answer(200, "{}", 200);
    ck_assert_uint_eq(n_told, 2);
    ck_assert(kd_ready_is_idle(&f.g));
}
END_TEST

START_TEST(without_a_place_for_one_more_it_is_not_ready) {
    ask_and_expect(200, "{}", 200, 200, "ready");
    f.g.pending = f.config.pending_max;
    ask();
    expect(503, "no place: pending-max frames have no answer yet");
    f.g.pending--;
    ask();
    expect(200, "ready");
    f.g.pending = 0;
}
END_TEST

static TCase *tcase_ready(void) {
    TCase *c = tcase_create("ready");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, what_is_missing_is_said_and_nothing_once_it_is_back);
    tcase_add_test(c, a_long_answer_of_keyd_is_cut);
    tcase_add_test(c, who_asks_meanwhile_or_soon_after_gets_the_same_answer);
    tcase_add_test(c, a_stop_is_told_at_once_to_those_who_wait_too);
    tcase_add_test(c, without_a_place_for_one_more_it_is_not_ready);
    return c;
}

UNIT_MAIN("gateway ready", tcase_ready())
