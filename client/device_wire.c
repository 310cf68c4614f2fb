// SPDX-License-Identifier: Apache-2.0
#include "client/device_wire.h"

#include "channel/channel.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_AGAIN_MS = 1000, LAST_AGAIN_MS = 8000 };

// ---- where -----------------------------------------------------------------

void kd_wire_wipe(struct kd_wire *w) {
    if (w->fd >= 0) {
        close(w->fd);
    }
    free(w->host);
    free(w->port);
    *w = KD_WIRE_INIT;
}

static void disconnect(struct kd_wire *w) {
    if (w->fd >= 0) {
        close(w->fd);
        w->fd = -1;
    }
}

enum kd_err kd_wire_set(struct kd_wire *w, const char *server) {
    const bool is_udp = strncmp(server, "udp://", 6) == 0;
    const char *host = server + 6;
    const char *colon = strrchr(server, ':');
    if ((!is_udp && strncmp(server, "tcp://", 6) != 0) || colon < host || colon[1] == '\0') {
        return KD_ERR_BAD_URI;
    }
    const bool has_brackets = host[0] == '[' && colon[-1] == ']';
    host += has_brackets ? 1 : 0;
    const char *end = has_brackets ? colon - 1 : colon;
    if (end <= host) {
        return KD_ERR_BAD_URI;
    }
    char *new_host = strndup(host, (size_t)(end - host));
    char *new_port = strdup(colon + 1);
    if (new_host == NULL || new_port == NULL) {
        free(new_host);
        free(new_port);
        return KD_ERR_NO_MEMORY;
    }
    kd_wire_wipe(w);
    *w = (struct kd_wire) { .host = new_host, .port = new_port, .is_udp = is_udp, .fd = -1 };
    return KD_OK;
}

// ---- waiting ---------------------------------------------------------------

static bool wait_for(int fd, short events, uint64_t until_ms) {
    struct pollfd p = { .fd = fd, .events = events };
    for (;;) {
        const uint64_t now = kd_clock_mono_ms();
        const int left = now >= until_ms ? 0 : (int)(until_ms - now);
        const int n = poll(&p, 1, left);
        if (n > 0) {
            return true;
        }
        if (n == 0 || errno != EINTR) {
            return false;
        }
    }
}

static int try_address(const struct addrinfo *a, uint64_t until_ms) {
    const int one = 1;
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;
    socklen_t n = sizeof(error);
    if (fd < 0) {
        return -1;
    }
    const bool is_begun = connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS;
    if (!is_begun || !wait_for(fd, POLLOUT, until_ms) ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0) {
        close(fd);
        return -1;
    }
    if (a->ai_socktype == SOCK_STREAM) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    return fd;
}

static enum kd_err connect_to(struct kd_wire *w, uint64_t until_ms) {
    if (w->fd >= 0) {
        return KD_OK;
    }
    const struct addrinfo hints = { .ai_socktype = w->is_udp ? SOCK_DGRAM : SOCK_STREAM };
    struct addrinfo *all = NULL;
    if (w->host == NULL || getaddrinfo(w->host, w->port, &hints, &all) != 0) {
        return KD_ERR_SYSTEM;
    }
    for (const struct addrinfo *a = all; a != NULL && w->fd < 0; a = a->ai_next) {
        w->fd = try_address(a, until_ms);
    }
    freeaddrinfo(all);
    return w->fd < 0 ? KD_ERR_SYSTEM : KD_OK;
}

// ---- TCP -------------------------------------------------------------------

static enum kd_err send_all(int fd, struct kd_bytes b, uint64_t until_ms) {
    while (b.n > 0) {
        const ssize_t n = send(fd, b.p, b.n, MSG_NOSIGNAL);
        if (n > 0) {
            b.p += n;
            b.n -= (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return KD_ERR_SYSTEM;
        } else if (!wait_for(fd, POLLOUT, until_ms)) {
            return KD_ERR_DEADLINE;
        }
    }
    return KD_OK;
}

static enum kd_err receive_all(int fd, uint8_t *p, size_t n, uint64_t until_ms) {
    while (n > 0) {
        const ssize_t got = recv(fd, p, n, 0);
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            return KD_ERR_SYSTEM;
        } else if (!wait_for(fd, POLLIN, until_ms)) {
            return KD_ERR_DEADLINE;
        }
    }
    return KD_OK;
}

