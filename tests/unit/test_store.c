// SPDX-License-Identifier: Apache-2.0
// The store: what is on the disk after each change, and after a kill between two.
#include "keyd/store.h"
#include "folder.h"
#include "unit.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];
static struct kd_store *store;
static char seen[4096];    // "name#number:state:proof:deleting " of each row
static uint32_t last_seen; // number that was destroyed, of the last row

static enum kd_err see(void *arg KD_UNUSED, const struct kd_store_row *row) {
    const size_t at = strlen(seen);
    snprintf(seen + at, sizeof(seen) - at, "%s#%u:%d:%.*s:%d ", row->name, row->version.number,
             (int)row->version.state, (int)row->version.ref.proof.n,
             row->version.ref.proof.n == 0 ? "" : (const char *)row->version.ref.proof.p,
             row->is_deleting);
    last_seen = row->last_number;
    return KD_OK;
}

static const char *all(void) {
    seen[0] = '\0';
    ck_assert_err(kd_store_load(store, see, NULL), KD_OK);
    return seen;
}

static void reopen(void) {
    kd_store_close(store);
    store = NULL;
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
}

static void setup(void) {
    kd_log_set_level(KD_LOG_ERROR);
    snprintf(directory, sizeof(directory), "%s", "/tmp/keyd-test-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
}

static void teardown(void) {
    kd_store_close(store);
    folder_remove(directory);
}

static struct kd_store_row row_of(const char *name, uint32_t number, enum kd_version_state state) {
    return (struct kd_store_row) {
        .name = name,
        .type = KD_KEY_HMAC_SHA256,
        .usages = KD_USE_SIGN,
        .origin = KD_ORIGIN_CREATED,
        .created_ms = 5,
        .version = { .number = number,
                     .state = state,
                     .created_ms = 6,
                     .ref = { .type = KD_KEY_HMAC_SHA256, .id = kd_bytes_of_text("id") } },
    };
}

static void add(const char *name, uint32_t number, enum kd_version_state state) {
    const struct kd_store_row row = row_of(name, number, state);
    ck_assert_err(kd_store_add(store, &row), KD_OK);
}

START_TEST(second_keyd_is_refused) {
    const pid_t pid = fork();
    if (pid == 0) {
        struct kd_store *other = NULL;
        const enum kd_err r = kd_store_open(directory, &other);
        _exit(r == KD_ERR_STORE && other == NULL ? 0 : 1);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(directory_where_others_may_write_is_refused) {
    kd_store_close(store);
    store = NULL;
    static const mode_t open_modes[] = { 0720, 0702, 0777, 01777 };
    for (size_t i = 0; i < KD_COUNT_OF(open_modes); i++) {
        ck_assert_int_eq(chmod(directory, open_modes[i]), 0);
        ck_assert_err(kd_store_open(directory, &store), KD_ERR_STORE);
    }
    ck_assert_int_eq(chmod(directory, 0755), 0);
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
}
END_TEST

START_TEST(file_of_another_program_is_refused) {
    char path[128];
    struct kd_store *other = NULL;
    snprintf(path, sizeof(path), "%s/keyd.db", directory);
    kd_store_close(store);
    store = NULL;
    unlink(path);
    sqlite3 *db = NULL;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, "CREATE TABLE t(x); PRAGMA user_version=3", NULL, NULL, NULL);
    sqlite3_close(db);
    ck_assert_err(kd_store_open(directory, &other), KD_ERR_STORE);
    FILE *f = fopen(path, "w");
    fputs("this is not a database, however long it may be", f);
    fclose(f);
    ck_assert_err(kd_store_open(directory, &other), KD_ERR_STORE);
    ck_assert_ptr_null(other);
    ck_assert_err(kd_store_open("/nonexistent/a/b", &other), KD_ERR_STORE);
}
END_TEST

static enum kd_err see_peer(void *arg, const struct kd_store_peer *peer) {
    struct kd_buf *out = arg;
    kd_buf_printf(out, "%s:%.*s:%.*s:%s:%llu ", peer->name, (int)peer->point.n, peer->point.p,
                  (int)peer->kid.n, peer->kid.p, peer->uri, (unsigned long long)peer->created_ms);
    return KD_OK;
}

START_TEST(peers_are_kept_and_deleted) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    struct kd_store_peer peer = { .name = "b",
                                  .point = kd_bytes_of_text("P"),
                                  .kid = kd_bytes_of_text("K"),
                                  .uri = "u",
                                  .created_ms = 5 };
    ck_assert_err(kd_store_add_peer(store, &peer), KD_OK);
    ck_assert_err(kd_store_add_peer(store, &peer), KD_ERR_PEER_EXISTS);
    peer.name = "a";
    ck_assert_err(kd_store_add_peer(store, &peer), KD_OK);
    reopen();
    ck_assert_err(kd_store_load_peers(store, see_peer, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out), "a:P:K:u:5 b:P:K:u:5 ");
    ck_assert_err(kd_store_delete_peer(store, "a"), KD_OK);
    ck_assert_err(kd_store_delete_peer(store, "none"), KD_OK);
    reopen();
    kd_buf_reset(&out);
    ck_assert_err(kd_store_load_peers(store, see_peer, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out), "b:P:K:u:5 ");
}
END_TEST

static void spoil(const char *sql) {
    char path[128];
    sqlite3 *db = NULL;
    snprintf(path, sizeof(path), "%s/keyd.db", directory);
    kd_store_close(store);
    store = NULL;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
}

#define BEFORE_DELETED_DEVICES "DROP TABLE deleted_devices;"
#define KEYS_BEFORE_LAST BEFORE_DELETED_DEVICES "ALTER TABLE keys DROP COLUMN last;"

START_TEST(registry_of_the_version_before_peers_is_taken_over) {
    const struct kd_store_row row = row_of("k", 1, KD_VERSION_ENABLED);
    const struct kd_store_peer peer = { .name = "p", .uri = "" };
    ck_assert_err(kd_store_add(store, &row), KD_OK);
    spoil(KEYS_BEFORE_LAST "DROP TABLE devices; DROP TABLE certificates; DROP TABLE peers;"
                           "DROP TABLE ended; DROP TABLE spent; PRAGMA user_version=1");
    ck_assert_ptr_nonnull(strstr(all(), "k#1:"));
    ck_assert_err(kd_store_add_peer(store, &peer), KD_OK);
    reopen();
    ck_assert_err(kd_store_add_peer(store, &peer), KD_ERR_PEER_EXISTS);
}
END_TEST

static enum kd_err see_ended(void *arg, const struct kd_store_ended *row) {
    struct kd_buf *out = arg;
    kd_buf_printf(out, "%d:%.*s:%llu:%llu ", (int)row->kind, (int)row->name.n,
                  row->name.n == 0 ? "" : (const char *)row->name.p,
                  (unsigned long long)row->made_ms, (unsigned long long)row->until_ms);
    return KD_OK;
}

START_TEST(registry_of_the_version_before_ends_is_taken_over) {
    const struct kd_store_peer peer = { .name = "p", .uri = "" };
    const struct kd_store_ended row = {
        KD_ENDED_SESSION, kd_bytes_of_text("s"), 1, 2, KD_BYTES_NONE, NULL
    };
    ck_assert_err(kd_store_add_peer(store, &peer), KD_OK);
    spoil(KEYS_BEFORE_LAST "DROP TABLE devices; DROP TABLE certificates; DROP TABLE ended;"
                           "DROP TABLE spent; PRAGMA user_version=2");
    ck_assert_err(kd_store_add_peer(store, &peer), KD_ERR_PEER_EXISTS);
    ck_assert_err(kd_store_add_ended(store, &row), KD_OK);
}
END_TEST

#define ENDED_BEFORE_PEERS                                                                         \
    "DROP TABLE ended; CREATE TABLE ended(kind INTEGER NOT NULL, name BLOB NOT NULL, made_ms,"     \
    " until_ms, PRIMARY KEY(kind, name)) WITHOUT ROWID;"

START_TEST(ends_of_the_version_before_their_peers_are_taken_over) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    spoil(KEYS_BEFORE_LAST ENDED_BEFORE_PEERS
          "INSERT INTO ended VALUES(1, CAST('s' AS BLOB), 1, 2); PRAGMA user_version=6");
    ck_assert_err(kd_store_load_ended(store, see_ended, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out), "1:s:1:2 ");
}
END_TEST

