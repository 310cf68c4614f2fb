// SPDX-License-Identifier: Apache-2.0
// spent.c: ids of envelopes, in a map and in the order of their coming.
#include "keyd/envelopes.h"

#include <stdlib.h>
#include <string.h>

enum { SWEPT = 64 }; // looked at, at most, when one is added

struct kd_spent_entry {
    struct kd_spent_entry *next, *previous;
    uint64_t until_ms;
    uint8_t id[KD_ENVELOPE_ID_BYTES];
};

static struct kd_bytes id_of(const struct kd_spent_entry *e) {
    return (struct kd_bytes) { e->id, sizeof(e->id) };
}

void kd_spent_init(struct kd_spent *s, size_t max, uint64_t soon_ms) {
    *s = (struct kd_spent) { .by_id = KD_MAP_INIT, .max = max, .soon_ms = soon_ms };
}

static void unlink_entry(struct kd_spent *s, struct kd_spent_entry *e) {
    *(e->previous == NULL ? &s->oldest : &e->previous->next) = e->next;
    *(e->next == NULL ? &s->newest : &e->next->previous) = e->previous;
}

static void link_newest(struct kd_spent *s, struct kd_spent_entry *e) {
    e->next = NULL;
    e->previous = s->newest;
    *(s->newest == NULL ? &s->oldest : &s->newest->next) = e;
    s->newest = e;
}

void kd_spent_remove(struct kd_spent *s, struct kd_bytes id) {
    struct kd_spent_entry *e = kd_map_remove(&s->by_id, id);
    if (e != NULL) {
        unlink_entry(s, e);
        free(e);
    }
}

void kd_spent_wipe(struct kd_spent *s) {
    while (s->oldest != NULL) {
        kd_spent_remove(s, id_of(s->oldest));
    }
    kd_map_wipe(&s->by_id);
}

enum kd_err kd_spent_check(const struct kd_spent *s, struct kd_bytes id, uint64_t until_ms) {
    if (kd_map_get(&s->by_id, id) != NULL) {
        return KD_ERR_ENVELOPE_REPLAYED;
    }
    return until_ms <= s->floor_ms ? KD_ERR_ENVELOPE_TIME : KD_OK;
}

static void raise_floor(struct kd_spent *s, uint64_t ms) {
    s->floor_ms = s->floor_ms < ms ? ms : s->floor_ms;
}

// They come in the order of their ends, nearly: those that end late are put behind the
// newest, so that each is looked at again in its turn.
static void sweep(struct kd_spent *s, uint64_t now_ms) {
    struct kd_spent_entry *e = s->oldest;
    for (size_t i = 0; i < SWEPT && e != NULL; i++) {
        struct kd_spent_entry *next = e->next;
        if (e->until_ms <= now_ms) {
            raise_floor(s, e->until_ms);
            kd_spent_remove(s, id_of(e));
        } else if (next != NULL) {
            unlink_entry(s, e);
            link_newest(s, e);
        }
        e = next;
    }
}

static enum kd_err add(struct kd_spent *s, struct kd_bytes id, uint64_t until_ms) {
    struct kd_spent_entry *e = calloc(1, sizeof(*e));
    if (e == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    memcpy(e->id, id.p, sizeof(e->id));
    e->until_ms = until_ms;
    const enum kd_err r = kd_map_add(&s->by_id, id_of(e), e);
    if (r != KD_OK) {
        free(e);
        return r;
    }
    link_newest(s, e);
    return KD_OK;
}

enum kd_err kd_spent_load(void *spent, struct kd_bytes id, uint64_t until_ms) {
    struct kd_spent *s = spent;
    if (id.n == 0) {
        raise_floor(s, until_ms);
        return KD_OK;
    }
    // A list that was made shorter since keeps what it has.
    return id.n != KD_ENVELOPE_ID_BYTES || kd_map_get(&s->by_id, id) != NULL ? KD_ERR_FIELD_INVALID
                                                                             : add(s, id, until_ms);
}

// Whoever has the public key says how long an id is kept: what ends late takes half of the places
// at most, and the others are free again soon, whoever has filled them.
static bool has_place(const struct kd_spent *s, uint64_t until_ms, uint64_t now_ms) {
    const bool ends_soon = until_ms <= now_ms || until_ms - now_ms <= s->soon_ms;
    return kd_map_count(&s->by_id) < (ends_soon ? s->max : s->max - s->max / 2);
}

enum kd_err kd_spent_add(struct kd_spent *s, struct kd_bytes id, uint64_t until_ms,
                         uint64_t now_ms) {
    sweep(s, now_ms);
    const enum kd_err r = kd_spent_check(s, id, until_ms);
    if (r != KD_OK) {
        return r;
    }
    return has_place(s, until_ms, now_ms) ? add(s, id, until_ms) : KD_ERR_BUSY;
}
