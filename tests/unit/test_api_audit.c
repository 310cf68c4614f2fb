// SPDX-License-Identifier: Apache-2.0
// test_api_audit.c: what waits for the audit log, and what becomes of it when that fails.
#include "api/share.h"
#include "tests/unit/api_fixture.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    fixture_start_audited(&f);
}

static void setup_without(void) {
    fixture_init(&f);
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

// Does the log have a line with all of these texts?
static bool has_line(const char *a, const char *b) {
    char line[4096];
    bool has = false;
    FILE *in = fopen(f.audit_path, "r");
    ck_assert_ptr_nonnull(in);
    while (!has && fgets(line, sizeof(line), in) != NULL) {
        has = strstr(line, a) != NULL && strstr(line, b) != NULL;
    }
    fclose(in);
    return has;
}

static void wait_for_line(const char *a, const char *b) {
    for (int i = 0; i < 6000; i++) {
        if (has_line(a, b)) {
            return;
        }
        poll(NULL, 0, 10);
    }
    ck_abort_msg("the line of %s and %s does not come", a, b);
}

// As when somebody has cut the file: nothing more is written to it.
static void break_log(void) {
    wait_for_line("keyd.start", "");
    ck_assert_int_eq(truncate(f.audit_path, 1), 0);
}

#define NEW_KEY "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\"]}"
#define STEP "/v1/handshakes/" FAKE_SESSION

START_TEST(a_change_that_cannot_be_written_down_is_not_begun) {
    break_log();
    for (int i = 0; i < 3; i++) {
        expect_problem(&f, "POST", "/v1/keys", NEW_KEY, 503, "audit", "");
        expect_problem(&f, "DELETE", "/v1/keys/k", NULL, 503, "audit", "");
    }
    ck_assert_uint_eq(f.service.n_calls, 0);
    expect_json(&f, "POST", "/v1/keys/k/mac", "{\"data\":\"\"}", 200,
                "{\"mac\":\"TQ\",\"version\":1}");
}
END_TEST

START_TEST(what_was_done_and_cannot_be_written_down_is_not_answered) {
    break_log();
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", STEP, JSON_BODY, "{\"message\":\"aGk\"}", &a);
    ck_assert_problem(&a, 503, "audit");
    ck_assert_str_eq(text_of(&a, "detail", text), "It was done, but could not be written down.");
    ck_assert_uint_eq(f.service.n_calls, 1);
    expect_problem(&f, "POST", STEP, "{\"message\":\"aGk\"}", 503, "audit", "");
    ck_assert_uint_eq(f.service.n_calls, 1); // known now: not begun
}
END_TEST

START_TEST(a_change_is_in_the_log_before_the_service_is_asked) {
    fixture_call(&f, fixture_hold);
    const int fd = client_connect(&f);
    client_send(fd, "DELETE /v1/keys/orders HTTP/1.1\r\nHost: x\r\n\r\n");
    fixture_wait_held(&f, 1);
    ck_assert(has_line("\"event\":\"key.delete\"", "\"phase\":\"asked\""));
    ck_assert(has_line("\"name\":\"orders\"", "\"phase\":\"asked\""));
    ck_assert(!has_line("key.delete", "\"result\""));
    fixture_call(&f, fixture_release);
    kd_auto(answer) struct answer a = { 0 };
    client_read(fd, &a);
    ck_assert_int_eq(a.status, 204);
    wait_for_line("key.delete", "\"asked\":2,\"result\":\"ok\",\"status\":204");
    close(fd);
}
END_TEST

START_TEST(version_that_is_to_be_destroyed_stands_in_the_log) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "DELETE", "/v1/keys/orders/versions/7", "", NULL, &a);
    ck_assert_int_eq(a.status, 204);
    ck_assert(has_line("\"event\":\"key.delete-version\"",
                       "\"name\":\"orders\",\"phase\":\"asked\","
                       "\"input\":{\"version\":7}"));
    wait_for_line("key.delete-version", "\"asked\":2,\"result\":\"ok\",\"status\":204");
}
END_TEST

START_TEST(an_answer_that_nobody_takes_is_in_the_log_all_the_same) {
    fixture_call(&f, fixture_hold);
    const int fd = client_connect(&f);
    client_send(fd, "DELETE /v1/keys/orders HTTP/1.1\r\nHost: x\r\n\r\n");
    fixture_wait_held(&f, 1);
    close(fd);
    fixture_call(&f, fixture_release);
    wait_for_line("key.delete", "\"asked\":2,\"result\":\"ok\"");
}
END_TEST

START_TEST(a_session_is_in_the_log_before_its_answer) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", STEP, JSON_BODY, "{\"message\":\"aGk\"}", &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert(has_line("\"event\":\"session.open\"", "\"session\":\"" FAKE_SESSION "\""));
}
END_TEST

#define MAC "/v1/keys/k/mac"
#define EMPTY "{\"data\":\"\"}"

