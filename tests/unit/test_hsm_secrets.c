// SPDX-License-Identifier: Apache-2.0
// Derived secrets that a worker keeps: room, forgetting, threads, resets.
#include "fake_fixture.h"
#include "hsm/token_keys.h"
#include "unit.h"

#include <pthread.h>
#include <string.h>

static struct kd_session *const s = &hf.sessions[0];
static const char text[] = "some text";

static struct kd_recipe secret_number(uint8_t i) {
    struct kd_recipe r = call_recipe(&hf.deriver, hf.signer.ref.proof, i, KD_KEY_HMAC_SHA256);
    r.steps[0].info.n = i; // of "info": another secret for each
    return r;
}

enum { SECRETS = 5 };

// The MAC of the text by each secret, from a session of its own choice.
static void mac_all(struct kd_session *by, uint8_t macs[static SECRETS][32], bool is_first) {
    for (uint8_t i = 0; i < SECRETS; i++) {
        kd_auto(call) struct call_result c = { 0 };
        const struct kd_recipe r = secret_number(i);
        ck_assert_err(call_mac(by, NULL, &r, kd_bytes_of_text(text), &c), KD_OK);
        if (is_first) {
            memcpy(macs[i], c.result.out.p, 32);
        }
        ck_assert(kd_bytes_equal(c.result.out, (struct kd_bytes) { macs[i], 32 }));
    }
}

START_TEST(no_more_secrets_are_kept_than_said_and_all_stay_right) {
    uint8_t macs[SECRETS][32];
    mac_all(s, macs, true);
    ck_assert_uint_eq(fake_count().session_objects, 2);
    fake_count_anew();
    for (size_t round = 0; round < 4; round++) {
        mac_all(&hf.sessions[round % SESSIONS], macs, false);
        ck_assert_uint_eq(fake_count().session_objects, 2);
    }
    // Two that are kept, the new one and what lies on the way to it.
    ck_assert_uint_le(fake_count().most_session_objects, 4);
}
END_TEST

START_TEST(a_forgotten_secret_is_gone_from_the_token) {
    uint8_t macs[SECRETS][32];
    mac_all(s, macs, true);
    for (uint8_t i = 0; i < SECRETS; i++) {
        const struct kd_recipe r = secret_number(i);
        ck_assert_err(call_forget(&hf.sessions[i % SESSIONS], &r), KD_OK);
        ck_assert_err(call_forget(s, &r), KD_OK); // again: nothing
    }
    ck_assert_uint_eq(fake_count().session_objects, 0);
    mac_all(s, macs, false);
}
END_TEST

START_TEST(a_secret_in_use_is_not_destroyed_to_make_room) {
    struct kd_cached *pinned[SECRETS];
    CK_OBJECT_HANDLE handles[SECRETS];
    for (uint8_t i = 0; i < SECRETS; i++) {
        const struct kd_recipe r = secret_number(i);
        ck_assert_err(kd_cached_get(&hf.sessions[i % SESSIONS], &r, &pinned[i], &handles[i]),
                      KD_OK);
    }
    ck_assert_uint_eq(fake_count().session_objects, SECRETS);
    const struct kd_recipe first = secret_number(0);
    ck_assert_err(call_forget(s, &first), KD_OK);
    ck_assert_uint_eq(fake_count().session_objects, SECRETS); // still in use
    for (size_t i = 0; i < SECRETS; i++) {
        kd_cached_release(s, pinned[i], false);
    }
    ck_assert_uint_eq(fake_count().session_objects, 2);
}
END_TEST

// The token holds fewer objects than keyd was told to keep.
START_TEST(a_full_token_bounds_the_speed_and_not_the_number_of_secrets) {
    uint8_t macs[SECRETS][32];
    mac_all(s, macs, true);
    hf.token.secrets_max = 100;
    // What is on the way to a secret, and the secret.
    for (unsigned objects = 2; objects <= SECRETS + 1; objects++) {
        fake_limit_session_objects(objects);
        for (size_t round = 0; round < 3; round++) {
            mac_all(&hf.sessions[round % SESSIONS], macs, false);
        }
        ck_assert_uint_le(fake_count().session_objects, objects);
    }
    fake_limit_session_objects(1);
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_recipe r = secret_number(SECRETS);
    ck_assert_err(call_mac(s, NULL, &r, kd_bytes_of_text(text), &c), KD_ERR_TOKEN_FULL);
    fake_limit_session_objects(0);
    ck_assert_err(call_mac(s, NULL, &r, kd_bytes_of_text(text), &c), KD_OK);
}
END_TEST

