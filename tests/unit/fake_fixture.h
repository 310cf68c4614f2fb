// SPDX-License-Identifier: Apache-2.0
// fake_fixture.h: a token on the fake module with three sessions and one key of
// each kind, as the tests of hsm/ begin with.
#ifndef KD_TESTS_FAKE_FIXTURE_H
#define KD_TESTS_FAKE_FIXTURE_H

#include "exec_call.h"
#include "fake_p11.h"

enum { SESSIONS = 3 };

struct hsm_fixture {
    char pin_file[32];
    struct kd_token token;
    struct kd_session sessions[SESSIONS];
    struct call_key signer;
    struct call_key other_signer;
    struct call_key deriver;
    struct call_key mac_key;
    struct call_key aes_key;
    struct kd_recipe recipe; // of a secret that is derived with `deriver`
};
extern struct hsm_fixture hf;

void hsm_fixture_setup(void);
void hsm_fixture_teardown(void); // no session is left
void hsm_fixture_write_pin(const char *pin);

#endif
