// SPDX-License-Identifier: Apache-2.0
// change.h: one change of a key on its way through store and token.  manage.c
// starts changes, change.c has the steps that several kinds share, recover.c
// picks up what was left open.  Private to these.
#ifndef KD_KEYD_CHANGE_H
#define KD_KEYD_CHANGE_H

#include "keyd/state.h"

#define KD_OWN_ID_BYTES 16

struct kd_change;
typedef void kd_change_step(struct kd_change *c, enum kd_err err);

// While a change is under way its entry belongs to it: nothing else changes it,
// so the store's thread may read what the loop's thread wrote before.
struct kd_change {
    struct kd_store_job job; // first: a job's address is its change's
    kd_change_step *after;   // what follows the job
    struct kd_service *s;
    struct kd_entry *entry;
    kd_key_done *done; // NULL: nobody waits
    void *arg;
    enum kd_err err; // what a caller will hear after an attempt was undone
    char detail[KD_DETAIL_BYTES];
    struct kd_key_version version; // being made; its bytes are the entry's pending one's
    uint32_t number;               // the version's; delete: index of the next one to destroy
    enum kd_version_state state;
};

// The change owns the entry from here; KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_change_new(struct kd_service *s, struct kd_entry *entry,
                                        kd_key_done *done, void *arg, struct kd_change **out);
void kd_change_free(struct kd_change *c); // of one that could not begin; tells nobody
// Tells the caller and frees the change.  An entry without versions goes too.
void kd_change_end(struct kd_change *c, enum kd_err err);
// Runs a job in the store's thread, then `after` in the loop's.
void kd_change_store(struct kd_change *c,
                     enum kd_err (*run)(struct kd_store_job *job, struct kd_store *store),
                     kd_change_step *after);
// The entry's pending version, and its key where the store has not got it.
void kd_change_store_pending(struct kd_change *c, kd_change_step *after);
// One management request with one item.
KD_MUST_CHECK enum kd_err kd_change_ask(struct kd_change *c, enum kd_hsm_op op,
                                        const struct kd_hsm_item *item, kd_call_done *done);

// Makes the next version in the token: intent, object, done.  (version.c)
KD_MUST_CHECK enum kd_err kd_change_make_version(struct kd_change *c);
// Looks for the pending version's object: finishes it or drops it.
void kd_change_resolve(struct kd_change *c, enum kd_err err);
// Notes the delete, destroys the versions that keyd made, forgets the key.  (destroy.c)
void kd_change_delete(struct kd_change *c);
// The same of the version c->number, whose key stays.
void kd_change_delete_version(struct kd_change *c);
// Goes on with those that were noted, from c->number on.
void kd_change_destroy_marked(struct kd_change *c);

#endif
