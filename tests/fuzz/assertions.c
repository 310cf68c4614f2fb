// SPDX-License-Identifier: Apache-2.0
// assertions.c: what the fixtures of unit tests assert, in a libFuzzer program, where no test of
// Check's is running to which it could be told.  In place of Check's own functions.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

void _mark_point(const char *file, int line) {
    (void)file;
    (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expression, const char *message,
                       ...) {
    (void)message;
    fprintf(stderr, "%s:%d: %s\n", file, line, expression);
    abort();
}
