// SPDX-License-Identifier: Apache-2.0
// input.h: what the benchmark has written for its load generators.
#ifndef KD_TESTS_BENCH_INPUT_H
#define KD_TESTS_BENCH_INPUT_H

#include "base/base.h"

enum { INPUT_MAX_BYTES = 1 << 30 };

// Appends the whole file.
KD_MUST_CHECK bool input_read(const char *path, struct kd_buf *out);

#endif
