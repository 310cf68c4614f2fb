// SPDX-License-Identifier: Apache-2.0
// test_api_request.c: what the server refuses before a handler sees it, and
// what every answer has.
#include "tests/unit/api_fixture.h"

#include "api/problem.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

#define MAC "/v1/keys/k/mac"
#define GOOD "{\"data\":\"aGVsbG8\"}"

static void expect(const char *method, const char *target, const char *headers, const char *body,
                   int status, const char *problem) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, method, target, headers, body, &a);
    ck_assert_problem(&a, status, problem);
    char text[256];
    char number[16];
    snprintf(number, sizeof(number), "%d", status);
    ck_assert_str_eq(text_of(&a, "status", text), number);
}

static void expect_field(const char *body, const char *problem, const char *field) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", MAC, JSON_BODY, body, &a);
    char text[256];
    ck_assert_problem(&a, strcmp(problem, "batch-too-large") == 0 ? 413 : 400, problem);
    ck_assert_str_eq(text_of(&a, "field", text), field);
}

// ---- bodies ----------------------------------------------------------------

START_TEST(body_that_is_not_json_is_refused) {
    static const char *const bodies[] = {
        "{",     "nonsense",          "{\"data\":\"aGVsbG8\"}x", "[]",
        "\"a\"", "{\"data\":\"a\",}", "{\"data\":\"\xff\"}",     "{\"data\":\"aGVsbG8\"} {}",
        " "
    };
    for (size_t i = 0; i < KD_COUNT_OF(bodies); i++) {
        expect("POST", MAC, JSON_BODY, bodies[i], 400, "bad-json");
    }
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(body_that_is_missing_is_refused) {
    expect("POST", MAC, "", NULL, 400, "bad-json");
    expect("POST", MAC, JSON_BODY, "", 400, "bad-json");
}
END_TEST

START_TEST(unknown_member_is_named) {
    expect_field("{\"data\":\"aGVsbG8\",\"extra\":1}", "field-unknown", "extra");
    expect_field("{\"items\":[{\"data\":\"aA\"},{\"data\":\"aA\",\"version\":1}]}", "field-unknown",
                 "items[1].version");
    expect_field("{\"items\":[{\"data\":\"aA\"}],\"data\":\"aA\"}", "field-unknown", "data");
}
END_TEST

START_TEST(repeated_member_is_refused) {
    expect("POST", MAC, JSON_BODY, "{\"data\":\"aA\",\"data\":\"aA\"}", 400, "bad-json");
}
END_TEST

START_TEST(missing_and_wrong_members_are_named) {
    expect_field("{}", "field-missing", "data");
    expect_field("{\"data\":5}", "field-invalid", "data");
    expect_field("{\"data\":null}", "field-invalid", "data");
    expect_field("{\"data\":\"aGVsbG8=\"}", "bad-base64", "data");
    expect_field("{\"data\":\"a+b/\"}", "bad-base64", "data");
    expect_field("{\"data\":\"aGVsbG8\",\"version\":0}", "field-invalid", "version");
    expect_field("{\"data\":\"aGVsbG8\",\"version\":4294967296}", "field-invalid", "version");
    expect_field("{\"data\":\"aGVsbG8\",\"version\":1.5}", "field-invalid", "version");
    expect_field("{\"items\":[{\"data\":\"aA\"},{\"data\":\"a\"}]}", "bad-base64", "items[1].data");
    expect_field("{\"items\":[5]}", "field-invalid", "items[0]");
    expect_field("{\"items\":{}}", "field-invalid", "items");
}
END_TEST

START_TEST(media_type_must_be_json) {
    expect("POST", MAC, "", GOOD, 415, "media-type");
    expect("POST", MAC, "Content-Type: text/plain\r\n", GOOD, 415, "media-type");
    expect("POST", MAC, "Content-Type: application/jsonx\r\n", GOOD, 415, "media-type");
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", MAC, "Content-Type: Application/JSON; charset=utf-8\r\n", GOOD, &a);
    ck_assert_int_eq(a.status, 200);
}
END_TEST

static void ask_with_body_of(size_t n, bool is_chunked, struct answer *a) {
    char *body = malloc(n + 1);
    memset(body, ' ', n);
    body[n] = '\0';
    memcpy(body, GOOD, strlen(GOOD));
    int fd = client_connect(&f);
    char head[256];
    snprintf(head, sizeof(head), "POST " MAC " HTTP/1.1\r\nHost: h\r\n" JSON_BODY "%s",
             is_chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "");
    client_send(fd, head);
    snprintf(head, sizeof(head), is_chunked ? "%zx\r\n" : "Content-Length: %zu\r\n\r\n", n);
    client_send(fd, head);
    client_send_bytes(fd, body, n);
    if (is_chunked) {
        client_send(fd, "\r\n0\r\n\r\n");
    }
    client_read(fd, a);
    close(fd);
    free(body);
}

START_TEST(body_at_the_limit_is_served_and_one_byte_more_is_not) {
    for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
        kd_auto(answer) struct answer over = { 0 };
        ask_with_body_of(f.config.body_max_bytes + 1, is_chunked, &over);
        ck_assert_problem(&over, 413, "body-too-large");
        kd_auto(answer) struct answer at = { 0 };
        ask_with_body_of(f.config.body_max_bytes, is_chunked, &at);
        ck_assert_int_eq(at.status, 200);
    }
}
END_TEST

