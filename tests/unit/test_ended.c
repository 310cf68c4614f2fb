// SPDX-License-Identifier: Apache-2.0
// The list of what may not be resumed: nothing that was ended is ever let in again,
// also when the list is full, and when there is no memory.
#include "keyd/ended.h"
#include "unit.h"

#include <stdio.h>
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

static struct kd_store_ended of_peer; // what the latest end took the place of

static bool end_one_of(const char *peer, unsigned n, uint64_t made_ms, uint64_t until_ms,
                       uint64_t now_ms) {
    const struct kd_store_ended row = { KD_ENDED_SESSION,       id_of(n), made_ms, until_ms,
                                        kd_bytes_of_text(peer), NULL };
    return kd_ended_add(&list, &row, now_ms, &of_peer);
}

// Each of a peer of its own.
static bool end_session(unsigned n, uint64_t made_ms, uint64_t until_ms, uint64_t now_ms) {
    char peer[16];
    (void)snprintf(peer, sizeof(peer), "p%u", n);
    return end_one_of(peer, n, made_ms, until_ms, now_ms);
}

static bool end_peer(const char *peer, uint64_t made_ms) {
    const struct kd_store_ended row = { KD_ENDED_PEER, kd_bytes_of_text(peer), made_ms,
                                        LATER,         KD_BYTES_NONE,          NULL };
    return kd_ended_add(&list, &row, 0, &of_peer);
}

static bool has_of(const char *peer, unsigned n, uint64_t made_ms) {
    return kd_ended_has(&list, id_of(n), kd_bytes_of_text(peer), made_ms);
}

static bool has(unsigned n, uint64_t made_ms) {
    return has_of("p", n, made_ms);
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
    ck_assert(!end_peer("p", 100));
    ck_assert(has(1, 100));
    ck_assert(!has(1, 101));
    ck_assert(!kd_ended_has(&list, id_of(1), kd_bytes_of_text("q"), 100));
    ck_assert(!end_peer("p", 200));
    ck_assert(has(1, 200));
    ck_assert(!end_peer("p", 150)); // a clock that went back
    ck_assert(has(1, 200));
    // A session's id that reads as a peer's name is not one.
    ck_assert(!end_peer("abcdefgh", 300));
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

// Who ends session after session to push others out has one end, of itself.
START_TEST(peer_that_has_ended_the_most_pays_for_a_full_list) {
    kd_ended_wipe(&list);
    kd_ended_init(&list, 40);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert(!end_one_of("good", i, 100 + i, LATER, 0));
    }
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert(!end_one_of("bad", 5000 + i, 1000 + i, LATER + i, 0));
        ck_assert_uint_le(list.n, 40);
        if (of_peer.name.n > 0) {
            ck_assert(kd_bytes_equal(of_peer.name, kd_bytes_of_text("bad")));
            ck_assert_uint_eq(of_peer.made_ms, 1000 + i);
            ck_assert_uint_eq(of_peer.until_ms, LATER + i);
        }
        ck_assert(has_of("bad", 5000, 1000) && has_of("bad", 5000 + i, 1000 + i));
        ck_assert(!has_of("bad", 4000, 1000 + i + 1)); // its next one is good
    }
    ck_assert_uint_eq(list.floor_ms, 0);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert(has_of("good", i, 100 + i));
    }
    ck_assert(!has_of("good", 99, 100) && !has_of("other", 99, 1));
}
END_TEST

START_TEST(full_list_of_peers_with_one_end_each_is_raised_by_no_peer_that_is_in_it) {
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(!end_session(i, 100 + i, LATER, 0));
    }
    for (unsigned i = 0; i < 50; i++) { // of as many as another has it is its own turn
        ck_assert(!end_one_of("p2", 1000 + i, 200 + i, LATER, 0));
        ck_assert(kd_bytes_equal(of_peer.name, kd_bytes_of_text("p2")));
        ck_assert(has_of("p2", 2, 102) && has_of("p2", 1000 + i, 200 + i));
    }
    ck_assert_uint_eq(list.floor_ms, 0);
    ck_assert(has(0, 100) && has(1, 101) && has(3, 103) && !has(9, 50));
    ck_assert(end_session(4, 300, LATER, 0)); // of one that is not
    ck_assert_uint_eq(list.floor_ms, 100);
}
END_TEST

START_TEST(end_of_a_peer_takes_the_place_of_what_it_covers_and_of_no_more) {
    ck_assert(!end_one_of("p", 1, 100, LATER, 0));
    ck_assert(!end_one_of("p", 2, 200, LATER + 1, 0));
    ck_assert(!end_one_of("p", 3, 301, LATER, 0));
    ck_assert(!end_peer("p", 300));
    ck_assert_uint_eq(list.n, 3); // 2 is good for longer, 3 was made later
    ck_assert(!end_one_of("p", 4, 250, LATER, 0));
    ck_assert_uint_eq(list.n, 3);
    ck_assert(has(1, 100) && has(2, 200) && has(3, 301) && has(4, 250) && !has(5, 301));
}
END_TEST

START_TEST(what_is_loaded_over_the_limit_costs_who_has_the_most) {
    for (unsigned i = 0; i < 30; i++) {
        const struct kd_store_ended row = { .kind = KD_ENDED_SESSION,
                                            .name = id_of(i),
                                            .made_ms = 100 + (i * 7) % 30,
                                            .until_ms = LATER,
                                            .peer = kd_bytes_of_text(i % 10 == 0 ? "q" : "p") };
        ck_assert_err(kd_ended_load(&list, &row), KD_OK);
        ck_assert_uint_le(list.n, 4);
    }
    ck_assert_uint_eq(list.floor_ms, 0);
    for (unsigned i = 0; i < 30; i++) {
        ck_assert(has_of(i % 10 == 0 ? "q" : "p", i, 100 + (i * 7) % 30));
    }
    ck_assert(!has_of("p", 99, 130) && !has_of("r", 99, 1));
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
        const struct kd_store_ended row = { // of a version that did not say whose
                                            KD_ENDED_SESSION, id_of(i), 100 + i, LATER,
                                            KD_BYTES_NONE,    NULL
        };
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
        KD_ENDED_PEER, { (uint8_t *)longest, sizeof(longest) }, 1, 2, KD_BYTES_NONE, NULL
    };
    ck_assert_err(kd_ended_load(&list, &row), KD_ERR_FIELD_INVALID);
    row.peer = row.name;
    row.name.n--;
    ck_assert_err(kd_ended_load(&list, &row), KD_ERR_FIELD_INVALID);
    row.peer.n--;
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
    tcase_add_test(t, peer_that_has_ended_the_most_pays_for_a_full_list);
    tcase_add_test(t, full_list_of_peers_with_one_end_each_is_raised_by_no_peer_that_is_in_it);
    tcase_add_test(t, end_of_a_peer_takes_the_place_of_what_it_covers_and_of_no_more);
    tcase_add_test(t, what_is_loaded_over_the_limit_costs_who_has_the_most);
    tcase_add_test(t, list_of_one_works);
    tcase_add_test(t, what_is_loaded_counts_also_over_a_limit_that_was_lowered);
    return t;
}

UNIT_MAIN("ended", tcase_ended())
