// SPDX-License-Identifier: Apache-2.0
// ready.c: whether a message could be served now.  Found out when somebody asks, as a gateway
// that nobody sends to would not learn that keyd or the backend has gone, or is back.
#include "gateway/answer.h"
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>

enum { PROBE_MS = 2000, KNOWN_FOR_MS = 1000, LINE_BYTES = 80 };

static const char no_memory[] = "there is not enough memory";

struct asker {
    struct asker *next;
    kd_ready_fn *done;
    void *arg;
};

struct kd_ready {
    struct asker *first;
    unsigned under_way;      // of keyd and the backend
    uint64_t known_until_ms; // by the monotonic clock
    char keyd[LINE_BYTES];   // what is missing; "": nothing
    bool has_backend;
    bool has_memory; // to ask them
};

// ---- answers ---------------------------------------------------------------

static void tell(const struct kd_gateway *g, kd_ready_fn *done, void *arg) {
    const struct kd_ready *r = g->ready;
    if (g->is_stopping) {
        done(arg, 503, "stopping");
    } else if (!r->has_memory) {
        done(arg, 503, no_memory);
    } else if (r->keyd[0] != '\0') {
        done(arg, 503, r->keyd);
    } else if (!r->has_backend) {
        done(arg, 503, "the backend cannot be reached");
    } else if (!kd_gateway_has_place(g, false)) {
        done(arg, 503, "no place: pending-max frames have no answer yet");
    } else {
        done(arg, 200, "ready");
    }
}

static void tell_all(const struct kd_gateway *g) {
    for (struct asker *a; (a = g->ready->first) != NULL;) {
        g->ready->first = a->next;
        tell(g, a->done, a->arg);
        free(a);
    }
}

// ---- keyd and the backend --------------------------------------------------

static void end_probe(struct kd_gateway *g) {
    struct kd_ready *r = g->ready;
    if (--r->under_way == 0) {
        r->known_until_ms = r->has_memory ? kd_clock_mono_ms() + KNOWN_FOR_MS : 0;
        tell_all(g);
    }
}

static void on_keyd(void *gateway, unsigned status, struct kd_bytes body) {
    struct kd_gateway *g = gateway;
    char *line = g->ready->keyd;
    line[0] = '\0';
    if (!kd_client_is_answer(status)) {
        snprintf(line, LINE_BYTES, "keyd cannot be reached");
    } else if (status != 200) {
        kd_auto(answer) struct kd_answer problem = KD_ANSWER_INIT;
        kd_answer_read(&problem, body);
        snprintf(line, LINE_BYTES, "keyd is not ready: %s", kd_answer_error(&problem));
    }
    end_probe(g);
}

static void on_backend(void *gateway, unsigned status, struct kd_bytes body KD_UNUSED) {
    struct kd_gateway *g = gateway;
    g->ready->has_backend = status != 0;
    end_probe(g);
}

static void send(struct kd_gateway *g, struct kd_client *c, const struct kd_client_request *request,
                 kd_client_done *done) {
    if (kd_client_send(c, request, done, g) != KD_OK) {
        g->ready->has_memory = false;
        end_probe(g);
    }
}

static void probe(struct kd_gateway *g) {
    static const struct kd_client_request of_keyd = { .path = "/readyz", .probe_ms = PROBE_MS };
    static const struct kd_client_request of_backend = { .is_connect = true, .probe_ms = PROBE_MS };
    g->ready->under_way = 2;
    g->ready->has_memory = true;
    send(g, g->strangers, &of_keyd, on_keyd);
    send(g, g->backend, &of_backend, on_backend);
}

// ---- who asks --------------------------------------------------------------

void kd_ready_ask(struct kd_gateway *g, kd_ready_fn *done, void *arg) {
    struct kd_ready *r = g->ready;
    if (g->is_stopping || (r->under_way == 0 && kd_clock_mono_ms() < r->known_until_ms)) {
        tell(g, done, arg);
        return;
    }
    struct asker *a = calloc(1, sizeof(*a));
    if (a == NULL) {
        done(arg, 503, no_memory);
        return;
    }
    *a = (struct asker) { r->first, done, arg };
    r->first = a;
    if (r->under_way == 0) {
        probe(g);
    }
}

void kd_ready_stop(struct kd_gateway *g) {
    tell_all(g);
}

bool kd_ready_is_idle(const struct kd_gateway *g) {
    return g->ready == NULL || g->ready->under_way == 0;
}

// ---- life ------------------------------------------------------------------

enum kd_err kd_ready_new(struct kd_gateway *g) {
    g->ready = calloc(1, sizeof(*g->ready));
    return g->ready == NULL ? KD_ERR_NO_MEMORY : KD_OK;
}

void kd_ready_free(struct kd_gateway *g) {
    free(g->ready);
}
