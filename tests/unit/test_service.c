// SPDX-License-Identifier: Apache-2.0
// The service on the fake worker: callers, and the lives of keys.
#include "keyd/state.h"
#include "tests/unit/service_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

// ---- callers ---------------------------------------------------------------

START_TEST(unknown_callers_and_forbidden_things_are_refused) {
    service_start("start ok\n");
    struct kd_caller c;
    const struct kd_credential stranger = { .has_peer = true, .uid = 99, .gid = 99 };
    ck_assert_err(kd_service_identify(sx.service, &stranger, &c), KD_ERR_UNAUTHENTICATED);
    ck_assert_err(service_create(8, "r-a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_DENIED);
    ck_assert_err(service_create(7, "r-a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    ck_assert_err(service_create(7, "x", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    const struct kd_caller reader = service_caller_of(8);
    const struct kd_key *key = NULL;
    ck_assert_err(kd_service_key(sx.service, &reader, "x", &key), KD_ERR_DENIED);
    ck_assert_err(kd_service_key(sx.service, &reader, "not-there", &key),
                  KD_ERR_DENIED); // the same
    ck_assert_err(kd_service_key(sx.service, &reader, "r-b", &key), KD_ERR_NO_KEY);
    ck_assert_err(kd_service_key(sx.service, &reader, "r-a", &key), KD_OK);
    const struct kd_key *list[4];
    ck_assert_uint_eq(kd_service_keys(sx.service, &reader, NULL, list, 4), 1);
    const struct kd_caller app = service_caller_of(7);
    ck_assert_uint_eq(kd_service_keys(sx.service, &app, NULL, list, 4), 2);
    ck_assert_uint_eq(kd_service_keys(sx.service, &app, "r-a", list, 4), 1);
    ck_assert_uint_eq(kd_service_keys(sx.service, &app, NULL, list, 1), 1);
    const struct kd_work w = { .operation = KD_OPERATION_ENCRYPT, .key = "not-there" };
    ck_assert_err(kd_service_work(sx.service, &reader, &w, service_on_work, NULL), KD_ERR_DENIED);
}
END_TEST

START_TEST(broken_new_policy_keeps_the_old_one_and_says_why) {
    service_start("start ok\n");
    struct kd_service_report r;
    fixture_file("policy", "principal \"app\" { uid = 7 }\nallow \"app\" { operations = {fly} }\n");
    kd_log_set_level(KD_LOG_ERROR);
    kd_service_reload(sx.service);
    kd_service_report(sx.service, &r);
    ck_assert_ptr_nonnull(strstr(r.policy_error, "policy:2: "));
    ck_assert_ptr_nonnull(strstr(r.policy_error, "fly"));
    ck_assert_err(service_create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    fixture_file("policy", "principal \"app\" { uid = 7 }\n");
    kd_service_reload(sx.service);
    kd_service_report(sx.service, &r);
    ck_assert_str_eq(r.policy_error, "");
    ck_assert_err(service_create(7, "b", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_DENIED);
}
END_TEST

START_TEST(policy_or_store_that_cannot_be_used_stops_the_start) {
    fixture_file("policy", "garbage");
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_err(kd_service_open(fx.loop, fx.config, &sx.service), KD_ERR_CONFIG);
    ck_assert_ptr_null(sx.service);
    fixture_file("policy", "");
    fixture_file("state", "a file where a directory should be");
    ck_assert_err(kd_service_open(fx.loop, fx.config, &sx.service), KD_ERR_STORE);
    ck_assert_ptr_null(sx.service);
}
END_TEST

// ---- keys ------------------------------------------------------------------

START_TEST(keys_that_cannot_be_are_refused) {
    service_start("start ok\n");
    ck_assert_err(service_create(7, "", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_BAD_NAME);
    ck_assert_err(service_create(7, "a/b", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_BAD_NAME);
    ck_assert_err(service_create(7, "a", (enum kd_key_type)0, KD_USE_ENCRYPT),
                  KD_ERR_FIELD_INVALID);
    ck_assert_err(service_create(7, "a", (enum kd_key_type)99, KD_USE_ENCRYPT),
                  KD_ERR_FIELD_INVALID);
    ck_assert_err(service_create(7, "a", KD_KEY_AES_256, 0), KD_ERR_KEY_USAGE);
    ck_assert_err(service_create(7, "a", KD_KEY_AES_256, KD_USE_SIGN), KD_ERR_KEY_USAGE);
    ck_assert_err(service_create(7, "a", KD_KEY_EC_P256, KD_USE_SIGN | KD_USE_DERIVE),
                  KD_ERR_KEY_USAGE);
    ck_assert_err(service_create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    ck_assert_err(service_create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_KEY_EXISTS);
    ck_assert_err(service_rotate("b"), KD_ERR_NO_KEY);
    ck_assert_err(service_set_state("a", 2, false), KD_ERR_NO_VERSION);
    ck_assert_err(service_delete("b"), KD_ERR_NO_KEY);
}
END_TEST

START_TEST(life_of_a_key_survives_a_restart) {
    service_start("start ok\n");
    ck_assert_err(service_create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN | KD_USE_VERIFY), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,");
    ck_assert_err(service_rotate("k"), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,2=1,");
    ck_assert_err(service_set_state("k", 1, false), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=2,2=1,");
    service_reset();
    service_open();
    fixture_run_until(service_ready);
    ck_assert_err(service_mac("k", "abc"), KD_OK);
    ck_assert_uint_eq(sx.results[0].version, 2);
    ck_assert_str_eq(sx.last_out, "cba");
    ck_assert_err(service_set_state("k", 0, false), KD_OK);
    ck_assert_err(service_mac("k", "abc"), KD_ERR_VERSION_DISABLED);
    ck_assert_err(service_set_state("k", 0, true), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,2=1,");
    ck_assert_err(service_delete("k"), KD_OK);
    ck_assert_uint_eq(fixture_count("request destroy"), 2);
    ck_assert_err(service_mac("k", "abc"), KD_ERR_NO_KEY);
    ck_assert_err(service_create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN),
                  KD_OK); // the name is free
}
END_TEST

START_TEST(second_change_at_once_is_refused) {
    service_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    const struct kd_key_spec spec = { .name = "k",
                                      .type = KD_KEY_AES_256,
                                      .usages = KD_USE_ENCRYPT };
    ck_assert_err(kd_service_key_create(sx.service, &c, &spec, service_on_key, NULL), KD_OK);
    ck_assert_uint_eq(kd_service_pending(sx.service), 1);
    ck_assert_err(kd_service_key_create(sx.service, &c, &spec, service_on_key, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(kd_service_key_delete(sx.service, &c, "k", service_on_key, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    const struct kd_key *key;
    ck_assert_err(kd_service_key(sx.service, &c, "k", &key), KD_ERR_NO_KEY); // not shown yet
    ck_assert_err(service_wait_for(KD_OK), KD_OK);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
    ck_assert_err(kd_service_key_rotate(sx.service, &c, "k", service_on_key, NULL), KD_OK);
    ck_assert_err(kd_service_key_rotate(sx.service, &c, "k", service_on_key, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(kd_service_key_delete(sx.service, &c, "k", service_on_key, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(service_wait_for(KD_OK), KD_OK);
}
END_TEST

START_TEST(key_that_the_token_refuses_leaves_nothing) {
    service_start("on generate error token-full\n");
    ck_assert_err(service_create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_TOKEN_FULL);
    const struct kd_caller c = service_caller_of(7);
    const struct kd_key *key;
    ck_assert_err(kd_service_key(sx.service, &c, "k", &key), KD_ERR_NO_KEY);
    service_reset();
    fixture_script("start ok\n");
    service_open();
    fixture_run_until(service_ready);
    ck_assert_err(service_create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
}
END_TEST

static bool key_is_there(void) {
    const struct kd_caller c = service_caller_of(7);
    const struct kd_key *key;
    return kd_service_key(sx.service, &c, "k", &key) == KD_OK;
}

static bool key_is_gone(void) {
    return !key_is_there();
}

static bool name_is_free(void) {
    const struct kd_caller c = service_caller_of(7);
    return kd_service_key_delete(sx.service, &c, "k", service_on_key, NULL) == KD_ERR_NO_KEY;
}

START_TEST(key_that_was_made_before_the_worker_died_is_found_again) {
    service_start("once\non generate made-then-die\n");
    const enum kd_err r = service_create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT);
    ck_assert_msg(r == KD_OK || r == KD_ERR_TOKEN_AWAY, "%s", kd_err_name(r));
    fixture_run_until(key_is_there);
    ck_assert_uint_eq(fixture_count("request generate"), 1);
}
END_TEST

START_TEST(key_that_was_not_made_before_the_worker_died_is_forgotten) {
    service_start("once\non generate die\n");
    ck_assert_err(service_create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_ERR_TOKEN_AWAY);
    fixture_run_until(name_is_free);
    ck_assert_err(service_create(7, "k", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
}
END_TEST

START_TEST(delete_that_was_cut_off_goes_on) {
    service_start("once\non destroy die\n");
    ck_assert_err(service_create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    ck_assert_err(service_delete("k"), KD_ERR_TOKEN_AWAY);
    ck_assert_err(service_mac("k", "x"), KD_ERR_VERSION_DISABLED);
    ck_assert_err(service_set_state("k", 0, true), KD_ERR_CHANGE_UNDER_WAY);
    fixture_run_until(key_is_gone);
}
END_TEST

START_TEST(delete_that_the_token_refused_is_tried_again_by_itself) {
    service_start("once\non destroy error token\n");
    ck_assert_err(service_create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    ck_assert_err(service_delete("k"), KD_ERR_TOKEN);
    ck_assert(key_is_there());
    fixture_run_until(key_is_gone); // and no worker was started anew
    ck_assert_uint_eq(fixture_count("request destroy"), 2);
}
END_TEST

START_TEST(many_looks_at_what_was_left_open_do_not_delay_the_next) {
    service_start("once\non destroy error token\n");
    ck_assert_err(service_create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    sx.service->recover_ms = KD_RECOVER_MAX_MS; // as they leave it
    ck_assert_err(service_delete("k"), KD_ERR_TOKEN);
    fixture_run_until(key_is_gone);
}
END_TEST

START_TEST(looks_at_what_was_left_open_are_not_put_off_by_others) {
    service_start("on destroy error token\n");
    ck_assert_err(service_create(7, "j", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    ck_assert_err(service_create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    ck_assert_err(service_delete("k"), KD_ERR_TOKEN);
    unsigned n_asked = 1;
    for (unsigned i = 0; i < 25 && fixture_count("request destroy") == n_asked; i++) {
        usleep(100000);
        n_asked += service_delete("j") == KD_ERR_TOKEN;
    }
    ck_assert_uint_gt(fixture_count("request destroy"), n_asked);
}
END_TEST

START_TEST(adopted_key_is_only_forgotten) {
    service_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(service_wait_for(kd_service_key_adopt(sx.service, &c, "a", "pkcs11:id=%41",
                                                        service_on_key, NULL)),
                  KD_ERR_NO_OBJECT);
    ck_assert_err(kd_service_key_adopt(sx.service, &c, "a", "pkcs11:id=%41?pin-value=1",
                                       service_on_key, NULL),
                  KD_ERR_BAD_URI);
    ck_assert_err(kd_service_key_adopt(sx.service, &c, "a", "file:x", service_on_key, NULL),
                  KD_ERR_BAD_URI);
    fixture_file("script.object-41", "3 3 old\n");
    fixture_file("script.object-42", "1 17 alone\n");
    ck_assert_err(service_wait_for(kd_service_key_adopt(sx.service, &c, "a", "pkcs11:id=%41",
                                                        service_on_key, NULL)),
                  KD_OK);
    ck_assert_str_eq(sx.key_text, "a:hmac-sha256:3:1=1,");
    // Without its public half it could not be proved, and so not be used.
    ck_assert_err(service_wait_for(kd_service_key_adopt(sx.service, &c, "b", "pkcs11:id=%42",
                                                        service_on_key, NULL)),
                  KD_ERR_OBJECT_UNFIT);
    // The same object under a name with other rights: no.
    ck_assert_err(service_wait_for(kd_service_key_adopt(sx.service, &c, "b", "pkcs11:id=%41",
                                                        service_on_key, NULL)),
                  KD_ERR_KEY_EXISTS);
    ck_assert_err(service_mac("a", "ab"), KD_OK);
    ck_assert_err(service_delete("a"), KD_OK);
    ck_assert_uint_eq(fixture_count("request destroy"), 0);
    ck_assert_int_eq(access(fixture_path("script.object-41"), F_OK), 0);
}
END_TEST

static enum kd_err rotate_to(const char *name, const char *uri) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(
        kd_service_key_rotate_to(sx.service, &c, name, uri, service_on_key, NULL));
}

// 41 and 42 are fit, 43 is of another type, 44 has not all usages.
START_TEST(version_that_is_adopted_is_like_the_key_and_stays_in_the_token) {
    service_start("start ok\n");
    fixture_file("script.object-41", "3 3 made elsewhere\n");
    fixture_file("script.object-42", "3 7 made elsewhere, may do more\n");
    fixture_file("script.object-43", "4 3 of another type\n");
    fixture_file("script.object-44", "3 1 signs only\n");
    ck_assert_err(rotate_to("k", "pkcs11:id=%41"), KD_ERR_NO_KEY);
    ck_assert_err(service_create(7, "k", KD_KEY_HMAC_SHA256, KD_USE_SIGN | KD_USE_VERIFY), KD_OK);
    ck_assert_err(rotate_to("k", "file:x"), KD_ERR_BAD_URI);
    ck_assert_err(rotate_to("k", "pkcs11:id=%41?pin-value=1"), KD_ERR_BAD_URI);
    ck_assert_err(rotate_to("k", "pkcs11:id=%45"), KD_ERR_NO_OBJECT);
    ck_assert_err(rotate_to("k", "pkcs11:id=%43"), KD_ERR_OBJECT_UNFIT);
    ck_assert_err(rotate_to("k", "pkcs11:id=%44"), KD_ERR_OBJECT_UNFIT);
    ck_assert_err(service_set_state("k", 2, false), KD_ERR_NO_VERSION); // none of them left any
    ck_assert_err(rotate_to("k", "pkcs11:id=%41"), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,2=1,");
    ck_assert_err(rotate_to("k", "pkcs11:id=%41"), KD_ERR_KEY_EXISTS);
    ck_assert_err(rotate_to("k", "pkcs11:id=%42"), KD_OK);
    ck_assert_err(service_rotate("k"), KD_OK);
    service_reset();
    service_open();
    fixture_run_until(service_ready);
    ck_assert_err(service_set_state("k", 4, false), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,2=1,3=1,4=2,");
    ck_assert_err(service_mac("k", "abc"), KD_OK);
    ck_assert_uint_eq(sx.results[0].version, 3);
    ck_assert_err(service_delete("k"), KD_OK);
    ck_assert_uint_eq(fixture_count("request destroy"), 2); // 1 and 4
    ck_assert_int_eq(access(fixture_path("script.object-41"), F_OK), 0);
    ck_assert_int_eq(access(fixture_path("script.object-42"), F_OK), 0);
}
END_TEST

START_TEST(imported_key_verifies_and_nothing_else) {
    service_start("start ok\n");
    uint8_t p[97];
    const struct kd_bytes point = service_point(p);
    const struct kd_caller c = service_caller_of(7);
    const struct kd_bytes cut = { p, 64 };
    ck_assert_err(kd_service_key_import(sx.service, &c, "i", KD_KEY_EC_P256, cut, KD_BYTES_NONE,
                                        service_on_key, NULL),
                  KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(service_wait_for(kd_service_key_import(sx.service, &c, "i", KD_KEY_EC_P256, point,
                                                         KD_BYTES_NONE, service_on_key, NULL)),
                  KD_OK);
    const uint8_t which = 0;
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("d"), .tag = { &which, 1 } };
    ck_assert_err(
        service_work((struct kd_work) { .operation = KD_OPERATION_VERIFY, .key = "i" }, &item, 1),
        KD_OK);
    ck_assert(sx.results[0].ok);
    ck_assert_err(
        service_work((struct kd_work) { .operation = KD_OPERATION_SIGN, .key = "i" }, &item, 1),
        KD_ERR_PUBLIC_ONLY);
    ck_assert_err(service_rotate("i"), KD_ERR_PUBLIC_ONLY);
    ck_assert_err(rotate_to("i", "pkcs11:id=%41"), KD_ERR_PUBLIC_ONLY);
    const struct kd_derivation d = { .key = "i", .peer = point, .type = KD_KEY_AES_256 };
    ck_assert_err(service_derive(&d, 1), KD_ERR_PUBLIC_ONLY);
    ck_assert_err(service_delete("i"), KD_OK);
    ck_assert_uint_eq(fixture_count("request destroy"), 0);
}
END_TEST

static TCase *tcase_keys(void) {
    TCase *t = tcase_create("keys");
    tcase_add_checked_fixture(t, service_setup, service_teardown);
    tcase_set_timeout(t, 60);
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
    tcase_add_test(t, delete_that_the_token_refused_is_tried_again_by_itself);
    tcase_add_test(t, many_looks_at_what_was_left_open_do_not_delay_the_next);
    tcase_add_test(t, looks_at_what_was_left_open_are_not_put_off_by_others);
    tcase_add_test(t, adopted_key_is_only_forgotten);
    tcase_add_test(t, version_that_is_adopted_is_like_the_key_and_stays_in_the_token);
    tcase_add_test(t, imported_key_verifies_and_nothing_else);
    return t;
}

UNIT_MAIN("service", tcase_keys())
