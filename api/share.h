// SPDX-License-Identifier: Apache-2.0
// share.h: what one principal may have of the service, so that who asks without end leaves room
// for the others: requests that are worked on at once, and lines of the audit log of changes that
// it may not make.
#ifndef KD_API_SHARE_H
#define KD_API_SHARE_H

#include "base/base.h"

struct kd_request;
struct kd_http;

// Changes of a principal that are refused before the policy allows them, and are written down, in a
// minute, each with two lines; and those that are under way when there are so many.
#define KD_SHARE_REFUSED_PER_MINUTE 100

struct kd_share {
    char principal[KD_NAME_MAX_BYTES + 1]; // first, as kd_map_named wants it
    size_t n;                              // requests
    uint64_t minute;
    unsigned n_refused; // in it
};

// KD_ERR_BUSY, and why: its principal has principal_max already.  Without a principal (devices,
// /healthz) there is no limit here.  A request that has its share keeps it.
KD_MUST_CHECK enum kd_err kd_share_take(struct kd_request *q);
void kd_share_give(struct kd_request *q); // may be called again
// Of one that has its share and is to be written down before it is done.  KD_ERR_BUSY, and why: so
// many of its principal were refused in this minute; retry_after_sec is until it is over.
KD_MUST_CHECK enum kd_err kd_share_may_ask(struct kd_request *q);
void kd_share_count_refused(struct kd_request *q); // one that was written down
void kd_shares_wipe(struct kd_http *h);

#endif
