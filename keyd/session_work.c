// SPDX-License-Identifier: Apache-2.0
// session_work.c: sessions are looked at, ended, continued from a ticket and
// given new keys.
#include "keyd/channel_state.h"

#include <stdlib.h>
#include <string.h>

// ---- look ------------------------------------------------------------------

struct kd_session_info kd_channel_info(const struct kd_session_entry *e) {
    struct kd_session_info info = {
        .peer = e->peer->info.name,
        .relation = e->peer->relation,
        .is_registered = !e->peer->is_passing,
        .profile = e->terms.profile,
        .method = e->method,
        .suite = e->suite,
        .is_released = e->now != NULL && e->now->state == KD_USE_RELEASED,
        .update = e->now != NULL ? e->now->update : e->terms.update,
        .created_ms = e->terms.created_ms,
        .expires_ms = e->terms.expires_ms,
        .sent = e->sent,
        .received = e->received,
        .bytes = e->bytes,
        .records_max = e->terms.records_max,
        .bytes_max = e->terms.bytes_max,
    };
    memcpy(info.id, e->text, sizeof(info.id));
    return info;
}

enum kd_err kd_channel_find_session(const struct kd_channel *c, const struct kd_caller *caller,
                                    const char *id, struct kd_session_entry **out) {
    uint8_t raw[KD_HSM_SESSION_ID_BYTES];
    if (strlen(id) != 2 * sizeof(raw) || kd_hex_decode(id, raw, sizeof(raw)) != KD_OK) {
        return KD_ERR_NO_SESSION;
    }
    struct kd_session_entry *e =
        kd_sessions_find(&c->sessions, (struct kd_bytes) { raw, sizeof(raw) });
    if (e == NULL || !kd_session_is_of(e, caller->principal)) {
        return KD_ERR_NO_SESSION;
    }
    *out = e;
    return KD_OK;
}

// Who has a session may look at it and end it; also while the service stops.
static enum kd_err find(const struct kd_service *s, const struct kd_caller *caller, const char *id,
                        struct kd_session_entry **out) {
    return s->channel == NULL ? KD_ERR_CONFIG
                              : kd_channel_find_session(s->channel, caller, id, out);
}

enum kd_err kd_channel_session(const struct kd_service *s, const struct kd_caller *caller,
                               const char *id, struct kd_session_info *out) {
    struct kd_session_entry *e = NULL;
    enum kd_err r = find(s, caller, id, &e);
    if (r == KD_OK) {
        *out = kd_channel_info(e);
    }
    return r;
}

size_t kd_channel_sessions(const struct kd_service *s, const struct kd_caller *caller,
                           const char *after, struct kd_session_info *out, size_t max) {
    uint8_t raw[KD_HSM_SESSION_ID_BYTES];
    if (s->channel == NULL ||
        (after != NULL &&
         (strlen(after) != 2 * sizeof(raw) || kd_hex_decode(after, raw, sizeof(raw)) != KD_OK))) {
        return 0;
    }
    size_t n = 0;
    const struct kd_sessions *all = &s->channel->sessions;
    const struct kd_session_entry *e =
        kd_sessions_next(all, caller->principal, after == NULL ? NULL : raw);
    for (; e != NULL && n < max; e = kd_sessions_next(all, caller->principal, e->id)) {
        out[n++] = kd_channel_info(e);
    }
    return n;
}

// An attachment that went and left no end behind.
struct dropped {
    struct kd_later later; // first
    struct kd_channel *c;
    kd_session_done *done;
    void *arg;
};

static void tell_dropped(struct kd_later *l) {
    struct dropped *d = (struct dropped *)l;
    d->done(d->arg, KD_OK, "", NULL);
    d->c->s->pending--;
    free(d);
}

