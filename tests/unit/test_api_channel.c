// SPDX-License-Identifier: Apache-2.0
// test_api_channel.c: the routes of the secure channel: peers.c, handshakes.c,
// sessions.c, records.c.
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

struct row {
    const char *body;
    int status;
    const char *problem;
    const char *field;
};

// None of these reaches the service.
static void refuse_all(const char *target, const struct row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        expect_problem(&f, "POST", target, rows[i].body, rows[i].status, rows[i].problem,
                       rows[i].field);
    }
    ck_assert_uint_eq(f.service.n_calls, 0);
}

static void expect_seen(const char *call, const char *name, const char *text) {
    ck_assert_str_eq(f.service.call, call);
    ck_assert_str_eq(f.service.name, name);
    ck_assert_str_eq(f.service.text, text);
}

#define HANDSHAKE "/v1/handshakes/" FAKE_SESSION
#define SESSION "/v1/sessions/" FAKE_SESSION
#define UNKNOWN "00112233445566ab"
#define NONCE "AAAAAAAAAAAAAAAAAAAAAA" // 16 bytes
#define X "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\""
#define Y "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\""
#define JWK "{\"kty\":\"EC\",\"crv\":\"P-256\"," X "," Y "}"

// ---- all -------------------------------------------------------------------

START_TEST(channel_that_is_off_says_so_everywhere) {
    static const struct {
        const char *method;
        const char *target;
        const char *body;
    } rows[] = {
        { "GET", "/v1/peers", NULL },
        { "POST", "/v1/peers", "{\"name\":\"n\",\"kid\":\"AA\",\"public_key\":" JWK "}" },
        { "GET", "/v1/peers/sensor", NULL },
        { "DELETE", "/v1/peers/sensor", NULL },
        { "POST", "/v1/handshakes", "{\"message\":\"aGk\"}" },
        { "POST", HANDSHAKE, "{\"message\":\"aGk\"}" },
        { "DELETE", HANDSHAKE, NULL },
        { "GET", "/v1/sessions", NULL },
        { "GET", SESSION, NULL },
        { "DELETE", SESSION, NULL },
        { "GET", SESSION "/ticket", NULL },
        { "POST", "/v1/sessions/resume", "{\"ticket\":\"aGk\",\"client_nonce\":\"" NONCE "\"}" },
        { "POST", SESSION "/key-update", NULL },
        { "POST", SESSION "/release", NULL },
        { "POST", "/v1/records/seal", "{\"session\":\"" FAKE_SESSION "\",\"data\":\"\"}" },
        { "POST", "/v1/records/open", "{\"record\":\"aGk\"}" },
    };
    f.service.is_channel_off = true;
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        kd_auto(answer) struct answer a = { 0 };
        char text[256];
        ask(&f, rows[i].method, rows[i].target, rows[i].body == NULL ? "" : JSON_BODY, rows[i].body,
            &a);
        ck_assert_problem(&a, 400, "config");
        ck_assert_ptr_nonnull(strstr(text_of(&a, "detail", text), "channel is off"));
    }
}
END_TEST

