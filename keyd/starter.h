// SPDX-License-Identifier: Apache-2.0
// starter.h: what starts, kills and reaps workers.  keyd does so itself; with workers.user a
// process of its own does.  It is forked before keyd takes anything from outside, becomes that
// user, and starts nothing but the configured program with the configured token.  So who gets
// into the front reads neither the PIN nor the token's files, and runs nothing as their user.
// For the thread of the loop.
#ifndef KD_KEYD_STARTER_H
#define KD_KEYD_STARTER_H

#include "keyd/config.h"
#include "keyd/spawn.h"

// Once, before there are threads; without workers.user there is nothing to do.  Then this process
// gives up the rights that it had for it.  The starter calls `confine` as that user. KD_ERR_CONFIG,
// KD_ERR_SYSTEM, KD_ERR_NO_MEMORY: the log says why.
KD_MUST_CHECK enum kd_err kd_starter_open(const struct kd_config *config, bool (*confine)(void));
// A descriptor that is readable when the starter is gone, and with it the workers; -1: there is
// none.
int kd_starter_fd(void);
// When all workers have ended.
void kd_starter_close(void);

// A worker that has its HELLO.  The caller closes both descriptors and reaps it.
KD_MUST_CHECK enum kd_err kd_starter_start(const struct kd_config *config,
                                           struct kd_bytes refused_pin, struct kd_child *out);
void kd_starter_kill(const struct kd_child *child);
// False: it has not ended, or the one who knows is gone.  The status is that of waitpid.
bool kd_starter_reap(const struct kd_child *child, bool waits, int *status);

#endif
