// SPDX-License-Identifier: Apache-2.0
// route.c: the routes, and how a request's target finds its row.
#include "api/route.h"

#include "keyd/bootstrap.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define KEY "/v1/keys/{name}"
#define SECRET "/v1/secrets/{id}"
#define PEER "/v1/peers/{name}"
#define HANDSHAKE "/v1/handshakes/{id}"
#define SESSION "/v1/sessions/{id}"
#define DEVICE "/v1/devices/{name}"
#define EST "/.well-known/est"             // RFC 7030 3.2.2
#define PKCS10 "application/pkcs10"        // RFC 5967
#define EDHOC "application/edhoc+cbor-seq" // RFC 9528 10.9
#define COSE "application/cose"            // RFC 9052 11.3
#define BYTES "application/octet-stream"
#define ADOPT_TOO "for a uri adopt, too"
#define RELEASE_TOO "for what is to leave the token release, too"

// clang-format off
// Rows of one path stand together.
static const struct kd_route routes[] = {
    { "GET", "/healthz", kd_handle_healthz, .is_open = true, .may = "" },
    { "GET", "/readyz", kd_handle_readyz, .is_open = true, .may = "" },
    { "GET", "/openapi.json", kd_handle_openapi, .is_open = true, .may = "" },
    { "GET", "/metrics", kd_handle_metrics, .may = "metrics" },
    { "GET", "/v1/status", kd_handle_status, .may = "status" },
    { "GET", "/v1/audit", kd_handle_audit, .may = "status" },
    { "POST", "/v1/backup", kd_handle_backup, .body = KD_BODY_OPTIONAL, .audit = KD_ROUTE_ASKED, .event = "registry.copy", .may = "backup" },
    { "POST", "/v1/random", kd_handle_work, .body = KD_BODY_NEEDED, .operation = KD_OPERATION_RANDOM, .may = "random" },

    { "GET", "/v1/keys", kd_handle_key_list, .has_page = true, .may = "show" },
    { "POST", "/v1/keys", kd_handle_key_new, .body = KD_BODY_NEEDED, .audit = KD_ROUTE_ASKED, .event = "key.create", .may = "create, adopt or import" },
    { "GET", KEY, kd_handle_key_show, KD_PARAM_KEY, .may = "show" },
    { "DELETE", KEY, kd_handle_key_delete, KD_PARAM_KEY, .audit = KD_ROUTE_ASKED, .event = "key.delete", .may = "delete" },
    { "DELETE", KEY "/versions/{version}", kd_handle_key_delete_version, KD_PARAM_VERSION, .audit = KD_ROUTE_ASKED, .event = "key.delete-version", .may = "delete" },
    { "POST", KEY "/rotate", kd_handle_key_rotate, KD_PARAM_KEY, KD_BODY_OPTIONAL, .audit = KD_ROUTE_ASKED, .event = "key.rotate", .may = "rotate", .may_also = ADOPT_TOO },
    { "POST", KEY "/disable", kd_handle_key_disable, KD_PARAM_KEY, KD_BODY_OPTIONAL, .audit = KD_ROUTE_ASKED, .event = "key.disable", .may = "disable" },
    { "POST", KEY "/enable", kd_handle_key_enable, KD_PARAM_KEY, KD_BODY_OPTIONAL, .audit = KD_ROUTE_ASKED, .event = "key.enable", .may = "disable" },

    { "POST", KEY "/sign", kd_handle_work, KD_PARAM_KEY, KD_BODY_NEEDED, .operation = KD_OPERATION_SIGN, .may = "sign" },
    { "POST", KEY "/verify", kd_handle_work, KD_PARAM_KEY, KD_BODY_NEEDED, .operation = KD_OPERATION_VERIFY, .takes_results = true, .may = "verify" },
    { "POST", KEY "/mac", kd_handle_work, KD_PARAM_KEY, KD_BODY_NEEDED, .operation = KD_OPERATION_MAC, .may = "mac" },
    { "POST", KEY "/mac-verify", kd_handle_work, KD_PARAM_KEY, KD_BODY_NEEDED, .operation = KD_OPERATION_MAC_VERIFY, .takes_results = true, .may = "mac-verify" },
    { "POST", KEY "/encrypt", kd_handle_work, KD_PARAM_KEY, KD_BODY_NEEDED, .operation = KD_OPERATION_ENCRYPT, .may = "encrypt" },
    { "POST", KEY "/decrypt", kd_handle_work, KD_PARAM_KEY, KD_BODY_NEEDED, .operation = KD_OPERATION_DECRYPT, .takes_results = true, .may = "decrypt" },
    { "POST", KEY "/rewrap", kd_handle_work, KD_PARAM_KEY, KD_BODY_NEEDED, .operation = KD_OPERATION_REWRAP, .takes_results = true, .may = "rewrap" },
    { "POST", KEY "/ecdh", kd_handle_ecdh, KD_PARAM_KEY, KD_BODY_NEEDED, .audit = KD_ROUTE_RELEASE, .event = "secret.release", .may = "ecdh", .may_also = RELEASE_TOO },
    { "POST", KEY "/derive", kd_handle_derive, KD_PARAM_KEY, KD_BODY_NEEDED, .audit = KD_ROUTE_RELEASE, .event = "secret.release", .may = "derive", .may_also = RELEASE_TOO },

    { "GET", "/v1/secrets", kd_handle_secret_list, .has_page = true, .may = "" },
    { "GET", SECRET, kd_handle_secret_show, KD_PARAM_SECRET, .may = "" },
    { "DELETE", SECRET, kd_handle_secret_delete, KD_PARAM_SECRET, .may = "" },
    { "POST", SECRET "/mac", kd_handle_work, KD_PARAM_SECRET, KD_BODY_NEEDED, .operation = KD_OPERATION_MAC, .may = "mac" },
    { "POST", SECRET "/mac-verify", kd_handle_work, KD_PARAM_SECRET, KD_BODY_NEEDED, .operation = KD_OPERATION_MAC_VERIFY, .takes_results = true, .may = "mac-verify" },
    { "POST", SECRET "/encrypt", kd_handle_work, KD_PARAM_SECRET, KD_BODY_NEEDED, .operation = KD_OPERATION_ENCRYPT, .may = "encrypt" },
    { "POST", SECRET "/decrypt", kd_handle_work, KD_PARAM_SECRET, KD_BODY_NEEDED, .operation = KD_OPERATION_DECRYPT, .takes_results = true, .may = "decrypt" },
    { "POST", SECRET "/derive", kd_handle_derive, KD_PARAM_SECRET, KD_BODY_NEEDED, .audit = KD_ROUTE_RELEASE, .event = "secret.release", .may = "derive", .may_also = RELEASE_TOO },

    { "GET", "/v1/peers", kd_handle_peer_list, .has_page = true, .may = "show" },
    { "POST", "/v1/peers", kd_handle_peer_new, .body = KD_BODY_NEEDED, .audit = KD_ROUTE_ASKED, .event = "peer.create", .may = "peer" },
    { "GET", PEER, kd_handle_peer_show, KD_PARAM_PEER, .may = "show" },
    { "DELETE", PEER, kd_handle_peer_delete, KD_PARAM_PEER, .audit = KD_ROUTE_ASKED, .event = "peer.delete", .may = "peer" },

    { "POST", "/v1/handshakes", kd_handle_handshake_begin, .body = KD_BODY_NEEDED, .raw = EDHOC, .may = "handshake" },
    { "POST", HANDSHAKE, kd_handle_handshake_step, KD_PARAM_HANDSHAKE, KD_BODY_NEEDED, .raw = EDHOC, .audit = KD_ROUTE_DONE, .event = "session.open", .may = "handshake" },
    { "DELETE", HANDSHAKE, kd_handle_handshake_delete, KD_PARAM_HANDSHAKE, .may = "" },

    { "GET", "/v1/sessions", kd_handle_session_list, .has_page = true, .may = "" },
    { "POST", "/v1/sessions/resume", kd_handle_session_resume, .body = KD_BODY_NEEDED, .audit = KD_ROUTE_DONE, .event = "session.resume", .may = "handshake" }, // before {id}
    { "GET", SESSION, kd_handle_session_show, KD_PARAM_SESSION, .may = "" },
    { "DELETE", SESSION, kd_handle_session_delete, KD_PARAM_SESSION, .audit = KD_ROUTE_DONE, .event = "session.delete", .may = "" },
    { "GET", SESSION "/ticket", kd_handle_session_ticket, KD_PARAM_SESSION, .may = "handshake" },
    { "POST", SESSION "/key-update", kd_handle_session_update, KD_PARAM_SESSION, KD_BODY_OPTIONAL, .audit = KD_ROUTE_DONE, .event = "session.key-update", .may = "handshake" },
    { "POST", SESSION "/release", kd_handle_session_release, KD_PARAM_SESSION, KD_BODY_OPTIONAL, .audit = KD_ROUTE_ASKED, .event = "session.release", .may = "release" },

    { "POST", "/v1/records/seal", kd_handle_record_seal, .body = KD_BODY_NEEDED, .raw = BYTES, .raw_answer = COSE, .raw_may_be_empty = true, .may_be_cbor = true, .may = "handshake" },
    { "POST", "/v1/records/open", kd_handle_record_open, .body = KD_BODY_NEEDED, .raw = COSE, .raw_answer = BYTES, .may_be_cbor = true, .may = "handshake" },
    { "GET", "/v1/envelopes/key", kd_handle_envelope_key, .may = "show" },
    { "POST", "/v1/envelopes/open", kd_handle_envelope_open, .body = KD_BODY_NEEDED, .raw = KD_MEDIA_CBOR, .may = "envelope" },

    { "GET", "/v1/devices", kd_handle_device_list, .has_page = true, .has_state = true, .may = "show" },
    { "POST", "/v1/devices", kd_handle_device_new, .body = KD_BODY_NEEDED, .audit = KD_ROUTE_ASKED, .event = "device.create", .may = "device" },
    { "GET", DEVICE, kd_handle_device_show, KD_PARAM_DEVICE, .may = "show" },
    { "DELETE", DEVICE, kd_handle_device_delete, KD_PARAM_DEVICE, .audit = KD_ROUTE_ASKED, .event = "device.delete", .may = "device" },
    { "POST", DEVICE "/secret", kd_handle_device_secret, KD_PARAM_DEVICE, KD_BODY_OPTIONAL, .audit = KD_ROUTE_ASKED, .event = "device.secret", .may = "device" },
    { "POST", DEVICE "/revoke", kd_handle_device_revoke, KD_PARAM_DEVICE, KD_BODY_OPTIONAL, .audit = KD_ROUTE_ASKED, .event = "device.revoke", .may = "device" },
    { "GET", "/v1/ca", kd_handle_ca_show, .may = "show" },
    { "POST", "/v1/ca/root", kd_handle_ca_make, .body = KD_BODY_NEEDED, .operation = KD_PAPER_ROOT, .audit = KD_ROUTE_ASKED, .event = "ca.root", .may = "ca" },
    { "POST", "/v1/ca/request", kd_handle_ca_make, .body = KD_BODY_NEEDED, .operation = KD_PAPER_REQUEST, .audit = KD_ROUTE_ASKED, .event = "ca.request", .may = "ca" },
    { "POST", "/v1/ca/server-certificate", kd_handle_ca_make, .body = KD_BODY_OPTIONAL, .operation = KD_PAPER_SERVER, .audit = KD_ROUTE_ASKED, .event = "ca.server-certificate", .may = "ca" },

    { "GET", EST "/cacerts", kd_handle_est_cacerts, .is_open = true, .is_for_devices = true, .may = "" },
    { "GET", EST "/csrattrs", kd_handle_est_csrattrs, .is_open = true, .is_for_devices = true, .may = "" },
    { "POST", EST "/simpleenroll", kd_handle_est_enroll, .body = KD_BODY_NEEDED, .raw = PKCS10, .raw_only = true, .is_open = true, .is_for_devices = true, .operation = false, .audit = KD_ROUTE_DONE, .event = "certificate.issue", .may = "" },
    { "POST", EST "/simplereenroll", kd_handle_est_enroll, .body = KD_BODY_NEEDED, .raw = PKCS10, .raw_only = true, .is_open = true, .is_for_devices = true, .operation = true, .audit = KD_ROUTE_DONE, .event = "certificate.renew", .may = "" },
    { "GET", "/c/{server}/{name}", kd_handle_certificate, KD_PARAM_DEVICE, .is_open = true, .is_for_devices = true, .may = "" },
    { "GET", "/provision", kd_handle_provision, .is_open = true, .is_for_devices = true, .may = "" },
};
// clang-format on

