// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <string.h>

static enum kd_err decode(const char *text, struct kd_buf *out) {
    kd_buf_reset(out);
    return kd_b64_decode(kd_bytes_of_text(text), out);
}

START_TEST(base64url_refuses_what_another_encoder_would_not_write) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(64);
    static const char *const bad[] = { "A",    "Zg==", "Zg=", "Zh",   "Zm9",   "Zm8 ",      " Zm8",
                                       "Zm+v", "Zm/v", "Z",   "AAA.", "Zm\n9", "\xc3\xa4YQ" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_msg(decode(bad[i], &b) == KD_ERR_BAD_BASE64, "took '%s'", bad[i]);
        ck_assert_uint_eq(b.n, 0);
    }
}
END_TEST

START_TEST(base64url_matches_rfc_4648_section_10) {
    static const char *const rows[][2] = {
        { "", "" },           { "f", "Zg" },          { "fo", "Zm8" },          { "foo", "Zm9v" },
        { "foob", "Zm9vYg" }, { "fooba", "Zm9vYmE" }, { "foobar", "Zm9vYmFy" },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        kd_auto(buf) struct kd_buf b = KD_BUF_INIT(64);
        kd_b64_encode(&b, kd_bytes_of_text(rows[i][0]));
        ck_assert_str_eq(kd_buf_get_text(&b), rows[i][1]);
        ck_assert_err(decode(rows[i][1], &b), KD_OK);
        ck_assert_str_eq(kd_buf_get_text(&b), rows[i][0]);
    }
}
END_TEST

START_TEST(base64url_round_trips_every_byte_value_and_length) {
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(255 - i);
    }
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        kd_auto(buf) struct kd_buf text = KD_BUF_INIT(512);
        kd_auto(buf) struct kd_buf back = KD_BUF_INIT(512);
        kd_b64_encode(&text, (struct kd_bytes) { bytes, n });
        ck_assert_uint_eq(text.n, KD_B64_LEN(n));
        ck_assert_err(kd_b64_decode(kd_buf_get(&text), &back), KD_OK);
        ck_assert(kd_bytes_equal(kd_buf_get(&back), (struct kd_bytes) { bytes, n }));
    }
}
END_TEST

START_TEST(base64url_past_the_limit_shows_in_finish) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(2);
    ck_assert_err(decode("Zm9v", &b), KD_OK);
    ck_assert_err(kd_buf_finish(&b), KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

START_TEST(hex_refuses_wrong_length_and_digits) {
    uint8_t out[2] = { 7, 7 };
    ck_assert_err(kd_hex_decode("abc", out, 2), KD_ERR_FIELD_INVALID);
    ck_assert_err(kd_hex_decode("abcde", out, 2), KD_ERR_FIELD_INVALID);
    ck_assert_err(kd_hex_decode("abcg", out, 2), KD_ERR_FIELD_INVALID);
    ck_assert_uint_eq(out[0], 7);
    ck_assert_err(kd_hex_decode("aBcD", out, 2), KD_OK);
    char text[5];
    kd_hex_encode(out, 2, text);
    ck_assert_str_eq(text, "abcd");
}
END_TEST

START_TEST(names_at_their_edges) {
    static const char *const bad[] = {
        "", ".a", "-a", "_a", "a b", "a/b", "a%", "a\n", "\xc3\xa4"
    };
    static const char *const good[] = { "a", "0", "A.b_c-9", "v1.2" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_msg(!kd_name_is_valid(kd_bytes_of_text(bad[i])), "took '%s'", bad[i]);
    }
    for (size_t i = 0; i < KD_COUNT_OF(good); i++) {
        ck_assert_msg(kd_name_is_valid(kd_bytes_of_text(good[i])), "refused '%s'", good[i]);
    }
    char longest[KD_NAME_MAX_BYTES + 2];
    memset(longest, 'a', sizeof(longest));
    ck_assert(kd_name_is_valid((struct kd_bytes) { (uint8_t *)longest, KD_NAME_MAX_BYTES }));
    ck_assert(!kd_name_is_valid((struct kd_bytes) { (uint8_t *)longest, KD_NAME_MAX_BYTES + 1 }));
    ck_assert(!kd_name_is_valid((struct kd_bytes) { (const uint8_t *)"a\0b", 3 }));
}
END_TEST

START_TEST(patterns_match_whole_texts) {
    static const struct {
        const char *pattern;
        const char *text;
        bool matches;
    } rows[] = {
        { "", "a", false },
        { "a", "", false },
        { "orders", "orders2", false },
        { "?", "", false },
        { "a*b", "ac", false },
        { "*.v?", "k.v", false },
        { "[a]", "a", false },
        { "", "", true },
        { "*", "", true },
        { "*", "anything", true },
        { "a*b*c", "aXbYc", true },
        { "a*b*c", "abbc", true },
        { "orders-*", "orders-", true },
        { "**", "x", true },
        { "?*", "x", true },
        { "*ab", "aab", true },
        { "*[", "x[", true },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        ck_assert_msg(kd_glob_match(rows[i].pattern, rows[i].text) == rows[i].matches,
                      "'%s' on '%s'", rows[i].pattern, rows[i].text);
    }
}
END_TEST

START_TEST(numbers_at_their_edges) {
    static const char *const bad[] = { "",   "-1", "+1", "01",  "1 ",
                                       " 1", "1x", "4",  "101", "18446744073709551616",
                                       "0x5" };
    uint64_t v = 77;
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_msg(kd_number_parse(bad[i], 5, 100, &v) == KD_ERR_FIELD_INVALID, "'%s'", bad[i]);
    }
    ck_assert_uint_eq(v, 77);
    ck_assert_err(kd_number_parse("5", 5, 100, &v), KD_OK);
    ck_assert_err(kd_number_parse("100", 5, 100, &v), KD_OK);
    ck_assert_uint_eq(v, 100);
    ck_assert_err(kd_number_parse("18446744073709551615", 0, UINT64_MAX, &v), KD_OK);
    ck_assert_err(kd_number_parse("0", 0, 1, &v), KD_OK);
}
END_TEST

