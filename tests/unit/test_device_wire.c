// SPDX-License-Identifier: Apache-2.0
// test_device_wire.c: what the server sends unasked while an answer is waited for, and whose turn
// it is to send and to receive.
#include "channel/frame.h"
#include "client/device_wire.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_MS = 10000, LONG_MS = 10000000, QUESTION_ID = 77 };

// Sends so many frames unasked, with the ids 1, 2, ..., and then the answer.
struct server {
    uint32_t n_pushes;
    uint32_t n_sent;
    size_t n_body;   // bytes of each push
    uint32_t longer; // the one that has a byte more
    bool is_asked;
};

static const uint8_t zeros[KD_FRAME_MAX_BYTES];

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
    struct kd_buf out = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    if (!s->is_asked) {
        return 1;
    }
    f.body = (struct kd_bytes) { zeros, s->n_body + (f.id == s->longer ? 1 : 0) };
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

START_TEST(pushes_of_so_many_bytes_wait_and_no_more) {
    enum { N = 8, FRAME_BYTES = KD_WIRE_PUSHES_MAX_BYTES / N };
    struct kd_wire w = { 0 };
    struct server s = { .n_pushes = N, .n_body = FRAME_BYTES - KD_FRAME_HEAD_BYTES };
    const struct kd_place place = { .send = take, .receive = give, .arg = &s };
    ck_assert_uint_eq(FRAME_BYTES * N, KD_WIRE_PUSHES_MAX_BYTES);
    ck_assert_err(kd_wire_init(&w), KD_OK);
    kd_wire_set_own(&w, &place);
    for (unsigned i = 0; i < 2; i++) { // there is room again
        ask(&w);
        for (uint32_t id = 1; id <= N; id++) {
            receives(&w, id);
        }
        receives_nothing(&w);
    }
    s.longer = N; // by one byte
    ask(&w);
    for (uint32_t id = 1; id < N; id++) {
        receives(&w, id);
    }
    receives_nothing(&w);
    kd_wire_wipe(&w);
}
END_TEST

// ---- turns -----------------------------------------------------------------

// A transport whose functions wait until they are let go on; a second call at the same time does
// not wait, so that it is seen.
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool holds_take, holds_give;
    unsigned n_taking, n_giving, n_at_once; // calls now; the most of one function
    uint32_t asked;                         // 0: nothing awaits an answer
    bool is_broken;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void pass(unsigned *n, const bool *holds) {
    ++*n;
    gate.n_at_once = *n > gate.n_at_once ? *n : gate.n_at_once;
    pthread_cond_broadcast(&gate.changed);
    while (*n == 1 && *holds) {
        pthread_cond_wait(&gate.changed, &gate.lock);
    }
    --*n;
}

static int take_at_gate(void *arg KD_UNUSED, const uint8_t *frame, size_t n,
                        unsigned timeout_ms KD_UNUSED) {
    struct kd_frame f;
    ck_assert_err(kd_frame_parse((struct kd_bytes) { frame, n }, &f), KD_OK);
    pthread_mutex_lock(&gate.lock);
    pass(&gate.n_taking, &gate.holds_take);
    const int r = gate.is_broken ? -1 : 0;
    gate.asked = f.id;
    if (!gate.is_broken) { // there is something to give
        gate.holds_give = false;
    }
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    return r;
}

static int give_at_gate(void *arg KD_UNUSED, uint8_t *frame, size_t max, size_t *n,
                        unsigned timeout_ms KD_UNUSED) {
    pthread_mutex_lock(&gate.lock);
    pass(&gate.n_giving, &gate.holds_give);
    struct kd_frame f = { .role = KD_FRAME_ANSWER, .kind = KD_FRAME_MESSAGE, .id = gate.asked };
    ck_assert_uint_ge(max, KD_FRAME_HEAD_BYTES);
    kd_frame_head(&f, frame);
    *n = KD_FRAME_HEAD_BYTES;
    const int r = gate.asked == 0 ? 1 : 0;
    gate.asked = 0;
    pthread_mutex_unlock(&gate.lock);
    return r;
}

