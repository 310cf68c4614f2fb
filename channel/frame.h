// SPDX-License-Identifier: Apache-2.0
// frame.h: what devices and a gateway send each other over TCP, UDP and HTTP:
// kind, id, body (docs/protocol.md, Frames).  Kind and id are the external
// additional data of the record in the body.
#ifndef KD_CHANNEL_FRAME_H
#define KD_CHANNEL_FRAME_H

#include "channel/record.h"

#define KD_FRAME_HEAD_BYTES 5
#define KD_FRAME_MAX_BYTES 66000         // with its head
#define KD_FRAME_LENGTH_BYTES 4          // before a frame on TCP
#define KD_FRAME_DATAGRAM_MAX_BYTES 1200 // default of UDP
#define KD_FRAME_MEDIA_TYPE "application/vnd.keyd.frame"

enum kd_frame_kind {
    KD_FRAME_HANDSHAKE = 1,
    KD_FRAME_MESSAGE = 2,
    KD_FRAME_RESUME = 3,
    KD_FRAME_ENVELOPE = 4,
    KD_FRAME_TICKET = 5,
    KD_FRAME_PUSH = 6,
    KD_FRAME_UPDATE = 7,
    KD_FRAME_CLOSE = 8,
};
#define KD_FRAME_KIND_LAST KD_FRAME_CLOSE
// "handshake", as metrics and traces say it.
const char *kd_frame_kind_name(enum kd_frame_kind kind);

enum kd_failure {
    KD_FAILURE_REFUSED = 1,
    KD_FAILURE_UNKNOWN_SESSION = 2,
    KD_FAILURE_BUSY = 3,
    KD_FAILURE_MALFORMED = 4,
    KD_FAILURE_TOO_LARGE = 5,
    KD_FAILURE_RETRY = 6, // message_1 again, with the cookie before it
};
#define KD_FAILURE_LAST KD_FAILURE_RETRY
#define KD_FRAME_COOKIE_MAX_BYTES 64

// The body of a failure.
struct kd_failure_body {
    enum kd_failure code;
    uint32_t after_s;       // 0: nothing is said of when
    struct kd_bytes cookie; // of KD_FAILURE_RETRY, and of it alone; borrowed
};

enum kd_frame_role {
    KD_FRAME_REQUEST = 0,
    KD_FRAME_ANSWER = 0x80,
    KD_FRAME_FAILURE = 0xff, // answers any kind
};

struct kd_frame {
    enum kd_frame_role role;
    enum kd_frame_kind kind; // of a failure: 0
    uint32_t id;
    struct kd_bytes body; // borrowed
};

// Appends, without a length before it.
void kd_frame_put(struct kd_buf *out, const struct kd_frame *frame);
// The first KD_FRAME_HEAD_BYTES of a frame, as the record in it is bound to them.
void kd_frame_head(const struct kd_frame *frame, uint8_t out[static KD_FRAME_HEAD_BYTES]);
// Borrows.  KD_ERR_FRAME for a kind that does not exist or a length out of bounds.
KD_MUST_CHECK enum kd_err kd_frame_parse(struct kd_bytes bytes, struct kd_frame *out);

void kd_failure_put(struct kd_buf *out, const struct kd_failure_body *failure);
// The whole frame that answers the one of this id with a failure.
void kd_frame_put_failure(struct kd_buf *out, uint32_t id, const struct kd_failure_body *failure);
// KD_ERR_FRAME.
KD_MUST_CHECK enum kd_err kd_failure_parse(struct kd_bytes body, struct kd_failure_body *out);

// The body of a handshake frame that begins one: message_1 after `true` (RFC 9528 A.2), and before
// that the cookie that a failure asked for, as a byte string.  False: another message of a
// handshake, or none.  Borrows.
bool kd_frame_is_first(struct kd_bytes body, struct kd_bytes *cookie, struct kd_bytes *message);

#endif
