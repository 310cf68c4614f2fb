// SPDX-License-Identifier: Apache-2.0
// device_push.c: what goes one way: messages that the server sends unasked, and envelopes.
#include "client/device_detail.h"
#include "client/device_state.h"

#include <string.h>

// ---- pushes ----------------------------------------------------------------

enum keyd_err kd_device_take_ticket(struct keyd_device *d) {
    struct kd_exchange x = KD_EXCHANGE_INIT(KD_FRAME_TICKET, KD_RECORD_DATA);
    enum keyd_err r = kd_device_exchange(d, &x);
    r = r == KEYD_OK && (x.record.type != KD_RECORD_DATA || x.record.body.n == 0) ? KEYD_ERR_SERVER
                                                                                  : r;
    kd_buf_wipe(&x.text);
    return r;
}

// A record over this very link, so that the server knows who is at its other end.  A ticket is
// of use when the link is lost.
static enum keyd_err prove_link(struct keyd_device *d) {
    const uint64_t now_ms = kd_clock_mono_ms();
    const enum keyd_err r = kd_device_take_ticket(d);
    const uint64_t link = kd_wire_link(&d->wire);
    pthread_mutex_lock(&d->lock);
    d->proven_link = r == KEYD_OK ? link : 0;
    d->proven_ms = now_ms;
    pthread_mutex_unlock(&d->lock);
    return r;
}

// The link at whose other end the server knows us, and when that has to be proven again.  0: none.
static uint64_t proven_link(struct keyd_device *d, uint64_t *due_ms) {
    const uint64_t link = kd_wire_link(&d->wire);
    pthread_mutex_lock(&d->lock);
    const bool is_so = d->proven_link == link;
    *due_ms = d->proven_ms + KD_DEVICE_KEEPALIVE_MS;
    pthread_mutex_unlock(&d->lock);
    return is_so ? link : 0;
}

enum keyd_err kd_device_connect(struct keyd_device *d) {
    uint64_t due_ms = 0;
    const bool is_listening = proven_link(d, &due_ms) != 0;
    const enum keyd_err r = kd_device_renew(d);
    return r == KEYD_OK && is_listening ? prove_link(d) : r;
}

// With the lock: the message of the frame, and the frame that acknowledges it.
static enum kd_err open_push(struct kd_device_session *s, const struct kd_frame *push,
                             struct kd_buf *text, struct kd_record *record, struct kd_buf *ack) {
    kd_auto(buf) struct kd_buf sealed = KD_BUF_INIT(256);
    uint8_t head[KD_FRAME_HEAD_BYTES];
    const struct kd_bytes aad = { head, sizeof(head) };
    enum kd_err r = KD_OK;
    if (s == NULL) {
        return KD_ERR_NO_SESSION;
    }
    kd_frame_head(push, head);
    if ((r = kd_device_open(s, push->body, aad, text, record)) != KD_OK ||
        record->type != KD_RECORD_DATA) {
        return r == KD_OK ? KD_ERR_RECORD_FORM : r;
    }
    struct kd_frame answer = { .role = KD_FRAME_ANSWER, .kind = KD_FRAME_PUSH, .id = push->id };
    kd_frame_head(&answer, head);
    if ((r = kd_device_seal(s, KD_RECORD_DATA, KD_BYTES_NONE, aad, &sealed)) != KD_OK) {
        return r;
    }
    answer.body = kd_buf_get(&sealed);
    kd_frame_put(ack, &answer);
    return kd_buf_finish(ack);
}

static void keep_ack(struct keyd_device *d, uint32_t id, const struct kd_buf *ack) {
    struct kd_device_ack *a = &d->acks[d->n_acks++ % KD_DEVICE_ACKS];
    a->n = 0;
    if (ack->n <= sizeof(a->frame)) {
        a->id = id;
        a->n = (uint8_t)ack->n;
        memcpy(a->frame, ack->p, ack->n);
    }
}

// Of a push that has come before: what it was answered.  Anybody may send it again, and is
// answered the same, which is of no use to him.
static void find_ack(const struct keyd_device *d, uint32_t id, struct kd_buf *ack) {
    for (size_t i = 1; i <= KD_DEVICE_ACKS && i <= d->n_acks; i++) { // the latest first
        const struct kd_device_ack *a = &d->acks[(d->n_acks - i) % KD_DEVICE_ACKS];
        if (a->n > 0 && a->id == id) {
            kd_buf_reset(ack);
            kd_buf_put(ack, a->frame, a->n);
            return;
        }
    }
}

// What is not for us is passed over, and not acknowledged.
static bool take_push(struct keyd_device *d, struct kd_bytes frame, struct kd_buf *text,
                      struct kd_bytes *body) {
    kd_auto(buf) struct kd_buf ack = KD_BUF_INIT(512);
    struct kd_record record;
    struct kd_frame push;
    kd_buf_reset(text);
    if (kd_frame_parse(frame, &push) != KD_OK) {
        return false;
    }
    pthread_mutex_lock(&d->lock);
    enum kd_err r = open_push(d->session, &push, text, &record, &ack);
    if (r == KD_OK) {
        keep_ack(d, push.id, &ack);
    } else if (r == KD_ERR_RECORD_REPLAYED) {
        find_ack(d, push.id, &ack);
    }
    pthread_mutex_unlock(&d->lock);
    const bool is_new = r == KD_OK;
    if ((!is_new && r != KD_ERR_RECORD_REPLAYED) || kd_buf_get(&ack).n == 0) {
        return false;
    }
    if (is_new) {
        kd_device_trace(d, false, &ack);
    }
    r = kd_wire_tell(&d->wire, kd_buf_get(&ack), d->timeout_ms);
    if (is_new && r != KD_OK) { // it is here all the same, and is not given out again
        kd_detail_fail(KEYD_ERR_TRANSPORT, "A message has come that the server was not told of.");
    }
    *body = is_new ? record.body : KD_BYTES_NONE;
    return is_new;
}

