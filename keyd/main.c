// SPDX-License-Identifier: Apache-2.0
// main.c: keyd itself: options, signals, and the order in which the parts are
// started and stopped.  Read service.h next.
#include "kd-build.h"

#include "api/api.h"
#include "keyd/config.h"
#include "keyd/notify.h"
#include "keyd/policy.h"
#include "keyd/service.h"
#include "keyd/starter.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, FILES_BESIDE_CONNECTIONS = 64 };

struct daemon {
    struct kd_config *config;
    struct kd_loop *loop;
    struct kd_service *service;
    struct kd_http *http;
    struct kd_http *bootstrap; // NULL: there is none, or not yet
    struct kd_signals *signals;
    struct kd_watch *starter_watch;
    struct kd_timer *stop_timer;
    struct kd_timer *alive_timer;
    uint64_t alive_ms;
    bool is_stopping;
    bool has_lost_starter;
};

// ---- options ---------------------------------------------------------------

enum action { ACTION_SERVE, ACTION_CHECK, ACTION_PRINT, ACTION_VERSION, ACTION_HELP, ACTION_WRONG };

struct options {
    enum action action;
    const char *config_path;
};

static const char usage[] =
    "usage: keyd [--config FILE] [--check-config | --print-config | --version | --help]\n"
    "  -c, --config FILE   configuration (default " KD_CONFIG_DEFAULT_PATH ")\n"
    "      --check-config  check configuration and policy, and exit\n"
    "      --print-config  print a sample configuration with every key\n"
    "      --version       print the version\n"
    "See keyd(8), keyd.conf(5), keyd-policy(5).\n";

static struct options read_options(int argc, char **argv) {
    static const struct option known[] = {
        { "config", required_argument, NULL, 'c' },
        { "check-config", no_argument, NULL, ACTION_CHECK },
        { "print-config", no_argument, NULL, ACTION_PRINT },
        { "version", no_argument, NULL, ACTION_VERSION },
        { "help", no_argument, NULL, ACTION_HELP },
        { NULL, 0, NULL, 0 },
    };
    struct options o = { .action = ACTION_SERVE, .config_path = KD_CONFIG_DEFAULT_PATH };
    for (int c; (c = getopt_long(argc, argv, "c:h", known, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o.config_path = optarg;
            break;
        case 'h':
            o.action = ACTION_HELP;
            break;
        case ACTION_CHECK:
        case ACTION_PRINT:
        case ACTION_VERSION:
        case ACTION_HELP:
            o.action = (enum action)c;
            break;
        default:
            o.action = ACTION_WRONG;
            return o;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "keyd: unexpected argument '%s'\n", argv[optind]);
        o.action = ACTION_WRONG;
    }
    return o;
}

// ---- configuration ---------------------------------------------------------

static enum kd_err read_config(const char *path, struct kd_config **out) {
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(65536);
    enum kd_err r = kd_config_read(path, &errors, out);
    if (r != KD_OK) {
        const char *text = kd_buf_get_text(&errors);
        fputs(text[0] == '\0' ? "keyd: not enough memory\n" : text, stderr);
    }
    return r;
}

static int check_config(const char *path) {
    kd_auto(config) struct kd_config *config = NULL;
    kd_auto(policy) struct kd_policy *policy = NULL;
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(65536);
    if (read_config(path, &config) != KD_OK) {
        return EXIT_FAILURE;
    }
    if (kd_policy_read(config->policy_file, &errors, &policy) != KD_OK) {
        fputs(kd_buf_get_text(&errors), stderr);
        return EXIT_FAILURE;
    }
    printf("%s: ok\n%s: ok\n", path, config->policy_file);
    return EXIT_SUCCESS;
}

static int print_config(void) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(65536);
    kd_config_print(&text);
    fputs(kd_buf_get_text(&text), stdout);
    return kd_buf_finish(&text) == KD_OK && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

// ---- the process -----------------------------------------------------------

// Descriptors for all connections that the configuration allows.
static void raise_file_limit(const struct kd_config *c) {
    struct rlimit limit;
    const rlim_t need = (rlim_t)c->http->connections_max +
                        (c->bootstrap.tcp_address[0] == '\0' ? 0 : c->bootstrap.connections_max) +
                        c->workers.processes * 4 + FILES_BESIDE_CONNECTIONS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need) {
        return;
    }
    limit.rlim_cur = need < limit.rlim_max ? need : limit.rlim_max;
    if (limit.rlim_cur < need && limit.rlim_max != RLIM_INFINITY) {
        struct rlimit higher = { need, need };
        if (setrlimit(RLIMIT_NOFILE, &higher) == 0) {
            return; // we may, as root
        }
    }
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < need) {
        kd_log(KD_LOG_WARN, "main",
               "fewer descriptors than http.connections-max needs; raise LimitNOFILE",
               "limit=%llu needed=%llu", (unsigned long long)limit.rlim_cur,
               (unsigned long long)need);
    }
}

