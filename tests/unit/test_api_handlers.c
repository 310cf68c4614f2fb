// SPDX-License-Identifier: Apache-2.0
// test_api_handlers.c: each route with its good request, and what its handler
// refuses: keys.c, operations.c, secrets.c, status.c, metrics.c.
#include "tests/unit/api_fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    kd_log_set_level(KD_LOG_INFO); // the fake service then writes down its arguments
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

static void expect(const char *method, const char *target, const char *body, int status,
                   const char *expected) {
    expect_json(&f, method, target, body, status, expected);
}

static void refuse(const char *method, const char *target, const char *body, int status,
                   const char *problem, const char *field) {
    expect_problem(&f, method, target, body, status, problem, field);
}

static void expect_seen(const char *call, const char *name, const char *text) {
    ck_assert_str_eq(f.service.call, call);
    ck_assert_str_eq(f.service.name, name);
    ck_assert_str_eq(f.service.text, text);
}

// ---- operations ------------------------------------------------------------

START_TEST(each_operation_reads_and_writes_its_members) {
    expect("POST", "/v1/keys/k/sign", "{\"data\":\"aGk\"}", 200,
           "{\"signature\":\"U2hp\",\"version\":1}");
    expect("POST", "/v1/keys/k/verify", "{\"data\":\"aGk\",\"signature\":\"U2hp\"}", 200,
           "{\"valid\":true,\"version\":1}");
    expect("POST", "/v1/keys/k/verify", "{\"data\":\"aGk\",\"signature\":\"U2hx\"}", 200,
           "{\"valid\":false}");
    expect("POST", "/v1/keys/k/mac", "{\"data\":\"aGk\",\"version\":7}", 200,
           "{\"mac\":\"TWhp\",\"version\":7}");
    expect("POST", "/v1/keys/k/mac-verify", "{\"data\":\"aGk\",\"mac\":\"TWhp\"}", 200,
           "{\"valid\":true,\"version\":1}");
    expect("POST", "/v1/keys/k/encrypt", "{\"plaintext\":\"aGk\",\"aad\":\"eA\"}", 200,
           "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"RXhoaQ\",\"version\":1}");
    expect("POST", "/v1/keys/k/decrypt",
           "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"RXhoaQ\",\"aad\":\"eA\"}", 200,
           "{\"plaintext\":\"aGk\",\"version\":1}");
    expect("POST", "/v1/keys/k/rewrap",
           "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"aGk\",\"aad\":\"eA\",\"version\":2}", 200,
           "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"UmhpeA\",\"version\":9}");
    expect("POST", "/v1/random", "{\"length\":3}", 200, "{\"random\":\"Wlpa\"}");
}
END_TEST

START_TEST(operations_by_a_secret_have_no_version) {
    expect("POST", "/v1/secrets/" FAKE_SECRET "/mac", "{\"data\":\"aGk\"}", 200,
           "{\"mac\":\"TWhp\"}");
    expect_seen("work", FAKE_SECRET, "2 version=0 prehashed=0 n=1");
    expect("POST", "/v1/secrets/" FAKE_SECRET "/mac-verify", "{\"data\":\"aGk\",\"mac\":\"TWhp\"}",
           200, "{\"valid\":true}");
    expect("POST", "/v1/secrets/" FAKE_SECRET "/encrypt", "{\"plaintext\":\"aGk\"}", 200,
           "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"RWhp\"}");
    expect("POST", "/v1/secrets/" FAKE_SECRET "/decrypt",
           "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"RWhp\"}", 200, "{\"plaintext\":\"aGk\"}");
    refuse("POST", "/v1/secrets/" FAKE_SECRET "/mac", "{\"data\":\"aGk\",\"version\":1}", 400,
           "field-unknown", "version");
    refuse("POST", "/v1/secrets/" FAKE_SECRET "/rewrap",
           "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"RWhp\"}", 404, "no-such-route", "");
}
END_TEST

