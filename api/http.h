// SPDX-License-Identifier: Apache-2.0
// http.h: the server's own objects, for the files of api/ only: the server, a
// connection, a request.  Read route.h for the table of routes, json_in.h for bodies,
// problem.h for errors.
#ifndef KD_API_HTTP_H
#define KD_API_HTTP_H

#include "api/api.h"
#include "api/metrics.h"
#include "api/places.h"
#include "api/sources.h"
#include "keyd/channel.h"

#include <microhttpd.h>

#define KD_HTTP_ANSWER_MAX_BYTES (16u << 20)
#define KD_HTTP_REQUEST_ID_MAX 36
#define KD_HTTP_SURPLUS_MAX 32 // connections over the limit that are still told so
#define KD_HTTP_LISTENERS_MAX 2
#define KD_HTTP_HEADERS_MAX 5
#define KD_HTTP_LINES_MAX 64 // of a request's header, without its first
// What is beside the data where results are verified or decrypted, with its names: their bodies
// may be longer by this, so that one request takes back what another made.
#define KD_HTTP_RESULTS_MAX_BYTES (192u * KD_HSM_BATCH_MAX_ITEMS)
// A body that is refused is read up to here and forgotten, as who sends all of it before he reads
// would not see the answer; http.body-timeout-ms says how long.
#define KD_HTTP_DRAIN_MAX_BYTES (64u << 20)

// ---- server ----------------------------------------------------------------

// A certificate with its key, and the CA of clients.  Each connection holds those that it began
// with, so that others can be put in force for those that come (listener_tls.c).
struct kd_tls;

#define KD_TLS_ERROR_BYTES 512

struct kd_listener {
    struct kd_http *http;
    struct MHD_Daemon *daemon;
    struct kd_watch *watch;
    int fd;       // -1: no longer accepting
    bool is_unix; // callers are known by the peer's uid and gid
    uint64_t inode; // of the socket's file, to remove that and no other
    uint64_t device;
    struct kd_tls *tls; // of connections that come; NULL: without TLS
    struct kd_sources sources; // of its handshakes
};

struct kd_http {
    struct kd_loop *loop;
    struct kd_service *service;
    struct kd_http_config config;
    struct kd_listener listeners[KD_HTTP_LISTENERS_MAX];
    size_t n_listeners;
    struct kd_connection *connections; // all of them
    struct kd_places places;
    size_t n_connections; // without the surplus ones
    size_t n_pending;     // requests without a whole answer
    size_t n_awaited;     // connections with the flag is_awaited
    size_t held;          // bytes of large requests, kd_request_hold
    struct kd_timer *sweep;
    uint64_t sweep_ms;
    uint64_t turn;      // counts callbacks of the loop: how long a caller stays valid
    bool has_resumed;   // a suspended connection waits for MHD_run
    bool has_submitted; // the service has been given work in this turn
    bool is_stopping;
    bool is_closing;  // nothing more is given to the service
    uint64_t id_seed; // request ids
    uint64_t id_count;
    uint64_t log_second; // warnings are limited by the second
    unsigned log_count;
    struct kd_map shares; // of struct kd_share, by principal
    // Refusals in the audit log are limited likewise: of who is not known, and of principals, whose
    // refusals nobody else's flood shall hide.
    struct kd_noting {
        uint64_t second, minute;
        unsigned in_second, in_minute;
    } noting[2];
    uint64_t unnoted; // since the last that was written
    uint64_t tls_ms;  // when the TLS files in force were read; 0: without TLS
    char tls_error[KD_TLS_ERROR_BYTES]; // why the last reload was refused; "" if it was not
    const struct kd_http *beside;       // kd_http_join; may be NULL
    struct kd_http_metrics metrics;
};

// The listening sockets, bound and listening; each logs what is wrong.
KD_MUST_CHECK enum kd_err kd_listener_unix_open(const struct kd_http_config *config,
                                                struct kd_listener *l);
