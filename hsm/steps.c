// SPDX-License-Identifier: Apache-2.0
// steps.c: the requests of a handshake (hsm/channel.h): each takes the handshake
// out of the table (handshakes.c), runs one or two steps of EDHOC and gives it
// back.  A step that fails ends it.
#include "hsm/channel_ops.h"
#include "hsm/handshakes.h"
#include "hsm/ticket.h"

#include <string.h>

enum { RESULT_MAX_BYTES = 3 * KD_EDHOC_MESSAGE_MAX_BYTES + 2 * KD_HSM_TICKET_MAX_BYTES };

// ---- results ---------------------------------------------------------------

// Room for all parts of a result, so that those that are there stay where they are.
static enum kd_err reserve(struct kd_session *s) {
    const size_t start = s->out.n;
    if (kd_buf_extend(&s->out, RESULT_MAX_BYTES) == NULL) {
        return kd_buf_finish(&s->out);
    }
    s->out.n = start;
    return KD_OK;
}

static struct kd_bytes keep(struct kd_session *s, struct kd_bytes from) {
    const size_t start = s->out.n;
    kd_buf_put(&s->out, from.p, from.n);
    return from.n == 0 ? KD_BYTES_NONE : (struct kd_bytes) { s->out.p + start, from.n };
}

static void keep_agreed(struct kd_session *s, const struct kd_handshake *h,
                        struct kd_hsm_result *result) {
    const struct kd_suite *suite = kd_edhoc_suite(h->e);
    result->conn_id = keep(s, kd_edhoc_peer_conn_id(h->e));
    result->suite = suite == NULL ? 0 : (uint8_t)suite->id;
    result->method = (uint8_t)kd_edhoc_method(h->e);
}

// Ends a step.  Of a failure the peer learns what the library lets it.
static enum kd_err end_step(struct kd_session *s, struct kd_handshake *h, enum kd_err r,
                            struct kd_hsm_result *result) {
    if (r == KD_OK || r == KD_ERR_HS_STATE) {
        kd_handshake_give_back(s, h, true);
        return r;
    }
    *result = (struct kd_hsm_result) { .err = r };
    kd_auto(buf) struct kd_buf message = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    if (kd_edhoc_write_error(h->e, &message) == KD_OK) {
        result->out = keep(s, kd_buf_get(&message));
    }
    // Anybody can cause it as often as he likes; the front says it, and how often.
    kd_log(KD_LOG_DEBUG, "handshake", "a handshake has failed", "error=%s detail=%s",
           kd_err_name(r), kd_edhoc_detail(h->e));
    // Its keys were in a session that is gone, ours is sound: there is nothing to heal.
    const bool is_orphan = r == KD_ERR_SESSION_LOST && h->keys.generation != s->generation;
    kd_handshake_give_back(s, h, false);
    return is_orphan ? KD_ERR_NO_HANDSHAKE : r;
}

// ---- start -----------------------------------------------------------------

static enum kd_err write_first(struct kd_handshake *h, const struct kd_hsm_handshake *request,
                               struct kd_buf *out) {
    if (request->is_initiator) {
        return kd_edhoc_write_1(h->e, NULL, out);
    }
    enum kd_err r = kd_edhoc_read_1(h->e, request->message);
    return r == KD_OK ? kd_edhoc_write_2(h->e, NULL, out) : r;
}

enum kd_err kd_exec_hs_start(struct kd_session *s, const struct kd_hsm_request *q,
                             const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_handshake *h = NULL;
    enum kd_err r;
    kd_handshakes_expire(s);
    if (!kd_key_type_is_ec(q->keys[0].type)) {
        return KD_ERR_KEY_TYPE;
    }
    if ((r = reserve(s)) != KD_OK ||
        (r = kd_handshake_new(s, &q->keys[0], item->handshake, &h)) != KD_OK) {
        return r;
    }
    if ((r = kd_handshake_enter(s, h)) != KD_OK) {
        kd_handshake_free(s, h);
        return r;
    }
    kd_auto(buf) struct kd_buf message = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    r = write_first(h, item->handshake, &message);
    if (r == KD_OK) {
        result->out = keep(s, kd_buf_get(&message));
        keep_agreed(s, h, result);
    }
    return end_step(s, h, r, result);
}

// ---- read ------------------------------------------------------------------

enum kd_err kd_exec_hs_read(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                            const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_handshake *h = NULL;
    enum kd_err r;
    kd_handshakes_expire(s);
    if ((r = reserve(s)) != KD_OK || (r = kd_handshake_take(s, item->handshake->id, &h)) != KD_OK) {
        return r;
    }
    r = h->is_initiator ? kd_edhoc_read_2(h->e, item->handshake->message)
                        : kd_edhoc_read_3(h->e, item->handshake->message);
    if (r == KD_OK) {
        result->id_cred = keep(s, kd_edhoc_peer_id(h->e)->encoded);
        keep_agreed(s, h, result);
    }
    return end_step(s, h, r, result);
}

// ---- finish and confirm ----------------------------------------------------

