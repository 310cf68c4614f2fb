// SPDX-License-Identifier: Apache-2.0
// headers.c: headers that say where a body ends, and about one that is not JSON what JSON
// would have beside it.
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

struct framing {
    unsigned lengths;
    unsigned encodings;
    unsigned authorizations;
    bool is_chunked;
};

static enum MHD_Result count_header(void *arg, enum MHD_ValueKind kind KD_UNUSED, const char *key,
                                    const char *value) {
    struct framing *found = arg;
    found->lengths += strcasecmp(key, "Content-Length") == 0;
    found->authorizations += strcasecmp(key, "Authorization") == 0;
    if (strcasecmp(key, "Transfer-Encoding") == 0) {
        found->encodings++;
        found->is_chunked = value != NULL && strcasecmp(value, "chunked") == 0;
    }
    return MHD_YES;
}

// Where the body ends, or who calls, must not depend on who reads: a proxy before
// us may take the other of two headers (RFC 9112 6.3 and 11.2).
bool kd_request_is_ambiguous(const struct kd_request *q) {
    struct framing found = { 0 };
    MHD_get_connection_values(q->mhd, MHD_HEADER_KIND, count_header, &found);
    return found.authorizations > 1 || found.lengths + found.encodings > 1 ||
           (found.encodings == 1 && !found.is_chunked);
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
