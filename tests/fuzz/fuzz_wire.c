// SPDX-License-Identifier: Apache-2.0
// fuzz_wire.c: messages between front and worker.  The first byte says which kind, the second
// which operation; what is taken encodes to the same bytes again.
#include "fuzz.h"

#include "hsm/channel.h"

#include <stdlib.h>
#include <string.h>

enum kind { REQUEST, ITEM, REPLY, RESULT, HELLO, STATUS, FRAME, KINDS };

static void check(enum kd_err r, struct kd_bytes in, const struct kd_buf *again) {
    if (r == KD_OK && (kd_buf_finish(again) != KD_OK || !kd_bytes_equal(in, kd_buf_get(again)))) {
        abort();
    }
}

static enum kd_err read_item(struct kd_reader *in, enum kd_hsm_op op, struct kd_buf *again) {
    struct kd_hsm_session_terms terms = { .id = { 0 } };
    struct kd_hsm_handshake handshake = { .terms = &terms };
    struct kd_hsm_session session;
    memset(&session, 0, sizeof(session));
    struct kd_hsm_item item = { .handshake = &handshake, .session = &session, .terms = &terms };
    enum kd_err r = kd_hsm_get_item(in, op, &item);
    r = r == KD_OK ? kd_reader_finish(in) : r;
    if (r == KD_OK) {
        kd_hsm_put_item(again, op, &item);
    }
    return r;
}

static enum kd_err read_result(struct kd_reader *in, enum kd_hsm_op op, struct kd_buf *again) {
    struct kd_hsm_session_terms terms = { .id = { 0 } };
    struct kd_hsm_result result = { .terms = &terms };
    enum kd_err r = kd_hsm_get_result(in, op, &result);
    r = r == KD_OK ? kd_reader_finish(in) : r;
    if (r == KD_OK) {
        kd_hsm_put_result(again, op, &result);
    }
    return r;
}

static enum kd_err read_head(struct kd_reader *in, enum kind kind, struct kd_buf *again) {
    static struct kd_hsm_request q;
    struct kd_hsm_reply a;
    struct kd_hsm_hello h;
    struct kd_hsm_status s;
    uint32_t id = 0;
    memset(&q, 0, sizeof(q));
    enum kd_err r = kind == REQUEST ? kd_hsm_get_request(in, &q)
                    : kind == REPLY ? kd_hsm_get_reply(in, &a)
                    : kind == HELLO ? kd_hsm_get_hello(in, &h)
                                    : kd_hsm_get_status(in, &id, &s);
    if (r != KD_OK || (r = kd_reader_finish(in)) != KD_OK) {
        return r;
    }
    if (kind == REQUEST) {
        kd_hsm_put_request(again, &q);
    } else if (kind == REPLY) {
        kd_hsm_put_reply(again, &a);
    } else if (kind == HELLO) {
        kd_hsm_put_hello(again, &h);
    } else {
        kd_hsm_put_status(again, id, &s);
    }
    return KD_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 2) {
        return 0;
    }
    const enum kind kind = (enum kind)(data[0] % KINDS);
    const enum kd_hsm_op op =
        (enum kd_hsm_op)(KD_HSM_PING + data[1] % (KD_HSM_OP_LAST - KD_HSM_PING + 1));
    const struct kd_bytes in = { data + 2, n - 2 };
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(1 << 20);
    struct kd_reader reader = kd_reader_of(in);
    if (kind == FRAME) {
        struct kd_bytes frame;
        size_t taken = 0;
        if (kd_hsm_frame_next(in, &frame, &taken) == KD_OK && taken > in.n) {
            abort();
        }
    } else if (kind == ITEM) {
        check(read_item(&reader, op, &again), in, &again);
    } else if (kind == RESULT) {
        check(read_result(&reader, op, &again), in, &again);
    } else {
        check(read_head(&reader, kind, &again), in, &again);
    }
    return 0;
}
