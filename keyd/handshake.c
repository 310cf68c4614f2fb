// SPDX-License-Identifier: Apache-2.0
// handshake.c: handshakes under way.  EDHOC is run by one worker, which keeps the
// state; here are the peers' credentials, the times and what becomes a session.
#include "keyd/handshake_entry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

// ---- the list --------------------------------------------------------------

static struct kd_bytes id_of(const struct kd_handshake_entry *h) {
    return (struct kd_bytes) { h->id, sizeof(h->id) };
}

static void set_timer(struct kd_channel *c) {
    kd_timer_set_at(c->handshake_timer, c->oldest == NULL ? KD_LOOP_NO_LIMIT : c->oldest->due_ms);
}

static enum kd_err new_handshake(struct kd_channel *c, const char *owner,
                                 struct kd_handshake_entry **out) {
    struct kd_handshake_entry *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    h->c = c;
    h->claim.c = c;
    enum kd_err r = kd_host_random(h->id, sizeof(h->id));
    if (r == KD_OK) {
        r = kd_map_get(&c->handshakes, id_of(h)) != NULL ? KD_ERR_BUSY
                                                         : kd_map_add(&c->handshakes, id_of(h), h);
    }
    if (r != KD_OK) {
        free(h);
        return r;
    }
    memcpy(h->at_worker, h->id, sizeof(h->id));
    kd_hex_encode(h->id, sizeof(h->id), h->text);
    assert(strlen(owner) <= KD_NAME_MAX_BYTES);
    memcpy(h->owner, owner, strlen(owner));
    h->due_ms = kd_clock_mono_ms() + c->config->handshake_timeout_ms;
    h->expires_ms = kd_clock_wall_ms() + c->config->handshake_timeout_ms;
    h->older = c->newest;
    *(c->newest == NULL ? &c->oldest : &c->newest->newer) = h;
    c->newest = h;
    set_timer(c);
    *out = h;
    return KD_OK;
}

static void forget(struct kd_handshake_entry *h) {
    struct kd_channel *c = h->c;
    kd_map_remove(&c->handshakes, id_of(h));
    *(h->older == NULL ? &c->oldest : &h->older->newer) = h->newer;
    *(h->newer == NULL ? &c->newest : &h->newer->older) = h->older;
    kd_claim_wipe(&h->claim);
    if (h->has_place && c->s->workers != NULL) {
        kd_workers_leave(c->s->workers, &h->home);
    }
    free(h);
    set_timer(c);
}

// ---- answers ---------------------------------------------------------------

static const char any_kind[] = "handshake";

// Ends the step.  A result with an error ends the handshake too, except for a
// message that did not fit its state.  `kind` of what is logged: a constant.
static void answer(struct kd_handshake_entry *h, enum kd_err err, const char *kind,
                   const char *detail, struct kd_handshake_result *result, bool is_last) {
    struct kd_channel *c = h->c;
    kd_handshake_done *done = h->done;
    void *arg = h->arg;
    memcpy(result->id, h->text, sizeof(result->id));
    result->expires_ms = h->expires_ms;
    const enum kd_err outcome = err != KD_OK ? err : result->err;
    h->is_busy = false;
    if (outcome != KD_OK) {
        kd_channel_warn_of(c, "a handshake was refused", outcome, kind, h->peer, detail);
    }
    if (is_last) {
        c->counts.handshakes[outcome]++;
        forget(h);
    }
    done(arg, err, detail, err == KD_OK ? result : NULL);
    c->s->pending--;
}

// The request as a whole failed: the state may be gone, so the handshake is.
static void fail(struct kd_handshake_entry *h, enum kd_err err, struct kd_bytes detail) {
    struct kd_handshake_result none = { .err = err };
    char text[KD_DETAIL_BYTES];
    kd_detail_copy(text, detail);
    answer(h, err, any_kind, text, &none, true);
}

static void drop_at_worker(const struct kd_handshake_entry *h);

