// SPDX-License-Identifier: Apache-2.0
// Each call of each operation fails in turn, on the fake module.
#include "fake_fixture.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CALLS_MAX = 200 };

static struct kd_session *const s = &hf.sessions[0];

// ---- the operations ----------------------------------------------------------

// Gives the operation's error, and asserts that what a success says is right.
typedef enum kd_err op_fn(void);

static const char text[] = "some text";

static bool is_signed_by(const struct call_key *key, struct kd_bytes signature) {
    uint8_t digest[48];
    size_t n = 0;
    bool is_valid = false;
    ck_assert_err(kd_host_digest(KD_HASH_SHA256, kd_bytes_of_text(text), digest, &n), KD_OK);
    ck_assert_err(kd_host_ecdsa_verify(key->ref.type, key->ref.proof,
                                       (struct kd_bytes) { digest, n }, signature, &is_valid),
                  KD_OK);
    return is_valid;
}

static enum kd_err op_sign(void) {
    kd_auto(call) struct call_result c = { 0 };
    const enum kd_err r = call_sign(s, &hf.signer, kd_bytes_of_text(text), &c);
    ck_assert(r != KD_OK || is_signed_by(&hf.signer, c.result.out));
    return r;
}

static enum kd_err op_mac(void) {
    kd_auto(call) struct call_result c = { 0 };
    const enum kd_err r = call_mac(s, &hf.mac_key, NULL, kd_bytes_of_text(text), &c);
    ck_assert(r != KD_OK || c.result.out.n == 32);
    return r;
}

static enum kd_err seal_and_open(const struct call_key *key, const struct kd_recipe *by) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result opened = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    enum kd_err r = call_encrypt(s, key, by, data, data, &sealed);
    if (r != KD_OK) {
        return r;
    }
    r = call_decrypt(s, key, by, sealed.result.iv, sealed.result.out, data, &opened);
    ck_assert(r != KD_OK || kd_bytes_equal(opened.result.out, data));
    return r;
}

static enum kd_err op_encrypt_decrypt(void) {
    return seal_and_open(&hf.aes_key, NULL);
}

static enum kd_err op_rewrap(void) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result again = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    enum kd_err r = call_encrypt(s, &hf.aes_key, NULL, data, data, &sealed);
    if (r == KD_OK) {
        r = call_rewrap(s, &hf.aes_key, &hf.aes_key, sealed.result.iv, sealed.result.out, data,
                        &again);
    }
    ck_assert(r != KD_OK || again.result.out.n == data.n + KD_HSM_GCM_TAG_BYTES);
    return r;
}

static enum kd_err op_with_secret(void) {
    return seal_and_open(NULL, &hf.recipe);
}

static enum kd_err op_release(void) {
    kd_auto(call) struct call_result c = { 0 };
    const enum kd_err r = call_release(s, &hf.recipe, &c);
    ck_assert(r != KD_OK || c.result.out.n == 32);
    return r;
}

static enum kd_err op_random(void) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_hsm_request q = { .op = KD_HSM_RANDOM };
    const struct kd_hsm_item item = { .n = 16 };
    const enum kd_err r = call_exec(s, &q, &item, &c);
    ck_assert(r != KD_OK || c.result.out.n == 16);
    return r;
}

static enum kd_err op_find(void) {
    kd_auto(call) struct call_result c = { 0 };
    const enum kd_err r = call_find_all(s, "pkcs11:object=test", &c);
    ck_assert(r != KD_OK || c.head.n_items == 5);
    return r;
}

// What was found says the truth of the key.
static enum kd_err op_find_one(void) {
    kd_auto(call) struct call_result c = { 0 };
    const enum kd_err r =
        call_find(s, "pkcs11:id=%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01%01", &c);
    const struct kd_hsm_object *o = &c.result.object;
    ck_assert(r != KD_OK || (c.head.n_items == 1 && o->usages == KD_USE_SIGN && o->is_sensitive &&
                             o->is_local && kd_bytes_equal(o->ref.proof, hf.signer.ref.proof)));
    return r;
}

static const struct {
    const char *name;
    op_fn *fn;
} operations[] = {
    { "sign", op_sign },
    { "mac", op_mac },
    { "encrypt and decrypt", op_encrypt_decrypt },
    { "encrypt and rewrap", op_rewrap },
    { "with a derived secret", op_with_secret },
    { "release", op_release },
    { "random", op_random },
    { "find", op_find },
    { "find one", op_find_one },
};

