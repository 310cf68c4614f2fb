// SPDX-License-Identifier: Apache-2.0
// fuzz_gateway.c: what comes to a gateway: a frame of a device, a message of the backend, and
// the answers of keyd and the backend to what the gateway asks them for it.  The first byte has
// flags; then follow blocks, each with its length before it: the frame, the message, and the
// answers, which have their status first.  Whatever they are, each question ends once, with a
// frame of its own id or with none.  By other flags keyd has released a session before, with the
// answer that follows the message, and the frames are sealed here, so that what a device of that
// session can do is reached, too.
#include "fuzz.h"

#include "tests/unit/fake_client.h"

#include <stdlib.h>
#include <string.h>

enum {
    IS_STREAM = 1,
    HAS_ROUTE = 2,
    KEEPS_KEYS = 4,
    PUSHES = 8,
    ASKS_AGAIN = 16,
    HAS_KEYS = 32,
    IS_SEALED = 64,
    IS_LATER = 128, // when it asks again
};
enum { ANSWERS_MAX = 32, LATER_MS = 65000 };

static const uint64_t mono_ms = 1000000, wall_ms = UINT64_C(1767225600000); // 2026

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

static struct kd_bytes next_block(struct kd_reader *in) {
    const size_t n = kd_read_u16(in);
    const size_t left = in->n;
    return kd_read_bytes(in, n < left ? n : left);
}

// ---- one question ----------------------------------------------------------

struct asked {
    uint32_t id;
    unsigned n_done;
};

static void on_done(void *arg, struct kd_bytes answer) {
    struct asked *a = arg;
    struct kd_failure_body why;
    struct kd_frame frame;
    a->n_done++;
    if (answer.n > 0) {
        must(kd_frame_parse(answer, &frame) == KD_OK && frame.role != KD_FRAME_REQUEST);
        must(frame.id == a->id || frame.id == 0);
        must(frame.role != KD_FRAME_FAILURE || kd_failure_parse(frame.body, &why) == KD_OK);
    }
}

// ---- a session that keyd has released ----------------------------------------

#define SESSION "0102030405060708"

static void on_taken(void *arg, struct kd_bytes answer KD_UNUSED) {
    unsigned *n_done = arg;
    ++*n_done;
}

static void take_keys(struct fake_gateway *f, struct kd_bytes answer) {
    unsigned n_done = 0;
    struct kd_question *q = kd_gateway_new_push(&f->g, 1, on_taken, &n_done);
    if (q == NULL) {
        return; // without memory
    }
    f->config.takes_over = true;
    kd_released_take(q, SESSION);
    if (fake_client_first() != NULL) {
        fake_client_answer(200, answer);
    }
    must(n_done == 1 && f->g.pending == 0 && kd_released_count(&f->g) <= 1);
}

// The block says kind, number and type of the record; its keys are zeros.
static void put_sealed(struct kd_buf *out, struct kd_bytes block) {
    static const uint8_t session[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_soft_traffic traffic = { .is_resident = false };
    const struct kd_record_end end = { .ops = &kd_traffic_ops_soft,
                                       .ctx = &traffic,
                                       .is_client = true,
                                       .id = { session, sizeof(session) },
                                       .otp = KD_OTP_DEFAULT };
    uint8_t head[KD_FRAME_HEAD_BYTES];
    if (block.n < 3) {
        return;
    }
    struct kd_frame frame = { .kind = (enum kd_frame_kind)(1 + block.p[0] % KD_FRAME_KIND_LAST),
                              .id = 77 };
    const struct kd_record plain = { (enum kd_record_type)(block.p[2] % (KD_RECORD_TYPE_LAST + 1)),
                                     { block.p + 3, block.n - 3 } };
    kd_frame_head(&frame, head);
    if (kd_record_seal(&end, block.p[1], wall_ms, (struct kd_bytes) { head, sizeof(head) }, &plain,
                       &record) == KD_OK) {
        frame.body = kd_buf_get(&record);
        kd_frame_put(out, &frame);
    }
}

// ---- all of it -------------------------------------------------------------

static void on_pushed(void *arg, unsigned status, const char *why) {
    unsigned *n_done = arg;
    ++*n_done;
    must((status == 204) == (why[0] == '\0') && status >= 204 && status < 600);
}

static void answer_all(struct fake_gateway *f, struct kd_reader *in) {
    static const unsigned statuses[] = { 200, 201, 204, 400, 404, 409, 422, 500, 503, 0, 999, 302 };
    for (int i = 0; i < ANSWERS_MAX; i++) {
        (void)kd_records_flush(&f->g);
        if (fake_client_first() == NULL) {
            return;
        }
        struct kd_bytes block = next_block(in);
        const unsigned status = block.n == 0 ? 0 : statuses[block.p[0] % KD_COUNT_OF(statuses)];
        if (block.n > 0) {
            block = (struct kd_bytes) { block.p + 1, block.n - 1 };
        }
        fake_client_answer(status, block);
    }
    must(false); // it asks for ever
}

static void ask(struct fake_gateway *f, uint8_t flags, struct kd_bytes bytes,
                struct kd_reader *in) {
    const struct kd_origin origin = { "127.0.0.1:1", (flags & IS_STREAM) != 0,
                                      (flags & HAS_ROUTE) != 0 ? &f->route : NULL };
    struct asked a = { .n_done = 0 };
    struct kd_frame frame;
    kd_auto(buf) struct kd_buf sealed = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    if ((flags & IS_SEALED) != 0) {
        put_sealed(&sealed, bytes);
        bytes = kd_buf_get(&sealed);
    }
    if (kd_frame_parse(bytes, &frame) == KD_OK) {
        a.id = frame.id;
    }
    kd_gateway_ask(&f->g, bytes, &origin, on_done, &a);
    answer_all(f, in);
    must(a.n_done == 1 && f->g.pending == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0 || n > 65536) {
        return 0;
    }
    struct kd_reader in = kd_reader_of((struct kd_bytes) { data + 1, n - 1 });
    const struct kd_bytes frame = next_block(&in);
    const struct kd_bytes message = next_block(&in);
    unsigned n_pushed = 0;
    struct fake_gateway f;
    kd_log_set_level(KD_LOG_ERROR);
    if (fake_gateway_open(&f) != KD_OK) {
        return 0; // without memory (tests/unit/test_gateway_memory.c)
    }
    kd_clock_hold(mono_ms, wall_ms);
    if ((data[0] & HAS_KEYS) != 0) {
        take_keys(&f, next_block(&in));
    }
    f.config.takes_over = (data[0] & KEEPS_KEYS) != 0;
    ask(&f, data[0], frame, &in);
    if ((data[0] & PUSHES) != 0) {
        kd_push(&f.g, f.route.peer, message, on_pushed, &n_pushed);
        answer_all(&f, &in);
    }
    if ((data[0] & ASKS_AGAIN) != 0) {
        kd_clock_hold(mono_ms + ((data[0] & IS_LATER) != 0 ? LATER_MS : 0), wall_ms);
        ask(&f, data[0], next_block(&in), &in);
    }
    fake_gateway_close(&f);
    kd_clock_release();
    must(n_pushed == ((data[0] & PUSHES) != 0 ? 1 : 0));
    return 0;
}