START_TEST(ids_that_cannot_be_are_not_found) {
    static const char *const ids[] = { "0",
                                       "00112233445566a",
                                       "00112233445566aaa",
                                       "00112233445566AA",
                                       "00112233445566a%67",
                                       "00112233445566a%00",
                                       UNKNOWN };
    for (size_t i = 0; i < KD_COUNT_OF(ids); i++) {
        char target[128];
        snprintf(target, sizeof(target), "/v1/handshakes/%s", ids[i]);
        expect_problem(&f, "POST", target, "{\"message\":\"aGk\"}", 404, "no-such-handshake", "");
        expect_problem(&f, "DELETE", target, NULL, 404, "no-such-handshake", "");
        snprintf(target, sizeof(target), "/v1/sessions/%s", ids[i]);
        expect_problem(&f, "GET", target, NULL, 404, "no-such-session", "");
        expect_problem(&f, "DELETE", target, NULL, 404, "no-such-session", "");
        snprintf(target, sizeof(target), "/v1/sessions/%s/ticket", ids[i]);
        expect_problem(&f, "GET", target, NULL, 404, "no-such-session", "");
        snprintf(target, sizeof(target), "/v1/sessions/%s/key-update", ids[i]);
        expect_problem(&f, "POST", target, NULL, 404, "no-such-session", "");
        snprintf(target, sizeof(target), "/v1/sessions/%s/release", ids[i]);
        expect_problem(&f, "POST", target, NULL, 404, "no-such-session", "");
    }
    expect_problem(&f, "GET", "/v1/peers/.x", NULL, 400, "bad-name", "");
    expect_problem(&f, "GET", "/v1/peers/none", NULL, 404, "no-such-peer", "");
    expect_problem(&f, "GET", "/v1/sessions/resume", NULL, 405, "method-not-allowed", "");
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

// ---- peers -----------------------------------------------------------------

START_TEST(peer_that_is_not_described_well_is_refused) {
    static const struct row rows[] = {
        { "{}", 400, "field-missing", "name" },
        { "{\"name\":\".n\"}", 400, "bad-name", "name" },
        { "{\"name\":\"n\"}", 400, "field-missing", "certificate" },
        { "{\"name\":\"n\",\"x\":1}", 400, "field-unknown", "x" },
        { "{\"name\":\"n\",\"public_key\":" JWK ",\"certificate\":\"\"}", 400, "field-unknown",
          "certificate" },
        { "{\"name\":\"n\",\"public_key\":7}", 400, "field-invalid", "public_key" },
        { "{\"name\":\"n\",\"public_key\":\"x\"}", 400, "bad-public-key", "public_key" },
        { "{\"name\":\"n\",\"public_key\":{\"kty\":\"oct\",\"k\":\"AA\"}}", 400,
          "private-key-import", "public_key" },
        { "{\"name\":\"n\",\"public_key\":{\"kty\":\"EC\",\"crv\":\"P-256\"," X
          ",\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfQ\"}}",
          400, "bad-public-key", "public_key" },
        { "{\"name\":\"n\",\"certificate\":{}}", 400, "field-invalid", "certificate" },
        { "{\"name\":\"n\",\"certificate\":\"-----BEGIN PRIVATE KEY-----\"}", 400,
          "private-key-import", "certificate" },
        { "{\"name\":\"n\",\"public_key\":" JWK ",\"kid\":\"A\"}", 400, "bad-base64", "kid" },
        { "{\"name\":\"n\",\"public_key\":" JWK ",\"kid\":\"\"}", 400, "field-invalid", "kid" },
        { "{\"name\":\"n\",\"public_key\":" JWK ",\"kid\":\"AAAAAAAAAAAAAAAAAAAAAAA\"}", 413,
          "item-too-large", "kid" },
        { "{\"name\":\"n\",\"public_key\":" JWK ",\"uri\":\"\"}", 400, "field-invalid", "uri" },
        { "{\"name\":\"n\",\"public_key\":" JWK "}", 400, "field-missing", "kid" },
        { "{\"name\":\"n\",\"kid\":\"AA\",\"public_key\":" JWK ",\"uri\":\"http://x/c\"}", 400,
          "field-invalid", "uri" },
    };
    refuse_all("/v1/peers", rows, KD_COUNT_OF(rows));
}
END_TEST

// A public key in PEM, and a certificate of it.
#define PEM_KEY                                                                                    \
    "-----BEGIN PUBLIC KEY-----\\n"                                                                \
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\\n"                          \
    "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\\n"                              \
    "-----END PUBLIC KEY-----\\n"
#define PEM_CERTIFICATE                                                                            \
    "-----BEGIN CERTIFICATE-----\\n"                                                               \
    "MIIBejCCAR+gAwIBAgIUGN0CCrI1SnMXff/sYmZYbvK46D0wCgYIKoZIzj0EAwIw\\n"                          \
    "ETEPMA0GA1UEAwwGZGV2aWNlMCAXDTI2MTEyMzIyMDYyMloYDzIxMjYxMDMwMjIw\\n"                          \
    "NjIyWjARMQ8wDQYDVQQDDAZkZXZpY2UwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\\n"                          \
    "AAQOxcnWcN0ylKzAv5bAyQ7JK/jMjGpCVAyYayoZp3UlKi1VBvBwu70hTiObO/b1\\n"                          \
    "Gq0sJOqQB8+BmTFE3l8OvkJ7o1MwUTAdBgNVHQ4EFgQUvwkKSQpwEA/sh1p4+8I5\\n"                          \
    "7fSQb4EwHwYDVR0jBBgwFoAUvwkKSQpwEA/sh1p4+8I57fSQb4EwDwYDVR0TAQH/\\n"                          \
    "BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAx8oBnQihaEHOvAVmbq+fMQw4PCQF\\n"                          \
    "8j2H4HkOgqMKmdkCIQCaGlXrk+mFwVvWBWzv7u4HZd2o/Ct5VrVhajUCBwXxFA==\\n"                          \
    "-----END CERTIFICATE-----\\n"

START_TEST(peer_is_made_of_a_certificate_or_a_public_key) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", "/v1/peers", JSON_BODY,
        "{\"name\":\"n\",\"certificate\":\"" PEM_CERTIFICATE "\",\"uri\":\"http://x\"}", &a);
    ck_assert_int_eq(a.status, 201);
    ck_assert_str_eq(answer_header(&a, "Location", text), "/v1/peers/device");
    expect_seen("peer-add", "n", "certificate=yes point=0 kid=0 uri=http://x");
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "POST", "/v1/peers", JSON_BODY,
        "{\"name\":\"n\",\"public_key\":" JWK ",\"kid\":\"aGk\"}", &b);
    ck_assert_int_eq(b.status, 201);
    expect_seen("peer-add", "n", "certificate=no point=65 kid=2 uri=none");
    kd_auto(answer) struct answer c = { 0 };
    ask(&f, "POST", "/v1/peers", JSON_BODY,
        "{\"name\":\"n\",\"kid\":\"AA\",\"public_key\":\"" PEM_KEY "\"}", &c);
    ck_assert_int_eq(c.status, 201);
    expect_seen("peer-add", "n", "certificate=no point=65 kid=1 uri=none");
    // Each in the member of the other.
    expect_problem(&f, "POST", "/v1/peers", "{\"name\":\"n\",\"certificate\":\"" PEM_KEY "\"}", 400,
                   "bad-public-key", "certificate");
    expect_problem(&f, "POST", "/v1/peers",
                   "{\"name\":\"n\",\"public_key\":\"" PEM_CERTIFICATE "\"}", 400, "bad-public-key",
                   "public_key");
    f.service.later = KD_ERR_PEER_EXISTS;
    expect_problem(&f, "POST", "/v1/peers",
                   "{\"name\":\"n\",\"kid\":\"AA\",\"public_key\":" JWK "}", 409, "peer-exists",
                   "");
}
END_TEST

