// SPDX-License-Identifier: Apache-2.0
// exec.c: takes a request apart, runs its items, and heals the session where an
// item met a fault that another try can cure.
#include "hsm/exec.h"

#include "hsm/channel.h"
#include "hsm/channel_ops.h"

enum { DETAIL_MAX_BYTES = 255, REPLY_ROOM_BYTES = 4096 };

static kd_exec_fn *const functions[KD_HSM_OP_LAST + 1] = {
    [KD_HSM_GENERATE] = kd_exec_generate,
    [KD_HSM_DESTROY] = kd_exec_destroy,
    [KD_HSM_FORGET] = kd_exec_forget,
    [KD_HSM_SIGN] = kd_exec_sign,
    [KD_HSM_VERIFY] = kd_exec_verify,
    [KD_HSM_MAC] = kd_exec_mac,
    [KD_HSM_MAC_VERIFY] = kd_exec_mac_verify,
    [KD_HSM_ENCRYPT] = kd_exec_encrypt,
    [KD_HSM_DECRYPT] = kd_exec_decrypt,
    [KD_HSM_DERIVE] = kd_exec_derive,
    [KD_HSM_RELEASE] = kd_exec_release,
    [KD_HSM_RANDOM] = kd_exec_random,
    [KD_HSM_HS_START] = kd_exec_hs_start,
    [KD_HSM_HS_READ] = kd_exec_hs_read,
    [KD_HSM_HS_FINISH] = kd_exec_hs_finish,
    [KD_HSM_HS_CONFIRM] = kd_exec_hs_confirm,
    [KD_HSM_HS_DROP] = kd_exec_hs_drop,
    [KD_HSM_RECORD_SEAL] = kd_exec_record_seal,
    [KD_HSM_RECORD_OPEN] = kd_exec_record_open,
    [KD_HSM_TICKET_READ] = kd_exec_ticket_read,
    [KD_HSM_TICKET_UPDATE] = kd_exec_ticket_update,
    [KD_HSM_ENVELOPE_OPEN] = kd_exec_envelope_open,
    [KD_HSM_SESSION_RELEASE] = kd_exec_session_release,
    [KD_HSM_REWRAP] = kd_exec_rewrap,
};

// The bytes of results may be secret, and the next caller's are not far away.
static void reset_result(struct kd_session *s, enum kd_hsm_op op) {
    if (kd_hsm_op_is_secret(op)) {
        kd_wipe(s->out.p, s->out.n);
    }
    kd_buf_reset(&s->out);
}

// Whether a second try can help: the session was renewed, or a handle that was
// stale has been forgotten.  What is not repeatable gets none, as it may have
// been done; with a session that was lost before, it cannot have been.
static bool may_retry(struct kd_session *s, enum kd_hsm_op op, enum kd_err *r) {
    // A handle that was found stale has been forgotten; and a token that has
    // logged us out shows no private object at all.
    const bool is_undone =
        *r == KD_ERR_SESSION_LOST || *r == KD_ERR_NO_OBJECT || kd_hsm_op_is_repeatable(op);
    const enum kd_err healed = kd_session_heal(s, *r);
    if (healed == KD_OK || (healed == KD_ERR_NO_OBJECT && kd_hsm_op_is_repeatable(op))) {
        return is_undone;
    }
    *r = healed;
    return false;
}

static enum kd_err run_once(struct kd_session *s, const struct kd_hsm_request *q,
                            const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    *result = (struct kd_hsm_result) { 0 };
    enum kd_err r = kd_session_enter(s);
    if (r == KD_OK) {
        r = functions[q->op](s, q, item, result);
        kd_session_leave(s);
    }
    return r;
}

static enum kd_err run_item(struct kd_session *s, const struct kd_hsm_request *q,
                            const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    enum kd_err r = run_once(s, q, item, result);
    for (unsigned n = 0; r != KD_OK && n < 2 && may_retry(s, q->op, &r); n++) {
        reset_result(s, q->op);
        r = run_once(s, q, item, result);
        if (r != KD_ERR_SESSION_LOST) {
            break; // else an operation that failed and did not end holds the session
        }
    }
    return kd_session_blame(s, r);
}

