// SPDX-License-Identifier: Apache-2.0
// store.c: the store in SQLite: write-ahead log, synchronous=FULL, one process.
#include "keyd/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCHEMA_VERSION = 3, APPLICATION_ID = 0x6b657964 }; // "keyd"

static const char schema[] =
    "CREATE TABLE keys("
    " name TEXT PRIMARY KEY NOT NULL, type INTEGER NOT NULL, usages INTEGER NOT NULL,"
    " origin INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " deleting INTEGER NOT NULL DEFAULT 0, certificate BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE versions("
    " name TEXT NOT NULL REFERENCES keys(name) ON DELETE CASCADE, number INTEGER NOT NULL,"
    " state INTEGER NOT NULL, created_ms INTEGER NOT NULL, id BLOB NOT NULL,"
    " label BLOB NOT NULL, proof BLOB NOT NULL, local INTEGER NOT NULL,"
    " extractable INTEGER NOT NULL, PRIMARY KEY(name, number)) WITHOUT ROWID;"
    "CREATE TABLE facts(name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;";

// Since version 2.
static const char schema_peers[] =
    "CREATE TABLE peers("
    " name TEXT PRIMARY KEY NOT NULL, certificate BLOB NOT NULL, point BLOB NOT NULL,"
    " kid BLOB NOT NULL, uri TEXT NOT NULL, created_ms INTEGER NOT NULL) WITHOUT ROWID;";

// Since version 3.
static const char schema_ended[] =
    "CREATE TABLE ended("
    " kind INTEGER NOT NULL, name BLOB NOT NULL, made_ms INTEGER NOT NULL,"
    " until_ms INTEGER NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;";

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    LOAD,
    ADD_KEY,
    ADD_VERSION,
    ENABLE,
    DROP_VERSION,
    DROP_EMPTY_KEY,
    SET_STATE,
    SET_STATES,
    MARK_DELETING,
    DELETE_KEY,
    SET_FACT,
    REMOVE_FACT,
    GET_FACT,
    LOAD_PEERS,
    ADD_PEER,
    DELETE_PEER,
    LOAD_ENDED,
    ADD_ENDED,
    TRIM_ENDED,
    STATEMENTS
};

// clang-format off
static const char *const texts[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [LOAD] = "SELECT k.name, k.type, k.usages, k.origin, k.created_ms, k.deleting, k.certificate,"
             " v.number, v.state, v.created_ms, v.id, v.label, v.proof, v.local, v.extractable"
             " FROM keys k JOIN versions v ON v.name = k.name ORDER BY k.name, v.number",
    [ADD_KEY] = "INSERT OR IGNORE INTO keys(name, type, usages, origin, created_ms, certificate)"
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [ADD_VERSION] = "INSERT INTO versions(name, number, state, created_ms, id, label, proof,"
                    " local, extractable) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [ENABLE] = "UPDATE versions SET state = ?3, proof = ?4, local = ?5, extractable = ?6"
               " WHERE name = ?1 AND number = ?2",
    [DROP_VERSION] = "DELETE FROM versions WHERE name = ?1 AND number = ?2",
    [DROP_EMPTY_KEY] = "DELETE FROM keys WHERE name = ?1"
                       " AND NOT EXISTS(SELECT 1 FROM versions WHERE name = ?1)",
    [SET_STATE] = "UPDATE versions SET state = ?2 WHERE name = ?1 AND number = ?3 AND state <> 0",
    [SET_STATES] = "UPDATE versions SET state = ?2 WHERE name = ?1 AND state <> 0",
    [MARK_DELETING] = "UPDATE keys SET deleting = 1 WHERE name = ?1",
    [DELETE_KEY] = "DELETE FROM keys WHERE name = ?1",
    [SET_FACT] = "INSERT OR REPLACE INTO facts(name, value) VALUES(?1, ?2)",
    [REMOVE_FACT] = "DELETE FROM facts WHERE name = ?1",
    [GET_FACT] = "SELECT value FROM facts WHERE name = ?1",
    [LOAD_PEERS] = "SELECT name, certificate, point, kid, uri, created_ms FROM peers ORDER BY name",
    [ADD_PEER] = "INSERT INTO peers(name, certificate, point, kid, uri, created_ms)"
                 " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [DELETE_PEER] = "DELETE FROM peers WHERE name = ?1",
    [LOAD_ENDED] = "SELECT kind, name, made_ms, until_ms FROM ended",
    [ADD_ENDED] = "INSERT OR REPLACE INTO ended(kind, name, made_ms, until_ms)"
                  " VALUES(?1, ?2, ?3, ?4)",
    [TRIM_ENDED] = "DELETE FROM ended WHERE kind <> 0 AND (made_ms <= ?1 OR until_ms <= ?2)",
};
// clang-format on
_Static_assert(KD_VERSION_PENDING == 0 && KD_ENDED_FLOOR == 0, "the statements above say so");

