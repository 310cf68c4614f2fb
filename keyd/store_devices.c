// SPDX-License-Identifier: Apache-2.0
// store_devices.c: see store_devices.h.  Statements are prepared when they are needed:
// each change waits for the disk anyway.
#include "keyd/store_devices.h"

#include "keyd/store_sql.h"

_Static_assert(KD_DEVICE_REVOKED == 2 && KD_DEVICE_ACTIVE == 1, "the statements below say so");

// ---- statements ------------------------------------------------------------

static sqlite3_stmt *prepare(struct kd_store *s, const char *text) {
    sqlite3_stmt *q = NULL;
    return sqlite3_prepare_v2(s->db, text, -1, &q, NULL) == SQLITE_OK ? q : NULL;
}

// Runs a statement without rows and frees it; a NULL one failed before.
static enum kd_err finish(struct kd_store *s, sqlite3_stmt *q) {
    const enum kd_err r = q != NULL && sqlite3_step(q) == SQLITE_DONE
                              ? KD_OK
                              : kd_sql_fail(s, "a change of a device failed");
    sqlite3_finalize(q);
    return r;
}

// The same for one that must find its device, which is not revoked.
static enum kd_err finish_one(struct kd_store *s, sqlite3_stmt *q) {
    enum kd_err r = finish(s, q);
    return r == KD_OK && sqlite3_changes(s->db) == 0 ? KD_ERR_DEVICE_REVOKED : r;
}

// ---- reading ---------------------------------------------------------------

static const char *column_text(sqlite3_stmt *q, int at) {
    const char *text = (const char *)sqlite3_column_text(q, at);
    return text == NULL ? "" : text;
}

static struct kd_store_certificate column_certificate(sqlite3_stmt *q, int at) {
    return (struct kd_store_certificate) {
        .serial = kd_sql_column(q, at),
        .from_ms = (uint64_t)sqlite3_column_int64(q, at + 1),
        .upto_ms = (uint64_t)sqlite3_column_int64(q, at + 2),
        .der = kd_sql_column(q, at + 3),
    };
}

static bool certificate_fits(const struct kd_store_certificate *c) {
    return (c->serial.n == 0 && c->der.n == 0) ||
           (c->serial.n == KD_CA_SERIAL_BYTES && c->der.n > 0 &&
            c->der.n <= KD_CA_CERTIFICATE_MAX_BYTES);
}

static bool device_fits(const struct kd_store_device *d) {
    return kd_name_is_valid(kd_bytes_of_text(d->id)) &&
           (d->relation[0] == '\0' || kd_name_is_valid(kd_bytes_of_text(d->relation))) &&
           d->usage <= KD_DEVICE_AGREE && d->state <= KD_DEVICE_REVOKED &&
           (d->secret.n == 0 || d->secret.n == KD_ENROL_HASH_BYTES) &&
           certificate_fits(&d->current) && certificate_fits(&d->previous) &&
           (d->state != KD_DEVICE_ACTIVE || d->current.der.n > 0);
}

static enum kd_err read_device(sqlite3_stmt *q, kd_store_device_fn *fn, void *arg) {
    const struct kd_store_device d = {
        .id = column_text(q, 0),
        .relation = column_text(q, 1),
        .usage = (enum kd_device_usage)sqlite3_column_int(q, 2),
        .state = (enum kd_device_state)sqlite3_column_int(q, 3),
        .created_ms = (uint64_t)sqlite3_column_int64(q, 4),
        .secret = kd_sql_column(q, 5),
        .secret_until_ms = (uint64_t)sqlite3_column_int64(q, 6),
        .current = column_certificate(q, 7),
        .previous = column_certificate(q, 11),
    };
    if (!device_fits(&d)) {
        kd_log(KD_LOG_ERROR, "store", "the registry has what keyd did not write",
               "what=device name=%s", d.id);
        return KD_ERR_STORE;
    }
    return fn(arg, &d);
}

enum kd_err kd_store_load_devices(struct kd_store *s, kd_store_device_fn *fn, void *arg) {
    sqlite3_stmt *q =
        prepare(s, "SELECT d.id, d.relation, d.usage, d.state, d.created_ms, d.secret,"
                   " d.secret_until_ms, c.serial, c.from_ms, c.upto_ms, c.certificate,"
                   " p.serial, p.from_ms, p.upto_ms, p.certificate FROM devices d"
                   " LEFT JOIN certificates c ON c.serial = d.serial"
                   " LEFT JOIN certificates p ON p.serial = d.previous ORDER BY d.id");
    enum kd_err r = q == NULL ? kd_sql_fail(s, "the devices cannot be read") : KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        r = step == SQLITE_ROW ? read_device(q, fn, arg)
                               : kd_sql_fail(s, "the devices cannot be read");
    }
    sqlite3_finalize(q);
    return r;
}

