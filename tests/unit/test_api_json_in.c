// SPDX-License-Identifier: Apache-2.0
// test_api_json_in.c: each reader, each complaint.
#include "api/json_in.h"

#include "json_body.h"

#include <string.h>

START_TEST(text_that_is_not_one_object_is_refused) {
    static const char *const texts[] = { "", "{", "[]", "1", "null", "{}{}", "{\"a\":1,\"a\":2}" };
    for (size_t i = 0; i < KD_COUNT_OF(texts); i++) {
        jb.why.detail[0] = '\0';
        ck_assert_err(json_body_parse(texts[i]), KD_ERR_BAD_JSON);
        ck_assert_str_ne(jb.why.detail, "");
    }
    ck_assert_err(json_body_parse("{\"a\":nul}"), KD_ERR_BAD_JSON);
    ck_assert_str_eq(jb.why.detail, "Not valid JSON, at byte 9");
}
END_TEST

START_TEST(complaint_does_not_quote_the_body) {
    ck_assert_err(json_body_parse("{\"plaintext\": topsecret}"), KD_ERR_BAD_JSON);
    ck_assert_ptr_null(strstr(jb.why.detail, "topsecret"));
}
END_TEST

START_TEST(members_that_are_not_known_are_named) {
    static const char *const names[] = { "a", "b" };
    struct kd_json_in in = json_body("{\"a\":1,\"b\":2}");
    ck_assert_err(kd_json_only(&in, names, 2), KD_OK);
    ck_assert_err(kd_json_only(&in, names, 1), KD_ERR_FIELD_UNKNOWN);
    ck_assert_str_eq(jb.why.field, "b");
    ck_assert_err(kd_json_only(&in, NULL, 0), KD_ERR_FIELD_UNKNOWN);
    in = json_body("{}");
    ck_assert_err(kd_json_only(&in, NULL, 0), KD_OK);
}
END_TEST

START_TEST(bytes_are_strict_base64url) {
    const struct kd_json_in in =
        json_body("{\"good\":\"aGVsbG8\",\"more\":\"AQ\",\"empty\":\"\",\"padded\":\"AQ==\","
                  "\"bits\":\"AR\",\"blank\":\"A Q\",\"plus\":\"++++\",\"number\":1}");
    struct kd_bytes v = KD_BYTES_NONE;
    ck_assert_err(kd_json_bytes(&in, "good", true, &v), KD_OK);
    ck_assert(kd_bytes_equal(v, kd_bytes_of_text("hello")));
    const struct kd_bytes first = v;
    ck_assert_err(kd_json_bytes(&in, "more", true, &v), KD_OK);
    ck_assert(kd_bytes_equal(v, kd_bytes_of_text("\x01")));
    ck_assert(kd_bytes_equal(first, kd_bytes_of_text("hello"))); // did not move
    ck_assert_err(kd_json_bytes(&in, "empty", true, &v), KD_OK);
    ck_assert_uint_eq(v.n, 0);
    ck_assert_err(kd_json_bytes(&in, "absent", false, &v), KD_OK);
    ck_assert_err(kd_json_bytes(&in, "absent", true, &v), KD_ERR_FIELD_MISSING);
    ck_assert_str_eq(jb.why.field, "absent");
    ck_assert_err(kd_json_bytes(&in, "number", true, &v), KD_ERR_FIELD_INVALID);
    static const char *const bad[] = { "padded", "bits", "blank", "plus" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_err(kd_json_bytes(&in, bad[i], true, &v), KD_ERR_BAD_BASE64);
        ck_assert_str_eq(jb.why.field, bad[i]);
    }
}
END_TEST

START_TEST(arena_without_room_is_our_bug) {
    kd_auto(buf) struct kd_buf small = KD_BUF_INIT(4);
    (void)kd_buf_extend(&small, 4);
    small.n = 0;
    struct kd_json_in in = json_body("{\"a\":\"aGVsbG8\"}");
    in.arena = &small;
    struct kd_bytes v = KD_BYTES_NONE;
    ck_assert_err(kd_json_bytes(&in, "a", true, &v), KD_ERR_BUG);
}
END_TEST