struct kd_store {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
};

// ---- SQLite, its errors made ours ------------------------------------------

static enum kd_err fail(const struct kd_store *s, const char *what) {
    kd_log(KD_LOG_ERROR, "store", what, "sqlite=%d reason=%s", sqlite3_extended_errcode(s->db),
           sqlite3_errmsg(s->db));
    return KD_ERR_STORE;
}

static void bind_text(sqlite3_stmt *q, int at, const char *text) {
    sqlite3_bind_text(q, at, text, -1, SQLITE_STATIC);
}

static void bind_bytes(sqlite3_stmt *q, int at, struct kd_bytes b) {
    sqlite3_bind_blob(q, at, b.n == 0 ? "" : (const void *)b.p, (int)b.n, SQLITE_STATIC);
}

static void bind_number(sqlite3_stmt *q, int at, uint64_t v) {
    sqlite3_bind_int64(q, at, (sqlite3_int64)v);
}

// Runs a statement that gives no rows.
static int run(struct kd_store *s, enum statement which) {
    sqlite3_stmt *q = s->statements[which];
    const int r = sqlite3_step(q);
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    return r;
}

static enum kd_err begin(struct kd_store *s) {
    return run(s, BEGIN) == SQLITE_DONE ? KD_OK : fail(s, "a transaction cannot be begun");
}

static enum kd_err end(struct kd_store *s, enum kd_err r) {
    if (r == KD_OK && run(s, COMMIT) != SQLITE_DONE) {
        r = fail(s, "a change cannot be written");
    }
    if (r != KD_OK && sqlite3_get_autocommit(s->db) == 0) {
        (void)run(s, ROLLBACK);
    }
    return r;
}

static enum kd_err change(struct kd_store *s, enum statement which) {
    return run(s, which) == SQLITE_DONE ? KD_OK : fail(s, "a change failed");
}

// In a transaction of its own; what it needs is bound.
static enum kd_err change_alone(struct kd_store *s, enum statement which) {
    enum kd_err r = begin(s);
    return r == KD_OK ? end(s, change(s, which)) : r;
}

// ---- opening ---------------------------------------------------------------

static enum kd_err execute(struct kd_store *s, const char *text) {
    return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK
               ? KD_OK
               : fail(s, "the registry cannot be set up");
}

static enum kd_err read_pragma(struct kd_store *s, const char *text, int *out) {
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) != SQLITE_OK ||
        sqlite3_step(q) != SQLITE_ROW) {
        enum kd_err r = fail(s, "the registry cannot be read; does another keyd use it?");
        sqlite3_finalize(q);
        return r;
    }
    *out = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    return KD_OK;
}

static enum kd_err make_schema(struct kd_store *s) {
    char text[sizeof(schema) + sizeof(schema_peers) + sizeof(schema_ended) + 128];
    snprintf(text, sizeof(text),
             "BEGIN; %s %s %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", schema,
             schema_peers, schema_ended, APPLICATION_ID, SCHEMA_VERSION);
    return execute(s, text);
}

static enum kd_err add_to_schema(struct kd_store *s, int version) {
    char text[sizeof(schema_peers) + sizeof(schema_ended) + 64];
    snprintf(text, sizeof(text), "BEGIN; %s %s PRAGMA user_version=%d; COMMIT",
             version < 2 ? schema_peers : "", schema_ended, SCHEMA_VERSION);
    return execute(s, text);
}