// Whether it shows that the token does more than answer.
static bool uses_key(enum kd_hsm_op op) {
    return op != KD_HSM_VERIFY && op != KD_HSM_FORGET && op != KD_HSM_HS_DROP &&
           op != KD_HSM_RANDOM && op != KD_HSM_DERIVE && op != KD_HSM_SESSION_RELEASE;
}

static enum kd_err run_items(struct kd_session *s, const struct kd_hsm_request *q,
                             struct kd_reader *in, struct kd_buf *out) {
    bool is_away = false;
    bool is_done = false;
    bool has_failed = false;
    for (size_t i = 0; i < q->n_items; i++) {
        struct kd_hsm_session_terms terms;
        struct kd_hsm_handshake handshake = { .terms = &terms };
        struct kd_hsm_session session;
        struct kd_hsm_item item; // get_item fills in what the operation has, and nothing else
        struct kd_hsm_result result = { .err = KD_OK };
        item.handshake = &handshake;
        item.session = &session;
        item.terms = &terms;
        enum kd_err r = kd_hsm_get_item(in, q->op, &item);
        if (r != KD_OK) {
            return KD_ERR_MALFORMED;
        }
        // The rest of a batch need not wait for a token that is gone.
        r = is_away ? KD_ERR_TOKEN_AWAY : run_item(s, q, &item, &result);
        is_away = r == KD_ERR_TOKEN_AWAY;
        is_done = is_done || (r == KD_OK && uses_key(q->op));
        has_failed = has_failed || r == KD_ERR_DEVICE || r == KD_ERR_TOKEN;
        result.err = r;
        kd_hsm_put_result(out, q->op, &result);
        reset_result(s, q->op);
    }
    if (kd_reader_finish(in) != KD_OK) {
        return KD_ERR_MALFORMED;
    }
    return is_away || kd_session_is_sick(s, is_done, has_failed) ? KD_ERR_TOKEN_AWAY : KD_OK;
}

// A token that has ended the login shows no private object: that none was found is true only
// while it holds.
static enum kd_err find_once(struct kd_session *s, const struct kd_hsm_item *item,
                             struct kd_buf *out, uint16_t *n) {
    enum kd_err r = kd_session_enter(s);
    if (r == KD_OK) {
        r = kd_exec_find(s, item->data, item->n != 0, out, n);
        r = r == KD_OK && *n == 0 && !kd_session_answers(s) ? KD_ERR_SESSION_LOST : r;
        kd_session_leave(s);
    }
    return r;
}

static enum kd_err run_find(struct kd_session *s, const struct kd_hsm_request *q,
                            struct kd_reader *in, struct kd_buf *out, uint16_t *n) {
    struct kd_hsm_item item;
    if (q->n_items != 1 || kd_hsm_get_item(in, q->op, &item) != KD_OK ||
        kd_reader_finish(in) != KD_OK) {
        return KD_ERR_MALFORMED;
    }
    const size_t start = out->n;
    enum kd_err r = find_once(s, &item, out, n);
    if (r == KD_ERR_NO_OBJECT || (r != KD_OK && kd_session_heal(s, r) == KD_OK)) {
        out->n = start; // changes nothing, so it may be done again
        r = find_once(s, &item, out, n);
    }
    kd_buf_reset(&s->out);
    return kd_session_blame(s, r);
}

// A reply's head has a fixed length while it names no detail, so it is written
// first and again over itself when the result is known.
static void put_head(struct kd_buf *out, size_t at, const struct kd_hsm_reply *head) {
    const size_t end = out->n;
    out->n = at;
    kd_hsm_put_reply(out, head);
    out->n = end > out->n ? end : out->n;
}

