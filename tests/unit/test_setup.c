// SPDX-License-Identifier: Apache-2.0
// test_setup.c: the files that keydctl init makes, and those it leaves alone.
#include "client/setup.h"

#include "client/io.h"
#include "client/settings.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct kd_setup setup;
static char why[KD_SETUP_PATH_BYTES];

static void begin(void) {
    strcpy(folder, "/tmp/keyd-setup.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    setup = (struct kd_setup) {
        .module = "/m.so", .label = "box", .worker = "/w/keyd-hsm", .is_softhsm = true
    };
    char inner[80];
    snprintf(inner, sizeof(inner), "%s/a/b", folder);
    ck_assert_err(kd_setup_places(inner, &setup, why), KD_OK);
}

static void end(void) {
    kd_setup_undo(&setup);
    rmdir(setup.state);
    rmdir(setup.tokens);
    rmdir(setup.run);
    rmdir(setup.folder);
    char outer[80];
    snprintf(outer, sizeof(outer), "%s/a", folder);
    rmdir(outer);
    ck_assert_int_eq(rmdir(folder), 0); // nothing else was made
}

static unsigned mode_of(const char *path) {
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    return st.st_mode & 0777;
}

START_TEST(folders_that_files_could_not_name_are_refused) {
    static const char *const bad[] = { "/tmp/a\"b", "/tmp/a\\b", "/tmp/$HOME",
                                       "/tmp/a\nb", "/tmp/a#b",  "/tmp/a'b" };
    struct kd_setup s = { 0 };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_err(kd_setup_places(bad[i], &s, why), KD_ERR_CONFIG);
    }
    char path[KD_SETUP_PATH_BYTES + 10];
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[107 - strlen("/run/keyd.sock")] = '\0'; // as long as a socket in it may be
    ck_assert_err(kd_setup_places(path, &s, why), KD_OK);
    ck_assert_uint_eq(strlen(s.socket), 107);
    path[107 - strlen("/run/keyd.sock")] = 'a';
    path[108 - strlen("/run/keyd.sock")] = '\0';
    ck_assert_err(kd_setup_places(path, &s, why), KD_ERR_CONFIG);
    memset(path + 1, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    ck_assert_err(kd_setup_places(path, &s, why), KD_ERR_CONFIG);
}
END_TEST

START_TEST(a_file_that_is_there_stops_and_stays) {
    const char *present[KD_SETUP_FILES];
    ck_assert_uint_eq(kd_setup_find_present(&setup, present), 0);
    ck_assert_err(kd_setup_make_folders(&setup), KD_OK);
    ck_assert_err(kd_io_write(setup.pin, kd_bytes_of_text("1234\n")), KD_OK);
    ck_assert_uint_eq(kd_setup_find_present(&setup, present), 1);
    ck_assert_str_eq(present[0], setup.pin);
    ck_assert_err(kd_setup_write_token_files(&setup), KD_ERR_KEY_EXISTS);
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(64);
    ck_assert_err(kd_io_read(setup.pin, 10, &b), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&b), "1234\n");
    // Where the token is there already its PIN is the user's: kept by an undo.
    setup.has_token = true;
    ck_assert_uint_eq(kd_setup_find_present(&setup, present), 0);
    kd_setup_undo(&setup);
    ck_assert_int_eq(access(setup.pin, F_OK), 0);
    setup.has_token = false;
}
END_TEST

START_TEST(folder_that_others_may_write_gets_no_pin) {
    char parent[KD_SETUP_PATH_BYTES + 4];
    ck_assert_err(kd_setup_make_folders(&setup), KD_OK);
    ck_assert_int_eq(chmod(setup.folder, 0777), 0);
    ck_assert_err(kd_setup_make_folders(&setup), KD_ERR_DENIED);
    ck_assert_int_eq(chmod(setup.folder, 01777), 0); // whose is what is made in it?
    ck_assert_err(kd_setup_make_folders(&setup), KD_ERR_DENIED);
    ck_assert_int_eq(chmod(setup.folder, 0700), 0);
    snprintf(parent, sizeof(parent), "%s/..", setup.folder);
    ck_assert_int_eq(chmod(parent, 0777), 0); // it could be replaced
    ck_assert_err(kd_setup_make_folders(&setup), KD_ERR_DENIED);
    ck_assert_int_eq(chmod(parent, 01777), 0);
    ck_assert_err(kd_setup_make_folders(&setup), KD_OK);
    ck_assert_int_eq(chmod(parent, 0700), 0);
}
END_TEST

START_TEST(pins_are_private_long_and_different) {
    ck_assert_err(kd_setup_make_folders(&setup), KD_OK);
    ck_assert_err(kd_setup_write_token_files(&setup), KD_OK);
    ck_assert_uint_eq(mode_of(setup.pin), 0600);
    ck_assert_uint_eq(mode_of(setup.so_pin), 0600);
    ck_assert_uint_eq(mode_of(setup.folder), 0700);
    ck_assert_uint_eq(mode_of(setup.run), 0700);
    kd_auto(buf) struct kd_buf pin = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf so_pin = KD_BUF_INIT(64);
    ck_assert_err(kd_io_read(setup.pin, 60, &pin), KD_OK);
    ck_assert_err(kd_io_read(setup.so_pin, 60, &so_pin), KD_OK);
    ck_assert_uint_eq(pin.n, 33);
    ck_assert_uint_eq(strspn(kd_buf_get_text(&pin), "0123456789abcdef"), 32);
    ck_assert(!kd_bytes_equal(kd_buf_get(&pin), kd_buf_get(&so_pin)));
}
END_TEST

START_TEST(the_configuration_reads_back) {
    ck_assert_err(kd_setup_make_folders(&setup), KD_OK);
    ck_assert_err(kd_setup_write_token_files(&setup), KD_OK);
    ck_assert_err(kd_setup_write_config(&setup), KD_OK);
    kd_auto(settings) struct kd_settings s = { 0 };
    ck_assert_err(kd_settings_read(setup.config, &s), KD_OK);
    ck_assert_str_eq(s.socket, setup.socket);
    ck_assert_str_eq(s.module, "/m.so");
    ck_assert_str_eq(s.uri, "pkcs11:token=box");
    ck_assert_str_eq(s.pin_file, setup.pin);
    ck_assert_str_eq(s.policy_file, setup.policy);
    ck_assert_str_eq(s.worker_program, "/w/keyd-hsm");
    ck_assert_uint_eq(s.n_environment, 1);
    ck_assert_ptr_nonnull(strstr(s.environment[0], setup.softhsm));
    kd_setup_undo(&setup);
    const char *present[KD_SETUP_FILES];
    ck_assert_uint_eq(kd_setup_find_present(&setup, present), 0);
}
END_TEST

static TCase *tcase_setup(void) {
    TCase *t = tcase_create("setup");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, folders_that_files_could_not_name_are_refused);
    tcase_add_test(t, a_file_that_is_there_stops_and_stays);
    tcase_add_test(t, folder_that_others_may_write_gets_no_pin);
    tcase_add_test(t, pins_are_private_long_and_different);
    tcase_add_test(t, the_configuration_reads_back);
    return t;
}

UNIT_MAIN("setup", tcase_setup())
