// SPDX-License-Identifier: Apache-2.0
// http.c: opens and closes the server, and drives libmicrohttpd from the event
// loop: its epoll descriptor is watched, and what the service's callbacks have
// resumed is run before the loop waits.
#include "api/http.h"

#include "api/share.h"
#include "keyd/audit.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    ROUNDS_MAX = 8,            // of MHD_run before the loop gets its turn
    HEADER_SPARE_BYTES = 2048, // what MHD needs besides the header itself, and for each line of it
    LINE_SPARE_BYTES = 64,
    WARNINGS_PER_SECOND = 10,
};

// ---- log -------------------------------------------------------------------

bool kd_http_may_warn(struct kd_http *h) {
    const uint64_t second = kd_clock_mono_ms() / 1000;
    if (second != h->log_second) {
        h->log_second = second;
        if (h->log_count > WARNINGS_PER_SECOND) {
            kd_log(KD_LOG_WARN, "http", "more warnings were left out", "count=%u",
                   h->log_count - WARNINGS_PER_SECOND);
        }
        h->log_count = 0;
    }
    return ++h->log_count <= WARNINGS_PER_SECOND;
}

// Mostly of clients that went away: for debugging.
KD_PRINTF(2, 0) static void log_mhd(void *http KD_UNUSED, const char *format, va_list args) {
    if (!kd_log_is_on(KD_LOG_DEBUG)) {
        return;
    }
    char text[256];
    vsnprintf(text, sizeof(text), format, args);
    text[strcspn(text, "\n")] = '\0';
    kd_log(KD_LOG_DEBUG, "http", "libmicrohttpd says", "text=%s", text);
}

// ---- running ---------------------------------------------------------------

static void run(struct kd_listener *l) {
    l->http->turn++;
    MHD_run(l->daemon);
}

static void on_event(void *listener, uint32_t events KD_UNUSED) {
    run(listener);
}

static bool is_due(struct kd_listener *l) {
    MHD_UNSIGNED_LONG_LONG ms = 0;
    return MHD_get_timeout(l->daemon, &ms) == MHD_YES && ms == 0;
}

// Before the loop waits: sends the answers of this round.  Requests that are
// read on the way have missed the service's hook, which comes earlier, so then
// the loop must not sleep.
static uint64_t on_prepare(void *http) {
    struct kd_http *h = http;
    h->has_submitted = false;
    bool is_more = true;
    for (unsigned round = 0; is_more && round < ROUNDS_MAX; round++) {
        const bool has_resumed = h->has_resumed;
        h->has_resumed = false;
        is_more = false;
        for (size_t i = 0; i < h->n_listeners; i++) {
            struct kd_listener *l = &h->listeners[i];
            if (has_resumed || is_due(l)) {
                run(l);
                is_more = is_more || is_due(l);
            }
        }
        is_more = is_more || h->has_resumed;
    }
    return is_more || h->has_submitted ? 0 : KD_LOOP_NO_LIMIT;
}

// ---- the files for TLS -----------------------------------------------------

// On failure those in force stay, and the log, the audit log and status say why.
static enum kd_err read_tls(struct kd_listener *l) {
    struct kd_http *h = l->http;
    struct kd_audit *audit = kd_service_audit(h->service);
    struct kd_tls *tls = NULL;
    const enum kd_err err = kd_tls_new(&h->config, h->tls_error, &tls);
    if (err != KD_OK) {
        kd_log(KD_LOG_ERROR, "http",
               l->tls == NULL ? "the TLS files cannot be used"
                              : "the new TLS files cannot be used; the old ones stay in force",
               "why=%s", h->tls_error);
        kd_audit_say(audit, "tls.refused", "why", h->tls_error);
        return err;
    }
    if (tls != NULL) {
        kd_tls_drop(l->tls);
        l->tls = tls;
        h->tls_ms = kd_clock_wall_ms();
        kd_log(KD_LOG_INFO, "http", "the TLS files are in force", "certificate=%s",
               h->config.tls_certificate);
        kd_audit_say(audit, "tls.read", "file", h->config.tls_certificate);
    }
    return KD_OK;
}

