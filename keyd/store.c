// SPDX-License-Identifier: Apache-2.0
// store.c: keys, their versions, and small facts.
#include "keyd/store_sql.h"

// The disk is input too: what does not fit the types is refused.
static bool row_fits(const struct kd_store_row *row) {
    return kd_name_is_valid(kd_bytes_of_text(row->name)) && row->type >= KD_KEY_EC_P256 &&
           row->type <= KD_KEY_TYPE_LAST && (row->usages & ~KD_USE_ALL) == 0 &&
           row->origin <= KD_ORIGIN_IMPORTED && row->version.number > 0 &&
           row->version.state <= KD_VERSION_DESTROYING &&
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
        .certificate = kd_sql_column(q, 6),
        .last_number = (uint32_t)sqlite3_column_int64(q, 7),
        .version = {
            .number = (uint32_t)sqlite3_column_int64(q, 8),
            .state = (enum kd_version_state)sqlite3_column_int(q, 9),
            .created_ms = (uint64_t)sqlite3_column_int64(q, 10),
            .ref = { .type = (enum kd_key_type)sqlite3_column_int(q, 1),
                     .id = kd_sql_column(q, 11),
                     .label = kd_sql_column(q, 12),
                     .proof = kd_sql_column(q, 13) },
            .is_local = sqlite3_column_int(q, 14) != 0,
            .is_extractable = sqlite3_column_int(q, 15) != 0,
        },
    };
}

enum kd_err kd_store_load(struct kd_store *s, kd_store_row_fn *fn, void *arg) {
    sqlite3_stmt *q = s->statements[KD_SQL_LOAD];
    enum kd_err r = KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) {
            r = kd_sql_fail(s, "the registry cannot be read");
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
    sqlite3_stmt *q = s->statements[KD_SQL_ADD_KEY];
    kd_sql_text(q, 1, row->name);
    kd_sql_number(q, 2, row->type);
    kd_sql_number(q, 3, row->usages);
    kd_sql_number(q, 4, row->origin);
    kd_sql_number(q, 5, row->created_ms);
    kd_sql_bytes(q, 6, row->certificate);
    enum kd_err r = kd_sql_change(s, KD_SQL_ADD_KEY);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_key_version *v = &row->version;
    q = s->statements[KD_SQL_ADD_VERSION];
    kd_sql_text(q, 1, row->name);
    kd_sql_number(q, 2, v->number);
    kd_sql_number(q, 3, v->state);
    kd_sql_number(q, 4, v->created_ms);
    kd_sql_bytes(q, 5, v->ref.id);
    kd_sql_bytes(q, 6, v->ref.label);
    kd_sql_bytes(q, 7, v->ref.proof);
    kd_sql_number(q, 8, v->is_local);
    kd_sql_number(q, 9, v->is_extractable);
    const int step = kd_sql_run(s, KD_SQL_ADD_VERSION);
    if (step == SQLITE_CONSTRAINT_PRIMARYKEY) {
        return KD_ERR_KEY_EXISTS;
    }
    return step == SQLITE_DONE ? KD_OK : kd_sql_fail(s, "a version cannot be added");
}

enum kd_err kd_store_add(struct kd_store *s, const struct kd_store_row *row) {
    enum kd_err r = kd_sql_begin(s);
    return r == KD_OK ? kd_sql_end(s, add(s, row)) : r;
}

enum kd_err kd_store_enable(struct kd_store *s, const char *name, const struct kd_key_version *v) {
    enum kd_err r = kd_sql_begin(s);
    if (r != KD_OK) {
        return r;
    }
    sqlite3_stmt *q = s->statements[KD_SQL_ENABLE];
    kd_sql_text(q, 1, name);
    kd_sql_number(q, 2, v->number);
    kd_sql_number(q, 3, KD_VERSION_ENABLED);
    kd_sql_bytes(q, 4, v->ref.proof);
    kd_sql_number(q, 5, v->is_local);
    kd_sql_number(q, 6, v->is_extractable);
    return kd_sql_end(s, kd_sql_change(s, KD_SQL_ENABLE));
}

