// SPDX-License-Identifier: Apache-2.0
// device_work.c: devices are enrolled, get new secrets, are revoked, and deleted.  Each change is
// written by the store's thread before it is answered.
#include "keyd/bootstrap_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_BYTES = 20 };

struct change {
    struct kd_store_job job; // first: a job's address is its change's
    struct kd_bootstrap *b;
    struct kd_device_entry *device; // NULL at the end of a delete
    char detail[KD_DETAIL_BYTES];
    char secret[KD_DEVICE_SECRET_TEXT_BYTES]; // to be told once
    uint8_t hash[KD_ENROL_HASH_BYTES];
    uint64_t until_ms; // of the secret; delete: of the certificate that has not ended
    uint64_t now_ms;
    bool has_end; // revoke, of one that is a peer
    struct kd_store_ended end;
    struct kd_end_floor floor;
    kd_device_done *done;
    void *arg;
};

static void drop(struct change *w) {
    kd_wipe(w, sizeof(*w));
    free(w);
}

static void end(struct change *w, enum kd_err err) {
    struct kd_device_info info;
    const bool has_device = err == KD_OK && w->device != NULL;
    if (has_device) {
        kd_device_describe(w->b, w->device, &info);
    }
    w->done(w->arg, err, w->detail, has_device ? &info : NULL, err == KD_OK ? w->secret : "");
    w->b->s->pending--;
    drop(w);
}

static enum kd_err new_change(struct kd_bootstrap *b, kd_device_done *done, void *arg,
                              struct change **out) {
    struct change *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    w->b = b;
    w->now_ms = kd_clock_wall_ms();
    w->done = done;
    w->arg = arg;
    *out = w;
    return KD_OK;
}

static void submit(struct change *w, struct kd_device_entry *e) {
    w->device = e;
    w->b->s->pending++;
    kd_store_thread_submit(w->b->s->store, &w->job);
}

// Random text, its hash, and how long it is good.
static enum kd_err draw_secret(struct change *w, uint32_t lifetime_sec) {
    uint8_t bytes[SECRET_BYTES];
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_DEVICE_SECRET_TEXT_BYTES);
    const struct kd_ca_config *config = w->b->config;
    const uint32_t sec = lifetime_sec == 0 ? config->secret_lifetime_sec : lifetime_sec;
    if (sec > config->secret_lifetime_max_sec) {
        return KD_ERR_FIELD_INVALID;
    }
    enum kd_err r = kd_host_random(bytes, sizeof(bytes));
    if (r != KD_OK) {
        return r;
    }
    kd_b64_encode(&text, (struct kd_bytes) { bytes, sizeof(bytes) });
    kd_wipe(bytes, sizeof(bytes));
    if ((r = kd_buf_finish(&text)) != KD_OK) {
        return r;
    }
    const struct kd_bytes secret = kd_buf_get(&text);
    memcpy(w->secret, secret.p, secret.n);
    w->until_ms = w->now_ms + sec * UINT64_C(1000);
    return kd_host_hash(KD_MD_SHA256, &secret, 1, w->hash);
}

_Static_assert(KD_B64_LEN(SECRET_BYTES) == KD_DEVICE_SECRET_TEXT_BYTES - 1, "its text");

// ---- enrol -----------------------------------------------------------------

static struct kd_store_device row_of(const struct change *w, const char *id, const char *relation,
                                     enum kd_device_usage usage) {
    return (struct kd_store_device) {
        .id = id,
        .relation = relation,
        .usage = usage,
        .state = KD_DEVICE_ENROLLED,
        .created_ms = w->now_ms,
        .secret = { w->hash, sizeof(w->hash) },
        .secret_until_ms = w->until_ms,
    };
}

static enum kd_err run_enrol(struct kd_store_job *job, struct kd_store *store) {
    const struct change *w = (const struct change *)job;
    const struct kd_device_entry *e = w->device;
    const struct kd_store_device row = row_of(w, e->id, e->relation, e->usage);
    return kd_store_add_device(store, &row);
}

static void enrol_done(struct kd_store_job *job, enum kd_err err) {
    struct change *w = (struct change *)job;
    if (err != KD_OK) {
        kd_devices_remove(&w->b->devices, w->device);
        end(w, err);
        return;
    }
    w->device->is_new = false;
    kd_log(KD_LOG_INFO, "ca", "a device may enrol", "device=%s relation=%s", w->device->id,
           w->device->relation);
    end(w, KD_OK);
}

uint32_t kd_bootstrap_secret_lifetime_max(const struct kd_service *s) {
    return s->bootstrap == NULL ? 0 : s->bootstrap->config->secret_lifetime_max_sec;
}

