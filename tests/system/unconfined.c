// SPDX-License-Identifier: Apache-2.0
// Runs the program of its arguments where system calls cannot be filtered any more.
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    if (argc < 2 || f == NULL ||
        seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(seccomp), 0) != 0 ||
        seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 1,
                         SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP)) != 0 ||
        seccomp_load(f) != 0) {
        fputs("no filter\n", stderr);
        return 99;
    }
    seccomp_release(f);
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return 98;
}
