// SPDX-License-Identifier: Apache-2.0
// main.c: keyd-gateway itself: options, signals, and the order of starting and stopping.
// Read gateway.h next.
#include "kd-build.h"

#include "gateway/released.h"
#include "keyd/notify.h"

#include <curl/curl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum { EXIT_USAGE = 2 };

static const char default_path[] = KD_SYSCONFDIR "/keyd-gateway.conf";

static const char usage[] =
    "usage: keyd-gateway [--config FILE] [--check-config | --print-config | --version | --help]\n"
    "See keyd-gateway(8).\n";

struct daemon {
    struct kd_gateway g;
    const char *path; // of the configuration
    struct kd_signals *signals;
    struct kd_timer *stop_timer;
};

// ---- signals ---------------------------------------------------------------

static void begin_stop(struct daemon *d) {
    if (d->g.is_stopping) {
        kd_loop_stop(d->g.loop); // asked twice: at once
        return;
    }
    kd_log(KD_LOG_INFO, "main", "stopping", "pending=%zu", d->g.pending);
    kd_notify_stopping();
    d->g.is_stopping = true;
    kd_listeners_stop(&d->g);
    kd_timer_set(d->stop_timer, d->g.config->stop_timeout_ms);
}

static void on_stop_timeout(void *daemon) {
    struct daemon *d = daemon;
    kd_log(KD_LOG_WARN, "main", "stopped before all frames were answered", "pending=%zu",
           d->g.pending);
    kd_loop_stop(d->g.loop);
}

static void on_asked(void *daemon, enum kd_asked what) {
    struct daemon *d = daemon;
    if (what == KD_ASKED_TO_STOP) {
        begin_stop(d);
    } else if (!d->g.is_stopping) {
        kd_notify_reloading();
        kd_gateway_reload(&d->g, d->path);
        kd_notify_ready();
    }
}

static bool is_idle(const struct kd_gateway *g) {
    if (g->pending > 0 || !kd_ready_is_idle(g)) {
        return false;
    }
    for (size_t i = 0; i < g->n_tcp; i++) {
        if (!kd_tcp_is_idle(g->tcp[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < g->n_web; i++) {
        if (!kd_web_is_idle(g->web[i])) {
            return false;
        }
    }
    return (g->push == NULL || kd_web_is_idle(g->push)) &&
           (g->admin == NULL || kd_web_is_idle(g->admin));
}

// Registered after the hooks of the listeners: sees their work done.
static uint64_t on_prepare(void *daemon) {
    struct daemon *d = daemon;
    kd_gateway_free_retired(&d->g);
    if (d->g.is_stopping && is_idle(&d->g)) {
        kd_loop_stop(d->g.loop);
    }
    return KD_LOOP_NO_LIMIT;
}

// ---- life ------------------------------------------------------------------

static bool prepare_process(const struct kd_gateway_config *c) {
    kd_gateway_raise_descriptors(c);
    if (kd_confine_process() == KD_OK && kd_confine_calls(KD_CONFINE_SERVER) == KD_OK) {
        return true;
    }
    kd_log(KD_LOG_ERROR, "main", "the process could not be closed to others", "");
    return false;
}

static enum kd_err open_all(struct daemon *d) {
    struct kd_gateway *g = &d->g;
    enum kd_err r;
    if ((r = kd_loop_new(&g->loop)) != KD_OK ||
        (r = kd_signals_new(g->loop, on_asked, d, &d->signals)) != KD_OK ||
        (r = kd_timer_new(g->loop, on_stop_timeout, d, &d->stop_timer)) != KD_OK ||
        (r = kd_client_new(g->loop, &g->config->keyd, &g->keyd)) != KD_OK ||
        (r = kd_client_new(g->loop, &g->config->keyd, &g->strangers)) != KD_OK ||
        (r = kd_client_new(g->loop, &g->config->backend, &g->backend)) != KD_OK ||
        (r = kd_pushes_new(g)) != KD_OK || (r = kd_ready_new(g)) != KD_OK ||
        (r = kd_listeners_open(g)) != KD_OK || (r = kd_records_new(g)) != KD_OK ||
        (r = kd_released_new(g)) != KD_OK) {
        return r;
    }
    return kd_loop_prepare(g->loop, on_prepare, d);
}

static void close_all(struct daemon *d) {
    struct kd_gateway *g = &d->g;
    kd_listeners_close(g);
    kd_pushes_free(g);
    kd_ready_free(g);
    kd_client_free(g->backend);
    kd_client_free(g->strangers);
    kd_client_free(g->keyd);
    kd_gateway_free_retired(g);
    kd_records_free(g);
    kd_released_free(g);
    kd_places_wipe(g);
    kd_timer_free(d->stop_timer);
    kd_signals_free(d->signals);
    kd_loop_free(g->loop);
}

static int serve(struct kd_gateway_config *config, const char *path) {
    struct daemon d = { .g = { .config = config }, .path = path };
    kd_log_set_level(config->log_level);
    if (!prepare_process(config)) {
        kd_gateway_config_free(config);
        return EXIT_FAILURE;
    }
    kd_client_init_library();
    enum kd_err r = open_all(&d);
    if (r == KD_OK) {
        kd_log(KD_LOG_INFO, "main", "keyd-gateway is serving", "version=%s", PACKAGE_VERSION);
        kd_notify_ready();
        r = kd_loop_run(d.g.loop);
    } else {
        kd_log(KD_LOG_ERROR, "main", "keyd-gateway cannot start", "error=%s", kd_err_name(r));
    }
    const int status = r == KD_OK && d.g.pending == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    if (d.g.pending > 0 || !kd_ready_is_idle(&d.g)) {
        return status; // what waits still has its place: the kernel tidies up
    }
    close_all(&d);
    kd_gateway_config_free(d.g.config);
    curl_global_cleanup();
    return status;
}

static int read_and(const char *path, bool is_check) {
    kd_auto(gateway_config) struct kd_gateway_config *config = NULL;
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(65536);
    if (kd_gateway_config_read(path, &errors, &config) != KD_OK) {
        fputs(kd_buf_get_text(&errors), stderr);
        return EXIT_FAILURE;
    }
    if (is_check) {
        printf("%s: ok\n", path);
        return EXIT_SUCCESS;
    }
    return serve(KD_STEAL(config), path);
}

static int print_config(void) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(65536);
    kd_gateway_config_print(&text);
    fputs(kd_buf_get_text(&text), stdout);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        { "config", required_argument, NULL, 'c' }, { "check-config", no_argument, NULL, 'k' },
        { "print-config", no_argument, NULL, 'p' }, { "version", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },         { NULL, 0, NULL, 0 },
    };
    const char *path = default_path;
    bool is_check = false;
    kd_log_open();
    for (int c; (c = getopt_long(argc, argv, "c:h", known, NULL)) != -1;) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            is_check = true;
            break;
        case 'p':
            return print_config();
        case 'v':
            puts("keyd-gateway " PACKAGE_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    return read_and(path, is_check);
}
