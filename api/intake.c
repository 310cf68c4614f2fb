// SPDX-License-Identifier: Apache-2.0
// intake.c: what is looked at when the header of a request is there and its body is not: whether
// it is one request and no other, who calls, which route it is for, and which body may come.
#include "api/http.h"

#include "api/route.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// ---- the header ------------------------------------------------------------

static void read_request_id(struct kd_request *q) {
    const char *id = MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "X-Request-Id");
    if (id == NULL) {
        return;
    }
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const size_t n = strspn(id, allowed);
    if (n >= 1 && n <= KD_HTTP_REQUEST_ID_MAX && id[n] == '\0') {
        memcpy(q->caller.request_id, id, n + 1);
    }
}

// Whether a body comes; *length: what is said of it, 0 where nothing is.
static bool announces_body(const struct kd_request *q, unsigned long long *length) {
    const char *text = MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "Content-Length");
    *length = 0;
    if (text == NULL) {
        return MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "Transfer-Encoding") != NULL;
    }
    errno = 0;
    *length = strtoull(text, NULL, 10); // MHD has checked its form
    *length = errno != 0 ? ULLONG_MAX : *length;
    return *length > 0;
}

size_t kd_request_body_max(const struct kd_request *q) {
    const bool takes_results = q->path != NULL && q->path->takes_results;
    return q->http->config.body_max_bytes + (takes_results ? KD_HTTP_RESULTS_MAX_BYTES : 0);
}

// All at once, so that no part is left behind by growing.
static enum kd_err make_room(struct kd_request *q, size_t n) {
    enum kd_err err = kd_request_hold(q, n);
    if (err == KD_OK) {
        (void)kd_buf_extend(&q->body, n);
        q->body.n = 0;
    }
    return err;
}

static const char *media_of(const struct kd_request *q) {
    return MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "Content-Type");
}

static bool is_raw(const struct kd_request *q) {
    return q->route->raw != NULL && kd_media_type_is(media_of(q), q->route->raw);
}

// RFC 9110 8.4.
static bool is_coded(const struct kd_request *q) {
    const char *coding = MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "Content-Encoding");
    return coding != NULL && strcasecmp(coding, "identity") != 0;
}

static enum kd_err check_media(struct kd_request *q) {
    if (is_coded(q)) {
        kd_request_say(q, "A body is taken as it is, without a Content-Encoding.");
        return KD_ERR_MEDIA_TYPE;
    }
    q->is_raw = is_raw(q);
    q->is_cbor = q->route->may_be_cbor && kd_media_type_is(media_of(q), KD_MEDIA_CBOR_SEQUENCE);
    if (q->is_raw || q->is_cbor ||
        (!q->route->raw_only && kd_media_type_is(media_of(q), "application/json"))) {
        return KD_OK;
    }
    if (q->route->raw != NULL) {
        char detail[80];
        snprintf(detail, sizeof(detail), "%s %s%s.",
                 q->route->raw_only ? "Here it must be" : "Or it may be", q->route->raw,
                 q->route->may_be_cbor ? " or " KD_MEDIA_CBOR_SEQUENCE : "");
        kd_request_say(q, detail);
    }
    return KD_ERR_MEDIA_TYPE;
}

static enum kd_err check_size(struct kd_request *q, size_t lines) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(q->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const size_t n = info == NULL ? 0 : info->header_size;
    const uint32_t max = q->http->config.header_max_bytes;
    if (n <= max && lines <= KD_HTTP_LINES_MAX) {
        return KD_OK;
    }
    char detail[128];
    snprintf(
        detail, sizeof(detail),
        "%zu bytes in %zu lines, where %u (http.header-max-bytes) and %u (fixed) are the most.", n,
        lines, (unsigned)max, (unsigned)KD_HTTP_LINES_MAX);
    kd_request_say(q, detail);
    return KD_ERR_HEADER_TOO_LARGE;
}

// Before anybody asks who calls.
static enum kd_err check_early(struct kd_request *q, size_t lines) {
    if (q->connection->is_surplus) {
        kd_request_say(q, "There are too many connections.");
        return KD_ERR_BUSY;
    }
    const enum kd_err err = check_size(q, lines);
    return err == KD_OK ? kd_request_check_site(q) : err;
}