static enum kd_err read_deleted(sqlite3_stmt *q, kd_store_deleted_fn *fn, void *arg) {
    const char *id = column_text(q, 0);
    return kd_sql_not_ours(kd_name_is_valid(kd_bytes_of_text(id)) ? fn(arg, id) : KD_ERR_BAD_NAME,
                           "deleted device", id);
}

enum kd_err kd_store_load_deleted(struct kd_store *s, kd_store_deleted_fn *fn, void *arg) {
    sqlite3_stmt *q = prepare(s, "SELECT id FROM deleted_devices ORDER BY id");
    enum kd_err r = q == NULL ? kd_sql_fail(s, "the deleted devices cannot be read") : KD_OK;
    int step;
    while (r == KD_OK && (step = sqlite3_step(q)) != SQLITE_DONE) {
        r = step == SQLITE_ROW ? read_deleted(q, fn, arg)
                               : kd_sql_fail(s, "the deleted devices cannot be read");
    }
    sqlite3_finalize(q);
    return r;
}

// ---- changes ---------------------------------------------------------------

static enum kd_err add_device(struct kd_store *s, const struct kd_store_device *d) {
    sqlite3_stmt *q = prepare(s, "INSERT INTO devices(id, relation, usage, state, created_ms,"
                                 " secret, secret_until_ms, serial, previous)"
                                 " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, x'', x'')");
    kd_sql_text(q, 1, d->id);
    kd_sql_text(q, 2, d->relation);
    kd_sql_number(q, 3, d->usage);
    kd_sql_number(q, 4, d->state);
    kd_sql_number(q, 5, d->created_ms);
    kd_sql_bytes(q, 6, d->secret);
    kd_sql_number(q, 7, d->secret_until_ms);
    const int step = q == NULL ? SQLITE_ERROR : sqlite3_step(q);
    const enum kd_err r = step == SQLITE_DONE ? KD_OK
                          : step == SQLITE_CONSTRAINT_PRIMARYKEY
                              ? KD_ERR_DEVICE_EXISTS
                              : kd_sql_fail(s, "a device cannot be added");
    sqlite3_finalize(q);
    return r;
}

enum kd_err kd_store_add_device(struct kd_store *s, const struct kd_store_device *d) {
    enum kd_err r = kd_sql_begin(s);
    return r == KD_OK ? kd_sql_end(s, add_device(s, d)) : r;
}

enum kd_err kd_store_set_secret(struct kd_store *s, const char *id, struct kd_bytes hash,
                                uint64_t until_ms) {
    enum kd_err r = kd_sql_begin(s);
    if (r != KD_OK) {
        return r;
    }
    sqlite3_stmt *q = prepare(s, "UPDATE devices SET secret = ?2, secret_until_ms = ?3"
                                 " WHERE id = ?1 AND state <> 2");
    kd_sql_text(q, 1, id);
    kd_sql_bytes(q, 2, hash);
    kd_sql_number(q, 3, until_ms);
    return kd_sql_end(s, finish_one(s, q));
}

static enum kd_err delete_peer(struct kd_store *s, const char *name) {
    sqlite3_stmt *q = prepare(s, "DELETE FROM peers WHERE name = ?1");
    kd_sql_text(q, 1, name);
    return finish(s, q);
}

static enum kd_err revoke(struct kd_store *s, const char *id, uint64_t now_ms) {
    sqlite3_stmt *q = prepare(s, "UPDATE devices SET state = 2, secret = x'',"
                                 " secret_until_ms = 0 WHERE id = ?1");
    kd_sql_text(q, 1, id);
    enum kd_err r = finish(s, q);
    if (r != KD_OK) {
        return r;
    }
    q = prepare(s, "UPDATE certificates SET revoked_ms = ?2 WHERE device = ?1 AND revoked_ms = 0");
    kd_sql_text(q, 1, id);
    kd_sql_number(q, 2, now_ms);
    r = finish(s, q);
    return r == KD_OK ? delete_peer(s, id) : r;
}

enum kd_err kd_store_revoke_device(struct kd_store *s, const char *id, uint64_t now_ms) {
    enum kd_err r = kd_sql_begin(s);
    return r == KD_OK ? kd_sql_end(s, revoke(s, id, now_ms)) : r;
}

