// SPDX-License-Identifier: Apache-2.0
// store_channel.c: the channel's peers, what may not be resumed any more, and
// which envelopes were opened.
#include "keyd/store_sql.h"

// ---- peers -----------------------------------------------------------------

static void read_peer(sqlite3_stmt *q, struct kd_store_peer *peer) {
    const char *name = (const char *)sqlite3_column_text(q, 0);
    const char *uri = (const char *)sqlite3_column_text(q, 4);
    *peer = (struct kd_store_peer) {
        .name = name == NULL ? "" : name,
        .certificate = kd_sql_column(q, 1),
        .point = kd_sql_column(q, 2),
        .kid = kd_sql_column(q, 3),
        .uri = uri == NULL ? "" : uri,
        .created_ms = (uint64_t)sqlite3_column_int64(q, 5),
    };
}

enum kd_err kd_store_load_peers(struct kd_store *s, kd_store_peer_fn *fn, void *arg) {
    sqlite3_stmt *q = s->statements[KD_SQL_LOAD_PEERS];
    enum kd_err r = KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        struct kd_store_peer peer;
        if (step != SQLITE_ROW) {
            r = kd_sql_fail(s, "the peers cannot be read");
            break;
        }
        read_peer(q, &peer);
        r = kd_sql_not_ours(fn(arg, &peer), "peer", peer.name);
    }
    sqlite3_reset(q);
    return r;
}

enum kd_err kd_store_add_peer(struct kd_store *s, const struct kd_store_peer *peer) {
    enum kd_err r = kd_sql_begin(s);
    if (r != KD_OK) {
        return r;
    }
    sqlite3_stmt *q = s->statements[KD_SQL_ADD_PEER];
    kd_sql_text(q, 1, peer->name);
    kd_sql_bytes(q, 2, peer->certificate);
    kd_sql_bytes(q, 3, peer->point);
    kd_sql_bytes(q, 4, peer->kid);
    kd_sql_text(q, 5, peer->uri);
    kd_sql_number(q, 6, peer->created_ms);
    const int step = kd_sql_run(s, KD_SQL_ADD_PEER);
    if (step == SQLITE_CONSTRAINT_PRIMARYKEY) {
        return kd_sql_end(s, KD_ERR_PEER_EXISTS);
    }
    return kd_sql_end(s, step == SQLITE_DONE ? KD_OK : kd_sql_fail(s, "a peer cannot be added"));
}

enum kd_err kd_store_delete_peer(struct kd_store *s, const char *name) {
    kd_sql_text(s->statements[KD_SQL_DELETE_PEER], 1, name);
    return kd_sql_change_alone(s, KD_SQL_DELETE_PEER);
}

// ---- what has ended --------------------------------------------------------

enum kd_err kd_store_load_ended(struct kd_store *s, kd_store_ended_fn *fn, void *arg) {
    sqlite3_stmt *q = s->statements[KD_SQL_LOAD_ENDED];
    enum kd_err r = KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) {
            r = kd_sql_fail(s, "the sessions that have ended cannot be read");
            break;
        }
        const struct kd_store_ended row = {
            .kind = (enum kd_ended_kind)sqlite3_column_int(q, 0),
            .name = kd_sql_column(q, 1),
            .made_ms = (uint64_t)sqlite3_column_int64(q, 2),
            .until_ms = (uint64_t)sqlite3_column_int64(q, 3),
            .peer = kd_sql_column(q, 4),
        };
        r = kd_sql_not_ours(row.kind > KD_ENDED_PEER ? KD_ERR_FIELD_INVALID : fn(arg, &row), "end",
                            "");
    }
    sqlite3_reset(q);
    return r;
}

static enum kd_err put_ended(struct kd_store *s, const struct kd_store_ended *row) {
    sqlite3_stmt *q = s->statements[KD_SQL_ADD_ENDED];
    kd_sql_number(q, 1, row->kind);
    kd_sql_bytes(q, 2, row->name);
    kd_sql_number(q, 3, row->made_ms);
    kd_sql_number(q, 4, row->until_ms);
    kd_sql_bytes(q, 5, row->peer);
    enum kd_err r = kd_sql_change(s, KD_SQL_ADD_ENDED);
    if (r != KD_OK || row->kind != KD_ENDED_PEER) {
        return r;
    }
    q = s->statements[KD_SQL_COVER_ENDED];
    kd_sql_bytes(q, 1, row->name);
    kd_sql_number(q, 2, row->made_ms);
    kd_sql_number(q, 3, row->until_ms);
    return kd_sql_change(s, KD_SQL_COVER_ENDED);
}

enum kd_err kd_store_add_ended(struct kd_store *s, const struct kd_store_ended *row) {
    enum kd_err r = kd_sql_begin(s);
    for (; r == KD_OK && row != NULL; row = row->next) {
        r = put_ended(s, row);
    }
    return kd_sql_end(s, r);
}

enum kd_err kd_store_trim_ended(struct kd_store *s, uint64_t floor_ms, uint64_t now_ms) {
    const struct kd_store_ended floor = { .kind = KD_ENDED_FLOOR, .made_ms = floor_ms };
    enum kd_err r = kd_sql_begin(s);
    r = r == KD_OK ? put_ended(s, &floor) : r;
    kd_sql_number(s->statements[KD_SQL_TRIM_ENDED], 1, floor_ms);
    kd_sql_number(s->statements[KD_SQL_TRIM_ENDED], 2, now_ms);
    return kd_sql_end(s, r == KD_OK ? kd_sql_change(s, KD_SQL_TRIM_ENDED) : r);
}

// ---- envelopes that were opened ----------------------------------------------

enum kd_err kd_store_load_spent(struct kd_store *s, kd_store_spent_fn *fn, void *arg) {
    sqlite3_stmt *q = s->statements[KD_SQL_LOAD_SPENT];
    enum kd_err r = KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) {
            r = kd_sql_fail(s, "the envelopes that were opened cannot be read");
            break;
        }
        const uint64_t until_ms = (uint64_t)sqlite3_column_int64(q, 1);
        r = kd_sql_not_ours(fn(arg, kd_sql_column(q, 0), until_ms), "envelope", "");
    }
    sqlite3_reset(q);
    return r;
}

static enum kd_err put_spent(struct kd_store *s, struct kd_store_spent *row) {
    sqlite3_stmt *q = s->statements[KD_SQL_ADD_SPENT];
    kd_sql_bytes(q, 1, row->id);
    kd_sql_number(q, 2, row->until_ms);
    const int step = kd_sql_run(s, KD_SQL_ADD_SPENT);
    row->err = step == SQLITE_CONSTRAINT_PRIMARYKEY ? KD_ERR_ENVELOPE_REPLAYED : KD_OK;
    return step == SQLITE_DONE || row->err != KD_OK ? KD_OK
                                                    : kd_sql_fail(s, "an envelope cannot be noted");
}

enum kd_err kd_store_add_spent(struct kd_store *s, struct kd_store_spent *row, uint64_t now_ms) {
    enum kd_err r = kd_sql_begin(s);
    if (r != KD_OK) {
        return r;
    }
    kd_sql_number(s->statements[KD_SQL_RAISE_SPENT], 1, now_ms);
    kd_sql_number(s->statements[KD_SQL_TRIM_SPENT], 1, now_ms);
    if ((r = kd_sql_change(s, KD_SQL_RAISE_SPENT)) == KD_OK) {
        r = kd_sql_change(s, KD_SQL_TRIM_SPENT);
    }
    for (; r == KD_OK && row != NULL; row = row->next) {
        r = put_spent(s, row);
    }
    return kd_sql_end(s, r);
}
