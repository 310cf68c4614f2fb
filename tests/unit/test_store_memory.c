// SPDX-License-Identifier: Apache-2.0
// The store where SQLite lacks memory: each change is made as a whole or not at all, what is read
// is whole, and the same store goes on.
#include "keyd/store.h"
#include "keyd/store_devices.h"
#include "tests/unit/failing_memory.h"
#include "folder.h"
#include "unit.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char directory[64];
static struct kd_store *store;
static char seen[4096];
static sqlite3_mem_methods real;

static void *failing_malloc(int n) {
    return memory_is_missing() ? NULL : real.xMalloc(n);
}

static void *failing_realloc(void *p, int n) {
    return memory_is_missing() ? NULL : real.xRealloc(p, n);
}

static void see(const char *what, const char *name, unsigned first, unsigned second) {
    const size_t at = strlen(seen);
    snprintf(seen + at, sizeof(seen) - at, "%s %s %u %u; ", what, name, first, second);
}

static enum kd_err see_version(void *arg KD_UNUSED, const struct kd_store_row *row) {
    see("version", row->name, row->version.number,
        (unsigned)row->version.state + (row->is_deleting ? 100 : 0) + row->last_number * 1000);
    return KD_OK;
}

static enum kd_err see_peer(void *arg KD_UNUSED, const struct kd_store_peer *peer) {
    see("peer", peer->name, (unsigned)peer->point.n, (unsigned)peer->kid.n);
    return KD_OK;
}

static enum kd_err see_ended(void *arg KD_UNUSED, const struct kd_store_ended *row) {
    see("ended", "", (unsigned)row->kind, (unsigned)row->made_ms);
    return KD_OK;
}

static enum kd_err look(void) {
    kd_auto(buf) struct kd_buf fact = KD_BUF_INIT(64);
    enum kd_err r;
    seen[0] = '\0';
    if ((r = kd_store_load(store, see_version, NULL)) != KD_OK ||
        (r = kd_store_load_peers(store, see_peer, NULL)) != KD_OK ||
        (r = kd_store_load_ended(store, see_ended, NULL)) != KD_OK ||
        (r = kd_store_get_fact(store, "fact", &fact)) != KD_OK) {
        return r;
    }
    see("fact", "", (unsigned)fact.n, 0);
    return KD_OK;
}

static const char *all(char keep[static sizeof(seen)]) {
    memory_pause();
    ck_assert_err(look(), KD_OK);
    memory_resume();
    memcpy(keep, seen, sizeof(seen));
    return keep;
}

static void reopen(void) {
    memory_pause();
    kd_store_close(store);
    store = NULL;
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
    memory_resume();
}

static void set_up(void) {
    sqlite3_mem_methods failing;
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real), SQLITE_OK);
    failing = real;
    failing.xMalloc = failing_malloc;
    failing.xRealloc = failing_realloc;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &failing), SQLITE_OK);
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
    snprintf(directory, sizeof(directory), "%s", "/tmp/keyd-test-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
}

static void tear_down(void) {
    kd_store_close(store);
    folder_remove(directory);
}

// ---- what is done ----------------------------------------------------------

static const struct kd_key_version version = {
    .number = 2,
    .state = KD_VERSION_ENABLED,
    .created_ms = 6,
    .ref = { .type = KD_KEY_HMAC_SHA256, .id = { (const uint8_t *)"id", 2 } },
};

static enum kd_err add(void) {
    struct kd_store_row row = { .name = "b",
                                .type = KD_KEY_HMAC_SHA256,
                                .usages = KD_USE_SIGN,
                                .origin = KD_ORIGIN_CREATED,
                                .version = version };
    row.version.number = 1;
    return kd_store_add(store, &row);
}

static enum kd_err add_pending(void) {
    struct kd_store_row row = { .name = "a",
                                .type = KD_KEY_HMAC_SHA256,
                                .usages = KD_USE_SIGN,
                                .origin = KD_ORIGIN_CREATED,
                                .version = version };
    row.version.state = KD_VERSION_PENDING;
    return kd_store_add(store, &row);
}

static enum kd_err enable(void) {
    return kd_store_enable(store, "a", &version);
}

static enum kd_err disable(void) {
    return kd_store_set_state(store, "b", 0, KD_VERSION_DISABLED);
}

static enum kd_err add_older(void) {
    struct kd_store_row row = { .name = "a",
                                .type = KD_KEY_HMAC_SHA256,
                                .usages = KD_USE_SIGN,
                                .origin = KD_ORIGIN_CREATED,
                                .version = version };
    row.version.number = 1;
    return kd_store_add(store, &row);
}

static enum kd_err begin_destroy(void) {
    return kd_store_set_state(store, "a", 2, KD_VERSION_DESTROYING);
}

static enum kd_err forget(void) {
    return kd_store_forget(store, "a", 2);
}

