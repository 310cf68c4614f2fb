// SPDX-License-Identifier: Apache-2.0
// test_keyd_service_batch.c: operations of libkeyd-service on many items, and what it makes of
// answers to them that are wrong.
#include "tests/unit/app_fixture.h"

#include <string.h>

static const struct keyd_bytes two[] = { { "data", 4 }, { "date", 4 } };
static const struct keyd_derivation derivations[2] = { { .kdf = KEYD_KDF_HKDF_SHA256 },
                                                       { .kdf = KEYD_KDF_HKDF_SHA384 } };
static struct keyd_result results[2];
static struct keyd_cipher ciphers[2];
static struct keyd_derived derived[2];
static uint8_t bytes[2][64];

static struct keyd_cipher *new_ciphers(size_t n_in) {
    for (size_t i = 0; i < 2; i++) {
        ciphers[i] = (struct keyd_cipher) { .in = { "0123456789abcdef0123", n_in },
                                            .out = { bytes[i], 20, 0 } };
    }
    return ciphers;
}

static struct keyd_derived *new_derived(void) {
    for (size_t i = 0; i < 2; i++) {
        derived[i] = (struct keyd_derived) { .value = { bytes[i], 48, 0 } };
    }
    return derived;
}

static enum keyd_err verify_two(void) {
    return keyd_verify_all(service, &with_key, two, two, 2, 1, results);
}

static enum keyd_err verify_two_in_der(void) {
    struct keyd_with with = with_key;
    with.is_der = 1;
    return keyd_verify_all(service, &with, two, two, 2, 0, results);
}

static enum keyd_err mac_verify_two(void) {
    return keyd_mac_verify_all(service, &with_key, two, two, 2, results);
}

static enum keyd_err encrypt_two(void) {
    return keyd_encrypt_all(service, &with_key, new_ciphers(4), 2);
}

static enum keyd_err decrypt_two(void) {
    return keyd_decrypt_all(service, &with_key, new_ciphers(20), 2);
}

static enum keyd_err rewrap_two(void) {
    return keyd_rewrap_all(service, &with_key, new_ciphers(20), 2);
}

static enum keyd_err derive_two(void) {
    return keyd_derive_all(service, &with_key, derivations, 2, new_derived());
}

static enum keyd_err derive_two_values(void) {
    return keyd_derive_value_all(service, &with_key, derivations, 2, 16, new_derived());
}

#define FAILED "{\"error\":{\"type\":\"urn:keyd:problem:key-usage\",\"status\":409}}"
#define TWO(item) "{\"items\":[" item "," FAILED "]}"
static const char verified[] = TWO("{\"valid\":true,\"version\":3}");
static const char encrypted[] =
    TWO("{\"iv\":\"AAAAAAAAAAAAAAAA\",\"ciphertext\":\"AAEC\",\"version\":3}");
static const char decrypted[] = TWO("{\"plaintext\":\"AAEC\",\"version\":3}");
static const char kept[] = TWO("{\"secret\":\"s1\",\"type\":\"hmac-sha256\",\"expires\":"
                               "\"2026-01-31T23:59:59.999Z\",\"version\":3,\"residence\":"
                               "\"token\"}");
static const char released[] = TWO("{\"value\":\"AAEC\",\"version\":3}");

// status says nothing where the problem is known, but has to be there.
#define VERSION " version "

