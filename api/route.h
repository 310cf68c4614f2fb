// SPDX-License-Identifier: Apache-2.0
// route.h: the table of routes.  A handler is called when the whole request
// is there and the caller is known; what it may do is for the service to say.
#ifndef KD_API_ROUTE_H
#define KD_API_ROUTE_H

#include "api/http.h"

// KD_OK: the request is answered, or the service was given work (the state is
// KD_REQUEST_WAITING) and its callback will answer.  Else the answer is a problem.
typedef enum kd_err kd_handler(struct kd_request *q);

enum kd_route_body {
    KD_BODY_NONE,     // a body is refused
    KD_BODY_OPTIONAL, // none is the same as {}
    KD_BODY_NEEDED,
};

// What of it stands in the audit log (audit.h), besides that a caller was refused.
enum kd_route_audit {
    KD_ROUTE_UNNOTED,
    KD_ROUTE_ASKED,   // before the work that it is asked for, and what became of it
    KD_ROUTE_RELEASE, // the same, where the result may leave the token
    KD_ROUTE_DONE,    // what the handler notes of it, before the answer
};

enum kd_route_param {
    KD_PARAM_NONE,
    KD_PARAM_KEY,    // a key's name
    KD_PARAM_VERSION, // the same, and the number of a version
    KD_PARAM_SECRET, // a secret's id
    KD_PARAM_PEER,   // a peer's name
    KD_PARAM_HANDSHAKE,
    KD_PARAM_SESSION, // their ids have one form
    KD_PARAM_DEVICE,
};

struct kd_route {
    const char *method;
    const char *path; // "{name}", "{id}" or "{version}" stands for one segment
    kd_handler *handler;
    enum kd_route_param param;
    enum kd_route_body body;
    bool is_open;           // asks for no caller
    bool has_page;          // takes the query parameters after and limit
    bool has_state;         // and state
    bool takes_results;     // its body has what another operation made, and may be longer by it
    unsigned operation;     // enum kd_operation, for the handlers of operations.c
    const char *raw;        // a media type that the body may have in place of JSON; NULL: none
    const char *raw_answer; // then the answer's; NULL: the same
    bool raw_may_be_empty;  // such a body
    bool may_be_cbor;       // the body, KD_MEDIA_CBOR_SEQUENCE
    bool raw_only;          // no JSON in its place
    bool is_for_devices;    // of the bootstrap listener, and of no other
    enum kd_route_audit audit;
    const char *event; // its name in the audit log
    const char *may;        // the permission that the service asks for, "" if none
    const char *may_also;   // what else, and for what; NULL: nothing
};

#define KD_MEDIA_CBOR "application/cbor" // RFC 8949
#define KD_MEDIA_CBOR_SEQUENCE "application/cbor-seq" // RFC 8742

size_t kd_route_count(void);
const struct kd_route *kd_route_at(size_t i);
size_t kd_route_n_params(const struct kd_route *r); // of after, limit, state: the first so many
size_t kd_route_index(const struct kd_route *r); // kd_route_count() for NULL

// Where the path begins in a target, which may be a whole URI (RFC 9112 3.2.2).
const char *kd_route_path(const char *target);

// Finds the path of a request target (percent-encoded, a query is ignored):
// the first row with it, and its parameter, decoded, in out, and the version (0: it has none).
// KD_ERR_NO_ROUTE, KD_ERR_BAD_REQUEST (the encoding), KD_ERR_BAD_NAME, and for what cannot be an
// id or a version KD_ERR_NO_SECRET, KD_ERR_NO_HANDSHAKE, KD_ERR_NO_SESSION, KD_ERR_NO_VERSION.
KD_MUST_CHECK enum kd_err kd_route_find(const char *target, const struct kd_route **out,
                                        char param[static KD_NAME_MAX_BYTES + 1],
                                        uint32_t *version);
// The row of the same path with this method (HEAD is GET); NULL: none.
const struct kd_route *kd_route_for(const struct kd_route *path, const char *method);
// "GET, HEAD, POST": the methods of a path.
void kd_route_allow(const struct kd_route *path, struct kd_buf *out);

// ---- the handlers ----------------------------------------------------------

kd_handler kd_handle_key_new, kd_handle_key_list, kd_handle_key_show, kd_handle_key_delete,
    kd_handle_key_rotate, kd_handle_key_disable, kd_handle_key_enable,
    kd_handle_key_delete_version; // keys.c
kd_handler kd_handle_work;        // operations.c
kd_handler kd_handle_ecdh, kd_handle_derive, kd_handle_secret_list, kd_handle_secret_show,
    kd_handle_secret_delete;                                                         // secrets.c
kd_handler kd_handle_status, kd_handle_healthz, kd_handle_readyz, kd_handle_openapi; // status.c
kd_handler kd_handle_backup;                                                         // backup.c
kd_handler kd_handle_peer_new, kd_handle_peer_list, kd_handle_peer_show,
    kd_handle_peer_delete; // peers.c
kd_handler kd_handle_handshake_begin, kd_handle_handshake_step,
    kd_handle_handshake_delete; // handshakes.c
kd_handler kd_handle_session_list, kd_handle_session_show, kd_handle_session_delete,
    kd_handle_session_ticket, kd_handle_session_resume, kd_handle_session_update; // sessions.c
kd_handler kd_handle_session_release; // release.c
kd_handler kd_handle_record_seal, kd_handle_record_open;                          // records.c
kd_handler kd_handle_envelope_key, kd_handle_envelope_open;                       // envelopes.c
kd_handler kd_handle_device_list, kd_handle_device_new, kd_handle_device_show,
    kd_handle_device_revoke, kd_handle_device_secret, kd_handle_device_delete; // devices.c
kd_handler kd_handle_ca_show, kd_handle_ca_make;      // ca.c
kd_handler kd_handle_est_cacerts, kd_handle_est_csrattrs, kd_handle_est_enroll,
    kd_handle_certificate, kd_handle_provision; // est.c
kd_handler kd_handle_audit;                     // audit.c
kd_handler kd_handle_metrics;                   // metrics.c

#endif
