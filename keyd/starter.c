// SPDX-License-Identifier: Apache-2.0
// starter.c: see starter.h.  The same three functions do the work in this process or in the
// starter; between the two there are messages of one form, each with one answer.
#include "keyd/starter.h"

#include "hsm/hsm.h"
#include "keyd/service.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    HELLO_MAX_BYTES = 65536,
    CHILDREN_MAX = 2 * KD_WORKERS_MAX, // those that end are there beside new ones
    ANSWER_SEC = 30,
};

enum what { START = 1, KILL, REAP };

struct request {
    enum what what;
    pid_t pid;
    bool waits;
    uint8_t n_refused;
    uint8_t refused_pin[KD_HSM_PIN_RECORD_MAX_BYTES];
};

struct answer {
    enum kd_err err; // of START: with KD_OK come two descriptors
    pid_t pid;
    bool has_ended; // of REAP
    int status;
};

static int starter = -1; // our end of its socket; -1: there is none
static pid_t starter_pid;
static bool is_broken; // it has not answered as it must

// ---- the work --------------------------------------------------------------

static enum kd_err write_hello(const struct kd_config *config, struct kd_bytes refused_pin,
                               struct kd_buf *out) {
    const struct kd_token_config *t = &config->token;
    struct kd_hsm_hello h = {
        .module = kd_bytes_of_text(t->module),
        .init_args = kd_bytes_of_text(t->init_args),
        .token_uri = kd_bytes_of_text(t->uri),
        .pin_file = kd_bytes_of_text(t->pin_file),
        .n_env = (uint8_t)t->n_environment,
        .threads = (uint16_t)config->workers.threads,
        .cached_secrets = config->secrets.cached_in_token,
        .may_extract = config->secrets.allow_extractable,
        .refused_pin = refused_pin,
    };
    for (size_t i = 0; i < t->n_environment; i++) {
        h.env[i] = kd_bytes_of_text(t->environment[i]);
    }
    const size_t start = kd_hsm_frame_begin(out);
    kd_hsm_put_hello(out, &h);
    kd_hsm_frame_end(out, start);
    return kd_buf_finish(out);
}

// A new socket has room for a HELLO: one that is not taken whole is an error.
static enum kd_err greet(const struct kd_child *child, struct kd_bytes hello) {
    if (send(child->fd, hello.p, hello.n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)hello.n ||
        errno == EPIPE || errno == ECONNRESET) { // these: it has ended, and that will be seen
        return KD_OK;
    }
    kd_log(KD_LOG_ERROR, "workers", "a worker cannot be greeted", "errno=%d", errno);
    return KD_ERR_SYSTEM;
}

static enum kd_err start(const struct kd_config *config, struct kd_bytes refused_pin,
                         struct kd_child *out) {
    kd_auto(buf) struct kd_buf hello = KD_BUF_INIT(HELLO_MAX_BYTES);
    struct kd_child child;
    enum kd_err r;
    if ((r = write_hello(config, refused_pin, &hello)) != KD_OK ||
        (r = kd_spawn(config->workers.program, &child)) != KD_OK) {
        return r;
    }
    if ((r = greet(&child, kd_buf_get(&hello))) != KD_OK) {
        kill(child.pid, SIGKILL); // it has no whole HELLO and cannot be in its login
        (void)kd_reap(child.pid, true, NULL);
        close(child.fd);
        close(child.pid_fd);
        return r;
    }
    *out = child;
    return KD_OK;
}

// ---- the starter -----------------------------------------------------------

struct children {
    size_t n;
    pid_t pids[CHILDREN_MAX];
};

static pid_t *find_child(struct children *c, pid_t pid) {
    for (size_t i = 0; i < c->n; i++) {
        if (c->pids[i] == pid) {
            return &c->pids[i];
        }
    }
    return NULL;
}