#define DEVICE                                                                                     \
    "{\"name\":\"device\",\"certificate\":\"-----BEGIN "                                           \
    "CERTIFICATE-----\\nbm90IHJlYWxseSBERVI=\\n-----END CERTIFICATE-----\\n\","                    \
    "\"uri\":\"http://x\",\"created\":\"1970-01-01T00:00:00.500Z\"}"
#define SENSOR                                                                                     \
    "{\"name\":\"sensor\",\"public_key\":" JWK                                                     \
    ",\"kid\":\"aw\",\"created\":\"1970-01-01T00:00:00.500Z\"}"

START_TEST(peers_are_listed_shown_and_deleted) {
    expect_json(&f, "GET", "/v1/peers", NULL, 200,
                "{\"peers\":[" DEVICE "," SENSOR "],\"next\":null}");
    expect_json(&f, "GET", "/v1/peers?limit=1", NULL, 200,
                "{\"peers\":[" DEVICE "],\"next\":\"device\"}");
    expect_json(&f, "GET", "/v1/peers?after=device", NULL, 200,
                "{\"peers\":[" SENSOR "],\"next\":null}");
    expect_problem(&f, "GET", "/v1/peers?limit=0", NULL, 400, "field-invalid", "limit");
    expect_json(&f, "GET", "/v1/peers/sensor", NULL, 200, SENSOR);
    expect_json(&f, "DELETE", "/v1/peers/sensor", NULL, 204, "");
    expect_seen("peer-delete", "sensor", "");
    f.service.allows = KD_ERR_DENIED;
    expect_problem(&f, "GET", "/v1/peers/sensor", NULL, 403, "denied", "");
    f.service.later = KD_ERR_NO_PEER;
    expect_problem(&f, "DELETE", "/v1/peers/none", NULL, 404, "no-such-peer", "");
}
END_TEST

START_TEST(setting_that_bounds_the_peers_is_named) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    f.service.later = KD_ERR_TOO_MANY;
    ask(&f, "POST", HANDSHAKE, JSON_BODY, "{\"message\":\"aGk\"}", &a);
    ck_assert_problem(&a, 413, "too-many");
    ck_assert_ptr_nonnull(strstr(text_of(&a, "detail", text), "channel.peers-max"));
}
END_TEST

// ---- handshakes ------------------------------------------------------------

