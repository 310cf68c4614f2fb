// SPDX-License-Identifier: Apache-2.0
// share.c: see share.h.  Principals are those of the policy: few, and kept.
#include "api/share.h"

#include "api/http.h"

#include <stdio.h>
#include <stdlib.h>

enum { MINUTE_MS = 60000 };

enum kd_err kd_share_take(struct kd_request *q) {
    if (q->principal[0] == '\0' || q->share != NULL) {
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

static unsigned refused_now(struct kd_share *s) {
    const uint64_t minute = kd_clock_mono_ms() / MINUTE_MS;
    if (minute != s->minute) {
        s->minute = minute;
        s->n_refused = 0;
    }
    return s->n_refused;
}

enum kd_err kd_share_may_ask(struct kd_request *q) {
    if (q->share == NULL || refused_now(q->share) < KD_SHARE_REFUSED_PER_MINUTE) {
        return KD_OK;
    }
    const uint64_t left_ms = MINUTE_MS - kd_clock_mono_ms() % MINUTE_MS;
    char why[128];
    snprintf(why, sizeof(why),
             "%d changes of this principal were not well formed, or not allowed, in this minute; "
             "the next is looked at when it is over.",
             KD_SHARE_REFUSED_PER_MINUTE);
    kd_request_say(q, why);
    q->retry_after_sec = (uint32_t)((left_ms + 999) / 1000);
    return KD_ERR_BUSY;
}

void kd_share_count_refused(struct kd_request *q) {
    struct kd_share *s = kd_map_get(&q->http->shares, kd_bytes_of_text(q->principal));
    if (s != NULL) {
        s->n_refused = refused_now(s) + 1;
    }
}

void kd_shares_wipe(struct kd_http *h) {
    size_t cursor = 0;
    for (void *s; (s = kd_map_next(&h->shares, &cursor)) != NULL;) {
        free(s);
    }
    kd_map_wipe(&h->shares);
}