START_TEST(an_operation_that_is_named_is_in_the_log_before_its_answer) {
    f.service.audited = 1u << KD_MAY_MAC;
    expect_json(&f, "POST", MAC, EMPTY, 200, "{\"mac\":\"TQ\",\"version\":1}");
    ck_assert(has_line("\"event\":\"key.use\"", "\"operation\":\"mac\",\"items\":1,\"version\":1"));
    expect_problem(&f, "POST", "/v1/keys/k/sign", "{}", 400, "field-missing", "data");
    f.service.later = KD_ERR_TOKEN_AWAY;
    expect_problem(&f, "POST", MAC, EMPTY, 503, "token-away", "");
    wait_for_line("request.refused", "\"result\":\"token-away\"");
    ck_assert(!has_line("field-missing", "")); // an operation that is not named
}
END_TEST

START_TEST(an_operation_that_is_named_and_cannot_be_written_down_is_not_answered) {
    f.service.audited = 1u << KD_MAY_MAC;
    break_log();
    expect_problem(&f, "POST", MAC, EMPTY, 503, "audit", "");
    ck_assert_uint_eq(f.service.n_calls, 1);
    expect_problem(&f, "POST", MAC, EMPTY, 503, "audit", "");
    ck_assert_uint_eq(f.service.n_calls, 1); // known now: not begun
    f.service.audited = 1u << KD_MAY_SIGN;
    expect_json(&f, "POST", MAC, EMPTY, 200, "{\"mac\":\"TQ\",\"version\":1}");
}
END_TEST

START_TEST(a_caller_who_is_refused_is_noted_and_does_not_wait) {
    f.service.identify = KD_ERR_UNAUTHENTICATED;
    expect_problem(&f, "POST", "/v1/keys", NEW_KEY, 401, "unauthenticated", "");
    wait_for_line("request.refused", "\"result\":\"unauthenticated\",\"status\":401");
    f.service.identify = KD_OK;
    f.service.at_once = KD_ERR_DENIED;
    expect_problem(&f, "POST", "/v1/keys/k/mac", "{\"data\":\"\"}", 403, "denied", "");
    wait_for_line("request.refused", "\"route\":\"/v1/keys/{name}/mac\"");
    break_log();
    expect_problem(&f, "POST", "/v1/keys/k/mac", "{\"data\":\"\"}", 403, "denied", "");
}
END_TEST

static uint64_t held_ms;

static void hold_clock(struct fixture *fixture KD_UNUSED) {
    kd_clock_hold(held_ms, 1700000000000 + held_ms);
}

static void release_clock(struct fixture *fixture KD_UNUSED) {
    kd_clock_release();
}

static void refuse(unsigned n, enum kd_err identify) {
    f.service.identify = identify;
    f.service.at_once = KD_ERR_DENIED;
    for (unsigned i = 0; i < n; i++) {
        kd_auto(answer) struct answer a = { 0 };
        ask(&f, "POST", "/v1/keys/k/mac", JSON_BODY, "{\"data\":\"\"}", &a);
        ck_assert_int_eq(a.status, identify == KD_OK ? 403 : 401);
    }
    f.service.identify = KD_OK;
    f.service.at_once = KD_OK;
}

// When all that came before are written: a change waits for its line.
static unsigned count_lines(const char *text) {
    kd_auto(answer) struct answer a = { 0 };
    char line[4096];
    unsigned n = 0;
    ask(&f, "DELETE", "/v1/keys/k", "", NULL, &a);
    ck_assert_int_eq(a.status, 204);
    FILE *in = fopen(f.audit_path, "r");
    ck_assert_ptr_nonnull(in);
    while (fgets(line, sizeof(line), in) != NULL) {
        n += strstr(line, text) != NULL;
    }
    fclose(in);
    return n;
}

#define OF_STRANGERS "\"result\":\"unauthenticated\""
#define OF_PRINCIPALS "\"result\":\"denied\""

START_TEST(flood_of_refusals_is_bounded_and_hides_none_of_a_principal) {
    held_ms = kd_clock_mono_ms() / 60000 * 60000 + 600000; // a minute begins
    fixture_call(&f, hold_clock);
    refuse(25, KD_ERR_UNAUTHENTICATED);
    refuse(1, KD_OK);
    ck_assert_uint_eq(count_lines(OF_STRANGERS), 10);
    ck_assert_uint_eq(count_lines(OF_PRINCIPALS), 1);
    ck_assert(has_line(OF_PRINCIPALS, "\"left_out\":15"));
    for (unsigned second = 1; second < 15; second++) {
        held_ms += 1000;
        fixture_call(&f, hold_clock);
        refuse(11, KD_ERR_UNAUTHENTICATED);
    }
    ck_assert_uint_eq(count_lines(OF_STRANGERS), 100);
    held_ms += 46000; // the next
    fixture_call(&f, hold_clock);
    refuse(1, KD_ERR_UNAUTHENTICATED);
    ck_assert_uint_eq(count_lines(OF_STRANGERS), 101);
    fixture_call(&f, release_clock);
}
END_TEST

static int change(const char *header) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "DELETE", "/v1/keys/k", header, NULL, &a);
    return a.status;
}

