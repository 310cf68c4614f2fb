// SPDX-License-Identifier: Apache-2.0
// issue.c: a certificate on its way: what is to be signed goes to the token, the whole goes
// to the store with the device's state and the peer, and then to who asked.
#include "keyd/bootstrap_state.h"

#include <stdlib.h>
#include <string.h>

struct issue {
    struct kd_store_job job; // first: a job's address is its issue's
    struct kd_bootstrap *b;
    enum kd_bootstrap_paper paper;
    struct kd_device_entry *device; // NULL: a paper of the CA or of the server
    struct kd_ca_point signer;
    uint8_t serial[KD_CA_SERIAL_BYTES];
    uint64_t now_ms, from_ms, upto_ms;
    struct kd_buf tbs, der;
    uint8_t asked_with[32]; // hash of the certificate that showed who asks
    bool is_renewal;
    char uri[KD_DEVICE_URI_TEXT_BYTES];
    struct kd_peer_entry *peer; // new: in the list and changing, or (renewal) in no list
    bool is_listed;
    struct kd_device_certificate certificate; // for the registry in memory
    bool has_places;                          // kept there
    kd_bootstrap_done *done;
    void *arg;
};

static void drop(struct issue *w) {
    if (w->is_listed) {
        kd_peers_remove(&w->b->s->channel->peers, w->peer);
    } else {
        kd_peers_discard(w->peer);
    }
    if (w->has_places) {
        kd_devices_forgo_places(&w->b->devices);
    }
    if (w->device != NULL) {
        w->device->is_busy = false;
    }
    kd_buf_wipe(&w->tbs);
    kd_buf_wipe(&w->der);
    kd_buf_wipe(&w->certificate.der);
    free(w);
}

static void end(struct issue *w, enum kd_err err, const char *detail) {
    if (err != KD_OK && w->device != NULL) {
        kd_log(KD_LOG_WARN, "ca", "a certificate was not issued", "device=%s error=%s detail=%s",
               w->device->id, kd_err_name(err), detail);
    }
    w->done(w->arg, err, detail, err == KD_OK ? kd_buf_get(&w->der) : KD_BYTES_NONE);
    w->b->s->pending--;
    drop(w);
}

static enum kd_err new_issue(struct kd_bootstrap *b, kd_bootstrap_done *done, void *arg,
                             struct issue **out) {
    struct issue *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    w->b = b;
    w->done = done;
    w->arg = arg;
    w->now_ms = kd_clock_wall_ms();
    w->tbs = KD_BUF_INIT(KD_CA_CERTIFICATE_MAX_BYTES);
    w->der = KD_BUF_INIT(KD_CA_CERTIFICATE_MAX_BYTES);
    w->certificate.der = KD_BUF_INIT(KD_CA_CERTIFICATE_MAX_BYTES);
    enum kd_err r = kd_host_random(w->serial, sizeof(w->serial));
    if (r != KD_OK) {
        drop(w);
        return r;
    }
    w->serial[0] = (uint8_t)((w->serial[0] & 0x7f) | 0x40); // positive, always of 16 bytes
    *out = w;
    return KD_OK;
}

// ---- committed -------------------------------------------------------------

// The write is done: what is in memory follows, in places that were kept for it.
static void take_over(struct issue *w) {
    struct kd_channel *c = w->b->s->channel;
    const struct kd_bytes asked = { w->asked_with, w->is_renewal ? sizeof(w->asked_with) : 0 };
    kd_devices_renew(&w->b->devices, w->device, &w->certificate, asked);
    w->has_places = false;
    if (w->is_listed) {
        w->peer->is_changing = false;
        w->is_listed = false;
        w->peer = NULL;
        return;
    }
    struct kd_peer_entry *old = kd_peers_get(&c->peers, w->device->id);
    w->peer->is_changing = false;
    const enum kd_err r = old == NULL ? KD_ERR_NO_PEER : kd_peers_replace(&c->peers, old, w->peer);
    if (r != KD_OK) { // another peer has got one of its names meanwhile
        kd_log(KD_LOG_ERROR, "ca", "a device is refused until a restart", "device=%s error=%s",
               w->device->id, kd_err_name(r));
    }
    if (old == NULL) {
        return;
    }
    if (r == KD_OK) {
        kd_sessions_move(&c->sessions, old, w->peer);
        w->peer = NULL;
    } else {
        kd_sessions_remove_of_peer(&c->sessions, old, KD_SESSION_OF_NO_PEER);
    }
    kd_peers_discard(old);
}

