// SPDX-License-Identifier: Apache-2.0
// The gateway's HTTP client: never more requests at once than it may have connections; the others
// wait in line, and for no longer than any other request.
#include "gateway/client.h"
#include "tests/unit/fake_http.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 2, MANY = 50, TIMEOUT_MS = 200, IDLE_MS = 100, LATE_MS = 50000 };

static struct fake_http server;
static struct kd_loop *loop;
static struct kd_timer *late;
static struct kd_client *client;
static struct kd_client_config config;

static struct ended {
    unsigned statuses[MANY]; // in the order of the requests; 0: failed
    unsigned turns[MANY];
    unsigned n;
} ended;
static unsigned n_begun;
static unsigned n_dropped; // for the server that is set up next
static uint32_t per_who_max;

static void on_late(void *arg KD_UNUSED) {
    ck_abort_msg("neither an answer nor a failure");
}

static void set_up(bool is_silent, bool closes, uint32_t timeout_ms) {
    server = (struct fake_http) { .n_answers = 1,
                                  .answers = { fake_answer(200, "t/t", "yes") },
                                  .closes = closes,
                                  .is_silent = is_silent,
                                  .dropped = n_dropped };
    fake_http_start(&server);
    config = (struct kd_client_config) { .url = "http://keyd",
                                         .unix_path = server.socket,
                                         .ca_file = "",
                                         .bearer = "",
                                         .connections_max = CONNECTIONS_MAX,
                                         .per_who_max = per_who_max,
                                         .timeout_ms = timeout_ms,
                                         .answer_max_bytes = 1000 };
    kd_client_init_library();
    ck_assert_err(kd_loop_new(&loop), KD_OK);
    ck_assert_err(kd_client_new(loop, &config, &client), KD_OK);
    ck_assert_err(kd_timer_new(loop, on_late, NULL, &late), KD_OK);
    kd_timer_set(late, LATE_MS);
    ended = (struct ended) { 0 };
    n_begun = 0;
}

static void free_client(void) {
    ck_assert_uint_eq(kd_client_pending(client), 0);
    kd_client_free(client);
    kd_timer_free(late);
    kd_loop_free(loop);
}

static void tear_down(void) {
    free_client();
    fake_http_stop(&server);
}

static void begin(void);

static void on_done(void *arg, unsigned status, struct kd_bytes body) {
    const size_t i = (size_t)(uintptr_t)arg;
    ck_assert_uint_gt(body.n, 0);
    ended.statuses[i] = status;
    ended.turns[i] = ended.n++;
    if (i == 0 && n_begun < MANY) {
        begin(); // in the middle of another's end
    }
    if (ended.n == n_begun) {
        kd_loop_stop(loop);
    }
}

static void begin_for(const char *who) {
    const struct kd_client_request request = { .path = who == NULL ? "/x" : who, .who = who };
    void *i = (void *)(uintptr_t)n_begun++;
    ck_assert_err(kd_client_send(client, &request, on_done, i), KD_OK);
}

static void begin(void) {
    begin_for(NULL);
}

static void begin_n(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        begin();
    }
    ck_assert_uint_eq(kd_client_pending(client), n);
}

static void begin_and_wait(unsigned n) {
    begin_n(n);
    ck_assert_err(kd_loop_run(loop), KD_OK);
}

START_TEST(many_requests_share_few_connections) {
    set_up(false, false, LATE_MS);
    begin_and_wait(MANY - 1);
    ck_assert_uint_eq(ended.n, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        ck_assert_uint_eq(ended.statuses[i], 200);
        // In line: it began when all before it had, and ended, but for those that were under way.
        ck_assert_uint_ge(ended.turns[i] + CONNECTIONS_MAX - 1, i);
    }
    tear_down();
    ck_assert_uint_eq(server.n_requests, MANY);
    ck_assert_uint_le(server.n_accepted, CONNECTIONS_MAX); // one may have done it all
}
END_TEST

START_TEST(one_request_does_not_wait_for_all_of_another) {
    set_up(false, false, LATE_MS);
    n_begun = ended.n = 1; // the first of all would begin another one
    for (unsigned i = 2; i < MANY; i++) {
        begin_for("/greedy");
    }
    begin_for("/quiet");
    ck_assert_err(kd_loop_run(loop), KD_OK);
    // After those that were under way, and one more in its turn.
    ck_assert_uint_le(ended.turns[MANY - 1], 1 + CONNECTIONS_MAX + 1 + CONNECTIONS_MAX - 1);
    tear_down();
}
END_TEST