void kd_listener_unix_remove(const struct kd_http_config *config, const struct kd_listener *l);
KD_MUST_CHECK enum kd_err kd_listener_tcp_open(const struct kd_http_config *config,
                                               struct kd_listener *l);
// Why the last reload of TLS files was refused, here or at the server that was joined; "" if not.
const char *kd_http_tls_error(const struct kd_http *h);
// The port in use, 0 without TCP.  For the log and for tests.
uint16_t kd_http_port(const struct kd_http *h);

// Reads the files that the configuration names, NULL where it names none.  `error` has what is
// wrong and with which file; a certificate that is out of its time is warned of.
KD_MUST_CHECK enum kd_err kd_tls_new(const struct kd_http_config *config,
                                     char error[static KD_TLS_ERROR_BYTES], struct kd_tls **out);
// For a connection that has just come: gives `t`, which it holds from here on, or NULL, and then
// its handshake fails.
struct kd_tls *kd_tls_hold(struct kd_tls *t, struct MHD_Connection *mhd);
void kd_tls_drop(struct kd_tls *t); // the last one frees
// For libmicrohttpd, which has no certificate of its own: refuses.
void *kd_tls_no_certificate(void);
#define KD_TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

// A warning that somebody outside can cause: at most ten a second are written.
bool kd_http_may_warn(struct kd_http *h);

// ---- connections (connection.c) --------------------------------------------

struct kd_connection {
    struct kd_connection *previous;
    struct kd_connection *next;
    struct kd_http *http;
    int fd;
    bool is_surplus; // over connections_max: every request is answered with busy
    bool is_shut;    // its time was over, or it has made room
    bool is_idle;    // between requests
    bool is_awaited; // the server stops, and a request is still to be read from it
    bool has_peer;
    uid_t uid;
    gid_t gid;
    gid_t *groups; // supplementary; ours
    size_t n_groups;
    enum { KD_CERTIFICATE_UNREAD, KD_CERTIFICATE_NONE, KD_CERTIFICATE_VERIFIED } certificate_state;
    uint8_t certificate[32]; // SHA-256 of the DER
    struct kd_tls *tls;
    uint64_t deadline_ms;    // monotonic; KD_LOOP_NO_LIMIT: none
    uint64_t since_ms;       // when its client's, or our, turn began
    // places.c:
    struct kd_holder *holder;
    enum kd_line_id line;
    struct kd_connection *before; // in the line
    struct kd_connection *behind;
};

// What MHD calls when a connection comes and goes.
void kd_connection_notify(void *arg, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code);
struct kd_connection *kd_connection_of(struct MHD_Connection *mhd); // NULL: without memory
// A request on it was this principal's or device's, who has its place from here on unless somebody
// has it already; without memory that waits for the next request.
void kd_connection_know(struct kd_connection *c, const char *name);
void kd_connection_idle(struct kd_connection *c);
void kd_connection_allow(struct kd_connection *c, uint64_t ms); // KD_LOOP_NO_LIMIT: any time
void kd_connection_sweep(void *http);                           // a kd_timer_fn
void kd_connection_await(struct kd_connection *c, bool is_awaited);
void kd_connection_shut_idle(struct kd_http *h); // leaves those that have sent something

// ---- requests (request.c) --------------------------------------------------

struct kd_route;

// Why a request was refused: the members of the problem beside its type.
struct kd_why {
    char field[80];
    char detail[256];
};

enum kd_request_state {
    KD_REQUEST_HEADER,   // its header is being read
    KD_REQUEST_BODY,     // its body is being read
    KD_REQUEST_ASKING,   // that it is asked is being written to the audit log; suspended
    KD_REQUEST_ASKED,    // that is written, and the work not begun
    KD_REQUEST_WAITING,  // the service works; the connection is suspended
    KD_REQUEST_HELD,     // the answer is there and being written to the audit log; suspended
    KD_REQUEST_ANSWERED, // `status` and `out` are the answer, not yet given to MHD
    KD_REQUEST_SENDING,  // MHD has the answer
};

