// SPDX-License-Identifier: Apache-2.0
// test_rest.c: every way in which a call can fail, against a server that does so.
#include "client/rest_json.h"
#include "tests/unit/fake_http.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char failure[KD_REST_FAILURE_BYTES];

static enum kd_err call_for(struct fake_http *f, uint32_t timeout_ms, size_t max_bytes,
                            struct kd_rest_answer *a) {
    kd_auto(rest) struct kd_rest *r = NULL;
    const struct kd_rest_config config = { .socket = f->socket,
                                           .timeout_ms = timeout_ms,
                                           .answer_max_bytes = max_bytes };
    ck_assert_err(kd_rest_open(&config, &r, failure), KD_OK);
    enum kd_err e = kd_rest_call(r, "GET", "/x", NULL, a);
    snprintf(failure, sizeof(failure), "%s", kd_rest_failure(r));
    return e;
}

static enum kd_err call(struct fake_http *f, size_t max_bytes, struct kd_rest_answer *a) {
    return call_for(f, 20000, max_bytes, a);
}

// What one call makes of these bytes.
static enum kd_err answer_with(const char *bytes, bool closes, struct kd_rest_answer *a) {
    struct fake_http f = { .answers = { bytes }, .n_answers = 1, .closes = closes };
    fake_http_start(&f);
    enum kd_err e = call(&f, 256, a);
    fake_http_stop(&f);
    return e;
}

static void fails(enum kd_err expected, const char *bytes, bool closes, const char *part) {
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    ck_assert_err(answer_with(bytes, closes, &a), expected);
    ck_assert_ptr_null(a.json);
    ck_assert_uint_eq(a.status, 0);
    ck_assert_msg(strstr(failure, part) != NULL, "\"%s\" lacks \"%s\"", failure, part);
}

START_TEST(no_socket_and_nobody_behind_it) {
    struct fake_http f = { .answers = { "" }, .n_answers = 1 };
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    fake_http_start(&f);
    fake_http_stop(&f);
    ck_assert_err(call(&f, 0, &a), KD_ERR_TOKEN_AWAY);
    ck_assert_ptr_nonnull(strstr(failure, "There is no socket"));
    int fd = open("/dev/null", O_RDONLY);
    close(fd);
    strcpy(f.socket, "/dev/null"); // there, and no socket
    ck_assert_err(call(&f, 0, &a), KD_ERR_TOKEN_AWAY);
}
END_TEST

START_TEST(broken_answers_are_told_apart) {
    fails(KD_ERR_MALFORMED, "220 smtp.example.com ESMTP\r\n\r\n", true, "does not speak HTTP");
    fails(KD_ERR_SYSTEM, "", true, "broke");
    fails(KD_ERR_SYSTEM,
          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", true,
          "broke");
    fails(KD_ERR_MALFORMED, FAKE_JSON(200, "{\"a\":"), false, "is no JSON");
    fails(KD_ERR_MALFORMED, FAKE_JSON(200, ""), false, "is no JSON");
    fails(KD_ERR_MALFORMED, FAKE_JSON(200, "{\"a\":1,\"a\":2}"), false, "is no JSON");
    fails(KD_ERR_MALFORMED, FAKE_PROBLEM(404, "<html>"), false, "is no JSON");
}
END_TEST

START_TEST(an_answer_past_the_limit_is_not_taken) {
    char body[300];
    memset(body, ' ', sizeof(body));
    body[sizeof(body) - 1] = '\0';
    fails(KD_ERR_ITEM_TOO_LARGE, FAKE_JSON(200, body), false, "longer than 256 bytes");
    // The limit itself is fine: 254 spaces and a value.
    body[254] = '1';
    body[255] = '\0';
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    memcpy(body, "[2,", 3);
    body[254] = '1';
    memcpy(body + 255, "]", 2);
    ck_assert_uint_eq(strlen(body), 256);
    ck_assert_err(answer_with(FAKE_JSON(200, body), false, &a), KD_OK);
    ck_assert_uint_eq(json_array_size(a.json), 2);
}
END_TEST

START_TEST(silence_ends_with_a_deadline) {
    struct fake_http f = { .answers = { "" }, .n_answers = 1, .is_silent = true };
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    fake_http_start(&f);
    ck_assert_err(call_for(&f, 300, 0, &a), KD_ERR_DEADLINE);
    fake_http_stop(&f);
    ck_assert_ptr_nonnull(strstr(failure, "300 ms"));
}
END_TEST

