// SPDX-License-Identifier: Apache-2.0
// test_api_share.c: one principal's requests leave room for another's.
#include "tests/unit/api_fixture.h"

#include <unistd.h>

enum { SHARE = 2 };

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    f.config.principal_max = SHARE;
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

#define PATH "/v1/keys/k/mac"
#define BODY "{\"data\":\"\"}"
#define REQUEST                                                                                    \
    "POST " PATH " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"                      \
    "Content-Length: 11\r\n\r\n" BODY

// Requests that the service works on.
static void begin(int fds[static SHARE]) {
    fixture_call(&f, fixture_hold);
    for (int i = 0; i < SHARE; i++) {
        fds[i] = client_connect(&f);
        client_send(fds[i], REQUEST);
    }
    fixture_wait_held(&f, SHARE);
}

static void end(const int fds[static SHARE]) {
    fixture_call(&f, fixture_release);
    for (int i = 0; i < SHARE; i++) {
        kd_auto(answer) struct answer a = { 0 };
        client_read(fds[i], &a);
        ck_assert_int_eq(a.status, 200);
        close(fds[i]);
    }
}

START_TEST(one_more_than_a_principal_may_have_is_told_to_come_later) {
    int fds[SHARE];
    begin(fds);
    for (int i = 0; i < 3; i++) {
        kd_auto(answer) struct answer a = { 0 };
        char text[256];
        ask(&f, "POST", PATH, JSON_BODY, BODY, &a);
        ck_assert_problem(&a, 503, "busy");
        ck_assert_str_eq(text_of(&a, "detail", text),
                         "2 requests of this principal are under way.");
        ck_assert_str_eq(answer_header(&a, "Retry-After", text), "3");
    }
    end(fds);
    for (int i = 0; i < 3 * SHARE; i++) { // each gives its place back
        kd_auto(answer) struct answer a = { 0 };
        ask(&f, "POST", PATH, JSON_BODY, BODY, &a);
        ck_assert_int_eq(a.status, 200);
    }
}
END_TEST

START_TEST(another_principal_and_supervisors_do_not_notice) {
    int fds[SHARE];
    begin(fds);
    kd_auto(answer) struct answer open = { 0 };
    ask(&f, "GET", "/healthz", "", NULL, &open);
    ck_assert_int_eq(open.status, 200);
    const int fd = client_connect(&f);
    client_send(fd, "POST " PATH " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer other\r\n"
                    "Content-Type: application/json\r\nContent-Length: 11\r\n\r\n" BODY);
    fixture_wait_held(&f, SHARE + 1);
    end(fds);
    kd_auto(answer) struct answer a = { 0 };
    client_read(fd, &a);
    ck_assert_int_eq(a.status, 200);
    close(fd);
}
END_TEST

START_TEST(requests_that_are_refused_give_their_place_back) {
    f.service.at_once = KD_ERR_DENIED;
    for (int i = 0; i < 3 * SHARE; i++) {
        expect_problem(&f, "POST", PATH, BODY, 403, "denied", "");
    }
    f.service.at_once = KD_OK;
    f.service.later = KD_ERR_TOKEN_AWAY;
    for (int i = 0; i < 3 * SHARE; i++) {
        expect_problem(&f, "POST", PATH, BODY, 503, "token-away", "");
    }
    for (int i = 0; i < 3 * SHARE; i++) {
        expect_problem(&f, "POST", PATH, "{}", 400, "field-missing", "data");
    }
    f.service.later = KD_OK;
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", PATH, JSON_BODY, BODY, &a);
    ck_assert_int_eq(a.status, 200);
}
END_TEST

static TCase *tcase_share(void) {
    TCase *c = tcase_create("share");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, one_more_than_a_principal_may_have_is_told_to_come_later);
    tcase_add_test(c, another_principal_and_supervisors_do_not_notice);
    tcase_add_test(c, requests_that_are_refused_give_their_place_back);
    return c;
}

UNIT_MAIN("api_share", tcase_share())