static const struct kd_bytes first_id = { (const uint8_t *)"0123456789abcdef", 16 };
static const struct kd_bytes second_id = { (const uint8_t *)"0123456789abcdeg", 16 };

static enum kd_err add_spent(struct kd_bytes id, uint64_t until_ms, uint64_t now_ms) {
    struct kd_store_spent row = { .id = id, .until_ms = until_ms };
    const enum kd_err r = kd_store_add_spent(store, &row, now_ms);
    return r == KD_OK ? row.err : r;
}

START_TEST(registry_of_the_version_before_envelopes_is_taken_over) {
    spoil(KEYS_BEFORE_LAST ENDED_BEFORE_PEERS
          "DROP TABLE devices; DROP TABLE certificates; DROP TABLE spent; PRAGMA user_version=3");
    ck_assert_err(add_spent(first_id, 10, 1), KD_OK);
    reopen();
    ck_assert_err(add_spent(first_id, 10, 1), KD_ERR_ENVELOPE_REPLAYED);
}
END_TEST

static enum kd_err see_spent(void *arg, struct kd_bytes id, uint64_t until_ms) {
    kd_buf_printf(arg, "%.*s:%llu ", (int)id.n, (const char *)id.p, (unsigned long long)until_ms);
    return KD_OK;
}