static enum kd_err receive_frame(int fd, uint64_t until_ms, struct kd_buf *out) {
    uint8_t head[KD_FRAME_LENGTH_BYTES];
    enum kd_err r = receive_all(fd, head, sizeof(head), until_ms);
    if (r != KD_OK) {
        return r;
    }
    const size_t n = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (n < KD_FRAME_HEAD_BYTES || n > KD_FRAME_MAX_BYTES) {
        return KD_ERR_SYSTEM;
    }
    uint8_t *p = kd_buf_extend(out, n);
    return p == NULL ? KD_ERR_NO_MEMORY : receive_all(fd, p, n, until_ms);
}

// Whether it answers our question: a late answer to another one is passed over.
static bool answers(struct kd_bytes answer, struct kd_bytes question) {
    struct kd_frame a, q;
    return kd_frame_parse(answer, &a) == KD_OK && kd_frame_parse(question, &q) == KD_OK &&
           a.role != KD_FRAME_REQUEST && a.id == q.id;
}

static enum kd_err exchange_tcp(struct kd_wire *w, struct kd_bytes frame, uint64_t until_ms,
                                struct kd_buf *answer) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_FRAME_LENGTH_BYTES + KD_FRAME_MAX_BYTES);
    kd_buf_block32(&out, frame);
    enum kd_err r = send_all(w->fd, kd_buf_get(&out), until_ms);
    while (r == KD_OK) {
        kd_buf_reset(answer);
        r = receive_frame(w->fd, until_ms, answer);
        if (r == KD_OK && answers(kd_buf_get(answer), frame)) {
            return KD_OK;
        }
    }
    return r;
}

// ---- UDP -------------------------------------------------------------------

static enum kd_err exchange_udp(struct kd_wire *w, struct kd_bytes frame, uint64_t until_ms,
                                struct kd_buf *answer) {
    uint64_t again_ms = FIRST_AGAIN_MS;
    uint64_t due_ms = kd_clock_mono_ms(); // the first time at once
    while (kd_clock_mono_ms() < until_ms) {
        if (kd_clock_mono_ms() >= due_ms && again_ms <= 2 * LAST_AGAIN_MS) {
            (void)send(w->fd, frame.p, frame.n, MSG_NOSIGNAL);
            due_ms = again_ms > LAST_AGAIN_MS ? until_ms : kd_clock_mono_ms() + again_ms;
            again_ms *= 2;
        }
        if (!wait_for(w->fd, POLLIN, due_ms < until_ms ? due_ms : until_ms)) {
            continue;
        }
        kd_buf_reset(answer);
        uint8_t *p = kd_buf_extend(answer, KD_FRAME_MAX_BYTES);
        const ssize_t n = p == NULL ? -1 : recv(w->fd, p, KD_FRAME_MAX_BYTES, 0);
        answer->n = n > 0 ? (size_t)n : 0;
        if (n > 0 && answers(kd_buf_get(answer), frame)) {
            return KD_OK;
        }
        if (n < 0 && errno == ECONNREFUSED) { // nobody there yet: the next time
            (void)wait_for(-1, 0, due_ms < until_ms ? due_ms : until_ms);
        }
    }
    return KD_ERR_DEADLINE;
}

enum kd_err kd_wire_exchange(struct kd_wire *w, struct kd_bytes frame, unsigned timeout_ms,
                             struct kd_buf *answer) {
    const uint64_t until_ms = kd_clock_mono_ms() + timeout_ms;
    enum kd_err r = connect_to(w, until_ms);
    if (r != KD_OK) {
        return r;
    }
    r = w->is_udp ? exchange_udp(w, frame, until_ms, answer)
                  : exchange_tcp(w, frame, until_ms, answer);
    if (r != KD_OK) {
        disconnect(w);
    }
    return r;
}