static enum kd_err check_schema(struct kd_store *s) {
    int version = 0;
    int application = 0;
    enum kd_err r;
    if ((r = read_pragma(s, "PRAGMA user_version", &version)) != KD_OK ||
        (r = read_pragma(s, "PRAGMA application_id", &application)) != KD_OK) {
        return r;
    }
    if (version == 0 && application == 0) {
        return make_schema(s);
    }
    if (version > 0 && version < SCHEMA_VERSION && application == APPLICATION_ID) {
        return add_to_schema(s, version);
    }
    if (application != APPLICATION_ID || version != SCHEMA_VERSION) {
        kd_log(KD_LOG_ERROR, "store", "the registry was written by another program or version",
               "application=%x version=%d known=%d", (unsigned)application, version,
               SCHEMA_VERSION);
        return KD_ERR_STORE;
    }
    return KD_OK;
}

static enum kd_err set_up(struct kd_store *s) {
    // Exclusive: one keyd a registry, and no shared memory file for the log.
    enum kd_err r = execute(s, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                               "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                               "PRAGMA trusted_schema=OFF; PRAGMA secure_delete=ON");
    if (r != KD_OK || (r = check_schema(s)) != KD_OK) {
        return r;
    }
    for (size_t i = 0; i < STATEMENTS; i++) {
        if (sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i],
                               NULL) != SQLITE_OK) {
            return fail(s, "a statement cannot be prepared");
        }
    }
    // Takes the lock now, so that a second keyd fails at its start.
    return change_alone(s, REMOVE_FACT);
}

// Who may write into it could put another registry there, with other keys
// under our names.
static enum kd_err open_directory(const char *path) {
    struct stat st;
    if ((mkdir(path, 0700) != 0 && errno != EEXIST) || stat(path, &st) != 0) {
        kd_log(KD_LOG_ERROR, "store", "the state directory cannot be made", "path=%s reason=%s",
               path, strerror(errno));
        return KD_ERR_STORE;
    }
    const bool is_ours = st.st_uid == geteuid() || st.st_uid == 0;
    if (!S_ISDIR(st.st_mode) || !is_ours || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        kd_log(KD_LOG_ERROR, "store",
               "the state directory must be a directory of keyd's user, and nobody else may write "
               "there (chown, chmod 0700)",
               "path=%s mode=%o uid=%u", path, (unsigned)st.st_mode & 07777, (unsigned)st.st_uid);
        return KD_ERR_STORE;
    }
    return KD_OK;
}

enum kd_err kd_store_open(const char *directory, struct kd_store **out) {
    enum kd_err r = open_directory(directory);
    if (r != KD_OK) {
        return r;
    }
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(4096);
    kd_buf_printf(&path, "%s/keyd.db", directory);
    kd_auto(store) struct kd_store *s = calloc(1, sizeof(*s));
    if (s == NULL || kd_buf_finish(&path) != KD_OK) {
        return KD_ERR_NO_MEMORY;
    }
    const int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(kd_buf_get_text(&path), &s->db, flags, NULL) != SQLITE_OK) {
        if (s->db == NULL) {
            return KD_ERR_NO_MEMORY;
        }
        kd_log(KD_LOG_ERROR, "store", "the registry cannot be opened", "path=%s reason=%s",
               kd_buf_get_text(&path), sqlite3_errmsg(s->db));
        return KD_ERR_STORE;
    }
    sqlite3_busy_timeout(s->db, 1000);
    r = set_up(s);
    if (r == KD_OK) {
        *out = KD_STEAL(s);
    }
    return r;
}

void kd_store_close(struct kd_store *s) {
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(s->statements[i]);
    }
    sqlite3_close(s->db);
    free(s);
}

// ---- reading ---------------------------------------------------------------

static struct kd_bytes column_bytes(sqlite3_stmt *q, int at) {
    const void *p = sqlite3_column_blob(q, at);
    return (struct kd_bytes) { p, (size_t)sqlite3_column_bytes(q, at) };
}

