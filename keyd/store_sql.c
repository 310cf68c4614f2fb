// SPDX-License-Identifier: Apache-2.0
// store_sql.c: the store's database: its tables and statements, how it is opened, and
// SQLite's errors made ours.
#include "keyd/store_sql.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { APPLICATION_ID = 0x6b657964 }; // "keyd"

// What each version of the schema added to the one before, the first to nothing.
static const char *const schema[] = {
    // keys
    ("CREATE TABLE keys("
     " name TEXT PRIMARY KEY NOT NULL, type INTEGER NOT NULL, usages INTEGER NOT NULL,"
     " origin INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
     " deleting INTEGER NOT NULL DEFAULT 0, certificate BLOB NOT NULL) WITHOUT ROWID;"
     "CREATE TABLE versions("
     " name TEXT NOT NULL REFERENCES keys(name) ON DELETE CASCADE, number INTEGER NOT NULL,"
     " state INTEGER NOT NULL, created_ms INTEGER NOT NULL, id BLOB NOT NULL,"
     " label BLOB NOT NULL, proof BLOB NOT NULL, local INTEGER NOT NULL,"
     " extractable INTEGER NOT NULL, PRIMARY KEY(name, number)) WITHOUT ROWID;"
     "CREATE TABLE facts(name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;"),
    // peers of the channel
    ("CREATE TABLE peers("
     " name TEXT PRIMARY KEY NOT NULL, certificate BLOB NOT NULL, point BLOB NOT NULL,"
     " kid BLOB NOT NULL, uri TEXT NOT NULL, created_ms INTEGER NOT NULL) WITHOUT ROWID;"),
    // what may not be resumed any more
    ("CREATE TABLE ended("
     " kind INTEGER NOT NULL, name BLOB NOT NULL, made_ms INTEGER NOT NULL,"
     " until_ms INTEGER NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;"),
    // ids of envelopes that were opened
    ("CREATE TABLE spent("
     " id BLOB PRIMARY KEY NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID;"),
    // devices and their certificates; of a server's certificate the device is empty
    ("CREATE TABLE devices("
     " id TEXT PRIMARY KEY NOT NULL, relation TEXT NOT NULL, usage INTEGER NOT NULL,"
     " state INTEGER NOT NULL, created_ms INTEGER NOT NULL, secret BLOB NOT NULL,"
     " secret_until_ms INTEGER NOT NULL, serial BLOB NOT NULL, previous BLOB NOT NULL)"
     " WITHOUT ROWID;"
     "CREATE TABLE certificates("
     " serial BLOB PRIMARY KEY NOT NULL, device TEXT NOT NULL, from_ms INTEGER NOT NULL,"
     " upto_ms INTEGER NOT NULL, issued_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL,"
     " certificate BLOB NOT NULL);"
     "CREATE INDEX certificates_of_device ON certificates(device);"),
    // ids of envelopes are forgotten by their end; the row with an empty id has the latest end of
    // those that were
    "CREATE INDEX spent_until ON spent(until_ms);",
    // whose the sessions are that have ended; empty: nobody knows any more
    ("ALTER TABLE ended ADD COLUMN peer BLOB NOT NULL DEFAULT x'';"
     "CREATE INDEX ended_of_peer ON ended(peer) WHERE kind = 1;"),
    // the greatest number of a version that was destroyed: it is not given again
    "ALTER TABLE keys ADD COLUMN last INTEGER NOT NULL DEFAULT 0;",
    // ids of devices that were deleted: they are not given again
    "CREATE TABLE deleted_devices(id TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID;",
};
enum { SCHEMA_VERSION = KD_COUNT_OF(schema) };

