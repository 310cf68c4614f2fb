// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"
#include "vectors.h"

#include <string.h>

static enum kd_err check_hex(const char *hex) {
    kd_auto(vectors_bytes) struct vectors_bytes b = vectors_from_hex(hex);
    return kd_cbor_check(vectors_get(b));
}

// Reads every head of an item and writes it again.
static void encode_again(struct kd_bytes in, struct kd_buf *out) {
    struct kd_cbor c = kd_cbor_of(in);
    while (kd_cbor_has_more(&c)) {
        struct kd_cbor_item item = kd_cbor_next(&c);
        if (c.err == KD_OK) {
            kd_cbor_put_item(out, &item);
        }
    }
    ck_assert_err(kd_cbor_finish(&c), KD_OK);
    ck_assert_err(kd_buf_finish(out), KD_OK);
}

// RFC 8949 appendix A: accepted and the same again, or refused for the reason in refused.json.
START_TEST(appendix_a_is_accepted_and_the_same_again_or_refused_as_listed) {
    kd_auto(json) json_t *all = vectors_load("cbor-appendix-a/appendix_a.json");
    kd_auto(json) json_t *refused = vectors_load("cbor-appendix-a/refused.json");
    size_t n_refused = 0;
    for (size_t i = 0; i < json_array_size(all); i++) {
        const char *hex = vectors_text(json_array_get(all, i), "hex");
        kd_auto(vectors_bytes) struct vectors_bytes in = vectors_from_hex(hex);
        const char *why = json_string_value(json_object_get(refused, hex));
        const char *got = kd_err_name(kd_cbor_check(vectors_get(in)));
        ck_assert_msg(strcmp(got, why == NULL ? "ok" : why) == 0, "%s: %s", hex, got);
        if (why != NULL) {
            n_refused++;
            continue;
        }
        kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
        encode_again(vectors_get(in), &out);
        vectors_same(hex, kd_buf_get(&out), vectors_get(in));
    }
    ck_assert_uint_eq(json_array_size(all), 82);
    ck_assert_uint_eq(n_refused, json_object_size(refused));
}
END_TEST

START_TEST(every_truncation_and_every_extra_byte_is_refused) {
    kd_auto(json) json_t *all = vectors_load("cbor-appendix-a/appendix_a.json");
    for (size_t i = 0; i < json_array_size(all); i++) {
        kd_auto(vectors_bytes) struct vectors_bytes in = vectors_hex(json_array_get(all, i), "hex");
        if (kd_cbor_check(vectors_get(in)) != KD_OK) {
            continue;
        }
        for (size_t n = 0; n < in.n; n++) {
            ck_assert_err(kd_cbor_check((struct kd_bytes) { in.p, n }), KD_ERR_CBOR_TRUNCATED);
        }
        in.p[in.n] = 0; // vectors_from_hex leaves room for it
        ck_assert_err(kd_cbor_check((struct kd_bytes) { in.p, in.n + 1 }), KD_ERR_CBOR_TRAILING);
    }
}
END_TEST

static const struct {
    const char *hex;
    enum kd_err err;
} refusals[] = {
    { "1817", KD_ERR_CBOR_NOT_SHORTEST },
    { "1900ff", KD_ERR_CBOR_NOT_SHORTEST },
    { "1a0000ffff", KD_ERR_CBOR_NOT_SHORTEST },
    { "1b00000000ffffffff", KD_ERR_CBOR_NOT_SHORTEST },
    { "3817", KD_ERR_CBOR_NOT_SHORTEST },
    { "580161", KD_ERR_CBOR_NOT_SHORTEST },
    { "9801f6", KD_ERR_CBOR_NOT_SHORTEST },
    { "d801f6", KD_ERR_CBOR_NOT_SHORTEST },
    { "5f4100ff", KD_ERR_CBOR_INDEFINITE },
    { "9fff", KD_ERR_CBOR_INDEFINITE },
    { "ff", KD_ERR_CBOR_INDEFINITE },
    { "1c", KD_ERR_CBOR_RESERVED },
    { "fe", KD_ERR_CBOR_RESERVED },
    { "5d", KD_ERR_CBOR_RESERVED },
    { "f90000", KD_ERR_CBOR_FLOAT },
    { "fa00000000", KD_ERR_CBOR_FLOAT },
    { "81fb0000000000000000", KD_ERR_CBOR_FLOAT },
    { "f7", KD_ERR_CBOR_SIMPLE },
    { "e0", KD_ERR_CBOR_SIMPLE },
    { "f8ff", KD_ERR_CBOR_SIMPLE },
    { "f814", KD_ERR_CBOR_SIMPLE }, // false in two bytes
    { "6180", KD_ERR_CBOR_UTF8 },
    { "62c080", KD_ERR_CBOR_UTF8 },     // overlong
    { "63e08080", KD_ERR_CBOR_UTF8 },   // overlong
    { "63eda080", KD_ERR_CBOR_UTF8 },   // surrogate
    { "64f0808080", KD_ERR_CBOR_UTF8 }, // overlong
    { "64f4908080", KD_ERR_CBOR_UTF8 }, // above U+10FFFF
    { "62c328", KD_ERR_CBOR_UTF8 },     // no continuation
    { "61c3", KD_ERR_CBOR_UTF8 },       // ends early
    { "64f5808080", KD_ERR_CBOR_UTF8 }, // no such first byte
    { "a202010102", KD_ERR_CBOR_MAP_ORDER },
    { "a2616101016162", KD_ERR_CBOR_MAP_ORDER },
    { "a201010102", KD_ERR_CBOR_MAP_DUPLICATE },
    { "81a201010102", KD_ERR_CBOR_MAP_DUPLICATE },
    { "a10102ff", KD_ERR_CBOR_TRAILING },
    { "", KD_ERR_CBOR_TRUNCATED },
    { "9affffffff", KD_ERR_CBOR_TRUNCATED },
    { "9bffffffffffffffff", KD_ERR_CBOR_TRUNCATED },
    { "bb7fffffffffffffff", KD_ERR_CBOR_TRUNCATED },
    { "5bffffffffffffffff", KD_ERR_CBOR_TRUNCATED },
};

