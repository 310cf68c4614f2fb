// SPDX-License-Identifier: Apache-2.0
// test_keyd_service.c: what libkeyd-service makes of answers, right and wrong; and what it does
// without memory.  The real keyd is in tests/system/service.py.
#include "tests/unit/app_fixture.h"

#include <stdio.h>
#include <string.h>

// ---- the calls -------------------------------------------------------------

static struct keyd_key key;
static struct keyd_result results[2];
static struct keyd_secret secret;
static struct keyd_state state;
static struct keyd_handshake handshake;
static struct keyd_record records[2];
static struct keyd_envelope envelope;
static uint8_t bytes[KEYD_HANDSHAKE_MAX];
static uint8_t iv[KEYD_IV_BYTES];
static struct keyd_room room;

static struct keyd_room *small_room(size_t max) {
    room = (struct keyd_room) { .p = bytes, .max = max };
    return &room;
}

static enum keyd_err show(void) {
    return keyd_key_show(service, "k", &key);
}

static enum keyd_err sign_two(void) {
    const struct keyd_bytes two[] = { data, data };
    return keyd_sign_all(service, &with_key, two, 2, 0, results);
}

static enum keyd_err sign(void) {
    return keyd_sign(service, &with_key, data, 0, results);
}

static enum keyd_err verify(void) {
    return keyd_verify(service, &with_key, data, 0, data);
}

static enum keyd_err encrypt(void) {
    return keyd_encrypt(service, &with_key, data, data, iv, small_room(20));
}

static enum keyd_err decrypt(void) {
    const struct keyd_bytes sealed = { bytes, 20 };
    return keyd_decrypt(service, &with_key, iv, sealed, data, small_room(4));
}

// The result is as long as what it is made from.
static enum keyd_err rewrap(void) {
    const struct keyd_bytes sealed = { bytes, 20 };
    return keyd_rewrap(service, &with_key, iv, sealed, data, small_room(20));
}

static enum keyd_err rewrap_with_little_room(void) {
    const struct keyd_bytes sealed = { bytes, 20 };
    return keyd_rewrap(service, &with_key, iv, sealed, data, small_room(19));
}

static enum keyd_err rewrap_with_a_secret(void) {
    const struct keyd_with with = { .secret = "s" };
    const struct keyd_bytes sealed = { bytes, 20 };
    return keyd_rewrap(service, &with, iv, sealed, data, small_room(20));
}

static enum keyd_err derive(void) {
    const struct keyd_derivation d = { .kdf = KEYD_KDF_HKDF_SHA256, .info = data };
    return keyd_derive(service, &with_key, &d, &secret);
}

static enum keyd_err random_bytes(void) {
    return keyd_random(service, bytes, 3);
}

static enum keyd_err ask_state(void) {
    return keyd_state(service, &state);
}

static enum keyd_err first_message(void) {
    memset(&handshake, 0, sizeof(handshake));
    handshake.address = "here";
    handshake.cookie = data;
    return keyd_handshake(service, &handshake, data, small_room(sizeof(bytes)));
}

static void new_records(void) {
    for (size_t i = 0; i < 2; i++) {
        records[i] = (struct keyd_record) { .session = "s1", .in = data, .aad = data };
        records[i].out = (struct keyd_room) { .p = bytes + 1000 * i, .max = 4 + KEYD_RECORD_MORE };
    }
}

static enum keyd_err open_one(void) {
    new_records();
    records[0].out.max = 4;
    return keyd_record_open(service, &records[0]);
}

static enum keyd_err open_two(void) {
    new_records();
    return keyd_record_open_all(service, records, 2);
}

static enum keyd_err seal_two(void) {
    new_records();
    return keyd_record_seal_all(service, records, 2);
}

static enum keyd_err ticket(void) {
    return keyd_session_ticket(service, "s1", small_room(KEYD_TICKET_MAX));
}

static enum keyd_err open_envelope(void) {
    return keyd_envelope_open(service, data, &envelope, small_room(4));
}

// ---- refusals --------------------------------------------------------------