// The disk is input too: what does not fit the types is refused.
static bool row_fits(const struct kd_store_row *row) {
    return kd_name_is_valid(kd_bytes_of_text(row->name)) && row->type >= KD_KEY_EC_P256 &&
           row->type <= KD_KEY_TYPE_LAST && (row->usages & ~KD_USE_ALL) == 0 &&
           row->origin <= KD_ORIGIN_IMPORTED && row->version.number > 0 &&
           row->version.state <= KD_VERSION_DISABLED &&
           row->version.ref.id.n <= KD_HSM_ID_MAX_BYTES &&
           row->version.ref.label.n <= KD_HSM_LABEL_MAX_BYTES &&
           row->version.ref.proof.n <= KD_HSM_POINT_MAX_BYTES;
}

static void read_row(sqlite3_stmt *q, struct kd_store_row *row) {
    const char *name = (const char *)sqlite3_column_text(q, 0);
    *row = (struct kd_store_row) {
        .name = name == NULL ? "" : name,
        .type = (enum kd_key_type)sqlite3_column_int(q, 1),
        .usages = (unsigned)sqlite3_column_int(q, 2),
        .origin = (enum kd_key_origin)sqlite3_column_int(q, 3),
        .created_ms = (uint64_t)sqlite3_column_int64(q, 4),
        .is_deleting = sqlite3_column_int(q, 5) != 0,
        .certificate = column_bytes(q, 6),
        .version = {
            .number = (uint32_t)sqlite3_column_int64(q, 7),
            .state = (enum kd_version_state)sqlite3_column_int(q, 8),
            .created_ms = (uint64_t)sqlite3_column_int64(q, 9),
            .ref = { .type = (enum kd_key_type)sqlite3_column_int(q, 1),
                     .id = column_bytes(q, 10),
                     .label = column_bytes(q, 11),
                     .proof = column_bytes(q, 12) },
            .is_local = sqlite3_column_int(q, 13) != 0,
            .is_extractable = sqlite3_column_int(q, 14) != 0,
        },
    };
}

enum kd_err kd_store_load(struct kd_store *s, kd_store_row_fn *fn, void *arg) {
    sqlite3_stmt *q = s->statements[LOAD];
    enum kd_err r = KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) {
            r = fail(s, "the registry cannot be read");
            break;
        }
        struct kd_store_row row;
        read_row(q, &row);
        if (!row_fits(&row)) {
            kd_log(KD_LOG_ERROR, "store", "the registry has a row that keyd did not write",
                   "key=%s version=%u", row.name, row.version.number);
            r = KD_ERR_STORE;
            break;
        }
        r = fn(arg, &row);
    }
    sqlite3_reset(q);
    return r;
}

// ---- changes ---------------------------------------------------------------

static enum kd_err add(struct kd_store *s, const struct kd_store_row *row) {
    sqlite3_stmt *q = s->statements[ADD_KEY];
    bind_text(q, 1, row->name);
    bind_number(q, 2, row->type);
    bind_number(q, 3, row->usages);
    bind_number(q, 4, row->origin);
    bind_number(q, 5, row->created_ms);
    bind_bytes(q, 6, row->certificate);
    enum kd_err r = change(s, ADD_KEY);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_key_version *v = &row->version;
    q = s->statements[ADD_VERSION];
    bind_text(q, 1, row->name);
    bind_number(q, 2, v->number);
    bind_number(q, 3, v->state);
    bind_number(q, 4, v->created_ms);
    bind_bytes(q, 5, v->ref.id);
    bind_bytes(q, 6, v->ref.label);
    bind_bytes(q, 7, v->ref.proof);
    bind_number(q, 8, v->is_local);
    bind_number(q, 9, v->is_extractable);
    const int step = run(s, ADD_VERSION);
    if (step == SQLITE_CONSTRAINT_PRIMARYKEY) {
        return KD_ERR_KEY_EXISTS;
    }
    return step == SQLITE_DONE ? KD_OK : fail(s, "a version cannot be added");
}