// No core dumps, no other process may look inside, files for the owner only.
static bool harden(void) {
    umask(0077);
    if (kd_confine_process() == KD_OK && kd_confine_calls(KD_CONFINE_PARENT) == KD_OK) {
        return true;
    }
    kd_log(KD_LOG_ERROR, "main", "the process could not be closed to others", "errno=%d", errno);
    return false;
}

// ---- the listener for devices ----------------------------------------------

// Its limits are its own, its times those of the API.
static struct kd_http_config bootstrap_config(const struct kd_config *c) {
    struct kd_http_config http = *c->http;
    http.unix_path = "";
    http.tcp_address = c->bootstrap.tcp_address;
    http.tcp_port = c->bootstrap.tcp_port;
    http.tls_certificate = c->bootstrap.tls_certificate;
    http.tls_key = c->bootstrap.tls_key;
    http.tls_client_ca = c->ca.certificate_file;
    http.connections_max = c->bootstrap.connections_max;
    http.body_max_bytes = c->bootstrap.body_max_bytes;
    http.is_bootstrap = true;
    return http;
}

// It asks clients for certificates of the CA, so it waits for the CA's own.
static enum kd_err open_bootstrap(struct daemon *d) {
    if (d->config->bootstrap.tcp_address[0] == '\0' || d->bootstrap != NULL) {
        return KD_OK;
    }
    if (access(d->config->ca.certificate_file, F_OK) != 0) {
        kd_log(KD_LOG_WARN, "main",
               "devices are not served before the CA has a certificate (keydctl ca init, then "
               "SIGHUP)",
               "file=%s", d->config->ca.certificate_file);
        return KD_OK;
    }
    const struct kd_http_config config = bootstrap_config(d->config);
    const enum kd_err r = kd_http_open(d->loop, d->service, &config, &d->bootstrap);
    kd_http_join(d->http, d->bootstrap);
    return r;
}

static size_t http_pending(const struct daemon *d) {
    return kd_http_pending(d->http) + (d->bootstrap == NULL ? 0 : kd_http_pending(d->bootstrap));
}

// ---- stopping, reloading ---------------------------------------------------

static void begin_stop(struct daemon *d) {
    if (d->is_stopping) {
        kd_loop_stop(d->loop); // asked twice: at once
        return;
    }
    kd_log(KD_LOG_INFO, "main", "stopping", "pending=%zu", kd_service_pending(d->service));
    d->is_stopping = true;
    kd_notify_stopping();
    kd_http_stop(d->http);
    if (d->bootstrap != NULL) {
        kd_http_stop(d->bootstrap);
    }
    kd_service_stop(d->service);
    kd_timer_set(d->stop_timer, (uint64_t)d->config->stop_timeout_sec * 1000);
}

static void on_stop_timeout(void *daemon) {
    struct daemon *d = daemon;
    kd_log(KD_LOG_WARN, "main", "stopped before all requests were answered", "pending=%zu",
           kd_service_pending(d->service));
    kd_loop_stop(d->loop);
}

static void reload(struct daemon *d) {
    kd_log(KD_LOG_INFO, "main", "reloading", "");
    kd_notify_reloading();
    kd_service_reload(d->service);
    kd_http_reload(d->http);
    if (d->bootstrap != NULL) {
        kd_http_reload(d->bootstrap);
    }
    if (open_bootstrap(d) != KD_OK) {
        kd_log(KD_LOG_ERROR, "main", "devices cannot be served", "");
    }
    kd_notify_ready();
}

static void on_asked(void *daemon, enum kd_asked what) {
    if (what == KD_ASKED_TO_RELOAD) {
        reload(daemon);
    } else {
        begin_stop(daemon);
    }
}

static void on_alive(void *daemon) {
    struct daemon *d = daemon;
    kd_notify_alive();
    kd_timer_set(d->alive_timer, d->alive_ms);
}

