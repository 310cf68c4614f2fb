// SPDX-License-Identifier: Apache-2.0
// device.c: libkeyd's functions (keyd.h).  What follows which failure is in device_ask.c,
// the session in device_session.c, files and certificates in device_credentials.c, the
// network in device_wire.c.
#include "client/device_detail.h"
#include "client/device_state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_MS = 30000 };

// At the beginning of each function.
static enum keyd_err enter(struct keyd_device *d, bool has_arguments) {
    kd_detail_begin();
    return d == NULL || !has_arguments ? KEYD_ERR_ARGUMENT : kd_device_leave_parent(d);
}

// ---- messages --------------------------------------------------------------

static enum keyd_err copy_out(struct kd_bytes body, uint8_t **out, size_t *n) {
    uint8_t *copy = malloc(body.n + 1);
    if (copy == NULL) {
        return KEYD_ERR_MEMORY;
    }
    memcpy(copy, body.n == 0 ? (const uint8_t *)"" : body.p, body.n);
    *out = copy;
    *n = body.n;
    return KEYD_OK;
}

// Of this thread; another may have got another one at the same device meanwhile.
static _Thread_local struct {
    const struct keyd_device *device;
    unsigned status;
} last;

static enum keyd_err backend_refused(struct keyd_device *d, uint64_t status) {
    last.device = d;
    last.status = (unsigned)status;
    pthread_mutex_lock(&d->lock);
    d->status = (unsigned)status;
    pthread_mutex_unlock(&d->lock);
    // These may also be the gateway's own, which has no answer then (docs/gateway.md).
    return kd_detail_fail(KEYD_ERR_BACKEND,
                          status == 503 ? "HTTP status %u: no backend has taken the message."
                          : status == 502 || status == 504
                              ? "HTTP status %u: perhaps the message was delivered, and nothing "
                                "that is an answer came."
                              : "The message was delivered, and answered with HTTP status %u.",
                          (unsigned)status);
}

static enum keyd_err take_answer(struct keyd_device *d, const struct kd_exchange *x,
                                 uint8_t **answer, size_t *n_answer) {
    uint64_t status = 0;
    if (x->record.type == KD_RECORD_ERROR && kd_record_get_number(&x->record, &status) == KD_OK) {
        return backend_refused(d, status);
    }
    if (x->record.type != KD_RECORD_DATA) {
        return KEYD_ERR_SERVER;
    }
    return answer == NULL ? KEYD_OK : copy_out(x->record.body, answer, n_answer);
}

enum keyd_err keyd_request(struct keyd_device *d, const void *message, size_t n, uint8_t **answer,
                           size_t *n_answer) {
    enum keyd_err r = enter(d, (message != NULL || n == 0) && n <= KEYD_BODY_MAX &&
                                   (answer == NULL || n_answer != NULL));
    if (r != KEYD_OK) {
        return kd_detail_end(r);
    }
    struct kd_exchange x = KD_EXCHANGE_INIT(KD_FRAME_MESSAGE, KD_RECORD_DATA);
    x.body = (struct kd_bytes) { message, n };
    r = kd_device_exchange(d, &x);
    r = r == KEYD_OK ? take_answer(d, &x, answer, n_answer) : r;
    kd_buf_wipe(&x.text);
    return kd_detail_end(r);
}

enum keyd_err keyd_receive(struct keyd_device *d, unsigned timeout_ms, uint8_t **message,
                           size_t *n) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_bytes body;
    enum keyd_err r = enter(d, message != NULL && n != NULL);
    r = r == KEYD_OK ? kd_device_receive(d, timeout_ms, &text, &body) : r;
    r = r == KEYD_OK ? copy_out(body, message, n) : r;
    return kd_detail_end(r);
}

