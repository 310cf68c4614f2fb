// SPDX-License-Identifier: Apache-2.0
#include "keyd/registry.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static struct kd_registry g;

static void setup(void) {
    g = KD_REGISTRY_INIT;
}

static void teardown(void) {
    kd_registry_wipe(&g);
}

static struct kd_entry *reserve(const char *name) {
    struct kd_entry *e = NULL;
    ck_assert_err(
        kd_registry_reserve(&g, name, KD_KEY_AES_256, KD_USE_ENCRYPT, KD_ORIGIN_CREATED, &e),
        KD_OK);
    return e;
}

static struct kd_key_version version(uint32_t number, enum kd_version_state state, const char *id) {
    return (struct kd_key_version) { .number = number,
                                     .state = state,
                                     .ref = { .type = KD_KEY_AES_256,
                                              .id = kd_bytes_of_text(id),
                                              .label = kd_bytes_of_text("l") } };
}

static void add_version(struct kd_entry *e, uint32_t number, enum kd_version_state state,
                        const char *id) {
    const struct kd_key_version v = version(number, state, id);
    ck_assert_err(kd_entry_add_version(e, &v), KD_OK);
}

START_TEST(empty_registry_has_nothing) {
    ck_assert_ptr_null(kd_registry_get(&g, "a"));
    ck_assert_ptr_null(kd_registry_next(&g, NULL));
    ck_assert_uint_eq(kd_registry_count(&g), 0);
    const struct kd_key_version v = version(1, KD_VERSION_ENABLED, "x");
    ck_assert(!kd_registry_has_object(&g, &v.ref));
}
END_TEST

START_TEST(names_are_found_and_listed_in_order) {
    char name[16];
    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "k%03u", i * 7 % 500);
        add_version(reserve(name), 1, KD_VERSION_ENABLED, name);
    }
    ck_assert_uint_eq(kd_registry_count(&g), 500);
    unsigned n = 0;
    for (struct kd_entry *e = kd_registry_next(&g, NULL); e != NULL;
         e = kd_registry_next(&g, e->key.name), n++) {
        snprintf(name, sizeof(name), "k%03u", n);
        ck_assert_str_eq(e->key.name, name);
        ck_assert_ptr_eq(kd_registry_get(&g, name), e);
    }
    ck_assert_uint_eq(n, 500);
    ck_assert_str_eq(kd_registry_next(&g, "k0990")->key.name, "k100"); // a name that is not there
    ck_assert_ptr_null(kd_registry_next(&g, "k499"));
}
END_TEST

START_TEST(removed_names_are_gone_and_the_others_stay) {
    char name[16];
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "k%02u", i);
        reserve(name);
    }
    for (unsigned i = 0; i < 20; i += 2) {
        snprintf(name, sizeof(name), "k%02u", i);
        kd_registry_remove(&g, kd_registry_get(&g, name));
    }
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "k%02u", i);
        ck_assert_int_eq(kd_registry_get(&g, name) != NULL, i % 2 == 1);
    }
    ck_assert_uint_eq(kd_registry_count(&g), 0); // no versions: not keys yet
}
END_TEST

START_TEST(primary_is_the_newest_enabled_version) {
    struct kd_entry *e = reserve("a");
    ck_assert_ptr_null(kd_key_primary(&e->key));
    add_version(e, 1, KD_VERSION_ENABLED, "1");
    add_version(e, 2, KD_VERSION_ENABLED, "2");
    add_version(e, 5, KD_VERSION_DISABLED, "5");
    ck_assert_uint_eq(kd_key_primary(&e->key)->number, 2);
    ck_assert_uint_eq(kd_entry_last_number(e), 5);
    ck_assert_ptr_null(kd_entry_version(e, 3));
    kd_entry_version(e, 1)->state = KD_VERSION_DISABLED;
    kd_entry_version(e, 2)->state = KD_VERSION_DISABLED;
    ck_assert_ptr_null(kd_key_primary(&e->key));
}
END_TEST

START_TEST(versions_are_copies) {
    char id[] = "abc";
    struct kd_entry *e = reserve("a");
    add_version(e, 1, KD_VERSION_ENABLED, id);
    id[0] = 'X';
    ck_assert(kd_bytes_equal(e->key.versions[0].ref.id, kd_bytes_of_text("abc")));
    ck_assert(kd_bytes_equal(e->key.versions[0].ref.label, kd_bytes_of_text("l")));
    ck_assert_uint_eq(e->key.versions[0].ref.proof.n, 0);
}
END_TEST

START_TEST(objects_in_use_are_known_also_while_they_are_made) {
    struct kd_entry *e = reserve("a");
    add_version(e, 1, KD_VERSION_DISABLED, "one");
    struct kd_key_version v = version(2, KD_VERSION_PENDING, "two");
    ck_assert_err(kd_entry_set_pending(e, &v), KD_OK);
    ck_assert(kd_entry_is_busy(e));
    ck_assert_uint_eq(kd_entry_last_number(e), 2);
    ck_assert(kd_registry_has_object(&g, &v.ref));
    v = version(1, KD_VERSION_ENABLED, "one");
    ck_assert(kd_registry_has_object(&g, &v.ref));
    v.ref.type = KD_KEY_HMAC_SHA256;
    ck_assert(!kd_registry_has_object(&g, &v.ref));
    v = version(1, KD_VERSION_ENABLED, "three");
    ck_assert(!kd_registry_has_object(&g, &v.ref));
    v = version(1, KD_VERSION_ENABLED, "");
    ck_assert(!kd_registry_has_object(&g, &v.ref));
    kd_entry_drop_pending(e);
    ck_assert(!kd_entry_is_busy(e));
}
END_TEST