static void let_go_on(bool *holds) {
    pthread_mutex_lock(&gate.lock);
    *holds = false;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void wait_until_one_is_in(const unsigned *n) {
    pthread_mutex_lock(&gate.lock);
    while (*n == 0) {
        pthread_cond_wait(&gate.changed, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
}

static enum kd_err ask_for(struct kd_wire *w, uint32_t id, unsigned timeout_ms) {
    kd_auto(buf) struct kd_buf question = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    kd_frame_put(&question, &(struct kd_frame) { .kind = KD_FRAME_MESSAGE, .id = id });
    return kd_wire_exchange(w, kd_buf_get(&question), timeout_ms, &answer);
}

static void open_gate(struct kd_wire *w) {
    const struct kd_place place = { .send = take_at_gate, .receive = give_at_gate };
    ck_assert_err(kd_wire_init(w), KD_OK);
    kd_wire_set_own(w, &place);
    ck_assert_err(ask_for(w, 1, TIMEOUT_MS), KD_OK);
    ck_assert_uint_eq(kd_wire_link(w), 1);
}

static void *listen_at_first_link(void *w) {
    kd_auto(buf) struct kd_buf push = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    ck_assert_err(kd_wire_receive(w, 1, kd_clock_mono_ms() + TIMEOUT_MS, &push), KD_ERR_SYSTEM);
    return NULL;
}

START_TEST(own_receive_is_not_run_twice_and_what_it_brings_is_for_the_link_that_is_there) {
    struct kd_wire w = { 0 };
    pthread_t listener;
    open_gate(&w);
    gate.holds_give = true;
    ck_assert_int_eq(pthread_create(&listener, NULL, listen_at_first_link, &w), 0);
    wait_until_one_is_in(&gate.n_giving);
    gate.is_broken = true;
    ck_assert_err(ask_for(&w, 2, TIMEOUT_MS), KD_ERR_SYSTEM);
    ck_assert_uint_eq(kd_wire_link(&w), 0);
    gate.is_broken = false;
    ck_assert_err(ask_for(&w, 3, TIMEOUT_MS), KD_OK); // by what the listener began
    ck_assert_uint_eq(kd_wire_link(&w), 2);
    pthread_join(listener, NULL);
    ck_assert_uint_eq(gate.n_at_once, 1);
    kd_wire_wipe(&w);
}
END_TEST

static void *ask_in_vain(void *w) {
    ck_assert_err(ask_for(w, 2, TIMEOUT_MS), KD_ERR_SYSTEM);
    return NULL;
}

START_TEST(own_send_is_not_run_twice) {
    struct kd_wire w = { 0 };
    pthread_t other;
    open_gate(&w);
    gate.holds_take = true;
    ck_assert_int_eq(pthread_create(&other, NULL, ask_in_vain, &w), 0);
    wait_until_one_is_in(&gate.n_taking);
    kd_wire_drop(&w);
    ck_assert_err(ask_for(&w, 3, 1), KD_ERR_DEADLINE);
    ck_assert_uint_eq(gate.n_at_once, 1);
    let_go_on(&gate.holds_take);
    pthread_join(other, NULL);
    ck_assert_err(ask_for(&w, 4, TIMEOUT_MS), KD_OK);
    kd_wire_wipe(&w);
}
END_TEST

// ---- ends ------------------------------------------------------------------

static void *receive_in_vain(void *link) {
    kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    ck_assert_err(kd_link_receive(link, kd_clock_mono_ms() + LONG_MS, &frame), KD_ERR_SYSTEM);
    return NULL;
}

// To a socket that says nothing.
static void shut_while_one_waits(int type, const char *scheme) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t n = sizeof(a);
    struct kd_place place = { 0 };
    struct kd_link *link = NULL;
    pthread_t listener;
    char url[64];
    const int fd = socket(AF_INET, type, 0);
    ck_assert(bind(fd, (void *)&a, n) == 0 && getsockname(fd, (void *)&a, &n) == 0);
    ck_assert(type == SOCK_DGRAM || listen(fd, 1) == 0);
    snprintf(url, sizeof(url), "%s://127.0.0.1:%u", scheme, ntohs(a.sin_port));
    ck_assert_err(kd_place_parse(url, &place), KD_OK);
    ck_assert_err(kd_link_open(&place, kd_clock_mono_ms() + LONG_MS, &link), KD_OK);
    ck_assert_int_eq(pthread_create(&listener, NULL, receive_in_vain, link), 0);
    kd_link_shut(link, ECANCELED);
    pthread_join(listener, NULL);
    kd_link_free(link);
    kd_place_wipe(&place);
    close(fd);
}

START_TEST(who_waits_at_a_link_that_is_shut_waits_no_longer) {
    for (unsigned i = 0; i < 20; i++) { // before it waits, or while it does
        shut_while_one_waits(SOCK_STREAM, "tcp");
        shut_while_one_waits(SOCK_DGRAM, "udp");
    }
}
END_TEST

static TCase *tcase_wire(void) {
    TCase *t = tcase_create("wire");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, so_many_pushes_wait_and_no_more_and_there_is_room_again);
    tcase_add_test(t, pushes_of_so_many_bytes_wait_and_no_more);
    return t;
}

static TCase *tcase_turns(void) {
    TCase *t = tcase_create("turns");
    tcase_set_timeout(t, 60);
    tcase_add_test(t,
                   own_receive_is_not_run_twice_and_what_it_brings_is_for_the_link_that_is_there);
    tcase_add_test(t, own_send_is_not_run_twice);
    tcase_add_test(t, who_waits_at_a_link_that_is_shut_waits_no_longer);
    return t;
}

UNIT_MAIN("device wire", tcase_wire(), tcase_turns())
