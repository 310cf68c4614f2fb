// SPDX-License-Identifier: Apache-2.0
// command.h: keyd-hsm's single commands, for people and for keydctl: they look
// at modules and tokens, print JSON, and end.
#ifndef KD_HSM_COMMAND_H
#define KD_HSM_COMMAND_H

#include "hsm/open.h"

struct kd_command_options {
    struct kd_hsm_hello hello; // --module, --init-args, --env, --uri, --pin-file
    const char *label;         // --label, of a new token
    const char *so_pin_file;   // --so-pin-file
    unsigned duration_ms;      // --seconds or --ms, of each measurement
    const char *only;          // --only: what is measured, with commas between; NULL: all
};

// Each gives the exit status; what went wrong stands on standard error.
int kd_command_list(const struct kd_command_options *o);
int kd_command_init_token(const struct kd_command_options *o);
int kd_command_probe(const struct kd_command_options *o);
int kd_command_objects(const struct kd_command_options *o);
int kd_command_bench(const struct kd_command_options *o); // bench.c

// Opens as a worker would; NULL after a failure, which has been told.
struct kd_opened *kd_command_open(const struct kd_command_options *o, bool with_probe);
void kd_command_close(struct kd_opened *opened);

#endif
