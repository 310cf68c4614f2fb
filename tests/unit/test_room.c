// SPDX-License-Identifier: Apache-2.0
// How many keys and versions there may be: refused at the limit, and made again where there is
// room.
#include "keyd/state.h"
#include "tests/unit/service_fixture.h"

#include <stdio.h>
#include <string.h>

enum { APP = 7, OTHER = 8 };

// "other" may do everything; "app", too, but for what makes keys and versions, which the rules say.
static void start(const char *rules) {
    char text[1024];
    snprintf(text, sizeof(text),
             "principal \"app\" { uid = 7 }\nprincipal \"other\" { uid = 8 }\n"
             "allow \"other\" { operations = {\"*\"} keys = {\"*\"} }\n"
             "allow \"app\" { operations = {show, disable, delete} keys = {\"*\"} }\n%s",
             rules);
    fixture_file("policy", text);
    service_start("start ok\n");
}

static enum kd_err create(uid_t uid, const char *name) {
    return service_create(uid, name, KD_KEY_HMAC_SHA256, KD_USE_SIGN | KD_USE_VERIFY);
}

static enum kd_err begin_create(uid_t uid, const char *name) {
    const struct kd_caller c = service_caller_of(uid);
    const struct kd_key_spec spec = { .name = name,
                                      .type = KD_KEY_AES_256,
                                      .usages = KD_USE_ENCRYPT };
    return kd_service_key_create(sx.service, &c, &spec, service_on_key, NULL);
}

static enum kd_err import(const char *name) {
    uint8_t p[97];
    const struct kd_bytes point = service_point(p);
    const struct kd_caller c = service_caller_of(APP);
    return service_wait_for(kd_service_key_import(sx.service, &c, name, KD_KEY_EC_P256, point,
                                                  KD_BYTES_NONE, service_on_key, NULL));
}

static enum kd_err adopt(const char *name, const char *uri) {
    const struct kd_caller c = service_caller_of(APP);
    return service_wait_for(kd_service_key_adopt(sx.service, &c, name, uri, service_on_key, NULL));
}

static enum kd_err rotate_to(const char *name, const char *uri) {
    const struct kd_caller c = service_caller_of(APP);
    return service_wait_for(
        kd_service_key_rotate_to(sx.service, &c, name, uri, service_on_key, NULL));
}

// What "app" would be told.
static void says(enum kd_permission permission, const char *name, enum kd_err err,
                 const char *words) {
    const struct kd_caller c = service_caller_of(APP);
    kd_auto(buf) struct kd_buf why = KD_BUF_INIT(KD_DETAIL_BYTES);
    ck_assert_err(kd_service_room(sx.service, &c, permission, name, &why), err);
    ck_assert_msg(strstr(kd_buf_get_text(&why), words) != NULL, "%s", kd_buf_get_text(&why));
    ck_assert_int_eq(why.n > 0, err != KD_OK);
}

// ---- keys ------------------------------------------------------------------

START_TEST(no_way_to_make_a_key_passes_its_limit) {
    start("allow \"app\" { operations = {create, import, adopt} keys = {\"a-*\"} keys-max = 3 }\n");
    fixture_file("script.object-41", "3 3 made elsewhere\n");
    ck_assert_err(create(APP, "b-1"), KD_ERR_DENIED);
    ck_assert_err(create(OTHER, "b-1"), KD_OK); // the rule does not name it
    ck_assert_err(create(APP, "a-1"), KD_OK);
    ck_assert_err(create(OTHER, "a-2"), KD_OK); // counts, whoever made it
    ck_assert_err(import("a-3"), KD_OK);
    ck_assert_err(create(APP, "a-4"), KD_ERR_TOO_MANY);
    ck_assert_err(import("a-4"), KD_ERR_TOO_MANY);
    ck_assert_err(adopt("a-4", "pkcs11:id=%41"), KD_ERR_TOO_MANY);
    ck_assert_err(create(APP, "a-3"), KD_ERR_KEY_EXISTS);
    ck_assert_err(create(APP, "b-2"), KD_ERR_DENIED);
    ck_assert_err(create(OTHER, "a-4"), KD_OK); // whom no rule limits
    ck_assert_err(create(APP, "a-5"), KD_ERR_TOO_MANY);
    ck_assert_uint_eq(fixture_count("request find"), 0); // the token was not asked
}
END_TEST

