// SPDX-License-Identifier: Apache-2.0
// audit.c: entries on their way to the thread that waits for the disk, and back.
#include "kd-build.h"

#include "keyd/audit.h"

#include "keyd/config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct entry_list {
    struct kd_audit_entry *first;
    struct kd_audit_entry **last;
    size_t n;
};

struct kd_audit {
    struct kd_post post; // first: deliver() gets its address
    struct kd_loop *loop;
    struct kd_audit_log *log; // the thread's alone while it runs
    uint64_t bytes_max;
    uint64_t rotate_at;     // bytes
    struct entry_list kept; // the thread's: to be written, and nobody waits for them
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // under lock
    struct entry_list waiting;
    struct entry_list finished;
    struct kd_audit_report report;
    bool is_posted; // post is with the loop
    bool wants_other_file;
    bool is_stopping;
    // the loop's
    char reason[KD_AUDIT_REASON_BYTES];
};

// ---- lists -----------------------------------------------------------------

static struct kd_audit_entry *next_of(const struct kd_audit_entry *e) {
    return (struct kd_audit_entry *)e->line.next; // an entry's line is its first member
}

static void list_init(struct entry_list *l) {
    *l = (struct entry_list) { .first = NULL };
    l->last = &l->first;
}

static void list_add(struct entry_list *l, struct kd_audit_entry *e) {
    e->line.next = NULL;
    *l->last = e;
    l->last = (struct kd_audit_entry **)&e->line.next;
    l->n++;
}

static struct kd_audit_entry *list_take_first(struct entry_list *l) {
    struct kd_audit_entry *e = l->first;
    if (e != NULL) {
        l->first = next_of(e);
        l->last = l->first == NULL ? &l->first : l->last;
        l->n--;
    }
    return e;
}

static void list_move(struct entry_list *from, struct entry_list *to) {
    for (struct kd_audit_entry *e; (e = list_take_first(from)) != NULL;) {
        list_add(to, e);
    }
}

// ---- entries ---------------------------------------------------------------

struct kd_audit_entry *kd_audit_entry_new(const char *event) {
    struct kd_audit_entry *e = calloc(1, sizeof(*e));
    if (e == NULL) {
        return NULL;
    }
    e->line.time_ms = kd_clock_wall_ms();
    e->line.members = KD_BUF_INIT(KD_CHAIN_LINE_MAX_BYTES / 2);
    kd_chain_put_text(&e->line.members, "event", event);
    return e;
}

void kd_audit_entry_free(struct kd_audit_entry *entry) {
    if (entry != NULL) {
        kd_buf_wipe(&entry->line.members);
        free(entry);
    }
}

void kd_audit_put(struct kd_audit_entry *entry, const char *name, const char *text) {
    if (text[0] != '\0') {
        kd_buf_u8(&entry->line.members, ',');
        kd_chain_put_text(&entry->line.members, name, text);
    }
}

void kd_audit_put_json(struct kd_audit_entry *entry, const char *name, struct kd_bytes json) {
    kd_buf_printf(&entry->line.members, ",\"%s\":", name);
    kd_buf_put(&entry->line.members, json.p, json.n);
}

void kd_audit_put_number(struct kd_audit_entry *entry, const char *name, uint64_t value) {
    kd_buf_printf(&entry->line.members, ",\"%s\":%llu", name, (unsigned long long)value);
}

// ---- the thread ------------------------------------------------------------

static void finish(struct kd_audit *a, struct kd_audit_entry *e, enum kd_err err) {
    e->err = err;
    pthread_mutex_lock(&a->lock);
    list_add(&a->finished, e);
    const bool must_post = !a->is_posted;
    a->is_posted = true;
    pthread_mutex_unlock(&a->lock);
    if (must_post) {
        kd_loop_post(a->loop, &a->post);
    }
}

// What nobody waits for is kept, as long as there is room.
static void keep(struct kd_audit *a, struct kd_audit_entry *e) {
    if (e == NULL || a->kept.n >= KD_AUDIT_KEPT_MAX || kd_buf_finish(&e->line.members) != KD_OK) {
        kd_audit_entry_free(e);
        pthread_mutex_lock(&a->lock);
        a->report.lost++;
        pthread_mutex_unlock(&a->lock);
        return;
    }
    list_add(&a->kept, e);
}