static struct kd_timer *poll_timer;
static const char *awaited;

static void look_for_it(void *arg KD_UNUSED) {
    char request[sizeof(server.request)];
    fake_http_last(&server, request);
    if (strstr(request, awaited) != NULL) {
        kd_loop_stop(loop);
    } else {
        kd_timer_set(poll_timer, 1);
    }
}

static void run_until_server_has(const char *path) {
    awaited = path;
    kd_timer_set(poll_timer, 0);
    ck_assert_err(kd_loop_run(loop), KD_OK);
}

// The server answers nobody: without a share the first would have all its connections.
START_TEST(one_has_its_share_of_the_connections_and_another_comes) {
    per_who_max = CONNECTIONS_MAX - 1;
    set_up(true, false, LATE_MS);
    ck_assert_err(kd_timer_new(loop, look_for_it, NULL, &poll_timer), KD_OK);
    n_begun = ended.n = 1; // the first of all would begin another one
    for (unsigned i = 0; i < 2 * CONNECTIONS_MAX; i++) {
        begin_for("/greedy");
    }
    run_until_server_has("/greedy");
    begin_for("/quiet");
    run_until_server_has("/quiet");
    fake_http_stop(&server);
    ck_assert_uint_eq(server.n_requests, CONNECTIONS_MAX);
    ck_assert_err(kd_loop_run(loop), KD_OK); // now they end, with those that wait
    ck_assert_uint_eq(ended.n, n_begun);
    kd_timer_free(poll_timer);
    free_client();
}
END_TEST

START_TEST(a_request_that_waits_fails_when_any_other_would) {
    set_up(true, false, TIMEOUT_MS);
    const uint64_t began = kd_clock_mono_ms();
    begin_and_wait(MANY / 2);
    ck_assert_uint_ge(kd_clock_mono_ms() - began, TIMEOUT_MS);
    for (unsigned i = 0; i < MANY / 2; i++) {
        ck_assert(!kd_client_is_answer(ended.statuses[i]));
    }
    tear_down();
}
END_TEST

START_TEST(connections_that_end_make_room) {
    set_up(false, true, LATE_MS);
    begin_and_wait(MANY - 1);
    for (unsigned i = 0; i < MANY; i++) {
        ck_assert_uint_eq(ended.statuses[i], 200);
    }
    tear_down();
}
END_TEST

static unsigned n_turns;

static uint64_t count_turn(void *arg KD_UNUSED) {
    n_turns++;
    return KD_LOOP_NO_LIMIT;
}

static void stop(void *arg KD_UNUSED) {
    kd_loop_stop(loop);
}

// The server closes it after its answer: libcurl wants nothing of it then, and its end must not
// keep the loop awake, nor come to the next request.
START_TEST(a_connection_that_ends_while_nobody_uses_it_is_left_alone) {
    struct kd_timer *timer;
    set_up(false, true, LATE_MS);
    ck_assert_err(kd_timer_new(loop, stop, NULL, &timer), KD_OK);
    ck_assert_err(kd_loop_prepare(loop, count_turn, NULL), KD_OK);
    n_begun = ended.n = 1; // the first of all would begin another one
    for (unsigned i = 1; i < 4; i++) {
        begin();
        ck_assert_err(kd_loop_run(loop), KD_OK);
        ck_assert_uint_eq(ended.statuses[i], 200);
        n_turns = 0;
        kd_timer_set(timer, IDLE_MS);
        ck_assert_err(kd_loop_run(loop), KD_OK);
        ck_assert_uint_lt(n_turns, 10);
    }
    kd_timer_free(timer);
    tear_down();
    ck_assert_uint_eq(server.n_accepted, 3);
}
END_TEST

static void on_lost(void *arg, unsigned status, struct kd_bytes body) {
    *(unsigned *)arg = status;
    ck_assert_uint_gt(body.n, 0);
    kd_loop_stop(loop);
}