START_TEST(what_is_not_deterministic_is_refused_for_its_reason) {
    const char *got = kd_err_name(check_hex(refusals[_i].hex));
    ck_assert_msg(strcmp(got, kd_err_name(refusals[_i].err)) == 0, "%s: %s", refusals[_i].hex, got);
}
END_TEST

START_TEST(utf8_is_accepted_at_the_edges_of_its_ranges) {
    static const char *const good[] = { "6100",       "617f",      "62c280",   "62dfbf",
                                        "63e0a080",   "63ed9fbf",  "63ee8080", "63efbfbf",
                                        "64f0908080", "64f48fbfbf" };
    for (size_t i = 0; i < KD_COUNT_OF(good); i++) {
        ck_assert_err(check_hex(good[i]), KD_OK);
    }
}
END_TEST

START_TEST(depth_is_bounded) {
    uint8_t nest[KD_CBOR_MAX_DEPTH + 2];
    memset(nest, 0x81, sizeof(nest)); // [[[...
    nest[KD_CBOR_MAX_DEPTH] = 0;
    ck_assert_err(kd_cbor_check((struct kd_bytes) { nest, KD_CBOR_MAX_DEPTH + 1 }), KD_OK);
    nest[KD_CBOR_MAX_DEPTH] = 0x81;
    nest[KD_CBOR_MAX_DEPTH + 1] = 0;
    ck_assert_err(kd_cbor_check((struct kd_bytes) { nest, sizeof(nest) }), KD_ERR_CBOR_DEPTH);
    memset(nest, 0xc1, sizeof(nest) - 1); // tags count too
    ck_assert_err(kd_cbor_check((struct kd_bytes) { nest, sizeof(nest) }), KD_ERR_CBOR_DEPTH);
}
END_TEST

START_TEST(size_is_bounded) {
    uint8_t *p = calloc(1, KD_CBOR_MAX_BYTES + 1);
    ck_assert_ptr_nonnull(p);
    p[0] = 0x5a; // a byte string that fills the input
    p[2] = 0x0f;
    p[3] = 0xff;
    p[4] = 0xfb;
    ck_assert_err(kd_cbor_check((struct kd_bytes) { p, KD_CBOR_MAX_BYTES }), KD_OK);
    p[4] = 0xfc;
    ck_assert_err(kd_cbor_check((struct kd_bytes) { p, KD_CBOR_MAX_BYTES + 1 }),
                  KD_ERR_ITEM_TOO_LARGE);
    free(p);
}
END_TEST

// ---- typed reading ---------------------------------------------------------

static struct kd_cbor cursor(struct vectors_bytes *keep, const char *hex) {
    *keep = vectors_from_hex(hex);
    return kd_cbor_of(vectors_get(*keep));
}

START_TEST(another_type_is_refused_and_the_first_failure_stays) {
    kd_auto(vectors_bytes) struct vectors_bytes in = { 0 };
    struct kd_cbor c = cursor(&in, "0141aa");
    ck_assert_uint_eq(kd_cbor_read_bytes(&c).n, 0);
    ck_assert_err(c.err, KD_ERR_CBOR_TYPE);
    kd_cbor_fail(&c, KD_ERR_CBOR_RANGE);
    ck_assert_uint_eq(kd_cbor_read_bytes(&c).n, 0); // would fit, but it has failed
    ck_assert(!kd_cbor_has_more(&c));
    ck_assert(!kd_cbor_is_next(&c, KD_CBOR_BYTES));
    ck_assert_err(kd_cbor_finish(&c), KD_ERR_CBOR_TYPE);
}
END_TEST

