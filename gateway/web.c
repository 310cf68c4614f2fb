// SPDX-License-Identifier: Apache-2.0
// web.c: devices over HTTP, a frame a request; for operators health and metrics; and for
// the backend messages to devices; each at an address of its own.  libmicrohttpd runs
// inside the loop: a request that waits for its answer is suspended.
#include "gateway/gateway.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROUNDS_MAX = 8, BEARER_MAX_BYTES = 512, SURPLUS_MAX = 32 };

// Those with a request last are first.
struct connection {
    struct connection *next, *previous;
    struct kd_web *w;
    int fd;
    bool is_working; // for a request that has come
    bool is_shut;    // another has its place
};

struct kd_web {
    struct kd_gateway *g;
    enum kd_web_role role;
    struct kd_secret *bearer; // of who may push; NULL: all
    bool is_local;            // on loopback, where all may be let in
    bool has_resumed;
    int fd;
    struct MHD_Daemon *daemon;
    struct kd_watch *watch;
    size_t pending;
    struct connection *first, *last;
    size_t n; // without those that are shut
};

struct exchange {
    struct kd_web *w;
    struct MHD_Connection *mhd;
    bool is_too_large, is_asked, is_answered;
    bool is_waiting;   // suspended
    bool is_abandoned; // the connection has gone, the answer has not come
    struct kd_buf in, out;
    unsigned status; // but of a frame
    char peer[KD_NAME_MAX_BYTES + 1];
    char address[KD_ADDRESS_TEXT_BYTES];
};

// ---- connections -----------------------------------------------------------

static void link_first(struct connection *c) {
    struct kd_web *w = c->w;
    c->previous = NULL;
    c->next = w->first;
    *(w->first == NULL ? &w->last : &w->first->previous) = c;
    w->first = c;
}

static void unlink_connection(struct connection *c) {
    *(c->previous == NULL ? &c->w->first : &c->previous->next) = c->next;
    *(c->next == NULL ? &c->w->last : &c->next->previous) = c->previous;
}

static struct connection *connection_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void set_working(struct MHD_Connection *mhd, bool is_working) {
    struct connection *c = connection_of(mhd);
    if (c != NULL) {
        c->is_working = is_working;
        unlink_connection(c);
        link_first(c);
    }
}

// Who opens many and asks for nothing, or sends a byte now and then, loses those.
static void make_room(struct kd_web *w) {
    struct connection *c = w->last;
    while (c != NULL && (c->is_working || c->is_shut)) {
        c = c->previous;
    }
    if (c != NULL) {
        c->is_shut = true;
        w->n--;
        shutdown(c->fd, SHUT_RDWR); // libmicrohttpd sees that it has ended
    }
}

static struct connection *open_connection(struct kd_web *w, struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *c = info == NULL ? NULL : calloc(1, sizeof(*c));
    if (c == NULL) {
        return NULL; // it takes its place unseen
    }
    c->w = w;
    c->fd = info->connect_fd;
    if (w->n >= w->g->config->connections_max) {
        make_room(w);
    }
    link_first(c);
    w->n++;
    return c;
}

static void on_connection(void *web, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct connection *c = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = open_connection(web, mhd);
    } else if (c != NULL) {
        *context = NULL;
        c->w->n -= c->is_shut ? 0 : 1;
        unlink_connection(c);
        free(c);
    }
}

static void free_exchange(struct exchange *x) {
    kd_buf_wipe(&x->in);
    kd_buf_wipe(&x->out);
    free(x);
}

// ---- answers ---------------------------------------------------------------

