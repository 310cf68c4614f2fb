// SPDX-License-Identifier: Apache-2.0
// record_work.c: records are sealed and opened, in batches.  Sequence numbers are
// taken here before a worker sees a record and never again, whatever becomes of
// it; numbers that were received are pending in the window meanwhile.  A record
// does not say which use of its session it is of: where there is more than one,
// they are tried in rounds.
#include "keyd/channel_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_MAX_BYTES = KD_HSM_FRAME_MAX_BYTES - 1024 * 1024 };

enum item_state { TO_SEND, SENT, DONE };

// Where bytes are in a buffer that may still move.
struct span {
    size_t at, n;
};

struct item {
    enum item_state state;
    enum kd_err err;
    bool is_whole;     // err is the whole request's
    bool is_expiry;    // sealing the record that says that the session has expired
    bool has_copy;     // data and aad can be sent again
    uint8_t type;      // of the record
    size_t n_tried;    // uses
    enum kd_err first; // what was wrong with the first of them
    uint64_t sequence;
    uint64_t step;
    struct kd_session_use *tried[KD_SESSION_USES]; // held; the last is the one in use
    struct kd_bytes data, aad;                     // the caller's, while it is in the call
    struct span data_copy, aad_copy, out, answer;
    char session[KD_SESSION_TEXT_BYTES];
    char peer[KD_NAME_MAX_BYTES + 1], relation[KD_NAME_MAX_BYTES + 1];
    bool is_registered;
};

struct work {
    struct kd_later later; // first
    struct kd_channel *c;
    kd_record_done *done;
    void *arg;
    char owner[KD_NAME_MAX_BYTES + 1];
    char detail[KD_DETAIL_BYTES];
    bool is_open;
    size_t under_way; // requests
    struct kd_buf in;
    struct kd_buf out;
    struct kd_record_result *results;
    size_t n;
    struct item items[];
};

// One request.
struct round {
    struct work *w;
    enum kd_hsm_op op;
    size_t n;
    uint16_t items[];
};

static struct kd_bytes bytes_at(const struct kd_buf *b, struct span s) {
    return s.n == 0 ? KD_BYTES_NONE : (struct kd_bytes) { b->p + s.at, s.n };
}

static struct span keep(struct kd_buf *b, struct kd_bytes from) {
    const struct span s = { b->n, from.n };
    kd_buf_put(b, from.p, from.n);
    return s;
}

static struct kd_session_use *use_of(const struct item *i) {
    return i->n_tried == 0 ? NULL : i->tried[i->n_tried - 1];
}

// NULL where it has ended.
static struct kd_session_entry *session_of(const struct item *i) {
    const struct kd_session_use *u = use_of(i);
    return u == NULL ? NULL : u->session;
}

static void take_use(struct item *i, struct kd_session_use *u) {
    assert(i->n_tried < KD_SESSION_USES);
    kd_session_use_hold(u);
    i->tried[i->n_tried++] = u;
}

static void end_item(struct item *i, enum kd_err err) {
    i->state = DONE;
    i->err = err;
}

// What the caller's records are sealed with: one that nobody has used yet where
// there is no other.
static struct kd_session_use *use_to_seal(const struct work *w, const struct kd_session_entry *e) {
    struct kd_session_use *uses[KD_SESSION_USES];
    kd_session_uses(e, w->owner, uses);
    return uses[0] != NULL ? uses[0] : uses[1];
}

// NULL where the caller has none of this id.
static struct kd_session_entry *find(const struct work *w, struct kd_bytes id) {
    struct kd_session_entry *e = kd_sessions_find(&w->c->sessions, id);
    return e != NULL && use_to_seal(w, e) != NULL ? e : NULL;
}

// ---- limits ----------------------------------------------------------------

// The session has expired: a record that says so is the answer, sealed at most
// once in each step of its one-time password.
static void answer_expired(struct work *w, struct item *i, struct kd_session_entry *e) {
    const uint64_t step = kd_otp_step(&e->terms.otp, kd_clock_wall_ms());
    struct kd_session_use *use = use_to_seal(w, e);
    end_item(i, KD_ERR_SESSION_EXPIRED);
    if (e->now != NULL && use != e->now) {
        return; // the one record is for who has the client
    }
    if (e->expiry.n > 0 && e->expiry_step == step) {
        i->answer = keep(&w->out, kd_buf_get(&e->expiry));
        return;
    }
    if (use == NULL || kd_session_use_check(use) != KD_OK || e->sealing_step == step ||
        i->n_tried == KD_SESSION_USES ||
        kd_sequence_reserve(&use->send, 1, &i->sequence) != KD_OK) {
        return;
    }
    take_use(i, use);
    e->sealing_step = step;
    i->is_expiry = true;
    i->step = step;
    i->state = TO_SEND;
}

