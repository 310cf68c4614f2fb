// SPDX-License-Identifier: Apache-2.0
// test_api_places.c: who has how many connections, and whose makes room.
#include "api/http.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_CONNECTIONS = 60, N_NAMES = 12, N_STEPS = 20000 };

static struct kd_places p;
static struct kd_connection cs[N_CONNECTIONS];

static void teardown(void) {
    for (size_t i = 0; i < KD_COUNT_OF(cs); i++) {
        if (cs[i].holder != NULL) {
            kd_places_leave(&p, &cs[i]);
        }
    }
    ck_assert_uint_eq(kd_map_count(&p.holders), 0);
    ck_assert_uint_eq(p.ranked[KD_LINE_IDLE].n + p.ranked[KD_LINE_SLOW].n, 0);
    kd_places_wipe(&p);
}

// Connections from `first` on, n of them, idle in this order.
static void give(size_t first, size_t n, const char *name) {
    for (size_t i = first; i < first + n; i++) {
        ck_assert_err(kd_places_give(&p, &cs[i], name), KD_OK);
        kd_places_wait(&p, &cs[i], KD_LINE_IDLE);
    }
}

START_TEST(the_longest_idle_of_who_has_the_most_is_found) {
    ck_assert_ptr_null(kd_places_of_most(&p, KD_LINE_IDLE, 0));
    give(0, 3, "a");
    give(10, 5, "b");
    give(20, 1, "c");
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 0), &cs[10]);
    kd_places_wait(&p, &cs[10], KD_LINE_NONE);
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 0), &cs[11]);
    kd_places_wait(&p, &cs[10], KD_LINE_IDLE); // its request has ended: now it is the last
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 0), &cs[11]);
    for (size_t i = 11; i < 14; i++) {
        kd_places_leave(&p, &cs[i]);
    }
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 0), &cs[0]);
}
END_TEST

START_TEST(who_has_no_more_than_was_said_makes_no_room) {
    give(0, 3, "a");
    give(10, 2, "b");
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 2), &cs[0]);
    ck_assert_ptr_null(kd_places_of_most(&p, KD_LINE_IDLE, 3));
}
END_TEST

START_TEST(who_has_the_most_with_requests_alone_is_passed_over) {
    give(0, 3, "a");
    give(10, 2, "b");
    for (size_t i = 0; i < 3; i++) {
        kd_places_wait(&p, &cs[i], KD_LINE_NONE);
    }
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 1), &cs[10]);
    kd_places_wait(&p, &cs[2], KD_LINE_IDLE); // all three count, though one is idle
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 2), &cs[2]);
}
END_TEST

START_TEST(strangers_and_surplus_are_nobody_with_many_and_stay_in_the_order_of_their_age) {
    give(0, 5, NULL);
    give(10, 1, "a");
    give(20, 4, "b");
    for (size_t i = 20; i < 24; i++) {
        kd_places_bar(&p, &cs[i]);
        kd_places_wait(&p, &cs[i], KD_LINE_IDLE);
    }
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 0), &cs[10]);
    kd_places_wait(&p, &cs[0], KD_LINE_NONE);
    kd_places_wait(&p, &cs[20], KD_LINE_NONE);
    ck_assert_ptr_eq(p.strangers.lines[KD_LINE_IDLE].first, &cs[0]);
    ck_assert_ptr_eq(p.surplus.lines[KD_LINE_IDLE].first, &cs[20]);
    ck_assert_uint_eq(p.strangers.n, 5);
    ck_assert_uint_eq(p.surplus.n, 4);
    kd_places_line_up(&p, &cs[0], KD_LINE_NONE); // it was shut
    ck_assert_ptr_eq(p.strangers.lines[KD_LINE_IDLE].first, &cs[1]);
    ck_assert_uint_eq(p.strangers.n, 5);
    ck_assert_err(kd_places_give(&p, &cs[1], "c"), KD_OK); // it has shown who it is
    ck_assert_ptr_eq(p.strangers.lines[KD_LINE_IDLE].first, &cs[2]);
    ck_assert_int_eq(cs[1].line, KD_LINE_NONE);
}
END_TEST

START_TEST(idle_and_slow_ones_wait_in_lines_of_their_own) {
    give(0, 3, "a");
    give(10, 2, "b");
    kd_places_wait(&p, &cs[0], KD_LINE_SLOW);
    kd_places_wait(&p, &cs[11], KD_LINE_SLOW);
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 0), &cs[1]);
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_SLOW, 0), &cs[0]);
    kd_places_wait(&p, &cs[1], KD_LINE_SLOW);
    kd_places_wait(&p, &cs[0], KD_LINE_SLOW); // its next step: it has waited less than the other
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_SLOW, 0), &cs[1]);
    kd_places_leave(&p, &cs[0]);
    kd_places_leave(&p, &cs[1]);
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_SLOW, 0), &cs[11]);
    ck_assert_ptr_eq(kd_places_of_most(&p, KD_LINE_IDLE, 0), &cs[10]);
}
END_TEST

