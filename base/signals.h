// SPDX-License-Identifier: Apache-2.0
// signals.h: what a daemon is asked by signals, as events of its loop.  SIGPIPE is ignored from
// here on.  For the main thread, before it makes others: they inherit what is blocked.
#ifndef KD_BASE_SIGNALS_H
#define KD_BASE_SIGNALS_H

#include "attr.h"
#include "err.h"
#include "loop.h"

enum kd_asked { KD_ASKED_TO_STOP, KD_ASKED_TO_RELOAD }; // SIGTERM or SIGINT; SIGHUP
typedef void kd_asked_fn(void *arg, enum kd_asked what);

struct kd_signals;

// KD_ERR_SYSTEM, KD_ERR_NO_MEMORY.  One at a time.
KD_MUST_CHECK enum kd_err kd_signals_new(struct kd_loop *loop, kd_asked_fn *fn, void *arg,
                                         struct kd_signals **out);
void kd_signals_free(struct kd_signals *s); // before the loop; the signals stay blocked

#endif
