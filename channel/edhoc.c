// SPDX-License-Identifier: Apache-2.0
// edhoc.c: a handshake from new to free: which step fits which state, and what
// is handed out.  The steps themselves are in message1.c to message4.c.
#include "channel/edhoc_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct step_row {
    enum kd_edhoc_step step;
    enum kd_edhoc_role role;
    enum kd_edhoc_state from;
    enum kd_edhoc_state to;
};

// One row a step: nothing is accepted twice, because no row leads to where it began.
static const struct step_row steps[] = {
    { KD_STEP_WRITE_1, KD_EDHOC_INITIATOR, KD_STATE_START, KD_STATE_WAIT_2 },
    { KD_STEP_READ_1, KD_EDHOC_RESPONDER, KD_STATE_START, KD_STATE_GOT_1 },
    { KD_STEP_WRITE_2, KD_EDHOC_RESPONDER, KD_STATE_GOT_1, KD_STATE_WAIT_3 },
    { KD_STEP_READ_2, KD_EDHOC_INITIATOR, KD_STATE_WAIT_2, KD_STATE_GOT_2 },
    { KD_STEP_AUTH_2, KD_EDHOC_INITIATOR, KD_STATE_GOT_2, KD_STATE_KNOWN_2 },
    { KD_STEP_WRITE_3, KD_EDHOC_INITIATOR, KD_STATE_KNOWN_2, KD_STATE_WAIT_4 },
    { KD_STEP_READ_3, KD_EDHOC_RESPONDER, KD_STATE_WAIT_3, KD_STATE_GOT_3 },
    { KD_STEP_AUTH_3, KD_EDHOC_RESPONDER, KD_STATE_GOT_3, KD_STATE_KNOWN_3 },
    { KD_STEP_WRITE_4, KD_EDHOC_RESPONDER, KD_STATE_KNOWN_3, KD_STATE_DONE },
    { KD_STEP_READ_4, KD_EDHOC_INITIATOR, KD_STATE_WAIT_4, KD_STATE_DONE },
};

static const struct step_row *row_of(enum kd_edhoc_step step) {
    return &steps[step];
}

enum kd_err kd_edhoc_begin(const struct kd_edhoc *e, enum kd_edhoc_step step) {
    const struct step_row *row = row_of(step);
    assert(row->step == step);
    return e->config.role == row->role && e->state == row->from ? KD_OK : KD_ERR_HS_STATE;
}

// No key and no secret outlives a failure.
static void forget(struct kd_edhoc *e) {
    const struct kd_keys *keys = &e->config.keys;
    keys->ops->destroy(keys->ctx, e->ephemeral);
    e->ephemeral = KD_HANDLE_NONE;
    kd_secret_free(e->secrets);
    kd_secret_free(e->prk_out);
    e->secrets = NULL;
    e->prk_out = NULL;
    e->is_ead_known = false;
}

enum kd_err kd_edhoc_end(struct kd_edhoc *e, enum kd_edhoc_step step, enum kd_err r) {
    if (r == KD_OK) {
        e->state = row_of(step)->to;
        return KD_OK;
    }
    e->state = KD_STATE_FAILED;
    e->failure = r;
    if (e->detail == NULL) {
        e->detail = kd_err_sentence(r);
    }
    forget(e);
    return r;
}

enum kd_err kd_edhoc_end_write(struct kd_edhoc *e, enum kd_edhoc_step step, enum kd_err r,
                               struct kd_buf *out, size_t start) {
    if (r != KD_OK && out->n > start) {
        out->n = start;
    }
    return kd_edhoc_end(e, step, r);
}

enum kd_err kd_edhoc_because(struct kd_edhoc *e, enum kd_err r, const char *detail) {
    e->detail = detail;
    return r;
}

enum kd_err kd_edhoc_form(struct kd_edhoc *e, enum kd_err r) {
    if (r < KD_ERR_CBOR_TRUNCATED || r > KD_ERR_CBOR_RANGE) {
        return r;
    }
    return kd_edhoc_because(e, KD_ERR_HS_MESSAGE, kd_err_sentence(r));
}

// ---- new and free ----------------------------------------------------------

static bool is_workable(const struct kd_edhoc_config *c) {
    bool has_one_method = c->methods != 0 && (c->methods & (c->methods - 1)) == 0;
    return c->suites.n > 0 && c->suites.n <= KD_SUITES_MAX && c->methods != 0 &&
           c->methods >> (KD_EDHOC_METHOD_MAX + 1) == 0 &&
           (c->role == KD_EDHOC_RESPONDER || has_one_method) &&
           c->conn_id.n <= KD_EDHOC_CONN_ID_MAX_BYTES && c->ead_labels.n <= KD_EAD_LABELS_MAX;
}

