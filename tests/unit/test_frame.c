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
    for (unsigned code = 1; code <= KD_FAILURE_LAST; code++) {
        for (size_t i = 0; i < KD_COUNT_OF(seconds); i++) {
            kd_auto(buf) struct kd_buf body = KD_BUF_INIT(16);
            enum kd_failure got;
            uint32_t after;
            kd_failure_put(&body, (enum kd_failure)code, seconds[i]);
            ck_assert_err(kd_failure_parse(kd_buf_get(&body), &got, &after), KD_OK);
            ck_assert_uint_eq(got, code);
            ck_assert_uint_eq(after, seconds[i]);
        }
    }
}
END_TEST

START_TEST(failure_of_another_form_is_refused) {
    static const struct kd_bytes bad[] = {
        { (const uint8_t *)"", 0 },
        { (const uint8_t *)"\x80", 1 },     // []
        { (const uint8_t *)"\x81\x00", 2 }, // [0]
        { (const uint8_t *)"\x81\x06", 2 }, // [6]
        { (const uint8_t *)"\x81\x20", 2 }, // [-1]
        { (const uint8_t *)"\x82\x01", 2 }, // one missing
        { (const uint8_t *)"\x83\x01\x01\x01", 4 },
        { (const uint8_t *)"\x81\x01\x00", 3 },                                  // more behind it
        { (const uint8_t *)"\x82\x01\x1b\x00\x00\x00\x01\x00\x00\x00\x00", 11 }, // 2^32
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        enum kd_failure code;
        uint32_t after;
        ck_assert_err(kd_failure_parse(bad[i], &code, &after), KD_ERR_FRAME);
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
    return t;
}

UNIT_MAIN("frame", tcase_frame())
