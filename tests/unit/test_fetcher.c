// SPDX-License-Identifier: Apache-2.0
// What keyd makes of the answers of keyd-fetch, and what it does without memory.  The process is
// a fake one (fake_fetch.c); the real one is in tests/system/references.py.
#include "keyd/fetcher.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/keyd_fixture.h"
#include "tests/unit/unit.h"

#include <stdio.h>

static struct kd_fetcher *fetcher;
static char program[256];
static struct {
    unsigned n_done;
    enum kd_err err;
    size_t n_body;
} got;

static void set_up(void) {
    const char *build = getenv("KD_BUILDDIR");
    fixture_setup();
    snprintf(program, sizeof(program), "%s/tests/unit/fake_fetch", build == NULL ? "." : build);
    fx.config->fetch.program = program;
    fx.config->fetch.allow = (struct kd_text_list) { .n = 1, .values = { "https://pki.example/" } };
}

static bool is_running(void) {
    struct kd_fetcher_report report;
    kd_fetcher_report(fetcher, &report);
    return report.is_running;
}

static bool is_done(void) {
    return got.n_done > 0;
}

static void on_done(void *arg KD_UNUSED, enum kd_err err, const char *why KD_UNUSED,
                    struct kd_bytes body, bool is_chain KD_UNUSED) {
    got.n_done++;
    got.err = err;
    got.n_body = body.n;
}

static enum kd_err fetch(const char *uri) {
    struct kd_fetch_wait *wait = NULL;
    const char *why = NULL;
    got.n_done = 0;
    const enum kd_err r =
        kd_fetcher_begin(fetcher, kd_bytes_of_text(uri), on_done, NULL, &wait, &why);
    ck_assert((wait != NULL) == (r == KD_OK));
    if (r == KD_OK) {
        fixture_run_until(is_done);
    }
    return r == KD_OK ? got.err : r;
}

START_TEST(a_process_that_is_busy_says_nothing_of_a_uri) {
    struct kd_fetcher_report report;
    ck_assert_err(kd_fetcher_open(fx.loop, &fx.config->fetch, &fetcher), KD_OK);
    for (unsigned i = 1; i <= 2; i++) { // asked again: nothing is remembered
        ck_assert_err(fetch("https://pki.example/busy"), KD_ERR_BUSY);
        kd_fetcher_report(fetcher, &report);
        ck_assert_uint_eq(report.counts[KD_FETCH_BUSY], i);
        ck_assert_uint_eq(report.n_failed, 0);
    }
    kd_fetcher_close(fetcher);
}
END_TEST

START_TEST(a_certificate_comes_or_there_is_no_memory) {
    char uri[KD_FETCH_URI_MAX_BYTES + 1]; // a request that no first room of a buffer holds
    unsigned turn = 0;
    unsigned n_busy = 0;
    snprintf(uri, sizeof(uri), "https://pki.example/%0*d", KD_FETCH_URI_MAX_BYTES - 20, 0);
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        ck_assert_err(kd_fetcher_open(fx.loop, &fx.config->fetch, &fetcher), KD_OK);
        memory_resume();
        const enum kd_err r = fetch(uri);
        const bool fails = memory_has_failed();
        ck_assert_msg(fails ? r == KD_ERR_NO_MEMORY || r == KD_ERR_BUSY : r == KD_OK, "turn %u: %s",
                      turn, kd_err_name(r));
        n_busy += r == KD_ERR_BUSY;
        fixture_run_until(is_running);
        ck_assert_err(fetch(uri), KD_OK);
        ck_assert_uint_eq(got.n_body, 1);
        kd_fetcher_close(fetcher);
    }
    ck_assert_uint_gt(turn, 3);
    ck_assert_uint_eq(n_busy, 1); // where the answer finds no room, and the process is given up
}
END_TEST

START_TEST(a_fetcher_opens_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        fetcher = NULL;
        const enum kd_err r = kd_fetcher_open(fx.loop, &fx.config->fetch, &fetcher);
        const bool fails = memory_has_failed();
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        ck_assert((fetcher != NULL) == (r == KD_OK));
        ck_assert(fails || is_running()); // else it is tried again
        kd_fetcher_close(fetcher);
    }
    ck_assert_uint_gt(turn, 5);
}
END_TEST

static TCase *tcase_fetcher(void) {
    TCase *t = tcase_create("fetcher");
    tcase_add_checked_fixture(t, set_up, fixture_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_process_that_is_busy_says_nothing_of_a_uri);
    tcase_add_test(t, a_certificate_comes_or_there_is_no_memory);
    tcase_add_test(t, a_fetcher_opens_or_there_is_no_memory);
    return t;
}

UNIT_MAIN("fetcher", tcase_fetcher())
