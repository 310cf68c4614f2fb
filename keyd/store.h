// SPDX-License-Identifier: Apache-2.0
// store.h: the registry on disk: keys, their versions, and small facts (the
// record of a refused PIN).  Every change is one transaction that is on the
// disk when the function returns.  One thread at a time: store_thread.h.
//
// A version is written as pending before the token makes the object and
// enabled after, so a crash in between leaves a note of what to look for.
#ifndef KD_KEYD_STORE_H
#define KD_KEYD_STORE_H

#include "base/base.h"
#include "keyd/service.h"

struct kd_store;

// The file keyd.db in `directory`, which is made (0700) if it is not there.
// KD_ERR_STORE: the log says why; another keyd may be using it.
KD_MUST_CHECK enum kd_err kd_store_open(const char *directory, struct kd_store **out);
void kd_store_close(struct kd_store *s);
KD_AUTO_DEFINE(store, struct kd_store *, kd_store_close)

// A copy of the registry as it is when the copy ends, made in steps between other uses of the store
// (store_backup.c): a file of mode 0600 which takes the place of what is at `path`, in `directory`,
// when it is whole.
struct kd_store_copy;
KD_MUST_CHECK enum kd_err kd_store_copy_begin(struct kd_store *from, const char *directory,
                                              const char *path,
                                              struct kd_store_copy **out);
// Not again after a failure, or after the last step, which sets *n_bytes, never to 0.
KD_MUST_CHECK enum kd_err kd_store_copy_step(struct kd_store_copy *c, uint64_t *n_bytes);
// What a process that was killed left of a copy for `path` goes.  Nobody may be making one.
void kd_store_copy_clear(const char *path);
// Before the store is closed.
void kd_store_copy_free(struct kd_store_copy *c);
KD_AUTO_DEFINE(store_copy, struct kd_store_copy *, kd_store_copy_free)

// What the store says of each version, for the start; all is borrowed during the call.
struct kd_store_row {
    const char *name;
    enum kd_key_type type;
    unsigned usages;
    enum kd_key_origin origin;
    uint64_t created_ms;
    bool is_deleting; // a delete was begun
    struct kd_bytes certificate;
    uint32_t last_number;          // the greatest that was destroyed
    struct kd_key_version version; // may be pending
};
typedef KD_MUST_CHECK enum kd_err kd_store_row_fn(void *arg, const struct kd_store_row *row);
// In the order of names and version numbers.  Ends with fn's first failure.
KD_MUST_CHECK enum kd_err kd_store_load(struct kd_store *s, kd_store_row_fn *fn, void *arg);

// Adds a version (as pending, or as what it is), and the key where it is the
// first.  KD_ERR_KEY_EXISTS where the version is there already.
KD_MUST_CHECK enum kd_err kd_store_add(struct kd_store *s, const struct kd_store_row *row);
// The pending version has its object in the token.
KD_MUST_CHECK enum kd_err kd_store_enable(struct kd_store *s, const char *name,
                                          const struct kd_key_version *version);
// The pending version has none; the key goes with its last version.
KD_MUST_CHECK enum kd_err kd_store_drop(struct kd_store *s, const char *name, uint32_t number);
// The version was destroyed; its number is not given again.
KD_MUST_CHECK enum kd_err kd_store_forget(struct kd_store *s, const char *name, uint32_t number);
// Of a version that is enabled or disabled, number 0: of all of them.
KD_MUST_CHECK enum kd_err kd_store_set_state(struct kd_store *s, const char *name, uint32_t number,
                                             enum kd_version_state state);
// Notes that the key is being deleted, and disables it.
KD_MUST_CHECK enum kd_err kd_store_begin_delete(struct kd_store *s, const char *name);
KD_MUST_CHECK enum kd_err kd_store_delete(struct kd_store *s, const char *name);

// Peers of the channel (channel.h).
struct kd_store_peer {
    const char *name;
    struct kd_bytes certificate;
    struct kd_bytes point;
    struct kd_bytes kid;
    const char *uri; // "": none
    uint64_t created_ms;
};
typedef KD_MUST_CHECK enum kd_err kd_store_peer_fn(void *arg, const struct kd_store_peer *peer);
// In the order of names.  Ends with fn's first failure.
KD_MUST_CHECK enum kd_err kd_store_load_peers(struct kd_store *s, kd_store_peer_fn *fn, void *arg);
KD_MUST_CHECK enum kd_err kd_store_add_peer(struct kd_store *s, const struct kd_store_peer *peer);
KD_MUST_CHECK enum kd_err kd_store_delete_peer(struct kd_store *s, const char *name);

// What may not be resumed any more (ended.h).
enum kd_ended_kind {
    KD_ENDED_FLOOR,   // every session made until made_ms; has no name and no end
    KD_ENDED_SESSION, // the one of this id
    KD_ENDED_PEER,    // those of the peer of this name that were made until made_ms
};
struct kd_store_ended {
    enum kd_ended_kind kind;
    struct kd_bytes name;
    uint64_t made_ms, until_ms;        // wall clock; from until_ms on no ticket is good anyway
    struct kd_bytes peer;              // of a session; empty in rows of older versions
    const struct kd_store_ended *next; // for kd_store_add_ended: of the same transaction; or NULL
};
typedef KD_MUST_CHECK enum kd_err kd_store_ended_fn(void *arg, const struct kd_store_ended *row);
// Ends with fn's first failure.
KD_MUST_CHECK enum kd_err kd_store_load_ended(struct kd_store *s, kd_store_ended_fn *fn, void *arg);
// With those that follow it, all or none.  Of those of the same kind and name the later times
// count. Sessions that their peer's end covers (no later made, and good no longer) have no row.
KD_MUST_CHECK enum kd_err kd_store_add_ended(struct kd_store *s, const struct kd_store_ended *row);
// Sets the floor, and forgets what is below it or was good until now_ms at most.
KD_MUST_CHECK enum kd_err kd_store_trim_ended(struct kd_store *s, uint64_t floor_ms,
                                              uint64_t now_ms);

// Ids of envelopes that were opened (envelopes.h).  An empty id comes with the latest end of those
// that were forgotten.
typedef KD_MUST_CHECK enum kd_err kd_store_spent_fn(void *arg, struct kd_bytes id,
                                                    uint64_t until_ms);
// Ends with fn's first failure.
KD_MUST_CHECK enum kd_err kd_store_load_spent(struct kd_store *s, kd_store_spent_fn *fn, void *arg);
struct kd_store_spent {
    struct kd_bytes id;
    uint64_t until_ms;
    enum kd_err err;             // out: KD_ERR_ENVELOPE_REPLAYED, it was there
    struct kd_store_spent *next; // of the same transaction; or NULL
};
// With those that follow it; on failure none.  Also forgets those that ended until now_ms.
KD_MUST_CHECK enum kd_err kd_store_add_spent(struct kd_store *s, struct kd_store_spent *row,
                                             uint64_t now_ms);

// Facts.  An empty value removes it; of one that is not there, get gives nothing.
KD_MUST_CHECK enum kd_err kd_store_set_fact(struct kd_store *s, const char *name,
                                            struct kd_bytes value);
KD_MUST_CHECK enum kd_err kd_store_get_fact(struct kd_store *s, const char *name,
                                            struct kd_buf *value);

#endif
