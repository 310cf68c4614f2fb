// SPDX-License-Identifier: Apache-2.0
// ended.c: a map by kind and name, and a heap of the peers by what they have in it.
#include "keyd/ended.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX_BYTES = KD_NAME_MAX_BYTES + 1, FIRST_CAP = 64, TRIMMED_PART = 16 };

// What one peer has in the list.
struct kd_ended_share {
    size_t n;
    struct kd_heap_node node; // of rank UINT64_MAX - n
    struct kd_ended_entry *first;
    size_t n_name;
    uint8_t name[];
};

struct kd_ended_entry {
    uint64_t made_ms, until_ms;
    size_t at;                    // among all
    struct kd_ended_share *share; // NULL: it was noted by a keyd that did not say whose it is
    struct kd_ended_entry *before, *after;
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

static struct kd_ended_entry *get(const struct kd_ended *e, enum kd_ended_kind kind,
                                  struct kd_bytes name) {
    uint8_t raw[KEY_MAX_BYTES];
    return kd_map_get(&e->by_key, put_key(raw, kind, name));
}

static struct kd_bytes key_of(const struct kd_ended_entry *x) {
    return (struct kd_bytes) { x->key, x->n_key };
}

static struct kd_bytes name_of(const struct kd_ended_share *s) {
    return (struct kd_bytes) { s->name, s->n_name };
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

// With a place for one more; NULL: there is no memory, and it stays as it is.
static void *grow(void *array, size_t *cap, size_t n, size_t size) {
    if (n < *cap) {
        return array;
    }
    const size_t more = *cap == 0 ? FIRST_CAP : *cap * 2;
    void *p = realloc(array, more * size);
    *cap = p == NULL ? *cap : more;
    return p;
}

static struct kd_bytes peer_of(const struct kd_store_ended *row) {
    return row->kind == KD_ENDED_PEER ? row->name : row->peer;
}

// ---- shares ----------------------------------------------------------------

static struct kd_ended_share *share_at(struct kd_heap_node *node) {
    return node == NULL ? NULL : KD_HEAP_OF(struct kd_ended_share, node, node);
}

// It has so many now.
static void set_number(struct kd_ended *e, struct kd_ended_share *s, size_t n) {
    s->n = n;
    kd_heap_put(&e->shares, &s->node, UINT64_MAX - n);
}

static struct kd_ended_share *share_of(struct kd_ended *e, struct kd_bytes peer) {
    struct kd_ended_share *s = kd_map_get(&e->by_peer, peer);
    if (s != NULL) {
        return s;
    }
    if (kd_heap_make_room(&e->shares, e->shares.n + 1) != KD_OK) {
        return NULL;
    }
    s = malloc(sizeof(*s) + peer.n);
    if (s == NULL) {
        return NULL;
    }
    *s = (struct kd_ended_share) { .n_name = peer.n };
    memcpy(s->name, peer.p, peer.n);
    if (kd_map_add(&e->by_peer, name_of(s), s) != KD_OK) {
        free(s);
        return NULL;
    }
    set_number(e, s, 0);
    return s;
}

static void drop_share_if_empty(struct kd_ended *e, struct kd_ended_share *s) {
    if (s->n > 0) {
        return;
    }
    kd_heap_remove(&e->shares, &s->node);
    kd_map_remove(&e->by_peer, name_of(s));
    free(s);
}

static void join(struct kd_ended *e, struct kd_ended_share *s, struct kd_ended_entry *x) {
    x->share = s;
    x->after = s->first;
    if (s->first != NULL) {
        s->first->before = x;
    }
    s->first = x;
    set_number(e, s, s->n + 1);
}

static void leave(struct kd_ended *e, const struct kd_ended_entry *x) {
    struct kd_ended_share *s = x->share;
    *(x->before == NULL ? &s->first : &x->before->after) = x->after;
    if (x->after != NULL) {
        x->after->before = x->before;
    }
    set_number(e, s, s->n - 1);
    drop_share_if_empty(e, s);
}

// ---- entries ---------------------------------------------------------------

static void drop(struct kd_ended *e, struct kd_ended_entry *x) {
    struct kd_ended_entry *last = e->all[--e->n];
    e->all[x->at] = last;
    last->at = x->at;
    kd_map_remove(&e->by_key, key_of(x));
    if (x->share != NULL) {
        leave(e, x);
    }
    free(x);
}

static struct kd_ended_entry *new_entry(struct kd_ended *e, const struct kd_store_ended *row) {
    uint8_t raw[KEY_MAX_BYTES];
    const struct kd_bytes key = put_key(raw, row->kind, row->name);
    struct kd_ended_entry **all = grow(e->all, &e->cap, e->n, sizeof(struct kd_ended_entry *));
    if (all == NULL) {
        return NULL;
    }
    e->all = all;
    struct kd_ended_entry *x = malloc(sizeof(*x) + key.n);
    if (x == NULL) {
        return NULL;
    }
    *x = (struct kd_ended_entry) {
        .made_ms = row->made_ms, .until_ms = row->until_ms, .at = e->n, .n_key = key.n
    };
    memcpy(x->key, key.p, key.n);
    if (kd_map_add(&e->by_key, key_of(x), x) != KD_OK) {
        free(x);
        return NULL;
    }
    e->all[e->n++] = x;
    e->n_since_sweep++;
    return x;
}

// The peer's end says it already.
static bool is_covered(const struct kd_ended_entry *of_peer, uint64_t made_ms, uint64_t until_ms) {
    return of_peer != NULL && made_ms <= of_peer->made_ms && until_ms <= of_peer->until_ms;
}

static void drop_covered(struct kd_ended *e, const struct kd_ended_entry *of_peer) {
    for (struct kd_ended_entry *x = of_peer->share->first, *after; x != NULL; x = after) {
        after = x->after;
        if (x != of_peer && is_covered(of_peer, x->made_ms, x->until_ms)) {
            drop(e, x);
        }
    }
}

static enum kd_err add(struct kd_ended *e, const struct kd_store_ended *row) {
    const bool is_peer = row->kind == KD_ENDED_PEER;
    const struct kd_bytes peer = peer_of(row);
    if (!is_peer && is_covered(get(e, KD_ENDED_PEER, peer), row->made_ms, row->until_ms)) {
        return KD_OK;
    }
    struct kd_ended_entry *x = get(e, row->kind, row->name);
    if (x == NULL) {
        struct kd_ended_share *s = peer.n == 0 ? NULL : share_of(e, peer);
        if ((peer.n != 0 && s == NULL) || (x = new_entry(e, row)) == NULL) {
            if (s != NULL) {
                drop_share_if_empty(e, s);
            }
            return KD_ERR_NO_MEMORY;
        }
        if (s != NULL) {
            join(e, s, x);
        }
    }
    x->made_ms = later(x->made_ms, row->made_ms); // a peer once more
    x->until_ms = later(x->until_ms, row->until_ms);
    if (is_peer && x->share != NULL) {
        drop_covered(e, x);
    }
    return KD_OK;
}

// ---- room ------------------------------------------------------------------

static void raise_floor(struct kd_ended *e, uint64_t made_ms) {
    e->floor_ms = later(e->floor_ms, made_ms);
}

// Drops what says nothing: tickets that have expired, or are below the floor.
static void sweep(struct kd_ended *e, uint64_t now_ms) {
    for (size_t i = 0; i < e->n;) {
        struct kd_ended_entry *x = e->all[i];
        if (x->until_ms > now_ms && x->made_ms > e->floor_ms) {
            i++;
        } else {
            drop(e, x);
        }
    }
    e->n_since_sweep = 0;
}

// One end in the place of all that the peer has; nothing else of it is refused than what was made
// before the last of these.  It is small again, so that each ending pays for one of them.
static void end_peer(struct kd_ended *e, const struct kd_ended_share *s,
                     struct kd_store_ended *of_peer) {
    uint8_t name[KD_NAME_MAX_BYTES];
    struct kd_store_ended row = { .kind = KD_ENDED_PEER, .name = { name, s->n_name } };
    memcpy(name, s->name, s->n_name);
    for (const struct kd_ended_entry *x = s->first; x != NULL; x = x->after) {
        row.made_ms = later(row.made_ms, x->made_ms);
        row.until_ms = later(row.until_ms, x->until_ms);
    }
    if (add(e, &row) != KD_OK) {
        raise_floor(e, row.made_ms);
        return;
    }
    *of_peer = row;
    of_peer->name = name_of(kd_map_get(&e->by_peer, row.name));
}

static int by_time_made(const void *a, const void *b) {
    const struct kd_ended_entry *x = *(struct kd_ended_entry *const *)a;
    const struct kd_ended_entry *y = *(struct kd_ended_entry *const *)b;
    return x->made_ms < y->made_ms ? -1 : x->made_ms > y->made_ms;
}

// Some at once, so that not every session that ends costs a walk.
static void drop_oldest(struct kd_ended *e, uint64_t now_ms) {
    const size_t upto = e->max - e->max / TRIMMED_PART;
    qsort(e->all, e->n, sizeof(struct kd_ended_entry *), by_time_made);
    for (size_t i = 0; i < e->n; i++) {
        e->all[i]->at = i;
    }
    raise_floor(e, e->all[e->n - upto - 1]->made_ms);
    sweep(e, now_ms);
}

// The peer that has the most; of several the one that asks for room.  NULL: none has two.
static const struct kd_ended_share *largest(const struct kd_ended *e, struct kd_bytes peer) {
    const struct kd_ended_share *first = share_at(kd_heap_first(&e->shares));
    const struct kd_ended_share *own = kd_map_get(&e->by_peer, peer);
    if (first == NULL || first->n < 2) {
        return NULL;
    }
    return own != NULL && own->n == first->n ? own : first;
}

// It has one more than it may, that of `row`.
static bool make_room(struct kd_ended *e, const struct kd_store_ended *row, uint64_t now_ms,
                      struct kd_store_ended *of_peer) {
    const size_t n = e->n;
    if (e->n_since_sweep > e->max / TRIMMED_PART) {
        sweep(e, now_ms);
    }
    const bool is_swept = e->n < n;
    if (e->n <= e->max) {
        return is_swept;
    }
    const struct kd_ended_share *most = largest(e, peer_of(row));
    if (most != NULL) {
        end_peer(e, most, of_peer);
    }
    if (e->n <= e->max) {
        return is_swept;
    }
    drop_oldest(e, now_ms);
    return true;
}

// ---- the list --------------------------------------------------------------

bool kd_ended_add(struct kd_ended *e, const struct kd_store_ended *row, uint64_t now_ms,
                  struct kd_store_ended *of_peer) {
    *of_peer = (struct kd_store_ended) { 0 };
    if (add(e, row) != KD_OK) {
        raise_floor(e, row->made_ms);
        return true;
    }
    return e->n > e->max && make_room(e, row, now_ms, of_peer);
}

bool kd_ended_has(const struct kd_ended *e, struct kd_bytes session, struct kd_bytes peer,
                  uint64_t made_ms) {
    if (made_ms <= e->floor_ms || get(e, KD_ENDED_SESSION, session) != NULL) {
        return true;
    }
    const struct kd_ended_entry *x = get(e, KD_ENDED_PEER, peer);
    return x != NULL && made_ms <= x->made_ms;
}

// ---- making, filling, freeing ----------------------------------------------

void kd_ended_init(struct kd_ended *e, size_t max) {
    assert(max > 0);
    *e = (struct kd_ended) { .max = max };
}

enum kd_err kd_ended_load(void *ended, const struct kd_store_ended *row) {
    struct kd_ended *e = ended;
    struct kd_store_ended of_peer;
    if (row->kind == KD_ENDED_FLOOR) {
        raise_floor(e, row->made_ms);
        return KD_OK;
    }
    if (row->name.n >= KEY_MAX_BYTES || row->peer.n >= KEY_MAX_BYTES) {
        return KD_ERR_FIELD_INVALID;
    }
    const enum kd_err r = add(e, row);
    if (r == KD_OK && e->n > e->max) { // the limit was higher
        const bool is_trimmed KD_UNUSED = make_room(e, row, 0, &of_peer);
    }
    return r;
}

void kd_ended_wipe(struct kd_ended *e) {
    for (size_t i = 0; i < e->n; i++) {
        free(e->all[i]);
    }
    for (size_t i = 0; i < e->shares.n; i++) {
        free(share_at(e->shares.nodes[i]));
    }
    free(e->all);
    kd_heap_wipe(&e->shares);
    kd_map_wipe(&e->by_key);
    kd_map_wipe(&e->by_peer);
    *e = (struct kd_ended) { 0 };
}
