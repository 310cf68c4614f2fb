// SPDX-License-Identifier: Apache-2.0
// share.h: how many requests of one principal are worked on at once, so that who asks without end
// leaves room in the workers' queues for the others.
#ifndef KD_API_SHARE_H
#define KD_API_SHARE_H

#include "base/base.h"

struct kd_request;
struct kd_http;

struct kd_share {
    char principal[KD_NAME_MAX_BYTES + 1]; // first, as kd_map_named wants it
    size_t n;                              // requests
};

// KD_ERR_BUSY, and why: its principal has principal_max already.  Without a principal (devices,
// /healthz) there is no limit here.
KD_MUST_CHECK enum kd_err kd_share_take(struct kd_request *q);
void kd_share_give(struct kd_request *q); // may be called again
void kd_shares_wipe(struct kd_http *h);

#endif
