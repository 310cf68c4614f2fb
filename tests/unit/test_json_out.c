// SPDX-License-Identifier: Apache-2.0
// test_json_out.c: what is written is JSON, whatever the text holds.
#include "base/json_out.h"

#include "tests/unit/unit.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void expect_text(const char *text, const char *expected) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    kd_json_put_text(&out, text);
    ck_assert_str_eq(kd_buf_get_text(&out), expected);
}

START_TEST(text_is_escaped) {
    expect_text("", "\"\"");
    expect_text("a\"b\\c\nd", "\"a\\\"b\\\\c\\nd\"");
    expect_text("\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\"");
    expect_text("</script>", "\"</script>\"");
}
END_TEST

START_TEST(text_that_is_utf8_stays) {
    expect_text("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91",
                "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91\"");
}
END_TEST

START_TEST(text_that_is_not_utf8_is_replaced) {
    expect_text("\x80", "\"\\ufffd\"");
    expect_text("\xc0\x80", "\"\\ufffd\\ufffd\"");                       // overlong
    expect_text("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");            // a surrogate
    expect_text("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); // over U+10FFFF
    expect_text("\xe2\x82", "\"\\ufffd\\ufffd\"");                       // cut off
    expect_text("a\xc3", "\"a\\ufffd\"");
}
END_TEST

START_TEST(every_two_bytes_are_json) {
    for (unsigned i = 1; i < 0x10000; i++) {
        const char text[3] = { (char)(i & 0xff), (char)(i >> 8), '\0' };
        kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
        kd_buf_u8(&out, '[');
        kd_json_put_text(&out, text);
        kd_buf_u8(&out, ']');
        json_t *root = json_loadb((const char *)out.p, out.n, 0, NULL);
        ck_assert_ptr_nonnull(root);
        json_decref(root);
    }
}
END_TEST

START_TEST(numbers_are_decimal) {
    static const uint64_t numbers[] = { 0, 9, 10, 4294967295u, UINT64_MAX };
    for (size_t i = 0; i < KD_COUNT_OF(numbers); i++) {
        kd_auto(buf) struct kd_buf out = KD_BUF_INIT(64);
        char expected[32];
        snprintf(expected, sizeof(expected), "%llu", (unsigned long long)numbers[i]);
        kd_json_put_number(&out, numbers[i]);
        ck_assert_str_eq(kd_buf_get_text(&out), expected);
    }
}
END_TEST

START_TEST(commas_stand_between) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(256);
    kd_buf_u8(&out, '{');
    kd_json_member(&out, "a");
    kd_buf_u8(&out, '[');
    for (unsigned i = 0; i < 2; i++) {
        kd_json_element(&out);
        kd_json_put_bool(&out, i == 0);
    }
    kd_buf_u8(&out, ']');
    kd_json_member(&out, "b");
    kd_json_put_bytes(&out, kd_bytes_of_text("hello"));
    kd_json_member(&out, "c");
    kd_json_put_time(&out, 0);
    kd_buf_u8(&out, '}');
    ck_assert_str_eq(kd_buf_get_text(&out), "{\"a\":[true,false],\"b\":\"aGVsbG8\","
                                            "\"c\":\"1970-01-01T00:00:00.000Z\"}");
}
END_TEST

static TCase *tcase_out(void) {
    TCase *c = tcase_create("json_out");
    tcase_add_test(c, text_is_escaped);
    tcase_add_test(c, text_that_is_utf8_stays);
    tcase_add_test(c, text_that_is_not_utf8_is_replaced);
    tcase_add_test(c, every_two_bytes_are_json);
    tcase_add_test(c, numbers_are_decimal);
    tcase_add_test(c, commas_stand_between);
    return c;
}

UNIT_MAIN("api_json_out", tcase_out())
