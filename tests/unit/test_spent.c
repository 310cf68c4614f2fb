// SPDX-License-Identifier: Apache-2.0
// The list of envelopes that were opened: each once, and only so many.
#include "keyd/envelopes.h"
#include "unit.h"

#include <string.h>

static struct kd_spent spent;
static uint8_t id[KD_ENVELOPE_ID_BYTES];

static struct kd_bytes number(unsigned n) {
    memcpy(id, &n, sizeof(n));
    return (struct kd_bytes) { id, sizeof(id) };
}

static void setup(void) {
    kd_spent_init(&spent, 100);
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
    tcase_add_test(t, what_was_on_the_disk_is_spent);
    tcase_add_test(t, what_was_forgotten_is_not_opened_when_the_clock_goes_back);
    tcase_add_test(t, end_of_what_was_forgotten_is_kept_on_the_disk);
    return t;
}

UNIT_MAIN("spent", tcase_spent())
