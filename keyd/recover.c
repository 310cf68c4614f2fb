// SPDX-License-Identifier: Apache-2.0
// recover.c: changes that a crash, or a token that went away, left half done.
// Versions that may or may not have been made are looked for; deletes go on.
#include "keyd/change.h"

static void resume(struct kd_service *s, struct kd_entry *e) {
    struct kd_change *c = NULL;
    if (kd_change_new(s, e, NULL, NULL, &c) != KD_OK) {
        return; // the next worker that gets ready gives another chance
    }
    kd_log(KD_LOG_INFO, "keys", "a change that was cut off is taken up again", "key=%s change=%s",
           e->key.name, e->has_pending ? "make" : "delete");
    if (e->has_pending) {
        kd_change_resolve(c, KD_OK);
    } else {
        kd_change_delete(c);
    }
}

void kd_service_recover(struct kd_service *s) {
    for (size_t i = s->registry.n; i > 0; i--) { // an entry may go: from the end
        struct kd_entry *e = s->registry.sorted[i - 1];
        if (e->change == NULL && (e->has_pending || e->is_deleting)) {
            resume(s, e);
        }
    }
}
