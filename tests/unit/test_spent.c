// SPDX-License-Identifier: Apache-2.0
// The list of envelopes that were opened: each once, and only so many.
#include "keyd/envelopes.h"
#include "unit.h"

#include <string.h>

enum { MAX = 100, SOON_MS = 2000 };

static struct kd_spent spent;
static uint8_t id[KD_ENVELOPE_ID_BYTES];

static struct kd_bytes number(unsigned n) {
    memcpy(id, &n, sizeof(n));
    return (struct kd_bytes) { id, sizeof(id) };
}

static void setup(void) {
    kd_spent_init(&spent, MAX, SOON_MS);
}

static void teardown(void) {
    kd_spent_wipe(&spent);
}

START_TEST(id_is_spent_once_until_its_time) {
    ck_assert_err(kd_spent_add(&spent, number(1), 10, 1), KD_OK);
    ck_assert_err(kd_spent_add(&spent, number(1), 30, 9), KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_err(kd_spent_check(&spent, number(1), 30), KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_err(kd_spent_add(&spent, number(1), 30, 10), KD_OK);
    kd_spent_remove(&spent, number(1)); // it was not written
    ck_assert_err(kd_spent_add(&spent, number(1), 30, 10), KD_OK);
    kd_spent_remove(&spent, number(2)); // never was there
}
END_TEST

START_TEST(full_list_takes_no_more_and_forgets_nothing) {
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_err(kd_spent_add(&spent, number(i), 1000 + i, 1), KD_OK);
    }
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert_err(kd_spent_add(&spent, number(100), 2000, 999), KD_ERR_BUSY);
        ck_assert_err(kd_spent_add(&spent, number(i % 100), 2000, 999), KD_ERR_ENVELOPE_REPLAYED);
    }
    // Each call looks at some of them only.
    const enum kd_err first = kd_spent_add(&spent, number(100), 2000, 1000);
    ck_assert_err(kd_spent_add(&spent, number(100), 2000, 1000),
                  first == KD_OK ? KD_ERR_ENVELOPE_REPLAYED : KD_OK);
    ck_assert_err(kd_spent_add(&spent, number(101), 2000, 1000), KD_ERR_BUSY);
}
END_TEST

// One that ends late does not keep those behind it.
START_TEST(those_whose_time_is_over_make_room_in_any_order) {
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_err(kd_spent_add(&spent, number(i), i % 2 == 0 ? 10 : 1000, 1), KD_OK);
    }
    unsigned added = 0;
    for (unsigned i = 100; i < 400; i++) {
        added += kd_spent_add(&spent, number(i), 1000, 10) == KD_OK;
    }
    ck_assert_uint_eq(added, 50);
    for (unsigned i = 1; i < 100; i += 2) {
        ck_assert_err(kd_spent_check(&spent, number(i), 1000), KD_ERR_ENVELOPE_REPLAYED);
    }
}
END_TEST

// `n` from `first` on, each of which ends at until_ms.
static unsigned add_many(unsigned first, unsigned n, uint64_t until_ms, uint64_t now_ms) {
    unsigned added = 0;
    for (unsigned i = 0; i < n; i++) {
        added += kd_spent_add(&spent, number(first + i), until_ms, now_ms) == KD_OK;
    }
    return added;
}

START_TEST(what_ends_late_takes_half_of_the_places_at_most) {
    const uint64_t now = 1000, soon = now + SOON_MS, day = 86400000;
    ck_assert_uint_eq(add_many(0, MAX, day, now), MAX / 2);
    ck_assert_err(kd_spent_add(&spent, number(500), soon + 1, now), KD_ERR_BUSY);
    ck_assert_uint_eq(add_many(1000, MAX, soon, now), MAX / 2);
    ck_assert_err(kd_spent_add(&spent, number(500), soon, now), KD_ERR_BUSY);
    // Whoever has filled the other half, it is free again.
    ck_assert_uint_eq(add_many(2000, MAX, day, soon), 0);
    ck_assert_uint_eq(add_many(3000, MAX, soon + SOON_MS, soon), MAX / 2);
    for (unsigned i = 0; i < MAX / 2; i++) {
        ck_assert_err(kd_spent_check(&spent, number(i), day), KD_ERR_ENVELOPE_REPLAYED);
        ck_assert_err(kd_spent_add(&spent, number(1000 + i), soon, now), KD_ERR_ENVELOPE_TIME);
    }
}
END_TEST

