// SPDX-License-Identifier: Apache-2.0
// fuzz_frame.c: frames between device and gateway.  One that is taken encodes to the same bytes
// again, and so does the body of a failure.
#include "fuzz.h"

#include "channel/frame.h"

#include <stdlib.h>

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

static void check_failure(struct kd_bytes body) {
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(KD_FRAME_COOKIE_MAX_BYTES + 8);
    struct kd_failure_body said;
    struct kd_failure_body said_again;
    if (kd_failure_parse(body, &said) == KD_OK) {
        kd_failure_put(&again, &said); // a zero may be said or left out
        must(kd_failure_parse(kd_buf_get(&again), &said_again) == KD_OK);
        must(said.code == said_again.code && said.after_s == said_again.after_s &&
             kd_bytes_equal(said.cookie, said_again.cookie));
    }
}

static void check_first(struct kd_bytes body) {
    struct kd_bytes cookie;
    struct kd_bytes message;
    if (kd_frame_is_first(body, &cookie, &message)) {
        must(message.n > 0 && message.n < body.n && cookie.n <= KD_FRAME_COOKIE_MAX_BYTES);
        must(message.p + message.n == body.p + body.n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const struct kd_bytes in = { data, n };
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    struct kd_frame frame;
    if (kd_frame_parse(in, &frame) != KD_OK) {
        return 0;
    }
    uint8_t head[KD_FRAME_HEAD_BYTES];
    kd_frame_head(&frame, head);
    kd_frame_put(&again, &frame);
    must(kd_buf_finish(&again) == KD_OK && kd_bytes_equal(in, kd_buf_get(&again)));
    must(kd_bytes_equal((struct kd_bytes) { head, sizeof(head) },
                        (struct kd_bytes) { data, sizeof(head) }));
    must(frame.role == KD_FRAME_FAILURE || kd_frame_kind_name(frame.kind)[0] != '\0');
    if (frame.role == KD_FRAME_FAILURE) {
        check_failure(frame.body);
    } else if (frame.kind == KD_FRAME_HANDSHAKE) {
        check_first(frame.body);
    }
    return 0;
}