START_TEST(answers_to_batches_are_whole_or_strange) {
    static const struct {
        app_call_fn *call;
        const char *good, *optional, *unread;
    } cases[] = {
        { verify_two, verified, VERSION, VERSION },
        { mac_verify_two, verified, VERSION, VERSION },
        { encrypt_two, encrypted, VERSION, VERSION },
        { decrypt_two, decrypted, VERSION, VERSION },
        { rewrap_two, encrypted, VERSION, VERSION },
        { derive_two, kept, VERSION, "" },
        { derive_two_values, released, VERSION, VERSION },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        app_judges(cases[i].call, cases[i].good, cases[i].optional, cases[i].unread);
        // One item too few, or too many.
        app_gives(cases[i].call, FAKE_JSON(200, "{\"items\":[" FAILED "]}"), KEYD_ERR_SERVER);
        app_gives(cases[i].call, FAKE_JSON(200, "{\"items\":[]}"), KEYD_ERR_SERVER);
        app_gives(cases[i].call, FAKE_JSON(200, "{\"items\":[" FAILED "," FAILED "," FAILED "]}"),
                  KEYD_ERR_SERVER);
        app_gives(cases[i].call, FAKE_JSON(200, "{\"items\":[" FAILED "," FAILED "]}"), KEYD_OK);
    }
}
END_TEST

START_TEST(items_fail_on_their_own) {
    app_gives(verify_two, FAKE_JSON(200, "{\"items\":[{\"valid\":false},{\"valid\":true}]}"),
              KEYD_OK);
    ck_assert_keyd(results[0].err, KEYD_ERR_REFUSED);
    ck_assert_str_eq(results[0].problem, "not-valid");
    ck_assert_keyd(results[1].err, KEYD_OK);
    ck_assert_ptr_nonnull(strstr(fake.request, "{\"prehashed\":true,\"items\":[{\"data\":\"ZGF0YQ\""
                                               ",\"signature\":\"ZGF0YQ\"},{"));
    app_gives(verify_two_in_der, FAKE_JSON(200, verified), KEYD_OK);
    ck_assert_ptr_nonnull(strstr(fake.request, "{\"format\":\"der\",\"items\":[{"));
    app_gives(encrypt_two, FAKE_JSON(200, encrypted), KEYD_OK);
    ck_assert_uint_eq(ciphers[0].out.n, 3);
    ck_assert_uint_eq(ciphers[0].version, 3);
    ck_assert_keyd(ciphers[1].err, KEYD_ERR_STATE);
    ck_assert_str_eq(ciphers[1].problem, "key-usage");
    app_gives(rewrap_two, FAKE_JSON(200, encrypted), KEYD_OK);
    ck_assert_uint_eq(ciphers[0].out.n, 3);
    ck_assert_uint_eq(ciphers[0].version, 3);
    ck_assert_keyd(ciphers[1].err, KEYD_ERR_STATE);
    ck_assert_ptr_nonnull(strstr(fake.request, "POST /v1/keys/"));
    ck_assert_ptr_nonnull(strstr(fake.request, "/rewrap HTTP"));
    app_gives(derive_two, FAKE_JSON(200, kept), KEYD_OK);
    ck_assert_str_eq(derived[0].secret.id, "s1");
    ck_assert_uint_eq(derived[0].secret.type, KEYD_HMAC_SHA256);
    ck_assert_uint_eq(derived[0].secret.expires_s, 1769903999);
    ck_assert_int_eq(derived[0].secret.is_token_inside, 1);
    ck_assert_keyd(derived[1].err, KEYD_ERR_STATE);
    app_gives(derive_two_values, FAKE_JSON(200, released), KEYD_OK);
    ck_assert_uint_eq(derived[0].value.n, 3);
    ck_assert_uint_eq(derived[1].value.n, 0);
    ck_assert_ptr_nonnull(strstr(fake.request, "\"release\":true,\"length\":16}"));
}
END_TEST

START_TEST(results_never_pass_the_room_of_their_item) {
    // 21 bytes where there is room for 20, and 49 where there is for 48.
    app_gives(encrypt_two,
              FAKE_JSON(200, TWO("{\"iv\":\"AAAAAAAAAAAAAAAA\",\"ciphertext\":"
                                 "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}")),
              KEYD_ERR_SERVER);
    app_gives(decrypt_two, FAKE_JSON(200, TWO("{\"plaintext\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}")),
              KEYD_ERR_SERVER);
    app_gives(derive_two_values,
              FAKE_JSON(200, TWO("{\"value\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                                 "AAAAAAAAAAAAAAA\"}")),
              KEYD_ERR_SERVER);
}
END_TEST

