// SPDX-License-Identifier: Apache-2.0
// spawn.c: posix_spawn, which shares our memory until the exec and so is fast
// and safe in a process with threads.
#include "keyd/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_FD = 3, SOCKET_BYTES = 1 << 20 };

// The service manager's messages to us are not for workers.
static const char *const own_variables[] = {
    "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=",
    "LISTEN_FDS=",    "LISTEN_PID=",    "LISTEN_FDNAMES="
};

static bool is_own(const char *variable) {
    for (size_t i = 0; i < KD_COUNT_OF(own_variables); i++) {
        if (strncmp(variable, own_variables[i], strlen(own_variables[i])) == 0) {
            return true;
        }
    }
    return false;
}

// A list of borrowed strings; the caller frees the list.
static char **child_environment(void) {
    size_t n = 0;
    while (environ[n] != NULL) {
        n++;
    }
    char **list = calloc(n + 1, sizeof(char *));
    if (list == NULL) {
        return NULL;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_own(environ[i])) {
            list[kept++] = environ[i];
        }
    }
    return list;
}

// Signals as in a fresh process, in a process group of its own: a terminal's
// ^C is for keyd, which ends its workers when their work is done.
static int set_up(posix_spawnattr_t *attributes, posix_spawn_file_actions_t *actions, int fd) {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int r;
    if ((r = posix_spawnattr_setsigmask(attributes, &none)) != 0 ||
        (r = posix_spawnattr_setsigdefault(attributes, &all)) != 0 ||
        (r = posix_spawnattr_setpgroup(attributes, 0)) != 0 ||
        (r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                      POSIX_SPAWN_SETPGROUP)) != 0 ||
        (r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)) !=
            0 ||
        (r = posix_spawn_file_actions_adddup2(actions, STDERR_FILENO, STDOUT_FILENO)) != 0) {
        return r;
    }
    // Clears close-on-exec also where fd is 3 already.
    return posix_spawn_file_actions_adddup2(actions, fd, CHILD_FD);
}

static int start(const char *program, int fd, pid_t *pid) {
    char *argv[] = { (char *)(uintptr_t)program, NULL };
    char **environment = child_environment();
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    if (environment == NULL || posix_spawnattr_init(&attributes) != 0) {
        free(environment);
        return ENOMEM;
    }
    int r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        r = set_up(&attributes, &actions, fd);
        r = r == 0 ? posix_spawn(pid, program, &actions, &attributes, argv, environment) : r;
        posix_spawn_file_actions_destroy(&actions);
    }
    posix_spawnattr_destroy(&attributes);
    free(environment);
    return r;
}

bool kd_reap(pid_t pid, bool waits, int *status) {
    pid_t got;
    do {
        got = waitpid(pid, status, waits ? 0 : WNOHANG);
    } while (got < 0 && errno == EINTR);
    return got == pid;
}

enum kd_err kd_spawn(const char *program, struct kd_child *out) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        kd_log(KD_LOG_ERROR, "process", "a socket cannot be made", "errno=%d", errno);
        return KD_ERR_SYSTEM;
    }
    // Room for many requests each way; where the system allows less, less.
    const int bytes = SOCKET_BYTES;
    (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    (void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    pid_t pid = -1;
    const int r = fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0 ? errno : start(program, fds[1], &pid);
    close(fds[1]);
    if (r != 0) {
        kd_log(KD_LOG_ERROR, "process", "a program cannot be started",
               "program=%s reason=%s", program, strerror(r));
        close(fds[0]);
        return kd_err_from_errno(r);
    }
    const int pid_fd = pidfd_open(pid, 0);
    if (pid_fd < 0) {
        kd_log(KD_LOG_ERROR, "process", "a process cannot be watched", "errno=%d", errno);
        kill(pid, SIGKILL);
        (void)kd_reap(pid, true, NULL);
        close(fds[0]);
        return KD_ERR_SYSTEM;
    }
    *out = (struct kd_child) { .pid = pid, .pid_fd = pid_fd, .fd = fds[0] };
    return KD_OK;
}
