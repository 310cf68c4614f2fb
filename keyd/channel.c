// SPDX-License-Identifier: Apache-2.0
// channel.c: what all of the channel needs: its keys, its identity, the log and
// the numbers.  Peers are in peer_work.c, handshakes in handshake.c, records in
// record_work.c, resume and update in session_work.c, envelopes in envelope_work.c.
#include "keyd/channel_state.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

enum { WARN_EVERY_MS = 1000 };

// ---- keys ------------------------------------------------------------------

enum kd_err kd_channel_key(const struct kd_channel *c, const char *name, uint32_t version,
                           const struct kd_key_version **out) {
    const struct kd_entry *e = kd_registry_get(&c->s->registry, name);
    return e == NULL || e->key.n_versions == 0 ? KD_ERR_NO_KEY
                                               : kd_service_version(e, version, out);
}

enum kd_err kd_channel_put_keys(const struct kd_channel *c, uint32_t ticket_version,
                                uint32_t root_version, struct kd_hsm_request *head) {
    const struct kd_key_version *v = NULL;
    enum kd_err r = kd_channel_key(c, c->config->ticket, ticket_version, &v);
    if (r != KD_OK) {
        return r;
    }
    head->n_keys = 1;
    head->keys[0] = v->ref;
    if (root_version == 0) {
        return KD_OK;
    }
    if ((r = kd_channel_key(c, c->config->root, root_version, &v)) != KD_OK) {
        return r;
    }
    head->n_keys = 2;
    head->keys[1] = v->ref;
    return KD_OK;
}

// ---- the identity ----------------------------------------------------------

static enum kd_err read_pem(const char *path, struct kd_buf *der) {
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return KD_ERR_NO_FILE;
    }
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    unsigned char *p = NULL;
    const int n = x == NULL ? -1 : i2d_X509(x, &p);
    if (n > 0) {
        kd_buf_put(der, p, (size_t)n);
    }
    OPENSSL_free(p);
    X509_free(x);
    ERR_clear_error();
    return n > 0 ? kd_buf_finish(der) : KD_ERR_BAD_PUBLIC_KEY;
}

static enum kd_err read_identity(struct kd_channel *c) {
    struct kd_channel_identity *id = &c->identity;
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_EDHOC_CRED_MAX_BYTES - 8);
    kd_buf_reset(&id->cred);
    kd_buf_reset(&id->id_cred);
    enum kd_err r = read_pem(c->config->certificate_file, &der);
    if (r != KD_OK || (r = kd_import_certificate(kd_buf_get(&der), &id->key)) != KD_OK ||
        (r = kd_import_dates(kd_buf_get(&der), &id->from_ms, &id->upto_ms)) != KD_OK ||
        (r = kd_idcred_put_x5t(&id->id_cred, c->config->x5t_hash, kd_buf_get(&der))) != KD_OK) {
        return r;
    }
    kd_cred_put_certificate(&id->cred, kd_buf_get(&der));
    r = kd_buf_finish(&id->cred);
    id->is_read = r == KD_OK;
    return r;
}

static enum kd_err refuse_identity(const struct kd_channel *c, enum kd_err err, const char *why) {
    kd_log(KD_LOG_ERROR, "channel", "the identity cannot be used", "key=%s file=%s error=%s why=%s",
           c->config->identity, c->config->certificate_file, kd_err_name(err), why);
    return err == KD_ERR_NO_MEMORY ? err : KD_ERR_CONFIG;
}

enum kd_err kd_channel_identity(struct kd_channel *c, const struct kd_key_version **out) {
    struct kd_channel_identity *id = &c->identity;
    const struct kd_entry *e = kd_registry_get(&c->s->registry, c->config->identity);
    const uint64_t now = kd_clock_wall_ms();
    if (e == NULL || e->key.n_versions == 0) {
        return refuse_identity(c, KD_ERR_NO_KEY, "there is no such key");
    }
    const enum kd_err r = id->is_read ? KD_OK : read_identity(c);
    if (r != KD_OK) {
        return refuse_identity(c, r, "the certificate cannot be read");
    }
    if (now < id->from_ms || now > id->upto_ms) {
        return refuse_identity(c, KD_ERR_HS_CREDENTIAL, "the certificate is not valid now");
    }
    id->is_static_dh = (e->key.usages & KD_USE_DERIVE) != 0;
    for (size_t i = e->key.n_versions; i > 0; i--) {
        const struct kd_key_version *v = &e->key.versions[i - 1];
        if (v->state == KD_VERSION_ENABLED && e->key.origin != KD_ORIGIN_IMPORTED &&
            kd_bytes_equal(v->ref.proof, (struct kd_bytes) { id->key.point, id->key.n_point })) {
            *out = v;
            return KD_OK;
        }
    }
    return refuse_identity(c, KD_ERR_OBJECT_CHANGED,
                           "the certificate is of no enabled version of the key");
}

// ---- admission -------------------------------------------------------------

enum kd_err kd_channel_admit(const struct kd_service *s, const struct kd_caller *caller,
                             struct kd_channel **out) {
    if (s->channel == NULL) {
        return KD_ERR_CONFIG;
    }
    *out = s->channel;
    return kd_service_admit(s, caller, KD_MAY_HANDSHAKE, s->config->channel.identity);
}