// The link to listen at, proven where that is due; and until when.
static enum keyd_err listen_at(struct keyd_device *d, uint64_t *link, uint64_t *due_ms) {
    *link = proven_link(d, due_ms);
    if (*link != 0 && kd_clock_mono_ms() < *due_ms) {
        return KEYD_OK;
    }
    kd_detail_begin(); // what ended the link before is healed, or fails anew
    const enum keyd_err r = prove_link(d);
    *link = proven_link(d, due_ms);
    return r;
}

static unsigned n_closes(struct keyd_device *d) {
    pthread_mutex_lock(&d->lock);
    const unsigned n = d->n_closes;
    pthread_mutex_unlock(&d->lock);
    return n;
}

// Who began to listen when so many had been would listen for ever, or make a session anew.
static enum keyd_err check_open(struct keyd_device *d, unsigned began) {
    if (n_closes(d) == began) {
        return KEYD_OK;
    }
    kd_detail_begin();
    return kd_detail_fail(KEYD_ERR_TRANSPORT, "The session was closed by keyd_close.");
}

// Counted before, so that nobody who listened makes a session after the one that ends; and without
// the link nobody waits at it.
enum keyd_err kd_device_close(struct keyd_device *d) {
    struct kd_exchange x = KD_EXCHANGE_INIT(KD_FRAME_CLOSE, KD_RECORD_CLOSE);
    pthread_mutex_lock(&d->lock);
    d->n_closes++;
    pthread_mutex_unlock(&d->lock);
    const enum keyd_err r = kd_device_exchange_alone(d, &x);
    kd_buf_wipe(&x.text);
    kd_wire_drop(&d->wire);
    return r;
}

enum keyd_err kd_device_receive(struct keyd_device *d, unsigned timeout_ms, struct kd_buf *text,
                                struct kd_bytes *body) {
    const uint64_t until_ms = kd_clock_mono_ms() + timeout_ms;
    const unsigned began = n_closes(d);
    if (kd_wire_is_http(&d->wire)) {
        return kd_detail_fail(KEYD_ERR_ARGUMENT, "Over HTTP a server cannot send unasked.");
    }
    for (;;) {
        kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
        uint64_t link = 0;
        uint64_t due_ms = 0;
        enum keyd_err r = check_open(d, began);
        if (r != KEYD_OK) {
            return r;
        }
        const enum keyd_err listens = listen_at(d, &link, &due_ms);
        if ((r = check_open(d, began)) != KEYD_OK || (r = listens) != KEYD_OK) {
            return r;
        }
        const enum kd_err got =
            kd_wire_receive(&d->wire, link, due_ms < until_ms ? due_ms : until_ms, &frame);
        if (got == KD_OK) {
            kd_device_trace(d, true, &frame);
        }
        if (got == KD_OK && take_push(d, kd_buf_get(&frame), text, body)) {
            return KEYD_OK;
        }
        if (got == KD_ERR_NO_MEMORY || kd_clock_mono_ms() >= until_ms) {
            return got == KD_ERR_NO_MEMORY ? KEYD_ERR_MEMORY : KEYD_ERR_TIMEOUT;
        }
    }
}

// ---- envelopes -------------------------------------------------------------

enum keyd_err kd_device_send_envelope(struct keyd_device *d, const char *sender, unsigned valid_s,
                                      struct kd_bytes message) {
    static const struct kd_keys software = { &kd_keyops_openssl, NULL };
    kd_auto(buf) struct kd_buf envelope = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    uint8_t id[KD_ENVELOPE_ID_BYTES];
    struct kd_bytes nothing;
    struct kd_failure_body why;
    if (valid_s == 0 || valid_s > KEYD_ENVELOPE_VALID_MAX) {
        return kd_detail_fail(KEYD_ERR_ARGUMENT, "An envelope is good for 1 to %d seconds.",
                              KEYD_ENVELOPE_VALID_MAX);
    }
    pthread_mutex_lock(&d->lock);
    const bool has_key = d->credentials.has_envelope_point;
    const struct kd_point key = d->credentials.envelope_point;
    const uint64_t now_s = kd_device_clock_ms(&d->clock) / 1000;
    pthread_mutex_unlock(&d->lock);
    if (!has_key) {
        return kd_detail_fail(KEYD_ERR_ARGUMENT, "The configuration has no envelope_key_file.");
    }
    if (kd_keyops_openssl.random(NULL, id, sizeof(id)) != KD_OK) {
        return KEYD_ERR_MEMORY;
    }
    const struct kd_envelope terms = { .id = { id, sizeof(id) },
                                       .time_s = now_s,
                                       .expires_s = now_s + valid_s,
                                       .sender = kd_bytes_of_text(sender) };
    const enum kd_err r = kd_envelope_seal(&software, &key, &terms, message, &envelope);
    return r != KD_OK ? kd_detail_fail(kd_device_told(r, KEYD_ERR_ARGUMENT),
                                       "The envelope cannot be made: its times are wrong, or it "
                                       "is too long.")
                      : kd_device_ask(d, KD_FRAME_ENVELOPE, kd_buf_get(&envelope), &answer,
                                      &nothing, &why);
}