static enum kd_err run_issue(struct kd_store_job *job, struct kd_store *store) {
    const struct issue *w = (const struct issue *)job;
    const struct kd_store_certificate certificate = {
        .serial = { w->serial, sizeof(w->serial) },
        .from_ms = w->from_ms,
        .upto_ms = w->upto_ms,
        .der = kd_buf_get(&w->der),
    };
    struct kd_store_issue issue = { .certificate = &certificate, .now_ms = w->now_ms };
    if (w->device == NULL) {
        return kd_store_issue(store, &issue);
    }
    const struct kd_store_peer peer = {
        .name = w->device->id,
        .certificate = certificate.der,
        .uri = w->uri,
        .created_ms = w->now_ms,
    };
    issue.device = w->device->id;
    issue.peer = &peer;
    if (w->is_renewal) { // the device is busy: these do not change
        const struct kd_device_entry *d = w->device;
        const bool is_current =
            kd_bytes_equal((struct kd_bytes) { w->asked_with, sizeof(w->asked_with) },
                           (struct kd_bytes) { d->current.hash, sizeof(d->current.hash) });
        issue.previous = (struct kd_bytes) { is_current ? d->current.serial : d->previous.serial,
                                             KD_CA_SERIAL_BYTES };
    }
    return kd_store_issue(store, &issue);
}

static void issue_done(struct kd_store_job *job, enum kd_err err) {
    struct issue *w = (struct issue *)job;
    char serial[KD_DEVICE_SERIAL_TEXT_BYTES];
    if (err == KD_OK && w->device != NULL && w->device->state == KD_DEVICE_REVOKED) {
        err = KD_ERR_DEVICE_REVOKED; // meanwhile; its revocation is the next job
    }
    if (err != KD_OK) {
        end(w, err, "");
        return;
    }
    kd_hex_encode(w->serial, sizeof(w->serial), serial);
    kd_log(KD_LOG_INFO, "ca", "a certificate was issued", "device=%s serial=%s renewal=%s",
           w->device == NULL ? "-" : w->device->id, serial, w->is_renewal ? "yes" : "no");
    w->b->issued++;
    if (w->device != NULL) {
        take_over(w);
    }
    end(w, KD_OK, "");
}

// ---- signed ----------------------------------------------------------------

// What can be refused is refused here, before anything is written.
static enum kd_err prepare_peer(struct issue *w) {
    struct kd_channel *c = w->b->s->channel;
    const struct kd_bytes der = kd_buf_get(&w->der);
    const struct kd_store_peer peer = {
        .name = w->device->id,
        .certificate = der,
        .uri = w->uri,
        .created_ms = w->now_ms,
    };
    w->certificate.from_ms = w->from_ms;
    w->certificate.upto_ms = w->upto_ms;
    memcpy(w->certificate.serial, w->serial, sizeof(w->serial));
    kd_buf_put(&w->certificate.der, der.p, der.n);
    enum kd_err r = kd_buf_finish(&w->certificate.der);
    if (r != KD_OK || (r = kd_host_hash(KD_MD_SHA256, &der, 1, w->certificate.hash)) != KD_OK) {
        return r;
    }
    if (w->device->state == KD_DEVICE_REVOKED) {
        return KD_ERR_DEVICE_REVOKED; // while the token signed
    }
    if ((r = kd_devices_keep_places(&w->b->devices)) != KD_OK) {
        return r;
    }
    w->has_places = true;
    if (w->device->state == KD_DEVICE_ACTIVE && kd_peers_get(&c->peers, w->device->id) != NULL) {
        return kd_peers_prepare(&c->peers, &peer, &w->peer);
    }
    if (c->peers.n >= c->config->peers_max) {
        return KD_ERR_TOO_MANY;
    }
    r = kd_peers_add(&c->peers, &peer, &w->peer);
    if (r == KD_ERR_PEER_EXISTS && kd_claim_end_namesake(c, peer.name)) {
        r = kd_peers_add(&c->peers, &peer, &w->peer);
    }
    w->is_listed = r == KD_OK;
    return r;
}

