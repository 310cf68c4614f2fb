// SPDX-License-Identifier: Apache-2.0
// sessions.c: the traffic keys of the sessions that were used last, as secrets.c
// does for derived secrets: a request carries all that makes them again.
#include "hsm/traffic_token.h"

enum { LOOKED_AT = 256 }; // by one search for what has expired: it is under the lock

static struct kd_bytes id_of(const struct kd_traffic_keys *k) {
    return (struct kd_bytes) { k->id, sizeof(k->id) };
}

// ---- the list, under the token's lock ----------------------------------------

static void unlink_entry(struct kd_token *t, struct kd_traffic_keys *k) {
    *(k->newer == NULL ? &t->newest_session : &k->newer->older) = k->older;
    *(k->older == NULL ? &t->oldest_session : &k->older->newer) = k->newer;
    k->newer = k->older = NULL;
}

static void link_newest(struct kd_token *t, struct kd_traffic_keys *k) {
    k->newer = NULL;
    k->older = t->newest_session;
    *(t->newest_session == NULL ? &t->oldest_session : &t->newest_session->newer) = k;
    t->newest_session = k;
}

// Gives the entry back if nobody uses it, to be freed outside of the lock.
static struct kd_traffic_keys *take_out(struct kd_token *t, struct kd_traffic_keys *k) {
    unlink_entry(t, k);
    kd_map_remove(&t->sessions, id_of(k));
    k->is_forgotten = true;
    return k->pins == 0 ? k : NULL;
}

static struct kd_traffic_keys *take_surplus(struct kd_token *t, size_t max) {
    if (kd_map_count(&t->sessions) <= max) {
        return NULL;
    }
    for (struct kd_traffic_keys *k = t->oldest_session; k != NULL; k = k->newer) {
        if (k->pins == 0) {
            return take_out(t, k);
        }
    }
    return NULL;
}

// ---- for records -----------------------------------------------------------

static void make_room(struct kd_session *s, size_t max) {
    struct kd_token *t = s->token;
    struct kd_traffic_keys *surplus;
    do {
        pthread_mutex_lock(&t->lock);
        surplus = take_surplus(t, max);
        pthread_mutex_unlock(&t->lock);
        if (surplus != NULL) {
            kd_traffic_free(s, surplus);
        }
    } while (surplus != NULL);
}

static struct kd_traffic_keys *find_and_pin(struct kd_session *s, const uint8_t *id,
                                            bool *is_stale) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    *is_stale = t->generation != s->generation;
    struct kd_traffic_keys *k =
        *is_stale ? NULL
                  : kd_map_get(&t->sessions, (struct kd_bytes) { id, KD_HSM_SECRET_ID_BYTES });
    if (k != NULL) {
        unlink_entry(t, k);
        link_newest(t, k);
        k->pins++;
    }
    pthread_mutex_unlock(&t->lock);
    return k;
}

// Another thread may have entered the same keys meanwhile: then ours live until
// their release.
static void enter(struct kd_session *s, struct kd_traffic_keys *k) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    k->pins = 1;
    if (t->generation == k->generation && kd_map_get(&t->sessions, id_of(k)) == NULL &&
        kd_map_add(&t->sessions, id_of(k), k) == KD_OK) {
        link_newest(t, k);
    } else {
        k->is_forgotten = true;
    }
    pthread_mutex_unlock(&t->lock);
    make_room(s, t->secrets_max + 1); // the last one goes when the answer has been sent
}

void kd_sessions_make_room(struct kd_session *s) {
    make_room(s, s->token->secrets_max);
}

// One that is not in use; false: there is none.
static bool drop_oldest(struct kd_session *s) {
    struct kd_token *t = s->token;
    struct kd_traffic_keys *found = NULL;
    pthread_mutex_lock(&t->lock);
    for (struct kd_traffic_keys *k = t->oldest_session; k != NULL && found == NULL; k = k->newer) {
        found = k->pins == 0 ? k : NULL;
    }
    if (found != NULL) {
        (void)take_out(t, found);
    }
    pthread_mutex_unlock(&t->lock);
    if (found != NULL) {
        kd_traffic_free(s, found);
    }
    return found != NULL;
}

