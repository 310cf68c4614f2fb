// SPDX-License-Identifier: Apache-2.0
// fake_http.c: see fake_http.h.
#include "tests/unit/fake_http.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { KEPT_MAX = 16383 }; // of a request; what follows is counted and passed over

struct peer {
    int fd;
    bool is_deaf;
    size_t n;
    char bytes[KEPT_MAX + 1];
};

// The length of the whole request at the start of the bytes, 0: not whole yet.
static size_t whole(const struct peer *p) {
    const char *end = strstr(p->bytes, "\r\n\r\n");
    if (end == NULL) {
        return 0;
    }
    const char *length = strcasestr(p->bytes, "\r\nContent-Length:");
    const size_t body = length == NULL || length > end ? 0 : strtoul(length + 17, NULL, 10);
    const size_t n = (size_t)(end + 4 - p->bytes) + body;
    return p->n >= n ? n : 0;
}

// False: the connection is done with.
static bool serve(struct fake_http *f, struct peer *p) {
    char more[65536];
    const size_t room = p->n < KEPT_MAX ? KEPT_MAX - p->n : 0;
    const ssize_t got =
        room > 0 ? recv(p->fd, p->bytes + p->n, room, 0) : recv(p->fd, more, sizeof(more), 0);
    if (got <= 0) {
        return false;
    }
    p->n += (size_t)got;
    const size_t n_kept = p->n < KEPT_MAX ? p->n : KEPT_MAX;
    p->bytes[n_kept] = '\0';
    const size_t n = whole(p);
    if (n == 0) {
        return true;
    }
    pthread_mutex_lock(&f->lock);
    memcpy(f->request, p->bytes, n_kept + 1);
    pthread_mutex_unlock(&f->lock);
    p->n = 0;
    const size_t i = f->n_requests < f->n_answers ? f->n_requests : f->n_answers - 1;
    f->n_requests++;
    if (f->is_silent) {
        return true;
    }
    if (f->n_requests == f->dropped) {
        return false;
    }
    if (f->is_deaf && f->n_accepted == 1) {
        p->is_deaf = true;
        shutdown(p->fd, SHUT_RD); // before the client can send again
    }
    (void)send(p->fd, f->answers[i], strlen(f->answers[i]), MSG_NOSIGNAL);
    return !f->closes;
}

static void *run(void *arg) {
    struct fake_http *f = arg;
    struct peer *peers = calloc(FAKE_CONNECTIONS_MAX, sizeof(*peers));
    size_t n = 0;
    for (;;) {
        struct pollfd fds[FAKE_CONNECTIONS_MAX + 2] = { { .fd = f->stop[0], .events = POLLIN },
                                                        { .fd = f->listener, .events = POLLIN } };
        for (size_t i = 0; i < n; i++) {
            fds[i + 2] =
                (struct pollfd) { .fd = peers[i].fd, .events = peers[i].is_deaf ? 0 : POLLIN };
        }
        (void)poll(fds, n + 2, -1);
        if (fds[0].revents != 0) {
            break;
        }
        for (size_t i = n; i-- > 0;) { // from the last, which takes the place of one that ends
            if (fds[i + 2].revents != 0 && !serve(f, &peers[i])) {
                close(peers[i].fd);
                peers[i] = peers[--n];
            }
        }
        if (fds[1].revents != 0 && n < FAKE_CONNECTIONS_MAX) {
            peers[n] = (struct peer) { .fd = accept(f->listener, NULL, NULL) };
            n++;
            f->n_accepted++;
        }
    }
    for (size_t i = 0; i < n; i++) {
        close(peers[i].fd);
    }
    free(peers);
    return NULL;
}

void fake_http_start(struct fake_http *f) {
    strcpy(f->folder, "/tmp/keyd-fake.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->folder));
    snprintf(f->socket, sizeof(f->socket), "%s/s", f->folder);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    memcpy(address.sun_path, f->socket, strlen(f->socket));
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(f->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(f->listener, FAKE_CONNECTIONS_MAX), 0);
    ck_assert_int_eq(pipe(f->stop), 0);
    ck_assert_int_eq(pthread_mutex_init(&f->lock, NULL), 0);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, run, f), 0);
}

void fake_http_stop(struct fake_http *f) {
    ck_assert_int_eq(write(f->stop[1], "x", 1), 1);
    pthread_join(f->thread, NULL);
    pthread_mutex_destroy(&f->lock);
    close(f->stop[0]);
    close(f->stop[1]);
    close(f->listener);
    unlink(f->socket);
    rmdir(f->folder);
}

void fake_http_last(struct fake_http *f, char *request) {
    pthread_mutex_lock(&f->lock);
    memcpy(request, f->request, sizeof(f->request));
    pthread_mutex_unlock(&f->lock);
}

const char *fake_answer(int status, const char *type, const char *body) {
    static char texts[FAKE_ANSWERS_MAX][4096];
    static unsigned next;
    char *text = texts[next++ % FAKE_ANSWERS_MAX];
    snprintf(text, sizeof(texts[0]),
             "HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s", status, type,
             strlen(body), body);
    return text;
}
