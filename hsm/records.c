// SPDX-License-Identifier: Apache-2.0
// records.c: the requests on a session that has been made (hsm/channel.h): its
// records, its tickets; and envelopes, which need no session.
#include "hsm/channel_ops.h"
#include "hsm/token_keys.h"
#include "hsm/traffic_token.h"

#include <string.h>

static const struct kd_key_ref *root_of(const struct kd_hsm_request *q) {
    return q->n_keys > 1 ? &q->keys[1] : NULL;
}

// ---- records ---------------------------------------------------------------

static struct kd_record_end end_of(struct kd_traffic_use *use) {
    return (struct kd_record_end) { .ops = &kd_traffic_ops_token,
                                    .ctx = use,
                                    .is_client = use->keys->is_client,
                                    .id = { use->keys->session_id, sizeof(use->keys->session_id) },
                                    .ivs = use->keys->ivs,
                                    .otp = use->keys->otp };
}

// The last thing said in a session may be that it is over.
static enum kd_err check_time(const struct kd_traffic_keys *k, bool is_farewell) {
    return is_farewell || kd_clock_wall_ms() < k->expires_ms ? KD_OK : KD_ERR_SESSION_EXPIRED;
}

// The keys of a record's session, with the one that it needs.
static enum kd_err take_keys(struct kd_session *s, const struct kd_hsm_request *q,
                             const struct kd_hsm_item *item, bool is_seal,
                             struct kd_traffic_keys **out) {
    enum kd_err r = kd_traffic_cache_get(s, &q->keys[0], root_of(q), item->session, out);
    if (r != KD_OK) {
        return r;
    }
    if ((r = kd_traffic_cache_ready(s, *out, is_seal)) != KD_OK) {
        kd_traffic_cache_release(s, *out, r == KD_ERR_NO_OBJECT);
    }
    return r;
}

static enum kd_err seal_record(struct kd_session *s, const struct kd_hsm_request *q,
                               const struct kd_hsm_item *item) {
    struct kd_traffic_use use = { .session = s };
    enum kd_err r = take_keys(s, q, item, true, &use.keys);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_record_end end = end_of(&use);
    const struct kd_record record = { (enum kd_record_type)item->record_type, item->data };
    r = check_time(use.keys, record.type == KD_RECORD_EXPIRE || record.type == KD_RECORD_CLOSE);
    if (r == KD_OK) {
        r = kd_record_seal(&end, item->sequence, kd_clock_wall_ms(), item->aad, &record, &s->out);
    }
    kd_traffic_cache_release(s, use.keys, r == KD_ERR_NO_OBJECT);
    return r;
}

// Handles that were stale have been forgotten, and nothing was sealed with them: so
// this may be done again, though nothing else repeats a seal.
enum kd_err kd_exec_record_seal(struct kd_session *s, const struct kd_hsm_request *q,
                                const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    const size_t start = s->out.n;
    enum kd_err r = seal_record(s, q, item);
    if (r == KD_ERR_NO_OBJECT) {
        s->out.n = start;
        r = seal_record(s, q, item);
    }
    if (r == KD_OK) {
        result->out = (struct kd_bytes) { s->out.p + start, s->out.n - start };
    }
    return r;
}

static enum kd_err open_record(struct kd_traffic_use *use, const struct kd_hsm_item *item,
                               struct kd_buf *text, struct kd_record *record) {
    const struct kd_record_end end = end_of(use);
    struct kd_record_head head;
    enum kd_err r;
    if ((r = check_time(use->keys, false)) != KD_OK ||
        (r = kd_record_parse(item->data, &head)) != KD_OK) {
        return r;
    }
    return kd_record_open(&end, &head, item->aad, kd_clock_wall_ms(), text, record);
}

enum kd_err kd_exec_record_open(struct kd_session *s, const struct kd_hsm_request *q,
                                const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_traffic_use use = { .session = s };
    enum kd_err r = take_keys(s, q, item, false, &use.keys);
    if (r != KD_OK) {
        return r;
    }
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_record record;
    const size_t start = s->out.n;
    r = open_record(&use, item, &text, &record);
    kd_traffic_cache_release(s, use.keys, r == KD_ERR_NO_OBJECT);
    if (r == KD_OK) {
        kd_buf_put(&s->out, record.body.p, record.body.n);
        r = kd_buf_finish(&s->out);
    }
    if (text.cap > 0) {
        kd_wipe(text.p, text.cap);
    }
    if (r == KD_OK) {
        result->which = (uint8_t)record.type;
        result->out = (struct kd_bytes) { s->out.p + start, s->out.n - start };
    }
    return r;
}

// ---- release ---------------------------------------------------------------

static enum kd_err put_keys(struct kd_session *s, const struct kd_traffic_keys *k) {
    uint8_t *at = kd_buf_extend(&s->out, KD_HSM_RELEASED_BYTES);
    if (at == NULL) {
        return kd_buf_finish(&s->out);
    }
    for (size_t i = 0; i < KD_TRAFFIC_KEYS; i++) {
        memcpy(at, k->secrets->soft.keys[i].bytes, sizeof(struct kd_key32));
        at += sizeof(struct kd_key32);
    }
    memcpy(at, k->ivs.c2s, KD_RECORD_IV_BYTES);
    memcpy(at + KD_RECORD_IV_BYTES, k->ivs.s2c, KD_RECORD_IV_BYTES);
    return KD_OK;
}

