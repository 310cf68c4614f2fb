// SPDX-License-Identifier: Apache-2.0
// confine.h: what a process gives up for good before it takes anything from outside.
#ifndef KD_BASE_CONFINE_H
#define KD_BASE_CONFINE_H

#include "attr.h"
#include "err.h"

// No core dump, no other process looks inside, nothing that is run gets more rights than this
// process has, or a descriptor that it was left with.  KD_ERR_SYSTEM.
KD_MUST_CHECK enum kd_err kd_confine_process(void);

// Which system calls stay possible.
enum kd_confinement {
    // keyd-fetch: it connects, resolves names and reads files; it writes none, runs nothing and
    // listens nowhere.
    KD_CONFINE_CLIENT,
    // keyd-gateway: the same, and it listens.
    KD_CONFINE_SERVER,
    // keyd, which runs workers, and keyd-hsm, which has a module in it that nobody knows: all but
    // what only an intruder would call.  Who is run inherits it.
    KD_CONFINE_PARENT,
};

// After kd_confine_process.  KD_ERR_SYSTEM, KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_confine_calls(enum kd_confinement confinement);

#endif