static int retry_after(void) {
    kd_auto(answer) struct answer a = { 0 };
    char seconds[256];
    ask(&f, "DELETE", "/v1/keys/k", "", NULL, &a);
    return atoi(answer_header(&a, "Retry-After", seconds));
}

// Each that is looked at has a line before it and one after it.
START_TEST(flood_of_changes_that_are_not_allowed_is_bounded_by_principal) {
    held_ms = kd_clock_mono_ms() / 60000 * 60000 + 600000;
    fixture_call(&f, hold_clock);
    f.service.at_once = KD_ERR_DENIED;
    for (unsigned i = 0; i < KD_SHARE_REFUSED_PER_MINUTE; i += 2) {
        ck_assert_int_eq(change(""), 403);
        // Refused before anybody has asked the policy.
        expect_problem(&f, "POST", "/v1/keys", "{}", 400, "field-missing", "name");
    }
    ck_assert_int_eq(change(""), 503);
    f.service.at_once = KD_OK;
    expect_problem(&f, "DELETE", "/v1/keys/k", NULL, 503, "busy", "");
    ck_assert_int_eq(retry_after(), 60);
    held_ms += 59001; // of the minute 999 ms are left: a whole second
    fixture_call(&f, hold_clock);
    ck_assert_int_eq(retry_after(), 1);
    held_ms -= 59001;
    fixture_call(&f, hold_clock);
    ck_assert_int_eq(change("Authorization: Bearer other\r\n"), 204);
    held_ms += 60000; // the next
    fixture_call(&f, hold_clock);
    ck_assert_int_eq(change(""), 204);
    // And the one that count_lines asks for.
    ck_assert_uint_eq(count_lines("\"phase\":\"asked\""), KD_SHARE_REFUSED_PER_MINUTE + 3);
    fixture_call(&f, release_clock);
}
END_TEST

START_TEST(what_a_caller_writes_is_no_line_and_no_member_of_its_own) {
    static const char evil[] = "{\"name\":\"n\\\",\\\"asked\\\":1,\\\"x\\\":\\\"\\n{}\","
                               "\"asked\":1,\"phase\":\"x\",\"type\":7}";
    expect_problem(&f, "POST", "/v1/keys", evil, 400, "bad-name", "name");
    wait_for_line("key.create", "\"asked\":2,\"result\":\"bad-name\"");
    ck_assert(has_line("key.create", "\"input\":{\"name\":\"n\\\",\\\"asked\\\":1"));
}
END_TEST

START_TEST(state_of_the_log_is_told) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    for (int i = 0; i < 6000 && (a.body == NULL || strstr(a.body, "\"seq\":1,") == NULL); i++) {
        answer_free(&a);
        a = (struct answer) { 0 };
        poll(NULL, 0, 10); // the first line is on its way to the disk
        ask(&f, "GET", "/v1/audit", "", NULL, &a);
        ck_assert_int_eq(a.status, 200);
    }
    ck_assert_str_eq(text_of(&a, "key", text), "audit");
    ck_assert_ptr_nonnull(strstr(a.body, "\"seq\":1,"));
    ck_assert_ptr_nonnull(strstr(a.body, "\"failing\":false,"));
    f.service.allows = KD_ERR_DENIED;
    expect_problem(&f, "GET", "/v1/audit", NULL, 403, "denied", "");
}
END_TEST

START_TEST(without_a_log_everything_is_admitted) {
    expect_problem(&f, "GET", "/v1/audit", NULL, 400, "config", "");
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "DELETE", "/v1/keys/k", "", NULL, &a);
    ck_assert_int_eq(a.status, 204);
}
END_TEST

static TCase *tcase_audit(void) {
    TCase *c = tcase_create("audit");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_change_that_cannot_be_written_down_is_not_begun);
    tcase_add_test(c, what_was_done_and_cannot_be_written_down_is_not_answered);
    tcase_add_test(c, a_change_is_in_the_log_before_the_service_is_asked);
    tcase_add_test(c, version_that_is_to_be_destroyed_stands_in_the_log);
    tcase_add_test(c, an_answer_that_nobody_takes_is_in_the_log_all_the_same);
    tcase_add_test(c, a_session_is_in_the_log_before_its_answer);
    tcase_add_test(c, an_operation_that_is_named_is_in_the_log_before_its_answer);
    tcase_add_test(c, an_operation_that_is_named_and_cannot_be_written_down_is_not_answered);
    tcase_add_test(c, a_caller_who_is_refused_is_noted_and_does_not_wait);
    tcase_add_test(c, flood_of_refusals_is_bounded_and_hides_none_of_a_principal);
    tcase_add_test(c, flood_of_changes_that_are_not_allowed_is_bounded_by_principal);
    tcase_add_test(c, what_a_caller_writes_is_no_line_and_no_member_of_its_own);
    tcase_add_test(c, state_of_the_log_is_told);
    return c;
}

static TCase *tcase_without(void) {
    TCase *c = tcase_create("without");
    tcase_add_checked_fixture(c, setup_without, teardown);
    tcase_add_test(c, without_a_log_everything_is_admitted);
    return c;
}

UNIT_MAIN("api_audit", tcase_audit(), tcase_without())
