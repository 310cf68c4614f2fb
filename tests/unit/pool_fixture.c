// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/pool_fixture.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>

struct pool_fixture pf;

static void on_ready(void *arg KD_UNUSED) {
    pf.n_ready++;
}

static void on_pin_record(void *arg KD_UNUSED, struct kd_bytes record) {
    pf.n_pin_records++;
    snprintf(pf.pin_record, sizeof(pf.pin_record), "%.*s", (int)record.n,
             record.n == 0 ? "" : (const char *)record.p);
}

void pool_setup(void) {
    fixture_setup();
    memset(&pf.tally, 0, sizeof(pf.tally));
    memset(pf.answers, 0, sizeof(pf.answers));
    memset(pf.pin_record, 0, sizeof(pf.pin_record));
    pf.n_sent = pf.n_done = pf.n_ready = pf.n_pin_records = 0;
}

void pool_teardown(void) {
    kd_workers_free(pf.pool);
    pf.pool = NULL;
    fixture_teardown();
}

void pool_start(unsigned processes, const char *script) {
    const struct kd_workers_owner owner = { .ready = on_ready, .pin_record = on_pin_record };
    fixture_script(script);
    fx.config->workers.processes = processes;
    ck_assert_err(kd_workers_new(fx.loop, fx.config, &pf.tally, &owner,
                                 kd_bytes_of_text(pf.pin_record), &pf.pool),
                  KD_OK);
}

bool pool_all_ready(void) {
    struct kd_service_report r = { 0 };
    kd_workers_report(pf.pool, &r);
    for (size_t i = 0; i < r.n_workers; i++) {
        if (r.workers[i].state != KD_WORKER_READY) {
            return false;
        }
    }
    return true;
}

bool pool_all_done(void) {
    return pf.n_done == pf.n_sent;
}

enum kd_err pool_on_reply(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct answer *a = arg;
    struct kd_hsm_result result = { 0 };
    ck_assert(!a->is_done); // exactly once
    a->is_done = true;
    a->err = reply->err;
    pf.n_done++;
    for (size_t i = 0; reply->err == KD_OK && i < reply->n_items; i++) {
        if (kd_hsm_get_result(items, KD_HSM_MAC, &result) != KD_OK) {
            a->err = KD_ERR_MALFORMED;
            return KD_ERR_MALFORMED;
        }
        snprintf(a->out, sizeof(a->out), "%.*s", (int)result.out.n, (const char *)result.out.p);
    }
    return a->verdict;
}

enum kd_err pool_send_op(enum kd_hsm_op op, const char *data) {
    struct kd_hsm_request head = { .op = op, .n_items = 1 };
    const struct kd_hsm_item item = { .data = kd_bytes_of_text(data),
                                      .key = { .type = KD_KEY_AES_256,
                                               .id = kd_bytes_of_text("id") } };
    struct kd_call *c = NULL;
    enum kd_err r = kd_workers_begin(pf.pool, &head, NULL, &c);
    if (r != KD_OK) {
        return r;
    }
    kd_call_put(c, &item);
    ck_assert_uint_lt(pf.n_sent, ANSWERS_MAX);
    return kd_call_send(c, pool_on_reply, &pf.answers[pf.n_sent++]);
}

void pool_send_macs(unsigned n, const char *data) {
    for (unsigned i = 0; i < n; i++) {
        ck_assert_err(pool_send_op(KD_HSM_MAC, data), KD_OK);
    }
}

unsigned pool_count_answers(enum kd_err err) {
    unsigned n = 0;
    for (unsigned i = 0; i < pf.n_sent; i++) {
        n += pf.answers[i].is_done && pf.answers[i].err == err;
    }
    return n;
}

uint32_t pool_restarts(void) {
    struct kd_service_report r = { 0 };
    kd_workers_report(pf.pool, &r);
    uint32_t n = 0;
    for (size_t i = 0; i < r.n_workers; i++) {
        n += r.workers[i].restarts;
    }
    return n;
}
