// SPDX-License-Identifier: Apache-2.0
// test_io.c: bounded reading, writing that replaces nothing secret, and forms.
#include "client/io.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[96];

static void make_folder(void) {
    strcpy(folder, "/tmp/keyd-io.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
}

static void remove_folder(void) {
    unlink(path);
    rmdir(folder);
}

START_TEST(reads_up_to_the_limit_and_not_a_byte_more) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(100);
    ck_assert_err(kd_io_read(path, 10, &b), KD_ERR_NO_FILE);
    ck_assert_err(kd_io_write(path, kd_bytes_of_text("0123456789")), KD_OK);
    ck_assert_err(kd_io_read(path, 9, &b), KD_ERR_ITEM_TOO_LARGE);
    kd_buf_reset(&b);
    ck_assert_err(kd_io_read(path, 10, &b), KD_OK);
    ck_assert_uint_eq(b.n, 10);
    ck_assert_err(kd_io_read(folder, 10, &b), KD_ERR_SYSTEM);
}
END_TEST

START_TEST(a_new_file_replaces_nothing_and_has_its_mode) {
    struct stat st;
    ck_assert_err(kd_io_write_new(path, kd_bytes_of_text("a"), 0600), KD_OK);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_err(kd_io_write_new(path, kd_bytes_of_text("b"), 0600), KD_ERR_KEY_EXISTS);
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(100);
    ck_assert_err(kd_io_read(path, 10, &b), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&b), "a");
    unlink(path);
    ck_assert_int_eq(symlink("/tmp/keyd-io-elsewhere", path), 0); // nor follows a link
    ck_assert_err(kd_io_write_new(path, kd_bytes_of_text("b"), 0600), KD_ERR_KEY_EXISTS);
}
END_TEST

START_TEST(an_existing_file_is_replaced_whole) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(100);
    ck_assert_err(kd_io_write(path, kd_bytes_of_text("long")), KD_OK);
    ck_assert_err(kd_io_write(path, kd_bytes_of_text("x")), KD_OK);
    ck_assert_err(kd_io_read(path, 10, &b), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&b), "x");
}
END_TEST

static void check_form(enum kd_form form, const char *text) {
    static const uint8_t bytes[] = { 0xfb, 0xff, 0x00 };
    const struct kd_bytes in = { bytes, sizeof(bytes) };
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf back = KD_BUF_INIT(64);
    ck_assert_err(kd_form_write(form, in, &out), KD_OK);
    ck_assert(kd_bytes_equal(kd_buf_get(&out), text == NULL ? in : kd_bytes_of_text(text)));
    ck_assert_err(kd_form_read(form, kd_buf_get(&out), &back), KD_OK);
    ck_assert(kd_bytes_equal(kd_buf_get(&back), in));
}

START_TEST(forms_go_there_and_back) {
    enum kd_form form;
    check_form(KD_FORM_BASE64URL, "-_8A\n");
    check_form(KD_FORM_HEX, "fbff00\n");
    check_form(KD_FORM_RAW, NULL);
    ck_assert(!kd_form_parse("", &form));
    ck_assert(!kd_form_parse("BASE64", &form));
    ck_assert(kd_form_parse("der", &form) && form == KD_FORM_DER);
}
END_TEST

START_TEST(forms_refuse_what_is_not_theirs) {
    static const struct {
        enum kd_form form;
        const char *text;
    } bad[] = {
        { KD_FORM_BASE64URL, "-_8A=" }, { KD_FORM_BASE64URL, "+/8A" }, { KD_FORM_BASE64URL, "a" },
        { KD_FORM_BASE64URL, " -_8A" }, { KD_FORM_HEX, "fbf" },        { KD_FORM_HEX, "fbfg" },
        { KD_FORM_HEX, "0x01" },        { KD_FORM_HEX, "fb ff" },
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        kd_auto(buf) struct kd_buf out = KD_BUF_INIT(64);
        ck_assert_err(kd_form_read(bad[i].form, kd_bytes_of_text(bad[i].text), &out),
                      KD_ERR_BAD_BASE64);
    }
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(64);
    ck_assert_err(kd_form_read(KD_FORM_HEX, kd_bytes_of_text("\r\n"), &out), KD_OK);
    ck_assert_uint_eq(out.n, 0);
}
END_TEST

static TCase *tcase_io(void) {
    TCase *t = tcase_create("io");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, reads_up_to_the_limit_and_not_a_byte_more);
    tcase_add_test(t, a_new_file_replaces_nothing_and_has_its_mode);
    tcase_add_test(t, an_existing_file_is_replaced_whole);
    tcase_add_test(t, forms_go_there_and_back);
    tcase_add_test(t, forms_refuse_what_is_not_theirs);
    return t;
}

UNIT_MAIN("io", tcase_io())