enum kd_err kd_store_add(struct kd_store *s, const struct kd_store_row *row) {
    enum kd_err r = begin(s);
    return r == KD_OK ? end(s, add(s, row)) : r;
}

enum kd_err kd_store_enable(struct kd_store *s, const char *name, const struct kd_key_version *v) {
    enum kd_err r = begin(s);
    if (r != KD_OK) {
        return r;
    }
    sqlite3_stmt *q = s->statements[ENABLE];
    bind_text(q, 1, name);
    bind_number(q, 2, v->number);
    bind_number(q, 3, KD_VERSION_ENABLED);
    bind_bytes(q, 4, v->ref.proof);
    bind_number(q, 5, v->is_local);
    bind_number(q, 6, v->is_extractable);
    return end(s, change(s, ENABLE));
}

enum kd_err kd_store_drop(struct kd_store *s, const char *name, uint32_t number) {
    enum kd_err r = begin(s);
    if (r != KD_OK) {
        return r;
    }
    bind_text(s->statements[DROP_VERSION], 1, name);
    bind_number(s->statements[DROP_VERSION], 2, number);
    r = change(s, DROP_VERSION);
    if (r == KD_OK) {
        bind_text(s->statements[DROP_EMPTY_KEY], 1, name);
        r = change(s, DROP_EMPTY_KEY);
    }
    return end(s, r);
}

static enum kd_err set_state(struct kd_store *s, const char *name, uint32_t number,
                             enum kd_version_state state) {
    const enum statement which = number == 0 ? SET_STATES : SET_STATE;
    sqlite3_stmt *q = s->statements[which];
    bind_text(q, 1, name);
    bind_number(q, 2, state);
    if (number != 0) {
        bind_number(q, 3, number);
    }
    return change(s, which);
}

enum kd_err kd_store_set_state(struct kd_store *s, const char *name, uint32_t number,
                               enum kd_version_state state) {
    enum kd_err r = begin(s);
    return r == KD_OK ? end(s, set_state(s, name, number, state)) : r;
}

enum kd_err kd_store_begin_delete(struct kd_store *s, const char *name) {
    enum kd_err r = begin(s);
    if (r != KD_OK) {
        return r;
    }
    bind_text(s->statements[MARK_DELETING], 1, name);
    r = change(s, MARK_DELETING);
    return end(s, r == KD_OK ? set_state(s, name, 0, KD_VERSION_DISABLED) : r);
}

enum kd_err kd_store_delete(struct kd_store *s, const char *name) {
    bind_text(s->statements[DELETE_KEY], 1, name);
    return change_alone(s, DELETE_KEY);
}

enum kd_err kd_store_set_fact(struct kd_store *s, const char *name, struct kd_bytes value) {
    const enum statement which = value.n == 0 ? REMOVE_FACT : SET_FACT;
    bind_text(s->statements[which], 1, name);
    if (value.n > 0) {
        bind_bytes(s->statements[which], 2, value);
    }
    return change_alone(s, which);
}

enum kd_err kd_store_get_fact(struct kd_store *s, const char *name, struct kd_buf *value) {
    sqlite3_stmt *q = s->statements[GET_FACT];
    bind_text(q, 1, name);
    const int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        const struct kd_bytes b = column_bytes(q, 0);
        kd_buf_put(value, b.p, b.n);
    }
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    if (step != SQLITE_ROW && step != SQLITE_DONE) {
        return fail(s, "a fact cannot be read");
    }
    return kd_buf_finish(value);
}

// ---- peers -----------------------------------------------------------------

// What does not fit was not written by keyd.
static enum kd_err not_ours(enum kd_err r, const char *what, const char *name) {
    if (r == KD_OK || r == KD_ERR_NO_MEMORY) {
        return r;
    }
    kd_log(KD_LOG_ERROR, "store", "the registry has what keyd did not write",
           "what=%s name=%s error=%s", what, name, kd_err_name(r));
    return KD_ERR_STORE;
}