START_TEST(numbers_have_bounds) {
    const struct kd_json_in in = json_body("{\"one\":1,\"nine\":9,\"minus\":-1,\"real\":1.0,"
                                           "\"big\":4294967296,\"text\":\"1\",\"no\":null}");
    uint32_t v = 77;
    ck_assert_err(kd_json_number(&in, "one", true, 1, 9, &v), KD_OK);
    ck_assert_uint_eq(v, 1);
    ck_assert_err(kd_json_number(&in, "nine", true, 1, 9, &v), KD_OK);
    ck_assert_uint_eq(v, 9);
    static const char *const bad[] = { "minus", "real", "big", "text", "no" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_err(kd_json_number(&in, bad[i], false, 0, UINT32_MAX, &v), KD_ERR_FIELD_INVALID);
        ck_assert_uint_eq(v, 9);
    }
    ck_assert_err(kd_json_number(&in, "one", true, 2, 9, &v), KD_ERR_FIELD_INVALID);
    ck_assert_err(kd_json_number(&in, "nine", true, 1, 8, &v), KD_ERR_FIELD_INVALID);
    ck_assert_err(kd_json_number(&in, "absent", true, 1, 8, &v), KD_ERR_FIELD_MISSING);
    ck_assert_err(kd_json_number(&in, "absent", false, 1, 8, &v), KD_OK);
    ck_assert_uint_eq(v, 9);
}
END_TEST

START_TEST(bools_and_texts_have_their_type) {
    const struct kd_json_in in = json_body("{\"yes\":true,\"no\":false,\"one\":1,\"text\":\"t\"}");
    bool b = false;
    const char *t = "before";
    ck_assert_err(kd_json_bool(&in, "yes", true, &b), KD_OK);
    ck_assert(b);
    ck_assert_err(kd_json_bool(&in, "no", true, &b), KD_OK);
    ck_assert(!b);
    ck_assert_err(kd_json_bool(&in, "one", true, &b), KD_ERR_FIELD_INVALID);
    ck_assert_err(kd_json_bool(&in, "absent", true, &b), KD_ERR_FIELD_MISSING);
    ck_assert_err(kd_json_text(&in, "one", true, &t), KD_ERR_FIELD_INVALID);
    ck_assert_err(kd_json_text(&in, "absent", true, &t), KD_ERR_FIELD_MISSING);
    ck_assert_err(kd_json_text(&in, "absent", false, &t), KD_OK);
    ck_assert_str_eq(t, "before");
    ck_assert_err(kd_json_text(&in, "text", true, &t), KD_OK);
    ck_assert_str_eq(t, "t");
}
END_TEST

START_TEST(complaint_names_the_item) {
    struct kd_json_in in = json_body("{}");
    in.is_item = true;
    in.index = 1023;
    struct kd_bytes v = KD_BYTES_NONE;
    ck_assert_err(kd_json_bytes(&in, "data", true, &v), KD_ERR_FIELD_MISSING);
    ck_assert_str_eq(jb.why.field, "items[1023].data");
}
END_TEST

START_TEST(items_are_counted) {
    const struct kd_json *array = NULL;
    size_t n = 0;
    struct kd_json_in in = json_body("{\"data\":1}");
    ck_assert_err(kd_json_items(&in, &array, &n), KD_OK);
    ck_assert_ptr_null(array);
    ck_assert_uint_eq(n, 1);
    in = json_body("{\"items\":[]}");
    ck_assert_err(kd_json_items(&in, &array, &n), KD_ERR_BATCH_EMPTY);
    in = json_body("{\"items\":7}");
    ck_assert_err(kd_json_items(&in, &array, &n), KD_ERR_FIELD_INVALID);
    in = json_body("{\"items\":[{\"data\":[1,2]},{},7]}");
    ck_assert_err(kd_json_items(&in, &array, &n), KD_OK);
    ck_assert_uint_eq(n, 3);
    const struct kd_json *at = kd_json_first(array);
    struct kd_json_in item;
    ck_assert_err(kd_json_item(&in, 0, &at, &item), KD_OK);
    ck_assert(kd_json_has(&item, "data"));
    ck_assert_err(kd_json_item(&in, 1, &at, &item), KD_OK);
    ck_assert(!kd_json_has(&item, "data"));
    ck_assert_err(kd_json_item(&in, 2, &at, &item), KD_ERR_FIELD_INVALID);
    ck_assert_str_eq(jb.why.field, "items[2]");
    ck_assert_ptr_eq(at, kd_json_end(array));
}
END_TEST

static TCase *tcase_in(void) {
    TCase *c = tcase_create("json_in");
    tcase_add_checked_fixture(c, json_body_setup, json_body_teardown);
    tcase_add_test(c, text_that_is_not_one_object_is_refused);
    tcase_add_test(c, complaint_does_not_quote_the_body);
    tcase_add_test(c, members_that_are_not_known_are_named);
    tcase_add_test(c, bytes_are_strict_base64url);
    tcase_add_test(c, arena_without_room_is_our_bug);
    tcase_add_test(c, numbers_have_bounds);
    tcase_add_test(c, bools_and_texts_have_their_type);
    tcase_add_test(c, complaint_names_the_item);
    tcase_add_test(c, items_are_counted);
    return c;
}

UNIT_MAIN("api_json_in", tcase_in())
