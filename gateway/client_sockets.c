// SPDX-License-Identifier: Apache-2.0
#include "gateway/client_sockets.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct socket {
    struct kd_client_sockets *all;
    curl_socket_t fd;
    bool is_ours;           // opened by us, so it is known when it is closed
    bool is_wanted;         // by libcurl
    uint32_t events;        // that are watched for
    struct kd_watch *watch; // NULL: none
};

static struct kd_bytes key_of(const curl_socket_t *fd) {
    return (struct kd_bytes) { (const uint8_t *)fd, sizeof(*fd) };
}

static struct socket *add(struct kd_client_sockets *all, curl_socket_t fd) {
    struct socket *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->all = all;
    s->fd = fd;
    if (kd_map_add(&all->all, key_of(&s->fd), s) != KD_OK) {
        free(s);
        return NULL;
    }
    return s;
}

static void forget(struct socket *s) {
    if (s != NULL) {
        kd_map_remove(&s->all->all, key_of(&s->fd));
        kd_watch_free(s->watch);
        free(s);
    }
}

static void stop_watching(struct socket *s) {
    kd_watch_free(s->watch);
    s->watch = NULL;
}

static void on_ready(void *socket, uint32_t events) {
    struct socket *s = socket;
    int what = 0;
    if (!s->is_wanted) { // its peer has closed it: libcurl sees it when it would use it again
        stop_watching(s);
        return;
    }
    what |= (events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0;
    what |= (events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0;
    what |= (events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0;
    s->all->ready(s->all->arg, s->fd, what);
}

static enum kd_err watch(struct socket *s, uint32_t events) {
    enum kd_err r = KD_OK;
    if (s->watch == NULL) {
        r = kd_watch_new(s->all->loop, s->fd, events, on_ready, s, &s->watch);
    } else if (s->events != events) {
        r = kd_watch_set(s->watch, events);
    }
    s->events = r == KD_OK ? events : s->events;
    return r;
}

static uint32_t epoll_events(int what) {
    return what == CURL_POLL_INOUT ? EPOLLIN | EPOLLOUT
           : what == CURL_POLL_OUT ? EPOLLOUT
                                   : EPOLLIN;
}

enum kd_err kd_client_sockets_want(struct kd_client_sockets *all, curl_socket_t fd, int what) {
    struct socket *s = kd_map_get(&all->all, key_of(&fd));
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL && s->is_ours) {
            s->is_wanted = false;
        } else {
            forget(s);
        }
        return KD_OK;
    }
    if (s == NULL && (s = add(all, fd)) == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    s->is_wanted = true;
    return watch(s, epoll_events(what));
}

// ---- opening and closing ---------------------------------------------------

static curl_socket_t open_socket(void *sockets, curlsocktype purpose KD_UNUSED,
                                 struct curl_sockaddr *address) {
    const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    struct socket *s = fd < 0 ? NULL : add(sockets, fd);
    if (s != NULL) {
        s->is_ours = true; // otherwise it is watched only while it is wanted
    }
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int close_socket(void *sockets, curl_socket_t fd) {
    struct kd_client_sockets *all = sockets;
    forget(kd_map_get(&all->all, key_of(&fd)));
    return close(fd);
}

void kd_client_sockets_serve(struct kd_client_sockets *s, CURL *easy) {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, s);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, s);
}

// ---- life ------------------------------------------------------------------

void kd_client_sockets_init(struct kd_client_sockets *s, struct kd_loop *loop,
                            kd_client_ready *ready, void *arg) {
    *s = (struct kd_client_sockets) { .loop = loop, .ready = ready, .arg = arg };
}

void kd_client_sockets_wipe(struct kd_client_sockets *s) {
    size_t cursor = 0;
    for (struct socket *left; (left = kd_map_next(&s->all, &cursor)) != NULL;) {
        forget(left);
    }
    kd_map_wipe(&s->all);
}
