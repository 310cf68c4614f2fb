// SPDX-License-Identifier: Apache-2.0
// main.c: keydctl.  Everything is in ctl.c; here is what concerns the process.
#include "client/ctl.h"

#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

// Plaintexts and released values pass through JSON texts: nothing of them is
// left in memory that is free.
static void wiping_free(void *p) {
    if (p != NULL) {
        kd_wipe(p, malloc_usable_size(p));
        free(p);
    }
}

int main(int argc, char *argv[]) {
    json_set_alloc_funcs(malloc, wiping_free);
    (void)prctl(PR_SET_DUMPABLE, 0); // no core dump, no other process of the user looks in
    (void)signal(SIGPIPE, SIG_IGN);
    kd_log_set_level(KD_LOG_ERROR);
    return kd_ctl_run(argc, argv, stdout, stderr);
}
