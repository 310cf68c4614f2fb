// SPDX-License-Identifier: Apache-2.0
// traffic_cache.c: the traffic keys of the sessions that were used last, as secrets.c
// does for derived secrets: a request carries all that makes them again.
#include "hsm/traffic_token.h"

static void destroy_keys(struct kd_session *s, struct kd_pinned *p) {
    kd_traffic_destroy(s, (struct kd_traffic_keys *)p);
}

static void free_keys(struct kd_token *t, struct kd_pinned *p) {
    kd_traffic_free(t, (struct kd_traffic_keys *)p);
}

void kd_traffic_cache_init(struct kd_token *t) {
    t->traffic = (struct kd_pinned_cache) { .destroy = destroy_keys,
                                            .free = free_keys,
                                            .by_id = KD_MAP_INIT };
}

// ---- for records -----------------------------------------------------------

// The limit may be more than what the token or the locked memory holds.
static enum kd_err make(struct kd_session *s, const struct kd_key_ref *ticket_key,
                        const struct kd_key_ref *root, const struct kd_hsm_session *request,
                        struct kd_traffic_keys **out) {
    enum kd_err r = kd_traffic_make(s, ticket_key, root, request, out);
    unsigned left = KD_PINNED_AT_ONCE;
    while (kd_pinned_gives_way(s, &s->token->traffic, r, &left)) {
        r = kd_traffic_make(s, ticket_key, root, request, out);
    }
    return r;
}

enum kd_err kd_traffic_cache_ready(struct kd_session *s, struct kd_traffic_keys *k, bool is_seal) {
    enum kd_err r = kd_traffic_ready(s, k, is_seal);
    unsigned left = KD_PINNED_AT_ONCE;
    while (kd_pinned_gives_way(s, &s->token->traffic, r, &left)) {
        r = kd_traffic_ready(s, k, is_seal);
    }
    return r;
}

enum kd_err kd_traffic_cache_get(struct kd_session *s, const struct kd_key_ref *ticket_key,
                                 const struct kd_key_ref *root,
                                 const struct kd_hsm_session *request,
                                 struct kd_traffic_keys **out) {
    struct kd_token *t = s->token;
    struct kd_traffic_keys *k =
        (struct kd_traffic_keys *)kd_pinned_get(s, &t->traffic, request->cache);
    if (k == NULL) {
        const enum kd_err r = make(s, ticket_key, root, request, &k);
        if (r != KD_OK) {
            return r;
        }
        kd_pinned_put(s, &t->traffic, &k->pinned);
        // The last one goes when the answer has been sent.
        kd_pinned_make_room(s, &t->traffic, t->secrets_max + 1);
    }
    *out = k;
    return KD_OK;
}

void kd_traffic_cache_release(struct kd_session *s, struct kd_traffic_keys *k, bool is_stale) {
    kd_pinned_release(s, &s->token->traffic, &k->pinned, is_stale);
}

void kd_traffic_cache_make_room(struct kd_session *s) {
    kd_pinned_make_room(s, &s->token->traffic, s->token->secrets_max);
}

void kd_traffic_cache_forget(struct kd_session *s, struct kd_bytes id) {
    kd_pinned_forget(s, &s->token->traffic, id);
}

static bool is_over(const struct kd_pinned *p, uint64_t now_ms) {
    return now_ms >= ((const struct kd_traffic_keys *)p)->expires_ms;
}

void kd_traffic_cache_expire(struct kd_session *s) {
    kd_pinned_expire(s, &s->token->traffic, is_over, kd_clock_wall_ms());
}

size_t kd_traffic_cache_count(struct kd_token *t) {
    return kd_pinned_count(t, &t->traffic);
}

void kd_traffic_cache_wipe(struct kd_token *t) {
    kd_pinned_wipe(t, &t->traffic);
}