START_TEST(prehashed_is_for_signatures) {
    expect("POST", "/v1/keys/k/sign", "{\"data\":\"aGk\",\"prehashed\":true,\"version\":2}", 200,
           "{\"signature\":\"U2hp\",\"version\":2}");
    expect_seen("work", "k", "0 version=2 prehashed=1 n=1");
    refuse("POST", "/v1/keys/k/mac", "{\"data\":\"aGk\",\"prehashed\":true}", 400, "field-unknown",
           "prehashed");
    refuse("POST", "/v1/keys/k/sign", "{\"data\":\"aGk\",\"prehashed\":1}", 400, "field-invalid",
           "prehashed");
}
END_TEST

START_TEST(format_is_for_signatures_and_one_of_two) {
    refuse("POST", "/v1/keys/k/mac", "{\"data\":\"aGk\",\"format\":\"der\"}", 400, "field-unknown",
           "format");
    refuse("POST", "/v1/keys/k/sign", "{\"data\":\"aGk\",\"format\":\"DER\"}", 400, "field-invalid",
           "format");
    refuse("POST", "/v1/keys/k/sign", "{\"data\":\"aGk\",\"format\":1}", 400, "field-invalid",
           "format");
    refuse("POST", "/v1/keys/k/sign", "{\"items\":[{\"data\":\"aGk\",\"format\":\"der\"}]}", 400,
           "field-unknown", "items[0].format");
    expect("POST", "/v1/keys/k/sign", "{\"data\":\"aGk\",\"format\":\"raw\"}", 200,
           "{\"signature\":\"U2hp\",\"version\":1}");
    expect_seen("work", "k", "0 version=0 prehashed=0 n=1");
    expect("POST", "/v1/keys/k/sign", "{\"items\":[{\"data\":\"aGk\"}],\"format\":\"der\"}", 200,
           "{\"items\":[{\"signature\":\"U2hp\",\"version\":1}]}");
    expect_seen("work", "k", "0 version=0 prehashed=0 der n=1");
    expect("POST", "/v1/keys/k/verify",
           "{\"data\":\"aGk\",\"signature\":\"U2hp\",\"format\":\"der\",\"prehashed\":true}", 200,
           "{\"valid\":true,\"version\":1}");
    expect_seen("work", "k", "1 version=0 prehashed=1 der n=1");
}
END_TEST

START_TEST(batch_answers_in_order_and_failed_items_stand_alone) {
    f.service.item = KD_ERR_NOT_AUTHENTIC;
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", "/v1/keys/k/mac", JSON_BODY,
        "{\"items\":[{\"data\":\"aGk\"},{\"data\":\"\"},{\"data\":\"aGk\"}],\"version\":3}", &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(a.body,
                     "{\"items\":[{\"mac\":\"TWhp\",\"version\":3},{\"mac\":\"TQ\",\"version\":3},"
                     "{\"error\":{\"type\":\"urn:keyd:problem:not-authentic\",\"title\":\"The "
                     "ciphertext, its iv or its aad is not what was encrypted with this "
                     "key.\",\"status\":422}}]}");
    // A single item's failure is the request's.
    refuse("POST", "/v1/keys/k/mac", "{\"data\":\"aGk\"}", 422, "not-authentic", "");
}
END_TEST

START_TEST(random_has_limits) {
    refuse("POST", "/v1/random", "{\"length\":0}", 400, "field-invalid", "length");
    refuse("POST", "/v1/random", "{\"length\":4097}", 400, "field-invalid", "length");
    refuse("POST", "/v1/random", "{}", 400, "field-missing", "length");
    refuse("POST", "/v1/random", "{\"length\":1,\"version\":1}", 400, "field-unknown", "version");
    expect("POST", "/v1/random", "{\"items\":[{\"length\":1},{\"length\":2}]}", 200,
           "{\"items\":[{\"random\":\"Wg\"},{\"random\":\"Wlo\"}]}");
}
END_TEST

