// SPDX-License-Identifier: Apache-2.0
// destroy.c: deleting a key: the intent first, then the objects one by one,
// then the row.  A delete that is cut off anywhere can be begun again.
#include "keyd/change.h"

#include <stdio.h>
#include <string.h>

static void destroy_next(struct kd_change *c);

static enum kd_err run_begin(struct kd_store_job *job, struct kd_store *store) {
    return kd_store_begin_delete(store, ((const struct kd_change *)job)->entry->key.name);
}

static enum kd_err run_delete(struct kd_store_job *job, struct kd_store *store) {
    return kd_store_delete(store, ((const struct kd_change *)job)->entry->key.name);
}

// It stays disabled, and the delete is begun again (recover.c): who asked for it is told.
static void leave_open(struct kd_change *c, enum kd_err err) {
    if (c->detail[0] == '\0') {
        snprintf(c->detail, sizeof(c->detail),
                 "the key is disabled; keyd deletes it when that is possible");
    }
    kd_change_end(c, err);
}

static void after_delete(struct kd_change *c, enum kd_err err) {
    if (err != KD_OK) {
        leave_open(c, err);
        return;
    }
    struct kd_entry *e = c->entry;
    kd_log(KD_LOG_INFO, "keys", "a key was deleted", "key=%s origin=%s", e->key.name,
           kd_key_origin_name(e->key.origin));
    c->entry = NULL;
    kd_registry_remove(&c->s->registry, e);
    kd_change_end(c, KD_OK);
}

static enum kd_err on_destroyed(void *arg, const struct kd_hsm_reply *reply,
                                struct kd_reader *items) {
    struct kd_change *c = arg;
    struct kd_hsm_result result = { .err = reply->err };
    enum kd_err r = KD_OK;
    if (reply->err == KD_OK && ((r = kd_hsm_get_result(items, KD_HSM_DESTROY, &result)) != KD_OK ||
                                (r = kd_reader_finish(items)) != KD_OK)) {
        result.err = r;
    }
    if (result.err != KD_OK && result.err != KD_ERR_NO_OBJECT) {
        kd_detail_copy(c->detail, reply->detail);
        kd_log(KD_LOG_WARN, "keys", "a key could not be deleted in the token; it stays disabled",
               "key=%s error=%s", c->entry->key.name, kd_err_name(result.err));
        leave_open(c, result.err);
        return r == KD_OK ? KD_OK : KD_ERR_MALFORMED;
    }
    c->number++;
    destroy_next(c);
    return KD_OK;
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
    const struct kd_hsm_item item = { .key = key->versions[c->number].ref };
    enum kd_err r = kd_change_ask(c, KD_HSM_DESTROY, &item, on_destroyed);
    if (r != KD_OK) {
        leave_open(c, r);
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
    kd_secrets_remove_of_key(c->s->secrets, e->key.name);
    c->number = 0;
    destroy_next(c);
}

void kd_change_delete(struct kd_change *c) {
    kd_change_store(c, run_begin, after_begin);
}
