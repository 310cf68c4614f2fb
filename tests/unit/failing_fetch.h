// SPDX-License-Identifier: Apache-2.0
// failing_fetch.h: the status of keyd-fetch where an allocation has failed (failing_fetch.c).
#ifndef KD_TESTS_FAILING_FETCH_H
#define KD_TESTS_FAILING_FETCH_H

#define FAILING_FETCH_HAS_FAILED 64 // is added

#endif
