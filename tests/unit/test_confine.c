// SPDX-License-Identifier: Apache-2.0
// What a confined process can still do, and what it cannot: each try in a process of its own.
#include "base/base.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_CONFINED = 99, KILLED = 128 + SIGSYS };

static char file_path[32]; // another one where the same test runs beside it

// Its exit status (0: the call worked, else errno), or 128 + the signal.
static int confined(enum kd_confinement confinement, int (*fn)(void)) {
    snprintf(file_path, sizeof(file_path), "/tmp/kd-confined-%d", (int)getpid());
    const pid_t pid = fork();
    if (pid == 0) {
        const bool is_confined =
            kd_confine_process() == KD_OK && kd_confine_calls(confinement) == KD_OK;
        _exit(is_confined ? fn() : NOT_CONFINED);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int said(long r) {
    return r >= 0 ? 0 : errno;
}

// ---- tries -----------------------------------------------------------------

static int run_program(void) {
    char *argv[] = { (char *)(uintptr_t) "/bin/true", NULL };
    return said(execv(argv[0], argv));
}

static int run_program_in_child(void) {
    const pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        _exit(run_program());
    }
    return pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ? errno
                                                                            : WEXITSTATUS(status);
}

static int look_into_another(void) {
    return said(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
}

static int take_anothers_descriptor(void) {
    return said(syscall(SYS_pidfd_getfd, -1, 0, 0));
}

static int load_bpf(void) {
    return said(syscall(SYS_bpf, 0, NULL, 0));
}

static int use_keyring(void) {
    return said(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}

static int leave_namespace(void) {
    return said(syscall(SYS_unshare, 0));
}

static int mount_something(void) {
    return said(syscall(SYS_mount, "none", "/nowhere", "tmpfs", 0, NULL));
}

static int set_clock(void) {
    return said(syscall(SYS_clock_settime, CLOCK_REALTIME, NULL));
}

static int use_io_uring(void) {
    return said(syscall(SYS_io_uring_setup, 1, NULL));
}

static int listen_somewhere(void) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    return said(listen(fd, 1));
}

static int watch_descriptors(void) {
    return said(epoll_create1(0));
}

static int write_file(void) {
    return said(open(file_path, O_WRONLY | O_CREAT, 0600));
}

static int remove_file(void) {
    return said(unlink(file_path));
}

static int make_process(void) {
    return said(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static const unsigned namespaces[] = { CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET };
static unsigned namespace;

static int make_process_in_namespace(void) {
    const long r = syscall(SYS_clone, namespace | SIGCHLD, NULL, NULL, NULL, NULL);
    if (r == 0) {
        _exit(0);
    }
    return said(r);
}

static int make_process_with_hidden_flags(void) {
    return said(syscall(SYS_clone3, NULL, 0));
}

static void *nothing(void *arg) {
    return arg;
}

static int make_thread(void) {
    pthread_t t;
    const int r = pthread_create(&t, NULL, nothing, NULL);
    return r != 0 ? r : pthread_join(t, NULL);
}

static int packet_socket(void) {
    return said(socket(AF_PACKET, SOCK_RAW, 0));
}

static int local_socket(void) {
    return said(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int type_into_terminal(void) {
    char key = 'x';
    return said(ioctl(STDIN_FILENO, TIOCSTI, &key));
}

// The kernel looks at the lower half of the command alone.
static int type_into_terminal_in_disguise(void) {
    char key = 'x';
    return said(syscall(SYS_ioctl, STDIN_FILENO, (1ul << 32) | TIOCSTI, &key));
}

static int count_what_is_there(void) {
    int n = 0;
    int fds[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0 ? errno
                                                         : said(ioctl(fds[0], FIONREAD, &n));
}

// Signal 0: whether one could be sent.
static int signal_another(void) {
    return said(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int signal_itself(void) {
    signal(SIGUSR1, SIG_IGN);
    return said(raise(SIGUSR1));
}

static int signal_another_by_descriptor(void) {
    int fds[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0 ? errno
                                                         : said(fcntl(fds[0], F_SETOWN, getppid()));
}

static int make_descriptor_wait(void) {
    int fds[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0 ? errno
                                                         : said(fcntl(fds[0], F_SETFL, O_NONBLOCK));
}

static int change_mount(void) {
    return said(syscall(SYS_mount_setattr, -1, "", 0, NULL, 0));
}

// Of the x32 ABI: a bit in the number of the call.
static int call_x32(void) {
    return said(syscall(0x40000000 | SYS_getpid));
}

// getpid of i386, whose number is that of another call here.
#ifdef __x86_64__
static int call_i386(void) {
    long r = 20;
    __asm__ volatile("int $0x80" : "+a"(r) : : "memory");
    return r > 0 ? 0 : 1;
}
#else
static int call_i386(void) {
    return 1; // there is none
}
#endif

static int unconfined(int (*fn)(void)) {
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(fn());
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int read_file(void) {
    return said(open("/etc/hosts", O_RDONLY));
}

static int connect_socket(void) {
    return said(socket(AF_INET6, SOCK_STREAM, 0));
}

static int lock_memory(void) {
    static char page[4096];
    return said(mlock(page, sizeof(page)));
}

static int dump_core(void) {
    struct rlimit core = { 1, 1 };
    const bool is_shut = getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 &&
                         core.rlim_max == 0 && prctl(PR_GET_DUMPABLE) == 0 &&
                         prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    return is_shut ? 0 : 1;
}

static int set_limit(int which) {
    struct rlimit limit;
    return getrlimit(which, &limit) != 0 ? errno : said(setrlimit(which, &limit));
}

static int set_number_of_descriptors(void) {
    return set_limit(RLIMIT_NOFILE);
}

static int set_stack(void) {
    return set_limit(RLIMIT_STACK);
}

static int set_anothers_number_of_descriptors(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) != 0
               ? errno
               : said(prlimit(getppid(), RLIMIT_NOFILE, &limit, NULL));
}

// ---- cases -----------------------------------------------------------------

START_TEST(a_process_is_closed_to_others) {
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(kd_confine_process() == KD_OK ? dump_core() : NOT_CONFINED);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

START_TEST(a_client_reads_and_connects_and_does_nothing_else) {
    const enum kd_confinement c = KD_CONFINE_CLIENT;
    ck_assert_int_eq(confined(c, read_file), 0);
    ck_assert_int_eq(confined(c, connect_socket), 0);
    ck_assert_int_eq(confined(c, make_thread), 0);
    ck_assert_int_eq(confined(c, write_file), EPERM);
    ck_assert_int_eq(confined(c, remove_file), EPERM);
    ck_assert_int_eq(confined(c, make_process), EPERM);
    ck_assert_int_eq(confined(c, packet_socket), EPERM);
    ck_assert_int_eq(confined(c, local_socket), EPERM);
    ck_assert_int_eq(confined(c, set_number_of_descriptors), EPERM);
    ck_assert_int_eq(confined(c, run_program), KILLED);
    ck_assert_int_eq(confined(c, listen_somewhere), KILLED);
}
END_TEST

static const enum kd_confinement lists[] = { KD_CONFINE_CLIENT, KD_CONFINE_SERVER };

START_TEST(who_has_a_list_signals_nobody_else_and_types_nowhere) {
    const enum kd_confinement c = lists[_i];
    ck_assert_int_eq(confined(c, signal_itself), 0);
    ck_assert_int_eq(confined(c, make_descriptor_wait), 0);
    ck_assert_int_eq(confined(c, count_what_is_there), 0);
    ck_assert_int_eq(confined(c, signal_another), EPERM);
    ck_assert_int_eq(confined(c, signal_another_by_descriptor), EPERM);
    ck_assert_int_eq(confined(c, type_into_terminal), EPERM);
    ck_assert_int_eq(confined(c, type_into_terminal_in_disguise), EPERM);
}
END_TEST

static const enum kd_confinement everybody[] = { KD_CONFINE_CLIENT, KD_CONFINE_SERVER,
                                                 KD_CONFINE_PARENT };

START_TEST(calls_of_another_architecture_end_the_process) {
    ck_assert_int_eq(confined(everybody[_i], call_x32), KILLED);
    if (unconfined(call_i386) == 0) { // this kernel has them
        ck_assert_int_eq(confined(everybody[_i], call_i386), KILLED);
    }
}
END_TEST

START_TEST(a_server_listens_too) {
    const enum kd_confinement c = KD_CONFINE_SERVER;
    ck_assert_int_eq(confined(c, read_file), 0);
    ck_assert_int_eq(confined(c, connect_socket), 0);
    ck_assert_int_eq(confined(c, listen_somewhere), 0);
    ck_assert_int_eq(confined(c, watch_descriptors), 0);
    ck_assert_int_eq(confined(c, make_thread), 0);
    ck_assert_int_eq(confined(c, lock_memory), 0);
    ck_assert_int_eq(confined(c, set_number_of_descriptors), 0);
    ck_assert_int_eq(confined(c, set_anothers_number_of_descriptors), EPERM);
    ck_assert_int_eq(confined(c, set_stack), EPERM);
    ck_assert_int_eq(confined(c, write_file), EPERM);
    ck_assert_int_eq(confined(c, remove_file), EPERM);
    ck_assert_int_eq(confined(c, make_process), EPERM);
    ck_assert_int_eq(confined(c, packet_socket), EPERM);
    ck_assert_int_eq(confined(c, local_socket), 0);
    ck_assert_int_eq(confined(c, run_program), KILLED);
}
END_TEST

// A server and a client die of these, a parent is refused them: a module in it may try.
static int (*const hostile[])(void) = {
    look_into_another, take_anothers_descriptor, load_bpf,  use_keyring,
    leave_namespace,   mount_something,          set_clock, use_io_uring,
    change_mount,
};

START_TEST(nobody_does_what_an_intruder_would) {
    ck_assert_int_eq(confined(KD_CONFINE_CLIENT, hostile[_i]), KILLED);
    ck_assert_int_eq(confined(KD_CONFINE_SERVER, hostile[_i]), KILLED);
    ck_assert_int_eq(confined(KD_CONFINE_PARENT, hostile[_i]), EPERM);
}
END_TEST

START_TEST(a_parent_makes_no_process_in_a_namespace) {
    namespace = namespaces[_i];
    ck_assert_int_eq(confined(KD_CONFINE_PARENT, make_process_in_namespace), EPERM);
    ck_assert_int_eq(confined(KD_CONFINE_PARENT, make_process_with_hidden_flags), ENOSYS);
}
END_TEST

START_TEST(a_parent_runs_programs_and_writes_files) {
    const enum kd_confinement c = KD_CONFINE_PARENT;
    ck_assert_int_eq(confined(c, run_program_in_child), 0);
    ck_assert_int_eq(confined(c, write_file), 0);
    ck_assert_int_eq(confined(c, remove_file), 0);
    ck_assert_int_eq(confined(c, listen_somewhere), 0);
    ck_assert_int_eq(confined(c, make_thread), 0);
    ck_assert_int_eq(confined(c, count_what_is_there), 0);
    ck_assert_int_eq(confined(c, type_into_terminal), EPERM);
    ck_assert_int_eq(confined(c, type_into_terminal_in_disguise), EPERM);
}
END_TEST

static TCase *tcase_confine(void) {
    TCase *t = tcase_create("confine");
    tcase_add_test(t, a_process_is_closed_to_others);
    tcase_add_test(t, a_client_reads_and_connects_and_does_nothing_else);
    tcase_add_test(t, a_server_listens_too);
    tcase_add_loop_test(t, who_has_a_list_signals_nobody_else_and_types_nowhere, 0,
                        (int)KD_COUNT_OF(lists));
    tcase_add_loop_test(t, calls_of_another_architecture_end_the_process, 0,
                        (int)KD_COUNT_OF(everybody));
    tcase_add_loop_test(t, nobody_does_what_an_intruder_would, 0, (int)KD_COUNT_OF(hostile));
    tcase_add_loop_test(t, a_parent_makes_no_process_in_a_namespace, 0,
                        (int)KD_COUNT_OF(namespaces));
    tcase_add_test(t, a_parent_runs_programs_and_writes_files);
    return t;
}

UNIT_MAIN("confine", tcase_confine())