START_TEST(a_refusal_says_whose_move_it_is) {
    const struct {
        const char *answer;
        enum keyd_err expected;
        const char *problem;
        unsigned status;
    } cases[] = {
        { PROBLEM(400, "field-invalid"), KEYD_ERR_ARGUMENT, "field-invalid", 400 },
        { PROBLEM(413, "item-too-large"), KEYD_ERR_ARGUMENT, "item-too-large", 413 },
        { PROBLEM(401, "unauthenticated"), KEYD_ERR_DENIED, "unauthenticated", 401 },
        { PROBLEM(403, "denied"), KEYD_ERR_DENIED, "denied", 403 },
        { PROBLEM(404, "no-such-key"), KEYD_ERR_MISSING, "no-such-key", 404 },
        { PROBLEM(409, "key-usage"), KEYD_ERR_STATE, "key-usage", 409 },
        { PROBLEM(422, "not-authentic"), KEYD_ERR_REFUSED, "not-authentic", 422 },
        { PROBLEM(503, "busy"), KEYD_ERR_BUSY, "busy", 503 },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        app_start(cases[i].answer);
        ck_assert_keyd(sign(), cases[i].expected);
        ck_assert_str_eq(keyd_problem(), cases[i].problem);
        ck_assert_uint_eq(keyd_problem_status(), cases[i].status);
        ck_assert_ptr_nonnull(strstr(keyd_detail(), "A title. A detail. ("));
        ck_assert_ptr_nonnull(strstr(keyd_detail(), cases[i].problem));
        ck_assert_ptr_nonnull(strstr(keyd_detail(), "data"));
        app_stop();
    }
}
END_TEST

START_TEST(problems_of_a_later_keyd_go_by_their_status) {
    app_gives(sign, PROBLEM(504, "deadline"), KEYD_ERR_TIMEOUT);
    app_gives(sign, PROBLEM(502, "token-error"), KEYD_ERR_BACKEND);
    app_gives(sign, PROBLEM(503, "a-new-one"), KEYD_ERR_BUSY);
    app_gives(sign, PROBLEM(500, "a-new-one"), KEYD_ERR_BACKEND);
    app_gives(sign, PROBLEM(400, "a-new-one"), KEYD_ERR_ARGUMENT);
    // The HTTP library of keyd answers in text.
    app_gives(sign, fake_answer(431, "text/html", "<html>"), KEYD_ERR_ARGUMENT);
    ck_assert_str_eq(keyd_problem(), "");
    app_gives(sign, FAKE_PROBLEM(400, "{\"type\":7}"), KEYD_ERR_ARGUMENT);
    app_gives(sign, FAKE_PROBLEM(503, "{\"type\":"), KEYD_ERR_SERVER);
    app_gives(sign, FAKE_PROBLEM(503, ""), KEYD_ERR_SERVER);
    ck_assert_uint_eq(keyd_problem_status(), 503);
    app_start("HTTP/1.1 503 X\r\nContent-Type: application/problem+json\r\nRetry-After: 7\r\n"
              "Content-Length: 2\r\n\r\n{}");
    ck_assert_keyd(sign(), KEYD_ERR_BUSY);
    ck_assert_uint_eq(keyd_problem_retry_s(), 7);
    // What was said of one call is not said of the next.
    ck_assert_keyd(keyd_sign(service, &with_key, (struct keyd_bytes) { NULL, 1 }, 0, results),
                   KEYD_ERR_ARGUMENT);
    ck_assert_uint_eq(keyd_problem_retry_s() + keyd_problem_status(), 0);
    app_stop();
}
END_TEST

// ---- answers ---------------------------------------------------------------

START_TEST(keys_are_read_or_the_answer_is_strange) {
#define KEY(type, usages, versions)                                                                \
    "{\"name\":\"k\",\"type\":\"" type "\",\"origin\":\"created\",\"created\":"                    \
    "\"2026-01-31T23:59:59.999Z\",\"usages\":" usages ",\"primary\":null,\"versions\":" versions   \
    "}"
    static const char *const strange[] = {
        KEY("aes-257", "[]", "[]"),  KEY("aes-256", "{}", "[]"),     KEY("aes-256", "[]", "7"),
        KEY("aes-256", "[]", "[7]"), KEY("aes-256", "[]", "[]") "x", "{\"a\":",
    };
    for (size_t i = 0; i < KD_COUNT_OF(strange); i++) {
        app_gives(show, FAKE_JSON(200, strange[i]), KEYD_ERR_SERVER);
    }
    app_gives(show, fake_answer(200, "text/plain", "k"), KEYD_ERR_SERVER);
    app_gives(show, FAKE_JSON(200, KEY("aes-256", "[\"encrypt\",\"a-new-one\",7]", "[]")), KEYD_OK);
    ck_assert_uint_eq(key.usages, KEYD_MAY_ENCRYPT);
    ck_assert_uint_eq(key.version, 0);
    ck_assert_uint_eq(key.n_point, 0);
}
END_TEST