// ---- keys ------------------------------------------------------------------

START_TEST(key_is_created_adopted_or_imported) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", "/v1/keys", JSON_BODY,
        "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"decrypt\",\"encrypt\"]}", &a);
    ck_assert_int_eq(a.status, 201);
    ck_assert_str_eq(answer_header(&a, "Location", text), "/v1/keys/ec");
    expect_seen("create", "n", "5 12");
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "POST", "/v1/keys", JSON_BODY, "{\"name\":\"n\",\"uri\":\"pkcs11:object=x\"}", &b);
    ck_assert_int_eq(b.status, 201);
    expect_seen("adopt", "n", "pkcs11:object=x");
    kd_auto(answer) struct answer c = { 0 };
    ask(&f, "POST", "/v1/keys", JSON_BODY,
        "{\"name\":\"n\",\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\","
        "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
        "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}}",
        &c);
    ck_assert_int_eq(c.status, 201);
    expect_seen("import", "n", "1 point=65 certificate=no");
}
END_TEST

START_TEST(key_that_is_not_described_well_is_refused) {
    static const struct {
        const char *body;
        const char *problem;
        const char *field;
    } rows[] = {
        { "{}", "field-missing", "name" },
        { "{\"name\":\"\"}", "bad-name", "name" },
        { "{\"name\":\"../x\"}", "bad-name", "name" },
        { "{\"name\":7}", "field-invalid", "name" },
        { "{\"name\":\"n\"}", "field-missing", "type" },
        { "{\"name\":\"n\",\"type\":\"rsa\",\"usages\":[\"sign\"]}", "field-invalid", "type" },
        { "{\"name\":\"n\",\"type\":\"aes-256\"}", "field-missing", "usages" },
        { "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[]}", "field-invalid", "usages" },
        { "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":{}}", "field-invalid", "usages" },
        { "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"fly\"]}", "field-invalid", "usages" },
        { "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[1]}", "field-invalid", "usages" },
        { "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\",\"encrypt\"]}",
          "field-invalid", "usages" },
        { "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"sign\"]}", "field-invalid",
          "usages" },
        { "{\"name\":\"n\",\"type\":\"ec-p256\",\"usages\":[\"sign\",\"derive\"]}", "field-invalid",
          "usages" },
        { "{\"name\":\"n\",\"uri\":\"pkcs11:\",\"type\":\"aes-256\"}", "field-unknown", "type" },
        { "{\"name\":\"n\",\"jwk\":{},\"pem\":\"\"}", "field-unknown", "pem" },
        { "{\"name\":\"n\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"}}", "private-key-import", "jwk" },
        { "{\"name\":\"n\",\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\","
          "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
          "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfQ\"}}",
          "bad-public-key", "jwk" },
        { "{\"name\":\"n\",\"pem\":\"-----BEGIN PRIVATE KEY-----\"}", "private-key-import", "pem" },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        refuse("POST", "/v1/keys", rows[i].body, 400, rows[i].problem, rows[i].field);
    }
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(key_is_shown_with_what_it_has) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "GET", "/v1/keys/ec", "", NULL, &a);
    json_t *root = json_loads(a.body, JSON_REJECT_DUPLICATES, NULL);
    const json_t *versions = json_object_get(root, "versions");
    ck_assert_uint_eq(json_array_size(versions), 1); // not the one that is being made
    const json_t *jwk = json_object_get(json_array_get(versions, 0), "jwk");
    ck_assert_str_eq(json_string_value(json_object_get(jwk, "crv")), "P-256");
    ck_assert_ptr_nonnull(
        strstr(json_string_value(json_object_get(json_array_get(versions, 0), "pem")), "-----END"));
    ck_assert_int_eq(json_integer_value(json_object_get(root, "primary")), 1);
    json_decref(root);
    expect("GET", "/v1/keys/aes", NULL, 200,
           "{\"name\":\"aes\",\"type\":\"aes-256\",\"usages\":[\"encrypt\",\"decrypt\"],"
           "\"origin\":\"created\",\"created\":\"1970-01-01T00:00:00.500Z\",\"primary\":null,"
           "\"versions\":[{\"version\":1,\"state\":\"disabled\","
           "\"created\":\"1970-01-01T00:00:01.000Z\",\"local\":true,\"extractable\":false},"
           "{\"version\":2,\"state\":\"disabled\",\"created\":\"1970-01-01T00:00:02.000Z\","
           "\"local\":true,\"extractable\":false}]}");
    kd_auto(answer) struct answer c = { 0 };
    ask(&f, "GET", "/v1/keys/pub", "", NULL, &c);
    char text[256];
    ck_assert_ptr_nonnull(strstr(text_of(&c, "certificate", text), "BEGIN CERTIFICATE"));
    refuse("GET", "/v1/keys/none", NULL, 404, "no-such-key", "");
    f.service.allows = KD_ERR_DENIED;
    refuse("GET", "/v1/keys/ec", NULL, 403, "denied", "");
}
END_TEST

