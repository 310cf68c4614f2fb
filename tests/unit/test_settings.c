// SPDX-License-Identifier: Apache-2.0
// test_settings.c: the few keys of keyd.conf that keydctl reads.
#include "client/settings.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static enum kd_err read_text(const char *text, struct kd_settings *s) {
    strcpy(path, "/tmp/keyd-settings.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    enum kd_err e = kd_settings_read(path, s);
    unlink(path);
    return e;
}

START_TEST(a_named_file_must_be_there) {
    kd_auto(settings) struct kd_settings s = { 0 };
    ck_assert_err(kd_settings_read("/nonexistent/keyd.conf", &s), KD_ERR_NO_FILE);
    ck_assert_ptr_null(s.file);
    setenv("KEYD_CONFIG", "/nonexistent/keyd.conf", 1);
    ck_assert_err(kd_settings_read(NULL, &s), KD_ERR_NO_FILE);
    unsetenv("KEYD_CONFIG");
}
END_TEST

START_TEST(a_file_with_bad_syntax_is_refused) {
    kd_auto(settings) struct kd_settings s = { 0 };
    ck_assert_err(read_text("http { unix-path = \n", &s), KD_ERR_CONFIG);
    ck_assert_err(read_text("http }\n", &s), KD_ERR_CONFIG);
    ck_assert_err(read_text("token { environment = { \"a\"\n", &s), KD_ERR_CONFIG);
    ck_assert_ptr_null(s.file);
}
END_TEST

// All kinds of values that keyd.conf may have, in sections that are known.
static const char whole[] = "# a comment\n"
                            "state-directory = \"/s\"\n"
                            "log-level = \"info\"\n"
                            "stop-timeout = 5\n"
                            "token {\n"
                            "  module = \"/m.so\"\n"
                            "  init-args = \"a='b'\"\n"
                            "  environment = { \"A=1\", \"B=2\" }\n"
                            "  uri = \"pkcs11:token=t\"\n"
                            "  pin-file = \"/p\"\n"
                            "}\n"
                            "workers { processes = 2\n threads = 1\n program = \"/w\" }\n"
                            "http {\n"
                            "  unix-mode = 0600\n"
                            "  unix-path = \"/r/keyd.sock\"\n"
                            "  tcp-address = \"127.0.0.1\"\n"
                            "}\n"
                            "secrets { lifetime-max = 5\n allow-extractable = false }\n"
                            "policy-file = \"/pol\"\n";

START_TEST(its_keys_are_read_and_others_passed_over) {
    kd_auto(settings) struct kd_settings s = { 0 };
    ck_assert_err(read_text(whole, &s), KD_OK);
    ck_assert_str_eq(s.file, path);
    ck_assert_str_eq(s.state_directory, "/s");
    ck_assert_str_eq(s.module, "/m.so");
    ck_assert_str_eq(s.module_args, "a='b'");
    ck_assert_uint_eq(s.n_environment, 2);
    ck_assert_str_eq(s.environment[1], "B=2");
    ck_assert_str_eq(s.uri, "pkcs11:token=t");
    ck_assert_str_eq(s.pin_file, "/p");
    ck_assert_str_eq(s.worker_program, "/w");
    ck_assert_str_eq(s.socket, "/r/keyd.sock");
    ck_assert_str_eq(s.policy_file, "/pol");
}
END_TEST

// docs/keyd.conf.sample has every key of every section, commented out: with the
// marks gone all of them are set.
START_TEST(every_key_of_the_sample_is_read_or_passed_over) {
    const char *root = getenv("KD_SRCDIR");
    kd_auto(settings) struct kd_settings s = { 0 };
    kd_auto(buf) struct kd_buf all = KD_BUF_INIT(1 << 16);
    char name[512];
    char line[512];
    snprintf(name, sizeof(name), "%s/docs/keyd.conf.sample", root == NULL ? "." : root);
    FILE *f = fopen(name, "r");
    ck_assert_ptr_nonnull(f);
    size_t n_set = 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        const char *mark = strstr(line, "# ");
        const bool is_set = mark != NULL && strstr(mark, " = ") != NULL;
        n_set += is_set ? 1 : 0;
        kd_buf_text(&all, is_set ? mark + 2 : line);
    }
    fclose(f);
    ck_assert_uint_gt(n_set, 50);
    ck_assert_err(read_text(kd_buf_get_text(&all), &s), KD_OK);
    ck_assert_ptr_nonnull(s.policy_file);
}
END_TEST

START_TEST(an_empty_file_sets_nothing) {
    kd_auto(settings) struct kd_settings s = { 0 };
    ck_assert_err(read_text("", &s), KD_OK);
    ck_assert_ptr_nonnull(s.file);
    ck_assert_ptr_null(s.socket);
    ck_assert_uint_eq(s.n_environment, 0);
}
END_TEST

START_TEST(the_users_folder_follows_the_environment) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(256);
    setenv("HOME", "/home/u", 1);
    unsetenv("XDG_DATA_HOME");
    ck_assert_err(kd_settings_user_directory(&b), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&b), "/home/u/.local/share/keyd");
    kd_buf_reset(&b);
    setenv("XDG_DATA_HOME", "/data", 1);
    ck_assert_err(kd_settings_user_directory(&b), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&b), "/data/keyd");
    kd_buf_reset(&b);
    setenv("XDG_DATA_HOME", "relative", 1);
    unsetenv("HOME");
    ck_assert_err(kd_settings_user_directory(&b), KD_ERR_NO_FILE);
}
END_TEST

static TCase *tcase_settings(void) {
    TCase *t = tcase_create("settings");
    tcase_add_test(t, a_named_file_must_be_there);
    tcase_add_test(t, a_file_with_bad_syntax_is_refused);
    tcase_add_test(t, its_keys_are_read_and_others_passed_over);
    tcase_add_test(t, every_key_of_the_sample_is_read_or_passed_over);
    tcase_add_test(t, an_empty_file_sets_nothing);
    tcase_add_test(t, the_users_folder_follows_the_environment);
    return t;
}

UNIT_MAIN("settings", tcase_settings())
