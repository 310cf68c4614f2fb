// SPDX-License-Identifier: Apache-2.0
// secrets.c: a map by id, a list for each owner, and a heap by time of expiry
// with one timer.
#include "keyd/secrets.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct kd_secret_owner { // kd_map_named
    char name[KD_NAME_MAX_BYTES + 1];
    size_t n;
    struct kd_secret_entry *first;
    struct kd_secret_entry *last;
};

struct kd_secrets {
    const struct kd_secrets_config *config;
    kd_secret_gone *gone;
    void *arg;
    struct kd_timer *timer;
    struct kd_map by_id;
    struct kd_map owners;
    struct kd_heap due; // all of them
};

// ---- times -----------------------------------------------------------------

// Of those in the heap.
static struct kd_secret_entry *entry_of(struct kd_heap_node *node) {
    return KD_HEAP_OF(struct kd_secret_entry, due, node);
}

// ---- entries ---------------------------------------------------------------

static struct kd_bytes id_of(const struct kd_secret_entry *e) {
    return (struct kd_bytes) { (const uint8_t *)e->id, KD_SECRET_ID_TEXT_BYTES - 1 };
}

// Every byte string of the recipe, for copying.
static size_t parts_of(struct kd_recipe *r, struct kd_bytes *out[static 4 + 2 * KD_HSM_STEPS_MAX]) {
    size_t n = 0;
    out[n++] = &r->base.id;
    out[n++] = &r->base.label;
    out[n++] = &r->base.proof;
    out[n++] = &r->peer;
    for (size_t i = 0; i < r->n_steps; i++) {
        out[n++] = &r->steps[i].salt;
        out[n++] = &r->steps[i].info;
    }
    return n;
}

// The entry and, behind it, the bytes of its recipe.
static struct kd_secret_entry *new_entry(const struct kd_recipe *recipe) {
    struct kd_recipe copy = *recipe;
    struct kd_bytes *parts[4 + 2 * KD_HSM_STEPS_MAX];
    size_t bytes = 0;
    const size_t n = parts_of(&copy, parts);
    for (size_t i = 0; i < n; i++) {
        bytes += parts[i]->n;
    }
    struct kd_secret_entry *e = calloc(1, sizeof(*e) + bytes);
    if (e == NULL) {
        return NULL;
    }
    uint8_t *at = (uint8_t *)(e + 1);
    for (size_t i = 0; i < n; i++) {
        if (parts[i]->n > 0) {
            memcpy(at, parts[i]->p, parts[i]->n);
        }
        parts[i]->p = at;
        at += parts[i]->n;
    }
    e->recipe = copy;
    return e;
}

static void drop_if_empty(struct kd_secrets *s, struct kd_secret_owner *o) {
    if (o->n == 0) {
        kd_map_free_named(&s->owners, o);
    }
}

static void link_entry(struct kd_secret_owner *o, struct kd_secret_entry *e) {
    e->owner = o;
    e->prev = o->last;
    *(o->last == NULL ? &o->first : &o->last->next) = e;
    o->last = e;
    o->n++;
}

static void unlink_entry(struct kd_secrets *s, struct kd_secret_entry *e) {
    struct kd_secret_owner *o = e->owner;
    *(e->prev == NULL ? &o->first : &e->prev->next) = e->next;
    *(e->next == NULL ? &o->last : &e->next->prev) = e->prev;
    o->n--;
    drop_if_empty(s, o);
}

static void set_timer(struct kd_secrets *s) {
    const struct kd_heap_node *first = kd_heap_first(&s->due);
    kd_timer_set_at(s->timer, first == NULL ? KD_LOOP_NO_LIMIT : first->rank);
}

// Random, but for those whose text begins with '-' (digit 62 of base64url): on a
// command line that would be an option.
static enum kd_err choose_id(uint8_t id[static KD_HSM_SECRET_ID_BYTES]) {
    do {
        if (getrandom(id, KD_HSM_SECRET_ID_BYTES, 0) != KD_HSM_SECRET_ID_BYTES) {
            return KD_ERR_SYSTEM;
        }
    } while (id[0] >> 2 == 62);
    return KD_OK;
}

enum kd_err kd_secrets_add(struct kd_secrets *s, const char *principal, const char *key,
                           uint32_t version, struct kd_recipe *recipe, uint32_t lifetime_sec,
                           struct kd_secret_entry **out) {
    if (s->due.n >= s->config->total_max) {
        return KD_ERR_TOO_MANY;
    }
    struct kd_secret_owner *o = kd_map_named(&s->owners, principal, sizeof(*o));
    if (o == NULL || o->n >= s->config->per_principal_max) {
        return o == NULL ? KD_ERR_NO_MEMORY : KD_ERR_TOO_MANY;
    }
    enum kd_err r = choose_id(recipe->id);
    r = r == KD_OK ? kd_heap_make_room(&s->due, s->due.n + 1) : r;
    struct kd_secret_entry *e = r == KD_OK ? new_entry(recipe) : NULL;
    if (e != NULL) {
        kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_SECRET_ID_TEXT_BYTES + 1);
        kd_b64_encode(&text, (struct kd_bytes) { recipe->id, sizeof(recipe->id) });
        memcpy(e->id, kd_buf_get_text(&text), text.n);
        r = text.n + 1 == sizeof(e->id) ? kd_map_add(&s->by_id, id_of(e), e) : KD_ERR_NO_MEMORY;
    }
    if (e == NULL || r != KD_OK) {
        free(e);
        drop_if_empty(s, o);
        return r == KD_OK ? KD_ERR_NO_MEMORY : r;
    }
    memcpy(e->key, key, strlen(key));
    e->version = version;
    e->created_ms = kd_clock_wall_ms();
    e->expires_ms = e->created_ms + (uint64_t)lifetime_sec * 1000;
    link_entry(o, e);
    kd_heap_put(&s->due, &e->due, kd_clock_mono_ms() + (uint64_t)lifetime_sec * 1000);
    set_timer(s);
    *out = e;
    return KD_OK;
}

