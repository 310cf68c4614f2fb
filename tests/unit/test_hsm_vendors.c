// SPDX-License-Identifier: Apache-2.0
// What modules do that are not SoftHSM or NSS, on the fake module with their habits: docs/field.md
// has where each was seen.
#include "fake_fixture.h"
#include "hsm/gcm.h"
#include "hsm/probe.h"
#include "hsm/token_keys.h"
#include "unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static struct kd_session *const s = &hf.sessions[0];
static const char text[] = "some text";

static enum kd_err sign(void) {
    kd_auto(call) struct call_result c = { 0 };
    return call_sign(s, &hf.signer, kd_bytes_of_text(text), &c);
}

// What its caller is told, and what becomes of the worker.
static void check_sign(enum kd_err told, enum kd_err end) {
    kd_auto(call) struct call_result c = { 0 };
    ck_assert_err(call_sign(s, &hf.signer, kd_bytes_of_text(text), &c), told);
    ck_assert_err(c.end, end);
}

static enum kd_err mac(void) {
    kd_auto(call) struct call_result c = { 0 };
    return call_mac(s, &hf.mac_key, NULL, kd_bytes_of_text(text), &c);
}

static enum kd_hsm_probe probed(enum kd_hsm_ability a) {
    return hf.token.probe[a];
}

static void check_probe(const enum kd_hsm_probe want[static KD_HSM_ABILITIES]) {
    kd_probe(s);
    for (size_t i = 0; i < KD_HSM_ABILITIES; i++) {
        ck_assert_msg(probed(i) == want[i], "%s: %s", kd_hsm_ability_name(i),
                      kd_hsm_probe_name(probed(i)));
    }
    ck_assert_uint_eq(fake_count().session_objects, 0);
    ck_assert_uint_eq(fake_count().active, 0);
}

#define ALL_OF(what)                                                                               \
    { what, what, what, what, what, what, what, what, what, what, what, what }

START_TEST(an_error_that_one_request_meets_ends_no_worker) {
    static const CK_RV errors[] = { CKR_DEVICE_ERROR, CKR_OPERATION_ACTIVE,
                                    CKR_USER_NOT_LOGGED_IN };
    for (size_t i = 0; i < KD_COUNT_OF(errors); i++) {
        for (size_t n = 0; n < 3 * KD_SESSION_SICK_MAX; n++) {
            fake_fail_always("C_SignInit", errors[i]);
            check_sign(KD_ERR_DEVICE, KD_OK);
            fake_fail(0, CKR_OK);
            hf.token.sick_since_ms -= KD_SESSION_SICK_MS + 1;
            ck_assert_err(mac(), KD_OK); // others are served meanwhile
        }
    }
    ck_assert_uint_eq(fake_count().active, 0);
    ck_assert_uint_eq(fake_count().logins, 0);
}
END_TEST

START_TEST(a_device_that_answers_keeps_its_sessions) {
    const uint64_t generation = s->generation;
    fake_fail_always("C_Sign", CKR_DEVICE_ERROR);
    ck_assert_err(sign(), KD_ERR_DEVICE);
    ck_assert_uint_eq(fake_count().opened, 0);
    ck_assert_uint_eq(s->generation, generation);
}
END_TEST

START_TEST(a_device_that_does_nothing_but_answer_is_away_in_the_end) {
    fake_fail_always("C_SignInit", CKR_DEVICE_ERROR);
    for (size_t n = 0; n < 3 * KD_SESSION_SICK_MAX; n++) {
        check_sign(KD_ERR_DEVICE, KD_OK); // however many there are in this time
    }
    hf.token.sick_since_ms -= KD_SESSION_SICK_MS + 1;
    const struct kd_hsm_request random = { .op = KD_HSM_RANDOM };
    const struct kd_hsm_item item = { .n = 16 };
    kd_auto(call) struct call_result c = { 0 };
    ck_assert_err(call_exec(s, &random, &item, &c), KD_OK); // an answer, and nothing done
    check_sign(KD_ERR_DEVICE, KD_ERR_TOKEN_AWAY);
    fake_fail(0, CKR_OK);
    ck_assert_err(mac(), KD_OK);
    fake_fail_always("C_SignInit", CKR_DEVICE_ERROR);
    for (size_t n = 0; n < KD_SESSION_SICK_MAX; n++) {
        check_sign(KD_ERR_DEVICE, KD_OK); // however long it has been
        hf.token.sick_since_ms -= KD_SESSION_SICK_MS + 1;
    }
    check_sign(KD_ERR_DEVICE, KD_ERR_TOKEN_AWAY);
}
END_TEST

