// SPDX-License-Identifier: Apache-2.0
// places.c: places for questions, and who has how many of them.  A registered device that asks for
// more than its share is told to come again later, and nobody else waits for it.
#include "gateway/gateway.h"

#include <string.h>

struct kd_peer_share { // kd_map_named
    char peer[KD_NAME_MAX_BYTES + 1];
    size_t n;
};

// Whoever sends what he need not prove may send as much as he likes, from whatever address: that
// leaves a quarter of the places to others.
bool kd_gateway_has_place(const struct kd_gateway *g, bool is_unproven) {
    const size_t max = g->config->pending_max;
    return !g->is_stopping && g->pending < max &&
           (!is_unproven || g->pending_unproven < max - max / 4);
}

// NULL: it has all that are for it, or there is no memory.
static struct kd_peer_share *share_of(struct kd_gateway *g, const char *peer) {
    struct kd_peer_share *s = kd_map_named(&g->shares, peer, sizeof(*s));
    if (s == NULL || s->n < g->config->pending_per_peer) {
        return s;
    }
    g->counts.over_share++;
    kd_log_limited(&g->said.share, KD_LOG_WARN, "gateway",
                   "a device has as many frames without an answer as it may", "peer=%s", peer);
    return NULL;
}

static void leave(struct kd_question *q) {
    if (q->share == NULL) {
        q->g->pending_unproven -= !q->is_push;
    } else if (--q->share->n == 0) {
        kd_map_free_named(&q->g->shares, q->share);
    }
    q->share = NULL;
}

bool kd_place_take(struct kd_question *q) {
    struct kd_gateway *g = q->g;
    if (q->route != NULL && q->route->peer[0] != '\0') {
        if ((q->share = share_of(g, q->route->peer)) == NULL) {
            return false;
        }
        q->share->n++;
    } else {
        g->pending_unproven += !q->is_push;
    }
    g->pending++;
    return true;
}

bool kd_place_prove(struct kd_question *q) {
    if (q->share != NULL && strcmp(q->share->peer, q->peer) == 0) {
        return true;
    }
    struct kd_peer_share *s = share_of(q->g, q->peer);
    if (s == NULL) {
        return false;
    }
    leave(q);
    q->share = s;
    s->n++;
    return true;
}

void kd_place_give(struct kd_question *q) {
    leave(q);
    q->g->pending--;
}

void kd_places_wipe(struct kd_gateway *g) {
    kd_map_wipe(&g->shares);
}
