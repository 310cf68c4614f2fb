// SPDX-License-Identifier: Apache-2.0
// confine.c: filters of system calls (seccomp).  Where there is a list of what is allowed, other
// calls fail with EPERM, so that a resolver's module that wants more than glibc's own goes without
// it; what only an intruder would call ends the process.
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

// Looks for leaks at the end by ptrace.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

enum { FIRST_OWN_FD = 3 };

enum kd_err kd_confine_process(void) {
    const struct rlimit none = { 0, 0 };
    // Who started us may have left some open; where the kernel has no such call they stay.
    (void)close_range(FIRST_OWN_FD, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    return setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
                   prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
               ? KD_OK
               : KD_ERR_SYSTEM;
}

// ---- the lists -------------------------------------------------------------

static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(close),
    SCMP_SYS(lseek),
    SCMP_SYS(dup),
    SCMP_SYS(getdents64),
    SCMP_SYS(stat),
    SCMP_SYS(fstat),
    SCMP_SYS(lstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(fstatfs),
    SCMP_SYS(statfs),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),
    // memory, threads, signals
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(mlock),
    SCMP_SYS(mlock2),
    SCMP_SYS(munlock),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(membarrier),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrlimit),
    // time
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    // network
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(socketpair),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(shutdown),
};

// Only for who listens.
static const int serving[] = {
    SCMP_SYS(listen),        SCMP_SYS(accept),         SCMP_SYS(accept4),
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),      SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),   SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
    SCMP_SYS(signalfd4),     SCMP_SYS(sendfile),
};
enum { CONNECTING = 3 }; // the first of them end a process that only connects

// Nobody's.
static const int hostile[] = {
    // other processes
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(process_madvise),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(kcmp),
    // the kernel and its attack surface
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(syslog),
    // the system
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(quotactl),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(reboot),
    SCMP_SYS(acct),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(vhangup),
    // programs: for who runs none
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
};
enum { HOSTILE_TO_PARENTS = KD_COUNT_OF(hostile) - 2 }; // they run programs

// Interfaces are asked for by AF_NETLINK.  Sockets of this machine are behind AF_UNIX, keyd's own
// among them, which may know the user of keyd-fetch: for servers.
static const int families[] = { AF_INET, AF_INET6, AF_NETLINK, AF_UNIX };
enum { FAMILIES_OF_CLIENTS = KD_COUNT_OF(families) - 1 };

// No F_SETOWN and F_SETSIG: with them a descriptor sends any signal to any process of the user.
static const int descriptor_commands[] = { F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,
                                           F_SETFD, F_GETFL,         F_SETFL };
// No TIOCSTI, which types into the terminal that the process was started from.
static const unsigned long device_commands[] = { FIONREAD, FIONBIO,      FIOCLEX,
                                                 TCGETS,   SIOCGIFINDEX, SIOCGIFNAME };
// What a parent and its modules are refused of them; others may be of a device's driver.
static const unsigned long terminal_commands[] = { TIOCSTI, TIOCLINUX };

// A process in a namespace of its own has parts of the kernel before it that nobody else has.
static const unsigned namespaces[] = { CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET };

static int add_all(scmp_filter_ctx f, uint32_t action, const int *calls, size_t n) {
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = seccomp_rule_add(f, action, calls[i], 0);
    }
    return r;
}

static int add_commands(scmp_filter_ctx f) {
    int r = 0;
    for (size_t i = 0; r == 0 && i < KD_COUNT_OF(descriptor_commands); i++) {
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                             SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)descriptor_commands[i]));
    }
    for (size_t i = 0; r == 0 && i < KD_COUNT_OF(device_commands); i++) {
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_EQ, device_commands[i]));
    }
    return r;
}

// What is allowed with some arguments only.
static int add_conditions(scmp_filter_ctx f, bool is_server) {
    const unsigned writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
    const size_t n = is_server ? KD_COUNT_OF(families) : FAMILIES_OF_CLIENTS;
    int r = add_commands(f);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
    }
    // Signals to itself: raise, abort.
    r = r != 0 ? r
               : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                                  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    r = r != 0 ? r
               : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, writing, 0));
    r = r != 0 ? r
               : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, writing, 0));
    if (HAS_SANITIZER) {
        // Its search for leaks is a process that shares our memory.
        const int also[] = { SCMP_SYS(wait4), SCMP_SYS(prctl), SCMP_SYS(ptrace), SCMP_SYS(getppid),
                             SCMP_SYS(getdents) };
        r = r != 0 ? r : add_all(f, SCMP_ACT_ALLOW, also, KD_COUNT_OF(also));
        r = r != 0 ? r
                   : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                      SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_UNTRACED, CLONE_UNTRACED));
    }
    // Threads, for the resolver, but no processes; with clone3 the flags are out of sight.
    r = r != 0 ? r
               : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    r = r != 0 ? r : seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    // A limit is read, not set, but a server's own number of descriptors, which a reload may raise
    // up to the limit that its starter gave it.
    r = r != 0 || !is_server
            ? r
            : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, SCMP_A0(SCMP_CMP_EQ, 0),
                               SCMP_A1(SCMP_CMP_EQ, RLIMIT_NOFILE));
    return r != 0 ? r
                  : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
                                     SCMP_A2(SCMP_CMP_EQ, 0));
}

// ---- the filters -----------------------------------------------------------

// A module may try one of these and go on without it.
static int fill_parent(scmp_filter_ctx f) {
    const scmp_datum_t whole = UINT32_MAX; // the kernel does not look at the upper half
    int r = add_all(f, SCMP_ACT_ERRNO(EPERM), hostile, HOSTILE_TO_PARENTS);
    for (size_t i = 0; r == 0 && i < KD_COUNT_OF(terminal_commands); i++) {
        r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, whole, terminal_commands[i]));
    }
    for (size_t i = 0; r == 0 && i < KD_COUNT_OF(namespaces); i++) {
        r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
    }
    // Its flags are out of sight; the C library goes on with clone.
    r = r != 0 ? r : seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return r != 0 || HAS_SANITIZER
               ? r
               : seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ptrace), 0);
}

static int fill_list(scmp_filter_ctx f, bool is_server) {
    const uint32_t kill = SCMP_ACT_KILL_PROCESS;
    int r = add_all(f, SCMP_ACT_ALLOW, allowed, KD_COUNT_OF(allowed));
    r = r != 0 ? r : add_all(f, kill, hostile, KD_COUNT_OF(hostile));
    r = r != 0 ? r
               : add_all(f, is_server ? SCMP_ACT_ALLOW : kill, serving,
                         is_server ? KD_COUNT_OF(serving) : CONNECTING);
    r = r != 0 || HAS_SANITIZER ? r : seccomp_rule_add(f, kill, SCMP_SYS(ptrace), 0);
    return r != 0 ? r : add_conditions(f, is_server);
}

enum kd_err kd_confine_calls(enum kd_confinement confinement) {
    const bool is_parent = confinement == KD_CONFINE_PARENT;
    scmp_filter_ctx f = seccomp_init(is_parent ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM));
    if (f == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    // Calls of another architecture (32 bits, x32) would pass by the lists.
    int r = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    r = r != 0 ? r : is_parent ? fill_parent(f) : fill_list(f, confinement == KD_CONFINE_SERVER);
    r = r != 0 ? r : seccomp_load(f);
    seccomp_release(f);
    if (r != 0) {
        kd_log(KD_LOG_ERROR, "main", "the system calls cannot be limited", "errno=%d", -r);
        return KD_ERR_SYSTEM;
    }
    return KD_OK;
}
