// SPDX-License-Identifier: Apache-2.0
// test_bench.c: bench says why it cannot measure, and takes its keys away in
// any case.  What it measures is shown by the system tests.
#include "tests/unit/fake_http.h"
#include "tests/unit/run_ctl.h"
#include "tests/unit/unit.h"

START_TEST(arguments_that_make_no_sense) {
    ck_assert_int_eq(RUN("bench", "--seconds", "0"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("bench", "--connections", "10001"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("bench", "--url", "https://localhost"), KD_EXIT_USAGE);
    says(err_text, "over the Unix socket");
    ck_assert_int_eq(RUN("bench", "--socket", "/nonexistent/s"), KD_EXIT_UNREACHABLE);
}
END_TEST

START_TEST(a_refused_key_ends_it_and_the_keys_go) {
    struct fake_http f = { .answers = { FAKE_PROBLEM(403, "{\"title\":\"No.\"}") },
                           .n_answers = 1 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "bench"), KD_EXIT_REFUSED);
    fake_http_stop(&f);
    says(err_text, "No.");
    says(f.request, "DELETE /v1/keys/keydctl-bench-encrypt ");
    ck_assert_uint_eq(f.n_requests, 4 + 1 + 4);
}
END_TEST

static TCase *tcase_bench(void) {
    TCase *t = tcase_create("bench");
    tcase_add_test(t, arguments_that_make_no_sense);
    tcase_add_test(t, a_refused_key_ends_it_and_the_keys_go);
    return t;
}

UNIT_MAIN("bench", tcase_bench())
