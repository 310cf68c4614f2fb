// SPDX-License-Identifier: Apache-2.0
// device_ask.c: questions to the server, and which step follows which failure: handshake,
// resumption, and a record there and back (device_state.h).
#include "client/device_detail.h"
#include "client/device_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONCE_BYTES = 16, TRIES = 2, PADDING_BYTES = 360 };

// ---- frames ----------------------------------------------------------------

static enum keyd_err failed(struct kd_bytes body, struct kd_failure_body *why) {
    if (kd_failure_parse(body, why) != KD_OK) {
        return kd_detail_fail(KEYD_ERR_SERVER, "The server answered with what is no frame.");
    }
    return why->code == KD_FAILURE_BUSY || why->code == KD_FAILURE_RETRY
               ? kd_detail_fail(KEYD_ERR_BUSY,
                                "The server is busy, or its token is away: try again in %u s.",
                                why->after_s > 0 ? (unsigned)why->after_s : 1u)
           : why->code == KD_FAILURE_TOO_LARGE
               ? kd_detail_fail(KEYD_ERR_TRANSPORT,
                                "The message or its answer is too large for this way.")
               : KEYD_ERR_REFUSED;
}

void kd_device_trace(const struct keyd_device *d, bool has_come, const struct kd_buf *frame) {
    if (d->trace != NULL) {
        d->trace(d->trace_arg, has_come, frame->p, frame->n);
    }
}

// Makes the frame of a question, where it can be sent.
static enum keyd_err put_question(struct keyd_device *d, const struct kd_frame *question,
                                  struct kd_buf *frame) {
    kd_frame_put(frame, question);
    const enum kd_err r = kd_buf_finish(frame);
    if (r != KD_OK) {
        return r == KD_ERR_NO_MEMORY
                   ? KEYD_ERR_MEMORY
                   : kd_detail_fail(KEYD_ERR_ARGUMENT, "The message is too large for a frame.");
    }
    return frame->n <= d->datagram_max_bytes || !kd_wire_is_udp(&d->wire)
               ? KEYD_OK
               : kd_detail_fail(KEYD_ERR_ARGUMENT,
                                "The message makes a frame of %zu bytes, and a datagram has %zu "
                                "at most (datagram_max_bytes).",
                                frame->n, d->datagram_max_bytes);
}

// *answer has the bytes that *out borrows its body from, and *why its cookie.
static enum keyd_err ask(struct keyd_device *d, const struct kd_frame *question,
                         struct kd_buf *answer, struct kd_bytes *out, struct kd_failure_body *why) {
    kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    struct kd_frame got;
    *why = (struct kd_failure_body) { 0 };
    enum keyd_err r = put_question(d, question, &frame);
    if (r != KEYD_OK) {
        return r;
    }
    kd_device_trace(d, false, &frame);
    r = kd_device_told(kd_wire_exchange(&d->wire, kd_buf_get(&frame), d->timeout_ms, answer),
                       KEYD_ERR_SERVER);
    if (r != KEYD_OK) {
        return r;
    }
    kd_device_trace(d, true, answer);
    if (kd_frame_parse(kd_buf_get(answer), &got) != KD_OK || got.id != question->id) {
        return kd_detail_fail(KEYD_ERR_SERVER, "The server answered with what is no frame.");
    }
    if (got.role == KD_FRAME_FAILURE) {
        return failed(got.body, why);
    }
    if (got.role != KD_FRAME_ANSWER || got.kind != question->kind) {
        return kd_detail_fail(KEYD_ERR_SERVER, "The server answered another question.");
    }
    *out = got.body;
    return KEYD_OK;
}

static uint32_t next_id(struct keyd_device *d) {
    pthread_mutex_lock(&d->lock);
    const uint32_t id = ++d->next_id;
    pthread_mutex_unlock(&d->lock);
    return id;
}

enum keyd_err kd_device_ask(struct keyd_device *d, enum kd_frame_kind kind, struct kd_bytes body,
                            struct kd_buf *answer, struct kd_bytes *out,
                            struct kd_failure_body *why) {
    const struct kd_frame q = { .kind = kind, .id = next_id(d), .body = body };
    return ask(d, &q, answer, out, why);
}

// ---- handshake and resumption: without the lock, by who renews ---------------