static enum kd_err check_header(struct kd_request *q, const char *method, bool has_body) {
    if (q->path != NULL) {
        q->is_head = strcmp(method, "HEAD") == 0;
        q->route = kd_route_for(q->path, method);
    }
    const bool is_open = q->http->config.is_bootstrap || (q->route != NULL && q->route->is_open);
    // Before anything is told of paths and methods that are not open.
    enum kd_err err = is_open ? KD_OK : kd_request_identify(q);
    if (err != KD_OK) {
        return err;
    }
    if (q->refused == KD_ERR_BAD_REQUEST) {
        kd_request_say(q, "In the path two hex digits stand behind each % (RFC 3986 2.1).");
    }
    if (q->refused != KD_OK) {
        return q->refused;
    }
    if (q->route == NULL) {
        return KD_ERR_METHOD;
    }
    if (!has_body) {
        q->is_raw = q->route->raw_may_be_empty && is_raw(q);
        return KD_OK;
    }
    if (q->route->body == KD_BODY_NONE) {
        kd_request_say(q, "This request takes no body.");
        return KD_ERR_BAD_REQUEST;
    }
    return check_media(q);
}

// The body is not read: MHD closes the connection behind the answer.
static enum MHD_Result end_unread(struct kd_request *q) {
    q->is_last = true;
    return kd_request_send(q);
}

enum MHD_Result kd_request_take_header(struct kd_request *q, const char *method,
                                       const char *version) {
    size_t lines = 0;
    q->state = KD_REQUEST_BODY;
    read_request_id(q);
    enum kd_err err = kd_request_check_framing(q, version, &lines);
    if (err != KD_OK) {
        kd_request_fail(q, err);
        return end_unread(q);
    }
    unsigned long long length = 0;
    const bool has_body = announces_body(q, &length);
    err = check_early(q, lines);
    q->refused = err == KD_OK ? check_header(q, method, has_body) : err;
    kd_connection_allow(q->connection, q->http->config.body_timeout_ms);
    const bool is_asked =
        has_body && MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "Expect") != NULL;
    if (q->refused == KD_OK && length > 0) {
        q->refused = length > q->body.max ? KD_ERR_BODY_TOO_LARGE : make_room(q, (size_t)length);
    }
    if (length > KD_HTTP_DRAIN_MAX_BYTES || (is_asked && q->refused != KD_OK)) {
        kd_request_fail(q, q->refused);
        return end_unread(q);
    }
    return MHD_YES;
}

// ---- the query -------------------------------------------------------------

struct query {
    struct kd_request *q;
    unsigned seen;
    enum kd_err err;
};

// By how many parameters a route takes.
static const char *const query_of[] = {
    [0] = "This request takes no query.",
    [2] = "The query may have \"after\" and \"limit\", each once, with a value.",
    [3] = "The query may have \"after\", \"limit\" and \"state\", each once, with a value.",
};

static enum MHD_Result check_param(void *arg, enum MHD_ValueKind kind KD_UNUSED, const char *key,
                                   const char *value) {
    struct query *query = arg;
    static const char *const names[] = { "after", "limit", "state" };
    const struct kd_route *route = query->q->route;
    query->err = KD_ERR_FIELD_UNKNOWN;
    for (size_t i = 0; i < kd_route_n_params(route); i++) {
        if (strcmp(key, names[i]) == 0) {
            const bool is_good = (query->seen & 1u << i) == 0 && value != NULL;
            query->err = is_good ? KD_OK : KD_ERR_FIELD_INVALID;
            query->seen |= 1u << i;
        }
    }
    if (query->err == KD_OK) {
        return MHD_YES;
    }
    kd_request_say(query->q, key[0] == '\0' ? "A parameter of the query has no name."
                                            : query_of[kd_route_n_params(route)]);
    snprintf(query->q->why.field, sizeof(query->q->why.field), "%s", key);
    return MHD_NO;
}

enum kd_err kd_request_check_query(struct kd_request *q) {
    struct query query = { .q = q };
    MHD_get_connection_values(q->mhd, MHD_GET_ARGUMENT_KIND, check_param, &query);
    return query.err;
}