#define SESSION_MEMBERS                                                                            \
    "\"session\":\"" FAKE_SESSION                                                                  \
    "\",\"peer\":\"sensor\",\"registered\":true,\"profile\":\"resident\",\"update\":1,"            \
    "\"created\":\"1970-01-01T00:00:01.000Z\",\"expires\":\"1970-01-01T00:00:02.000Z\","           \
    "\"sent\":4,\"received\":5,\"bytes\":6,\"records_max\":7,\"bytes_max\":8"
#define SESSION_SHOWN "{" SESSION_MEMBERS ",\"method\":3,\"suite\":2}"
#define UNFINISHED "\"handshake\":\"" FAKE_SESSION "\",\"expires\":\"1970-01-01T00:00:05.000Z\""

START_TEST(handshake_that_is_not_described_well_is_refused) {
    static const struct row rows[] = {
        { "{}", 400, "field-missing", "message" },
        { "{\"message\":7}", 400, "field-invalid", "message" },
        { "{\"message\":\"a=\"}", 400, "bad-base64", "message" },
        { "{\"message\":\"\"}", 400, "field-invalid", "message" },
        { "{\"message\":\"aGk\",\"method\":0}", 400, "field-unknown", "method" },
        { "{\"message\":\"aGk\",\"initiate\":true}", 400, "field-unknown", "message" },
        { "{\"initiate\":false}", 400, "field-invalid", "initiate" },
        { "{\"initiate\":1}", 400, "field-invalid", "initiate" },
        { "{\"initiate\":true,\"method\":4}", 400, "field-invalid", "method" },
        { "{\"initiate\":true,\"method\":-1}", 400, "field-invalid", "method" },
        { "{\"method\":1}", 400, "field-unknown", "method" },
    };
    refuse_all("/v1/handshakes", rows, KD_COUNT_OF(rows));
    static const struct row steps[] = {
        { "{}", 400, "field-missing", "message" },
        { "{\"message\":\"\"}", 400, "field-invalid", "message" },
        { "{\"message\":\"a\"}", 400, "bad-base64", "message" },
        { "{\"initiate\":true}", 400, "field-unknown", "initiate" },
    };
    refuse_all(HANDSHAKE, steps, KD_COUNT_OF(steps));
}
END_TEST

START_TEST(message_of_a_handshake_has_a_limit) {
    // 8001 bytes are 10668 characters, 8000 one less.
    static char body[11000] = "{\"message\":\"";
    const size_t start = strlen(body);
    memset(body + start, 'A', 10668);
    strcpy(body + start + 10668, "\"}");
    expect_problem(&f, "POST", "/v1/handshakes", body, 413, "item-too-large", "message");
    expect_problem(&f, "POST", HANDSHAKE, body, 413, "item-too-large", "message");
    ck_assert_uint_eq(f.service.n_calls, 0);
    strcpy(body + start + 10667, "\"}");
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", "/v1/handshakes", JSON_BODY, body, &a);
    ck_assert_int_eq(a.status, 201);
    expect_seen("begin", "", "message=8000 method=0");
}
END_TEST

START_TEST(handshake_goes_from_message_to_session) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", "/v1/handshakes", JSON_BODY, "{\"message\":\"aGk\"}", &a);
    ck_assert_int_eq(a.status, 201);
    ck_assert_str_eq(answer_header(&a, "Location", text), HANDSHAKE);
    expect_seen("begin", "", "message=2 method=0");
    expect_json(&f, "POST", "/v1/handshakes", "{\"message\":\"aGk\"}", 201,
                "{" UNFINISHED ",\"message\":\"Mmhp\"}");
    expect_json(&f, "POST", "/v1/handshakes", "{\"initiate\":true,\"method\":3}", 201,
                "{" UNFINISHED ",\"message\":\"MQ\"}");
    expect_seen("begin", "", "message=0 method=3");
    expect_json(&f, "POST", "/v1/handshakes", "{\"initiate\":true}", 201,
                "{" UNFINISHED ",\"message\":\"MQ\"}");
    expect_seen("begin", "", "message=0 method=0");
    expect_json(&f, "POST", HANDSHAKE, "{\"message\":\"dQ\"}", 200,
                "{" UNFINISHED ",\"message\":\"NHU\"}");
    expect_json(&f, "POST", HANDSHAKE, "{\"message\":\"aGk\"}", 200,
                "{\"message\":\"NGhp\",\"session\":" SESSION_SHOWN "}");
    expect_json(&f, "POST", HANDSHAKE, "{\"message\":\"bA\"}", 200,
                "{\"session\":" SESSION_SHOWN "}");
    expect_json(&f, "DELETE", HANDSHAKE, NULL, 204, "");
}
END_TEST

