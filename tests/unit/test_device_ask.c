// SPDX-License-Identifier: Apache-2.0
// What a device does with its session where the host's clock is set.
#include "tests/unit/device_pair.h"
#include "tests/unit/unit.h"

#include <time.h>

#define DAY_MS INT64_C(86400000)

static struct device_pair p;
static uint64_t mono_ms, wall_ms;

static void set_up(void) {
    device_pair_open(&p, NULL);
    mono_ms = 5000000;
    wall_ms = (uint64_t)time(NULL) * 1000;
    kd_clock_hold(mono_ms, wall_ms);
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
}

static void tear_down(void) {
    device_pair_close(&p);
    kd_clock_release();
}

// Time passes, and somebody sets the host's clock; the server's goes on.
static void set_clock(int64_t passed_ms, int64_t ahead_ms) {
    mono_ms += (uint64_t)passed_ms;
    wall_ms += (uint64_t)passed_ms;
    p.server.ahead_ms = -ahead_ms;
    kd_clock_hold(mono_ms, (uint64_t)((int64_t)wall_ms + ahead_ms));
}

START_TEST(a_clock_that_is_set_loses_no_message_of_a_session) {
    static const int64_t ahead_ms[] = { DAY_MS, -400 * DAY_MS, 3600000, 0 };
    ck_assert_keyd(device_pair_ask(&p), KEYD_OK);
    for (size_t i = 0; i < KD_COUNT_OF(ahead_ms); i++) {
        set_clock(100000, ahead_ms[i]);
        ck_assert_keyd(device_pair_ask(&p), KEYD_OK);
        ck_assert_int_eq(keyd_clock_offset(p.device), -ahead_ms[i]);
    }
    ck_assert_uint_eq(p.server.n_sessions, 1);
    ck_assert_uint_eq(p.server.n_messages, 5);
}
END_TEST

START_TEST(the_difference_of_the_clocks_is_none_before_it_is_known) {
    p.server.ahead_ms = 7000;
    ck_assert_int_eq(keyd_clock_offset(p.device), 0);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_int_eq(keyd_clock_offset(p.device), 7000);
}
END_TEST

static TCase *tcase_clock(void) {
    TCase *c = tcase_create("clock");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_clock_that_is_set_loses_no_message_of_a_session);
    tcase_add_test(c, the_difference_of_the_clocks_is_none_before_it_is_known);
    return c;
}

UNIT_MAIN("device ask", tcase_clock())
