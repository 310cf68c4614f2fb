// SPDX-License-Identifier: Apache-2.0
// Each allocation of the gateway's HTTP client fails in turn, and each call of libcurl that
// allocates: a request is answered, or it fails; what is sent is what was asked for; nothing leaks
// (the sanitizer's build says so); and the same client goes on.
#include "gateway/client.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/fake_http.h"
#include "tests/unit/unit.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BODY_BYTES = 3000, ANSWER_BYTES = 900, TIMEOUT_MS = 60000, LATE_MS = 50000 };

// ---- in place of libcurl ---------------------------------------------------

// libcurl 7.88 itself does not survive each failure (a socket's list of transfers is used after it
// was freed), so it keeps to the C library's own malloc, and its functions fail as a whole.
CURLcode __real_curl_easy_setopt(CURL *easy, CURLoption option, ...);
CURL *__real_curl_easy_init(void);
CURLM *__real_curl_multi_init(void);
CURLMcode __real_curl_multi_add_handle(CURLM *multi, CURL *easy);
CURLMcode __real_curl_multi_socket_action(CURLM *multi, curl_socket_t fd, int events, int *n);
CURLcode __wrap_curl_global_init_mem(long flags, curl_malloc_callback m, curl_free_callback f,
                                     curl_realloc_callback r, curl_strdup_callback s,
                                     curl_calloc_callback c);
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...);
CURL *__wrap_curl_easy_init(void);
CURLM *__wrap_curl_multi_init(void);
CURLMcode __wrap_curl_multi_add_handle(CURLM *multi, CURL *easy);
CURLMcode __wrap_curl_multi_socket_action(CURLM *multi, curl_socket_t fd, int events, int *n);

CURLcode __wrap_curl_global_init_mem(long flags, curl_malloc_callback m KD_UNUSED,
                                     curl_free_callback f KD_UNUSED,
                                     curl_realloc_callback r KD_UNUSED,
                                     curl_strdup_callback s KD_UNUSED,
                                     curl_calloc_callback c KD_UNUSED) {
    return curl_global_init(flags);
}

static bool is_text(CURLoption option) {
    return option == CURLOPT_URL || option == CURLOPT_CUSTOMREQUEST || option == CURLOPT_PROXY ||
           option == CURLOPT_PROTOCOLS_STR || option == CURLOPT_UNIX_SOCKET_PATH ||
           option == CURLOPT_CAINFO;
}

CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...) {
    CURLcode code;
    va_list args;
    va_start(args, option);
    if (option < CURLOPTTYPE_OBJECTPOINT) {
        code = __real_curl_easy_setopt(easy, option, va_arg(args, long));
    } else if (option >= CURLOPTTYPE_OFF_T) {
        code = __real_curl_easy_setopt(easy, option, va_arg(args, curl_off_t));
    } else if (is_text(option) && memory_is_missing()) {
        code = CURLE_OUT_OF_MEMORY;
    } else {
        code = __real_curl_easy_setopt(easy, option, va_arg(args, void *));
    }
    va_end(args);
    return code;
}

CURL *__wrap_curl_easy_init(void) {
    return memory_is_missing() ? NULL : __real_curl_easy_init();
}

CURLM *__wrap_curl_multi_init(void) {
    return memory_is_missing() ? NULL : __real_curl_multi_init();
}

CURLMcode __wrap_curl_multi_add_handle(CURLM *multi, CURL *easy) {
    return memory_is_missing() ? CURLM_OUT_OF_MEMORY : __real_curl_multi_add_handle(multi, easy);
}

CURLMcode __wrap_curl_multi_socket_action(CURLM *multi, curl_socket_t fd, int events, int *n) {
    return memory_is_missing() ? CURLM_OUT_OF_MEMORY
                               : __real_curl_multi_socket_action(multi, fd, events, n);
}

// ---- a server and who asks it ----------------------------------------------

static struct fake_http server;
static struct kd_loop *loop;
static struct kd_client *client;
static char token_file[32], body[BODY_BYTES + 1], answer[ANSWER_BYTES + 1];
static struct kd_client_config config;
static char expected[16384]; // what the server gets

static void set_up(void) {
    strcpy(token_file, "/tmp/keyd-test-XXXXXX");
    const int fd = mkstemp(token_file);
    ck_assert_int_eq(write(fd, "once\n", 5), 5);
    close(fd);
    memset(body, 'b', BODY_BYTES);
    memset(answer, 'a', ANSWER_BYTES);
    server = (struct fake_http) { .n_answers = 1, .answers = { fake_answer(200, "t/t", answer) } };
    fake_http_start(&server);
    config = (struct kd_client_config) { .url = "http://keyd",
                                         .unix_path = server.socket,
                                         .ca_file = "/nowhere",
                                         .bearer = token_file,
                                         .connections_max = 2,
                                         .timeout_ms = TIMEOUT_MS,
                                         .answer_max_bytes = 1 << 20 };
    kd_client_init_library();
    ck_assert_err(kd_loop_new(&loop), KD_OK);
    client = NULL;
    // Where a request must not go: to whom the environment names.
    setenv("http_proxy", "http://127.0.0.1:1", 1);
}