START_TEST(length_that_does_not_fit_is_refused) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", MAC, JSON_BODY "Content-Length: 18446744073709551615\r\n", NULL, &a);
    ck_assert_int_eq(a.status, 413);
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "POST", MAC, JSON_BODY "Content-Length: -1\r\n", NULL, &b);
    ck_assert_int_eq(b.status, 400);
}
END_TEST

// RFC 9112 11.2: what a proxy may read in another way.
START_TEST(ambiguous_headers_are_refused_and_end_the_connection) {
    static const char *const headers[] = {
        "Content-Length: 18\r\nContent-Length: 18\r\n",
        "Content-Length: 18\r\nContent-Length: 5\r\n",
        "Content-Length: 18\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Content-Length: 18\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n",
    };
    for (size_t i = 0; i < KD_COUNT_OF(headers); i++) {
        char head[512];
        snprintf(head, sizeof(head), "POST " MAC " HTTP/1.1\r\nHost: h\r\n" JSON_BODY "%s\r\n",
                 headers[i]);
        int fd = client_connect(&f);
        client_send(fd, head);
        kd_auto(answer) struct answer a = { 0 };
        client_read(fd, &a);
        ck_assert_problem(&a, 400, "bad-request");
        char value[256];
        ck_assert_str_eq(answer_header(&a, "Connection", value), "close");
        close(fd);
    }
}
END_TEST

START_TEST(body_where_none_is_taken_is_refused) {
    expect("GET", "/v1/keys", JSON_BODY, "{}", 400, "bad-request");
    expect("DELETE", "/v1/keys/k", JSON_BODY, "{}", 400, "bad-request");
}
END_TEST

static char *batch(size_t n) {
    char *text = malloc(n * 20 + 32);
    strcpy(text, "{\"items\":[");
    for (size_t i = 0; i < n; i++) {
        strcat(text + i * 13, i == 0 ? "{\"data\":\"aA\"}" : ",{\"data\":\"aA\"}");
    }
    strcat(text, "]}");
    return text;
}

START_TEST(batch_has_1_to_1024_items) {
    expect_field("{\"items\":[]}", "batch-empty", "items");
    char *over = batch(1025);
    expect_field(over, "batch-too-large", "items");
    free(over);
    char *full = batch(1024);
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", MAC, JSON_BODY, full, &a);
    free(full);
    ck_assert_int_eq(a.status, 200);
    json_t *root = json_loads(a.body, 0, NULL);
    ck_assert_uint_eq(json_array_size(json_object_get(root, "items")), 1024);
    json_decref(root);
}
END_TEST

// ---- routes and callers ----------------------------------------------------

START_TEST(unknown_route_is_404_and_known_path_with_wrong_method_405) {
    expect("GET", "/", "", NULL, 404, "no-such-route");
    expect("GET", "/v1/keys/k/nothing", "", NULL, 404, "no-such-route");
    expect("POST", "/v1/keys/k/sign/more", JSON_BODY, GOOD, 404, "no-such-route");
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "PUT", "/v1/keys/k", JSON_BODY, "{}", &a);
    char allow[256];
    ck_assert_problem(&a, 405, "method-not-allowed");
    ck_assert_str_eq(answer_header(&a, "Allow", allow), "GET, HEAD, DELETE");
}
END_TEST