static void take_signature(struct issue *w, struct kd_bytes signature) {
    enum kd_err r = kd_ca_finish(kd_buf_get(&w->tbs), &w->signer, signature, &w->der);
    r = r == KD_ERR_NOT_AUTHENTIC ? KD_ERR_TOKEN : r; // the token's signature is none
    if (r == KD_OK && w->device != NULL) {
        r = prepare_peer(w);
    }
    const bool is_kept = w->device != NULL || w->paper == KD_PAPER_SERVER;
    if (r != KD_OK || !is_kept) {
        end(w, r, "");
        return;
    }
    w->job.run = run_issue;
    w->job.done = issue_done;
    kd_store_thread_submit(w->b->s->store, &w->job);
}

static enum kd_err on_signed(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct issue *w = arg;
    struct kd_hsm_result result;
    if (reply->err != KD_OK) {
        char detail[KD_DETAIL_BYTES];
        kd_detail_copy(detail, reply->detail);
        end(w, reply->err, detail);
        return KD_OK;
    }
    enum kd_err r =
        reply->n_items != 1 ? KD_ERR_MALFORMED : kd_hsm_get_result(items, KD_HSM_SIGN, &result);
    if (r != KD_OK || (r = kd_reader_finish(items)) != KD_OK) {
        end(w, r, "");
        return r;
    }
    if (result.err != KD_OK) {
        end(w, result.err, "");
    } else {
        take_signature(w, result.out);
    }
    return KD_OK;
}

static enum kd_err sign(struct issue *w, const struct kd_key_version *key) {
    struct kd_hsm_request head = {
        .op = KD_HSM_SIGN,
        .hash = w->signer.n == KD_CA_POINT_MAX_BYTES ? KD_HASH_SHA384 : KD_HASH_SHA256,
        .n_keys = 1,
        .keys = { key->ref },
        .n_items = 1,
    };
    const struct kd_hsm_item item = { .data = kd_buf_get(&w->tbs) };
    struct kd_call *call = NULL;
    enum kd_err r = kd_service_begin(w->b->s, &head, NULL, &call);
    if (r != KD_OK) {
        return r;
    }
    kd_call_put(call, &item);
    if ((r = kd_call_send(call, on_signed, w)) == KD_OK) {
        w->b->s->pending++;
    }
    return r;
}

// ---- what is to be signed --------------------------------------------------

static struct kd_ca_point point_of(struct kd_bytes proof) {
    struct kd_ca_point point = { 0 };
    if (proof.n <= sizeof(point.bytes)) {
        point.n = proof.n;
        memcpy(point.bytes, proof.p, proof.n);
    }
    return point;
}

// The CA's key: the primary version, or the one that the certificate is of.
static enum kd_err find_key(const struct kd_bootstrap *b, bool of_certificate,
                            const struct kd_key_version **out) {
    const struct kd_entry *e = kd_registry_get(&b->s->registry, b->config->key);
    if (e == NULL || e->key.n_versions == 0) {
        return KD_ERR_NO_KEY;
    }
    if (!kd_key_type_is_ec(e->key.type) || (e->key.usages & KD_USE_SIGN) == 0 ||
        e->key.origin == KD_ORIGIN_IMPORTED) {
        return KD_ERR_KEY_USAGE;
    }
    if (!of_certificate) {
        return kd_service_version(e, 0, out);
    }
    for (size_t i = e->key.n_versions; i > 0; i--) {
        const struct kd_key_version *v = &e->key.versions[i - 1];
        if (v->state == KD_VERSION_ENABLED && kd_bootstrap_is_of_chain(b, v)) {
            *out = v;
            return KD_OK;
        }
    }
    kd_log(KD_LOG_ERROR, "ca", "the CA's certificate is of no enabled version of the key",
           "key=%s file=%s", b->config->key, b->config->certificate_file);
    return KD_ERR_OWN_CERTIFICATE;
}

