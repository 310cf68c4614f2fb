// SPDX-License-Identifier: Apache-2.0
// headers.c: headers that say about a body that is not JSON what JSON would have
// beside it.
#include "api/http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum kd_err kd_request_blame_header(struct kd_request *q, const char *name, enum kd_err err,
                                    const char *detail) {
    snprintf(q->why.field, sizeof(q->why.field), "%s", name);
    kd_request_say(q, detail);
    return err;
}

struct header {
    const char *name;
    const char *value; // NULL: it is not there
    size_t n;
};

static enum MHD_Result find_header(void *arg, enum MHD_ValueKind kind KD_UNUSED, const char *key,
                                   const char *value) {
    struct header *h = arg;
    if (strcasecmp(key, h->name) == 0) {
        h->value = value == NULL ? "" : value;
        h->n++;
    }
    return MHD_YES;
}

// Of two, who reads after us might take the other.
enum kd_err kd_request_read_header(struct kd_request *q, const char *name, const char **out) {
    struct header h = { .name = name };
    MHD_get_connection_values(q->mhd, MHD_HEADER_KIND, find_header, &h);
    if (h.n > 1) {
        return kd_request_blame_header(q, name, KD_ERR_FIELD_INVALID, "It may stand once.");
    }
    *out = h.value;
    return KD_OK;
}

enum kd_err kd_request_read_header_bytes(struct kd_request *q, const char *name,
                                         struct kd_bytes *out) {
    const char *text = NULL;
    enum kd_err err = kd_request_read_header(q, name, &text);
    if (err != KD_OK || text == NULL) {
        return err;
    }
    const size_t n = strlen(text);
    (void)kd_buf_extend(&q->arena, n + 1); // what it decodes to is shorter
    q->arena.n = 0;
    if (kd_b64_decode((struct kd_bytes) { (const uint8_t *)text, n }, &q->arena) != KD_OK) {
        return kd_request_blame_header(q, name, KD_ERR_BAD_BASE64, "");
    }
    *out = kd_buf_get(&q->arena);
    return kd_buf_finish(&q->arena);
}