// What ends soon may take all: then what ends late has to wait.
START_TEST(what_ends_late_has_a_place_when_less_than_half_are_taken) {
    ck_assert_uint_eq(add_many(0, MAX, SOON_MS, 0), MAX);
    ck_assert_err(kd_spent_add(&spent, number(MAX), 2 * SOON_MS + 1, 1), KD_ERR_BUSY);
    for (unsigned i = 0; i < MAX / 2; i++) {
        ck_assert_err(kd_spent_add(&spent, number(MAX), 2 * SOON_MS + 1, 1), KD_ERR_BUSY);
        kd_spent_remove(&spent, number(i));
    }
    ck_assert_err(kd_spent_add(&spent, number(MAX), 2 * SOON_MS + 1, 1), KD_ERR_BUSY);
    kd_spent_remove(&spent, number(MAX / 2));
    ck_assert_err(kd_spent_add(&spent, number(MAX), 2 * SOON_MS + 1, 1), KD_OK);
}
END_TEST

// Of an odd number it is the larger half: also where there is one place only.
START_TEST(one_place_is_for_any) {
    teardown();
    kd_spent_init(&spent, 1, SOON_MS);
    ck_assert_err(kd_spent_add(&spent, number(1), 2 * SOON_MS, 1), KD_OK);
    ck_assert_err(kd_spent_add(&spent, number(2), 2, 1), KD_ERR_BUSY);
}
END_TEST

// After a restart: what was refused then is refused now.
START_TEST(what_was_on_the_disk_counts) {
    for (unsigned i = 0; i < 2 * MAX; i++) {
        ck_assert_err(kd_spent_load(&spent, number(i), 86400000), KD_OK);
    }
    ck_assert_err(kd_spent_add(&spent, number(2 * MAX), 2, 1), KD_ERR_BUSY);
    ck_assert_err(kd_spent_add(&spent, number(0), 2, 1), KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_err(kd_spent_add(&spent, number(2 * MAX - 1), 2, 1), KD_ERR_ENVELOPE_REPLAYED);
}
END_TEST

START_TEST(what_was_on_the_disk_is_spent) {
    ck_assert_err(kd_spent_load(&spent, number(1), 10), KD_OK);
    ck_assert_err(kd_spent_load(&spent, number(1), 10), KD_ERR_FIELD_INVALID);
    ck_assert_err(kd_spent_load(&spent, (struct kd_bytes) { id, 15 }, 10), KD_ERR_FIELD_INVALID);
    ck_assert_err(kd_spent_add(&spent, number(1), 10, 9), KD_ERR_ENVELOPE_REPLAYED);
}
END_TEST

// J10, J15: also an envelope that was under way when it was forgotten.
START_TEST(what_was_forgotten_is_not_opened_when_the_clock_goes_back) {
    ck_assert_err(kd_spent_add(&spent, number(1), 10, 1), KD_OK);
    ck_assert_err(kd_spent_add(&spent, number(2), 50, 20), KD_OK); // 1 is forgotten
    ck_assert_err(kd_spent_check(&spent, number(1), 10), KD_ERR_ENVELOPE_TIME);
    ck_assert_err(kd_spent_add(&spent, number(1), 10, 2), KD_ERR_ENVELOPE_TIME);
    ck_assert_err(kd_spent_add(&spent, number(3), 10, 2), KD_ERR_ENVELOPE_TIME); // may be it
    ck_assert_err(kd_spent_add(&spent, number(3), 11, 2), KD_OK);
    kd_spent_remove(&spent, number(3)); // it was not written
    ck_assert_err(kd_spent_add(&spent, number(3), 11, 2), KD_OK);
}
END_TEST

START_TEST(end_of_what_was_forgotten_is_kept_on_the_disk) {
    ck_assert_err(kd_spent_load(&spent, KD_BYTES_NONE, 10), KD_OK);
    ck_assert_err(kd_spent_load(&spent, KD_BYTES_NONE, 9), KD_OK); // it only grows
    ck_assert_err(kd_spent_check(&spent, number(1), 10), KD_ERR_ENVELOPE_TIME);
    ck_assert_err(kd_spent_check(&spent, number(1), 11), KD_OK);
}
END_TEST

static TCase *tcase_spent(void) {
    TCase *t = tcase_create("spent");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, id_is_spent_once_until_its_time);
    tcase_add_test(t, full_list_takes_no_more_and_forgets_nothing);
    tcase_add_test(t, those_whose_time_is_over_make_room_in_any_order);
    tcase_add_test(t, what_ends_late_takes_half_of_the_places_at_most);
    tcase_add_test(t, what_ends_late_has_a_place_when_less_than_half_are_taken);
    tcase_add_test(t, one_place_is_for_any);
    tcase_add_test(t, what_was_on_the_disk_counts);
    tcase_add_test(t, what_was_on_the_disk_is_spent);
    tcase_add_test(t, what_was_forgotten_is_not_opened_when_the_clock_goes_back);
    tcase_add_test(t, end_of_what_was_forgotten_is_kept_on_the_disk);
    return t;
}

UNIT_MAIN("spent", tcase_spent())