START_TEST(a_device_that_is_removed_is_away_at_once) {
    fake_fail_always("C_SignInit", CKR_DEVICE_REMOVED);
    ck_assert_err(sign(), KD_ERR_TOKEN_AWAY);
}
END_TEST

// ---- logins ------------------------------------------------------------------

static enum kd_err log_in(size_t *n_record) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf detail = KD_BUF_INIT(1024);
    fake_log_out();
    const enum kd_err r = kd_login(&hf.token, s->handle, KD_BYTES_NONE, &record, &detail);
    ck_assert((r == KD_OK) == (detail.n == 0)); // the operator is told
    *n_record = record.n;
    return r;
}

static enum kd_err log_in_again(struct kd_bytes refused) {
    kd_auto(buf) struct kd_buf none = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf detail = KD_BUF_INIT(1024);
    return kd_login(&hf.token, s->handle, refused, &none, &detail);
}

static void touch_pin_file(void) {
    struct timespec times[2];
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec++;
    times[1] = times[0];
    ck_assert_int_eq(utimensat(AT_FDCWD, hf.pin_file, times, 0), 0);
}

// What can mean nothing else is never tried again; of what may mean it the operator says that the
// PIN is right by writing its file anew.
START_TEST(a_wrong_pin_by_whatever_name_is_refused) {
    static const struct {
        CK_RV rv;
        bool is_certain;
    } names[] = { { CKR_PIN_INCORRECT, true },       { CKR_PIN_LEN_RANGE, true },
                  { CKR_GENERAL_ERROR, false },      { CKR_FUNCTION_FAILED, false },
                  { CKR_ARGUMENTS_BAD, false },      { CKR_DATA_LEN_RANGE, false },
                  { CKR_USER_NOT_LOGGED_IN, false }, { CKR_KEY_TYPE_INCONSISTENT, false },
                  { CKR_VENDOR_DEFINED | 7, false } };
    for (size_t i = 0; i < KD_COUNT_OF(names); i++) {
        kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
        kd_auto(buf) struct kd_buf detail = KD_BUF_INIT(1024);
        fake_log_out();
        fake_fail_call("C_Login", 1, names[i].rv);
        ck_assert_err(kd_login(&hf.token, s->handle, KD_BYTES_NONE, &record, &detail),
                      KD_ERR_PIN_REFUSED);
        // Of one that may be right there is nothing but the time of its file.
        ck_assert_uint_eq(record.n, names[i].is_certain ? 48 : 8);
        fake_count_anew();
        ck_assert_err(log_in_again(kd_buf_get(&record)), KD_ERR_PIN_REFUSED);
        ck_assert_uint_eq(fake_count().submitted, 0);
        touch_pin_file();
        ck_assert_err(log_in_again(kd_buf_get(&record)),
                      names[i].is_certain ? KD_ERR_PIN_REFUSED : KD_OK);
    }
}
END_TEST

// The PIN may have been changed: each further try would be one of a wrong one.
START_TEST(a_session_that_is_not_logged_in_ends_the_logins) {
    size_t n;
    fake_set_habits(FAKE_LOGS_IN_SESSIONS);
    fake_fail_call("C_Login", 2, CKR_PIN_INCORRECT);
    fake_log_out();
    ck_assert_err(log_in(&n), KD_OK);
    ck_assert_uint_eq(fake_count().submitted, 2);
}
END_TEST

