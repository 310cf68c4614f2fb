// SPDX-License-Identifier: Apache-2.0
// test_json.c: which texts are JSON, where one is not, and what was read.
#include "base/base.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static struct kd_buf text_read;
static struct kd_json_tree tree;
static size_t values_max;

static void setup(void) {
    text_read = KD_BUF_INIT(1 << 22);
    tree = KD_JSON_TREE_INIT;
}

static void teardown(void) {
    kd_json_wipe(&tree);
    kd_buf_wipe(&text_read);
    values_max = 0;
}

// In memory of its own size, so that a sanitizer sees what reads on.
static enum kd_err read_bytes(struct kd_bytes text) {
    kd_json_wipe(&tree);
    kd_buf_wipe(&text_read);
    tree.max = values_max;
    kd_buf_put(&text_read, text.p, text.n);
    ck_assert_err(kd_buf_finish(&text_read), KD_OK);
    return kd_json_read(&tree, &text_read);
}

static enum kd_err read_text(const char *text) {
    return read_bytes(kd_bytes_of_text(text));
}

static const struct kd_json *value_of(const char *text) {
    ck_assert_msg(read_text(text) == KD_OK, "%s: %s at %zu", text, tree.wrong, tree.at);
    return tree.root;
}

static void expect_bad(const char *text, const char *wrong, size_t at) {
    ck_assert_msg(read_text(text) == KD_ERR_BAD_JSON, "%s", text);
    ck_assert_str_eq(tree.wrong, wrong);
    ck_assert_msg(tree.at == at, "%s: at %zu, not %zu", text, at, tree.at);
}

// ---- refused ---------------------------------------------------------------

START_TEST(text_that_ends_too_early_is_refused_wherever_it_ends) {
    static const char whole[] =
        " {\"a\":[1,-2.5e+3,true,false,null,\"x\\\"\\u20ac\\ud83d\\ude00\xc3\xa9\"],\"b\":{}}";
    ck_assert_err(read_text(whole), KD_OK);
    for (size_t n = 0; n < sizeof(whole) - 1; n++) {
        ck_assert_err(read_bytes((struct kd_bytes) { (const uint8_t *)whole, n }), KD_ERR_BAD_JSON);
    }
    expect_bad("", "The text ends too early", 1);
    expect_bad("  ", "The text ends too early", 3);
    expect_bad("{\"a\":tru", "The text ends too early", 9);
}
END_TEST

START_TEST(what_is_not_json_is_refused_where_it_begins) {
    static const struct {
        const char *text;
        size_t at;
    } bad[] = {
        { "{,}", 2 },
        { "{1:2}", 2 },
        { "{\"a\" 1}", 6 },
        { "{\"a\":1,}", 8 },
        { "{\"a\":}", 6 },
        { "[1,]", 4 },
        { "[,1]", 2 },
        { "[1 2]", 4 },
        { "[1}", 3 },
        { "{\"a\":1]", 7 },
        { "{}{}", 3 },
        { "{} x", 4 },
        { "nul", 4 },
        { "nulL", 4 },
        { "True", 1 },
        { "'a'", 1 },
        { "01", 2 },
        { "-", 2 },
        { "-a", 2 },
        { "+1", 1 },
        { ".5", 1 },
        { "1.", 3 },
        { "1.e1", 3 },
        { "1e", 3 },
        { "1e+", 4 },
        { "0x10", 2 },
        { "NaN", 1 },
        { "Infinity", 1 },
        { "\xef\xbb\xbf{}", 1 },
        { "// c\n1", 1 },
        { "[1]/**/", 4 },
        { "\"\t\"", 2 },
        { "\"\x1f\"", 2 },
        { "\"a\nb\"", 3 },
        { "\"\\x41\"", 3 },
        { "\"\\u12g4\"", 6 },
        { "\"\\U0041\"", 3 },
        { "\v1", 1 },
        { "\f1", 1 },
        { "]", 1 },
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        const bool is_short = bad[i].at == strlen(bad[i].text) + 1;
        expect_bad(bad[i].text, is_short ? "The text ends too early" : "Not valid JSON", bad[i].at);
    }
}
END_TEST

START_TEST(nul_bytes_are_refused_everywhere) {
    static const char texts[][8] = { "\0", "{\0}", "[1\0]", "\"a\0b\"", "1\0", "{}\0" };
    static const size_t sizes[] = { 1, 3, 4, 5, 2, 3 };
    for (size_t i = 0; i < KD_COUNT_OF(sizes); i++) {
        ck_assert_err(read_bytes((struct kd_bytes) { (const uint8_t *)texts[i], sizes[i] }),
                      KD_ERR_BAD_JSON);
    }
    expect_bad("\"a\\u0000\"", "A string has a NUL character", 8);
    expect_bad("{\"\\u0000\":1}", "A string has a NUL character", 8);
}
END_TEST

