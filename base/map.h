// SPDX-License-Identifier: Apache-2.0
// map.h: a hash table from bytes to objects.  The key bytes belong to the
// object: they must stay as they are while it is in the map.  One thread.
#ifndef KD_BASE_MAP_H
#define KD_BASE_MAP_H

#include "attr.h"
#include "buf.h"
#include "err.h"

struct kd_map_slot;

struct kd_map {
    struct kd_map_slot *slots;
    size_t cap;    // a power of two, or 0
    size_t used;   // entries
    size_t gone;   // removed entries whose place is not free yet
    size_t kept;   // places that are kept for later
    uint64_t seed; // chosen when the map gets its first slots
};

#define KD_MAP_INIT ((struct kd_map) { 0 })

void kd_map_wipe(struct kd_map *m); // forgets the entries; frees no object
KD_AUTO_DEFINE_IN_PLACE(map, struct kd_map, kd_map_wipe)

void *kd_map_get(const struct kd_map *m, struct kd_bytes key); // NULL: not there
// The key must not be in the map yet.  value is not NULL.
KD_MUST_CHECK enum kd_err kd_map_add(struct kd_map *m, struct kd_bytes key, void *value);
// Keeps places for n entries more, so that as many can be added without memory: right after the
// places are given back, whatever was added and removed meanwhile.
KD_MUST_CHECK enum kd_err kd_map_keep(struct kd_map *m, size_t n);
void kd_map_unkeep(struct kd_map *m, size_t n);
void *kd_map_remove(struct kd_map *m, struct kd_bytes key); // NULL: was not there
size_t kd_map_count(const struct kd_map *m);

// What each of many names has: objects that begin with their name, char[KD_NAME_MAX_BYTES + 1].
// The one of this name, or a new one of `size` bytes, zero but for its name; NULL without memory.
void *kd_map_named(struct kd_map *m, const char *name, size_t size);
void kd_map_free_named(struct kd_map *m, void *object); // takes it out, and frees it

// Walks all entries in no order; start with *cursor = 0; NULL at the end.
// During a walk the map may lose the entry just given, and gain none.
void *kd_map_next(const struct kd_map *m, size_t *cursor);

#endif
