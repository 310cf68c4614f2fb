// SPDX-License-Identifier: Apache-2.0
// J10: the replay window, and the numbers to send.
#include "channel/window.h"

#include "channel/record.h"
#include "unit.h"

#include <string.h>

static enum kd_err take(struct kd_window *w, uint64_t sequence) {
    enum kd_err r = kd_window_begin(w, sequence);
    return r == KD_OK ? kd_window_commit(w, sequence) : r;
}

START_TEST(each_number_passes_once) {
    kd_auto(window) struct kd_window w = { 0 };
    static const uint64_t order[] = { 5, 0, 3, 1023, 1024, 4, 1, 1025 }; // 1 is the last of 1..1024
    for (size_t i = 0; i < KD_COUNT_OF(order); i++) {
        ck_assert_err(take(&w, order[i]), KD_OK);
        ck_assert_err(take(&w, order[i]), KD_ERR_RECORD_REPLAYED);
    }
    ck_assert_err(take(&w, 0), KD_ERR_RECORD_TOO_OLD);
}
END_TEST

START_TEST(a_number_that_is_taken_at_once_passes_once) {
    kd_auto(window) struct kd_window w = { 0 };
    ck_assert_err(kd_window_check(&w, 7), KD_OK);
    ck_assert_err(kd_window_check(&w, 7), KD_OK); // a look takes nothing
    kd_window_take(&w, 7);
    ck_assert_err(kd_window_check(&w, 7), KD_ERR_RECORD_REPLAYED);
    kd_window_take(&w, 7 + KD_WINDOW_BITS);
    ck_assert_err(kd_window_check(&w, 7), KD_ERR_RECORD_TOO_OLD);
    ck_assert_err(kd_window_check(&w, 8), KD_OK);
}
END_TEST

START_TEST(the_window_ends_1024_behind_the_highest) {
    kd_auto(window) struct kd_window w = { 0 };
    ck_assert_err(take(&w, 5000), KD_OK);
    ck_assert_err(take(&w, 5000 - 1024), KD_ERR_RECORD_TOO_OLD);
    ck_assert_err(take(&w, 5000 - 1023), KD_OK);
    ck_assert_err(take(&w, 5000 - 1023), KD_ERR_RECORD_REPLAYED);
    ck_assert_err(take(&w, 5001), KD_OK);
    ck_assert_err(take(&w, 5000 - 1023), KD_ERR_RECORD_TOO_OLD);
    ck_assert_err(take(&w, 0), KD_ERR_RECORD_TOO_OLD);
}
END_TEST

START_TEST(a_jump_forgets_old_bits_but_not_the_rule) {
    for (uint64_t jump = 1; jump <= 3000; jump += 7) {
        kd_auto(window) struct kd_window w = { 0 };
        for (uint64_t s = 0; s < 1024; s++) {
            ck_assert_err(take(&w, s), KD_OK);
        }
        uint64_t top = 1023 + jump;
        ck_assert_err(take(&w, top), KD_OK);
        for (uint64_t s = 0; s <= top; s++) {
            enum kd_err expected = top - s >= 1024        ? KD_ERR_RECORD_TOO_OLD
                                   : s < 1024 || s == top ? KD_ERR_RECORD_REPLAYED
                                                          : KD_OK;
            ck_assert_err(take(&w, s), expected);
        }
    }
}
END_TEST

// Against a plain list of what was seen, with numbers in a random order.
START_TEST(agrees_with_a_list) {
    kd_auto(window) struct kd_window w = { 0 };
    static bool seen[20000];
    uint64_t top = 0;
    bool has_any = false;
    uint32_t random = 12345;
    for (int i = 0; i < 200000; i++) {
        random = random * 1664525u + 1013904223u;
        uint64_t base = (uint64_t)i / 12;
        uint64_t s = base + (random >> 16) % 1500;
        enum kd_err expected = has_any && s + 1024 <= top ? KD_ERR_RECORD_TOO_OLD
                               : seen[s]                  ? KD_ERR_RECORD_REPLAYED
                                                          : KD_OK;
        ck_assert_err(take(&w, s), expected);
        if (expected == KD_OK) {
            seen[s] = true;
            top = !has_any || s > top ? s : top;
            has_any = true;
        }
    }
}
END_TEST

