// SPDX-License-Identifier: Apache-2.0
// keyd_assert.h: what a call of libkeyd or libkeyd-service gives back.
#ifndef KD_TESTS_KEYD_ASSERT_H
#define KD_TESTS_KEYD_ASSERT_H

#include "client/keyd.h"
#include "tests/unit/unit.h"

#define ck_assert_keyd(r, expected)                                                                \
    do {                                                                                           \
        const enum keyd_err got_ = (r);                                                            \
        ck_assert_msg(got_ == (expected), "%s, not %s: %s", keyd_err_name(got_),                   \
                      keyd_err_name(expected), keyd_detail());                                     \
    } while (0)

#endif