static enum keyd_err handshake_step(struct keyd_device *d, const struct kd_buf *message,
                                    struct kd_buf *answer, struct kd_bytes *out) {
    struct kd_failure_body why;
    return kd_device_ask(d, KD_FRAME_HANDSHAKE, kd_buf_get(message), answer, out, &why);
}

// A server with much to do asks us to show that we hear it: once more, with its cookie.
static enum keyd_err first_step(struct keyd_device *d, const struct kd_buf *message,
                                struct kd_buf *answer, struct kd_bytes *out,
                                struct kd_failure_body *why) {
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    const enum keyd_err r =
        kd_device_ask(d, KD_FRAME_HANDSHAKE, kd_buf_get(message), answer, out, why);
    if (r != KEYD_ERR_BUSY || why->code != KD_FAILURE_RETRY) {
        return r;
    }
    kd_cbor_put_bytes(&again, why->cookie);
    kd_buf_put(&again, message->p, message->n);
    kd_buf_reset(answer);
    return kd_buf_finish(&again) == KD_OK
               ? kd_device_ask(d, KD_FRAME_HANDSHAKE, kd_buf_get(&again), answer, out, why)
               : KEYD_ERR_MEMORY;
}

static enum keyd_err refused(enum kd_err r) {
    if (r == KD_OK || r == KD_ERR_NO_MEMORY) {
        return r == KD_OK ? KEYD_OK : KEYD_ERR_MEMORY;
    }
    return r == KD_ERR_HS_PEER
               ? kd_detail_fail(KEYD_ERR_REFUSED, "The server refused the handshake: its log has "
                                                  "the reason.")
           : r == KD_ERR_HS_CREDENTIAL
               ? kd_detail_fail(KEYD_ERR_SERVER, "The server's certificate is not the stored one: "
                                                 "it has another now, or is another server.")
               : kd_detail_fail(kd_device_told(r, KEYD_ERR_SERVER),
                                "The server's part of the handshake is not accepted: %s",
                                kd_err_sentence(r));
}

static enum keyd_err send_first(struct keyd_device *d, struct kd_device_session *s,
                                struct kd_bytes padding, struct kd_buf *answer,
                                struct kd_bytes *out, struct kd_failure_body *why) {
    kd_auto(buf) struct kd_buf first = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    const enum keyd_err r =
        kd_device_told(kd_device_write_1(s, &d->credentials, padding, &first), KEYD_ERR_FILE);
    return r == KEYD_OK ? first_step(d, &first, answer, out, why) : r;
}

// Over UDP the first answer is not much longer than its question.  A server whose certificate is in
// it gets a longer question.
static enum keyd_err begin_handshake(struct keyd_device *d, struct kd_device_session *s,
                                     struct kd_buf *answer, struct kd_bytes *out) {
    static const uint8_t padding[PADDING_BYTES];
    struct kd_failure_body why = { 0 };
    enum keyd_err r = send_first(d, s, KD_BYTES_NONE, answer, out, &why);
    if (r != KEYD_OK && why.code == KD_FAILURE_TOO_LARGE) {
        kd_detail_begin();
        kd_buf_reset(answer);
        r = send_first(d, s, (struct kd_bytes) { padding, sizeof(padding) }, answer, out, &why);
    }
    return r;
}

static enum keyd_err try_handshake(struct keyd_device *d, struct kd_device_session *s) {
    kd_auto(buf) struct kd_buf third = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    kd_auto(buf) struct kd_buf last = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    struct kd_bytes message;
    enum keyd_err r;
    if ((r = begin_handshake(d, s, &answer, &message)) != KEYD_OK ||
        (r = refused(kd_device_read_2(s, &d->credentials, message, &third))) != KEYD_OK ||
        (r = handshake_step(d, &third, &last, &message)) != KEYD_OK) {
        return r;
    }
    return refused(kd_device_read_4(s, message));
}

// Once more where one of the certificates is another now.
static enum keyd_err run_handshake(struct keyd_device *d, struct kd_device_session *s) {
    enum keyd_err r = kd_device_check_own(d);
    r = r == KEYD_OK ? try_handshake(d, s) : r;
    if ((r == KEYD_ERR_SERVER || r == KEYD_ERR_REFUSED) && kd_device_heal(d)) {
        kd_detail_begin();
        r = try_handshake(d, s);
    }
    return r;
}

