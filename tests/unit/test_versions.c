// SPDX-License-Identifier: Apache-2.0
// One version of a key is destroyed: which may go, what goes with it, and that it comes to its end
// whatever happens in between.
#include "keyd/state.h"
#include "tests/unit/channel_fixture.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SIGNS = KD_USE_SIGN | KD_USE_VERIFY };

// The key "k", an HMAC key with this many versions.
static void make(unsigned n_versions) {
    ck_assert_err(service_create(7, "k", KD_KEY_HMAC_SHA256, SIGNS), KD_OK);
    for (unsigned n = 1; n < n_versions; n++) {
        ck_assert_err(service_rotate("k"), KD_OK);
    }
}

static void restart(const char *script) {
    service_reset();
    fixture_script(script);
    service_open();
    fixture_run_until(service_ready);
}

// Those that keyd has made have ids of 16 bytes.
static size_t objects(void) {
    char pattern[160];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/script.object-????????????????????????????????",
             fx.directory);
    const size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return n;
}

// KD_VERSION_PENDING: there is none of this number.
static enum kd_version_state state_of(uint32_t number) {
    const struct kd_entry *e = kd_registry_get(&sx.service->registry, "k");
    const struct kd_key_version *v = e == NULL ? NULL : kd_entry_version(e, number);
    return v == NULL ? KD_VERSION_PENDING : v->state;
}

static bool first_is_gone(void) {
    return state_of(1) == KD_VERSION_PENDING;
}

static bool second_is_gone(void) {
    return state_of(2) == KD_VERSION_PENDING;
}

static bool is_idle(void) {
    return kd_registry_get(&sx.service->registry, "k")->change == NULL;
}

// ---- which may go ----------------------------------------------------------

START_TEST(version_that_the_key_needs_is_not_deleted) {
    uint8_t room[97];
    const struct kd_bytes point = service_point(room);
    service_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    const struct kd_caller reader = service_caller_of(8);
    ck_assert_err(service_delete_version("k", 1), KD_ERR_NO_KEY);
    make(1);
    ck_assert_err(kd_service_key_delete_version(sx.service, &reader, "k", 1, service_on_key, NULL),
                  KD_ERR_DENIED);
    ck_assert_err(service_delete_version("k", 1), KD_ERR_VERSION_PRIMARY); // the last
    ck_assert_err(service_set_state("k", 1, false), KD_OK);
    ck_assert_err(service_delete_version("k", 1), KD_ERR_VERSION_PRIMARY); // disabled, too
    ck_assert_err(service_rotate("k"), KD_OK);
    ck_assert_err(service_delete_version("k", 0), KD_ERR_NO_VERSION);
    ck_assert_err(service_delete_version("k", 3), KD_ERR_NO_VERSION);
    ck_assert_err(service_delete_version("k", 2), KD_ERR_VERSION_PRIMARY);
    ck_assert_err(service_wait_for(kd_service_key_import(sx.service, &c, "i", KD_KEY_EC_P256, point,
                                                         KD_BYTES_NONE, service_on_key, NULL)),
                  KD_OK);
    ck_assert_err(service_delete_version("i", 1), KD_ERR_VERSION_PRIMARY);
    ck_assert_uint_eq(fixture_count("request destroy"), 0);
    ck_assert_uint_eq(objects(), 2);
}
END_TEST

