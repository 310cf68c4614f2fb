// SPDX-License-Identifier: Apache-2.0
// peer_work.c: peers are added, deleted and looked at.  A change is written by
// the store's thread; until then its name is taken and the peer not to be found.
#include "keyd/bootstrap_state.h"

#include <stdlib.h>
#include <string.h>

struct change {
    struct kd_store_job job; // first: a job's address is its change's
    struct kd_channel *c;
    struct kd_peer_entry *entry; // ours while it is changing
    struct kd_store_ended end;   // delete: of all that it had
    struct kd_end_floor floor;
    kd_peer_done *done;
    void *arg;
};

static void end(struct change *w, enum kd_err err, const struct kd_peer_info *peer) {
    w->done(w->arg, err, "", peer);
    w->c->s->pending--;
    free(w);
}

static void submit(struct kd_channel *c, struct kd_peer_entry *e, struct change *w,
                   kd_peer_done *done, void *arg) {
    w->c = c;
    w->entry = e;
    w->done = done;
    w->arg = arg;
    e->is_changing = true;
    c->s->pending++;
    kd_store_thread_submit(c->s->store, &w->job);
}

// ---- add -------------------------------------------------------------------

static enum kd_err run_add(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_peer_info *info = &((const struct change *)job)->entry->info;
    const struct kd_store_peer peer = {
        .name = info->name,
        .certificate = info->certificate,
        .point = info->point,
        .kid = info->kid,
        .uri = info->uri,
        .created_ms = info->created_ms,
    };
    return kd_store_add_peer(store, &peer);
}

static void add_done(struct kd_store_job *job, enum kd_err err) {
    struct change *w = (struct change *)job;
    if (err != KD_OK) {
        kd_peers_remove(&w->c->peers, w->entry);
        end(w, err, NULL);
        return;
    }
    w->entry->is_changing = false;
    kd_log(KD_LOG_INFO, "channel", "a peer was added", "peer=%s relation=%s", w->entry->info.name,
           w->entry->relation);
    end(w, KD_OK, &w->entry->info);
}

enum kd_err kd_channel_peer_add(struct kd_service *s, const struct kd_caller *caller,
                                const struct kd_peer_spec *spec, kd_peer_done *done, void *arg) {
    struct kd_channel *c = s->channel;
    if (c == NULL) {
        return KD_ERR_CONFIG;
    }
    enum kd_err r = kd_service_admit(s, caller, KD_MAY_PEER, NULL);
    if (r != KD_OK) {
        return r;
    }
    if (kd_bootstrap_has_peer(s, spec->name)) {
        return KD_ERR_PEER_EXISTS; // also one that has not enrolled yet
    }
    if (c->peers.n >= c->config->peers_max) {
        return KD_ERR_TOO_MANY;
    }
    const struct kd_store_peer peer = {
        .name = spec->name,
        .certificate = spec->certificate,
        .point = spec->point,
        .kid = spec->kid,
        .uri = spec->uri == NULL ? "" : spec->uri,
        .created_ms = kd_clock_wall_ms(),
    };
    struct kd_peer_entry *e = NULL;
    struct change *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    r = kd_peers_add(&c->peers, &peer, &e);
    if (r == KD_ERR_PEER_EXISTS && kd_claim_end_namesake(c, spec->name)) {
        r = kd_peers_add(&c->peers, &peer, &e);
    }
    if (r != KD_OK) {
        free(w);
        return r;
    }
    w->job.run = run_add;
    w->job.done = add_done;
    submit(c, e, w, done, arg);
    return KD_OK;
}

// ---- delete ----------------------------------------------------------------

static enum kd_err run_delete(struct kd_store_job *job, struct kd_store *store) {
    const struct change *w = (const struct change *)job;
    // First, so that a crash in between leaves no ticket good.
    enum kd_err r = kd_end_write(store, &w->end, &w->floor);
    return r == KD_OK && !w->entry->is_passing ? kd_store_delete_peer(store, w->entry->info.name)
                                               : r;
}

static void delete_done(struct kd_store_job *job, enum kd_err err) {
    struct change *w = (struct change *)job;
    if (err != KD_OK) { // it is there still, but what it had has ended
        w->entry->is_changing = false;
        kd_peers_hold(&w->c->peers, w->entry);
        kd_peers_release(&w->c->peers, w->entry); // a passing one goes with its last session
        end(w, err, NULL);
        return;
    }
    kd_log(KD_LOG_INFO, "channel", "a peer was deleted", "peer=%s", w->entry->info.name);
    kd_peers_remove(&w->c->peers, w->entry);
    end(w, KD_OK, NULL);
}

enum kd_err kd_channel_peer_delete(struct kd_service *s, const struct kd_caller *caller,
                                   const char *name, kd_peer_done *done, void *arg) {
    struct kd_channel *c = s->channel;
    if (c == NULL) {
        return KD_ERR_CONFIG;
    }
    enum kd_err r = kd_service_admit(s, caller, KD_MAY_PEER, NULL);
    if (r != KD_OK) {
        return r;
    }
    struct kd_peer_entry *e = kd_peers_get(&c->peers, name);
    if (e == NULL) {
        return KD_ERR_NO_PEER;
    }
    if (kd_bootstrap_has_peer(s, name)) {
        return KD_ERR_PEER_IS_DEVICE;
    }
    if (e->is_changing) {
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    struct change *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    w->job.run = run_delete;
    w->job.done = delete_done;
    w->floor = kd_channel_note_peer(c, e, &w->end);
    submit(c, e, w, done, arg);
    // At once; a handshake finds it no more.
    kd_sessions_remove_of_peer(&c->sessions, e, KD_SESSION_OF_NO_PEER);
    return KD_OK;
}

// ---- look ------------------------------------------------------------------

static enum kd_err may_show(const struct kd_service *s, const struct kd_caller *caller) {
    return s->channel == NULL
               ? KD_ERR_CONFIG
               : kd_service_allows(s, caller, KD_MAY_SHOW, s->config->channel.identity);
}

enum kd_err kd_channel_peer(const struct kd_service *s, const struct kd_caller *caller,
                            const char *name, struct kd_peer_info *out) {
    enum kd_err r = may_show(s, caller);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_peer_entry *e = kd_peers_get(&s->channel->peers, name);
    if (e == NULL || e->is_changing) {
        return KD_ERR_NO_PEER;
    }
    *out = e->info;
    return KD_OK;
}

size_t kd_channel_peers(const struct kd_service *s, const struct kd_caller *caller,
                        const char *after, struct kd_peer_info *out, size_t max) {
    if (may_show(s, caller) != KD_OK) {
        return 0;
    }
    size_t n = 0;
    const struct kd_peer_entry *e = kd_peers_next(&s->channel->peers, after);
    for (; e != NULL && n < max; e = kd_peers_next(&s->channel->peers, e->info.name)) {
        if (!e->is_changing) {
            out[n++] = e->info;
        }
    }
    return n;
}
