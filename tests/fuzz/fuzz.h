// SPDX-License-Identifier: Apache-2.0
// fuzz.h: what a fuzz target is to libFuzzer and to tests/fuzz/replay.c.
#ifndef KD_TESTS_FUZZ_H
#define KD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