START_TEST(items_of_a_batch_succeed_and_fail_on_their_own) {
    app_gives(sign_two,
              FAKE_JSON(200,
                        "{\"items\":[{\"signature\":\"AAEC\",\"version\":3},{\"error\":{\"type\":"
                        "\"urn:keyd:problem:key-usage\",\"status\":409}}]}"),
              KEYD_OK);
    ck_assert_keyd(results[0].err, KEYD_OK);
    ck_assert_uint_eq(results[0].n, 3);
    ck_assert_uint_eq(results[0].version, 3);
    ck_assert_keyd(results[1].err, KEYD_ERR_STATE);
    ck_assert_str_eq(results[1].problem, "key-usage");
    ck_assert_uint_eq(results[1].n, 0);
    static const char *const strange[] = {
        "{\"items\":[]}",
        "{\"items\":[{\"signature\":\"AAEC\"}]}",
        "{\"items\":[{\"signature\":\"AAEC\"},{\"signature\":\"A!\"}]}",
        "{\"items\":[{\"signature\":\"AAEC\"},{\"error\":7}]}",
        "{\"items\":[{\"signature\":\"AAEC\"},7]}",
        "{\"signature\":\"AAEC\"}",
    };
    for (size_t i = 0; i < KD_COUNT_OF(strange); i++) {
        app_gives(sign_two, FAKE_JSON(200, strange[i]), KEYD_ERR_SERVER);
    }
}
END_TEST

