// SPDX-License-Identifier: Apache-2.0
// test_load.c: the load generator counts what comes, and says what is wrong.
#include "client/load.h"
#include "tests/unit/fake_http.h"
#include "tests/unit/unit.h"

#include <string.h>

static char why[KD_LOAD_WHY_BYTES];
static struct kd_load_result result;

static enum kd_err run(struct fake_http *f, unsigned connections, uint64_t requests_max) {
    kd_auto(buf) struct kd_buf request = KD_BUF_INIT(1024);
    ck_assert_err(kd_load_request("/v1/x", "{\"data\":\"\"}", &request), KD_OK);
    const struct kd_bytes bytes = kd_buf_get(&request);
    const struct kd_load_config config = { .socket = f->socket,
                                           .connections = connections,
                                           .duration_ms = 5000,
                                           .requests_max = requests_max,
                                           .requests = &bytes,
                                           .n_requests = 1 };
    fake_http_start(f);
    memset(&result, 0, sizeof(result));
    enum kd_err e = kd_load_run(&config, &result, why);
    fake_http_stop(f);
    return e;
}

static void fails(enum kd_err expected, const char *bytes, bool closes, const char *part) {
    struct fake_http f = { .answers = { bytes }, .n_answers = 1, .closes = closes };
    ck_assert_err(run(&f, 1, 10), expected);
    ck_assert_msg(strstr(why, part) != NULL, "\"%s\" lacks \"%s\"", why, part);
    ck_assert_uint_eq(result.answers, 0);
}