static void expect_page(const char *target, const char *first, size_t n, const char *next) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "GET", target, "", NULL, &a);
    char text[256];
    ck_assert_str_eq(text_of(&a, "next", text), next);
    json_t *root = json_loads(a.body, JSON_REJECT_DUPLICATES, NULL);
    const json_t *keys = json_object_get(root, "keys");
    ck_assert_uint_eq(json_array_size(keys), n);
    const char *name = json_string_value(json_object_get(json_array_get(keys, 0), "name"));
    ck_assert_str_eq(name == NULL ? "" : name, first);
    json_decref(root);
}

START_TEST(keys_are_listed_in_pages) {
    expect_page("/v1/keys", "aes", 3, "null");
    expect_page("/v1/keys?limit=3", "aes", 3, "null");
    expect_page("/v1/keys?limit=2", "aes", 2, "ec");
    expect_page("/v1/keys?limit=2&after=ec", "pub", 1, "null");
    expect_page("/v1/keys?after=pub", "", 0, "null");
    expect_page("/v1/keys?limit=1000&after=%61", "aes", 3, "null");
}
END_TEST

START_TEST(keys_are_changed_and_deleted) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", "/v1/keys/k/rotate", "", NULL, &a);
    ck_assert_int_eq(a.status, 201);
    expect_seen("rotate", "k", "");
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "POST", "/v1/keys/k/rotate", JSON_BODY, "{}", &b);
    ck_assert_int_eq(b.status, 201);
    refuse("POST", "/v1/keys/k/rotate", "{\"x\":1}", 400, "field-unknown", "x");
    refuse("POST", "/v1/keys/k/rotate", "{\"uri\":1}", 400, "field-invalid", "uri");
    kd_auto(answer) struct answer to = { 0 };
    ask(&f, "POST", "/v1/keys/k/rotate", JSON_BODY, "{\"uri\":\"pkcs11:object=x\"}", &to);
    ck_assert_int_eq(to.status, 201);
    expect_seen("rotate-to", "k", "pkcs11:object=x");
    kd_auto(answer) struct answer c = { 0 };
    ask(&f, "POST", "/v1/keys/k/disable", JSON_BODY, "{\"version\":4}", &c);
    ck_assert_int_eq(c.status, 200);
    expect_seen("disable", "k", "4");
    kd_auto(answer) struct answer d = { 0 };
    ask(&f, "POST", "/v1/keys/k/enable", "", NULL, &d);
    ck_assert_int_eq(d.status, 200);
    expect_seen("enable", "k", "0");
    refuse("POST", "/v1/keys/k/enable", "{\"version\":0}", 400, "field-invalid", "version");
    kd_auto(answer) struct answer e = { 0 };
    char text[256];
    ask(&f, "DELETE", "/v1/keys/k", "", NULL, &e);
    ck_assert_int_eq(e.status, 204);
    ck_assert_uint_eq(e.n, 0);
    ck_assert_str_eq(answer_header(&e, "Content-Type", text), "");
    expect_seen("delete", "k", "");
    refuse("DELETE", "/v1/keys/k/versions/0", NULL, 404, "no-such-version", "");
    refuse("DELETE", "/v1/keys/k/versions/1", "{}", 400, "bad-request", "");
    refuse("GET", "/v1/keys/k/versions/1", NULL, 405, "method-not-allowed", "");
    kd_auto(answer) struct answer v = { 0 };
    ask(&f, "DELETE", "/v1/keys/k/versions/4294967295", "", NULL, &v);
    ck_assert_int_eq(v.status, 204);
    ck_assert_uint_eq(v.n, 0);
    expect_seen("delete-version", "k", "4294967295");
}
END_TEST