static bool send_answer(int fd, const struct answer *a, const struct kd_child *child) {
    union {
        struct cmsghdr head; // aligns it
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control = { 0 };
    struct iovec all = { .iov_base = (void *)(uintptr_t)a, .iov_len = sizeof(*a) };
    struct msghdr m = { .msg_iov = &all, .msg_iovlen = 1 };
    if (child != NULL) {
        const int fds[2] = { child->fd, child->pid_fd };
        m.msg_control = control.room;
        m.msg_controllen = sizeof(control.room);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fds));
        memcpy(CMSG_DATA(c), fds, sizeof(fds));
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)sizeof(*a);
}

static bool serve_start(int fd, const struct kd_config *config, const struct request *q,
                        struct children *children) {
    struct answer a = { .err = KD_ERR_BUSY };
    struct kd_child child;
    if (children->n < CHILDREN_MAX && q->n_refused <= sizeof(q->refused_pin)) {
        a.err = start(config, (struct kd_bytes) { q->refused_pin, q->n_refused }, &child);
    }
    if (a.err != KD_OK) {
        return send_answer(fd, &a, NULL);
    }
    children->pids[children->n++] = child.pid;
    a.pid = child.pid;
    const bool is_sent = send_answer(fd, &a, &child);
    close(child.fd);
    close(child.pid_fd);
    return is_sent;
}

// The front is not believed: what it names must be ours.
static bool serve_one(int fd, const struct kd_config *config, const struct request *q,
                      struct children *children) {
    struct answer a = { .err = KD_ERR_MALFORMED };
    pid_t *child = find_child(children, q->pid);
    if (q->what == START) {
        return serve_start(fd, config, q, children);
    }
    if (child != NULL && q->what == KILL) {
        a.err = kill(*child, SIGKILL) == 0 ? KD_OK : KD_ERR_SYSTEM;
    } else if (child != NULL && q->what == REAP) {
        a.err = KD_OK;
        a.has_ended = kd_reap(*child, q->waits, &a.status);
        if (a.has_ended) {
            *child = children->pids[--children->n];
        }
    }
    return send_answer(fd, &a, NULL);
}

// Ends with keyd; workers see the end of their own streams, and that their parent is gone.
static void serve(int fd, const struct kd_config *config) {
    struct children children = { .n = 0 };
    struct request q;
    ssize_t n;
    do {
        n = recv(fd, &q, sizeof(q), 0);
    } while ((n < 0 && errno == EINTR) ||
             (n == (ssize_t)sizeof(q) && serve_one(fd, config, &q, &children)));
}

// ---- becoming it -----------------------------------------------------------

static bool drop_capabilities(void) {
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
           syscall(SYS_capset, &head, none) == 0;
}

static bool become(const char *name, const struct passwd *user) {
    return initgroups(name, user->pw_gid) == 0 &&
           setresgid(user->pw_gid, user->pw_gid, user->pw_gid) == 0 &&
           setresuid(user->pw_uid, user->pw_uid, user->pw_uid) == 0 && drop_capabilities();
}

// What is sent to the whole group to stop keyd is for keyd alone.
static void run_starter(int fd, const struct kd_config *config, const struct passwd *user,
                        bool (*confine)(void)) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (!become(config->workers.user, user)) {
        kd_log(
            KD_LOG_ERROR, "workers",
            "workers.user cannot be taken on: keyd needs CAP_SETUID and CAP_SETGID to start with",
            "user=%s errno=%d", config->workers.user, errno);
        _exit(EXIT_FAILURE);
    }
    if (!confine()) {
        _exit(EXIT_FAILURE);
    }
    const struct answer ready = { .err = KD_OK };
    if (send_answer(fd, &ready, NULL)) {
        serve(fd, config);
    }
    _exit(EXIT_SUCCESS);
}

// ---- asking it -------------------------------------------------------------

static void give_up(void) {
    kd_log(KD_LOG_ERROR, "workers", "the process that starts workers does not answer", "errno=%d",
           errno);
    is_broken = true;
    (void)shutdown(starter, SHUT_RDWR); // seen by who watches it
}

static void take_descriptors(struct msghdr *m, int fds[static 2]) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            c->cmsg_len == CMSG_LEN(2 * sizeof(int))) {
            memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
        }
    }
}