static const CK_RV faults[] = { CKR_DEVICE_ERROR,   CKR_SESSION_HANDLE_INVALID,
                                CKR_GENERAL_ERROR,  CKR_KEY_HANDLE_INVALID,
                                CKR_DEVICE_MEMORY,  CKR_USER_NOT_LOGGED_IN,
                                CKR_HOST_MEMORY,    CKR_BUFFER_TOO_SMALL,
                                CKR_FUNCTION_FAILED };

// ---- each call fails in turn -------------------------------------------------

// What the first failing call may make of the whole; a cure gives KD_OK.
static bool is_expected(CK_RV fault, enum kd_err r) {
    switch (fault) {
    case CKR_DEVICE_ERROR:
    case CKR_SESSION_HANDLE_INVALID:
    case CKR_USER_NOT_LOGGED_IN:
    case CKR_KEY_HANDLE_INVALID:
        return r == KD_OK;
    case CKR_DEVICE_MEMORY:
        return r == KD_OK || r == KD_ERR_TOKEN_FULL;
    case CKR_HOST_MEMORY:
        return r == KD_OK || r == KD_ERR_NO_MEMORY;
    case CKR_FUNCTION_FAILED:
    case CKR_GENERAL_ERROR: // of C_Decrypt it means a forged tag
        return r == KD_OK || r == KD_ERR_TOKEN ||
               (r == KD_ERR_NOT_AUTHENTIC && strcmp(fake_failed_call(), "C_Decrypt") == 0);
    default:
        return r == KD_OK || r == KD_ERR_TOKEN;
    }
}

static bool is_call(const char *name) {
    return strcmp(fake_failed_call(), name) == 0;
}

// Others are opened anew when they are needed.
static unsigned sessions_open(void) {
    unsigned n = 0;
    for (size_t i = 0; i < SESSIONS; i++) {
        n += hf.sessions[i].handle != 0;
    }
    return n;
}

// One operation whose n-th call fails; false when it has fewer calls.
static bool run_with_fault(size_t op, unsigned n, CK_RV fault) {
    hsm_fixture_setup();
    const unsigned keys = fake_count().token_objects;
    fake_fail(n, fault);
    const enum kd_err r = operations[op].fn();
    if (fake_failed_call() == NULL) {
        ck_assert_err(r, KD_OK);
        fake_fail(0, CKR_OK);
        hsm_fixture_teardown();
        return false;
    }
    const char *where = operations[op].name;
    struct fake_counts c = fake_count();
    ck_assert_msg(is_expected(fault, r), "%s, %s gives %s: %s", where, fake_failed_call(),
                  kd_ckr_name(fault), kd_err_name(r));
    ck_assert_msg(c.logins == 0, "%s: a login that was not needed", where);
    // Where the token did not do what it was told to, something must stay.
    const bool is_token_s = is_call("C_DestroyObject") || is_call("C_FindObjectsFinal") ||
                            is_call("C_CloseSession") || fault == CKR_BUFFER_TOO_SMALL;
    ck_assert_msg(is_token_s || c.active == 0, "%s, %s: an operation stays active", where,
                  fake_failed_call());
    ck_assert_msg(is_token_s || c.session_objects == kd_cached_count(&hf.token),
                  "%s, %s gives %s: %u session objects, %zu of them known", where,
                  fake_failed_call(), kd_ckr_name(fault), c.session_objects,
                  kd_cached_count(&hf.token));
    ck_assert_uint_eq(c.sessions, sessions_open());
    ck_assert_msg(operations[op].fn() == KD_OK, "%s does not recover from %s of %s", where,
                  kd_ckr_name(fault), fake_failed_call());
    if (is_call("C_FindObjectsFinal")) { // the next search meets the one that has not ended
        ck_assert_err(op_find(), KD_OK);
    }
    c = fake_count();
    ck_assert_uint_eq(c.sessions, sessions_open());
    ck_assert_uint_eq(c.active, 0);
    ck_assert_msg(c.token_objects == keys, "%s, %s of %s: %u of %u objects are left", where,
                  kd_ckr_name(fault), fake_failed_call(), c.token_objects, keys);
    hsm_fixture_teardown();
    return true;
}

START_TEST(any_call_that_fails_once_is_cured_or_told_and_leaks_nothing) {
    const CK_RV fault = faults[_i];
    for (size_t op = 0; op < KD_COUNT_OF(operations); op++) {
        unsigned n = 1;
        while (run_with_fault(op, n, fault)) {
            n++;
            ck_assert_uint_lt(n, CALLS_MAX);
        }
        ck_assert_uint_gt(n, 1);
    }
}
END_TEST