START_TEST(a_login_that_fails_for_another_reason_is_no_refusal) {
    static const struct {
        CK_RV rv;
        enum kd_err told;
    } reasons[] = { { CKR_DEVICE_ERROR, KD_ERR_DEVICE },
                    { CKR_DEVICE_REMOVED, KD_ERR_TOKEN_AWAY },
                    { CKR_SESSION_HANDLE_INVALID, KD_ERR_SESSION_LOST },
                    { CKR_HOST_MEMORY, KD_ERR_NO_MEMORY },
                    { CKR_USER_PIN_NOT_INITIALIZED, KD_ERR_TOKEN },
                    { CKR_USER_ANOTHER_ALREADY_LOGGED_IN, KD_ERR_TOKEN } };
    for (size_t i = 0; i < KD_COUNT_OF(reasons); i++) {
        size_t n;
        fake_fail_call("C_Login", 1, reasons[i].rv);
        ck_assert_err(log_in(&n), reasons[i].told);
        ck_assert_uint_eq(n, 0);
    }
}
END_TEST

START_TEST(a_login_that_fails_while_the_device_does_not_answer_is_no_refusal) {
    size_t n;
    fake_log_out();
    fake_fail_always(NULL, CKR_GENERAL_ERROR);
    ck_assert_err(log_in(&n), KD_ERR_TOKEN); // C_GetTokenInfo: nothing was submitted
    ck_assert_uint_eq(fake_count().logins, 0);
    fake_fail(0, CKR_OK);
    fake_reset_device(); // C_Login and what comes after it meet a session that is gone
    ck_assert_err(log_in(&n), KD_ERR_SESSION_LOST);
    ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(each_session_is_logged_in_where_a_login_is_a_session_s) {
    size_t n;
    fake_set_habits(FAKE_LOGS_IN_SESSIONS);
    ck_assert_err(log_in(&n), KD_OK);
    for (size_t i = 0; i < SESSIONS; i++) {
        kd_auto(call) struct call_result c = { 0 };
        ck_assert_err(call_sign(&hf.sessions[i], &hf.signer, kd_bytes_of_text(text), &c), KD_OK);
    }
    ck_assert_uint_eq(fake_count().opened, 0);
}
END_TEST

// ---- the probe ---------------------------------------------------------------

START_TEST(a_token_that_can_all_is_verified) {
    static const enum kd_hsm_probe want[] = ALL_OF(KD_HSM_PROBE_VERIFIED);
    check_probe(want);
    ck_assert_int_eq(hf.token.hkdf_extract, KD_HSM_HKDF_DIGEST);
    ck_assert(hf.token.gcm == KD_GCM_UNDER_GIVEN_IV && !hf.token.keeps_pairs);
}
END_TEST

START_TEST(what_is_refused_is_not_called_wrong) {
    fake_fail_always("C_DeriveKey", CKR_MECHANISM_PARAM_INVALID); // Luna: no ECDH without a KDF
    kd_probe(s);
    ck_assert_int_eq(probed(KD_HSM_CAN_ECDH), KD_HSM_PROBE_MISSING);
    ck_assert_int_eq(probed(KD_HSM_CAN_EC_P256), KD_HSM_PROBE_VERIFIED);
    fake_fail_always("C_GenerateKeyPair", CKR_TEMPLATE_INCONSISTENT);
    kd_probe(s);
    ck_assert_int_eq(probed(KD_HSM_CAN_EC_P256), KD_HSM_PROBE_REFUSED);
    ck_assert_int_eq(probed(KD_HSM_CAN_ECDH), KD_HSM_PROBE_REFUSED);
    ck_assert_int_eq(probed(KD_HSM_CAN_AES_GCM), KD_HSM_PROBE_VERIFIED);
}
END_TEST

START_TEST(a_token_that_takes_no_keys_from_outside_is_tried_with_keys_it_derives) {
    static const enum kd_hsm_probe want[] = { [KD_HSM_CAN_EC_P256] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_EC_P384] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_ECDSA] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_ECDH] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_HMAC_SHA256] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_HMAC_SHA384] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_AES_GCM] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_AES_CBC_DATA] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_HKDF] = KD_HSM_PROBE_REFUSED,
                                              [KD_HSM_CAN_RANDOM] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_HANDSHAKE] = KD_HSM_PROBE_VERIFIED,
                                              [KD_HSM_CAN_RESIDENT] = KD_HSM_PROBE_VERIFIED };
    fake_fail_always("C_CreateObject", CKR_TEMPLATE_INCONSISTENT);
    check_probe(want);
    // HKDF's result cannot stay in it as a key; but be released, and a handshake needs PRK alone.
    ck_assert_int_eq(hf.token.hkdf, KD_HSM_HKDF_NONE);
    ck_assert_int_eq(hf.token.hkdf_release, KD_HSM_HKDF_DIGEST);
    ck_assert_int_eq(hf.token.hkdf_extract, KD_HSM_HKDF_DIGEST);
}
END_TEST

