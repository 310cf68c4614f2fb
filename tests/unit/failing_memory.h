// SPDX-License-Identifier: Apache-2.0
// failing_memory.h: one allocation of an operation fails, in each turn a later one:
//     for (unsigned turn = 0; memory_fails_at(turn); turn++) {
//         const enum kd_err r = operation();
//         ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
//     }
// Linked with $(failing_memory_ldflags).  What our own objects allocate can fail; what a shared
// library or Check itself allocates does not.
#ifndef KD_TESTS_FAILING_MEMORY_H
#define KD_TESTS_FAILING_MEMORY_H

#include <stdbool.h>

// After `turn` allocations that succeed one fails, and then there is memory again.  False, with
// nothing that fails, when the turn before did not come to its failure: the loop is over.
bool memory_fails_at(unsigned turn);
// Ends the turn.  Whether its allocation was reached, and failed; the same if asked again.
bool memory_has_failed(void);

// Between the two the calling thread has memory, and what it allocates does not count.
void memory_pause(void);
void memory_resume(void);

// Counts as an allocation: for what is to fail in place of a library that allocates.
bool memory_is_missing(void);

// Those of one thread fail: of the one that says when, unless another has called this.
void memory_choose_thread(void);

#endif