START_TEST(envelopes_are_spent_once_until_they_expire) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    ck_assert_err(add_spent(first_id, 10, 1), KD_OK);
    ck_assert_err(add_spent(first_id, 20, 9), KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_err(add_spent(second_id, 20, 9), KD_OK);
    reopen();
    ck_assert_err(kd_store_load_spent(store, see_spent, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out), "0123456789abcdef:10 0123456789abcdeg:20 ");
    ck_assert_err(add_spent(first_id, 30, 10), KD_OK); // its time was over
}
END_TEST

START_TEST(envelopes_are_spent_together_and_each_once) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    struct kd_store_spent third = { .id = second_id, .until_ms = 12 };
    struct kd_store_spent second = { .id = first_id, .until_ms = 11, .next = &third };
    struct kd_store_spent first = { .id = first_id, .until_ms = 10, .next = &second };
    ck_assert_err(kd_store_add_spent(store, &first, 1), KD_OK);
    ck_assert_err(first.err, KD_OK);
    ck_assert_err(second.err, KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_err(third.err, KD_OK);
    reopen();
    ck_assert_err(kd_store_load_spent(store, see_spent, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out), "0123456789abcdef:10 0123456789abcdeg:12 ");
}
END_TEST

static const char *spent_text(struct kd_buf *out) {
    kd_buf_reset(out);
    reopen();
    ck_assert_err(kd_store_load_spent(store, see_spent, out), KD_OK);
    return kd_buf_get_text(out);
}

// J10, J15: the clock may have gone back.
START_TEST(end_of_forgotten_envelopes_is_kept_and_only_grows) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    ck_assert_err(add_spent(first_id, 10, 1), KD_OK);
    ck_assert_err(add_spent(second_id, 90, 50), KD_OK);
    ck_assert_str_eq(spent_text(&out), ":10 0123456789abcdeg:90 ");
    ck_assert_err(add_spent(first_id, 5, 1), KD_OK); // as spent.c does not do
    ck_assert_err(add_spent(second_id, 95, 60), KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_str_eq(spent_text(&out), ":10 0123456789abcdeg:90 ");
    ck_assert_err(add_spent(second_id, 200, 100), KD_OK);
    ck_assert_str_eq(spent_text(&out), ":90 0123456789abcdeg:200 ");
    ck_assert_err(add_spent(first_id, 300, 100), KD_OK);
    ck_assert_str_eq(spent_text(&out), ":90 0123456789abcdeg:200 0123456789abcdef:300 ");
}
END_TEST

