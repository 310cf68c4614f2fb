// SPDX-License-Identifier: Apache-2.0
// connection.c: how many connections there are and how long each may take.
// libmicrohttpd knows only a limit on inactivity, which a client that sends a
// byte now and then never meets; here each step has an absolute deadline, and
// a connection that is over it is shut down, which libmicrohttpd then notices.
#include "api/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    LOOKED_AT = 64,
    SLOW_MS = 2000, // longer than a client at work needs for its part of a request
};

static void link_connection(struct kd_http *h, struct kd_connection *c) {
    c->next = h->connections;
    if (c->next != NULL) {
        c->next->previous = c;
    }
    h->connections = c;
}

static void unlink_connection(struct kd_http *h, struct kd_connection *c) {
    *(c->previous == NULL ? &h->connections : &c->previous->next) = c->next;
    if (c->next != NULL) {
        c->next->previous = c->previous;
    }
}

static void shut(struct kd_connection *c) {
    c->is_shut = true;
    kd_places_line_up(&c->http->places, c, KD_LINE_NONE);
    shutdown(c->fd, SHUT_RDWR);
}

static bool has_unread(const struct kd_connection *c) {
    int n = 0;
    return ioctl(c->fd, FIONREAD, &n) == 0 && n > 0;
}

// False: something was sent before, which nobody has read yet.  A local client that sends later
// sees that it cannot (EPIPE), so nothing comes between the look and the end.
static bool shut_if_silent(struct kd_connection *c) {
    if (!has_unread(c)) {
        shutdown(c->fd, SHUT_RD);
    }
    if (has_unread(c)) {
        return false;
    }
    shut(c);
    return true;
}

// ---- places ----------------------------------------------------------------

// Every request on it is answered with busy from here on.
static void take_place(struct kd_http *h, struct kd_connection *c) {
    kd_places_bar(&h->places, c);
    c->is_surplus = true;
    h->n_connections--;
}

// Strangers go first: the oldest for which the service does not work, also with half a request, so
// that who opens many from afar takes places from his like.  The others that are come across go
// to the end, so that each is looked at in its turn.
static bool displace_stranger(struct kd_http *h) {
    struct kd_connection *c;
    for (size_t i = 0; i < LOOKED_AT && (c = h->places.strangers.lines[KD_LINE_IDLE].first) != NULL;
         i++) {
        if (c->deadline_ms != KD_LOOP_NO_LIMIT) {
            take_place(h, c);
            shut(c);
            return true;
        }
        kd_places_line_up(&h->places, c, KD_LINE_IDLE);
    }
    return false;
}

// Then the longest idle one of who has the most, if that is more than the newcomer has with this
// one: so nobody keeps others out, and two do not take places from each other in turns.
static bool displace_idle(struct kd_http *h, const struct kd_connection *newcomer) {
    struct kd_connection *c;
    for (size_t i = 0; i < LOOKED_AT; i++) {
        if ((c = kd_places_of_most(&h->places, KD_LINE_IDLE, newcomer->holder->n)) == NULL) {
            return false;
        }
        if (!has_unread(c)) {
            take_place(h, c);
            if (!shut_if_silent(c)) { // it sent something this very moment, and is told busy
                kd_connection_allow(c, h->config.header_timeout_ms);
            }
            return true;
        }
        kd_places_line_up(&h->places, c, KD_LINE_IDLE); // a request comes
    }
    return false;
}

// Then one for which the service does not work, as its client is too slow, or will not.
static bool displace_slow(struct kd_http *h, const struct kd_connection *newcomer) {
    struct kd_connection *c = kd_places_of_most(&h->places, KD_LINE_SLOW, newcomer->holder->n);
    if (c == NULL || kd_clock_mono_ms() - c->since_ms < SLOW_MS) {
        return false;
    }
    take_place(h, c);
    shut(c);
    return true;
}

// Those without a place have few, and the newest has one of those: else who opens many would have
// all, and libmicrohttpd would accept nobody any more.
static void make_surplus(struct kd_http *h, struct kd_connection *c) {
    take_place(h, c);
    h->metrics.connections_surplus++;
    struct kd_connection *oldest = h->places.surplus.lines[KD_LINE_IDLE].first;
    if (h->places.surplus.n > KD_HTTP_SURPLUS_MAX / 2 && oldest != NULL) {
        shut(oldest);
    }
}

