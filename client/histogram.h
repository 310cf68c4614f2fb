// SPDX-License-Identifier: Apache-2.0
// histogram.h: counts of latencies in buckets that grow with the value, so that
// a percentile is right to 1/32 of itself however long the run.
#ifndef KD_CLIENT_HISTOGRAM_H
#define KD_CLIENT_HISTOGRAM_H

#include "base/base.h"

#define KD_HISTOGRAM_BITS 5 // 32 buckets for each power of two
#define KD_HISTOGRAM_BUCKETS ((32 - KD_HISTOGRAM_BITS + 1) << KD_HISTOGRAM_BITS)

struct kd_histogram {
    uint64_t counts[KD_HISTOGRAM_BUCKETS];
    uint64_t total;
    uint32_t max;
};

void kd_histogram_add(struct kd_histogram *h, uint64_t value); // above 32 bits: their largest
// The value that per_mille of all are at most; 0 where there are none.
uint32_t kd_histogram_at(const struct kd_histogram *h, unsigned per_mille);

#endif
