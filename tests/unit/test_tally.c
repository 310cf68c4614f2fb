// SPDX-License-Identifier: Apache-2.0
#include "keyd/tally.h"
#include "unit.h"

#include <string.h>

static const char *print(const struct kd_tally *m, struct kd_buf *out) {
    kd_buf_reset(out);
    kd_tally_print(m, out);
    ck_assert_err(kd_buf_finish(out), KD_OK);
    return kd_buf_get_text(out);
}

START_TEST(nothing_done_is_printed_as_zero_and_not_left_out) {
    struct kd_tally m = { 0 };
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(1 << 20);
    const char *text = print(&m, &out);
    ck_assert_ptr_null(strstr(text, "keyd_token_operations_total{"));
    ck_assert_ptr_nonnull(
        strstr(text, "keyd_token_operation_seconds_count{operation=\"mac\"} 0\n"));
}
END_TEST

START_TEST(results_and_times_are_counted_by_operation) {
    struct kd_tally m = { 0 };
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(1 << 20);
    kd_tally_count(&m, KD_HSM_MAC, KD_OK);
    kd_tally_count(&m, KD_HSM_MAC, KD_OK);
    kd_tally_count(&m, KD_HSM_MAC, KD_ERR_DEADLINE);
    kd_tally_time(&m, KD_HSM_MAC, 10);        // on an edge: in the bucket
    kd_tally_time(&m, KD_HSM_MAC, 11);        // over it
    kd_tally_time(&m, KD_HSM_MAC, 10000001u); // over all
    const char *text = print(&m, &out);
    static const char *const lines[] = {
        "keyd_token_operations_total{operation=\"mac\",result=\"ok\"} 2\n",
        "keyd_token_operations_total{operation=\"mac\",result=\"deadline\"} 1\n",
        "keyd_token_operation_seconds_bucket{operation=\"mac\",le=\"1e-05\"} 1\n",
        "keyd_token_operation_seconds_bucket{operation=\"mac\",le=\"2.5e-05\"} 2\n",
        "keyd_token_operation_seconds_bucket{operation=\"mac\",le=\"10\"} 2\n",
        "keyd_token_operation_seconds_bucket{operation=\"mac\",le=\"+Inf\"} 3\n",
        "keyd_token_operation_seconds_sum{operation=\"mac\"} 10.000022\n",
        "keyd_token_operation_seconds_count{operation=\"mac\"} 3\n",
        "keyd_token_operation_seconds_count{operation=\"sign\"} 0\n",
    };
    for (size_t i = 0; i < KD_COUNT_OF(lines); i++) {
        ck_assert_msg(strstr(text, lines[i]) != NULL, "lacks %s", lines[i]);
    }
}
END_TEST

static TCase *tcase_tally(void) {
    TCase *t = tcase_create("tally");
    tcase_add_test(t, nothing_done_is_printed_as_zero_and_not_left_out);
    tcase_add_test(t, results_and_times_are_counted_by_operation);
    return t;
}

UNIT_MAIN("tally", tcase_tally())
