// SPDX-License-Identifier: Apache-2.0
// test_api_intake.c: what is refused by the header of a request alone, and bodies that are over
// their limit.
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

// ---- what makes it another request for another reader ----------------------

// All that comes until the connection ends; the number of answers in it.
static unsigned send_and_read_all(const char *request, struct answer *a) {
    char bytes[8192] = "";
    size_t n = 0;
    ssize_t got;
    unsigned answers = 0;
    const int fd = client_connect(&f);
    client_send(fd, request);
    shutdown(fd, SHUT_WR);
    while (n + 1 < sizeof(bytes) && (got = recv(fd, bytes + n, sizeof(bytes) - 1 - n, 0)) > 0) {
        n += (size_t)got;
    }
    close(fd);
    bytes[n] = '\0';
    *a = (struct answer) { .status = n > 12 ? atoi(bytes + strlen("HTTP/1.1 ")) : 0 };
    const char *body = strstr(bytes, "\r\n\r\n");
    snprintf(a->head, sizeof(a->head), "%.*s", (int)(body == NULL ? 0 : body + 2 - bytes), bytes);
    a->body = strdup(body == NULL ? "" : body + 4);
    for (const char *p = bytes; (p = strstr(p, "HTTP/1.1 ")) != NULL; p++) {
        answers++;
    }
    return answers;
}

START_TEST(request_that_others_may_read_otherwise_gets_one_problem_and_no_more) {
    static const struct {
        const char *request;
        const char *part;
    } cases[] = {
        { "GET /healthz HTTP/1.1\r\n\r\n", "Host stands once" },
        { "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "Host stands once" },
        { "GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "Host stands once" },
        { "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", "the host, is not of its form" },
        { "GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n", "the host, is not of its form" },
        { "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", "name of a header" },
        { "GET /healthz HTTP/1.1\r\nHost: a\r\nX(A): b\r\n\r\n", "name of a header" },
        { "GET /healthz /x HTTP/1.1\r\nHost: a\r\n\r\n", "a space in the target" },
        { "GET /v1/keys/a b HTTP/1.1\r\nHost: a\r\n\r\n", "a space in the target" },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        char request[256];
        char text[256];
        kd_auto(answer) struct answer a = { 0 };
        // What is behind it is not read as a request.
        snprintf(request, sizeof(request), "%s" GET_HEALTH, cases[i].request);
        ck_assert_uint_eq(send_and_read_all(request, &a), 1);
        ck_assert_problem(&a, 400, "bad-request");
        ck_assert_msg(strstr(text_of(&a, "detail", text), cases[i].part) != NULL, "%zu: %s", i,
                      text);
        ck_assert_str_eq(answer_header(&a, "Connection", text), "close");
    }
}
END_TEST

START_TEST(http_1_0_needs_no_host) {
    kd_auto(answer) struct answer a = { 0 };
    ck_assert_uint_eq(send_and_read_all("GET /healthz HTTP/1.0\r\n\r\n", &a), 1);
    ck_assert_int_eq(a.status, 200);
}
END_TEST

static int status_of(const char *target) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "GET", target, "", NULL, &a);
    return a.status;
}