static enum kd_err drop_attachment(struct kd_channel *c, struct kd_session_entry *e,
                                   kd_session_done *done, void *arg) {
    struct dropped *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *d = (struct dropped) { .later = { .fn = tell_dropped }, .c = c, .done = done, .arg = arg };
    c->s->pending++;
    kd_channel_later(c, &d->later);
    kd_sessions_remove(&c->sessions, e, KD_SESSION_UNUSED);
    return KD_OK;
}

enum kd_err kd_channel_session_delete(struct kd_service *s, const struct kd_caller *caller,
                                      const char *id, kd_session_done *done, void *arg) {
    struct kd_session_entry *e = NULL;
    enum kd_err r = find(s, caller, id, &e);
    if (r != KD_OK) {
        return r;
    }
    // Who has a ticket has shown nothing: the session is not his to end before its client follows.
    if (e->now == NULL) {
        return drop_attachment(s->channel, e, done, arg);
    }
    if ((r = kd_channel_note_end(s->channel, e, done, arg)) != KD_OK) {
        return r;
    }
    kd_sessions_remove(&s->channel->sessions, e, KD_SESSION_DELETED);
    return KD_OK;
}

enum kd_err kd_channel_ticket(const struct kd_service *s, const struct kd_caller *caller,
                              const char *id, struct kd_bytes *ticket) {
    struct kd_session_entry *e = NULL;
    // It outlives the session: who may make no sessions any more gets none.
    enum kd_err r = kd_service_allows(s, caller, KD_MAY_HANDSHAKE, s->config->channel.identity);
    if (r != KD_OK || (r = find(s, caller, id, &e)) != KD_OK) {
        return r;
    }
    const struct kd_session_use *use = e->now != NULL ? e->now : e->next;
    *ticket = (struct kd_bytes) { use->ticket, use->n_ticket };
    return e->expired != 0 ? KD_ERR_SESSION_EXPIRED : KD_OK;
}

enum { OLD_KEYS_MS = 60000 }; // how long records under the keys before an update are taken

// ---- resume ----------------------------------------------------------------

// One resume or update on its way.
struct change {
    struct kd_channel *c;
    uint64_t *counts; // by result
    kd_session_done *done;
    void *arg;
    char owner[KD_NAME_MAX_BYTES + 1];
    uint32_t ticket_version; // that the ticket is tried with
    size_t n_nonce, n_ticket;
    uint8_t nonce[KD_SESSION_NONCE_MAX_BYTES];
    uint8_t ticket[KD_HSM_TICKET_MAX_BYTES];
    uint8_t node_nonce[KD_HSM_CHANNEL_NONCE_BYTES];
    uint8_t session[KD_HSM_SESSION_ID_BYTES];
    struct kd_session_use *use;  // that a record is sealed with; held
    struct kd_session_use *made; // ours until it has its place
    struct kd_hsm_session_terms terms;
    char peer[KD_NAME_MAX_BYTES + 1];
};

static void end(struct change *w, enum kd_err err, const char *detail,
                const struct kd_session_change *result) {
    if (err != KD_OK) {
        kd_channel_warn(w->c, "a session was not continued", err, w->peer, detail);
    }
    w->counts[err]++;
    w->done(w->arg, err, detail, err == KD_OK ? result : NULL);
    w->c->s->pending--;
    kd_session_use_release(w->use);
    kd_session_use_release(w->made);
    free(w);
}

static struct change *new_change(struct kd_channel *c, const struct kd_caller *caller,
                                 kd_session_done *done, void *arg) {
    struct change *w = calloc(1, sizeof(*w));
    if (w != NULL) {
        w->c = c;
        w->done = done;
        w->arg = arg;
        memcpy(w->owner, caller->principal, strlen(caller->principal) + 1);
    }
    return w;
}