START_TEST(refused_handshake_has_a_message_for_the_peer) {
    f.service.item = KD_ERR_HS_NOT_AUTHENTIC;
    f.service.detail = "why";
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", HANDSHAKE, JSON_BODY, "{\"message\":\"aGk\"}", &a);
    ck_assert_problem(&a, 422, "handshake-not-authentic");
    ck_assert_str_eq(text_of(&a, "message", text), "NGhp");
    ck_assert_str_eq(text_of(&a, "detail", text), "why");
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "POST", HANDSHAKE, JSON_BODY, "{\"message\":\"bA\"}", &b);
    ck_assert_problem(&b, 422, "handshake-not-authentic");
    ck_assert_ptr_null(strstr(b.body, "\"message\""));
    kd_auto(answer) struct answer c = { 0 };
    ask(&f, "POST", "/v1/handshakes", JSON_BODY, "{\"message\":\"aGk\"}", &c);
    ck_assert_problem(&c, 422, "handshake-not-authentic");
    ck_assert_str_eq(text_of(&c, "message", text), "Mmhp");
    ck_assert_str_eq(answer_header(&c, "Location", text), "");
    f.service.at_once = KD_ERR_BUSY;
    expect_problem(&f, "POST", "/v1/handshakes", "{\"message\":\"aGk\"}", 503, "busy", "");
    f.service.at_once = KD_OK;
    f.service.later = KD_ERR_DEADLINE;
    expect_problem(&f, "POST", HANDSHAKE, "{\"message\":\"aGk\"}", 504, "deadline", "");
}
END_TEST

#define RAW_BODY "Content-Type: application/edhoc+cbor-seq\r\n"

static void expect_raw(const char *target, const char *message, int status, const char *body,
                       const char *header) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", target, RAW_BODY, message, &a);
    ck_assert_int_eq(a.status, status);
    ck_assert_str_eq(a.body, body);
    ck_assert_str_eq(answer_header(&a, "Content-Type", text),
                     body[0] == '\0' ? "" : "application/edhoc+cbor-seq");
    ck_assert_str_eq(answer_header(&a, header, text), FAKE_SESSION);
}

START_TEST(message_may_come_and_go_as_it_is) {
    static char large[8002];
    memset(large, 'x', 8001);
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", "/v1/handshakes", RAW_BODY, large, &a);
    ck_assert_problem(&a, 413, "item-too-large");
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "POST", "/v1/handshakes", RAW_BODY, "", &b);
    ck_assert_problem(&b, 400, "bad-json");
    kd_auto(answer) struct answer c = { 0 };
    ask(&f, "POST", "/v1/records/open", RAW_BODY, "hi", &c);
    ck_assert_problem(&c, 415, "media-type");
    kd_auto(answer) struct answer d = { 0 };
    char text[256];
    ask(&f, "POST", "/v1/handshakes", "Content-Type: application/cose\r\n", "hi", &d);
    ck_assert_problem(&d, 415, "media-type");
    ck_assert_ptr_nonnull(strstr(text_of(&d, "detail", text), "edhoc+cbor-seq"));
    ck_assert_uint_eq(f.service.n_calls, 0);
    expect_raw("/v1/handshakes", "hi", 201, "2hi", "Keyd-Handshake");
    expect_raw(HANDSHAKE, "u", 200, "4u", "Keyd-Handshake");
    expect_raw(HANDSHAKE, "hi", 200, "4hi", "Keyd-Session");
    expect_raw(HANDSHAKE, "l", 200, "", "Keyd-Session");
    // What is sent as a message is one.
    expect_raw("/v1/handshakes", "{\"initiate\":true}", 201, "2{\"initiate\":true}",
               "Keyd-Handshake");
    f.service.item = KD_ERR_HS_SUITE;
    kd_auto(answer) struct answer e = { 0 };
    ask(&f, "POST", HANDSHAKE, RAW_BODY, "hi", &e);
    ck_assert_problem(&e, 422, "handshake-suite");
    ck_assert_str_eq(text_of(&e, "message", text), "NGhp");
    ck_assert_str_eq(answer_header(&e, "Keyd-Session", text), "");
}
END_TEST

// ---- sessions --------------------------------------------------------------

