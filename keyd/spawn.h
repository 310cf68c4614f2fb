// SPDX-License-Identifier: Apache-2.0
// spawn.h: starts a worker program with one end of a socket pair as its
// descriptor 3, and nothing else of ours.
#ifndef KD_KEYD_SPAWN_H
#define KD_KEYD_SPAWN_H

#include "base/base.h"

#include <sys/types.h>

struct kd_child {
    pid_t pid;
    int pid_fd; // readable when it has ended
    int fd;     // our end, not blocking
};

// KD_ERR_SYSTEM, KD_ERR_NO_FILE: the log says why.  The caller closes both
// descriptors and reaps the process (waitpid).
KD_MUST_CHECK enum kd_err kd_spawn(const char *program, struct kd_child *out);

// As waitpid does, again where a signal came in between.  False: it has not ended, or is not ours.
bool kd_reap(pid_t pid, bool waits, int *status);

#endif