// Has it expired, also with these many more bytes and one more record?
static bool is_over(struct work *w, struct kd_session_entry *e, size_t more) {
    const enum kd_record_expiry why = e->expired == 0 ? kd_session_over(e, NULL, more) : 0;
    if (why != 0) {
        kd_sessions_expire(&w->c->sessions, e, why);
    }
    if (why != 0 && why != KD_EXPIRED_LIFETIME) { // its ticket does not know what was counted
        const enum kd_err r KD_UNUSED = kd_channel_note_end(w->c, e, NULL, NULL);
    }
    return e->expired != 0;
}

// ---- before ----------------------------------------------------------------

static void name_item(struct item *i, const struct kd_session_entry *e) {
    memcpy(i->session, e->text, sizeof(i->session));
    memcpy(i->peer, e->peer->info.name, strlen(e->peer->info.name) + 1);
    memcpy(i->relation, e->peer->relation, sizeof(i->relation));
    i->is_registered = !e->peer->is_passing;
}

static bool was_tried(const struct item *i, const struct kd_session_use *u) {
    for (size_t k = 0; k < i->n_tried; k++) {
        if (i->tried[k] == u) {
            return true;
        }
    }
    return false;
}

// The next use of the session that the record may be of, its number pending there.
static void choose_use(struct work *w, struct item *i, struct kd_session_entry *e) {
    struct kd_session_use *uses[KD_SESSION_USES];
    kd_session_uses(e, w->owner, uses);
    for (size_t k = 0; k < KD_SESSION_USES; k++) {
        if (uses[k] == NULL || was_tried(i, uses[k]) || i->n_tried == KD_SESSION_USES) {
            continue;
        }
        enum kd_err r = kd_session_use_check(uses[k]);
        if (r == KD_OK) {
            take_use(i, uses[k]);
            r = kd_window_begin(&uses[k]->window, i->sequence);
        }
        if (r == KD_OK) {
            i->state = TO_SEND;
            return;
        }
        i->first = i->first == KD_OK || r == KD_ERR_NO_MEMORY ? r : i->first;
    }
    end_item(i, i->first == KD_OK ? KD_ERR_NO_SESSION : i->first);
}

static void prepare_open(struct work *w, struct item *i) {
    struct kd_record_head head;
    if (kd_record_parse(i->data, &head) != KD_OK) {
        end_item(i, KD_ERR_RECORD_FORM);
        return;
    }
    struct kd_session_entry *e = find(w, head.id);
    if (e == NULL) {
        end_item(i, KD_ERR_NO_SESSION);
        return;
    }
    i->sequence = head.sequence;
    name_item(i, e);
    if (is_over(w, e, 0)) {
        answer_expired(w, i, e);
        return;
    }
    if (e->next != NULL || e->before != NULL) {
        i->data_copy = keep(&w->in, i->data);
        i->aad_copy = keep(&w->in, i->aad);
        i->has_copy = true;
    }
    if (kd_buf_finish(&w->in) != KD_OK) {
        end_item(i, KD_ERR_NO_MEMORY); // for a copy, without which not all keys can be tried
        return;
    }
    choose_use(w, i, e);
}

static void prepare_seal(struct work *w, struct item *i, const char *id) {
    uint8_t raw[KD_HSM_SESSION_ID_BYTES];
    struct kd_session_entry *e = NULL;
    if (id != NULL && strlen(id) == 2 * sizeof(raw) &&
        kd_hex_decode(id, raw, sizeof(raw)) == KD_OK) {
        e = find(w, (struct kd_bytes) { raw, sizeof(raw) });
    }
    if (e == NULL) {
        end_item(i, KD_ERR_NO_SESSION);
        return;
    }
    name_item(i, e);
    if (i->type > KD_RECORD_TYPE_LAST) {
        end_item(i, KD_ERR_FIELD_INVALID);
        return;
    }
    struct kd_session_use *use = use_to_seal(w, e);
    const bool is_followed = use != e->next; // else it cannot use up what is the client's
    if (is_over(w, e, is_followed ? i->data.n : 0)) {
        answer_expired(w, i, e);
        return;
    }
    enum kd_err r = is_followed || kd_session_over(e, use, i->data.n) == 0
                        ? kd_session_use_check(use)
                        : KD_ERR_CHANGE_UNDER_WAY;
    if (r != KD_OK || (r = kd_sequence_reserve(&use->send, 1, &i->sequence)) != KD_OK) {
        end_item(i, r);
        return;
    }
    take_use(i, use);
    kd_session_count_sent(e, use, i->data.n);
    i->state = TO_SEND;
}

