// SPDX-License-Identifier: Apache-2.0
// destroy.c: deleting a key, or one version of it: the intent first, then the objects one by
// one, then the rows.  A delete that is cut off anywhere can be begun again.
#include "keyd/change.h"

#include <stdio.h>
#include <string.h>

// It stays disabled, and the delete is begun again (recover.c): who asked for it is told.
static void leave_open(struct kd_change *c, enum kd_err err, const char *what) {
    if (c->detail[0] == '\0') {
        snprintf(c->detail, sizeof(c->detail),
                 "the %s is disabled; keyd deletes it when that is possible", what);
    }
    kd_change_end(c, err);
}

// ---- an object -------------------------------------------------------------

static enum kd_err on_destroyed(void *arg, const struct kd_hsm_reply *reply,
                                struct kd_reader *items) {
    struct kd_change *c = arg;
    struct kd_hsm_result result = { .err = reply->err };
    enum kd_err r = KD_OK;
    if (reply->err == KD_OK && ((r = kd_hsm_get_result(items, KD_HSM_DESTROY, &result)) != KD_OK ||
                                (r = kd_reader_finish(items)) != KD_OK)) {
        result.err = r;
    }
    const enum kd_err err = result.err == KD_ERR_NO_OBJECT ? KD_OK : result.err;
    if (err != KD_OK) {
        kd_detail_copy(c->detail, reply->detail);
        kd_log(KD_LOG_WARN, "keys", "a key could not be deleted in the token; it stays disabled",
               "key=%s error=%s", c->entry->key.name, kd_err_name(err));
    }
    c->after(c, err);
    return r == KD_OK ? KD_OK : KD_ERR_MALFORMED;
}

// Destroys what the token has of the version, then goes on with `after`.
static enum kd_err destroy_object(struct kd_change *c, const struct kd_key_version *v,
                                  kd_change_step *after) {
    const struct kd_hsm_item item = { .key = v->ref };
    c->after = after;
    return kd_change_ask(c, KD_HSM_DESTROY, &item, on_destroyed);
}

// ---- a key -----------------------------------------------------------------

static void destroy_next(struct kd_change *c);

static enum kd_err run_begin(struct kd_store_job *job, struct kd_store *store) {
    return kd_store_begin_delete(store, ((const struct kd_change *)job)->entry->key.name);
}

static enum kd_err run_delete(struct kd_store_job *job, struct kd_store *store) {
    return kd_store_delete(store, ((const struct kd_change *)job)->entry->key.name);
}

static void after_delete(struct kd_change *c, enum kd_err err) {
    if (err != KD_OK) {
        leave_open(c, err, "key");
        return;
    }
    struct kd_entry *e = c->entry;
    kd_log(KD_LOG_INFO, "keys", "a key was deleted", "key=%s origin=%s", e->key.name,
           kd_key_origin_name(e->key.origin));
    c->entry = NULL;
    kd_registry_remove(&c->s->registry, e);
    kd_change_end(c, KD_OK);
}

static void after_object(struct kd_change *c, enum kd_err err) {
    if (err != KD_OK) {
        leave_open(c, err, "key");
        return;
    }
    c->number++;
    destroy_next(c);
}

static void destroy_next(struct kd_change *c) {
    const struct kd_key *key = &c->entry->key;
    // Adopted objects are not ours to destroy; of imported keys the token has none.
    while (c->number < key->n_versions && !key->versions[c->number].is_local) {
        c->number++;
    }
    if (c->number == key->n_versions) {
        kd_change_store(c, run_delete, after_delete);
        return;
    }
    const enum kd_err r = destroy_object(c, &key->versions[c->number], after_object);
    if (r != KD_OK) {
        leave_open(c, r, "key");
    }
}

static void after_begin(struct kd_change *c, enum kd_err err) {
    if (err != KD_OK) {
        kd_change_end(c, err);
        return;
    }
    struct kd_entry *e = c->entry;
    e->is_deleting = true;
    for (size_t i = 0; i < e->key.n_versions; i++) {
        e->key.versions[i].state = KD_VERSION_DISABLED;
    }
    kd_secrets_remove_of_key(c->s->secrets, e->key.name, 0);
    c->number = 0;
    destroy_next(c);
}

void kd_change_delete(struct kd_change *c) {
    kd_change_store(c, run_begin, after_begin);
}

// ---- a version -------------------------------------------------------------

static enum kd_err run_mark(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_change *c = (const struct kd_change *)job;
    return kd_store_set_state(store, c->entry->key.name, c->number, KD_VERSION_DESTROYING);
}

static enum kd_err run_forget(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_change *c = (const struct kd_change *)job;
    return kd_store_forget(store, c->entry->key.name, c->number);
}

// Where nobody waits, one that the token refuses is not in the way of the others.
static void end_version(struct kd_change *c, enum kd_err err) {
    if (c->done == NULL) {
        kd_change_destroy_marked(c);
    } else if (err != KD_OK) {
        leave_open(c, err, "version");
    } else {
        kd_change_end(c, KD_OK);
    }
}

static void after_forget(struct kd_change *c, enum kd_err err) {
    if (err == KD_OK) {
        kd_entry_forget_version(c->entry, c->number);
        kd_log(KD_LOG_INFO, "keys", "a key version was deleted", "key=%s version=%u",
               c->entry->key.name, c->number);
    }
    end_version(c, err);
}

static void forget(struct kd_change *c, enum kd_err err) {
    if (err != KD_OK) {
        end_version(c, err);
    } else {
        kd_change_store(c, run_forget, after_forget);
    }
}

static void destroy_version(struct kd_change *c, const struct kd_key_version *v) {
    const enum kd_err r = v->is_local ? destroy_object(c, v, forget) : KD_OK;
    if (r != KD_OK) {
        leave_open(c, r, "version");
    } else if (!v->is_local) {
        forget(c, KD_OK);
    }
}

static void after_mark(struct kd_change *c, enum kd_err err) {
    if (err != KD_OK) {
        kd_change_end(c, err);
        return;
    }
    struct kd_key_version *v = kd_entry_version(c->entry, c->number);
    v->state = KD_VERSION_DESTROYING;
    kd_secrets_remove_of_key(c->s->secrets, c->entry->key.name, c->number);
    destroy_version(c, v);
}

void kd_change_delete_version(struct kd_change *c) {
    kd_change_store(c, run_mark, after_mark);
}

void kd_change_destroy_marked(struct kd_change *c) {
    const struct kd_key_version *v = kd_entry_next_destroying(c->entry, c->number);
    if (v == NULL) {
        kd_change_end(c, KD_OK);
        return;
    }
    c->number = v->number;
    destroy_version(c, v);
}