START_TEST(a_token_that_shows_no_derived_key_is_proved_by_macs) {
    static const enum kd_hsm_probe want[] = ALL_OF(KD_HSM_PROBE_VERIFIED);
    kd_auto(call) struct call_result c = { 0 };
    kd_auto(call) struct call_result refused = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    fake_set_habits(FAKE_SHOWS_NOTHING);
    check_probe(want);
    ck_assert_err(call_encrypt(s, NULL, &hf.recipe, data, data, &c), KD_OK);
    struct kd_recipe wrong = call_recipe(&hf.deriver, hf.signer.ref.proof, 9, KD_KEY_AES_256);
    wrong.base.proof = hf.signer.ref.proof;
    ck_assert_err(call_encrypt(s, NULL, &wrong, data, data, &refused), KD_ERR_OBJECT_CHANGED);
}
END_TEST

START_TEST(native_hkdf_that_shows_its_results_leaves_handshakes_their_own_way) {
    static const enum kd_hsm_probe want[] = ALL_OF(KD_HSM_PROBE_VERIFIED);
    fake_set_habits(FAKE_HAS_HKDF);
    check_probe(want);
    ck_assert_int_eq(hf.token.hkdf, KD_HSM_HKDF_NATIVE);
    ck_assert_int_eq(hf.token.hkdf_release, KD_HSM_HKDF_NATIVE);
    ck_assert_int_eq(hf.token.hkdf_extract, KD_HSM_HKDF_DIGEST);
    kd_auto(call) struct call_result c = { 0 };
    ck_assert_err(call_release(s, &hf.recipe, &c), KD_OK); // which has no salt
    ck_assert_uint_eq(c.result.out.n, 32);
}
END_TEST

// One pair, the first, and it does not stay.
START_TEST(a_token_that_keeps_session_keys_is_not_filled_with_them) {
    const unsigned before = fake_count().token_objects;
    struct kd_token_keys keys = { .session = s, .generation = s->generation };
    struct kd_point point;
    uint64_t key;
    fake_set_habits(FAKE_KEEPS_PAIRS);
    fake_fail_call("C_GenerateKeyPair", 2, CKR_GENERAL_ERROR);
    kd_probe(s);
    ck_assert_ptr_null(fake_failed_call());
    ck_assert_uint_eq(fake_count().token_objects, before);
    ck_assert_int_eq(probed(KD_HSM_CAN_EC_P256), KD_HSM_PROBE_UNTRIED);
    ck_assert_int_eq(probed(KD_HSM_CAN_ECDH), KD_HSM_PROBE_UNTRIED);
    ck_assert_int_eq(probed(KD_HSM_CAN_HANDSHAKE), KD_HSM_PROBE_MISSING);
    ck_assert_err(kd_keyops_token.generate(&keys, KD_CURVE_P256, &key, &point), KD_ERR_LACKING);
    ck_assert_err(sign(), KD_OK);
}
END_TEST

// ---- AES-GCM -----------------------------------------------------------------

