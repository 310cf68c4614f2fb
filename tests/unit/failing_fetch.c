// SPDX-License-Identifier: Apache-2.0
// failing_fetch.c: what makes a program of its own of keyd-fetch (fetch/main.c), one of whose
// allocations fails: KD_FAILS_AT says which.  Its status tells whether it came to that.
#include "tests/unit/failing_fetch.h"

#include "tests/unit/failing_memory.h"

#include <stdlib.h>

// What the linker gives us (ld(1), --wrap).
__attribute__((noreturn)) void __real__exit(int status);
__attribute__((noreturn)) void __wrap__exit(int status);

void __wrap__exit(int status) {
    __real__exit(memory_has_failed() ? status + FAILING_FETCH_HAS_FAILED : status);
}

// Before main, which forgets the environment.
__attribute__((constructor)) static void begin(void) {
    const char *turn = getenv("KD_FAILS_AT");
    (void)memory_fails_at(0); // a turn that fails, so that any other may follow
    void *volatile none = malloc(1);
    free(none);
    if (turn != NULL) {
        (void)memory_fails_at((unsigned)atoi(turn));
    }
}