START_TEST(problems_are_answers) {
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    ck_assert_err(answer_with("HTTP/1.1 503 X\r\nContent-Type: application/problem+json\r\n"
                              "Retry-After: 7\r\nContent-Length: 13\r\n\r\n{\"title\":\"t\"}",
                              false, &a),
                  KD_OK);
    ck_assert(kd_rest_is_problem(a.status));
    ck_assert_uint_eq(a.status, 503);
    ck_assert_uint_eq(a.retry_after_sec, 7);
    ck_assert_str_eq(json_string_value(json_object_get(a.json, "title")), "t");
}
END_TEST

START_TEST(no_body_and_other_types_are_answers_without_json) {
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    ck_assert_err(answer_with("HTTP/1.1 204 X\r\n\r\n", false, &a), KD_OK);
    ck_assert_uint_eq(a.status, 204);
    ck_assert_ptr_null(a.json);
    ck_assert_err(answer_with(fake_answer(200, "text/plain", "up 1\n"), false, &a), KD_OK);
    ck_assert_ptr_null(a.json);
    ck_assert_err(answer_with(fake_answer(200, "application/jsonp", "1"), false, &a), KD_OK);
    ck_assert_ptr_null(a.json);
}
END_TEST

// The request as the server saw it.
static void send_one(struct fake_http *f, const char *method, const json_t *body,
                     const char *token_file) {
    kd_auto(rest) struct kd_rest *r = NULL;
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    f->answers[0] = FAKE_JSON(200, "{}");
    f->n_answers = 1;
    fake_http_start(f);
    const struct kd_rest_config config = { .socket = f->socket, .token_file = token_file };
    ck_assert_err(kd_rest_open(&config, &r, failure), KD_OK);
    ck_assert_err(kd_rest_call(r, method, "/v1/keys", body, &a), KD_OK);
    fake_http_stop(f);
}

START_TEST(a_request_says_what_it_should_and_no_more) {
    struct fake_http f = { 0 };
    kd_auto(json) json_t *body = json_loads("{\"a\": 1}", 0, NULL);
    send_one(&f, "POST", body, NULL);
    ck_assert_ptr_eq(strstr(f.request, "POST /v1/keys HTTP/1.1\r\n"), f.request);
    ck_assert_ptr_nonnull(strstr(f.request, "\r\nContent-Type: application/json\r\n"));
    ck_assert_ptr_nonnull(strstr(f.request, "\r\n\r\n{\"a\":1}"));
    ck_assert_ptr_null(strstr(f.request, "Expect"));
    ck_assert_ptr_null(strstr(f.request, "Authorization"));
    struct fake_http g = { 0 };
    send_one(&g, "POST", NULL, NULL);
    ck_assert_ptr_null(strstr(g.request, "Content-Type"));
    ck_assert_ptr_nonnull(strstr(g.request, "Content-Length: 0"));
    struct fake_http h = { 0 };
    send_one(&h, "DELETE", NULL, NULL);
    ck_assert_ptr_eq(strstr(h.request, "DELETE /v1/keys HTTP/1.1\r\n"), h.request);
}
END_TEST

