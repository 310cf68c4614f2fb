// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

struct bench {
    struct kd_loop *loop;
    struct kd_watch *watch;
    struct kd_watch *other;
    struct kd_timer *timer;
    struct kd_timer *second;
    int fds[2];
    int calls;
    int hooks;
};

static struct bench b;

static void setup(void) {
    b = (struct bench) { 0 };
    ck_assert_err(kd_loop_new(&b.loop), KD_OK);
    ck_assert_int_eq(pipe(b.fds), 0);
}

static void teardown(void) {
    kd_loop_free(b.loop);
    close(b.fds[0]);
    close(b.fds[1]);
}

static void stop(void *arg KD_UNUSED) {
    b.calls++;
    kd_loop_stop(b.loop);
}

static void on_readable(void *arg KD_UNUSED, uint32_t events) {
    ck_assert_uint_eq(events & EPOLLIN, EPOLLIN);
    stop(NULL);
}

START_TEST(a_readable_descriptor_calls_its_watch) {
    ck_assert_err(kd_watch_new(b.loop, b.fds[0], EPOLLIN, on_readable, NULL, &b.watch), KD_OK);
    ck_assert_int_eq(write(b.fds[1], "x", 1), 1);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    ck_assert_int_eq(b.calls, 1);
    kd_watch_free(b.watch);
}
END_TEST

static void free_both(void *arg KD_UNUSED, uint32_t events KD_UNUSED) {
    b.calls++;
    kd_watch_free(b.watch);
    kd_watch_free(b.other);
    kd_loop_stop(b.loop);
}

START_TEST(a_watch_freed_in_a_callback_is_not_called_in_the_same_round) {
    ck_assert_err(kd_watch_new(b.loop, b.fds[0], EPOLLIN, free_both, NULL, &b.watch), KD_OK);
    ck_assert_err(kd_watch_new(b.loop, b.fds[1], EPOLLOUT, free_both, NULL, &b.other), KD_OK);
    ck_assert_int_eq(write(b.fds[1], "x", 1), 1);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    ck_assert_int_eq(b.calls, 1);
}
END_TEST

START_TEST(a_descriptor_that_cannot_be_watched_is_an_error) {
    ck_assert_err(kd_watch_new(b.loop, -1, EPOLLIN, on_readable, NULL, &b.watch), KD_ERR_SYSTEM);
    ck_assert_ptr_null(b.watch);
}
END_TEST

static void free_own(void *arg KD_UNUSED) {
    kd_timer_free(b.timer);
    stop(NULL);
}

START_TEST(a_timer_fires_once_and_may_free_itself) {
    ck_assert_err(kd_timer_new(b.loop, free_own, NULL, &b.timer), KD_OK);
    kd_timer_set(b.timer, 1);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    ck_assert_int_eq(b.calls, 1);
}
END_TEST

static void never(void *arg KD_UNUSED) {
    ck_abort_msg("a stopped timer fired");
}

START_TEST(a_stopped_timer_does_not_fire) {
    ck_assert_err(kd_timer_new(b.loop, never, NULL, &b.timer), KD_OK);
    ck_assert_err(kd_timer_new(b.loop, stop, NULL, &b.second), KD_OK);
    kd_timer_set(b.timer, 1);
    kd_timer_set(b.second, 3);
    kd_timer_stop(b.timer);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    kd_timer_free(b.timer);
    kd_timer_free(b.second);
}
END_TEST

START_TEST(a_timer_set_at_a_time_that_is_over_fires_and_at_none_never) {
    ck_assert_err(kd_timer_new(b.loop, never, NULL, &b.timer), KD_OK);
    ck_assert_err(kd_timer_new(b.loop, stop, NULL, &b.second), KD_OK);
    kd_timer_set(b.timer, 0);
    kd_timer_set_at(b.timer, KD_LOOP_NO_LIMIT); // replaces
    kd_timer_set_at(b.second, 0);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    kd_timer_free(b.timer);
    kd_timer_free(b.second);
}
END_TEST

