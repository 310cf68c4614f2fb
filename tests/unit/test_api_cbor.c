// SPDX-License-Identifier: Apache-2.0
// test_api_cbor.c: batches of records as a sequence in CBOR.
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

#define OPEN "/v1/records/open"
#define SEAL "/v1/records/seal"
#define CBOR "application/cbor-seq"

static void post(const char *target, struct kd_bytes body, struct answer *a) {
    char head[256];
    snprintf(head, sizeof(head),
             "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: " CBOR "\r\nContent-Length: %zu\r\n\r\n",
             target, body.n);
    const int fd = client_connect(&f);
    client_send(fd, head);
    client_send_bytes(fd, body.p, body.n);
    client_read(fd, a);
    close(fd);
}

static void refuse(const char *target, struct kd_bytes body, int status, const char *problem,
                   const char *field) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    post(target, body, &a);
    ck_assert_problem(&a, status, problem);
    ck_assert_str_eq(text_of(&a, "field", text), field);
    ck_assert_str_eq(answer_header(&a, "Content-Type", text), "application/problem+json");
}

#define BYTES(text) ((struct kd_bytes) { (const uint8_t *)(text), sizeof(text) - 1 })
#define FAKE_ID "\x70" FAKE_SESSION // a text of 16

static void put_open(struct kd_buf *body, const char *record) {
    kd_cbor_put_array(body, 1);
    kd_cbor_put_bytes(body, kd_bytes_of_text(record));
}

START_TEST(body_that_is_not_deterministic_cbor_is_refused) {
    refuse(OPEN, BYTES(""), 400, "bad-json", "");
    refuse(OPEN, BYTES("\x81"), 400, "cbor-truncated", "items[0]");
    refuse(OPEN, BYTES("\x81\x41x\x81\x42x"), 400, "cbor-truncated", "items[1]");
    refuse(OPEN, BYTES("\x81\x58\x01x"), 400, "cbor-not-shortest", "items[0]");
    refuse(OPEN, BYTES("\x9f\x41x\xff"), 400, "cbor-indefinite", "items[0]");
    refuse(OPEN, BYTES("{\"items\":[]}"), 400, "cbor-truncated", "items[0]");
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(items_of_another_form_are_refused) {
    refuse(OPEN, BYTES("\x00"), 400, "field-invalid", "items[0]");
    refuse(OPEN, BYTES("\x80"), 400, "field-invalid", "items[0]");
    refuse(OPEN, BYTES("\x81\x41x\x81\x61x"), 400, "field-invalid", "items[1]");
    refuse(OPEN, BYTES("\x83\x41x\x41x\x41x"), 400, "field-invalid", "items[0]");
    refuse(SEAL, BYTES("\x82" FAKE_ID "\x00"), 400, "field-invalid", "items[0]");
    refuse(SEAL, BYTES("\x85" FAKE_ID "\x00\x41x\x40\x40"), 400, "field-invalid", "items[0]");
    refuse(SEAL,
           BYTES("\x83\x6f"
                 "8f14e45fceea167"
                 "\x00\x41x"),
           400, "field-invalid", "items[0].session");
    refuse(SEAL,
           BYTES("\x83\x70"
                 "8F14E45FCEEA167A"
                 "\x00\x41x"),
           400, "field-invalid", "items[0].session");
    refuse(SEAL,
           BYTES("\x83\x70"
                 "8f14e45fceea\0"
                 "67a"
                 "\x00\x41x"),
           400, "field-invalid", "items[0].session");
    refuse(SEAL, BYTES("\x83" FAKE_ID "\x01\x41x"), 400, "field-invalid", "items[0].type");
    refuse(SEAL, BYTES("\x83" FAKE_ID "\x19\x01\x00\x41x"), 400, "field-invalid", "items[0].type");
    refuse(SEAL, BYTES("\x83" FAKE_ID "\x03\x41x"), 400, "field-invalid", "items[0].data");
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(batch_has_at_most_as_many_items_as_one_in_json) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(65536);
    for (size_t i = 0; i < KD_HSM_BATCH_MAX_ITEMS; i++) {
        put_open(&body, "0x");
    }
    kd_auto(answer) struct answer a = { 0 };
    post(OPEN, kd_buf_get(&body), &a);
    ck_assert_int_eq(a.status, 200);
    put_open(&body, "0x");
    refuse(OPEN, kd_buf_get(&body), 413, "batch-too-large", "");
}
END_TEST

START_TEST(records_are_opened_in_their_order) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(256);
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    put_open(&body, "0hello");
    kd_buf_put(&body,
               "\x82\x46"
               "3hibye"
               "\x42hi",
               11); // with external data, which the fake takes off
    post(OPEN, kd_buf_get(&body), &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(answer_header(&a, "Content-Type", text), CBOR);
    ck_assert_str_eq(answer_header(&a, "Cache-Control", text), "no-store");
    static const char expected[] = "\x87" FAKE_ID "\x66sensor\x60\xf5\x00\x09\x45hello"
                                   "\x87" FAKE_ID "\x66sensor\x60\xf5\x03\x09\x43"
                                   "bye";
    ck_assert_uint_eq(a.n, sizeof(expected) - 1);
    ck_assert_mem_eq(a.body, expected, a.n);
}
END_TEST

START_TEST(messages_are_sealed_in_their_order) {
    kd_auto(answer) struct answer a = { 0 };
    post(SEAL, BYTES("\x83" FAKE_ID "\x00\x45hello\x84" FAKE_ID "\x03\x40\x42hi"), &a);
    ck_assert_int_eq(a.status, 200);
    static const char expected[] = "\x81\x46"
                                   "0hello"
                                   "\x81\x43"
                                   "3hi";
    ck_assert_uint_eq(a.n, sizeof(expected) - 1);
    ck_assert_mem_eq(a.body, expected, a.n);
}
END_TEST

START_TEST(item_that_fails_says_why_in_its_place) {
    kd_auto(answer) struct answer a = { 0 };
    f.service.item = KD_ERR_SESSION_EXPIRED;
    post(OPEN,
         BYTES("\x81\x43"
               "0hi"),
         &a); // also where it is the only one
    ck_assert_int_eq(a.status, 200);
    static const char expected[] = "\x82\x6fsession-expired\x43"
                                   "bye";
    ck_assert_uint_eq(a.n, sizeof(expected) - 1);
    ck_assert_mem_eq(a.body, expected, a.n);
    f.service.item = KD_OK;
    f.service.later = KD_ERR_BUSY;
    refuse(OPEN,
           BYTES("\x81\x43"
                 "0hi"),
           503, "busy", "");
}
END_TEST

START_TEST(only_records_may_be_in_cbor) {
    kd_auto(answer) struct answer a = { 0 };
    post("/v1/keys", BYTES("\x81\x40"), &a);
    ck_assert_problem(&a, 415, "media-type");
}
END_TEST

static TCase *tcase_cbor(void) {
    TCase *t = tcase_create("cbor");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, body_that_is_not_deterministic_cbor_is_refused);
    tcase_add_test(t, items_of_another_form_are_refused);
    tcase_add_test(t, batch_has_at_most_as_many_items_as_one_in_json);
    tcase_add_test(t, records_are_opened_in_their_order);
    tcase_add_test(t, messages_are_sealed_in_their_order);
    tcase_add_test(t, item_that_fails_says_why_in_its_place);
    tcase_add_test(t, only_records_may_be_in_cbor);
    return t;
}

UNIT_MAIN("records in cbor", tcase_cbor())
