// SPDX-License-Identifier: Apache-2.0
// tally.h: what the token did, counted, and written in the Prometheus text format.
#ifndef KD_KEYD_TALLY_H
#define KD_KEYD_TALLY_H

#include "base/base.h"
#include "hsm/hsm.h"

#define KD_TALLY_BUCKETS 17

struct kd_tally {
    uint64_t results[KD_HSM_OP_LAST + 1][KD_ERR_COUNT];         // requests by operation and result
    uint64_t buckets[KD_HSM_OP_LAST + 1][KD_TALLY_BUCKETS + 1]; // the last: longer than all
    uint64_t sum_us[KD_HSM_OP_LAST + 1];
};

// A request has its result.  token_us is counted where the token has answered.
void kd_tally_count(struct kd_tally *m, enum kd_hsm_op op, enum kd_err result);
void kd_tally_time(struct kd_tally *m, enum kd_hsm_op op, uint32_t token_us);

void kd_tally_print(const struct kd_tally *m, struct kd_buf *out);
// "# HELP" and "# TYPE" of a metric.
void kd_tally_head(struct kd_buf *out, const char *name, const char *type, const char *help);
// A line for each result that was counted; `label` stands before it: "op=\"seal\",".
void kd_tally_results(struct kd_buf *out, const char *name, const char *label,
                      const uint64_t counts[static KD_ERR_COUNT]);

#endif