// One item, of the use's keys.
static enum kd_err ask(struct change *w, enum kd_hsm_op op, uint32_t ticket_version,
                       uint32_t root_version, const uint8_t *near, const struct kd_hsm_item *item,
                       kd_call_done *done) {
    struct kd_hsm_request head = { .op = op, .n_items = 1 };
    struct kd_call *call = NULL;
    enum kd_err r = kd_channel_put_keys(w->c, ticket_version, root_version, &head);
    if (r != KD_OK || (r = kd_service_begin(w->c->s, &head, near, &call)) != KD_OK) {
        return r;
    }
    kd_call_put(call, item);
    return kd_call_send(call, done, w);
}

// The one result; false: the change has ended.
static bool take_result(struct change *w, enum kd_hsm_op op, const struct kd_hsm_reply *reply,
                        struct kd_reader *items, struct kd_hsm_result *out, enum kd_err *read) {
    char detail[KD_DETAIL_BYTES];
    kd_detail_copy(detail, reply->detail);
    *read = KD_OK;
    out->err = reply->err;
    if (reply->err == KD_OK && (reply->n_items != 1 || kd_hsm_get_result(items, op, out) != KD_OK ||
                                kd_reader_finish(items) != KD_OK)) {
        *read = KD_ERR_MALFORMED;
        out->err = KD_ERR_MALFORMED;
    }
    if (out->err == KD_OK) {
        return true;
    }
    if (op != KD_HSM_TICKET_READ || out->err != KD_ERR_TICKET) {
        end(w, out->err, detail, NULL);
    }
    return false;
}

static enum kd_err seal(struct change *w, uint8_t type, struct kd_bytes body, kd_call_done *done) {
    struct kd_hsm_session session = kd_session_use_show(w->use);
    struct kd_hsm_item item = { .session = &session, .record_type = type, .data = body };
    enum kd_err r = kd_sequence_reserve(&w->use->send, 1, &item.sequence);
    return r == KD_OK ? ask(w, KD_HSM_RECORD_SEAL, w->use->ticket_version, w->use->root_version,
                            w->use->cache, &item, done)
                      : r;
}

// A peer that nobody registers is known by its certificate: its name may be another's by now, and
// after a restart no list says so.
static bool is_peer_of(const struct kd_hsm_session_terms *terms, const struct kd_peer_entry *peer) {
    return terms->is_stranger
               ? kd_bytes_equal((struct kd_bytes) { terms->stranger, sizeof(terms->stranger) },
                                (struct kd_bytes) { peer->hash, sizeof(terms->stranger) })
               : !peer->is_passing;
}

// May the peer of the ticket still have sessions, and this one?
static enum kd_err check_ticket(const struct change *w, const struct kd_peer_entry **out) {
    const char *why = "";
    const struct kd_peer_entry *peer = kd_peers_get(&w->c->peers, w->peer);
    if (peer == NULL || peer->is_changing ||
        kd_peer_check(peer, kd_clock_wall_ms(), &why) != KD_OK) {
        return KD_ERR_NO_PEER;
    }
    *out = peer;
    return kd_channel_has_ended(w->c, &w->terms) || !is_peer_of(&w->terms, peer)
               ? KD_ERR_SESSION_ENDED
               : KD_OK;
}

// The session that the ticket is of, here or made now.
static enum kd_err find_or_add(struct change *w, struct kd_session_entry **out) {
    struct kd_sessions *all = &w->c->sessions;
    const struct kd_peer_entry *peer = NULL;
    enum kd_err r = check_ticket(w, &peer);
    struct kd_session_entry *e =
        kd_sessions_find(all, (struct kd_bytes) { w->terms.id, sizeof(w->terms.id) });
    if (r != KD_OK) {
        return r;
    }
    if (e != NULL) {
        *out = e;
        r = e->peer != peer ? KD_ERR_TICKET : e->expired != 0 ? KD_ERR_SESSION_EXPIRED : KD_OK;
        // Where it is nobody's yet, it is of who resumed it last.
        return r == KD_OK && e->now == NULL ? kd_sessions_give(all, e, w->owner) : r;
    }
    if (all->due.n >= w->c->config->sessions_max) {
        return KD_ERR_SESSIONS_FULL;
    }
    kd_peers_hold(&w->c->peers, peer);
    kd_sessions_make_room_to_resume(all, w->peer, w->c->config->sessions_per_peer);
    r = kd_sessions_add(all, w->owner, peer, &w->terms, out);
    if (r != KD_OK) {
        kd_peers_release(&w->c->peers, peer);
    }
    return r;
}