START_TEST(halves_of_a_surrogate_pair_and_what_is_not_utf8_are_refused) {
    static const char *const bad[] = {
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800x\"",
        "\"\\ud800\\n\"",
        "\"\\ud800\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\x80\"",
        "\"\xc0\x80\"",
        "\"\xc1\xbf\"",
        "\"\xe0\x9f\xbf\"",
        "\"\xed\xa0\x80\"",
        "\"\xf0\x8f\xbf\xbf\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xe2\x82\"",
        "\"\xe2\x82(\"",
        "\"\xff\"",
        "\"\xc3\"",
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_msg(read_text(bad[i]) == KD_ERR_BAD_JSON, "%zu", i);
        ck_assert_str_eq(tree.wrong, "Not valid JSON");
    }
}
END_TEST

START_TEST(member_that_is_repeated_is_refused_however_it_is_written) {
    expect_bad("{\"a\":1,\"b\":2,\"a\":3}", "A member is repeated", 14);
    expect_bad("{\"ab\":{\"a\":[]},\"\\u0061b\":3}", "A member is repeated", 16);
    expect_bad("[{\"\":1,\"\":1}]", "A member is repeated", 8);
    (void)value_of("{\"a\":{\"a\":{\"a\":1}},\"A\":1,\"aa\":1,\"\":1}");
}
END_TEST

// ---- limits ----------------------------------------------------------------

static enum kd_err read_nested(size_t depth) {
    char text[2 * KD_JSON_DEPTH_MAX + 8] = "";
    for (size_t i = 0; i < depth; i++) {
        text[i] = '[';
        text[2 * depth - 1 - i] = ']';
    }
    return read_text(text);
}

START_TEST(nesting_has_a_limit) {
    ck_assert_err(read_nested(KD_JSON_DEPTH_MAX), KD_OK);
    ck_assert_err(read_nested(KD_JSON_DEPTH_MAX + 1), KD_ERR_BAD_JSON);
    ck_assert_str_eq(tree.wrong, "Nested too deeply");
    ck_assert_uint_eq(tree.at, KD_JSON_DEPTH_MAX + 1);
}
END_TEST

static enum kd_err read_members(unsigned n) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(65536);
    kd_buf_u8(&text, '{');
    for (unsigned i = 0; i < n; i++) {
        kd_buf_printf(&text, "%s\"m%u\":%u", i == 0 ? "" : ",", i, i);
    }
    kd_buf_u8(&text, '}');
    return read_bytes(kd_buf_get(&text));
}

START_TEST(members_have_a_limit) {
    ck_assert_err(read_members(KD_JSON_MEMBERS_MAX), KD_OK);
    ck_assert_int_eq(kd_json_get(tree.root, "m63")->integer, 63);
    ck_assert_err(read_members(KD_JSON_MEMBERS_MAX + 1), KD_ERR_BAD_JSON);
    ck_assert_str_eq(tree.wrong, "An object has too many members");
}
END_TEST

// In an array, which counts too.  What stands in strings does not.
static enum kd_err read_values(size_t n) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1 << 20);
    kd_buf_text(&text, "[\"\\\",,,,,[[[[{{{{\"");
    for (size_t i = 2; i < n; i++) {
        kd_buf_text(&text, ",1");
    }
    kd_buf_text(&text, "]");
    return read_bytes(kd_buf_get(&text));
}

START_TEST(values_have_a_limit) {
    ck_assert_err(read_values(KD_JSON_VALUES_MAX), KD_OK);
    ck_assert_uint_eq(tree.root->n, KD_JSON_VALUES_MAX - 1);
    ck_assert_uint_eq(tree.root->span, KD_JSON_VALUES_MAX);
    ck_assert_err(read_values(KD_JSON_VALUES_MAX + 1), KD_ERR_BAD_JSON);
    ck_assert_str_eq(tree.wrong, "Too many values");
    values_max = 100000;
    ck_assert_err(read_values(100000), KD_OK);
    ck_assert_uint_eq(tree.root->span, 100000);
    ck_assert_err(read_values(100001), KD_ERR_BAD_JSON);
}
END_TEST

// ---- taken -----------------------------------------------------------------

START_TEST(integers_are_those_of_64_bits) {
    static const struct {
        const char *text;
        int64_t value;
    } good[] = { { "0", 0 },
                 { "-0", 0 },
                 { " 17 ", 17 },
                 { "-1", -1 },
                 { "9223372036854775807", INT64_MAX },
                 { "-9223372036854775808", INT64_MIN } };
    for (size_t i = 0; i < KD_COUNT_OF(good); i++) {
        const struct kd_json *v = value_of(good[i].text);
        ck_assert(kd_json_is(v, KD_JSON_INTEGER));
        ck_assert_int_eq(v->integer, good[i].value);
    }
    static const char *const others[] = {
        "9223372036854775808", "-9223372036854775809", "1.0", "1e0", "1E-7", "-0.5"
    };
    for (size_t i = 0; i < KD_COUNT_OF(others); i++) {
        ck_assert(kd_json_is(value_of(others[i]), KD_JSON_REAL));
    }
}
END_TEST