// The key to sign with and the times: no longer than the CA's own certificate.
static enum kd_err begin_issue(struct issue *w, uint32_t validity_sec,
                               const struct kd_key_version **key) {
    const struct kd_bootstrap *b = w->b;
    const bool is_own = w->device == NULL && w->paper != KD_PAPER_SERVER;
    if (!is_own && b->chain.n == 0) {
        return KD_ERR_OWN_CERTIFICATE;
    }
    enum kd_err r = find_key(b, !is_own, key);
    if (r != KD_OK) {
        return r;
    }
    w->signer = point_of((*key)->ref.proof);
    w->from_ms = w->now_ms - KD_CA_BACKDATE_SEC * UINT64_C(1000);
    w->upto_ms = w->now_ms + validity_sec * UINT64_C(1000);
    if (is_own) {
        return KD_OK;
    }
    w->from_ms = w->from_ms < b->chain.from_ms ? b->chain.from_ms : w->from_ms;
    w->upto_ms = w->upto_ms > b->chain.upto_ms ? b->chain.upto_ms : w->upto_ms;
    if (w->now_ms < b->chain.from_ms || w->now_ms >= b->chain.upto_ms) {
        kd_log(KD_LOG_ERROR, "ca", "the CA's certificate is not valid now", "file=%s",
               b->config->certificate_file);
        return KD_ERR_OWN_CERTIFICATE;
    }
    return KD_OK;
}

// ASN.1 has whole seconds; what is kept is what the certificate says.
static enum kd_err put_certificate(struct issue *w, const struct kd_ca_names *names,
                                   const char *subject, enum kd_ca_usage usage,
                                   const struct kd_ca_point *key) {
    w->from_ms -= w->from_ms % 1000;
    w->upto_ms -= w->upto_ms % 1000;
    struct kd_ca_profile profile = {
        .names = names,
        .subject = subject,
        .usage = usage,
        .key = *key,
        .from_ms = w->from_ms,
        .upto_ms = w->upto_ms,
        .issuer = names == NULL ? KD_BYTES_NONE : w->b->chain.certificates[0],
        .signer = w->signer,
    };
    memcpy(profile.serial, w->serial, sizeof(profile.serial));
    return kd_ca_begin_certificate(&profile, &w->tbs);
}

// ---- papers of the CA and the server ---------------------------------------

static enum kd_err put_server(struct issue *w) {
    const struct kd_service *s = w->b->s;
    const struct kd_entry *e = kd_registry_get(&s->registry, s->config->channel.identity);
    const struct kd_key_version *v = NULL;
    enum kd_err r =
        e == NULL || e->key.n_versions == 0 ? KD_ERR_NO_KEY : kd_service_version(e, 0, &v);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_ca_names names = { .server = w->b->config->server_id };
    const struct kd_ca_point key = point_of(v->ref.proof);
    return put_certificate(w, &names, NULL,
                           (e->key.usages & KD_USE_DERIVE) != 0 ? KD_CA_AGREE : KD_CA_SIGN, &key);
}

static enum kd_err put_paper(struct issue *w, const char *subject) {
    switch (w->paper) {
    case KD_PAPER_ROOT:
        return put_certificate(w, NULL, subject, KD_CA_SIGN, &w->signer);
    case KD_PAPER_REQUEST:
        return kd_ca_begin_request(subject, &w->signer, &w->tbs);
    case KD_PAPER_SERVER:
        return put_server(w);
    }
    return KD_ERR_BUG;
}

