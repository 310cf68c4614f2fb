// SPDX-License-Identifier: Apache-2.0
// registry.c: a map for finding, a sorted array for listing.
#include "keyd/registry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char *const origin_names[] = {
    [KD_ORIGIN_CREATED] = "created",
    [KD_ORIGIN_ADOPTED] = "adopted",
    [KD_ORIGIN_IMPORTED] = "imported",
};

const char *kd_key_origin_name(enum kd_key_origin origin) {
    return (size_t)origin < KD_COUNT_OF(origin_names) ? origin_names[origin] : "?";
}

const struct kd_key_version *kd_key_primary(const struct kd_key *key) {
    for (size_t i = key->n_versions; i > 0; i--) {
        if (key->versions[i - 1].state == KD_VERSION_ENABLED) {
            return &key->versions[i - 1];
        }
    }
    return NULL;
}

// ---- versions --------------------------------------------------------------

// The three byte strings of a reference live in one piece of memory that
// starts at id.p; it is there even when all are empty.
static enum kd_err copy_version(const struct kd_key_version *v, struct kd_key_version *out) {
    const struct kd_key_ref *ref = &v->ref;
    uint8_t *p = malloc(ref->id.n + ref->label.n + ref->proof.n + 1);
    if (p == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    struct kd_key_version copy = *v;
    struct kd_bytes *const parts[] = { &copy.ref.id, &copy.ref.label, &copy.ref.proof };
    uint8_t *at = p;
    for (size_t i = 0; i < KD_COUNT_OF(parts); i++) {
        if (parts[i]->n > 0) {
            memcpy(at, parts[i]->p, parts[i]->n);
        }
        parts[i]->p = at;
        at += parts[i]->n;
    }
    *out = copy;
    return KD_OK;
}

static void wipe_version(struct kd_key_version *v) {
    free((void *)(uintptr_t)v->ref.id.p);
    *v = (struct kd_key_version) { 0 };
}

static enum kd_err make_room(struct kd_key *key, size_t n) {
    struct kd_key_version *versions =
        realloc(key->versions, (key->n_versions + n) * sizeof(*versions));
    if (versions == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    key->versions = versions;
    return KD_OK;
}

static bool is_next(const struct kd_key *key, const struct kd_key_version *v) {
    return key->n_versions == 0 || key->versions[key->n_versions - 1].number < v->number;
}

enum kd_err kd_entry_add_version(struct kd_entry *e, const struct kd_key_version *v) {
    struct kd_key *key = &e->key;
    assert(is_next(key, v));
    enum kd_err r = make_room(key, e->has_pending ? 2 : 1);
    if (r == KD_OK && (r = copy_version(v, &key->versions[key->n_versions])) == KD_OK) {
        key->n_versions++;
    }
    return r;
}

enum kd_err kd_entry_set_pending(struct kd_entry *e, const struct kd_key_version *v) {
    assert(!e->has_pending);
    enum kd_err r = make_room(&e->key, 1);
    if (r == KD_OK) {
        r = copy_version(v, &e->pending);
    }
    e->has_pending = r == KD_OK;
    return r;
}

void kd_entry_take_pending(struct kd_entry *e) {
    assert(e->has_pending && is_next(&e->key, &e->pending));
    e->key.versions[e->key.n_versions++] = e->pending;
    e->pending = (struct kd_key_version) { 0 };
    e->has_pending = false;
}

void kd_entry_drop_pending(struct kd_entry *e) {
    if (e->has_pending) {
        wipe_version(&e->pending);
        e->has_pending = false;
    }
}

void kd_entry_forget_version(struct kd_entry *e, uint32_t number) {
    struct kd_key *key = &e->key;
    struct kd_key_version *v = kd_entry_version(e, number);
    if (v != NULL) {
        const size_t at = (size_t)(v - key->versions);
        wipe_version(v);
        memmove(v, v + 1, (key->n_versions - at - 1) * sizeof(*v));
        key->n_versions--;
    }
    e->destroyed = number > e->destroyed ? number : e->destroyed;
}

enum kd_err kd_entry_set_certificate(struct kd_entry *e, struct kd_bytes der) {
    if (der.n == 0) {
        return KD_OK;
    }
    uint8_t *p = malloc(der.n);
    if (p == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    memcpy(p, der.p, der.n);
    free((void *)(uintptr_t)e->key.certificate.p);
    e->key.certificate = (struct kd_bytes) { p, der.n };
    return KD_OK;
}

struct kd_key_version *kd_entry_version(const struct kd_entry *e, uint32_t number) {
    for (size_t i = 0; i < e->key.n_versions; i++) {
        if (e->key.versions[i].number == number) {
            return &e->key.versions[i];
        }
    }
    return NULL;
}

struct kd_key_version *kd_entry_next_destroying(const struct kd_entry *e, uint32_t number) {
    for (size_t i = 0; i < e->key.n_versions; i++) {
        struct kd_key_version *v = &e->key.versions[i];
        if (v->state == KD_VERSION_DESTROYING && v->number > number) {
            return v;
        }
    }
    return NULL;
}

uint32_t kd_entry_last_number(const struct kd_entry *e) {
    const size_t n = e->key.n_versions;
    const uint32_t numbers[] = { n == 0 ? 0 : e->key.versions[n - 1].number, e->pending.number };
    uint32_t last = e->destroyed;
    for (size_t i = 0; i < KD_COUNT_OF(numbers); i++) {
        last = numbers[i] > last ? numbers[i] : last;
    }
    return last;
}

// ---- entries ---------------------------------------------------------------

static struct kd_bytes name_of(const struct kd_entry *e) {
    return kd_bytes_of_text(e->key.name);
}

// Index of the first entry whose name is greater than `name`.
static size_t index_after(const struct kd_registry *g, const char *name) {
    size_t low = 0;
    size_t high = g->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(g->sorted[middle]->key.name, name) > 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static void free_entry(struct kd_entry *e) {
    for (size_t i = 0; i < e->key.n_versions; i++) {
        wipe_version(&e->key.versions[i]);
    }
    kd_entry_drop_pending(e);
    free(e->key.versions);
    free((void *)(uintptr_t)e->key.certificate.p);
    free(e);
}

static enum kd_err insert(struct kd_registry *g, struct kd_entry *e) {
    if (g->n == g->cap) {
        const size_t cap = g->cap == 0 ? 64 : g->cap * 2;
        struct kd_entry **sorted = realloc(g->sorted, cap * sizeof(struct kd_entry *));
        if (sorted == NULL) {
            return KD_ERR_NO_MEMORY;
        }
        g->sorted = sorted;
        g->cap = cap;
    }
    enum kd_err r = kd_map_add(&g->by_name, name_of(e), e);
    if (r != KD_OK) {
        return r;
    }
    const size_t at = index_after(g, e->key.name);
    memmove(&g->sorted[at + 1], &g->sorted[at], (g->n - at) * sizeof(struct kd_entry *));
    g->sorted[at] = e;
    g->n++;
    return KD_OK;
}

enum kd_err kd_registry_reserve(struct kd_registry *g, const char *name, enum kd_key_type type,
                                unsigned usages, enum kd_key_origin origin, struct kd_entry **out) {
    assert(strlen(name) <= KD_NAME_MAX_BYTES && kd_registry_get(g, name) == NULL);
    struct kd_entry *e = calloc(1, sizeof(*e));
    if (e == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    memcpy(e->key.name, name, strlen(name));
    e->key.type = type;
    e->key.usages = usages;
    e->key.origin = origin;
    e->key.created_ms = kd_clock_wall_ms();
    enum kd_err r = insert(g, e);
    if (r != KD_OK) {
        free_entry(e);
        return r;
    }
    *out = e;
    return KD_OK;
}

void kd_registry_remove(struct kd_registry *g, struct kd_entry *e) {
    const size_t at = index_after(g, e->key.name) - 1;
    assert(g->sorted[at] == e);
    memmove(&g->sorted[at], &g->sorted[at + 1], (g->n - at - 1) * sizeof(struct kd_entry *));
    g->n--;
    kd_map_remove(&g->by_name, name_of(e));
    free_entry(e);
}

bool kd_entry_is_busy(const struct kd_entry *e) {
    return e->change != NULL || e->has_pending;
}

bool kd_entry_is_open(const struct kd_entry *e) {
    return e->has_pending || e->is_deleting || kd_entry_next_destroying(e, 0) != NULL;
}

void kd_registry_wipe(struct kd_registry *g) {
    for (size_t i = 0; i < g->n; i++) {
        free_entry(g->sorted[i]);
    }
    free(g->sorted);
    kd_map_wipe(&g->by_name);
    *g = KD_REGISTRY_INIT;
}

struct kd_entry *kd_registry_get(const struct kd_registry *g, const char *name) {
    return kd_map_get(&g->by_name, kd_bytes_of_text(name));
}

struct kd_entry *kd_registry_next(const struct kd_registry *g, const char *after) {
    const size_t at = after == NULL ? 0 : index_after(g, after);
    return at < g->n ? g->sorted[at] : NULL;
}

size_t kd_registry_count(const struct kd_registry *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        n += g->sorted[i]->key.n_versions > 0;
    }
    return n;
}

static bool is_same_object(const struct kd_key_ref *a, const struct kd_key_ref *b) {
    return a->type == b->type && a->id.n > 0 && kd_bytes_equal(a->id, b->id) &&
           kd_bytes_equal(a->label, b->label);
}

bool kd_registry_has_object(const struct kd_registry *g, const struct kd_key_ref *ref) {
    for (size_t i = 0; i < g->n; i++) {
        const struct kd_entry *e = g->sorted[i];
        if (e->has_pending && is_same_object(&e->pending.ref, ref)) {
            return true;
        }
        for (size_t v = 0; v < e->key.n_versions; v++) {
            if (is_same_object(&e->key.versions[v].ref, ref)) {
                return true;
            }
        }
    }
    return false;
}

enum kd_err kd_registry_load(void *registry, const struct kd_store_row *row) {
    struct kd_registry *g = registry;
    struct kd_entry *e = kd_registry_get(g, row->name);
    enum kd_err r = KD_OK;
    if (e == NULL) {
        r = kd_registry_reserve(g, row->name, row->type, row->usages, row->origin, &e);
        if (r != KD_OK || (r = kd_entry_set_certificate(e, row->certificate)) != KD_OK) {
            return r;
        }
        e->key.created_ms = row->created_ms;
        e->is_deleting = row->is_deleting;
        e->destroyed = row->last_number;
    }
    if (row->version.state == KD_VERSION_PENDING) {
        return e->has_pending ? KD_ERR_STORE : kd_entry_set_pending(e, &row->version);
    }
    return kd_entry_add_version(e, &row->version);
}
