// SPDX-License-Identifier: Apache-2.0
// device.c: libkeyd's functions (keyd.h): the lock, and which step follows which failure.
// The session is in device_session.c, files and certificates in device_credentials.c,
// the network in device_wire.c.
#include "client/keyd.h"

#include "client/device_credentials.h"
#include "client/device_session.h"
#include "client/device_wire.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 30000, NONCE_BYTES = 16 };

struct keyd_device {
    pthread_mutex_t lock;
    struct kd_device_credentials credentials;
    struct kd_device_session session;
    struct kd_wire wire;
    keyd_exchange_fn *exchange;
    void *exchange_arg;
    unsigned timeout_ms;
    uint32_t next_id;
    unsigned status;
};

// ---- errors ----------------------------------------------------------------

static const struct {
    const char *name, *text;
} errors[] = {
    [KEYD_OK] = { "ok", "It is done." },
    [KEYD_ERR_ARGUMENT] = { "argument", "An argument is missing, or too long." },
    [KEYD_ERR_FILE] = { "file", "A file cannot be read, or its key or certificate not be used." },
    [KEYD_ERR_MEMORY] = { "memory", "There is not enough memory." },
    [KEYD_ERR_TRANSPORT] = { "transport", "There is no connection to the server." },
    [KEYD_ERR_TIMEOUT] = { "timeout", "The server did not answer in time." },
    [KEYD_ERR_BUSY] = { "busy", "The server is busy, or its token is away: try later." },
    [KEYD_ERR_REFUSED] = { "refused", "The server did not accept it." },
    [KEYD_ERR_SERVER] = { "server", "This is not the server that is known, or not its answer." },
    [KEYD_ERR_BACKEND] = { "backend", "It was delivered, and the answer is an error." },
    [KEYD_ERR_EXPIRED] = { "expired", "The own certificate has expired." },
};

const char *keyd_err_name(enum keyd_err err) {
    return (size_t)err < KD_COUNT_OF(errors) ? errors[err].name : "unknown";
}

const char *keyd_err_text(enum keyd_err err) {
    return (size_t)err < KD_COUNT_OF(errors) ? errors[err].text : "An unknown error.";
}

// ---- frames ----------------------------------------------------------------

static enum keyd_err failed(struct kd_bytes body, bool *is_unknown) {
    enum kd_failure code;
    uint32_t after_s;
    if (kd_failure_parse(body, &code, &after_s) != KD_OK) {
        return KEYD_ERR_SERVER;
    }
    *is_unknown = code == KD_FAILURE_UNKNOWN_SESSION;
    return code == KD_FAILURE_BUSY        ? KEYD_ERR_BUSY
           : code == KD_FAILURE_TOO_LARGE ? KEYD_ERR_ARGUMENT
                                          : KEYD_ERR_REFUSED;
}

static enum keyd_err carry(struct keyd_device *d, struct kd_bytes frame, struct kd_buf *answer) {
    if (d->exchange == NULL) {
        return kd_device_told(kd_wire_exchange(&d->wire, frame, d->timeout_ms, answer),
                              KEYD_ERR_TRANSPORT);
    }
    size_t n = 0;
    uint8_t *p = kd_buf_extend(answer, KD_FRAME_MAX_BYTES);
    if (p == NULL) {
        return KEYD_ERR_MEMORY;
    }
    if (d->exchange(d->exchange_arg, frame.p, frame.n, p, KD_FRAME_MAX_BYTES, &n, d->timeout_ms) !=
            0 ||
        n > KD_FRAME_MAX_BYTES) {
        return KEYD_ERR_TRANSPORT;
    }
    answer->n = n;
    return KEYD_OK;
}

// *answer has the bytes that *out borrows its body from.
static enum keyd_err ask(struct keyd_device *d, const struct kd_frame *question,
                         struct kd_buf *answer, struct kd_bytes *out, bool *is_unknown) {
    kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    struct kd_frame got;
    kd_frame_put(&frame, question);
    if (kd_buf_finish(&frame) != KD_OK) {
        return KEYD_ERR_ARGUMENT;
    }
    const enum keyd_err r = carry(d, kd_buf_get(&frame), answer);
    if (r != KEYD_OK) {
        return r;
    }
    if (kd_frame_parse(kd_buf_get(answer), &got) != KD_OK || got.id != question->id) {
        return KEYD_ERR_SERVER;
    }
    if (got.role == KD_FRAME_FAILURE) {
        return failed(got.body, is_unknown);
    }
    if (got.role != KD_FRAME_ANSWER || got.kind != question->kind) {
        return KEYD_ERR_SERVER;
    }
    *out = got.body;
    return KEYD_OK;
}