// ---- results ---------------------------------------------------------------

static void on_opened(struct work *w, struct item *i, const struct kd_hsm_result *from) {
    struct kd_session_use *use = use_of(i);
    assert(use != NULL); // what was sent has one
    struct kd_session_entry *e = use->session;
    enum kd_err r = from->err == KD_OK ? kd_window_commit(&use->window, i->sequence) : from->err;
    if (from->err != KD_OK) {
        kd_window_abort(&use->window, i->sequence);
    }
    if (e == NULL) {
        end_item(i, KD_ERR_NO_SESSION); // it has ended, or these keys have
        return;
    }
    if (r == KD_ERR_NOT_AUTHENTIC) {
        i->first = i->first == KD_OK ? r : i->first;
        if (i->has_copy) {
            choose_use(w, i, e);
        } else {
            end_item(i, i->first);
        }
        return;
    }
    if (r != KD_OK) {
        end_item(i, r);
        return;
    }
    if (is_over(w, e, from->out.n)) { // others came before it
        answer_expired(w, i, e);
        return;
    }
    e->received++;
    e->bytes += from->out.n;
    kd_sessions_confirm(&w->c->sessions, e, use, w->c->config->sessions_per_peer);
    i->type = from->which;
    i->out = keep(&w->out, from->out);
    end_item(i, KD_OK);
    if (i->type == KD_RECORD_CLOSE) {
        const enum kd_err noted KD_UNUSED = kd_channel_note_end(w->c, e, NULL, NULL);
        kd_sessions_remove(&w->c->sessions, e, KD_SESSION_CLOSED);
    }
}

static void on_sealed(struct work *w, struct item *i, const struct kd_hsm_result *from) {
    struct kd_session_entry *e = session_of(i);
    if (!i->is_expiry) {
        i->out = from->err == KD_OK ? keep(&w->out, from->out) : (struct span) { 0, 0 };
        end_item(i, from->err);
        return;
    }
    end_item(i, KD_ERR_SESSION_EXPIRED);
    if (e != NULL && from->err != KD_OK) {
        e->sealing_step = 0; // another may try
    }
    if (e != NULL && from->err == KD_OK) {
        kd_buf_reset(&e->expiry);
        kd_buf_put(&e->expiry, from->out.p, from->out.n);
        e->expiry_step = i->step;
        i->answer = keep(&w->out, from->out);
    }
}

static void take_item(struct work *w, struct item *i, enum kd_hsm_op op,
                      const struct kd_hsm_result *from) {
    if (op == KD_HSM_RECORD_OPEN) {
        on_opened(w, i, from);
    } else {
        on_sealed(w, i, from);
    }
}

// A request that failed as a whole: of a record to open nothing is lost.
static void fail_round(const struct round *r, enum kd_err err) {
    const struct kd_hsm_result failed = { .err = err };
    for (size_t k = 0; k < r->n; k++) {
        struct item *i = &r->w->items[r->items[k]];
        take_item(r->w, i, r->op, &failed);
        i->is_whole = i->state == DONE && i->err == err && !i->is_expiry;
    }
}

static void advance(struct work *w);

static enum kd_err on_reply(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct round *r = arg;
    struct work *w = r->w;
    enum kd_err read = KD_OK;
    if (reply->err != KD_OK) {
        kd_detail_copy(w->detail, reply->detail);
        fail_round(r, reply->err);
    } else {
        read = reply->n_items == r->n ? KD_OK : KD_ERR_MALFORMED;
        for (size_t k = 0; k < r->n; k++) {
            struct kd_hsm_result result = { .err = KD_ERR_MALFORMED };
            if (read == KD_OK && (read = kd_hsm_get_result(items, r->op, &result)) != KD_OK) {
                result = (struct kd_hsm_result) { .err = KD_ERR_MALFORMED };
            }
            take_item(w, &w->items[r->items[k]], r->op, &result);
        }
        read = read == KD_OK ? kd_reader_finish(items) : read;
    }
    free(r);
    w->under_way--;
    advance(w);
    return read == KD_OK ? KD_OK : KD_ERR_MALFORMED;
}

// ---- requests --------------------------------------------------------------

