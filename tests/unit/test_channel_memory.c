// SPDX-License-Identifier: Apache-2.0
// Each allocation on the way of a handshake, of records, of a resume and of an
// update fails in turn: the call says so, nothing leaks (the sanitizer's build
// says so), and the next attempt, with memory, succeeds.
#include "tests/unit/channel_fixture.h"

#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_realloc(void *p, size_t n);

static _Thread_local long countdown = -1; // -1: off

static bool fails_now(void) {
    return countdown >= 0 && countdown-- == 0;
}

void *__wrap_malloc(size_t n) {
    return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t m) {
    return fails_now() ? NULL : __real_calloc(n, m);
}

void *__wrap_realloc(void *p, size_t n) {
    return fails_now() ? NULL : __real_realloc(p, n);
}

// Check's own, which ends the process where there is none; its asserts are in the
// fixture's callbacks.
void *__real_emalloc(size_t n);
void *__real_erealloc(void *p, size_t n);
void *__wrap_emalloc(size_t n);
void *__wrap_erealloc(void *p, size_t n);

void *__wrap_emalloc(size_t n) {
    const long left = countdown;
    countdown = -1;
    void *p = __real_emalloc(n);
    countdown = left;
    return p;
}

void *__wrap_erealloc(void *p, size_t n) {
    const long left = countdown;
    countdown = -1;
    void *q = __real_erealloc(p, n);
    countdown = left;
    return q;
}

enum { TURNS_MAX = 500 };

static uint8_t ticket_room[KD_HSM_TICKET_MAX_BYTES];
static char id[KD_SESSION_TEXT_BYTES];

static enum kd_err handshake(void) {
    enum kd_err r = channel_begin(7, "m1", 0);
    r = r == KD_OK ? cx.refusal : r;
    if (r == KD_OK) {
        r = channel_step(7, cx.handshake, channel_says("dev"));
        r = r == KD_OK ? cx.refusal : r;
    }
    if (r == KD_OK) {
        memcpy(id, cx.session.id, sizeof(id));
    }
    return r;
}

// A session's life.
static enum kd_err live(void) {
    struct kd_bytes ticket = KD_BYTES_NONE;
    const struct kd_caller c = service_caller_of(7);
    enum kd_err r = handshake();
    if (r != KD_OK || (r = channel_seal(7, id, "out")) != KD_OK ||
        (r = kd_channel_ticket(sx.service, &c, id, &ticket)) != KD_OK) {
        return r;
    }
    memcpy(ticket_room, ticket.p, ticket.n);
    ticket.p = ticket_room;
    if ((r = channel_open(7, channel_record(id, 0, KD_RECORD_DATA, "in"))) != KD_OK ||
        (r = channel_resume(7, ticket, "nonce")) != KD_OK ||
        (r = channel_open(7, channel_record(id, 1, KD_RECORD_DATA, "in"))) != KD_OK ||
        (r = channel_open(7, channel_resumed_record(id, ticket, "nonce", kd_buf_get(&cx.node_nonce),
                                                    0, "in"))) != KD_OK) {
        return r;
    }
    return channel_update(7, id);
}

static bool is_quiet(void) {
    struct kd_service_report report;
    kd_service_report(sx.service, &report);
    return report.in_flight == 0;
}

static void forget_sessions(void) {
    struct kd_session_info info;
    const struct kd_caller c = service_caller_of(7);
    while (kd_channel_sessions(sx.service, &c, NULL, &info, 1) == 1) {
        ck_assert_err(channel_end(7, info.id), KD_OK);
    }
    fixture_run_until(is_quiet); // the workers are told too, and the test's queue is short
}

START_TEST(session_lives_or_there_is_no_memory) {
    channel_start("start ok\n");
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_err(live(), KD_OK); // the fixture's own buffers grow
    }
    unsigned failures = 0;
    unsigned turn = 0;
    for (bool was_reached = true; was_reached; turn++) {
        ck_assert_uint_lt(turn, TURNS_MAX);
        forget_sessions();
        countdown = turn;
        const enum kd_err r = live();
        was_reached = countdown < 0;
        countdown = -1;
        failures += r != KD_OK;
        ck_assert_msg(r == KD_OK || r == KD_ERR_NO_MEMORY, "turn %u: %s", turn, kd_err_name(r));
    }
    ck_assert_uint_gt(failures, 5);
    ck_assert_err(live(), KD_OK);
}
END_TEST

START_TEST(peer_is_added_or_there_is_no_memory) {
    channel_start("start ok\n");
    unsigned turn = 0;
    for (bool was_reached = true; was_reached; turn++) {
        ck_assert_uint_lt(turn, TURNS_MAX);
        countdown = turn;
        const enum kd_err r = channel_add_peer("boat", "b");
        was_reached = countdown < 0;
        countdown = -1;
        ck_assert_msg(r == KD_OK || r == KD_ERR_NO_MEMORY, "turn %u: %s", turn, kd_err_name(r));
        if (r == KD_OK) {
            ck_assert_err(channel_delete_peer(7, "boat"), KD_OK);
        }
    }
    ck_assert_uint_gt(turn, 3);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("channel memory");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, session_lives_or_there_is_no_memory);
    tcase_add_test(t, peer_is_added_or_there_is_no_memory);
    return t;
}

UNIT_MAIN("channel_memory", tcase_memory())