static void read_peer(sqlite3_stmt *q, struct kd_store_peer *peer) {
    const char *name = (const char *)sqlite3_column_text(q, 0);
    const char *uri = (const char *)sqlite3_column_text(q, 4);
    *peer = (struct kd_store_peer) {
        .name = name == NULL ? "" : name,
        .certificate = column_bytes(q, 1),
        .point = column_bytes(q, 2),
        .kid = column_bytes(q, 3),
        .uri = uri == NULL ? "" : uri,
        .created_ms = (uint64_t)sqlite3_column_int64(q, 5),
    };
}

enum kd_err kd_store_load_peers(struct kd_store *s, kd_store_peer_fn *fn, void *arg) {
    sqlite3_stmt *q = s->statements[LOAD_PEERS];
    enum kd_err r = KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        struct kd_store_peer peer;
        if (step != SQLITE_ROW) {
            r = fail(s, "the peers cannot be read");
            break;
        }
        read_peer(q, &peer);
        r = not_ours(fn(arg, &peer), "peer", peer.name);
    }
    sqlite3_reset(q);
    return r;
}

enum kd_err kd_store_add_peer(struct kd_store *s, const struct kd_store_peer *peer) {
    enum kd_err r = begin(s);
    if (r != KD_OK) {
        return r;
    }
    sqlite3_stmt *q = s->statements[ADD_PEER];
    bind_text(q, 1, peer->name);
    bind_bytes(q, 2, peer->certificate);
    bind_bytes(q, 3, peer->point);
    bind_bytes(q, 4, peer->kid);
    bind_text(q, 5, peer->uri);
    bind_number(q, 6, peer->created_ms);
    const int step = run(s, ADD_PEER);
    if (step == SQLITE_CONSTRAINT_PRIMARYKEY) {
        return end(s, KD_ERR_PEER_EXISTS);
    }
    return end(s, step == SQLITE_DONE ? KD_OK : fail(s, "a peer cannot be added"));
}

enum kd_err kd_store_delete_peer(struct kd_store *s, const char *name) {
    bind_text(s->statements[DELETE_PEER], 1, name);
    return change_alone(s, DELETE_PEER);
}

// ---- what has ended --------------------------------------------------------

enum kd_err kd_store_load_ended(struct kd_store *s, kd_store_ended_fn *fn, void *arg) {
    sqlite3_stmt *q = s->statements[LOAD_ENDED];
    enum kd_err r = KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) {
            r = fail(s, "the sessions that have ended cannot be read");
            break;
        }
        const struct kd_store_ended row = {
            .kind = (enum kd_ended_kind)sqlite3_column_int(q, 0),
            .name = column_bytes(q, 1),
            .made_ms = (uint64_t)sqlite3_column_int64(q, 2),
            .until_ms = (uint64_t)sqlite3_column_int64(q, 3),
        };
        r = not_ours(row.kind > KD_ENDED_PEER ? KD_ERR_FIELD_INVALID : fn(arg, &row), "end", "");
    }
    sqlite3_reset(q);
    return r;
}

static enum kd_err put_ended(struct kd_store *s, const struct kd_store_ended *row) {
    sqlite3_stmt *q = s->statements[ADD_ENDED];
    bind_number(q, 1, row->kind);
    bind_bytes(q, 2, row->name);
    bind_number(q, 3, row->made_ms);
    bind_number(q, 4, row->until_ms);
    return change(s, ADD_ENDED);
}

enum kd_err kd_store_add_ended(struct kd_store *s, const struct kd_store_ended *row) {
    enum kd_err r = begin(s);
    return r == KD_OK ? end(s, put_ended(s, row)) : r;
}

enum kd_err kd_store_trim_ended(struct kd_store *s, uint64_t floor_ms, uint64_t now_ms) {
    const struct kd_store_ended floor = { .kind = KD_ENDED_FLOOR, .made_ms = floor_ms };
    enum kd_err r = begin(s);
    if (r != KD_OK || (r = put_ended(s, &floor)) != KD_OK) {
        return end(s, r);
    }
    bind_number(s->statements[TRIM_ENDED], 1, floor_ms);
    bind_number(s->statements[TRIM_ENDED], 2, now_ms);
    return end(s, change(s, TRIM_ENDED));
}
