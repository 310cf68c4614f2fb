// SPDX-License-Identifier: Apache-2.0
// The copy of the registry: it is whole, also where the registry changes meanwhile or memory is
// missing, and nobody else can read it.
#include "keyd/store.h"
#include "tests/unit/failing_memory.h"
#include "folder.h"
#include "unit.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEYS = 900, CERTIFICATE_BYTES = 4000 }; // many more pages than are copied at once

static char directory[64];
static char path[128];
static char new_path[128];
static struct kd_store *store;
static struct kd_store_copy *copy;
static uint64_t n_bytes;

static void add(const char *name) {
    static const uint8_t certificate[CERTIFICATE_BYTES];
    const struct kd_store_row row = {
        .name = name,
        .type = KD_KEY_EC_P256,
        .usages = KD_USE_SIGN,
        .origin = KD_ORIGIN_CREATED,
        .certificate = { certificate, sizeof(certificate) },
        .version = { .number = 1, .state = KD_VERSION_ENABLED },
    };
    ck_assert_err(kd_store_add(store, &row), KD_OK);
}

static void add_number(unsigned i) {
    char name[16];
    snprintf(name, sizeof(name), "k%04u", i);
    add(name);
}

static void setup(void) {
    kd_log_set_level(KD_LOG_ERROR);
    snprintf(directory, sizeof(directory), "%s", "/tmp/keyd-test-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_err(kd_store_open(directory, &store), KD_OK);
    snprintf(path, sizeof(path), "%s/backup.db", directory);
    snprintf(new_path, sizeof(new_path), "%s/backup.db.new", directory);
    n_bytes = 0;
}

static void teardown(void) {
    kd_store_copy_free(copy);
    copy = NULL;
    kd_store_close(store);
    folder_remove(directory);
}

// Of what is at `path`: names separated by blanks, the first and the last alone of those with a
// number.  "" where it is no whole database.
static const char *names_in_copy(void) {
    static char names[256];
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    names[0] = '\0';
    ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW &&
        strcmp((const char *)sqlite3_column_text(q, 0), "ok") == 0) {
        sqlite3_finalize(q);
        ck_assert_int_eq(
            sqlite3_prepare_v2(db,
                               "SELECT name FROM keys WHERE name NOT GLOB 'k[0-9]*' OR name ="
                               " (SELECT max(name) FROM keys WHERE name GLOB 'k[0-9]*') OR name ="
                               " (SELECT min(name) FROM keys WHERE name GLOB 'k[0-9]*')"
                               " ORDER BY name",
                               -1, &q, NULL),
            SQLITE_OK);
        while (sqlite3_step(q) == SQLITE_ROW) {
            const size_t at = strlen(names);
            snprintf(names + at, sizeof(names) - at, "%s%s", at == 0 ? "" : " ",
                     (const char *)sqlite3_column_text(q, 0));
        }
    }
    sqlite3_finalize(q);
    sqlite3_close(db);
    return names;
}

static unsigned finish(void) {
    unsigned steps = 0;
    for (n_bytes = 0; n_bytes == 0; steps++) {
        ck_assert_err(kd_store_copy_step(copy, &n_bytes), KD_OK);
    }
    kd_store_copy_free(copy);
    copy = NULL;
    return steps;
}

START_TEST(copy_is_a_whole_registry_that_its_owner_alone_reads) {
    struct stat st;
    add("a");
    umask(0);
    ck_assert_err(kd_store_copy_begin(store, directory, path, &copy), KD_OK);
    ck_assert_uint_eq(finish(), 1);
    ck_assert_str_eq(names_in_copy(), "a");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_uint_eq((uint64_t)st.st_size, n_bytes);
    ck_assert_int_ne(access(new_path, F_OK), 0);
    add("b"); // the registry goes on, the copy stays what it was
    ck_assert_str_eq(names_in_copy(), "a");
}
END_TEST

START_TEST(changes_between_two_steps_are_in_the_copy) {
    for (unsigned i = 1; i <= KEYS; i++) {
        add_number(i);
    }
    ck_assert_err(kd_store_copy_begin(store, directory, path, &copy), KD_OK);
    ck_assert_err(kd_store_copy_step(copy, &n_bytes), KD_OK);
    ck_assert_uint_eq(n_bytes, 0); // of the first pages there is a copy
    ck_assert_err(kd_store_delete(store, "k0001"), KD_OK);
    add("a");
    add_number(KEYS + 1);
    ck_assert_uint_gt(finish(), 1);
    char expected[64];
    snprintf(expected, sizeof(expected), "a k0002 k%04u", KEYS + 1);
    ck_assert_str_eq(names_in_copy(), expected);
}
END_TEST