// A head that no front of ours writes is not served: the functions rely on the
// subject being there.
static bool is_sound(const struct kd_hsm_request *q) {
    const bool has_subject = q->n_keys > 0 || q->has_recipe;
    switch (q->op) {
    case KD_HSM_SIGN:
    case KD_HSM_VERIFY:
    case KD_HSM_REWRAP:
        return q->n_keys > 0 && !q->has_recipe;
    case KD_HSM_MAC:
    case KD_HSM_ENCRYPT:
        return q->has_recipe ? q->n_keys == 0 : q->n_keys == 1;
    case KD_HSM_MAC_VERIFY:
    case KD_HSM_DECRYPT:
        return q->has_recipe ? q->n_keys == 0 : q->n_keys > 0;
    case KD_HSM_GENERATE:
    case KD_HSM_FIND:
    case KD_HSM_DESTROY:
        return !has_subject && q->n_items == 1;
    case KD_HSM_FORGET:
    case KD_HSM_DERIVE:
    case KD_HSM_RELEASE:
    case KD_HSM_RANDOM:
        return !has_subject;
    case KD_HSM_HS_START:
        return q->n_keys == 1 && !q->has_recipe && q->n_items == 1;
    case KD_HSM_HS_FINISH:
    case KD_HSM_HS_CONFIRM:
        return q->n_keys <= 2 && !q->has_recipe && q->n_items == 1;
    case KD_HSM_HS_READ:
    case KD_HSM_HS_DROP:
        return !has_subject && q->n_items == 1;
    case KD_HSM_RECORD_SEAL:
    case KD_HSM_RECORD_OPEN:
    case KD_HSM_TICKET_READ:
    case KD_HSM_TICKET_UPDATE:
        return (q->n_keys == 1 || q->n_keys == 2) && !q->has_recipe;
    case KD_HSM_ENVELOPE_OPEN:
    case KD_HSM_SESSION_RELEASE:
        return q->n_keys == 1 && !q->has_recipe;
    case KD_HSM_HELLO:
    case KD_HSM_PING:
        return false; // serve.c's
    }
    return false;
}

// Room for a reply of one item that is no long text: what is made in the token can be told.
static bool has_room(struct kd_buf *out) {
    const size_t n = out->n;
    (void)kd_buf_extend(out, REPLY_ROOM_BYTES);
    out->n = n;
    return kd_buf_finish(out) == KD_OK;
}

// What stands in the place of a reply that has found no room.
static enum kd_err reason_of(const struct kd_buf *out) {
    return out->err == KD_ERR_NO_MEMORY ? KD_ERR_NO_MEMORY : KD_ERR_BATCH_TOO_LARGE;
}

enum kd_err kd_exec_request(struct kd_session *s, struct kd_bytes frame, struct kd_buf *out) {
    const uint64_t start_us = kd_clock_mono_us();
    struct kd_reader in = kd_reader_of(frame);
    struct kd_hsm_request q;
    if (kd_hsm_get_request(&in, &q) != KD_OK || !is_sound(&q)) {
        return KD_ERR_MALFORMED;
    }
    struct kd_hsm_reply head = { .id = q.id, .n_items = q.n_items };
    if (!has_room(out)) {
        return KD_ERR_NO_MEMORY;
    }
    const size_t reply = kd_hsm_frame_begin(out);
    const size_t at = out->n;
    kd_hsm_put_reply(out, &head);
    const size_t items = out->n;
    enum kd_err r =
        q.op == KD_HSM_FIND ? run_find(s, &q, &in, out, &head.n_items) : run_items(s, &q, &in, out);
    if (r == KD_ERR_MALFORMED || (r == KD_ERR_TOKEN_AWAY && kd_session_login_is_lost(s))) {
        out->n = reply; // no answer: the front gives it to another worker, if it may
        return r;
    }
    const bool is_whole = q.op == KD_HSM_FIND && r != KD_OK;
    const bool is_cut = kd_buf_finish(out) != KD_OK || out->n - at > KD_HSM_FRAME_MAX_BYTES;
    if (is_whole || is_cut) {
        kd_wipe(out->p + items, out->n - items); // results that nobody gets
        out->n = items;
        head.err = is_cut ? reason_of(out) : r;
        out->err = KD_OK;
    }
    head.token_us = (uint32_t)(kd_clock_mono_us() - start_us);
    put_head(out, at, &head);
    kd_hsm_frame_end(out, reply);
    return r == KD_ERR_TOKEN_AWAY ? r : KD_OK;
}
