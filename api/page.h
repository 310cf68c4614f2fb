// SPDX-License-Identifier: Apache-2.0
// page.h: the query parameters of lists, after and limit.
#ifndef KD_API_PAGE_H
#define KD_API_PAGE_H

#include "api/http.h"

#define KD_PAGE_MAX 1000
#define KD_PAGE_DEFAULT 100

struct kd_page {
    const char *after; // NULL: from the start
    size_t limit;
};

KD_MUST_CHECK enum kd_err kd_page_read(struct kd_request *q, struct kd_page *out);
// The member "next"; NULL: there are no more.
void kd_page_put_next(struct kd_buf *out, const char *last);

#endif
