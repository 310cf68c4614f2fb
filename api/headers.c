// SPDX-License-Identifier: Apache-2.0
// headers.c: headers that say where a body ends, whom the request is for and what sends it, and
// about a body that is not JSON what JSON would have beside it.
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

enum kd_err kd_request_blame_length(struct kd_request *q, const char *name, size_t max) {
    char detail[64];
    snprintf(detail, sizeof(detail), "At most %zu bytes are expected.", max);
    return kd_request_blame_header(q, name, KD_ERR_ITEM_TOO_LARGE, detail);
}

struct framing {
    unsigned lines;
    unsigned lengths;
    unsigned encodings;
    unsigned authorizations;
    unsigned hosts;
    bool is_chunked;
    bool is_wrong; // a name or the host is not of its form
};

// RFC 9110 5.1 and 5.6.2.  A space before the colon is a part of the name here, and refused
// (RFC 9112 5.1).
static bool is_field_name(const char *text) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
    return text[0] != '\0' && text[strspn(text, allowed)] == '\0';
}

// RFC 9110 7.2, RFC 3986 3.2.2 and 3.2.3: a host, with or without a port; also none.
static bool is_host(const char *text) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=%:[]";
    const char *end = text + strspn(text, allowed);
    return end[strspn(end, " \t")] == '\0';
}

static enum MHD_Result count_header(void *arg, enum MHD_ValueKind kind KD_UNUSED, const char *key,
                                    const char *value) {
    struct framing *found = arg;
    value = value == NULL ? "" : value;
    found->lines++;
    found->lengths += strcasecmp(key, "Content-Length") == 0;
    found->authorizations += strcasecmp(key, "Authorization") == 0;
    found->is_wrong = found->is_wrong || !is_field_name(key);
    if (strcasecmp(key, "Transfer-Encoding") == 0) {
        found->encodings++;
        found->is_chunked = strcasecmp(value, "chunked") == 0;
    } else if (strcasecmp(key, "Host") == 0) {
        found->hosts++;
        found->is_wrong = found->is_wrong || !is_host(value);
    }
    return MHD_YES;
}

// Where the body ends, who calls, and whom, must not depend on who reads: a proxy before
// us may take the other of two headers (RFC 9112 3.2, 6.3 and 11.2).
enum kd_err kd_request_check_framing(struct kd_request *q, const char *version, size_t *lines) {
    struct framing found = { 0 };
    MHD_get_connection_values(q->mhd, MHD_HEADER_KIND, count_header, &found);
    *lines = found.lines;
    if (q->is_spaced) {
        kd_request_say(q, "There is a space in the target of the request.");
    } else if (found.is_wrong) {
        kd_request_say(q, "The name of a header, or the host, is not of its form.");
    } else if (found.authorizations > 1 || found.lengths + found.encodings > 1 ||
               (found.encodings == 1 && !found.is_chunked)) {
        kd_request_say(q, "Content-Length, Transfer-Encoding (chunked only) and Authorization may "
                          "stand once, and not the first two together.");
    } else if (found.hosts > 1 || (found.hosts == 0 && strcmp(version, "HTTP/1.0") != 0)) {
        kd_request_say(q, "Host stands once in a request.");
    } else {
        return KD_OK;
    }
    return KD_ERR_BAD_REQUEST;
}

// Browsers say so themselves, and send along a client certificate that they have, or what a proxy
// takes for one.  What the user wrote into the address has "none" (Fetch Metadata).
enum kd_err kd_request_check_site(struct kd_request *q) {
    const char *site = MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "Sec-Fetch-Site");
    const bool has_origin = MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "Origin") != NULL;
    if (!has_origin && (site == NULL || strcasecmp(site, "none") == 0)) {
        return KD_OK;
    }
    kd_request_say(q, has_origin ? "It has the header Origin: programs do not send it."
                                 : "Its header Sec-Fetch-Site is not \"none\".");
    return KD_ERR_CROSS_SITE;
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