// Sessions are lost for good: every call says so.
START_TEST(a_token_that_stays_away_is_told_and_ends_the_worker) {
    for (size_t op = 0; op < KD_COUNT_OF(operations); op++) {
        hsm_fixture_setup();
        fake_fail_always(NULL, CKR_DEVICE_ERROR);
        ck_assert_err(operations[op].fn(), KD_ERR_TOKEN_AWAY);
        ck_assert_uint_eq(fake_count().logins, 0);
        fake_fail(0, CKR_OK);
        fake_reset_device(); // with the session that could not be closed
        hsm_fixture_teardown();
    }
}
END_TEST

// ---- making keys -------------------------------------------------------------

START_TEST(a_key_that_could_not_be_described_does_not_stay) {
    for (size_t i = 0; i < KD_COUNT_OF(faults); i++) {
        for (unsigned n = 1;; n++) {
            struct call_key key;
            kd_auto(call) struct call_result c = { 0 };
            hsm_fixture_setup();
            fake_fail(n, faults[i]);
            const enum kd_err r = call_generate(s, KD_KEY_EC_P256, KD_USE_SIGN, 9, &key);
            const bool has_failed = fake_failed_call() != NULL;
            const bool is_cleaned = !has_failed || !is_call("C_DestroyObject");
            fake_fail(0, CKR_OK);
            ck_assert_err(call_find_all(s, "pkcs11:object=test", &c), KD_OK);
            ck_assert_uint_le(c.head.n_items, 6);
            ck_assert(!is_cleaned || c.head.n_items == (r == KD_OK ? 6 : 5));
            hsm_fixture_teardown();
            if (!has_failed) {
                ck_assert_err(r, KD_OK);
                break;
            }
        }
    }
}
END_TEST

START_TEST(destroy_takes_both_halves_and_nothing_else) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_bytes id = hf.signer.ref.id;
    const CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    const CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE certificate[] = { KD_ATTRIBUTE(CKA_CLASS, class), KD_ATTRIBUTE(CKA_TOKEN, yes),
                                   KD_ATTRIBUTE_BYTES(CKA_ID, id),
                                   KD_ATTRIBUTE_BYTES(CKA_LABEL, hf.signer.ref.label) };
    CK_OBJECT_HANDLE handle;
    CK_OBJECT_HANDLE found[4];
    size_t n = 0;
    ck_assert_uint_eq(hf.token.p11->C_CreateObject(s->handle, certificate, 4, &handle), CKR_OK);
    ck_assert_err(call_destroy(s, &hf.signer), KD_OK);
    ck_assert_err(kd_object_find(s, certificate + 2, 1, found, 4, &n), KD_OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(found[0], handle);
    ck_assert_err(call_destroy(s, &hf.signer), KD_ERR_NO_OBJECT);
    ck_assert_err(call_sign(s, &hf.signer, kd_bytes_of_text(text), &c), KD_ERR_NO_OBJECT);
}
END_TEST

START_TEST(two_keys_of_one_name_are_ambiguous_and_none_is_used_or_destroyed) {
    kd_auto(call) struct call_result c = { 0 };
    struct call_key twin;
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_SIGN, 1, &twin), KD_OK);
    ck_assert_err(call_sign(s, &hf.signer, kd_bytes_of_text(text), &c), KD_ERR_OBJECT_AMBIGUOUS);
    ck_assert_err(call_destroy(s, &hf.signer), KD_ERR_OBJECT_AMBIGUOUS);
    ck_assert_err(call_find_all(s, "pkcs11:object=test", &c), KD_OK);
    ck_assert_uint_eq(c.head.n_items, 6);
}
END_TEST

// ---- handles -----------------------------------------------------------------

START_TEST(a_key_is_searched_once_a_generation) {
    for (size_t i = 0; i < 10; i++) {
        ck_assert_err(op_sign(), KD_OK);
    }
    ck_assert_uint_eq(fake_count().searches, 1);
    fake_reset_device();
    for (size_t i = 0; i < 10; i++) {
        ck_assert_err(op_sign(), KD_OK);
    }
    ck_assert_uint_eq(fake_count().searches, 2);
}
END_TEST

