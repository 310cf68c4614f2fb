// SPDX-License-Identifier: Apache-2.0
// Each allocation on the way of a handshake, of records, of a resume, of an
// update and of a release fails in turn: the call says so, nothing leaks (the sanitizer's build
// says so), and the next attempt, with memory, succeeds.
#include "keyd/state.h"
#include "tests/unit/channel_fixture.h"
#include "tests/unit/failing_memory.h"

#include <string.h>

enum { HELD = 8 };

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

// It is about memory: a slow machine has its time.
static void start(void) {
    channel_start("start ok\n");
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
    start();
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_err(live(), KD_OK); // the fixture's own buffers grow
    }
    unsigned failures = 0;
    forget_sessions();
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        const enum kd_err r = live();
        const bool fails = memory_has_failed();
        failures += r != KD_OK;
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        forget_sessions();
    }
    ck_assert_uint_gt(failures, 5);
    ck_assert_err(live(), KD_OK);
}
END_TEST

static void resume_by_another(struct kd_bytes *ticket) {
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(handshake(), KD_OK);
    ck_assert_err(kd_channel_ticket(sx.service, &c, id, ticket), KD_OK);
    memcpy(ticket_room, ticket->p, ticket->n);
    ticket->p = ticket_room;
    ck_assert_err(channel_resume(9, *ticket, "nonce"), KD_OK);
}

static enum kd_err open_resumed(struct kd_bytes ticket, uint64_t sequence) {
    memory_pause();
    const struct kd_bytes nonce = kd_buf_get(&cx.node_nonce);
    const struct kd_bytes record =
        channel_resumed_record(id, ticket, "nonce", nonce, sequence, "in");
    memory_resume();
    return channel_open(9, record);
}

// Its client follows while there is no memory to say whose it is now.
START_TEST(session_that_moves_without_memory_moves_with_the_next_record) {
    struct kd_session_info info;
    struct kd_bytes ticket = KD_BYTES_NONE;
    unsigned n_opened = 0;
    start();
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        memory_pause();
        resume_by_another(&ticket);
        memory_resume();
        const enum kd_err r = open_resumed(ticket, 0);
        const bool fails = memory_has_failed();
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        n_opened += fails && r == KD_OK;
        ck_assert_err(open_resumed(ticket, 1), KD_OK);
        const struct kd_caller before = service_caller_of(7);
        ck_assert_err(kd_channel_session(sx.service, &before, id, &info), KD_ERR_NO_SESSION);
        const struct kd_caller now = service_caller_of(9);
        ck_assert_err(kd_channel_session(sx.service, &now, id, &info), KD_OK);
        ck_assert_err(channel_end(9, id), KD_OK);
        fixture_run_until(is_quiet);
    }
    ck_assert_uint_gt(n_opened, 0);
}
END_TEST

START_TEST(peer_is_added_or_there_is_no_memory) {
    start();
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = channel_add_peer("boat", "b");
        const bool fails = memory_has_failed();
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        if (r == KD_OK) {
            ck_assert_err(channel_delete_peer(7, "boat"), KD_OK);
        }
    }
    ck_assert_uint_gt(turn, 3);
}
END_TEST

static bool is_released; // the answer has come
static enum kd_err release_err;
static uint8_t released[KD_TRAFFIC_KEYS][32];
static uint64_t released_next;

static bool release_is_done(void) {
    return is_released;
}

static void on_released(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                        const struct kd_released *got) {
    ck_assert(!is_released && (got != NULL) == (err == KD_OK));
    is_released = true;
    release_err = err;
    for (size_t i = 0; got != NULL && i < KD_TRAFFIC_KEYS; i++) {
        memcpy(released[i], got->keys[i].p, sizeof(released[i]));
        released_next = got->send_next;
    }
}

static enum kd_err release(void) {
    const struct kd_caller c = service_caller_of(7);
    is_released = false;
    const enum kd_err r = kd_channel_release(sx.service, &c, id, on_released, NULL);
    if (r != KD_OK) {
        return r;
    }
    fixture_run_until(release_is_done);
    return release_err;
}

// What the requests of the handshake had is in use: the next one takes memory of its own.
static void hold_requests(struct kd_call *held[static HELD]) {
    for (size_t i = 0; i < HELD; i++) {
        struct kd_hsm_request head = { .op = KD_HSM_RANDOM, .n_items = 1 };
        ck_assert_err(kd_service_begin(sx.service, &head, NULL, &held[i]), KD_OK);
    }
}

static void drop_requests(struct kd_call *held[static HELD]) {
    for (size_t i = 0; i < HELD; i++) {
        kd_call_drop(held[i]);
    }
}

// Keys that nobody has got are still used here, and leave when there is memory; those that
// somebody has got are not used.
START_TEST(keys_are_released_or_there_is_no_memory) {
    unsigned failures = 0;
    struct kd_call *held[HELD];
    fx.config->channel.profile = KD_PROFILE_RELEASED;
    start();
    ck_assert_err(live(), KD_OK); // the fixture's own buffers grow
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        memory_pause();
        channel_restart(); // without the memory that all this has taken
        ck_assert_err(handshake(), KD_OK);
        hold_requests(held);
        memory_resume();
        const enum kd_err r = release();
        const bool fails = memory_has_failed();
        drop_requests(held);
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        if (r != KD_OK) {
            failures++;
            ck_assert_err(channel_seal(7, id, "out"), KD_OK);
            ck_assert_err(release(), KD_OK);
        }
        ck_assert_uint_eq(released_next, r == KD_OK ? 0 : 1);
        ck_assert_err(channel_seal(7, id, "out"), KD_ERR_SESSION_RELEASED);
        ck_assert_err(release(), KD_ERR_SESSION_RELEASED);
        ck_assert_err(channel_update(7, id), KD_OK);
        ck_assert_uint_eq(kd_service_pending(sx.service), 0);
    }
    ck_assert_uint_gt(failures, 1);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("channel memory");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, session_lives_or_there_is_no_memory);
    tcase_add_test(t, keys_are_released_or_there_is_no_memory);
    tcase_add_test(t, session_that_moves_without_memory_moves_with_the_next_record);
    tcase_add_test(t, peer_is_added_or_there_is_no_memory);
    return t;
}

UNIT_MAIN("channel_memory", tcase_memory())