// ---- later -----------------------------------------------------------------

void kd_channel_later(struct kd_channel *c, struct kd_later *l) {
    l->next = NULL;
    *c->last_later = l;
    c->last_later = &l->next;
    kd_timer_set(c->later_timer, 0);
}

void kd_channel_run_later(struct kd_channel *c) {
    while (c != NULL && c->first_later != NULL) {
        struct kd_later *l = c->first_later;
        c->first_later = NULL;
        c->last_later = &c->first_later;
        while (l != NULL) { // those that come meanwhile are for the next round
            struct kd_later *next = l->next;
            l->fn(l);
            l = next;
        }
    }
}

static void on_later(void *channel) {
    kd_channel_run_later(channel);
}

// ---- log -------------------------------------------------------------------

// Where the kind has been said; else the place of the oldest.
static struct kd_channel_said *find_said(struct kd_channel *c, enum kd_err err, const char *kind) {
    struct kd_channel_said *oldest = &c->said[0];
    for (size_t i = 0; i < KD_COUNT_OF(c->said); i++) {
        struct kd_channel_said *x = &c->said[i];
        if (x->kind == kind && x->err == err) {
            return x;
        }
        oldest = x->ms < oldest->ms ? x : oldest;
    }
    return oldest;
}

void kd_channel_warn_of(struct kd_channel *c, const char *what, enum kd_err err, const char *kind,
                        const char *who, const char *why) {
    const uint64_t now = kd_clock_mono_ms();
    struct kd_channel_said *said = find_said(c, err, kind);
    if (said->ms != 0 && now - said->ms < WARN_EVERY_MS) { // also where all places are new
        c->unsaid++;
        return;
    }
    kd_log(KD_LOG_WARN, "channel", what, "reason=%s peer=%s detail=%s unsaid=%u", kd_err_name(err),
           who, why, c->unsaid);
    *said = (struct kd_channel_said) { .kind = kind, .err = err, .ms = now };
    c->unsaid = 0;
}

void kd_channel_warn(struct kd_channel *c, const char *what, enum kd_err err, const char *who,
                     const char *why) {
    kd_channel_warn_of(c, what, err, what, who, why);
}

static const char *end_name(enum kd_session_end why) {
    switch (why) {
    case KD_SESSION_DELETED:
        return "deleted";
    case KD_SESSION_CLOSED:
        return "closed";
    case KD_SESSION_EXPIRED:
        return "expired";
    case KD_SESSION_UNUSED:
        return "unused";
    case KD_SESSION_OF_NO_PEER:
        return "peer-deleted";
    case KD_SESSION_OF_OTHER:
        return "peer-changed";
    case KD_SESSION_UNTRUSTED:
        return "peer-untrusted";
    }
    return "";
}

static void on_gone(void *channel, const struct kd_session_entry *e, enum kd_session_end why) {
    struct kd_channel *c = channel;
    c->counts.ended[why]++;
    kd_log(KD_LOG_INFO, "channel", "a session ended",
           "session=%s peer=%s why=%s sent=%llu received=%llu", e->text, e->peer->info.name,
           end_name(why), (unsigned long long)e->sent, (unsigned long long)e->received);
    kd_peers_release(&c->peers, e->peer);
}

static const char *expiry_name(enum kd_record_expiry why) {
    switch (why) {
    case KD_EXPIRED_LIFETIME:
        return "lifetime";
    case KD_EXPIRED_RECORDS:
        return "records";
    case KD_EXPIRED_BYTES:
        return "bytes";
    }
    return "";
}

static void on_expired(void *channel, const struct kd_session_entry *e) {
    struct kd_channel *c = channel;
    c->counts.expired[e->expired]++;
    kd_log(KD_LOG_INFO, "channel", "a session has expired", "session=%s peer=%s why=%s", e->text,
           e->peer->info.name, expiry_name(e->expired));
}

static void on_lost(void *channel, const struct kd_session_use *use) {
    const struct kd_channel *c = channel;
    if (c->s->workers != NULL && !c->s->is_stopping) {
        kd_workers_forget(c->s->workers, use->cache);
    }
}

// ---- reports ---------------------------------------------------------------

void kd_channel_report(const struct kd_service *s, struct kd_channel_report *out) {
    const struct kd_channel *c = s->channel;
    *out = (struct kd_channel_report) { .is_on = c != NULL };
    if (c != NULL) {
        out->n_peers = c->peers.n;
        out->n_handshakes = kd_map_count(&c->handshakes);
        out->n_sessions = c->sessions.n;
    }
}