START_TEST(names_are_decoded_once_and_then_checked) {
    expect("POST", "/v1/keys/%2e%2e%2fx/mac", JSON_BODY, GOOD, 400, "bad-name");
    expect("POST", "/v1/keys/a%252e/mac", JSON_BODY, GOOD, 400, "bad-name");
    expect("POST", "/v1/keys/a%00b/mac", JSON_BODY, GOOD, 400, "bad-name");
    expect("POST", "/v1/keys/a%zz/mac", JSON_BODY, GOOD, 400, "bad-request");
    expect("GET", "/v1/secrets/short", "", NULL, 404, "no-such-secret");
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", "/v1/keys/%6bey%2E1/mac", JSON_BODY, GOOD, &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(f.service.name, "key.1");
}
END_TEST

START_TEST(unknown_and_repeated_query_parameters_are_refused) {
    expect("GET", "/v1/keys?nonsense=1", "", NULL, 400, "field-unknown");
    expect("GET", "/v1/keys/ec?after=a", "", NULL, 400, "field-unknown");
    expect("GET", "/healthz?after=a", "", NULL, 400, "field-unknown");
    expect("GET", "/v1/keys?limit=1&limit=2", "", NULL, 400, "field-invalid");
    expect("GET", "/v1/keys?limit=0", "", NULL, 400, "field-invalid");
    expect("GET", "/v1/keys?limit=1001", "", NULL, 400, "field-invalid");
    expect("GET", "/v1/keys?limit", "", NULL, 400, "field-invalid");
}
END_TEST

START_TEST(caller_who_is_not_known_learns_nothing) {
    f.service.identify = KD_ERR_UNAUTHENTICATED;
    expect("POST", MAC, JSON_BODY, GOOD, 401, "unauthenticated");
    expect("GET", "/nothing", "", NULL, 401, "unauthenticated");
    expect("PUT", "/v1/keys", "", NULL, 401, "unauthenticated");
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "GET", "/v1/keys", "", NULL, &a);
    char value[256];
    ck_assert_str_eq(answer_header(&a, "WWW-Authenticate", value), "Bearer");
    kd_auto(answer) struct answer open = { 0 };
    ask(&f, "GET", "/healthz", "", NULL, &open);
    ck_assert_int_eq(open.status, 200);
}
END_TEST

START_TEST(peer_and_bearer_reach_the_service) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", MAC, JSON_BODY "Authorization: bearer  abc.def\r\n", GOOD, &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert(f.service.credential.has_peer);
    ck_assert_uint_eq(f.service.credential.uid, getuid());
    ck_assert_uint_eq(f.service.credential.gid, getgid());
    ck_assert_str_eq(f.service.bearer, "abc.def");
    expect("POST", MAC, JSON_BODY "Authorization: Basic abc\r\n", GOOD, 401, "unauthenticated");
    expect("POST", MAC, JSON_BODY "Authorization: Bearer \r\n", GOOD, 401, "unauthenticated");
}
END_TEST

START_TEST(every_error_of_the_service_has_its_status) {
    for (unsigned e = 1; e < KD_ERR_COUNT; e++) {
        const enum kd_err err = (enum kd_err)e;
        const int status = (int)kd_problem_status(err);
        f.service.at_once = err;
        expect("POST", MAC, JSON_BODY, GOOD, status, kd_err_name(err));
        f.service.at_once = KD_OK;
        f.service.later = err;
        f.service.detail = "said by the service";
        kd_auto(answer) struct answer a = { 0 };
        ask(&f, "POST", MAC, JSON_BODY, GOOD, &a);
        f.service.later = KD_OK;
        char text[256];
        ck_assert_problem(&a, status, kd_err_name(err));
        ck_assert_str_eq(text_of(&a, "detail", text), "said by the service");
        ck_assert_str_eq(text_of(&a, "title", text), kd_err_sentence(err));
        ck_assert_str_eq(answer_header(&a, "Retry-After", text), status == 503 ? "3" : "");
    }
}
END_TEST

// ---- what every answer has -------------------------------------------------

