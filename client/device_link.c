// SPDX-License-Identifier: Apache-2.0
#include "client/device_link.h"

#include "channel/channel.h"
#include "client/device_detail.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REFUSED_MS = 50, NAME_BYTES = 160, PORT_DIGITS = 5, PORT_MAX = 65535 };

// Beside those of errno.
enum { WHY_CLOSED = -1, WHY_OWN = -2 };

struct kd_link {
    struct kd_place own; // of it the caller's functions, where there are such
    bool is_datagram;
    int fd;
    atomic_bool is_shut;
    atomic_ulong n_came;
    atomic_int why; // it does not work; 0: nothing is known of that
    char name[NAME_BYTES];
    struct kd_buf in; // a frame that has not come whole, with its length
};

// ---- where -----------------------------------------------------------------

void kd_place_wipe(struct kd_place *p) {
    free(p->host);
    free(p->port);
    *p = (struct kd_place) { 0 };
}

static bool is_port(const char *text) {
    const size_t n = strspn(text, "0123456789");
    const unsigned long port =
        n > 0 && n <= PORT_DIGITS && text[n] == '\0' ? strtoul(text, NULL, 10) : 0;
    return port >= 1 && port <= PORT_MAX;
}

enum kd_err kd_place_parse(const char *server, struct kd_place *out) {
    const bool is_udp = strncmp(server, "udp://", 6) == 0;
    const char *host = server + 6;
    if (!is_udp && strncmp(server, "tcp://", 6) != 0) {
        return KD_ERR_BAD_URI;
    }
    const char *colon = strrchr(host, ':');
    if (colon == NULL || !is_port(colon + 1)) {
        return KD_ERR_BAD_URI;
    }
    const bool has_brackets = host[0] == '[' && colon[-1] == ']';
    host += has_brackets ? 1 : 0;
    const char *end = has_brackets ? colon - 1 : colon;
    if (end <= host) {
        return KD_ERR_BAD_URI;
    }
    struct kd_place p = {
        strndup(host, (size_t)(end - host)), strdup(colon + 1), is_udp, NULL, NULL, NULL
    };
    if (p.host == NULL || p.port == NULL) {
        kd_place_wipe(&p);
        return KD_ERR_NO_MEMORY;
    }
    *out = p;
    return KD_OK;
}

// ---- waiting ---------------------------------------------------------------

static int left_ms(uint64_t until_ms) {
    const uint64_t now = kd_clock_mono_ms();
    return now >= until_ms ? 0 : (int)(until_ms - now);
}

static bool wait_for(int fd, short events, uint64_t until_ms) {
    struct pollfd p = { .fd = fd, .events = events };
    for (;;) {
        const int n = poll(&p, 1, left_ms(until_ms));
        if (n > 0) {
            return true;
        }
        if (n == 0 || errno != EINTR) {
            return false;
        }
    }
}

// ---- reasons ---------------------------------------------------------------

static const char *reason(int why) {
    return why == WHY_CLOSED ? "The other side closed the connection"
           : why == WHY_OWN  ? "A function of it failed"
                             : strerror(why);
}

// The first is the reason; what follows comes from it.
static void note(struct kd_link *l, int why) {
    int none = 0;
    (void)atomic_compare_exchange_strong(&l->why, &none, why);
}

void kd_link_explain(const struct kd_link *l, enum keyd_err err) {
    const int why = atomic_load(&l->why);
    if (why != 0) {
        kd_detail_fail(err, "%s: %s.", l->name, reason(why));
    }
}

// ---- life ------------------------------------------------------------------

// -1, and why not.
static int try_address(const struct addrinfo *a, uint64_t until_ms, int *why) {
    const int one = 1;
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;
    socklen_t n = sizeof(error);
    if (fd < 0) {
        *why = errno;
        return -1;
    }
    const bool has_begun = connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS;
    if (has_begun && !wait_for(fd, POLLOUT, until_ms)) {
        error = ETIMEDOUT;
    } else if (!has_begun || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0) {
        error = errno;
    }
    if (error != 0) {
        *why = error;
        close(fd);
        return -1;
    }
    if (a->ai_socktype == SOCK_STREAM) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    return fd;
}