static enum kd_err on_confirmed(void *arg, const struct kd_hsm_reply *reply,
                                struct kd_reader *items) {
    struct change *w = arg;
    struct kd_hsm_result result = { 0 };
    struct kd_session_entry *e = NULL;
    enum kd_err read;
    if (!take_result(w, KD_HSM_RECORD_SEAL, reply, items, &result, &read)) {
        return read;
    }
    enum kd_err r = find_or_add(w, &e);
    if (r != KD_OK) {
        end(w, r, "", NULL);
        return KD_OK;
    }
    kd_sessions_put(&w->c->sessions, e, &e->next, w->made);
    w->made = NULL;
    e->next_due_ms = kd_clock_mono_ms() + w->c->config->handshake_timeout_ms;
    memcpy(e->next_owner, w->owner, sizeof(e->next_owner));
    kd_sessions_set_due(&w->c->sessions, e);
    kd_log_limited(&w->c->resuming, KD_LOG_INFO, "channel", "a session is being resumed",
                   "session=%s peer=%s principal=%s", e->text, w->peer, w->owner);
    const struct kd_session_change change = {
        .session = kd_channel_info(e),
        .node_nonce = { w->node_nonce, sizeof(w->node_nonce) },
        .record = result.out,
    };
    end(w, KD_OK, "", &change);
    return KD_OK;
}

static enum kd_err try_ticket(struct change *w, uint32_t below);

static enum kd_err continue_from(struct change *w) {
    const struct kd_peer_entry *peer = NULL;
    enum kd_err r =
        kd_clock_wall_ms() >= w->terms.expires_ms ? KD_ERR_SESSION_EXPIRED : check_ticket(w, &peer);
    if (r != KD_OK || (r = kd_host_random(w->node_nonce, sizeof(w->node_nonce))) != KD_OK ||
        (r = kd_session_use_new((struct kd_bytes) { w->ticket, w->n_ticket },
                                (struct kd_bytes) { w->nonce, w->n_nonce },
                                (struct kd_bytes) { w->node_nonce, sizeof(w->node_nonce) },
                                &w->made)) != KD_OK) {
        return r;
    }
    w->made->ticket_version = w->ticket_version;
    w->made->root_version = w->terms.profile == KD_PROFILE_RESIDENT ? w->terms.root_version : 0;
    w->made->update = w->terms.update;
    w->use = w->made;
    kd_session_use_hold(w->use);
    return seal(w, KD_RECORD_DATA, KD_BYTES_NONE, on_confirmed);
}

static enum kd_err on_ticket(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct change *w = arg;
    struct kd_hsm_result result = { .terms = &w->terms };
    enum kd_err read;
    if (!take_result(w, KD_HSM_TICKET_READ, reply, items, &result, &read)) {
        const enum kd_err r =
            result.err == KD_ERR_TICKET ? try_ticket(w, w->ticket_version) : KD_OK;
        if (r != KD_OK) {
            end(w, r == KD_ERR_NO_VERSION ? KD_ERR_TICKET : r, "", NULL);
        }
        return read;
    }
    const struct kd_bytes peer = w->terms.peer;
    if (peer.n > KD_NAME_MAX_BYTES) {
        end(w, KD_ERR_TICKET, "", NULL);
        return KD_ERR_MALFORMED;
    }
    memcpy(w->peer, peer.p, peer.n);
    w->terms.peer = kd_bytes_of_text(w->peer);
    const enum kd_err r = continue_from(w);
    if (r != KD_OK) { // without the root's version there is nothing to continue
        end(w, r == KD_ERR_NO_SESSION ? KD_ERR_SESSION_ENDED : r, "", NULL);
    }
    return KD_OK;
}