// The server reads the second on the connection of the first, and ends it without an answer.
static unsigned send_and_lose(const char *type, const char *method) {
    const struct kd_client_request first = { .path = "/x" };
    const struct kd_client_request second = {
        .path = "/x", .type = type, .method = method, .body = kd_bytes_of_text("message")
    };
    unsigned status = 0;
    n_dropped = 2;
    set_up(false, false, LATE_MS);
    n_dropped = 0;
    ck_assert_err(kd_client_send(client, &first, on_lost, &status), KD_OK);
    ck_assert_err(kd_loop_run(loop), KD_OK);
    ck_assert_uint_eq(status, 200);
    ck_assert_err(kd_client_send(client, &second, on_lost, &status), KD_OK);
    ck_assert_err(kd_loop_run(loop), KD_OK);
    tear_down();
    return status;
}

START_TEST(a_message_that_the_backend_has_perhaps_taken_goes_out_once) {
    ck_assert_uint_eq(send_and_lose("t/t", NULL), KD_CLIENT_LOST);
    ck_assert_uint_eq(server.n_requests, 2);
    ck_assert_uint_eq(send_and_lose(NULL, "DELETE"), KD_CLIENT_LOST);
    ck_assert_uint_eq(server.n_requests, 2);
    ck_assert_uint_eq(send_and_lose(NULL, NULL), 200);
    ck_assert_uint_eq(server.n_requests, 3);
}
END_TEST

static void on_probed(void *arg, unsigned status, struct kd_bytes body KD_UNUSED) {
    *(unsigned *)arg = status;
    kd_loop_stop(loop);
}

static unsigned probe(bool is_connect, uint32_t probe_ms) {
    const struct kd_client_request request = { .path = "/x",
                                               .is_connect = is_connect,
                                               .probe_ms = probe_ms };
    unsigned status = 1;
    ck_assert_err(kd_client_send(client, &request, on_probed, &status), KD_OK);
    ck_assert_err(kd_loop_run(loop), KD_OK);
    return status;
}

START_TEST(a_probe_waits_for_no_connection_and_not_as_long_as_others) {
    set_up(true, false, LATE_MS);
    n_begun = ended.n = 1;        // the first of all would begin another one
    begin_n(CONNECTIONS_MAX + 1); // nobody answers them
    ck_assert_uint_eq(probe(true, LATE_MS), 200);
    ck_assert(!kd_client_is_answer(probe(false, TIMEOUT_MS)));
    ck_assert_uint_eq(ended.n, 1);
    fake_http_stop(&server);
    ck_assert_err(kd_loop_run(loop), KD_OK); // now they end
    ck_assert_uint_eq(ended.n, n_begun);
    ck_assert_uint_eq(probe(true, LATE_MS), KD_CLIENT_UNSENT);
    ck_assert_uint_eq(probe(false, LATE_MS), KD_CLIENT_UNSENT);
    free_client();
}
END_TEST

START_TEST(a_connection_is_told_and_nothing_is_sent_by_it) {
    set_up(false, false, LATE_MS);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(probe(true, LATE_MS), 200);
    }
    ck_assert_uint_eq(probe(false, LATE_MS), 200); // a request after it is whole
    ck_assert_uint_eq(probe(true, LATE_MS), 200);
    tear_down();
    ck_assert_uint_eq(server.n_requests, 1);
    ck_assert_uint_ge(server.n_accepted, 4);
}
END_TEST

static TCase *tcase_line(void) {
    TCase *c = tcase_create("line");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, many_requests_share_few_connections);
    tcase_add_test(c, one_request_does_not_wait_for_all_of_another);
    tcase_add_test(c, one_has_its_share_of_the_connections_and_another_comes);
    tcase_add_test(c, a_request_that_waits_fails_when_any_other_would);
    tcase_add_test(c, connections_that_end_make_room);
    tcase_add_test(c, a_message_that_the_backend_has_perhaps_taken_goes_out_once);
    tcase_add_test(c, a_connection_that_ends_while_nobody_uses_it_is_left_alone);
    tcase_add_test(c, a_probe_waits_for_no_connection_and_not_as_long_as_others);
    tcase_add_test(c, a_connection_is_told_and_nothing_is_sent_by_it);
    return c;
}

UNIT_MAIN("gateway client", tcase_line())
