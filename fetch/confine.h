// SPDX-License-Identifier: Apache-2.0
// confine.h: what keyd-fetch gives up before it talks to anybody.
#ifndef KD_FETCH_CONFINE_H
#define KD_FETCH_CONFINE_H

#include "base/base.h"

// No core dump, no look inside, no new privileges, no environment; it ends with its parent.
KD_MUST_CHECK enum kd_err kd_confine_early(void);
// A list of system calls: it connects, resolves names and reads files; it writes none, runs
// nothing, listens nowhere and looks into no other process.
KD_MUST_CHECK enum kd_err kd_confine_calls(void);

#endif
