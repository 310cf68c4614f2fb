// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <malloc.h>
#include <string.h>

START_TEST(writer_refuses_one_byte_past_its_limit_and_stays_refused) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(4);
    kd_buf_u32(&b, 0x01020304);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    kd_buf_u8(&b, 5);
    ck_assert_err(kd_buf_finish(&b), KD_ERR_ITEM_TOO_LARGE);
    ck_assert_uint_eq(b.n, 4);
    kd_buf_put(&b, "", 0);
    ck_assert_err(kd_buf_finish(&b), KD_ERR_ITEM_TOO_LARGE);
    kd_buf_reset(&b);
    kd_buf_u8(&b, 5);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    ck_assert_uint_eq(b.n, 1);
}
END_TEST

START_TEST(block_refuses_what_its_length_cannot_say) {
    static uint8_t bytes[65536];
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1 << 20);
    kd_buf_block8(&b, (struct kd_bytes) { bytes, 255 });
    kd_buf_block16(&b, (struct kd_bytes) { bytes, 65535 });
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    ck_assert_uint_eq(b.n, 1 + 255 + 2 + 65535);
    kd_buf_block8(&b, (struct kd_bytes) { bytes, 256 });
    ck_assert_err(kd_buf_finish(&b), KD_ERR_ITEM_TOO_LARGE);
    kd_buf_reset(&b);
    kd_buf_block16(&b, (struct kd_bytes) { bytes, 65536 });
    ck_assert_err(kd_buf_finish(&b), KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

START_TEST(what_was_written_is_read) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1024);
    kd_buf_u8(&b, 0xfe);
    kd_buf_u16(&b, 0x1234);
    kd_buf_u32(&b, 0xdeadbeef);
    kd_buf_u64(&b, 0x0123456789abcdef);
    kd_buf_block8(&b, kd_bytes_of_text("one"));
    kd_buf_block16(&b, KD_BYTES_NONE);
    kd_buf_block32(&b, kd_bytes_of_text("three"));
    kd_buf_printf(&b, "%s-%d", "text", 7);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    ck_assert_uint_eq(b.p[1], 0x12); // big endian

    struct kd_reader r = kd_reader_of(kd_buf_get(&b));
    ck_assert_uint_eq(kd_read_u8(&r), 0xfe);
    ck_assert_uint_eq(kd_read_u16(&r), 0x1234);
    ck_assert_uint_eq(kd_read_u32(&r), 0xdeadbeef);
    ck_assert_uint_eq(kd_read_u64(&r), 0x0123456789abcdef);
    ck_assert(kd_bytes_equal(kd_read_block8(&r), kd_bytes_of_text("one")));
    ck_assert_uint_eq(kd_read_block16(&r).n, 0);
    ck_assert(kd_bytes_equal(kd_read_block32(&r), kd_bytes_of_text("three")));
    ck_assert_err(kd_reader_finish(&r), KD_ERR_MALFORMED); // bytes left
    ck_assert(kd_bytes_equal(kd_read_bytes(&r, 6), kd_bytes_of_text("text-7")));
    ck_assert_err(kd_reader_finish(&r), KD_OK);
}
END_TEST

START_TEST(reader_past_the_end_gives_nothing_from_then_on) {
    const uint8_t bytes[] = { 3, 'a', 'b' };
    struct kd_reader r = kd_reader_of((struct kd_bytes) { bytes, sizeof(bytes) });
    ck_assert_uint_eq(kd_read_block8(&r).n, 0);
    ck_assert_uint_eq(kd_read_u8(&r), 0);
    ck_assert_err(kd_reader_finish(&r), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(size_arithmetic_finds_overflow) {
    size_t v = 7;
    ck_assert(!kd_size_add(SIZE_MAX, 1, &v));
    ck_assert(!kd_size_mul(SIZE_MAX / 2, 3, &v));
    ck_assert_uint_eq(v, 7);
    ck_assert(kd_size_add(SIZE_MAX - 1, 1, &v));
    ck_assert(kd_size_mul(0, SIZE_MAX, &v));
    ck_assert_uint_eq(v, 0);
}
END_TEST

START_TEST(drop_front_keeps_the_rest) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(64);
    kd_buf_text(&b, "abcdef");
    kd_buf_drop_front(&b, 2);
    ck_assert_str_eq(kd_buf_get_text(&b), "cdef");
    ck_assert_mem_eq(b.p + b.n, "\0\0", 2); // and leaves no copy behind
    kd_buf_drop_front(&b, 4);
    ck_assert_str_eq(kd_buf_get_text(&b), "");
}
END_TEST

static unsigned n_frees;
static unsigned n_unwiped;

void __real_free(void *p);
void __wrap_free(void *p);

// Linked with --wrap: what the writer gives back must be empty.
void __wrap_free(void *p) {
    const uint8_t *bytes = p;
    n_frees++;
    for (size_t i = 0; p != NULL && i < malloc_usable_size(p); i++) {
        n_unwiped += bytes[i] == 'S' ? 1 : 0;
    }
    __real_free(p);
}

START_TEST(nothing_that_was_written_is_left_in_freed_memory) {
    struct kd_buf b = KD_BUF_INIT(100000);
    n_frees = 0;
    n_unwiped = 0;
    for (size_t i = 0; i < 100000; i++) {
        kd_buf_u8(&b, 'S');
    }
    const unsigned n_grown = n_frees;
    ck_assert_uint_gt(n_grown, 5);
    kd_buf_drop_front(&b, 10);
    kd_buf_reset(&b);
    kd_buf_wipe(&b);
    ck_assert_uint_gt(n_frees, n_grown);
    ck_assert_uint_eq(n_unwiped, 0);
}
END_TEST

START_TEST(over_an_array_the_array_is_the_limit) {
    uint8_t bytes[4];
    struct kd_buf b = KD_BUF_OVER(bytes);
    kd_buf_u32(&b, 0x01020304);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    ck_assert_ptr_eq(b.p, bytes);
    ck_assert_uint_eq(bytes[3], 4);
    kd_buf_u8(&b, 5);
    ck_assert_err(kd_buf_finish(&b), KD_ERR_ITEM_TOO_LARGE);
    ck_assert_ptr_eq(b.p, bytes);
}
END_TEST

static TCase *tcase_buf(void) {
    TCase *t = tcase_create("buf");
    tcase_add_test(t, writer_refuses_one_byte_past_its_limit_and_stays_refused);
    tcase_add_test(t, block_refuses_what_its_length_cannot_say);
    tcase_add_test(t, what_was_written_is_read);
    tcase_add_test(t, reader_past_the_end_gives_nothing_from_then_on);
    tcase_add_test(t, size_arithmetic_finds_overflow);
    tcase_add_test(t, over_an_array_the_array_is_the_limit);
    tcase_add_test(t, drop_front_keeps_the_rest);
    tcase_add_test(t, nothing_that_was_written_is_left_in_freed_memory);
    return t;
}

UNIT_MAIN("buf", tcase_buf())