START_TEST(second_change_at_once_is_refused) {
    service_start("start ok\n");
    make(3);
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(kd_service_key_delete_version(sx.service, &c, "k", 1, service_on_key, NULL),
                  KD_OK);
    ck_assert_err(kd_service_key_delete_version(sx.service, &c, "k", 2, service_on_key, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(kd_service_key_rotate(sx.service, &c, "k", service_on_key, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(service_wait_for(KD_OK), KD_OK);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}
END_TEST

START_TEST(without_a_worker_nothing_is_begun) {
    service_start("start ok\n");
    make(2);
    service_reset();
    fixture_script("start no-token\n");
    service_open();
    ck_assert_err(service_delete_version("k", 1), KD_ERR_TOKEN_AWAY);
    ck_assert_int_eq(state_of(1), KD_VERSION_ENABLED);
}
END_TEST

// The fake's keys of P-256 are all of one point, so its certificate is of each version.
START_TEST(version_that_the_channel_has_a_certificate_of_is_not_deleted) {
    channel_start("start ok\n");
    ck_assert_err(service_rotate("identity"), KD_OK);
    ck_assert_err(service_delete_version("identity", 1), KD_ERR_VERSION_CERTIFIED);
    ck_assert_err(service_delete_version("identity", 2), KD_ERR_VERSION_PRIMARY);
    unlink(fixture_path("identity.pem"));
    kd_service_reload(sx.service); // it cannot be read: who knows which one it is of
    ck_assert_err(service_delete_version("identity", 1), KD_ERR_VERSION_CERTIFIED);
    ck_assert_err(service_rotate("root"), KD_OK);
    ck_assert_err(service_delete_version("root", 1), KD_OK); // reserved, but it has none
}
END_TEST

// What is forgotten could be adopted under another name.
START_TEST(adopted_version_of_a_reserved_key_is_not_forgotten) {
    channel_start("start ok\n");
    fixture_file("script.object-41", "5 12 made elsewhere\n");
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(service_wait_for(kd_service_key_rotate_to(sx.service, &c, "ticket",
                                                            "pkcs11:id=%41", service_on_key, NULL)),
                  KD_OK);
    ck_assert_err(service_rotate("ticket"), KD_OK);
    ck_assert_err(service_delete_version("ticket", 2), KD_ERR_KEY_RESERVED);
    ck_assert_err(service_delete_version("ticket", 1), KD_OK);
}
END_TEST

// ---- what goes -------------------------------------------------------------

START_TEST(version_goes_in_the_token_too_and_its_number_never_comes_again) {
    service_start("start ok\n");
    make(3);
    ck_assert_err(service_delete_version("k", 2), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,3=1,");
    ck_assert_uint_eq(objects(), 2);
    ck_assert_err(service_delete_version("k", 2), KD_ERR_NO_VERSION);
    ck_assert_err(service_set_state("k", 3, false), KD_OK);
    ck_assert_err(service_delete_version("k", 3), KD_OK); // the newest
    ck_assert_err(service_mac("k", "abc"), KD_OK);
    ck_assert_uint_eq(sx.results[0].version, 1);
    restart("start ok\n");
    ck_assert_err(service_rotate("k"), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,4=1,");
    ck_assert_err(service_delete_version("k", 1), KD_OK);
    ck_assert_err(service_rotate("k"), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:4=1,5=1,");
    ck_assert_uint_eq(objects(), 2);
    ck_assert_err(service_delete("k"), KD_OK);
    ck_assert_uint_eq(objects(), 0);
    ck_assert_uint_eq(fixture_count("request destroy"), 5);
}
END_TEST

START_TEST(version_that_was_adopted_is_only_forgotten) {
    service_start("start ok\n");
    fixture_file("script.object-41", "3 3 made elsewhere\n");
    make(1);
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(service_wait_for(kd_service_key_rotate_to(sx.service, &c, "k", "pkcs11:id=%41",
                                                            service_on_key, NULL)),
                  KD_OK);
    ck_assert_err(service_rotate("k"), KD_OK);
    ck_assert_err(service_delete_version("k", 2), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,3=1,");
    ck_assert_uint_eq(fixture_count("request destroy"), 0);
    ck_assert_int_eq(access(fixture_path("script.object-41"), F_OK), 0);
    ck_assert_err(service_wait_for(kd_service_key_rotate_to(sx.service, &c, "k", "pkcs11:id=%41",
                                                            service_on_key, NULL)),
                  KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=1,3=1,4=1,");
}
END_TEST

START_TEST(secrets_of_the_version_go_with_it) {
    uint8_t room[97];
    struct kd_secret_info info;
    service_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(service_create(7, "ec", KD_KEY_EC_P256, KD_USE_DERIVE), KD_OK);
    ck_assert_err(service_rotate("ec"), KD_OK);
    struct kd_derivation of[2] = {
        { .key = "ec",
          .version = 1,
          .has_kdf = true,
          .kdf = KD_KDF_HKDF_SHA256,
          .type = KD_KEY_AES_256 },
    };
    of[0].peer = service_point(room);
    of[1] = of[0];
    of[1].version = 2;
    ck_assert_err(service_derive(of, 2), KD_OK);
    ck_assert_err(service_delete_version("ec", 1), KD_OK);
    ck_assert_err(kd_service_secret(sx.service, &c, sx.derived[0].secret, &info), KD_ERR_NO_SECRET);
    ck_assert_err(kd_service_secret(sx.service, &c, sx.derived[1].secret, &info), KD_OK);
    fixture_run_until(service_ready);
    ck_assert_err(service_derive(of, 1), KD_ERR_NO_VERSION);
}
END_TEST

static struct kd_bytes copy_ticket(const char *id) {
    static uint8_t copy[1024];
    struct kd_bytes ticket;
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(kd_channel_ticket(sx.service, &c, id, &ticket), KD_OK);
    ck_assert_uint_le(ticket.n, sizeof(copy));
    memcpy(copy, ticket.p, ticket.n);
    return (struct kd_bytes) { copy, ticket.n };
}

START_TEST(sessions_of_the_version_are_over) {
    static const char *const keys[] = { "ticket", "root" };
    for (size_t i = 0; i < KD_COUNT_OF(keys); i++) {
        if (i == 0) {
            channel_start("start ok\n");
        }
        const char *id = channel_session(7, "dev");
        const struct kd_bytes ticket = copy_ticket(id);
        ck_assert_err(service_rotate(keys[i]), KD_OK);
        ck_assert_err(channel_seal(7, id, "x"), KD_OK);
        ck_assert_err(service_delete_version(keys[i], 1), KD_OK);
        ck_assert_err(channel_seal(7, id, "x"), KD_ERR_NO_SESSION);
        ck_assert_err(channel_open(7, channel_record(id, 0, KD_RECORD_DATA, "x")),
                      KD_ERR_NO_SESSION);
        ck_assert_err(channel_update(7, id), KD_ERR_NO_SESSION);
        if (i == 1) { // a real token would have refused that of the other key
            ck_assert_err(channel_resume(7, ticket, "nonce"), KD_ERR_SESSION_ENDED);
        }
        ck_assert_err(channel_seal(7, channel_session(7, "dev"), "x"), KD_OK);
    }
}
END_TEST

// ---- cut off ---------------------------------------------------------------

// Before the worker dies the object is there still, or is gone.
START_TEST(delete_that_was_cut_off_goes_on_and_the_key_is_used_meanwhile) {
    static const char *const scripts[] = { "once\non destroy die\n",
                                           "once\non destroy made-then-die\n" };
    service_start(scripts[_i]);
    make(2);
    ck_assert_err(service_delete_version("k", 1), KD_ERR_TOKEN_AWAY);
    ck_assert_ptr_nonnull(strstr(sx.last_detail, "keyd deletes it when"));
    ck_assert_int_eq(state_of(1), KD_VERSION_DESTROYING);
    ck_assert_err(service_set_state("k", 1, true), KD_ERR_CHANGE_UNDER_WAY);
    fixture_run_until(service_ready);
    ck_assert_err(service_mac("k", "abc"), KD_OK);
    fixture_run_until(first_is_gone);
    ck_assert_uint_eq(objects(), 1);
    ck_assert_err(service_rotate("k"), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:2=1,3=1,");
}
END_TEST

START_TEST(delete_that_was_noted_is_done_after_a_restart) {
    service_start("on destroy error token\n");
    make(3);
    ck_assert_err(service_delete_version("k", 1), KD_ERR_TOKEN);
    restart("on destroy error token\n");
    fixture_run_until(is_idle);
    ck_assert_int_eq(state_of(1), KD_VERSION_DESTROYING);
    ck_assert_err(service_set_state("k", 0, false), KD_OK);
    ck_assert_err(service_set_state("k", 0, true), KD_OK); // all but this one
    ck_assert_int_eq(state_of(1), KD_VERSION_DESTROYING);
    ck_assert_int_eq(state_of(2), KD_VERSION_ENABLED);
    restart("start ok\n");
    fixture_run_until(first_is_gone);
    ck_assert_uint_eq(objects(), 2);
    restart("start ok\n");
    ck_assert(first_is_gone());
}
END_TEST

START_TEST(version_that_is_being_deleted_does_not_count_and_may_be_asked_for_again) {
    service_start("on destroy error token\n");
    make(2);
    ck_assert_err(service_delete_version("k", 1), KD_ERR_TOKEN);
    ck_assert_err(service_delete_version("k", 1), KD_ERR_TOKEN);
    ck_assert_err(service_set_state("k", 2, false), KD_OK);
    ck_assert_err(service_delete_version("k", 2), KD_ERR_VERSION_PRIMARY);
    ck_assert_err(service_rotate("k"), KD_OK); // a token that refuses is in nobody's way
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:1=3,2=2,3=1,");
    ck_assert_err(service_delete("k"), KD_ERR_TOKEN);
    ck_assert_err(service_delete_version("k", 2), KD_ERR_CHANGE_UNDER_WAY);
    restart("start ok\n");
    fixture_run_until(first_is_gone);
    fixture_run_until(second_is_gone);
}
END_TEST

START_TEST(version_that_the_token_refuses_is_not_in_the_way_of_others) {
    service_start("on destroy error token\n");
    make(3);
    ck_assert_err(service_delete_version("k", 1), KD_ERR_TOKEN);
    ck_assert_err(service_delete_version("k", 2), KD_ERR_TOKEN);
    restart("once\non destroy error token\n"); // the first, once more
    fixture_run_until(second_is_gone);
    ck_assert_int_eq(state_of(1), KD_VERSION_DESTROYING);
    fixture_run_until(first_is_gone);
    ck_assert_uint_eq(objects(), 1);
}
END_TEST

static TCase *tcase_versions(void) {
    TCase *t = tcase_create("versions");
    tcase_add_checked_fixture(t, service_setup, service_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, version_that_the_key_needs_is_not_deleted);
    tcase_add_test(t, second_change_at_once_is_refused);
    tcase_add_test(t, without_a_worker_nothing_is_begun);
    tcase_add_test(t, version_goes_in_the_token_too_and_its_number_never_comes_again);
    tcase_add_test(t, version_that_was_adopted_is_only_forgotten);
    tcase_add_test(t, secrets_of_the_version_go_with_it);
    tcase_add_loop_test(t, delete_that_was_cut_off_goes_on_and_the_key_is_used_meanwhile, 0, 2);
    tcase_add_test(t, delete_that_was_noted_is_done_after_a_restart);
    tcase_add_test(t, version_that_is_being_deleted_does_not_count_and_may_be_asked_for_again);
    tcase_add_test(t, version_that_the_token_refuses_is_not_in_the_way_of_others);
    return t;
}

static TCase *tcase_channel(void) {
    TCase *t = tcase_create("channel");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, version_that_the_channel_has_a_certificate_of_is_not_deleted);
    tcase_add_test(t, adopted_version_of_a_reserved_key_is_not_forgotten);
    tcase_add_test(t, sessions_of_the_version_are_over);
    return t;
}

UNIT_MAIN("versions", tcase_versions(), tcase_channel())
