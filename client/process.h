// SPDX-License-Identifier: Apache-2.0
// process.h: runs keyd and keyd-hsm for init, doctor and bench, and takes what
// they say.  No shell, nothing secret in arguments or environment.
#ifndef KD_CLIENT_PROCESS_H
#define KD_CLIENT_PROCESS_H

#include "base/base.h"

#define KD_PROCESS_OUTPUT_MAX_BYTES (1u << 20)

struct kd_process {
    struct kd_buf out;
    struct kd_buf err;
    int status;        // exit code; 128 + signal where one ended it
    uint32_t grace_ms; // from SIGTERM to SIGKILL
};
#define KD_PROCESS_INIT                                                                            \
    ((struct kd_process) { .out.max = KD_PROCESS_OUTPUT_MAX_BYTES,                                 \
                           .err.max = KD_PROCESS_OUTPUT_MAX_BYTES,                                 \
                           .grace_ms = 10000 })
void kd_process_wipe(struct kd_process *p);
KD_AUTO_DEFINE_IN_PLACE(process, struct kd_process, kd_process_wipe)

// Runs argv[0] (a path) to its end, with no input.  KD_ERR_NO_FILE: it is not
// there; KD_ERR_DEADLINE: it was still running and has been ended, by
// SIGTERM and p->grace_ms later by SIGKILL;
// KD_ERR_ITEM_TOO_LARGE: it said too much.
KD_MUST_CHECK enum kd_err kd_process_run(const char *const argv[], uint32_t timeout_ms,
                                         struct kd_process *p);

// Finds a program of keyd: in `folder` if given, else beside this program
// (a build tree), else where it is installed.  Appends its path;
// KD_ERR_NO_FILE where there is none.
KD_MUST_CHECK enum kd_err kd_process_find(const char *folder, const char *name,
                                          struct kd_buf *path);

#endif
