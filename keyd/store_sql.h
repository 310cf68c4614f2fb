// SPDX-License-Identifier: Apache-2.0
// store_sql.h: the store's database, for those who read and write it: keys and facts
// in store.c, what is of the channel in store_channel.c.  Private to these.
#ifndef KD_KEYD_STORE_SQL_H
#define KD_KEYD_STORE_SQL_H

#include "keyd/store.h"

#include <sqlite3.h>

enum kd_statement {
    KD_SQL_BEGIN,
    KD_SQL_COMMIT,
    KD_SQL_ROLLBACK,
    KD_SQL_LOAD,
    KD_SQL_ADD_KEY,
    KD_SQL_ADD_VERSION,
    KD_SQL_ENABLE,
    KD_SQL_DROP_VERSION,
    KD_SQL_DROP_EMPTY_KEY,
    KD_SQL_SET_STATE,
    KD_SQL_SET_STATES,
    KD_SQL_MARK_DELETING,
    KD_SQL_RAISE_LAST,
    KD_SQL_DELETE_KEY,
    KD_SQL_SET_FACT,
    KD_SQL_REMOVE_FACT,
    KD_SQL_GET_FACT,
    KD_SQL_LOAD_PEERS,
    KD_SQL_ADD_PEER,
    KD_SQL_DELETE_PEER,
    KD_SQL_LOAD_ENDED,
    KD_SQL_ADD_ENDED,
    KD_SQL_COVER_ENDED,
    KD_SQL_TRIM_ENDED,
    KD_SQL_LOAD_SPENT,
    KD_SQL_ADD_SPENT,
    KD_SQL_RAISE_SPENT,
    KD_SQL_TRIM_SPENT,
    KD_SQL_STATEMENTS
};

struct kd_store {
    sqlite3 *db;
    sqlite3_stmt *statements[KD_SQL_STATEMENTS];
};

// Logs what failed, and why.
enum kd_err kd_sql_fail(const struct kd_store *s, const char *what);
// What does not fit was not written by keyd.
KD_MUST_CHECK enum kd_err kd_sql_not_ours(enum kd_err r, const char *what, const char *name);

void kd_sql_text(sqlite3_stmt *q, int at, const char *text);
void kd_sql_bytes(sqlite3_stmt *q, int at, struct kd_bytes b);
void kd_sql_number(sqlite3_stmt *q, int at, uint64_t v);
struct kd_bytes kd_sql_column(sqlite3_stmt *q, int at); // borrowed until the next step

// Runs a statement that gives no rows; SQLite's result.
int kd_sql_run(struct kd_store *s, enum kd_statement which);
KD_MUST_CHECK enum kd_err kd_sql_change(struct kd_store *s, enum kd_statement which);
// In a transaction of its own; what it needs is bound.
KD_MUST_CHECK enum kd_err kd_sql_change_alone(struct kd_store *s, enum kd_statement which);
KD_MUST_CHECK enum kd_err kd_sql_begin(struct kd_store *s);
// Commits after KD_OK, else rolls back; what became of it all.
KD_MUST_CHECK enum kd_err kd_sql_end(struct kd_store *s, enum kd_err r);

#endif
