// SPDX-License-Identifier: Apache-2.0
// test_api_raw.c: records that come and go as they are, with what JSON has
// beside them in headers; and what stands beside message_1.
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

#define COSE "Content-Type: application/cose\r\n"
#define BYTES "Content-Type: application/octet-stream\r\n"
#define OF_SESSION "Keyd-Session: " FAKE_SESSION "\r\n"
#define OPEN "/v1/records/open"
#define SEAL "/v1/records/seal"

static void refuse(const char *target, const char *headers, const char *body, int status,
                   const char *problem, const char *field) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", target, headers, body, &a);
    ck_assert_problem(&a, status, problem);
    ck_assert_str_eq(text_of(&a, "field", text), field);
    ck_assert_str_eq(answer_header(&a, "Content-Type", text), "application/problem+json");
    ck_assert_str_eq(answer_header(&a, "Keyd-Session", text), "");
    ck_assert_str_eq(answer_header(&a, "Keyd-Peer", text), "");
}

static void expect(const char *target, const char *headers, const char *sent, const char *body,
                   const char *type, struct answer *a) {
    char text[256];
    ask(&f, "POST", target, headers, sent, a);
    ck_assert_int_eq(a->status, 200);
    ck_assert_str_eq(a->body, body);
    ck_assert_str_eq(answer_header(a, "Content-Type", text), type);
    ck_assert_str_eq(answer_header(a, "Keyd-Session", text), FAKE_SESSION);
    ck_assert_str_eq(answer_header(a, "Cache-Control", text), "no-store");
}

START_TEST(media_type_that_is_the_other_ones_is_refused) {
    refuse(OPEN, BYTES, "0hi", 415, "media-type", "");
    refuse(SEAL, COSE OF_SESSION, "hi", 415, "media-type", "");
    refuse(SEAL, "Content-Type: application/cosette\r\n", "hi", 415, "media-type", "");
    refuse(OPEN, COSE, "", 400, "bad-json", "");
    refuse(SEAL, JSON_BODY OF_SESSION, "", 400, "bad-json", "");
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(headers_that_are_not_well_are_refused) {
    refuse(SEAL, BYTES, "hi", 400, "field-missing", "Keyd-Session");
    refuse(SEAL, BYTES "Keyd-Session: 8F14e45fceea167a\r\n", "hi", 400, "field-invalid",
           "Keyd-Session");
    refuse(SEAL, BYTES "Keyd-Session: 8f14e45fceea167a0\r\n", "hi", 400, "field-invalid",
           "Keyd-Session");
    refuse(SEAL, BYTES "Keyd-Session: \r\n", "hi", 400, "field-invalid", "Keyd-Session");
    refuse(SEAL, BYTES OF_SESSION "keyd-session: 0011223344556677\r\n", "hi", 400, "field-invalid",
           "Keyd-Session"); // two: who reads after us may take the other
    refuse(SEAL, BYTES OF_SESSION "Keyd-Type: expire\r\n", "hi", 400, "field-invalid", "Keyd-Type");
    refuse(SEAL, BYTES OF_SESSION "Keyd-Type: close\r\n", "hi", 400, "field-invalid", "");
    refuse(SEAL, BYTES OF_SESSION "Keyd-Type: error\r\n", "hi", 400, "field-invalid", "");
    refuse(SEAL, BYTES OF_SESSION "Keyd-Type: data\r\nKeyd-Type: data\r\n", "hi", 400,
           "field-invalid", "Keyd-Type");
    refuse(SEAL, BYTES OF_SESSION "Keyd-Aad: a\r\n", "hi", 400, "bad-base64", "Keyd-Aad");
    refuse(OPEN, COSE "Keyd-Aad: aGk=\r\n", "0hi", 400, "bad-base64", "Keyd-Aad");
    refuse(OPEN, COSE "Keyd-Aad: aGk\r\nKeyd-Aad: aGk\r\n", "0hi", 400, "field-invalid",
           "Keyd-Aad");
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(record_is_opened_to_its_bytes_and_who_sent_them) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    expect(OPEN, COSE, "0hello", "hello", "application/octet-stream", &a);
    ck_assert_str_eq(answer_header(&a, "Keyd-Peer", text), "sensor");
    ck_assert_str_eq(answer_header(&a, "Keyd-Registered", text), "yes");
    ck_assert_str_eq(answer_header(&a, "Keyd-Type", text), "data");
    ck_assert_str_eq(answer_header(&a, "Keyd-Sequence", text), "9");
    kd_auto(answer) struct answer b = { 0 };
    // With parameters, and with external data (which the fake takes off).
    expect(OPEN, "Content-Type: application/cose; cose-type=\"cose-encrypt0\"\r\nKeyd-Aad: aGk\r\n",
           "3hibye", "bye", "application/octet-stream", &b);
    ck_assert_str_eq(answer_header(&b, "Keyd-Type", text), "close");
    kd_auto(answer) struct answer c = { 0 };
    expect(OPEN, COSE, "0", "", "", &c); // of nothing there is no type
    // What looks like JSON is the record all the same.
    kd_auto(answer) struct answer d = { 0 };
    expect(OPEN, COSE, "0{\"items\":[]}", "{\"items\":[]}", "application/octet-stream", &d);
}
END_TEST

START_TEST(bytes_are_sealed_to_a_record) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    expect(SEAL, BYTES OF_SESSION, "hello", "0hello", "application/cose", &a);
    ck_assert_str_eq(answer_header(&a, "Keyd-Peer", text), "");
    kd_auto(answer) struct answer b = { 0 };
    expect(SEAL, BYTES OF_SESSION "Keyd-Aad: aGk\r\nKeyd-Type: data\r\n", "hello", "0hihello",
           "application/cose", &b);
    kd_auto(answer) struct answer c = { 0 };
    expect(SEAL, BYTES OF_SESSION "Keyd-Type: close\r\n", "", "3", "application/cose", &c);
    kd_auto(answer) struct answer d = { 0 };
    expect(SEAL, BYTES OF_SESSION, "", "0", "application/cose", &d); // an empty message is one
}
END_TEST

