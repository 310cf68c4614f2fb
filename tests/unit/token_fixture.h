// SPDX-License-Identifier: Apache-2.0
// token_fixture.h: a real token in a directory of its own, opened by the worker's
// own code in a test's child process.  Use as checked fixtures: a module must
// not cross fork().
#ifndef KD_TESTS_TOKEN_FIXTURE_H
#define KD_TESTS_TOKEN_FIXTURE_H

#include "hsm/open.h"
#include "tests/unit/unit.h"

enum token_kind { TOKEN_SOFTHSM, TOKEN_NSS };

// Runs cases on the tokens that token_setup makes of this kind; where it is not installed they are
// skipped.
int token_run(enum token_kind kind, const char *name, TCase *const *cases, size_t n);
#define TOKEN_MAIN(kind, name, ...)                                                                \
    int main(void) {                                                                               \
        TCase *cases[] = { __VA_ARGS__ };                                                          \
        return token_run(kind, name, cases, KD_COUNT_OF(cases));                                   \
    }

// Two sessions, two cached secrets, logged in and probed.
void token_setup(void);
void token_teardown(void);
void token_reopen(void); // from the start, as another process would

// What a front would say to a worker of this token; made by token_make.
struct kd_hsm_hello token_hello(void);
void token_make(void); // the directory and the token in it, not opened
void token_remove(void);

struct kd_opened *token_opened(void);
struct kd_session *token_session(void); // the first
bool token_is_nss(void);

#endif
