// SPDX-License-Identifier: Apache-2.0
// histogram.c: a bucket is named by the place of a value's first bit and the
// KD_HISTOGRAM_BITS bits after it.
#include "client/histogram.h"

enum { PER_POWER = 1 << KD_HISTOGRAM_BITS };

static unsigned bucket_of(uint32_t value) {
    if (value < PER_POWER) {
        return value;
    }
    const unsigned shift = 31u - (unsigned)__builtin_clz(value) - KD_HISTOGRAM_BITS;
    return (shift + 1) * PER_POWER + ((value >> shift) & (PER_POWER - 1));
}

// The middle of what falls into the bucket.
static uint32_t value_of(unsigned bucket) {
    if (bucket < PER_POWER) {
        return bucket;
    }
    const unsigned shift = bucket / PER_POWER - 1;
    return ((PER_POWER + bucket % PER_POWER) << shift) + ((1u << shift) / 2);
}

void kd_histogram_add(struct kd_histogram *h, uint64_t value) {
    const uint32_t v = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    h->counts[bucket_of(v)]++;
    h->total++;
    h->max = v > h->max ? v : h->max;
}

uint32_t kd_histogram_at(const struct kd_histogram *h, unsigned per_mille) {
    const uint64_t wanted = (h->total * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (unsigned i = 0; i < KD_HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > 0 && seen >= wanted) {
            return value_of(i) < h->max ? value_of(i) : h->max;
        }
    }
    return h->max;
}
