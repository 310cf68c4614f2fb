// SPDX-License-Identifier: Apache-2.0
// Devices of the bootstrap server, on the disk and in memory: what one transaction holds, what
// a renewal leaves, and that what keyd did not write is refused.
#include "keyd/devices.h"
#include "keyd/store_sql.h"
#include "folder.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];
static struct kd_store *store;
static struct kd_devices devices;
static const uint8_t serials[4][KD_CA_SERIAL_BYTES] = { { 1 }, { 2 }, { 3 }, { 4 } };
static const uint8_t hash[KD_ENROL_HASH_BYTES] = { 7 };

static void load(void) {
    kd_devices_wipe(&devices);
    ck_assert_err(kd_store_load_devices(store, kd_devices_load, &devices), KD_OK);
    ck_assert_err(kd_store_load_deleted(store, kd_devices_note_deleted, &devices), KD_OK);
}

static void reopen(void) {
    kd_store_close(store);
    store = NULL;
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
    load();
}

static void setup(void) {
    kd_log_set_level(KD_LOG_ERROR);
    snprintf(directory, sizeof(directory), "%s", "/tmp/keyd-test-devices-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
}

static void teardown(void) {
    kd_devices_wipe(&devices);
    kd_store_close(store);
    folder_remove(directory);
}

static enum kd_err add(const char *id) {
    const struct kd_store_device d = {
        .id = id,
        .relation = "r",
        .usage = KD_DEVICE_AGREE,
        .state = KD_DEVICE_ENROLLED,
        .created_ms = 5,
        .secret = { hash, sizeof(hash) },
        .secret_until_ms = 9,
    };
    return kd_store_add_device(store, &d);
}

// The certificate's bytes are text here: the registry does not read them.
static enum kd_err issue_until(const char *id, const uint8_t *serial, const char *der,
                               struct kd_bytes previous, uint64_t upto_ms) {
    const struct kd_store_certificate c = {
        .serial = { serial, KD_CA_SERIAL_BYTES },
        .from_ms = 10,
        .upto_ms = upto_ms,
        .der = kd_bytes_of_text(der),
    };
    const struct kd_store_peer peer = {
        .name = id == NULL ? "" : id, .certificate = c.der, .uri = "u:x", .created_ms = 11
    };
    const struct kd_store_issue all = {
        .certificate = &c, .now_ms = 11, .device = id, .previous = previous, .peer = &peer
    };
    return kd_store_issue(store, &all);
}

static enum kd_err issue(const char *id, const uint8_t *serial, const char *der,
                         struct kd_bytes previous) {
    return issue_until(id, serial, der, previous, 20);
}

static enum kd_err count_peer(void *arg, const struct kd_store_peer *peer) {
    snprintf(arg, 64, "%s=%.*s", peer->name, (int)peer->certificate.n,
             (const char *)peer->certificate.p);
    return KD_OK;
}

static const char *peer_now(void) {
    static char text[64];
    text[0] = '\0';
    ck_assert_err(kd_store_load_peers(store, count_peer, text), KD_OK);
    return text;
}

static long count(const char *text) {
    sqlite3_stmt *q = NULL;
    ck_assert_int_eq(sqlite3_prepare_v2(store->db, text, -1, &q, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(q), SQLITE_ROW);
    const long n = (long)sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

START_TEST(a_device_is_as_it_was_after_a_restart) {
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(add("a"), KD_ERR_DEVICE_EXISTS);
    reopen();
    const struct kd_device_entry *e = kd_devices_get(&devices, "a");
    ck_assert_ptr_nonnull(e);
    ck_assert_str_eq(e->relation, "r");
    ck_assert_int_eq(e->usage, KD_DEVICE_AGREE);
    ck_assert_int_eq(e->state, KD_DEVICE_ENROLLED);
    ck_assert(e->has_secret);
    ck_assert_mem_eq(e->secret, hash, sizeof(hash));
    ck_assert_uint_eq(e->secret_until_ms, 9);
    ck_assert_uint_eq(e->current.der.n, 0);
}
END_TEST

START_TEST(a_certificate_comes_with_its_peer_and_uses_up_the_secret) {
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(issue("a", serials[0], "one", KD_BYTES_NONE), KD_OK);
    reopen();
    const struct kd_device_entry *e = kd_devices_get(&devices, "a");
    ck_assert_int_eq(e->state, KD_DEVICE_ACTIVE);
    ck_assert(!e->has_secret);
    ck_assert(kd_bytes_equal(kd_buf_get(&e->current.der), kd_bytes_of_text("one")));
    ck_assert_uint_eq(e->current.upto_ms, 20);
    ck_assert_str_eq(peer_now(), "a=one");
    const struct kd_bytes by = { e->current.hash, sizeof(e->current.hash) };
    ck_assert_ptr_eq(kd_devices_by_hash(&devices, by), e);
}
END_TEST

START_TEST(a_certificate_for_a_revoked_or_unknown_device_leaves_nothing) {
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(kd_store_revoke_device(store, "a", 12), KD_OK);
    ck_assert_err(issue("a", serials[0], "one", KD_BYTES_NONE), KD_ERR_DEVICE_REVOKED);
    ck_assert_err(issue("b", serials[1], "two", KD_BYTES_NONE), KD_ERR_DEVICE_REVOKED);
    ck_assert_err(kd_store_set_secret(store, "a", (struct kd_bytes) { hash, sizeof(hash) }, 1),
                  KD_ERR_DEVICE_REVOKED);
    ck_assert_str_eq(peer_now(), "");
    ck_assert_int_eq(count("SELECT count(*) FROM certificates"), 0);
}
END_TEST

START_TEST(a_serial_is_given_once) {
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(add("b"), KD_OK);
    ck_assert_err(issue("a", serials[0], "one", KD_BYTES_NONE), KD_OK);
    ck_assert_err(issue("b", serials[0], "two", KD_BYTES_NONE), KD_ERR_STORE);
    load();
    ck_assert_int_eq(kd_devices_get(&devices, "b")->state, KD_DEVICE_ENROLLED);
    ck_assert_str_eq(peer_now(), "a=one");
}
END_TEST

START_TEST(a_renewal_keeps_the_certificate_that_it_was_asked_for_with) {
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(issue("a", serials[0], "one", KD_BYTES_NONE), KD_OK);
    ck_assert_err(
        issue("a", serials[1], "two", (struct kd_bytes) { serials[0], KD_CA_SERIAL_BYTES }), KD_OK);
    ck_assert_str_eq(peer_now(), "a=two");
    load();
    const struct kd_device_entry *e = kd_devices_get(&devices, "a");
    ck_assert(kd_bytes_equal(kd_buf_get(&e->current.der), kd_bytes_of_text("two")));
    ck_assert(kd_bytes_equal(kd_buf_get(&e->previous.der), kd_bytes_of_text("one")));
    ck_assert_int_eq(count("SELECT count(*) FROM certificates"), 2); // all that were issued
}
END_TEST

START_TEST(a_revocation_takes_the_peer_and_marks_each_certificate) {
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(issue("a", serials[0], "one", KD_BYTES_NONE), KD_OK);
    ck_assert_err(issue("a", serials[1], "two", KD_BYTES_NONE), KD_OK);
    ck_assert_err(issue(NULL, serials[2], "server", KD_BYTES_NONE), KD_OK);
    ck_assert_err(kd_store_revoke_device(store, "a", 12), KD_OK);
    reopen();
    ck_assert_int_eq(kd_devices_get(&devices, "a")->state, KD_DEVICE_REVOKED);
    ck_assert_str_eq(peer_now(), "");
    ck_assert_int_eq(count("SELECT count(*) FROM certificates WHERE revoked_ms = 12"), 2);
    ck_assert_int_eq(count("SELECT count(*) FROM certificates WHERE revoked_ms = 0"), 1);
}
END_TEST

static enum kd_err delete_at(const char *id, uint64_t now_ms, uint64_t until_ms) {
    uint64_t until = 0;
    const enum kd_err r = kd_store_delete_device(store, id, now_ms, &until);
    ck_assert_uint_eq(until, until_ms);
    return r;
}

START_TEST(a_device_that_is_not_over_is_not_deleted) {
    const struct kd_bytes first = { serials[0], KD_CA_SERIAL_BYTES };
    const struct kd_bytes second = { serials[1], KD_CA_SERIAL_BYTES };
    ck_assert_err(delete_at("a", 100, 0), KD_ERR_NO_DEVICE);
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(delete_at("a", 100, 0), KD_ERR_DEVICE_NOT_REVOKED);
    // The first certificate is neither the current nor the previous one, and ends last.
    ck_assert_err(issue_until("a", serials[0], "one", KD_BYTES_NONE, 30), KD_OK);
    ck_assert_err(issue_until("a", serials[1], "two", first, 10), KD_OK);
    ck_assert_err(issue_until("a", serials[2], "three", second, 20), KD_OK);
    ck_assert_err(delete_at("a", 100, 0), KD_ERR_DEVICE_NOT_REVOKED);
    ck_assert_err(kd_store_revoke_device(store, "a", 12), KD_OK);
    ck_assert_err(delete_at("a", 29, 30), KD_ERR_DEVICE_CERTIFIED);
    ck_assert_err(delete_at("a", 30, 30), KD_ERR_DEVICE_CERTIFIED); // it is good at its end
    reopen();
    ck_assert_int_eq(kd_devices_get(&devices, "a")->state, KD_DEVICE_REVOKED);
    ck_assert(!kd_devices_was_deleted(&devices, "a"));
    ck_assert_int_eq(count("SELECT count(*) FROM certificates"), 3);
}
END_TEST

START_TEST(a_deleted_device_leaves_its_id_and_nothing_else) {
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(add("b"), KD_OK);
    ck_assert_err(issue("a", serials[0], "one", KD_BYTES_NONE), KD_OK);
    ck_assert_err(issue("b", serials[1], "two", KD_BYTES_NONE), KD_OK);
    ck_assert_err(kd_store_revoke_device(store, "a", 12), KD_OK);
    ck_assert_err(delete_at("a", 21, 0), KD_OK);
    ck_assert_err(delete_at("a", 21, 0), KD_ERR_NO_DEVICE);
    reopen();
    ck_assert_ptr_null(kd_devices_get(&devices, "a"));
    ck_assert(kd_devices_was_deleted(&devices, "a"));
    ck_assert(kd_devices_shuts_out(&devices, "a"));
    ck_assert(!kd_devices_was_deleted(&devices, "b"));
    ck_assert(!kd_devices_shuts_out(&devices, "b"));
    ck_assert_int_eq(count("SELECT count(*) FROM devices"), 1);
    ck_assert_int_eq(count("SELECT count(*) FROM certificates WHERE device = 'b'"), 1);
    ck_assert_int_eq(count("SELECT count(*) FROM certificates"), 1);
    ck_assert_str_eq(peer_now(), "b=two");
}
END_TEST

START_TEST(who_is_revoked_or_deleted_is_shut_out_and_nobody_else) {
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(add("b"), KD_OK);
    ck_assert_err(kd_store_revoke_device(store, "b", 12), KD_OK);
    load();
    ck_assert_err(kd_devices_note_deleted(&devices, "c"), KD_OK);
    ck_assert_err(kd_devices_note_deleted(&devices, "c"), KD_OK);
    ck_assert(!kd_devices_shuts_out(&devices, "a"));
    ck_assert(kd_devices_shuts_out(&devices, "b"));
    ck_assert(kd_devices_shuts_out(&devices, "c"));
    ck_assert(!kd_devices_shuts_out(&devices, "d"));
    kd_devices_unnote_deleted(&devices, "c");
    kd_devices_unnote_deleted(&devices, "c");
    ck_assert(!kd_devices_shuts_out(&devices, "c"));
}
END_TEST

static struct kd_device_certificate certificate_of(const char *der, uint8_t first) {
    struct kd_device_certificate c = { .der = KD_BUF_INIT(64), .hash = { first } };
    kd_buf_text(&c.der, der);
    return c;
}

START_TEST(memory_knows_the_current_and_the_previous_certificate_and_no_other) {
    ck_assert_err(add("a"), KD_OK);
    load();
    struct kd_device_entry *e = kd_devices_get(&devices, "a");
    struct kd_bytes asked = KD_BYTES_NONE;
    uint8_t keys[4][32] = { { 1 }, { 2 }, { 3 }, { 4 } };
    // Asked for with: the secret; the first; the first again; the third.
    static const uint8_t with[] = { 0, 1, 1, 3 };
    static const char known[4][5] = { "1000", "1100", "1010", "0011" };
    for (uint8_t i = 0; i < 4; i++) {
        struct kd_device_certificate c = certificate_of("der", (uint8_t)(i + 1));
        asked = with[i] == 0 ? KD_BYTES_NONE : (struct kd_bytes) { keys[with[i] - 1], 32 };
        ck_assert_err(kd_devices_keep_places(&devices), KD_OK);
        kd_devices_renew(&devices, e, &c, asked);
        for (size_t k = 0; k < 4; k++) {
            const struct kd_bytes by = { keys[k], 32 };
            ck_assert_msg((kd_devices_by_hash(&devices, by) == e) == (known[i][k] == '1'),
                          "after %u: %zu", i + 1, k + 1);
        }
    }
    ck_assert_int_eq(e->state, KD_DEVICE_ACTIVE);
}
END_TEST

START_TEST(devices_are_in_the_order_of_their_ids) {
    static const char *const ids[] = { "m", "a", "z", "b" };
    for (size_t i = 0; i < KD_COUNT_OF(ids); i++) {
        ck_assert_err(add(ids[i]), KD_OK);
    }
    load();
    ck_assert_str_eq(kd_devices_next(&devices, NULL)->id, "a");
    ck_assert_str_eq(kd_devices_next(&devices, "a")->id, "b");
    ck_assert_str_eq(kd_devices_next(&devices, "c")->id, "m"); // which is not there
    ck_assert_ptr_null(kd_devices_next(&devices, "z"));
    kd_devices_remove(&devices, kd_devices_get(&devices, "m"));
    ck_assert_str_eq(kd_devices_next(&devices, "b")->id, "z");
}
END_TEST

START_TEST(what_keyd_did_not_write_is_refused) {
    static const char *const spoils[] = {
        "UPDATE devices SET state = 3",
        "UPDATE devices SET usage = 2",
        "UPDATE devices SET secret = x'00'",
        "UPDATE devices SET relation = 'a b'",
        "UPDATE devices SET id = '../a'",
        "UPDATE devices SET serial = x''",
        "UPDATE certificates SET serial = x'00'; UPDATE devices SET serial = x'00'",
    };
    ck_assert_err(add("a"), KD_OK);
    ck_assert_err(issue("a", serials[0], "one", KD_BYTES_NONE), KD_OK);
    for (size_t i = 0; i < KD_COUNT_OF(spoils); i++) {
        char text[256];
        snprintf(text, sizeof(text), "BEGIN; %s", spoils[i]);
        ck_assert_int_eq(sqlite3_exec(store->db, text, NULL, NULL, NULL), SQLITE_OK);
        kd_devices_wipe(&devices);
        ck_assert_msg(kd_store_load_devices(store, kd_devices_load, &devices) == KD_ERR_STORE, "%s",
                      spoils[i]);
        ck_assert_int_eq(sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    }
    load();
    ck_assert_int_eq(
        sqlite3_exec(store->db, "INSERT INTO deleted_devices VALUES('../a')", NULL, NULL, NULL),
        SQLITE_OK);
    ck_assert_err(kd_store_load_deleted(store, kd_devices_note_deleted, &devices), KD_ERR_STORE);
}
END_TEST

// A child revokes and deletes one device after the other and is killed: each id is that of a device
// or of a deleted one, and what was said to be deleted is.
START_TEST(a_kill_between_two_steps_leaves_no_half_of_a_delete) {
    enum { DEVICES = 50, SEEN = 16 };
    for (int i = 0; i < DEVICES; i++) {
        char id[16];
        uint8_t serial[KD_CA_SERIAL_BYTES] = { 9, (uint8_t)i };
        snprintf(id, sizeof(id), "d%02d", i);
        ck_assert_err(add(id), KD_OK);
        ck_assert_err(issue(id, serial, id, KD_BYTES_NONE), KD_OK);
    }
    kd_store_close(store);
    store = NULL;
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < DEVICES && (i > 0 || kd_store_open(directory, &store) == KD_OK); i++) {
            char id[16];
            uint64_t until_ms = 0;
            snprintf(id, sizeof(id), "d%02d", i);
            if (kd_store_revoke_device(store, id, 12) != KD_OK ||
                kd_store_delete_device(store, id, 21, &until_ms) != KD_OK ||
                write(ends[1], "x", 1) != 1) {
                break;
            }
        }
        pause();
        _exit(0);
    }
    char given[SEEN];
    for (int i = 0; i < SEEN; i++) {
        ck_assert_int_eq(read(ends[0], &given[i], 1), 1);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
    load();
    const long deleted = count("SELECT count(*) FROM deleted_devices");
    ck_assert_int_ge(deleted, SEEN);
    ck_assert_int_eq(count("SELECT count(*) FROM devices"), DEVICES - deleted);
    ck_assert_int_eq(count("SELECT count(*) FROM certificates"), DEVICES - deleted);
    ck_assert_int_eq(count("SELECT count(*) FROM devices JOIN deleted_devices USING(id)"), 0);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

// A child issues one certificate after the other and is killed: each is whole or not there.
START_TEST(a_kill_between_two_steps_leaves_no_half_of_a_certificate) {
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof(id), "d%d", i);
        ck_assert_err(add(id), KD_OK);
    }
    kd_store_close(store);
    store = NULL;
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        uint8_t serial[KD_CA_SERIAL_BYTES] = { 9 };
        for (int i = 0; i < 50 && (i > 0 || kd_store_open(directory, &store) == KD_OK); i++) {
            char id[16];
            snprintf(id, sizeof(id), "d%d", i);
            serial[1] = (uint8_t)i;
            if (issue(id, serial, id, KD_BYTES_NONE) != KD_OK || write(ends[1], "x", 1) != 1) {
                break;
            }
        }
        pause();
        _exit(0);
    }
    char given[16];
    for (int i = 0; i < 16; i++) {
        ck_assert_int_eq(read(ends[0], &given[i], 1), 1);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
    load();
    const long active = count("SELECT count(*) FROM devices WHERE state = 1");
    ck_assert_int_ge(active, 16);
    ck_assert_int_eq(active, count("SELECT count(*) FROM certificates"));
    ck_assert_int_eq(active, count("SELECT count(*) FROM peers"));
    close(ends[0]);
    close(ends[1]);
}
END_TEST

static TCase *tcase_devices(void) {
    TCase *t = tcase_create("devices");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_device_is_as_it_was_after_a_restart);
    tcase_add_test(t, a_certificate_comes_with_its_peer_and_uses_up_the_secret);
    tcase_add_test(t, a_certificate_for_a_revoked_or_unknown_device_leaves_nothing);
    tcase_add_test(t, a_serial_is_given_once);
    tcase_add_test(t, a_renewal_keeps_the_certificate_that_it_was_asked_for_with);
    tcase_add_test(t, a_revocation_takes_the_peer_and_marks_each_certificate);
    tcase_add_test(t, a_device_that_is_not_over_is_not_deleted);
    tcase_add_test(t, a_deleted_device_leaves_its_id_and_nothing_else);
    tcase_add_test(t, who_is_revoked_or_deleted_is_shut_out_and_nobody_else);
    tcase_add_test(t, memory_knows_the_current_and_the_previous_certificate_and_no_other);
    tcase_add_test(t, devices_are_in_the_order_of_their_ids);
    tcase_add_test(t, what_keyd_did_not_write_is_refused);
    tcase_add_test(t, a_kill_between_two_steps_leaves_no_half_of_a_certificate);
    tcase_add_test(t, a_kill_between_two_steps_leaves_no_half_of_a_delete);
    return t;
}

UNIT_MAIN("devices", tcase_devices())
