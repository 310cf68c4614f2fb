// SPDX-License-Identifier: Apache-2.0
// end_work.c: sessions and peers that end for good are noted in the list of ended.h
// and, by the store's thread, on the disk.
#include "keyd/channel_state.h"

#include <stdlib.h>
#include <string.h>

// One end that is not on the disk yet.
struct kd_end_note {
    struct kd_store_ended row; // first: rows are chained, and a row's address is its note's
    struct kd_end_note *next;
    uint8_t name[KD_NAME_MAX_BYTES], peer[KD_NAME_MAX_BYTES];
    kd_session_done *done; // NULL: nobody waits
    void *arg;
};

// ---- the disk --------------------------------------------------------------

enum kd_err kd_end_write(struct kd_store *store, const struct kd_store_ended *rows,
                         const struct kd_end_floor *floor) {
    enum kd_err r = kd_store_add_ended(store, rows);
    return r == KD_OK && floor->is_raised
               ? kd_store_trim_ended(store, floor->floor_ms, floor->now_ms)
               : r;
}

static enum kd_err run_notes(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_end_writer *w = (const struct kd_end_writer *)job;
    return kd_end_write(store, &w->writing->row, &w->floor);
}

static void write_notes(struct kd_end_writer *w);

static void notes_done(struct kd_store_job *job, enum kd_err err) {
    struct kd_end_writer *w = (struct kd_end_writer *)job;
    if (err != KD_OK) {
        kd_log(KD_LOG_ERROR, "channel", "ends are not on the disk: a restart will forget them",
               "error=%s", kd_err_name(err));
    }
    for (struct kd_end_note *n = w->writing; n != NULL;) {
        struct kd_end_note *next = n->next;
        if (n->done != NULL) {
            n->done(n->arg, err, "", NULL);
        }
        w->c->s->pending--;
        free(n);
        n = next;
    }
    w->writing = NULL;
    if (w->waiting != NULL) {
        write_notes(w);
    }
}

// All that wait, in one transaction: peers may end sessions faster than a disk writes.
static void write_notes(struct kd_end_writer *w) {
    w->writing = w->waiting;
    w->waiting = NULL;
    w->floor = w->next_floor;
    w->next_floor = (struct kd_end_floor) { .is_raised = false };
    w->job.run = run_notes;
    w->job.done = notes_done;
    kd_store_thread_submit(w->c->s->store, &w->job);
}

// NULL: there is no memory.
static struct kd_end_note *new_note(const struct kd_store_ended *row, kd_session_done *done,
                                    void *arg) {
    struct kd_end_note *n = calloc(1, sizeof(*n));
    if (n == NULL) {
        return NULL;
    }
    n->row = *row;
    memcpy(n->name, row->name.p, row->name.n);
    n->row.name.p = n->name;
    if (row->peer.n > 0) {
        memcpy(n->peer, row->peer.p, row->peer.n);
        n->row.peer.p = n->peer;
    }
    n->done = done;
    n->arg = arg;
    return n;
}

static void submit(struct kd_channel *c, struct kd_end_note *n) {
    struct kd_end_writer *w = &c->end_writer;
    n->next = w->waiting;
    n->row.next = n->next == NULL ? NULL : &n->next->row;
    w->waiting = n;
    w->c = c;
    c->s->pending++;
    if (w->writing == NULL) {
        write_notes(w);
    }
}

// ---- the list --------------------------------------------------------------

// Without memory the disk keeps the rows that this one would take the place of: they say the same.
static void put_end_of_peer(struct kd_channel *c, const struct kd_store_ended *row) {
    char name[KD_NAME_MAX_BYTES + 1] = "";
    struct kd_end_note *n = new_note(row, NULL, NULL);
    memcpy(name, row->name.p, row->name.n);
    kd_channel_warn(c, "a peer has ended the most sessions: its tickets are not taken any more",
                    KD_ERR_TOO_MANY, name, "ended-max");
    if (n != NULL) {
        submit(c, n);
    }
}

static struct kd_end_floor add_to_list(struct kd_channel *c, const struct kd_store_ended *row) {
    const uint64_t now = kd_clock_wall_ms();
    const uint64_t before = c->ended.floor_ms;
    struct kd_store_ended of_peer;
    const bool is_trimmed = kd_ended_add(&c->ended, row, now, &of_peer);
    if (of_peer.name.n > 0) {
        put_end_of_peer(c, &of_peer);
    }
    if (c->ended.floor_ms != before) {
        kd_channel_warn(c, "tickets of old sessions are not taken any more", KD_ERR_TOO_MANY, "",
                        "ended-max");
    }
    return (struct kd_end_floor) { is_trimmed, c->ended.floor_ms, now };
}

static enum kd_err note(struct kd_channel *c, const struct kd_store_ended *row,
                        kd_session_done *done, void *arg) {
    struct kd_end_note *n = new_note(row, done, arg);
    if (n == NULL && done != NULL) {
        return KD_ERR_NO_MEMORY; // it has not ended, and the caller may try again
    }
    const struct kd_end_floor floor = add_to_list(c, row);
    if (floor.is_raised) {
        c->end_writer.next_floor = floor;
    }
    if (n == NULL) {
        kd_log(KD_LOG_ERROR, "channel", "ends are not on the disk: a restart will forget them",
               "error=%s", kd_err_name(KD_ERR_NO_MEMORY));
        return KD_OK;
    }
    submit(c, n);
    return KD_OK;
}

enum kd_err kd_channel_note_end(struct kd_channel *c, const struct kd_session_entry *e,
                                kd_session_done *done, void *arg) {
    const struct kd_store_ended row = {
        .kind = KD_ENDED_SESSION,
        .name = { e->id, sizeof(e->id) },
        .made_ms = e->terms.created_ms,
        .until_ms = e->terms.expires_ms,
        .peer = kd_bytes_of_text(e->peer->info.name),
    };
    return note(c, &row, done, arg);
}

// A peer's end counts for sessions that were made later than now, too, by a clock that was ahead.
static uint64_t latest_ms(const struct kd_channel *c, uint64_t made_ms) {
    return c->latest_made_ms > made_ms ? c->latest_made_ms : made_ms;
}

struct kd_end_floor kd_channel_note_peer(struct kd_channel *c, const struct kd_peer_entry *peer,
                                         struct kd_store_ended *row) {
    const uint64_t now = kd_clock_wall_ms();
    *row = (struct kd_store_ended) {
        .kind = KD_ENDED_PEER,
        .name = kd_bytes_of_text(peer->info.name),
        .made_ms = latest_ms(c, now),
        .until_ms = latest_ms(c, now) + KD_SESSION_LIFETIME_MAX_SEC * UINT64_C(1000),
    };
    return add_to_list(c, row);
}

void kd_channel_note_passing(struct kd_channel *c, const struct kd_peer_entry *peer,
                             uint64_t made_ms) {
    const struct kd_store_ended row = {
        .kind = KD_ENDED_PEER,
        .name = kd_bytes_of_text(peer->info.name),
        .made_ms = made_ms,
        .until_ms = kd_clock_wall_ms() + KD_SESSION_LIFETIME_MAX_SEC * UINT64_C(1000),
    };
    const enum kd_err r KD_UNUSED = note(c, &row, NULL, NULL); // nobody waits: it cannot fail
}

bool kd_channel_has_ended(const struct kd_channel *c, const struct kd_hsm_session_terms *terms) {
    return kd_ended_has(&c->ended, (struct kd_bytes) { terms->id, sizeof(terms->id) }, terms->peer,
                        terms->created_ms);
}