START_TEST(after_a_reset_no_other_key_signs_under_an_old_handle) {
    for (size_t i = 0; i < SESSIONS; i++) {
        kd_auto(call) struct call_result c = { 0 };
        ck_assert_err(call_sign(&hf.sessions[i], &hf.signer, kd_bytes_of_text(text), &c), KD_OK);
        ck_assert_err(call_sign(&hf.sessions[i], &hf.other_signer, kd_bytes_of_text(text), &c),
                      KD_OK);
        ck_assert(is_signed_by(&hf.other_signer, c.result.out));
    }
    fake_reset_device();
    for (size_t i = 0; i < SESSIONS; i++) {
        kd_auto(call) struct call_result c = { 0 };
        ck_assert_err(call_sign(&hf.sessions[i], &hf.signer, kd_bytes_of_text(text), &c), KD_OK);
        ck_assert(is_signed_by(&hf.signer, c.result.out));
    }
}
END_TEST

START_TEST(an_object_that_is_not_the_registered_key_is_not_used) {
    kd_auto(call) struct call_result c = { 0 };
    struct call_key swapped = hf.signer;
    swapped.ref.proof = hf.other_signer.ref.proof;
    ck_assert_err(call_sign(s, &swapped, kd_bytes_of_text(text), &c), KD_ERR_OBJECT_CHANGED);
    struct kd_recipe wrong = hf.recipe;
    wrong.base.proof = hf.signer.ref.proof;
    ck_assert_err(call_release(s, &wrong, &c), KD_ERR_OBJECT_CHANGED);
    struct call_key mac = hf.mac_key;
    mac.ref.proof = hf.aes_key.ref.proof;
    ck_assert_err(call_mac(s, &mac, NULL, kd_bytes_of_text(text), &c), KD_ERR_OBJECT_CHANGED);
    struct call_key aes = hf.aes_key;
    aes.ref.proof = hf.mac_key.ref.proof;
    ck_assert_err(call_encrypt(s, &aes, NULL, kd_bytes_of_text(text), KD_BYTES_NONE, &c),
                  KD_ERR_OBJECT_CHANGED);
}
END_TEST

// It is kept outside of the token: E(K, 0) is GCM's hash key (SP 800-38D 7.1).
START_TEST(the_check_value_of_an_aes_key_tells_nothing_of_its_gcm) {
    static const uint8_t zero_key[32];
    static const uint8_t hash_key[8] = { 0xdc, 0x95, 0xc0, 0x78, 0xa2, 0x40, 0x89, 0x89 };
    const struct kd_secret_form form = { CKK_AES, sizeof(zero_key), KD_USE_ENCRYPT, false };
    CK_OBJECT_HANDLE key;
    uint8_t check[KD_HSM_CHECK_BYTES];
    size_t n = 0;
    const struct kd_bytes value = { zero_key, sizeof(zero_key) };
    ck_assert_err(kd_derive_import(s, value, &form, &key), KD_OK);
    ck_assert_err(kd_proof_of_secret(s, KD_KEY_AES_256, KD_USE_ENCRYPT, key, check, &n), KD_OK);
    ck_assert_uint_eq(n, sizeof(check));
    ck_assert_mem_ne(check, hash_key, 3);
}
END_TEST

// A failing token must not make the proof pass.
START_TEST(a_derive_key_whose_proof_cannot_be_read_for_an_error_is_not_used) {
    kd_auto(call) struct call_result c = { 0 };
    struct kd_recipe wrong = hf.recipe;
    wrong.base.proof = hf.signer.ref.proof;
    for (unsigned n = 1; n < 12; n++) {
        for (size_t i = 0; i < KD_COUNT_OF(faults); i++) {
            fake_fail(n, faults[i]);
            ck_assert(call_release(s, &wrong, &c) != KD_OK);
            fake_fail(0, CKR_OK);
        }
    }
}
END_TEST

// ---- the login ---------------------------------------------------------------

START_TEST(sessions_are_opened_anew_without_another_login) {
    fake_reset_device();
    for (size_t i = 0; i < SESSIONS; i++) {
        kd_auto(call) struct call_result c = { 0 };
        ck_assert_err(call_sign(&hf.sessions[i], &hf.signer, kd_bytes_of_text(text), &c), KD_OK);
    }
    ck_assert_uint_eq(fake_count().logins, 0);
    ck_assert_uint_eq(fake_count().sessions, SESSIONS);
}
END_TEST

// Each worker would submit a PIN that was changed: the front must know of the
// first refusal before another process tries.
static void check_left_to_a_fresh_worker(void) {
    for (size_t i = 0; i < SESSIONS; i++) {
        kd_auto(call) struct call_result c = { 0 };
        ck_assert_err(call_sign(&hf.sessions[i], &hf.signer, kd_bytes_of_text(text), &c),
                      KD_ERR_TOKEN_AWAY);
        ck_assert_uint_eq(c.reply.n, 0);
        ck_assert(kd_session_login_is_lost(&hf.sessions[i]));
    }
    ck_assert_uint_eq(fake_count().logins, 0);
}

