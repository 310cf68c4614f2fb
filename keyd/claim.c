// SPDX-License-Identifier: Apache-2.0
// claim.c: see claim.h.
#include "keyd/claim.h"

#include "keyd/bootstrap_state.h"
#include "keyd/channel_state.h"

#include <assert.h>
#include <string.h>

// ---- certificates of strangers ---------------------------------------------

static struct kd_trust_rules rules_of(const struct kd_channel *c) {
    const struct kd_trust_config *t = &c->s->config->trust;
    return (struct kd_trust_rules) { .peer_uri = t->peer_uri,
                                     .n_required = t->required_uris.n,
                                     .required = t->required_uris.values };
}

// A device of this bootstrap server that is revoked does not come in by the CA's word, nor does
// another one in the name of one that was deleted.
static bool is_revoked(const struct kd_channel *c, const char *name) {
    return c->s->bootstrap != NULL && kd_devices_shuts_out(&c->s->bootstrap->devices, name);
}

static enum kd_err refuse_name(const struct kd_peer_entry *there, const char **why) {
    *why = there->is_changing ? "the peer of its name is being deleted"
                              : "a peer of its name is registered with another certificate";
    return KD_ERR_HS_CREDENTIAL;
}

// Makes the peer that a chain names, if it is believed.
static enum kd_err believe(struct kd_claim *q, const struct kd_bytes *chain, size_t n,
                           struct kd_bytes uri, const char **why) {
    const struct kd_trust_rules rules = rules_of(q->c);
    struct kd_trust_name name;
    char text[KD_X5U_MAX_BYTES + 1] = "";
    enum kd_err r =
        kd_trust_check(q->c->trust, &rules, chain, n, q->use, kd_clock_wall_ms(), &name, why);
    if (r != KD_OK) {
        return r;
    }
    if (is_revoked(q->c, name.name)) {
        *why = "its device is revoked, or was deleted";
        return KD_ERR_HS_CREDENTIAL;
    }
    const struct kd_peer_entry *there = kd_peers_get(&q->c->peers, name.name);
    if (there != NULL && (!there->is_passing || there->is_changing)) {
        return refuse_name(there, why);
    }
    if (uri.n > 0) {
        memcpy(text, uri.p, uri.n); // plain: fetch.h
    }
    const struct kd_passing from = { .peer = { .name = name.name,
                                               .certificate = chain[0],
                                               .uri = text,
                                               .created_ms = kd_clock_wall_ms() },
                                     .uses = name.uses,
                                     .others = chain + 1,
                                     .n_others = n - 1 };
    *why = "its certificate cannot be used";
    q->believed_at = q->c->trust_reads;
    return kd_peers_new_passing(&from, &q->passing);
}

// ---- fetched ---------------------------------------------------------------

// COSE_X509 (RFC 9360 2): one certificate, or an array of two and more.
static size_t read_chain(struct kd_bytes from, struct kd_bytes chain[static KD_X5CHAIN_MAX]) {
    struct kd_cbor c = kd_cbor_of(from);
    size_t n = kd_cbor_is_next(&c, KD_CBOR_ARRAY) ? kd_cbor_read_array(&c) : 1;
    if (n > KD_X5CHAIN_MAX) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        chain[i] = kd_cbor_read_bytes(&c);
    }
    return kd_cbor_finish(&c) == KD_OK ? n : 0;
}

static enum kd_err take_fetched(struct kd_claim *q, struct kd_bytes body, bool is_chain,
                                const char **why) {
    struct kd_bytes chain[KD_X5CHAIN_MAX] = { body };
    kd_auto(buf) struct kd_buf cred = KD_BUF_INIT(KD_FETCH_BODY_MAX_BYTES + 8);
    struct kd_idcred id;
    const size_t n = is_chain ? read_chain(body, chain) : 1;
    *why = "what its URI leads to is no chain of certificates";
    if (n == 0 || kd_idcred_parse((struct kd_bytes) { q->id, q->n_id }, &id) != KD_OK) {
        return KD_ERR_HS_CREDENTIAL;
    }
    kd_cred_put_certificate(&cred, chain[0]);
    enum kd_err r = kd_buf_finish(&cred);
    if (r != KD_OK) {
        return r;
    }
    if (kd_idcred_fits(&id, kd_buf_get(&cred)) != KD_OK) {
        *why = "the certificate at its URI does not have the fingerprint that it names";
        return KD_ERR_HS_CREDENTIAL;
    }
    return believe(q, chain, n, id.x5u, why);
}

