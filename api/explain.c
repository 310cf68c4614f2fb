// SPDX-License-Identifier: Apache-2.0
// explain.c: what a caller who is refused is told beside the error's sentence, and what the logs
// say of who it was: what is needed, and what was shown.  No token, no certificate.
#include "api/http.h"

#include "api/route.h"

#include <arpa/inet.h>
#include <stdio.h>

#define RECORD                                                                                     \
    "A record has 65664 bytes at most, its body 65536, aad 4096; all of a request 3145728."
#define DERIVED "salt and info have 1024 bytes each at most."
#define SECRETS                                                                                    \
    "The limits are secrets.per-principal-max, secrets.total-max (keyd.conf(5)), and 4 "           \
    "derivations behind a secret."

void kd_request_origin(const struct kd_request *q, char out[static KD_ORIGIN_BYTES]) {
    const struct kd_connection *c = q->connection;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(q->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *from = info == NULL ? NULL : info->client_addr;
    snprintf(out, KD_ORIGIN_BYTES, "-");
    if (c->has_peer) {
        snprintf(out, KD_ORIGIN_BYTES, "uid:%u", (unsigned)c->uid);
    } else if (from != NULL && from->sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)from)->sin_addr, out,
                        KD_ORIGIN_BYTES);
    } else if (from != NULL && from->sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)from)->sin6_addr, out,
                        KD_ORIGIN_BYTES);
    }
}

// Which proof counted (service.h) and that nobody in the policy has it.
static void explain_stranger(struct kd_request *q) {
    struct kd_credential shown;
    char text[128];
    if (q->http->config.is_bootstrap || kd_credential_get(q, &shown) != KD_OK) {
        return;
    }
    if (shown.bearer.n > 0) {
        snprintf(text, sizeof(text), "No principal of the policy has this bearer token.");
    } else if (shown.certificate.n > 0) {
        snprintf(text, sizeof(text), "No principal of the policy has this client certificate.");
    } else if (shown.has_peer) {
        snprintf(text, sizeof(text),
                 "No principal of the policy has the uid %u, the gid %u or a group of this caller.",
                 (unsigned)shown.uid, (unsigned)shown.gid);
    } else {
        snprintf(text, sizeof(text), "A bearer token or a client certificate is needed here.");
    }
    kd_request_say(q, text);
}

static void explain_denied(struct kd_request *q) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(sizeof(q->why.detail));
    const struct kd_route *r = q->route;
    if (r == NULL || r->may[0] == '\0') {
        return;
    }
    kd_buf_printf(&text, "Principal \"%s\" needs %s", q->principal, r->may);
    if (r->param == KD_PARAM_KEY || r->param == KD_PARAM_VERSION) {
        kd_buf_printf(&text, " on \"%s\"", q->name);
    } else if (r->param == KD_PARAM_SECRET) {
        kd_buf_text(&text, " on the key that the secret came from");
    }
    if (r->may_also != NULL) {
        kd_buf_printf(&text, "; %s", r->may_also);
    }
    kd_buf_text(&text, " (keyd-policy(5)).");
    kd_request_say(q, kd_buf_get_text(&text));
}

// What is meant where a handler has said nothing.  The numbers are those of docs/api.md, and fixed
// where no setting is named.
static const struct {
    enum kd_err err;
    kd_handler *handler;
    const char *detail;
} limits[] = {
    { KD_ERR_ITEM_TOO_LARGE, kd_handle_record_seal, RECORD },
    { KD_ERR_ITEM_TOO_LARGE, kd_handle_record_open, RECORD },
    { KD_ERR_ITEM_TOO_LARGE, kd_handle_key_new, "A certificate has 16384 bytes at most." },
    { KD_ERR_ITEM_TOO_LARGE, kd_handle_ecdh, DERIVED },
    { KD_ERR_ITEM_TOO_LARGE, kd_handle_derive, DERIVED },
    { KD_ERR_TOO_MANY, kd_handle_ecdh, SECRETS },
    { KD_ERR_TOO_MANY, kd_handle_derive, SECRETS },
};

static const char *find_limit(const struct kd_request *q, enum kd_err err) {
    for (size_t i = 0; q->route != NULL && i < KD_COUNT_OF(limits); i++) {
        if (limits[i].err == err && limits[i].handler == q->route->handler) {
            return limits[i].detail;
        }
    }
    return "";
}

// The limits that have no handler to say them.
static void explain_limit(struct kd_request *q, enum kd_err err) {
    char text[sizeof(q->why.detail)] = "";
    if (err == KD_ERR_BODY_TOO_LARGE) {
        const size_t max = q->http->config.body_max_bytes;
        const size_t all = kd_request_body_max(q);
        const char *setting =
            q->http->config.is_bootstrap ? "bootstrap.request-max-bytes" : "http.body-max-bytes";
        snprintf(text, sizeof(text), "It may have %zu bytes: %s%s.", all, setting,
                 all > max ? ", and room for the results" : "");
    } else if (err == KD_ERR_BATCH_TOO_LARGE || err == KD_ERR_BATCH_EMPTY) {
        snprintf(text, sizeof(text), "It may have 1 to %d (fixed).", KD_HSM_BATCH_MAX_ITEMS);
    } else {
        snprintf(text, sizeof(text), "%s", find_limit(q, err));
    }
    kd_request_say(q, text);
}

void kd_request_explain(struct kd_request *q, enum kd_err err) {
    if (q->why.detail[0] != '\0') {
        return;
    }
    if (err == KD_ERR_UNAUTHENTICATED) {
        explain_stranger(q);
    } else if (err == KD_ERR_DENIED) {
        explain_denied(q);
    } else {
        explain_limit(q, err);
    }
}