// clang-format off
static const char *const texts[KD_SQL_STATEMENTS] = {
    [KD_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [KD_SQL_COMMIT] = "COMMIT",
    [KD_SQL_ROLLBACK] = "ROLLBACK",
    [KD_SQL_LOAD] = "SELECT k.name, k.type, k.usages, k.origin, k.created_ms, k.deleting, k.certificate,"
             " k.last, v.number, v.state, v.created_ms, v.id, v.label, v.proof, v.local, v.extractable"
             " FROM keys k JOIN versions v ON v.name = k.name ORDER BY k.name, v.number",
    [KD_SQL_ADD_KEY] = "INSERT OR IGNORE INTO keys(name, type, usages, origin, created_ms, certificate)"
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [KD_SQL_ADD_VERSION] = "INSERT INTO versions(name, number, state, created_ms, id, label, proof,"
                    " local, extractable) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [KD_SQL_ENABLE] = "UPDATE versions SET state = ?3, proof = ?4, local = ?5, extractable = ?6"
               " WHERE name = ?1 AND number = ?2",
    [KD_SQL_DROP_VERSION] = "DELETE FROM versions WHERE name = ?1 AND number = ?2",
    [KD_SQL_DROP_EMPTY_KEY] = "DELETE FROM keys WHERE name = ?1"
                       " AND NOT EXISTS(SELECT 1 FROM versions WHERE name = ?1)",
    [KD_SQL_SET_STATE] = "UPDATE versions SET state = ?2 WHERE name = ?1 AND number = ?3 AND state IN (1, 2)",
    [KD_SQL_SET_STATES] = "UPDATE versions SET state = ?2 WHERE name = ?1 AND state IN (1, 2)",
    [KD_SQL_MARK_DELETING] = "UPDATE keys SET deleting = 1 WHERE name = ?1",
    [KD_SQL_RAISE_LAST] = "UPDATE keys SET last = max(last, ?2) WHERE name = ?1",
    [KD_SQL_DELETE_KEY] = "DELETE FROM keys WHERE name = ?1",
    [KD_SQL_SET_FACT] = "INSERT OR REPLACE INTO facts(name, value) VALUES(?1, ?2)",
    [KD_SQL_REMOVE_FACT] = "DELETE FROM facts WHERE name = ?1",
    [KD_SQL_GET_FACT] = "SELECT value FROM facts WHERE name = ?1",
    [KD_SQL_LOAD_PEERS] = "SELECT name, certificate, point, kid, uri, created_ms FROM peers ORDER BY name",
    [KD_SQL_ADD_PEER] = "INSERT INTO peers(name, certificate, point, kid, uri, created_ms)"
                 " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [KD_SQL_DELETE_PEER] = "DELETE FROM peers WHERE name = ?1",
    [KD_SQL_LOAD_ENDED] = "SELECT kind, name, made_ms, until_ms, peer FROM ended",
    [KD_SQL_ADD_ENDED] = "INSERT INTO ended(kind, name, made_ms, until_ms, peer)"
                  " SELECT ?1, ?2, ?3, ?4, ?5 WHERE ?1 <> 1 OR NOT EXISTS(SELECT 1 FROM ended"
                  " WHERE kind = 2 AND name = ?5 AND made_ms >= ?3 AND until_ms >= ?4)"
                  " ON CONFLICT(kind, name) DO UPDATE SET made_ms = max(made_ms, excluded.made_ms),"
                  " until_ms = max(until_ms, excluded.until_ms)",
    [KD_SQL_COVER_ENDED] = "DELETE FROM ended WHERE kind = 1 AND peer = ?1 AND made_ms <= ?2"
                    " AND until_ms <= ?3",
    [KD_SQL_TRIM_ENDED] = "DELETE FROM ended WHERE kind <> 0 AND (made_ms <= ?1 OR until_ms <= ?2)",
    [KD_SQL_LOAD_SPENT] = "SELECT id, until_ms FROM spent ORDER BY until_ms, id",
    [KD_SQL_ADD_SPENT] = "INSERT INTO spent(id, until_ms) VALUES(?1, ?2)",
    [KD_SQL_RAISE_SPENT] = "INSERT INTO spent(id, until_ms) SELECT x'', max(until_ms) FROM spent"
                    " WHERE until_ms <= ?1 AND id <> x'' GROUP BY id = x''"
                    " ON CONFLICT(id) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)",
    [KD_SQL_TRIM_SPENT] = "DELETE FROM spent WHERE until_ms <= ?1 AND id <> x''",
};
// clang-format on
_Static_assert(KD_VERSION_ENABLED == 1 && KD_VERSION_DISABLED == 2 && KD_ENDED_FLOOR == 0 &&
                   KD_ENDED_SESSION == 1 && KD_ENDED_PEER == 2,
               "the statements above say so");

// ---- SQLite, its errors made ours ------------------------------------------

enum kd_err kd_sql_fail(const struct kd_store *s, const char *what) {
    kd_log(KD_LOG_ERROR, "store", what, "sqlite=%d reason=%s", sqlite3_extended_errcode(s->db),
           sqlite3_errmsg(s->db));
    return KD_ERR_STORE;
}

void kd_sql_text(sqlite3_stmt *q, int at, const char *text) {
    sqlite3_bind_text(q, at, text, -1, SQLITE_STATIC);
}

void kd_sql_bytes(sqlite3_stmt *q, int at, struct kd_bytes b) {
    sqlite3_bind_blob(q, at, b.n == 0 ? "" : (const void *)b.p, (int)b.n, SQLITE_STATIC);
}

void kd_sql_number(sqlite3_stmt *q, int at, uint64_t v) {
    sqlite3_bind_int64(q, at, (sqlite3_int64)v);
}

// Runs a statement that gives no rows.
int kd_sql_run(struct kd_store *s, enum kd_statement which) {
    sqlite3_stmt *q = s->statements[which];
    const int r = sqlite3_step(q);
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    return r;
}

enum kd_err kd_sql_begin(struct kd_store *s) {
    return kd_sql_run(s, KD_SQL_BEGIN) == SQLITE_DONE
               ? KD_OK
               : kd_sql_fail(s, "a transaction cannot be begun");
}

enum kd_err kd_sql_end(struct kd_store *s, enum kd_err r) {
    if (r == KD_OK && kd_sql_run(s, KD_SQL_COMMIT) != SQLITE_DONE) {
        r = kd_sql_fail(s, "a change cannot be written");
    }
    if (r != KD_OK && sqlite3_get_autocommit(s->db) == 0) {
        (void)kd_sql_run(s, KD_SQL_ROLLBACK);
    }
    return r;
}

enum kd_err kd_sql_change(struct kd_store *s, enum kd_statement which) {
    return kd_sql_run(s, which) == SQLITE_DONE ? KD_OK : kd_sql_fail(s, "a change failed");
}

// In a transaction of its own; what it needs is bound.
enum kd_err kd_sql_change_alone(struct kd_store *s, enum kd_statement which) {
    enum kd_err r = kd_sql_begin(s);
    return r == KD_OK ? kd_sql_end(s, kd_sql_change(s, which)) : r;
}

// ---- opening ---------------------------------------------------------------

static enum kd_err execute(struct kd_store *s, const char *text) {
    return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK
               ? KD_OK
               : kd_sql_fail(s, "the registry cannot be set up");
}

static enum kd_err read_pragma(struct kd_store *s, const char *text, int *out) {
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) != SQLITE_OK ||
        sqlite3_step(q) != SQLITE_ROW) {
        enum kd_err r = kd_sql_fail(s, "the registry cannot be read; does another keyd use it?");
        sqlite3_finalize(q);
        return r;
    }
    *out = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    return KD_OK;
}

