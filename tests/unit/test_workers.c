// SPDX-License-Identifier: Apache-2.0
// Every way of a worker to fail, and what becomes of the requests.
#include "keyd/pool.h"
#include "tests/unit/pool_fixture.h"
#include "unit.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// ---- before any is ready ---------------------------------------------------

START_TEST(requests_are_refused_with_the_reason_while_none_is_ready) {
    pool_start(1, "start ok\n");
    ck_assert_err(pool_send_op(KD_HSM_MAC, "x"), KD_ERR_TOKEN_AWAY);
    const char *detail = NULL;
    ck_assert_err(kd_workers_ready(pf.pool, &detail), KD_ERR_TOKEN_AWAY);
    ck_assert_str_ne(detail, "");
    ck_assert_ptr_null(kd_workers_token(pf.pool));
}
END_TEST

static bool has_reason_no_token(void) {
    const char *detail;
    return kd_workers_ready(pf.pool, &detail) == KD_ERR_NO_TOKEN && fixture_count("hello") >= 3;
}

START_TEST(missing_token_is_said_and_it_heals_by_itself) {
    pool_start(1, "start no-token\n");
    fixture_run_until(has_reason_no_token);
    const char *detail;
    ck_assert_err(kd_workers_ready(pf.pool, &detail), KD_ERR_NO_TOKEN);
    ck_assert_str_eq(detail, "no token of this name; found: other");
    ck_assert_err(pool_send_op(KD_HSM_MAC, "x"), KD_ERR_NO_TOKEN);
    fixture_script("start ok\n");
    fixture_run_until(pool_all_ready);
    ck_assert_err(kd_workers_ready(pf.pool, &detail), KD_OK);
    ck_assert_str_eq(detail, "");
    ck_assert_uint_eq(pf.n_ready, 1);
}
END_TEST

static bool three_hellos(void) {
    return fixture_count("hello") >= 3;
}

static bool greeted_a_garbler(void) {
    return fixture_count("hello garbage") >= 2;
}

START_TEST(worker_that_ends_or_talks_nonsense_at_its_start_is_tried_again) {
    pool_start(1, "start exit\n");
    fixture_run_until(three_hellos);
    fixture_script("start garbage\n");
    fixture_run_until(greeted_a_garbler);
    fixture_script("start ok\n");
    fixture_run_until(pool_all_ready);
}
END_TEST

static bool is_hello_read(void) {
    return fixture_count("hello") == 1;
}

static bool first_is_given_up(void) {
    return pf.pool->workers[0].state == KD_PROCESS_ENDING;
}

// In its login for all that is known: so it has its seconds.
START_TEST(worker_that_does_not_get_ready_is_replaced) {
    pool_start(1, "start hang\n");
    struct kd_worker *k = &pf.pool->workers[0];
    const uint32_t deadline_ms = fx.config->workers.start_deadline_ms;
    fixture_look_until(is_hello_read);
    fixture_script("start ok\n");
    fx.config->workers.start_deadline_ms = 1;
    fixture_run_until(first_is_given_up);
    fx.config->workers.start_deadline_ms = deadline_ms; // of the next one
    ck_assert_uint_gt(k->kill_ms, kd_clock_mono_ms());
    k->kill_ms = 1; // they have passed
    fixture_run_until(pool_all_ready);
    ck_assert_uint_eq(fixture_count("hello"), 2);
}
END_TEST

START_TEST(missing_program_is_no_reason_to_stop) {
    const char *program = fx.config->workers.program;
    fx.config->workers.program = "/nonexistent/keyd-hsm";
    kd_log_set_level(KD_LOG_ERROR);
    pool_start(1, "start ok\n");
    const char *detail;
    ck_assert_err(kd_workers_ready(pf.pool, &detail), KD_ERR_TOKEN_AWAY);
    fx.config->workers.program = program;
    fixture_run_until(pool_all_ready);
}
END_TEST

// ---- requests --------------------------------------------------------------

START_TEST(results_come_back_to_their_requests) {
    pool_start(2, "start ok\n");
    fixture_run_until(pool_all_ready);
    for (unsigned i = 0; i < 12; i++) {
        char data[8];
        snprintf(data, sizeof(data), "a%02u", i);
        ck_assert_err(pool_send_op(KD_HSM_MAC, data), KD_OK);
    }
    fixture_run_until(pool_all_done);
    for (unsigned i = 0; i < 12; i++) {
        char expected[8];
        snprintf(expected, sizeof(expected), "%u%ua", i % 10, i / 10);
        ck_assert_err(pf.answers[i].err, KD_OK);
        ck_assert_str_eq(pf.answers[i].out, expected);
    }
    ck_assert_uint_eq(pf.tally.results[KD_HSM_MAC][KD_OK], 12);
}
END_TEST