static enum kd_hsm_op op_of(const struct work *w, const struct item *i) {
    return w->is_open && !i->is_expiry ? KD_HSM_RECORD_OPEN : KD_HSM_RECORD_SEAL;
}

static void put_item(struct kd_call *call, const struct work *w, const struct item *i) {
    struct kd_hsm_session session = kd_session_use_show(use_of(i));
    kd_auto(buf) struct kd_buf number = KD_BUF_INIT(16);
    struct kd_hsm_item item = { .session = &session, .sequence = i->sequence };
    if (i->is_expiry) {
        const struct kd_session_entry *e = session_of(i);
        kd_record_put_number(&number, e == NULL ? KD_EXPIRED_LIFETIME : e->expired);
        item.record_type = KD_RECORD_EXPIRE;
        item.data = kd_buf_get(&number);
    } else {
        item.record_type = i->type;
        item.data = i->data.n == 0 && i->has_copy ? bytes_at(&w->in, i->data_copy) : i->data;
        item.aad = i->data.n == 0 && i->has_copy ? bytes_at(&w->in, i->aad_copy) : i->aad;
    }
    kd_call_put(call, &item);
}

// Both have their session's keys in one worker, or would have.
static bool is_near(const struct work *w, const struct kd_session_use *a,
                    const struct kd_session_use *b) {
    const struct kd_workers *workers = w->c->s->workers;
    return workers == NULL ||
           kd_workers_near(workers, a->cache) == kd_workers_near(workers, b->cache);
}

// Those that are to be sent, with the same keys and to the same worker as the first of them.
static struct round *gather(struct work *w, size_t first) {
    struct round *r = malloc(sizeof(*r) + w->n * sizeof(r->items[0]));
    if (r == NULL) {
        return NULL;
    }
    const struct kd_session_use *like = use_of(&w->items[first]);
    *r = (struct round) { .w = w, .op = op_of(w, &w->items[first]) };
    for (size_t k = first; k < w->n; k++) {
        struct item *i = &w->items[k];
        const struct kd_session_use *u = use_of(i);
        if (i->state == TO_SEND && op_of(w, i) == r->op &&
            u->ticket_version == like->ticket_version && u->root_version == like->root_version &&
            is_near(w, u, like)) {
            i->state = SENT;
            r->items[r->n++] = (uint16_t)k;
        }
    }
    return r;
}

static enum kd_err send_round(struct round *r) {
    struct work *w = r->w;
    assert(r->n > 0);
    const struct kd_session_use *u = use_of(&w->items[r->items[0]]);
    assert(u != NULL);
    struct kd_hsm_request head = { .op = r->op, .n_items = (uint16_t)r->n };
    struct kd_call *call = NULL;
    enum kd_err err = kd_channel_put_keys(w->c, u->ticket_version, u->root_version, &head);
    if (err != KD_OK || (err = kd_service_begin(w->c->s, &head, u->cache, &call)) != KD_OK) {
        return err;
    }
    for (size_t k = 0; k < r->n; k++) {
        put_item(call, w, &w->items[r->items[k]]);
    }
    return kd_call_send(call, on_reply, r);
}

// What cannot be sent has failed.
static void send_all(struct work *w) {
    for (size_t k = 0; k < w->n; k++) {
        if (w->items[k].state != TO_SEND) {
            continue;
        }
        struct round *r = gather(w, k);
        if (r == NULL) {
            const struct kd_hsm_result failed = { .err = KD_ERR_NO_MEMORY };
            take_item(w, &w->items[k], op_of(w, &w->items[k]), &failed);
            w->items[k].is_whole = true;
            continue;
        }
        const enum kd_err err = send_round(r);
        if (err == KD_OK) {
            w->under_way++;
        } else {
            fail_round(r, err);
            free(r);
        }
    }
}

// ---- the end ---------------------------------------------------------------

static void count_item(struct work *w, const struct item *i) {
    struct kd_channel *c = w->c;
    (w->is_open ? c->counts.opened : c->counts.sealed)[i->err]++;
    if (i->err != KD_OK && w->is_open) {
        kd_channel_warn(c, "a record was refused", i->err, i->peer, i->session);
    }
}

static struct kd_record_result result_of(const struct work *w, const struct item *i) {
    struct kd_record_result out = {
        .err = i->err,
        .peer = i->peer[0] == '\0' || i->err != KD_OK ? NULL : i->peer,
        .relation = i->relation,
        .is_registered = i->is_registered,
        .type = i->type,
        .sequence = i->sequence,
        .out = bytes_at(&w->out, i->out),
        .answer = bytes_at(&w->out, i->answer),
    };
    memcpy(out.session, i->session, sizeof(out.session));
    return out;
}