static enum kd_err refuse_ended(void *arg KD_UNUSED, const struct kd_store_ended *row KD_UNUSED) {
    return KD_ERR_FIELD_INVALID;
}

START_TEST(ends_are_kept_until_they_are_trimmed) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    const struct kd_store_ended rows[] = {
        { KD_ENDED_SESSION, kd_bytes_of_text("a"), 10, 100, KD_BYTES_NONE, NULL },
        { KD_ENDED_SESSION, kd_bytes_of_text("b"), 20, 50, KD_BYTES_NONE, NULL },
        { KD_ENDED_SESSION, kd_bytes_of_text("c"), 30, 51, KD_BYTES_NONE, NULL },
        { KD_ENDED_PEER, kd_bytes_of_text("a"), 11, 100, KD_BYTES_NONE, NULL },
        { KD_ENDED_PEER, kd_bytes_of_text("a"), 12, 101, KD_BYTES_NONE, NULL }, // once more
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        ck_assert_err(kd_store_add_ended(store, &rows[i]), KD_OK);
    }
    reopen();
    ck_assert_err(kd_store_load_ended(store, see_ended, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out), "1:a:10:100 1:b:20:50 1:c:30:51 2:a:12:101 ");
    const struct kd_store_ended last = {
        KD_ENDED_SESSION, kd_bytes_of_text("e"), 9, 100, KD_BYTES_NONE, NULL
    };
    const struct kd_store_ended first = {
        KD_ENDED_SESSION, kd_bytes_of_text("d"), 9, 100, KD_BYTES_NONE, &last
    };
    ck_assert_err(kd_store_add_ended(store, &first), KD_OK);
    kd_buf_reset(&out);
    ck_assert_err(kd_store_load_ended(store, see_ended, &out), KD_OK);
    ck_assert_ptr_nonnull(strstr(kd_buf_get_text(&out), "1:d:9:100 1:e:9:100 "));
    ck_assert_err(kd_store_trim_ended(store, 10, 50), KD_OK);
    reopen();
    kd_buf_reset(&out);
    ck_assert_err(kd_store_load_ended(store, see_ended, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out), "0::10:0 1:c:30:51 2:a:12:101 ");
    ck_assert_err(kd_store_trim_ended(store, 40, 0), KD_OK);
    kd_buf_reset(&out);
    ck_assert_err(kd_store_load_ended(store, see_ended, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out), "0::40:0 ");
    ck_assert_err(kd_store_load_ended(store, refuse_ended, NULL), KD_ERR_STORE);
    spoil("UPDATE ended SET kind = 3");
    ck_assert_err(kd_store_load_ended(store, see_ended, &out), KD_ERR_STORE);
}
END_TEST

START_TEST(end_of_a_peer_takes_the_place_of_its_sessions_rows) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    const struct kd_bytes p = kd_bytes_of_text("p");
    const struct kd_store_ended rows[] = {
        { KD_ENDED_SESSION, kd_bytes_of_text("a"), 10, 100, p, NULL },
        { KD_ENDED_SESSION, kd_bytes_of_text("b"), 20, 101, p, NULL }, // good for longer
        { KD_ENDED_SESSION, kd_bytes_of_text("c"), 21, 100, p, NULL }, // made later
        { KD_ENDED_SESSION, kd_bytes_of_text("d"), 10, 100, kd_bytes_of_text("q"), NULL },
        { KD_ENDED_SESSION, kd_bytes_of_text("e"), 10, 100, KD_BYTES_NONE, NULL },
        { KD_ENDED_PEER, p, 20, 100, KD_BYTES_NONE, NULL },
        { KD_ENDED_SESSION, kd_bytes_of_text("f"), 20, 100, p, NULL },
        { KD_ENDED_PEER, p, 5, 99, KD_BYTES_NONE, NULL }, // a clock that was set back
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        ck_assert_err(kd_store_add_ended(store, &rows[i]), KD_OK);
    }
    ck_assert_err(kd_store_load_ended(store, see_ended, &out), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&out),
                     "1:b:20:101 1:c:21:100 1:d:10:100 1:e:10:100 2:p:20:100 ");
}
END_TEST

