// SPDX-License-Identifier: Apache-2.0
// test_device_wire.c: what the server sends unasked while an answer is waited for.
#include "channel/frame.h"
#include "client/device_wire.h"
#include "tests/unit/unit.h"

#include <string.h>

enum { TIMEOUT_MS = 10000, QUESTION_ID = 77 };

// Sends so many frames unasked, with the ids 1, 2, ..., and then the answer.
struct server {
    uint32_t n_pushes;
    uint32_t n_sent;
    bool is_asked;
};

static int take(void *arg, const uint8_t *frame KD_UNUSED, size_t n KD_UNUSED,
                unsigned timeout_ms KD_UNUSED) {
    struct server *s = arg;
    s->is_asked = true;
    s->n_sent = 0;
    return 0;
}

static int give(void *arg, uint8_t *frame, size_t max, size_t *n, unsigned timeout_ms KD_UNUSED) {
    struct server *s = arg;
    struct kd_frame f = { .role = KD_FRAME_REQUEST, .kind = KD_FRAME_PUSH, .id = s->n_sent + 1 };
    struct kd_buf out = KD_BUF_INIT(64);
    if (!s->is_asked) {
        return 1;
    }
    if (s->n_sent++ == s->n_pushes) {
        f = (struct kd_frame) { .role = KD_FRAME_ANSWER, .kind = KD_FRAME_MESSAGE };
        f.id = QUESTION_ID;
        s->is_asked = false;
    }
    kd_frame_put(&out, &f);
    ck_assert_err(kd_buf_finish(&out), KD_OK);
    ck_assert_uint_le(out.n, max);
    memcpy(frame, out.p, out.n);
    *n = out.n;
    kd_buf_wipe(&out);
    return 0;
}

static void ask(struct kd_wire *w) {
    kd_auto(buf) struct kd_buf question = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    const struct kd_frame f = { .role = KD_FRAME_REQUEST,
                                .kind = KD_FRAME_MESSAGE,
                                .id = QUESTION_ID };
    kd_frame_put(&question, &f);
    ck_assert_err(kd_wire_exchange(w, kd_buf_get(&question), TIMEOUT_MS, &answer), KD_OK);
}

static void receives(struct kd_wire *w, uint32_t id) {
    kd_auto(buf) struct kd_buf push = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    struct kd_frame f;
    ck_assert_err(kd_wire_receive(w, kd_wire_link(w), kd_clock_mono_ms() + TIMEOUT_MS, &push),
                  KD_OK);
    ck_assert_err(kd_frame_parse(kd_buf_get(&push), &f), KD_OK);
    ck_assert_uint_eq(f.id, id);
}

static void receives_nothing(struct kd_wire *w) {
    kd_auto(buf) struct kd_buf push = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    ck_assert_err(kd_wire_receive(w, kd_wire_link(w), 0, &push), KD_ERR_DEADLINE);
}

START_TEST(so_many_pushes_wait_and_no_more_and_there_is_room_again) {
    struct kd_wire w = { 0 };
    struct server s = { .n_pushes = KD_WIRE_PUSHES_MAX };
    const struct kd_place place = { .send = take, .receive = give, .arg = &s };
    ck_assert_err(kd_wire_init(&w), KD_OK);
    kd_wire_set_own(&w, &place);
    ask(&w);
    for (uint32_t id = 1; id <= KD_WIRE_PUSHES_MAX; id++) {
        receives(&w, id);
    }
    receives_nothing(&w);
    s.n_pushes = KD_WIRE_PUSHES_MAX + 1;
    ask(&w); // the answer is not lost by that
    receives(&w, 1);
    s.n_pushes = 1;
    ask(&w);
    for (uint32_t id = 2; id <= KD_WIRE_PUSHES_MAX; id++) {
        receives(&w, id);
    }
    receives(&w, 1); // there was room for it
    receives_nothing(&w);
    kd_wire_wipe(&w);
}
END_TEST

static TCase *tcase_wire(void) {
    TCase *t = tcase_create("wire");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, so_many_pushes_wait_and_no_more_and_there_is_room_again);
    return t;
}

UNIT_MAIN("device wire", tcase_wire())