// The peer is not told why.  What is said of a credential is a kind for each `why`, a constant.
static void refuse(struct kd_handshake_entry *h, enum kd_err err, const char *why) {
    kd_auto(buf) struct kd_buf message = KD_BUF_INIT(64);
    kd_cbor_put_int(&message, KD_EDHOC_ERR_UNSPECIFIED);
    kd_cbor_put_text(&message, "refused");
    drop_at_worker(h);
    const bool is_kind = err == KD_ERR_HS_CREDENTIAL || err == KD_ERR_BUSY;
    struct kd_handshake_result result = { .err = err, .message = kd_buf_get(&message) };
    answer(h, KD_OK, is_kind ? why : any_kind, why, &result, true);
}

// ---- requests --------------------------------------------------------------

static enum kd_err ask(struct kd_handshake_entry *h, struct kd_hsm_request *head,
                       struct kd_hsm_handshake *message, kd_call_done *done) {
    struct kd_call *call = NULL;
    const struct kd_hsm_item item = { .handshake = message };
    head->n_items = 1;
    memcpy(message->id, h->at_worker, sizeof(message->id));
    struct kd_workers *workers = h->c->s->workers;
    if (workers == NULL) {
        return KD_ERR_STOPPING;
    }
    const bool is_start = head->op == KD_HSM_HS_START;
    enum kd_err r = is_start ? kd_workers_begin(workers, head, NULL, &call)
                             : kd_workers_begin_at(workers, head, &h->home, &call);
    if (r != KD_OK) {
        return r;
    }
    kd_call_pin(call, &h->home);
    kd_call_put(call, &item);
    r = kd_call_send(call, done, h);
    if (r == KD_OK && is_start) {
        kd_workers_enter(workers, &h->home);
        h->has_place = true;
    }
    return r;
}

static enum kd_err ignore(void *arg KD_UNUSED, const struct kd_hsm_reply *reply KD_UNUSED,
                          struct kd_reader *items KD_UNUSED) {
    return KD_OK;
}

// What cannot be dropped waits for its time there.
static void drop_at(const struct kd_channel *c, const uint8_t id[static KD_HSM_HANDSHAKE_ID_BYTES],
                    const struct kd_worker_home *home) {
    struct kd_hsm_request head = { .op = KD_HSM_HS_DROP, .n_items = 1 };
    struct kd_hsm_handshake message = { 0 };
    const struct kd_hsm_item item = { .handshake = &message };
    struct kd_call *call = NULL;
    memcpy(message.id, id, sizeof(message.id));
    if (c->s->workers != NULL && kd_workers_begin_at(c->s->workers, &head, home, &call) == KD_OK) {
        kd_call_put(call, &item);
        const enum kd_err r KD_UNUSED = kd_call_send(call, ignore, NULL);
    }
}

static void drop_at_worker(const struct kd_handshake_entry *h) {
    drop_at(h->c, h->at_worker, &h->home);
}

// The one result of a step.  False: the step has ended with what was wrong.
static bool take_result(struct kd_handshake_entry *h, enum kd_hsm_op op,
                        const struct kd_hsm_reply *reply, struct kd_reader *items,
                        struct kd_hsm_result *out, enum kd_err *read) {
    *read = KD_OK;
    if (reply->err != KD_OK) {
        fail(h, reply->err, reply->detail);
        return false;
    }
    if (reply->n_items != 1 || kd_hsm_get_result(items, op, out) != KD_OK ||
        kd_reader_finish(items) != KD_OK) {
        *read = KD_ERR_MALFORMED;
        fail(h, KD_ERR_MALFORMED, KD_BYTES_NONE);
        return false;
    }
    if (out->err != KD_OK) {
        struct kd_handshake_result result = { .err = out->err, .message = out->out };
        answer(h, KD_OK, any_kind, "", &result, out->err != KD_ERR_HS_STATE);
        return false;
    }
    if (h->is_over) {
        refuse(h, KD_ERR_NO_HANDSHAKE, "it was abandoned, or its time is over");
        return false;
    }
    return true;
}

// ---- sessions --------------------------------------------------------------