START_TEST(a_token_that_makes_its_own_ivs_encrypts_and_seals_no_records) {
    static const unsigned habits[] = { FAKE_WRITES_IV, FAKE_WRITES_IV | FAKE_WANTS_ZERO_IV };
    for (size_t i = 0; i < KD_COUNT_OF(habits); i++) {
        kd_auto(call) struct call_result sealed = { 0 };
        kd_auto(call) struct call_result opened = { 0 };
        const struct kd_bytes data = kd_bytes_of_text(text);
        const uint8_t iv[KD_HSM_GCM_IV_BYTES] = { 1 };
        uint8_t out[64];
        fake_set_habits(habits[i]);
        kd_probe(s);
        ck_assert_int_eq(probed(KD_HSM_CAN_AES_GCM), KD_HSM_PROBE_VERIFIED);
        ck_assert_int_eq(probed(KD_HSM_CAN_HANDSHAKE), KD_HSM_PROBE_VERIFIED);
        ck_assert_int_eq(probed(KD_HSM_CAN_RESIDENT), KD_HSM_PROBE_MISSING);
        ck_assert_err(call_encrypt(s, &hf.aes_key, NULL, data, data, &sealed), KD_OK);
        ck_assert_err(
            call_decrypt(s, &hf.aes_key, NULL, sealed.result.iv, sealed.result.out, data, &opened),
            KD_OK);
        ck_assert(kd_bytes_equal(opened.result.out, data));
        // The nonce of a record is not sent: another one would never be opened.
        ck_assert_err(kd_gcm_seal(s, 1, iv, data, data, out), KD_ERR_LACKING);
    }
}
END_TEST

// The probe tries zeros where another IV is refused: what was a failure of the moment must not make
// keyd encrypt under them.
START_TEST(no_two_texts_are_encrypted_under_one_iv) {
    static const CK_RV failures[] = { CKR_GENERAL_ERROR, CKR_MECHANISM_PARAM_INVALID,
                                      CKR_BUFFER_TOO_SMALL };
    static const uint8_t zeros[KD_HSM_GCM_IV_BYTES];
    const struct kd_bytes data = kd_bytes_of_text(text);
    for (size_t i = 0; i < 2 * KD_COUNT_OF(failures); i++) {
        kd_auto(call) struct call_result c = { 0 };
        fake_fail_call(i % 2 == 0 ? "C_EncryptInit" : "C_Encrypt", 1, failures[i / 2]);
        kd_probe(s);
        const enum kd_err r = call_encrypt(s, &hf.aes_key, NULL, data, data, &c);
        ck_assert(r == KD_OK || r == KD_ERR_LACKING);
        ck_assert(r != KD_OK || memcmp(c.result.iv.p, zeros, sizeof(zeros)) != 0);
    }
    hf.token.gcm = KD_GCM_UNDER_OWN_IV; // and this token writes none
    kd_auto(call) struct call_result c = { 0 };
    ck_assert_err(call_encrypt(s, &hf.aes_key, NULL, data, data, &c), KD_ERR_TOKEN);
}
END_TEST

// A tag that is not looked at, and a result that is not OpenSSL's.
START_TEST(gcm_that_is_wrong_is_not_used) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    ck_assert_err(call_encrypt(s, &hf.aes_key, NULL, data, data, &sealed), KD_OK);
    fake_set_habits(FAKE_TAKES_FORGERIES);
    kd_probe(s);
    ck_assert_int_eq(probed(KD_HSM_CAN_AES_GCM), KD_HSM_PROBE_WRONG);
    ck_assert_err(call_encrypt(s, &hf.aes_key, NULL, data, data, &c), KD_ERR_LACKING);
    ck_assert_err(call_decrypt(s, &hf.aes_key, NULL, sealed.result.iv, sealed.result.out, data, &c),
                  KD_ERR_LACKING);
}
END_TEST

START_TEST(gcm_that_is_not_as_keyd_needs_it_is_not_used) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    fake_fail_always("C_EncryptInit", CKR_MECHANISM_PARAM_INVALID);
    kd_probe(s);
    fake_fail(0, CKR_OK);
    fake_count_anew();
    ck_assert_int_eq(probed(KD_HSM_CAN_AES_GCM), KD_HSM_PROBE_MISSING);
    ck_assert_err(call_encrypt(s, &hf.aes_key, NULL, data, data, &c), KD_ERR_LACKING);
    ck_assert_uint_eq(fake_count().active, 0);
    ck_assert_uint_eq(fake_count().opened, 0);
}
END_TEST