// Whether it may go: all certificates that it ever had are asked, not the last two alone.
static enum kd_err check_over(struct kd_store *s, const char *id, uint64_t now_ms,
                              uint64_t *until_ms) {
    sqlite3_stmt *q = prepare(s, "SELECT state, (SELECT max(upto_ms) FROM certificates"
                                 " WHERE device = ?1) FROM devices WHERE id = ?1");
    kd_sql_text(q, 1, id);
    const int step = q == NULL ? SQLITE_ERROR : sqlite3_step(q);
    enum kd_err r = step == SQLITE_ROW    ? KD_OK
                    : step == SQLITE_DONE ? KD_ERR_NO_DEVICE
                                          : kd_sql_fail(s, "a device cannot be read");
    if (r == KD_OK) {
        const uint64_t upto_ms = (uint64_t)sqlite3_column_int64(q, 1); // 0: it has had none
        const bool has_ended = upto_ms < now_ms; // RFC 5280 4.1.2.5: good at its end, too
        r = sqlite3_column_int(q, 0) != KD_DEVICE_REVOKED ? KD_ERR_DEVICE_NOT_REVOKED
            : has_ended                                   ? KD_OK
                                                          : KD_ERR_DEVICE_CERTIFIED;
        *until_ms = r == KD_ERR_DEVICE_CERTIFIED ? upto_ms : *until_ms;
    }
    sqlite3_finalize(q);
    return r;
}

static enum kd_err delete_device(struct kd_store *s, const char *id) {
    static const char *const texts[] = { "INSERT INTO deleted_devices(id) VALUES(?1)",
                                         "DELETE FROM certificates WHERE device = ?1",
                                         "DELETE FROM devices WHERE id = ?1" };
    enum kd_err r = KD_OK;
    for (size_t i = 0; i < KD_COUNT_OF(texts) && r == KD_OK; i++) {
        sqlite3_stmt *q = prepare(s, texts[i]);
        kd_sql_text(q, 1, id);
        r = finish(s, q);
    }
    return r;
}

enum kd_err kd_store_delete_device(struct kd_store *s, const char *id, uint64_t now_ms,
                                   uint64_t *until_ms) {
    enum kd_err r = kd_sql_begin(s);
    if (r != KD_OK) {
        return r;
    }
    r = check_over(s, id, now_ms, until_ms);
    return kd_sql_end(s, r == KD_OK ? delete_device(s, id) : r);
}

// ---- issuing ---------------------------------------------------------------

static enum kd_err add_certificate(struct kd_store *s, const struct kd_store_issue *issue) {
    const struct kd_store_certificate *c = issue->certificate;
    sqlite3_stmt *q = prepare(s, "INSERT INTO certificates(serial, device, from_ms, upto_ms,"
                                 " issued_ms, revoked_ms, certificate)"
                                 " VALUES(?1, ?2, ?3, ?4, ?5, 0, ?6)");
    kd_sql_bytes(q, 1, c->serial);
    kd_sql_text(q, 2, issue->device == NULL ? "" : issue->device);
    kd_sql_number(q, 3, c->from_ms);
    kd_sql_number(q, 4, c->upto_ms);
    kd_sql_number(q, 5, issue->now_ms);
    kd_sql_bytes(q, 6, c->der);
    return finish(s, q);
}

static enum kd_err set_certificate(struct kd_store *s, const struct kd_store_issue *issue) {
    sqlite3_stmt *q = prepare(s, "UPDATE devices SET state = 1, serial = ?2, previous = ?3,"
                                 " secret = x'', secret_until_ms = 0"
                                 " WHERE id = ?1 AND state <> 2");
    kd_sql_text(q, 1, issue->device);
    kd_sql_bytes(q, 2, issue->certificate->serial);
    kd_sql_bytes(q, 3, issue->previous);
    return finish_one(s, q);
}

static enum kd_err put_peer(struct kd_store *s, const struct kd_store_peer *peer) {
    sqlite3_stmt *q = prepare(s, "INSERT OR REPLACE INTO peers(name, certificate, point, kid, uri,"
                                 " created_ms) VALUES(?1, ?2, x'', x'', ?3, ?4)");
    kd_sql_text(q, 1, peer->name);
    kd_sql_bytes(q, 2, peer->certificate);
    kd_sql_text(q, 3, peer->uri);
    kd_sql_number(q, 4, peer->created_ms);
    return finish(s, q);
}

static enum kd_err issue_all(struct kd_store *s, const struct kd_store_issue *issue) {
    enum kd_err r = add_certificate(s, issue);
    if (r != KD_OK || issue->device == NULL) {
        return r;
    }
    r = set_certificate(s, issue);
    return r == KD_OK ? put_peer(s, issue->peer) : r;
}

enum kd_err kd_store_issue(struct kd_store *s, const struct kd_store_issue *issue) {
    enum kd_err r = kd_sql_begin(s);
    return r == KD_OK ? kd_sql_end(s, issue_all(s, issue)) : r;
}
