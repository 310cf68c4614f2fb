// SPDX-License-Identifier: Apache-2.0
// unit.h: the frame of a unit test program: one Check suite, reported as TAP.
//     UNIT_MAIN("buf", tcase_writer(), tcase_reader())
#ifndef KD_TESTS_UNIT_H
#define KD_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

// Runs the cases, says TAP; the exit status.
static inline int unit_run(const char *name, TCase *const *cases, size_t n) {
    Suite *suite = suite_create(name);
    for (size_t i = 0; i < n; i++) {
        suite_add_tcase(suite, cases[i]);
    }
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT_MAIN(name, ...)                                                                       \
    int main(void) {                                                                               \
        TCase *cases[] = { __VA_ARGS__ };                                                          \
        return unit_run(name, cases, sizeof(cases) / sizeof(cases[0]));                            \
    }

#define ck_assert_err(expression, expected)                                                        \
    ck_assert_str_eq(kd_err_name(expression), kd_err_name(expected))

#endif