START_TEST(what_is_wrong_of_a_batch_is_not_sent) {
    app_start(FAKE_JSON(200, "{}"));
    const struct keyd_bytes large[] = { { "", KEYD_DATA_MAX }, { "", 1 } };
    const struct keyd_bytes missing[] = { { "x", 1 }, { NULL, 1 } };
    const struct keyd_derivation mixed[] = { { .peer = { "p", 1 } },
                                             { .kdf = KEYD_KDF_HKDF_SHA256 } };
    const struct keyd_derivation unknown = { .kdf = (enum keyd_kdf)4 };
    ck_assert_keyd(keyd_mac_all(service, &with_key, two, 0, results), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_mac_all(service, &with_key, two, KEYD_BATCH_MAX + 1, results),
                   KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_mac_all(service, &with_key, large, 2, results), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_mac_all(service, &with_key, missing, 2, results), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_mac_all(service, NULL, two, 2, results), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_mac_all(NULL, &with_key, two, 2, results), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_verify_all(service, &with_key, two, NULL, 2, 0, results),
                   KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_encrypt_all(service, &with_key, new_ciphers(5), 2), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_encrypt_all(service, &with_key, NULL, 2), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_decrypt_all(service, &with_key, new_ciphers(15), 2), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_derive_all(service, &with_key, mixed, 2, new_derived()), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_derive_all(service, &with_key, &unknown, 1, new_derived()),
                   KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_derive_value_all(service, &with_key, derivations, 2, 49, new_derived()),
                   KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_derive_value_all(service, &with_key, derivations, 2, 0, new_derived()),
                   KEYD_ERR_ARGUMENT);
    ck_assert_uint_eq(keyd_problem_status(), 0);
    app_stop();
    ck_assert_uint_eq(fake.n_requests, 0);
}
END_TEST

static uint8_t large[KEYD_DATA_MAX + KEYD_TAG_BYTES + 1];
static uint8_t large_room[sizeof(large)];

START_TEST(what_was_made_of_the_most_bytes_can_be_taken_back) {
    const struct keyd_bytes none = { NULL, 0 };
    const struct keyd_bytes most = { large, KEYD_DATA_MAX };
    const struct keyd_bytes sealed = { large, KEYD_DATA_MAX + KEYD_TAG_BYTES };
    const struct keyd_bytes more[] = { { large, most.n + 1 }, { large, sealed.n + 1 } };
    const struct keyd_bytes proof = { large, KEYD_SIGNATURE_MAX };
    const struct keyd_bytes no_proof = { large, KEYD_SIGNATURE_MAX + 1 };
    struct keyd_room out = { large_room, sizeof(large_room), 0 };
    uint8_t iv[KEYD_IV_BYTES] = { 0 };
    app_start(PROBLEM(503, "busy")); // what is sent
    ck_assert_keyd(keyd_encrypt(service, &with_key, more[0], none, iv, &out), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_encrypt(service, &with_key, most, none, iv, &out), KEYD_ERR_BUSY);
    ck_assert_keyd(keyd_decrypt(service, &with_key, iv, more[1], none, &out), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_decrypt(service, &with_key, iv, sealed, none, &out), KEYD_ERR_BUSY);
    ck_assert_keyd(keyd_sign(service, &with_key, more[0], 0, results), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_sign(service, &with_key, most, 0, results), KEYD_ERR_BUSY);
    ck_assert_keyd(keyd_verify(service, &with_key, most, 0, no_proof), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_verify(service, &with_key, most, 0, proof), KEYD_ERR_BUSY);
    app_stop();
    ck_assert_uint_eq(fake.n_requests, 4);
}
END_TEST