// Where the probe could not see it: no record is sealed under a nonce that nobody knows.
START_TEST(a_nonce_that_the_token_changed_is_seen) {
    const struct kd_bytes data = kd_bytes_of_text(text);
    const struct kd_secret_form form = { CKK_AES, 32, KD_USE_ENCRYPT, false };
    const uint8_t iv[KD_HSM_GCM_IV_BYTES] = { 1 };
    uint8_t value[32] = { 7 };
    uint8_t out[64];
    CK_OBJECT_HANDLE key;
    ck_assert_err(kd_derive_import(s, (struct kd_bytes) { value, 32 }, &form, &key), KD_OK);
    ck_assert_err(kd_gcm_seal(s, key, iv, data, data, out), KD_OK);
    fake_set_habits(FAKE_WRITES_IV);
    ck_assert_err(kd_gcm_seal(s, key, iv, data, data, out), KD_ERR_LACKING);
    kd_destroy(s, key);
}
END_TEST

static enum kd_err open_with(CK_RV rv) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result opened = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    ck_assert_err(call_encrypt(s, &hf.aes_key, NULL, data, data, &sealed), KD_OK);
    fake_fail_call("C_Decrypt", 1, rv);
    return call_decrypt(s, &hf.aes_key, NULL, sealed.result.iv, sealed.result.out, data, &opened);
}