// For the audit log: what the request was about, beside what it said itself.
#define KD_REQUEST_NOTES_MAX 5
struct kd_note {
    const char *name;
    bool is_number;
    char value[KD_NAME_MAX_BYTES + 1];
};

struct kd_request {
    struct kd_http *http;
    struct kd_connection *connection;
    struct MHD_Connection *mhd;
    enum kd_request_state state;
    unsigned holders;             // MHD's request and MHD's response: the last one frees
    const struct kd_route *path;  // the first row of its path, NULL: no such path
    const struct kd_route *route; // NULL: no such path or method
    enum kd_err refused;          // found early; said when the body has come
    bool is_head;
    bool is_batch; // the body has items
    bool is_raw;   // the body is of the route's own media type, and so is the answer
    bool is_cbor;  // the body is a sequence in CBOR, and so is the answer
    bool is_last;  // the connection ends with its answer
    bool is_spaced; // there is a space in its target
    uint64_t received; // of its body
    bool is_use;   // an operation that has a line in the audit log
    uint64_t started_us;
    uint64_t caller_turn; // when `caller` was found
    struct kd_caller caller;
    char principal[KD_NAME_MAX_BYTES + 1]; // a copy, for the log
    char name[KD_NAME_MAX_BYTES + 1];      // {name} or {id} of the path
    uint32_t version;                      // {version} of the path; 0: it has none
    const char *url;                       // the path, decoded; within a callback
    struct kd_buf body;
    struct kd_json_tree json; // the body's object, whose strings are in `body`; empty without one
    struct kd_buf arena;      // decoded values; never moves
    struct kd_why why;
    void *work; // the handler's own, freed with the request
    unsigned status;
    enum kd_err problem; // KD_OK: the answer is not a problem
    const char *content_type;
    const char *cache_control;
    char location[KD_NAME_MAX_BYTES + 16]; // "": none
    uint32_t retry_after_sec;               // said with 503
    size_t n_headers;                      // of a raw answer: what stands beside the bytes
    struct kd_header {
        const char *name;
        char value[KD_NAME_MAX_BYTES + 1];
    } headers[KD_HTTP_HEADERS_MAX];
    struct kd_share *share; // while it is worked on; else NULL
    uint64_t asked_seq;     // of its line in the audit log; 0: none
    bool is_noted;          // what became of it is in the audit log, or was given to it
    size_t n_notes;
    struct kd_note notes[KD_REQUEST_NOTES_MAX];
    struct kd_buf out;
    size_t wanted; // bytes for its body and answer
    size_t held;   // of them, counted in http->held
};

