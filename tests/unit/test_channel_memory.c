// SPDX-License-Identifier: Apache-2.0
// Each allocation on the way of a handshake, of records, of a resume and of an
// update fails in turn: the call says so, nothing leaks (the sanitizer's build
// says so), and the next attempt, with memory, succeeds.
#include "tests/unit/channel_fixture.h"
#include "tests/unit/failing_memory.h"

#include <string.h>

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

START_TEST(peer_is_added_or_there_is_no_memory) {
    channel_start("start ok\n");
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

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("channel memory");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, session_lives_or_there_is_no_memory);
    tcase_add_test(t, peer_is_added_or_there_is_no_memory);
    return t;
}

UNIT_MAIN("channel_memory", tcase_memory())
