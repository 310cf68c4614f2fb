// SPDX-License-Identifier: Apache-2.0
// fetch.h: keyd-fetch, the process that gets certificates from web servers, as keyd sees it:
// which URIs it takes, and the messages on the socket between the two.  It has no token, no
// store and no keys; what it hands over is judged by keyd (keyd/trust.h).
#ifndef KD_FETCH_FETCH_H
#define KD_FETCH_FETCH_H

#include "base/base.h"

#define KD_FETCH_URI_MAX_BYTES 255
#define KD_FETCH_PATH_MAX_BYTES 1024
#define KD_FETCH_PREFIXES_MAX 32
#define KD_FETCH_BODY_MAX_BYTES 65536

// ---- URIs ------------------------------------------------------------------

// https://HOST[:PORT]/, or with a path that ends in '/'; nothing of what kd_fetch_uri_is_plain
// refuses.
bool kd_fetch_prefix_is_valid(const char *text);
// https, no user, query, fragment or escapes that hide '.', '/' or '\', no dot segments: what
// is left cannot leave its prefix on the way to the server.
bool kd_fetch_uri_is_plain(struct kd_bytes uri);

struct kd_fetch_prefix {
    struct kd_bytes text;
    bool is_private; // its host may be at an address that is not public
};
// The first that the URI begins with, or NULL.
const struct kd_fetch_prefix *kd_fetch_find_prefix(const struct kd_fetch_prefix *list, size_t n,
                                                   struct kd_bytes uri);

// ---- messages --------------------------------------------------------------

// Each is a length of 4 bytes and so many bytes; keyd says HELLO first, then asks, and the
// answers come in any order.  Whatever is not of this form ends the process, or is ended.
#define KD_FETCH_FRAME_MAX_BYTES (KD_FETCH_BODY_MAX_BYTES + 1024)
#define KD_FETCH_HELLO_MAX_BYTES (KD_FETCH_PREFIXES_MAX * (KD_FETCH_URI_MAX_BYTES + 4) + 2048)

struct kd_fetch_hello {
    uint32_t timeout_ms;
    uint32_t bytes_max;
    uint32_t pending_max;
    struct kd_bytes ca_file; // empty: the system's
    size_t n_prefixes;
    struct kd_fetch_prefix prefixes[KD_FETCH_PREFIXES_MAX];
};

struct kd_fetch_request {
    uint32_t id;
    struct kd_bytes uri;
};

enum kd_fetch_result {
    KD_FETCH_CERTIFICATE = 1, // body: one certificate, DER (application/pkix-cert)
    KD_FETCH_CHAIN,           // body: COSE_X509 (application/cose-x509; usage=chain)
    KD_FETCH_URI,             // not allowed, or not plain
    KD_FETCH_BUSY,
    KD_FETCH_NO_HOST,
    KD_FETCH_ADDRESS, // the host is at an address that is not public
    KD_FETCH_CONNECT,
    KD_FETCH_TLS,
    KD_FETCH_TIMEOUT,
    KD_FETCH_REDIRECT,
    KD_FETCH_STATUS, // not 200
    KD_FETCH_TYPE,
    KD_FETCH_SIZE,
    KD_FETCH_OTHER,
};
#define KD_FETCH_RESULTS (KD_FETCH_OTHER + 1)

struct kd_fetch_answer {
    uint32_t id;
    enum kd_fetch_result result;
    struct kd_bytes body;
};

// With their length; ask kd_buf_finish.
void kd_fetch_put_hello(struct kd_buf *out, const struct kd_fetch_hello *h);
void kd_fetch_put_request(struct kd_buf *out, const struct kd_fetch_request *q);
void kd_fetch_put_answer(struct kd_buf *out, const struct kd_fetch_answer *a);

// Takes one frame from the front of what was read: *frame is borrowed, *n its whole length;
// empty while it is not there in full.  KD_ERR_MALFORMED: longer than max.
KD_MUST_CHECK enum kd_err kd_fetch_next_frame(struct kd_bytes in, size_t max,
                                              struct kd_bytes *frame, size_t *n);
// Borrowed from the frame.  KD_ERR_MALFORMED.
KD_MUST_CHECK enum kd_err kd_fetch_get_hello(struct kd_bytes frame, struct kd_fetch_hello *h);
KD_MUST_CHECK enum kd_err kd_fetch_get_request(struct kd_bytes frame, struct kd_fetch_request *q);
KD_MUST_CHECK enum kd_err kd_fetch_get_answer(struct kd_bytes frame, struct kd_fetch_answer *a);

#endif