// MHD's callbacks.
void *kd_request_begin(void *http, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result kd_request_access(void *http, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **request);
void kd_request_completed(void *http, struct MHD_Connection *mhd, void **request,
                          enum MHD_RequestTerminationCode how);

// Gives the answer to MHD; MHD_NO closes the connection.
enum MHD_Result kd_request_send(struct kd_request *q);
// When its header is there, which is checked; what it is refused for is remembered until its body
// has come, or it is refused at once.  (intake.c)
enum MHD_Result kd_request_take_header(struct kd_request *q, const char *method,
                                       const char *version);
// Bytes that its body may have.
size_t kd_request_body_max(const struct kd_request *q);
KD_MUST_CHECK enum kd_err kd_request_check_query(struct kd_request *q);

// A header of the answer; `name` is not copied.
void kd_request_put_header(struct kd_request *q, const char *name, const char *value);
// The answer is in q->out.
void kd_request_answer(struct kd_request *q, unsigned status);
// The answer is this problem; detail and field are taken from q->why.
void kd_request_fail(struct kd_request *q, enum kd_err err);
// With one member more, unless `value` is empty (problem.h).
void kd_request_fail_with(struct kd_request *q, enum kd_err err, const char *name,
                          struct kd_bytes value);
// For the service's callbacks: ends the waiting, after one of the three above.
void kd_request_resume(struct kd_request *q);
// The same, with the answer that is in q->out, or with a problem ("": without a detail).
void kd_request_end(struct kd_request *q, unsigned status);
void kd_request_refuse(struct kd_request *q, enum kd_err err, const char *detail);
void kd_request_wake(struct kd_request *q); // of one that is suspended, whatever its state
void kd_request_say(struct kd_request *q, const char *detail); // for q->why, "" stays as it is
// Asks for memory, for as long as the request lives: its body's, and its answer's
// before the work is begun.  KD_ERR_BUSY: large requests have all of theirs.
KD_MUST_CHECK enum kd_err kd_request_hold(struct kd_request *q, size_t n);
// Fills in q->caller again where that is not from this turn.
KD_MUST_CHECK enum kd_err kd_request_identify(struct kd_request *q);

// Says what is needed, and what was shown, where nothing was said of a refusal yet.  (explain.c)
void kd_request_explain(struct kd_request *q, enum kd_err err);
// Where it comes from: "uid:1000", an address, or "-".
#define KD_ORIGIN_BYTES 64
void kd_request_origin(const struct kd_request *q, char out[static KD_ORIGIN_BYTES]);

// For the audit log; longer values are cut, `name` is not copied.
void kd_request_note(struct kd_request *q, const char *name, const char *value);
// Which key a secret came from, as its id says nothing, where there is a line for the request.
void kd_request_note_origin(struct kd_request *q);
// Of an operation that has a line: how many items, how many of them failed, and the key's version
// (0: not known).
void kd_request_note_use(struct kd_request *q, size_t items, size_t failed, uint32_t version);
void kd_request_note_number(struct kd_request *q, const char *name, uint64_t value);

// ---- the audit log (audit.c) -----------------------------------------------

// Before the work.  KD_OK: it may begin, or, in the state KD_REQUEST_ASKING, it may when the
// request is resumed.  KD_ERR_AUDIT, KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_audit_begin(struct kd_request *q);
// The answer is there and is noted: true where it is to wait until its line is written
// (KD_REQUEST_HELD).
KD_MUST_CHECK bool kd_audit_hold(struct kd_request *q);
// The answer is on its way, or nobody takes it: once a request.
void kd_audit_end(struct kd_request *q);

// KD_ERR_BAD_REQUEST where its body ends, who calls or whom is said twice or in a way that others
// may read otherwise.  *lines: of the header.
KD_MUST_CHECK enum kd_err kd_request_check_framing(struct kd_request *q, const char *version,
                                                   size_t *lines);
// KD_ERR_CROSS_SITE: a browser says that a page sends it.
KD_MUST_CHECK enum kd_err kd_request_check_site(struct kd_request *q);
// KD_ERR_ITEM_TOO_LARGE of a header or member ("": of the body), and how long it may be.
enum kd_err kd_request_blame_length(struct kd_request *q, const char *name, size_t max);
// A header that may stand once; NULL: it is not there.  What is borrowed lives as long as the
// request.  KD_ERR_FIELD_INVALID.
KD_MUST_CHECK enum kd_err kd_request_read_header(struct kd_request *q, const char *name,
                                                 const char **out);
// The same in base64url, one a request, of a body that is not JSON; KD_ERR_BAD_BASE64.
KD_MUST_CHECK enum kd_err kd_request_read_header_bytes(struct kd_request *q, const char *name,
                                                       struct kd_bytes *out);
KD_MUST_CHECK enum kd_err kd_request_blame_header(struct kd_request *q, const char *name,
                                                  enum kd_err err, const char *detail);

// Who calls, as far as the connection and header show (credential.c).  The
// bytes are borrowed from the connection and the header.
KD_MUST_CHECK enum kd_err kd_credential_get(struct kd_request *q, struct kd_credential *out);
// On the server for devices: SHA-256 of the client's certificate, whose key TLS has seen at
// work and which nobody has verified; empty without one.
struct kd_bytes kd_credential_certificate(struct kd_request *q);

#endif