static enum kd_err make_session(struct kd_handshake_entry *h, struct kd_bytes ticket,
                                struct kd_session_entry **out) {
    struct kd_channel *c = h->c;
    struct kd_peer_entry *peer = NULL;
    struct kd_session_use *use = NULL;
    if (c->sessions.due.n >= c->config->sessions_max) {
        return KD_ERR_SESSIONS_FULL;
    }
    enum kd_err r = kd_session_use_new(ticket, KD_BYTES_NONE, KD_BYTES_NONE, &use);
    if (r != KD_OK) {
        return r;
    }
    use->ticket_version = h->ticket_version;
    use->root_version = h->terms.root_version;
    r = kd_claim_settle(&h->claim, h->peer, h->terms.created_ms, &peer);
    if (r == KD_OK) {
        kd_peers_hold(&c->peers, peer);
        kd_sessions_make_room(&c->sessions, h->peer, c->config->sessions_per_peer);
        r = kd_sessions_add(&c->sessions, h->owner, peer, &h->terms, out);
        if (r != KD_OK) {
            kd_peers_release(&c->peers, peer);
        }
    }
    if (r != KD_OK) {
        kd_session_use_release(use);
        return r;
    }
    if (h->terms.created_ms > c->latest_made_ms) {
        c->latest_made_ms = h->terms.created_ms;
    }
    (*out)->method = h->method;
    (*out)->suite = h->suite;
    kd_sessions_put(&c->sessions, *out, &(*out)->now, use);
    kd_log(KD_LOG_INFO, "channel", "a session was made",
           "session=%s peer=%s principal=%s method=%u suite=%u", (*out)->text, h->peer, h->owner,
           h->method, h->suite);
    return KD_OK;
}

// The handshake is done: message (responder) and session.
static void finish(struct kd_handshake_entry *h, const struct kd_hsm_result *from) {
    struct kd_session_entry *e = NULL;
    enum kd_err r = make_session(h, from->ticket, &e);
    if (r != KD_OK) {
        refuse(h, r, "its peer or its place is gone");
        return;
    }
    const struct kd_session_info info = kd_channel_info(e);
    struct kd_handshake_result result = { .message = from->out, .session = &info };
    answer(h, KD_OK, any_kind, "", &result, true);
}

// ---- steps -----------------------------------------------------------------

static enum kd_err on_finished(void *arg, const struct kd_hsm_reply *reply,
                               struct kd_reader *items) {
    struct kd_handshake_entry *h = arg;
    struct kd_hsm_result result;
    enum kd_err read;
    const enum kd_hsm_op op = h->is_confirming ? KD_HSM_HS_CONFIRM : KD_HSM_HS_FINISH;
    if (!take_result(h, op, reply, items, &result, &read)) {
        return read;
    }
    if (h->is_initiator && !h->is_confirming) {
        struct kd_handshake_result more = { .message = result.out };
        h->is_confirming = true;
        answer(h, KD_OK, any_kind, "", &more, false);
        return KD_OK;
    }
    finish(h, &result);
    return KD_OK;
}

// The peer has said who it is.
static enum kd_err go_on_with_peer(struct kd_handshake_entry *h, const struct kd_peer_entry *peer) {
    const struct kd_key_version *root = NULL;
    kd_auto(buf) struct kd_buf ead = KD_BUF_INIT(KD_HSM_EAD_MAX_BYTES);
    memcpy(h->peer, peer->info.name, strlen(peer->info.name) + 1);
    enum kd_err r = kd_channel_choose_terms(h->c, peer, &h->terms, &h->ticket_version, &root);
    if (r != KD_OK) {
        return r;
    }
    h->terms.peer = kd_bytes_of_text(h->peer); // which lives as long
    kd_channel_put_ead(&ead, &h->terms, root);
    struct kd_hsm_request head = { .op = KD_HSM_HS_FINISH };
    struct kd_hsm_handshake message = {
        .peer_point = { peer->key.point, peer->key.n_point },
        .peer_cred = peer->cred,
        .ead = kd_buf_get(&ead),
        .terms = h->is_initiator ? NULL : &h->terms,
    };
    if ((r = kd_buf_finish(&ead)) != KD_OK ||
        (r = kd_channel_put_keys(h->c, h->ticket_version, h->terms.root_version, &head)) != KD_OK) {
        return r;
    }
    return ask(h, &head, &message, on_finished);
}