START_TEST(each_typed_reader_refuses_each_other_type) {
    // One of each type: 1, -1, h'', "", [], {}, 1(0), false, null
    static const char *const items[] = { "01", "20", "40", "60", "80", "a0", "c100", "f4", "f6" };
    for (size_t i = 0; i < KD_COUNT_OF(items); i++) {
        for (size_t reader = 0; reader < 9; reader++) {
            kd_auto(vectors_bytes) struct vectors_bytes in = { 0 };
            struct kd_cbor c = cursor(&in, items[i]);
            bool fits = i == reader;
            switch (reader) {
            case 0:
                kd_cbor_read_uint(&c);
                break;
            case 1:
                kd_cbor_read_int(&c);
                fits = i <= 1;
                break;
            case 2:
                kd_cbor_read_bytes(&c);
                break;
            case 3:
                kd_cbor_read_text(&c);
                break;
            case 4:
                kd_cbor_read_array(&c);
                break;
            case 5:
                kd_cbor_read_map(&c);
                break;
            case 6:
                kd_cbor_read_tag(&c);
                break;
            case 7:
                kd_cbor_read_bool(&c);
                break;
            default:
                kd_cbor_read_null(&c);
                break;
            }
            ck_assert_err(c.err, fits ? KD_OK : KD_ERR_CBOR_TYPE);
        }
    }
}
END_TEST

START_TEST(integers_keep_their_whole_range) {
    kd_auto(vectors_bytes) struct vectors_bytes in = { 0 };
    struct kd_cbor c = cursor(&in, "1b7fffffffffffffff3b7fffffffffffffff1bffffffffffffffff");
    ck_assert_int_eq(kd_cbor_read_int(&c), INT64_MAX);
    ck_assert_int_eq(kd_cbor_read_int(&c), INT64_MIN);
    struct kd_cbor again = c;
    ck_assert_uint_eq(kd_cbor_read_uint(&c), UINT64_MAX);
    ck_assert_err(kd_cbor_finish(&c), KD_OK);
    ck_assert_int_eq(kd_cbor_read_int(&again), 0);
    ck_assert_err(again.err, KD_ERR_CBOR_RANGE);
}
END_TEST

START_TEST(a_map_is_checked_before_its_head_is_handed_out) {
    kd_auto(vectors_bytes) struct vectors_bytes in = { 0 };
    struct kd_cbor c = cursor(&in, "a20140011800");
    ck_assert_uint_eq(kd_cbor_read_map(&c), 0);
    ck_assert_err(c.err, KD_ERR_CBOR_MAP_DUPLICATE);
}
END_TEST

START_TEST(a_whole_item_is_given_as_it_is_encoded) {
    kd_auto(vectors_bytes) struct vectors_bytes in = { 0 };
    struct kd_cbor c = cursor(&in, "a1018202f503");
    ck_assert_uint_eq(kd_cbor_read_whole(&c).n, 5);
    ck_assert(kd_cbor_is_next(&c, KD_CBOR_UINT));
    ck_assert_err(kd_cbor_finish(&c), KD_ERR_CBOR_TRAILING);
    ck_assert_uint_eq(kd_cbor_read_uint(&c), 3);
    ck_assert_err(kd_cbor_finish(&c), KD_OK);
}
END_TEST

START_TEST(what_is_written_is_read) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(4096);
    kd_cbor_put_map(&b, 2);
    kd_cbor_put_int(&b, 35);
    kd_cbor_put_tag(&b, 32);
    kd_cbor_put_text(&b, "https://é");
    kd_cbor_put_int(&b, -1);
    kd_cbor_put_array(&b, 5);
    kd_cbor_put_bool(&b, true);
    kd_cbor_put_bool(&b, false);
    kd_cbor_put_null(&b);
    kd_cbor_put_int(&b, INT64_MIN);
    kd_cbor_put_bytes(&b, KD_BYTES_NONE);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    ck_assert_err(kd_cbor_check(kd_buf_get(&b)), KD_OK);
    struct kd_cbor c = kd_cbor_of(kd_buf_get(&b));
    ck_assert_uint_eq(kd_cbor_read_map(&c), 2);
    ck_assert_int_eq(kd_cbor_read_int(&c), 35);
    ck_assert_uint_eq(kd_cbor_read_tag(&c), 32);
    ck_assert(kd_bytes_equal(kd_cbor_read_text(&c), kd_bytes_of_text("https://é")));
    ck_assert_int_eq(kd_cbor_read_int(&c), -1);
    ck_assert_uint_eq(kd_cbor_read_array(&c), 5);
    ck_assert(kd_cbor_read_bool(&c));
    ck_assert(!kd_cbor_read_bool(&c));
    kd_cbor_read_null(&c);
    ck_assert_int_eq(kd_cbor_read_int(&c), INT64_MIN);
    ck_assert_uint_eq(kd_cbor_read_bytes(&c).n, 0);
    ck_assert_err(kd_cbor_finish(&c), KD_OK);
}
END_TEST