static void tear_down(void) {
    kd_client_free(client);
    kd_loop_free(loop);
    fake_http_stop(&server);
    unlink(token_file);
}

START_TEST(a_client_is_made_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = kd_client_new(loop, &config, &client);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        ck_assert((client != NULL) == (r == KD_OK));
    }
    ck_assert_uint_gt(turn, 5);
}
END_TEST

// ---- requests --------------------------------------------------------------

static unsigned n_under_way;
static unsigned last_status;

static void on_done(void *arg KD_UNUSED, unsigned status, struct kd_bytes got) {
    last_status = status;
    if (status == 200) {
        static char request[sizeof(server.request)];
        fake_http_last(&server, request);
        ck_assert(kd_bytes_equal(got, kd_bytes_of_text(answer)));
        ck_assert_msg(strcmp(request, expected) == 0, "%.300s", request);
    } else {
        ck_assert(!kd_client_is_answer(status));
        ck_assert_uint_gt(got.n, 0);
    }
    if (--n_under_way == 0) {
        kd_loop_stop(loop);
    }
}

static enum kd_err begin(void) {
    static const char *const headers[] = { "X-Device: boat" };
    const struct kd_client_request request = { .path = "/v1/x",
                                               .type = "application/cbor-seq",
                                               .body = kd_bytes_of_text(body),
                                               .headers = headers,
                                               .n_headers = 1,
                                               .method = "PUT" };
    const enum kd_err r = kd_client_send(client, &request, on_done, NULL);
    n_under_way += r == KD_OK;
    return r;
}

static void on_late(void *arg KD_UNUSED) {
    ck_abort_msg("neither an answer nor a failure");
}

static void wait_for_all(void) {
    struct kd_timer *late = NULL;
    memory_pause();
    ck_assert_err(kd_timer_new(loop, on_late, NULL, &late), KD_OK);
    kd_timer_set(late, LATE_MS);
    memory_resume();
    if (n_under_way > 0) {
        ck_assert_err(kd_loop_run(loop), KD_OK);
    }
    kd_timer_free(late);
    ck_assert_uint_eq(kd_client_pending(client), 0);
}

// Its status; 0: it failed.
static unsigned ask(void) {
    last_status = 0;
    const enum kd_err r = begin();
    wait_for_all();
    ck_assert(r == KD_OK || (memory_has_failed() && r == KD_ERR_NO_MEMORY));
    return last_status;
}

static void new_client(void) {
    memory_pause();
    kd_client_free(client);
    ck_assert_err(kd_client_new(loop, &config, &client), KD_OK);
    memory_resume();
}

static void learn_what_is_expected(void) {
    snprintf(expected, sizeof(expected),
             "PUT /v1/x HTTP/1.1\r\nHost: keyd\r\nContent-Type: application/cbor-seq\r\n"
             "X-Device: boat\r\nAuthorization: Bearer once\r\nContent-Length: %d\r\n\r\n%s",
             BODY_BYTES, body);
}

START_TEST(a_request_is_answered_or_fails_and_the_next_is_answered) {
    unsigned turn = 0;
    learn_what_is_expected();
    for (; memory_fails_at(turn); turn++) {
        new_client(); // that has no connection yet
        const unsigned status = ask();
        ck_assert(memory_has_failed() || status == 200);
        ck_assert_uint_eq(ask(), 200);
    }
    ck_assert_uint_gt(turn, 10);
}
END_TEST

START_TEST(a_request_by_a_connection_that_is_there_is_answered_or_fails) {
    unsigned turn = 0;
    learn_what_is_expected();
    new_client();
    ck_assert_uint_eq(ask(), 200);
    for (; memory_fails_at(turn); turn++) {
        const unsigned status = ask();
        ck_assert(memory_has_failed() || status == 200);
        ck_assert_uint_eq(ask(), 200);
    }
    // URL, method, the transfer's start and its steps: two, or one where the answer is there at
    // once.
    ck_assert_uint_ge(turn, 4);
}
END_TEST

START_TEST(a_request_that_fails_leaves_none_beside_it_without_an_end) {
    unsigned turn = 0;
    learn_what_is_expected();
    for (; memory_fails_at(turn); turn++) {
        new_client();
        memory_pause();
        ck_assert_err(begin(), KD_OK);
        memory_resume();
        const enum kd_err second = begin();
        const enum kd_err third = begin(); // waits for a connection
        wait_for_all();
        ck_assert(memory_has_failed() || (second == KD_OK && third == KD_OK));
        ck_assert_uint_eq(ask(), 200);
    }
    ck_assert_uint_gt(turn, 10);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *c = tcase_create("memory");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_client_is_made_or_there_is_no_memory);
    tcase_add_test(c, a_request_is_answered_or_fails_and_the_next_is_answered);
    tcase_add_test(c, a_request_by_a_connection_that_is_there_is_answered_or_fails);
    tcase_add_test(c, a_request_that_fails_leaves_none_beside_it_without_an_end);
    return c;
}

UNIT_MAIN("client memory", tcase_memory())
