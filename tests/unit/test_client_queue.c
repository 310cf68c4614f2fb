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

// ---- shares ------------------------------------------------------------------

enum { SHARE = 2 };

static void set_share(void) {
    queue.share = SHARE;
}

static void end_of(const char *digits) {
    for (; *digits != '\0'; digits++) {
        kd_client_queue_end(&queue, &waiters[*digits - '0']);
    }
}

static void pass(size_t i, const char *who, enum kd_err expected) {
    ck_assert_err(kd_client_queue_pass(&queue, &waiters[i], who), expected);
}

START_TEST(one_has_its_share_and_the_others_go_on) {
    set_share();
    put("aaaabc");
    takes("0451"); // a has its share now
    ck_assert_ptr_null(kd_client_queue_take(&queue));
    end_of("4");
    ck_assert_ptr_null(kd_client_queue_take(&queue)); // that was not a's
    end_of("0");
    takes("2");
    ck_assert_ptr_null(kd_client_queue_take(&queue));
    end_of("125");
    takes("3");
    end_of("3");
}
END_TEST

START_TEST(what_need_not_wait_counts_as_one_of_the_share) {
    set_share();
    pass(0, "a", KD_OK);
    pass(1, "a", KD_OK);
    pass(2, "a", KD_ERR_BUSY);
    ck_assert_err(kd_client_queue_put(&queue, &waiters[2], "a"), KD_OK);
    ck_assert_ptr_null(kd_client_queue_take(&queue));
    pass(3, "b", KD_OK); // nobody waits who may go before it
    end_of("0");
    pass(4, "b", KD_ERR_BUSY); // now somebody does
    takes("2");
    pass(4, "b", KD_OK);
    end_of("1234");
}
END_TEST

START_TEST(who_has_his_share_is_given_up_like_any_other) {
    set_share();
    pass(0, "a", KD_OK);
    pass(1, "a", KD_OK);
    ck_assert_err(kd_client_queue_put(&queue, &waiters[2], "a"), KD_OK);
    ck_assert_ptr_eq(kd_client_queue_take_oldest(&queue), &waiters[2]);
    kd_client_queue_end(&queue, &waiters[2]); // it never was under way
    ck_assert_err(kd_client_queue_put(&queue, &waiters[2], "a"), KD_OK);
    ck_assert_ptr_null(kd_client_queue_take(&queue));
    end_of("01");
    takes("2");
    end_of("2");
}
END_TEST

START_TEST(without_shares_nothing_is_kept_of_what_is_under_way) {
    for (size_t i = 0; i < N; i++) {
        pass(i, "a", KD_OK);
    }
    ck_assert_uint_eq(kd_map_count(&queue.lanes), 0);
    end_of("01234567");
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
    tcase_add_test(c, one_has_its_share_and_the_others_go_on);
    tcase_add_test(c, what_need_not_wait_counts_as_one_of_the_share);
    tcase_add_test(c, who_has_his_share_is_given_up_like_any_other);
    tcase_add_test(c, without_shares_nothing_is_kept_of_what_is_under_way);
    return c;
}

UNIT_MAIN("client queue", tcase_queue())