START_TEST(a_place_is_given_again_to_who_has_it) {
    give(0, 1, "a");
    ck_assert_err(kd_places_give(&p, &cs[0], "a"), KD_OK);
    ck_assert_uint_eq(cs[0].holder->n, 1);
    ck_assert_ptr_null(kd_places_of_most(&p, KD_LINE_IDLE, 0));
}
END_TEST

START_TEST(without_memory_a_place_stays_whose_it_was) {
    char names[40][8];
    unsigned turn = 0;
    for (size_t i = 0; i < 40; i++) { // so that both tables grow
        snprintf(names[i], sizeof(names[i]), "n%zu", i);
    }
    give(0, 40, NULL);
    for (size_t i = 0; i < 40; i++) {
        for (turn = 0; memory_fails_at(turn); turn++) {
            const enum kd_err r = kd_places_give(&p, &cs[i], names[i]);
            ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
            ck_assert_ptr_eq(r == KD_OK ? NULL : &p.strangers, r == KD_OK ? NULL : cs[i].holder);
            ck_assert_int_eq(cs[i].line, r == KD_OK ? KD_LINE_NONE : KD_LINE_IDLE);
        }
        ck_assert_uint_eq(p.strangers.n, 39 - i);
        kd_places_wait(&p, &cs[i], KD_LINE_IDLE);
    }
    ck_assert_uint_ge(turn, 1);
    ck_assert_uint_eq(p.ranked[KD_LINE_IDLE].n, 40);
}
END_TEST

// ---- against a count of all --------------------------------------------------

static size_t count(const struct kd_holder *h) {
    size_t n = 0;
    for (size_t i = 0; i < KD_COUNT_OF(cs); i++) {
        n += cs[i].holder == h;
    }
    return n;
}

static void check(enum kd_line_id line) {
    size_t most = 0;
    for (size_t i = 0; i < KD_COUNT_OF(cs); i++) {
        if (cs[i].holder != NULL) {
            const size_t n = count(cs[i].holder);
            ck_assert_uint_eq(cs[i].holder->n, n);
            most = cs[i].line == line && n > most ? n : most;
        }
    }
    const struct kd_connection *c = kd_places_of_most(&p, line, 0);
    ck_assert((c != NULL) == (most > 0));
    if (c != NULL) {
        ck_assert(c->line == line && c->before == NULL);
        ck_assert_uint_eq(c->holder->n, most);
        ck_assert_ptr_eq(kd_places_of_most(&p, line, most - 1), c);
        ck_assert_ptr_null(kd_places_of_most(&p, line, most));
    }
}

START_TEST(whatever_comes_and_goes_the_count_is_right) {
    srand(1);
    for (unsigned step = 0; step < N_STEPS; step++) {
        struct kd_connection *c = &cs[rand() % N_CONNECTIONS];
        char name[8];
        // The lower ones come more often, so that some have many.
        snprintf(name, sizeof(name), "n%d", rand() % (1 + rand() % N_NAMES));
        if (c->holder == NULL || rand() % 8 == 0) {
            ck_assert_err(kd_places_give(&p, c, name), KD_OK);
        } else if (rand() % 4 == 0) {
            kd_places_leave(&p, c);
        } else {
            kd_places_wait(&p, c, (enum kd_line_id)(rand() % (KD_LINES + 1)));
        }
        check(KD_LINE_IDLE);
        check(KD_LINE_SLOW);
    }
}
END_TEST

static TCase *tcase_places(void) {
    TCase *c = tcase_create("places");
    tcase_add_checked_fixture(c, NULL, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, the_longest_idle_of_who_has_the_most_is_found);
    tcase_add_test(c, who_has_no_more_than_was_said_makes_no_room);
    tcase_add_test(c, who_has_the_most_with_requests_alone_is_passed_over);
    tcase_add_test(c,
                   strangers_and_surplus_are_nobody_with_many_and_stay_in_the_order_of_their_age);
    tcase_add_test(c, idle_and_slow_ones_wait_in_lines_of_their_own);
    tcase_add_test(c, a_place_is_given_again_to_who_has_it);
    tcase_add_test(c, without_memory_a_place_stays_whose_it_was);
    tcase_add_test(c, whatever_comes_and_goes_the_count_is_right);
    return c;
}

UNIT_MAIN("api_places", tcase_places())