START_TEST(bytes_and_headers_go_and_come_as_they_are) {
    struct fake_http f = { .answers = { "HTTP/1.1 200 X\r\nContent-Type: application/cose\r\n"
                                        "Keyd-Session: s1\r\nContent-Length: 3\r\n\r\nabc",
                                        FAKE_JSON(200, "{\"a\":1}"),
                                        FAKE_PROBLEM(409, "{\"title\":\"t\"}") },
                           .n_answers = 3 };
    static const char *const headers[] = { "Keyd-One: 1", "Keyd-Two: 2", NULL };
    const struct kd_rest_request q = { .method = "POST",
                                       .path = "/x",
                                       .type = "application/octet-stream",
                                       .body = { (const uint8_t *)"\0\1", 2 },
                                       .headers = headers };
    kd_auto(rest) struct kd_rest *r = NULL;
    kd_auto(rest_reply) struct kd_rest_reply a = KD_REST_REPLY_INIT;
    fake_http_start(&f);
    const struct kd_rest_config config = { .socket = f.socket };
    ck_assert_err(kd_rest_open(&config, &r, failure), KD_OK);
    ck_assert_err(kd_rest_exchange(r, &q, &a), KD_OK);
    ck_assert_str_eq(kd_rest_header(r, "keyd-session"), "s1");
    ck_assert_ptr_null(kd_rest_header(r, "Keyd-Peer"));
    ck_assert(!a.is_json && a.text.n == 3);
    ck_assert_err(kd_rest_exchange(r, &q, &a), KD_OK);
    ck_assert(a.is_json && a.text.n == 7);
    ck_assert_ptr_null(kd_rest_header(r, "Keyd-Session"));
    ck_assert_err(kd_rest_exchange(r, &q, &a), KD_OK);
    ck_assert(a.is_json && a.text.n == 13 && a.status == 409);
    fake_http_stop(&f);
    ck_assert_ptr_nonnull(strstr(f.request, "\r\nContent-Type: application/octet-stream\r\n"));
    ck_assert_ptr_nonnull(strstr(f.request, "\r\nKeyd-One: 1\r\nKeyd-Two: 2\r\n"));
    ck_assert_ptr_nonnull(strstr(f.request, "\r\nContent-Length: 2\r\n"));
}
END_TEST

// A GET, and then this on the same connection, if that goes.
static enum kd_err call_twice(struct fake_http f, const char *method, const char *body,
                              unsigned *n_requests) {
    const struct kd_rest_request first = { .method = "GET", .path = "/x" };
    const struct kd_rest_request second = {
        .method = method,
        .path = "/x",
        .type = body == NULL ? NULL : "application/json",
        .body = kd_bytes_of_text(body == NULL ? "" : body),
    };
    kd_auto(rest) struct kd_rest *r = NULL;
    kd_auto(rest_reply) struct kd_rest_reply a = KD_REST_REPLY_INIT;
    fake_http_start(&f);
    const struct kd_rest_config config = { .socket = f.socket };
    ck_assert_err(kd_rest_open(&config, &r, failure), KD_OK);
    ck_assert_err(kd_rest_exchange(r, &first, &a), KD_OK);
    const enum kd_err e = kd_rest_exchange(r, &second, &a);
    snprintf(failure, sizeof(failure), "%s", kd_rest_failure(r));
    fake_http_stop(&f);
    *n_requests = f.n_requests;
    return e;
}

// The connection ends when the second call has been read.
static enum kd_err call_and_lose(const char *method, const char *body, unsigned *n_requests) {
    const struct fake_http f = { .answers = { FAKE_JSON(200, "{}") },
                                 .n_answers = 1,
                                 .dropped = 2 };
    return call_twice(f, method, body, n_requests);
}

