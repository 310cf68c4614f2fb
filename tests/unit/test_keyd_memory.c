// SPDX-License-Identifier: Apache-2.0
// Each allocation of a constructor or a request fails in turn: the answer is
// KD_ERR_NO_MEMORY, nothing leaks (the sanitizer's build says so), and the next
// attempt, with memory, succeeds.
#include "keyd/policy.h"
#include "keyd/secrets.h"
#include "keyd/state.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/keyd_fixture.h"
#include "unit.h"

#include <stdio.h>

// Calls it with the 1st, 2nd, ... allocation failing until none does.
static unsigned each_in_turn(enum kd_err (*call)(void)) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = call();
        const bool fails = memory_has_failed();
        // Some allocations can be done without; what fails, fails for this reason.
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
    }
    return turn;
}

static enum kd_err read_policy(void) {
    kd_auto(policy) struct kd_policy *p = NULL;
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(4096);
    return kd_policy_read(fixture_path("policy"), &errors, &p);
}

static enum kd_err read_config(void) {
    kd_auto(config) struct kd_config *c = NULL;
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(4096);
    return kd_config_read(fixture_path("keyd.conf"), &errors, &c);
}

START_TEST(files_are_read_or_there_is_no_memory) {
    ck_assert_uint_gt(each_in_turn(read_policy), 5);
    ck_assert_uint_gt(each_in_turn(read_config), 2);
}
END_TEST

static enum kd_err fill_registry(void) {
    struct kd_registry g = KD_REGISTRY_INIT;
    struct kd_entry *e = NULL;
    const struct kd_key_version v = { .number = 1, .ref = { .id = kd_bytes_of_text("id") } };
    enum kd_err r =
        kd_registry_reserve(&g, "a", KD_KEY_AES_256, KD_USE_ENCRYPT, KD_ORIGIN_CREATED, &e);
    if (r == KD_OK && (r = kd_entry_set_pending(e, &v)) == KD_OK &&
        (r = kd_entry_add_version(e, &v)) == KD_OK) {
        r = kd_entry_set_certificate(e, kd_bytes_of_text("der"));
    }
    if ((kd_registry_next(&g, NULL) != NULL) != (e != NULL)) {
        r = KD_ERR_BUG;
    }
    kd_registry_wipe(&g);
    return r;
}

static void nobody(void *arg KD_UNUSED, const uint8_t id[static KD_HSM_SECRET_ID_BYTES] KD_UNUSED) {
}

static enum kd_err fill_secrets(void) {
    kd_auto(secrets) struct kd_secrets *s = NULL;
    struct kd_secret_entry *e = NULL;
    struct kd_recipe recipe = { .type = KD_KEY_AES_256 };
    enum kd_err r = kd_secrets_new(fx.loop, &fx.config->secrets, nobody, NULL, &s);
    if (r == KD_OK) {
        r = kd_secrets_add(s, "me", "k", 1, &recipe, 10, &e);
        r = kd_secrets_count(s) == (r == KD_OK ? 1 : 0) ? r : KD_ERR_BUG;
    }
    return r;
}

START_TEST(registries_are_filled_or_there_is_no_memory) {
    ck_assert_uint_gt(each_in_turn(fill_registry), 5);
    ck_assert_uint_gt(each_in_turn(fill_secrets), 5);
}
END_TEST

static enum kd_err open_service(void) {
    struct kd_service *s = NULL;
    const enum kd_err r = kd_service_open(fx.loop, fx.config, &s);
    kd_service_close(s);
    memory_pause();
    fixture_new_loop(); // its hooks are those of the closed service
    memory_resume();
    return r;
}

START_TEST(service_opens_or_there_is_no_memory) {
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_uint_gt(each_in_turn(open_service), 10);
}
END_TEST

static struct kd_service *service;
static bool is_done;
static enum kd_err last_err;

static bool is_ready(void) {
    const char *detail;
    return kd_service_ready(service, &detail) == KD_OK;
}

static bool done(void) {
    return is_done;
}

static void on_key(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                   const struct kd_key *key KD_UNUSED) {
    is_done = true;
    last_err = err;
}

static void on_work(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                    const struct kd_work_result *results KD_UNUSED, size_t n KD_UNUSED) {
    is_done = true;
    last_err = err;
}

static void on_derived(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                       const struct kd_derivation_result *results, size_t n) {
    is_done = true;
    last_err = n == 1 ? results[0].err : err;
}

static struct kd_caller app(void) {
    struct kd_caller c = { 0 };
    const struct kd_credential credential = { .has_peer = true, .uid = 7, .gid = 65000 };
    const enum kd_err r KD_UNUSED = kd_service_identify(service, &credential, &c);
    return c;
}

static enum kd_err wait_for(enum kd_err accepted) {
    if (accepted != KD_OK) {
        return accepted;
    }
    fixture_run_until(done);
    is_done = false;
    return last_err;
}

static enum kd_err create(void) {
    static unsigned n;
    char name[16];
    snprintf(name, sizeof(name), "n%u", n++);
    const struct kd_caller c = app();
    const struct kd_key_spec spec = { .name = name,
                                      .type = KD_KEY_AES_256,
                                      .usages = KD_USE_DERIVE };
    return wait_for(kd_service_key_create(service, &c, &spec, on_key, NULL));
}

static enum kd_err random_batch(void) {
    const struct kd_caller c = app();
    struct kd_hsm_item items[20];
    for (size_t i = 0; i < KD_COUNT_OF(items); i++) {
        items[i] = (struct kd_hsm_item) { .n = 4 };
    }
    const struct kd_work w = { .operation = KD_OPERATION_RANDOM, .n_items = 20, .items = items };
    return wait_for(kd_service_work(service, &c, &w, on_work, NULL));
}

static enum kd_err derive(void) {
    const struct kd_caller c = app();
    const struct kd_derivation d = {
        .key = "base", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_AES_256
    };
    return wait_for(kd_service_derive(service, &c, &d, 1, on_derived, NULL));
}

// A worker whose answer finds no memory is given up; the next has the table's
// memory already.  So the worker's own buffers are made first.
START_TEST(requests_are_served_or_there_is_no_memory) {
    ck_assert_err(kd_service_open(fx.loop, fx.config, &service), KD_OK);
    fixture_run_until(is_ready);
    const struct kd_caller c = app();
    const struct kd_key_spec base = { .name = "base",
                                      .type = KD_KEY_AES_256,
                                      .usages = KD_USE_DERIVE };
    ck_assert_err(wait_for(kd_service_key_create(service, &c, &base, on_key, NULL)), KD_OK);
    ck_assert_uint_gt(each_in_turn(random_batch), 1);
    ck_assert_uint_gt(each_in_turn(derive), 4);
    ck_assert_uint_gt(each_in_turn(create), 4);
    ck_assert_uint_eq(kd_service_pending(service), 0);
    kd_service_close(service);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("memory");
    tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, files_are_read_or_there_is_no_memory);
    tcase_add_test(t, registries_are_filled_or_there_is_no_memory);
    tcase_add_test(t, service_opens_or_there_is_no_memory);
    tcase_add_test(t, requests_are_served_or_there_is_no_memory);
    return t;
}

UNIT_MAIN("keyd-memory", tcase_memory())
