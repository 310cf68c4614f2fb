// SPDX-License-Identifier: Apache-2.0
// main.c: keydctl.  Everything is in ctl.c; here is what concerns the process.
#include "client/ctl.h"

#include <signal.h>
#include <sys/prctl.h>

int main(int argc, char *argv[]) {
    kd_ctl_init_library();
    (void)prctl(PR_SET_DUMPABLE, 0); // no core dump, no other process of the user looks in
    (void)signal(SIGPIPE, SIG_IGN);
    kd_log_set_level(KD_LOG_ERROR);
    return kd_ctl_run(argc, argv, stdout, stderr);
}