START_TEST(who_finds_no_room_is_told_why) {
    static const struct {
        const char *target;
        const char *body;
        const char *detail;
    } rows[] = {
        { "/v1/keys", "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\"]}",
          "no room to create n" },
        { "/v1/keys", "{\"name\":\"n\",\"uri\":\"pkcs11:object=x\"}", "no room to adopt n" },
        { "/v1/keys",
          "{\"name\":\"n\",\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\","
          "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
          "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}}",
          "no room to import n" },
        { "/v1/keys/k/rotate", "{}", "no room to rotate k" },
        { "/v1/keys/k/rotate", "{\"uri\":\"pkcs11:object=x\"}", "no room to rotate k" },
    };
    f.service.at_once = KD_ERR_TOO_MANY;
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        kd_auto(answer) struct answer a = { 0 };
        char text[256];
        ask(&f, "POST", rows[i].target, JSON_BODY, rows[i].body, &a);
        ck_assert_problem(&a, 413, "too-many");
        ck_assert_str_eq(text_of(&a, "detail", text), rows[i].detail);
    }
}
END_TEST

// ---- secrets ---------------------------------------------------------------

#define PEER                                                                                       \
    "\"peer\":{\"kty\":\"EC\",\"crv\":\"P-256\","                                                  \
    "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","                                       \
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}"

START_TEST(secret_is_agreed_or_derived) {
    expect("POST", "/v1/keys/k/ecdh", "{" PEER "}", 200,
           "{\"secret\":\"" FAKE_SECRET "\",\"type\":\"aes-256\","
           "\"expires\":\"1970-01-01T00:00:00.000Z\",\"residence\":\"token\",\"version\":1}");
    expect_seen("derive", "k", "kdf=0 type=5 salt=0 info=0 peer=65 len=0 version=0");
    expect("POST", "/v1/keys/k/ecdh",
           "{\"peer\":\"BAEC\",\"kdf\":\"hkdf-sha384\",\"salt\":\"AQ\",\"info\":\"aGk\","
           "\"type\":\"hmac-sha384\",\"lifetime\":60,\"version\":2}",
           200,
           "{\"secret\":\"" FAKE_SECRET "\",\"type\":\"hmac-sha384\","
           "\"expires\":\"1970-01-01T00:01:00.000Z\",\"residence\":\"token\",\"version\":1}");
    expect_seen("derive", "k", "kdf=3 type=4 salt=1 info=2 peer=3 len=0 version=2");
    expect("POST", "/v1/keys/k/derive", "{\"kdf\":\"aes-cbc-data\",\"info\":\"aGk\"}", 200,
           "{\"secret\":\"" FAKE_SECRET "\",\"type\":\"aes-256\","
           "\"expires\":\"1970-01-01T00:00:00.000Z\",\"residence\":\"token\",\"version\":1}");
    expect("POST", "/v1/secrets/" FAKE_SECRET "/derive", "{\"kdf\":\"hkdf-sha256\"}", 200,
           "{\"secret\":\"" FAKE_SECRET "\",\"type\":\"aes-256\","
           "\"expires\":\"1970-01-01T00:00:00.000Z\",\"residence\":\"token\"}");
}
END_TEST

