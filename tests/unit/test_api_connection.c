// SPDX-License-Identifier: Apache-2.0
// test_api_connection.c: limits and times of connections, clients that drip,
// pipeline, vanish, or are too many.
#include "tests/unit/api_fixture.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
}

static void start(uint32_t header_ms, uint32_t body_ms, uint32_t idle_ms) {
    f.config.header_timeout_ms = header_ms;
    f.config.body_timeout_ms = body_ms;
    f.config.idle_timeout_ms = idle_ms;
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

enum { LONG = 60000, SHORT = 120, PATIENCE = 50000 };

#define GET_HEALTH "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST_MAC                                                                                   \
    "POST /v1/keys/k/mac HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"                \
    "Content-Length: 18\r\n\r\n{\"data\":\"aGVsbG8\"}"

static void expect_status(int fd, int status) {
    kd_auto(answer) struct answer a = { 0 };
    client_read(fd, &a);
    ck_assert_int_eq(a.status, status);
}

// ---- times -----------------------------------------------------------------

START_TEST(half_a_header_is_closed_in_time) {
    start(SHORT, LONG, LONG);
    int fd = client_connect(&f);
    client_send(fd, "GET /healthz HTTP/1.1\r\nHost: h\r\n");
    ck_assert(client_is_closed(fd, PATIENCE));
    close(fd);
}
END_TEST

START_TEST(half_a_body_is_closed_in_time) {
    start(LONG, SHORT, LONG);
    int fd = client_connect(&f);
    client_send(fd, "POST /v1/keys/k/mac HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                    "Content-Length: 18\r\n\r\n{\"data\":");
    ck_assert(client_is_closed(fd, PATIENCE));
    close(fd);
    fixture_settle(&f);
}
END_TEST

START_TEST(silent_client_is_closed_in_time) {
    start(LONG, LONG, SHORT);
    int fd = client_connect(&f);
    ck_assert(client_is_closed(fd, PATIENCE));
    close(fd);
}
END_TEST

// Whose request came in time, and was not answered by an end, as the machine stood still.
static int ask_in_time(const char *request) {
    for (;;) {
        kd_auto(answer) struct answer a = { 0 };
        int fd = client_connect(&f);
        client_send(fd, request);
        client_read(fd, &a);
        if (a.status != 0) {
            ck_assert_int_eq(a.status, 200);
            return fd;
        }
        close(fd);
    }
}

START_TEST(connection_is_closed_when_no_second_request_comes) {
    start(LONG, LONG, SHORT);
    int fd = ask_in_time(GET_HEALTH);
    ck_assert(client_is_closed(fd, PATIENCE));
    close(fd);
}
END_TEST

// A byte now and then resets no clock: neither before the first line ...
static void drip(const char *head, const char *drop) {
    int fd = client_connect(&f);
    client_send(fd, head);
    bool is_closed = false;
    for (int i = 0; i < PATIENCE / (SHORT / 6) && !is_closed; i++) {
        client_send(fd, drop);
        is_closed = client_is_closed(fd, SHORT / 6);
    }
    ck_assert(is_closed);
    close(fd);
}

START_TEST(dripping_before_a_request_is_closed_in_time) {
    start(LONG, LONG, SHORT);
    drip("", "G");
    drip("", "\r\n");
}
END_TEST

// ... nor in the header, nor in the body.
START_TEST(dripping_header_is_closed_in_time) {
    start(SHORT, LONG, LONG);
    drip("GET /healthz HTTP/1.1\r\n", "a: b\r\n");
}
END_TEST

START_TEST(dripping_body_is_closed_in_time) {
    start(LONG, SHORT, LONG);
    drip("POST /v1/keys/k/mac HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
         "Content-Length: 100000\r\n\r\n",
         " ");
}
END_TEST

START_TEST(answer_that_is_not_taken_is_closed_in_time) {
    start(LONG, SHORT, LONG);
    int fd = client_connect(&f);
    for (int i = 0; i < 200; i++) { // more answers than the socket holds
        if (send(fd, "GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n", 39,
                 MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
            break;
        }
    }
    struct pollfd end = { .fd = fd, .events = POLLRDHUP };
    ck_assert_int_eq(poll(&end, 1, PATIENCE), 1);
    char rest[65536];
    ssize_t n;
    size_t sum = 0;
    while ((n = recv(fd, rest, sizeof(rest), 0)) > 0) {
        sum += (size_t)n;
    }
    ck_assert_uint_lt(sum, 200 * 50000);
    close(fd);
    fixture_settle(&f);
}
END_TEST

static unsigned n_calls;

static void read_calls(struct fixture *fixture) {
    n_calls = fixture->service.n_calls;
}

START_TEST(waiting_for_the_service_has_no_time_limit_here) {
    start(SHORT, SHORT, SHORT);
    fixture_call(&f, fixture_hold);
    int fd = client_connect(&f);
    client_send(fd, POST_MAC);
    bool is_closed = client_is_closed(fd, 5 * SHORT);
    fixture_call(&f, read_calls);
    while (is_closed && n_calls == 0) { // the request did not come in time
        close(fd);
        fd = client_connect(&f);
        client_send(fd, POST_MAC);
        is_closed = client_is_closed(fd, 5 * SHORT);
        fixture_call(&f, read_calls);
    }
    fixture_call(&f, fixture_release);
    expect_status(fd, 200);
    close(fd);
}
END_TEST

// ---- clients ---------------------------------------------------------------

START_TEST(pipelined_requests_are_answered_in_order) {
    start(LONG, LONG, LONG);
    int fd = client_connect(&f);
    client_send(fd,
                POST_MAC GET_HEALTH POST_MAC "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n" POST_MAC);
    expect_status(fd, 200);
    expect_status(fd, 200);
    expect_status(fd, 200);
    expect_status(fd, 404);
    expect_status(fd, 200);
    ck_assert_uint_eq(f.service.n_calls, 3);
    close(fd);
}
END_TEST

START_TEST(connection_carries_many_requests) {
    start(LONG, LONG, LONG);
    int fd = client_connect(&f);
    for (int i = 0; i < 1000; i++) {
        client_send(fd, POST_MAC);
        expect_status(fd, 200);
    }
    close(fd);
}
END_TEST

START_TEST(request_that_comes_byte_by_byte_is_served) {
    start(LONG, LONG, LONG);
    int fd = client_connect(&f);
    for (const char *p = POST_MAC; *p != '\0'; p++) {
        client_send_bytes(fd, p, 1);
    }
    expect_status(fd, 200);
    close(fd);
}
END_TEST

START_TEST(client_that_vanishes_while_suspended_is_harmless) {
    start(LONG, LONG, LONG);
    fixture_call(&f, fixture_hold);
    for (int i = 0; i < 3; i++) {
        int fd = client_connect(&f);
        client_send(fd, POST_MAC);
        fixture_wait_held(&f, (unsigned)i + 1);
        close(fd);
    }
    fixture_call(&f, fixture_release);
    fixture_settle(&f);
    int fd = client_connect(&f);
    client_send(fd, POST_MAC);
    expect_status(fd, 200);
    close(fd);
}
END_TEST

START_TEST(client_that_vanishes_in_its_request_is_harmless) {
    start(LONG, LONG, LONG);
    static const char whole[] = POST_MAC;
    for (size_t n = 0; n < sizeof(whole); n += 7) {
        int fd = client_connect(&f);
        client_send_bytes(fd, whole, n);
        close(fd);
    }
    fixture_settle(&f);
    int fd = client_connect(&f);
    client_send(fd, POST_MAC);
    expect_status(fd, 200);
    close(fd);
}
END_TEST

START_TEST(client_that_closes_its_side_gets_its_answer) {
    start(LONG, LONG, LONG);
    int fd = client_connect(&f);
    client_send(fd, POST_MAC);
    shutdown(fd, SHUT_WR);
    expect_status(fd, 200);
    close(fd);
}
END_TEST

// ---- how many --------------------------------------------------------------

START_TEST(connection_over_the_limit_is_told_busy_and_closed) {
    f.config.connections_max = 4;
    start(LONG, LONG, LONG);
    int fds[4];
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        fds[i] = client_connect(&f);
        client_send(fds[i], GET_HEALTH);
        expect_status(fds[i], 200);
    }
    int over = client_connect(&f);
    client_send(over, POST_MAC);
    kd_auto(answer) struct answer a = { 0 };
    client_read(over, &a);
    char value[256];
    ck_assert_problem(&a, 503, "busy");
    ck_assert_str_eq(answer_header(&a, "Retry-After", value), "3");
    ck_assert(client_is_closed(over, PATIENCE));
    close(over);
    client_send(fds[3], POST_MAC); // the others are not disturbed
    expect_status(fds[3], 200);
    close(fds[0]); // and one that goes makes room for one
    kd_auto(answer) struct answer b = { 0 };
    for (int i = 0; i < 100 && b.status != 200; i++) {
        answer_free(&b);
        ask(&f, "GET", "/healthz", "", NULL, &b);
    }
    ck_assert_int_eq(b.status, 200);
    for (size_t i = 1; i < KD_COUNT_OF(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

START_TEST(surplus_connection_that_is_silent_is_closed_soon) {
    f.config.connections_max = 4;
    start(SHORT, LONG, LONG);
    int fds[5];
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        fds[i] = client_connect(&f);
    }
    ck_assert(client_is_closed(fds[4], PATIENCE));
    ck_assert(!client_is_closed(fds[3], 0));
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

enum { HALF = KD_HTTP_SURPLUS_MAX / 2, CONNECTIONS = 4 };

static size_t n_surplus;
static uint64_t n_accepted;

static void count_surplus(struct fixture *fixture) {
    n_surplus = fixture->http->places.surplus.n;
    n_accepted = fixture->http->metrics.connections_total;
}

// The server has accepted so many, and those that it has shut are gone.
static void wait_for_surplus(size_t n, uint64_t accepted) {
    do {
        fixture_call(&f, count_surplus);
        poll(NULL, 0, 1);
    } while (n_surplus != n || n_accepted != accepted);
}

START_TEST(oldest_surplus_connection_makes_room_for_one_that_is_over_half_of_them) {
    int fds[CONNECTIONS + HALF + 1];
    f.config.connections_max = CONNECTIONS;
    start(LONG, LONG, LONG);
    for (size_t i = 0; i < CONNECTIONS + HALF; i++) {
        fds[i] = client_connect(&f);
    }
    wait_for_surplus(HALF, CONNECTIONS + HALF);
    for (size_t i = 0; i < CONNECTIONS + HALF; i++) {
        ck_assert(!client_is_closed(fds[i], 0));
    }
    fds[CONNECTIONS + HALF] = client_connect(&f);
    wait_for_surplus(HALF, CONNECTIONS + HALF + 1);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        ck_assert_int_eq(client_is_closed(fds[i], 0), i == CONNECTIONS);
    }
    client_send(fds[CONNECTIONS + HALF], GET_HEALTH);
    expect_status(fds[CONNECTIONS + HALF], 503);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

// More at once than libmicrohttpd may have: it goes on to accept.
START_TEST(newest_of_many_surplus_connections_is_told) {
    int fds[CONNECTIONS + 3 * KD_HTTP_SURPLUS_MAX];
    f.config.connections_max = CONNECTIONS;
    start(LONG, LONG, LONG);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        fds[i] = client_connect(&f);
    }
    client_send(fds[KD_COUNT_OF(fds) - 1], GET_HEALTH);
    expect_status(fds[KD_COUNT_OF(fds) - 1], 503);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

// ---- stopping --------------------------------------------------------------

static void stop(struct fixture *fixture) {
    kd_http_stop(fixture->http);
}

START_TEST(stop_lets_requests_finish_and_closes_the_idle) {
    start(LONG, LONG, LONG);
    int idle = client_connect(&f);
    client_send(idle, GET_HEALTH);
    expect_status(idle, 200);
    fixture_call(&f, fixture_hold);
    int busy = client_connect(&f);
    client_send(busy, POST_MAC);
    fixture_wait_held(&f, 1);
    fixture_call(&f, stop);
    ck_assert(client_is_closed(idle, PATIENCE));
    ck_assert_int_ne(access(f.path, F_OK), 0);
    fixture_call(&f, fixture_release);
    kd_auto(answer) struct answer a = { 0 };
    client_read(busy, &a);
    char value[256];
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(answer_header(&a, "Connection", value), "close");
    ck_assert(client_is_closed(busy, PATIENCE));
    fixture_settle(&f);
    close(idle);
    close(busy);
}
END_TEST

// The client's request is in the socket when the loop has ended: it must not
// reach the service, whose answer could not come any more.
START_TEST(close_gives_the_service_nothing_more) {
    start(LONG, LONG, LONG);
    int between = client_connect(&f); // a request that has begun is not idle
    client_send(between, "POST /v1/keys/k/mac HTTP/1.1\r\nHost: h\r\n");
    int idle = client_connect(&f);
    client_send(idle, GET_HEALTH);
    expect_status(idle, 200);
    kd_loop_stop(f.loop);
    pthread_join(f.thread, NULL);
    client_send(between, "Content-Type: application/json\r\nContent-Length: 18\r\n\r\n"
                         "{\"data\":\"aGVsbG8\"}");
    client_send(idle, POST_MAC);
    kd_http_close(f.http);
    f.http = NULL;
    ck_assert_uint_eq(f.service.n_calls, 0);
    close(between);
    close(idle);
}
END_TEST

static TCase *tcase_times(void) {
    TCase *c = tcase_create("times");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, half_a_header_is_closed_in_time);
    tcase_add_test(c, half_a_body_is_closed_in_time);
    tcase_add_test(c, silent_client_is_closed_in_time);
    tcase_add_test(c, connection_is_closed_when_no_second_request_comes);
    tcase_add_test(c, dripping_before_a_request_is_closed_in_time);
    tcase_add_test(c, dripping_header_is_closed_in_time);
    tcase_add_test(c, dripping_body_is_closed_in_time);
    tcase_add_test(c, answer_that_is_not_taken_is_closed_in_time);
    tcase_add_test(c, waiting_for_the_service_has_no_time_limit_here);
    return c;
}

static TCase *tcase_clients(void) {
    TCase *c = tcase_create("clients");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, pipelined_requests_are_answered_in_order);
    tcase_add_test(c, connection_carries_many_requests);
    tcase_add_test(c, request_that_comes_byte_by_byte_is_served);
    tcase_add_test(c, client_that_vanishes_while_suspended_is_harmless);
    tcase_add_test(c, client_that_vanishes_in_its_request_is_harmless);
    tcase_add_test(c, client_that_closes_its_side_gets_its_answer);
    tcase_add_test(c, connection_over_the_limit_is_told_busy_and_closed);
    tcase_add_test(c, surplus_connection_that_is_silent_is_closed_soon);
    tcase_add_test(c, oldest_surplus_connection_makes_room_for_one_that_is_over_half_of_them);
    tcase_add_test(c, newest_of_many_surplus_connections_is_told);
    tcase_add_test(c, stop_lets_requests_finish_and_closes_the_idle);
    tcase_add_test(c, close_gives_the_service_nothing_more);
    return c;
}

UNIT_MAIN("api_connection", tcase_times(), tcase_clients())