static void on_fetched(void *arg, enum kd_err err, const char *why, struct kd_bytes body,
                       bool is_chain) {
    struct kd_claim *q = arg;
    q->wait = NULL;
    const enum kd_err r = err != KD_OK ? err : take_fetched(q, body, is_chain, &why);
    q->done(q->arg, r, why, r == KD_OK ? q->passing : NULL);
}

static enum kd_err fetch(struct kd_claim *q, const struct kd_idcred *id, const char **why) {
    if (id->encoded.n > sizeof(q->id)) {
        return KD_ERR_HS_CREDENTIAL;
    }
    memcpy(q->id, id->encoded.p, id->encoded.n);
    q->n_id = id->encoded.n;
    return kd_fetcher_begin(q->c->fetcher, id->x5u, on_fetched, q, &q->wait, why);
}

// ---- believed still -------------------------------------------------------

static enum kd_err judge_again(const struct kd_channel *c, const struct kd_peer_entry *e,
                               const char **why) {
    const struct kd_trust_rules rules = rules_of(c);
    struct kd_bytes chain[KD_X5CHAIN_MAX] = { e->info.certificate };
    struct kd_cbor others = kd_cbor_of(e->others);
    struct kd_trust_name name;
    size_t n = 1;
    while (n < KD_X5CHAIN_MAX && kd_cbor_has_more(&others)) {
        chain[n++] = kd_cbor_read_bytes(&others);
    }
    const enum kd_trust_use use =
        (e->uses & KD_TRUST_SIGNS) != 0 ? KD_TRUST_SIGNS : KD_TRUST_AGREES;
    return kd_trust_check(c->trust, &rules, chain, n, use, kd_clock_wall_ms(), &name, why);
}

static bool is_believed_still(const struct kd_channel *c, const struct kd_peer_entry *e) {
    const char *why = "";
    const enum kd_err r = judge_again(c, e, &why);
    if (r != KD_OK) {
        kd_log(KD_LOG_WARN, "channel", "a peer is not believed any more", "peer=%s detail=%s",
               e->info.name, why);
    }
    return r == KD_OK;
}

// What its certificate hangs on may have ended since it came: an issuer's certificate, or the time
// of a revocation list.
static enum kd_err judge_known(struct kd_channel *c, const struct kd_peer_entry *known,
                               const char **why) {
    struct kd_peer_entry *e = kd_peers_get(&c->peers, known->info.name);
    const uint64_t now = kd_clock_mono_ms();
    assert(e == known);
    if (e->judged_ms != 0 && now - e->judged_ms < KD_CLAIM_JUDGED_FOR_MS) {
        return KD_OK;
    }
    const enum kd_err r = judge_again(c, e, why);
    e->judged_ms = r == KD_OK ? now : 0;
    return r;
}

// ---- find ------------------------------------------------------------------

static enum kd_err find_stranger(struct kd_claim *q, const struct kd_idcred *id, const char **why) {
    if (!q->c->s->config->trust.accept_unregistered || q->c->trust == NULL) {
        return KD_ERR_HS_CREDENTIAL;
    }
    switch (id->kind) {
    case KD_IDCRED_X5CHAIN:
        return believe(q, id->chain, id->n_chain, KD_BYTES_NONE, why);
    case KD_IDCRED_X5U:
    case KD_IDCRED_X5U_X5T:
        return fetch(q, id, why);
    case KD_IDCRED_KID:
    case KD_IDCRED_X5T:
        break;
    }
    return KD_ERR_HS_CREDENTIAL;
}

enum kd_err kd_claim_find(struct kd_claim *q, struct kd_bytes id_cred,
                          const struct kd_peer_entry **peer, const char **why) {
    const struct kd_peer_entry *known = NULL;
    struct kd_idcred id;
    *why = "its ID_CRED is not of a form that is used";
    if (kd_idcred_parse(id_cred, &id) != KD_OK) {
        return KD_ERR_HS_CREDENTIAL;
    }
    enum kd_err r = kd_peers_resolve(&q->c->peers, &id, kd_clock_wall_ms(), &known, why);
    if (r == KD_ERR_NO_PEER) {
        r = find_stranger(q, &id, why);
        known = q->passing;
    } else if (r == KD_OK && known->is_passing) {
        r = judge_known(q->c, known, why);
    }
    if (r == KD_OK && known != NULL && known->is_passing && (known->uses & q->use) == 0) {
        *why = "its key usage does not allow this method";
        return KD_ERR_HS_CREDENTIAL;
    }
    if (r == KD_OK) {
        q->key = known != NULL ? known->key : q->key;
        *peer = known;
    }
    return r;
}