static bool receive(struct answer *a, int fds[static 2]) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec all = { .iov_base = a, .iov_len = sizeof(*a) };
    struct msghdr m = { .msg_iov = &all,
                        .msg_iovlen = 1,
                        .msg_control = control.room,
                        .msg_controllen = sizeof(control.room) };
    ssize_t n;
    do {
        n = recvmsg(starter, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof(*a)) {
        take_descriptors(&m, fds);
    }
    return n == (ssize_t)sizeof(*a);
}

static bool ask(const struct request *q, struct answer *a, int fds[static 2]) {
    fds[0] = fds[1] = -1;
    if (is_broken) {
        return false;
    }
    if (send(starter, q, sizeof(*q), MSG_NOSIGNAL) == (ssize_t)sizeof(*q) && receive(a, fds)) {
        return true;
    }
    give_up();
    return false;
}

// ---- for keyd --------------------------------------------------------------

static enum kd_err wait_for_it(void) {
    const struct timeval limit = { .tv_sec = ANSWER_SEC };
    struct answer ready;
    int none[2];
    if (setsockopt(starter, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
        !receive(&ready, none)) {
        kd_starter_close();
        return KD_ERR_CONFIG; // it has said why
    }
    if (geteuid() == 0) {
        kd_log(KD_LOG_WARN, "workers", "workers.user keeps nothing from a keyd that runs as root",
               "user=root");
        return KD_OK;
    }
    return drop_capabilities() ? KD_OK : KD_ERR_SYSTEM;
}

enum kd_err kd_starter_open(const struct kd_config *config, bool (*confine)(void)) {
    const char *name = config->workers.user;
    int fds[2];
    if (name[0] == '\0') {
        return KD_OK;
    }
    const struct passwd *user = getpwnam(name);
    if (user == NULL) {
        kd_log(KD_LOG_ERROR, "workers", "there is no such user; see workers.user", "user=%s", name);
        return KD_ERR_CONFIG;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
        return KD_ERR_SYSTEM;
    }
    starter_pid = fork();
    if (starter_pid == 0) {
        close(fds[0]);
        run_starter(fds[1], config, user, confine);
    }
    close(fds[1]);
    starter = fds[0];
    return starter_pid < 0 ? KD_ERR_SYSTEM : wait_for_it();
}

int kd_starter_fd(void) {
    return starter;
}

void kd_starter_close(void) {
    if (starter >= 0) {
        close(starter);
        starter = -1;
        (void)kd_reap(starter_pid, true, NULL);
    }
}

enum kd_err kd_starter_start(const struct kd_config *config, struct kd_bytes refused_pin,
                             struct kd_child *out) {
    if (starter < 0) {
        return start(config, refused_pin, out);
    }
    struct request q = { .what = START, .n_refused = (uint8_t)refused_pin.n };
    struct answer a;
    int fds[2];
    if (refused_pin.n > 0) {
        memcpy(q.refused_pin, refused_pin.p, refused_pin.n);
    }
    if (!ask(&q, &a, fds)) {
        return KD_ERR_SYSTEM;
    }
    *out = (struct kd_child) { .pid = a.pid, .fd = fds[0], .pid_fd = fds[1] };
    return a.err;
}

void kd_starter_kill(const struct kd_child *child) {
    const struct request q = { .what = KILL, .pid = child->pid };
    struct answer a;
    int none[2];
    if (starter >= 0) {
        (void)ask(&q, &a, none);
    } else {
        kill(child->pid, SIGKILL);
    }
}

bool kd_starter_reap(const struct kd_child *child, bool waits, int *status) {
    const struct request q = { .what = REAP, .pid = child->pid, .waits = waits };
    struct answer a = { .status = 0 };
    int none[2];
    if (starter < 0) {
        return kd_reap(child->pid, waits, status);
    }
    const bool has_ended = ask(&q, &a, none) && a.has_ended;
    *status = a.status;
    return has_ended;
}