START_TEST(request_id_is_the_callers_or_a_new_one) {
    static const char *const bad[] = { "", "X-Request-Id: \r\n", "X-Request-Id: a b\r\n",
                                       "X-Request-Id: 1234567890123456789012345678901234567\r\n",
                                       "X-Request-Id: a\"b\r\n" };
    char seen[256] = "";
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        kd_auto(answer) struct answer a = { 0 };
        ask(&f, "GET", "/nothing", bad[i], NULL, &a);
        char id[256];
        char said[256];
        answer_header(&a, "X-Request-Id", id);
        ck_assert_uint_eq(strspn(id, "0123456789abcdef"), 16);
        ck_assert_uint_eq(strlen(id), 16);
        ck_assert_str_ne(id, seen);
        ck_assert_str_eq(text_of(&a, "request_id", said), id);
        snprintf(seen, sizeof(seen), "%s", id);
    }
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", MAC, JSON_BODY "X-Request-Id: 123456789012345678901234567890123a._\r\n", GOOD,
        &a);
    ck_assert_str_eq(answer_header(&a, "X-Request-Id", seen),
                     "123456789012345678901234567890123a._");
    ck_assert_str_eq(f.service.request_id, seen);
}
END_TEST

START_TEST(answers_are_not_stored) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", MAC, JSON_BODY, GOOD, &a);
    char value[256];
    ck_assert_str_eq(answer_header(&a, "Cache-Control", value), "no-store");
    ck_assert_str_eq(answer_header(&a, "Content-Type", value), "application/json");
}
END_TEST

START_TEST(head_is_get_without_body) {
    kd_auto(answer) struct answer get = { 0 };
    ask(&f, "GET", "/v1/keys/ec", "", NULL, &get);
    kd_auto(answer) struct answer head = { 0 };
    ask(&f, "HEAD", "/v1/keys/ec", "", NULL, &head);
    char a[256];
    char b[256];
    ck_assert_int_eq(head.status, 200);
    ck_assert_str_eq(answer_header(&head, "Content-Length", a),
                     answer_header(&get, "Content-Length", b));
    kd_auto(answer) struct answer post = { 0 };
    ask(&f, "HEAD", MAC, "", NULL, &post);
    ck_assert_int_eq(post.status, 405);
}
END_TEST

START_TEST(expect_continue_is_refused_without_the_body) {
    int fd = client_connect(&f);
    client_send(fd, "POST " MAC " HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n"
                    "Content-Length: 20\r\nExpect: 100-continue\r\n\r\n");
    kd_auto(answer) struct answer a = { 0 };
    client_read(fd, &a);
    ck_assert_problem(&a, 415, "media-type");
    close(fd);
}
END_TEST

START_TEST(refused_request_leaves_the_connection_usable) {
    int fd = client_connect(&f);
    client_send(fd, "POST " MAC " HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n"
                    "Content-Length: 5\r\n\r\nhello");
    kd_auto(answer) struct answer a = { 0 };
    client_read(fd, &a);
    ck_assert_int_eq(a.status, 415);
    client_send(fd, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    kd_auto(answer) struct answer b = { 0 };
    client_read(fd, &b);
    ck_assert_int_eq(b.status, 200);
    close(fd);
}
END_TEST

START_TEST(header_far_over_the_limit_is_refused) {
    char *headers = malloc(64 * 1024);
    memset(headers, 'a', 64 * 1024);
    memcpy(headers, "X-Long: ", 8);
    strcpy(headers + 16000, "\r\n");
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "GET", "/healthz", headers, NULL, &a);
    ck_assert_int_ge(a.status, 400);
    ck_assert_int_lt(a.status, 500);
    strcpy(headers + 4000, "\r\n");
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "GET", "/healthz", headers, NULL, &b);
    ck_assert_int_eq(b.status, 200);
    free(headers);
}
END_TEST

// ---- the log ---------------------------------------------------------------

static char log_text[65536];

// Sends standard error to a file while fn runs, and reads it into log_text.
static void with_log(enum kd_log_level level, void (*fn)(void)) {
    FILE *file = tmpfile();
    const int saved = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    kd_log_set_level(level);
    fn();
    fixture_settle(&f);
    kd_log_set_level(KD_LOG_ERROR);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    log_text[fread(log_text, 1, sizeof(log_text) - 1, file)] = '\0';
    fclose(file);
}

