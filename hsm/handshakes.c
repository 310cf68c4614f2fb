// SPDX-License-Identifier: Apache-2.0
// handshakes.c: the table of the unfinished handshakes of this worker.  A thread
// that runs a step has its handshake to itself; what a step does: steps.c.
#include "hsm/handshakes.h"

#include <stdlib.h>
#include <string.h>

enum { OWN_MAX_BYTES = 2 * KD_EDHOC_CRED_MAX_BYTES + 512 };

static struct kd_bytes id_of(const struct kd_handshake *h) {
    return (struct kd_bytes) { h->id, sizeof(h->id) };
}

// ---- new and free ----------------------------------------------------------

// Copies into room that is there already, so that slices stay where they are.
static struct kd_bytes keep(struct kd_handshake *h, struct kd_bytes from) {
    const size_t start = h->own.n;
    kd_buf_put(&h->own, from.p, from.n);
    return from.n == 0 ? KD_BYTES_NONE : (struct kd_bytes) { h->own.p + start, from.n };
}

static enum kd_err copy_request(struct kd_handshake *h, const struct kd_key_ref *key,
                                const struct kd_hsm_handshake *request, struct kd_bytes *conn_id) {
    const size_t n = key->id.n + key->label.n + key->proof.n + request->id_cred.n +
                     request->cred.n + request->conn_id.n;
    if (kd_buf_extend(&h->own, n + 1) == NULL) {
        return kd_buf_finish(&h->own);
    }
    kd_buf_reset(&h->own);
    h->keys.own = (struct kd_key_ref) { .type = key->type,
                                        .id = keep(h, key->id),
                                        .label = keep(h, key->label),
                                        .proof = keep(h, key->proof) };
    h->identity = (struct kd_identity) { .curve = kd_curve_of(key->type),
                                         .is_static_dh = request->is_static_dh,
                                         .key = KD_TOKEN_KEY_OWN,
                                         .id_cred = keep(h, request->id_cred),
                                         .cred = keep(h, request->cred) };
    *conn_id = keep(h, request->conn_id);
    return kd_buf_finish(&h->own);
}

enum kd_err kd_handshake_new(struct kd_session *s, const struct kd_key_ref *key,
                             const struct kd_hsm_handshake *request, struct kd_handshake **out) {
    struct kd_bytes conn_id = KD_BYTES_NONE;
    struct kd_handshake *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    memcpy(h->id, request->id, sizeof(h->id));
    h->is_initiator = request->is_initiator;
    h->own = KD_BUF_INIT(OWN_MAX_BYTES);
    h->due_ms = kd_clock_mono_ms() + request->timeout_ms;
    h->is_busy = true;
    h->peer_suites = request->peer_suites;
    h->keys.session = s;
    h->keys.generation = s->generation;
    enum kd_err r = copy_request(h, key, request, &conn_id);
    if (r == KD_OK) {
        const struct kd_edhoc_config config = {
            .role = request->is_initiator ? KD_EDHOC_INITIATOR : KD_EDHOC_RESPONDER,
            .keys = { &kd_keyops_token, &h->keys },
            .identities = &h->identity,
            .n_identities = 1,
            .methods = request->methods,
            .suites = request->suites,
            .peer_suites = h->peer_suites.n == 0 ? NULL : &h->peer_suites,
            .conn_id = conn_id,
            .ead_labels = { 1, { KD_CHANNEL_EAD_LABEL } },
            .ead_messages = request->is_initiator ? 0 : 1u << 1, // the wish of a client
        };
        r = kd_edhoc_new(&config, &h->e);
    }
    if (r != KD_OK) {
        kd_handshake_free(s, h);
        return r;
    }
    *out = h;
    return KD_OK;
}

void kd_handshake_free(struct kd_session *s, struct kd_handshake *h) {
    h->keys.session = s; // its objects are destroyed with this one
    kd_edhoc_free(h->e);
    kd_buf_wipe(&h->own);
    free(h);
}

// ---- the table -------------------------------------------------------------

enum kd_err kd_handshake_enter(struct kd_session *s, struct kd_handshake *h) {
    struct kd_token *t = s->token;
    enum kd_err r = KD_OK;
    pthread_mutex_lock(&t->lock);
    if (kd_map_count(&t->handshakes) >= KD_HSM_HANDSHAKES_MAX) {
        r = KD_ERR_BUSY;
    } else if (kd_map_get(&t->handshakes, id_of(h)) != NULL) {
        r = KD_ERR_HS_STATE;
    } else {
        r = kd_map_add(&t->handshakes, id_of(h), h);
    }
    pthread_mutex_unlock(&t->lock);
    return r;
}

enum kd_err kd_handshake_take(struct kd_session *s, const uint8_t *id, struct kd_handshake **out) {
    struct kd_token *t = s->token;
    enum kd_err r = KD_OK;
    pthread_mutex_lock(&t->lock);
    struct kd_handshake *h =
        kd_map_get(&t->handshakes, (struct kd_bytes) { id, KD_HSM_HANDSHAKE_ID_BYTES });
    if (h == NULL || h->is_dropped || kd_clock_mono_ms() >= h->due_ms) {
        r = KD_ERR_NO_HANDSHAKE; // one whose time is over is freed by the next sweep
    } else if (h->is_busy) {
        r = KD_ERR_HS_STATE;
    } else {
        h->is_busy = true;
        h->keys.session = s;
        *out = h;
    }
    pthread_mutex_unlock(&t->lock);
    return r;
}

void kd_handshake_give_back(struct kd_session *s, struct kd_handshake *h, bool goes_on) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    h->is_busy = false;
    const bool stays = goes_on && !h->is_dropped;
    if (!stays) {
        kd_map_remove(&t->handshakes, id_of(h));
    }
    pthread_mutex_unlock(&t->lock);
    if (!stays) {
        kd_handshake_free(s, h);
    }
}

void kd_handshake_drop(struct kd_session *s, const uint8_t *id) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    struct kd_handshake *h =
        kd_map_get(&t->handshakes, (struct kd_bytes) { id, KD_HSM_HANDSHAKE_ID_BYTES });
    if (h != NULL && h->is_busy) {
        h->is_dropped = true;
        h = NULL;
    } else if (h != NULL) {
        kd_map_remove(&t->handshakes, id_of(h));
    }
    pthread_mutex_unlock(&t->lock);
    if (h != NULL) {
        kd_handshake_free(s, h);
    }
}

// One that is due by now, out of the table.
static struct kd_handshake *take_due(struct kd_token *t, uint64_t now) {
    struct kd_handshake *found = NULL;
    size_t cursor = 0;
    pthread_mutex_lock(&t->lock);
    for (struct kd_handshake *h; (h = kd_map_next(&t->handshakes, &cursor)) != NULL;) {
        if (!h->is_busy && now >= h->due_ms) {
            found = kd_map_remove(&t->handshakes, id_of(h));
            break;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static void free_due(struct kd_session *s, uint64_t now) {
    for (struct kd_handshake *h; (h = take_due(s->token, now)) != NULL;) {
        kd_handshake_free(s, h);
    }
}

void kd_handshakes_expire(struct kd_session *s) {
    free_due(s, kd_clock_mono_ms());
}

void kd_handshakes_wipe(struct kd_session *s) {
    free_due(s, UINT64_MAX);
}
