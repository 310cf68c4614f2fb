// SPDX-License-Identifier: Apache-2.0
// test_api_json_in.c: each reader, each complaint.
#include "api/json_in.h"

#include "tests/unit/unit.h"

#include <string.h>

static struct kd_why why;
static struct kd_buf arena;
static json_t *root;

static void setup(void) {
    why = (struct kd_why) { "", "" };
    arena = KD_BUF_INIT(4096);
    (void)kd_buf_extend(&arena, 4096);
    arena.n = 0;
    root = NULL;
}

static void teardown(void) {
    json_decref(root);
    kd_buf_wipe(&arena);
}

static struct kd_json_in body(const char *text) {
    json_decref(root);
    root = NULL;
    ck_assert_err(kd_json_parse(kd_bytes_of_text(text), &why, &root), KD_OK);
    return (struct kd_json_in) { .object = root, .arena = &arena, .why = &why };
}

START_TEST(text_that_is_not_one_object_is_refused) {
    static const char *const texts[] = { "",
                                         "{",
                                         "[]",
                                         "1",
                                         "null",
                                         "{}{}",
                                         "{} x",
                                         "{1}",
                                         "{\"a\":1,}",
                                         "{\"a\":nul}",
                                         "{\"a\":1,\"a\":2}",
                                         "\xef\xbb\xbf{}",
                                         "{\"a\":\"\\u0000\"}" };
    for (size_t i = 0; i < KD_COUNT_OF(texts); i++) {
        json_t *out = NULL;
        ck_assert_err(kd_json_parse(kd_bytes_of_text(texts[i]), &why, &out), KD_ERR_BAD_JSON);
        ck_assert_ptr_null(out);
        ck_assert_str_ne(why.detail, "");
    }
}
END_TEST

START_TEST(nesting_has_a_limit) {
    char text[20000] = "{\"a\":";
    memset(text + 5, '[', 10000);
    json_t *out = NULL;
    ck_assert_err(kd_json_parse(kd_bytes_of_text(text), &why, &out), KD_ERR_BAD_JSON);
}
END_TEST

// n values in an array, behind another member: n + 2 count.
static enum kd_err parse_values(size_t n, json_t **out) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1 << 20);
    kd_buf_text(&text, "{\"b\":\"\\\",,,,,[[[[{{{{\",\"a\":[1");
    for (size_t i = 1; i < n; i++) {
        kd_buf_text(&text, ",1");
    }
    kd_buf_text(&text, "]}");
    return kd_json_parse(kd_buf_get(&text), &why, out);
}

START_TEST(values_have_a_limit) {
    json_t *out = NULL;
    ck_assert_err(parse_values(65535, &out), KD_ERR_BAD_JSON);
    ck_assert_ptr_null(out);
    ck_assert_str_eq(why.detail, "More than 65536 values");
    ck_assert_err(parse_values(65534, &out), KD_OK); // what stands in strings does not count
    json_decref(out);
}
END_TEST

START_TEST(complaint_does_not_quote_the_body) {
    json_t *out = NULL;
    ck_assert_err(kd_json_parse(kd_bytes_of_text("{\"plaintext\": topsecret}"), &why, &out),
                  KD_ERR_BAD_JSON);
    ck_assert_ptr_null(strstr(why.detail, "topsecret"));
}
END_TEST

START_TEST(members_that_are_not_known_are_named) {
    static const char *const names[] = { "a", "b" };
    struct kd_json_in in = body("{\"a\":1,\"b\":2}");
    ck_assert_err(kd_json_only(&in, names, 2), KD_OK);
    ck_assert_err(kd_json_only(&in, names, 1), KD_ERR_FIELD_UNKNOWN);
    ck_assert_str_eq(why.field, "b");
    ck_assert_err(kd_json_only(&in, NULL, 0), KD_ERR_FIELD_UNKNOWN);
    in = body("{}");
    ck_assert_err(kd_json_only(&in, NULL, 0), KD_OK);
}
END_TEST

START_TEST(bytes_are_strict_base64url) {
    const struct kd_json_in in =
        body("{\"good\":\"aGVsbG8\",\"more\":\"AQ\",\"empty\":\"\",\"padded\":\"AQ==\","
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
    ck_assert_str_eq(why.field, "absent");
    ck_assert_err(kd_json_bytes(&in, "number", true, &v), KD_ERR_FIELD_INVALID);
    static const char *const bad[] = { "padded", "bits", "blank", "plus" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_err(kd_json_bytes(&in, bad[i], true, &v), KD_ERR_BAD_BASE64);
        ck_assert_str_eq(why.field, bad[i]);
    }
}
END_TEST

START_TEST(arena_without_room_is_our_bug) {
    kd_auto(buf) struct kd_buf small = KD_BUF_INIT(4);
    (void)kd_buf_extend(&small, 4);
    small.n = 0;
    struct kd_json_in in = body("{\"a\":\"aGVsbG8\"}");
    in.arena = &small;
    struct kd_bytes v = KD_BYTES_NONE;
    ck_assert_err(kd_json_bytes(&in, "a", true, &v), KD_ERR_BUG);
}
END_TEST

START_TEST(numbers_have_bounds) {
    const struct kd_json_in in = body("{\"one\":1,\"nine\":9,\"minus\":-1,\"real\":1.0,"
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
    const struct kd_json_in in = body("{\"yes\":true,\"no\":false,\"one\":1,\"text\":\"t\"}");
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
    struct kd_json_in in = body("{}");
    in.is_item = true;
    in.index = 1023;
    struct kd_bytes v = KD_BYTES_NONE;
    ck_assert_err(kd_json_bytes(&in, "data", true, &v), KD_ERR_FIELD_MISSING);
    ck_assert_str_eq(why.field, "items[1023].data");
}
END_TEST

START_TEST(items_are_counted) {
    const json_t *array = NULL;
    size_t n = 0;
    struct kd_json_in in = body("{\"data\":1}");
    ck_assert_err(kd_json_items(&in, &array, &n), KD_OK);
    ck_assert_ptr_null(array);
    ck_assert_uint_eq(n, 1);
    in = body("{\"items\":[]}");
    ck_assert_err(kd_json_items(&in, &array, &n), KD_ERR_BATCH_EMPTY);
    in = body("{\"items\":7}");
    ck_assert_err(kd_json_items(&in, &array, &n), KD_ERR_FIELD_INVALID);
    in = body("{\"items\":[1,2]}");
    ck_assert_err(kd_json_items(&in, &array, &n), KD_OK);
    ck_assert_uint_eq(n, 2);
}
END_TEST

static TCase *tcase_in(void) {
    TCase *c = tcase_create("json_in");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, text_that_is_not_one_object_is_refused);
    tcase_add_test(c, nesting_has_a_limit);
    tcase_add_test(c, values_have_a_limit);
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
