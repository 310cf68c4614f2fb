// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/service_fixture.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

struct service_fixture sx;

static bool done(void) {
    return sx.is_done;
}

bool service_ready(void) {
    const char *detail;
    return kd_service_ready(sx.service, &detail) == KD_OK;
}

void service_reset(void) {
    kd_service_close(sx.service);
    sx.service = NULL;
    fixture_new_loop();
}

void service_open(void) {
    ck_assert_err(kd_service_open(fx.loop, fx.config, &sx.service), KD_OK);
}

void service_setup(void) {
    fixture_setup();
    sx.service = NULL;
    sx.is_done = false;
}

void service_teardown(void) {
    kd_service_close(sx.service);
    sx.service = NULL;
    fixture_teardown();
}

void service_start(const char *script) {
    fixture_script(script);
    service_open();
    fixture_run_until(service_ready);
}

struct kd_caller service_caller_of(uid_t uid) {
    struct kd_caller c = { 0 };
    const struct kd_credential credential = { .has_peer = true, .uid = uid, .gid = 65000 };
    ck_assert_err(kd_service_identify(sx.service, &credential, &c), KD_OK);
    return c;
}

void service_on_key(void *arg KD_UNUSED, enum kd_err err, const char *detail,
                    const struct kd_key *key) {
    ck_assert(!sx.is_done);
    ck_assert_int_eq(key != NULL && err != KD_OK, 0);
    sx.is_done = true;
    sx.last_err = err;
    snprintf(sx.last_detail, sizeof(sx.last_detail), "%s", detail);
    sx.key_text[0] = '\0';
    if (key != NULL) {
        int n = snprintf(sx.key_text, sizeof(sx.key_text), "%s:%s:%u:", key->name,
                         kd_key_type_name(key->type), key->usages);
        for (size_t i = 0; i < key->n_versions; i++) {
            n += snprintf(sx.key_text + n, sizeof(sx.key_text) - (size_t)n, "%u=%d,",
                          key->versions[i].number, (int)key->versions[i].state);
        }
    }
}

// Waits for a change that was accepted; its result.
enum kd_err service_wait_for(enum kd_err accepted) {
    if (accepted != KD_OK) {
        return accepted;
    }
    ck_assert(!sx.is_done); // never before the call returns
    fixture_run_until(done);
    sx.is_done = false;
    return sx.last_err;
}

enum kd_err service_create(uid_t uid, const char *name, enum kd_key_type type, unsigned usages) {
    const struct kd_caller c = service_caller_of(uid);
    const struct kd_key_spec spec = { .name = name, .type = type, .usages = usages };
    return service_wait_for(kd_service_key_create(sx.service, &c, &spec, service_on_key, NULL));
}

enum kd_err service_rotate(const char *name) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(kd_service_key_rotate(sx.service, &c, name, service_on_key, NULL));
}

enum kd_err service_set_state(const char *name, uint32_t number, bool enable) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(
        kd_service_key_set_state(sx.service, &c, name, number, enable, service_on_key, NULL));
}

enum kd_err service_delete(const char *name) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(kd_service_key_delete(sx.service, &c, name, service_on_key, NULL));
}

enum kd_err service_delete_version(const char *name, uint32_t number) {
    const struct kd_caller c = service_caller_of(7);
    return service_wait_for(
        kd_service_key_delete_version(sx.service, &c, name, number, service_on_key, NULL));
}

void service_on_work(void *arg KD_UNUSED, enum kd_err err, const char *detail,
                     const struct kd_work_result *from, size_t n) {
    ck_assert(!sx.is_done);
    sx.is_done = true;
    sx.last_err = err;
    snprintf(sx.last_detail, sizeof(sx.last_detail), "%s", detail);
    sx.n_results = n;
    for (size_t i = 0; i < n && i < KD_COUNT_OF(sx.results); i++) {
        sx.results[i] = from[i];
    }
    if (n > 0 && from[0].err == KD_OK) {
        snprintf(sx.last_out, sizeof(sx.last_out), "%.*s", (int)from[0].out.n,
                 from[0].out.n == 0 ? "" : (const char *)from[0].out.p);
    }
}

enum kd_err service_work(struct kd_work work, const struct kd_hsm_item *items, size_t n) {
    const struct kd_caller c = service_caller_of(7);
    work.items = items;
    work.n_items = n;
    return service_wait_for(kd_service_work(sx.service, &c, &work, service_on_work, NULL));
}

enum kd_err service_mac(const char *key, const char *data) {
    const struct kd_hsm_item item = { .data = kd_bytes_of_text(data) };
    return service_work((struct kd_work) { .operation = KD_OPERATION_MAC, .key = key }, &item, 1);
}

void service_on_derived(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                        const struct kd_derivation_result *from, size_t n) {
    ck_assert(!sx.is_done);
    sx.is_done = true;
    sx.last_err = err;
    sx.n_derived = n;
    sx.released_bytes = 0;
    for (size_t i = 0; i < n && i < KD_COUNT_OF(sx.derived); i++) {
        sx.derived[i] = from[i];
        sx.released_bytes += from[i].out.n;
    }
}

enum kd_err service_derive(const struct kd_derivation *items, size_t n) {
    const struct kd_caller c = service_caller_of(7);
    const enum kd_err r =
        service_wait_for(kd_service_derive(sx.service, &c, items, n, service_on_derived, NULL));
    return r != KD_OK || n != 1 ? r : sx.derived[0].err;
}

struct kd_bytes service_point(uint8_t out[static 97]) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    size_t n = 0;
    ck_assert_int_eq(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, out, 97, &n), 1);
    EVP_PKEY_free(key);
    return (struct kd_bytes) { out, n };
}