// s has the secret and the ticket of the session that it goes on with.
static enum keyd_err resume(struct keyd_device *d, struct kd_device_session *s) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(8192);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    uint8_t nonce[NONCE_BYTES];
    struct kd_failure_body why;
    struct kd_bytes got;
    if (kd_keyops_openssl.random(NULL, nonce, sizeof(nonce)) != KD_OK) {
        return KEYD_ERR_MEMORY;
    }
    kd_cbor_put_array(&body, 2);
    kd_cbor_put_bytes(&body, kd_buf_get(&s->ticket));
    kd_cbor_put_bytes(&body, (struct kd_bytes) { nonce, sizeof(nonce) });
    enum keyd_err r = kd_device_told(kd_buf_finish(&body), KEYD_ERR_ARGUMENT);
    r = r == KEYD_OK ? kd_device_ask(d, KD_FRAME_RESUME, kd_buf_get(&body), &answer, &got, &why)
                     : r;
    return r != KEYD_OK ? r
                        : kd_device_told(kd_device_take_resumed(
                                             s, (struct kd_bytes) { nonce, sizeof(nonce) }, got),
                                         KEYD_ERR_SERVER);
}

// ---- sessions: with the lock -------------------------------------------------

static void let_go(struct kd_device_session *s) {
    if (s != NULL && --s->holds == 0) {
        kd_device_session_free(s);
    }
}

static void hold(struct kd_device_session *s) {
    if (s != NULL) {
        s->holds++;
    }
}

// Until nobody renews, or the failure of who did: each who waits would otherwise begin anew, one
// after the other, and the last wait for the times of all.
static enum keyd_err wait_for_renewal(struct keyd_device *d) {
    const unsigned n_failed = d->n_failed;
    while (d->is_renewing && d->n_failed == n_failed) {
        d->n_waiting++;
        pthread_cond_wait(&d->changed, &d->lock);
        d->n_waiting--;
    }
    return d->n_failed == n_failed ? KEYD_OK : d->failure;
}

static enum keyd_err share_failure(struct keyd_device *d) {
    kd_detail_begin();
    return kd_detail_fail(d->failure, "%s", d->why);
}

static enum keyd_err begin_renewal(struct keyd_device *d) {
    if (wait_for_renewal(d) != KEYD_OK) {
        return share_failure(d);
    }
    d->is_renewing = true;
    return KEYD_OK;
}

// The same, whatever becomes of those before it; gives back whether one failed.
static bool begin_alone(struct keyd_device *d) {
    bool has_failed = false;
    while (wait_for_renewal(d) != KEYD_OK) {
        has_failed = true;
    }
    d->is_renewing = true;
    return has_failed;
}

static void end_renewal(struct keyd_device *d) {
    d->is_renewing = false;
    pthread_cond_broadcast(&d->changed);
}

// What `before` goes on with elsewhere; NULL where it has no ticket, or without memory.  With the
// lock, for others may use `before`.
static struct kd_device_session *continuation_of(const struct kd_device_session *before) {
    struct kd_device_session *s =
        before == NULL || before->ticket.n == 0 ? NULL : kd_device_session_new(&before->clock);
    if (s != NULL && kd_device_session_copy(before, s) != KD_OK) {
        kd_device_session_free(s);
        return NULL;
    }
    return s;
}

// Another session: from `before` by its ticket where that is there, else by a handshake, in
// which nothing is left of a resumption that failed: its nonces would be in the keys.
// What there was stays until the new one stands: a failure that asked for it may have been
// anybody's.
static enum keyd_err make_session(struct keyd_device *d, const struct kd_device_session *before) {
    struct kd_device_session *fresh = continuation_of(before);
    const struct kd_device_clock clock = d->clock;
    pthread_mutex_unlock(&d->lock);
    enum keyd_err r = fresh == NULL ? KEYD_ERR_REFUSED : resume(d, fresh);
    if (r != KEYD_OK) {
        kd_device_session_free(fresh);
        fresh = kd_device_session_new(&clock);
        kd_detail_begin();
        r = fresh == NULL ? KEYD_ERR_MEMORY : run_handshake(d, fresh);
    }
    pthread_mutex_lock(&d->lock);
    if (r != KEYD_OK) {
        let_go(fresh);
        d->n_failed++;
        d->failure = r;
        snprintf(d->why, sizeof(d->why), "%s", keyd_detail());
        return r;
    }
    let_go(d->session);
    d->session = fresh; // its hold is the device's
    d->clock = fresh->clock;
    return KEYD_OK;
}