void kd_channel_metrics(const struct kd_service *s, struct kd_buf *out) {
    const struct kd_channel *c = s->channel;
    if (c == NULL) {
        return;
    }
    kd_tally_head(out, "keyd_channel_peers", "gauge", "Peers in the registry.");
    kd_buf_printf(out, "keyd_channel_peers %zu\n", c->peers.n);
    kd_tally_head(out, "keyd_channel_sessions", "gauge", "Sessions that are held.");
    kd_buf_printf(out, "keyd_channel_sessions %zu\n", c->sessions.n);
    kd_tally_head(out, "keyd_channel_handshakes", "gauge", "Handshakes that are not finished.");
    kd_buf_printf(out, "keyd_channel_handshakes %zu\n", kd_map_count(&c->handshakes));
    kd_tally_head(out, "keyd_channel_handshakes_total", "counter",
                  "Handshakes that ended, or were refused at once.");
    kd_tally_results(out, "keyd_channel_handshakes_total", "", c->counts.handshakes);
    kd_tally_head(out, "keyd_channel_resumes_total", "counter", "Tickets that were brought.");
    kd_tally_results(out, "keyd_channel_resumes_total", "", c->counts.resumed);
    kd_tally_head(out, "keyd_channel_updates_total", "counter", "Keys of sessions renewed.");
    kd_tally_results(out, "keyd_channel_updates_total", "", c->counts.updated);
    kd_tally_head(out, "keyd_channel_sessions_expired_total", "counter",
                  "Sessions that came to a limit, by which.");
    for (unsigned i = KD_EXPIRED_LIFETIME; i <= KD_EXPIRED_BYTES; i++) {
        kd_buf_printf(out, "keyd_channel_sessions_expired_total{why=\"%s\"} %llu\n",
                      expiry_name((enum kd_record_expiry)i),
                      (unsigned long long)c->counts.expired[i]);
    }
    kd_tally_head(out, "keyd_channel_sessions_ended_total", "counter",
                  "Sessions that ended, by why.");
    for (unsigned i = 0; i <= KD_SESSION_OF_NO_PEER; i++) {
        kd_buf_printf(out, "keyd_channel_sessions_ended_total{why=\"%s\"} %llu\n",
                      end_name((enum kd_session_end)i), (unsigned long long)c->counts.ended[i]);
    }
    kd_tally_head(out, "keyd_channel_ended", "gauge", "Ends that are remembered.");
    kd_buf_printf(out, "keyd_channel_ended %zu\n", c->ended.n);
    kd_tally_head(out, "keyd_channel_records_total", "counter", "Records sealed and opened.");
    kd_tally_results(out, "keyd_channel_records_total", "op=\"seal\",", c->counts.sealed);
    kd_tally_results(out, "keyd_channel_records_total", "op=\"open\",", c->counts.opened);
    if (c->config->envelope[0] != '\0') {
        kd_envelopes_metrics(&c->envelopes, out);
    }
}

// ---- life ------------------------------------------------------------------

enum kd_err kd_channel_open(struct kd_service *s, struct kd_store *store, struct kd_channel **out) {
    struct kd_channel *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    c->s = s;
    c->config = &s->config->channel;
    c->last_later = &c->first_later;
    c->identity.cred = KD_BUF_INIT(KD_EDHOC_CRED_MAX_BYTES);
    c->identity.id_cred = KD_BUF_INIT(128);
    c->sessions.gone = on_gone;
    c->sessions.expired = on_expired;
    c->sessions.lost = on_lost;
    c->sessions.arg = c;
    enum kd_err r;
    kd_ended_init(&c->ended, c->config->ended_max);
    kd_spent_init(&c->envelopes.spent, c->config->envelopes_max);
    if ((r = kd_store_load_peers(store, kd_peers_load, &c->peers)) != KD_OK ||
        (r = kd_store_load_ended(store, kd_ended_load, &c->ended)) != KD_OK ||
        (r = kd_store_load_spent(store, kd_spent_load, &c->envelopes.spent)) != KD_OK ||
        (r = kd_timer_new(s->loop, kd_channel_on_handshake_timer, c, &c->handshake_timer)) !=
            KD_OK ||
        (r = kd_timer_new(s->loop, on_later, c, &c->later_timer)) != KD_OK ||
        (r = kd_sessions_open(&c->sessions, s->loop)) != KD_OK ||
        (r = kd_claim_read_trust(c)) != KD_OK ||
        (r = kd_fetcher_open(s->loop, &s->config->fetch, &c->fetcher)) != KD_OK) {
        kd_channel_free(c);
        return r;
    }
    *out = c;
    return KD_OK;
}

void kd_channel_free(struct kd_channel *c) {
    if (c == NULL) {
        return;
    }
    kd_channel_free_handshakes(c);
    kd_cookies_wipe(&c->cookies);
    kd_sessions_close(&c->sessions);
    kd_ended_wipe(&c->ended);
    kd_spent_wipe(&c->envelopes.spent);
    kd_peers_wipe(&c->peers);
    kd_fetcher_close(c->fetcher);
    kd_trust_free(c->trust);
    kd_timer_free(c->handshake_timer);
    kd_timer_free(c->later_timer);
    kd_buf_wipe(&c->identity.cred);
    kd_buf_wipe(&c->identity.id_cred);
    free(c);
}

void kd_channel_reload(struct kd_channel *c) {
    if (c != NULL) {
        c->identity.is_read = false;
        const enum kd_err r KD_UNUSED = kd_claim_read_trust(c); // else as it was; it is said
    }
}
