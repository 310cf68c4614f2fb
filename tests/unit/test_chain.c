// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define MEMBERS "\"event\":\"key.create\",\"key\":\"orders\""

static struct kd_bytes line_at(const struct kd_buf *log, size_t which) {
    const uint8_t *p = log->p;
    size_t left = log->n;
    for (;; which--) {
        const uint8_t *end = memchr(p, '\n', left);
        ck_assert_ptr_nonnull(end);
        if (which == 0) {
            return (struct kd_bytes) { p, (size_t)(end - p) };
        }
        left -= (size_t)(end + 1 - p);
        p = end + 1;
    }
}

static void put(struct kd_chain *c, struct kd_buf *log) {
    ck_assert_err(kd_chain_put(c, 1764000000123, kd_bytes_of_text(MEMBERS), log), KD_OK);
}

START_TEST(a_line_that_is_not_of_the_one_form_is_refused) {
    kd_auto(buf) struct kd_buf log = KD_BUF_INIT(4096);
    struct kd_chain c = { 0 };
    put(&c, &log);
    const struct kd_bytes good = line_at(&log, 0);
    struct kd_chain_line line = { .seq = 77 };
    char text[512];
    for (size_t n = 0; n < good.n; n++) { // cut anywhere
        memcpy(text, good.p, n);
        ck_assert_err(kd_chain_read((struct kd_bytes) { (uint8_t *)text, n }, &line),
                      KD_ERR_BAD_JSON);
    }
    const size_t n_form =
        (size_t)(strstr((const char *)good.p, "event") - (const char *)good.p) + 8;
    for (size_t i = 0; i < n_form; i++) { // a byte of its form that cannot be
        memcpy(text, good.p, good.n);
        text[i] = '\0';
        ck_assert_err(kd_chain_read((struct kd_bytes) { (uint8_t *)text, good.n }, &line),
                      KD_ERR_BAD_JSON);
    }
    ck_assert_uint_eq(line.seq, 77); // untouched
}
END_TEST

START_TEST(numbers_have_one_form) {
    static const char *const bad[] = { "0", "01", "-1", "+1", "1.0", "", "18446744073709551616" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        char text[256];
        struct kd_chain_line line;
        snprintf(text, sizeof(text),
                 "{\"seq\":%s,\"prev\":\"%064d\",\"time\":\"2026-01-31T23:59:59.999Z\","
                 "\"event\":\"x\"}",
                 bad[i], 0);
        ck_assert_msg(kd_chain_read(kd_bytes_of_text(text), &line) == KD_ERR_BAD_JSON, "took '%s'",
                      bad[i]);
    }
}
END_TEST

START_TEST(a_line_is_read_as_it_was_put) {
    kd_auto(buf) struct kd_buf log = KD_BUF_INIT(4096);
    struct kd_chain c = { 0 };
    struct kd_chain before = c;
    uint8_t hash[KD_CHAIN_HASH_BYTES];
    for (size_t i = 0; i < 3; i++) {
        struct kd_chain_line line;
        put(&c, &log);
        const struct kd_bytes text = line_at(&log, i);
        ck_assert_err(kd_chain_read(text, &line), KD_OK);
        ck_assert_uint_eq(line.seq, i + 1);
        ck_assert_int_eq(kd_chain_check(&before, &line), KD_CHAIN_GOOD);
        SHA256(text.p, text.n, hash); // by itself, not by the code under test
        ck_assert_mem_eq(c.head, hash, sizeof(hash));
        before = kd_chain_at(&line);
        ck_assert_mem_eq(&before, &c, sizeof(c));
    }
    ck_assert_ptr_nonnull(strstr(kd_buf_get_text(&log), "\"time\":\"2025-11-24T16:00:00.123Z\","
                                                        "\"event\":\"key.create\","));
}
END_TEST

START_TEST(a_line_must_follow_the_one_before) {
    kd_auto(buf) struct kd_buf log = KD_BUF_INIT(4096);
    struct kd_chain c = { 0 };
    struct kd_chain_line lines[4];
    for (size_t i = 0; i < KD_COUNT_OF(lines); i++) {
        put(&c, &log);
        ck_assert_err(kd_chain_read(line_at(&log, i), &lines[i]), KD_OK);
    }
    const struct kd_chain second = kd_chain_at(&lines[1]);
    ck_assert_int_eq(kd_chain_check(&second, &lines[3]), KD_CHAIN_MISSING);
    ck_assert_int_eq(kd_chain_check(&second, &lines[1]), KD_CHAIN_BACK); // twice
    ck_assert_int_eq(kd_chain_check(&second, &lines[0]), KD_CHAIN_BACK);
    struct kd_chain other = second;
    other.head[31] ^= 1;
    ck_assert_int_eq(kd_chain_check(&other, &lines[2]), KD_CHAIN_CHANGED);
    ck_assert_int_eq(kd_chain_check(&second, &lines[2]), KD_CHAIN_GOOD);
}
END_TEST

START_TEST(a_line_over_its_limit_leaves_chain_and_buffer_alone) {
    kd_auto(buf) struct kd_buf log = KD_BUF_INIT(4 * KD_CHAIN_LINE_MAX_BYTES);
    kd_auto(buf) struct kd_buf members = KD_BUF_INIT(2 * KD_CHAIN_LINE_MAX_BYTES);
    struct kd_chain c = { 0 };
    struct kd_chain_line line;
    put(&c, &log);
    const struct kd_chain before = c;
    const size_t n_head = log.n - strlen(MEMBERS) - 2;
    kd_buf_text(&members, "\"event\":\"x\",\"y\":\"");
    while (members.n < KD_CHAIN_LINE_MAX_BYTES - 2 - n_head) {
        kd_buf_u8(&members, 'y');
    }
    members.p[members.n - 1] = '"';
    const size_t n = log.n;
    kd_buf_u8(&members, ' '); // one more than may be
    ck_assert_err(kd_chain_put(&c, 0, kd_buf_get(&members), &log), KD_ERR_ITEM_TOO_LARGE);
    ck_assert_uint_eq(log.n, n);
    ck_assert_mem_eq(&c, &before, sizeof(c));
    members.n--;
    ck_assert_err(kd_chain_put(&c, 0, kd_buf_get(&members), &log), KD_OK);
    ck_assert_uint_eq(log.n - n, KD_CHAIN_LINE_MAX_BYTES);
    ck_assert_err(kd_chain_read(line_at(&log, 1), &line), KD_OK);
}
END_TEST

static TCase *tcase_chain(void) {
    TCase *tc = tcase_create("chain");
    tcase_add_test(tc, a_line_that_is_not_of_the_one_form_is_refused);
    tcase_add_test(tc, numbers_have_one_form);
    tcase_add_test(tc, a_line_is_read_as_it_was_put);
    tcase_add_test(tc, a_line_must_follow_the_one_before);
    tcase_add_test(tc, a_line_over_its_limit_leaves_chain_and_buffer_alone);
    return tc;
}

UNIT_MAIN("chain", tcase_chain())
