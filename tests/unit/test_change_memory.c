// SPDX-License-Identifier: Apache-2.0
// Each allocation of the front fails in turn while a key is created, rotated,
// switched, adopted, imported or deleted.  The change is done, or there was no
// memory and nothing has changed, unless the answer says that it is not known
// yet; then it is settled without being asked.  The registry, the store and the
// token agree, and the same change is made when there is memory.
#include "keyd/state.h"
#include "keyd/store.h"
#include "tests/unit/channel_fixture.h"
#include "tests/unit/failing_memory.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint8_t point_room[97];
static struct kd_bytes point, certificate;
static bool is_patient;

// ---- what there is ---------------------------------------------------------

struct picture {
    char keys[256];   // "name=versions' states;"
    size_t n_objects; // of keyd, by the registry
};

static struct picture look(void) {
    struct picture p = { .keys = "" };
    size_t n = 0;
    const struct kd_registry *g = &sx.service->registry;
    for (const struct kd_entry *e = NULL; (e = kd_registry_next(g, e ? e->key.name : NULL));) {
        n += (size_t)snprintf(p.keys + n, sizeof(p.keys) - n, "%s=", e->key.name);
        for (size_t i = 0; i < e->key.n_versions; i++) {
            const struct kd_key_version *v = &e->key.versions[i];
            n += (size_t)snprintf(p.keys + n, sizeof(p.keys) - n, "%u:%d,", v->number,
                                  (int)v->state);
            p.n_objects += v->is_local;
        }
        n += (size_t)snprintf(p.keys + n, sizeof(p.keys) - n, ";");
    }
    return p;
}

static bool is_settled(void) {
    const struct kd_registry *g = &sx.service->registry;
    for (const struct kd_entry *e = NULL; (e = kd_registry_next(g, e ? e->key.name : NULL));) {
        if (kd_entry_is_busy(e) || kd_entry_is_open(e)) {
            return false;
        }
    }
    return kd_service_pending(sx.service) == 0;
}

// The objects that the fake worker has made are files with ids of 16 bytes.
static size_t count_objects(void) {
    char pattern[160];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/script.object-????????????????????????????????",
             fx.directory);
    const size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return n;
}

// After all is settled, by itself once in a test that is patient, and after a restart.
static struct picture check(unsigned turn) {
    if (!is_patient) {
        kd_timer_set_sooner(sx.service->recover_timer, 0);
    }
    is_patient = is_patient && is_settled();
    fixture_run_until(is_settled);
    const struct picture now = look();
    ck_assert_msg(now.n_objects == count_objects(), "turn %u: %s and %zu objects", turn, now.keys,
                  count_objects());
    service_reset();
    service_open();
    fixture_run_until(service_ready);
    const struct picture stored = look();
    ck_assert_msg(strcmp(now.keys, stored.keys) == 0, "turn %u: %s, in the store %s", turn,
                  now.keys, stored.keys);
    return now;
}

// ---- the changes -----------------------------------------------------------

static enum kd_err create(void) {
    return service_create(7, "new", KD_KEY_AES_256, KD_USE_ENCRYPT);
}

static enum kd_err rotate(void) {
    return service_rotate("old");
}

static enum kd_err disable(void) {
    return service_set_state("old", 1, false);
}

static enum kd_err enable(void) {
    return service_set_state("old", 0, true);
}

static enum kd_err delete_key(void) {
    return service_delete("old");
}

static enum kd_err delete_version(void) {
    return service_delete_version("old", 1);
}

static enum kd_err adopt(void) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(
        kd_service_key_adopt(sx.service, &c, "new", "pkcs11:id=%41", service_on_key, NULL));
}

static enum kd_err rotate_to(void) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(
        kd_service_key_rotate_to(sx.service, &c, "old", "pkcs11:id=%41", service_on_key, NULL));
}

static enum kd_err import_point(void) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(kd_service_key_import(sx.service, &c, "new", KD_KEY_EC_P256, point,
                                                  KD_BYTES_NONE, service_on_key, NULL));
}

static enum kd_err import_certificate(void) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(kd_service_key_import(
        sx.service, &c, "new", KD_KEY_EC_P256, KD_BYTES_NONE, certificate, service_on_key, NULL));
}

struct change {
    enum kd_err (*make)(void);
    bool is_off; // the first version, before it
    const char *script;
    const char *before, *after; // as a picture shows the keys
    enum kd_err again;          // where it has been made after all
};

