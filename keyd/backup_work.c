// SPDX-License-Identifier: Apache-2.0
// backup_work.c: a copy of the registry, made by the store's thread, which does in between what
// others wait for.
#include "keyd/state.h"

#include <assert.h>
#include <stdlib.h>

static const char file_name[] = "backup.db";
enum { PATH_BYTES = 4096 };

struct kd_backup {
    struct kd_store_job job; // first: a job's address is its backup's
    struct kd_service *s;
    struct kd_buf path;
    struct kd_store_copy *copy; // NULL: not begun
    uint64_t n_bytes;           // 0: it goes on
    kd_backup_done *done;
    void *arg;
};

static void drop(struct kd_backup *b) {
    assert(b->copy == NULL);
    kd_buf_wipe(&b->path);
    free(b);
}

static enum kd_err put_path(const struct kd_service *s, struct kd_buf *out) {
    kd_buf_printf(out, "%s/%s", s->config->state_directory, file_name);
    return kd_buf_finish(out);
}

void kd_service_clear_backup(const struct kd_service *s) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_BYTES);
    if (put_path(s, &path) == KD_OK) {
        kd_store_copy_clear(kd_buf_get_text(&path));
    }
}

static enum kd_err run(struct kd_store_job *job, struct kd_store *store) {
    struct kd_backup *b = (struct kd_backup *)job;
    if (b->copy == NULL) {
        return kd_store_copy_begin(store, b->s->config->state_directory, kd_buf_get_text(&b->path),
                                   &b->copy);
    }
    const enum kd_err r = kd_store_copy_step(b->copy, &b->n_bytes);
    if (r != KD_OK || b->n_bytes > 0) { // here, as it is a part of the store's connection
        kd_store_copy_free(b->copy);
        b->copy = NULL;
    }
    return r;
}

static void finished(struct kd_store_job *job, enum kd_err err) {
    struct kd_backup *b = (struct kd_backup *)job;
    struct kd_service *s = b->s;
    if (err == KD_OK && b->n_bytes == 0) {
        kd_store_thread_submit(s->store, &b->job); // behind what has come meanwhile
        return;
    }
    const struct kd_backup_info info = { kd_buf_get_text(&b->path), b->n_bytes };
    if (err == KD_OK) {
        kd_log(KD_LOG_INFO, "store", "the registry is copied", "file=%s bytes=%llu", info.file,
               (unsigned long long)info.n_bytes);
    }
    b->done(b->arg, err, err == KD_ERR_STORE ? "The log says why." : "",
            err == KD_OK ? &info : NULL);
    s->is_copying = false;
    s->pending--;
    drop(b);
}

enum kd_err kd_service_backup(struct kd_service *s, const struct kd_caller *caller,
                              kd_backup_done *done, void *arg) {
    const enum kd_err r = kd_service_admit(s, caller, KD_MAY_BACKUP, NULL);
    if (r != KD_OK || s->is_copying) {
        return r != KD_OK ? r : KD_ERR_BUSY;
    }
    struct kd_backup *b = calloc(1, sizeof(*b));
    if (b == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *b = (struct kd_backup) { .s = s, .path = KD_BUF_INIT(PATH_BYTES), .done = done, .arg = arg };
    if (put_path(s, &b->path) != KD_OK) {
        drop(b);
        return KD_ERR_NO_MEMORY;
    }
    b->job.run = run;
    b->job.done = finished;
    s->is_copying = true;
    s->pending++;
    kd_store_thread_submit(s->store, &b->job);
    return KD_OK;
}