static bool is_full(enum kd_err r) {
    return r == KD_ERR_NO_MEMORY || r == KD_ERR_TOKEN_FULL;
}

// The limit may be more than what the token or the locked memory holds.
static enum kd_err make(struct kd_session *s, const struct kd_key_ref *ticket_key,
                        const struct kd_key_ref *root, const struct kd_hsm_session *request,
                        struct kd_traffic_keys **out) {
    enum kd_err r = kd_traffic_make(s, ticket_key, root, request, out);
    if (is_full(r) && drop_oldest(s)) {
        r = kd_traffic_make(s, ticket_key, root, request, out);
    }
    return r;
}

enum kd_err kd_sessions_ready(struct kd_session *s, struct kd_traffic_keys *k, bool is_seal) {
    enum kd_err r = kd_traffic_ready(s, k, is_seal);
    if (is_full(r) && drop_oldest(s)) {
        r = kd_traffic_ready(s, k, is_seal);
    }
    return r;
}

enum kd_err kd_sessions_get(struct kd_session *s, const struct kd_key_ref *ticket_key,
                            const struct kd_key_ref *root, const struct kd_hsm_session *request,
                            struct kd_traffic_keys **out) {
    bool is_stale = false;
    struct kd_traffic_keys *k = find_and_pin(s, request->cache, &is_stale);
    if (k == NULL) {
        enum kd_err r = is_stale ? KD_ERR_SESSION_LOST : make(s, ticket_key, root, request, &k);
        if (r != KD_OK) {
            return r;
        }
        enter(s, k);
    }
    *out = k;
    return KD_OK;
}

void kd_sessions_release(struct kd_session *s, struct kd_traffic_keys *k, bool is_stale) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    k->pins--;
    if (is_stale && !k->is_forgotten) {
        (void)take_out(t, k);
    }
    const bool is_last = k->pins == 0 && k->is_forgotten;
    pthread_mutex_unlock(&t->lock);
    if (is_last) {
        kd_traffic_free(s, k);
    }
}

void kd_sessions_forget(struct kd_session *s, struct kd_bytes id) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    struct kd_traffic_keys *k = kd_map_get(&t->sessions, id);
    struct kd_traffic_keys *unused = k == NULL ? NULL : take_out(t, k);
    pthread_mutex_unlock(&t->lock);
    if (unused != NULL) {
        kd_traffic_free(s, unused);
    }
}

// The first of those unused longest whose time is over, out of the list.
static struct kd_traffic_keys *take_expired(struct kd_token *t, uint64_t now_ms) {
    struct kd_traffic_keys *found = NULL;
    size_t seen = 0;
    pthread_mutex_lock(&t->lock);
    for (struct kd_traffic_keys *k = t->oldest_session; k != NULL && seen < LOOKED_AT; seen++) {
        if (k->pins == 0 && now_ms >= k->expires_ms) {
            found = take_out(t, k);
            break;
        }
        k = k->newer;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

void kd_sessions_expire(struct kd_session *s) {
    const uint64_t now_ms = kd_clock_wall_ms();
    for (struct kd_traffic_keys *k; (k = take_expired(s->token, now_ms)) != NULL;) {
        kd_traffic_free(s, k);
    }
}

size_t kd_sessions_count(struct kd_token *t) {
    pthread_mutex_lock(&t->lock);
    const size_t n = kd_map_count(&t->sessions);
    pthread_mutex_unlock(&t->lock);
    return n;
}

void kd_sessions_wipe(struct kd_token *t) {
    while (t->newest_session != NULL) {
        struct kd_traffic_keys *unused = take_out(t, t->newest_session);
        if (unused != NULL) { // those in use are freed by their users
            kd_traffic_forget(t, unused);
        }
    }
}
