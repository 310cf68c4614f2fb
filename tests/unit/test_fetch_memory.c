// SPDX-License-Identifier: Apache-2.0
// Each allocation of a transfer fails in turn, ours and libcurl's: a certificate comes whole, or
// nobody is told that its server is to blame; and the next transfer succeeds.
#include "fetch/get.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/fake_tls.h"
#include "tests/unit/unit.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BODY_BYTES = 1000 }; // more than the first room of a buffer

static struct fake_tls server;

static size_t answer(void *arg KD_UNUSED, const char *request KD_UNUSED, char *out, size_t max) {
    return (size_t)snprintf(out, max,
                            "HTTP/1.1 200 OK\r\nContent-Type: application/pkix-cert\r\n"
                            "Content-Length: %d\r\n\r\n%0*d",
                            BODY_BYTES, BODY_BYTES, 0);
}

// ---- transfers -------------------------------------------------------------

static struct kd_fetch_hello hello;
static char uri[64], prefix[48], trusted[] = "/tmp/kd-fetch-XXXXXX";
static int requests[2]; // a pipe that nobody writes to
static struct {
    unsigned n_done;
    enum kd_fetch_result result;
    size_t n_body;
} got;

static void set_up(void) {
    const struct pki_spec spec = { .name = "server", .uris = "IP:127.0.0.1" };
    struct pki_cert own = pki_make(&spec, NULL);
    close(mkstemp(trusted));
    pki_write_pem(trusted, &own, 1);
    server = (struct fake_tls) { .answer = answer };
    fake_tls_start(&server, &own);
    pki_wipe(&own);
    snprintf(prefix, sizeof(prefix), "https://127.0.0.1:%u/", server.port);
    snprintf(uri, sizeof(uri), "%sc", prefix);
    hello = (struct kd_fetch_hello) { .timeout_ms = 10000,
                                      .bytes_max = 4096,
                                      .pending_max = 2,
                                      .ca_file = kd_bytes_of_text(trusted),
                                      .n_prefixes = 1,
                                      .prefixes = { { kd_bytes_of_text(prefix), true } } };
    ck_assert_int_eq(pipe(requests), 0);
}

static void tear_down(void) {
    fake_tls_stop(&server);
    close(requests[0]);
    close(requests[1]);
    unlink(trusted);
    curl_global_cleanup();
}

static void on_done(void *arg KD_UNUSED, const struct kd_fetch_answer *a) {
    got.n_done++;
    got.result = a->result;
    got.n_body = a->body.n;
}

static enum kd_err fetch(struct kd_getter *g) {
    const struct kd_fetch_request q = { .id = 1, .uri = kd_bytes_of_text(uri) };
    enum kd_err r = KD_OK;
    got.n_done = 0;
    kd_getter_begin(g, &q);
    while (r == KD_OK && got.n_done == 0) {
        bool is_readable = false;
        r = kd_getter_run(g, requests[0], &is_readable);
    }
    return r;
}

static void must_fetch(struct kd_getter *g) {
    ck_assert_err(fetch(g), KD_OK);
    ck_assert_int_eq(got.result, KD_FETCH_CERTIFICATE);
    ck_assert_uint_eq(got.n_body, BODY_BYTES);
}

START_TEST(a_certificate_is_whole_or_the_process_is_busy) {
    struct kd_getter *g = NULL;
    unsigned turn = 0;
    ck_assert_int_eq(curl_global_init(CURL_GLOBAL_DEFAULT), CURLE_OK);
    ck_assert_err(kd_getter_new(&hello, on_done, NULL, &g), KD_OK);
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = fetch(g);
        const bool fails = memory_has_failed();
        ck_assert_err(r, KD_OK);
        ck_assert_uint_eq(got.n_done, 1);
        ck_assert_msg(got.result == (fails ? KD_FETCH_BUSY : KD_FETCH_CERTIFICATE),
                      "turn %u: result %d", turn, got.result);
        ck_assert_uint_eq(got.n_body, fails ? 0 : BODY_BYTES);
        must_fetch(g);
    }
    ck_assert_uint_gt(turn, 2);
    kd_getter_free(g);
}
END_TEST

// libcurl calls it a host that is not known when the look at its name finds no memory.
static bool blames_no_server(enum kd_fetch_result result) {
    return result == KD_FETCH_CERTIFICATE || result == KD_FETCH_BUSY || result == KD_FETCH_NO_HOST;
}

START_TEST(without_memory_in_libcurl_no_server_is_to_blame) {
    unsigned turn = 0;
    ck_assert_int_eq(
        curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, free, realloc, strdup, calloc), CURLE_OK);
    for (; memory_fails_at(turn); turn++) {
        struct kd_getter *g = NULL;
        enum kd_err r = kd_getter_new(&hello, on_done, NULL, &g);
        ck_assert((g != NULL) == (r == KD_OK));
        r = r == KD_OK ? fetch(g) : r;
        const bool fails = memory_has_failed();
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        if (r == KD_OK) {
            ck_assert_msg(blames_no_server(got.result), "turn %u: result %d", turn, got.result);
            ck_assert(fails || got.result == KD_FETCH_CERTIFICATE);
            ck_assert_uint_eq(got.n_body, got.result == KD_FETCH_CERTIFICATE ? BODY_BYTES : 0);
            must_fetch(g);
        }
        kd_getter_free(g);
    }
    ck_assert_uint_gt(turn, 20);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *c = tcase_create("memory");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_certificate_is_whole_or_the_process_is_busy);
    tcase_add_test(c, without_memory_in_libcurl_no_server_is_to_blame);
    return c;
}

UNIT_MAIN("fetch memory", tcase_memory())