// As keyd ends an idle connection: what comes from then on cannot be sent at all.
START_TEST(a_request_of_which_nothing_has_gone_out_goes_by_a_new_connection) {
    const struct fake_http f = { .answers = { FAKE_JSON(200, "{}") },
                                 .n_answers = 1,
                                 .is_deaf = true };
    unsigned n = 0;
    ck_assert_err(call_twice(f, "POST", "{\"a\":1}", &n), KD_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_err(call_twice(f, "DELETE", NULL, &n), KD_OK);
    ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(a_request_that_was_perhaps_done_goes_out_once) {
    static const struct {
        const char *method;
        const char *body;
    } calls[] = { { "POST", "{\"a\":1}" }, { "POST", NULL }, { "DELETE", NULL } };
    unsigned n = 0;
    for (size_t i = 0; i < KD_COUNT_OF(calls); i++) {
        ck_assert_err(call_and_lose(calls[i].method, calls[i].body, &n), KD_ERR_SYSTEM);
        ck_assert_ptr_nonnull(strstr(failure, "perhaps it was done"));
        ck_assert_uint_eq(n, 2);
    }
    ck_assert_err(call_and_lose("GET", NULL, &n), KD_OK);
    ck_assert_uint_eq(n, 3);
}
END_TEST

// ---- settings --------------------------------------------------------------

static char token_path[] = "/tmp/keyd-token.XXXXXX";

static void write_token(const char *text, mode_t mode) {
    strcpy(token_path, "/tmp/keyd-token.XXXXXX");
    int fd = mkstemp(token_path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

static enum kd_err open_with(const char *url, const char *token_file) {
    kd_auto(rest) struct kd_rest *r = NULL;
    const struct kd_rest_config config = { .url = url,
                                           .socket = url == NULL ? "/x" : NULL,
                                           .token_file = token_file };
    enum kd_err e = kd_rest_open(&config, &r, failure);
    ck_assert((e == KD_OK) == (r != NULL));
    return e;
}

START_TEST(a_url_that_would_show_the_token_is_refused) {
    ck_assert_err(open_with("http://keyd.example.com:80", NULL), KD_ERR_CONFIG);
    ck_assert_err(open_with("http://127.0.0.1.example.com", NULL), KD_ERR_CONFIG);
    ck_assert_err(open_with("http://localhost@example.com/", NULL), KD_ERR_CONFIG);
    ck_assert_err(open_with("http://128.0.0.1", NULL), KD_ERR_CONFIG);
    ck_assert_err(open_with("file:///etc/passwd", NULL), KD_ERR_CONFIG);
    ck_assert_err(open_with("nothing at all", NULL), KD_ERR_CONFIG);
    ck_assert_err(open_with("", NULL), KD_ERR_CONFIG);
    ck_assert_err(open_with("http://localhost:1", NULL), KD_OK);
    ck_assert_err(open_with("http://127.0.0.1:1/", NULL), KD_OK);
    ck_assert_err(open_with("http://[::1]:1", NULL), KD_OK);
    ck_assert_err(open_with("https://keyd.example.com", NULL), KD_OK);
}
END_TEST

START_TEST(a_token_file_must_be_closed_to_others_and_hold_a_token) {
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_err(open_with(NULL, "/nonexistent/token"), KD_ERR_NO_FILE);
    static const struct {
        const char *text;
        mode_t mode;
        enum kd_err expected;
    } cases[] = {
        { "keyd_abc\n", 0644, KD_ERR_CONFIG },
        { "", 0600, KD_ERR_CONFIG },
        { "\nkeyd_abc\n", 0600, KD_ERR_CONFIG },
        { "a b\n", 0600, KD_ERR_CONFIG },
        { "a\rX-Evil: 1\n", 0600, KD_ERR_CONFIG },
        { "keyd_abc-DEF_09~.+/=\n", 0600, KD_OK },
        { "keyd_abc", 0400, KD_OK },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        write_token(cases[i].text, cases[i].mode);
        enum kd_err e = open_with(NULL, token_path);
        unlink(token_path);
        ck_assert_msg(e == cases[i].expected, "case %zu: %s", i, kd_err_name(e));
        ck_assert_ptr_null(strstr(failure, "abc")); // the token itself is never shown
    }
}
END_TEST

START_TEST(the_token_is_sent_as_a_bearer) {
    struct fake_http f = { 0 };
    write_token("keyd_abc\n", 0600);
    send_one(&f, "GET", NULL, token_path);
    unlink(token_path);
    ck_assert_ptr_nonnull(strstr(f.request, "\r\nAuthorization: Bearer keyd_abc\r\n"));
}
END_TEST

static TCase *tcase_failures(void) {
    TCase *t = tcase_create("failures");
    tcase_add_test(t, no_socket_and_nobody_behind_it);
    tcase_add_test(t, broken_answers_are_told_apart);
    tcase_add_test(t, an_answer_past_the_limit_is_not_taken);
    tcase_add_test(t, silence_ends_with_a_deadline);
    return t;
}

static TCase *tcase_calls(void) {
    TCase *t = tcase_create("calls");
    tcase_add_test(t, problems_are_answers);
    tcase_add_test(t, no_body_and_other_types_are_answers_without_json);
    tcase_add_test(t, a_request_says_what_it_should_and_no_more);
    tcase_add_test(t, bytes_and_headers_go_and_come_as_they_are);
    tcase_add_test(t, a_request_that_was_perhaps_done_goes_out_once);
    tcase_add_test(t, a_request_of_which_nothing_has_gone_out_goes_by_a_new_connection);
    return t;
}

static TCase *tcase_settings(void) {
    TCase *t = tcase_create("settings");
    tcase_add_test(t, a_url_that_would_show_the_token_is_refused);
    tcase_add_test(t, a_token_file_must_be_closed_to_others_and_hold_a_token);
    tcase_add_test(t, the_token_is_sent_as_a_bearer);
    return t;
}

UNIT_MAIN("rest", tcase_failures(), tcase_calls(), tcase_settings())