START_TEST(sessions_are_listed_shown_and_ended) {
    expect_json(&f, "GET", "/v1/sessions", NULL, 200,
                "{\"sessions\":[" SESSION_SHOWN "],\"next\":null}");
    expect_json(&f, "GET", "/v1/sessions?after=" FAKE_SESSION, NULL, 200,
                "{\"sessions\":[],\"next\":null}");
    expect_problem(&f, "GET", "/v1/sessions?after=8F14e45fceea167a", NULL, 400, "field-invalid",
                   "after");
    expect_problem(&f, "GET", "/v1/sessions?after=8f14e45fceea167aa", NULL, 400, "field-invalid",
                   "after");
    expect_json(&f, "GET", SESSION, NULL, 200, SESSION_SHOWN);
    expect_json(&f, "GET", SESSION "/ticket", NULL, 200, "{\"ticket\":\"dGlja2V0\"}");
    expect_json(&f, "DELETE", SESSION, NULL, 204, "");
}
END_TEST

START_TEST(session_goes_on_from_its_ticket) {
    static const struct row rows[] = {
        { "{}", 400, "field-missing", "ticket" },
        { "{\"ticket\":\"aGk\"}", 400, "field-missing", "client_nonce" },
        { "{\"ticket\":\"\",\"client_nonce\":\"" NONCE "\"}", 400, "field-invalid", "ticket" },
        { "{\"ticket\":\"a\",\"client_nonce\":\"" NONCE "\"}", 400, "bad-base64", "ticket" },
        { "{\"ticket\":\"aGk\",\"client_nonce\":\"\"}", 400, "field-invalid", "client_nonce" },
        { "{\"ticket\":\"aGk\",\"client_nonce\":\"" NONCE "AA" NONCE "\"}", 413, "item-too-large",
          "client_nonce" },
        { "{\"ticket\":\"aGk\",\"client_nonce\":\"" NONCE "\",\"x\":1}", 400, "field-unknown",
          "x" },
    };
    refuse_all("/v1/sessions/resume", rows, KD_COUNT_OF(rows));
    static const char body[] = "{\"ticket\":\"aGk\",\"client_nonce\":\"" NONCE "\"}";
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", "/v1/sessions/resume", JSON_BODY, body, &a);
    ck_assert_int_eq(a.status, 201);
    ck_assert_str_eq(answer_header(&a, "Location", text), SESSION);
    expect_seen("resume", "", "ticket=2 nonce=16");
    expect_json(&f, "POST", "/v1/sessions/resume", body, 201,
                "{\"session\":{" SESSION_MEMBERS "},\"node_nonce\":\"bm9kZQ\","
                "\"record\":\"UgAAAAAAAAAAAAAAAAAAAAA\"}");
    f.service.later = KD_ERR_TICKET;
    expect_problem(&f, "POST", "/v1/sessions/resume", body, 422, "ticket", "");
}
END_TEST

START_TEST(keys_of_a_session_are_renewed) {
    expect_problem(&f, "POST", SESSION "/key-update", "{\"x\":1}", 400, "field-unknown", "x");
    expect_json(&f, "POST", SESSION "/key-update", NULL, 200,
                "{\"session\":" SESSION_SHOWN ",\"record\":\"VQ\"}");
    expect_seen("update", FAKE_SESSION, "");
    expect_json(&f, "POST", SESSION "/key-update", "{}", 200,
                "{\"session\":" SESSION_SHOWN ",\"record\":\"VQ\"}");
    f.service.later = KD_ERR_SESSION_EXPIRED;
    expect_problem(&f, "POST", SESSION "/key-update", NULL, 409, "session-expired", "");
}
END_TEST

// ---- records ---------------------------------------------------------------

#define OF "\"session\":\"" FAKE_SESSION "\""