// ---- handshake -------------------------------------------------------------

static enum keyd_err handshake_step(struct keyd_device *d, const struct kd_buf *message,
                                    struct kd_buf *answer, struct kd_bytes *out) {
    bool is_unknown = false;
    const struct kd_frame q = { .kind = KD_FRAME_HANDSHAKE,
                                .id = ++d->next_id,
                                .body = kd_buf_get(message) };
    return ask(d, &q, answer, out, &is_unknown);
}

static enum keyd_err refused(enum kd_err r) {
    return kd_device_told(r, r == KD_ERR_HS_PEER ? KEYD_ERR_REFUSED : KEYD_ERR_SERVER);
}

static enum keyd_err run_handshake(struct keyd_device *d, struct kd_device_session *s) {
    kd_auto(buf) struct kd_buf first = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    kd_auto(buf) struct kd_buf third = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    kd_auto(buf) struct kd_buf last = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    struct kd_bytes message;
    enum keyd_err r;
    if ((r = kd_device_check_own(&d->credentials)) != KEYD_OK ||
        (r = kd_device_told(kd_device_write_1(s, &d->credentials, &first), KEYD_ERR_FILE)) !=
            KEYD_OK ||
        (r = handshake_step(d, &first, &answer, &message)) != KEYD_OK ||
        (r = refused(kd_device_read_2(s, &d->credentials, message, &third))) != KEYD_OK ||
        (r = handshake_step(d, &third, &last, &message)) != KEYD_OK) {
        return r;
    }
    return refused(kd_device_read_4(s, message));
}

// What there was stays until the new session stands: a failure that asked for it may have
// been anybody's.
static enum keyd_err shake_hands(struct keyd_device *d) {
    struct kd_device_session fresh;
    kd_device_session_init(&fresh);
    fresh.offset_ms = d->session.offset_ms;
    const enum keyd_err r = run_handshake(d, &fresh);
    if (r == KEYD_OK) {
        kd_device_session_wipe(&d->session);
        d->session = fresh;
    } else {
        kd_device_session_wipe(&fresh);
    }
    return r;
}

// ---- in a session ----------------------------------------------------------

struct exchange {
    uint32_t id; // 0: the next; a message that is sent again keeps its own
    enum kd_frame_kind kind;
    enum kd_record_type type;
    struct kd_bytes body;
    bool is_unknown; // the session is not known there, or has expired
    struct kd_record record;
    struct kd_buf text; // of it
};

// The expire record of a server that does so for all its questions has no external data.
static enum keyd_err take_record(struct keyd_device *d, struct exchange *x, struct kd_bytes sealed,
                                 struct kd_bytes aad) {
    enum kd_err r = kd_device_open(&d->session, sealed, aad, &x->text, &x->record);
    if (r == KD_ERR_NOT_AUTHENTIC) {
        r = kd_device_open(&d->session, sealed, KD_BYTES_NONE, &x->text, &x->record);
        r = r == KD_OK && x->record.type != KD_RECORD_EXPIRE ? KD_ERR_NOT_AUTHENTIC : r;
    }
    if (r != KD_OK) {
        return kd_device_told(r, KEYD_ERR_SERVER);
    }
    x->is_unknown = x->record.type == KD_RECORD_EXPIRE;
    return x->is_unknown ? KEYD_ERR_REFUSED : KEYD_OK;
}

static enum keyd_err exchange_record(struct keyd_device *d, struct exchange *x) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    uint8_t heads[2][KD_FRAME_HEAD_BYTES];
    x->id = x->id == 0 ? ++d->next_id : x->id;
    struct kd_frame q = { .kind = x->kind, .id = x->id };
    const struct kd_frame a = { .role = KD_FRAME_ANSWER, .kind = x->kind, .id = q.id };
    struct kd_bytes got;
    kd_frame_head(&q, heads[0]);
    kd_frame_head(&a, heads[1]);
    enum keyd_err r =
        kd_device_told(kd_device_seal(&d->session, x->type, x->body,
                                      (struct kd_bytes) { heads[0], sizeof(heads[0]) }, &record),
                       KEYD_ERR_ARGUMENT);
    q.body = kd_buf_get(&record);
    if (r != KEYD_OK || (r = ask(d, &q, &answer, &got, &x->is_unknown)) != KEYD_OK) {
        return r;
    }
    if (x->kind == KD_FRAME_CLOSE) {
        return KEYD_OK;
    }
    if (x->kind == KD_FRAME_UPDATE) {
        return kd_device_told(kd_device_take_update(&d->session, got), KEYD_ERR_SERVER);
    }
    return take_record(d, x, got, (struct kd_bytes) { heads[1], sizeof(heads[1]) });
}