static void add_version(struct kd_store *store, uint32_t number, enum kd_version_state state) {
    const char *const ids[] = { "", "0123456789abcdef", "0123456789ABCDEF" };
    static const char *const objects[] = { "", "script.object-30313233343536373839616263646566",
                                           "script.object-30313233343536373839414243444546" };
    const struct kd_store_row row = {
        .name = "old",
        .type = KD_KEY_HMAC_SHA256,
        .usages = KD_USE_SIGN,
        .version = { .number = number,
                     .state = state,
                     .ref = { .type = KD_KEY_HMAC_SHA256,
                              .id = kd_bytes_of_text(ids[number]),
                              .label = kd_bytes_of_text("old") },
                     .is_local = true },
    };
    ck_assert_err(kd_store_add(store, &row), KD_OK);
    fixture_file(objects[number], "3 1 old\n");
}

// A service that has not asked anything yet, with the key "old" and an object
// that is not its own.
static void start_anew(const struct change *c) {
    kd_auto(store) struct kd_store *store = NULL;
    service_teardown();
    service_setup();
    ck_assert_err(kd_store_open(fixture_path("state"), &store), KD_OK);
    add_version(store, 1, c->is_off ? KD_VERSION_DISABLED : KD_VERSION_ENABLED);
    add_version(store, 2, KD_VERSION_ENABLED);
    kd_store_close(KD_STEAL(store));
    fixture_file("script.object-41", "3 3 found\n");
    service_start(c->script == NULL ? "start ok\n" : c->script);
    ck_assert_str_eq(look().keys, c->before);
}

// As before, or, where the answer says that this may be, as after it; and then
// it is made.
static void try_again(const struct change *c, unsigned turn) {
    const bool may_come = strstr(sx.last_detail, "keyd") != NULL;
    const struct picture p = check(turn);
    const bool has_come = strcmp(p.keys, c->after) == 0;
    ck_assert_msg(strcmp(p.keys, c->before) == 0 || (may_come && has_come),
                  "turn %u: refused (%s), and then %s", turn, sx.last_detail, p.keys);
    const enum kd_err r = c->make();
    ck_assert_msg(r == (has_come ? c->again : KD_OK), "turn %u, again: %s", turn, kd_err_name(r));
}

static unsigned each_in_turn(const struct change *c) {
    unsigned n_refused = 0;
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        memory_pause();
        start_anew(c);
        memory_resume();
        sx.last_detail[0] = '\0';
        const enum kd_err r = c->make();
        const bool fails = memory_has_failed();
        if (r == KD_OK) {
            ck_assert_str_eq(check(turn).keys, c->after);
            continue;
        }
        ck_assert_msg(fails && r == KD_ERR_NO_MEMORY, "turn %u: %s", turn, kd_err_name(r));
        n_refused++;
        try_again(c, turn);
    }
    return n_refused;
}

START_TEST(key_is_created_or_there_is_no_memory) {
    const struct change c = { .make = create,
                              .before = "old=1:1,2:1,;",
                              .after = "new=1:1,;old=1:1,2:1,;",
                              .again = KD_ERR_KEY_EXISTS };
    is_patient = true;
    ck_assert_uint_gt(each_in_turn(&c), 4);
}
END_TEST

START_TEST(key_is_rotated_or_there_is_no_memory) {
    const struct change c = {
        .make = rotate, .before = "old=1:1,2:1,;", .after = "old=1:1,2:1,3:1,;", .again = KD_OK
    };
    ck_assert_uint_gt(each_in_turn(&c), 2);
}
END_TEST

START_TEST(key_is_switched_or_there_is_no_memory) {
    const struct change off = {
        .make = disable, .before = "old=1:1,2:1,;", .after = "old=1:2,2:1,;", .again = KD_OK
    };
    const struct change on = { .make = enable,
                               .is_off = true,
                               .before = "old=1:2,2:1,;",
                               .after = "old=1:1,2:1,;",
                               .again = KD_OK };
    ck_assert_uint_gt(each_in_turn(&off), 0);
    ck_assert_uint_gt(each_in_turn(&on), 0);
}
END_TEST

START_TEST(key_is_deleted_or_there_is_no_memory) {
    const struct change c = {
        .make = delete_key, .before = "old=1:1,2:1,;", .after = "", .again = KD_ERR_NO_KEY
    };
    is_patient = true;
    ck_assert_uint_gt(each_in_turn(&c), 1);
}
END_TEST

START_TEST(version_is_deleted_or_there_is_no_memory) {
    const struct change c = { .make = delete_version,
                              .before = "old=1:1,2:1,;",
                              .after = "old=2:1,;",
                              .again = KD_ERR_NO_VERSION };
    is_patient = true;
    ck_assert_uint_gt(each_in_turn(&c), 1);
}
END_TEST

