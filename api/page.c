// SPDX-License-Identifier: Apache-2.0
// page.c: the query parameters of lists.
#include "api/page.h"

#include <stdio.h>

enum kd_err kd_page_read(struct kd_request *q, struct kd_page *out) {
    struct kd_page page = { NULL, KD_PAGE_DEFAULT };
    page.after = MHD_lookup_connection_value(q->mhd, MHD_GET_ARGUMENT_KIND, "after");
    const char *limit = MHD_lookup_connection_value(q->mhd, MHD_GET_ARGUMENT_KIND, "limit");
    uint64_t n = KD_PAGE_DEFAULT;
    if (limit != NULL && kd_number_parse(limit, 1, KD_PAGE_MAX, &n) != KD_OK) {
        snprintf(q->why.field, sizeof(q->why.field), "limit");
        kd_request_say(q, "A whole number from 1 to 1000 is expected.");
        return KD_ERR_FIELD_INVALID;
    }
    page.limit = (size_t)n;
    *out = page;
    return KD_OK;
}

void kd_page_put_next(struct kd_buf *out, const char *last) {
    kd_json_member(out, "next");
    if (last == NULL) {
        kd_buf_text(out, "null");
        return;
    }
    kd_json_put_text(out, last);
}
