// SPDX-License-Identifier: Apache-2.0
// listeners.c: all that devices reach the gateway by.
#include "gateway/gateway.h"

enum kd_err kd_listeners_open(struct kd_gateway *g) {
    const struct kd_gateway_config *c = g->config;
    enum kd_err r = KD_OK;
    for (size_t i = 0; i < c->tcp.n && r == KD_OK; i++) {
        r = kd_tcp_open(g, c->tcp.where[i], &g->tcp[i]);
        g->n_tcp += r == KD_OK;
    }
    for (size_t i = 0; i < c->udp.n && r == KD_OK; i++) {
        r = kd_udp_open(g, c->udp.where[i], &g->udp[i]);
        g->n_udp += r == KD_OK;
    }
    for (size_t i = 0; i < c->http.n && r == KD_OK; i++) {
        r = kd_web_open(g, c->http.where[i], KD_WEB_DEVICES, &g->web[i]);
        g->n_web += r == KD_OK;
    }
    if (r == KD_OK && c->push[0] != '\0') {
        r = kd_web_open(g, c->push, KD_WEB_PUSH, &g->push);
    }
    return r == KD_OK && c->admin[0] != '\0' ? kd_web_open(g, c->admin, KD_WEB_ADMIN, &g->admin)
                                             : r;
}

void kd_listeners_stop(struct kd_gateway *g) {
    for (size_t i = 0; i < g->n_tcp; i++) {
        kd_tcp_stop(g->tcp[i]);
    }
    for (size_t i = 0; i < g->n_udp; i++) {
        kd_udp_stop(g->udp[i]);
    }
    for (size_t i = 0; i < g->n_web; i++) {
        kd_web_stop(g->web[i]);
    }
    if (g->push != NULL) {
        kd_web_stop(g->push);
    }
    kd_pushes_stop(g);
    kd_ready_stop(g);
}

void kd_listeners_close(struct kd_gateway *g) {
    for (size_t i = 0; i < g->n_tcp; i++) {
        kd_tcp_close(g->tcp[i]);
    }
    for (size_t i = 0; i < g->n_udp; i++) {
        kd_udp_close(g->udp[i]);
    }
    for (size_t i = 0; i < g->n_web; i++) {
        kd_web_close(g->web[i]);
    }
    kd_web_close(g->push);
    kd_web_close(g->admin);
    g->push = g->admin = NULL;
    g->n_tcp = g->n_udp = g->n_web = 0;
}
