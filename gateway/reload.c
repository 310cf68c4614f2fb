// SPDX-License-Identifier: Apache-2.0
// reload.c: another configuration while the gateway serves.  What is under way with keyd
// and the backend ends as it began; limits and files of tokens hold from now on.  And the
// descriptors that a configuration needs.
#include "gateway/gateway.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { FILES_BESIDE = 64 };

struct kd_retired {
    struct kd_retired *next;
    struct kd_gateway_config *config;
    struct kd_client *keyd, *strangers, *backend;
};

static void refuse(const char *reason) {
    kd_log(KD_LOG_ERROR, "main", "the configuration is not taken", "reason=%s", reason);
}

static void complain(struct kd_buf *errors, enum kd_err err) {
    char *rest = NULL;
    char *text = (char *)(uintptr_t)kd_buf_get_text(errors);
    if (text[0] == '\0') {
        refuse(kd_err_name(err));
    }
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        refuse(line);
    }
}

static bool are_same(const struct kd_addresses *a, const struct kd_addresses *b) {
    for (size_t i = 0; a->n == b->n && i < a->n; i++) {
        if (strcmp(a->where[i], b->where[i]) != 0) {
            return false;
        }
    }
    return a->n == b->n;
}

// Sockets that devices have connections by stay as they are.
static void tell_what_waits(const struct kd_gateway_config *a, const struct kd_gateway_config *b) {
    if (!are_same(&a->tcp, &b->tcp) || !are_same(&a->udp, &b->udp) ||
        !are_same(&a->http, &b->http) || strcmp(a->admin, b->admin) != 0 ||
        strcmp(a->push, b->push) != 0) {
        kd_log(KD_LOG_WARN, "main", "other addresses to listen at are taken at a restart", "");
    }
}

static void free_clients(const struct kd_retired *r) {
    kd_client_free(r->backend);
    kd_client_free(r->strangers);
    kd_client_free(r->keyd);
}

static enum kd_err new_clients(struct kd_loop *loop, struct kd_retired *out) {
    enum kd_err r;
    if ((r = kd_client_new(loop, &out->config->keyd, &out->keyd)) != KD_OK ||
        (r = kd_client_new(loop, &out->config->keyd, &out->strangers)) != KD_OK) {
        return r;
    }
    return kd_client_new(loop, &out->config->backend, &out->backend);
}

static enum kd_err read_push_token(const struct kd_gateway *g,
                                   const struct kd_gateway_config *config) {
    return g->push == NULL ? KD_OK : kd_web_read_token(g->push, config->push_token_file);
}

// The token is taken last, when nothing else can fail.
static enum kd_err replace(struct kd_gateway *g, struct kd_gateway_config *config) {
    struct kd_retired fresh = { .config = config };
    struct kd_retired *old = calloc(1, sizeof(*old));
    enum kd_err r = old == NULL ? KD_ERR_NO_MEMORY : new_clients(g->loop, &fresh);
    if (r != KD_OK || (r = read_push_token(g, config)) != KD_OK) {
        free_clients(&fresh);
        free(old);
        return r;
    }
    *old = (struct kd_retired) { g->retired, g->config, g->keyd, g->strangers, g->backend };
    g->retired = old;
    g->config = config;
    g->keyd = fresh.keyd;
    g->strangers = fresh.strangers;
    g->backend = fresh.backend;
    return KD_OK;
}

void kd_gateway_raise_descriptors(const struct kd_gateway_config *c) {
    struct rlimit files;
    // All over TCP, as many at each listener of HTTP, and at that of pushes.
    const rlim_t need = (rlim_t)c->connections_max * (2 + c->http.n) + 2 * c->keyd.connections_max +
                        c->backend.connections_max + FILES_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= need) {
        return;
    }
    files.rlim_cur = need < files.rlim_max ? need : files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur < need) {
        kd_log(
            KD_LOG_WARN, "main", "fewer descriptors than connections-max needs; raise LimitNOFILE",
            "limit=%llu needed=%llu", (unsigned long long)files.rlim_cur, (unsigned long long)need);
    }
}

void kd_gateway_reload(struct kd_gateway *g, const char *path) {
    kd_auto(gateway_config) struct kd_gateway_config *config = NULL;
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(65536);
    enum kd_err r = kd_gateway_config_read(path, &errors, &config);
    if (r != KD_OK) {
        complain(&errors, r);
        return;
    }
    tell_what_waits(g->config, config);
    if ((r = replace(g, config)) != KD_OK) {
        refuse(kd_err_name(r));
        return;
    }
    (void)KD_STEAL(config);
    kd_log_set_level(g->config->log_level);
    kd_gateway_raise_descriptors(g->config);
    kd_log(KD_LOG_INFO, "main", "the configuration was taken", "file=%s", path);
}

void kd_gateway_free_retired(struct kd_gateway *g) {
    for (struct kd_retired **at = &g->retired; *at != NULL;) {
        struct kd_retired *old = *at;
        if (kd_client_pending(old->keyd) > 0 || kd_client_pending(old->strangers) > 0 ||
            kd_client_pending(old->backend) > 0) {
            at = &old->next;
            continue;
        }
        *at = old->next;
        free_clients(old);
        kd_gateway_config_free(old->config);
        free(old);
    }
}