static void free_work(struct work *w) {
    for (size_t k = 0; k < w->n; k++) {
        for (size_t u = 0; u < w->items[k].n_tried; u++) {
            kd_session_use_release(w->items[k].tried[u]);
        }
    }
    kd_buf_wipe(&w->in);
    kd_buf_wipe(&w->out);
    free(w->results);
    free(w);
}

static void finish(struct work *w) {
    enum kd_err whole = kd_buf_finish(&w->out);
    bool all_failed = true;
    for (size_t k = 0; k < w->n; k++) {
        const struct item *i = &w->items[k];
        count_item(w, i);
        all_failed = all_failed && i->is_whole && i->err == w->items[0].err;
        w->results[k] = result_of(w, i);
    }
    whole = whole == KD_OK && all_failed ? w->items[0].err : whole;
    w->done(w->arg, whole, whole == KD_OK ? "" : w->detail, w->results, whole == KD_OK ? w->n : 0);
    w->c->s->pending--;
    free_work(w);
}

static bool is_done(const struct work *w) {
    for (size_t k = 0; k < w->n; k++) {
        if (w->items[k].state != DONE) {
            return false;
        }
    }
    return true;
}

static void advance(struct work *w) {
    while (w->under_way == 0 && !is_done(w)) {
        send_all(w);
    }
    if (w->under_way == 0) {
        finish(w);
    }
}

static void finish_later(struct kd_later *l) {
    advance((struct work *)l);
}

// ---- the call --------------------------------------------------------------

static enum kd_err check_work(const struct kd_record_work *work) {
    if (work->n_items == 0) {
        return KD_ERR_BATCH_EMPTY;
    }
    if (work->n_items > KD_HSM_BATCH_MAX_ITEMS) {
        return KD_ERR_BATCH_TOO_LARGE;
    }
    const size_t max = work->is_open ? KD_RECORD_MAX_BYTES : KD_RECORD_BODY_MAX_BYTES;
    size_t total = 0;
    for (size_t i = 0; i < work->n_items; i++) {
        const struct kd_record_item *item = &work->items[i];
        total += item->data.n + item->aad.n;
        if (item->data.n > max || item->aad.n > KD_RECORD_AAD_MAX_BYTES) {
            return KD_ERR_ITEM_TOO_LARGE;
        }
    }
    return total > REQUEST_MAX_BYTES ? KD_ERR_ITEM_TOO_LARGE : KD_OK;
}

static enum kd_err new_work(struct kd_channel *c, const struct kd_caller *caller,
                            const struct kd_record_work *work, struct work **out) {
    struct work *w = calloc(1, sizeof(*w) + work->n_items * sizeof(w->items[0]));
    struct kd_record_result *results = calloc(work->n_items, sizeof(*results));
    if (w == NULL || results == NULL) {
        free(w);
        free(results);
        return KD_ERR_NO_MEMORY;
    }
    w->c = c;
    w->results = results;
    w->is_open = work->is_open;
    w->n = work->n_items;
    w->in = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES);
    w->out = KD_BUF_INIT(4 * (size_t)KD_HSM_FRAME_MAX_BYTES);
    w->later.fn = finish_later;
    memcpy(w->owner, caller->principal, strlen(caller->principal) + 1);
    *out = w;
    return KD_OK;
}

enum kd_err kd_channel_records(struct kd_service *s, const struct kd_caller *caller,
                               const struct kd_record_work *work, kd_record_done *done, void *arg) {
    struct kd_channel *c = NULL;
    struct work *w = NULL;
    enum kd_err r = kd_channel_admit(s, caller, &c);
    if (r != KD_OK || (r = check_work(work)) != KD_OK ||
        (r = new_work(c, caller, work, &w)) != KD_OK) {
        return r;
    }
    w->done = done;
    w->arg = arg;
    for (size_t k = 0; k < w->n; k++) {
        struct item *i = &w->items[k];
        i->data = work->items[k].data;
        i->aad = work->items[k].aad;
        i->type = work->items[k].type;
        if (w->is_open) {
            prepare_open(w, i);
        } else {
            prepare_seal(w, i, work->items[k].session);
        }
    }
    send_all(w);
    for (size_t k = 0; k < w->n; k++) {
        w->items[k].data = KD_BYTES_NONE; // the caller's
        w->items[k].aad = KD_BYTES_NONE;
    }
    s->pending++;
    if (w->under_way == 0) {
        kd_channel_later(c, &w->later);
    }
    return KD_OK;
}
