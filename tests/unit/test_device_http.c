// SPDX-License-Identifier: Apache-2.0
// Frames over HTTP, from a device: which answers are a gateway's; and each allocation of the way
// fails in turn, ours and libcurl's: there is no memory, and nothing else is said of the server.
#include "channel/channel.h"
#include "client/device_detail.h"
#include "client/device_http.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/fake_tls.h"
#include "tests/unit/unit.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#define GOOD "HTTP/1.1 200 OK\r\nContent-Type: " KD_FRAME_MEDIA_TYPE "\r\n"

enum { TIMEOUT_MS = 10000, BODY_BYTES = 1000 }; // more than the first room of a buffer

static struct fake_tls server;
static struct kd_http *http;
static char said[2048];
static char asked[2048];

static size_t answer(void *arg KD_UNUSED, const char *request, char *out, size_t max) {
    snprintf(asked, sizeof(asked), "%s", request);
    return (size_t)snprintf(out, max, "%s", said);
}

static void set_up(void) {
    char url[64];
    struct pki_cert own = pki_make(&(struct pki_spec) { .name = "server" }, NULL);
    server = (struct fake_tls) { .answer = answer, .is_plain = true };
    fake_tls_start(&server, &own);
    pki_wipe(&own);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", server.port);
    ck_assert_err(kd_http_new(url, &http), KD_OK);
}

static void tear_down(void) {
    kd_http_let_go(http);
    fake_tls_stop(&server);
    curl_global_cleanup();
}

static enum kd_err exchange(struct kd_buf *out) {
    return kd_http_exchange(http, kd_bytes_of_text("frame"), TIMEOUT_MS, out);
}

// ---- answers ---------------------------------------------------------------

static void must_say(const char *text, size_t room, enum kd_err expected) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(room);
    snprintf(said, sizeof(said), "%s", text);
    kd_detail_begin();
    ck_assert_err(exchange(&out), expected);
    // Which server, and why.
    ck_assert_int_eq(strncmp(keyd_detail(), "http://127.0.0.1:", 17) == 0, expected != KD_OK);
    ck_assert_uint_le(out.n, room);
}

START_TEST(an_answer_that_is_no_gateways_is_refused) {
    static const char *const bad[] = {
        "",
        "text",
        "HTTP/1.1 200 OK\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Type: " KD_FRAME_MEDIA_TYPE "s\r\n\r\nabc",
        "HTTP/1.1 204 OK\r\nContent-Type: " KD_FRAME_MEDIA_TYPE "\r\n\r\n",
        "HTTP/1.1 302 X\r\nLocation: /\r\nContent-Type: " KD_FRAME_MEDIA_TYPE "\r\n\r\nabc",
        "HTTP/1.1 503 X\r\nContent-Type: " KD_FRAME_MEDIA_TYPE "\r\n\r\nabc",
        "HTTP/1.1 100 Continue\r\n\r\n",
        GOOD "Content-Length: 4\r\n\r\nabc",
        GOOD "Content-Length: -1\r\n\r\nabc",
        GOOD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc",
        GOOD "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        must_say(bad[i], 16, KD_ERR_SYSTEM);
    }
}
END_TEST

START_TEST(an_answer_longer_than_its_room_is_refused) {
    must_say(GOOD "Content-Length: 16\r\n\r\n0123456789abcdef", 16, KD_OK);
    must_say(GOOD "Content-Length: 17\r\n\r\n0123456789abcdefg", 16, KD_ERR_SYSTEM);
    must_say(GOOD "\r\n0123456789abcdefg", 16, KD_ERR_SYSTEM);
}
END_TEST

START_TEST(a_frame_goes_and_another_comes) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(16);
    snprintf(said, sizeof(said), "%s", GOOD "Content-Length: 3\r\n\r\nabc");
    ck_assert_err(exchange(&out), KD_OK);
    ck_assert(kd_bytes_equal(kd_buf_get(&out), kd_bytes_of_text("abc")));
    ck_assert_ptr_nonnull(strstr(asked, "\r\nContent-Type: " KD_FRAME_MEDIA_TYPE "\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\n\r\nframe"));
}
END_TEST

// ---- memory ----------------------------------------------------------------

static void must_exchange(void) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(BODY_BYTES);
    ck_assert_err(exchange(&out), KD_OK);
    ck_assert_uint_eq(out.n, BODY_BYTES);
}

static void say_much(void) {
    snprintf(said, sizeof(said), GOOD "Content-Length: %d\r\n\r\n%0*d", BODY_BYTES, BODY_BYTES, 0);
}

START_TEST(a_frame_that_found_no_room_is_no_fault_of_the_server) {
    unsigned turn = 0;
    say_much();
    for (; memory_fails_at(turn); turn++) {
        kd_auto(buf) struct kd_buf out = KD_BUF_INIT(BODY_BYTES);
        const enum kd_err r = exchange(&out);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        must_exchange();
    }
    ck_assert_uint_gt(turn, 1);
}
END_TEST

// libcurl calls the want of these by other names.
static char *copy_text(const char *text) {
    memory_pause();
    char *copy = strdup(text);
    memory_resume();
    return copy;
}

START_TEST(without_memory_in_libcurl_no_wrong_answer_is_taken) {
    unsigned turn = 0;
    say_much();
    ck_assert_int_eq(
        curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, free, realloc, copy_text, calloc),
        CURLE_OK);
    for (; memory_fails_at(turn); turn++) {
        kd_auto(buf) struct kd_buf out = KD_BUF_INIT(BODY_BYTES);
        const enum kd_err r = exchange(&out);
        const bool fails = memory_has_failed();
        ck_assert(r != KD_OK || out.n == BODY_BYTES);
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        must_exchange();
    }
    ck_assert_uint_gt(turn, 10);
}
END_TEST

static TCase *tcase_answers(void) {
    TCase *c = tcase_create("answers");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, an_answer_that_is_no_gateways_is_refused);
    tcase_add_test(c, an_answer_longer_than_its_room_is_refused);
    tcase_add_test(c, a_frame_goes_and_another_comes);
    return c;
}

static TCase *tcase_memory(void) {
    TCase *c = tcase_create("memory");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_frame_that_found_no_room_is_no_fault_of_the_server);
    tcase_add_test(c, without_memory_in_libcurl_no_wrong_answer_is_taken);
    return c;
}

UNIT_MAIN("device http", tcase_answers(), tcase_memory())