START_TEST(a_full_batch_of_the_most_bytes_can_be_taken_back) {
    enum { EACH = KEYD_DATA_MAX / KEYD_BATCH_MAX };
    static struct keyd_bytes messages[KEYD_BATCH_MAX];
    static struct keyd_bytes proofs[KEYD_BATCH_MAX];
    static struct keyd_result verdicts[KEYD_BATCH_MAX];
    static struct keyd_cipher sealed[KEYD_BATCH_MAX];
    for (size_t i = 0; i < KEYD_BATCH_MAX; i++) {
        messages[i] = (struct keyd_bytes) { large, EACH };
        proofs[i] = (struct keyd_bytes) { large, KEYD_SIGNATURE_MAX };
        sealed[i] = (struct keyd_cipher) { .in = { large, EACH + KEYD_TAG_BYTES },
                                           .out = { large_room, sizeof(large_room), 0 } };
    }
    app_start(PROBLEM(503, "busy"));
    ck_assert_keyd(
        keyd_verify_all(service, &with_key, messages, proofs, KEYD_BATCH_MAX, 0, verdicts),
        KEYD_ERR_BUSY);
    ck_assert_keyd(keyd_decrypt_all(service, &with_key, sealed, KEYD_BATCH_MAX), KEYD_ERR_BUSY);
    app_stop();
    ck_assert_uint_eq(fake.n_requests, 2);
}
END_TEST

// Records of so many bytes, in one call.
static enum keyd_err open_records(size_t n_bytes) {
    enum { RECORD_BYTES = 65536, N = KEYD_RECORDS_MAX / RECORD_BYTES + 1 };
    static uint8_t body[RECORD_BYTES];
    static uint8_t room[RECORD_BYTES]; // nothing comes back
    static struct keyd_record records[N];
    for (size_t i = 0; i < N; i++) {
        const size_t n = n_bytes < RECORD_BYTES ? n_bytes : RECORD_BYTES;
        records[i] = (struct keyd_record) { .in = { body, n }, .out = { room, sizeof(room), 0 } };
        n_bytes -= n;
    }
    ck_assert_uint_eq(n_bytes, 0);
    return keyd_record_open_all(service, records, N);
}

START_TEST(records_of_the_most_bytes_are_sent_and_of_more_are_not) {
    app_start(PROBLEM(503, "busy"));
    ck_assert_keyd(open_records(KEYD_RECORDS_MAX + 1), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(open_records(KEYD_RECORDS_MAX), KEYD_ERR_BUSY);
    app_stop();
    ck_assert_uint_eq(fake.n_requests, 1);
}
END_TEST

START_TEST(without_memory_a_batch_fails_and_the_next_succeeds) {
    static const struct {
        app_call_fn *call;
        const char *answer;
    } cases[] = { { verify_two, verified },
                  { decrypt_two, decrypted },
                  { derive_two, kept },
                  { derive_two_values, released } };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        app_start(FAKE_JSON(200, cases[i].answer));
        app_each_in_turn(cases[i].call);
        app_stop();
    }
}
END_TEST

static TCase *tcase_batches(void) {
    TCase *t = tcase_create("batches");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, answers_to_batches_are_whole_or_strange);
    tcase_add_test(t, items_fail_on_their_own);
    tcase_add_test(t, results_never_pass_the_room_of_their_item);
    tcase_add_test(t, what_is_wrong_of_a_batch_is_not_sent);
    tcase_add_test(t, what_was_made_of_the_most_bytes_can_be_taken_back);
    tcase_add_test(t, a_full_batch_of_the_most_bytes_can_be_taken_back);
    tcase_add_test(t, records_of_the_most_bytes_are_sent_and_of_more_are_not);
    tcase_add_test(t, without_memory_a_batch_fails_and_the_next_succeeds);
    return t;
}

UNIT_MAIN("keyd-service-batch", tcase_batches())