START_TEST(record_that_is_not_described_well_is_refused) {
    static const struct row seals[] = {
        { "{}", 400, "field-missing", "session" },
        { "{\"session\":7,\"data\":\"\"}", 400, "field-invalid", "session" },
        { "{\"session\":\"00112233445566A0\",\"data\":\"\"}", 400, "field-invalid", "session" },
        { "{\"session\":\"00112233445566aaa\",\"data\":\"\"}", 400, "field-invalid", "session" },
        { "{\"session\":\"\",\"data\":\"\"}", 400, "field-invalid", "session" },
        { "{" OF "}", 400, "field-missing", "data" },
        { "{" OF ",\"data\":\"a\"}", 400, "bad-base64", "data" },
        { "{" OF ",\"data\":\"\",\"aad\":\"a\"}", 400, "bad-base64", "aad" },
        { "{" OF ",\"data\":\"\",\"type\":\"expire\"}", 400, "field-invalid", "type" },
        { "{" OF ",\"data\":\"\",\"type\":\"key-update\"}", 400, "field-invalid", "type" },
        { "{" OF ",\"data\":\"\",\"type\":0}", 400, "field-invalid", "type" },
        { "{" OF ",\"data\":\"AA\",\"type\":\"close\"}", 400, "field-invalid", "data" },
        { "{" OF ",\"type\":\"error\"}", 400, "field-missing", "data" },
        { "{" OF ",\"data\":\"\",\"type\":\"error\"}", 400, "field-invalid", "data" },
        { "{" OF ",\"data\":\"IA\",\"type\":\"error\"}", 400, "field-invalid", "data" },  // -1
        { "{" OF ",\"data\":\"AQE\",\"type\":\"error\"}", 400, "field-invalid", "data" }, // two
        { "{" OF ",\"data\":\"GAE\",\"type\":\"error\"}", 400, "field-invalid",
          "data" }, // not shortest
        { "{" OF ",\"data\":\"\",\"sequence\":1}", 400, "field-unknown", "sequence" },
        { "{\"items\":[]}", 400, "batch-empty", "items" },
        { "{\"items\":{}}", 400, "field-invalid", "items" },
        { "{\"items\":[7]}", 400, "field-invalid", "items[0]" },
        { "{\"items\":[{" OF ",\"data\":\"\"}],\"data\":\"\"}", 400, "field-unknown", "data" },
        { "{\"items\":[{" OF ",\"data\":\"\"},{" OF "}]}", 400, "field-missing", "items[1].data" },
    };
    refuse_all("/v1/records/seal", seals, KD_COUNT_OF(seals));
    static const struct row opens[] = {
        { "{}", 400, "field-missing", "record" },
        { "{\"record\":\"a\"}", 400, "bad-base64", "record" },
        { "{\"record\":7}", 400, "field-invalid", "record" },
        { "{\"record\":\"aGk\"," OF "}", 400, "field-unknown", "session" },
        { "{\"record\":\"aGk\",\"aad\":\"a\"}", 400, "bad-base64", "aad" },
        { "{\"items\":[]}", 400, "batch-empty", "items" },
        { "{\"items\":[{\"record\":\"aGk\"}],\"record\":\"aGk\"}", 400, "field-unknown", "record" },
        { "{\"items\":[{\"record\":\"aGk\"},{\"record\":\"a\"}]}", 400, "bad-base64",
          "items[1].record" },
    };
    refuse_all("/v1/records/open", opens, KD_COUNT_OF(opens));
}
END_TEST

START_TEST(batch_of_records_has_1024_items_and_no_more) {
    static char body[64 * 1025];
    static const char item[] = "{\"record\":\"MA\"}";
    for (size_t n = 1024; n <= 1025; n++) {
        size_t at = (size_t)snprintf(body, sizeof(body), "{\"items\":[");
        for (size_t i = 0; i < n; i++) {
            at += (size_t)snprintf(body + at, sizeof(body) - at, "%s%s", i == 0 ? "" : ",", item);
        }
        strcpy(body + at, "]}");
        kd_auto(answer) struct answer a = { 0 };
        ask(&f, "POST", "/v1/records/open", JSON_BODY, body, &a);
        ck_assert_int_eq(a.status, n == 1024 ? 200 : 413);
    }
    ck_assert_uint_eq(f.service.n_calls, 1);
    expect_seen("open", "", "n=1024");
}
END_TEST

START_TEST(record_is_sealed_and_opened) {
    expect_json(&f, "POST", "/v1/records/seal", "{" OF ",\"data\":\"aGk\"}", 200,
                "{\"record\":\"MGhp\"}");
    expect_seen("seal", "", "n=1");
    expect_json(&f, "POST", "/v1/records/seal",
                "{" OF ",\"data\":\"aGk\",\"aad\":\"eA\",\"type\":\"data\"}", 200,
                "{\"record\":\"MHhoaQ\"}");
    expect_json(&f, "POST", "/v1/records/seal", "{" OF ",\"type\":\"close\"}", 200,
                "{\"record\":\"Mw\"}");
    expect_json(&f, "POST", "/v1/records/seal", "{" OF ",\"data\":\"AQ\",\"type\":\"error\"}", 200,
                "{\"record\":\"NAE\"}");
    expect_json(&f, "POST", "/v1/records/open", "{\"record\":\"MHhoaQ\",\"aad\":\"eA\"}", 200,
                "{" OF ",\"peer\":\"sensor\",\"registered\":true,\"type\":\"data\",\"sequence\":9,"
                "\"data\":\"aGk\"}");
    static const char *const types[] = { "data", "expire", "key-update", "close", "error" };
    static const char *const records[] = { "MA", "MQ", "Mg", "Mw", "NA" };
    for (size_t i = 0; i < KD_COUNT_OF(types); i++) {
        char body[64];
        char expected[256];
        snprintf(body, sizeof(body), "{\"record\":\"%s\"}", records[i]);
        snprintf(expected, sizeof(expected),
                 "{" OF ",\"peer\":\"sensor\",\"registered\":true,\"type\":\"%s\",\"sequence\":9,"
                 "\"data\":\"\"}",
                 types[i]);
        expect_json(&f, "POST", "/v1/records/open", body, 200, expected);
    }
}
END_TEST

