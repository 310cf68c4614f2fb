// SPDX-License-Identifier: Apache-2.0
// service_fixture.h: the service on the fake worker, and calls that wait for
// their answer.  The caller is uid 7 (all allowed) where none is given.
#ifndef KD_TESTS_SERVICE_FIXTURE_H
#define KD_TESTS_SERVICE_FIXTURE_H

#include "keyd/service.h"
#include "tests/unit/keyd_fixture.h"
#include "tests/unit/unit.h"

struct service_fixture {
    struct kd_service *service;
    bool is_done;
    enum kd_err last_err;
    char last_detail[256];
    char key_text[512]; // "name:type:usages:number=state,..."
    struct kd_work_result results[8];
    char last_out[64];
    size_t n_results;
    struct kd_derivation_result derived[8];
    size_t n_derived;
    size_t released_bytes;
};

extern struct service_fixture sx;

bool service_ready(void);
void service_reset(void);
void service_open(void);
void service_setup(void);
void service_teardown(void);
void service_start(const char *script);
struct kd_caller service_caller_of(uid_t uid);
void service_on_key(void *arg, enum kd_err err, const char *detail, const struct kd_key *key);
enum kd_err service_wait_for(enum kd_err accepted);
enum kd_err service_create(uid_t uid, const char *name, enum kd_key_type type, unsigned usages);
enum kd_err service_rotate(const char *name);
enum kd_err service_set_state(const char *name, uint32_t number, bool enable);
enum kd_err service_delete(const char *name);
enum kd_err service_delete_version(const char *name, uint32_t number);
void service_on_work(void *arg, enum kd_err err, const char *detail,
                     const struct kd_work_result *from, size_t n);
enum kd_err service_work(struct kd_work work, const struct kd_hsm_item *items, size_t n);
enum kd_err service_mac(const char *key, const char *data);
void service_on_derived(void *arg, enum kd_err err, const char *detail,
                        const struct kd_derivation_result *from, size_t n);
enum kd_err service_derive(const struct kd_derivation *items, size_t n);
struct kd_bytes service_point(uint8_t out[static 97]); // a public key of P-256

#endif