enum keyd_err keyd_envelope(struct keyd_device *d, const char *sender, unsigned valid_s,
                            const void *message, size_t n) {
    const struct kd_bytes body = { message, n };
    enum keyd_err r = enter(d, (message != NULL || n == 0) && n <= KEYD_BODY_MAX);
    r = r == KEYD_OK ? kd_device_send_envelope(d, sender == NULL ? "" : sender, valid_s, body) : r;
    return kd_detail_end(r);
}

// ---- the session -----------------------------------------------------------

enum keyd_err keyd_connect(struct keyd_device *d) {
    const enum keyd_err r = enter(d, true);
    return kd_detail_end(r == KEYD_OK ? kd_device_connect(d) : r);
}

enum keyd_err keyd_update(struct keyd_device *d) {
    struct kd_exchange x = KD_EXCHANGE_INIT(KD_FRAME_UPDATE, KD_RECORD_DATA);
    enum keyd_err r = enter(d, true);
    r = r == KEYD_OK ? kd_device_exchange_alone(d, &x) : r;
    kd_buf_wipe(&x.text);
    return kd_detail_end(r);
}

enum keyd_err keyd_close(struct keyd_device *d) {
    const enum keyd_err r = enter(d, true);
    return kd_detail_end(r == KEYD_OK ? kd_device_close(d) : r);
}

enum keyd_err keyd_save(struct keyd_device *d) {
    const enum keyd_err r = enter(d, true);
    return kd_detail_end(r == KEYD_OK ? kd_device_take_ticket(d) : r);
}

enum keyd_err keyd_refresh(struct keyd_device *d) {
    const enum keyd_err r = enter(d, true);
    return kd_detail_end(r == KEYD_OK ? kd_device_refresh(d) : r);
}

enum keyd_err keyd_move(struct keyd_device *d, const char *server) {
    const enum keyd_err r = enter(d, server != NULL);
    return kd_detail_end(r == KEYD_OK ? kd_device_set_server(d, server) : r);
}

unsigned keyd_status(struct keyd_device *d) {
    if (d == NULL || last.device == d) {
        return d == NULL ? 0 : last.status;
    }
    pthread_mutex_lock(&d->lock);
    const unsigned status = d->status;
    pthread_mutex_unlock(&d->lock);
    return status;
}

int64_t keyd_clock_offset(struct keyd_device *d) {
    if (d == NULL) {
        return 0;
    }
    pthread_mutex_lock(&d->lock);
    const struct kd_device_clock clock = d->clock;
    pthread_mutex_unlock(&d->lock);
    return clock.is_known ? (int64_t)kd_device_clock_ms(&clock) - (int64_t)kd_clock_wall_ms() : 0;
}

// ---- life ------------------------------------------------------------------

enum keyd_err kd_device_set_server(struct keyd_device *d, const char *server) {
    char *copy = strdup(server);
    const enum kd_err r = copy == NULL ? KD_ERR_NO_MEMORY : kd_wire_set(&d->wire, server);
    if (r != KD_OK) {
        free(copy);
        return r == KD_ERR_BAD_URI ? kd_detail_fail(KEYD_ERR_ARGUMENT,
                                                    "\"%.100s\" is no server: tcp://HOST:PORT, "
                                                    "udp://HOST:PORT, http://HOST:PORT.",
                                                    server)
                                   : kd_device_told(r, KEYD_ERR_ARGUMENT);
    }
    pthread_mutex_lock(&d->lock);
    char *before = d->server;
    d->server = copy;
    pthread_mutex_unlock(&d->lock);
    free(before);
    return KEYD_OK;
}

// ---- fork ------------------------------------------------------------------

// With the lock.  The parent's connection is neither used nor ended: it is the parent's still, and
// what this end of it has is let be.
static enum keyd_err begin_anew(struct keyd_device *d) {
    const struct kd_place own = d->wire.place;
    if (kd_keyops_openssl.random(NULL, (uint8_t *)&d->next_id, sizeof(d->next_id)) != KD_OK ||
        kd_wire_init(&d->wire) != KD_OK) {
        return KEYD_ERR_MEMORY;
    }
    if (d->server == NULL) {
        kd_wire_set_own(&d->wire, &own);
    } else if (kd_wire_set(&d->wire, d->server) != KD_OK) {
        return KEYD_ERR_MEMORY;
    }
    kd_device_session_free(d->session);
    d->session = NULL;
    d->is_renewing = false; // whoever did has stayed with the parent
    d->n_waiting = 0;
    d->proven_link = 0;
    d->n_acks = 0;
    d->owner = getpid();
    return KEYD_OK;
}

