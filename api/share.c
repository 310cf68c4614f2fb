// SPDX-License-Identifier: Apache-2.0
// share.c: see share.h.  Principals are those of the policy: few, and kept.
#include "api/share.h"

#include "api/http.h"

#include <stdio.h>
#include <stdlib.h>

static enum kd_err share_of(struct kd_http *h, const char *principal, struct kd_share **out) {
    struct kd_share *s = kd_map_get(&h->shares, kd_bytes_of_text(principal));
    if (s != NULL) {
        *out = s;
        return KD_OK;
    }
    if ((s = calloc(1, sizeof(*s))) == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    snprintf(s->principal, sizeof(s->principal), "%s", principal);
    const enum kd_err r = kd_map_add(&h->shares, kd_bytes_of_text(s->principal), s);
    if (r != KD_OK) {
        free(s);
        return r;
    }
    *out = s;
    return KD_OK;
}

enum kd_err kd_share_take(struct kd_request *q) {
    struct kd_share *s = NULL;
    if (q->principal[0] == '\0') {
        return KD_OK;
    }
    const enum kd_err r = share_of(q->http, q->principal, &s);
    if (r != KD_OK) {
        return r;
    }
    if (s->n >= q->http->config.principal_max) {
        char why[96];
        snprintf(why, sizeof(why), "%zu requests of this principal are under way.", s->n);
        kd_request_say(q, why);
        return KD_ERR_BUSY;
    }
    s->n++;
    q->share = s;
    return KD_OK;
}

void kd_share_give(struct kd_request *q) {
    if (q->share != NULL) {
        q->share->n--;
        q->share = NULL;
    }
}

void kd_shares_wipe(struct kd_http *h) {
    size_t cursor = 0;
    for (void *s; (s = kd_map_next(&h->shares, &cursor)) != NULL;) {
        free(s);
    }
    kd_map_wipe(&h->shares);
}