START_TEST(record_that_fails_is_a_problem) {
    expect_problem(&f, "POST", "/v1/records/seal", "{\"session\":\"" UNKNOWN "\",\"data\":\"\"}",
                   404, "no-such-session", "");
    f.service.item = KD_ERR_RECORD_REPLAYED;
    expect_problem(&f, "POST", "/v1/records/open", "{\"record\":\"MA\"}", 422, "record-replayed",
                   "");
    f.service.item = KD_ERR_SESSION_EXPIRED;
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", "/v1/records/open", JSON_BODY, "{\"record\":\"MA\"}", &a);
    ck_assert_problem(&a, 409, "session-expired");
    ck_assert_str_eq(text_of(&a, "answer", text), "Ynll");
    f.service.later = KD_ERR_TOKEN_AWAY;
    expect_problem(&f, "POST", "/v1/records/open", "{\"record\":\"MA\"}", 503, "token-away", "");
}
END_TEST

START_TEST(failed_record_of_a_batch_stands_alone) {
    f.service.item = KD_ERR_SESSION_EXPIRED;
    expect_json(&f, "POST", "/v1/records/open",
                "{\"items\":[{\"record\":\"MGhp\"},{\"record\":\"MA\"}]}", 200,
                "{\"items\":[{" OF
                ",\"peer\":\"sensor\",\"registered\":true,\"type\":\"data\",\"sequence\":9,"
                "\"data\":\"aGk\"},{\"error\":{\"type\":\"urn:keyd:problem:session-expired\","
                "\"title\":\"The session is at its limit; make a new handshake.\","
                "\"status\":409,\"answer\":\"Ynll\"}}]}");
    f.service.item = KD_OK;
    expect_json(
        &f, "POST", "/v1/records/seal",
        "{\"items\":[{\"session\":\"" UNKNOWN "\",\"data\":\"\"},{" OF ",\"data\":\"aGk\"}]}", 200,
        "{\"items\":[{\"error\":{\"type\":\"urn:keyd:problem:no-such-session\","
        "\"title\":\"There is no such session here; resume it with its ticket or make a "
        "new handshake.\",\"status\":404}},{\"record\":\"MGhp\"}]}");
}
END_TEST

static TCase *tcase_channel(void) {
    TCase *c = tcase_create("channel");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, channel_that_is_off_says_so_everywhere);
    tcase_add_test(c, ids_that_cannot_be_are_not_found);
    tcase_add_test(c, peer_that_is_not_described_well_is_refused);
    tcase_add_test(c, peer_is_made_of_a_certificate_or_a_public_key);
    tcase_add_test(c, peers_are_listed_shown_and_deleted);
    tcase_add_test(c, setting_that_bounds_the_peers_is_named);
    tcase_add_test(c, handshake_that_is_not_described_well_is_refused);
    tcase_add_test(c, message_of_a_handshake_has_a_limit);
    tcase_add_test(c, handshake_goes_from_message_to_session);
    tcase_add_test(c, refused_handshake_has_a_message_for_the_peer);
    tcase_add_test(c, message_may_come_and_go_as_it_is);
    tcase_add_test(c, sessions_are_listed_shown_and_ended);
    tcase_add_test(c, session_goes_on_from_its_ticket);
    tcase_add_test(c, keys_of_a_session_are_renewed);
    tcase_add_test(c, record_that_is_not_described_well_is_refused);
    tcase_add_test(c, batch_of_records_has_1024_items_and_no_more);
    tcase_add_test(c, record_is_sealed_and_opened);
    tcase_add_test(c, record_that_fails_is_a_problem);
    tcase_add_test(c, failed_record_of_a_batch_stands_alone);
    return c;
}

UNIT_MAIN("api_channel", tcase_channel())
