// SPDX-License-Identifier: Apache-2.0
// map.c: open addressing with linear steps, at most three quarters full.  The
// hash is seeded at random, so that nobody can choose names that collide.
#include "base/map.h"

#include "base/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct kd_map_slot {
    struct kd_bytes key;
    void *value; // NULL: free; &gone_mark: was removed
    uint64_t hash;
};

enum { MAP_FIRST_SLOTS = 16 };

static const char gone_mark = 0;

static bool is_gone(const struct kd_map_slot *slot) {
    return slot->value == (const void *)&gone_mark;
}

static uint64_t mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    return h ^ h >> 32;
}

static uint64_t hash_of(uint64_t seed, struct kd_bytes key) {
    uint64_t h = seed ^ mix(key.n);
    size_t i = 0;
    for (; i + 8 <= key.n; i += 8) {
        uint64_t word;
        memcpy(&word, key.p + i, 8);
        h = mix(h ^ word) + seed;
    }
    uint64_t tail = 0;
    for (; i < key.n; i++) {
        tail = tail << 8 | key.p[i];
    }
    return mix(h ^ tail);
}

// The slot that holds the key, or the free one where a search for it ends.
static struct kd_map_slot *find(const struct kd_map *m, struct kd_bytes key, uint64_t hash) {
    size_t i = (size_t)hash & (m->cap - 1);
    for (;;) {
        struct kd_map_slot *slot = &m->slots[i];
        if (slot->value == NULL ||
            (!is_gone(slot) && slot->hash == hash && kd_bytes_equal(slot->key, key))) {
            return slot;
        }
        i = (i + 1) & (m->cap - 1);
    }
}

void kd_map_wipe(struct kd_map *m) {
    free(m->slots);
    *m = KD_MAP_INIT;
}

void *kd_map_get(const struct kd_map *m, struct kd_bytes key) {
    return m->used == 0 ? NULL : find(m, key, hash_of(m->seed, key))->value;
}

// Moves everything to a table that will be at most half full with n more.
static enum kd_err resize(struct kd_map *m, size_t n) {
    size_t cap = MAP_FIRST_SLOTS;
    while (cap < (m->used + m->kept + n) * 2) {
        cap *= 2;
    }
    struct kd_map larger = { .cap = cap, .used = m->used, .kept = m->kept, .seed = m->seed };
    if (m->slots == NULL &&
        getrandom(&larger.seed, sizeof(larger.seed), 0) != (ssize_t)sizeof(larger.seed)) {
        return KD_ERR_SYSTEM;
    }
    larger.slots = calloc(cap, sizeof(*larger.slots));
    if (larger.slots == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].value != NULL && !is_gone(&m->slots[i])) {
            *find(&larger, m->slots[i].key, m->slots[i].hash) = m->slots[i];
        }
    }
    free(m->slots);
    *m = larger;
    return KD_OK;
}

// What is removed stays counted, so that removing and adding again takes a place more.
static enum kd_err make_room(struct kd_map *m, size_t n) {
    return (m->used + m->gone + m->kept + n) * 4 > m->cap * 3 ? resize(m, n) : KD_OK;
}

enum kd_err kd_map_add(struct kd_map *m, struct kd_bytes key, void *value) {
    assert(value != NULL);
    const enum kd_err r = make_room(m, 1);
    if (r != KD_OK) {
        return r;
    }
    const uint64_t hash = hash_of(m->seed, key);
    struct kd_map_slot *slot = find(m, key, hash);
    assert(slot->value == NULL);
    *slot = (struct kd_map_slot) { .key = key, .value = value, .hash = hash };
    m->used++;
    return KD_OK;
}

enum kd_err kd_map_keep(struct kd_map *m, size_t n) {
    const enum kd_err r = make_room(m, n);
    m->kept += r == KD_OK ? n : 0;
    return r;
}

void kd_map_unkeep(struct kd_map *m, size_t n) {
    assert(n <= m->kept);
    m->kept -= n;
}

void *kd_map_remove(struct kd_map *m, struct kd_bytes key) {
    if (m->used == 0) {
        return NULL;
    }
    struct kd_map_slot *slot = find(m, key, hash_of(m->seed, key));
    void *value = slot->value;
    if (value == NULL) {
        return NULL;
    }
    *slot = (struct kd_map_slot) { .value = (void *)(uintptr_t)&gone_mark };
    m->used--;
    m->gone++;
    return value;
}

void *kd_map_named(struct kd_map *m, const char *name, size_t size) {
    char *object = kd_map_get(m, kd_bytes_of_text(name));
    if (object != NULL) {
        return object;
    }
    const size_t n = strlen(name);
    assert(n <= KD_NAME_MAX_BYTES && n < size);
    object = calloc(1, size);
    if (object == NULL) {
        return NULL;
    }
    memcpy(object, name, n);
    if (kd_map_add(m, kd_bytes_of_text(object), object) != KD_OK) {
        free(object);
        return NULL;
    }
    return object;
}

void kd_map_free_named(struct kd_map *m, void *object) {
    (void)kd_map_remove(m, kd_bytes_of_text(object));
    free(object);
}

size_t kd_map_count(const struct kd_map *m) {
    return m->used;
}

void *kd_map_next(const struct kd_map *m, size_t *cursor) {
    while (*cursor < m->cap) {
        struct kd_map_slot *slot = &m->slots[(*cursor)++];
        if (slot->value != NULL && !is_gone(slot)) {
            return slot->value;
        }
    }
    return NULL;
}