static void good_and_refused(void) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", MAC,
        JSON_BODY "X-Request-Id: my-id-1\r\nAuthorization: Bearer top-secret-token\r\n", GOOD, &a);
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "POST", MAC, JSON_BODY "X-Request-Id: my-id-2\r\n",
        "{\"data\":\"aGVsbG8\",\"c2VjcmV0\": 5, x}", &b);
}

START_TEST(log_names_the_request_and_no_body_or_token) {
    with_log(KD_LOG_DEBUG, good_and_refused);
    const char *answered = strstr(log_text, "debug http a request was answered;");
    ck_assert_ptr_nonnull(answered);
    ck_assert_ptr_nonnull(strstr(answered, "request=my-id-1 principal=tester method=POST "
                                           "route=/v1/keys/{name}/mac name=k status=200"));
    const char *refused = strstr(log_text, "warn http a request was refused;");
    ck_assert_ptr_nonnull(refused);
    ck_assert_ptr_nonnull(strstr(refused, "request=my-id-2"));
    ck_assert_ptr_nonnull(strstr(refused, "status=400 problem=bad-json"));
    static const char *const never[] = { "aGVsbG8", "c2VjcmV0", "top-secret", "TWhlbGxv" };
    for (size_t i = 0; i < KD_COUNT_OF(never); i++) {
        ck_assert_ptr_null(strstr(log_text, never[i]));
    }
}
END_TEST

static void many_refused(void) {
    int fd = client_connect(&f);
    for (int i = 0; i < 200; i++) {
        kd_auto(answer) struct answer a = { 0 };
        client_send(fd, "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n");
        client_read(fd, &a);
    }
    close(fd);
}

START_TEST(warnings_that_others_cause_are_limited) {
    const uint64_t began_ms = kd_clock_mono_ms();
    with_log(KD_LOG_WARN, many_refused);
    const uint64_t seconds = (kd_clock_mono_ms() - began_ms) / 1000;
    unsigned n = 0;
    for (const char *p = log_text; (p = strstr(p, "a request was refused")) != NULL; p++) {
        n++;
    }
    ck_assert_uint_ge(n, 10);
    ck_assert_uint_le(n, 10 * (seconds + 2)); // ten of each second that it has touched
}
END_TEST

static TCase *tcase_bodies(void) {
    TCase *c = tcase_create("bodies");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, body_that_is_not_json_is_refused);
    tcase_add_test(c, body_that_is_missing_is_refused);
    tcase_add_test(c, unknown_member_is_named);
    tcase_add_test(c, repeated_member_is_refused);
    tcase_add_test(c, missing_and_wrong_members_are_named);
    tcase_add_test(c, media_type_must_be_json);
    tcase_add_test(c, body_at_the_limit_is_served_and_one_byte_more_is_not);
    tcase_add_test(c, length_that_does_not_fit_is_refused);
    tcase_add_test(c, ambiguous_headers_are_refused_and_end_the_connection);
    tcase_add_test(c, body_where_none_is_taken_is_refused);
    tcase_add_test(c, batch_has_1_to_1024_items);
    return c;
}

static TCase *tcase_requests(void) {
    TCase *c = tcase_create("requests");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, unknown_route_is_404_and_known_path_with_wrong_method_405);
    tcase_add_test(c, names_are_decoded_once_and_then_checked);
    tcase_add_test(c, unknown_and_repeated_query_parameters_are_refused);
    tcase_add_test(c, caller_who_is_not_known_learns_nothing);
    tcase_add_test(c, peer_and_bearer_reach_the_service);
    tcase_add_test(c, every_error_of_the_service_has_its_status);
    tcase_add_test(c, request_id_is_the_callers_or_a_new_one);
    tcase_add_test(c, answers_are_not_stored);
    tcase_add_test(c, head_is_get_without_body);
    tcase_add_test(c, expect_continue_is_refused_without_the_body);
    tcase_add_test(c, refused_request_leaves_the_connection_usable);
    tcase_add_test(c, header_far_over_the_limit_is_refused);
    tcase_add_test(c, log_names_the_request_and_no_body_or_token);
    tcase_add_test(c, warnings_that_others_cause_are_limited);
    return c;
}

UNIT_MAIN("api_request", tcase_bodies(), tcase_requests())
