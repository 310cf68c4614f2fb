// SPDX-License-Identifier: Apache-2.0
// device_detail.h: the sentence of keyd_detail, one for each thread.
#ifndef KD_CLIENT_DEVICE_DETAIL_H
#define KD_CLIENT_DEVICE_DETAIL_H

#include "base/base.h"
#include "client/keyd.h"

// libkeyd-service has its sentences in the same place, so these three leave libkeyd for it.
#pragma GCC visibility push(default)

// At the beginning of each function of keyd.h; and at its end, which gives back err.
void kd_detail_begin(void);
enum keyd_err kd_detail_end(enum keyd_err err);

// Where something fails: the first says it.  Gives back err.
KD_PRINTF(2, 3) enum keyd_err kd_detail_fail(enum keyd_err err, const char *format, ...);

#pragma GCC visibility pop

#endif
