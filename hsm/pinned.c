// SPDX-License-Identifier: Apache-2.0
// pinned.c: see pinned.h.
#include "hsm/session.h"

#include <string.h>

enum { LOOKED_AT = 256 }; // by one search for what is over: it is under the lock

static struct kd_bytes id_of(const struct kd_pinned *p) {
    return (struct kd_bytes) { p->id, sizeof(p->id) };
}

// ---- the list, under the token's lock ----------------------------------------

static void unlink_entry(struct kd_pinned_cache *c, struct kd_pinned *p) {
    *(p->newer == NULL ? &c->newest : &p->newer->older) = p->older;
    *(p->older == NULL ? &c->oldest : &p->older->newer) = p->newer;
    p->newer = p->older = NULL;
}

static void link_newest(struct kd_pinned_cache *c, struct kd_pinned *p) {
    p->newer = NULL;
    p->older = c->newest;
    *(c->newest == NULL ? &c->oldest : &c->newest->newer) = p;
    c->newest = p;
}

// Gives it back if nobody uses it, to be freed outside of the lock.
static struct kd_pinned *take_out(struct kd_pinned_cache *c, struct kd_pinned *p) {
    unlink_entry(c, p);
    kd_map_remove(&c->by_id, id_of(p));
    p->is_forgotten = true;
    return p->pins == 0 ? p : NULL;
}

// The one used longest ago that nobody uses.
static struct kd_pinned *take_oldest(struct kd_pinned_cache *c) {
    struct kd_pinned *p = c->oldest;
    while (p != NULL && p->pins > 0) {
        p = p->newer;
    }
    return p == NULL ? NULL : take_out(c, p);
}

// ---- outside of it -----------------------------------------------------------

// NULL: nothing.
static void free_entry(struct kd_session *s, const struct kd_pinned_cache *c, struct kd_pinned *p) {
    if (p != NULL) {
        struct kd_token *t = s->token;
        pthread_mutex_lock(&t->lock);
        const bool is_live = p->generation == t->generation;
        pthread_mutex_unlock(&t->lock);
        if (is_live) { // else its handle may name another object by now, perhaps a key
            c->destroy(s, p);
        }
        c->free(t, p);
    }
}

struct kd_pinned *kd_pinned_get(struct kd_session *s, struct kd_pinned_cache *c,
                                const uint8_t *id) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    struct kd_pinned *p = kd_map_get(&c->by_id, (struct kd_bytes) { id, KD_HSM_SECRET_ID_BYTES });
    if (p != NULL) {
        unlink_entry(c, p);
        link_newest(c, p);
        p->pins++;
    }
    pthread_mutex_unlock(&t->lock);
    return p;
}

void kd_pinned_put(struct kd_session *s, struct kd_pinned_cache *c, struct kd_pinned *p) {
    struct kd_token *t = s->token;
    p->generation = s->generation;
    p->pins = 1;
    pthread_mutex_lock(&t->lock);
    p->is_forgotten =
        kd_map_get(&c->by_id, id_of(p)) != NULL || kd_map_add(&c->by_id, id_of(p), p) != KD_OK;
    if (!p->is_forgotten) {
        link_newest(c, p);
    }
    pthread_mutex_unlock(&t->lock);
}

void kd_pinned_release(struct kd_session *s, struct kd_pinned_cache *c, struct kd_pinned *p,
                       bool is_stale) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    p->pins--;
    if (is_stale && !p->is_forgotten) {
        (void)take_out(c, p);
    }
    const bool is_last = p->pins == 0 && p->is_forgotten;
    pthread_mutex_unlock(&t->lock);
    free_entry(s, c, is_last ? p : NULL);
}

void kd_pinned_forget(struct kd_session *s, struct kd_pinned_cache *c, struct kd_bytes id) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    struct kd_pinned *p = kd_map_get(&c->by_id, id);
    struct kd_pinned *unused = p == NULL ? NULL : take_out(c, p);
    pthread_mutex_unlock(&t->lock);
    free_entry(s, c, unused);
}

// One that nobody uses, if there are more than `max`; false: none.
static bool drop_oldest(struct kd_session *s, struct kd_pinned_cache *c, size_t max) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    struct kd_pinned *p = kd_map_count(&c->by_id) > max ? take_oldest(c) : NULL;
    pthread_mutex_unlock(&t->lock);
    free_entry(s, c, p);
    return p != NULL;
}

void kd_pinned_make_room(struct kd_session *s, struct kd_pinned_cache *c, size_t max) {
    while (drop_oldest(s, c, max)) {
    }
}

bool kd_pinned_gives_way(struct kd_session *s, struct kd_pinned_cache *c, enum kd_err r,
                         unsigned *left) {
    struct kd_token *t = s->token;
    struct kd_pinned_cache *other = c == &t->secrets ? &t->traffic : &t->secrets;
    return (r == KD_ERR_TOKEN_FULL || r == KD_ERR_NO_MEMORY) && (*left)-- > 0 &&
           (drop_oldest(s, c, 0) || drop_oldest(s, other, 0));
}

static struct kd_pinned *take_over(struct kd_token *t, struct kd_pinned_cache *c,
                                   bool (*is_over)(const struct kd_pinned *p, uint64_t now_ms),
                                   uint64_t now_ms) {
    struct kd_pinned *found = NULL;
    pthread_mutex_lock(&t->lock);
    struct kd_pinned *p = c->oldest;
    for (size_t seen = 0; p != NULL && found == NULL && seen < LOOKED_AT; seen++) {
        struct kd_pinned *newer = p->newer;
        found = p->pins == 0 && is_over(p, now_ms) ? take_out(c, p) : NULL;
        p = newer;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

void kd_pinned_expire(struct kd_session *s, struct kd_pinned_cache *c,
                      bool (*is_over)(const struct kd_pinned *p, uint64_t now_ms),
                      uint64_t now_ms) {
    for (struct kd_pinned *p; (p = take_over(s->token, c, is_over, now_ms)) != NULL;) {
        free_entry(s, c, p);
    }
}

size_t kd_pinned_count(struct kd_token *t, struct kd_pinned_cache *c) {
    pthread_mutex_lock(&t->lock);
    const size_t n = kd_map_count(&c->by_id);
    pthread_mutex_unlock(&t->lock);
    return n;
}

void kd_pinned_wipe(struct kd_token *t, struct kd_pinned_cache *c) {
    while (c->newest != NULL) {
        struct kd_pinned *p = take_out(c, c->newest);
        if (p != NULL) { // else its user frees it
            c->free(t, p);
        }
    }
}
