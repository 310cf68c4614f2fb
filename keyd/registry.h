// SPDX-License-Identifier: Apache-2.0
// registry.h: the keys in memory, by name and in the order of names.  The
// loop's thread only; what is here has been written to the store before.
#ifndef KD_KEYD_REGISTRY_H
#define KD_KEYD_REGISTRY_H

#include "base/base.h"
#include "keyd/service.h"
#include "keyd/store.h"

// A name that is taken.  One without versions is being made, and not shown.
struct kd_entry {
    struct kd_key key;
    const void *change; // the one that is under way, or NULL
    bool is_deleting;   // a delete was begun and must be repeated
    uint32_t destroyed; // the greatest number of a version that was destroyed
    // A version that the store has as pending, and its object may be in the token.
    bool has_pending;
    struct kd_key_version pending; // owned like the others
};

struct kd_registry {
    struct kd_map by_name;
    size_t n;
    size_t cap;
    struct kd_entry **sorted;
};

#define KD_REGISTRY_INIT ((struct kd_registry) { 0 })
void kd_registry_wipe(struct kd_registry *g);

// Adds what the store says of one version; a kd_store_row_fn, arg is the registry.
KD_MUST_CHECK enum kd_err kd_registry_load(void *registry, const struct kd_store_row *row);

// Takes a name: an entry without versions.  The name must be free.
KD_MUST_CHECK enum kd_err kd_registry_reserve(struct kd_registry *g, const char *name,
                                              enum kd_key_type type, unsigned usages,
                                              enum kd_key_origin origin, struct kd_entry **out);
// Must a second change wait?
bool kd_entry_is_busy(const struct kd_entry *e);
// Has it a change that was begun and must come to its end?
bool kd_entry_is_open(const struct kd_entry *e);
void kd_registry_remove(struct kd_registry *g, struct kd_entry *e);

struct kd_entry *kd_registry_get(const struct kd_registry *g, const char *name); // or NULL
// The first whose name is greater than `after` (NULL: the first), or NULL.
struct kd_entry *kd_registry_next(const struct kd_registry *g, const char *after);
size_t kd_registry_count(const struct kd_registry *g); // keys that have a version

// Copies the version and puts it last; its number must be the greatest.
KD_MUST_CHECK enum kd_err kd_entry_add_version(struct kd_entry *e, const struct kd_key_version *v);
KD_MUST_CHECK enum kd_err kd_entry_set_pending(struct kd_entry *e, const struct kd_key_version *v);
void kd_entry_drop_pending(struct kd_entry *e);
// Puts it last among the others; needs no memory: what the store has must come into the registry.
void kd_entry_take_pending(struct kd_entry *e);
void kd_entry_forget_version(struct kd_entry *e, uint32_t number); // that was destroyed
KD_MUST_CHECK enum kd_err kd_entry_set_certificate(struct kd_entry *e, struct kd_bytes der);
// NULL: no such version.
struct kd_key_version *kd_entry_version(const struct kd_entry *e, uint32_t number);
// The first that is being destroyed, with a greater number; or NULL.
struct kd_key_version *kd_entry_next_destroying(const struct kd_entry *e, uint32_t number);
// The greatest number that was ever given to a version: in use, pending or destroyed.
uint32_t kd_entry_last_number(const struct kd_entry *e);
// Is this object of the token one of the registry's?
bool kd_registry_has_object(const struct kd_registry *g, const struct kd_key_ref *ref);

#endif