START_TEST(value_is_released_only_when_asked) {
    expect("POST", "/v1/keys/k/ecdh", "{\"peer\":\"aA\",\"release\":true}", 200,
           "{\"value\":\"Umg\",\"version\":1}");
    expect_seen("derive", "k", "kdf=0 type=0 salt=0 info=0 peer=1 len=0 version=0");
    expect("POST", "/v1/keys/k/derive",
           "{\"kdf\":\"hkdf-sha256\",\"info\":\"aGk\",\"release\":true}", 200,
           "{\"value\":\"Umhp\",\"version\":1}");
    expect_seen("derive", "k", "kdf=2 type=0 salt=0 info=2 peer=0 len=32 version=0");
    expect("POST", "/v1/keys/k/derive", "{\"kdf\":\"hkdf-sha256\",\"release\":true,\"length\":255}",
           200, "{\"value\":\"Ug\",\"version\":1}");
}
END_TEST

START_TEST(derivation_that_makes_no_sense_is_refused) {
    static const struct {
        const char *target;
        const char *body;
        const char *problem;
        const char *field;
    } rows[] = {
        { "/v1/keys/k/ecdh", "{}", "field-missing", "peer" },
        { "/v1/keys/k/ecdh", "{\"peer\":5}", "field-invalid", "peer" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA==\"}", "bad-base64", "peer" },
        { "/v1/keys/k/ecdh", "{\"peer\":{\"kty\":\"RSA\"}}", "bad-public-key", "peer" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"kdf\":\"md5\"}", "field-invalid", "kdf" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"info\":\"AA\"}", "field-invalid", "info" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"salt\":\"AA\"}", "field-invalid", "salt" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"length\":32}", "field-invalid", "length" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"release\":true,\"length\":32}", "field-invalid",
          "length" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"release\":true,\"type\":\"aes-256\"}",
          "field-invalid", "type" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"release\":true,\"lifetime\":1}", "field-invalid",
          "lifetime" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"type\":\"ec-p256\"}", "field-invalid", "type" },
        { "/v1/keys/k/ecdh", "{\"peer\":\"BA\",\"lifetime\":0}", "field-invalid", "lifetime" },
        { "/v1/keys/k/derive", "{}", "field-missing", "kdf" },
        { "/v1/keys/k/derive", "{\"kdf\":\"hkdf-sha256\",\"peer\":\"BA\"}", "field-unknown",
          "peer" },
        { "/v1/keys/k/derive", "{\"kdf\":\"hkdf-sha256\",\"release\":true,\"length\":15}",
          "field-invalid", "length" },
        { "/v1/keys/k/derive", "{\"kdf\":\"hkdf-sha256\",\"release\":true,\"length\":256}",
          "field-invalid", "length" },
        { "/v1/keys/k/derive", "{\"kdf\":\"aes-cbc-data\",\"salt\":\"AA\"}", "field-invalid",
          "salt" },
        { "/v1/secrets/" FAKE_SECRET "/derive", "{\"kdf\":\"hkdf-sha256\",\"version\":1}",
          "field-unknown", "version" },
        { "/v1/keys/k/derive", "{\"items\":[{\"kdf\":\"hkdf-sha256\"}],\"kdf\":\"hkdf-sha256\"}",
          "field-unknown", "kdf" },
        { "/v1/keys/k/derive", "{\"items\":[{\"kdf\":\"hkdf-sha256\"},{}]}", "field-missing",
          "items[1].kdf" },
        { "/v1/keys/k/derive", "{\"items\":[[]]}", "field-invalid", "items[0]" },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        refuse("POST", rows[i].target, rows[i].body, 400, rows[i].problem, rows[i].field);
    }
    ck_assert_uint_eq(f.service.n_calls, 0);
}
END_TEST