START_TEST(deleted_key_makes_room_for_one) {
    start("allow \"app\" { operations = {create, import, adopt} keys = {\"a-*\"} keys-max = 2 }\n");
    fixture_file("script.object-41", "3 3 made elsewhere\n");
    ck_assert_err(create(APP, "a-1"), KD_OK);
    ck_assert_err(import("a-2"), KD_OK);
    ck_assert_err(create(APP, "a-3"), KD_ERR_TOO_MANY);
    ck_assert_err(service_delete("a-1"), KD_OK);
    ck_assert_err(adopt("a-3", "pkcs11:id=%41"), KD_OK);
    ck_assert_err(create(APP, "a-4"), KD_ERR_TOO_MANY);
    ck_assert_err(service_delete("a-2"), KD_OK);
    ck_assert_err(create(APP, "a-4"), KD_OK);
    ck_assert_err(create(APP, "a-5"), KD_ERR_TOO_MANY);
}
END_TEST

START_TEST(keys_that_are_being_made_count) {
    start("allow \"app\" { operations = {create} keys = {\"*\"} keys-max = 1 }\n");
    ck_assert_err(begin_create(APP, "a"), KD_OK);
    ck_assert_err(begin_create(APP, "b"), KD_ERR_TOO_MANY);
    ck_assert_err(begin_create(APP, "a"), KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(service_wait_for(KD_OK), KD_OK);
    ck_assert_err(begin_create(APP, "b"), KD_ERR_TOO_MANY);
}
END_TEST

START_TEST(key_that_the_token_refuses_takes_no_room) {
    start("allow \"app\" { operations = {create} keys = {\"*\"} keys-max = 1 }\n");
    service_reset();
    fixture_script("on generate error token-full\n");
    service_open();
    fixture_run_until(service_ready);
    ck_assert_err(create(APP, "a"), KD_ERR_TOKEN_FULL);
    ck_assert_err(create(APP, "b"), KD_ERR_TOKEN_FULL); // and not KD_ERR_TOO_MANY
}
END_TEST

START_TEST(one_rule_with_room_is_enough) {
    start("allow \"app\" { operations = {create} keys = {\"a-*\"} keys-max = 1 }\n"
          "allow \"app\" { operations = {create} keys = {\"a-*\", \"b-*\"} keys-max = 2 }\n"
          "allow \"app\" { operations = {create} keys = {\"a-free\"} }\n"
          "allow \"app\" { operations = {import} keys = {\"a-*\"} }\n");
    ck_assert_err(create(APP, "b-1"), KD_OK);
    ck_assert_err(create(APP, "a-1"), KD_OK); // the second rule is full
    ck_assert_err(create(APP, "b-2"), KD_ERR_TOO_MANY);
    ck_assert_err(create(APP, "a-2"), KD_ERR_TOO_MANY);
    ck_assert_err(service_delete("a-1"), KD_OK);
    ck_assert_err(create(APP, "b-2"), KD_OK);
    ck_assert_err(create(APP, "a-2"), KD_OK); // by the first
    ck_assert_err(create(APP, "a-3"), KD_ERR_TOO_MANY);
    ck_assert_err(create(APP, "a-free"), KD_OK);
    ck_assert_err(import("a-3"), KD_OK); // what the limits say nothing of
}
END_TEST

// ---- versions --------------------------------------------------------------

START_TEST(no_way_to_make_a_version_passes_its_limit) {
    start("allow \"app\" { operations = {rotate} keys = {\"k\"} versions-max = 3 }\n"
          "allow \"app\" { operations = {rotate} keys = {\"free\"} }\n"
          "allow \"app\" { operations = {adopt} keys = {\"*\"} keys-max = 1 }\n");
    fixture_file("script.object-41", "3 3 made elsewhere\n");
    ck_assert_err(create(OTHER, "k"), KD_OK);
    ck_assert_err(create(OTHER, "free"), KD_OK);
    ck_assert_err(service_rotate("k"), KD_OK);
    ck_assert_err(rotate_to("k", "pkcs11:id=%41"), KD_OK); // makes no key
    ck_assert_err(service_rotate("k"), KD_ERR_TOO_MANY);
    ck_assert_err(rotate_to("k", "pkcs11:id=%42"), KD_ERR_TOO_MANY);
    ck_assert_err(service_set_state("k", 1, false), KD_OK);
    ck_assert_err(service_rotate("k"), KD_ERR_TOO_MANY); // a disabled one is there
    for (unsigned n = 0; n < 4; n++) {
        ck_assert_err(service_rotate("free"), KD_OK);
    }
    ck_assert_err(service_delete_version("k", 1), KD_OK);
    ck_assert_err(service_rotate("k"), KD_OK);
    ck_assert_str_eq(sx.key_text, "k:hmac-sha256:3:2=1,3=1,4=1,");
    ck_assert_err(service_rotate("k"), KD_ERR_TOO_MANY);
}
END_TEST

START_TEST(version_that_is_being_made_counts) {
    start("allow \"app\" { operations = {rotate} keys = {\"k\"} versions-max = 2 }\n");
    ck_assert_err(create(OTHER, "k"), KD_OK);
    says(KD_MAY_ROTATE, "k", KD_OK, "");
    const struct kd_caller c = service_caller_of(APP);
    ck_assert_err(kd_service_key_rotate(sx.service, &c, "k", service_on_key, NULL), KD_OK);
    ck_assert(kd_registry_get(&sx.service->registry, "k")->has_pending);
    says(KD_MAY_ROTATE, "k", KD_ERR_TOO_MANY, "versions-max");
    ck_assert_err(service_wait_for(KD_OK), KD_OK);
    says(KD_MAY_ROTATE, "k", KD_ERR_TOO_MANY, "versions-max");
}
END_TEST

// Versions in the registry alone: the store would take its time for so many.
static void add_versions(struct kd_entry *e, uint32_t upto) {
    for (uint32_t number = kd_entry_last_number(e) + 1; number <= upto; number++) {
        const struct kd_key_version v = { .number = number,
                                          .state = KD_VERSION_DISABLED,
                                          .ref = { .type = e->key.type } };
        ck_assert_err(kd_entry_add_version(e, &v), KD_OK);
    }
}

// The fixture's has no place for the text of so many.
static void on_rotated(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                       const struct kd_key *key) {
    sx.is_done = true;
    sx.last_err = err;
    ck_assert_uint_eq(key == NULL ? 0 : key->n_versions, KD_KEY_VERSIONS_MAX);
}

START_TEST(without_a_limit_of_the_policy_a_key_has_the_services_own) {
    start("allow \"app\" { operations = {rotate} keys = {\"*\"} }\n");
    ck_assert_err(create(OTHER, "k"), KD_OK);
    add_versions(kd_registry_get(&sx.service->registry, "k"), KD_KEY_VERSIONS_MAX - 1);
    const struct kd_caller c = service_caller_of(APP);
    ck_assert_err(service_wait_for(kd_service_key_rotate(sx.service, &c, "k", on_rotated, NULL)),
                  KD_OK);
    ck_assert_err(service_rotate("k"), KD_ERR_TOO_MANY);
    ck_assert_err(rotate_to("k", "pkcs11:id=%41"), KD_ERR_TOO_MANY);
    says(KD_MAY_ROTATE, "k", KD_ERR_TOO_MANY,
         "A key has at most 1000 versions; delete old ones: DELETE /v1/keys/k/versions/{n}.");
}
END_TEST

// ---- what is said ----------------------------------------------------------

START_TEST(who_is_refused_is_told_which_limit_it_is) {
    char name[KD_NAME_MAX_BYTES + 1];
    memset(name, 'n', KD_NAME_MAX_BYTES);
    name[KD_NAME_MAX_BYTES] = '\0';
    start("allow \"app\" { operations = {create} keys = {\"n*\"} keys-max = 1 }\n"
          "allow \"app\" { operations = {rotate} keys = {\"n*\"} versions-max = 2 }\n");
    says(KD_MAY_CREATE, name, KD_OK, "");
    says(KD_MAY_IMPORT, name, KD_ERR_DENIED, "needs import on \"n");
    says(KD_MAY_IMPORT, name, KD_ERR_DENIED, "n\" (keyd-policy(5)).");
    says(KD_MAY_CREATE, "m", KD_ERR_DENIED, "create on \"m\", and has create on other names only");
    ck_assert_err(create(APP, name), KD_OK);
    ck_assert_err(service_rotate(name), KD_OK);
    says(KD_MAY_CREATE, "n2", KD_ERR_TOO_MANY, "keys-max = 1, and");
    says(KD_MAY_ROTATE, name, KD_ERR_TOO_MANY, "versions-max = 2, and");
    says(KD_MAY_ROTATE, name, KD_ERR_TOO_MANY, "n/versions/{n}."); // whole, with such a name, too
}
END_TEST

static TCase *tcase_room(void) {
    TCase *t = tcase_create("room");
    tcase_add_checked_fixture(t, service_setup, service_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, no_way_to_make_a_key_passes_its_limit);
    tcase_add_test(t, deleted_key_makes_room_for_one);
    tcase_add_test(t, keys_that_are_being_made_count);
    tcase_add_test(t, key_that_the_token_refuses_takes_no_room);
    tcase_add_test(t, one_rule_with_room_is_enough);
    tcase_add_test(t, no_way_to_make_a_version_passes_its_limit);
    tcase_add_test(t, version_that_is_being_made_counts);
    tcase_add_test(t, without_a_limit_of_the_policy_a_key_has_the_services_own);
    tcase_add_test(t, who_is_refused_is_told_which_limit_it_is);
    return t;
}

UNIT_MAIN("room", tcase_room())
