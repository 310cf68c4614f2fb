// SPDX-License-Identifier: Apache-2.0
// end_work.c: sessions and peers that end for good are noted in the list of ended.h
// and, by the store's thread, on the disk.
#include "keyd/channel_state.h"

#include <stdlib.h>
#include <string.h>

struct note {
    struct kd_store_job job; // first: a job's address is its note's
    struct kd_channel *c;
    struct kd_store_ended row;
    bool is_trimmed;
    uint64_t floor_ms, now_ms;
    uint8_t name[KD_NAME_MAX_BYTES];
    kd_session_done *done; // NULL: nobody waits
    void *arg;
};

static enum kd_err run_note(struct kd_store_job *job, struct kd_store *store) {
    const struct note *w = (const struct note *)job;
    enum kd_err r = kd_store_add_ended(store, &w->row);
    return r == KD_OK && w->is_trimmed ? kd_store_trim_ended(store, w->floor_ms, w->now_ms) : r;
}

static void note_done(struct kd_store_job *job, enum kd_err err) {
    struct note *w = (struct note *)job;
    if (err != KD_OK) {
        kd_log(KD_LOG_ERROR, "channel", "an end is not on the disk: a restart will forget it",
               "error=%s", kd_err_name(err));
    }
    if (w->done != NULL) {
        w->done(w->arg, err, "", NULL);
    }
    w->c->s->pending--;
    free(w);
}

static enum kd_err note(struct kd_channel *c, const struct kd_store_ended *row,
                        kd_session_done *done, void *arg) {
    struct note *w = calloc(1, sizeof(*w));
    const uint64_t now = kd_clock_wall_ms();
    if (w == NULL && done != NULL) {
        return KD_ERR_NO_MEMORY; // it has not ended, and the caller may try again
    }
    const bool is_trimmed =
        kd_ended_add(&c->ended, row->kind, row->name, row->made_ms, row->until_ms, now);
    if (is_trimmed) {
        kd_channel_warn(c, "tickets of old sessions are not taken any more", KD_ERR_TOO_MANY, "",
                        "ended-max");
    }
    if (w == NULL) {
        kd_log(KD_LOG_ERROR, "channel", "an end is not on the disk: a restart will forget it",
               "error=%s", kd_err_name(KD_ERR_NO_MEMORY));
        return KD_OK;
    }
    w->c = c;
    w->row = *row;
    memcpy(w->name, row->name.p, row->name.n);
    w->row.name.p = w->name;
    w->is_trimmed = is_trimmed;
    w->floor_ms = c->ended.floor_ms;
    w->now_ms = now;
    w->done = done;
    w->arg = arg;
    w->job.run = run_note;
    w->job.done = note_done;
    c->s->pending++;
    kd_store_thread_submit(c->s->store, &w->job);
    return KD_OK;
}

enum kd_err kd_channel_note_end(struct kd_channel *c, const struct kd_session_entry *e,
                                kd_session_done *done, void *arg) {
    const struct kd_store_ended row = {
        .kind = KD_ENDED_SESSION,
        .name = { e->id, sizeof(e->id) },
        .made_ms = e->terms.created_ms,
        .until_ms = e->terms.expires_ms,
    };
    return note(c, &row, done, arg);
}

void kd_channel_note_peer(struct kd_channel *c, const struct kd_peer_entry *peer) {
    const uint64_t now = kd_clock_wall_ms();
    const struct kd_store_ended row = {
        .kind = KD_ENDED_PEER,
        .name = kd_bytes_of_text(peer->info.name),
        .made_ms = now,
        .until_ms = now + KD_SESSION_LIFETIME_MAX_SEC * UINT64_C(1000),
    };
    const enum kd_err r KD_UNUSED = note(c, &row, NULL, NULL); // nobody waits: it cannot fail
}

bool kd_channel_has_ended(const struct kd_channel *c, const struct kd_hsm_session_terms *terms) {
    return kd_ended_has(&c->ended, (struct kd_bytes) { terms->id, sizeof(terms->id) }, terms->peer,
                        terms->created_ms);
}
