// SPDX-License-Identifier: Apache-2.0
// process.c: a child process with two pipes, read until both are closed.
#include "client/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK_BYTES = 16384, PATH_MAX_BYTES = 4096 };

extern char **environ;

void kd_process_wipe(struct kd_process *p) {
    kd_buf_wipe(&p->out);
    kd_buf_wipe(&p->err);
}

static enum kd_err spawn(const char *const argv[], const int out[2], const int err[2], pid_t *pid) {
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        return KD_ERR_NO_MEMORY;
    }
    int r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    r = r != 0 ? r : posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    r = r != 0 ? r : posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    // posix_spawn takes char *const[] and does not write to it.
    union {
        const char *const *in;
        char *const *out;
    } words = { .in = argv };
    r = r != 0 ? r : posix_spawn(pid, argv[0], &actions, NULL, words.out, environ);
    posix_spawn_file_actions_destroy(&actions);
    return r == 0 ? KD_OK : kd_err_from_errno(r);
}

// True at the end of the stream.
static bool read_some(int fd, struct kd_buf *to) {
    char chunk[CHUNK_BYTES];
    ssize_t n = read(fd, chunk, sizeof(chunk));
    if (n < 0 && errno == EINTR) {
        return false;
    }
    if (n <= 0) {
        return true;
    }
    kd_buf_put(to, chunk, (size_t)n);
    return false;
}

static enum kd_err read_both(int out, int err, uint64_t end_ms, struct kd_process *p) {
    struct pollfd fds[2] = { { .fd = out, .events = POLLIN }, { .fd = err, .events = POLLIN } };
    struct kd_buf *bufs[2] = { &p->out, &p->err };
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        const uint64_t now = kd_clock_mono_ms();
        if (now >= end_ms) {
            return KD_ERR_DEADLINE;
        }
        if (poll(fds, 2, (int)(end_ms - now)) < 0 && errno != EINTR) {
            return KD_ERR_SYSTEM;
        }
        for (size_t i = 0; i < 2; i++) {
            if (fds[i].fd >= 0 && fds[i].revents != 0 && read_some(fds[i].fd, bufs[i])) {
                fds[i].fd = -1; // poll passes over it
            }
            const enum kd_err e = kd_buf_finish(bufs[i]);
            if (e != KD_OK) {
                return e;
            }
        }
    }
    return KD_OK;
}

// Asks it to end first: keyd-hsm does so when its login is done.  SoftHSM writes
// the token's file at a login, and who is killed then leaves an empty one.
static void end_child(pid_t pid, uint32_t grace_ms) {
    struct pollfd ended = { .fd = pidfd_open(pid, 0), .events = POLLIN };
    const uint64_t end_ms = kd_clock_mono_ms() + grace_ms;
    kill(pid, SIGTERM);
    for (uint64_t now; ended.fd >= 0 && (now = kd_clock_mono_ms()) < end_ms;) {
        const int n = poll(&ended, 1, (int)(end_ms - now));
        if (n > 0 || (n < 0 && errno != EINTR)) {
            break;
        }
    }
    if (ended.fd >= 0) {
        close(ended.fd);
    }
    kill(pid, SIGKILL); // it is not reaped yet, so nobody else has its number
}

// Waits for the child's end, which a child that has closed its output may delay.
static enum kd_err reap(pid_t pid, enum kd_err so_far, struct kd_process *p) {
    if (so_far != KD_OK) {
        end_child(pid, p->grace_ms);
    }
    int raw = 0;
    while (waitpid(pid, &raw, 0) < 0) {
        if (errno != EINTR) {
            return KD_ERR_SYSTEM;
        }
    }
    p->status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    return so_far;
}

static void close_both(const int fds[2]) {
    close(fds[0]);
    close(fds[1]);
}

enum kd_err kd_process_run(const char *const argv[], uint32_t timeout_ms, struct kd_process *p) {
    int out[2];
    int err[2];
    if (pipe2(out, O_CLOEXEC) != 0) {
        return kd_err_from_errno(errno);
    }
    if (pipe2(err, O_CLOEXEC) != 0) {
        close_both(out);
        return kd_err_from_errno(errno);
    }
    pid_t pid = 0;
    enum kd_err e = spawn(argv, out, err, &pid);
    if (e != KD_OK) {
        close_both(out);
        close_both(err);
        return e;
    }
    close(out[1]);
    close(err[1]);
    e = read_both(out[0], err[0], kd_clock_mono_ms() + timeout_ms, p);
    close(out[0]);
    close(err[0]);
    return reap(pid, e, p);
}

// A folder may be "executable" too, and a build tree has one named keyd.
static bool is_program(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool try_folder(const char *folder, const char *name, struct kd_buf *path) {
    kd_auto(buf) struct kd_buf whole = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_buf_printf(&whole, "%s/%s", folder, name);
    const char *text = kd_buf_get_text(&whole);
    if (kd_buf_finish(&whole) != KD_OK || !is_program(text)) {
        return false;
    }
    char *resolved = realpath(text, NULL);
    if (resolved == NULL) {
        return false;
    }
    kd_buf_text(path, resolved);
    free(resolved);
    return true;
}

// Beside this program, or where the makefile puts keyd and keyd-hsm seen from there.
static bool try_build_tree(const char *name, struct kd_buf *path) {
    static const char *const folders[] = { ".", "..", "../keyd", "../gateway" };
    char self[PATH_MAX_BYTES];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0) {
        return false;
    }
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < KD_COUNT_OF(folders); i++) {
        char folder[PATH_MAX_BYTES + 16];
        snprintf(folder, sizeof(folder), "%s/%s", self, folders[i]);
        if (try_folder(folder, name, path)) {
            return true;
        }
    }
    return false;
}

enum kd_err kd_process_find(const char *folder, const char *name, struct kd_buf *path) {
    if (folder != NULL) {
        return try_folder(folder, name, path) ? kd_buf_finish(path) : KD_ERR_NO_FILE;
    }
    return try_build_tree(name, path) || try_folder(KD_LIBEXECDIR, name, path) ||
                   try_folder(KD_SBINDIR, name, path)
               ? kd_buf_finish(path)
               : KD_ERR_NO_FILE;
}