START_TEST(record_that_fails_is_a_problem_in_json) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    f.service.item = KD_ERR_SESSION_EXPIRED;
    ask(&f, "POST", OPEN, COSE, "0hi", &a);
    ck_assert_problem(&a, 409, "session-expired");
    ck_assert_str_eq(text_of(&a, "answer", text), "Ynll");
    f.service.item = KD_ERR_RECORD_REPLAYED;
    refuse(OPEN, COSE, "0hi", 422, "record-replayed", "");
    f.service.item = KD_OK;
    refuse(SEAL, BYTES "Keyd-Session: 0011223344556677\r\n", "hi", 404, "no-such-session", "");
    f.service.later = KD_ERR_BUSY;
    refuse(OPEN, COSE, "0hi", 503, "busy", "");
}
END_TEST

#define EDHOC "Content-Type: application/edhoc+cbor-seq\r\n"
#define LONGEST                                                                                    \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                             \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" // 128

START_TEST(handshake_is_begun_with_address_and_cookie) {
    kd_auto(answer) struct answer a = { 0 };
    kd_auto(answer) struct answer b = { 0 };
    kd_auto(answer) struct answer c = { 0 };
    ask(&f, "POST", "/v1/handshakes",
        EDHOC "Keyd-Address: [2001:db8::1]:5683\r\nKeyd-Cookie: aGk\r\n", "m1", &a);
    ck_assert_int_eq(a.status, 201);
    ck_assert_str_eq(f.service.text, "address=[2001:db8::1]:5683 cookie=hi");
    ask(&f, "POST", "/v1/handshakes", JSON_BODY,
        "{\"message\":\"bTE\",\"address\":\"192.0.2.1\",\"cookie\":\"aGk\"}", &b);
    ck_assert_int_eq(b.status, 201);
    ck_assert_str_eq(f.service.text, "address=192.0.2.1 cookie=hi");
    ask(&f, "POST", "/v1/handshakes", EDHOC "Keyd-Address: " LONGEST "\r\n", "m1", &c);
    ck_assert_int_eq(c.status, 201);
    f.service.n_calls = 0;
    refuse("/v1/handshakes", EDHOC "Keyd-Address: " LONGEST "a\r\n", "m1", 413, "item-too-large",
           "Keyd-Address");
    refuse("/v1/handshakes", JSON_BODY, "{\"message\":\"bTE\",\"address\":\"" LONGEST "a\"}", 413,
           "item-too-large", "address");
    refuse("/v1/handshakes", EDHOC "Keyd-Cookie: a\r\n", "m1", 400, "bad-base64", "Keyd-Cookie");
    refuse("/v1/handshakes", EDHOC "Keyd-Address: a\r\nKeyd-Address: b\r\n", "m1", 400,
           "field-invalid", "Keyd-Address");
    refuse("/v1/handshakes", JSON_BODY, "{\"initiate\":true,\"cookie\":\"aGk\"}", 400,
           "field-unknown", "cookie");
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(cookie_to_come_back_with_is_in_the_problem) {
    static const char *const headers[] = { EDHOC, JSON_BODY };
    static const char *const bodies[] = { "m1", "{\"message\":\"bTE\"}" };
    f.service.at_once = KD_ERR_HS_RETRY;
    for (size_t i = 0; i < 2; i++) {
        kd_auto(answer) struct answer a = { 0 };
        char text[256];
        ask(&f, "POST", "/v1/handshakes", headers[i], bodies[i], &a);
        ck_assert_problem(&a, 503, "handshake-retry");
        ck_assert_str_eq(text_of(&a, "cookie", text), "Y29va2ll");
        ck_assert_str_ne(answer_header(&a, "Retry-After", text), "");
    }
}
END_TEST

static TCase *tcase_raw(void) {
    TCase *t = tcase_create("raw records");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, media_type_that_is_the_other_ones_is_refused);
    tcase_add_test(t, headers_that_are_not_well_are_refused);
    tcase_add_test(t, record_is_opened_to_its_bytes_and_who_sent_them);
    tcase_add_test(t, bytes_are_sealed_to_a_record);
    tcase_add_test(t, record_that_fails_is_a_problem_in_json);
    tcase_add_test(t, handshake_is_begun_with_address_and_cookie);
    tcase_add_test(t, cookie_to_come_back_with_is_in_the_problem);
    return t;
}

UNIT_MAIN("raw records", tcase_raw())