START_TEST(media_types_have_blanks_case_and_parameters) {
    static const char *const json[] = { "application/json", "Application/JSON",
                                        "application/json;charset=utf-8",
                                        "application/json \t; charset=utf-8", "application/json " };
    static const char *const others[] = { NULL,
                                          "",
                                          "application/jso",
                                          "application/json5",
                                          "application/json+x",
                                          " application/json",
                                          "application/json, text/plain",
                                          "text/plain; application/json" };
    for (size_t i = 0; i < KD_COUNT_OF(json); i++) {
        ck_assert_msg(kd_media_type_is(json[i], "application/json"), "%s", json[i]);
    }
    for (size_t i = 0; i < KD_COUNT_OF(others); i++) {
        ck_assert_msg(!kd_media_type_is(others[i], "application/json"), "%s", others[i]);
    }
    ck_assert(kd_media_type_has("a/b; Usage=chain", "usage=chain"));
    ck_assert(kd_media_type_has("a/b;x=y;\tusage=chain ;z=1", "usage=chain"));
    ck_assert(!kd_media_type_has("a/b; usage=chained", "usage=chain"));
    ck_assert(!kd_media_type_has("usage=chain", "usage=chain"));
    ck_assert(!kd_media_type_has("a/b; x-usage=chain", "usage=chain"));
    ck_assert(!kd_media_type_has("a/b;", "usage=chain"));
    ck_assert(!kd_media_type_has(NULL, "usage=chain"));
}
END_TEST

static TCase *tcase_text(void) {
    TCase *t = tcase_create("text");
    tcase_add_test(t, base64url_refuses_what_another_encoder_would_not_write);
    tcase_add_test(t, base64url_matches_rfc_4648_section_10);
    tcase_add_test(t, base64url_round_trips_every_byte_value_and_length);
    tcase_add_test(t, base64url_past_the_limit_shows_in_finish);
    tcase_add_test(t, hex_refuses_wrong_length_and_digits);
    tcase_add_test(t, names_at_their_edges);
    tcase_add_test(t, patterns_match_whole_texts);
    tcase_add_test(t, numbers_at_their_edges);
    tcase_add_test(t, media_types_have_blanks_case_and_parameters);
    return t;
}

UNIT_MAIN("text", tcase_text())