START_TEST(derivations_come_in_batches) {
    f.service.item = KD_ERR_BAD_POINT;
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "POST", "/v1/keys/k/ecdh", JSON_BODY,
        "{\"items\":[{\"peer\":\"aA\",\"release\":true},{\"peer\":\"aA\"}]}", &a);
    ck_assert_int_eq(a.status, 200);
    json_t *root = json_loads(a.body, JSON_REJECT_DUPLICATES, NULL);
    const json_t *items = json_object_get(root, "items");
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(items, 0), "value")), "Umg");
    const json_t *error = json_object_get(json_array_get(items, 1), "error");
    ck_assert_int_eq(json_integer_value(json_object_get(error, "status")), 422);
    json_decref(root);
    refuse("POST", "/v1/keys/k/ecdh", "{\"peer\":\"aA\"}", 422, "bad-point", "");
}
END_TEST

#define SECRET_SHOWN                                                                               \
    "{\"secret\":\"" FAKE_SECRET "\",\"key\":\"ec\",\"version\":1,\"type\":\"aes-256\","           \
    "\"created\":\"1970-01-01T00:00:01.000Z\",\"expires\":\"1970-01-01T00:00:02.000Z\","           \
    "\"residence\":\"token\"}"

START_TEST(secrets_are_listed_shown_and_deleted) {
    expect("GET", "/v1/secrets", NULL, 200, "{\"secrets\":[" SECRET_SHOWN "],\"next\":null}");
    expect("GET", "/v1/secrets?after=" FAKE_SECRET, NULL, 200, "{\"secrets\":[],\"next\":null}");
    expect("GET", "/v1/secrets/" FAKE_SECRET, NULL, 200, SECRET_SHOWN);
    refuse("GET", "/v1/secrets/AAAAAAAAAAAAAAAAAAAAAB", NULL, 404, "no-such-secret", "");
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "DELETE", "/v1/secrets/" FAKE_SECRET, "", NULL, &a);
    ck_assert_int_eq(a.status, 204);
    refuse("DELETE", "/v1/secrets/AAAAAAAAAAAAAAAAAAAAAB", NULL, 404, "no-such-secret", "");
}
END_TEST

// ---- the rest --------------------------------------------------------------

START_TEST(readiness_says_why_not) {
    expect("GET", "/healthz", NULL, 200, "{\"healthy\":true}");
    expect("GET", "/readyz", NULL, 200, "{\"ready\":true}");
    f.service.ready = KD_ERR_PIN_REFUSED;
    f.service.detail = "/etc/secret/path";
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "GET", "/readyz", "", NULL, &a);
    ck_assert_problem(&a, 503, "pin-refused");
    ck_assert_str_eq(answer_header(&a, "Retry-After", text), "3");
    ck_assert_ptr_null(strstr(a.body, "/etc/secret"));
    expect("GET", "/healthz", NULL, 200, "{\"healthy\":true}");
}
END_TEST

START_TEST(status_says_what_there_is) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "GET", "/v1/status", "", NULL, &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(text_of(&a, "ready", text), "true");
    json_t *root = json_loads(a.body, JSON_REJECT_DUPLICATES, NULL);
    const char *label = json_string_value(json_object_get(json_object_get(root, "token"), "label"));
    ck_assert_str_eq(label, "fake");
    ck_assert_uint_eq(json_object_size(json_object_get(root, "abilities")), KD_HSM_ABILITIES);
    json_t *channel =
        json_loads("{\"on\":true,\"peers\":2,\"handshakes\":1,\"sessions\":1,"
                   "\"certificate\":null,\"fetch\":{\"on\":false,\"running\":false,\"pending\":0,"
                   "\"failed\":0,\"restarts\":0}}",
                   0, NULL);
    ck_assert(json_equal(json_object_get(root, "channel"), channel));
    json_decref(channel);
    json_decref(root);
    f.service.ready = KD_ERR_NO_TOKEN;
    f.service.detail = "no token has the label x";
    kd_auto(answer) struct answer b = { 0 };
    ask(&f, "GET", "/v1/status", "", NULL, &b);
    ck_assert_str_eq(text_of(&b, "token", text), "null");
    ck_assert_str_eq(text_of(&b, "ready", text), "false");
    ck_assert_ptr_nonnull(strstr(b.body, "no token has the label x"));
    f.service.allows = KD_ERR_DENIED;
    refuse("GET", "/v1/status", NULL, 403, "denied", "");
    refuse("GET", "/metrics", NULL, 403, "denied", "");
}
END_TEST