static enum kd_err add_to_schema(struct kd_store *s, int version) {
    char pragmas[96];
    snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
             APPLICATION_ID, SCHEMA_VERSION);
    enum kd_err r = execute(s, "BEGIN");
    for (int i = version; i < SCHEMA_VERSION && r == KD_OK; i++) {
        r = execute(s, schema[i]);
    }
    return r == KD_OK ? execute(s, pragmas) : r;
}

static enum kd_err check_schema(struct kd_store *s) {
    int version = 0;
    int application = 0;
    enum kd_err r;
    if ((r = read_pragma(s, "PRAGMA user_version", &version)) != KD_OK ||
        (r = read_pragma(s, "PRAGMA application_id", &application)) != KD_OK) {
        return r;
    }
    const bool is_new = version == 0 && application == 0;
    const bool is_old = version > 0 && version < SCHEMA_VERSION && application == APPLICATION_ID;
    if (is_new || is_old) {
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
    for (size_t i = 0; i < KD_SQL_STATEMENTS; i++) {
        if (sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i],
                               NULL) != SQLITE_OK) {
            return kd_sql_fail(s, "a statement cannot be prepared");
        }
    }
    // Takes the lock now, so that a second keyd fails at its start.
    return kd_sql_change_alone(s, KD_SQL_REMOVE_FACT);
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
    for (size_t i = 0; i < KD_SQL_STATEMENTS; i++) {
        sqlite3_finalize(s->statements[i]);
    }
    sqlite3_close(s->db);
    free(s);
}

// ---- rows ------------------------------------------------------------------

struct kd_bytes kd_sql_column(sqlite3_stmt *q, int at) {
    const void *p = sqlite3_column_blob(q, at);
    return (struct kd_bytes) { p, (size_t)sqlite3_column_bytes(q, at) };
}

// What does not fit was not written by keyd.
enum kd_err kd_sql_not_ours(enum kd_err r, const char *what, const char *name) {
    if (r == KD_OK || r == KD_ERR_NO_MEMORY) {
        return r;
    }
    kd_log(KD_LOG_ERROR, "store", "the registry has what keyd did not write",
           "what=%s name=%s error=%s", what, name, kd_err_name(r));
    return KD_ERR_STORE;
}