void kd_http_reload(struct kd_http *h) {
    for (size_t i = 0; i < h->n_listeners; i++) {
        if (h->listeners[i].tls != NULL) {
            const enum kd_err err KD_UNUSED = read_tls(&h->listeners[i]); // it has said it
        }
    }
}

void kd_http_join(struct kd_http *h, const struct kd_http *other) {
    h->beside = other;
}

const char *kd_http_tls_error(const struct kd_http *h) {
    return h->tls_error[0] != '\0' || h->beside == NULL ? h->tls_error : h->beside->tls_error;
}

// ---- opening ---------------------------------------------------------------

// After MHD_start_daemon has failed, which closes the socket for some reasons
// and for others does not.
static void drop_socket(struct kd_listener *l) {
    if (l->is_unix) {
        kd_listener_unix_remove(&l->http->config, l);
    }
    if (fcntl(l->fd, F_GETFD) >= 0) { // one thread: nobody has used the number again
        close(l->fd);
    }
    l->fd = -1;
}

// A handshake costs some hundred times what a request does, and this thread serves all others.
static enum MHD_Result may_shake_hands(void *listener, const struct sockaddr *address,
                                       socklen_t n KD_UNUSED) {
    struct kd_listener *l = listener;
    struct kd_http *h = l->http;
    if (l->tls == NULL ||
        kd_sources_take(&l->sources, kd_clock_mono_ms() / 1000, address,
                        h->config.tls_handshakes_max, h->config.tls_handshakes_per_source)) {
        return MHD_YES;
    }
    h->metrics.connections_refused++;
    return MHD_NO;
}

static enum kd_err start(struct kd_listener *l) {
    struct kd_http *h = l->http;
    const bool is_tls = l->tls != NULL;
    // Certificates are given to each connection (kd_tls_hold).
    const struct MHD_OptionItem tls_options[] = {
        { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, kd_tls_no_certificate() },
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)KD_TLS_PRIORITIES },
        { MHD_OPTION_END, 0, NULL },
    };
    const struct MHD_OptionItem none = { MHD_OPTION_END, 0, NULL };
    l->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (is_tls ? MHD_USE_TLS : 0),
        0, may_shake_hands, l, kd_request_access, h, MHD_OPTION_EXTERNAL_LOGGER, log_mhd, h,
        MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)h->config.connections_max + KD_HTTP_SURPLUS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)h->config.header_max_bytes + HEADER_SPARE_BYTES +
            KD_HTTP_LINES_MAX * LINE_SPARE_BYTES,
        // Of what it would refuse then, some it ends without an answer, and some it answers twice.
        MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_URI_LOG_CALLBACK, kd_request_begin, h,
        MHD_OPTION_NOTIFY_COMPLETED, kd_request_completed, h, MHD_OPTION_NOTIFY_CONNECTION,
        kd_connection_notify, l, MHD_OPTION_ARRAY, is_tls ? tls_options : &none, MHD_OPTION_END);
    if (l->daemon == NULL) {
        kd_log(KD_LOG_ERROR, "http", "the HTTP library cannot serve this socket", "tls=%s",
               is_tls ? "yes" : "no");
        drop_socket(l);
        return is_tls ? KD_ERR_CONFIG : KD_ERR_SYSTEM;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL) {
        return KD_ERR_BUG;
    }
    MHD_run(l->daemon); // puts the listening socket into its epoll set
    return kd_watch_new(h->loop, info->epoll_fd, EPOLLIN, on_event, l, &l->watch);
}

static enum kd_err open_unix(struct kd_http *h) {
    struct kd_listener *l = &h->listeners[h->n_listeners];
    *l = (struct kd_listener) { .http = h, .fd = -1, .is_unix = true };
    enum kd_err err = kd_listener_unix_open(&h->config, l);
    if (err != KD_OK) {
        return err;
    }
    h->n_listeners++;
    err = start(l);
    if (err == KD_OK) {
        kd_log(KD_LOG_INFO, "http", "serving", "socket=%s", h->config.unix_path);
    }
    return err;
}

