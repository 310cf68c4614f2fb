// SPDX-License-Identifier: Apache-2.0
#include "client/ctl.h"
enum kd_exit kd_cmd_init(struct kd_ctl *ctl) {
    return kd_ctl_fail(ctl, KD_EXIT_USAGE, "not yet");
}