static void begin_failing(struct kd_audit *a) {
    const char *reason = kd_audit_log_reason(a->log);
    pthread_mutex_lock(&a->lock);
    const bool is_new = !a->report.is_failing;
    a->report.is_failing = true;
    snprintf(a->report.reason, sizeof(a->report.reason), "%s", reason);
    pthread_mutex_unlock(&a->lock);
    if (is_new) {
        kd_log(KD_LOG_ERROR, "audit",
               "the audit log cannot be written: what must stand in it is refused", "why=%s",
               reason);
        struct kd_audit_entry *e = kd_audit_entry_new("audit.failed");
        if (e != NULL) {
            kd_audit_put(e, "why", reason);
        }
        keep(a, e); // also so that there is something to try
    }
}

static void end_failing(struct kd_audit *a) {
    pthread_mutex_lock(&a->lock);
    const struct kd_audit_report was = a->report;
    a->report.is_failing = false;
    pthread_mutex_unlock(&a->lock);
    if (!was.is_failing) {
        return;
    }
    kd_log(KD_LOG_INFO, "audit", "the audit log is written again", "refused=%llu lost=%llu",
           (unsigned long long)was.refused, (unsigned long long)was.lost);
    struct kd_audit_entry *e = kd_audit_entry_new("audit.resumed");
    if (e != NULL) {
        kd_audit_put_number(e, "refused", was.refused);
        kd_audit_put_number(e, "lost", was.lost);
    }
    keep(a, e);
}

// Those before `rest` are on the disk.
static void take_written(struct kd_audit *a, struct entry_list *list,
                         const struct kd_audit_line *rest) {
    uint64_t n = 0;
    while (list->first != NULL && &list->first->line != rest) {
        struct kd_audit_entry *e = list_take_first(list);
        n++;
        if (e->done == NULL) {
            kd_audit_entry_free(e);
        } else {
            finish(a, e, KD_OK);
        }
    }
    pthread_mutex_lock(&a->lock);
    a->report.lines += n;
    a->report.last = kd_audit_log_last(a->log);
    pthread_mutex_unlock(&a->lock);
}

static void take_refused(struct kd_audit *a, struct entry_list *list) {
    for (struct kd_audit_entry *e; (e = list_take_first(list)) != NULL;) {
        if (e->done == NULL) {
            keep(a, e);
        } else {
            finish(a, e, KD_ERR_AUDIT);
        }
    }
}

static void warn_of_file(struct kd_audit *a, const char *what) {
    kd_log(KD_LOG_WARN, "audit", what, "why=%s", kd_audit_log_reason(a->log));
}

// Where it can't be done the file grows on, and as much later it is tried again.
static void rotate_if_due(struct kd_audit *a) {
    if (kd_audit_log_size(a->log) < a->rotate_at) {
        return;
    }
    if (kd_audit_log_rotate(a->log) != KD_OK) {
        warn_of_file(a, "the audit log's next file cannot be begun");
    }
    a->rotate_at = kd_audit_log_size(a->log) + a->bytes_max;
}

// The kept ones first: they are older.
static void write_all(struct kd_audit *a, struct entry_list *new) {
    struct entry_list all;
    list_init(&all);
    list_move(&a->kept, &all);
    list_move(new, &all);
    while (all.first != NULL) {
        struct kd_audit_line *rest = NULL;
        if (kd_audit_log_write(a->log, &all.first->line, &rest) != KD_OK) {
            begin_failing(a);
            take_refused(a, &all);
            return;
        }
        take_written(a, &all, rest);
        end_failing(a);
        list_move(&a->kept, &all);
        rotate_if_due(a);
    }
    end_failing(a); // with nothing to try there is nothing that fails
}

static void use_other_file(struct kd_audit *a) {
    bool is_other = false;
    if (kd_audit_log_reopen(a->log, &is_other) != KD_OK) {
        warn_of_file(a, "another file of the audit log cannot be begun; the one in use goes on");
    } else if (is_other) {
        kd_log(KD_LOG_INFO, "audit", "another file of the audit log was begun", "");
    }
}

