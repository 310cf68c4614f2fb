// SPDX-License-Identifier: Apache-2.0
// hsm_channel_cases.h: tests of the worker's part of the channel on the token of
// token_fixture.h.
#ifndef KD_TESTS_HSM_CHANNEL_CASES_H
#define KD_TESTS_HSM_CHANNEL_CASES_H

#include <check.h>

TCase *tcase_channel_handshakes(void);
TCase *tcase_channel_sessions(void);

#endif