enum keyd_err kd_device_refresh(struct keyd_device *d) {
    bool has_changed = false;
    pthread_mutex_lock(&d->lock);
    (void)begin_alone(d);
    pthread_mutex_unlock(&d->lock);
    const enum keyd_err r = kd_device_ask_bootstrap(d, &has_changed);
    pthread_mutex_lock(&d->lock);
    end_renewal(d);
    pthread_mutex_unlock(&d->lock);
    return r;
}

enum keyd_err kd_device_renew(struct keyd_device *d) {
    pthread_mutex_lock(&d->lock);
    enum keyd_err r = begin_renewal(d);
    if (r == KEYD_OK) {
        r = make_session(d, NULL);
        end_renewal(d);
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

// In place of `before`, unless another thread has done so meanwhile.
static enum keyd_err replace(struct keyd_device *d, struct kd_device_session *before,
                             bool may_resume) {
    const enum keyd_err waited = wait_for_renewal(d);
    if (d->session != before) {
        return KEYD_OK;
    }
    if (waited != KEYD_OK) {
        return share_failure(d);
    }
    d->is_renewing = true;
    const enum keyd_err r = make_session(d, may_resume ? before : NULL);
    end_renewal(d);
    return r;
}

// ---- records: with the lock, but for the network ------------------------------

static enum keyd_err keep_ticket(struct kd_device_session *s, struct kd_bytes ticket) {
    kd_buf_reset(&s->ticket);
    kd_buf_put(&s->ticket, ticket.p, ticket.n);
    const enum kd_err r = kd_buf_finish(&s->ticket);
    if (r != KD_OK) {
        kd_buf_reset(&s->ticket);
    }
    return kd_device_told(r, KEYD_ERR_SERVER);
}

// The expire record of a server that does so for all its questions has no external data.
static enum keyd_err take_record(struct kd_device_session *s, struct kd_exchange *x,
                                 struct kd_bytes sealed, struct kd_bytes aad) {
    enum kd_err r = kd_device_open(s, sealed, aad, &x->text, &x->record);
    if (r == KD_ERR_NOT_AUTHENTIC) {
        r = kd_device_open(s, sealed, KD_BYTES_NONE, &x->text, &x->record);
        r = r == KD_OK && x->record.type != KD_RECORD_EXPIRE ? KD_ERR_NOT_AUTHENTIC : r;
    }
    if (r != KD_OK) {
        return kd_detail_fail(kd_device_told(r, KEYD_ERR_SERVER), "The answer is not accepted: %s",
                              kd_err_sentence(r));
    }
    x->is_unknown = x->record.type == KD_RECORD_EXPIRE;
    if (x->kind == KD_FRAME_TICKET && x->record.type == KD_RECORD_DATA) {
        return keep_ticket(s, x->record.body);
    }
    return x->is_unknown ? KEYD_ERR_REFUSED : KEYD_OK;
}

static enum keyd_err take_answer(struct kd_device_session *s, struct kd_exchange *x,
                                 struct kd_bytes got) {
    const struct kd_frame a = { .role = KD_FRAME_ANSWER, .kind = x->kind, .id = x->id };
    uint8_t head[KD_FRAME_HEAD_BYTES];
    if (x->kind == KD_FRAME_CLOSE) {
        return KEYD_OK;
    }
    if (x->kind == KD_FRAME_UPDATE) {
        return kd_device_told(kd_device_take_update(s, got), KEYD_ERR_SERVER);
    }
    kd_frame_head(&a, head);
    return take_record(s, x, got, (struct kd_bytes) { head, sizeof(head) });
}

static enum keyd_err exchange_record(struct keyd_device *d, struct kd_device_session *s,
                                     struct kd_exchange *x) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    uint8_t head[KD_FRAME_HEAD_BYTES];
    x->id = x->id == 0 ? ++d->next_id : x->id;
    struct kd_frame q = { .kind = x->kind, .id = x->id };
    struct kd_failure_body why;
    struct kd_bytes got;
    kd_buf_reset(&x->text);
    kd_frame_head(&q, head);
    enum keyd_err r = kd_device_told(
        kd_device_seal(s, x->type, x->body, (struct kd_bytes) { head, sizeof(head) }, &record),
        KEYD_ERR_ARGUMENT);
    if (r != KEYD_OK) {
        return r;
    }
    q.body = kd_buf_get(&record);
    pthread_mutex_unlock(&d->lock);
    r = ask(d, &q, &answer, &got, &why);
    x->is_unknown = why.code == KD_FAILURE_UNKNOWN_SESSION;
    pthread_mutex_lock(&d->lock);
    r = r == KEYD_OK ? take_answer(s, x, got) : r;
    // The server's clock was set, somebody else resumed by our ticket, the answer to an update was
    // lost: the server would refuse all that follows, too.
    s->is_doubtful =
        s->is_doubtful || r == KEYD_ERR_REFUSED || (r != KEYD_OK && x->kind == KD_FRAME_UPDATE);
    return r;
}

static bool needs_session(const struct keyd_device *d) {
    return d->session == NULL || d->session->is_doubtful;
}

// Holds the session for an exchange: made where there is none, or none to rely on.
static enum keyd_err hold_session(struct keyd_device *d, struct kd_device_session **out) {
    while (wait_for_renewal(d) != KEYD_OK) {
        if (needs_session(d)) {
            return share_failure(d);
        }
    }
    if (needs_session(d)) {
        struct kd_device_session *before = d->session;
        hold(before);
        const enum keyd_err r = replace(d, before, false);
        let_go(before);
        if (r != KEYD_OK) {
            return r;
        }
    }
    if (d->session == NULL) { // made and closed meanwhile
        return KEYD_ERR_REFUSED;
    }
    d->session->holds++;
    *out = d->session;
    return KEYD_OK;
}

static enum keyd_err exchange_held(struct keyd_device *d, struct kd_device_session *s,
                                   struct kd_exchange *x, bool may_repeat, bool *is_again) {
    s->in_flight++;
    x->is_unknown = false;
    enum keyd_err r = exchange_record(d, s, x);
    s->in_flight--;
    pthread_cond_broadcast(&d->changed);
    *is_again = x->is_unknown && may_repeat;
    if (*is_again) { // an expired one cannot be resumed
        r = replace(d, s, x->record.type != KD_RECORD_EXPIRE);
    }
    return r;
}

enum keyd_err kd_device_exchange(struct keyd_device *d, struct kd_exchange *x) {
    enum keyd_err r = KEYD_OK;
    bool is_again = true;
    pthread_mutex_lock(&d->lock);
    for (int i = 1; i <= TRIES && r == KEYD_OK && is_again; i++) {
        struct kd_device_session *s = NULL;
        r = hold_session(d, &s);
        if (r == KEYD_OK) {
            r = exchange_held(d, s, x, i < TRIES, &is_again);
            let_go(s);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

enum keyd_err kd_device_exchange_alone(struct keyd_device *d, struct kd_exchange *x) {
    enum keyd_err r = KEYD_OK;
    pthread_mutex_lock(&d->lock);
    const bool has_failed = begin_alone(d);
    while (d->session != NULL && d->session->in_flight > 0) {
        pthread_cond_wait(&d->changed, &d->lock);
    }
    struct kd_device_session *s = d->session;
    if (s != NULL && s->is_doubtful && x->kind == KD_FRAME_UPDATE) {
        // The server would refuse it; the keys of another session are fresh, too.
        r = has_failed ? share_failure(d) : make_session(d, NULL);
    } else if (s != NULL) {
        s->holds++;
        r = exchange_record(d, s, x);
        if (x->kind == KD_FRAME_CLOSE && (r == KEYD_OK || x->is_unknown)) {
            d->session = NULL;
            let_go(s);
            r = KEYD_OK; // one that is not known there has ended, too
        } else if (x->is_unknown) {
            r = make_session(d, s); // its keys are new
        } else if (!s->is_open) {
            d->session = NULL; // its keys went wrong half way
            let_go(s);
        }
        let_go(s);
    }
    end_renewal(d);
    pthread_mutex_unlock(&d->lock);
    return r;
}