static int lowest_method(unsigned methods) {
    int method = 0;
    while ((methods >> method & 1u) == 0) {
        method++;
    }
    return method;
}

enum kd_err kd_edhoc_new(const struct kd_edhoc_config *config, struct kd_edhoc **out) {
    if (!is_workable(config)) {
        return KD_ERR_CONFIG;
    }
    kd_auto(edhoc) struct kd_edhoc *e = calloc(1, sizeof(*e));
    if (e == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    e->config = *config;
    e->received = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    e->received_4 = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    e->kid_map = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    e->method = lowest_method(config->methods); // the responder reads it from message_1
    enum kd_err r = kd_secret_new(sizeof(struct kd_edhoc_secrets), &e->secrets);
    if (r != KD_OK) {
        return r;
    }
    *out = KD_STEAL(e);
    return KD_OK;
}

void kd_edhoc_free(struct kd_edhoc *e) {
    if (e == NULL) {
        return;
    }
    forget(e);
    kd_buf_wipe(&e->received);
    kd_buf_wipe(&e->received_4);
    kd_buf_wipe(&e->kid_map);
    free(e);
}

struct kd_edhoc_secrets *kd_edhoc_secrets(struct kd_edhoc *e) {
    return (struct kd_edhoc_secrets *)(void *)kd_secret_get(e->secrets);
}

size_t kd_edhoc_hash_bytes(const struct kd_edhoc *e) {
    return kd_md_bytes(e->suite->md);
}

void kd_edhoc_drop_ephemeral(struct kd_edhoc *e) {
    if (!e->config.keep_ephemeral) {
        e->config.keys.ops->destroy(e->config.keys.ctx, e->ephemeral);
        e->ephemeral = KD_HANDLE_NONE;
    }
}

const struct kd_ead_labels *kd_edhoc_labels(const struct kd_edhoc *e, unsigned message) {
    static const struct kd_ead_labels none = { .n = 0 };
    return (e->config.ead_messages >> message & 1u) != 0 ? &e->config.ead_labels : &none;
}

bool kd_edhoc_is_static(const struct kd_edhoc *e, enum kd_edhoc_role side) {
    return (e->method & (side == KD_EDHOC_RESPONDER ? 1 : 2)) != 0;
}

enum kd_err kd_edhoc_choose_identity(struct kd_edhoc *e) {
    bool is_static_dh = kd_edhoc_is_static(e, e->config.role);
    for (size_t i = 0; i < e->config.n_identities; i++) {
        const struct kd_identity *identity = &e->config.identities[i];
        if (identity->curve == e->suite->curve && identity->is_static_dh == is_static_dh) {
            enum kd_err r = kd_idcred_parse(identity->id_cred, &e->own_id);
            if (r != KD_OK) {
                return kd_edhoc_because(e, KD_ERR_CONFIG, "Our own ID_CRED is not valid.");
            }
            e->identity = identity;
            return KD_OK;
        }
    }
    return kd_edhoc_because(e, KD_ERR_CONFIG, "We have no key for this method and suite.");
}

// ---- authentication --------------------------------------------------------

// The peer must not be ourselves (RFC 9528 9.1: reflection).
static bool is_own(const struct kd_edhoc *e, const struct kd_peer *peer) {
    for (size_t i = 0; i < e->config.n_identities; i++) {
        if (kd_bytes_equal(e->config.identities[i].cred, peer->cred)) {
            return true;
        }
    }
    return false;
}

static enum kd_err authenticate(struct kd_edhoc *e, const struct kd_peer *peer) {
    if (is_own(e, peer)) {
        return KD_ERR_HS_REFLECTED;
    }
    if (peer->key.curve != e->suite->curve) {
        return kd_edhoc_because(e, KD_ERR_HS_CREDENTIAL,
                                "The peer's key is not on the curve of the cipher suite.");
    }
    if (peer->cred.n > KD_EDHOC_CRED_MAX_BYTES || kd_cbor_check(peer->cred) != KD_OK) {
        return kd_edhoc_because(e, KD_ERR_HS_CREDENTIAL, "The peer's CRED is not one CBOR item.");
    }
    enum kd_err r = kd_idcred_fits(&e->peer_id, peer->cred);
    if (r != KD_OK) {
        return kd_edhoc_because(e, r, "The peer's certificate is not the one that it named.");
    }
    return e->config.role == KD_EDHOC_INITIATOR ? kd_edhoc_auth_2(e, peer)
                                                : kd_edhoc_auth_3(e, peer);
}

static enum kd_edhoc_step auth_step(const struct kd_edhoc *e) {
    return e->config.role == KD_EDHOC_INITIATOR ? KD_STEP_AUTH_2 : KD_STEP_AUTH_3;
}

enum kd_err kd_edhoc_authenticate(struct kd_edhoc *e, const struct kd_peer *peer) {
    enum kd_err r = kd_edhoc_begin(e, auth_step(e));
    if (r != KD_OK) {
        return r;
    }
    r = kd_edhoc_end(e, auth_step(e), authenticate(e, peer));
    e->is_ead_known = r == KD_OK;
    return r;
}

void kd_edhoc_refuse(struct kd_edhoc *e) {
    if (kd_edhoc_begin(e, auth_step(e)) != KD_OK) {
        return;
    }
    (void)kd_edhoc_end(e, auth_step(e),
                       kd_edhoc_because(e, KD_ERR_HS_CREDENTIAL, "The caller refused the peer."));
}

enum kd_err kd_edhoc_authenticate_by(struct kd_edhoc *e, kd_edhoc_resolve_fn *resolve, void *arg) {
    enum kd_err r = kd_edhoc_begin(e, auth_step(e));
    if (r != KD_OK) {
        return r;
    }
    struct kd_peer peer = { .cred = KD_BYTES_NONE };
    r = resolve(arg, &e->peer_id, &peer);
    if (r != KD_OK) {
        return kd_edhoc_end(e, auth_step(e), r);
    }
    return kd_edhoc_authenticate(e, &peer);
}

// ---- what is known ---------------------------------------------------------

const struct kd_idcred *kd_edhoc_peer_id(const struct kd_edhoc *e) {
    return &e->peer_id;
}

const struct kd_ead *kd_edhoc_ead(const struct kd_edhoc *e) {
    static const struct kd_ead none = { .n = 0 };
    return e->is_ead_known ? &e->ead : &none;
}

struct kd_bytes kd_edhoc_peer_conn_id(const struct kd_edhoc *e) {
    return (struct kd_bytes) { e->peer_conn_id, e->n_peer_conn_id };
}

const struct kd_suite *kd_edhoc_suite(const struct kd_edhoc *e) {
    return e->suite;
}

int kd_edhoc_method(const struct kd_edhoc *e) {
    return e->method;
}

const struct kd_point *kd_edhoc_own_ephemeral(const struct kd_edhoc *e) {
    return &e->own_point;
}

const struct kd_point *kd_edhoc_peer_ephemeral(const struct kd_edhoc *e) {
    return &e->peer_point;
}

bool kd_edhoc_is_done(const struct kd_edhoc *e) {
    return e->state == KD_STATE_DONE;
}

const char *kd_edhoc_detail(const struct kd_edhoc *e) {
    return e->detail == NULL ? "" : e->detail;
}

// ---- keys ------------------------------------------------------------------

static enum kd_err check_keys(const struct kd_edhoc *e) {
    bool are_there = e->state == KD_STATE_DONE || e->state == KD_STATE_KNOWN_3;
    return are_there && e->prk_out != NULL ? KD_OK : KD_ERR_HS_STATE;
}

enum kd_err kd_edhoc_export(struct kd_edhoc *e, int label, struct kd_bytes context,
                            struct kd_secret *out) {
    enum kd_err r = check_keys(e);
    return r == KD_OK ? kd_exporter_export(e->suite->md, e->prk_out, label, context, out) : r;
}

enum kd_err kd_edhoc_key_update(struct kd_edhoc *e, struct kd_bytes context) {
    enum kd_err r = check_keys(e);
    return r == KD_OK ? kd_exporter_update(e->suite->md, e->prk_out, context) : r;
}

enum kd_err kd_edhoc_take_prk_out(struct kd_edhoc *e, struct kd_secret **out) {
    enum kd_err r = check_keys(e);
    if (r == KD_OK) {
        *out = KD_STEAL(e->prk_out);
    }
    return r;
}

enum kd_err kd_edhoc_share(struct kd_edhoc *e, const struct kd_point *point, uint64_t *secret) {
    enum kd_err r = check_keys(e);
    if (r != KD_OK) {
        return r;
    }
    if (e->ephemeral == KD_HANDLE_NONE) {
        return KD_ERR_HS_STATE;
    }
    if (point->curve != e->suite->curve) {
        return KD_ERR_BAD_POINT;
    }
    return e->config.keys.ops->ecdh(e->config.keys.ctx, e->ephemeral, point, secret);
}
