// SPDX-License-Identifier: Apache-2.0
// The service as the HTTP layer uses it, on the fake worker.
#include "keyd/service.h"
#include "tests/unit/keyd_fixture.h"
#include "unit.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/core_names.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct kd_service *s;
static bool is_done;
static enum kd_err last_err;
static char last_detail[256];
static char key_text[512]; // "name:type:usages:versions(number=state...)"
static struct kd_work_result results[8];
static char last_out[64];
static size_t n_results;
static struct kd_derivation_result derived[8];
static size_t n_derived;
static size_t released_bytes;

static bool done(void) {
    return is_done;
}

static bool ready(void) {
    const char *detail;
    return kd_service_ready(s, &detail) == KD_OK;
}

static void close_service(void) {
    kd_service_close(s);
    s = NULL;
    fixture_new_loop();
}

static void open_service(void) {
    ck_assert_err(kd_service_open(fx.loop, fx.config, &s), KD_OK);
}

static void setup(void) {
    fixture_setup();
    s = NULL;
    is_done = false;
}

static void teardown(void) {
    kd_service_close(s);
    s = NULL;
    fixture_teardown();
}

static void start(const char *script) {
    fixture_script(script);
    open_service();
    fixture_run_until(ready);
}

static struct kd_caller caller_of(uid_t uid) {
    struct kd_caller c = { 0 };
    const struct kd_credential credential = { .has_peer = true, .uid = uid, .gid = 65000 };
    ck_assert_err(kd_service_identify(s, &credential, &c), KD_OK);
    return c;
}

static void on_key(void *arg KD_UNUSED, enum kd_err err, const char *detail,
                   const struct kd_key *key) {
    ck_assert(!is_done);
    ck_assert_int_eq(key != NULL && err != KD_OK, 0);
    is_done = true;
    last_err = err;
    snprintf(last_detail, sizeof(last_detail), "%s", detail);
    key_text[0] = '\0';
    if (key != NULL) {
        int n = snprintf(key_text, sizeof(key_text), "%s:%s:%u:", key->name,
                         kd_key_type_name(key->type), key->usages);
        for (size_t i = 0; i < key->n_versions; i++) {
            n += snprintf(key_text + n, sizeof(key_text) - (size_t)n, "%u=%d,",
                          key->versions[i].number, (int)key->versions[i].state);
        }
    }
}

// Waits for a change that was accepted; its result.
static enum kd_err wait_for(enum kd_err accepted) {
    if (accepted != KD_OK) {
        return accepted;
    }
    ck_assert(!is_done); // never before the call returns
    fixture_run_until(done);
    is_done = false;
    return last_err;
}

static enum kd_err create(uid_t uid, const char *name, enum kd_key_type type, unsigned usages) {
    const struct kd_caller c = caller_of(uid);
    const struct kd_key_spec spec = { .name = name, .type = type, .usages = usages };
    return wait_for(kd_service_key_create(s, &c, &spec, on_key, NULL));
}

static enum kd_err rotate(const char *name) {
    const struct kd_caller c = caller_of(7);
    return wait_for(kd_service_key_rotate(s, &c, name, on_key, NULL));
}

static enum kd_err set_state(const char *name, uint32_t number, bool enable) {
    const struct kd_caller c = caller_of(7);
    return wait_for(kd_service_key_set_state(s, &c, name, number, enable, on_key, NULL));
}

static enum kd_err delete_key(const char *name) {
    const struct kd_caller c = caller_of(7);
    return wait_for(kd_service_key_delete(s, &c, name, on_key, NULL));
}

static void on_work(void *arg KD_UNUSED, enum kd_err err, const char *detail,
                    const struct kd_work_result *from, size_t n) {
    ck_assert(!is_done);
    is_done = true;
    last_err = err;
    snprintf(last_detail, sizeof(last_detail), "%s", detail);
    n_results = n;
    for (size_t i = 0; i < n && i < KD_COUNT_OF(results); i++) {
        results[i] = from[i];
    }
    if (n > 0 && from[0].err == KD_OK) {
        snprintf(last_out, sizeof(last_out), "%.*s", (int)from[0].out.n,
                 from[0].out.n == 0 ? "" : (const char *)from[0].out.p);
    }
}