static_assert(KD_COUNT_OF(routes) < KD_METRICS_ROUTES_MAX, "each route has its metrics");

size_t kd_route_count(void) {
    return KD_COUNT_OF(routes);
}

size_t kd_route_n_params(const struct kd_route *r) {
    return r->has_state ? 3 : r->has_page ? 2 : 0;
}

const struct kd_route *kd_route_at(size_t i) {
    return &routes[i];
}

size_t kd_route_index(const struct kd_route *r) {
    return r == NULL ? KD_COUNT_OF(routes) : (size_t)(r - routes);
}

// ---- finding ---------------------------------------------------------------

// A part of a path, as it is written.
struct segment {
    const char *p;
    size_t n;
};

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

enum { DECODED_MAX = KD_NAME_MAX_BYTES + 1 }; // one more than any name: too long is seen

// Percent-decodes once (RFC 3986 2.1): `%252e` becomes `%2e`, which no name
// allows.  *n is at most DECODED_MAX; what is longer is cut off there.
static bool decode(struct segment s, char out[static DECODED_MAX], size_t *n) {
    *n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            const int high = s.n - i > 2 ? hex_digit(s.p[i + 1]) : -1;
            const int low = s.n - i > 2 ? hex_digit(s.p[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (*n < DECODED_MAX) {
            out[(*n)++] = c;
        }
    }
    return true;
}

enum { PARAMS_MAX = 2 };

// Whether the path has the shape of the pattern, in which a segment in braces stands for any that
// is not empty; params has what the path has for them.
static bool match(const char *pattern, struct segment path,
                  struct segment params[static PARAMS_MAX], size_t *n_params) {
    const char *at = path.p;
    const char *const end = path.p + path.n;
    *n_params = 0;
    while (*pattern != '\0') {
        if (*pattern != '{') {
            if (at == end || *at++ != *pattern++) {
                return false;
            }
            continue;
        }
        const char *slash = memchr(at, '/', (size_t)(end - at));
        const size_t n = (size_t)((slash == NULL ? end : slash) - at);
        if (n == 0) {
            return false;
        }
        assert(*n_params < PARAMS_MAX);
        params[(*n_params)++] = (struct segment) { at, n };
        at += n;
        pattern = strchr(pattern, '}') + 1;
    }
    return at == end;
}

static bool is_secret_id(const char *p, size_t n) {
    if (n != KD_SECRET_ID_TEXT_BYTES - 1) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const bool is_ok = (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
                           (p[i] >= '0' && p[i] <= '9') || p[i] == '-' || p[i] == '_';
        if (!is_ok) {
            return false;
        }
    }
    return true;
}

static bool is_session_id(const char *p, size_t n) {
    static const char digits[] = "0123456789abcdef";
    bool is_ok = n == KD_SESSION_TEXT_BYTES - 1;
    for (size_t i = 0; is_ok && i < n; i++) {
        is_ok = p[i] != '\0' && strchr(digits, p[i]) != NULL;
    }
    return is_ok;
}

static enum kd_err check_param(enum kd_route_param kind, const char *p, size_t n) {
    switch (kind) {
    case KD_PARAM_NONE:
        return KD_OK;
    case KD_PARAM_KEY:
    case KD_PARAM_VERSION:
    case KD_PARAM_PEER:
    case KD_PARAM_DEVICE:
        return kd_name_is_valid((struct kd_bytes) { (const uint8_t *)p, n }) ? KD_OK
                                                                             : KD_ERR_BAD_NAME;
    case KD_PARAM_SECRET:
        return is_secret_id(p, n) ? KD_OK : KD_ERR_NO_SECRET;
    case KD_PARAM_HANDSHAKE:
        return is_session_id(p, n) ? KD_OK : KD_ERR_NO_HANDSHAKE;
    case KD_PARAM_SESSION:
        return is_session_id(p, n) ? KD_OK : KD_ERR_NO_SESSION;
    }
    return KD_ERR_BUG;
}

static enum kd_err read_name(enum kd_route_param kind, struct segment written,
                             char name[static KD_NAME_MAX_BYTES + 1]) {
    char decoded[DECODED_MAX];
    size_t n;
    if (!decode(written, decoded, &n)) {
        return KD_ERR_BAD_REQUEST;
    }
    enum kd_err err = check_param(kind, decoded, n);
    if (err != KD_OK) {
        return err;
    }
    memcpy(name, decoded, n);
    name[n] = '\0';
    return KD_OK;
}

static enum kd_err read_version(struct segment written, uint32_t *version) {
    char decoded[DECODED_MAX + 1];
    size_t n;
    uint64_t number = 0;
    if (!decode(written, decoded, &n)) {
        return KD_ERR_BAD_REQUEST;
    }
    decoded[n] = '\0';
    if (strlen(decoded) != n || kd_number_parse(decoded, 1, UINT32_MAX, &number) != KD_OK) {
        return KD_ERR_NO_VERSION;
    }
    *version = (uint32_t)number;
    return KD_OK;
}

static enum kd_err read_params(enum kd_route_param kind, const struct segment *written, size_t n,
                               char param[static KD_NAME_MAX_BYTES + 1], uint32_t *version) {
    if (kind == KD_PARAM_NONE) {
        return KD_OK;
    }
    if (kind != KD_PARAM_VERSION) {
        return read_name(kind, written[n - 1], param);
    }
    const enum kd_err err = read_name(kind, written[0], param);
    return err == KD_OK ? read_version(written[1], version) : err;
}

const char *kd_route_path(const char *target) {
    static const char *const schemes[] = { "http://", "https://" };
    for (size_t i = 0; i < KD_COUNT_OF(schemes); i++) {
        if (strncasecmp(target, schemes[i], strlen(schemes[i])) == 0) {
            const char *authority = target + strlen(schemes[i]);
            const char *path = authority + strcspn(authority, "/?");
            return path == authority ? target : *path == '/' ? path : "/";
        }
    }
    return target;
}

enum kd_err kd_route_find(const char *target, const struct kd_route **out,
                          char param[static KD_NAME_MAX_BYTES + 1], uint32_t *version) {
    const char *start = kd_route_path(target);
    const struct segment path = { start, strcspn(start, "?") };
    for (size_t i = 0; i < KD_COUNT_OF(routes); i++) {
        struct segment written[PARAMS_MAX] = { { NULL, 0 } };
        size_t n = 0;
        if (match(routes[i].path, path, written, &n)) {
            *out = &routes[i];
            param[0] = '\0';
            *version = 0;
            return read_params(routes[i].param, written, n, param, version);
        }
    }
    return KD_ERR_NO_ROUTE;
}

static bool is_same_path(const struct kd_route *a, const struct kd_route *b) {
    return b < routes + KD_COUNT_OF(routes) && strcmp(a->path, b->path) == 0;
}

const struct kd_route *kd_route_for(const struct kd_route *path, const char *method) {
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (const struct kd_route *r = path; is_same_path(path, r); r++) {
        if (strcmp(r->method, wanted) == 0) {
            return r;
        }
    }
    return NULL;
}

void kd_route_allow(const struct kd_route *path, struct kd_buf *out) {
    for (const struct kd_route *r = path; is_same_path(path, r); r++) {
        kd_buf_text(out, r == path ? "" : ", ");
        kd_buf_text(out, r->method);
        kd_buf_text(out, strcmp(r->method, "GET") == 0 ? ", HEAD" : "");
    }
}
