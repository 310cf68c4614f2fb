// SPDX-License-Identifier: Apache-2.0
// Frames (J09): what is sent comes back the same, and nothing else is taken.
#include "channel/frame.h"
#include "unit.h"

#include <string.h>

static enum kd_err parse(const void *p, size_t n, struct kd_frame *out) {
    return kd_frame_parse((struct kd_bytes) { p, n }, out);
}

START_TEST(frame_shorter_than_its_head_is_refused) {
    static const uint8_t head[KD_FRAME_HEAD_BYTES] = { KD_FRAME_MESSAGE, 0, 0, 0, 1 };
    struct kd_frame f;
    for (size_t n = 0; n < sizeof(head); n++) {
        ck_assert_err(parse(head, n, &f), KD_ERR_FRAME);
    }
    ck_assert_err(parse(head, sizeof(head), &f), KD_OK);
    ck_assert_uint_eq(f.body.n, 0);
}
END_TEST

START_TEST(frame_over_the_limit_is_refused) {
    static uint8_t bytes[KD_FRAME_MAX_BYTES + 1] = { KD_FRAME_MESSAGE };
    struct kd_frame f;
    ck_assert_err(parse(bytes, sizeof(bytes), &f), KD_ERR_FRAME);
    ck_assert_err(parse(bytes, KD_FRAME_MAX_BYTES, &f), KD_OK);
}
END_TEST

START_TEST(only_kinds_that_exist_are_taken) {
    for (unsigned first = 0; first < 256; first++) {
        const uint8_t bytes[] = { (uint8_t)first, 0, 0, 0, 0 };
        const unsigned kind = first & 0x7f;
        const bool is_failure = first == KD_FRAME_FAILURE;
        const bool exists = (kind >= 1 && kind <= KD_FRAME_KIND_LAST) || is_failure;
        struct kd_frame f;
        ck_assert_err(parse(bytes, sizeof(bytes), &f), exists ? KD_OK : KD_ERR_FRAME);
        if (exists) {
            ck_assert_uint_eq(f.kind, is_failure ? 0 : kind);
            ck_assert_uint_eq(f.role, is_failure ? 0xff : first & 0x80);
        }
    }
}
END_TEST

START_TEST(frame_comes_back_as_it_was_sent) {
    static const uint8_t bytes[] = { 0x82, 0xfe, 0xdc, 0xba, 0x98, 'b', 'o', 'd', 'y' };
    const struct kd_frame sent = { .role = KD_FRAME_ANSWER,
                                   .kind = KD_FRAME_MESSAGE,
                                   .id = 0xfedcba98,
                                   .body = kd_bytes_of_text("body") };
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(64);
    uint8_t head[KD_FRAME_HEAD_BYTES];
    struct kd_frame f;
    kd_frame_put(&out, &sent);
    ck_assert(kd_bytes_equal(kd_buf_get(&out), (struct kd_bytes) { bytes, sizeof(bytes) }));
    kd_frame_head(&sent, head);
    ck_assert_mem_eq(head, bytes, sizeof(head));
    ck_assert_err(kd_frame_parse(kd_buf_get(&out), &f), KD_OK);
    ck_assert_uint_eq(f.role, KD_FRAME_ANSWER);
    ck_assert_uint_eq(f.kind, KD_FRAME_MESSAGE);
    ck_assert_uint_eq(f.id, 0xfedcba98);
    ck_assert(kd_bytes_equal(f.body, sent.body));
}
END_TEST

START_TEST(failure_says_why_and_perhaps_when) {
    static const uint32_t seconds[] = { 0, 1, 23, 24, UINT32_MAX };
    for (unsigned code = 1; code < KD_FAILURE_RETRY; code++) {
        for (size_t i = 0; i < KD_COUNT_OF(seconds); i++) {
            kd_auto(buf) struct kd_buf body = KD_BUF_INIT(16);
            const struct kd_failure_body sent = { .code = (enum kd_failure)code,
                                                  .after_s = seconds[i] };
            struct kd_failure_body got;
            kd_failure_put(&body, &sent);
            ck_assert_err(kd_failure_parse(kd_buf_get(&body), &got), KD_OK);
            ck_assert_uint_eq(got.code, code);
            ck_assert_uint_eq(got.after_s, seconds[i]);
            ck_assert_uint_eq(got.cookie.n, 0);
        }
    }
}
END_TEST