// The fake says CKR_ENCRYPTED_DATA_INVALID of forged data.
START_TEST(what_this_token_does_not_say_of_forged_data_is_its_own_failure) {
    ck_assert_err(open_with(CKR_GENERAL_ERROR), KD_ERR_NOT_AUTHENTIC); // it is not known yet
    kd_probe(s);
    ck_assert_uint_eq(hf.token.gcm_forged_rv, CKR_ENCRYPTED_DATA_INVALID);
    ck_assert_err(open_with(CKR_GENERAL_ERROR), KD_ERR_TOKEN);
    ck_assert_err(open_with(CKR_FUNCTION_FAILED), KD_ERR_TOKEN);
    ck_assert_err(open_with(CKR_ENCRYPTED_DATA_INVALID), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(open_with(KD_CKR_AEAD_DECRYPT_FAILED), KD_ERR_NOT_AUTHENTIC);
    fake_fail_call("C_Decrypt", 2, CKR_DEVICE_ERROR); // the first forgery: a failure of the moment
    kd_probe(s);
    ck_assert_int_eq(probed(KD_HSM_CAN_AES_GCM), KD_HSM_PROBE_VERIFIED);
    ck_assert_uint_eq(hf.token.gcm_forged_rv, CKR_OK);
    hf.token.gcm_forged_rv = CKR_VENDOR_DEFINED | 9;
    ck_assert_err(open_with(CKR_VENDOR_DEFINED | 9), KD_ERR_NOT_AUTHENTIC);
}
END_TEST

// ---- objects -----------------------------------------------------------------

START_TEST(keys_of_an_hmac_type_and_with_long_ids_are_known) {
    static const struct {
        CK_KEY_TYPE type;
        enum kd_key_type want;
    } types[] = { { CKK_SHA256_HMAC, KD_KEY_HMAC_SHA256 },
                  { CKK_SHA384_HMAC, KD_KEY_HMAC_SHA384 } };
    for (size_t i = 0; i < KD_COUNT_OF(types); i++) {
        kd_auto(call) struct call_result c = { 0 };
        const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
        const CK_BBOOL yes = CK_TRUE;
        const CK_ULONG n = 20;
        char id[KD_HSM_ID_MAX_BYTES];
        CK_OBJECT_HANDLE handle;
        memset(id, 'a' + (int)i, sizeof(id));
        CK_ATTRIBUTE list[] = { KD_ATTRIBUTE(CKA_CLASS, class),
                                KD_ATTRIBUTE(CKA_TOKEN, yes),
                                KD_ATTRIBUTE(CKA_ID, id),
                                KD_ATTRIBUTE(CKA_LABEL, "long"),
                                KD_ATTRIBUTE(CKA_KEY_TYPE, types[i].type),
                                KD_ATTRIBUTE(CKA_VALUE_LEN, n),
                                KD_ATTRIBUTE(CKA_VALUE, text),
                                KD_ATTRIBUTE(CKA_SIGN, yes),
                                KD_ATTRIBUTE(CKA_SENSITIVE, yes) };
        ck_assert_uint_eq(hf.token.p11->C_CreateObject(s->handle, list, KD_COUNT_OF(list), &handle),
                          CKR_OK);
        ck_assert_err(call_find(s, "pkcs11:object=long%00;type=secret-key", &c), KD_OK);
        ck_assert_int_eq(c.result.object.ref.type, types[i].want);
        ck_assert_uint_eq(c.result.object.ref.id.n, sizeof(id));
        kd_destroy(s, handle);
    }
}
END_TEST

// A private key whose public half is another's would be a version that signs nothing.
START_TEST(a_private_key_is_held_against_the_public_one_beside_it) {
    static const char uri[] =
        "pkcs11:id=%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01;type=private";
    kd_auto(call) struct call_result good = { 0 };
    kd_auto(call) struct call_result wrong = { 0 };
    kd_auto(call) struct call_result alone = { 0 };
    const CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    const CK_BBOOL yes = CK_TRUE;
    CK_OBJECT_HANDLE public;
    size_t n;
    ck_assert_err(call_find(s, uri, &good), KD_OK);
    ck_assert_uint_eq(good.result.object.ref.proof.n, 65);
    CK_ATTRIBUTE list[] = { KD_ATTRIBUTE(CKA_CLASS, class), KD_ATTRIBUTE(CKA_TOKEN, yes),
                            KD_ATTRIBUTE_BYTES(CKA_ID, hf.signer.ref.id),
                            KD_ATTRIBUTE_BYTES(CKA_EC_POINT, hf.other_signer.ref.proof) };
    ck_assert_err(kd_object_find(s, list, 3, &public, 1, &n), KD_OK);
    ck_assert_uint_eq(n, 1);
    kd_destroy(s, public);
    ck_assert_err(call_find(s, uri, &alone), KD_OK);
    ck_assert_uint_eq(alone.result.object.ref.proof.n, 0);
    ck_assert_uint_eq(hf.token.p11->C_CreateObject(s->handle, list, KD_COUNT_OF(list), &public),
                      CKR_OK);
    ck_assert_err(call_find(s, uri, &wrong), KD_ERR_OBJECT_UNFIT);
}
END_TEST

// No length is believed that is more than the room that was given.
START_TEST(a_module_that_lies_of_lengths_has_nothing_read_behind_them) {
    kd_auto(call) struct call_result c = { 0 };
    struct call_key key;
    struct kd_recipe r = call_recipe(&hf.deriver, hf.signer.ref.proof, 1, KD_KEY_HMAC_SHA256);
    hf.token.hkdf_release = KD_HSM_HKDF_EXTRACT;
    ck_assert_err(call_release(s, &r, &c), KD_OK);
    fake_set_habits(FAKE_LIES_OF_LENGTHS);
    ck_assert_err(call_release(s, &r, &c), KD_ERR_TOKEN);
    r.n_steps = 0; // the shared secret as it is
    ck_assert_err(call_release(s, &r, &c), KD_ERR_TOKEN);
    ck_assert_err(call_find_all(s, "pkcs11:object=test", &c), KD_ERR_TOKEN);
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_SIGN, 9, &key), KD_ERR_TOKEN);
    kd_probe(s);
    ck_assert(probed(KD_HSM_CAN_ECDH) != KD_HSM_PROBE_VERIFIED);
    ck_assert_uint_eq(fake_count().session_objects, 0);
}
END_TEST

