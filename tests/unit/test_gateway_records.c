// SPDX-License-Identifier: Apache-2.0
// Records on their way to keyd: those that come together go together, few requests are under way
// at once, and what gathers behind them does not keep the loop awake.
#include "tests/unit/fake_client.h"
#include "tests/unit/unit.h"

enum { UNDER_WAY_MAX = 2, N = 40 }; // more than two batches of batch_max

static struct fake_gateway f;
static unsigned n_done;

static void on_done(void *arg KD_UNUSED, struct kd_bytes answer KD_UNUSED) {
    n_done++;
}

static void ask(uint32_t id) {
    const uint8_t record[] = { 1, 2, 3 };
    const struct kd_frame frame = { .kind = KD_FRAME_MESSAGE,
                                    .role = KD_FRAME_REQUEST,
                                    .id = id,
                                    .body = { record, sizeof(record) } };
    const struct kd_origin origin = { "127.0.0.1:1", true, NULL };
    kd_auto(buf) struct kd_buf bytes = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    kd_frame_put(&bytes, &frame);
    ck_assert_err(kd_buf_finish(&bytes), KD_OK);
    kd_gateway_ask(&f.g, kd_buf_get(&bytes), &origin, on_done, NULL);
}

static size_t n_asked(void) {
    size_t n = 0;
    for (const struct fake_asked *a = fake_client_first(); a != NULL; a = a->next) {
        n++;
    }
    return n;
}

START_TEST(what_gathers_waits_for_what_is_under_way) {
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_err(fake_gateway_open(&f), KD_OK);
    ck_assert_uint_eq(kd_records_wait(&f.g), KD_LOOP_NO_LIMIT);
    n_done = 0;
    for (uint32_t i = 0; i < N; i++) {
        ask(1 + i);
    }
    ck_assert_uint_eq(kd_records_wait(&f.g), 0); // nothing is under way: they may go
    (void)kd_records_flush(&f.g);
    ck_assert_uint_eq(n_asked(), UNDER_WAY_MAX);
    ck_assert_uint_eq(kd_records_wait(&f.g), KD_LOOP_NO_LIMIT); // keyd's answer wakes the loop
    fake_client_answer(503, KD_BYTES_NONE);
    ck_assert_uint_eq(n_done, f.config.batch_max);
    ck_assert_uint_eq(kd_records_wait(&f.g), 0);
    (void)kd_records_flush(&f.g);
    ck_assert_uint_eq(n_asked(), UNDER_WAY_MAX);
    ck_assert_uint_eq(kd_records_wait(&f.g), KD_LOOP_NO_LIMIT); // now nothing is left
    while (fake_client_first() != NULL) {
        fake_client_answer(503, KD_BYTES_NONE);
    }
    ck_assert_uint_eq(n_done, N);
    fake_gateway_close(&f);
}
END_TEST

static TCase *tcase_records(void) {
    TCase *c = tcase_create("records");
    tcase_add_test(c, what_gathers_waits_for_what_is_under_way);
    return c;
}

UNIT_MAIN("gateway records", tcase_records())