START_TEST(a_lost_login_is_not_renewed_and_its_requests_are_left_to_a_fresh_worker) {
    fake_log_out();
    check_left_to_a_fresh_worker();
}
END_TEST

START_TEST(a_login_that_is_lost_with_the_sessions_is_not_renewed) {
    fake_reset_device();
    fake_log_out();
    check_left_to_a_fresh_worker();
}
END_TEST

static enum kd_err login_with(struct kd_bytes refused, struct kd_buf *record) {
    kd_auto(buf) struct kd_buf detail = KD_BUF_INIT(1024);
    kd_buf_reset(record);
    const enum kd_err r = kd_login(&hf.token, s->handle, refused, record, &detail);
    ck_assert((r == KD_OK) == (detail.n == 0)); // the operator is told
    return r;
}

START_TEST(the_record_of_a_refused_pin_keeps_it_from_being_submitted) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf none = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    fake_log_out();
    hsm_fixture_write_pin("wrong");
    ck_assert_err(login_with(KD_BYTES_NONE, &record), KD_ERR_PIN_REFUSED);
    ck_assert_uint_eq(fake_count().logins, 1);
    ck_assert_uint_gt(record.n, 0);
    ck_assert_ptr_null(memmem(record.p, record.n, "wrong", 5));
    ck_assert_err(login_with(kd_buf_get(&record), &none), KD_ERR_PIN_REFUSED);
    ck_assert_uint_eq(fake_count().logins, 1);
    hsm_fixture_write_pin(FAKE_PIN); // another PIN is worth a try
    ck_assert_err(login_with(kd_buf_get(&record), &none), KD_OK);
    ck_assert_uint_eq(fake_count().logins, 2);
}
END_TEST

static volatile sig_atomic_t logged_in_at_signal;

static void on_signal(int signal KD_UNUSED) {
    logged_in_at_signal = fake_is_logged_in();
}

START_TEST(a_signal_that_ends_the_process_comes_after_the_login) {
    static const int signals[] = { SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM };
    const struct sigaction action = { .sa_handler = on_signal };
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    for (size_t i = 0; i < KD_COUNT_OF(signals); i++) {
        ck_assert_int_eq(sigaction(signals[i], &action, NULL), 0);
        logged_in_at_signal = -1;
        fake_log_out();
        fake_signal_in_login(signals[i]);
        ck_assert_err(login_with(KD_BYTES_NONE, &record), KD_OK);
        ck_assert_int_eq(logged_in_at_signal, 1);
    }
}
END_TEST

START_TEST(no_pin_is_submitted_on_the_last_try_or_to_a_lock) {
    static const CK_FLAGS flags[] = { CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED,
                                      CKF_PROTECTED_AUTHENTICATION_PATH };
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    for (size_t i = 0; i < KD_COUNT_OF(flags); i++) {
        fake_set_token_flags(flags[i]);
        ck_assert_err(login_with(KD_BYTES_NONE, &record),
                      i < 2 ? KD_ERR_PIN_LAST_TRY : KD_ERR_PIN_MISSING);
    }
    ck_assert_uint_eq(fake_count().logins, 0);
}
END_TEST

START_TEST(a_pin_file_that_others_may_read_or_that_is_missing_is_not_used) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    chmod(hf.pin_file, 0644);
    ck_assert_err(login_with(KD_BYTES_NONE, &record), KD_ERR_PIN_MISSING);
    unlink(hf.pin_file);
    ck_assert_err(login_with(KD_BYTES_NONE, &record), KD_ERR_PIN_MISSING);
    ck_assert_uint_eq(fake_count().logins, 0);
}
END_TEST

START_TEST(a_pin_of_the_longest_length_is_taken_and_of_a_longer_one_no_part) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    char pin[KD_PIN_MAX_BYTES + 2];
    memset(pin, 'p', sizeof(pin));
    pin[KD_PIN_MAX_BYTES] = '\0';
    fake_set_pin(pin);
    fake_log_out();
    hsm_fixture_write_pin(pin);
    ck_assert_err(login_with(KD_BYTES_NONE, &record), KD_OK);
    ck_assert_uint_eq(fake_count().logins, 1);
    pin[KD_PIN_MAX_BYTES] = 'p';
    pin[KD_PIN_MAX_BYTES + 1] = '\0';
    fake_log_out();
    hsm_fixture_write_pin(pin);
    ck_assert_err(login_with(KD_BYTES_NONE, &record), KD_ERR_PIN_MISSING);
    ck_assert_uint_eq(fake_count().logins, 1);
}
END_TEST