static enum kd_err check_spec(const struct kd_bootstrap *b, const struct kd_device_spec *spec) {
    kd_auto(buf) struct kd_buf uri = KD_BUF_INIT(2 * KD_CA_URI_MAX_BYTES);
    const bool has_relation = spec->relation != NULL && spec->relation[0] != '\0';
    if (!kd_name_is_valid(kd_bytes_of_text(spec->id)) ||
        (has_relation && !kd_name_is_valid(kd_bytes_of_text(spec->relation)))) {
        return KD_ERR_BAD_NAME;
    }
    const enum kd_err r = kd_ca_put_uri(&uri, b->config->base_uri, b->config->server_id, spec->id);
    if (r != KD_OK) {
        return r == KD_ERR_NO_MEMORY ? r : KD_ERR_FIELD_INVALID;
    }
    if (kd_devices_get(&b->devices, spec->id) != NULL) {
        return KD_ERR_DEVICE_EXISTS;
    }
    if (kd_devices_was_deleted(&b->devices, spec->id)) {
        return KD_ERR_DEVICE_DELETED;
    }
    const struct kd_peer_entry *peer = kd_peers_get(&b->s->channel->peers, spec->id);
    if (peer != NULL && !peer->is_passing) {
        return KD_ERR_PEER_EXISTS;
    }
    return b->devices.n >= b->config->devices_max ? KD_ERR_TOO_MANY : KD_OK;
}

enum kd_err kd_bootstrap_enrol(struct kd_service *s, const struct kd_caller *caller,
                               const struct kd_device_spec *spec, kd_device_done *done, void *arg) {
    struct kd_bootstrap *b = NULL;
    struct change *w = NULL;
    enum kd_err r = kd_bootstrap_admit(s, caller, KD_MAY_DEVICE, &b);
    if (r != KD_OK || (r = check_spec(b, spec)) != KD_OK ||
        (r = new_change(b, done, arg, &w)) != KD_OK) {
        return r;
    }
    struct kd_device_entry *e = NULL;
    r = draw_secret(w, spec->secret_lifetime_sec);
    if (r == KD_OK) {
        const struct kd_store_device row =
            row_of(w, spec->id, spec->relation == NULL ? "" : spec->relation, spec->usage);
        r = kd_devices_add(&b->devices, &row, &e);
    }
    if (r != KD_OK) {
        drop(w);
        return r;
    }
    e->is_new = true;
    w->job.run = run_enrol;
    w->job.done = enrol_done;
    submit(w, e);
    return KD_OK;
}

// ---- a new secret ----------------------------------------------------------

static enum kd_err run_secret(struct kd_store_job *job, struct kd_store *store) {
    const struct change *w = (const struct change *)job;
    return kd_store_set_secret(store, w->device->id, (struct kd_bytes) { w->hash, sizeof(w->hash) },
                               w->until_ms);
}

static void secret_done(struct kd_store_job *job, enum kd_err err) {
    struct change *w = (struct change *)job;
    w->device->is_busy = false;
    if (err == KD_OK) {
        w->device->has_secret = w->device->state != KD_DEVICE_REVOKED;
        memcpy(w->device->secret, w->hash, sizeof(w->hash));
        w->device->secret_until_ms = w->until_ms;
        kd_log(KD_LOG_INFO, "ca", "a device has a new one-time secret", "device=%s", w->device->id);
    }
    end(w, err);
}