START_TEST(retry_has_a_cookie_of_1_to_64_bytes) {
    static const uint8_t bytes[KD_FRAME_COOKIE_MAX_BYTES + 1] = { 1, 2, 3 };
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        kd_auto(buf) struct kd_buf body = KD_BUF_INIT(128);
        const struct kd_failure_body sent = { .code = KD_FAILURE_RETRY, .cookie = { bytes, n } };
        const bool is_good = n >= 1 && n <= KD_FRAME_COOKIE_MAX_BYTES;
        struct kd_failure_body got;
        kd_failure_put(&body, &sent);
        ck_assert_err(kd_failure_parse(kd_buf_get(&body), &got), is_good ? KD_OK : KD_ERR_FRAME);
        if (is_good) {
            ck_assert_uint_eq(got.code, KD_FAILURE_RETRY);
            ck_assert(kd_bytes_equal(got.cookie, sent.cookie));
        }
    }
}
END_TEST

START_TEST(failure_of_another_form_is_refused) {
    static const struct kd_bytes bad[] = {
        { (const uint8_t *)"", 0 },
        { (const uint8_t *)"\x80", 1 },     // []
        { (const uint8_t *)"\x81\x00", 2 }, // [0]
        { (const uint8_t *)"\x81\x07", 2 }, // [7]
        { (const uint8_t *)"\x81\x20", 2 }, // [-1]
        { (const uint8_t *)"\x82\x01", 2 }, // one missing
        { (const uint8_t *)"\x83\x01\x01\x01", 4 },
        { (const uint8_t *)"\x81\x01\x00", 3 },                                  // more behind it
        { (const uint8_t *)"\x82\x01\x1b\x00\x00\x00\x01\x00\x00\x00\x00", 11 }, // 2^32
        { (const uint8_t *)"\x81\x06", 2 },                                      // no cookie
        { (const uint8_t *)"\x82\x06\x01", 3 },     // seconds in its place
        { (const uint8_t *)"\x82\x03\x41\x01", 4 }, // a cookie where none belongs
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        struct kd_failure_body got;
        ck_assert_err(kd_failure_parse(bad[i], &got), KD_ERR_FRAME);
    }
}
END_TEST

START_TEST(first_message_has_perhaps_a_cookie_before_it) {
    static const struct {
        struct kd_bytes body;
        bool is_first;
        size_t n_cookie;
    } rows[] = {
        { { (const uint8_t *)"\xf5\x00\x02", 3 }, true, 0 },
        { { (const uint8_t *)"\x42\x07\x08\xf5\x00\x02", 6 }, true, 2 },
        { { (const uint8_t *)"\xf5", 1 }, false, 0 },             // no message
        { { (const uint8_t *)"\x42\x07\x08\xf5", 4 }, false, 0 }, // none behind the cookie
        { { (const uint8_t *)"\x40\xf5\x00", 3 }, false, 0 },     // an empty cookie
        { { (const uint8_t *)"\x42\x07\xf5", 3 }, false, 0 },     // cut short
        { { (const uint8_t *)"\x48"
                             "12345678"
                             "\x41\x00",
            11 },
          false,
          0 }, // message_3
        { { (const uint8_t *)"\xf4\x00", 2 }, false, 0 },
        { { (const uint8_t *)"\x02\xf5\x00", 3 }, false, 0 }, // a number is no cookie
        { { (const uint8_t *)"", 0 }, false, 0 },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        struct kd_bytes cookie = KD_BYTES_NONE;
        struct kd_bytes message = KD_BYTES_NONE;
        ck_assert_int_eq(kd_frame_is_first(rows[i].body, &cookie, &message), rows[i].is_first);
        ck_assert_uint_eq(cookie.n, rows[i].n_cookie);
        ck_assert_uint_eq(message.n, rows[i].is_first ? 2 : 0);
    }
}
END_TEST

static TCase *tcase_frame(void) {
    TCase *t = tcase_create("frame");
    tcase_add_test(t, frame_shorter_than_its_head_is_refused);
    tcase_add_test(t, frame_over_the_limit_is_refused);
    tcase_add_test(t, only_kinds_that_exist_are_taken);
    tcase_add_test(t, frame_comes_back_as_it_was_sent);
    tcase_add_test(t, failure_says_why_and_perhaps_when);
    tcase_add_test(t, failure_of_another_form_is_refused);
    tcase_add_test(t, retry_has_a_cookie_of_1_to_64_bytes);
    tcase_add_test(t, first_message_has_perhaps_a_cookie_before_it);
    return t;
}

UNIT_MAIN("frame", tcase_frame())
