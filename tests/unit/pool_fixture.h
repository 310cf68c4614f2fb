// SPDX-License-Identifier: Apache-2.0
// pool_fixture.h: a pool of fake workers, requests to them and what came back.
#ifndef KD_TESTS_POOL_FIXTURE_H
#define KD_TESTS_POOL_FIXTURE_H

#include "keyd/workers.h"
#include "tests/unit/keyd_fixture.h"

enum { ANSWERS_MAX = 64 };

struct answer {
    bool is_done;
    enum kd_err err;
    char out[64];
    enum kd_err verdict; // what the callback says of the results
};

struct pool_fixture {
    struct kd_workers *pool;
    struct kd_tally tally;
    struct answer answers[ANSWERS_MAX];
    unsigned n_sent;
    unsigned n_done;
    unsigned n_ready; // times that a worker got ready
    char pin_record[80];
    unsigned n_pin_records;
};

extern struct pool_fixture pf;

void pool_setup(void);
void pool_teardown(void);
// So many fake workers with this script (fake_worker.c), and pf.pin_record.
void pool_start(unsigned processes, const char *script);
bool pool_all_ready(void);
bool pool_all_done(void);
// The end of a call: `arg` is a struct answer.
KD_MUST_CHECK enum kd_err pool_on_reply(void *arg, const struct kd_hsm_reply *reply,
                                        struct kd_reader *items);
// One item, which the next of pf.answers is for.
KD_MUST_CHECK enum kd_err pool_send_op(enum kd_hsm_op op, const char *data);
void pool_send_macs(unsigned n, const char *data);
unsigned pool_count_answers(enum kd_err err);
uint32_t pool_restarts(void);

#endif
