// SPDX-License-Identifier: Apache-2.0
// Each allocation of what an operator asks of the bootstrap server fails in turn: nothing is done
// and there is no memory, or it is done; and the same is done when it is asked again.  And what a
// delete lets begin meanwhile.
#include "keyd/bootstrap.h"
#include "tests/unit/channel_fixture.h"
#include "tests/unit/failing_memory.h"

#include <stdio.h>
#include <string.h>

static bool is_done, is_deleting;
static enum kd_err last;
static char secret[KD_DEVICE_SECRET_TEXT_BYTES];
static char id[16];

static void set_up(void) {
    channel_setup();
    fx.config->ca.key = "ca";
    fx.config->ca.server_id = "s";
    fx.config->ca.base_uri = "https://pki.example";
    channel_start("start ok\n");
}

static bool done(void) {
    return is_done;
}

static void on_device(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                      const struct kd_device_info *device, const char *told) {
    ck_assert((device != NULL) == (err == KD_OK && !is_deleting));
    is_done = true;
    last = err;
    snprintf(secret, sizeof(secret), "%s", told);
}

static enum kd_err wait_for(enum kd_err accepted) {
    if (accepted == KD_OK) {
        is_done = false;
        fixture_run_until(done);
    }
    return accepted == KD_OK ? last : accepted;
}

static enum kd_err enrol(void) {
    const struct kd_caller c = service_caller_of(7);
    const struct kd_device_spec spec = { .id = id, .relation = "owner" };
    return wait_for(kd_bootstrap_enrol(sx.service, &c, &spec, on_device, NULL));
}

static enum kd_err new_secret(void) {
    const struct kd_caller c = service_caller_of(7);
    return wait_for(kd_bootstrap_new_secret(sx.service, &c, id, 0, on_device, NULL));
}

static enum kd_err revoke(void) {
    const struct kd_caller c = service_caller_of(7);
    return wait_for(kd_bootstrap_revoke(sx.service, &c, id, on_device, NULL));
}

static enum kd_err delete_device(void) {
    const struct kd_caller c = service_caller_of(7);
    is_deleting = true;
    const enum kd_err r = wait_for(kd_bootstrap_delete(sx.service, &c, id, on_device, NULL));
    is_deleting = false;
    return r;
}

static enum kd_device_state state(void) {
    struct kd_device_info info;
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(kd_bootstrap_device(sx.service, &c, id, &info), KD_OK);
    return info.state;
}

// A device of its own for each turn.
static bool next(unsigned turn) {
    snprintf(id, sizeof(id), "d%u", turn);
    return memory_fails_at(turn);
}

START_TEST(a_device_is_enrolled_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; next(turn); turn++) {
        const enum kd_err r = enrol();
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        if (r != KD_OK) {
            ck_assert_err(enrol(), KD_OK);
        }
        ck_assert_uint_gt(strlen(secret), 20);
        ck_assert_err(enrol(), KD_ERR_DEVICE_EXISTS);
    }
    ck_assert_uint_gt(turn, 3);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}
END_TEST

START_TEST(a_device_gets_a_new_secret_or_there_is_no_memory) {
    unsigned turn = 0;
    char before[sizeof(secret)];
    snprintf(id, sizeof(id), "d");
    ck_assert_err(enrol(), KD_OK);
    for (; memory_fails_at(turn); turn++) {
        memcpy(before, secret, sizeof(before));
        const enum kd_err r = new_secret();
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        if (r != KD_OK) {
            ck_assert_err(new_secret(), KD_OK);
        }
        ck_assert_str_ne(secret, before);
    }
    ck_assert_uint_gt(turn, 1);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}
END_TEST

START_TEST(a_device_is_revoked_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; next(turn); turn++) {
        memory_pause();
        ck_assert_err(enrol(), KD_OK);
        memory_resume();
        const enum kd_err r = revoke();
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        if (r != KD_OK) {
            ck_assert_int_eq(state(), KD_DEVICE_ENROLLED);
            ck_assert_err(revoke(), KD_OK);
        }
        ck_assert_int_eq(state(), KD_DEVICE_REVOKED);
    }
    ck_assert_uint_gt(turn, 0);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}