// One of n addresses: what it does not need is for those after it.
static uint64_t share_until(uint64_t until_ms, uint64_t n) {
    const uint64_t now = kd_clock_mono_ms();
    return now >= until_ms ? until_ms : now + (until_ms - now) / n;
}

static int connect_to(const struct kd_place *place, const char *name, uint64_t until_ms) {
    const struct addrinfo hints = { .ai_socktype = place->is_lossy ? SOCK_DGRAM : SOCK_STREAM };
    struct addrinfo *all = NULL;
    uint64_t n_left = 0;
    int fd = -1;
    int why = 0;
    const int r = getaddrinfo(place->host, place->port, &hints, &all);
    if (r != 0) {
        kd_detail_fail(KEYD_ERR_TRANSPORT, "%s: %s.", name,
                       r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
        return -1;
    }
    for (const struct addrinfo *a = all; a != NULL; a = a->ai_next) {
        n_left++;
    }
    for (const struct addrinfo *a = all; a != NULL && fd < 0; a = a->ai_next) {
        fd = try_address(a, share_until(until_ms, n_left--), &why);
    }
    freeaddrinfo(all);
    if (fd < 0) {
        kd_detail_fail(KEYD_ERR_TRANSPORT, "%s: %s.", name, reason(why));
    }
    return fd;
}

static void put_name(const struct kd_place *p, char name[static NAME_BYTES]) {
    if (p->send != NULL) {
        snprintf(name, NAME_BYTES, "The caller's transport");
    } else {
        snprintf(name, NAME_BYTES, "%s://%.120s:%s", p->is_lossy ? "udp" : "tcp", p->host, p->port);
    }
}

enum kd_err kd_link_open(const struct kd_place *place, uint64_t until_ms, struct kd_link **out) {
    struct kd_link *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    l->own =
        (struct kd_place) { .send = place->send, .receive = place->receive, .arg = place->arg };
    l->is_datagram = place->is_lossy;
    l->in = KD_BUF_INIT(KD_FRAME_LENGTH_BYTES + KD_FRAME_MAX_BYTES);
    put_name(place, l->name);
    l->fd = l->own.send != NULL ? -1 : connect_to(place, l->name, until_ms);
    if (l->own.send == NULL && l->fd < 0) {
        kd_link_free(l);
        return KD_ERR_SYSTEM;
    }
    *out = l;
    return KD_OK;
}

void kd_link_free(struct kd_link *l) {
    if (l == NULL) {
        return;
    }
    if (l->fd >= 0) {
        close(l->fd);
    }
    kd_buf_wipe(&l->in);
    free(l);
}

void kd_link_shut(struct kd_link *l, int why) {
    note(l, why);
    atomic_store(&l->is_shut, true);
    if (l->fd >= 0) {
        (void)shutdown(l->fd, SHUT_RDWR);
    }
}

bool kd_link_is_stream(const struct kd_link *l) {
    return l->own.send == NULL && !l->is_datagram;
}

unsigned long kd_link_came(const struct kd_link *l) {
    return atomic_load(&l->n_came);
}

// ---- sending ---------------------------------------------------------------

static enum kd_err send_all(struct kd_link *l, struct kd_bytes b, uint64_t until_ms) {
    while (b.n > 0) {
        const ssize_t n = send(l->fd, b.p, b.n, MSG_NOSIGNAL);
        if (n > 0) {
            b.p += n;
            b.n -= (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            note(l, errno);
            return KD_ERR_SYSTEM;
        } else if (!wait_for(l->fd, POLLOUT, until_ms)) {
            return KD_ERR_DEADLINE;
        }
    }
    return KD_OK;
}

static enum kd_err send_own(struct kd_link *l, struct kd_bytes frame, uint64_t until_ms) {
    if (l->own.send(l->own.arg, frame.p, frame.n, (unsigned)left_ms(until_ms)) == 0) {
        return KD_OK;
    }
    note(l, WHY_OWN);
    return KD_ERR_SYSTEM;
}

enum kd_err kd_link_send(struct kd_link *l, struct kd_bytes frame, uint64_t until_ms) {
    if (l->own.send != NULL) {
        return send_own(l, frame, until_ms);
    }
    if (l->is_datagram) { // one that cannot be sent now is one that was lost
        if (send(l->fd, frame.p, frame.n, MSG_NOSIGNAL) < 0) {
            note(l, errno);
        }
        return KD_OK;
    }
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_FRAME_LENGTH_BYTES + KD_FRAME_MAX_BYTES);
    kd_buf_block32(&out, frame);
    const enum kd_err r = kd_buf_finish(&out);
    return r == KD_OK ? send_all(l, kd_buf_get(&out), until_ms) : r;
}

// ---- receiving -------------------------------------------------------------

// Until l->in has n bytes.
static enum kd_err fill(struct kd_link *l, size_t n, uint64_t until_ms) {
    while (l->in.n < n) {
        const size_t had = l->in.n;
        uint8_t *p = kd_buf_extend(&l->in, n - had);
        if (p == NULL) {
            return KD_ERR_NO_MEMORY;
        }
        const ssize_t got = recv(l->fd, p, n - had, 0);
        l->in.n = had + (got > 0 ? (size_t)got : 0);
        atomic_fetch_add(&l->n_came, got > 0 ? 1 : 0);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
            note(l, got == 0 ? WHY_CLOSED : errno);
            return KD_ERR_SYSTEM;
        }
        if (got < 0 && !wait_for(l->fd, POLLIN, until_ms)) {
            return KD_ERR_DEADLINE;
        }
    }
    return KD_OK;
}