START_TEST(rows_that_keyd_did_not_write_stop_the_start) {
    static const char *const changes[] = {
        "UPDATE keys SET type = 99",
        "UPDATE keys SET usages = 64",
        "UPDATE keys SET origin = 9",
        "UPDATE versions SET state = 4",
        "UPDATE versions SET number = 0",
        "UPDATE versions SET id = zeroblob(251)",
        "UPDATE versions SET proof = zeroblob(98)",
        "UPDATE versions SET label = zeroblob(129)",
    };
    add("a", 1, KD_VERSION_ENABLED);
    for (size_t i = 0; i < KD_COUNT_OF(changes); i++) {
        spoil(changes[i]);
        ck_assert_msg(kd_store_load(store, see, NULL) == KD_ERR_STORE, "%s", changes[i]);
        spoil("UPDATE keys SET type = 3, usages = 1, origin = 0; UPDATE versions SET state = 1,"
              " number = 1, id = x'01', proof = x'', label = x''");
        ck_assert_err(kd_store_load(store, see, NULL), KD_OK);
    }
}
END_TEST

START_TEST(version_is_added_once) {
    const struct kd_store_row row = row_of("a", 1, KD_VERSION_PENDING);
    ck_assert_err(kd_store_add(store, &row), KD_OK);
    ck_assert_err(kd_store_add(store, &row), KD_ERR_KEY_EXISTS);
    add("a", 2, KD_VERSION_ENABLED);
    ck_assert_str_eq(all(), "a#1:0::0 a#2:1::0 ");
}
END_TEST

START_TEST(intent_is_enabled_or_dropped) {
    add("b", 1, KD_VERSION_PENDING);
    add("a", 1, KD_VERSION_PENDING);
    struct kd_key_version v = { .number = 1, .ref = { .proof = kd_bytes_of_text("proof") } };
    ck_assert_err(kd_store_enable(store, "a", &v), KD_OK);
    ck_assert_err(kd_store_drop(store, "b", 1), KD_OK);
    reopen();
    ck_assert_str_eq(all(), "a#1:1:proof:0 "); // b is gone as a whole
    add("a", 2, KD_VERSION_PENDING);
    ck_assert_err(kd_store_drop(store, "a", 2), KD_OK);
    ck_assert_str_eq(all(), "a#1:1:proof:0 "); // a is not
}
END_TEST

START_TEST(states_change_for_one_or_all_and_never_for_what_is_pending) {
    add("a", 1, KD_VERSION_ENABLED);
    add("a", 2, KD_VERSION_ENABLED);
    add("a", 3, KD_VERSION_PENDING);
    ck_assert_err(kd_store_set_state(store, "a", 1, KD_VERSION_DISABLED), KD_OK);
    ck_assert_str_eq(all(), "a#1:2::0 a#2:1::0 a#3:0::0 ");
    ck_assert_err(kd_store_set_state(store, "a", 3, KD_VERSION_ENABLED), KD_OK);
    ck_assert_err(kd_store_set_state(store, "a", 0, KD_VERSION_DISABLED), KD_OK);
    ck_assert_str_eq(all(), "a#1:2::0 a#2:2::0 a#3:0::0 ");
    ck_assert_err(kd_store_set_state(store, "a", 0, KD_VERSION_ENABLED), KD_OK);
    ck_assert_str_eq(all(), "a#1:1::0 a#2:1::0 a#3:0::0 ");
}
END_TEST