START_TEST(broken_answers_end_the_run) {
    fails(KD_ERR_SYSTEM, "", true, "closed");
    fails(KD_ERR_MALFORMED, "220 hello\r\n\r\n", false, "not HTTP");
    fails(KD_ERR_MALFORMED, "HTTP/1.1 200 OK\r\n\r\n", false, "no Content-Length");
    fails(KD_ERR_MALFORMED, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", false, "More came");
    fails(KD_ERR_SYSTEM, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", true, "closed");
}
END_TEST

START_TEST(nobody_listens) {
    const struct kd_bytes x = kd_bytes_of_text("x");
    const struct kd_load_config config = { .socket = "/nonexistent/s",
                                           .connections = 1,
                                           .duration_ms = 10,
                                           .requests = &x,
                                           .n_requests = 1 };
    ck_assert_err(kd_load_run(&config, &result, why), KD_ERR_TOKEN_AWAY);
    struct kd_load_config none = config;
    none.connections = 0;
    ck_assert_err(kd_load_run(&none, &result, why), KD_ERR_BAD_REQUEST);
    none.connections = KD_LOAD_CONNECTIONS_MAX + 1;
    ck_assert_err(kd_load_run(&none, &result, why), KD_ERR_BAD_REQUEST);
}
END_TEST

START_TEST(every_answer_is_counted_once) {
    struct fake_http f = { .answers = { FAKE_JSON(200, "{\"mac\":\"x\"}") }, .n_answers = 1 };
    ck_assert_err(run(&f, 4, 1000), KD_OK);
    ck_assert_uint_eq(result.answers, 1000);
    ck_assert_uint_eq(result.refused, 0);
    // The server answered these and at most one more on each other connection.
    ck_assert_uint_ge(f.n_requests, 1000);
    ck_assert_uint_le(f.n_requests, 1004);
    ck_assert(result.per_sec > 0);
    ck_assert_uint_le(result.p50_us, result.p90_us);
    ck_assert_uint_le(result.p90_us, result.p99_us);
    ck_assert_uint_le(result.p99_us, result.max_us);
    ck_assert_ptr_nonnull(strstr(f.request, "POST /v1/x HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(f.request, "Content-Length: 11\r\n\r\n{\"data\":\"\"}"));
}
END_TEST

START_TEST(a_list_of_requests_is_sent_once) {
    struct fake_http f = { .answers = { FAKE_JSON(200, "{}") }, .n_answers = 1 };
    static const char *const texts[] = { "POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                                         "POST /b HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                                         "POST /c HTTP/1.1\r\nContent-Length: 0\r\n\r\n" };
    struct kd_bytes requests[KD_COUNT_OF(texts)];
    for (size_t i = 0; i < KD_COUNT_OF(texts); i++) {
        requests[i] = kd_bytes_of_text(texts[i]);
    }
    fake_http_start(&f);
    const struct kd_load_config config = { .socket = f.socket,
                                           .connections = 2,
                                           .duration_ms = 60000,
                                           .requests = requests,
                                           .n_requests = KD_COUNT_OF(requests),
                                           .once = true };
    ck_assert_err(kd_load_run(&config, &result, why), KD_OK);
    fake_http_stop(&f);
    ck_assert_uint_eq(result.answers, 3);
    ck_assert_uint_eq(f.n_requests, 3);
    ck_assert_uint_eq(result.body_min_bytes, 2);
    ck_assert_uint_eq(result.body_max_bytes, 2);
}
END_TEST

START_TEST(bodies_are_kept_in_the_order_of_the_requests) {
    struct fake_http f = { .answers = { FAKE_JSON(200, "{\"n\":1}"), FAKE_JSON(200, "{}") },
                           .n_answers = 2 };
    enum { N = 5 };
    struct kd_bytes requests[N];
    struct kd_buf bodies[N];
    for (size_t i = 0; i < N; i++) {
        requests[i] = kd_bytes_of_text("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
        bodies[i] = KD_BUF_INIT(8);
    }
    fake_http_start(&f);
    const struct kd_load_config config = { .socket = f.socket,
                                           .connections = 1,
                                           .duration_ms = 60000,
                                           .requests = requests,
                                           .n_requests = N,
                                           .once = true,
                                           .bodies = bodies };
    ck_assert_err(kd_load_run(&config, &result, why), KD_OK);
    fake_http_stop(&f);
    for (size_t i = 0; i < N; i++) {
        ck_assert_str_eq(kd_buf_get_text(&bodies[i]), i == 0 ? "{\"n\":1}" : "{}");
        kd_buf_wipe(&bodies[i]);
    }
}
END_TEST

// More than a socket holds, from a server that reads slowly.
START_TEST(a_long_request_is_sent_as_the_server_reads_it) {
    struct fake_http f = { .answers = { FAKE_JSON(200, "{}") }, .n_answers = 1 };
    enum { BODY_BYTES = 4 << 20 };
    kd_auto(buf) struct kd_buf request = KD_BUF_INIT(BODY_BYTES + 100);
    kd_buf_printf(&request, "POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n", BODY_BYTES);
    (void)kd_buf_extend(&request, BODY_BYTES);
    ck_assert_err(kd_buf_finish(&request), KD_OK);
    memset(request.p + request.n - BODY_BYTES, 'x', BODY_BYTES);
    const struct kd_bytes bytes = kd_buf_get(&request);
    fake_http_start(&f);
    const struct kd_load_config config = { .socket = f.socket,
                                           .connections = 2,
                                           .duration_ms = 60000,
                                           .requests_max = 4,
                                           .requests = &bytes,
                                           .n_requests = 1 };
    ck_assert_err(kd_load_run(&config, &result, why), KD_OK);
    fake_http_stop(&f);
    ck_assert_uint_eq(result.answers, 4);
}
END_TEST

START_TEST(refusals_are_no_answers) {
    struct fake_http f = { .answers = { FAKE_JSON(200, "{}"), FAKE_PROBLEM(503, "{}") },
                           .n_answers = 2 };
    ck_assert_err(run(&f, 1, 10), KD_OK);
    ck_assert_uint_eq(result.answers, 1);
    ck_assert_uint_eq(result.refused, 9);
    ck_assert_uint_eq(result.status, 503);
}
END_TEST

START_TEST(a_204_without_a_length_is_an_answer) {
    struct fake_http f = { .answers = { "HTTP/1.1 204 No Content\r\n\r\n" }, .n_answers = 1 };
    ck_assert_err(run(&f, 1, 3), KD_OK);
    ck_assert_uint_eq(result.answers, 3);
}
END_TEST

static TCase *tcase_load(void) {
    TCase *t = tcase_create("load");
    tcase_add_test(t, broken_answers_end_the_run);
    tcase_add_test(t, nobody_listens);
    tcase_add_test(t, every_answer_is_counted_once);
    tcase_add_test(t, a_list_of_requests_is_sent_once);
    tcase_add_test(t, bodies_are_kept_in_the_order_of_the_requests);
    tcase_add_test(t, a_long_request_is_sent_as_the_server_reads_it);
    tcase_add_test(t, refusals_are_no_answers);
    tcase_add_test(t, a_204_without_a_length_is_an_answer);
    return t;
}

UNIT_MAIN("load", tcase_load())
