// SPDX-License-Identifier: Apache-2.0
#include "channel/frame.h"

#include "base/base.h"

const char *kd_frame_kind_name(enum kd_frame_kind kind) {
    static const char *const names[KD_FRAME_KIND_LAST + 1] = {
        [KD_FRAME_HANDSHAKE] = "handshake", [KD_FRAME_MESSAGE] = "message",
        [KD_FRAME_RESUME] = "resume",       [KD_FRAME_ENVELOPE] = "envelope",
        [KD_FRAME_TICKET] = "ticket",       [KD_FRAME_PUSH] = "push",
        [KD_FRAME_UPDATE] = "update",       [KD_FRAME_CLOSE] = "close",
    };
    return names[kind];
}

static uint8_t first_byte(const struct kd_frame *frame) {
    return frame->role == KD_FRAME_FAILURE ? KD_FRAME_FAILURE
                                           : (uint8_t)((unsigned)frame->role | frame->kind);
}

void kd_frame_put(struct kd_buf *out, const struct kd_frame *frame) {
    kd_buf_u8(out, first_byte(frame));
    kd_buf_u32(out, frame->id);
    kd_buf_put(out, frame->body.p, frame->body.n);
}

void kd_frame_head(const struct kd_frame *frame, uint8_t out[static KD_FRAME_HEAD_BYTES]) {
    out[0] = first_byte(frame);
    out[1] = (uint8_t)(frame->id >> 24);
    out[2] = (uint8_t)(frame->id >> 16);
    out[3] = (uint8_t)(frame->id >> 8);
    out[4] = (uint8_t)frame->id;
}

enum kd_err kd_frame_parse(struct kd_bytes bytes, struct kd_frame *out) {
    if (bytes.n < KD_FRAME_HEAD_BYTES || bytes.n > KD_FRAME_MAX_BYTES) {
        return KD_ERR_FRAME;
    }
    struct kd_reader in = kd_reader_of(bytes);
    const uint8_t first = kd_read_u8(&in);
    const unsigned kind = first & 0x7fu;
    const bool is_failure = first == KD_FRAME_FAILURE;
    if (!is_failure && (kind == 0 || kind > KD_FRAME_KIND_LAST)) {
        return KD_ERR_FRAME;
    }
    const enum kd_frame_role role =
        (first & KD_FRAME_ANSWER) != 0 ? KD_FRAME_ANSWER : KD_FRAME_REQUEST;
    const uint32_t id = kd_read_u32(&in);
    *out = (struct kd_frame) { .role = is_failure ? KD_FRAME_FAILURE : role,
                               .kind = is_failure ? 0 : (enum kd_frame_kind)kind,
                               .id = id,
                               .body = { bytes.p + KD_FRAME_HEAD_BYTES,
                                         bytes.n - KD_FRAME_HEAD_BYTES } };
    return KD_OK;
}

static bool is_cookie(struct kd_bytes cookie) {
    return cookie.n > 0 && cookie.n <= KD_FRAME_COOKIE_MAX_BYTES;
}

void kd_failure_put(struct kd_buf *out, const struct kd_failure_body *failure) {
    const bool has_cookie = failure->code == KD_FAILURE_RETRY;
    kd_cbor_put_array(out, has_cookie || failure->after_s != 0 ? 2 : 1);
    kd_cbor_put_uint(out, failure->code);
    if (has_cookie) {
        kd_cbor_put_bytes(out, failure->cookie);
    } else if (failure->after_s != 0) {
        kd_cbor_put_uint(out, failure->after_s);
    }
}

void kd_frame_put_failure(struct kd_buf *out, uint32_t id, const struct kd_failure_body *failure) {
    kd_frame_put(out, &(struct kd_frame) { .role = KD_FRAME_FAILURE, .id = id });
    kd_failure_put(out, failure);
}

enum kd_err kd_failure_parse(struct kd_bytes body, struct kd_failure_body *out) {
    struct kd_cbor c = kd_cbor_of(body);
    const size_t n = kd_cbor_read_array(&c);
    const uint64_t code = kd_cbor_read_uint(&c);
    const bool has_cookie = code == KD_FAILURE_RETRY;
    const uint64_t seconds = n == 2 && !has_cookie ? kd_cbor_read_uint(&c) : 0;
    const struct kd_bytes cookie = n == 2 && has_cookie ? kd_cbor_read_bytes(&c) : KD_BYTES_NONE;
    if (kd_cbor_finish(&c) != KD_OK || n < 1 || n > 2 || code < 1 || code > KD_FAILURE_LAST ||
        seconds > UINT32_MAX || has_cookie != is_cookie(cookie)) {
        return KD_ERR_FRAME;
    }
    *out = (struct kd_failure_body) { (enum kd_failure)code, (uint32_t)seconds, cookie };
    return KD_OK;
}

bool kd_frame_is_first(struct kd_bytes body, struct kd_bytes *cookie, struct kd_bytes *message) {
    struct kd_cbor c = kd_cbor_of(body);
    const bool has_cookie = kd_cbor_is_next(&c, KD_CBOR_BYTES);
    const struct kd_bytes said = has_cookie ? kd_cbor_read_bytes(&c) : KD_BYTES_NONE;
    // What follows a connection identifier is a byte string: message_3 or message_4.
    if (!kd_cbor_is_next(&c, KD_CBOR_TRUE) || c.in.n < 2 || has_cookie != is_cookie(said)) {
        return false;
    }
    *cookie = said;
    *message = (struct kd_bytes) { c.in.p + 1, c.in.n - 1 };
    return true;
}
