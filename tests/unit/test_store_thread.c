// SPDX-License-Identifier: Apache-2.0
// The store's thread: jobs in their order, and their answers, also those at the end.
#include "keyd/store_thread.h"
#include "folder.h"
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static char directory[64];
static struct kd_store *store;

static void setup(void) {
    kd_log_set_level(KD_LOG_ERROR);
    snprintf(directory, sizeof(directory), "%s", "/tmp/keyd-test-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
}

static void teardown(void) {
    kd_store_close(store);
    folder_remove(directory);
}

struct job {
    struct kd_store_job job;
    int number;
    struct kd_loop *loop;
    struct kd_store_thread *again; // give one more job from the answer
};

static int n_run;
static int n_done;
static pthread_t loop_thread;

static enum kd_err run(struct kd_store_job *job, struct kd_store *st) {
    const struct job *j = (const struct job *)job;
    n_run++;
    if (j->loop != NULL && pthread_equal(pthread_self(), loop_thread)) {
        return KD_ERR_BUG; // while the loop runs, its thread does not wait for the disk
    }
    const struct kd_store_row row = {
        .name = "t",
        .type = KD_KEY_HMAC_SHA256,
        .usages = KD_USE_SIGN,
        .version = { .number = (uint32_t)j->number, .state = KD_VERSION_ENABLED },
    };
    return kd_store_add(st, &row);
}

static void done(struct kd_store_job *job, enum kd_err err) {
    struct job *j = (struct job *)job;
    ck_assert_int_eq(j->number, n_done + 1); // in the order given
    ck_assert(pthread_equal(pthread_self(), loop_thread));
    ck_assert_err(err, KD_OK);
    if (++n_done == 50 && j->loop != NULL) {
        kd_loop_stop(j->loop);
    }
    if (j->again != NULL) {
        struct kd_store_thread *t = j->again;
        j->again = NULL;
        j->number++;
        j->loop = NULL;
        kd_store_thread_submit(t, &j->job);
    }
}

START_TEST(jobs_run_in_their_thread_and_answers_come_in_order) {
    static struct job jobs[50];
    struct kd_loop *loop = NULL;
    struct kd_store_thread *t = NULL;
    loop_thread = pthread_self();
    ck_assert_err(kd_loop_new(&loop), KD_OK);
    ck_assert_err(kd_store_thread_new(loop, KD_STEAL(store), &t), KD_OK);
    for (int i = 0; i < 50; i++) {
        jobs[i] =
            (struct job) { .job = { .run = run, .done = done }, .number = i + 1, .loop = loop };
        kd_store_thread_submit(t, &jobs[i].job);
    }
    ck_assert_err(kd_loop_run(loop), KD_OK);
    ck_assert_int_eq(n_done, 50);
    kd_store_thread_free(t);
    kd_loop_free(loop);
}
END_TEST

START_TEST(answers_that_are_due_at_the_end_are_given) {
    static struct job jobs[3];
    struct kd_loop *loop = NULL;
    struct kd_store_thread *t = NULL;
    loop_thread = pthread_self();
    ck_assert_err(kd_loop_new(&loop), KD_OK);
    ck_assert_err(kd_store_thread_new(loop, KD_STEAL(store), &t), KD_OK);
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct job) { .job = { .run = run, .done = done },
                                 .number = i + 1,
                                 .again = i == 2 ? t : NULL };
        kd_store_thread_submit(t, &jobs[i].job);
    }
    kd_store_thread_free(t);
    ck_assert_int_eq(n_done, 4);
    ck_assert_int_eq(n_run, 4);
    kd_loop_free(loop);
}
END_TEST

static TCase *tcase_thread(void) {
    TCase *t = tcase_create("thread");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, jobs_run_in_their_thread_and_answers_come_in_order);
    tcase_add_test(t, answers_that_are_due_at_the_end_are_given);
    return t;
}

UNIT_MAIN("store thread", tcase_thread())
