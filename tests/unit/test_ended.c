// SPDX-License-Identifier: Apache-2.0
// The list of what may not be resumed: nothing that was ended is ever let in again,
// also when the list is full, and when there is no memory.
#include "keyd/ended.h"
#include "unit.h"

#include <string.h>

enum { LATER = 1000000 };

static struct kd_ended list;

static struct kd_bytes id_of(unsigned n) {
    static uint8_t room[4][8];
    static unsigned turn;
    uint8_t *at = room[turn++ % 4];
    memset(at, 0, 8);
    memcpy(at, &n, sizeof(n));
    return (struct kd_bytes) { at, 8 };
}

static bool end_session(unsigned n, uint64_t made_ms, uint64_t until_ms, uint64_t now_ms) {
    return kd_ended_add(&list, KD_ENDED_SESSION, id_of(n), made_ms, until_ms, now_ms);
}

static bool has(unsigned n, uint64_t made_ms) {
    return kd_ended_has(&list, id_of(n), kd_bytes_of_text("p"), made_ms);
}

static void set_up(void) {
    kd_ended_init(&list, 4);
}

static void tear_down(void) {
    kd_ended_wipe(&list);
}

START_TEST(session_that_was_ended_is_known_and_no_other) {
    ck_assert(!has(1, 100));
    ck_assert(!end_session(1, 100, LATER, 0));
    ck_assert(has(1, 100));
    ck_assert(!has(2, 100));
    ck_assert(!kd_ended_has(&list, KD_BYTES_NONE, KD_BYTES_NONE, 100));
    ck_assert(!end_session(1, 100, LATER, 0)); // once more
    ck_assert_uint_eq(list.n, 1);
}
END_TEST

START_TEST(peer_ends_what_it_had_and_not_what_it_gets) {
    const struct kd_bytes peer = kd_bytes_of_text("p");
    ck_assert(!kd_ended_add(&list, KD_ENDED_PEER, peer, 100, LATER, 0));
    ck_assert(has(1, 100));
    ck_assert(!has(1, 101));
    ck_assert(!kd_ended_has(&list, id_of(1), kd_bytes_of_text("q"), 100));
    ck_assert(!kd_ended_add(&list, KD_ENDED_PEER, peer, 200, LATER, 0));
    ck_assert(has(1, 200));
    ck_assert(!kd_ended_add(&list, KD_ENDED_PEER, peer, 150, LATER, 0)); // a clock that went back
    ck_assert(has(1, 200));
    // A session's id that reads as a peer's name is not one.
    ck_assert(!kd_ended_add(&list, KD_ENDED_PEER, kd_bytes_of_text("abcdefgh"), 300, LATER, 0));
    ck_assert(!kd_ended_has(&list, kd_bytes_of_text("abcdefgh"), kd_bytes_of_text("q"), 300));
}
END_TEST

START_TEST(full_list_drops_what_has_expired_first) {
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(!end_session(i, 100 + i, i == 2 ? 500 : LATER, 0));
    }
    ck_assert(end_session(9, 200, LATER, 500)); // just over: until is the first moment after
    ck_assert_uint_eq(list.floor_ms, 0);
    ck_assert_uint_eq(list.n, 4);
    ck_assert(has(0, 100) && has(1, 101) && has(3, 103) && has(9, 200));
    ck_assert(!has(7, 50));
}
END_TEST

START_TEST(full_list_lets_nothing_back_in_that_was_ended) {
    for (unsigned i = 0; i < 50; i++) { // the oldest are not the first
        const unsigned made = 100 + (i * 7) % 50;
        const bool is_trimmed = end_session(i, made, LATER, 0);
        ck_assert_int_eq(is_trimmed, i >= 4);
        ck_assert_uint_le(list.n, 4);
        for (unsigned k = 0; k <= i; k++) {
            ck_assert_msg(has(k, 100 + (k * 7) % 50), "%u of %u", k, i);
        }
    }
    // It costs sessions that are as old, and no others.
    ck_assert(has(1000, list.floor_ms));
    ck_assert(!has(1000, list.floor_ms + 1));
    ck_assert_uint_lt(list.floor_ms, 149);
}
END_TEST

START_TEST(list_of_one_works) {
    kd_ended_wipe(&list);
    kd_ended_init(&list, 1);
    ck_assert(!end_session(1, 100, LATER, 0));
    ck_assert(end_session(2, 90, LATER, 0));
    ck_assert(has(1, 100) && has(2, 90));
    ck_assert(!has(3, 101));
}
END_TEST

START_TEST(what_is_loaded_counts_also_over_a_limit_that_was_lowered) {
    for (unsigned i = 0; i < 10; i++) {
        const struct kd_store_ended row = { KD_ENDED_SESSION, id_of(i), 100 + i, LATER, NULL };
        ck_assert_err(kd_ended_load(&list, &row), KD_OK);
    }
    ck_assert_uint_le(list.n, 4);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert(has(i, 100 + i));
    }
    const struct kd_store_ended floor = { .kind = KD_ENDED_FLOOR, .made_ms = 5000 };
    ck_assert_err(kd_ended_load(&list, &floor), KD_OK);
    ck_assert(has(77, 5000) && !has(77, 5001));
    char longest[KD_NAME_MAX_BYTES + 1];
    memset(longest, 'x', sizeof(longest));
    struct kd_store_ended row = {
        KD_ENDED_PEER, { (uint8_t *)longest, sizeof(longest) }, 1, 2, NULL
    };
    ck_assert_err(kd_ended_load(&list, &row), KD_ERR_FIELD_INVALID);
    row.name.n--;
    ck_assert_err(kd_ended_load(&list, &row), KD_OK);
}
END_TEST

static TCase *tcase_ended(void) {
    TCase *t = tcase_create("ended");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, session_that_was_ended_is_known_and_no_other);
    tcase_add_test(t, peer_ends_what_it_had_and_not_what_it_gets);
    tcase_add_test(t, full_list_drops_what_has_expired_first);
    tcase_add_test(t, full_list_lets_nothing_back_in_that_was_ended);
    tcase_add_test(t, list_of_one_works);
    tcase_add_test(t, what_is_loaded_counts_also_over_a_limit_that_was_lowered);
    return t;
}

UNIT_MAIN("ended", tcase_ended())
