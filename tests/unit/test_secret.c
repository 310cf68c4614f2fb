// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[] = "/tmp/keyd-test-secret-XXXXXX";

static void make_file(const void *bytes, size_t n, mode_t mode) {
    memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

static void check_refused(const void *bytes, size_t n, mode_t mode) {
    struct kd_secret *s = NULL;
    make_file(bytes, n, mode);
    ck_assert_err(kd_secret_read_file(path, 8, &s), KD_ERR_CONFIG);
    ck_assert_ptr_null(s);
    unlink(path);
}

static void check_read(const char *bytes, const char *expected) {
    kd_auto(secret) struct kd_secret *s = NULL;
    make_file(bytes, strlen(bytes), 0600);
    ck_assert_err(kd_secret_read_file(path, 8, &s), KD_OK);
    ck_assert_uint_eq(kd_secret_len(s), strlen(expected));
    ck_assert(kd_ct_equal((struct kd_bytes) { kd_secret_get(s), kd_secret_len(s) },
                          kd_bytes_of_text(expected)));
    unlink(path);
}

START_TEST(file_that_is_missing_empty_long_or_open_to_all_is_refused) {
    struct kd_secret *s = NULL;
    ck_assert_err(kd_secret_read_file("/nonexistent/pin", 8, &s), KD_ERR_NO_FILE);
    ck_assert_err(kd_secret_read_file("/tmp", 8, &s), KD_ERR_CONFIG);
    check_refused("", 0, 0600);
    check_refused("\n", 1, 0600);
    check_refused("123456789", 9, 0600);
    check_refused("1234", 4, 0604);
    check_refused("1234", 4, 0602);
}
END_TEST

START_TEST(file_gives_its_first_line) {
    check_read("1234", "1234");
    check_read("12345678", "12345678");
    check_read("12345678\n", "12345678");
    check_read("12345678\r\n", "12345678");
    check_read("1234\nmore", "1234");
    check_read(" 12 ", " 12 "); // blanks may be part of a PIN
}
END_TEST

START_TEST(folder_is_own_where_nobody_else_can_put_files) {
    char dir[] = "/tmp/keyd-test-folder-XXXXXX";
    char inner[sizeof(dir) + 16];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(inner, sizeof(inner), "%s/inner", dir);
    ck_assert_int_eq(mkdir(inner, 0700), 0);
    ck_assert(kd_secret_folder_is_own(inner));
    static const struct {
        mode_t of_inner, of_outer;
        bool is_own;
    } cases[] = {
        { 0755, 0755, true },  { 0777, 0700, false }, { 01777, 0700, false },
        { 0700, 0777, false }, { 0700, 01777, true }, { 0707, 0700, false },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        ck_assert_int_eq(chmod(inner, cases[i].of_inner), 0);
        ck_assert_int_eq(chmod(dir, cases[i].of_outer), 0);
        ck_assert_int_eq(kd_secret_folder_is_own(inner), cases[i].is_own);
    }
    ck_assert_int_eq(chdir(dir), 0);
    ck_assert_int_eq(chmod(inner, 0700), 0);
    ck_assert_int_eq(chmod(dir, 0777), 0);
    ck_assert(!kd_secret_folder_is_own("inner"));
    ck_assert_int_eq(chmod(dir, 0700), 0);
    ck_assert(kd_secret_folder_is_own("inner"));
    ck_assert(kd_secret_folder_is_own("./inner/"));
    ck_assert(!kd_secret_folder_is_own("nowhere"));
    ck_assert_int_eq(rmdir(inner), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(secret_is_refused_where_it_cannot_be_locked) {
    struct rlimit none = { 0, 0 };
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    const uid_t self = geteuid();
    if (self == 0) { // root is not bound by the limit
        ck_assert_int_eq(seteuid(65534), 0);
    }
    struct kd_secret *s = NULL;
    const enum kd_err r = kd_secret_new(KD_SECRET_MAX_BYTES, &s); // none that is kept
    ck_assert_int_eq(seteuid(self), 0);
    ck_assert_err(r, KD_ERR_NO_MEMORY);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(secret_can_be_used_to_its_last_byte_and_cut) {
    kd_auto(secret) struct kd_secret *s = NULL;
    ck_assert_err(kd_secret_new(KD_SECRET_MAX_BYTES, &s), KD_OK);
    memset(kd_secret_get(s), 0xa5, kd_secret_len(s));
    kd_secret_truncate(s, 5);
    ck_assert_uint_eq(kd_secret_len(s), 5);
    ck_assert_uint_eq(kd_secret_get(s)[4], 0xa5);
    ck_assert_uint_eq(kd_secret_get(s)[5], 0);
    kd_secret_free(NULL);
}
END_TEST

// Of this process, in pages.
static size_t locked_pages(void) {
    char line[128];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        sscanf(line, "VmLck: %zu", &kib);
    }
    fclose(f);
    return kib * 1024 / (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(page_that_had_a_secret_is_given_out_again_empty_and_locked) {
    const uint8_t none[4096] = { 0 };
    for (int i = 0; i < 3; i++) {
        kd_auto(secret) struct kd_secret *s = NULL;
        ck_assert_err(kd_secret_new(sizeof(none), &s), KD_OK);
        ck_assert_uint_eq(locked_pages(), 1);
        ck_assert_mem_eq(kd_secret_get(s), none, sizeof(none));
        memset(kd_secret_get(s), 0xa5, sizeof(none));
        kd_secret_truncate(s, 5);
    }
}
END_TEST

START_TEST(pages_are_kept_up_to_a_limit) {
    struct kd_secret *s[KD_SECRET_SPARE_MAX + 2] = { NULL };
    for (size_t i = 0; i < KD_COUNT_OF(s); i++) {
        ck_assert_err(kd_secret_new(32, &s[i]), KD_OK);
    }
    ck_assert_uint_eq(locked_pages(), KD_COUNT_OF(s));
    for (size_t i = 0; i < KD_COUNT_OF(s); i++) {
        kd_secret_free(s[i]);
    }
    ck_assert_uint_eq(locked_pages(), KD_SECRET_SPARE_MAX);
    kd_auto(secret) struct kd_secret *large = NULL;
    ck_assert_err(kd_secret_new(KD_SECRET_MAX_BYTES, &large), KD_OK);
    kd_secret_free(KD_STEAL(large));
    ck_assert_uint_eq(locked_pages(), KD_SECRET_SPARE_MAX);
}
END_TEST

// A fork does not inherit the locks.
START_TEST(child_locks_pages_of_its_own) {
    struct kd_secret *s = NULL;
    ck_assert_err(kd_secret_new(32, &s), KD_OK);
    kd_secret_free(s);
    const pid_t child = fork();
    if (child == 0) {
        bool is_good = locked_pages() == 0;
        for (int i = 0; i < 2; i++) {
            is_good = is_good && kd_secret_new(32, &s) == KD_OK && locked_pages() == 1;
            kd_secret_free(s);
        }
        _exit(is_good ? 0 : 1);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(comparison_looks_at_length_and_every_byte) {
    uint8_t a[32] = { 0 };
    uint8_t b[32] = { 0 };
    const struct kd_bytes whole = { a, 32 };
    ck_assert(!kd_ct_equal(whole, (struct kd_bytes) { b, 31 }));
    ck_assert(!kd_ct_equal(whole, KD_BYTES_NONE));
    ck_assert(kd_ct_equal(KD_BYTES_NONE, KD_BYTES_NONE));
    ck_assert(kd_ct_equal(whole, (struct kd_bytes) { b, 32 }));
    for (size_t i = 0; i < 32; i++) {
        b[i] = 1;
        ck_assert(!kd_ct_equal(whole, (struct kd_bytes) { b, 32 }));
        b[i] = 0;
    }
}
END_TEST

static TCase *tcase_secret(void) {
    TCase *t = tcase_create("secret");
    tcase_add_test(t, file_that_is_missing_empty_long_or_open_to_all_is_refused);
    tcase_add_test(t, file_gives_its_first_line);
    tcase_add_test(t, folder_is_own_where_nobody_else_can_put_files);
    tcase_add_test(t, secret_is_refused_where_it_cannot_be_locked);
    tcase_add_test(t, secret_can_be_used_to_its_last_byte_and_cut);
    tcase_add_test(t, page_that_had_a_secret_is_given_out_again_empty_and_locked);
    tcase_add_test(t, pages_are_kept_up_to_a_limit);
    tcase_add_test(t, child_locks_pages_of_its_own);
    tcase_add_test(t, comparison_looks_at_length_and_every_byte);
    return t;
}

UNIT_MAIN("secret", tcase_secret())
