// SPDX-License-Identifier: Apache-2.0
// change.c: beginning and end of a change, and its way to store and token.
#include "keyd/change.h"

#include <assert.h>
#include <stdlib.h>

enum kd_err kd_change_new(struct kd_service *s, struct kd_entry *entry, kd_key_done *done,
                          void *arg, struct kd_change **out) {
    assert(entry->change == NULL);
    struct kd_change *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    c->s = s;
    c->entry = entry;
    c->done = done;
    c->arg = arg;
    entry->change = c;
    s->pending++;
    *out = c;
    return KD_OK;
}

// Gives the entry back; one that holds nothing goes.  The entry, or NULL.
static struct kd_entry *release(struct kd_change *c) {
    struct kd_entry *e = c->entry;
    c->entry = NULL;
    if (e == NULL) {
        return NULL;
    }
    e->change = NULL;
    if (e->key.n_versions > 0 || e->has_pending) {
        return e;
    }
    kd_registry_remove(&c->s->registry, e);
    return NULL;
}

void kd_change_free(struct kd_change *c) {
    (void)release(c);
    c->s->pending--;
    free(c);
}

void kd_change_end(struct kd_change *c, enum kd_err err) {
    const struct kd_entry *e = release(c); // the caller may begin another change at once
    if (e != NULL && kd_entry_is_open(e)) {
        if (c->done != NULL) { // the long waits are for what was looked at before
            c->s->recover_ms = KD_RECOVER_FIRST_MS;
        }
        kd_timer_set_sooner(c->s->recover_timer, c->s->recover_ms); // others wait for it too
    }
    if (c->done != NULL) {
        c->done(c->arg, err, c->detail, err == KD_OK && e != NULL ? &e->key : NULL);
    }
    c->s->pending--;
    free(c);
}

static void job_done(struct kd_store_job *job, enum kd_err err) {
    struct kd_change *c = (struct kd_change *)job;
    c->after(c, err);
}

void kd_change_store(struct kd_change *c,
                     enum kd_err (*run)(struct kd_store_job *job, struct kd_store *store),
                     kd_change_step *after) {
    c->job.run = run;
    c->job.done = job_done;
    c->after = after;
    kd_store_thread_submit(c->s->store, &c->job);
}

static enum kd_err add_pending(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_change *c = (const struct kd_change *)job;
    const struct kd_key *key = &c->entry->key;
    const struct kd_store_row row = {
        .name = key->name,
        .type = key->type,
        .usages = key->usages,
        .origin = key->origin,
        .created_ms = key->created_ms,
        .certificate = key->certificate,
        .version = c->entry->pending,
    };
    return kd_store_add(store, &row);
}

void kd_change_store_pending(struct kd_change *c, kd_change_step *after) {
    kd_change_store(c, add_pending, after);
}

enum kd_err kd_change_ask(struct kd_change *c, enum kd_hsm_op op, const struct kd_hsm_item *item,
                          kd_call_done *done) {
    struct kd_hsm_request head = { .op = op, .n_items = 1 };
    struct kd_call *call = NULL;
    enum kd_err r = kd_service_begin(c->s, &head, NULL, &call);
    if (r != KD_OK) {
        return r;
    }
    kd_call_put(call, item);
    return kd_call_send(call, done, c);
}