static enum kd_err work_on(struct kd_work work, const struct kd_hsm_item *items, size_t n) {
    const struct kd_caller c = caller_of(7);
    work.items = items;
    work.n_items = n;
    return wait_for(kd_service_work(s, &c, &work, on_work, NULL));
}

static enum kd_err mac(const char *key, const char *data) {
    const struct kd_hsm_item item = { .data = kd_bytes_of_text(data) };
    return work_on((struct kd_work) { .operation = KD_OPERATION_MAC, .key = key }, &item, 1);
}

static void on_derived(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                       const struct kd_derivation_result *from, size_t n) {
    ck_assert(!is_done);
    is_done = true;
    last_err = err;
    n_derived = n;
    released_bytes = 0;
    for (size_t i = 0; i < n && i < KD_COUNT_OF(derived); i++) {
        derived[i] = from[i];
        released_bytes += from[i].out.n;
    }
}

static enum kd_err derive(const struct kd_derivation *items, size_t n) {
    const struct kd_caller c = caller_of(7);
    const enum kd_err r = wait_for(kd_service_derive(s, &c, items, n, on_derived, NULL));
    return r != KD_OK || n != 1 ? r : derived[0].err;
}

// ---- callers ---------------------------------------------------------------

START_TEST(unknown_callers_and_forbidden_things_are_refused) {
    start("start ok\n");
    struct kd_caller c;
    const struct kd_credential stranger = { .has_peer = true, .uid = 99, .gid = 99 };
    ck_assert_err(kd_service_identify(s, &stranger, &c), KD_ERR_UNAUTHENTICATED);
    ck_assert_err(create(8, "r-a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_DENIED);
    ck_assert_err(create(7, "r-a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    ck_assert_err(create(7, "x", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    const struct kd_caller reader = caller_of(8);
    const struct kd_key *key = NULL;
    ck_assert_err(kd_service_key(s, &reader, "x", &key), KD_ERR_DENIED);
    ck_assert_err(kd_service_key(s, &reader, "not-there", &key), KD_ERR_DENIED); // the same
    ck_assert_err(kd_service_key(s, &reader, "r-b", &key), KD_ERR_NO_KEY);
    ck_assert_err(kd_service_key(s, &reader, "r-a", &key), KD_OK);
    const struct kd_key *list[4];
    ck_assert_uint_eq(kd_service_keys(s, &reader, NULL, list, 4), 1);
    const struct kd_caller app = caller_of(7);
    ck_assert_uint_eq(kd_service_keys(s, &app, NULL, list, 4), 2);
    ck_assert_uint_eq(kd_service_keys(s, &app, "r-a", list, 4), 1);
    ck_assert_uint_eq(kd_service_keys(s, &app, NULL, list, 1), 1);
    const struct kd_work w = { .operation = KD_OPERATION_ENCRYPT, .key = "not-there" };
    ck_assert_err(kd_service_work(s, &reader, &w, on_work, NULL), KD_ERR_DENIED);
}
END_TEST

START_TEST(broken_new_policy_keeps_the_old_one_and_says_why) {
    start("start ok\n");
    struct kd_service_report r;
    fixture_file("policy", "principal \"app\" { uid = 7 }\nallow \"app\" { operations = {fly} }\n");
    kd_log_set_level(KD_LOG_ERROR);
    kd_service_reload(s);
    kd_service_report(s, &r);
    ck_assert_ptr_nonnull(strstr(r.policy_error, "policy:2: "));
    ck_assert_ptr_nonnull(strstr(r.policy_error, "fly"));
    ck_assert_err(create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    fixture_file("policy", "principal \"app\" { uid = 7 }\n");
    kd_service_reload(s);
    kd_service_report(s, &r);
    ck_assert_str_eq(r.policy_error, "");
    ck_assert_err(create(7, "b", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_DENIED);
}
END_TEST

START_TEST(policy_or_store_that_cannot_be_used_stops_the_start) {
    fixture_file("policy", "garbage");
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_err(kd_service_open(fx.loop, fx.config, &s), KD_ERR_CONFIG);
    ck_assert_ptr_null(s);
    fixture_file("policy", "");
    fixture_file("state", "a file where a directory should be");
    ck_assert_err(kd_service_open(fx.loop, fx.config, &s), KD_ERR_STORE);
    ck_assert_ptr_null(s);
}
END_TEST

// ---- keys ------------------------------------------------------------------

START_TEST(keys_that_cannot_be_are_refused) {
    start("start ok\n");
    ck_assert_err(create(7, "", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_BAD_NAME);
    ck_assert_err(create(7, "a/b", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_BAD_NAME);
    ck_assert_err(create(7, "a", (enum kd_key_type)0, KD_USE_ENCRYPT), KD_ERR_FIELD_INVALID);
    ck_assert_err(create(7, "a", (enum kd_key_type)99, KD_USE_ENCRYPT), KD_ERR_FIELD_INVALID);
    ck_assert_err(create(7, "a", KD_KEY_AES_256, 0), KD_ERR_KEY_USAGE);
    ck_assert_err(create(7, "a", KD_KEY_AES_256, KD_USE_SIGN), KD_ERR_KEY_USAGE);
    ck_assert_err(create(7, "a", KD_KEY_EC_P256, KD_USE_SIGN | KD_USE_DERIVE), KD_ERR_KEY_USAGE);
    ck_assert_err(create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    ck_assert_err(create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_KEY_EXISTS);
    ck_assert_err(rotate("b"), KD_ERR_NO_KEY);
    ck_assert_err(set_state("a", 2, false), KD_ERR_NO_VERSION);
    ck_assert_err(delete_key("b"), KD_ERR_NO_KEY);
}
END_TEST

START_TEST(life_of_a_key_survives_a_restart) {
    start("start ok\n");
    ck_assert_err(create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN | KD_USE_VERIFY), KD_OK);
    ck_assert_str_eq(key_text, "k:hmac-sha256:3:1=1,");
    ck_assert_err(rotate("k"), KD_OK);
    ck_assert_str_eq(key_text, "k:hmac-sha256:3:1=1,2=1,");
    ck_assert_err(set_state("k", 1, false), KD_OK);
    ck_assert_str_eq(key_text, "k:hmac-sha256:3:1=2,2=1,");
    close_service();
    open_service();
    fixture_run_until(ready);
    ck_assert_err(mac("k", "abc"), KD_OK);
    ck_assert_uint_eq(results[0].version, 2);
    ck_assert_str_eq(last_out, "cba");
    ck_assert_err(set_state("k", 0, false), KD_OK);
    ck_assert_err(mac("k", "abc"), KD_ERR_VERSION_DISABLED);
    ck_assert_err(set_state("k", 0, true), KD_OK);
    ck_assert_str_eq(key_text, "k:hmac-sha256:3:1=1,2=1,");
    ck_assert_err(delete_key("k"), KD_OK);
    ck_assert_uint_eq(fixture_count("request destroy"), 2);
    ck_assert_err(mac("k", "abc"), KD_ERR_NO_KEY);
    ck_assert_err(create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK); // the name is free
}
END_TEST

START_TEST(second_change_at_once_is_refused) {
    start("start ok\n");
    const struct kd_caller c = caller_of(7);
    const struct kd_key_spec spec = { .name = "k",
                                      .type = KD_KEY_AES_256,
                                      .usages = KD_USE_ENCRYPT };
    ck_assert_err(kd_service_key_create(s, &c, &spec, on_key, NULL), KD_OK);
    ck_assert_uint_eq(kd_service_pending(s), 1);
    ck_assert_err(kd_service_key_create(s, &c, &spec, on_key, NULL), KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(kd_service_key_delete(s, &c, "k", on_key, NULL), KD_ERR_CHANGE_UNDER_WAY);
    const struct kd_key *key;
    ck_assert_err(kd_service_key(s, &c, "k", &key), KD_ERR_NO_KEY); // not shown yet
    ck_assert_err(wait_for(KD_OK), KD_OK);
    ck_assert_uint_eq(kd_service_pending(s), 0);
    ck_assert_err(kd_service_key_rotate(s, &c, "k", on_key, NULL), KD_OK);
    ck_assert_err(kd_service_key_rotate(s, &c, "k", on_key, NULL), KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(kd_service_key_delete(s, &c, "k", on_key, NULL), KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(wait_for(KD_OK), KD_OK);
}
END_TEST

START_TEST(key_that_the_token_refuses_leaves_nothing) {
    start("on generate error token-full\n");
    ck_assert_err(create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_TOKEN_FULL);
    const struct kd_caller c = caller_of(7);
    const struct kd_key *key;
    ck_assert_err(kd_service_key(s, &c, "k", &key), KD_ERR_NO_KEY);
    close_service();
    fixture_script("start ok\n");
    open_service();
    fixture_run_until(ready);
    ck_assert_err(create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
}
END_TEST

static bool key_is_there(void) {
    const struct kd_caller c = caller_of(7);
    const struct kd_key *key;
    return kd_service_key(s, &c, "k", &key) == KD_OK;
}

static bool name_is_free(void) {
    const struct kd_caller c = caller_of(7);
    return kd_service_key_delete(s, &c, "k", on_key, NULL) == KD_ERR_NO_KEY;
}

START_TEST(key_that_was_made_before_the_worker_died_is_found_again) {
    start("once\non generate made-then-die\n");
    const enum kd_err r = create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT);
    ck_assert_msg(r == KD_OK || r == KD_ERR_TOKEN_AWAY, "%s", kd_err_name(r));
    fixture_run_until(key_is_there);
    ck_assert_uint_eq(fixture_count("request generate"), 1);
}
END_TEST

START_TEST(key_that_was_not_made_before_the_worker_died_is_forgotten) {
    start("once\non generate die\n");
    ck_assert_err(create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_TOKEN_AWAY);
    fixture_run_until(name_is_free);
    ck_assert_err(create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
}
END_TEST

START_TEST(delete_that_was_cut_off_goes_on) {
    start("once\non destroy die\n");
    ck_assert_err(create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    ck_assert_err(delete_key("k"), KD_ERR_TOKEN_AWAY);
    ck_assert_err(mac("k", "x"), KD_ERR_VERSION_DISABLED);
    ck_assert_err(set_state("k", 0, true), KD_ERR_CHANGE_UNDER_WAY);
    fixture_run_until(name_is_free);
}
END_TEST

START_TEST(adopted_key_is_only_forgotten) {
    start("start ok\n");
    const struct kd_caller c = caller_of(7);
    ck_assert_err(wait_for(kd_service_key_adopt(s, &c, "a", "pkcs11:id=%41", on_key, NULL)),
                  KD_ERR_NO_OBJECT);
    ck_assert_err(kd_service_key_adopt(s, &c, "a", "pkcs11:id=%41?pin-value=1", on_key, NULL),
                  KD_ERR_BAD_URI);
    ck_assert_err(kd_service_key_adopt(s, &c, "a", "file:x", on_key, NULL), KD_ERR_BAD_URI);
    fixture_file("script.object-41", "3 3 old\n");
    fixture_file("script.object-42", "1 17 both\n");
    ck_assert_err(wait_for(kd_service_key_adopt(s, &c, "a", "pkcs11:id=%41", on_key, NULL)), KD_OK);
    ck_assert_str_eq(key_text, "a:hmac-sha256:3:1=1,");
    // The same object under a name with other rights: no.
    ck_assert_err(wait_for(kd_service_key_adopt(s, &c, "b", "pkcs11:id=%41", on_key, NULL)),
                  KD_ERR_KEY_EXISTS);
    ck_assert_err(mac("a", "ab"), KD_OK);
    ck_assert_err(delete_key("a"), KD_OK);
    ck_assert_uint_eq(fixture_count("request destroy"), 0);
    ck_assert_int_eq(access(fixture_path("script.object-41"), F_OK), 0);
}
END_TEST

static struct kd_bytes new_point(uint8_t out[static 97]) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    size_t n = 0;
    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, out, 97, &n), 1);
    EVP_PKEY_free(key);
    return (struct kd_bytes) { out, n };
}

START_TEST(imported_key_verifies_and_nothing_else) {
    start("start ok\n");
    uint8_t p[97];
    const struct kd_bytes point = new_point(p);
    const struct kd_caller c = caller_of(7);
    const struct kd_bytes cut = { p, 64 };
    ck_assert_err(
        kd_service_key_import(s, &c, "i", KD_KEY_EC_P256, cut, KD_BYTES_NONE, on_key, NULL),
        KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(wait_for(kd_service_key_import(s, &c, "i", KD_KEY_EC_P256, point, KD_BYTES_NONE,
                                                 on_key, NULL)),
                  KD_OK);
    const uint8_t which = 0;
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("d"), .tag = { &which, 1 } };
    ck_assert_err(
        work_on((struct kd_work) { .operation = KD_OPERATION_VERIFY, .key = "i" }, &item, 1),
        KD_OK);
    ck_assert(results[0].ok);
    ck_assert_err(
        work_on((struct kd_work) { .operation = KD_OPERATION_SIGN, .key = "i" }, &item, 1),
        KD_ERR_PUBLIC_ONLY);
    ck_assert_err(rotate("i"), KD_ERR_PUBLIC_ONLY);
    const struct kd_derivation d = { .key = "i", .peer = point, .type = KD_KEY_AES_256 };
    ck_assert_err(derive(&d, 1), KD_ERR_PUBLIC_ONLY);
    ck_assert_err(delete_key("i"), KD_OK);
    ck_assert_uint_eq(fixture_count("request destroy"), 0);
}
END_TEST

// ---- operations ------------------------------------------------------------

START_TEST(operations_that_do_not_fit_are_refused) {
    start("start ok\n");
    static const uint8_t bytes[64];
    const struct kd_hsm_item item = { .data = { bytes, 33 }, .iv = { bytes, 12 } };
    ck_assert_err(create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_VERIFY), KD_OK);
    ck_assert_err(create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT), KD_OK);
    ck_assert_err(create(7, "e", KD_KEY_EC_P384, KD_USE_SIGN), KD_OK);
    ck_assert_err(mac("none", "x"), KD_ERR_NO_KEY);
    ck_assert_err(mac("h", "x"), KD_ERR_KEY_USAGE);
    ck_assert_err(mac("a", "x"), KD_ERR_KEY_TYPE);
    ck_assert_err(mac("e", "x"), KD_ERR_KEY_TYPE);
    struct kd_work w = { .operation = KD_OPERATION_SIGN, .key = "e", .prehashed = true };
    ck_assert_err(work_on(w, &item, 1), KD_ERR_FIELD_INVALID); // P-384: 48 bytes
    w.prehashed = false;
    ck_assert_err(work_on(w, &item, 0), KD_ERR_BATCH_EMPTY);
    ck_assert_err(work_on(w, &item, KD_HSM_BATCH_MAX_ITEMS + 1), KD_ERR_BATCH_TOO_LARGE);
    w.version = 2;
    ck_assert_err(work_on(w, &item, 1), KD_ERR_NO_VERSION);
    const struct kd_hsm_item short_iv = { .data = { bytes, 33 }, .iv = { bytes, 11 } };
    w = (struct kd_work) { .operation = KD_OPERATION_DECRYPT, .key = "a" };
    ck_assert_err(work_on(w, &short_iv, 1), KD_ERR_FIELD_INVALID);
    ck_assert_err(work_on(w, &item, 1), KD_OK);
    const struct kd_hsm_item big = { .data = { bytes, 4u << 20 } };
    w.operation = KD_OPERATION_ENCRYPT;
    ck_assert_err(work_on(w, &big, 1), KD_ERR_ITEM_TOO_LARGE);
    const struct kd_hsm_item amounts[] = { { .n = 0 }, { .n = 4097 }, { .n = 4096 }, { .n = 1 } };
    w = (struct kd_work) { .operation = KD_OPERATION_RANDOM };
    ck_assert_err(work_on(w, &amounts[0], 1), KD_ERR_FIELD_INVALID);
    ck_assert_err(work_on(w, &amounts[1], 1), KD_ERR_FIELD_INVALID);
    ck_assert_err(work_on(w, &amounts[2], 2), KD_OK);
    ck_assert_uint_eq(n_results, 2);
    w = (struct kd_work) { .operation = KD_OPERATION_MAC, .secret = "AAAAAAAAAAAAAAAAAAAAAA" };
    ck_assert_err(work_on(w, &item, 1), KD_ERR_NO_SECRET);
}
END_TEST

START_TEST(verify_tries_the_newest_first_and_says_which) {
    start("start ok\n");
    ck_assert_err(create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN | KD_USE_VERIFY), KD_OK);
    ck_assert_err(rotate("h"), KD_OK);
    ck_assert_err(rotate("h"), KD_OK);
    ck_assert_err(set_state("h", 2, false), KD_OK);
    // The fake's tag says which of the keys verifies.
    const uint8_t tags[] = { 0, 1, 2 };
    const struct kd_work w = { .operation = KD_OPERATION_MAC_VERIFY, .key = "h" };
    struct kd_hsm_item items[] = { { .tag = { &tags[0], 1 } },
                                   { .tag = { &tags[1], 1 } },
                                   { .tag = KD_BYTES_NONE } };
    ck_assert_err(work_on(w, items, 3), KD_OK);
    ck_assert(results[0].ok && results[1].ok && !results[2].ok);
    ck_assert_uint_eq(results[0].version, 3);
    ck_assert_uint_eq(results[1].version, 1);
    ck_assert_uint_eq(results[2].version, 0);
    const struct kd_hsm_item beyond = { .tag = { &tags[2], 1 } }; // there are two keys
    ck_assert_err(work_on(w, &beyond, 1), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(error_of_the_token_comes_with_its_detail) {
    start("on mac error token\n");
    ck_assert_err(create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    ck_assert_err(mac("h", "x"), KD_ERR_TOKEN);
    ck_assert_str_eq(last_detail, "as the script says");
}
END_TEST

START_TEST(stopping_refuses_the_new_and_finishes_the_old) {
    start("start ok\n");
    ck_assert_err(create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    const struct kd_caller c = caller_of(7);
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("ab") };
    const struct kd_work w = {
        .operation = KD_OPERATION_MAC, .key = "h", .n_items = 1, .items = &item
    };
    ck_assert_err(kd_service_work(s, &c, &w, on_work, NULL), KD_OK);
    kd_service_stop(s);
    ck_assert_err(kd_service_work(s, &c, &w, on_work, NULL), KD_ERR_STOPPING);
    ck_assert_uint_eq(kd_service_pending(s), 1);
    ck_assert_err(wait_for(KD_OK), KD_OK);
    ck_assert_uint_eq(kd_service_pending(s), 0);
}
END_TEST

START_TEST(closing_answers_what_is_under_way) {
    start("on mac hang\n");
    ck_assert_err(create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    const struct kd_caller c = caller_of(7);
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("ab") };
    const struct kd_work w = {
        .operation = KD_OPERATION_MAC, .key = "h", .n_items = 1, .items = &item
    };
    ck_assert_err(kd_service_work(s, &c, &w, on_work, NULL), KD_OK);
    kd_service_close(s);
    s = NULL;
    ck_assert(is_done);
    ck_assert_err(last_err, KD_ERR_STOPPING);
}
END_TEST

// ---- secrets ---------------------------------------------------------------

static void make_keys(void) {
    ck_assert_err(create(7, "ec", KD_KEY_EC_P256, KD_USE_DERIVE), KD_OK);
    ck_assert_err(create(7, "aes", KD_KEY_AES_256, KD_USE_DERIVE), KD_OK);
    ck_assert_err(create(7, "hmac", KD_KEY_HMAC_SHA256, KD_USE_DERIVE), KD_OK);
    ck_assert_err(create(7, "sign", KD_KEY_EC_P256, KD_USE_SIGN), KD_OK);
}

START_TEST(derivations_that_do_not_fit_are_refused) {
    start("start ok\n");
    make_keys();
    uint8_t p[97];
    const struct kd_bytes peer = new_point(p);
    static const uint8_t long_info[KD_HSM_INFO_MAX_BYTES + 1];
    const struct kd_bytes cut = { p, 64 };
    const struct {
        struct kd_derivation d;
        enum kd_err err;
    } rows[] = {
        { { .key = "none", .peer = peer, .type = KD_KEY_AES_256 }, KD_ERR_NO_KEY },
        { { .key = "sign", .peer = peer, .type = KD_KEY_AES_256 }, KD_ERR_KEY_USAGE },
        { { .key = "ec", .type = KD_KEY_AES_256 }, KD_ERR_FIELD_MISSING },
        { { .key = "ec", .peer = cut, .type = KD_KEY_AES_256 }, KD_ERR_BAD_POINT },
        { { .key = "aes", .peer = peer, .type = KD_KEY_AES_256 }, KD_ERR_KEY_TYPE },
        { { .key = "aes", .type = KD_KEY_AES_256 }, KD_ERR_FIELD_MISSING }, // no kdf
        { { .key = "ec", .peer = peer, .type = KD_KEY_EC_P256 }, KD_ERR_KEY_TYPE },
        { { .key = "ec", .peer = peer, .type = KD_KEY_HMAC_SHA384 }, KD_ERR_FIELD_INVALID },
        { { .key = "ec", .peer = peer, .version = 2, .type = KD_KEY_AES_256 }, KD_ERR_NO_VERSION },
        { { .key = "ec", .peer = peer, .type = KD_KEY_AES_256, .lifetime_sec = 86401 },
          KD_ERR_FIELD_INVALID },
        { { .key = "hmac", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_AES_256 },
          KD_ERR_KEY_TYPE },
        { { .key = "aes", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_HMAC_SHA384 },
          KD_ERR_FIELD_INVALID },
        { { .key = "aes",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .type = KD_KEY_AES_256,
            .info = { long_info, sizeof(long_info) } },
          KD_ERR_ITEM_TOO_LARGE },
        { { .key = "aes",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .type = KD_KEY_AES_256,
            .salt = { long_info, sizeof(long_info) } },
          KD_ERR_ITEM_TOO_LARGE },
        { { .key = "aes",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .release = true,
            .out_len = 15 },
          KD_ERR_FIELD_INVALID },
        { { .key = "aes",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .release = true,
            .out_len = 256 },
          KD_ERR_FIELD_INVALID },
        { { .secret = "AAAAAAAAAAAAAAAAAAAAAA",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .type = KD_KEY_AES_256 },
          KD_ERR_NO_SECRET },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        const enum kd_err r = derive(&rows[i].d, 1);
        ck_assert_msg(r == rows[i].err, "row %zu: %s", i, kd_err_name(r));
    }
    struct kd_service_report report;
    kd_service_report(s, &report);
    ck_assert_uint_eq(report.n_secrets, 0);
}
END_TEST

START_TEST(secret_is_its_makers_and_dies_with_its_key) {
    start("start ok\n");
    make_keys();
    uint8_t p[97];
    const struct kd_derivation d = { .key = "ec",
                                     .peer = new_point(p),
                                     .has_kdf = true,
                                     .kdf = KD_KDF_HKDF_SHA256,
                                     .type = KD_KEY_AES_256 };
    ck_assert_err(derive(&d, 1), KD_OK);
    char id[KD_SECRET_ID_TEXT_BYTES];
    memcpy(id, derived[0].secret, sizeof(id));
    ck_assert_str_eq(derived[0].residence, "worker"); // the fake has no HKDF of its own
    const struct kd_caller app = caller_of(7);
    const struct kd_caller reader = caller_of(8);
    struct kd_secret_info info;
    ck_assert_err(kd_service_secret(s, &reader, id, &info), KD_ERR_NO_SECRET);
    ck_assert_err(kd_service_secret_delete(s, &reader, id), KD_ERR_NO_SECRET);
    ck_assert_uint_eq(kd_service_secrets(s, &reader, NULL, &info, 1), 0);
    ck_assert_err(kd_service_secret(s, &app, id, &info), KD_OK);
    ck_assert_str_eq(info.key, "ec");
    ck_assert_uint_eq(info.expires_ms - info.created_ms, 3600000);
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("plain") };
    struct kd_work w = { .operation = KD_OPERATION_ENCRYPT, .secret = id };
    ck_assert_err(work_on(w, &item, 1), KD_OK);
    ck_assert_uint_eq(results[0].version, 0);
    w.operation = KD_OPERATION_MAC;
    ck_assert_err(work_on(w, &item, 1), KD_ERR_KEY_TYPE);
    ck_assert_err(set_state("ec", 1, false), KD_OK);
    w.operation = KD_OPERATION_ENCRYPT;
    ck_assert_err(work_on(w, &item, 1), KD_ERR_VERSION_DISABLED);
    ck_assert_err(set_state("ec", 1, true), KD_OK);
    ck_assert_err(work_on(w, &item, 1), KD_OK);
    ck_assert_err(delete_key("ec"), KD_OK);
    ck_assert_err(work_on(w, &item, 1), KD_ERR_NO_SECRET);
}
END_TEST

START_TEST(steps_add_up_to_their_limit) {
    start("start ok\n");
    make_keys();
    char id[KD_SECRET_ID_TEXT_BYTES] = "";
    struct kd_derivation d = {
        .key = "aes", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_AES_256
    };
    for (unsigned i = 0; i < KD_HSM_STEPS_MAX; i++) {
        ck_assert_err(derive(&d, 1), KD_OK);
        ck_assert_str_eq(derived[0].residence, "token");
        memcpy(id, derived[0].secret, sizeof(id));
        d.key = NULL;
        d.secret = id;
    }
    ck_assert_err(derive(&d, 1), KD_ERR_TOO_MANY);
}
END_TEST

START_TEST(batch_keeps_releases_and_refuses_side_by_side) {
    start("start ok\n");
    make_keys();
    const struct kd_derivation items[] = {
        { .key = "aes", .has_kdf = true, .kdf = KD_KDF_HKDF_SHA256, .type = KD_KEY_HMAC_SHA384 },
        { .key = "none", .has_kdf = true, .kdf = KD_KDF_HKDF_SHA256, .type = KD_KEY_AES_256 },
        { .key = "aes",
          .has_kdf = true,
          .kdf = KD_KDF_HKDF_SHA256,
          .release = true,
          .out_len = 20 },
    };
    ck_assert_err(derive(items, 3), KD_OK);
    ck_assert_uint_eq(n_derived, 3);
    ck_assert_err(derived[0].err, KD_OK);
    ck_assert_err(derived[1].err, KD_ERR_NO_KEY);
    ck_assert_err(derived[2].err, KD_OK);
    ck_assert_uint_eq(released_bytes, 20);
    ck_assert_str_eq(derived[2].secret, "");
    ck_assert_str_ne(derived[0].secret, "");
}
END_TEST

START_TEST(derivation_that_fails_in_the_token_leaves_no_secret) {
    start("on derive error token\n");
    make_keys();
    const struct kd_derivation d = {
        .key = "aes", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_AES_256
    };
    ck_assert_err(derive(&d, 1), KD_ERR_TOKEN);
    struct kd_service_report report;
    kd_service_report(s, &report);
    ck_assert_uint_eq(report.n_secrets, 0);
    ck_assert_uint_eq(kd_service_pending(s), 0);
}
END_TEST

START_TEST(metrics_name_what_was_promised) {
    start("start ok\n");
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(1 << 20);
    kd_service_metrics(s, &out);
    static const char *const names[] = { "keyd_token_operations_total",
                                         "keyd_token_operation_seconds_bucket",
                                         "keyd_worker_restarts_total{worker=\"0\"} 0",
                                         "keyd_worker_in_flight{worker=\"0\"} 0",
                                         "keyd_queue_length 0",
                                         "keyd_keys 0",
                                         "keyd_secrets 0" };
    for (size_t i = 0; i < KD_COUNT_OF(names); i++) {
        ck_assert_msg(strstr(kd_buf_get_text(&out), names[i]) != NULL, "%s", names[i]);
    }
}
END_TEST

static TCase *tcase_keys(void) {
    TCase *t = tcase_create("keys");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, unknown_callers_and_forbidden_things_are_refused);
    tcase_add_test(t, broken_new_policy_keeps_the_old_one_and_says_why);
    tcase_add_test(t, policy_or_store_that_cannot_be_used_stops_the_start);
    tcase_add_test(t, keys_that_cannot_be_are_refused);
    tcase_add_test(t, life_of_a_key_survives_a_restart);
    tcase_add_test(t, second_change_at_once_is_refused);
    tcase_add_test(t, key_that_the_token_refuses_leaves_nothing);
    tcase_add_test(t, key_that_was_made_before_the_worker_died_is_found_again);
    tcase_add_test(t, key_that_was_not_made_before_the_worker_died_is_forgotten);
    tcase_add_test(t, delete_that_was_cut_off_goes_on);
    tcase_add_test(t, adopted_key_is_only_forgotten);
    tcase_add_test(t, imported_key_verifies_and_nothing_else);
    return t;
}

static TCase *tcase_operations(void) {
    TCase *t = tcase_create("operations");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, operations_that_do_not_fit_are_refused);
    tcase_add_test(t, verify_tries_the_newest_first_and_says_which);
    tcase_add_test(t, error_of_the_token_comes_with_its_detail);
    tcase_add_test(t, stopping_refuses_the_new_and_finishes_the_old);
    tcase_add_test(t, closing_answers_what_is_under_way);
    tcase_add_test(t, derivations_that_do_not_fit_are_refused);
    tcase_add_test(t, secret_is_its_makers_and_dies_with_its_key);
    tcase_add_test(t, steps_add_up_to_their_limit);
    tcase_add_test(t, batch_keeps_releases_and_refuses_side_by_side);
    tcase_add_test(t, derivation_that_fails_in_the_token_leaves_no_secret);
    tcase_add_test(t, metrics_name_what_was_promised);
    return t;
}

UNIT_MAIN("service", tcase_keys(), tcase_operations())
