// SPDX-License-Identifier: Apache-2.0
// places.c: see places.h.  Each holder has lines of its connections that may make room, and the
// holders whose line is not empty are in a heap: a step costs the logarithm of their number.
#include "api/places.h"

#include "api/http.h"

// ---- the heaps -------------------------------------------------------------

static bool is_named(const struct kd_holder *h) {
    return h->name[0] != '\0';
}

// When its number has changed, or the line has its first.
static void rank(struct kd_places *p, enum kd_line_id line, struct kd_holder *h) {
    kd_heap_put(&p->ranked[line], &h->lines[line].node, UINT64_MAX - h->n);
}

static void rank_all(struct kd_places *p, struct kd_holder *h) {
    for (enum kd_line_id line = 0; line < KD_LINES; line++) {
        if (is_named(h) && h->lines[line].first != NULL) {
            rank(p, line, h);
        }
    }
}

// ---- the lines -------------------------------------------------------------

static void step_out(struct kd_places *p, struct kd_connection *c) {
    const enum kd_line_id id = c->line;
    if (id == KD_LINE_NONE) {
        return;
    }
    struct kd_line *line = &c->holder->lines[id];
    *(c->before == NULL ? &line->first : &c->before->behind) = c->behind;
    *(c->behind == NULL ? &line->last : &c->behind->before) = c->before;
    c->line = KD_LINE_NONE;
    if (line->first == NULL) {
        kd_heap_remove(&p->ranked[id], &line->node);
    }
}

static void step_in(struct kd_places *p, struct kd_connection *c, enum kd_line_id id) {
    struct kd_line *line = &c->holder->lines[id];
    c->line = id;
    c->before = line->last;
    c->behind = NULL;
    *(line->last == NULL ? &line->first : &line->last->behind) = c;
    line->last = c;
    if (line->first == c && is_named(c->holder)) {
        rank(p, id, c->holder);
    }
}

void kd_places_line_up(struct kd_places *p, struct kd_connection *c, enum kd_line_id line) {
    step_out(p, c);
    if (line != KD_LINE_NONE) {
        step_in(p, c, line);
    }
}

void kd_places_wait(struct kd_places *p, struct kd_connection *c, enum kd_line_id line) {
    if (is_named(c->holder)) {
        kd_places_line_up(p, c, line);
    } else if (c->line == KD_LINE_NONE) {
        step_in(p, c, KD_LINE_IDLE);
    }
}

struct kd_connection *kd_places_of_most(const struct kd_places *p, enum kd_line_id line, size_t n) {
    struct kd_heap_node *first = kd_heap_first(&p->ranked[line]);
    return first != NULL && UINT64_MAX - first->rank > n
               ? KD_HEAP_OF(struct kd_line, node, first)->first
               : NULL;
}

// ---- holders ---------------------------------------------------------------

// NULL without memory.
static struct kd_holder *holder_of(struct kd_places *p, const char *name) {
    for (enum kd_line_id line = 0; line < KD_LINES; line++) {
        if (kd_heap_make_room(&p->ranked[line], kd_map_count(&p->holders) + 1) != KD_OK) {
            return NULL;
        }
    }
    return kd_map_named(&p->holders, name, sizeof(struct kd_holder));
}

static void join(struct kd_places *p, struct kd_connection *c, struct kd_holder *h) {
    if (c->holder == h) {
        step_out(p, c);
        return;
    }
    if (c->holder != NULL) {
        kd_places_leave(p, c);
    }
    c->holder = h;
    c->line = KD_LINE_NONE;
    h->n++;
    rank_all(p, h);
}

enum kd_err kd_places_give(struct kd_places *p, struct kd_connection *c, const char *name) {
    struct kd_holder *h = name == NULL ? &p->strangers : holder_of(p, name);
    if (h == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    join(p, c, h);
    return KD_OK;
}

void kd_places_bar(struct kd_places *p, struct kd_connection *c) {
    join(p, c, &p->surplus);
}

void kd_places_leave(struct kd_places *p, struct kd_connection *c) {
    struct kd_holder *h = c->holder;
    step_out(p, c);
    c->holder = NULL;
    h->n--;
    rank_all(p, h);
    if (h->n == 0 && is_named(h)) {
        kd_map_free_named(&p->holders, h);
    }
}

void kd_places_wipe(struct kd_places *p) {
    kd_map_wipe(&p->holders);
    for (enum kd_line_id line = 0; line < KD_LINES; line++) {
        kd_heap_wipe(&p->ranked[line]);
    }
    *p = (struct kd_places) { 0 };
}