START_TEST(full_queues_answer_busy_at_once) {
    pool_start(2, "start ok\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(16, "x"); // two queues of eight
    ck_assert_err(pool_send_op(KD_HSM_MAC, "x"), KD_ERR_BUSY);
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 16);
    ck_assert_err(pool_send_op(KD_HSM_MAC, "x"), KD_OK);
    fixture_run_until(pool_all_done);
}
END_TEST

START_TEST(idle_machine_gives_everything_to_the_first_worker) {
    pool_start(2, "start ok\n");
    fixture_run_until(pool_all_ready);
    struct kd_service_report r = { 0 };
    pool_send_macs(1, "x");
    kd_workers_report(pf.pool, &r);
    ck_assert_uint_eq(r.workers[0].in_flight, 1);
    ck_assert_uint_eq(r.queued, 1);
    pool_send_macs(1, "x");
    kd_workers_report(pf.pool, &r);
    ck_assert_uint_eq(r.workers[1].in_flight, 1);
    fixture_run_until(pool_all_done);
}
END_TEST

static unsigned n_received(void) {
    return fixture_count("request mac\n");
}

// The front may have much to read yet, and what it has read keeps the worker busy until then.
START_TEST(items_that_have_gathered_are_sent_before_the_end_of_the_round) {
    const struct timespec pause = { .tv_nsec = 1000000 };
    fx.config->workers.queue_max = 2 * KD_WORKER_GATHER_ITEMS;
    pool_start(1, "start ok\n");
    fixture_run_until(pool_all_ready);
    const struct kd_worker *k = &pf.pool->workers[0];
    pool_send_macs(KD_WORKER_GATHER_ITEMS - 1, "x");
    ck_assert_ptr_eq(k->unsent, k->calls.first); // one send for all of them
    pool_send_macs(1, "x");
    ck_assert_ptr_null(k->unsent);
    pool_send_macs(1, "x");
    ck_assert_ptr_eq(k->unsent, k->calls.last); // which gathers others again
    while (n_received() < KD_WORKER_GATHER_ITEMS) { // without a round of the loop
        nanosleep(&pause, NULL);
    }
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(n_received(), KD_WORKER_GATHER_ITEMS + 1);
    ck_assert_uint_eq(pool_count_answers(KD_OK), KD_WORKER_GATHER_ITEMS + 1);
}
END_TEST

// One that ends meanwhile is noticed by the loop, and not where a request is made.
START_TEST(worker_that_is_gone_when_items_are_sent_loses_none) {
    fx.config->workers.queue_max = 2 * KD_WORKER_GATHER_ITEMS;
    pool_start(1, "start ok\n");
    fixture_run_until(pool_all_ready);
    struct kd_worker *k = &pf.pool->workers[0];
    ck_assert_int_eq(kill(k->child.pid, SIGKILL), 0);
    struct pollfd exit = { .fd = k->child.pid_fd, .events = POLLIN };
    ck_assert_int_eq(poll(&exit, 1, 50000), 1);
    pool_send_macs(2 * KD_WORKER_GATHER_ITEMS, "x");
    ck_assert_int_eq(k->state, KD_PROCESS_READY);
    ck_assert_uint_eq(pf.n_done, 0);
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 2 * KD_WORKER_GATHER_ITEMS);
    ck_assert_uint_eq(pool_restarts(), 1);
}
END_TEST

START_TEST(request_that_is_too_long_is_refused_and_leaves_nothing) {
    pool_start(1, "start ok\n");
    fixture_run_until(pool_all_ready);
    struct kd_hsm_request head = { .op = KD_HSM_MAC, .n_items = 1 };
    struct kd_call *c = NULL;
    uint8_t *big = calloc(1, KD_HSM_FRAME_MAX_BYTES);
    ck_assert_ptr_nonnull(big);
    const struct kd_hsm_item item = { .data = { big, KD_HSM_FRAME_MAX_BYTES } };
    ck_assert_err(kd_workers_begin(pf.pool, &head, NULL, &c), KD_OK);
    kd_call_put(c, &item);
    ck_assert_err(kd_call_send(c, pool_on_reply, &pf.answers[0]), KD_ERR_ITEM_TOO_LARGE);
    free(big);
    pool_send_macs(8, "x");
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 8);
}
END_TEST

static enum kd_err count_big(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct kd_hsm_result result;
    ck_assert_err(reply->err, KD_OK);
    ck_assert_err(kd_hsm_get_result(items, KD_HSM_DECRYPT, &result), KD_OK);
    *(size_t *)arg = result.out.n;
    pf.n_done++;
    return KD_OK;
}