START_TEST(of_two_copies_in_flight_one_passes) {
    kd_auto(window) struct kd_window w = { 0 };
    ck_assert_err(kd_window_begin(&w, 7), KD_OK);
    ck_assert_err(kd_window_begin(&w, 7), KD_OK);
    ck_assert_err(kd_window_begin(&w, 7), KD_OK);
    ck_assert_err(kd_window_begin(&w, 8), KD_OK);
    ck_assert_err(kd_window_commit(&w, 7), KD_OK);
    ck_assert_err(kd_window_begin(&w, 7), KD_ERR_RECORD_REPLAYED);
    ck_assert_err(kd_window_commit(&w, 7), KD_ERR_RECORD_REPLAYED);
    kd_window_abort(&w, 7);
    ck_assert_err(kd_window_commit(&w, 8), KD_OK);
    ck_assert_uint_eq(w.n_pending, 0);
    ck_assert_ptr_null(w.pending);
}
END_TEST

START_TEST(a_forged_record_in_flight_is_in_no_true_ones_way) {
    kd_auto(window) struct kd_window w = { 0 };
    for (int is_first = 0; is_first < 2; is_first++) {
        const uint64_t s = 5 + (uint64_t)is_first;
        ck_assert_err(kd_window_begin(&w, s), KD_OK); // the forged one, of which nobody knows
        ck_assert_err(kd_window_begin(&w, s), KD_OK);
        if (is_first) {
            kd_window_abort(&w, s);
        }
        ck_assert_err(kd_window_commit(&w, s), KD_OK);
        if (!is_first) {
            kd_window_abort(&w, s);
        }
        ck_assert_err(kd_window_begin(&w, s), KD_ERR_RECORD_REPLAYED);
        ck_assert_uint_eq(w.n_pending, 0);
    }
}
END_TEST

START_TEST(a_forged_record_moves_nothing) {
    kd_auto(window) struct kd_window w = { 0 };
    ck_assert_err(take(&w, 10), KD_OK);
    ck_assert_err(kd_window_begin(&w, KD_RECORD_SEQUENCE_MAX), KD_OK);
    ck_assert_err(take(&w, 9), KD_OK);
    kd_window_abort(&w, KD_RECORD_SEQUENCE_MAX);
    ck_assert_uint_eq(w.top, 10);
    // The true record of a number that was forged first.
    ck_assert_err(kd_window_begin(&w, 11), KD_OK);
    kd_window_abort(&w, 11);
    ck_assert_err(take(&w, 11), KD_OK);
}
END_TEST

START_TEST(one_that_was_overtaken_while_pending_passes_once) {
    kd_auto(window) struct kd_window w = { 0 };
    ck_assert_err(take(&w, 0), KD_OK);
    ck_assert_err(kd_window_begin(&w, 1), KD_OK);
    ck_assert_err(kd_window_begin(&w, 1), KD_OK);
    ck_assert_err(take(&w, 5000), KD_OK);
    ck_assert_err(kd_window_commit(&w, 1), KD_OK);
    ck_assert_err(kd_window_commit(&w, 1), KD_ERR_RECORD_REPLAYED); // too old to be seen
    ck_assert_uint_eq(w.top, 5000);
    ck_assert_err(kd_window_begin(&w, 1), KD_ERR_RECORD_TOO_OLD);
}
END_TEST