// With the newest enabled version of the ticket key whose number is lower.
static enum kd_err try_ticket(struct change *w, uint32_t below) {
    const struct kd_entry *e = kd_registry_get(&w->c->s->registry, w->c->config->ticket);
    const struct kd_hsm_item item = { .data = { w->ticket, w->n_ticket } };
    for (size_t i = e == NULL ? 0 : e->key.n_versions; i > 0; i--) {
        const struct kd_key_version *v = &e->key.versions[i - 1];
        if (v->state == KD_VERSION_ENABLED && v->number < below) {
            w->ticket_version = v->number;
            return ask(w, KD_HSM_TICKET_READ, v->number, 0, NULL, &item, on_ticket);
        }
    }
    return e == NULL ? KD_ERR_NO_KEY : KD_ERR_NO_VERSION;
}

enum kd_err kd_channel_resume(struct kd_service *s, const struct kd_caller *caller,
                              struct kd_bytes ticket, struct kd_bytes client_nonce,
                              kd_session_done *done, void *arg) {
    struct kd_channel *c = NULL;
    enum kd_err r = kd_channel_admit(s, caller, &c);
    if (r != KD_OK) {
        return r;
    }
    if (ticket.n == 0 || ticket.n > KD_HSM_TICKET_MAX_BYTES) {
        return KD_ERR_TICKET;
    }
    if (client_nonce.n == 0 || client_nonce.n > KD_SESSION_NONCE_MAX_BYTES) {
        return KD_ERR_FIELD_INVALID;
    }
    struct change *w = new_change(c, caller, done, arg);
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    w->counts = c->counts.resumed;
    w->n_ticket = ticket.n;
    memcpy(w->ticket, ticket.p, ticket.n);
    w->n_nonce = client_nonce.n;
    memcpy(w->nonce, client_nonce.p, client_nonce.n);
    r = try_ticket(w, UINT32_MAX);
    if (r != KD_OK) {
        free(w);
        return r;
    }
    s->pending++;
    return KD_OK;
}

// ---- update ----------------------------------------------------------------

static void end_update(struct change *w, enum kd_err err, const char *detail,
                       const struct kd_session_change *result) {
    if (w->use->session != NULL) {
        w->use->session->is_updating = false;
    }
    end(w, err, detail, result);
}

// The session has its new keys; `record` says so under the old ones.
static void put_update(struct change *w, struct kd_session_entry *e, struct kd_bytes record) {
    e->now = w->made; // the old one moves to another place
    e->now->session = e;
    w->made = NULL;
    kd_sessions_put(&w->c->sessions, e, &e->before, w->use);
    e->before_due_ms = kd_clock_mono_ms() + OLD_KEYS_MS;
    e->terms.update = e->now->update;
    kd_buf_reset(&e->expiry);
    kd_sessions_set_due(&w->c->sessions, e);
    const struct kd_session_change change = { .session = kd_channel_info(e), .record = record };
    end_update(w, KD_OK, "", &change);
}

static enum kd_err on_announced(void *arg, const struct kd_hsm_reply *reply,
                                struct kd_reader *items) {
    struct change *w = arg;
    struct kd_hsm_result result = { .err = reply->err };
    struct kd_session_entry *e = w->use->session;
    enum kd_err read = KD_OK;
    if (reply->err == KD_OK) {
        read = kd_hsm_get_result(items, KD_HSM_RECORD_SEAL, &result);
    }
    const enum kd_err err = read != KD_OK ? KD_ERR_MALFORMED
                            : e == NULL   ? KD_ERR_NO_SESSION
                                          : result.err;
    if (err != KD_OK) {
        end_update(w, err, "", NULL);
        return read == KD_OK ? KD_OK : KD_ERR_MALFORMED;
    }
    put_update(w, e, result.out);
    return KD_OK;
}

