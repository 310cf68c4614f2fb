// SPDX-License-Identifier: Apache-2.0
// credential.c: what a connection and a request show of their caller.  Who
// that is, the service says (kd_service_identify).
#include "api/http.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <strings.h>

// The client's certificate must be one that the configured CA signed, in its
// time, for use by TLS clients.
static bool is_verified(gnutls_session_t session) {
    static const char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st data = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)(uintptr_t)purpose,
        .size = 0, // it ends with NUL
    };
    unsigned status = 0;
    return gnutls_certificate_verify_peers(session, &data, 1, &status) == GNUTLS_E_SUCCESS &&
           status == 0;
}

static void read_certificate(struct kd_request *q) {
    struct kd_connection *c = q->connection;
    c->certificate_state = KD_CERTIFICATE_NONE;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(q->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info == NULL || info->tls_session == NULL) {
        return;
    }
    unsigned n = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(info->tls_session, &n);
    if (chain == NULL || n == 0) {
        return;
    }
    if (!q->http->config.is_bootstrap && !is_verified(info->tls_session)) {
        if (kd_http_may_warn(q->http)) {
            kd_log(KD_LOG_WARN, "http", "a client certificate cannot be verified and is ignored",
                   "");
        }
        return;
    }
    size_t size = sizeof(c->certificate);
    if (gnutls_fingerprint(GNUTLS_DIG_SHA256, &chain[0], c->certificate, &size) ==
        GNUTLS_E_SUCCESS) {
        c->certificate_state = KD_CERTIFICATE_VERIFIED;
    }
}

struct kd_bytes kd_credential_certificate(struct kd_request *q) {
    struct kd_connection *c = q->connection;
    if (c->certificate_state == KD_CERTIFICATE_UNREAD) {
        read_certificate(q);
    }
    return (struct kd_bytes) { c->certificate, c->certificate_state == KD_CERTIFICATE_NONE
                                                   ? 0
                                                   : sizeof(c->certificate) };
}

enum kd_err kd_credential_get(struct kd_request *q, struct kd_credential *out) {
    struct kd_connection *c = q->connection;
    if (c->certificate_state == KD_CERTIFICATE_UNREAD) {
        read_certificate(q);
    }
    *out = (struct kd_credential) { .has_peer = c->has_peer,
                                    .uid = c->uid,
                                    .gid = c->gid,
                                    .groups = c->groups,
                                    .n_groups = c->n_groups };
    if (c->certificate_state == KD_CERTIFICATE_VERIFIED) {
        out->certificate = (struct kd_bytes) { c->certificate, sizeof(c->certificate) };
    }
    const char *value =
        MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (value == NULL) {
        return KD_OK;
    }
    // RFC 6750 2.1; the scheme is not case sensitive (RFC 9110 11.1).
    static const char scheme[] = "Bearer ";
    if (strncasecmp(value, scheme, strlen(scheme)) != 0) {
        kd_request_say(q, "Of the Authorization schemes only Bearer is known.");
        return KD_ERR_UNAUTHENTICATED;
    }
    value += strlen(scheme);
    while (*value == ' ') {
        value++;
    }
    if (*value == '\0') {
        kd_request_say(q, "The bearer token is empty.");
        return KD_ERR_UNAUTHENTICATED;
    }
    out->bearer = kd_bytes_of_text(value);
    return KD_OK;
}
