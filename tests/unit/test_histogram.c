// SPDX-License-Identifier: Apache-2.0
// test_histogram.c: percentiles are right to 1/32, at every size of value.
#include "client/histogram.h"
#include "tests/unit/unit.h"

START_TEST(nothing_counted_is_zero) {
    struct kd_histogram h = { 0 };
    ck_assert_uint_eq(kd_histogram_at(&h, 500), 0);
    ck_assert_uint_eq(kd_histogram_at(&h, 1000), 0);
}
END_TEST

START_TEST(one_value_comes_back_to_a_32nd) {
    for (unsigned bit = 0; bit < 32; bit++) {
        for (int off = -1; off <= 1; off++) {
            const uint32_t v = (1u << bit) + (uint32_t)off;
            struct kd_histogram h = { 0 };
            kd_histogram_add(&h, v);
            kd_histogram_add(&h, UINT32_MAX); // so that the largest does not cap it
            const uint32_t got = kd_histogram_at(&h, 500);
            const uint32_t error = got > v ? got - v : v - got;
            ck_assert_msg(error <= v / 32 + (v == UINT32_MAX), "%u came back as %u", v, got);
        }
    }
}
END_TEST

START_TEST(too_large_counts_as_the_largest) {
    struct kd_histogram h = { 0 };
    kd_histogram_add(&h, UINT64_MAX);
    ck_assert_uint_eq(h.max, UINT32_MAX);
    ck_assert_uint_ge(kd_histogram_at(&h, 1000), UINT32_MAX - UINT32_MAX / 32);
}
END_TEST

START_TEST(percentiles_of_known_values) {
    struct kd_histogram h = { 0 };
    for (uint32_t v = 1; v <= 31; v++) { // small values are exact
        kd_histogram_add(&h, v);
    }
    ck_assert_uint_eq(kd_histogram_at(&h, 1), 1);
    ck_assert_uint_eq(kd_histogram_at(&h, 500), 16);
    ck_assert_uint_eq(kd_histogram_at(&h, 1000), 31);
    struct kd_histogram k = { 0 };
    for (int i = 0; i < 99; i++) {
        kd_histogram_add(&k, 10);
    }
    kd_histogram_add(&k, 5000);
    ck_assert_uint_eq(kd_histogram_at(&k, 990), 10);
    ck_assert_uint_ge(kd_histogram_at(&k, 991), 4900);
    ck_assert_uint_le(kd_histogram_at(&k, 991), 5000); // never above the largest seen
}
END_TEST

static TCase *tcase_histogram(void) {
    TCase *t = tcase_create("histogram");
    tcase_add_test(t, nothing_counted_is_zero);
    tcase_add_test(t, one_value_comes_back_to_a_32nd);
    tcase_add_test(t, too_large_counts_as_the_largest);
    tcase_add_test(t, percentiles_of_known_values);
    return t;
}

UNIT_MAIN("histogram", tcase_histogram())