static enum keyd_err resume(struct keyd_device *d) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(8192);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    uint8_t nonce[NONCE_BYTES];
    bool is_unknown = false;
    struct kd_bytes got;
    if (d->session.ticket.n == 0 || kd_keyops_openssl.random(NULL, nonce, sizeof(nonce)) != KD_OK) {
        return KEYD_ERR_REFUSED;
    }
    kd_cbor_put_array(&body, 2);
    kd_cbor_put_bytes(&body, kd_buf_get(&d->session.ticket));
    kd_cbor_put_bytes(&body, (struct kd_bytes) { nonce, sizeof(nonce) });
    const struct kd_frame q = { .kind = KD_FRAME_RESUME,
                                .id = ++d->next_id,
                                .body = kd_buf_get(&body) };
    const enum keyd_err r = ask(d, &q, &answer, &got, &is_unknown);
    return r != KEYD_OK
               ? r
               : kd_device_told(kd_device_take_resumed(
                                    &d->session, (struct kd_bytes) { nonce, sizeof(nonce) }, got),
                                KEYD_ERR_SERVER);
}

// Another try, once: by the ticket where the server has forgotten the session, else by
// a handshake (J08).
static enum keyd_err again(struct keyd_device *d, struct exchange *x, bool may_resume) {
    enum keyd_err r = may_resume ? resume(d) : KEYD_ERR_REFUSED;
    if (r != KEYD_OK && (r = shake_hands(d)) != KEYD_OK) {
        return r;
    }
    x->is_unknown = false;
    return exchange_record(d, x);
}

static enum keyd_err exchange_safely(struct keyd_device *d, struct exchange *x) {
    enum keyd_err r;
    if (!d->session.is_open) {
        return (r = shake_hands(d)) != KEYD_OK ? r : exchange_record(d, x);
    }
    r = exchange_record(d, x);
    const bool has_expired_now = r == KEYD_ERR_REFUSED && x->record.type == KD_RECORD_EXPIRE;
    return x->is_unknown ? again(d, x, !has_expired_now) : r;
}

// The caller unlocks, when it has taken what it wants.
static enum keyd_err exchange_locked(struct keyd_device *d, struct exchange *x) {
    pthread_mutex_lock(&d->lock);
    return exchange_safely(d, x);
}

// ---- the functions ---------------------------------------------------------

static enum keyd_err take_answer(struct keyd_device *d, const struct exchange *x, uint8_t **answer,
                                 size_t *n_answer) {
    uint64_t status = 0;
    if (x->record.type == KD_RECORD_ERROR && kd_record_get_number(&x->record, &status) == KD_OK) {
        d->status = (unsigned)status;
        return KEYD_ERR_BACKEND;
    }
    if (x->record.type != KD_RECORD_DATA) {
        return KEYD_ERR_SERVER;
    }
    if (answer == NULL) {
        return KEYD_OK;
    }
    uint8_t *copy = malloc(x->record.body.n + 1);
    if (copy == NULL) {
        return KEYD_ERR_MEMORY;
    }
    memcpy(copy, x->record.body.n == 0 ? (const uint8_t *)"" : x->record.body.p, x->record.body.n);
    *answer = copy;
    *n_answer = x->record.body.n;
    return KEYD_OK;
}

enum keyd_err keyd_request(struct keyd_device *d, const void *message, size_t n, uint8_t **answer,
                           size_t *n_answer) {
    if (d == NULL || (message == NULL && n > 0) || n > KEYD_BODY_MAX ||
        (answer != NULL && n_answer == NULL)) {
        return KEYD_ERR_ARGUMENT;
    }
    struct exchange x = { .kind = KD_FRAME_MESSAGE,
                          .type = KD_RECORD_DATA,
                          .body = { message, n },
                          .text = KD_BUF_INIT(KD_RECORD_MAX_BYTES) };
    enum keyd_err r = exchange_locked(d, &x);
    r = r == KEYD_OK ? take_answer(d, &x, answer, n_answer) : r;
    pthread_mutex_unlock(&d->lock);
    kd_buf_wipe(&x.text);
    return r;
}

