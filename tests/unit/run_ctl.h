// SPDX-License-Identifier: Apache-2.0
// run_ctl.h: runs keydctl inside a test and keeps what it prints.
#ifndef KD_TESTS_RUN_CTL_H
#define KD_TESTS_RUN_CTL_H

#include "client/ctl.h"

#include <check.h>
#include <string.h>

static char *out_text;
static char *err_text;
static size_t n_out;
static size_t n_err;

static enum kd_exit run_words(const char *const *words, int n) {
    free(out_text);
    free(err_text);
    FILE *out = open_memstream(&out_text, &n_out);
    FILE *err = open_memstream(&err_text, &n_err);
    enum kd_exit code = kd_ctl_run(n, (char *const *)(uintptr_t)words, out, err);
    fclose(out);
    fclose(err);
    return code;
}
#define RUN(...)                                                                                   \
    run_words((const char *const[]) { "keydctl", __VA_ARGS__ },                                    \
              (int)KD_COUNT_OF(((const char *const[]) { "keydctl", __VA_ARGS__ })))

static void says(const char *text, const char *part) {
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" lacks \"%s\"", text, part);
}

#endif