static void find_place(struct kd_http *h, struct kd_connection *c) {
    h->metrics.connections_total++;
    if (++h->n_connections <= h->config.connections_max) {
        return;
    }
    if (displace_stranger(h) || displace_idle(h, c) || displace_slow(h, c)) {
        h->metrics.connections_displaced++;
    } else {
        make_surplus(h, c);
    }
}

void kd_connection_know(struct kd_connection *c, const char *name) {
    struct kd_places *places = &c->http->places;
    if (c->holder == &places->strangers && kd_places_give(places, c, name) != KD_OK &&
        kd_http_may_warn(c->http)) {
        kd_log(KD_LOG_WARN, "http", "no memory to count a connection as its caller's", "name=%s",
               name);
    }
}

// ---- coming and going ------------------------------------------------------

// Those that it had when it connected (unix(7), Linux 4.13).  Without memory, or on an older
// kernel, none.
static void read_groups(struct kd_connection *c) {
    socklen_t n = 0;
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &n) == 0 || errno != ERANGE) {
        return;
    }
    c->groups = malloc(n);
    if (c->groups != NULL && getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, c->groups, &n) == 0) {
        c->n_groups = n / sizeof(*c->groups);
    }
}

static void read_peer(struct kd_connection *c) {
    struct ucred peer;
    socklen_t n = sizeof(peer);
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && n == sizeof(peer)) {
        c->has_peer = true;
        c->uid = peer.uid;
        c->gid = peer.gid;
        read_groups(c);
    }
}

// A local one is its user's, whatever tokens come on it; a blank is in no other name.
static enum kd_err enter(struct kd_connection *c, bool is_local) {
    char name[KD_NAME_MAX_BYTES];
    if (!is_local) {
        return kd_places_give(&c->http->places, c, NULL);
    }
    read_peer(c);
    snprintf(name, sizeof(name), "uid %lld", c->has_peer ? (long long)c->uid : -1);
    return kd_places_give(&c->http->places, c, name);
}

static void free_connection(struct kd_connection *c) {
    free(c->groups);
    free(c);
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
    c->certificate_state = l->tls != NULL ? KD_CERTIFICATE_UNREAD : KD_CERTIFICATE_NONE;
    if (enter(c, l->is_unix) != KD_OK) {
        free_connection(c);
        return NULL;
    }
    c->tls = kd_tls_hold(l->tls, mhd);
    find_place(h, c);
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
        kd_places_leave(&l->http->places, c);
        kd_tls_drop(c->tls);
        free_connection(c);
    }
}

struct kd_connection *kd_connection_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void begin(struct kd_connection *c, uint64_t ms, enum kd_line_id line) {
    c->is_idle = false;
    c->since_ms = kd_clock_mono_ms();
    c->deadline_ms = ms == KD_LOOP_NO_LIMIT ? KD_LOOP_NO_LIMIT : c->since_ms + ms;
    if (!c->is_shut) {
        kd_places_wait(&c->http->places, c, line);
    }
}

// Between requests.  A surplus connection gets the time of one header.
void kd_connection_idle(struct kd_connection *c) {
    const struct kd_http_config *config = &c->http->config;
    begin(c, c->is_surplus ? config->header_timeout_ms : config->idle_timeout_ms, KD_LINE_IDLE);
    c->is_idle = true;
}

void kd_connection_allow(struct kd_connection *c, uint64_t ms) {
    begin(c, ms, ms == KD_LOOP_NO_LIMIT ? KD_LINE_NONE : KD_LINE_SLOW);
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

// What was sent before the stop is answered, though nobody has read it yet.
static void shut_idle(struct kd_connection *c) {
    if (!shut_if_silent(c)) {
        kd_connection_allow(c, c->http->config.header_timeout_ms);
        kd_connection_await(c, true);
    }
}

void kd_connection_shut_idle(struct kd_http *h) {
    for (struct kd_connection *c = h->connections; c != NULL; c = c->next) {
        if (c->is_idle && !c->is_shut) {
            shut_idle(c);
        }
    }
}