static enum kd_err receive_stream(struct kd_link *l, uint64_t until_ms, struct kd_buf *frame) {
    enum kd_err r = fill(l, KD_FRAME_LENGTH_BYTES, until_ms);
    if (r != KD_OK) {
        return r;
    }
    struct kd_reader head = kd_reader_of(kd_buf_get(&l->in));
    const size_t n = kd_read_u32(&head);
    if (n < KD_FRAME_HEAD_BYTES || n > KD_FRAME_MAX_BYTES) {
        note(l, EPROTO);
        return KD_ERR_SYSTEM;
    }
    if ((r = fill(l, KD_FRAME_LENGTH_BYTES + n, until_ms)) != KD_OK) {
        return r;
    }
    kd_buf_put(frame, l->in.p + KD_FRAME_LENGTH_BYTES, n);
    kd_buf_reset(&l->in);
    return kd_buf_finish(frame);
}

static enum kd_err receive_datagram(struct kd_link *l, uint64_t until_ms, struct kd_buf *frame) {
    kd_buf_reset(&l->in);
    uint8_t *p = kd_buf_extend(&l->in, KD_FRAME_MAX_BYTES);
    if (p == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    while (!atomic_load(&l->is_shut)) {
        const ssize_t n = recv(l->fd, p, KD_FRAME_MAX_BYTES, 0);
        if (n > 0) {
            atomic_fetch_add(&l->n_came, 1);
            atomic_store(&l->why, 0);
            kd_buf_put(frame, p, (size_t)n);
            return kd_buf_finish(frame);
        }
        if (n < 0 && errno == ECONNREFUSED) { // nobody is there yet
            note(l, errno);
            (void)poll(NULL, 0, REFUSED_MS);
        }
        if (!wait_for(l->fd, POLLIN, until_ms)) {
            return KD_ERR_DEADLINE;
        }
    }
    return KD_ERR_SYSTEM;
}

static enum kd_err receive_own(struct kd_link *l, uint64_t until_ms, struct kd_buf *frame) {
    size_t n = 0;
    kd_buf_reset(&l->in);
    uint8_t *p = kd_buf_extend(&l->in, KD_FRAME_MAX_BYTES);
    if (p == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const int r =
        l->own.receive(l->own.arg, p, KD_FRAME_MAX_BYTES, &n, (unsigned)left_ms(until_ms));
    if (r > 0) {
        return KD_ERR_DEADLINE;
    }
    if (r < 0 || n > KD_FRAME_MAX_BYTES) {
        note(l, WHY_OWN);
        return KD_ERR_SYSTEM;
    }
    atomic_fetch_add(&l->n_came, 1);
    kd_buf_put(frame, p, n);
    return kd_buf_finish(frame);
}

enum kd_err kd_link_receive(struct kd_link *l, uint64_t until_ms, struct kd_buf *frame) {
    return l->own.send != NULL ? receive_own(l, until_ms, frame)
           : l->is_datagram    ? receive_datagram(l, until_ms, frame)
                               : receive_stream(l, until_ms, frame);
}
