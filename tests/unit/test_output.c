// SPDX-License-Identifier: Apache-2.0
// test_output.c: tables, members and JSON as people and scripts get them.
#include "client/output.h"
#include "client/rest_json.h"
#include "tests/unit/unit.h"

#include <string.h>

static char *text;
static size_t n_text;
static FILE *out;

static void open_out(void) {
    out = open_memstream(&text, &n_text);
    ck_assert_ptr_nonnull(out);
}

static void close_out(void) {
    fclose(out);
    free(text);
}

static const char *written(void) {
    fflush(out);
    return text;
}

static const char *const heads[] = { "NAME", "TYPE" };

static void print_two_rows(bool terminal) {
    kd_auto(table) struct kd_table *t = NULL;
    ck_assert_err(kd_table_new(heads, 2, &t), KD_OK);
    kd_table_put(t, "a-long-name");
    kd_table_put(t, "ec");
    kd_table_put(t, "\xc3\xa9"); // e with acute: two bytes, one column
    kd_table_put(t, NULL);
    ck_assert_err(kd_table_print(t, out, terminal), KD_OK);
}

START_TEST(control_characters_never_reach_the_terminal) {
    kd_auto(table) struct kd_table *t = NULL;
    ck_assert_err(kd_table_new(heads, 2, &t), KD_OK);
    kd_table_put(t, "a\x1b[31m\nb\tc\xc2\x9b");
    kd_table_printf(t, "%s", "\x7f\xc2\xa0\xc2");
    ck_assert_err(kd_table_print(t, out, false), KD_OK);
    kd_output_text(out, "x\x1b]0;y\x07\xc2\x80z\n");
    ck_assert_str_eq(written(), "a?[31m?b?c??\t?\xc2\xa0\xc2\nx?]0;y??z\n");
}
END_TEST

START_TEST(a_terminal_gets_heads_and_columns) {
    print_two_rows(true);
    ck_assert_str_eq(written(), "NAME         TYPE\na-long-name  ec\n\xc3\xa9            -\n");
}
END_TEST

START_TEST(a_script_gets_rows_with_tabs) {
    print_two_rows(false);
    ck_assert_str_eq(written(), "a-long-name\tec\n\xc3\xa9\t-\n");
}
END_TEST

START_TEST(an_empty_table_has_its_heads_only) {
    kd_auto(table) struct kd_table *t = NULL;
    ck_assert_err(kd_table_new(heads, 2, &t), KD_OK);
    ck_assert_err(kd_table_print(t, out, true), KD_OK);
    ck_assert_str_eq(written(), "NAME  TYPE\n");
}
END_TEST

START_TEST(members_of_every_type_are_lines) {
    kd_auto(json) json_t *v = json_loads("{\"a\": {\"b\": 1, \"c\": null}, \"d\": [\"x\", true], "
                                         "\"e\": [], \"f\": [{\"g\": false}, {\"g\": \"\"}], "
                                         "\"h\": \"l\\u001b\", \"i\": 1.5}",
                                         0, NULL);
    ck_assert_ptr_nonnull(v);
    kd_output_members(out, v);
    ck_assert_str_eq(written(), "a.b: 1\na.c: -\nd: x, yes\ne: -\nf.1.g: no\nf.2.g: -\nh: l?\n"
                                "i: 1.5\n");
}
END_TEST

START_TEST(json_is_one_line_but_on_a_terminal) {
    kd_auto(json) json_t *v = json_loads("{\"a\": [1, 2]}", 0, NULL);
    ck_assert_err(kd_output_json(out, v, false), KD_OK);
    ck_assert_str_eq(written(), "{\"a\":[1,2]}\n");
    ck_assert_err(kd_output_json(out, v, true), KD_OK);
    ck_assert_ptr_nonnull(strstr(written(), "\n  \"a\": [\n"));
}
END_TEST

static TCase *tcase_output(void) {
    TCase *t = tcase_create("output");
    tcase_add_checked_fixture(t, open_out, close_out);
    tcase_add_test(t, control_characters_never_reach_the_terminal);
    tcase_add_test(t, a_terminal_gets_heads_and_columns);
    tcase_add_test(t, a_script_gets_rows_with_tabs);
    tcase_add_test(t, an_empty_table_has_its_heads_only);
    tcase_add_test(t, members_of_every_type_are_lines);
    tcase_add_test(t, json_is_one_line_but_on_a_terminal);
    return t;
}

UNIT_MAIN("output", tcase_output())