static void wait_for_work(struct kd_audit *a) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += KD_AUDIT_RETRY_MS / 1000;
    int r = 0;
    while (r == 0 && a->waiting.first == NULL && !a->is_stopping && !a->wants_other_file) {
        r = a->kept.first == NULL && !a->report.is_failing
                ? pthread_cond_wait(&a->changed, &a->lock)
                : pthread_cond_timedwait(&a->changed, &a->lock, &until);
    }
}

static void *work(void *arg) {
    struct kd_audit *a = arg;
    for (bool is_last = false; !is_last;) {
        struct entry_list new;
        list_init(&new);
        pthread_mutex_lock(&a->lock);
        wait_for_work(a);
        list_move(&a->waiting, &new);
        const bool wants_other_file = a->wants_other_file;
        a->wants_other_file = false;
        is_last = a->is_stopping && new.first == NULL;
        pthread_mutex_unlock(&a->lock);
        if (wants_other_file) {
            use_other_file(a);
        }
        write_all(a, &new);
    }
    return NULL;
}

// ---- the loop's side -------------------------------------------------------

static void deliver(struct kd_post *post) {
    struct kd_audit *a = (struct kd_audit *)post;
    pthread_mutex_lock(&a->lock);
    struct kd_audit_entry *e = a->finished.first;
    list_init(&a->finished);
    a->is_posted = false;
    pthread_mutex_unlock(&a->lock);
    while (e != NULL) {
        struct kd_audit_entry *next = next_of(e);
        e->done(e, e->err);
        e = next;
    }
}

enum kd_err kd_audit_admit(struct kd_audit *a, const char **why) {
    *why = "";
    if (a == NULL) {
        return KD_OK;
    }
    pthread_mutex_lock(&a->lock);
    const bool is_failing = a->report.is_failing;
    a->report.refused += is_failing;
    memcpy(a->reason, a->report.reason, sizeof(a->reason));
    pthread_mutex_unlock(&a->lock);
    *why = is_failing ? a->reason : "";
    return is_failing ? KD_ERR_AUDIT : KD_OK;
}

enum kd_err kd_audit_write(struct kd_audit *a, struct kd_audit_entry *take_entry) {
    kd_auto(audit_entry) struct kd_audit_entry *e = take_entry;
    const bool is_whole = e != NULL && kd_buf_finish(&e->line.members) == KD_OK;
    pthread_mutex_lock(&a->lock);
    if (is_whole) {
        list_add(&a->waiting, KD_STEAL(e));
        pthread_cond_signal(&a->changed);
    } else {
        a->report.lost++;
    }
    pthread_mutex_unlock(&a->lock);
    return is_whole ? KD_OK : KD_ERR_NO_MEMORY;
}

void kd_audit_say(struct kd_audit *a, const char *event, const char *name, const char *text) {
    if (a == NULL) {
        return;
    }
    struct kd_audit_entry *e = kd_audit_entry_new(event);
    if (e != NULL) {
        kd_audit_put(e, name, text);
    }
    if (kd_audit_write(a, e) != KD_OK) {
        kd_log(KD_LOG_WARN, "audit", "there is no memory for a line", "event=%s", event);
    }
}

void kd_audit_get(struct kd_audit *a, struct kd_audit_report *out) {
    pthread_mutex_lock(&a->lock);
    *out = a->report;
    pthread_mutex_unlock(&a->lock);
}

// ---- life ------------------------------------------------------------------

// What the file had, in the first line after it.
static struct kd_audit_entry *start_entry(const struct kd_audit_found *found) {
    struct kd_audit_entry *e = kd_audit_entry_new("keyd.start");
    if (e == NULL) {
        return NULL;
    }
    kd_audit_put(e, "version", PACKAGE_VERSION);
    if (found->n_cut > 0) {
        kd_audit_put_number(e, "cut_bytes", found->n_cut);
    }
    if (found->bad_line > 0) {
        kd_audit_put_number(e, "bad_line", found->bad_line);
    }
    kd_audit_put(e, "found",
                 found->is_behind    ? "The registry knows a later line, or another one."
                 : found->is_missing ? "There was no line, and the registry knows one."
                 : found->is_ahead
                     ? "The registry does not know the last seals: it may be an old one."
                     : "");
    kd_buf_u8(&e->line.members, ',');
    kd_chain_put_numbers(&e->line.members, "unanswered", found->unanswered.seqs,
                         found->unanswered.n);
    return e;
}

