// SPDX-License-Identifier: Apache-2.0
// secrets.c: the derived secrets that were used last, kept as session objects.
// Tokens hold few of them, so the oldest gives way, and is derived again when
// it is asked for.
#include "hsm/session.h"

#include <stdlib.h>
#include <string.h>

struct kd_cached {
    uint8_t id[KD_HSM_SECRET_ID_BYTES];
    CK_OBJECT_HANDLE handle;
    uint64_t generation;
    unsigned pins;     // users now: not destroyed before they are done
    bool is_forgotten; // no longer in the map; the last user destroys it
    struct kd_cached *newer;
    struct kd_cached *older;
};

static struct kd_bytes id_of(const struct kd_cached *c) {
    return (struct kd_bytes) { c->id, sizeof(c->id) };
}

// ---- the list, under the token's lock ----------------------------------------

static void unlink_entry(struct kd_token *t, struct kd_cached *c) {
    *(c->newer == NULL ? &t->newest : &c->newer->older) = c->older;
    *(c->older == NULL ? &t->oldest : &c->older->newer) = c->newer;
    c->newer = c->older = NULL;
}

static void link_newest(struct kd_token *t, struct kd_cached *c) {
    c->newer = NULL;
    c->older = t->newest;
    *(t->newest == NULL ? &t->oldest : &t->newest->newer) = c;
    t->newest = c;
}

// Takes an entry out; gives it back if nobody uses it, for its handle to be
// destroyed outside of the lock.
static struct kd_cached *take_out(struct kd_token *t, struct kd_cached *c) {
    unlink_entry(t, c);
    kd_map_remove(&t->secrets, id_of(c));
    c->is_forgotten = true;
    return c->pins == 0 ? c : NULL;
}

// The oldest entry that is over the limit and not in use.
static struct kd_cached *take_surplus(struct kd_token *t) {
    if (kd_map_count(&t->secrets) <= t->secrets_max) {
        return NULL;
    }
    for (struct kd_cached *c = t->oldest; c != NULL; c = c->newer) {
        if (c->pins == 0) {
            return take_out(t, c);
        }
    }
    return NULL;
}

// ---- for operations --------------------------------------------------------

// A handle of an earlier generation may name another object by now, perhaps a
// key: it is never destroyed.
static void destroy_entry(struct kd_session *s, struct kd_cached *c) {
    pthread_mutex_lock(&s->token->lock);
    const bool is_live = c->generation == s->token->generation;
    pthread_mutex_unlock(&s->token->lock);
    if (is_live) {
        kd_destroy(s, c->handle);
    }
    free(c);
}

// Down to the limit, as far as nobody uses them.
static void make_room(struct kd_session *s) {
    struct kd_token *t = s->token;
    struct kd_cached *surplus;
    do {
        pthread_mutex_lock(&t->lock);
        surplus = take_surplus(t);
        pthread_mutex_unlock(&t->lock);
        if (surplus != NULL) {
            destroy_entry(s, surplus);
        }
    } while (surplus != NULL);
}

static struct kd_cached *find_and_pin(struct kd_session *s, const uint8_t *id, bool *is_stale) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    *is_stale = t->generation != s->generation;
    struct kd_cached *c = kd_map_get(&t->secrets, (struct kd_bytes) { id, KD_HSM_SECRET_ID_BYTES });
    if (c != NULL) {
        unlink_entry(t, c);
        link_newest(t, c);
        c->pins++;
    }
    pthread_mutex_unlock(&t->lock);
    return c;
}

// Another thread may have put the same secret there meanwhile: then ours is not
// entered, and lives until its release.
static enum kd_err insert(struct kd_session *s, const uint8_t *id, CK_OBJECT_HANDLE handle,
                          struct kd_cached **out) {
    struct kd_token *t = s->token;
    struct kd_cached *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    memcpy(c->id, id, sizeof(c->id));
    c->handle = handle;
    c->generation = s->generation;
    c->pins = 1;
    pthread_mutex_lock(&t->lock);
    if (t->generation == s->generation && kd_map_get(&t->secrets, id_of(c)) == NULL &&
        kd_map_add(&t->secrets, id_of(c), c) == KD_OK) {
        link_newest(t, c);
    } else {
        c->is_forgotten = true;
    }
    pthread_mutex_unlock(&t->lock);
    make_room(s);
    *out = c;
    return KD_OK;
}

enum kd_err kd_cached_get(struct kd_session *s, const struct kd_recipe *r, struct kd_cached **out,
                          CK_OBJECT_HANDLE *handle) {
    bool is_stale = false;
    struct kd_cached *c = find_and_pin(s, r->id, &is_stale);
    if (c == NULL) {
        CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
        enum kd_err err = is_stale ? KD_ERR_SESSION_LOST : kd_derive(s, r, &made);
        if (err == KD_OK && (err = insert(s, r->id, made, &c)) != KD_OK) {
            kd_destroy(s, made);
        }
        if (err != KD_OK) {
            return err;
        }
    }
    *out = c;
    *handle = c->handle;
    return KD_OK;
}

void kd_cached_release(struct kd_session *s, struct kd_cached *c) {
    pthread_mutex_lock(&s->token->lock);
    const bool is_last = --c->pins == 0 && c->is_forgotten;
    pthread_mutex_unlock(&s->token->lock);
    if (is_last) {
        destroy_entry(s, c);
    }
    make_room(s); // where all of them were in use before
}

void kd_cached_forget(struct kd_session *s, struct kd_bytes id) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    struct kd_cached *c = kd_map_get(&t->secrets, id);
    struct kd_cached *unused = c == NULL ? NULL : take_out(t, c);
    pthread_mutex_unlock(&t->lock);
    if (unused != NULL) {
        destroy_entry(s, unused);
    }
}

size_t kd_cached_count(struct kd_token *t) {
    pthread_mutex_lock(&t->lock);
    const size_t n = kd_map_count(&t->secrets);
    pthread_mutex_unlock(&t->lock);
    return n;
}

void kd_cached_wipe(struct kd_token *t) {
    while (t->newest != NULL) {
        free(take_out(t, t->newest)); // those in use are freed by their users
    }
}