// A signature of 105 bytes fits nowhere.
START_TEST(results_never_pass_the_callers_room) {
    char body[256] = "{\"signature\":\"";
    memset(body + strlen(body), 'A', 140);
    memcpy(body + strlen(body), "\"}", 3);
    app_gives(sign, FAKE_JSON(200, body), KEYD_ERR_SERVER);
    app_gives(decrypt, FAKE_JSON(200, "{\"plaintext\":\"AAAAAAA\"}"), KEYD_ERR_SERVER);
    app_gives(decrypt, FAKE_JSON(200, "{\"plaintext\":\"AAAAAA\"}"), KEYD_OK);
    ck_assert_uint_eq(room.n, 4);
    app_gives(encrypt, FAKE_JSON(200, "{\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}"),
              KEYD_ERR_SERVER);
    app_start(FAKE_JSON(200, "{}"));
    ck_assert_keyd(rewrap_with_little_room(), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(rewrap_with_a_secret(), KEYD_ERR_ARGUMENT);
    app_stop();
    ck_assert_uint_eq(fake.n_requests, 0);
    app_gives(rewrap, FAKE_JSON(200, "{\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}"), KEYD_ERR_SERVER);
    app_gives(rewrap, FAKE_JSON(200, "{\"iv\":\"AAECAwQFBgcICQoL\",\"ciphertext\":\"AAEC\"}"),
              KEYD_OK);
    ck_assert_uint_eq(iv[11], 11);
    ck_assert_uint_eq(room.n, 3);
    app_gives(random_bytes, FAKE_JSON(200, "{\"random\":\"AAAAAA\"}"), KEYD_ERR_SERVER);
    app_gives(random_bytes, FAKE_JSON(200, "{\"random\":\"AAA\"}"), KEYD_ERR_SERVER);
    app_gives(random_bytes, FAKE_JSON(200, "{\"random\":\"AAAA\"}"), KEYD_OK);
    app_gives(open_one, fake_answer(200, "application/octet-stream", "12345"), KEYD_ERR_SERVER);
    ck_assert_keyd(keyd_encrypt(service, &with_key, data, data, iv, small_room(19)),
                   KEYD_ERR_ARGUMENT);
}
END_TEST

START_TEST(plaintexts_are_found_in_whole_texts_alone) {
    static const struct {
        const char *text;
        enum keyd_err expected;
    } cases[] = {
        { "{\"plaintext\":\"AAAA\",\"version\":1}", KEYD_OK },
        { " { \"version\" : 12 , \"plaintext\" :\t\"AAAA\" } \r\n", KEYD_OK },
        { "{\"plaintext\":\"\"}", KEYD_OK },
        { "{\"a\":\"\",\"plaintext\":\"AAAA\"}", KEYD_OK },
        { "", KEYD_ERR_SERVER },
        { "{", KEYD_ERR_SERVER },
        { "{}", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA\"", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA\"}x", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA\",}", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA", KEYD_ERR_SERVER },
        { "{\"plaintext\":7}", KEYD_ERR_SERVER },
        { "{\"plaintext\":", KEYD_ERR_SERVER },
        { "{\"plaintext\"}", KEYD_ERR_SERVER },
        { "{\"plaintext", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"A\\u0041AA\"}", KEYD_OK },
        { "{\"plaintext\":\"AAAA\\u0000\"}", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AA\\nAA\"}", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA\",\"plaintext\":\"AAAA\"}", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA\",\"version\":1,\"version\":1}", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA\",\"a\":[{\"b\":1,\"b\":1}]}", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA\",\"a\":tru}", KEYD_ERR_SERVER },
        { "{\"plaintext\":\"AAAA\",\"a\":\"\xff\"}", KEYD_ERR_SERVER },
        { "{\"plaintext\":{\"plaintext\":\"AAAA\"}}", KEYD_ERR_SERVER },
        { "{\"a\":\"plaintext\"}", KEYD_ERR_SERVER },
        { "[\"plaintext\",\"AAAA\"]", KEYD_ERR_SERVER },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        app_gives(decrypt, FAKE_JSON(200, cases[i].text), cases[i].expected);
    }
}
END_TEST

START_TEST(a_verdict_is_true_or_false) {
    app_gives(verify, FAKE_JSON(200, "{\"valid\":true}"), KEYD_OK);
    app_gives(verify, FAKE_JSON(200, "{\"valid\":false}"), KEYD_ERR_REFUSED);
    ck_assert_str_eq(keyd_problem(), "not-valid");
    app_gives(verify, FAKE_JSON(200, "{\"valid\":1}"), KEYD_ERR_SERVER);
    app_gives(verify, FAKE_JSON(200, "{}"), KEYD_ERR_SERVER);
}
END_TEST

START_TEST(handshakes_and_records_need_their_headers) {
    app_gives(first_message, RAW("", "0\r\n\r\n"), KEYD_ERR_SERVER);
    app_gives(first_message, RAW("Keyd-Handshake: a\r\nKeyd-Session: b\r\n", "0\r\n\r\n"),
              KEYD_ERR_SERVER);
    app_gives(first_message, RAW("Keyd-Handshake: a/b\r\n", "0\r\n\r\n"), KEYD_ERR_SERVER);
    app_gives(first_message, RAW("Keyd-Handshake: h1\r\n", "2\r\n\r\nxy"), KEYD_OK);
    ck_assert_str_eq(handshake.id, "h1");
    ck_assert_str_eq(handshake.session, "");
    ck_assert_uint_eq(room.n, 2);
    ck_assert_ptr_nonnull(
        strstr(fake.request, "\r\nKeyd-Address: here\r\nKeyd-Cookie: ZGF0YQ\r\n"));
    app_gives(first_message,
              FAKE_PROBLEM(422, "{\"type\":\"x:handshake-suite\",\"message\":\"AAAA\"}"),
              KEYD_ERR_REFUSED);
    ck_assert_uint_eq(room.n, 3);
    app_gives(open_one,
              RAW("Keyd-Session: s\r\nKeyd-Peer: p\r\nKeyd-Registered: yes\r\nKeyd-Type: data\r\n",
                  "1\r\n\r\nx"),
              KEYD_ERR_SERVER);
    app_gives(open_one,
              RAW("Keyd-Session: s\r\nKeyd-Peer: p\r\nKeyd-Registered: yes\r\nKeyd-Type: "
                  "new\r\nKeyd-Sequence: 7\r\n",
                  "1\r\n\r\nx"),
              KEYD_ERR_SERVER);
    app_gives(open_one,
              RAW("Keyd-Session: s\r\nKeyd-Peer: p\r\nKeyd-Registered: yes\r\nKeyd-Type: "
                  "close\r\nKeyd-Sequence: 7\r\n",
                  "1\r\n\r\nx"),
              KEYD_OK);
    ck_assert_uint_eq(records[0].type, KEYD_RECORD_CLOSE);
    ck_assert_uint_eq(records[0].sequence, 7);
    ck_assert_str_eq(records[0].relation, "");
    ck_assert_int_eq(records[0].is_registered, 1);
    app_gives(open_one,
              RAW("Keyd-Session: s\r\nKeyd-Peer: p\r\nKeyd-Registered: no\r\nKeyd-Type: data\r\n"
                  "Keyd-Sequence: 7\r\n",
                  "1\r\n\r\nx"),
              KEYD_OK);
    ck_assert_int_eq(records[0].is_registered, 0);
    app_gives(open_one, // who says nothing of it says it of nobody
              RAW("Keyd-Session: s\r\nKeyd-Peer: p\r\nKeyd-Type: data\r\nKeyd-Sequence: 7\r\n",
                  "1\r\n\r\nx"),
              KEYD_ERR_SERVER);
    app_gives(ticket, FAKE_JSON(200, "{\"ticket\":7}"), KEYD_ERR_SERVER);
    app_gives(ticket, FAKE_JSON(200, "{\"ticket\":\"AAAA\"}"), KEYD_OK);
}
END_TEST

#define CBOR(body) fake_answer(200, "application/cbor-seq", body)
#define OPENED "\x87\x61s\x61p\x61r\xf4\x01\x02\x43xyz"

START_TEST(batches_of_records_are_whole_or_strange) {
    app_gives(open_two, CBOR(OPENED "\x82\x6frecord-replayed\x41x"), KEYD_OK);
    ck_assert_keyd(records[0].err, KEYD_OK);
    ck_assert_str_eq(records[0].relation, "r");
    ck_assert_int_eq(records[0].is_registered, 0);
    ck_assert_uint_eq(records[0].sequence, 2);
    ck_assert_uint_eq(records[0].out.n, 3);
    ck_assert_keyd(records[1].err, KEYD_ERR_REFUSED);
    ck_assert_str_eq(records[1].problem, "record-replayed");
    ck_assert_uint_eq(records[1].out.n, 1);
    static const char *const strange[] = {
        "",
        OPENED,
        OPENED OPENED OPENED,
        OPENED "\x80",
        OPENED "\x87\x61s\x61p\x61r\xf4\x01\x02\x43xy",
        OPENED "\x86\x61s\x61p\x61r\x01\x02\x43xyz",
        OPENED "\x87\x61s\x61p\x61r\x01\x01\x02\x43xyz",
        OPENED "\x81\x41x",
        OPENED "\x82\x01\x41x",
        OPENED "\xff",
    };
    for (size_t i = 0; i < KD_COUNT_OF(strange); i++) {
        app_gives(open_two, CBOR(strange[i]), KEYD_ERR_SERVER);
    }
    app_gives(seal_two, CBOR("\x81\x41x\x81\x41y"), KEYD_OK);
    app_gives(seal_two, CBOR("\x81\x41x\x81\x01"), KEYD_ERR_SERVER);
    app_gives(open_envelope, fake_answer(200, "application/cbor", "\x85\x41x\x01\x02\x60\x40"),
              KEYD_ERR_SERVER);
    app_gives(open_envelope,
              fake_answer(200, "application/cbor",
                          "\x85\x50"
                          "0123456789abcdef\x01\x02\x61s\x44"
                          "body"),
              KEYD_OK);
    ck_assert_str_eq(envelope.sender, "s");
    app_gives(open_envelope,
              fake_answer(200, "application/cbor",
                          "\x85\x50"
                          "0123456789abcdef\x01\x02\x61s\x45"
                          "bodyx"),
              KEYD_ERR_SERVER);
}
END_TEST

START_TEST(state_is_read_or_strange) {
    static const char *const no_counts[] = { "-1",    "1.0", "1e2", "9223372036854775808",
                                             "\"1\"", "[1]", "01",  "18446744073709551615" };
    app_gives(ask_state,
              FAKE_JSON(200,
                        "{\"version\":\"1\",\"ready\":true,\"counts\":{\"keys\":3,\"secrets\":4},"
                        "\"workers\":[{\"state\":\"ready\"},{\"state\":\"failed\"}],"
                        "\"channel\":{\"sessions\":5}}"),
              KEYD_OK);
    ck_assert_uint_eq(state.workers * 10 + state.workers_ready, 21);
    ck_assert_uint_eq(state.keys * 100 + state.secrets * 10 + state.sessions, 345);
    app_gives(ask_state, FAKE_JSON(200, "{}"), KEYD_ERR_SERVER);
#define COUNT(keys)                                                                                \
    "{\"ready\":true,\"workers\":[],\"version\":\"1\",\"counts\":{\"secrets\":0,\"keys\":" keys "}}"
    app_gives(ask_state, FAKE_JSON(200, COUNT("9223372036854775807")), KEYD_OK);
    ck_assert_uint_eq(state.keys, INT64_MAX);
    for (size_t i = 0; i < KD_COUNT_OF(no_counts); i++) {
        char text[200];
        snprintf(text, sizeof(text), COUNT("%s"), no_counts[i]);
        app_gives(ask_state, FAKE_JSON(200, text), KEYD_ERR_SERVER);
    }
}
END_TEST

// ---- no memory -------------------------------------------------------------

static enum keyd_err open_and_close(void) {
    struct keyd_service *another = NULL;
    const struct keyd_service_config config = { .socket = fake.socket };
    const enum keyd_err err = keyd_service_open(&config, &another);
    ck_assert((another != NULL) == (err == KEYD_OK));
    keyd_service_close(another);
    return err;
}

START_TEST(without_memory_a_call_fails_and_the_next_succeeds) {
    const struct {
        app_call_fn *call;
        const char *answer;
    } calls[] = {
        { sign, FAKE_JSON(200, "{\"signature\":\"AAEC\",\"version\":3}") },
        { decrypt, FAKE_JSON(200, "{\"plaintext\":\"AAAA\"}") },
        { derive,
          FAKE_JSON(200,
                    "{\"secret\":\"a\",\"residence\":\"token\",\"type\":\"aes-256\",\"expires\":"
                    "\"2026-01-31T23:59:59.999Z\"}") },
        { first_message, RAW("Keyd-Handshake: h1\r\n", "2\r\n\r\nxy") },
        { open_one, RAW("Keyd-Session: s\r\nKeyd-Peer: p\r\nKeyd-Registered: no\r\nKeyd-Type: "
                        "data\r\nKeyd-Sequence: 7\r\n",
                        "1\r\n\r\nx") },
        { open_two, CBOR(OPENED OPENED) },
        { open_envelope, fake_answer(200, "application/cbor",
                                     "\x85\x50"
                                     "0123456789abcdef\x01\x02\x61s\x40") },
    };
    for (size_t i = 0; i < KD_COUNT_OF(calls); i++) {
        app_start(calls[i].answer);
        app_each_in_turn(calls[i].call);
        app_stop();
    }
    app_start(FAKE_JSON(200, "{}"));
    app_each_in_turn(open_and_close);
    app_stop();
}
END_TEST

static TCase *tcase_answers(void) {
    TCase *t = tcase_create("answers");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_refusal_says_whose_move_it_is);
    tcase_add_test(t, problems_of_a_later_keyd_go_by_their_status);
    tcase_add_test(t, keys_are_read_or_the_answer_is_strange);
    tcase_add_test(t, items_of_a_batch_succeed_and_fail_on_their_own);
    tcase_add_test(t, results_never_pass_the_callers_room);
    tcase_add_test(t, plaintexts_are_found_in_whole_texts_alone);
    tcase_add_test(t, a_verdict_is_true_or_false);
    tcase_add_test(t, handshakes_and_records_need_their_headers);
    tcase_add_test(t, batches_of_records_are_whole_or_strange);
    tcase_add_test(t, state_is_read_or_strange);
    tcase_add_test(t, without_memory_a_call_fails_and_the_next_succeeds);
    return t;
}

UNIT_MAIN("keyd-service", tcase_answers())