START_TEST(a_timer_is_set_sooner_and_not_later) {
    ck_assert_err(kd_timer_new(b.loop, never, NULL, &b.timer), KD_OK);
    ck_assert_err(kd_timer_new(b.loop, stop, NULL, &b.second), KD_OK);
    kd_timer_set(b.timer, 60000);
    kd_timer_set_sooner(b.second, 60000);
    kd_timer_set_sooner(b.second, 1);
    kd_timer_set_sooner(b.second, 60000);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    kd_timer_free(b.timer);
    kd_timer_free(b.second);
}
END_TEST

static uint64_t hook(void *arg KD_UNUSED) {
    if (++b.hooks == 3) {
        kd_loop_stop(b.loop);
    }
    return 1;
}

START_TEST(hooks_run_before_each_wait_and_bound_it) {
    ck_assert_err(kd_loop_prepare(b.loop, hook, NULL), KD_OK);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    ck_assert_int_eq(b.hooks, 3);
}
END_TEST

struct job {
    struct kd_post post;
    int number;
};

enum { JOBS = 1000 };
static struct job jobs[JOBS];

static void on_post(struct kd_post *post) {
    ck_assert_int_eq(((struct job *)post)->number, b.calls); // in the order posted
    if (++b.calls == JOBS) {
        kd_loop_stop(b.loop);
    }
}

static void *post_all(void *arg KD_UNUSED) {
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job) { .post.fn = on_post, .number = i };
        kd_loop_post(b.loop, &jobs[i].post);
    }
    return NULL;
}

START_TEST(posts_of_another_thread_arrive_in_order) {
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, post_all, NULL), 0);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    pthread_join(thread, NULL);
    ck_assert_int_eq(b.calls, JOBS);
}
END_TEST

static void on_asked(void *arg, enum kd_asked what) {
    enum kd_asked *said = arg;
    said[b.calls++] = what;
    if (b.calls == 3) {
        kd_loop_stop(b.loop);
    }
}

START_TEST(signals_are_events_and_a_broken_pipe_is_none) {
    enum kd_asked said[3];
    struct kd_signals *signals = NULL;
    ck_assert_err(kd_signals_new(b.loop, on_asked, said, &signals), KD_OK);
    raise(SIGPIPE);
    raise(SIGHUP); // of several that wait the lowest comes first (signal(7))
    raise(SIGINT);
    raise(SIGTERM);
    ck_assert_int_eq(b.calls, 0);
    ck_assert_err(kd_loop_run(b.loop), KD_OK);
    ck_assert_int_eq(said[0], KD_ASKED_TO_RELOAD);
    ck_assert_int_eq(said[1], KD_ASKED_TO_STOP);
    ck_assert_int_eq(said[2], KD_ASKED_TO_STOP);
    kd_signals_free(signals);
}
END_TEST

static TCase *tcase_loop(void) {
    TCase *t = tcase_create("loop");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_readable_descriptor_calls_its_watch);
    tcase_add_test(t, a_watch_freed_in_a_callback_is_not_called_in_the_same_round);
    tcase_add_test(t, a_descriptor_that_cannot_be_watched_is_an_error);
    tcase_add_test(t, a_timer_fires_once_and_may_free_itself);
    tcase_add_test(t, a_stopped_timer_does_not_fire);
    tcase_add_test(t, a_timer_set_at_a_time_that_is_over_fires_and_at_none_never);
    tcase_add_test(t, a_timer_is_set_sooner_and_not_later);
    tcase_add_test(t, hooks_run_before_each_wait_and_bound_it);
    tcase_add_test(t, signals_are_events_and_a_broken_pipe_is_none);
    tcase_add_test(t, posts_of_another_thread_arrive_in_order);
    return t;
}

UNIT_MAIN("loop", tcase_loop())