// Registered after the service's and the HTTP server's hooks: sees their work done.
static uint64_t on_prepare(void *daemon) {
    struct daemon *d = daemon;
    if (d->is_stopping && kd_service_pending(d->service) == 0 && http_pending(d) == 0) {
        kd_loop_stop(d->loop);
    }
    return KD_LOOP_NO_LIMIT;
}

// ---- life ------------------------------------------------------------------

// Its workers end with it, and nobody can start others: who started keyd starts both again.
static void on_starter_gone(void *daemon, uint32_t events KD_UNUSED) {
    struct daemon *d = daemon;
    kd_log(KD_LOG_ERROR, "main", "the process that starts workers is gone: keyd ends", "");
    d->has_lost_starter = true;
    kd_loop_stop(d->loop);
}

static enum kd_err watch_starter(struct daemon *d) {
    return kd_starter_fd() < 0 ? KD_OK
                               : kd_watch_new(d->loop, kd_starter_fd(), EPOLLIN, on_starter_gone, d,
                                              &d->starter_watch);
}

static enum kd_err open_daemon(struct daemon *d) {
    enum kd_err r;
    if ((r = kd_loop_new(&d->loop)) != KD_OK ||
        (r = kd_signals_new(d->loop, on_asked, d, &d->signals)) != KD_OK ||
        (r = watch_starter(d)) != KD_OK ||
        (r = kd_timer_new(d->loop, on_stop_timeout, d, &d->stop_timer)) != KD_OK ||
        (r = kd_timer_new(d->loop, on_alive, d, &d->alive_timer)) != KD_OK ||
        // In this order: the service's hook runs before the HTTP server's.
        (r = kd_service_open(d->loop, d->config, &d->service)) != KD_OK ||
        (r = kd_http_open(d->loop, d->service, d->config->http, &d->http)) != KD_OK ||
        (r = open_bootstrap(d)) != KD_OK) {
        return r;
    }
    return kd_loop_prepare(d->loop, on_prepare, d);
}

static void close_daemon(struct daemon *d) {
    kd_service_close(d->service); // answers what is left, so the HTTP server is still there
    kd_http_close(d->http);
    kd_http_close(d->bootstrap);
    kd_timer_free(d->stop_timer);
    kd_timer_free(d->alive_timer);
    kd_signals_free(d->signals);
    kd_watch_free(d->starter_watch);
    kd_loop_free(d->loop);
}

static int serve(const char *path) {
    kd_auto(config) struct kd_config *config = NULL;
    if (read_config(path, &config) != KD_OK) {
        return EXIT_FAILURE;
    }
    kd_log_set_level(config->log_level);
    if (kd_config_find_credential(config) != KD_OK || !harden()) {
        return EXIT_FAILURE;
    }
    raise_file_limit(config);
    if (kd_starter_open(config, harden) != KD_OK) {
        return EXIT_FAILURE;
    }
    struct daemon d = { .config = config };
    enum kd_err r = open_daemon(&d);
    if (r == KD_OK) {
        kd_log(KD_LOG_INFO, "main", "keyd is serving", "version=%s config=%s", PACKAGE_VERSION,
               path);
        d.alive_ms = kd_notify_interval_ms();
        if (d.alive_ms > 0) {
            kd_timer_set(d.alive_timer, d.alive_ms);
        }
        kd_notify_ready();
        r = kd_loop_run(d.loop);
    } else {
        kd_log(KD_LOG_ERROR, "main", "keyd cannot start", "error=%s", kd_err_name(r));
    }
    if (r == KD_OK && d.has_lost_starter) {
        r = KD_ERR_SYSTEM;
    }
    close_daemon(&d);
    kd_starter_close();
    if (r == KD_OK) {
        kd_log(KD_LOG_INFO, "main", "keyd has stopped", "");
    }
    return r == KD_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    const struct options o = read_options(argc, argv);
    kd_log_open();
    switch (o.action) {
    case ACTION_SERVE:
        return serve(o.config_path);
    case ACTION_CHECK:
        return check_config(o.config_path);
    case ACTION_PRINT:
        return print_config();
    case ACTION_VERSION:
        puts("keyd " PACKAGE_VERSION);
        return EXIT_SUCCESS;
    case ACTION_HELP:
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    case ACTION_WRONG:
        break;
    }
    fputs(usage, stderr);
    return EXIT_USAGE;
}