static void check_same(struct kd_bytes in, unsigned major) {
    struct kd_cbor any = kd_cbor_of(in);
    struct kd_cbor c = any;
    const struct kd_cbor_item item = kd_cbor_next(&any);
    struct kd_bytes got = KD_BYTES_NONE;
    if (major == 0) {
        ck_assert_uint_eq(kd_cbor_read_uint(&c), any.err == KD_OK ? item.value : 0);
    } else {
        got = major == 2 ? kd_cbor_read_bytes(&c) : kd_cbor_read_text(&c);
    }
    ck_assert_err(c.err, any.err);
    ck_assert(got.n == item.bytes.n && (got.n == 0 || got.p == item.bytes.p));
    ck_assert(any.err != KD_OK || (c.in.p == any.in.p && c.in.n == any.in.n));
}

// Numbers, byte strings and texts have a way of their own for usual heads.
START_TEST(typed_readers_read_and_refuse_as_the_general_one) {
    static const uint8_t some[] = { 0, 1, 0x18, 0xff };
    static const unsigned majors[] = { 0, 2, 3 };
    uint8_t in[300] = { 0 };
    for (unsigned i = 0; i < 3 * 32; i++) {
        in[0] = (uint8_t)(majors[i / 32] << 5 | i % 32);
        for (size_t k = 0; k < 4 * 4 * 4 * 4; k++) {
            for (size_t j = 0, rest = k; j < 4; j++, rest /= 4) {
                in[1 + j] = some[rest % 4];
            }
            static const size_t lengths[] = { 1, 2, 3, 4, 5, 6, 29, 262, sizeof(in) };
            for (size_t n = 0; n < KD_COUNT_OF(lengths); n++) {
                check_same((struct kd_bytes) { in, lengths[n] }, majors[i / 32]);
            }
        }
    }
}
END_TEST

START_TEST(heads_take_the_bytes_that_are_told) {
    static const uint64_t edges[] = {
        0, 23, 24, 255, 256, 65535, 65536, UINT32_MAX, (uint64_t)UINT32_MAX + 1, UINT64_MAX
    };
    for (size_t i = 0; i < KD_COUNT_OF(edges); i++) {
        kd_auto(buf) struct kd_buf b = KD_BUF_INIT(16);
        kd_cbor_put_uint(&b, edges[i]);
        ck_assert_uint_eq(b.n, kd_cbor_head_bytes(edges[i]));
        struct kd_cbor c = kd_cbor_of(kd_buf_get(&b));
        ck_assert_uint_eq(kd_cbor_read_uint(&c), edges[i]);
        ck_assert_err(kd_cbor_finish(&c), KD_OK);
    }
}
END_TEST

static TCase *tcase_whole(void) {
    TCase *t = tcase_create("whole items");
    tcase_add_test(t, appendix_a_is_accepted_and_the_same_again_or_refused_as_listed);
    tcase_add_test(t, every_truncation_and_every_extra_byte_is_refused);
    tcase_add_loop_test(t, what_is_not_deterministic_is_refused_for_its_reason, 0,
                        KD_COUNT_OF(refusals));
    tcase_add_test(t, utf8_is_accepted_at_the_edges_of_its_ranges);
    tcase_add_test(t, depth_is_bounded);
    tcase_add_test(t, size_is_bounded);
    return t;
}

static TCase *tcase_typed(void) {
    TCase *t = tcase_create("one item");
    tcase_add_test(t, another_type_is_refused_and_the_first_failure_stays);
    tcase_add_test(t, each_typed_reader_refuses_each_other_type);
    tcase_add_test(t, integers_keep_their_whole_range);
    tcase_add_test(t, a_map_is_checked_before_its_head_is_handed_out);
    tcase_add_test(t, a_whole_item_is_given_as_it_is_encoded);
    tcase_add_test(t, what_is_written_is_read);
    tcase_add_test(t, typed_readers_read_and_refuse_as_the_general_one);
    tcase_add_test(t, heads_take_the_bytes_that_are_told);
    return t;
}

UNIT_MAIN("cbor", tcase_whole(), tcase_typed())
