// SPDX-License-Identifier: Apache-2.0
// connection.c: how many connections there are and how long each may take.
// libmicrohttpd knows only a limit on inactivity, which a client that sends a
// byte now and then never meets; here each step has an absolute deadline, and
// a connection that is over it is shut down, which libmicrohttpd then notices.
#include "api/http.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { LOOKED_AT = 64 };

static void link_connection(struct kd_http *h, struct kd_connection *c) {
    c->previous = NULL;
    c->next = h->connections;
    *(c->next == NULL ? &h->oldest : &c->next->previous) = c;
    h->connections = c;
}

static void unlink_connection(struct kd_http *h, struct kd_connection *c) {
    *(c->previous == NULL ? &h->connections : &c->previous->next) = c->next;
    *(c->next == NULL ? &h->oldest : &c->next->previous) = c->previous;
}

static void shut(struct kd_connection *c) {
    c->is_shut = true;
    shutdown(c->fd, SHUT_RDWR);
}

// A stranger's, which the service does not work for.
static bool may_make_room(const struct kd_connection *c) {
    return !c->is_local && !c->is_known && !c->is_surplus && !c->is_shut &&
           c->deadline_ms != KD_LOOP_NO_LIMIT;
}

// At the limit the oldest connection over TCP by which nobody has shown who he is makes room: who
// opens many from afar takes places from his like alone.  The others that it comes across go to
// the front, so that each is looked at in its turn.  False: there is none.
static bool make_room(struct kd_http *h) {
    struct kd_connection *c = h->oldest;
    for (size_t i = 0; i < LOOKED_AT && c != NULL; i++) {
        struct kd_connection *newer = c->previous;
        if (may_make_room(c)) {
            c->is_surplus = true; // its place is another's from here on
            h->n_connections--;
            h->metrics.connections_displaced++;
            shut(c);
            return true;
        }
        unlink_connection(h, c);
        link_connection(h, c);
        c = newer;
    }
    return false;
}

static void read_peer(struct kd_connection *c) {
    struct ucred peer;
    socklen_t n = sizeof(peer);
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && n == sizeof(peer)) {
        c->has_peer = true;
        c->uid = peer.uid;
        c->gid = peer.gid;
    }
}

static struct kd_connection *open_connection(const struct kd_listener *l,
                                             struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct kd_connection *c = info == NULL ? NULL : calloc(1, sizeof(*c));
    if (c == NULL) {
        return NULL; // kd_request_begin refuses what comes on it
    }
    struct kd_http *h = l->http;
    c->http = h;
    c->fd = info->connect_fd;
    c->certificate_state = l->is_tls ? KD_CERTIFICATE_UNREAD : KD_CERTIFICATE_NONE;
    c->is_local = l->is_unix;
    if (l->is_unix) {
        read_peer(c);
    }
    c->is_surplus = h->n_connections >= h->config.connections_max && !make_room(h);
    h->n_connections += c->is_surplus ? 0 : 1;
    h->metrics.connections_total++;
    h->metrics.connections_surplus += c->is_surplus ? 1 : 0;
    kd_connection_idle(c);
    if (h->connections == NULL) {
        kd_timer_set(h->sweep, h->sweep_ms);
    }
    link_connection(h, c);
    return c;
}

void kd_connection_notify(void *arg, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
    const struct kd_listener *l = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = open_connection(l, mhd);
        return;
    }
    struct kd_connection *c = *socket_context;
    *socket_context = NULL;
    if (c != NULL) {
        l->http->n_connections -= c->is_surplus ? 0 : 1;
        kd_connection_await(c, false);
        unlink_connection(l->http, c);
        free(c);
    }
}

struct kd_connection *kd_connection_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

// Between requests.  A surplus connection gets the time of one header.
void kd_connection_idle(struct kd_connection *c) {
    const struct kd_http_config *config = &c->http->config;
    kd_connection_allow(c, c->is_surplus ? config->header_timeout_ms : config->idle_timeout_ms);
    c->is_idle = true;
}

void kd_connection_allow(struct kd_connection *c, uint64_t ms) {
    c->is_idle = false;
    c->deadline_ms = ms == KD_LOOP_NO_LIMIT ? KD_LOOP_NO_LIMIT : kd_clock_mono_ms() + ms;
}

void kd_connection_sweep(void *http) {
    struct kd_http *h = http;
    const uint64_t now = kd_clock_mono_ms();
    for (struct kd_connection *c = h->connections; c != NULL; c = c->next) {
        if (c->deadline_ms <= now && !c->is_shut) {
            shut(c);
            h->metrics.connections_timed_out++;
        }
    }
    if (h->connections != NULL) {
        kd_timer_set(h->sweep, h->sweep_ms);
    }
}

void kd_connection_await(struct kd_connection *c, bool is_awaited) {
    if (c->is_awaited != is_awaited) {
        c->is_awaited = is_awaited;
        c->http->n_awaited += is_awaited ? 1 : (size_t)-1;
    }
}

static bool has_unread(const struct kd_connection *c) {
    int n = 0;
    return ioctl(c->fd, FIONREAD, &n) == 0 && n > 0;
}

// What was sent before the stop is answered, though nobody has read it yet.  A
// local client that sends later sees that it cannot (EPIPE), so nothing comes
// between the look and the end.
static void shut_idle(struct kd_connection *c) {
    if (!has_unread(c)) {
        shutdown(c->fd, SHUT_RD);
    }
    if (!has_unread(c)) {
        shut(c);
        return;
    }
    kd_connection_allow(c, c->http->config.header_timeout_ms);
    kd_connection_await(c, true);
}

void kd_connection_shut_idle(struct kd_http *h) {
    for (struct kd_connection *c = h->connections; c != NULL; c = c->next) {
        if (c->is_idle && !c->is_shut) {
            shut_idle(c);
        }
    }
}