static void say_found(const char *file, const struct kd_audit_found *found) {
    if (found->bad_line > 0 || found->is_behind) {
        kd_log(KD_LOG_ERROR, "audit",
               found->bad_line > 0 ? "the audit log was changed: keydctl audit verify says where"
                                   : "lines of the audit log are gone, or others than they were",
               "file=%s line=%llu", file, (unsigned long long)found->bad_line);
    }
    if (found->is_missing) {
        kd_log(KD_LOG_WARN, "audit",
               "there is no line, and the registry knows one: was the file taken away?",
               "file=%s seq=%llu", file, (unsigned long long)found->last.seq);
    }
    if (found->is_ahead) {
        kd_log(
            KD_LOG_ERROR, "audit",
            "the registry knows nothing of the last seals of the audit log: if it is an old one, "
            "what was revoked, deleted or used up since is not so any more",
            "file=%s", file);
    }
    kd_log(KD_LOG_INFO, "audit", "the audit log is open",
           "file=%s lines=%llu seq=%llu unanswered=%zu cut_bytes=%llu", file,
           (unsigned long long)found->n_lines, (unsigned long long)found->last.seq,
           found->unanswered.n, (unsigned long long)found->n_cut);
}

// Signals are for the loop's thread.
static int start(struct kd_audit *a) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int r = pthread_create(&a->thread, NULL, work, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static void init_lock(struct kd_audit *a) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, &attr);
    pthread_condattr_destroy(&attr);
}

enum kd_err kd_audit_open(struct kd_loop *loop, const struct kd_audit_config *config,
                          const struct kd_chain *known, struct kd_audit **out) {
    struct kd_audit_found found;
    kd_auto(audit_log) struct kd_audit_log *log = NULL;
    enum kd_err r = kd_audit_log_open(config->file, known, &log, &found);
    if (r != KD_OK) {
        return r;
    }
    struct kd_audit *a = calloc(1, sizeof(*a));
    kd_auto(audit_entry) struct kd_audit_entry *first = start_entry(&found);
    if (a == NULL || first == NULL || kd_buf_finish(&first->line.members) != KD_OK) {
        free(a);
        return KD_ERR_NO_MEMORY;
    }
    a->loop = loop;
    a->log = log;
    a->bytes_max = config->bytes_max;
    a->rotate_at = config->bytes_max;
    a->post.fn = deliver;
    a->report.last = found.last;
    list_init(&a->kept);
    list_init(&a->waiting);
    list_init(&a->finished);
    list_add(&a->waiting, first);
    init_lock(a);
    if (start(a) != 0) {
        kd_log(KD_LOG_ERROR, "audit", "a thread cannot be started", "");
        free(a);
        return KD_ERR_SYSTEM;
    }
    log = NULL;
    first = NULL;
    say_found(config->file, &found);
    *out = a;
    return KD_OK;
}

void kd_audit_reopen(struct kd_audit *a) {
    if (a == NULL) {
        return;
    }
    pthread_mutex_lock(&a->lock);
    a->wants_other_file = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

void kd_audit_close(struct kd_audit *a, struct kd_chain *last) {
    if (a == NULL) {
        return;
    }
    pthread_mutex_lock(&a->lock);
    a->is_stopping = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    // Alone from here on.  An answer may give another entry: until there is none.
    do {
        deliver(&a->post);
        write_all(a, &a->waiting);
    } while (a->finished.first != NULL);
    kd_audit_say(a, "keyd.stop", "", "");
    write_all(a, &a->waiting);
    if (a->kept.first != NULL) {
        kd_log(KD_LOG_ERROR, "audit", "entries of the audit log could not be written",
               "entries=%zu", a->kept.n);
    }
    for (struct kd_audit_entry *e; (e = list_take_first(&a->kept)) != NULL;) {
        kd_audit_entry_free(e);
    }
    *last = kd_audit_log_last(a->log);
    kd_audit_log_close(a->log);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