enum kd_err kd_exec_session_release(struct kd_session *s, const struct kd_hsm_request *q,
                                    const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_traffic_keys *keys = NULL;
    const size_t start = s->out.n;
    enum kd_err r = kd_traffic_cache_get(s, &q->keys[0], NULL, item->session, &keys);
    if (r != KD_OK) {
        return r;
    }
    if (keys->profile != KD_PROFILE_RELEASED) {
        r = KD_ERR_KEY_TYPE;
    } else if ((r = check_time(keys, false)) == KD_OK) {
        r = put_keys(s, keys);
    }
    kd_traffic_cache_release(s, keys, r == KD_OK); // they are somebody else's from now on
    if (r == KD_OK) {
        result->out = (struct kd_bytes) { s->out.p + start, s->out.n - start };
    }
    return r;
}

// ---- tickets ---------------------------------------------------------------

enum kd_err kd_exec_ticket_read(struct kd_session *s, const struct kd_hsm_request *q,
                                const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    kd_auto(ticket) struct kd_ticket t = { .prk_out = NULL };
    enum kd_err r = kd_ticket_open(s, &q->keys[0], item->data, &t);
    if (r != KD_OK) {
        return r;
    }
    if (kd_clock_wall_ms() >= t.terms.expires_ms) {
        return KD_ERR_SESSION_EXPIRED;
    }
    // item->terms is room that this request does not use; the name goes with the result.
    const size_t start = s->out.n;
    kd_buf_put(&s->out, t.peer, t.terms.peer.n);
    if ((r = kd_buf_finish(&s->out)) != KD_OK) {
        return r;
    }
    *item->terms = t.terms;
    item->terms->peer.p = s->out.p + start;
    result->terms = item->terms;
    return KD_OK;
}

static struct kd_bytes stranger_of(const struct kd_hsm_session_terms *t) {
    return (struct kd_bytes) { t->stranger, sizeof(t->stranger) };
}

// The same session between the same parties, one update further.
static bool is_next(const struct kd_hsm_session_terms *now,
                    const struct kd_hsm_session_terms *next) {
    const struct kd_bytes id = { now->id, sizeof(now->id) };
    return kd_bytes_equal(id, (struct kd_bytes) { next->id, sizeof(next->id) }) &&
           now->profile == next->profile && now->is_client == next->is_client &&
           kd_bytes_equal(now->peer, next->peer) && now->root_version == next->root_version &&
           kd_otp_params_equal(&now->otp, &next->otp) && now->is_stranger == next->is_stranger &&
           kd_bytes_equal(stranger_of(now), stranger_of(next)) && now->update != UINT32_MAX &&
           next->update == now->update + 1;
}

enum kd_err kd_exec_ticket_update(struct kd_session *s, const struct kd_hsm_request *q,
                                  const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    kd_auto(ticket) struct kd_ticket t = { .prk_out = NULL };
    const size_t start = s->out.n;
    enum kd_err r = kd_ticket_open(s, &q->keys[0], item->session->ticket, &t);
    if (r != KD_OK) {
        return r;
    }
    if (kd_clock_wall_ms() >= t.terms.expires_ms) {
        return KD_ERR_SESSION_EXPIRED;
    }
    if (!is_next(&t.terms, item->terms)) {
        return KD_ERR_TICKET;
    }
    if ((r = kd_exporter_update(t.md, t.prk_out, item->data)) != KD_OK ||
        (r = kd_ticket_set_terms(&t, item->terms)) != KD_OK ||
        (r = kd_ticket_seal(s, &q->keys[0], &t)) != KD_OK) {
        return r;
    }
    result->out = (struct kd_bytes) { s->out.p + start, s->out.n - start };
    return KD_OK;
}

// ---- envelopes -------------------------------------------------------------

enum kd_err kd_exec_envelope_open(struct kd_session *s, const struct kd_hsm_request *q,
                                  const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_token_keys own = { .session = s, .generation = s->generation, .own = q->keys[0] };
    const struct kd_keys keys = { &kd_keyops_token, &own };
    kd_auto(hpke) struct kd_hpke *h = NULL;
    struct kd_point point;
    enum kd_err r;
    if (q->keys[0].type != KD_KEY_EC_P256) {
        return KD_ERR_KEY_TYPE;
    }
    if (item->data.n < KD_HPKE_ENC_BYTES + KD_HPKE_TAG_BYTES) {
        return KD_ERR_NOT_AUTHENTIC;
    }
    const struct kd_bytes enc = { item->data.p, KD_HPKE_ENC_BYTES };
    const struct kd_bytes sealed = { item->data.p + enc.n, item->data.n - enc.n };
    const size_t start = s->out.n;
    if ((r = kd_point_read(KD_CURVE_P256, q->keys[0].proof, &point)) != KD_OK ||
        (r = kd_hpke_new_recipient(&keys, KD_TOKEN_KEY_OWN, &point, enc, item->iv, &h)) != KD_OK) {
        return r;
    }
    // A bulk of text needs its room at once: what is moved would stay behind.
    if (kd_buf_extend(&s->out, sealed.n) == NULL) {
        return kd_buf_finish(&s->out);
    }
    s->out.n = start;
    if ((r = kd_hpke_open(h, item->aad, sealed, &s->out)) != KD_OK) {
        return r;
    }
    result->out = (struct kd_bytes) { s->out.p + start, s->out.n - start };
    return KD_OK;
}