// What cannot work later is refused before there is a session.
static enum kd_err check_terms(const struct kd_hsm_request *q, const struct kd_handshake *h,
                               const struct kd_hsm_session_terms *terms) {
    if (terms == NULL || q->n_keys == 0 || q->keys[0].type != KD_KEY_AES_256) {
        return KD_ERR_KEY_TYPE;
    }
    if (terms->profile == KD_PROFILE_RELEASED) {
        return KD_OK;
    }
    if (terms->is_client) {
        return KD_ERR_LACKING; // the root is in the other side's token
    }
    return q->n_keys == 2 && q->keys[1].type == kd_key_type_of(kd_edhoc_suite(h->e)->curve)
               ? KD_OK
               : KD_ERR_KEY_TYPE;
}

static enum kd_err make_ticket(struct kd_session *s, const struct kd_hsm_request *q,
                               struct kd_handshake *h, const struct kd_hsm_session_terms *terms,
                               struct kd_hsm_result *result) {
    kd_auto(ticket) struct kd_ticket t = { .md = kd_edhoc_suite(h->e)->md };
    t.client = *(terms->is_client ? kd_edhoc_own_ephemeral(h->e) : kd_edhoc_peer_ephemeral(h->e));
    const size_t start = s->out.n;
    enum kd_err r;
    if ((r = kd_ticket_set_terms(&t, terms)) != KD_OK ||
        (r = kd_edhoc_take_prk_out(h->e, &t.prk_out)) != KD_OK ||
        (r = kd_ticket_seal(s, &q->keys[0], &t)) != KD_OK) {
        return r;
    }
    result->ticket = (struct kd_bytes) { s->out.p + start, s->out.n - start };
    return KD_OK;
}

static enum kd_err authenticate(struct kd_handshake *h, const struct kd_hsm_handshake *request) {
    struct kd_peer peer = { .cred = request->peer_cred };
    const enum kd_curve curve = kd_edhoc_suite(h->e)->curve;
    if (request->peer_point.n == 0) {
        kd_edhoc_refuse(h->e);
        return KD_ERR_HS_CREDENTIAL;
    }
    enum kd_err r = kd_point_read(curve, request->peer_point, &peer.key);
    if (r != KD_OK) { // of another curve than the suite's, or none
        kd_edhoc_refuse(h->e);
        return KD_ERR_HS_CREDENTIAL;
    }
    return kd_edhoc_authenticate(h->e, &peer);
}

// The last message that we write, with our item on it.
static enum kd_err write_last(struct kd_session *s, struct kd_handshake *h,
                              const struct kd_hsm_handshake *request,
                              struct kd_hsm_result *result) {
    const struct kd_ead ead = {
        .n = request->ead.n > 0 ? 1 : 0,
        .items = { { .label = KD_CHANNEL_EAD_LABEL, .has_value = true, .value = request->ead } }
    };
    kd_auto(buf) struct kd_buf message = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    enum kd_err r = h->is_initiator ? kd_edhoc_write_3(h->e, &ead, &message)
                                    : kd_edhoc_write_4(h->e, &ead, &message);
    if (r == KD_OK) {
        result->out = keep(s, kd_buf_get(&message));
    }
    return r;
}

static enum kd_err finish(struct kd_session *s, const struct kd_hsm_request *q,
                          struct kd_handshake *h, const struct kd_hsm_handshake *request,
                          struct kd_hsm_result *result) {
    enum kd_err r;
    if (kd_edhoc_suite(h->e) == NULL) {
        return KD_ERR_HS_STATE;
    }
    if ((!h->is_initiator && (r = check_terms(q, h, request->terms)) != KD_OK) ||
        (r = authenticate(h, request)) != KD_OK) {
        return r;
    }
    if ((r = write_last(s, h, request, result)) != KD_OK || h->is_initiator) {
        return r;
    }
    return make_ticket(s, q, h, request->terms, result);
}

enum kd_err kd_exec_hs_finish(struct kd_session *s, const struct kd_hsm_request *q,
                              const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_handshake *h = NULL;
    enum kd_err r;
    if ((r = reserve(s)) != KD_OK || (r = kd_handshake_take(s, item->handshake->id, &h)) != KD_OK) {
        return r;
    }
    const bool is_responder = !h->is_initiator;
    r = end_step(s, h, finish(s, q, h, item->handshake, result), result);
    if (r == KD_OK && is_responder) {
        kd_handshake_drop(s, item->handshake->id);
    }
    return r;
}

enum kd_err kd_exec_hs_confirm(struct kd_session *s, const struct kd_hsm_request *q,
                               const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_handshake *h = NULL;
    enum kd_err r;
    if ((r = reserve(s)) != KD_OK || (r = kd_handshake_take(s, item->handshake->id, &h)) != KD_OK) {
        return r;
    }
    const struct kd_hsm_session_terms *terms = item->handshake->terms;
    if ((r = kd_edhoc_read_4(h->e, item->handshake->message)) == KD_OK &&
        (r = check_terms(q, h, terms)) == KD_OK) {
        r = make_ticket(s, q, h, terms, result);
    }
    r = end_step(s, h, r, result);
    if (r == KD_OK) {
        kd_handshake_drop(s, item->handshake->id);
    }
    return r;
}

enum kd_err kd_exec_hs_drop(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                            const struct kd_hsm_item *item,
                            struct kd_hsm_result *result KD_UNUSED) {
    kd_handshake_drop(s, item->handshake->id);
    kd_handshakes_expire(s);
    return KD_OK;
}