START_TEST(a_point_is_read_in_its_octet_string_and_alone) {
    static const struct {
        enum kd_key_type type;
        uint8_t head[3];
        size_t n_head;
        size_t n; // of what follows
        bool is_point;
    } rows[] = {
        { KD_KEY_EC_P256, { 0x04, 65 }, 2, 65, true },
        { KD_KEY_EC_P384, { 0x04, 97 }, 2, 97, true },
        { KD_KEY_EC_P256, { 0 }, 0, 65, true },
        { KD_KEY_EC_P384, { 0 }, 0, 97, true },
        { KD_KEY_EC_P256, { 0x04, 64 }, 2, 65, false }, // another length
        { KD_KEY_EC_P256, { 0x05, 65 }, 2, 65, false }, // not an octet string
        { KD_KEY_EC_P256, { 0x04, 65 }, 2, 64, false }, // cut off
        { KD_KEY_EC_P256, { 0x04, 65 }, 2, 66, false },
        { KD_KEY_EC_P256, { 0x03, 66, 0 }, 3, 65, false },
        { KD_KEY_EC_P256, { 0x04, 97 }, 2, 97, false }, // of the other curve
        { KD_KEY_EC_P256, { 0 }, 0, 0, false },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        uint8_t value[KD_HSM_POINT_MAX_BYTES + 3] = { 0 };
        memcpy(value, rows[i].head, rows[i].n_head);
        memset(value + rows[i].n_head, 0x5a, rows[i].n);
        const struct kd_bytes point =
            kd_ec_point_of(rows[i].type, (struct kd_bytes) { value, rows[i].n_head + rows[i].n });
        ck_assert_msg(point.n == (rows[i].is_point ? rows[i].n : 0), "row %zu", i);
        ck_assert(point.n == 0 || point.p == value + rows[i].n_head);
    }
}
END_TEST

static TCase *tcase_errors(void) {
    TCase *c = tcase_create("errors");
    tcase_add_checked_fixture(c, hsm_fixture_setup, hsm_fixture_teardown);
    tcase_add_test(c, an_error_that_one_request_meets_ends_no_worker);
    tcase_add_test(c, a_device_that_answers_keeps_its_sessions);
    tcase_add_test(c, a_device_that_does_nothing_but_answer_is_away_in_the_end);
    tcase_add_test(c, a_device_that_is_removed_is_away_at_once);
    tcase_add_test(c, what_this_token_does_not_say_of_forged_data_is_its_own_failure);
    return c;
}

static TCase *tcase_logins(void) {
    TCase *c = tcase_create("logins");
    tcase_add_checked_fixture(c, hsm_fixture_setup, hsm_fixture_teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_wrong_pin_by_whatever_name_is_refused);
    tcase_add_test(c, a_session_that_is_not_logged_in_ends_the_logins);
    tcase_add_test(c, a_login_that_fails_for_another_reason_is_no_refusal);
    tcase_add_test(c, a_login_that_fails_while_the_device_does_not_answer_is_no_refusal);
    tcase_add_test(c, each_session_is_logged_in_where_a_login_is_a_session_s);
    return c;
}

static TCase *tcase_abilities(void) {
    TCase *c = tcase_create("abilities");
    tcase_add_checked_fixture(c, hsm_fixture_setup, hsm_fixture_teardown);
    tcase_add_test(c, a_token_that_can_all_is_verified);
    tcase_add_test(c, what_is_refused_is_not_called_wrong);
    tcase_add_test(c, a_token_that_takes_no_keys_from_outside_is_tried_with_keys_it_derives);
    tcase_add_test(c, a_token_that_shows_no_derived_key_is_proved_by_macs);
    tcase_add_test(c, native_hkdf_that_shows_its_results_leaves_handshakes_their_own_way);
    tcase_add_test(c, a_token_that_keeps_session_keys_is_not_filled_with_them);
    tcase_add_test(c, a_token_that_makes_its_own_ivs_encrypts_and_seals_no_records);
    tcase_add_test(c, no_two_texts_are_encrypted_under_one_iv);
    tcase_add_test(c, gcm_that_is_wrong_is_not_used);
    tcase_add_test(c, gcm_that_is_not_as_keyd_needs_it_is_not_used);
    tcase_add_test(c, a_nonce_that_the_token_changed_is_seen);
    tcase_add_test(c, keys_of_an_hmac_type_and_with_long_ids_are_known);
    tcase_add_test(c, a_private_key_is_held_against_the_public_one_beside_it);
    tcase_add_test(c, a_module_that_lies_of_lengths_has_nothing_read_behind_them);
    tcase_add_test(c, a_point_is_read_in_its_octet_string_and_alone);
    return c;
}

UNIT_MAIN("hsm_vendors", tcase_errors(), tcase_logins(), tcase_abilities())