START_TEST(delete_is_noted_before_it_is_done) {
    add("a", 1, KD_VERSION_ENABLED);
    add("b", 1, KD_VERSION_ENABLED);
    ck_assert_err(kd_store_begin_delete(store, "a"), KD_OK);
    reopen();
    ck_assert_str_eq(all(), "a#1:2::1 b#1:1::0 ");
    ck_assert_err(kd_store_delete(store, "a"), KD_OK);
    reopen();
    ck_assert_str_eq(all(), "b#1:1::0 ");
}
END_TEST

START_TEST(version_that_is_being_destroyed_stays_so_until_it_is_forgotten) {
    add("a", 1, KD_VERSION_ENABLED);
    add("a", 2, KD_VERSION_DISABLED);
    add("a", 3, KD_VERSION_PENDING);
    ck_assert_err(kd_store_set_state(store, "a", 2, KD_VERSION_DESTROYING), KD_OK);
    ck_assert_err(kd_store_set_state(store, "a", 3, KD_VERSION_DESTROYING), KD_OK); // not made
    ck_assert_err(kd_store_set_state(store, "a", 2, KD_VERSION_ENABLED), KD_OK);
    ck_assert_err(kd_store_set_state(store, "a", 0, KD_VERSION_DISABLED), KD_OK);
    reopen();
    ck_assert_str_eq(all(), "a#1:2::0 a#2:3::0 a#3:0::0 ");
    ck_assert_err(kd_store_begin_delete(store, "a"), KD_OK);
    ck_assert_str_eq(all(), "a#1:2::1 a#2:3::1 a#3:0::1 ");
}
END_TEST

START_TEST(number_of_a_version_that_was_destroyed_is_remembered) {
    add("a", 1, KD_VERSION_ENABLED);
    add("a", 2, KD_VERSION_ENABLED);
    add("a", UINT32_MAX, KD_VERSION_ENABLED);
    ck_assert_err(kd_store_forget(store, "a", UINT32_MAX), KD_OK);
    ck_assert_err(kd_store_forget(store, "a", 1), KD_OK); // a lower one changes nothing
    reopen();
    ck_assert_str_eq(all(), "a#2:1::0 ");
    ck_assert_uint_eq(last_seen, UINT32_MAX);
    add("b", 1, KD_VERSION_ENABLED);
    all();
    ck_assert_uint_eq(last_seen, 0);
}
END_TEST

START_TEST(registry_of_the_version_before_destroyed_versions_is_taken_over) {
    add("a", 7, KD_VERSION_ENABLED);
    spoil(KEYS_BEFORE_LAST "PRAGMA user_version=7");
    ck_assert_str_eq(all(), "a#7:1::0 ");
    ck_assert_uint_eq(last_seen, 0);
    ck_assert_err(kd_store_forget(store, "a", 7), KD_OK);
}
END_TEST

START_TEST(facts_are_kept_replaced_and_forgotten) {
    kd_auto(buf) struct kd_buf value = KD_BUF_INIT(64);
    ck_assert_err(kd_store_get_fact(store, "refused-pin", &value), KD_OK);
    ck_assert_uint_eq(value.n, 0);
    ck_assert_err(kd_store_set_fact(store, "refused-pin", kd_bytes_of_text("one")), KD_OK);
    ck_assert_err(kd_store_set_fact(store, "refused-pin", kd_bytes_of_text("two")), KD_OK);
    reopen();
    ck_assert_err(kd_store_get_fact(store, "refused-pin", &value), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&value), "two");
    ck_assert_err(kd_store_set_fact(store, "refused-pin", KD_BYTES_NONE), KD_OK);
    kd_buf_reset(&value);
    ck_assert_err(kd_store_get_fact(store, "refused-pin", &value), KD_OK);
    ck_assert_uint_eq(value.n, 0);
}
END_TEST