// At each distance from the words of eight bytes in which plain text is passed over.
START_TEST(strings_lose_their_escapes_wherever_they_stand) {
    static const char written[] = "\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\uDE00"
                                  "\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
    static const char meant[] = "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"
                                "\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
    for (int before = 0; before < 20; before++) {
        for (int behind = 0; behind < 20; behind++) {
            char text[160];
            char expected[160];
            snprintf(text, sizeof(text), "[\"%.*s%s%.*s\",\"next\"]", before,
                     "abcdefghijklmnopqrst", written, behind, "ABCDEFGHIJKLMNOPQRST");
            snprintf(expected, sizeof(expected), "%.*s%s%.*s", before, "abcdefghijklmnopqrst",
                     meant, behind, "ABCDEFGHIJKLMNOPQRST");
            const struct kd_json *v = kd_json_first(value_of(text));
            ck_assert_str_eq(kd_json_string(v), expected);
            ck_assert_uint_eq(v->n, strlen(expected));
            ck_assert_str_eq(kd_json_string(kd_json_next(v)), "next");
        }
    }
    ck_assert_str_eq(kd_json_string(value_of("\"\"")), "");
}
END_TEST

START_TEST(members_and_elements_are_found) {
    const struct kd_json *v =
        value_of("\t{ \"a\" : [ { \"b\" : [ ] , \"c\" : \"C\" } , null , 7 ] ,\r\n"
                 "\"d\" : { } , \"e\" : true , \"f\" : false } \n");
    ck_assert(kd_json_is(v, KD_JSON_OBJECT));
    ck_assert_uint_eq(v->n, 4);
    ck_assert_uint_eq(v->span, tree.n);
    const struct kd_json *a = kd_json_get(v, "a");
    ck_assert(kd_json_is(a, KD_JSON_ARRAY));
    ck_assert_uint_eq(a->n, 3);
    const struct kd_json *first = kd_json_first(a);
    ck_assert_uint_eq(kd_json_get(first, "b")->n, 0);
    ck_assert_str_eq(kd_json_string(kd_json_get(first, "c")), "C");
    const struct kd_json *second = kd_json_next(first);
    ck_assert(kd_json_is(second, KD_JSON_NULL));
    ck_assert_int_eq(kd_json_next(second)->integer, 7);
    ck_assert_ptr_eq(kd_json_next(kd_json_next(second)), kd_json_end(a));
    ck_assert(kd_json_is(kd_json_get(v, "d"), KD_JSON_OBJECT));
    ck_assert(kd_json_is(kd_json_get(v, "e"), KD_JSON_TRUE));
    ck_assert(kd_json_is(kd_json_get(v, "f"), KD_JSON_FALSE));
    ck_assert_ptr_null(kd_json_get(v, "g"));
    ck_assert_ptr_null(kd_json_get(v, ""));
    ck_assert_ptr_null(kd_json_get(v, "C")); // a value
}
END_TEST

START_TEST(what_is_not_there_has_nothing_in_it) {
    ck_assert_ptr_null(kd_json_get(NULL, "a"));
    ck_assert_ptr_null(kd_json_get(value_of("[\"a\",1]"), "a"));
    ck_assert_ptr_null(kd_json_string(NULL));
    ck_assert_ptr_null(kd_json_string(value_of("1")));
    ck_assert(!kd_json_is(NULL, KD_JSON_NULL));
}
END_TEST

// ---- memory ----------------------------------------------------------------

START_TEST(want_of_memory_is_told) {
    static const char text[] =
        "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]";
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        kd_json_wipe(&tree);
        kd_buf_reset(&text_read);
        kd_buf_text(&text_read, text);
        memory_resume();
        const enum kd_err r = kd_json_read(&tree, &text_read);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
    }
    ck_assert_uint_eq(turn, 3); // room for 32 values, then for 64
    ck_assert_uint_eq(tree.root->n, 35);
}
END_TEST

static TCase *tcase_json(void) {
    TCase *c = tcase_create("json");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, text_that_ends_too_early_is_refused_wherever_it_ends);
    tcase_add_test(c, what_is_not_json_is_refused_where_it_begins);
    tcase_add_test(c, nul_bytes_are_refused_everywhere);
    tcase_add_test(c, halves_of_a_surrogate_pair_and_what_is_not_utf8_are_refused);
    tcase_add_test(c, member_that_is_repeated_is_refused_however_it_is_written);
    tcase_add_test(c, nesting_has_a_limit);
    tcase_add_test(c, members_have_a_limit);
    tcase_add_test(c, values_have_a_limit);
    tcase_add_test(c, integers_are_those_of_64_bits);
    tcase_add_test(c, strings_lose_their_escapes_wherever_they_stand);
    tcase_add_test(c, members_and_elements_are_found);
    tcase_add_test(c, what_is_not_there_has_nothing_in_it);
    tcase_add_test(c, want_of_memory_is_told);
    return c;
}

UNIT_MAIN("json", tcase_json())