// By one connection: a client that closes it at once after its answer may be counted among those
// that have not got theirs.
START_TEST(metrics_count_requests_and_end_with_the_services) {
    static const char *const refused[] = { "/v1/keys/none", "/nothing" };
    const int fd = client_connect(&f);
    char text[256];
    for (size_t i = 0; i < KD_COUNT_OF(refused); i++) {
        kd_auto(answer) struct answer no = { 0 };
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", refused[i]);
        client_send(fd, text);
        client_read(fd, &no);
        ck_assert_int_eq(no.status, 404);
    }
    kd_auto(answer) struct answer a = { 0 };
    client_send(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    client_read(fd, &a);
    close(fd);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(answer_header(&a, "Content-Type", text),
                     "text/plain; version=0.0.4; charset=utf-8");
    static const char *const lines[] = {
        "keyd_http_requests_total{method=\"GET\",route=\"/v1/keys/{name}\",status=\"404\"} 1\n",
        "keyd_http_requests_total{method=\"other\",route=\"none\",status=\"404\"} 1\n",
        "keyd_http_request_seconds_count{method=\"GET\",route=\"/v1/keys/{name}\"} 1\n",
        ("keyd_http_request_seconds_bucket{method=\"GET\",route=\"/v1/keys/{name}\",le=\"+Inf\"} "
         "1\n"),
        "\nkeyd_http_connections ",
        "keyd_http_requests_pending 1\n",
    };
    for (size_t i = 0; i < KD_COUNT_OF(lines); i++) {
        ck_assert_msg(strstr(a.body, lines[i]) != NULL, "%s", lines[i]);
    }
    ck_assert_str_eq(a.body + a.n - strlen("keyd_fake 1\n"), "keyd_fake 1\n");
}
END_TEST

START_TEST(description_is_served) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "GET", "/openapi.json", "", NULL, &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(text_of(&a, "openapi", text), "3.1.0");
}
END_TEST

static TCase *tcase_handlers(void) {
    TCase *c = tcase_create("handlers");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, each_operation_reads_and_writes_its_members);
    tcase_add_test(c, operations_by_a_secret_have_no_version);
    tcase_add_test(c, prehashed_is_for_signatures);
    tcase_add_test(c, format_is_for_signatures_and_one_of_two);
    tcase_add_test(c, batch_answers_in_order_and_failed_items_stand_alone);
    tcase_add_test(c, random_has_limits);
    tcase_add_test(c, key_is_created_adopted_or_imported);
    tcase_add_test(c, key_that_is_not_described_well_is_refused);
    tcase_add_test(c, key_is_shown_with_what_it_has);
    tcase_add_test(c, keys_are_listed_in_pages);
    tcase_add_test(c, keys_are_changed_and_deleted);
    tcase_add_test(c, who_finds_no_room_is_told_why);
    tcase_add_test(c, secret_is_agreed_or_derived);
    tcase_add_test(c, value_is_released_only_when_asked);
    tcase_add_test(c, derivation_that_makes_no_sense_is_refused);
    tcase_add_test(c, derivations_come_in_batches);
    tcase_add_test(c, secrets_are_listed_shown_and_deleted);
    tcase_add_test(c, readiness_says_why_not);
    tcase_add_test(c, status_says_what_there_is);
    tcase_add_test(c, metrics_count_requests_and_end_with_the_services);
    tcase_add_test(c, description_is_served);
    return c;
}

UNIT_MAIN("api_handlers", tcase_handlers())