// A child writes until it is killed; what it said was done is there afterwards.
static void write_until_killed(int fd) {
    for (uint32_t i = 1;; i++) {
        const struct kd_store_row row = row_of("k", i, KD_VERSION_PENDING);
        const struct kd_key_version v = { .number = i };
        const char intent = 'i';
        const char made = 'm';
        if (kd_store_add(store, &row) != KD_OK || write(fd, &intent, 1) != 1 ||
            kd_store_enable(store, "k", &v) != KD_OK || write(fd, &made, 1) != 1) {
            _exit(1);
        }
    }
}

START_TEST(kill_between_intent_and_end_loses_nothing_that_was_said_to_be_done) {
    int fds[2];
    kd_store_close(store);
    store = NULL;
    ck_assert_int_eq(pipe(fds), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        if (kd_store_open(directory, &store) != KD_OK) {
            _exit(2);
        }
        write_until_killed(fds[1]);
    }
    close(fds[1]);
    char c = 0;
    unsigned intents = 0;
    unsigned made = 0;
    while (intents < 20 && read(fds[0], &c, 1) == 1) { // the last seen is an intent
        intents += c == 'i';
        made += c == 'm';
    }
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    while (read(fds[0], &c, 1) == 1) {
        intents += c == 'i';
        made += c == 'm';
    }
    close(fds[0]);
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
    unsigned enabled = 0;
    unsigned pending = 0;
    all();
    for (const char *at = seen; (at = strstr(at, "k#")) != NULL; at++) {
        enabled += strstr(at, ":1:") != NULL && strstr(at, ":1:") < strchr(at, ' ');
        pending += strstr(at, ":0:") != NULL && strstr(at, ":0::") < strchr(at, ' ');
    }
    ck_assert_uint_ge(enabled + pending, intents);
    ck_assert_uint_le(enabled + pending, intents + 1);
    ck_assert_uint_ge(enabled, made);
    ck_assert_uint_le(enabled, made + 1);
    ck_assert_uint_le(pending, 1);
}
END_TEST

static TCase *tcase_store(void) {
    TCase *t = tcase_create("store");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, second_keyd_is_refused);
    tcase_add_test(t, directory_where_others_may_write_is_refused);
    tcase_add_test(t, file_of_another_program_is_refused);
    tcase_add_test(t, peers_are_kept_and_deleted);
    tcase_add_test(t, registry_of_the_version_before_peers_is_taken_over);
    tcase_add_test(t, registry_of_the_version_before_ends_is_taken_over);
    tcase_add_test(t, ends_of_the_version_before_their_peers_are_taken_over);
    tcase_add_test(t, registry_of_the_version_before_envelopes_is_taken_over);
    tcase_add_test(t, envelopes_are_spent_once_until_they_expire);
    tcase_add_test(t, envelopes_are_spent_together_and_each_once);
    tcase_add_test(t, end_of_forgotten_envelopes_is_kept_and_only_grows);
    tcase_add_test(t, ends_are_kept_until_they_are_trimmed);
    tcase_add_test(t, end_of_a_peer_takes_the_place_of_its_sessions_rows);
    tcase_add_test(t, rows_that_keyd_did_not_write_stop_the_start);
    tcase_add_test(t, version_is_added_once);
    tcase_add_test(t, intent_is_enabled_or_dropped);
    tcase_add_test(t, states_change_for_one_or_all_and_never_for_what_is_pending);
    tcase_add_test(t, delete_is_noted_before_it_is_done);
    tcase_add_test(t, version_that_is_being_destroyed_stays_so_until_it_is_forgotten);
    tcase_add_test(t, number_of_a_version_that_was_destroyed_is_remembered);
    tcase_add_test(t, registry_of_the_version_before_destroyed_versions_is_taken_over);
    tcase_add_test(t, facts_are_kept_replaced_and_forgotten);
    tcase_add_test(t, kill_between_intent_and_end_loses_nothing_that_was_said_to_be_done);
    return t;
}

UNIT_MAIN("store", tcase_store())