static enum MHD_Result reply(struct MHD_Connection *mhd, unsigned status, const char *type,
                             struct kd_bytes body) {
    struct MHD_Response *r = MHD_create_response_from_buffer(
        body.n, body.n == 0 ? (void *)(uintptr_t) "" : (void *)(uintptr_t)body.p,
        MHD_RESPMEM_MUST_COPY);
    if (r == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(r, "Content-Type", type);
    (void)MHD_add_response_header(r, "Cache-Control", "no-store");
    const enum MHD_Result result = MHD_queue_response(mhd, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result refuse(struct MHD_Connection *mhd, unsigned status, const char *why) {
    return reply(mhd, status, "text/plain; charset=utf-8", kd_bytes_of_text(why));
}

static enum MHD_Result refuse_for_memory(struct MHD_Connection *mhd) {
    return refuse(mhd, MHD_HTTP_SERVICE_UNAVAILABLE, "There is not enough memory.\n");
}

static void end(struct exchange *x) {
    x->w->pending--;
    x->is_answered = true;
    if (x->is_abandoned) {
        free_exchange(x);
    } else if (x->is_waiting) {
        x->is_waiting = false;
        x->w->has_resumed = true;
        MHD_resume_connection(x->mhd);
    }
}

static void on_answer(void *arg, struct kd_bytes answer) {
    struct exchange *x = arg;
    kd_buf_put(&x->out, answer.p, answer.n);
    end(x);
}

static void on_said(void *arg, unsigned status, const char *why) {
    struct exchange *x = arg;
    x->status = status;
    kd_buf_text(&x->out, why);
    kd_buf_text(&x->out, why[0] == '\0' ? "" : "\n");
    end(x);
}

// ---- devices ---------------------------------------------------------------

static bool is_frame(struct MHD_Connection *mhd) {
    const char *type = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Type");
    return type != NULL && strcasecmp(type, KD_FRAME_MEDIA_TYPE) == 0;
}

static void begin(struct exchange *x) {
    const struct kd_origin origin = { .address = x->address, .is_stream = true };
    x->is_asked = true;
    x->w->pending++;
    set_working(x->mhd, true);
    switch (x->w->role) {
    case KD_WEB_DEVICES:
        kd_gateway_ask(x->w->g, kd_buf_get(&x->in), &origin, on_answer, x);
        break;
    case KD_WEB_ADMIN:
        kd_ready_ask(x->w->g, on_said, x);
        break;
    case KD_WEB_PUSH:
        kd_push(x->w->g, x->peer, kd_buf_get(&x->in), on_said, x);
        break;
    }
}

static enum MHD_Result answer(struct exchange *x) {
    if (x->w->role != KD_WEB_DEVICES) { // what became of it is said, if need be without the reason
        return refuse(x->mhd, x->status, kd_buf_get_text(&x->out));
    }
    return x->out.n == 0 ? refuse_for_memory(x->mhd) // no frame is empty
                         : reply(x->mhd, MHD_HTTP_OK, KD_FRAME_MEDIA_TYPE, kd_buf_get(&x->out));
}

static enum MHD_Result ask(struct exchange *x) {
    if (kd_buf_finish(&x->in) != KD_OK) {
        return refuse_for_memory(x->mhd); // here is a part only of what came
    }
    if (!x->is_asked) {
        begin(x);
    }
    if (!x->is_answered) {
        x->is_waiting = true;
        MHD_suspend_connection(x->mhd);
        return MHD_YES;
    }
    return answer(x);
}

static struct exchange *new_exchange(struct kd_web *w, struct MHD_Connection *mhd) {
    struct exchange *x = calloc(1, sizeof(*x));
    const union MHD_ConnectionInfo *from =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (x != NULL) {
        x->w = w;
        x->mhd = mhd;
        x->in = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
        x->out = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
        if (from != NULL) {
            kd_address_print(from->client_addr, x->address);
        }
    }
    return x;
}

// More of the body, as far as it may be long; false: that was all.
static bool takes_data(struct exchange *x, const char *data, size_t *n) {
    if (*n == 0) {
        return false;
    }
    x->is_too_large = x->is_too_large || *n > KD_FRAME_MAX_BYTES - x->in.n;
    if (!x->is_too_large) {
        kd_buf_put(&x->in, data, *n);
    }
    *n = 0;
    return true;
}

static enum MHD_Result on_device(struct kd_web *w, struct MHD_Connection *mhd, const char *url,
                                 const char *method, const char *data, size_t *n, void **state) {
    struct exchange *x = *state;
    if (x == NULL) {
        if (strcmp(url, "/") != 0 || strcmp(method, "POST") != 0) {
            return refuse(mhd, MHD_HTTP_NOT_FOUND, "Frames are POSTed to /.\n");
        }
        *state = new_exchange(w, mhd);
        return *state == NULL ? MHD_NO : MHD_YES;
    }
    if (takes_data(x, data, n)) {
        return MHD_YES;
    }
    if (x->is_too_large) {
        return refuse(mhd, MHD_HTTP_CONTENT_TOO_LARGE, "A frame has at most 66000 bytes.\n");
    }
    if (!is_frame(mhd)) {
        return refuse(mhd, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE,
                      "Content-Type: " KD_FRAME_MEDIA_TYPE " is expected.\n");
    }
    return ask(x);
}

// ---- the backend -----------------------------------------------------------

static bool may_push(const struct kd_web *w, struct MHD_Connection *mhd) {
    static const char scheme[] = "Bearer ";
    const char *given = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Authorization");
    if (w->bearer == NULL) {
        // A page in a browser of this machine reaches loopback, too, and its requests say so.
        return MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Origin") == NULL;
    }
    if (given == NULL || strncasecmp(given, scheme, sizeof(scheme) - 1) != 0) {
        return false;
    }
    const struct kd_bytes expected = { kd_secret_get(w->bearer), kd_secret_len(w->bearer) };
    return kd_ct_equal(kd_bytes_of_text(given + sizeof(scheme) - 1), expected);
}

static enum MHD_Result on_push(struct kd_web *w, struct MHD_Connection *mhd, const char *url,
                               const char *method, const char *data, size_t *n, void **state) {
    static const char prefix[] = "/push/";
    struct exchange *x = *state;
    if (x != NULL) {
        if (takes_data(x, data, n)) {
            return MHD_YES;
        }
        return x->is_too_large
                   ? refuse(mhd, MHD_HTTP_CONTENT_TOO_LARGE, "A message has at most 65536 bytes.\n")
                   : ask(x);
    }
    const char *peer = url + sizeof(prefix) - 1;
    if (strncmp(url, prefix, sizeof(prefix) - 1) != 0 || strcmp(method, "POST") != 0 ||
        peer[0] == '\0' || strlen(peer) > KD_NAME_MAX_BYTES) {
        return refuse(mhd, MHD_HTTP_NOT_FOUND, "Messages are POSTed to /push/PEER.\n");
    }
    if (!may_push(w, mhd)) {
        return refuse(mhd, MHD_HTTP_UNAUTHORIZED,
                      "The bearer token is missing or wrong; browsers are not served without.\n");
    }
    *state = x = new_exchange(w, mhd);
    if (x != NULL) {
        memcpy(x->peer, peer, strlen(peer) + 1);
    }
    return x == NULL ? MHD_NO : MHD_YES;
}

// ---- operators -------------------------------------------------------------

static enum MHD_Result on_admin(struct kd_web *w, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *data, size_t *n, void **state) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(65536);
    if (*state != NULL) {
        return takes_data(*state, data, n) ? MHD_YES : ask(*state);
    }
    if (strcmp(method, "GET") != 0) {
        return refuse(mhd, MHD_HTTP_METHOD_NOT_ALLOWED, "Only GET.\n");
    }
    if (strcmp(url, "/healthz") == 0) {
        return refuse(mhd, w->g->is_stopping ? 503 : 200,
                      w->g->is_stopping ? "stopping\n" : "ok\n");
    }
    if (strcmp(url, "/metrics") == 0) {
        kd_gateway_metrics(w->g, &text);
        return kd_buf_finish(&text) != KD_OK
                   ? refuse_for_memory(mhd)
                   : reply(mhd, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                           kd_buf_get(&text));
    }
    if (strcmp(url, "/readyz") == 0) {
        *state = new_exchange(w, mhd);
        return *state == NULL ? MHD_NO : MHD_YES;
    }
    return refuse(mhd, MHD_HTTP_NOT_FOUND, "There are /healthz, /readyz and /metrics.\n");
}

static enum MHD_Result on_request(void *web, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version KD_UNUSED,
                                  const char *data, size_t *n, void **state) {
    struct kd_web *w = web;
    switch (w->role) {
    case KD_WEB_DEVICES:
        return on_device(w, mhd, url, method, data, n, state);
    case KD_WEB_ADMIN:
        return on_admin(w, mhd, url, method, data, n, state);
    case KD_WEB_PUSH:
        return on_push(w, mhd, url, method, data, n, state);
    }
    return MHD_NO;
}

static void on_completed(void *web KD_UNUSED, struct MHD_Connection *mhd, void **state,
                         enum MHD_RequestTerminationCode why KD_UNUSED) {
    struct exchange *x = *state;
    *state = NULL;
    set_working(mhd, false);
    if (x != NULL && x->is_asked && !x->is_answered) {
        x->is_abandoned = true;
    } else if (x != NULL) {
        free_exchange(x);
    }
}

// ---- the loop --------------------------------------------------------------

static void on_event(void *web, uint32_t events KD_UNUSED) {
    struct kd_web *w = web;
    MHD_run(w->daemon);
}

static uint64_t on_prepare(void *web) {
    struct kd_web *w = web;
    MHD_UNSIGNED_LONG_LONG ms = 0;
    for (size_t i = 0; i < ROUNDS_MAX && w->daemon != NULL; i++) {
        const bool is_due =
            w->has_resumed || (MHD_get_timeout(w->daemon, &ms) == MHD_YES && ms == 0);
        w->has_resumed = false;
        if (!is_due) {
            return kd_records_wait(w->g);
        }
        MHD_run(w->daemon);
    }
    return 0;
}

static enum kd_err start(struct kd_web *w, const char *where) {
    const struct kd_gateway_config *c = w->g->config;
    enum kd_err r = kd_address_bind(where, SOCK_STREAM, &w->fd);
    if (r != KD_OK) {
        return r;
    }
    w->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, w,
                         MHD_OPTION_LISTEN_SOCKET, w->fd, MHD_OPTION_CONNECTION_LIMIT,
                         (unsigned)c->connections_max + SURPLUS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                         (unsigned)(c->idle_timeout_ms + 999) / 1000, MHD_OPTION_STRICT_FOR_CLIENT,
                         1, MHD_OPTION_NOTIFY_COMPLETED, on_completed, w,
                         MHD_OPTION_NOTIFY_CONNECTION, on_connection, w, MHD_OPTION_END);
    if (w->daemon == NULL) {
        close(w->fd);
        return KD_ERR_SYSTEM;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(w->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL) {
        return KD_ERR_BUG;
    }
    MHD_run(w->daemon);
    r = kd_watch_new(w->g->loop, info->epoll_fd, EPOLLIN, on_event, w, &w->watch);
    return r == KD_OK ? kd_loop_prepare(w->g->loop, on_prepare, w) : r;
}

// Another configuration may name none as it has another address, or none: that is served after a
// restart, and until then the token of the one before is needed here.
enum kd_err kd_web_read_token(struct kd_web *w, const char *path) {
    kd_auto(secret) struct kd_secret *bearer = NULL;
    if (path[0] == '\0' && !w->is_local) {
        return KD_OK;
    }
    const enum kd_err r =
        path[0] == '\0' ? KD_OK : kd_secret_read_file(path, BEARER_MAX_BYTES, &bearer);
    if (r == KD_OK) {
        kd_secret_free(w->bearer);
        w->bearer = KD_STEAL(bearer);
    }
    return r;
}

enum kd_err kd_web_open(struct kd_gateway *g, const char *where, enum kd_web_role role,
                        struct kd_web **out) {
    struct kd_web *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    w->g = g;
    w->role = role;
    w->is_local = kd_address_is_loopback(where);
    enum kd_err r = role == KD_WEB_PUSH ? kd_web_read_token(w, g->config->push_token_file) : KD_OK;
    r = r == KD_OK ? start(w, where) : r;
    if (r != KD_OK) {
        kd_web_close(w);
        return r;
    }
    *out = w;
    return KD_OK;
}

void kd_web_stop(struct kd_web *w) {
    const MHD_socket fd = MHD_quiesce_daemon(w->daemon);
    if (fd != MHD_INVALID_SOCKET) {
        close(fd);
    }
}

bool kd_web_is_idle(const struct kd_web *w) {
    return w->pending == 0;
}

void kd_web_close(struct kd_web *w) {
    if (w == NULL) {
        return;
    }
    kd_watch_free(w->watch);
    if (w->daemon != NULL) {
        MHD_stop_daemon(w->daemon);
    }
    kd_secret_free(w->bearer);
    free(w);
}