START_TEST(key_is_adopted_or_there_is_no_memory) {
    const struct change c = { .make = adopt,
                              .before = "old=1:1,2:1,;",
                              .after = "new=1:1,;old=1:1,2:1,;",
                              .again = KD_ERR_KEY_EXISTS };
    ck_assert_uint_gt(each_in_turn(&c), 4);
}
END_TEST

START_TEST(version_is_adopted_or_there_is_no_memory) {
    const struct change c = { .make = rotate_to,
                              .before = "old=1:1,2:1,;",
                              .after = "old=1:1,2:1,3:1,;",
                              .again = KD_ERR_KEY_EXISTS };
    ck_assert_uint_gt(each_in_turn(&c), 2);
}
END_TEST

START_TEST(key_is_imported_or_there_is_no_memory) {
    const struct change by_point = { .make = import_point,
                                     .before = "old=1:1,2:1,;",
                                     .after = "new=1:1,;old=1:1,2:1,;",
                                     .again = KD_ERR_KEY_EXISTS };
    struct change by_certificate = by_point;
    by_certificate.make = import_certificate;
    point = service_point(point_room);
    certificate = channel_certificate(1, 10);
    ck_assert_uint_gt(each_in_turn(&by_point), 3);
    ck_assert_uint_gt(each_in_turn(&by_certificate), 4);
}
END_TEST

START_TEST(key_that_the_token_refuses_is_forgotten_also_without_memory) {
    const struct change c = { .make = create,
                              .script = "on generate error token\n",
                              .before = "old=1:1,2:1,;" };
    unsigned n_lacked = 0;
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        memory_pause();
        start_anew(&c);
        memory_resume();
        const enum kd_err r = create();
        const bool fails = memory_has_failed();
        n_lacked += r == KD_ERR_NO_MEMORY;
        ck_assert_msg(r == KD_ERR_TOKEN || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        ck_assert_str_eq(check(turn).keys, c.before);
    }
    ck_assert_uint_gt(n_lacked, 4);
}
END_TEST

static bool is_settled_soon(void) {
    kd_timer_set_sooner(sx.service->recover_timer, 10);
    return is_settled();
}

// What is taken up again by itself lacks memory: it is taken up once more.
static void take_up_in_turn(const struct change *c) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        start_anew(c);
        const enum kd_err r = c->make();
        ck_assert_err(r, KD_ERR_TOKEN);
        ck_assert(!is_settled());
        kd_timer_set(sx.service->recover_timer, 0);
        memory_resume();
        fixture_run_until(is_patient ? is_settled : is_settled_soon);
        is_patient = false;
        (void)memory_has_failed();
        ck_assert_str_eq(check(turn).keys, c->after);
    }
    ck_assert_uint_gt(turn, 1);
}

START_TEST(change_that_was_cut_off_is_taken_up_when_there_is_memory) {
    const struct change made = { .make = create,
                                 .script = "once\non generate error token\non find error token\n",
                                 .before = "old=1:1,2:1,;",
                                 .after = "old=1:1,2:1,;" };
    const struct change deleted = { .make = delete_key,
                                    .script = "once\non destroy error token\n",
                                    .before = "old=1:1,2:1,;",
                                    .after = "" };
    const struct change destroyed = { .make = delete_version,
                                      .script = "once\non destroy error token\n",
                                      .before = "old=1:1,2:1,;",
                                      .after = "old=2:1,;" };
    is_patient = true;
    take_up_in_turn(&made);
    take_up_in_turn(&deleted);
    take_up_in_turn(&destroyed);
}
END_TEST

static TCase *tcase_changes(void) {
    TCase *t = tcase_create("changes");
    tcase_add_checked_fixture(t, service_setup, service_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, key_is_created_or_there_is_no_memory);
    tcase_add_test(t, key_is_rotated_or_there_is_no_memory);
    tcase_add_test(t, key_is_switched_or_there_is_no_memory);
    tcase_add_test(t, key_is_deleted_or_there_is_no_memory);
    tcase_add_test(t, version_is_deleted_or_there_is_no_memory);
    tcase_add_test(t, key_is_adopted_or_there_is_no_memory);
    tcase_add_test(t, version_is_adopted_or_there_is_no_memory);
    tcase_add_test(t, key_is_imported_or_there_is_no_memory);
    tcase_add_test(t, key_that_the_token_refuses_is_forgotten_also_without_memory);
    tcase_add_test(t, change_that_was_cut_off_is_taken_up_when_there_is_memory);
    return t;
}

UNIT_MAIN("change memory", tcase_changes())
