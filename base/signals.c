// SPDX-License-Identifier: Apache-2.0
// signals.c: see signals.h.
#include "base/signals.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct kd_signals {
    int fd;
    struct kd_watch *watch;
    kd_asked_fn *fn;
    void *arg;
};

static void on_signal(void *signals, uint32_t events KD_UNUSED) {
    const struct kd_signals *s = signals;
    struct signalfd_siginfo info;
    while (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        s->fn(s->arg, info.ssi_signo == SIGHUP ? KD_ASKED_TO_RELOAD : KD_ASKED_TO_STOP);
    }
}

enum kd_err kd_signals_new(struct kd_loop *loop, kd_asked_fn *fn, void *arg,
                           struct kd_signals **out) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    struct kd_signals *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *s = (struct kd_signals) { .fd = -1, .fn = fn, .arg = arg };
    enum kd_err r = KD_ERR_SYSTEM;
    if (signal(SIGPIPE, SIG_IGN) != SIG_ERR && sigprocmask(SIG_BLOCK, &set, NULL) == 0 &&
        (s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) >= 0) {
        r = kd_watch_new(loop, s->fd, EPOLLIN, on_signal, s, &s->watch);
    }
    if (r != KD_OK) {
        kd_signals_free(s);
        return r;
    }
    *out = s;
    return KD_OK;
}

void kd_signals_free(struct kd_signals *s) {
    if (s == NULL) {
        return;
    }
    kd_watch_free(s->watch);
    if (s->fd >= 0) {
        close(s->fd);
    }
    free(s);
}
