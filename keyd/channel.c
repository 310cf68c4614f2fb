// SPDX-License-Identifier: Apache-2.0
// channel.c: what all of the channel needs: its keys, its identity, the log and
// the numbers.  Peers are in peer_work.c, our own certificate in identity.c, handshakes in
// handshake.c, records in record_work.c, resume and update in session_work.c, envelopes in
// envelope_work.c, reports in channel_report.c.
#include "keyd/channel_state.h"

#include <stdlib.h>
#include <string.h>

// ---- keys ------------------------------------------------------------------

enum kd_err kd_channel_key(const struct kd_channel *c, const char *name, uint32_t version,
                           const struct kd_key_version **out) {
    const struct kd_entry *e = kd_registry_get(&c->s->registry, name);
    return e == NULL || e->key.n_versions == 0 ? KD_ERR_NO_KEY
                                               : kd_service_version(e, version, out);
}

// What was made with a version that is destroyed is over.
static enum kd_err put_key(const struct kd_channel *c, const char *name, uint32_t version,
                           struct kd_hsm_request *head) {
    const struct kd_key_version *v = NULL;
    const enum kd_err r = kd_channel_key(c, name, version, &v);
    if (r != KD_OK) {
        return r == KD_ERR_NO_VERSION ? KD_ERR_NO_SESSION : r;
    }
    head->keys[head->n_keys++] = v->ref;
    return KD_OK;
}

enum kd_err kd_channel_put_keys(const struct kd_channel *c, uint32_t ticket_version,
                                uint32_t root_version, struct kd_hsm_request *head) {
    head->n_keys = 0;
    const enum kd_err r = put_key(c, c->config->ticket, ticket_version, head);
    return r != KD_OK || root_version == 0 ? r : put_key(c, c->config->root, root_version, head);
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

// Where the kind has been said; else the place of the oldest, which waits for its second.
static struct kd_channel_said *find_said(struct kd_channel *c, enum kd_err err, const char *kind) {
    struct kd_channel_said *oldest = &c->said[0];
    for (size_t i = 0; i < KD_COUNT_OF(c->said); i++) {
        struct kd_channel_said *x = &c->said[i];
        if (x->kind == kind && x->err == err) {
            return x;
        }
        oldest = x->limit.said_ms < oldest->limit.said_ms ? x : oldest;
    }
    return oldest;
}

void kd_channel_warn_of(struct kd_channel *c, const char *what, enum kd_err err, const char *kind,
                        const char *who, const char *why) {
    struct kd_channel_said *said = find_said(c, err, kind);
    if (kd_log_limited(&said->limit, KD_LOG_WARN, "channel", what, "reason=%s peer=%s detail=%s",
                       kd_err_name(err), who, why)) {
        said->kind = kind;
        said->err = err;
    }
}

void kd_channel_warn(struct kd_channel *c, const char *what, enum kd_err err, const char *who,
                     const char *why) {
    kd_channel_warn_of(c, what, err, what, who, why);
}

static void on_gone(void *channel, const struct kd_session_entry *e, enum kd_session_end why) {
    struct kd_channel *c = channel;
    c->counts.ended[why]++;
    kd_log(KD_LOG_INFO, "channel", "a session ended",
           "session=%s peer=%s why=%s sent=%llu received=%llu", e->text, e->peer->info.name,
           kd_session_end_name(why), (unsigned long long)e->sent, (unsigned long long)e->received);
    kd_peers_release(&c->peers, e->peer);
}

static void on_expired(void *channel, const struct kd_session_entry *e) {
    struct kd_channel *c = channel;
    c->counts.expired[e->expired]++;
    kd_log(KD_LOG_INFO, "channel", "a session has expired", "session=%s peer=%s why=%s", e->text,
           e->peer->info.name, kd_session_expiry_name(e->expired));
}

static void on_lost(void *channel, const struct kd_session_use *use) {
    const struct kd_channel *c = channel;
    if (c->s->workers != NULL && !c->s->is_stopping) {
        kd_workers_forget(c->s->workers, use->cache);
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
    kd_channel_identity_init(c);
    c->sessions.gone = on_gone;
    c->sessions.expired = on_expired;
    c->sessions.lost = on_lost;
    c->sessions.arg = c;
    enum kd_err r;
    kd_ended_init(&c->ended, c->config->ended_max);
    kd_envelopes_init(&c->envelopes, c->config);
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
    kd_channel_identity_reload(c);
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
    kd_channel_identity_wipe(c);
    free(c);
}

void kd_channel_reload(struct kd_channel *c) {
    if (c != NULL) {
        kd_channel_identity_reload(c);
        const enum kd_err r KD_UNUSED = kd_claim_read_trust(c); // else as it was; it is said
    }
}
