// SPDX-License-Identifier: Apache-2.0
// channel_ops.h: the worker's functions for the channel's requests
// (hsm/channel.h), as exec.c calls them.
#ifndef KD_HSM_CHANNEL_OPS_H
#define KD_HSM_CHANNEL_OPS_H

#include "hsm/exec.h"

kd_exec_fn kd_exec_hs_start, kd_exec_hs_read, kd_exec_hs_finish, kd_exec_hs_confirm,
    kd_exec_hs_drop; // steps.c
kd_exec_fn kd_exec_record_seal, kd_exec_record_open, kd_exec_ticket_read, kd_exec_ticket_update,
    kd_exec_envelope_open, kd_exec_session_release; // records.c

#endif
