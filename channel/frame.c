// SPDX-License-Identifier: Apache-2.0
#include "channel/frame.h"

#include "base/base.h"

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

void kd_failure_put(struct kd_buf *body, enum kd_failure code, uint32_t after_s) {
    kd_cbor_put_array(body, after_s == 0 ? 1 : 2);
    kd_cbor_put_uint(body, code);
    if (after_s != 0) {
        kd_cbor_put_uint(body, after_s);
    }
}

enum kd_err kd_failure_parse(struct kd_bytes body, enum kd_failure *code, uint32_t *after_s) {
    struct kd_cbor c = kd_cbor_of(body);
    const size_t n = kd_cbor_read_array(&c);
    const uint64_t number = kd_cbor_read_uint(&c);
    const uint64_t seconds = n == 2 ? kd_cbor_read_uint(&c) : 0;
    if (kd_cbor_finish(&c) != KD_OK || n < 1 || n > 2 || number < 1 || number > KD_FAILURE_LAST ||
        seconds > UINT32_MAX) {
        return KD_ERR_FRAME;
    }
    *code = (enum kd_failure)number;
    *after_s = (uint32_t)seconds;
    return KD_OK;
}