// A statement about one version.
static enum kd_err change_version(struct kd_store *s, enum kd_statement which, const char *name,
                                  uint32_t number) {
    kd_sql_text(s->statements[which], 1, name);
    kd_sql_number(s->statements[which], 2, number);
    return kd_sql_change(s, which);
}

enum kd_err kd_store_drop(struct kd_store *s, const char *name, uint32_t number) {
    enum kd_err r = kd_sql_begin(s);
    if (r != KD_OK) {
        return r;
    }
    r = change_version(s, KD_SQL_DROP_VERSION, name, number);
    if (r == KD_OK) {
        kd_sql_text(s->statements[KD_SQL_DROP_EMPTY_KEY], 1, name);
        r = kd_sql_change(s, KD_SQL_DROP_EMPTY_KEY);
    }
    return kd_sql_end(s, r);
}

enum kd_err kd_store_forget(struct kd_store *s, const char *name, uint32_t number) {
    enum kd_err r = kd_sql_begin(s);
    if (r != KD_OK) {
        return r;
    }
    r = change_version(s, KD_SQL_RAISE_LAST, name, number);
    return kd_sql_end(s, r == KD_OK ? change_version(s, KD_SQL_DROP_VERSION, name, number) : r);
}

static enum kd_err set_state(struct kd_store *s, const char *name, uint32_t number,
                             enum kd_version_state state) {
    const enum kd_statement which = number == 0 ? KD_SQL_SET_STATES : KD_SQL_SET_STATE;
    sqlite3_stmt *q = s->statements[which];
    kd_sql_text(q, 1, name);
    kd_sql_number(q, 2, state);
    if (number != 0) {
        kd_sql_number(q, 3, number);
    }
    return kd_sql_change(s, which);
}

enum kd_err kd_store_set_state(struct kd_store *s, const char *name, uint32_t number,
                               enum kd_version_state state) {
    enum kd_err r = kd_sql_begin(s);
    return r == KD_OK ? kd_sql_end(s, set_state(s, name, number, state)) : r;
}

enum kd_err kd_store_begin_delete(struct kd_store *s, const char *name) {
    enum kd_err r = kd_sql_begin(s);
    if (r != KD_OK) {
        return r;
    }
    kd_sql_text(s->statements[KD_SQL_MARK_DELETING], 1, name);
    r = kd_sql_change(s, KD_SQL_MARK_DELETING);
    return kd_sql_end(s, r == KD_OK ? set_state(s, name, 0, KD_VERSION_DISABLED) : r);
}

enum kd_err kd_store_delete(struct kd_store *s, const char *name) {
    kd_sql_text(s->statements[KD_SQL_DELETE_KEY], 1, name);
    return kd_sql_change_alone(s, KD_SQL_DELETE_KEY);
}

enum kd_err kd_store_set_fact(struct kd_store *s, const char *name, struct kd_bytes value) {
    const enum kd_statement which = value.n == 0 ? KD_SQL_REMOVE_FACT : KD_SQL_SET_FACT;
    kd_sql_text(s->statements[which], 1, name);
    if (value.n > 0) {
        kd_sql_bytes(s->statements[which], 2, value);
    }
    return kd_sql_change_alone(s, which);
}

enum kd_err kd_store_get_fact(struct kd_store *s, const char *name, struct kd_buf *value) {
    sqlite3_stmt *q = s->statements[KD_SQL_GET_FACT];
    kd_sql_text(q, 1, name);
    const int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        const struct kd_bytes b = kd_sql_column(q, 0);
        kd_buf_put(value, b.p, b.n);
    }
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    if (step != SQLITE_ROW && step != SQLITE_DONE) {
        return kd_sql_fail(s, "a fact cannot be read");
    }
    return kd_buf_finish(value);
}
