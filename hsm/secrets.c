// SPDX-License-Identifier: Apache-2.0
// secrets.c: the derived secrets that were used last, kept as session objects.
#include "hsm/session.h"

#include <stdlib.h>
#include <string.h>

struct kd_cached {
    struct kd_pinned pinned;
    CK_OBJECT_HANDLE handle;
};

static void destroy_secret(struct kd_session *s, struct kd_pinned *p) {
    kd_destroy(s, ((struct kd_cached *)p)->handle);
}

static void free_secret(struct kd_token *t KD_UNUSED, struct kd_pinned *p) {
    free(p);
}

void kd_cached_init(struct kd_token *t) {
    t->secrets = (struct kd_pinned_cache) { .destroy = destroy_secret,
                                            .free = free_secret,
                                            .by_id = KD_MAP_INIT };
}

static enum kd_err make(struct kd_session *s, const struct kd_recipe *r, struct kd_cached **out) {
    struct kd_cached *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    memcpy(c->pinned.id, r->id, sizeof(c->pinned.id));
    enum kd_err err = kd_derive(s, r, &c->handle);
    unsigned left = KD_PINNED_AT_ONCE; // what it has come to, and what follows
    while (kd_pinned_gives_way(s, &s->token->secrets, err, &left)) {
        err = kd_derive(s, r, &c->handle);
    }
    if (err != KD_OK) {
        free(c);
        return err;
    }
    kd_pinned_put(s, &s->token->secrets, &c->pinned);
    *out = c;
    return KD_OK;
}

enum kd_err kd_cached_get(struct kd_session *s, const struct kd_recipe *r, struct kd_cached **out,
                          CK_OBJECT_HANDLE *handle) {
    struct kd_token *t = s->token;
    struct kd_cached *c = (struct kd_cached *)kd_pinned_get(s, &t->secrets, r->id);
    if (c == NULL) {
        const enum kd_err err = make(s, r, &c);
        if (err != KD_OK) {
            return err;
        }
        kd_pinned_make_room(s, &t->secrets, t->secrets_max);
    }
    *out = c;
    *handle = c->handle;
    return KD_OK;
}

void kd_cached_release(struct kd_session *s, struct kd_cached *c, bool is_stale) {
    struct kd_token *t = s->token;
    kd_pinned_release(s, &t->secrets, &c->pinned, is_stale);
    kd_pinned_make_room(s, &t->secrets, t->secrets_max); // where all were in use before
}

void kd_cached_forget(struct kd_session *s, struct kd_bytes id) {
    kd_pinned_forget(s, &s->token->secrets, id);
}

size_t kd_cached_count(struct kd_token *t) {
    return kd_pinned_count(t, &t->secrets);
}

void kd_cached_wipe(struct kd_token *t) {
    kd_pinned_wipe(t, &t->secrets);
}