static enum keyd_err plain(struct keyd_device *d, enum kd_frame_kind kind,
                           enum kd_record_type type) {
    struct exchange x = { .kind = kind, .type = type, .text = KD_BUF_INIT(KD_RECORD_MAX_BYTES) };
    enum keyd_err r = exchange_locked(d, &x);
    if (r == KEYD_OK && kind == KD_FRAME_TICKET) {
        kd_buf_reset(&d->session.ticket);
        kd_buf_put(&d->session.ticket, x.record.body.p, x.record.body.n);
        r = x.record.type == KD_RECORD_DATA && x.record.body.n > 0 &&
                    kd_buf_finish(&d->session.ticket) == KD_OK
                ? KEYD_OK
                : KEYD_ERR_SERVER;
    }
    if (kind == KD_FRAME_CLOSE && r == KEYD_OK) {
        kd_device_session_wipe(&d->session);
    }
    pthread_mutex_unlock(&d->lock);
    kd_buf_wipe(&x.text);
    return r;
}

enum keyd_err keyd_update(struct keyd_device *d) {
    return d == NULL ? KEYD_ERR_ARGUMENT : plain(d, KD_FRAME_UPDATE, KD_RECORD_DATA);
}

enum keyd_err keyd_save(struct keyd_device *d) {
    return d == NULL ? KEYD_ERR_ARGUMENT : plain(d, KD_FRAME_TICKET, KD_RECORD_DATA);
}

enum keyd_err keyd_close(struct keyd_device *d) {
    if (d == NULL) {
        return KEYD_ERR_ARGUMENT;
    }
    pthread_mutex_lock(&d->lock);
    const bool is_open = d->session.is_open;
    pthread_mutex_unlock(&d->lock);
    return is_open ? plain(d, KD_FRAME_CLOSE, KD_RECORD_CLOSE) : KEYD_OK;
}

enum keyd_err keyd_connect(struct keyd_device *d) {
    if (d == NULL) {
        return KEYD_ERR_ARGUMENT;
    }
    pthread_mutex_lock(&d->lock);
    const enum keyd_err r = shake_hands(d);
    pthread_mutex_unlock(&d->lock);
    return r;
}

enum keyd_err keyd_move(struct keyd_device *d, const char *server) {
    if (d == NULL || server == NULL) {
        return KEYD_ERR_ARGUMENT;
    }
    pthread_mutex_lock(&d->lock);
    const enum keyd_err r = kd_device_told(kd_wire_set(&d->wire, server), KEYD_ERR_ARGUMENT);
    pthread_mutex_unlock(&d->lock);
    return r;
}

unsigned keyd_status(struct keyd_device *d) {
    pthread_mutex_lock(&d->lock);
    const unsigned status = d->status;
    pthread_mutex_unlock(&d->lock);
    return status;
}

int64_t keyd_clock_offset(struct keyd_device *d) {
    pthread_mutex_lock(&d->lock);
    const int64_t offset_ms = d->session.offset_ms;
    pthread_mutex_unlock(&d->lock);
    return offset_ms;
}

// ---- life ------------------------------------------------------------------

static enum keyd_err set_up(struct keyd_device *d, const struct keyd_config *config) {
    d->wire = KD_WIRE_INIT;
    d->exchange = config->exchange;
    d->exchange_arg = config->exchange_arg;
    d->timeout_ms = config->timeout_ms == 0 ? TIMEOUT_MS : config->timeout_ms;
    pthread_mutex_init(&d->lock, NULL);
    kd_device_session_init(&d->session);
    if (kd_keyops_openssl.random(NULL, (uint8_t *)&d->next_id, sizeof(d->next_id)) != KD_OK) {
        return KEYD_ERR_MEMORY;
    }
    enum keyd_err r = KEYD_OK;
    if (config->server != NULL) {
        r = kd_device_told(kd_wire_set(&d->wire, config->server), KEYD_ERR_ARGUMENT);
    } else if (config->exchange == NULL) {
        r = KEYD_ERR_ARGUMENT;
    }
    return r == KEYD_OK ? kd_device_read_credentials(&d->credentials, config) : r;
}

enum keyd_err keyd_device_new(const struct keyd_config *config, struct keyd_device **out) {
    if (config == NULL || out == NULL) {
        return KEYD_ERR_ARGUMENT;
    }
    struct keyd_device *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return KEYD_ERR_MEMORY;
    }
    const enum keyd_err r = set_up(d, config);
    if (r != KEYD_OK) {
        keyd_device_free(d);
        return r;
    }
    *out = d;
    return KEYD_OK;
}

void keyd_device_free(struct keyd_device *d) {
    if (d == NULL) {
        return;
    }
    kd_device_session_wipe(&d->session);
    kd_device_credentials_wipe(&d->credentials);
    kd_wire_wipe(&d->wire);
    pthread_mutex_destroy(&d->lock);
    free(d);
}
