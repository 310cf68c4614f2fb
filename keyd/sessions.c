// SPDX-License-Identifier: Apache-2.0
// sessions.c: a map by id, a tree for each owner, a line for each peer, and a heap by the next
// time that something is due, with one timer.
#include "keyd/sessions.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct kd_session_owner { // kd_map_named
    char name[KD_NAME_MAX_BYTES + 1];
    size_t n;
    // By id.  Ids are random and made by nodes of this token alone (a ticket has them under
    // seal), so that the tree is balanced well enough by itself: about 2 ln n deep.
    struct kd_session_entry *root;
};

// The sessions of one peer.  Those of which nobody has shown here to have the keys stand first, the
// newest in front; then the others, in the order in which they were shown.
struct kd_session_line { // kd_map_named
    char name[KD_NAME_MAX_BYTES + 1];
    size_t n;
    struct kd_session_entry *first, *last;
};

// ---- uses ------------------------------------------------------------------

enum kd_err kd_session_use_new(struct kd_bytes ticket, struct kd_bytes client_nonce,
                               struct kd_bytes node_nonce, struct kd_session_use **out) {
    if (ticket.n == 0) {
        return KD_ERR_TICKET; // a worker gave none, and none would take it
    }
    if (ticket.n > KD_HSM_TICKET_MAX_BYTES || client_nonce.n > KD_SESSION_NONCE_MAX_BYTES ||
        node_nonce.n > KD_HSM_CHANNEL_NONCE_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    struct kd_session_use *u = calloc(1, sizeof(*u));
    if (u == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    enum kd_err r = kd_host_random(u->cache, sizeof(u->cache));
    if (r != KD_OK) {
        free(u);
        return r;
    }
    u->refs = 1;
    u->n_ticket = ticket.n;
    u->n_client_nonce = client_nonce.n;
    u->n_node_nonce = node_nonce.n;
    memcpy(u->ticket, ticket.p, ticket.n);
    if (client_nonce.n > 0) {
        memcpy(u->client_nonce, client_nonce.p, client_nonce.n);
    }
    if (node_nonce.n > 0) {
        memcpy(u->node_nonce, node_nonce.p, node_nonce.n);
    }
    *out = u;
    return KD_OK;
}

void kd_session_use_hold(struct kd_session_use *u) {
    u->refs++;
}

static void tell_waiter(struct kd_session_use *u) {
    struct kd_session_waiter *waiter = u->waiter;
    if (waiter != NULL && u->refs <= (u->session == NULL ? 1 : 2)) { // its own and the session's
        u->waiter = NULL;
        waiter->fn(waiter->arg);
    }
}

void kd_session_use_release(struct kd_session_use *u) {
    if (u == NULL) {
        return;
    }
    if (--u->refs == 0) {
        kd_window_wipe(&u->window);
        free(u);
        return;
    }
    tell_waiter(u);
}

void kd_session_use_wait(struct kd_session_use *u, struct kd_session_waiter *waiter) {
    assert(u->waiter == NULL);
    u->waiter = waiter;
    tell_waiter(u);
}

enum kd_err kd_session_use_check(const struct kd_session_use *u) {
    switch (u->state) {
    case KD_USE_KEPT:
        return KD_OK;
    case KD_USE_RELEASING:
        return KD_ERR_CHANGE_UNDER_WAY;
    case KD_USE_RELEASED:
        return KD_ERR_SESSION_RELEASED;
    }
    return KD_ERR_SESSION_RELEASED;
}

struct kd_hsm_session kd_session_use_show(const struct kd_session_use *u) {
    struct kd_hsm_session shown = {
        .ticket = { u->ticket, u->n_ticket },
        .client_nonce = { u->client_nonce, u->n_client_nonce },
        .node_nonce = { u->node_nonce, u->n_node_nonce },
    };
    memcpy(shown.cache, u->cache, sizeof(shown.cache));
    return shown;
}

static void let_go(struct kd_sessions *s, struct kd_session_use *u) {
    if (u != NULL) {
        u->session = NULL;
        s->lost(s->arg, u);
        kd_session_use_release(u);
    }
}

// ---- times -----------------------------------------------------------------

// Of those in the heap.
static struct kd_session_entry *entry_of(struct kd_heap_node *node) {
    return KD_HEAP_OF(struct kd_session_entry, due, node);
}

static void set_timer(struct kd_sessions *s) {
    const struct kd_heap_node *first = kd_heap_first(&s->due);
    kd_timer_set_at(s->timer, first == NULL ? KD_LOOP_NO_LIMIT : first->rank);
}

static uint64_t sooner(uint64_t a, uint64_t b) {
    return b != 0 && b < a ? b : a;
}

void kd_sessions_set_due(struct kd_sessions *s, struct kd_session_entry *e) {
    const struct kd_heap_node *first = kd_heap_first(&s->due);
    const uint64_t due = sooner(sooner(e->end_due_ms, e->before_due_ms), e->next_due_ms);
    if (due != e->due.rank) {
        kd_heap_put(&s->due, &e->due, due);
    }
    if (first == &e->due || kd_heap_first(&s->due) == &e->due) {
        set_timer(s);
    }
}

// ---- owners ----------------------------------------------------------------

static void drop_if_empty(struct kd_sessions *s, struct kd_session_owner *o) {
    if (o->n == 0) {
        kd_map_free_named(&s->owners, o);
    }
}

static bool is_greater(const uint8_t *a, const uint8_t *b) {
    return memcmp(a, b, KD_HSM_SESSION_ID_BYTES) > 0; // both are public
}

static struct kd_session_entry *take_least(struct kd_session_entry **root) {
    while ((*root)->less != NULL) {
        root = &(*root)->less;
    }
    struct kd_session_entry *e = *root;
    *root = e->more;
    return e;
}

static void link_entry(struct kd_session_owner *o, struct kd_session_entry *e) {
    struct kd_session_entry **at = &o->root;
    while (*at != NULL) {
        at = is_greater((*at)->id, e->id) ? &(*at)->less : &(*at)->more;
    }
    e->owner = o;
    e->less = e->more = NULL;
    *at = e;
    o->n++;
}

static void unlink_entry(struct kd_sessions *s, struct kd_session_entry *e) {
    struct kd_session_owner *o = e->owner;
    struct kd_session_entry **at = &o->root;
    while (*at != e) {
        at = is_greater((*at)->id, e->id) ? &(*at)->less : &(*at)->more;
    }
    if (e->less == NULL || e->more == NULL) {
        *at = e->less == NULL ? e->more : e->less;
    } else {
        struct kd_session_entry *next = take_least(&e->more);
        next->less = e->less;
        next->more = e->more;
        *at = next;
    }
    o->n--;
    drop_if_empty(s, o);
}

// ---- peers -----------------------------------------------------------------

static void drop_line_if_empty(struct kd_sessions *s, struct kd_session_line *l) {
    if (l->n == 0) {
        kd_map_free_named(&s->lines, l);
    }
}

static void join_line(struct kd_session_line *l, struct kd_session_entry *e) {
    e->line = l;
    e->earlier = NULL;
    e->later = l->first;
    *(l->first == NULL ? &l->last : &l->first->earlier) = e;
    l->first = e;
    l->n++;
}

static void take_out_of_line(struct kd_session_entry *e) {
    struct kd_session_line *l = e->line;
    *(e->earlier == NULL ? &l->first : &e->earlier->later) = e->later;
    *(e->later == NULL ? &l->last : &e->later->earlier) = e->earlier;
}

// Somebody has shown to have its keys.
static void go_to_end_of_line(struct kd_session_entry *e) {
    struct kd_session_line *l = e->line;
    take_out_of_line(e);
    e->earlier = l->last;
    e->later = NULL;
    *(l->last == NULL ? &l->first : &l->last->later) = e;
    l->last = e;
}

static void leave_line(struct kd_sessions *s, struct kd_session_entry *e) {
    take_out_of_line(e);
    e->line->n--;
    drop_line_if_empty(s, e->line);
}

bool kd_session_is_of(const struct kd_session_entry *e, const char *principal) {
    return strcmp(e->owner->name, principal) == 0;
}

void kd_session_uses(const struct kd_session_entry *e, const char *principal,
                     struct kd_session_use *out[static KD_SESSION_USES]) {
    const bool is_own = kd_session_is_of(e, principal);
    out[0] = is_own ? e->now : NULL;
    out[1] = e->next != NULL && strcmp(e->next_owner, principal) == 0 ? e->next : NULL;
    out[2] = is_own ? e->before : NULL;
}

// ---- sessions --------------------------------------------------------------

static struct kd_bytes id_of(const struct kd_session_entry *e) {
    return (struct kd_bytes) { e->id, sizeof(e->id) };
}

enum kd_err kd_sessions_add(struct kd_sessions *s, const char *owner,
                            const struct kd_peer_entry *peer,
                            const struct kd_hsm_session_terms *terms,
                            struct kd_session_entry **out) {
    if (kd_sessions_find(s, (struct kd_bytes) { terms->id, sizeof(terms->id) }) != NULL) {
        return KD_ERR_NO_SESSION;
    }
    struct kd_session_owner *o = kd_map_named(&s->owners, owner, sizeof(*o));
    if (o == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    struct kd_session_line *l = kd_map_named(&s->lines, peer->info.name, sizeof(*l));
    if (l == NULL) {
        drop_if_empty(s, o);
        return KD_ERR_NO_MEMORY;
    }
    enum kd_err r = kd_heap_make_room(&s->due, s->due.n + 1);
    struct kd_session_entry *e = r == KD_OK ? calloc(1, sizeof(*e)) : NULL;
    if (e != NULL) {
        memcpy(e->id, terms->id, sizeof(e->id));
        r = kd_map_add(&s->by_id, id_of(e), e);
    }
    if (e == NULL || r != KD_OK) {
        free(e);
        drop_if_empty(s, o);
        drop_line_if_empty(s, l);
        return KD_ERR_NO_MEMORY;
    }
    kd_hex_encode(e->id, sizeof(e->id), e->text);
    e->peer = peer;
    e->terms = *terms;
    e->terms.peer = kd_bytes_of_text(peer->info.name);
    e->expiry = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const uint64_t now = kd_clock_wall_ms();
    e->end_due_ms = kd_clock_mono_ms() + (terms->expires_ms > now ? terms->expires_ms - now : 0);
    link_entry(o, e);
    join_line(l, e);
    kd_heap_put(&s->due, &e->due, e->end_due_ms);
    set_timer(s);
    *out = e;
    return KD_OK;
}

void kd_sessions_put(struct kd_sessions *s, struct kd_session_entry *e,
                     struct kd_session_use **place, struct kd_session_use *take_use) {
    if (place == &e->now && e->now == NULL) {
        go_to_end_of_line(e);
    }
    let_go(s, *place);
    *place = take_use;
    take_use->session = e;
}

void kd_sessions_remove(struct kd_sessions *s, struct kd_session_entry *e,
                        enum kd_session_end why) {
    s->gone(s->arg, e, why);
    let_go(s, e->now);
    let_go(s, e->before);
    let_go(s, e->next);
    kd_map_remove(&s->by_id, id_of(e));
    kd_heap_remove(&s->due, &e->due);
    unlink_entry(s, e);
    leave_line(s, e);
    kd_buf_wipe(&e->expiry);
    free(e);
    set_timer(s);
}

static void keep(struct kd_sessions *s, const struct kd_session_line *l, size_t max) {
    for (size_t n = l == NULL ? 0 : l->n; n > max; n--) {
        struct kd_session_entry *first = l->first; // the last one takes the line with it
        kd_sessions_remove(s, first, KD_SESSION_DISPLACED);
    }
}

void kd_sessions_make_room(struct kd_sessions *s, const char *peer, size_t max) {
    keep(s, kd_map_get(&s->lines, kd_bytes_of_text(peer)), max - 1);
}

void kd_sessions_make_room_to_resume(struct kd_sessions *s, const char *peer, size_t max) {
    const struct kd_session_line *l = kd_map_get(&s->lines, kd_bytes_of_text(peer));
    if (l != NULL && l->n >= max && l->first->now == NULL) {
        kd_sessions_remove(s, l->first, KD_SESSION_DISPLACED);
    }
}

void kd_sessions_move(struct kd_sessions *s, const struct kd_peer_entry *from,
                      const struct kd_peer_entry *to) {
    size_t cursor = 0;
    for (struct kd_session_entry *e; (e = kd_map_next(&s->by_id, &cursor)) != NULL;) {
        if (e->peer == from) {
            e->peer = to;
            e->terms.peer = kd_bytes_of_text(to->info.name);
        }
    }
}

void kd_sessions_remove_of_peer(struct kd_sessions *s, const struct kd_peer_entry *peer,
                                enum kd_session_end why) {
    size_t cursor = 0;
    for (struct kd_session_entry *e; (e = kd_map_next(&s->by_id, &cursor)) != NULL;) {
        if (e->peer == peer) {
            kd_sessions_remove(s, e, why);
        }
    }
}

enum kd_err kd_sessions_give(struct kd_sessions *s, struct kd_session_entry *e, const char *owner) {
    if (kd_session_is_of(e, owner)) {
        return KD_OK;
    }
    struct kd_session_owner *o = kd_map_named(&s->owners, owner, sizeof(*o));
    if (o == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    unlink_entry(s, e);
    link_entry(o, e);
    return KD_OK;
}

// A client that uses the keys of a resume has them: what was before goes.  Without memory to give
// the session to who resumed it, it goes with the next record: until then both have what they had.
static void take_next(struct kd_sessions *s, struct kd_session_entry *e) {
    if (kd_sessions_give(s, e, e->next_owner) != KD_OK) {
        return;
    }
    if (e->now == NULL) {
        go_to_end_of_line(e);
    }
    let_go(s, e->now);
    let_go(s, e->before);
    e->now = e->next;
    e->before = NULL;
    e->next = NULL;
    e->next_due_ms = 0;
    e->before_due_ms = 0;
    e->is_updating = false; // what was under way was of the keys before
    e->terms.update = e->now->update;
    e->sent += e->now->sent;
    e->bytes += e->now->bytes;
    kd_buf_reset(&e->expiry);
}

void kd_sessions_confirm(struct kd_sessions *s, struct kd_session_entry *e,
                         const struct kd_session_use *use, size_t max) {
    if (use == e->next) {
        take_next(s, e);
        keep(s, e->line, max);
    } else if (use == e->now && e->before != NULL) {
        let_go(s, e->before);
        e->before = NULL;
        e->before_due_ms = 0;
    } else {
        return;
    }
    kd_sessions_set_due(s, e);
}

void kd_sessions_expire(struct kd_sessions *s, struct kd_session_entry *e,
                        enum kd_record_expiry why) {
    e->expired = why;
    s->expired(s->arg, e);
    e->end_due_ms = kd_clock_mono_ms() + KD_SESSION_GRACE_MS;
    kd_sessions_set_due(s, e);
}

static void pass_time(struct kd_sessions *s, struct kd_session_entry *e, uint64_t now) {
    if (e->before_due_ms != 0 && e->before_due_ms <= now) {
        let_go(s, e->before);
        e->before = NULL;
        e->before_due_ms = 0;
    }
    if (e->next_due_ms != 0 && e->next_due_ms <= now) {
        let_go(s, e->next);
        e->next = NULL;
        e->next_due_ms = 0;
    }
    if (e->now == NULL && e->next == NULL) {
        kd_sessions_remove(s, e, KD_SESSION_UNUSED);
        return;
    }
    if (e->end_due_ms <= now) {
        if (e->expired != 0) {
            kd_sessions_remove(s, e, KD_SESSION_EXPIRED);
            return;
        }
        kd_sessions_expire(s, e, KD_EXPIRED_LIFETIME);
    }
    kd_sessions_set_due(s, e);
}

static void on_timer(void *arg) {
    struct kd_sessions *s = arg;
    const uint64_t now = kd_clock_mono_ms();
    for (struct kd_heap_node *first;
         (first = kd_heap_first(&s->due)) != NULL && first->rank <= now;) {
        pass_time(s, entry_of(first), now);
    }
    set_timer(s);
}

struct kd_session_entry *kd_sessions_find(const struct kd_sessions *s, struct kd_bytes id) {
    return kd_map_get(&s->by_id, id);
}

struct kd_session_entry *kd_sessions_next(const struct kd_sessions *s, const char *principal,
                                          const uint8_t *after) {
    const struct kd_session_owner *o = kd_map_get(&s->owners, kd_bytes_of_text(principal));
    struct kd_session_entry *best = NULL;
    struct kd_session_entry *e = o == NULL ? NULL : o->root;
    while (e != NULL) {
        const bool is_it = after == NULL || is_greater(e->id, after);
        best = is_it ? e : best;
        e = is_it ? e->less : e->more;
    }
    return best;
}

// ---- making and freeing ----------------------------------------------------

enum kd_err kd_sessions_open(struct kd_sessions *s, struct kd_loop *loop) {
    return kd_timer_new(loop, on_timer, s, &s->timer);
}

void kd_sessions_close(struct kd_sessions *s) {
    for (size_t i = 0; i < s->due.n; i++) {
        struct kd_session_entry *e = entry_of(s->due.nodes[i]);
        kd_session_use_release(e->now);
        kd_session_use_release(e->before);
        kd_session_use_release(e->next);
        unlink_entry(s, e);
        leave_line(s, e);
        kd_buf_wipe(&e->expiry);
        free(e);
    }
    kd_map_wipe(&s->by_id);
    kd_map_wipe(&s->owners);
    kd_map_wipe(&s->lines);
    kd_heap_wipe(&s->due);
    kd_timer_free(s->timer);
    *s = (struct kd_sessions) { 0 };
}