END_TEST

START_TEST(a_device_is_deleted_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; next(turn); turn++) {
        memory_pause();
        ck_assert_err(enrol(), KD_OK);
        ck_assert_err(delete_device(), KD_ERR_DEVICE_NOT_REVOKED);
        ck_assert_err(revoke(), KD_OK);
        memory_resume();
        const enum kd_err r = delete_device();
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        if (r != KD_OK) {
            ck_assert_int_eq(state(), KD_DEVICE_REVOKED);
            ck_assert_err(delete_device(), KD_OK);
        }
        ck_assert_err(delete_device(), KD_ERR_NO_DEVICE);
        ck_assert_err(enrol(), KD_ERR_DEVICE_DELETED);
    }
    ck_assert_uint_gt(turn, 1);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}
END_TEST

START_TEST(ids_of_deleted_devices_are_kept_up_to_a_limit) {
    fx.config->ca.devices_max = 2;
    for (unsigned i = 0; i <= 2 * KD_DELETED_PER_DEVICE; i++) {
        snprintf(id, sizeof(id), "d%u", i);
        ck_assert_err(enrol(), KD_OK);
        ck_assert_err(revoke(), KD_OK);
        ck_assert_err(delete_device(), i < 2 * KD_DELETED_PER_DEVICE ? KD_OK : KD_ERR_TOO_MANY);
    }
    ck_assert_int_eq(state(), KD_DEVICE_REVOKED);
}
END_TEST

static unsigned n_done;

static void count_done(void *arg, enum kd_err err, const char *detail KD_UNUSED,
                       const struct kd_device_info *device KD_UNUSED, const char *told KD_UNUSED) {
    *(enum kd_err *)arg = err;
    n_done++;
}

static bool both_done(void) {
    return n_done == 2;
}

START_TEST(nothing_else_begins_with_a_device_that_is_leaving) {
    const struct kd_caller c = service_caller_of(7);
    const struct kd_device_spec spec = { .id = "d" };
    enum kd_err revoked = KD_ERR_BUG, deleted = KD_ERR_BUG;
    snprintf(id, sizeof(id), "d");
    ck_assert_err(enrol(), KD_OK);
    ck_assert_err(kd_bootstrap_revoke(sx.service, &c, id, count_done, &revoked), KD_OK);
    ck_assert_err(kd_bootstrap_delete(sx.service, &c, id, count_done, &deleted), KD_OK);
    ck_assert_err(kd_bootstrap_delete(sx.service, &c, id, count_done, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(kd_bootstrap_revoke(sx.service, &c, id, count_done, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(kd_bootstrap_new_secret(sx.service, &c, id, 0, count_done, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(kd_bootstrap_enrol(sx.service, &c, &spec, count_done, NULL),
                  KD_ERR_DEVICE_EXISTS);
    fixture_run_until(both_done);
    ck_assert_err(revoked, KD_OK);
    ck_assert_err(deleted, KD_OK);
    ck_assert_err(enrol(), KD_ERR_DEVICE_DELETED);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("memory");
    tcase_add_checked_fixture(t, set_up, channel_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_device_is_enrolled_or_there_is_no_memory);
    tcase_add_test(t, a_device_gets_a_new_secret_or_there_is_no_memory);
    tcase_add_test(t, a_device_is_revoked_or_there_is_no_memory);
    tcase_add_test(t, a_device_is_deleted_or_there_is_no_memory);
    tcase_add_test(t, ids_of_deleted_devices_are_kept_up_to_a_limit);
    tcase_add_test(t, nothing_else_begins_with_a_device_that_is_leaving);
    return t;
}

UNIT_MAIN("bootstrap memory", tcase_memory())