static enum kd_err on_updated(void *arg, const struct kd_hsm_reply *reply,
                              struct kd_reader *items) {
    struct change *w = arg;
    struct kd_hsm_result result = { .err = reply->err };
    kd_auto(buf) struct kd_buf number = KD_BUF_INIT(16);
    enum kd_err read = KD_OK;
    if (reply->err == KD_OK &&
        ((read = kd_hsm_get_result(items, KD_HSM_TICKET_UPDATE, &result)) != KD_OK ||
         (read = kd_reader_finish(items)) != KD_OK)) {
        result.err = KD_ERR_MALFORMED;
    }
    enum kd_err r = w->use->session == NULL ? KD_ERR_NO_SESSION : result.err;
    if (r == KD_OK) {
        r = kd_session_use_new(
            result.out, (struct kd_bytes) { w->use->client_nonce, w->use->n_client_nonce },
            (struct kd_bytes) { w->use->node_nonce, w->use->n_node_nonce }, &w->made);
    }
    if (r == KD_OK) {
        w->made->ticket_version = w->use->ticket_version;
        w->made->root_version = w->use->root_version;
        w->made->update = w->terms.update;
        if (w->use->state == KD_USE_RELEASED) { // to announce it is for who has the keys
            put_update(w, w->use->session, KD_BYTES_NONE);
            return KD_OK;
        }
        kd_record_put_number(&number, w->terms.update);
        r = seal(w, KD_RECORD_KEY_UPDATE, kd_buf_get(&number), on_announced);
    }
    if (r != KD_OK) {
        end_update(w, r, "", NULL);
    }
    return read == KD_OK ? KD_OK : KD_ERR_MALFORMED;
}

static enum kd_err start_update(struct change *w) {
    struct kd_hsm_session session = kd_session_use_show(w->use);
    kd_auto(buf) struct kd_buf number = KD_BUF_INIT(16);
    kd_cbor_put_uint(&number, w->terms.update);
    const struct kd_hsm_item item = { .session = &session,
                                      .terms = &w->terms,
                                      .data = kd_buf_get(&number) };
    return ask(w, KD_HSM_TICKET_UPDATE, w->use->ticket_version, w->use->root_version, w->use->cache,
               &item, on_updated);
}

enum kd_err kd_channel_update(struct kd_service *s, const struct kd_caller *caller, const char *id,
                              kd_session_done *done, void *arg) {
    struct kd_channel *c = NULL;
    struct kd_session_entry *e = NULL;
    enum kd_err r = kd_channel_admit(s, caller, &c);
    if (r != KD_OK || (r = kd_channel_find_session(c, caller, id, &e)) != KD_OK) {
        return r;
    }
    if (e->expired != 0) {
        return KD_ERR_SESSION_EXPIRED;
    }
    // Also until the peer has used the last one's keys: where these were released, who has them
    // knows.
    const bool is_followed =
        e->before == NULL || (e->now != NULL && e->now->state == KD_USE_RELEASED);
    if (e->is_updating || e->now == NULL || !is_followed || e->now->state == KD_USE_RELEASING) {
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    struct change *w = new_change(c, caller, done, arg);
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    w->counts = c->counts.updated;
    memcpy(w->peer, e->peer->info.name, strlen(e->peer->info.name) + 1);
    w->use = e->now;
    w->terms = e->terms;
    w->terms.peer = kd_bytes_of_text(w->peer);
    w->terms.update = e->now->update + 1;
    w->terms.root_version = e->now->root_version;
    r = start_update(w);
    if (r != KD_OK) {
        free(w);
        return r;
    }
    kd_session_use_hold(w->use);
    e->is_updating = true;
    s->pending++;
    return KD_OK;
}
