// SPDX-License-Identifier: Apache-2.0
// Workers and the PIN: none is submitted again that was refused, and nobody is
// killed in a login.
#include "tests/unit/pool_fixture.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static bool is_refused(void) {
    const char *detail;
    return kd_workers_ready(pf.pool, &detail) == KD_ERR_PIN_REFUSED;
}

static unsigned looks;

static bool twenty_looks(void) {
    return ++looks >= 20;
}

// Longer than many restart delays.
static void wait_a_while(void) {
    looks = 0;
    fixture_look_until(twenty_looks);
}

START_TEST(refused_pin_reaches_the_token_once) {
    pool_start(4, "start refuse 1234\n");
    fixture_run_until(is_refused);
    ck_assert_str_eq(pf.pin_record, "1234");
    ck_assert_uint_eq(pf.n_pin_records, 1);
    wait_a_while();
    ck_assert_uint_eq(fixture_count("login"), 1);
    ck_assert_uint_eq(fixture_count("hello"), 1);
    ck_assert_err(pool_send_op(KD_HSM_MAC, "x"), KD_ERR_PIN_REFUSED);
}
END_TEST

static bool second_hello(void) {
    return fixture_count("hello") >= 2 && is_refused();
}

START_TEST(refused_pin_is_not_submitted_again_after_a_reload_or_a_restart) {
    pool_start(1, "start refuse 1234\n");
    fixture_run_until(is_refused);
    kd_workers_retry(pf.pool);
    fixture_run_until(second_hello);
    ck_assert_uint_eq(fixture_count("login"), 1);
    kd_workers_free(pf.pool);
    fixture_new_loop();
    pf.n_ready = 0;
    pool_start(1, "start refuse 1234\n"); // with the record, as a new keyd has it
    fixture_run_until(is_refused);
    ck_assert_uint_eq(fixture_count("login"), 1);
}
END_TEST

static bool at_once(void) {
    return true;
}

START_TEST(pin_that_is_refused_while_keyd_stops_is_remembered) {
    pool_start(1, "start refuse 1234\n");
    fixture_run_until(at_once); // started and greeted, and nothing read
    ck_assert_str_eq(pf.pin_record, "");
    kd_workers_free(pf.pool);
    pf.pool = NULL;
    ck_assert_str_eq(pf.pin_record, "1234");
    ck_assert_uint_eq(fixture_count("login"), 1);
}
END_TEST

static unsigned n_before;

static bool has_begun_login(void) {
    return fixture_count("login ") == n_before + 1;
}

// A login takes a second: where it is over before it was seen, the next one is looked at.
START_TEST(worker_is_not_killed_in_its_login_when_keyd_stops) {
    bool is_in_login = false;
    while (!is_in_login) {
        n_before = fixture_count("login ");
        pool_start(1, "start refuse-late 5678\n");
        fixture_look_until(has_begun_login);
        is_in_login = fixture_count("done-login") == n_before;
        kd_workers_free(pf.pool);
        pf.pool = NULL;
        ck_assert_uint_eq(fixture_count("done-login"), n_before + 1);
        fixture_new_loop();
        pf.n_ready = 0;
    }
}
END_TEST

static bool third_login(void) {
    return fixture_count("login ") == 3;
}

START_TEST(worker_whose_login_takes_too_long_is_not_killed_in_it) {
    pool_start(1, "start refuse-late 5678\n");
    fx.config->workers.start_deadline_ms = 200;
    fixture_look_until(third_login);
    ck_assert_uint_ge(fixture_count("done-login"), 2); // one after the other
}
END_TEST

START_TEST(pin_that_is_refused_after_the_start_deadline_is_not_submitted_again) {
    pool_start(2, "start refuse-late 1234\n");
    fx.config->workers.start_deadline_ms = 200;
    fixture_run_until(is_refused);
    ck_assert_str_eq(pf.pin_record, "1234");
    kd_workers_retry(pf.pool);
    fixture_run_until(is_refused);
    ck_assert_uint_eq(fixture_count("login "), 1);
}
END_TEST

START_TEST(corrected_pin_is_taken_after_a_reload_and_the_record_goes) {
    pool_start(2, "start refuse 1234\n");
    fixture_run_until(is_refused);
    fixture_file("pin", "5678\n");
    kd_workers_retry(pf.pool);
    fixture_run_until(pool_all_ready);
    ck_assert_uint_eq(fixture_count("login 1234"), 1);
    ck_assert_str_eq(pf.pin_record, "");
}
END_TEST

// ---- logins that the token ends ---------------------------------------------

// Each of the workers would say so: what they do not answer is for a fresh one.
START_TEST(requests_of_workers_without_login_are_answered_by_one_that_logs_in_anew) {
    pool_start(4, "on out logged-out\n");
    fixture_run_until(pool_all_ready);
    fixture_script("start ok\n");
    pool_send_macs(1, "out"); // not to the next one that has none, either
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(fixture_count("request mac"), 2);
    pool_send_macs(8, "out"); // to all of them
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 9);
    fixture_run_until(pool_all_ready);
    ck_assert_uint_le(pool_restarts(), 4);
}
END_TEST

START_TEST(request_that_ends_each_login_is_not_tried_for_ever) {
    pool_start(4, "on out logged-out\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "out");
    fixture_run_until(pool_all_done);
    ck_assert_err(pf.answers[0].err, KD_ERR_TOKEN_AWAY);
    ck_assert_uint_eq(fixture_count("request mac"), 2);
}
END_TEST

START_TEST(changed_pin_is_submitted_once_where_all_workers_have_lost_their_login) {
    pool_start(4, "start refuse 1234\non out logged-out\n");
    fixture_file("pin", "5678\n");
    fixture_run_until(pool_all_ready);
    ck_assert_uint_eq(fixture_count("login 5678"), 4);
    fixture_file("pin", "1234\n"); // as if the token had another one now
    pool_send_macs(8, "out");
    fixture_run_until(pool_all_done);
    wait_a_while();
    ck_assert_uint_eq(pool_count_answers(KD_ERR_PIN_REFUSED), 8);
    ck_assert_uint_eq(fixture_count("login 1234"), 1);
    ck_assert_str_eq(pf.pin_record, "1234");
}
END_TEST

static TCase *tcase_pin(void) {
    TCase *t = tcase_create("pin");
    tcase_add_checked_fixture(t, pool_setup, pool_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, refused_pin_reaches_the_token_once);
    tcase_add_test(t, refused_pin_is_not_submitted_again_after_a_reload_or_a_restart);
    tcase_add_test(t, pin_that_is_refused_while_keyd_stops_is_remembered);
    tcase_add_test(t, worker_is_not_killed_in_its_login_when_keyd_stops);
    tcase_add_test(t, worker_whose_login_takes_too_long_is_not_killed_in_it);
    tcase_add_test(t, pin_that_is_refused_after_the_start_deadline_is_not_submitted_again);
    tcase_add_test(t, corrected_pin_is_taken_after_a_reload_and_the_record_goes);
    return t;
}

static TCase *tcase_lost(void) {
    TCase *t = tcase_create("lost");
    tcase_add_checked_fixture(t, pool_setup, pool_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, requests_of_workers_without_login_are_answered_by_one_that_logs_in_anew);
    tcase_add_test(t, request_that_ends_each_login_is_not_tried_for_ever);
    tcase_add_test(t, changed_pin_is_submitted_once_where_all_workers_have_lost_their_login);
    return t;
}

UNIT_MAIN("logins", tcase_pin(), tcase_lost())