// A pair is two objects, and each secret that gives way is one.
START_TEST(secrets_give_way_to_what_takes_more_than_one_object) {
    uint8_t macs[SECRETS][32];
    struct kd_token_keys keys = { .session = s };
    struct kd_point point;
    uint64_t key = 0;
    hf.token.secrets_max = 100;
    mac_all(s, macs, true);
    fake_limit_session_objects(SECRETS);
    ck_assert_err(kd_session_enter(s), KD_OK);
    keys.generation = s->generation;
    ck_assert_err(kd_keyops_token.generate(&keys, KD_CURVE_P256, &key, &point), KD_OK);
    ck_assert_uint_eq(fake_count().session_objects, SECRETS - 2 + 1); // without the public half
    kd_keyops_token.destroy(&keys, key);
    kd_session_leave(s);
    fake_limit_session_objects(0);
    mac_all(s, macs, false);
}
END_TEST

// A secret in use while the device starts anew: its handle may be a key's now.
START_TEST(a_secret_of_before_a_reset_is_never_destroyed_by_its_handle) {
    struct kd_cached *pinned;
    CK_OBJECT_HANDLE handle;
    const struct kd_recipe r = secret_number(1);
    ck_assert_err(kd_cached_get(&hf.sessions[1], &r, &pinned, &handle), KD_OK);
    fake_reset_device();
    kd_auto(call) struct call_result c = { 0 };
    ck_assert_err(call_sign(s, &hf.signer, kd_bytes_of_text(text), &c),
                  KD_OK); // session 0 has healed, session 1 does not know yet
    ck_assert_err(call_forget(s, &r), KD_OK);
    fake_fail_always("C_DestroyObject", CKR_GENERAL_ERROR);
    kd_cached_release(&hf.sessions[1], pinned, false);
    ck_assert_ptr_null(fake_failed_call()); // was not called
    fake_fail(0, CKR_OK);
}
END_TEST

static uint8_t macs_of[SESSIONS][SECRETS][32];

static void *mac_often(void *arg) {
    const size_t i = (size_t)((struct kd_session *)arg - hf.sessions);
    for (size_t round = 0; round < 60; round++) {
        mac_all(arg, macs_of[i], round == 0);
        if (i == 0 && round % 20 == 10) {
            fake_reset_device();
        }
    }
    return NULL;
}

START_TEST(threads_share_secrets_while_they_give_way_and_the_device_resets) {
    pthread_t threads[SESSIONS];
    for (size_t i = 0; i < SESSIONS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, mac_often, &hf.sessions[i]), 0);
    }
    for (size_t i = 0; i < SESSIONS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < SESSIONS; i++) { // one that had ended before the last reset
        mac_all(&hf.sessions[i], macs_of[i], false);
    }
    const struct fake_counts c = fake_count();
    ck_assert_uint_eq(c.session_objects, kd_cached_count(&hf.token));
    ck_assert_uint_le(c.session_objects, 2);
    ck_assert_uint_eq(c.sessions, SESSIONS);
    ck_assert_uint_eq(c.active, 0);
    ck_assert_uint_eq(c.logins, 0);
}
END_TEST

static TCase *tcase_secrets(void) {
    TCase *c = tcase_create("secrets");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, hsm_fixture_setup, hsm_fixture_teardown);
    tcase_add_test(c, no_more_secrets_are_kept_than_said_and_all_stay_right);
    tcase_add_test(c, a_forgotten_secret_is_gone_from_the_token);
    tcase_add_test(c, a_secret_in_use_is_not_destroyed_to_make_room);
    tcase_add_test(c, a_full_token_bounds_the_speed_and_not_the_number_of_secrets);
    tcase_add_test(c, secrets_give_way_to_what_takes_more_than_one_object);
    tcase_add_test(c, a_secret_of_before_a_reset_is_never_destroyed_by_its_handle);
    tcase_add_test(c, threads_share_secrets_while_they_give_way_and_the_device_resets);
    return c;
}

UNIT_MAIN("hsm_secrets", tcase_secrets())
