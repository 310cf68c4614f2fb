// SPDX-License-Identifier: Apache-2.0
// ended.c: a map by kind and name, and an array that is sorted when it is full.
#include "keyd/ended.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX_BYTES = KD_NAME_MAX_BYTES + 1, FIRST_CAP = 64, TRIMMED_PART = 16 };

struct kd_ended_entry {
    uint64_t made_ms, until_ms;
    size_t n_key;
    uint8_t key[]; // the kind, then the name
};

static struct kd_bytes put_key(uint8_t out[static KEY_MAX_BYTES], enum kd_ended_kind kind,
                               struct kd_bytes name) {
    assert(name.n < KEY_MAX_BYTES);
    out[0] = (uint8_t)kind;
    if (name.n > 0) {
        memcpy(out + 1, name.p, name.n);
    }
    return (struct kd_bytes) { out, name.n + 1 };
}

static struct kd_bytes key_of(const struct kd_ended_entry *x) {
    return (struct kd_bytes) { x->key, x->n_key };
}

static void raise_floor(struct kd_ended *e, uint64_t made_ms) {
    e->floor_ms = made_ms > e->floor_ms ? made_ms : e->floor_ms;
}

// ---- room ------------------------------------------------------------------

static int by_time_made(const void *a, const void *b) {
    const struct kd_ended_entry *x = *(struct kd_ended_entry *const *)a;
    const struct kd_ended_entry *y = *(struct kd_ended_entry *const *)b;
    return x->made_ms < y->made_ms ? -1 : x->made_ms > y->made_ms;
}

// Drops what says nothing: tickets that have expired, or are below the floor.
static void sweep(struct kd_ended *e, uint64_t now_ms) {
    size_t kept = 0;
    for (size_t i = 0; i < e->n; i++) {
        struct kd_ended_entry *x = e->all[i];
        if (x->until_ms > now_ms && x->made_ms > e->floor_ms) {
            e->all[kept++] = x;
            continue;
        }
        kd_map_remove(&e->by_key, key_of(x));
        free(x);
    }
    e->n = kept;
}

// Some at once, so that not every session that ends costs a walk.
static void trim(struct kd_ended *e, uint64_t now_ms) {
    const size_t upto = e->max - 1 - e->max / TRIMMED_PART;
    sweep(e, now_ms);
    if (e->n <= upto) {
        return;
    }
    qsort(e->all, e->n, sizeof(struct kd_ended_entry *), by_time_made);
    raise_floor(e, e->all[e->n - upto - 1]->made_ms);
    sweep(e, now_ms);
}

static bool has_room(struct kd_ended *e) {
    if (e->n < e->cap) {
        return true;
    }
    const size_t cap = e->cap == 0 ? FIRST_CAP : e->cap * 2;
    struct kd_ended_entry **all = realloc(e->all, cap * sizeof(struct kd_ended_entry *));
    if (all == NULL) {
        return false;
    }
    e->all = all;
    e->cap = cap;
    return true;
}

// ---- the list --------------------------------------------------------------

static enum kd_err add(struct kd_ended *e, struct kd_bytes key, uint64_t made_ms,
                       uint64_t until_ms) {
    struct kd_ended_entry *x = kd_map_get(&e->by_key, key);
    if (x != NULL) { // a peer once more
        x->made_ms = made_ms > x->made_ms ? made_ms : x->made_ms;
        x->until_ms = until_ms > x->until_ms ? until_ms : x->until_ms;
        return KD_OK;
    }
    x = has_room(e) ? malloc(sizeof(*x) + key.n) : NULL;
    if (x == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *x = (struct kd_ended_entry) { made_ms, until_ms, key.n };
    memcpy(x->key, key.p, key.n);
    enum kd_err r = kd_map_add(&e->by_key, key_of(x), x);
    if (r != KD_OK) {
        free(x);
        return r;
    }
    e->all[e->n++] = x;
    return KD_OK;
}

bool kd_ended_add(struct kd_ended *e, enum kd_ended_kind kind, struct kd_bytes name,
                  uint64_t made_ms, uint64_t until_ms, uint64_t now_ms) {
    uint8_t raw[KEY_MAX_BYTES];
    const struct kd_bytes key = put_key(raw, kind, name);
    bool is_trimmed = e->n >= e->max && kd_map_get(&e->by_key, key) == NULL;
    if (is_trimmed) {
        trim(e, now_ms);
    }
    if (add(e, key, made_ms, until_ms) != KD_OK) {
        raise_floor(e, made_ms);
        is_trimmed = true;
    }
    return is_trimmed;
}

bool kd_ended_has(const struct kd_ended *e, struct kd_bytes session, struct kd_bytes peer,
                  uint64_t made_ms) {
    uint8_t raw[KEY_MAX_BYTES];
    if (made_ms <= e->floor_ms ||
        kd_map_get(&e->by_key, put_key(raw, KD_ENDED_SESSION, session)) != NULL) {
        return true;
    }
    const struct kd_ended_entry *x = kd_map_get(&e->by_key, put_key(raw, KD_ENDED_PEER, peer));
    return x != NULL && made_ms <= x->made_ms;
}

// ---- making, filling, freeing ----------------------------------------------

void kd_ended_init(struct kd_ended *e, size_t max) {
    assert(max > 0);
    *e = (struct kd_ended) { .max = max };
}

enum kd_err kd_ended_load(void *ended, const struct kd_store_ended *row) {
    struct kd_ended *e = ended;
    uint8_t raw[KEY_MAX_BYTES];
    if (row->kind == KD_ENDED_FLOOR) {
        raise_floor(e, row->made_ms);
        return KD_OK;
    }
    if (row->name.n >= KEY_MAX_BYTES) {
        return KD_ERR_FIELD_INVALID;
    }
    if (e->n >= e->max) { // the limit was higher
        trim(e, 0);
    }
    return add(e, put_key(raw, row->kind, row->name), row->made_ms, row->until_ms);
}

void kd_ended_wipe(struct kd_ended *e) {
    for (size_t i = 0; i < e->n; i++) {
        free(e->all[i]);
    }
    free(e->all);
    kd_map_wipe(&e->by_key);
    *e = (struct kd_ended) { 0 };
}