START_TEST(pending_version_takes_its_place_with_what_it_has) {
    struct kd_entry *e = reserve("a");
    const struct kd_key_version v = version(3, KD_VERSION_ENABLED, "three");
    ck_assert_err(kd_entry_set_pending(e, &v), KD_OK);
    add_version(e, 1, KD_VERSION_DISABLED, "one"); // its room is kept
    kd_entry_take_pending(e);
    ck_assert(!kd_entry_is_busy(e));
    ck_assert_uint_eq(e->key.n_versions, 2);
    ck_assert_uint_eq(kd_key_primary(&e->key)->number, 3);
    ck_assert(kd_bytes_equal(e->key.versions[1].ref.id, kd_bytes_of_text("three")));
}
END_TEST

START_TEST(number_of_a_destroyed_version_is_not_given_again) {
    struct kd_entry *e = reserve("a");
    add_version(e, 1, KD_VERSION_ENABLED, "1");
    add_version(e, 2, KD_VERSION_DISABLED, "2");
    add_version(e, 3, KD_VERSION_DISABLED, "3");
    kd_entry_forget_version(e, 3);
    ck_assert_uint_eq(kd_entry_last_number(e), 3);
    kd_entry_forget_version(e, 2);
    ck_assert_uint_eq(kd_entry_last_number(e), 3);
    ck_assert_uint_eq(e->key.n_versions, 1);
    ck_assert_uint_eq(kd_key_primary(&e->key)->number, 1);
    add_version(e, 4, KD_VERSION_ENABLED, "4");
    kd_entry_forget_version(e, 1); // the first of two
    ck_assert_uint_eq(e->key.n_versions, 1);
    ck_assert(kd_bytes_equal(e->key.versions[0].ref.id, kd_bytes_of_text("4")));
    ck_assert_uint_eq(kd_entry_last_number(e), 4);
}
END_TEST

START_TEST(entry_is_open_while_a_version_is_being_destroyed) {
    struct kd_entry *e = reserve("a");
    for (uint32_t n = 1; n <= 4; n++) {
        add_version(e, n, KD_VERSION_DISABLED, "id");
    }
    ck_assert(!kd_entry_is_open(e));
    ck_assert_ptr_null(kd_entry_next_destroying(e, 0));
    kd_entry_version(e, 2)->state = KD_VERSION_DESTROYING;
    kd_entry_version(e, 4)->state = KD_VERSION_DESTROYING;
    ck_assert(kd_entry_is_open(e) && !kd_entry_is_busy(e));
    ck_assert_uint_eq(kd_entry_next_destroying(e, 0)->number, 2);
    ck_assert_uint_eq(kd_entry_next_destroying(e, 2)->number, 4);
    ck_assert_ptr_null(kd_entry_next_destroying(e, 4));
    kd_entry_forget_version(e, 4);
    kd_entry_forget_version(e, 2);
    ck_assert(!kd_entry_is_open(e));
}
END_TEST

START_TEST(rows_of_the_store_become_entries) {
    struct kd_store_row row = { .name = "a",
                                .type = KD_KEY_AES_256,
                                .usages = KD_USE_DECRYPT,
                                .origin = KD_ORIGIN_ADOPTED,
                                .created_ms = 77,
                                .certificate = kd_bytes_of_text("der"),
                                .last_number = 9,
                                .version = version(1, KD_VERSION_ENABLED, "1") };
    ck_assert_err(kd_registry_load(&g, &row), KD_OK);
    row.version = version(2, KD_VERSION_PENDING, "2");
    ck_assert_err(kd_registry_load(&g, &row), KD_OK);
    const struct kd_entry *e = kd_registry_get(&g, "a");
    ck_assert_uint_eq(e->key.n_versions, 1);
    ck_assert(e->has_pending);
    ck_assert_uint_eq(e->key.created_ms, 77);
    ck_assert_uint_eq(kd_entry_last_number(e), 9);
    ck_assert_int_eq(e->key.origin, KD_ORIGIN_ADOPTED);
    ck_assert(kd_bytes_equal(e->key.certificate, kd_bytes_of_text("der")));
    row.version = version(3, KD_VERSION_PENDING, "3");
    ck_assert_err(kd_registry_load(&g, &row), KD_ERR_STORE); // two at once: not ours
}
END_TEST

static TCase *tcase_registry(void) {
    TCase *t = tcase_create("registry");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, empty_registry_has_nothing);
    tcase_add_test(t, names_are_found_and_listed_in_order);
    tcase_add_test(t, removed_names_are_gone_and_the_others_stay);
    tcase_add_test(t, primary_is_the_newest_enabled_version);
    tcase_add_test(t, versions_are_copies);
    tcase_add_test(t, objects_in_use_are_known_also_while_they_are_made);
    tcase_add_test(t, pending_version_takes_its_place_with_what_it_has);
    tcase_add_test(t, number_of_a_destroyed_version_is_not_given_again);
    tcase_add_test(t, entry_is_open_while_a_version_is_being_destroyed);
    tcase_add_test(t, rows_of_the_store_become_entries);
    return t;
}

UNIT_MAIN("registry", tcase_registry())