// ---- settle ----------------------------------------------------------------

void kd_claim_end_passing(struct kd_channel *c, struct kd_peer_entry *e, uint64_t made_ms,
                          enum kd_session_end why) {
    kd_channel_note_passing(c, e, made_ms);
    kd_peers_hold(&c->peers, e);
    kd_sessions_remove_of_peer(&c->sessions, e, why);
    kd_peers_release(&c->peers, e);
}

static bool is_key_of(const struct kd_public_key *key, const struct kd_peer_entry *e) {
    return kd_bytes_equal((struct kd_bytes) { key->point, key->n_point },
                          (struct kd_bytes) { e->key.point, e->key.n_point });
}

enum kd_err kd_claim_settle(struct kd_claim *q, const char *name, uint64_t made_ms,
                            struct kd_peer_entry **out) {
    struct kd_channel *c = q->c;
    struct kd_peer_entry *e = kd_peers_get(&c->peers, name);
    if (q->passing == NULL) {
        if (e == NULL || e->is_changing || !is_key_of(&q->key, e)) {
            return KD_ERR_HS_CREDENTIAL; // deleted meanwhile, and perhaps another of this name
                                         // added
        }
        *out = e;
        return KD_OK;
    }
    if (e == NULL && c->peers.n >= c->config->peers_max) {
        return KD_ERR_TOO_MANY;
    }
    // It chose the time of its last message: a revocation may have come before that.
    if (is_revoked(c, name) ||
        (q->believed_at != c->trust_reads && !is_believed_still(c, q->passing))) {
        return KD_ERR_HS_CREDENTIAL;
    }
    enum kd_err r = kd_peers_settle(&c->peers, q->passing, &e);
    if (r == KD_ERR_CHANGE_UNDER_WAY) { // one certificate at a time: the last that proved itself
        kd_claim_end_passing(c, e, made_ms - 1, KD_SESSION_OF_OTHER);
        r = kd_peers_settle(&c->peers, q->passing, &e);
    }
    if (r == KD_OK) {
        q->passing = NULL;
        *out = e;
    }
    return r == KD_ERR_PEER_EXISTS || r == KD_ERR_CHANGE_UNDER_WAY ? KD_ERR_HS_CREDENTIAL : r;
}

void kd_claim_wipe(struct kd_claim *q) {
    kd_fetcher_cancel(q->wait);
    kd_peers_discard(q->passing);
    q->wait = NULL;
    q->passing = NULL;
}

bool kd_claim_end_namesake(struct kd_channel *c, const char *name) {
    struct kd_peer_entry *e = kd_peers_get(&c->peers, name);
    if (e == NULL || !e->is_passing || e->is_changing) {
        return false;
    }
    kd_claim_end_passing(c, e, kd_clock_wall_ms(), KD_SESSION_OF_OTHER);
    return true;
}

// ---- trust -----------------------------------------------------------------

enum kd_err kd_claim_read_trust(struct kd_channel *c) {
    const struct kd_trust_config *config = &c->s->config->trust;
    struct kd_trust *fresh = NULL;
    if (config->anchors_file[0] == '\0') {
        return KD_OK;
    }
    enum kd_err r = kd_trust_open(config->anchors_file, config->crl_file, &fresh);
    if (r != KD_OK) {
        return r == KD_ERR_NO_MEMORY ? r : KD_ERR_CONFIG;
    }
    kd_trust_free(c->trust);
    c->trust = fresh;
    c->trust_reads++;
    char name[KD_NAME_MAX_BYTES + 1] = "";
    struct kd_peer_entry *e = NULL;
    while ((e = kd_peers_next(&c->peers, name[0] == '\0' ? NULL : name)) != NULL) {
        memcpy(name, e->info.name, strlen(e->info.name) + 1); // it may go
        if (e->is_passing && !is_believed_still(c, e)) {
            kd_claim_end_passing(c, e, kd_clock_wall_ms(), KD_SESSION_UNTRUSTED);
        }
    }
    return KD_OK;
}