// RFC 9112 3.2.2.
START_TEST(target_may_be_a_whole_uri) {
    kd_auto(answer) struct answer a = { 0 };
    ck_assert_int_eq(status_of("http://localhost/healthz"), 200);
    ck_assert_int_eq(status_of("HTTPS://keyd.example:8443/healthz"), 200);
    ck_assert_int_eq(status_of("http://h/v1/keys?limit=1"), 200);
    ck_assert_int_eq(status_of("http://h"), 404);
    ck_assert_int_eq(status_of("http://h?x=/healthz"), 404);
    ck_assert_int_eq(status_of("http:///healthz"), 404);
    ck_assert_int_eq(status_of("ftp://h/healthz"), 404);
    ask(&f, "POST", "http://h" MAC, JSON_BODY, GOOD, &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(f.service.name, "k");
}
END_TEST

// ---- browsers --------------------------------------------------------------

START_TEST(request_of_a_page_in_a_browser_is_refused_whoever_calls) {
    static const char *const headers[] = {
        "Origin: https://elsewhere.example\r\n",
        "Origin: null\r\n",
        "Origin: \r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "sec-fetch-site: same-origin\r\n",
        "Sec-Fetch-Site: \r\n",
    };
    for (size_t i = 0; i < KD_COUNT_OF(headers); i++) {
        kd_auto(answer) struct answer a = { 0 };
        kd_auto(answer) struct answer b = { 0 };
        kd_auto(answer) struct answer c = { 0 };
        char text[256];
        f.service.identify = i % 2 == 0 ? KD_OK : KD_ERR_UNAUTHENTICATED;
        ask(&f, "POST", "/v1/keys/k/rotate", headers[i], NULL, &a); // no body, so no preflight
        ck_assert_problem(&a, 403, "cross-site");
        ck_assert_str_ne(text_of(&a, "detail", text), "");
        ask(&f, "GET", "/healthz", headers[i], NULL, &b);
        ck_assert_problem(&b, 403, "cross-site");
        ask(&f, "OPTIONS", "/v1/keys", headers[i], NULL, &c);
        ck_assert_problem(&c, 403, "cross-site");
        ck_assert_str_eq(answer_header(&c, "Access-Control-Allow-Origin", text), "");
    }
    ck_assert_uint_eq(f.service.n_calls, 0);
    f.service.identify = KD_OK;
    kd_auto(answer) struct answer typed = { 0 }; // into the address
    ask(&f, "GET", "/healthz", "Sec-Fetch-Site: none\r\n", NULL, &typed);
    ck_assert_int_eq(typed.status, 200);
}
END_TEST

// ---- codings, sizes, queries -----------------------------------------------

START_TEST(body_with_a_coding_is_refused) {
    static const char *const codings[] = { "gzip", "br", "identity, gzip", "" };
    kd_auto(answer) struct answer plain = { 0 };
    for (size_t i = 0; i < KD_COUNT_OF(codings); i++) {
        kd_auto(answer) struct answer a = { 0 };
        char headers[128];
        char text[256];
        snprintf(headers, sizeof(headers), JSON_BODY "Content-Encoding: %s\r\n", codings[i]);
        ask(&f, "POST", MAC, headers, GOOD, &a);
        ck_assert_problem(&a, 415, "media-type");
        ck_assert_str_eq(text_of(&a, "detail", text),
                         "A body is taken as it is, without a Content-Encoding.");
    }
    ask(&f, "POST", MAC, JSON_BODY "Content-Encoding: Identity\r\n", GOOD, &plain);
    ck_assert_int_eq(plain.status, 200);
}
END_TEST

// A POST with a header of n bytes in so many lines.
static void ask_with_header_of(size_t n, unsigned lines, struct answer *a) {
    char *text = calloc(1, n + 256);
    char *at = text;
    at += sprintf(at, "POST " MAC " HTTP/1.1\r\nHost: h\r\n" JSON_BODY "Content-Length: %zu\r\n",
                  strlen(GOOD));
    for (unsigned i = 4; i < lines; i++) {
        at += sprintf(at, "X-%u:%u\r\n", i, i);
    }
    const size_t used = (size_t)(at - text) + strlen("X-Last:\r\n\r\n");
    ck_assert_uint_le(used, n);
    at += sprintf(at, "X-Last:");
    memset(at, 'x', n - used);
    strcpy(at + n - used, "\r\n\r\n" GOOD);
    const int fd = client_connect(&f);
    client_send(fd, text);
    client_read(fd, a);
    close(fd);
    free(text);
}

START_TEST(header_at_its_limits_is_taken_and_one_more_is_not) {
    const struct {
        size_t n;
        unsigned lines;
        bool is_good;
    } cases[] = {
        { f.config.header_max_bytes, 4, true },
        { f.config.header_max_bytes + 1, 4, false },
        { f.config.header_max_bytes, KD_HTTP_LINES_MAX, true },
        { f.config.header_max_bytes, KD_HTTP_LINES_MAX + 1, false },
        { 1024, KD_HTTP_LINES_MAX, true },
        { 1024, KD_HTTP_LINES_MAX + 1, false },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        kd_auto(answer) struct answer a = { 0 };
        char text[256];
        ask_with_header_of(cases[i].n, cases[i].lines, &a);
        if (cases[i].is_good) {
            ck_assert_msg(a.status == 200, "%zu: %d", i, a.status);
            continue;
        }
        ck_assert_problem(&a, 431, "header-too-large");
        text_of(&a, "detail", text);
        ck_assert_ptr_nonnull(strstr(text, "8192 (http.header-max-bytes) and 64 (fixed)"));
    }
    ck_assert_uint_eq(f.service.n_calls, 3);
}
END_TEST

static void expect_detail(const char *target, const char *problem, const char *field,
                          const char *detail) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "GET", target, "", NULL, &a);
    ck_assert_problem(&a, 400, problem);
    ck_assert_str_eq(text_of(&a, "field", text), field);
    ck_assert_str_eq(text_of(&a, "detail", text), detail);
}

