// SPDX-License-Identifier: Apache-2.0
// test_api_intake.c: bodies that are over their limit.
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    f.config.header_timeout_ms = 600000; // no test waits for one, however slow the machine is
    f.config.body_timeout_ms = 600000;
    f.config.idle_timeout_ms = 600000;
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

#define MAC "/v1/keys/k/mac"
#define MAC_VERIFY "/v1/keys/k/mac-verify"
#define GOOD "{\"data\":\"aGVsbG8\"}"
#define GOOD_VERIFY "{\"data\":\"aGVsbG8\",\"mac\":\"aGVsbG8\"}"
#define GET_HEALTH "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"

// ---- bodies over their limit -----------------------------------------------

static void send_spaces(int fd, size_t n) {
    static char spaces[65536];
    memset(spaces, ' ', sizeof(spaces));
    while (n > 0) {
        const size_t part = n < sizeof(spaces) ? n : sizeof(spaces);
        client_send_bytes(fd, spaces, part);
        n -= part;
    }
}

// The whole of a body of n bytes, and then the answer, as most clients do.
static void ask_with_body_of(const char *target, const char *good, size_t n, bool is_chunked,
                             int fd, struct answer *a) {
    char head[256];
    snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: h\r\n" JSON_BODY "%s", target,
             is_chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "");
    client_send(fd, head);
    snprintf(head, sizeof(head), is_chunked ? "%zx\r\n" : "Content-Length: %zu\r\n\r\n", n);
    client_send(fd, head);
    client_send(fd, good);
    send_spaces(fd, n - strlen(good));
    if (is_chunked) {
        client_send(fd, "\r\n0\r\n\r\n");
    }
    client_read(fd, a);
}

static void expect_health(int fd) {
    kd_auto(answer) struct answer a = { 0 };
    client_send(fd, GET_HEALTH);
    client_read(fd, &a);
    ck_assert_int_eq(a.status, 200);
}

START_TEST(body_over_the_limit_is_read_and_answered_with_the_limit) {
    const size_t sizes[] = { f.config.body_max_bytes + 1, KD_HTTP_DRAIN_MAX_BYTES };
    for (size_t i = 0; i < 2 * KD_COUNT_OF(sizes); i++) {
        kd_auto(answer) struct answer a = { 0 };
        char text[256];
        const int fd = client_connect(&f);
        ask_with_body_of(MAC, GOOD, sizes[i / 2], i % 2 == 1, fd, &a);
        ck_assert_problem(&a, 413, "body-too-large");
        ck_assert_str_eq(text_of(&a, "detail", text),
                         "It may have 1048576 bytes: http.body-max-bytes.");
        expect_health(fd); // on the same connection
        close(fd);
    }
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(body_far_over_the_limit_ends_the_connection) {
    kd_auto(answer) struct answer a = { 0 };
    kd_auto(answer) struct answer b = { 0 };
    char text[256];
    snprintf(text, sizeof(text), JSON_BODY "Content-Length: %u\r\n", KD_HTTP_DRAIN_MAX_BYTES + 1);
    ask(&f, "POST", MAC, text, NULL, &a);
    ck_assert_problem(&a, 413, "body-too-large");
    ck_assert_str_eq(answer_header(&a, "Connection", text), "close");
    // One that does not say how long it is has no answer then.
    const int fd = client_connect(&f);
    ask_with_body_of(MAC, GOOD, KD_HTTP_DRAIN_MAX_BYTES + 1, true, fd, &b);
    ck_assert_int_eq(b.status, 0);
    close(fd);
    fixture_settle(&f);
}
END_TEST

START_TEST(body_with_results_may_be_longer) {
    const size_t max = f.config.body_max_bytes + KD_HTTP_RESULTS_MAX_BYTES;
    for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
        kd_auto(answer) struct answer at = { 0 };
        kd_auto(answer) struct answer over = { 0 };
        char text[256];
        const int fd = client_connect(&f);
        ask_with_body_of(MAC_VERIFY, GOOD_VERIFY, max + 1, is_chunked, fd, &over);
        ck_assert_problem(&over, 413, "body-too-large");
        ck_assert_str_eq(text_of(&over, "detail", text),
                         "It may have 1245184 bytes: http.body-max-bytes, and room for the "
                         "results.");
        ask_with_body_of(MAC_VERIFY, GOOD_VERIFY, max, is_chunked, fd, &at);
        ck_assert_int_eq(at.status, 200);
        close(fd);
    }
}
END_TEST

static TCase *tcase_bodies(void) {
    TCase *c = tcase_create("bodies");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, body_over_the_limit_is_read_and_answered_with_the_limit);
    tcase_add_test(c, body_far_over_the_limit_ends_the_connection);
    tcase_add_test(c, body_with_results_may_be_longer);
    return c;
}

UNIT_MAIN("api_intake", tcase_bodies())