static enum kd_err find(const struct kd_bootstrap *b, const char *id,
                        struct kd_device_entry **out) {
    struct kd_device_entry *e = kd_devices_get(&b->devices, id);
    if (e == NULL || e->is_new) {
        return KD_ERR_NO_DEVICE;
    }
    if (e->is_leaving) {
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    *out = e;
    return e->state == KD_DEVICE_REVOKED ? KD_ERR_DEVICE_REVOKED : KD_OK;
}

enum kd_err kd_bootstrap_new_secret(struct kd_service *s, const struct kd_caller *caller,
                                    const char *id, uint32_t lifetime_sec, kd_device_done *done,
                                    void *arg) {
    struct kd_bootstrap *b = NULL;
    struct change *w = NULL;
    struct kd_device_entry *e = NULL;
    enum kd_err r = kd_bootstrap_admit(s, caller, KD_MAY_DEVICE, &b);
    if (r != KD_OK || (r = find(b, id, &e)) != KD_OK) {
        return r;
    }
    if (e->is_busy) {
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    if ((r = new_change(b, done, arg, &w)) != KD_OK) {
        return r;
    }
    if ((r = draw_secret(w, lifetime_sec)) != KD_OK) {
        drop(w);
        return r;
    }
    e->is_busy = true;
    w->job.run = run_secret;
    w->job.done = secret_done;
    submit(w, e);
    return KD_OK;
}

// ---- revoke ----------------------------------------------------------------

static enum kd_err run_revoke(struct kd_store_job *job, struct kd_store *store) {
    const struct change *w = (const struct change *)job;
    // First, so that a crash in between leaves no ticket good.
    const enum kd_err r = w->has_end ? kd_end_write(store, &w->end, &w->floor) : KD_OK;
    return r == KD_OK ? kd_store_revoke_device(store, w->device->id, w->now_ms) : r;
}

static void revoke_done(struct kd_store_job *job, enum kd_err err) {
    struct change *w = (struct change *)job;
    w->device->is_unsaved = err != KD_OK;
    if (err == KD_OK) {
        w->b->revoked++;
        kd_log(KD_LOG_INFO, "ca", "a device was revoked", "device=%s", w->device->id);
    } else {
        kd_log(KD_LOG_ERROR, "ca",
               "that a device is revoked is not on the disk: a restart will forget it",
               "device=%s error=%s", w->device->id, kd_err_name(err));
    }
    end(w, err);
}

// Its peer is refused and its sessions end before the disk is asked: whatever becomes of the
// write, this process lets it in no more.
static void shut_out(struct change *w, struct kd_device_entry *e) {
    struct kd_bootstrap *b = w->b;
    struct kd_channel *c = b->s->channel;
    struct kd_peer_entry *peer = kd_peers_get(&c->peers, e->id);
    e->state = KD_DEVICE_REVOKED;
    e->has_secret = false;
    e->secret_until_ms = 0;
    if (peer == NULL || peer->is_changing) {
        return; // issue.c, which is adding it, will see the state
    }
    peer->is_changing = true; // nobody else removes it
    w->has_end = true;
    w->floor = kd_channel_note_peer(c, peer, &w->end);
    w->end.name = kd_bytes_of_text(e->id); // the same, and lives longer
    kd_sessions_remove_of_peer(&c->sessions, peer, KD_SESSION_OF_NO_PEER);
    kd_peers_remove(&c->peers, peer);
}

enum kd_err kd_bootstrap_revoke(struct kd_service *s, const struct kd_caller *caller,
                                const char *id, kd_device_done *done, void *arg) {
    struct kd_bootstrap *b = NULL;
    struct change *w = NULL;
    struct kd_device_entry *e = NULL;
    enum kd_err r = kd_bootstrap_admit(s, caller, KD_MAY_DEVICE, &b);
    if (r != KD_OK || ((r = find(b, id, &e)) != KD_OK && (e == NULL || !e->is_unsaved)) ||
        (r = new_change(b, done, arg, &w)) != KD_OK) {
        return r;
    }
    shut_out(w, e);
    w->job.run = run_revoke;
    w->job.done = revoke_done;
    submit(w, e);
    return KD_OK;
}

// ---- delete ----------------------------------------------------------------

static enum kd_err run_delete(struct kd_store_job *job, struct kd_store *store) {
    struct change *w = (struct change *)job;
    return kd_store_delete_device(store, w->device->id, w->now_ms, &w->until_ms);
}

static void delete_done(struct kd_store_job *job, enum kd_err err) {
    struct change *w = (struct change *)job;
    struct kd_devices *devices = &w->b->devices;
    if (err != KD_OK) {
        w->device->is_leaving = false;
        kd_devices_unnote_deleted(devices, w->device->id);
        if (err == KD_ERR_DEVICE_CERTIFIED) {
            char until[KD_CLOCK_TEXT_BYTES];
            kd_clock_format(w->until_ms, until);
            snprintf(w->detail, sizeof(w->detail), "One is good until %s.", until);
        }
        end(w, err);
        return;
    }
    kd_log(KD_LOG_INFO, "ca", "a device was deleted", "device=%s", w->device->id);
    kd_devices_remove(devices, w->device);
    w->device = NULL;
    end(w, KD_OK);
}

// The certificates that it has had are asked by the store's thread: not all of them are here.
static enum kd_err find_revoked(const struct kd_bootstrap *b, const char *id,
                                struct kd_device_entry **out) {
    const enum kd_err r = find(b, id, out);
    if (r != KD_ERR_DEVICE_REVOKED) {
        return r == KD_OK ? KD_ERR_DEVICE_NOT_REVOKED : r;
    }
    if ((*out)->is_busy) { // a certificate or secret was under way, and refers to it
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    const uint64_t max = (uint64_t)b->config->devices_max * KD_DELETED_PER_DEVICE;
    return kd_map_count(&b->devices.deleted) >= max ? KD_ERR_TOO_MANY : KD_OK;
}

enum kd_err kd_bootstrap_delete(struct kd_service *s, const struct kd_caller *caller,
                                const char *id, kd_device_done *done, void *arg) {
    struct kd_bootstrap *b = NULL;
    struct change *w = NULL;
    struct kd_device_entry *e = NULL;
    enum kd_err r = kd_bootstrap_admit(s, caller, KD_MAY_DEVICE, &b);
    if (r != KD_OK || (r = find_revoked(b, id, &e)) != KD_OK ||
        (r = new_change(b, done, arg, &w)) != KD_OK) {
        return r;
    }
    // Now, as nothing may be missing when the disk has it.
    if ((r = kd_devices_note_deleted(&b->devices, e->id)) != KD_OK) {
        drop(w);
        return r;
    }
    e->is_leaving = true;
    w->job.run = run_delete;
    w->job.done = delete_done;
    submit(w, e);
    return KD_OK;
}
