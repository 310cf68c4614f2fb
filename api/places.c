// SPDX-License-Identifier: Apache-2.0
// places.c: see places.h.  Each holder has a list of its connections that may make room, and those
// whose list is not empty are in a heap, so that each step costs the logarithm of their number.
#include "api/places.h"

#include "api/http.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIRST_CAP = 16 };

// ---- the heap --------------------------------------------------------------

static void put(struct kd_places *p, size_t rank, struct kd_holder *h) {
    p->ranked[rank] = h;
    h->rank = rank;
}

// To where it belongs, when its number has changed or it is new at its rank.
static void settle(struct kd_places *p, struct kd_holder *h) {
    size_t at = h->rank;
    for (; at > 0 && p->ranked[(at - 1) / 2]->n < h->n; at = (at - 1) / 2) {
        put(p, at, p->ranked[(at - 1) / 2]);
    }
    for (size_t child; (child = 2 * at + 1) < p->n_ranked; at = child) {
        if (child + 1 < p->n_ranked && p->ranked[child + 1]->n > p->ranked[child]->n) {
            child++;
        }
        if (p->ranked[child]->n <= h->n) {
            break;
        }
        put(p, at, p->ranked[child]);
    }
    put(p, at, h);
}

// Strangers and surplus have no name, and no rank.
static bool is_ranked(const struct kd_holder *h) {
    return h->name[0] != '\0' && h->first != NULL;
}

static void rank(struct kd_places *p, struct kd_holder *h) {
    put(p, p->n_ranked++, h);
    settle(p, h);
}

static void unrank(struct kd_places *p, const struct kd_holder *h) {
    struct kd_holder *last = p->ranked[--p->n_ranked];
    if (last != h) {
        put(p, h->rank, last);
        settle(p, last);
    }
}

// ---- those that may make room ----------------------------------------------

void kd_places_list(struct kd_places *p, struct kd_connection *c) {
    struct kd_holder *h = c->holder;
    if (c->is_listed) {
        return;
    }
    c->is_listed = true;
    c->before = h->last;
    c->behind = NULL;
    *(h->last == NULL ? &h->first : &h->last->behind) = c;
    h->last = c;
    if (h->first == c && is_ranked(h)) {
        rank(p, h);
    }
}

void kd_places_unlist(struct kd_places *p, struct kd_connection *c) {
    struct kd_holder *h = c->holder;
    if (!c->is_listed) {
        return;
    }
    const bool was_ranked = is_ranked(h);
    c->is_listed = false;
    *(c->before == NULL ? &h->first : &c->before->behind) = c->behind;
    *(c->behind == NULL ? &h->last : &c->behind->before) = c->before;
    if (was_ranked && !is_ranked(h)) {
        unrank(p, h);
    }
}

void kd_places_begin(struct kd_places *p, struct kd_connection *c) {
    if (c->holder->name[0] != '\0') {
        kd_places_unlist(p, c);
    }
}

struct kd_connection *kd_places_idle_of_most(const struct kd_places *p, size_t n) {
    return p->n_ranked > 0 && p->ranked[0]->n > n ? p->ranked[0]->first : NULL;
}

// ---- holders ---------------------------------------------------------------

static enum kd_err make_holder(struct kd_places *p, const char *name, struct kd_holder **out) {
    if (kd_map_count(&p->holders) == p->cap) {
        const size_t cap = p->cap == 0 ? FIRST_CAP : 2 * p->cap;
        struct kd_holder **ranked = realloc(p->ranked, cap * sizeof(struct kd_holder *));
        if (ranked == NULL) {
            return KD_ERR_NO_MEMORY;
        }
        p->ranked = ranked;
        p->cap = cap;
    }
    struct kd_holder *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    snprintf(h->name, sizeof(h->name), "%s", name);
    const enum kd_err r = kd_map_add(&p->holders, kd_bytes_of_text(h->name), h);
    if (r != KD_OK) {
        free(h);
        return r;
    }
    *out = h;
    return KD_OK;
}

static void join(struct kd_places *p, struct kd_connection *c, struct kd_holder *h) {
    if (c->holder == h) {
        kd_places_unlist(p, c);
        return;
    }
    if (c->holder != NULL) {
        kd_places_leave(p, c);
    }
    c->holder = h;
    h->n++;
    if (is_ranked(h)) {
        settle(p, h);
    }
}

enum kd_err kd_places_give(struct kd_places *p, struct kd_connection *c, const char *name) {
    struct kd_holder *h =
        name == NULL ? &p->strangers : kd_map_get(&p->holders, kd_bytes_of_text(name));
    const enum kd_err r = h != NULL ? KD_OK : make_holder(p, name, &h);
    if (r == KD_OK) {
        join(p, c, h);
    }
    return r;
}

void kd_places_bar(struct kd_places *p, struct kd_connection *c) {
    join(p, c, &p->surplus);
}

void kd_places_leave(struct kd_places *p, struct kd_connection *c) {
    struct kd_holder *h = c->holder;
    kd_places_unlist(p, c);
    c->holder = NULL;
    h->n--;
    if (is_ranked(h)) {
        settle(p, h);
    }
    if (h->n == 0 && h->name[0] != '\0') {
        (void)kd_map_remove(&p->holders, kd_bytes_of_text(h->name));
        free(h);
    }
}

void kd_places_wipe(struct kd_places *p) {
    kd_map_wipe(&p->holders);
    free(p->ranked);
    p->ranked = NULL;
}