START_TEST(what_is_wrong_with_the_target_is_said) {
    static const char page[] =
        "The query may have \"after\" and \"limit\", each once, with a value.";
    expect_detail("/v1/keys?&&limit=1", "field-unknown", "",
                  "A parameter of the query has no name.");
    expect_detail("/v1/keys?x=1", "field-unknown", "x", page);
    expect_detail("/v1/keys?limit=1&limit=1", "field-invalid", "limit", page);
    expect_detail("/v1/keys?limit", "field-invalid", "limit", page);
    expect_detail("/v1/keys/k?limit=1", "field-unknown", "limit", "This request takes no query.");
    expect_detail("/v1/keys/%zz", "bad-request", "",
                  "In the path two hex digits stand behind each % (RFC 3986 2.1).");
    expect_detail("/v1/keys/%2", "bad-request", "",
                  "In the path two hex digits stand behind each % (RFC 3986 2.1).");
}
END_TEST

// What the service says in a word is said with its limit.
static void expect_limit(const char *target, const char *body, enum kd_err err, const char *part) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    f.service.at_once = err;
    ask(&f, "POST", target, JSON_BODY, body, &a);
    f.service.at_once = KD_OK;
    ck_assert_problem(&a, 413, kd_err_name(err));
    ck_assert_msg(strstr(text_of(&a, "detail", text), part) != NULL, "%s: %s", target, text);
}

static const char *number(unsigned n) {
    static char text[16];
    snprintf(text, sizeof(text), " %u", n);
    return text;
}

START_TEST(what_is_too_large_or_too_many_is_said_with_its_limit) {
    expect_limit(MAC, GOOD, KD_ERR_ITEM_TOO_LARGE, number(KD_WORK_REQUEST_MAX_BYTES));
    expect_limit(MAC, GOOD, KD_ERR_BATCH_TOO_LARGE, number(KD_HSM_BATCH_MAX_ITEMS));
    expect_limit("/v1/keys/k/derive", "{\"kdf\":\"aes-cbc-data\",\"info\":\"\"}", KD_ERR_TOO_MANY,
                 "secrets.per-principal-max");
    expect_limit("/v1/keys/k/derive", "{\"kdf\":\"aes-cbc-data\",\"info\":\"\"}",
                 KD_ERR_ITEM_TOO_LARGE, number(KD_HSM_INFO_MAX_BYTES));
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

static TCase *tcase_headers(void) {
    TCase *c = tcase_create("headers");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, request_that_others_may_read_otherwise_gets_one_problem_and_no_more);
    tcase_add_test(c, http_1_0_needs_no_host);
    tcase_add_test(c, target_may_be_a_whole_uri);
    tcase_add_test(c, request_of_a_page_in_a_browser_is_refused_whoever_calls);
    tcase_add_test(c, body_with_a_coding_is_refused);
    tcase_add_test(c, header_at_its_limits_is_taken_and_one_more_is_not);
    tcase_add_test(c, what_is_wrong_with_the_target_is_said);
    tcase_add_test(c, what_is_too_large_or_too_many_is_said_with_its_limit);
    return c;
}

UNIT_MAIN("api_intake", tcase_bodies(), tcase_headers())
