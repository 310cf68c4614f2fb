// SPDX-License-Identifier: Apache-2.0
// failing_memory.c: see failing_memory.h.  The linker gives us the calls (ld(1), --wrap).
#include "tests/unit/failing_memory.h"

#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { OFF = -1, FAILED = -2, TURNS_MAX = 5000 };

static atomic_long left = OFF; // allocations that still succeed
static bool has_failed;        // in the turn that is over

static _Thread_local char this_thread; // known by its address
static _Thread_local unsigned n_pauses;
static const char *_Atomic chosen;

// ---- what the linker gives us ----------------------------------------------

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *text);
void *__real_emalloc(size_t n);
void *__real_erealloc(void *p, size_t n);
void __real__mark_point(const char *file, int line);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *text);
void *__wrap_emalloc(size_t n);
void *__wrap_erealloc(void *p, size_t n);
void __wrap__mark_point(const char *file, int line);

bool memory_is_missing(void) {
    if (chosen != &this_thread || n_pauses > 0) {
        return false;
    }
    long n = left;
    while (n >= 0 && !atomic_compare_exchange_weak(&left, &n, n == 0 ? FAILED : n - 1)) {
    }
    if (n == 0) {
        errno = ENOMEM;
    }
    return n == 0;
}

void *__wrap_malloc(size_t n) {
    return memory_is_missing() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
    return memory_is_missing() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n) {
    return memory_is_missing() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *text) {
    return memory_is_missing() ? NULL : __real_strdup(text);
}

// Check's own: it has memory, and does not count.
void *__wrap_emalloc(size_t n) {
    memory_pause();
    void *p = __real_emalloc(n);
    memory_resume();
    return p;
}

void *__wrap_erealloc(void *p, size_t n) {
    memory_pause();
    void *q = __real_erealloc(p, n);
    memory_resume();
    return q;
}

void __wrap__mark_point(const char *file, int line) { // each assertion's
    memory_pause();
    __real__mark_point(file, line);
    memory_resume();
}

// ---- for the test ----------------------------------------------------------

bool memory_fails_at(unsigned turn) {
    if (turn > 0 && !memory_has_failed()) {
        return false;
    }
    ck_assert_msg(turn < TURNS_MAX, "it never succeeds");
    if (chosen == NULL) {
        memory_choose_thread();
    }
    left = turn;
    return true;
}

bool memory_has_failed(void) {
    const long was = atomic_exchange(&left, OFF);
    if (was != OFF) {
        has_failed = was == FAILED;
    }
    return has_failed;
}

void memory_pause(void) {
    n_pauses++;
}

void memory_resume(void) {
    n_pauses--;
}

void memory_choose_thread(void) {
    chosen = &this_thread;
}
