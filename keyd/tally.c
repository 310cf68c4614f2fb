// SPDX-License-Identifier: Apache-2.0
// tally.c: counters and a histogram with fixed buckets.
#include "keyd/tally.h"

#include <assert.h>
#include <inttypes.h>

static const uint32_t bucket_us[KD_TALLY_BUCKETS] = {
    10,    25,    50,    100,    250,    500,    1000,    2500,     5000,
    10000, 25000, 50000, 100000, 250000, 500000, 1000000, 10000000,
};

void kd_tally_count(struct kd_tally *m, enum kd_hsm_op op, enum kd_err result) {
    assert(op <= KD_HSM_OP_LAST);
    m->results[op][kd_err_is_known(result) ? result : KD_ERR_BUG]++;
}

void kd_tally_time(struct kd_tally *m, enum kd_hsm_op op, uint32_t token_us) {
    size_t i = 0;
    while (i < KD_TALLY_BUCKETS && token_us > bucket_us[i]) {
        i++;
    }
    m->buckets[op][i]++;
    m->sum_us[op] += token_us;
}

void kd_tally_head(struct kd_buf *out, const char *name, const char *type, const char *help) {
    kd_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_histogram(const struct kd_tally *m, enum kd_hsm_op op, struct kd_buf *out) {
    static const char name[] = "keyd_token_operation_seconds";
    const char *label = kd_hsm_op_name(op);
    uint64_t count = 0;
    for (size_t i = 0; i < KD_TALLY_BUCKETS; i++) {
        count += m->buckets[op][i];
        kd_buf_printf(out, "%s_bucket{operation=\"%s\",le=\"%g\"} %" PRIu64 "\n", name, label,
                      (double)bucket_us[i] / 1e6, count);
    }
    count += m->buckets[op][KD_TALLY_BUCKETS];
    kd_buf_printf(out, "%s_bucket{operation=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, label, count);
    kd_buf_printf(out, "%s_sum{operation=\"%s\"} %" PRIu64 ".%06" PRIu64 "\n", name, label,
                  m->sum_us[op] / 1000000, m->sum_us[op] % 1000000);
    kd_buf_printf(out, "%s_count{operation=\"%s\"} %" PRIu64 "\n", name, label, count);
}

void kd_tally_print(const struct kd_tally *m, struct kd_buf *out) {
    kd_tally_head(out, "keyd_token_operations_total", "counter",
                  "Requests to the token by operation and result.");
    for (unsigned op = KD_HSM_PING; op <= KD_HSM_OP_LAST; op++) {
        for (unsigned e = 0; e < KD_ERR_COUNT; e++) {
            if (m->results[op][e] > 0) {
                kd_buf_printf(out,
                              "keyd_token_operations_total{operation=\"%s\",result=\"%s\"} %" PRIu64
                              "\n",
                              kd_hsm_op_name((enum kd_hsm_op)op), kd_err_name((enum kd_err)e),
                              m->results[op][e]);
            }
        }
    }
    kd_tally_head(out, "keyd_token_operation_seconds", "histogram",
                  "Time that requests spent in the PKCS#11 module.");
    for (unsigned op = KD_HSM_PING; op <= KD_HSM_OP_LAST; op++) {
        print_histogram(m, (enum kd_hsm_op)op, out);
    }
}

void kd_tally_results(struct kd_buf *out, const char *name, const char *label,
                      const uint64_t counts[static KD_ERR_COUNT]) {
    for (unsigned e = 0; e < KD_ERR_COUNT; e++) {
        if (counts[e] > 0) {
            kd_buf_printf(out, "%s{%sresult=\"%s\"} %llu\n", name, label,
                          e == KD_OK ? "ok" : kd_err_name((enum kd_err)e),
                          (unsigned long long)counts[e]);
        }
    }
}