// ---- forged data -------------------------------------------------------------

START_TEST(a_forged_tag_is_not_authentic_and_renews_nothing) {
    static const CK_RV answers[] = { CKR_OK,
                                     CKR_GENERAL_ERROR,
                                     CKR_FUNCTION_FAILED,
                                     CKR_ENCRYPTED_DATA_INVALID,
                                     CKR_ENCRYPTED_DATA_LEN_RANGE,
                                     CKR_DATA_INVALID,
                                     CKR_SIGNATURE_INVALID };
    kd_auto(call) struct call_result sealed = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    ck_assert_err(call_encrypt(s, &hf.aes_key, NULL, data, data, &sealed), KD_OK);
    uint8_t *tag = sealed.reply.p + sealed.reply.n - 1;
    *tag ^= 1;
    fake_count_anew();
    for (size_t i = 0; i < KD_COUNT_OF(answers); i++) {
        kd_auto(call) struct call_result c = { 0 };
        if (answers[i] != CKR_OK) {
            fake_fail_call("C_Decrypt", 1, answers[i]);
        }
        ck_assert_err(
            call_decrypt(s, &hf.aes_key, NULL, sealed.result.iv, sealed.result.out, data, &c),
            KD_ERR_NOT_AUTHENTIC);
    }
    ck_assert_uint_eq(fake_count().opened, 0);
    ck_assert_uint_eq(fake_count().active, 0);
    *tag ^= 1;
    kd_auto(call) struct call_result c = { 0 };
    ck_assert_err(call_decrypt(s, &hf.aes_key, NULL, sealed.result.iv, sealed.result.out, data, &c),
                  KD_OK);
    ck_assert(kd_bytes_equal(c.result.out, data));
}
END_TEST

static TCase *tcase_faults(void) {
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, any_call_that_fails_once_is_cured_or_told_and_leaks_nothing, 0,
                        (int)KD_COUNT_OF(faults));
    tcase_add_test(c, a_token_that_stays_away_is_told_and_ends_the_worker);
    tcase_add_test(c, a_key_that_could_not_be_described_does_not_stay);
    return c;
}

static TCase *tcase_objects(void) {
    TCase *c = tcase_create("objects");
    tcase_add_checked_fixture(c, hsm_fixture_setup, hsm_fixture_teardown);
    tcase_add_test(c, destroy_takes_both_halves_and_nothing_else);
    tcase_add_test(c, two_keys_of_one_name_are_ambiguous_and_none_is_used_or_destroyed);
    tcase_add_test(c, a_key_is_searched_once_a_generation);
    tcase_add_test(c, after_a_reset_no_other_key_signs_under_an_old_handle);
    tcase_add_test(c, an_object_that_is_not_the_registered_key_is_not_used);
    tcase_add_test(c, the_check_value_of_an_aes_key_tells_nothing_of_its_gcm);
    tcase_add_test(c, a_derive_key_whose_proof_cannot_be_read_for_an_error_is_not_used);
    return c;
}

static TCase *tcase_login(void) {
    TCase *c = tcase_create("login");
    tcase_add_checked_fixture(c, hsm_fixture_setup, hsm_fixture_teardown);
    tcase_add_test(c, sessions_are_opened_anew_without_another_login);
    tcase_add_test(c, a_lost_login_is_not_renewed_and_its_requests_are_left_to_a_fresh_worker);
    tcase_add_test(c, a_login_that_is_lost_with_the_sessions_is_not_renewed);
    tcase_add_test(c, a_signal_that_ends_the_process_comes_after_the_login);
    tcase_add_test(c, the_record_of_a_refused_pin_keeps_it_from_being_submitted);
    tcase_add_test(c, no_pin_is_submitted_on_the_last_try_or_to_a_lock);
    tcase_add_test(c, a_pin_file_that_others_may_read_or_that_is_missing_is_not_used);
    tcase_add_test(c, a_pin_of_the_longest_length_is_taken_and_of_a_longer_one_no_part);
    tcase_add_test(c, a_forged_tag_is_not_authentic_and_renews_nothing);
    return c;
}

UNIT_MAIN("hsm_faults", tcase_faults(), tcase_objects(), tcase_login())