static enum kd_err begin_delete(void) {
    return kd_store_begin_delete(store, "b");
}

static enum kd_err delete (void) { return kd_store_delete(store, "b"); }

static enum kd_err add_peer(void) {
    const struct kd_store_peer peer = { .name = "p",
                                        .point = { (const uint8_t *)"point", 5 },
                                        .kid = { (const uint8_t *)"k", 1 },
                                        .uri = "" };
    return kd_store_add_peer(store, &peer);
}

static enum kd_err delete_peer(void) {
    return kd_store_delete_peer(store, "p");
}

static enum kd_err add_ended(void) {
    const struct kd_store_ended other = {
        .kind = KD_ENDED_SESSION, .name = { (const uint8_t *)"s", 1 }, .made_ms = 1, .until_ms = 9
    };
    const struct kd_store_ended one = { .kind = KD_ENDED_PEER,
                                        .name = { (const uint8_t *)"p", 1 },
                                        .made_ms = 2,
                                        .until_ms = 9,
                                        .next = &other };
    return kd_store_add_ended(store, &one);
}

static enum kd_err trim_ended(void) {
    return kd_store_trim_ended(store, 3, 4);
}

static enum kd_err set_fact(void) {
    return kd_store_set_fact(store, "fact", kd_bytes_of_text("value"));
}

// In this order each changes something.
static enum kd_err (*const changes[])(void) = {
    add,          add_pending, enable,   disable,     add_older, begin_destroy, forget,
    begin_delete, delete,      add_peer, delete_peer, add_ended, trim_ended,    set_fact,
};

static bool is_want_of_memory(enum kd_err r) {
    return memory_has_failed() && (r == KD_ERR_NO_MEMORY || r == KD_ERR_STORE);
}

// The change is made in the first turn that nothing stops; some of SQLite's own wants are no harm.
static void must_be_whole(enum kd_err (*change)(void), bool is_fresh) {
    char before[sizeof(seen)], after[sizeof(seen)];
    unsigned n_refused = 0;
    enum kd_err r = KD_ERR_STORE;
    all(before);
    for (unsigned turn = 0; r != KD_OK && memory_fails_at(turn); turn++) {
        if (is_fresh) { // no statement is prepared, no page read
            reopen();
        }
        r = change();
        ck_assert_msg(r == KD_OK || is_want_of_memory(r), "turn %u: %s", turn, kd_err_name(r));
        n_refused += r != KD_OK;
        all(after);
        ck_assert_msg((strcmp(before, after) != 0) == (r == KD_OK), "turn %u: %s: %s, then %s",
                      turn, kd_err_name(r), before, after);
    }
    (void)memory_has_failed();
    if (r != KD_OK) {
        ck_assert_err(change(), KD_OK);
    }
    ck_assert(!is_fresh || n_refused > 0);
}

START_TEST(a_change_is_made_whole_or_not_at_all) {
    for (size_t i = 0; i < KD_COUNT_OF(changes); i++) {
        must_be_whole(changes[i], _i == 0);
    }
    char last[sizeof(seen)], again[sizeof(seen)];
    all(last);
    reopen();
    ck_assert_str_eq(all(again), last);
}
END_TEST

START_TEST(what_is_read_is_whole_or_there_is_an_error) {
    char right[sizeof(seen)];
    unsigned turn = 0;
    ck_assert_err(add(), KD_OK);
    ck_assert_err(add_pending(), KD_OK);
    ck_assert_err(add_peer(), KD_OK);
    ck_assert_err(add_ended(), KD_OK);
    ck_assert_err(set_fact(), KD_OK);
    all(right);
    for (; memory_fails_at(turn); turn++) {
        reopen();
        const enum kd_err r = look();
        ck_assert_msg(r == KD_OK ? strcmp(seen, right) == 0 : is_want_of_memory(r), "turn %u: %s",
                      turn, kd_err_name(r));
    }
    ck_assert_uint_gt(turn, 5);
}
END_TEST

START_TEST(a_store_opens_or_there_is_an_error) {
    unsigned turn = 0, n_refused = 0;
    kd_store_close(store);
    store = NULL;
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = kd_store_open(directory, &store);
        ck_assert_msg(r == KD_OK ? store != NULL : store == NULL && is_want_of_memory(r),
                      "turn %u: %s", turn, kd_err_name(r));
        n_refused += r != KD_OK;
        kd_store_close(store);
        store = NULL;
    }
    ck_assert_uint_gt(n_refused, 5);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("memory");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, a_change_is_made_whole_or_not_at_all, 0, 2);
    tcase_add_test(t, what_is_read_is_whole_or_there_is_an_error);
    tcase_add_test(t, a_store_opens_or_there_is_an_error);
    return t;
}

UNIT_MAIN("store memory", tcase_memory())