static enum kd_err start_paper(struct issue *w, const char *subject) {
    const struct kd_ca_config *config = w->b->config;
    const struct kd_key_version *key = NULL;
    enum kd_err r = begin_issue(
        w, w->paper == KD_PAPER_SERVER ? config->server_validity_sec : config->root_validity_sec,
        &key);
    if (r != KD_OK || (r = put_paper(w, subject)) != KD_OK) {
        return r;
    }
    return sign(w, key);
}

enum kd_err kd_bootstrap_make(struct kd_service *s, const struct kd_caller *caller,
                              enum kd_bootstrap_paper paper, const char *subject,
                              kd_bootstrap_done *done, void *arg) {
    struct kd_bootstrap *b = NULL;
    struct issue *w = NULL;
    enum kd_err r = kd_bootstrap_admit(s, caller, KD_MAY_CA, &b);
    if (r != KD_OK || (r = new_issue(b, done, arg, &w)) != KD_OK) {
        return r;
    }
    w->paper = paper;
    if ((r = start_paper(w, subject)) != KD_OK) {
        drop(w);
    }
    return r;
}

// ---- certificates of devices -----------------------------------------------

static enum kd_err read_request(struct issue *w, struct kd_bytes request,
                                const struct kd_ca_names *names, struct kd_ca_point *key) {
    const char *why = "";
    const enum kd_err r = kd_ca_read_request(request, names, key, &why);
    if (r != KD_OK) {
        w->b->refused++;
        kd_channel_warn(w->b->s->channel, "a certificate request was refused", r, w->device->id,
                        why);
    }
    return r;
}

static enum kd_err start_device(struct issue *w, struct kd_bytes request) {
    const struct kd_bootstrap *b = w->b;
    kd_auto(buf) struct kd_buf uri = KD_BUF_INIT(KD_DEVICE_URI_TEXT_BYTES);
    const struct kd_key_version *ca_key = NULL;
    struct kd_ca_point key;
    enum kd_err r = kd_ca_put_uri(&uri, b->config->base_uri, b->config->server_id, w->device->id);
    if (r != KD_OK) {
        return r;
    }
    memcpy(w->uri, uri.p, uri.n);
    const struct kd_ca_names names = {
        .device = w->device->id,
        .server = b->config->server_id,
        .relation = w->device->relation[0] == '\0' ? NULL : w->device->relation,
        .uri = w->uri,
    };
    if ((r = read_request(w, request, &names, &key)) != KD_OK ||
        (r = begin_issue(w, b->config->device_validity_sec, &ca_key)) != KD_OK) {
        return r;
    }
    r = put_certificate(w, &names, NULL,
                        w->device->usage == KD_DEVICE_AGREE ? KD_CA_AGREE : KD_CA_SIGN, &key);
    return r == KD_OK ? sign(w, ca_key) : r;
}

enum kd_err kd_bootstrap_certify(struct kd_service *s, const struct kd_device_proof *proof,
                                 struct kd_bytes request, bool is_renewal, kd_bootstrap_done *done,
                                 void *arg) {
    struct kd_bootstrap *b = s->bootstrap;
    struct kd_device_entry *e = NULL;
    struct issue *w = NULL;
    if (b == NULL || s->is_stopping) {
        return b == NULL ? KD_ERR_CONFIG : KD_ERR_STOPPING;
    }
    // RFC 7030 4.2.1 and 4.2.2: each kind of proof is for one of the two.
    struct kd_device_proof fit = *proof;
    fit.certificate.n = is_renewal ? fit.certificate.n : 0;
    fit.secret.n = is_renewal ? 0 : fit.secret.n;
    enum kd_err r = kd_bootstrap_judge(b, &fit, &e);
    if (r != KD_OK) {
        return r;
    }
    if (e->is_busy) {
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    if ((r = new_issue(b, done, arg, &w)) != KD_OK) {
        return r;
    }
    w->device = e;
    w->is_renewal = is_renewal;
    if (is_renewal) {
        memcpy(w->asked_with, fit.certificate.p, sizeof(w->asked_with));
    }
    e->is_busy = true;
    if ((r = start_device(w, request)) != KD_OK) {
        drop(w);
    }
    return r;
}