START_TEST(large_frames_pass_both_ways_in_pieces) {
    pool_start(1, "start ok\n");
    fixture_run_until(pool_all_ready);
    size_t got[4] = { 0 };
    uint8_t *big = calloc(1, 3u << 20);
    ck_assert_ptr_nonnull(big);
    const struct kd_hsm_item item = { .data = { big, 3u << 20 } };
    for (unsigned i = 0; i < 4; i++) {
        struct kd_hsm_request head = { .op = KD_HSM_DECRYPT, .n_items = 1 };
        struct kd_call *c = NULL;
        ck_assert_err(kd_workers_begin(pf.pool, &head, NULL, &c), KD_OK);
        kd_call_put(c, &item);
        ck_assert_err(kd_call_send(c, count_big, &got[i]), KD_OK);
        pf.n_sent++;
    }
    fixture_run_until(pool_all_done);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(got[i], 3u << 20);
    }
    free(big);
}
END_TEST

// ---- deaths ----------------------------------------------------------------

START_TEST(worker_that_dies_is_replaced_and_its_requests_are_answered_by_another) {
    pool_start(2, "once\non poison die\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(4, "a");
    pool_send_macs(1, "poison");
    pool_send_macs(4, "a");
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 9);
    fixture_run_until(pool_all_ready);
    ck_assert_uint_eq(pool_restarts(), 1);
}
END_TEST

START_TEST(lone_worker_that_dies_gives_its_requests_to_its_successor) {
    pool_start(1, "once\non poison die\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "poison");
    pool_send_macs(3, "a");
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 4);
}
END_TEST

START_TEST(request_that_took_two_workers_down_is_not_tried_a_third_time) {
    pool_start(2, "on poison die\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "poison");
    pool_send_macs(6, "a");
    fixture_run_until(pool_all_done);
    ck_assert_err(pf.answers[0].err, KD_ERR_TOKEN_AWAY);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 6); // the innocent ones
    fixture_run_until(pool_all_ready);
    ck_assert_uint_eq(pool_restarts(), 2);
}
END_TEST

START_TEST(request_that_must_not_be_repeated_fails_when_its_worker_dies) {
    pool_start(2, "on destroy die\n");
    fixture_run_until(pool_all_ready);
    ck_assert_err(pool_send_op(KD_HSM_DESTROY, ""), KD_OK);
    fixture_run_until(pool_all_done);
    ck_assert_err(pf.answers[0].err, KD_ERR_TOKEN_AWAY);
    ck_assert_uint_eq(fixture_count("request destroy"), 1);
}
END_TEST

static struct kd_worker *busy;
static unsigned n_hangs;

static bool who_hangs_is_alone_busy(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < pf.pool->n; i++) {
        struct kd_worker *k = &pf.pool->workers[i];
        busy = k->calls.first != NULL ? k : busy;
        n += k->calls.first != NULL;
    }
    return n == 1 && fixture_count("hang") == n_hangs;
}

static bool busy_is_given_up(void) {
    return busy->state == KD_PROCESS_ENDING;
}

// Lets the deadline of the n-th that hangs pass, when nobody else has work that it would be for.
static void pass_deadline(unsigned n) {
    const uint32_t deadline_ms = fx.config->workers.deadline_ms;
    n_hangs = n;
    fixture_look_until(who_hangs_is_alone_busy);
    fx.config->workers.deadline_ms = 100;
    fixture_run_until(busy_is_given_up);
    fx.config->workers.deadline_ms = deadline_ms;
}

START_TEST(hung_worker_is_killed_at_the_deadline_and_its_requests_repeated) {
    pool_start(2, "once\non tar hang\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "tar");
    pool_send_macs(3, "a");
    pass_deadline(1);
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 4);
    fixture_run_until(pool_all_ready);
    ck_assert_uint_eq(pool_restarts(), 1);
}
END_TEST

START_TEST(request_that_hangs_everywhere_ends_with_deadline) {
    pool_start(2, "on tar hang\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "tar");
    pass_deadline(1);
    pass_deadline(2);
    fixture_run_until(pool_all_done);
    ck_assert_err(pf.answers[0].err, KD_ERR_DEADLINE);
    ck_assert_uint_eq(fixture_count("request mac"), 2);
    ck_assert_uint_eq(pf.tally.results[KD_HSM_MAC][KD_ERR_DEADLINE], 1);
}
END_TEST

START_TEST(hang_of_a_lone_worker_ends_with_deadline_and_heals) {
    pool_start(1, "once\non tar hang\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(2, "tar");
    pass_deadline(1);
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_ERR_DEADLINE), 2);
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "a");
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 1);
}
END_TEST

static void check_replaced_after(const char *script) {
    pool_start(1, script);
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "bad");
    pool_send_macs(2, "a");
    fixture_run_until(pool_all_done);
    ck_assert_uint_ge(pool_count_answers(KD_OK), 2);
    fixture_run_until(pool_all_ready);
    ck_assert_uint_eq(pool_restarts(), 1);
}