// Two processes that went on in one session would use its keys with the same nonces (SP 800-38D 8).
enum keyd_err kd_device_leave_parent(struct keyd_device *d) {
    pthread_mutex_lock(&d->lock);
    const enum keyd_err r = d->owner == getpid() ? KEYD_OK : begin_anew(d);
    pthread_mutex_unlock(&d->lock);
    return r;
}

// ---- made, freed ------------------------------------------------------------

static enum keyd_err set_datagram_max(struct keyd_device *d, unsigned bytes) {
    if (bytes != 0 &&
        (bytes < KD_DEVICE_DATAGRAM_LOW_BYTES || bytes > KD_DEVICE_DATAGRAM_HIGH_BYTES)) {
        return kd_detail_fail(KEYD_ERR_ARGUMENT, "datagram_max_bytes is %d to %d, or 0.",
                              KD_DEVICE_DATAGRAM_LOW_BYTES, KD_DEVICE_DATAGRAM_HIGH_BYTES);
    }
    d->datagram_max_bytes = bytes == 0 ? KD_FRAME_DATAGRAM_MAX_BYTES : bytes;
    return KEYD_OK;
}

static enum keyd_err set_place(struct keyd_device *d, const struct keyd_config *c) {
    if (c->server != NULL) {
        return kd_device_set_server(d, c->server);
    }
    if (c->send == NULL || c->receive == NULL) {
        return kd_detail_fail(KEYD_ERR_ARGUMENT, "The configuration names no server, and no "
                                                 "functions to send and receive.");
    }
    const struct kd_place own = { NULL,    NULL,       c->is_lossy != 0,
                                  c->send, c->receive, c->transport_arg };
    kd_wire_set_own(&d->wire, &own);
    return KEYD_OK;
}

enum keyd_err keyd_device_new(const struct keyd_config *config, struct keyd_device **out) {
    kd_detail_begin();
    if (config == NULL || out == NULL) {
        return kd_detail_end(KEYD_ERR_ARGUMENT);
    }
    struct keyd_device *d = calloc(1, sizeof(*d));
    if (d == NULL || kd_wire_init(&d->wire) != KD_OK) {
        free(d);
        return kd_detail_end(KEYD_ERR_MEMORY);
    }
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    d->timeout_ms = config->timeout_ms == 0 ? TIMEOUT_MS : config->timeout_ms;
    d->owner = getpid();
    d->trace = config->trace;
    d->trace_arg = config->trace_arg;
    enum keyd_err r =
        kd_keyops_openssl.random(NULL, (uint8_t *)&d->next_id, sizeof(d->next_id)) == KD_OK
            ? set_place(d, config)
            : KEYD_ERR_MEMORY;
    r = r == KEYD_OK ? set_datagram_max(d, config->datagram_max_bytes) : r;
    r = r == KEYD_OK ? kd_device_read_credentials(&d->credentials, config) : r;
    if (r != KEYD_OK) {
        keyd_device_free(d);
        return kd_detail_end(r);
    }
    *out = d;
    return KEYD_OK;
}

void keyd_device_free(struct keyd_device *d) {
    if (d == NULL) {
        return;
    }
    (void)kd_device_leave_parent(d); // whose connection it would end

    last.device = last.device == d ? NULL : last.device; // another may come to its place
    kd_device_session_free(d->session);
    kd_device_credentials_wipe(&d->credentials);
    free(d->server);
    kd_wire_wipe(&d->wire);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    free(d);
}