START_TEST(the_number_in_flight_is_bounded) {
    kd_auto(window) struct kd_window w = { 0 };
    for (uint64_t s = 0; s < KD_WINDOW_PENDING_MAX; s++) {
        ck_assert_err(kd_window_begin(&w, s), KD_OK);
    }
    ck_assert_err(kd_window_begin(&w, 5000), KD_ERR_BUSY);
    kd_window_abort(&w, 3);
    ck_assert_err(kd_window_begin(&w, 5000), KD_OK);
}
END_TEST

// Each number of the window passes in the copy exactly where it passes in the first.
static void check_copy(struct kd_window *w) {
    kd_auto(window) struct kd_window copy = { 0 };
    uint8_t bits[KD_WINDOW_BYTES];
    kd_window_save(w, bits);
    if (w->has_any) {
        kd_window_restore(&copy, w->top, bits);
    }
    const uint64_t first = w->top < 1100 ? 0 : w->top - 1100;
    for (uint64_t s = first; s < w->top + 3; s++) {
        const enum kd_err expected = kd_window_begin(w, s);
        ck_assert_err(kd_window_begin(&copy, s), expected);
        if (expected == KD_OK) {
            kd_window_abort(w, s);
            kd_window_abort(&copy, s);
        }
    }
}

START_TEST(a_window_that_is_handed_over_is_the_same) {
    kd_auto(window) struct kd_window w = { 0 };
    static const uint64_t numbers[] = { 0, 1, 5, 63, 64, 900, 1023, 1024, 1100, 2200, 1177, 90000 };
    uint8_t bits[KD_WINDOW_BYTES];
    check_copy(&w);
    for (size_t i = 0; i < KD_COUNT_OF(numbers); i++) {
        ck_assert_err(take(&w, numbers[i]), KD_OK);
        check_copy(&w);
    }
    ck_assert_err(take(&w, 89998), KD_OK);
    kd_window_save(&w, bits);
    ck_assert_uint_eq(bits[0], 1 | 1 << 2);
    ck_assert_uint_eq(bits[1], 0);
}
END_TEST

START_TEST(numbers_to_send_end) {
    struct kd_sequence s = { 0 };
    uint64_t first = 99;
    ck_assert_err(kd_sequence_reserve(&s, 1, &first), KD_OK);
    ck_assert_uint_eq(first, 0);
    ck_assert_err(kd_sequence_reserve(&s, 64, &first), KD_OK);
    ck_assert_uint_eq(first, 1);
    s.next = KD_RECORD_SEQUENCE_MAX - 1;
    ck_assert_err(kd_sequence_reserve(&s, 3, &first), KD_ERR_SEQUENCE_END);
    ck_assert_err(kd_sequence_reserve(&s, UINT64_MAX, &first), KD_ERR_SEQUENCE_END);
    ck_assert_uint_eq(first, 1);
    ck_assert_err(kd_sequence_reserve(&s, 2, &first), KD_OK);
    ck_assert_uint_eq(first, KD_RECORD_SEQUENCE_MAX - 1);
    ck_assert_err(kd_sequence_reserve(&s, 1, &first), KD_ERR_SEQUENCE_END);
}
END_TEST

static TCase *tcase_window(void) {
    TCase *t = tcase_create("window");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, each_number_passes_once);
    tcase_add_test(t, a_number_that_is_taken_at_once_passes_once);
    tcase_add_test(t, the_window_ends_1024_behind_the_highest);
    tcase_add_test(t, a_jump_forgets_old_bits_but_not_the_rule);
    tcase_add_test(t, agrees_with_a_list);
    tcase_add_test(t, of_two_copies_in_flight_one_passes);
    tcase_add_test(t, a_forged_record_in_flight_is_in_no_true_ones_way);
    tcase_add_test(t, a_forged_record_moves_nothing);
    tcase_add_test(t, one_that_was_overtaken_while_pending_passes_once);
    tcase_add_test(t, the_number_in_flight_is_bounded);
    tcase_add_test(t, a_window_that_is_handed_over_is_the_same);
    tcase_add_test(t, numbers_to_send_end);
    return t;
}

UNIT_MAIN("window", tcase_window())