START_TEST(worker_that_sends_garbage_is_replaced) {
    check_replaced_after("once\non bad garbage\n");
    ck_assert_uint_eq(pool_count_answers(KD_OK), 3);
}
END_TEST

START_TEST(worker_that_answers_what_nobody_asked_is_replaced) {
    check_replaced_after("once\non bad unasked\n");
    ck_assert_uint_eq(pool_count_answers(KD_OK), 3);
}
END_TEST

START_TEST(worker_whose_results_cannot_be_read_is_replaced) {
    check_replaced_after("once\non bad malformed\n");
    ck_assert_err(pf.answers[0].err, KD_ERR_MALFORMED);
}
END_TEST

START_TEST(lost_session_is_tried_once_more) {
    pool_start(1, "once\non bad error session-lost\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "bad");
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(pool_count_answers(KD_OK), 1);
    ck_assert_uint_eq(pool_restarts(), 0);
}
END_TEST

START_TEST(session_that_stays_lost_is_told) {
    pool_start(1, "on bad error session-lost\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(1, "bad");
    fixture_run_until(pool_all_done);
    ck_assert_err(pf.answers[0].err, KD_ERR_SESSION_LOST);
    ck_assert_uint_eq(fixture_count("request mac"), 2);
}
END_TEST

START_TEST(forget_goes_to_every_worker) {
    pool_start(3, "start ok\n");
    fixture_run_until(pool_all_ready);
    const uint8_t id[KD_HSM_SECRET_ID_BYTES] = { 1 };
    kd_workers_forget(pf.pool, id);
    pool_send_macs(3, "a");
    fixture_run_until(pool_all_done);
    ck_assert_uint_eq(fixture_count("request forget"), 3);
}
END_TEST

START_TEST(what_is_under_way_at_the_end_is_told_so) {
    pool_start(1, "on tar hang\n");
    fixture_run_until(pool_all_ready);
    pool_send_macs(3, "tar");
    kd_workers_free(pf.pool);
    pf.pool = NULL;
    ck_assert_uint_eq(pool_count_answers(KD_ERR_STOPPING), 3);
}
END_TEST

static TCase *tcase_start(void) {
    TCase *t = tcase_create("start");
    tcase_add_checked_fixture(t, pool_setup, pool_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, requests_are_refused_with_the_reason_while_none_is_ready);
    tcase_add_test(t, missing_token_is_said_and_it_heals_by_itself);
    tcase_add_test(t, worker_that_ends_or_talks_nonsense_at_its_start_is_tried_again);
    tcase_add_test(t, worker_that_does_not_get_ready_is_replaced);
    tcase_add_test(t, missing_program_is_no_reason_to_stop);
    return t;
}

static TCase *tcase_requests(void) {
    TCase *t = tcase_create("requests");
    tcase_add_checked_fixture(t, pool_setup, pool_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, results_come_back_to_their_requests);
    tcase_add_test(t, full_queues_answer_busy_at_once);
    tcase_add_test(t, idle_machine_gives_everything_to_the_first_worker);
    tcase_add_test(t, items_that_have_gathered_are_sent_before_the_end_of_the_round);
    tcase_add_test(t, worker_that_is_gone_when_items_are_sent_loses_none);
    tcase_add_test(t, request_that_is_too_long_is_refused_and_leaves_nothing);
    tcase_add_test(t, large_frames_pass_both_ways_in_pieces);
    return t;
}

static TCase *tcase_deaths(void) {
    TCase *t = tcase_create("deaths");
    tcase_add_checked_fixture(t, pool_setup, pool_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, worker_that_dies_is_replaced_and_its_requests_are_answered_by_another);
    tcase_add_test(t, lone_worker_that_dies_gives_its_requests_to_its_successor);
    tcase_add_test(t, request_that_took_two_workers_down_is_not_tried_a_third_time);
    tcase_add_test(t, request_that_must_not_be_repeated_fails_when_its_worker_dies);
    tcase_add_test(t, hung_worker_is_killed_at_the_deadline_and_its_requests_repeated);
    tcase_add_test(t, request_that_hangs_everywhere_ends_with_deadline);
    tcase_add_test(t, hang_of_a_lone_worker_ends_with_deadline_and_heals);
    tcase_add_test(t, worker_that_sends_garbage_is_replaced);
    tcase_add_test(t, worker_that_answers_what_nobody_asked_is_replaced);
    tcase_add_test(t, worker_whose_results_cannot_be_read_is_replaced);
    tcase_add_test(t, lost_session_is_tried_once_more);
    tcase_add_test(t, session_that_stays_lost_is_told);
    tcase_add_test(t, forget_goes_to_every_worker);
    tcase_add_test(t, what_is_under_way_at_the_end_is_told_so);
    return t;
}

UNIT_MAIN("workers", tcase_start(), tcase_requests(), tcase_deaths())