void kd_secrets_remove(struct kd_secrets *s, struct kd_secret_entry *e) {
    kd_map_remove(&s->by_id, id_of(e));
    kd_heap_remove(&s->due, &e->due);
    unlink_entry(s, e);
    free(e);
    set_timer(s);
}

static void remove_and_tell(struct kd_secrets *s, struct kd_secret_entry *e) {
    uint8_t id[KD_HSM_SECRET_ID_BYTES];
    memcpy(id, e->recipe.id, sizeof(id));
    kd_secrets_remove(s, e);
    s->gone(s->arg, id);
}

void kd_secrets_remove_of_key(struct kd_secrets *s, const char *key, uint32_t version) {
    size_t cursor = 0;
    for (struct kd_secret_entry *e; (e = kd_map_next(&s->by_id, &cursor)) != NULL;) {
        if (strcmp(e->key, key) == 0 && (version == 0 || e->version == version)) {
            remove_and_tell(s, e);
        }
    }
}

static void expire(void *arg) {
    struct kd_secrets *s = arg;
    const uint64_t now = kd_clock_mono_ms();
    for (struct kd_heap_node *first;
         (first = kd_heap_first(&s->due)) != NULL && first->rank <= now;) {
        remove_and_tell(s, entry_of(first));
    }
    set_timer(s);
}

// ---- questions -------------------------------------------------------------

struct kd_secret_entry *kd_secrets_find(const struct kd_secrets *s, const char *id) {
    return kd_map_get(&s->by_id, kd_bytes_of_text(id));
}

struct kd_secret_entry *kd_secrets_get(const struct kd_secrets *s, const char *principal,
                                       const char *id) {
    struct kd_secret_entry *e = kd_secrets_find(s, id);
    const bool is_it = e != NULL && e->is_made && e->due.rank > kd_clock_mono_ms() &&
                       strcmp(e->owner->name, principal) == 0;
    return is_it ? e : NULL;
}

// Puts e among the n first by id that are there; the last goes where there is no room for it.
static size_t put_in_order(const struct kd_secret_entry **page, size_t n, size_t max,
                           const struct kd_secret_entry *e) {
    if (n == max && strcmp(page[n - 1]->id, e->id) < 0) {
        return n;
    }
    size_t at = n == max ? n - 1 : n;
    const size_t filled = at + 1;
    for (; at > 0 && strcmp(page[at - 1]->id, e->id) > 0; at--) {
        page[at] = page[at - 1];
    }
    page[at] = e;
    return filled;
}

size_t kd_secrets_page(const struct kd_secrets *s, const char *principal, const char *after,
                       const struct kd_secret_entry **out, size_t max) {
    const struct kd_secret_owner *o = kd_map_get(&s->owners, kd_bytes_of_text(principal));
    const uint64_t now = kd_clock_mono_ms();
    size_t n = 0;
    for (const struct kd_secret_entry *e = o == NULL ? NULL : o->first; e != NULL; e = e->next) {
        if (e->is_made && e->due.rank > now && strcmp(e->id, after) > 0) {
            n = put_in_order(out, n, max, e);
        }
    }
    return n;
}

size_t kd_secrets_count(const struct kd_secrets *s) {
    return s->due.n;
}

// ---- making and freeing ----------------------------------------------------

enum kd_err kd_secrets_new(struct kd_loop *loop, const struct kd_secrets_config *config,
                           kd_secret_gone *gone, void *arg, struct kd_secrets **out) {
    kd_auto(secrets) struct kd_secrets *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    s->config = config;
    s->gone = gone;
    s->arg = arg;
    enum kd_err r = kd_timer_new(loop, expire, s, &s->timer);
    if (r == KD_OK) {
        *out = KD_STEAL(s);
    }
    return r;
}

void kd_secrets_free(struct kd_secrets *s) {
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->due.n; i++) {
        struct kd_secret_entry *e = entry_of(s->due.nodes[i]);
        unlink_entry(s, e);
        free(e);
    }
    kd_map_wipe(&s->by_id);
    kd_map_wipe(&s->owners);
    kd_heap_wipe(&s->due);
    kd_timer_free(s->timer);
    free(s);
}
