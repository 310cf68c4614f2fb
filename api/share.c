// SPDX-License-Identifier: Apache-2.0
// share.c: see share.h.  Principals are those of the policy: few, and kept.
#include "api/share.h"

#include "api/http.h"

#include <stdio.h>
#include <stdlib.h>

enum kd_err kd_share_take(struct kd_request *q) {
    if (q->principal[0] == '\0') {
        return KD_OK;
    }
    struct kd_share *s = kd_map_named(&q->http->shares, q->principal, sizeof(*s));
    if (s == NULL) {
        return KD_ERR_NO_MEMORY;
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
