// SPDX-License-Identifier: Apache-2.0
// recover.c: changes that a crash, or a token that went away, left half done.
// Versions that may or may not have been made are looked for; deletes go on.
// What the token refuses again is tried later, less and less often.
#include "keyd/change.h"

static void resume(struct kd_service *s, struct kd_entry *e) {
    struct kd_change *c = NULL;
    if (kd_change_new(s, e, NULL, NULL, &c) != KD_OK) {
        return; // the next worker that gets ready gives another chance
    }
    kd_log(KD_LOG_INFO, "keys", "a change that was cut off is taken up again", "key=%s change=%s",
           e->key.name,
           e->has_pending   ? "make"
           : e->is_deleting ? "delete"
                            : "delete of a version");
    if (e->has_pending) {
        kd_change_resolve(c, KD_OK);
    } else if (e->is_deleting) {
        kd_change_delete(c);
    } else {
        kd_change_destroy_marked(c);
    }
}

// Also while a change is under way: only a look at what has become of it ends this.
static void set_timer(struct kd_service *s) {
    for (size_t i = 0; i < s->registry.n; i++) {
        if (kd_entry_is_open(s->registry.sorted[i])) {
            kd_timer_set(s->recover_timer, s->recover_ms);
            s->recover_ms =
                s->recover_ms * 2 > KD_RECOVER_MAX_MS ? KD_RECOVER_MAX_MS : s->recover_ms * 2;
            return;
        }
    }
}

static void resume_all(struct kd_service *s) {
    for (size_t i = s->registry.n; i > 0; i--) { // an entry may go: from the end
        struct kd_entry *e = s->registry.sorted[i - 1];
        if (e->change == NULL && kd_entry_is_open(e)) {
            resume(s, e);
        }
    }
}

void kd_service_recover(struct kd_service *s) {
    s->recover_ms = KD_RECOVER_FIRST_MS;
    resume_all(s);
    set_timer(s);
}

void kd_service_recover_later(void *service) {
    struct kd_service *s = service;
    const char *detail;
    if (s->is_stopping) {
        return;
    }
    if (kd_service_ready(s, &detail) == KD_OK) { // else the next ready worker begins anew
        resume_all(s);
    }
    set_timer(s);
}