static enum kd_err open_tcp(struct kd_http *h) {
    struct kd_listener *l = &h->listeners[h->n_listeners];
    *l = (struct kd_listener) { .http = h, .fd = -1 };
    h->n_listeners++; // closed with the server
    enum kd_err err = read_tls(l);
    if (err != KD_OK || (err = kd_listener_tcp_open(&h->config, l)) != KD_OK) {
        return err;
    }
    err = start(l);
    if (err == KD_OK) {
        kd_log(KD_LOG_INFO, "http", "serving", "address=%s port=%u tls=%s", h->config.tcp_address,
               kd_http_port(h), l->tls != NULL ? "yes" : "no");
    }
    return err;
}

static bool is_set(const char *text) {
    return text != NULL && text[0] != '\0';
}

static uint64_t sweep_interval_ms(const struct kd_http_config *config) {
    uint64_t least = config->header_timeout_ms;
    least = config->body_timeout_ms < least ? config->body_timeout_ms : least;
    least = config->idle_timeout_ms < least ? config->idle_timeout_ms : least;
    const uint64_t ms = least / 8;
    return ms < 10 ? 10 : ms > 1000 ? 1000 : ms;
}

static enum kd_err open_listeners(struct kd_http *h) {
    enum kd_err err = kd_timer_new(h->loop, kd_connection_sweep, h, &h->sweep);
    if (err == KD_OK && is_set(h->config.unix_path)) {
        err = open_unix(h);
    }
    if (err == KD_OK && is_set(h->config.tcp_address)) {
        err = open_tcp(h);
    }
    return err == KD_OK ? kd_loop_prepare(h->loop, on_prepare, h) : err;
}

enum kd_err kd_http_open(struct kd_loop *loop, struct kd_service *service,
                         const struct kd_http_config *config, struct kd_http **out) {
    kd_auto(http) struct kd_http *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    h->loop = loop;
    h->service = service;
    h->config = *config;
    h->sweep_ms = sweep_interval_ms(config);
    if (getrandom(&h->id_seed, sizeof(h->id_seed), 0) != sizeof(h->id_seed)) {
        return KD_ERR_SYSTEM;
    }
    enum kd_err err = open_listeners(h);
    if (err != KD_OK) {
        return err;
    }
    *out = KD_STEAL(h);
    return KD_OK;
}

// ---- stopping --------------------------------------------------------------

void kd_http_stop(struct kd_http *h) {
    if (h->is_stopping) {
        return;
    }
    h->is_stopping = true;
    for (size_t i = 0; i < h->n_listeners; i++) {
        struct kd_listener *l = &h->listeners[i];
        if (l->fd < 0) {
            continue;
        }
        if (l->is_unix) {
            kd_listener_unix_remove(&h->config, l);
        }
        for (unsigned round = 0; l->daemon != NULL && round < ROUNDS_MAX; round++) {
            run(l); // accepts those who have connected, a few each time
        }
        if (l->daemon != NULL && MHD_quiesce_daemon(l->daemon) != MHD_INVALID_SOCKET) {
            close(l->fd);
        }
        l->fd = -1;
    }
    kd_connection_shut_idle(h);
}

size_t kd_http_pending(const struct kd_http *h) {
    return h->n_pending + h->n_awaited;
}

void kd_http_close(struct kd_http *h) {
    if (h == NULL) {
        return;
    }
    h->is_closing = true;
    kd_http_stop(h);
    for (size_t i = 0; i < h->n_listeners; i++) {
        struct kd_listener *l = &h->listeners[i];
        kd_watch_free(l->watch);
        if (l->daemon != NULL) {
            run(l); // what was resumed must not be suspended any more
            MHD_stop_daemon(l->daemon);
        }
        kd_tls_drop(l->tls);
        kd_sources_wipe(&l->sources);
    }
    kd_timer_free(h->sweep);
    kd_shares_wipe(h);
    kd_places_wipe(&h->places);
    free(h);
}
