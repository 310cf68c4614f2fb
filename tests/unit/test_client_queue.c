// SPDX-License-Identifier: Apache-2.0
// Requests that wait for a connection: those for whom they are take turns, the oldest of all is
// known, and nothing is left of who has nothing there any more.
#include "gateway/client_queue.h"
#include "tests/unit/unit.h"

enum { N = 8 };

static struct kd_client_queue queue;
static struct kd_waiter waiters[N];

static void set_up(void) {
    queue = (struct kd_client_queue) { .n = 0 };
}

static void tear_down(void) {
    ck_assert_uint_eq(queue.n, 0);
    ck_assert_uint_eq(kd_map_count(&queue.lanes), 0);
    ck_assert_ptr_null(kd_client_queue_take(&queue));
    ck_assert_ptr_null(kd_client_queue_take_oldest(&queue));
    kd_client_queue_wipe(&queue);
}

// A letter for each: for whom it is.
static void put(const char *whom) {
    for (size_t i = 0; whom[i] != '\0'; i++) {
        const char who[] = { whom[i], '\0' };
        ck_assert_err(kd_client_queue_put(&queue, &waiters[i], who), KD_OK);
        ck_assert_uint_eq(queue.n, i + 1);
    }
}

static void takes(const char *digits) {
    for (; *digits != '\0'; digits++) {
        ck_assert_ptr_eq(kd_client_queue_take(&queue), &waiters[*digits - '0']);
    }
}

START_TEST(those_of_one_go_in_their_order) {
    put("aaaa");
    takes("0123");
}
END_TEST

START_TEST(who_has_one_waits_for_one_of_who_has_many) {
    put("aaaaab");
    takes("051234");
}
END_TEST

START_TEST(all_take_turns_until_they_have_nothing_left) {
    put("aaabbcbc");
    takes("03514726");
}
END_TEST

START_TEST(who_comes_again_is_behind_the_others) {
    put("aab");
    takes("02"); // b has none any more
    ck_assert_err(kd_client_queue_put(&queue, &waiters[3], "c"), KD_OK);
    ck_assert_err(kd_client_queue_put(&queue, &waiters[2], "b"), KD_OK);
    takes("132");
}
END_TEST

START_TEST(oldest_of_all_goes_whosever_turn_it_is) {
    put("abaabc");
    takes("0"); // now it is b's turn
    ck_assert_ptr_eq(queue.oldest, &waiters[1]);
    ck_assert_ptr_eq(kd_client_queue_take_oldest(&queue), &waiters[1]);
    ck_assert_ptr_eq(kd_client_queue_take_oldest(&queue), &waiters[2]);
    takes("453");
    ck_assert_ptr_null(queue.oldest);
    ck_assert_ptr_null(queue.newest);
}
END_TEST

START_TEST(last_of_one_whose_turn_it_is_not_is_taken_out_of_the_turns) {
    put("abca");
    takes("0");
    ck_assert_ptr_eq(kd_client_queue_take_oldest(&queue), &waiters[1]); // b's only one
    ck_assert_ptr_eq(kd_client_queue_take_oldest(&queue), &waiters[2]);
    takes("3");
}
END_TEST

static TCase *tcase_queue(void) {
    TCase *c = tcase_create("queue");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, those_of_one_go_in_their_order);
    tcase_add_test(c, who_has_one_waits_for_one_of_who_has_many);
    tcase_add_test(c, all_take_turns_until_they_have_nothing_left);
    tcase_add_test(c, who_comes_again_is_behind_the_others);
    tcase_add_test(c, oldest_of_all_goes_whosever_turn_it_is);
    tcase_add_test(c, last_of_one_whose_turn_it_is_not_is_taken_out_of_the_turns);
    return c;
}

UNIT_MAIN("client queue", tcase_queue())
