// SPDX-License-Identifier: Apache-2.0
// store_thread.c: a queue, a thread, and the way back through kd_loop_post.
#include "keyd/store_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct job_list {
    struct kd_store_job *first;
    struct kd_store_job **last;
};

struct kd_store_thread {
    struct kd_post post; // first: deliver() gets its address
    struct kd_loop *loop;
    struct kd_store *store; // the thread's alone while it runs
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // under lock
    struct job_list waiting;
    struct job_list finished;
    bool is_posted; // post is with the loop
    bool is_stopping;
};

static void list_init(struct job_list *l) {
    *l = (struct job_list) { .first = NULL };
    l->last = &l->first;
}

static void list_add(struct job_list *l, struct kd_store_job *job) {
    job->next = NULL;
    *l->last = job;
    l->last = &job->next;
}

static struct kd_store_job *list_take_first(struct job_list *l) {
    struct kd_store_job *job = l->first;
    if (job != NULL) {
        l->first = job->next;
        l->last = l->first == NULL ? &l->first : l->last;
    }
    return job;
}

static struct kd_store_job *next_job(struct kd_store_thread *t) {
    pthread_mutex_lock(&t->lock);
    while (t->waiting.first == NULL && !t->is_stopping) {
        pthread_cond_wait(&t->changed, &t->lock);
    }
    struct kd_store_job *job = list_take_first(&t->waiting);
    pthread_mutex_unlock(&t->lock);
    return job;
}

static void *work(void *arg) {
    struct kd_store_thread *t = arg;
    for (struct kd_store_job *job; (job = next_job(t)) != NULL;) {
        job->err = job->run(job, t->store);
        pthread_mutex_lock(&t->lock);
        list_add(&t->finished, job);
        const bool must_post = !t->is_posted;
        t->is_posted = true;
        pthread_mutex_unlock(&t->lock);
        if (must_post) {
            kd_loop_post(t->loop, &t->post);
        }
    }
    return NULL;
}

static void deliver(struct kd_post *post) {
    struct kd_store_thread *t = (struct kd_store_thread *)post;
    pthread_mutex_lock(&t->lock);
    struct kd_store_job *job = t->finished.first;
    list_init(&t->finished);
    t->is_posted = false;
    pthread_mutex_unlock(&t->lock);
    while (job != NULL) {
        struct kd_store_job *next = job->next; // done may free the job or submit it again
        job->done(job, job->err);
        job = next;
    }
}

// Signals are for the loop's thread.
static int start(struct kd_store_thread *t) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int r = pthread_create(&t->thread, NULL, work, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

enum kd_err kd_store_thread_new(struct kd_loop *loop, struct kd_store *take_store,
                                struct kd_store_thread **out) {
    struct kd_store_thread *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        kd_store_close(take_store);
        return KD_ERR_NO_MEMORY;
    }
    t->loop = loop;
    t->store = take_store;
    t->post.fn = deliver;
    list_init(&t->waiting);
    list_init(&t->finished);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    const int r = start(t);
    if (r != 0) {
        kd_log(KD_LOG_ERROR, "store", "a thread cannot be started", "errno=%d", r);
        kd_store_close(take_store);
        free(t);
        return KD_ERR_SYSTEM;
    }
    *out = t;
    return KD_OK;
}

void kd_store_thread_submit(struct kd_store_thread *t, struct kd_store_job *job) {
    pthread_mutex_lock(&t->lock);
    list_add(&t->waiting, job);
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

void kd_store_thread_free(struct kd_store_thread *t) {
    if (t == NULL) {
        return;
    }
    pthread_mutex_lock(&t->lock);
    t->is_stopping = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    // Alone from here on.  An answer may give another job: until there is none.
    deliver(&t->post);
    for (struct kd_store_job *job; (job = list_take_first(&t->waiting)) != NULL;) {
        job->err = job->run(job, t->store);
        job->done(job, job->err);
    }
    kd_store_close(t->store);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