START_TEST(copy_that_is_not_whole_leaves_the_one_before) {
    add("a");
    ck_assert_err(kd_store_copy_begin(store, directory, path, &copy), KD_OK);
    (void)finish();
    for (unsigned i = 1; i <= KEYS; i++) {
        add_number(i);
    }
    ck_assert_err(kd_store_copy_begin(store, directory, path, &copy), KD_OK);
    ck_assert_err(kd_store_copy_step(copy, &n_bytes), KD_OK);
    kd_store_copy_free(copy);
    copy = NULL;
    ck_assert_str_eq(names_in_copy(), "a");
    ck_assert_int_ne(access(new_path, F_OK), 0);
}
END_TEST

START_TEST(what_a_killed_process_left_is_not_written_into) {
    struct stat st;
    add("a");
    const int fd = open(new_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    ck_assert_int_eq(write(fd, "left", 4), 4);
    ck_assert_err(kd_store_copy_begin(store, directory, path, &copy), KD_OK);
    (void)finish();
    ck_assert_str_eq(names_in_copy(), "a");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq(st.st_size, 4);
    close(fd);
}
END_TEST

START_TEST(what_a_killed_process_left_goes_and_the_copy_before_stays) {
    add("a");
    kd_store_copy_clear(path); // where nothing is
    ck_assert_err(kd_store_copy_begin(store, directory, path, &copy), KD_OK);
    (void)finish();
    const int fd = open(new_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(close(fd), 0);
    kd_store_copy_clear(path);
    ck_assert_int_ne(access(new_path, F_OK), 0);
    ck_assert_str_eq(names_in_copy(), "a");
    ck_assert_int_eq(mkdir(new_path, 0700), 0); // which keyd has not made
    kd_store_copy_clear(path);
    ck_assert_int_eq(access(new_path, F_OK), 0);
}
END_TEST

START_TEST(place_that_cannot_be_written_is_refused) {
    add("a");
    ck_assert_int_eq(mkdir(new_path, 0700), 0);
    ck_assert_err(kd_store_copy_begin(store, directory, path, &copy), KD_ERR_STORE);
    ck_assert_ptr_null(copy);
    ck_assert_int_eq(rmdir(new_path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0); // found at the end
    ck_assert_err(kd_store_copy_begin(store, directory, path, &copy), KD_OK);
    ck_assert_err(kd_store_copy_step(copy, &n_bytes), KD_ERR_STORE);
    ck_assert_uint_eq(n_bytes, 0);
    kd_store_copy_free(copy);
    copy = NULL;
    ck_assert_int_ne(access(new_path, F_OK), 0);
}
END_TEST

static enum kd_err make_copy(void) {
    n_bytes = 0;
    enum kd_err r = kd_store_copy_begin(store, directory, path, &copy);
    while (r == KD_OK && n_bytes == 0) {
        r = kd_store_copy_step(copy, &n_bytes);
    }
    kd_store_copy_free(copy);
    copy = NULL;
    return r;
}

START_TEST(without_memory_there_is_a_whole_copy_or_the_one_before) {
    unsigned turn = 0, n_refused = 0;
    kd_log_set_level(KD_LOG_ERROR);
    add("a");
    ck_assert_err(make_copy(), KD_OK);
    add("b");
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = make_copy();
        n_refused += r != KD_OK;
        memory_pause();
        const char *names = names_in_copy();
        ck_assert_msg(strcmp(names, "a b") == 0 || (r != KD_OK && strcmp(names, "a") == 0),
                      "turn %u: %s, %s", turn, kd_err_name(r), names);
        memory_resume();
    }
    ck_assert_uint_gt(n_refused, 3);
    ck_assert_err(make_copy(), KD_OK);
    ck_assert_str_eq(names_in_copy(), "a b");
}
END_TEST

static sqlite3_mem_methods real;

static void *failing_malloc(int n) {
    return memory_is_missing() ? NULL : real.xMalloc(n);
}

static void *failing_realloc(void *p, int n) {
    return memory_is_missing() ? NULL : real.xRealloc(p, n);
}

static void setup_memory(void) {
    sqlite3_mem_methods mine;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real), SQLITE_OK);
    mine = real;
    mine.xMalloc = failing_malloc;
    mine.xRealloc = failing_realloc;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &mine), SQLITE_OK);
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
    setup();
}

static TCase *tcase_copy(void) {
    TCase *t = tcase_create("copy");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, copy_is_a_whole_registry_that_its_owner_alone_reads);
    tcase_add_test(t, changes_between_two_steps_are_in_the_copy);
    tcase_add_test(t, copy_that_is_not_whole_leaves_the_one_before);
    tcase_add_test(t, what_a_killed_process_left_is_not_written_into);
    tcase_add_test(t, what_a_killed_process_left_goes_and_the_copy_before_stays);
    tcase_add_test(t, place_that_cannot_be_written_is_refused);
    return t;
}

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("memory");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup_memory, teardown);
    tcase_add_test(t, without_memory_there_is_a_whole_copy_or_the_one_before);
    return t;
}

UNIT_MAIN("store backup", tcase_copy(), tcase_memory())