static void on_found(void *arg, enum kd_err err, const char *why,
                     const struct kd_peer_entry *peer) {
    struct kd_handshake_entry *h = arg;
    if (err != KD_OK) {
        refuse(h, err, why);
        return;
    }
    const enum kd_err r = go_on_with_peer(h, peer);
    if (r != KD_OK) {
        drop_at_worker(h);
        fail(h, r, KD_BYTES_NONE);
    }
}

static enum kd_err on_read(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct kd_handshake_entry *h = arg;
    struct kd_hsm_result result;
    const struct kd_peer_entry *peer = NULL;
    const char *why = "";
    enum kd_err read;
    if (!take_result(h, KD_HSM_HS_READ, reply, items, &result, &read)) {
        return read;
    }
    h->suite = result.suite;
    h->method = result.method;
    const bool is_static = (h->method & (h->is_initiator ? 1 : 2)) != 0; // RFC 9528 3.2
    h->claim.use = is_static ? KD_TRUST_AGREES : KD_TRUST_SIGNS;
    h->claim.done = on_found;
    h->claim.arg = h;
    const enum kd_err r = kd_claim_find(&h->claim, result.id_cred, &peer, &why);
    if (r != KD_OK || peer != NULL) { // else a certificate is fetched
        on_found(h, r, why, peer);
    }
    return KD_OK;
}

static enum kd_err on_started(void *arg, const struct kd_hsm_reply *reply,
                              struct kd_reader *items) {
    struct kd_handshake_entry *h = arg;
    struct kd_hsm_result result;
    enum kd_err read;
    if (!take_result(h, KD_HSM_HS_START, reply, items, &result, &read)) {
        return read;
    }
    struct kd_handshake_result more = { .message = result.out };
    answer(h, KD_OK, any_kind, "", &more, false);
    return KD_OK;
}

// ---- begin -----------------------------------------------------------------

static void refuse_wish(struct kd_later *l) {
    refuse((struct kd_handshake_entry *)l, KD_ERR_HS_EAD, "its critical wish cannot be met");
}

// peer_suites: those of ours that the peer is known to have (NULL: not known).
static enum kd_err start(struct kd_handshake_entry *h, struct kd_bytes message,
                         const struct kd_suites *peer_suites) {
    struct kd_channel *c = h->c;
    const struct kd_key_version *identity = NULL;
    enum kd_err r = kd_channel_identity(c, &identity);
    if (r != KD_OK) {
        return r;
    }
    kd_auto(buf) struct kd_buf id_cred = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    if ((r = kd_channel_put_id_cred(c, message, &id_cred)) != KD_OK) {
        return r;
    }
    h->is_initiator = message.n == 0;
    struct kd_hsm_request head = { .op = KD_HSM_HS_START, .n_keys = 1 };
    head.keys[0] = identity->ref;
    struct kd_hsm_handshake first = {
        .message = message,
        .is_initiator = h->is_initiator,
        .methods = kd_channel_methods(c, h->is_initiator, h->wanted),
        .suites = kd_channel_suites(c),
        .is_static_dh = c->identity.is_static_dh,
        .id_cred = kd_buf_get(&id_cred),
        .cred = kd_buf_get(&c->identity.cred),
        .conn_id = id_of(h),
        .timeout_ms = c->config->handshake_timeout_ms,
    };
    if (peer_suites != NULL) {
        first.peer_suites = *peer_suites;
    }
    if (first.methods == 0) {
        return KD_ERR_HS_METHOD;
    }
    return first.suites.n == 0 ? KD_ERR_HS_SUITE : ask(h, &head, &first, on_started);
}

