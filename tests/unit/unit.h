// SPDX-License-Identifier: Apache-2.0
// unit.h: the frame of a unit test program: one Check suite, reported as TAP.
//     UNIT_MAIN("buf", tcase_writer(), tcase_reader())
#ifndef KD_TESTS_UNIT_H
#define KD_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

#define UNIT_MAIN(name, ...)                                                                       \
    int main(void) {                                                                               \
        TCase *cases[] = { __VA_ARGS__ };                                                          \
        Suite *suite = suite_create(name);                                                         \
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {                            \
            suite_add_tcase(suite, cases[i]);                                                      \
        }                                                                                          \
        SRunner *runner = srunner_create(suite);                                                   \
        srunner_set_tap(runner, "-");                                                              \
        srunner_run_all(runner, CK_SILENT);                                                        \
        int failed = srunner_ntests_failed(runner);                                                \
        srunner_free(runner);                                                                      \
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;                                          \
    }

#define ck_assert_err(expression, expected)                                                        \
    ck_assert_str_eq(kd_err_name(expression), kd_err_name(expected))

#endif