enum kd_err kd_channel_begin(struct kd_service *s, const struct kd_caller *caller,
                             const struct kd_handshake_start *first, struct kd_buf *cookie,
                             kd_handshake_done *done, void *arg) {
    struct kd_channel *c = NULL;
    struct kd_handshake_entry *h = NULL;
    enum kd_err r = kd_channel_admit(s, caller, &c);
    if (r != KD_OK) {
        return r;
    }
    if (first->message.n > KD_EDHOC_MESSAGE_MAX_BYTES || first->method > KD_EDHOC_METHOD_MAX) {
        return first->message.n > 0 ? KD_ERR_HS_MESSAGE : KD_ERR_HS_METHOD;
    }
    if (first->address.n > KD_ADDRESS_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    if ((r = kd_channel_admit_handshake(c, caller, first, cookie)) != KD_OK) {
        return r;
    }
    if ((r = new_handshake(c, caller->principal, &h)) != KD_OK) {
        return r;
    }
    h->done = done;
    h->arg = arg;
    h->is_busy = true;
    h->wanted = first->method;
    r = start(h, first->message, NULL);
    if (r == KD_ERR_HS_EAD) { // the peer gets its error message
        h->later.fn = refuse_wish;
        kd_channel_later(c, &h->later);
        r = KD_OK;
    }
    if (r != KD_OK) {
        forget(h);
        return r;
    }
    s->pending++;
    return KD_OK;
}

// ---- the next messages -----------------------------------------------------

static enum kd_err find(const struct kd_channel *c, const struct kd_caller *caller, const char *id,
                        struct kd_handshake_entry **out) {
    uint8_t raw[KD_HSM_HANDSHAKE_ID_BYTES];
    if (strlen(id) != 2 * sizeof(raw) || kd_hex_decode(id, raw, sizeof(raw)) != KD_OK) {
        return KD_ERR_NO_HANDSHAKE;
    }
    struct kd_handshake_entry *h =
        kd_map_get(&c->handshakes, (struct kd_bytes) { raw, sizeof(raw) });
    if (h == NULL || h->is_over || strcmp(h->owner, caller->principal) != 0) {
        return KD_ERR_NO_HANDSHAKE;
    }
    *out = h;
    return KD_OK;
}

static void refuse_suites(struct kd_later *l) {
    struct kd_handshake_entry *h = (struct kd_handshake_entry *)l;
    struct kd_handshake_result result = { .err = KD_ERR_HS_SUITE };
    char why[KD_DETAIL_BYTES];
    kd_suites_print(&h->theirs, h->has_retried, why);
    drop_at_worker(h);
    answer(h, KD_OK, any_kind, why, &result, true); // with no error (RFC 9528 6)
}

// The responder has none of the suites that we offered, or only the later ones (RFC 9528 6.3):
// once more, with a new message_1.  Nobody has signed that, but our offer keeps its order, so that
// a responder that has a better suite refuses it.
static enum kd_err try_their_suites(struct kd_handshake_entry *h, const struct kd_suites *theirs) {
    const struct kd_suites own = kd_channel_suites(h->c);
    const struct kd_worker_home home = h->home;
    struct kd_suites common = { 0 };
    uint8_t before[KD_HSM_HANDSHAKE_ID_BYTES];
    for (size_t i = 0; i < own.n; i++) {
        if (kd_suites_has(theirs, own.ids[i])) {
            common.ids[common.n++] = own.ids[i];
        }
    }
    h->theirs = *theirs;
    if (common.n == 0 || h->has_retried) {
        h->later.fn = refuse_suites;
        kd_channel_later(h->c, &h->later);
        return KD_OK;
    }
    memcpy(before, h->at_worker, sizeof(before));
    enum kd_err r = kd_host_random(h->at_worker, sizeof(h->at_worker));
    if (r != KD_OK || (r = start(h, KD_BYTES_NONE, &common)) != KD_OK) {
        memcpy(h->at_worker, before, sizeof(before)); // as it was; the caller may try again
        h->home = home;
        return r;
    }
    drop_at(h->c, before, &home);
    kd_workers_leave(h->c->s->workers, &home);
    h->has_retried = true;
    return KD_OK;
}

static enum kd_err send_step(struct kd_handshake_entry *h, struct kd_bytes message) {
    struct kd_hsm_request head = { .op = h->is_confirming ? KD_HSM_HS_CONFIRM : KD_HSM_HS_READ };
    struct kd_hsm_handshake next = { .message = message };
    if (!h->is_confirming) {
        return ask(h, &head, &next, on_read);
    }
    next.terms = &h->terms;
    enum kd_err r = kd_channel_put_keys(h->c, h->ticket_version, h->terms.root_version, &head);
    return r == KD_OK ? ask(h, &head, &next, on_finished) : r;
}

enum kd_err kd_channel_step(struct kd_service *s, const struct kd_caller *caller, const char *id,
                            struct kd_bytes message, kd_handshake_done *done, void *arg) {
    struct kd_channel *c = NULL;
    struct kd_handshake_entry *h = NULL;
    struct kd_suites theirs;
    enum kd_err r = kd_channel_admit(s, caller, &c);
    if (r != KD_OK || (r = find(c, caller, id, &h)) != KD_OK) {
        return r;
    }
    if (message.n == 0 || message.n > KD_EDHOC_MESSAGE_MAX_BYTES) {
        return KD_ERR_HS_MESSAGE;
    }
    if (h->is_busy) {
        return KD_ERR_HS_STATE;
    }
    h->done = done;
    h->arg = arg;
    r = h->is_initiator && !h->is_confirming && kd_suites_of_error(message, &theirs)
            ? try_their_suites(h, &theirs)
            : send_step(h, message);
    if (r == KD_ERR_NO_HANDSHAKE) { // its worker is gone
        c->counts.handshakes[r]++;
        forget(h);
    }
    if (r != KD_OK) {
        return r;
    }
    h->is_busy = true;
    s->pending++;
    return KD_OK;
}

// ---- ends ------------------------------------------------------------------

static void end(struct kd_handshake_entry *h, enum kd_err why) {
    if (h->claim.wait != NULL) {
        refuse(h, why, "it ended while its certificate was fetched");
        return;
    }
    if (h->is_busy) {
        h->is_over = true; // its step ends it
        return;
    }
    h->c->counts.handshakes[why]++;
    drop_at_worker(h);
    forget(h);
}

// Who answers at all does so sooner.  A step that is under way is not the peer's delay.
static struct kd_handshake_entry *find_silent(const struct kd_channel *c) {
    const uint64_t now = kd_clock_mono_ms();
    const uint64_t left_ms = c->config->handshake_timeout_ms;
    for (struct kd_handshake_entry *h = c->oldest; h != NULL; h = h->newer) {
        if (h->due_ms + KD_HANDSHAKE_SILENCE_MS > now + left_ms) {
            return NULL; // it, and all behind it, began later
        }
        if (!h->is_busy) {
            return h;
        }
    }
    return NULL;
}

bool kd_channel_has_silent(const struct kd_channel *c) {
    return find_silent(c) != NULL;
}

void kd_channel_end_silent(struct kd_channel *c) {
    struct kd_handshake_entry *h = find_silent(c);
    if (h != NULL) {
        end(h, KD_ERR_DEADLINE);
    }
}

enum kd_err kd_channel_abandon(struct kd_service *s, const struct kd_caller *caller,
                               const char *id) {
    struct kd_handshake_entry *h = NULL;
    enum kd_err r = s->channel == NULL ? KD_ERR_CONFIG : find(s->channel, caller, id, &h);
    if (r != KD_OK) {
        return r;
    }
    end(h, KD_ERR_NO_HANDSHAKE);
    return KD_OK;
}

void kd_channel_on_handshake_timer(void *channel) {
    struct kd_channel *c = channel;
    const uint64_t now = kd_clock_mono_ms();
    struct kd_handshake_entry *h = c->oldest;
    while (h != NULL && h->due_ms <= now) {
        struct kd_handshake_entry *next = h->newer;
        end(h, KD_ERR_DEADLINE);
        h = next;
    }
    if (h != NULL) {
        kd_timer_set_at(c->handshake_timer, h->due_ms);
    }
}

void kd_channel_free_handshakes(struct kd_channel *c) {
    while (c->oldest != NULL) {
        struct kd_handshake_entry *h = c->oldest;
        if (h->claim.wait != NULL) { // no worker answers this one
            refuse(h, KD_ERR_STOPPING, "keyd stops");
            continue;
        }
        c->oldest = h->newer;
        kd_claim_wipe(&h->claim);
        free(h);
    }
    kd_map_wipe(&c->handshakes);
}
