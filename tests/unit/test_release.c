// SPDX-License-Identifier: Apache-2.0
// The traffic keys of a session are given out once, after what was under way with them, and
// nothing is done with them in keyd from then on.
#include "tests/unit/channel_fixture.h"

#include <stdio.h>
#include <string.h>

static struct {
    bool is_done;
    enum kd_err err;
    bool records_were_first;
    uint8_t keys[KD_TRAFFIC_KEYS][32];
    uint8_t iv_c2s[KD_RECORD_IV_BYTES];
    uint8_t seen[KD_WINDOW_BYTES];
    struct kd_released got; // what it borrows is above
} rx;

static bool release_is_done(void) {
    return rx.is_done;
}

static void on_released(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                        const struct kd_released *got) {
    ck_assert(!rx.is_done);
    ck_assert_int_eq(err == KD_OK, got != NULL);
    rx.is_done = true;
    rx.err = err;
    rx.records_were_first = sx.is_done;
    if (got == NULL) {
        return;
    }
    rx.got = *got;
    for (size_t i = 0; i < KD_TRAFFIC_KEYS; i++) {
        ck_assert_uint_eq(got->keys[i].n, 32);
        memcpy(rx.keys[i], got->keys[i].p, 32);
    }
    ck_assert(got->iv_c2s.n == KD_RECORD_IV_BYTES && got->iv_s2c.n == KD_RECORD_IV_BYTES);
    memcpy(rx.iv_c2s, got->iv_c2s.p, KD_RECORD_IV_BYTES);
    ck_assert_uint_eq(got->received.n, KD_WINDOW_BYTES);
    memcpy(rx.seen, got->received.p, KD_WINDOW_BYTES);
}

static enum kd_err ask(uid_t uid, const char *id) {
    const struct kd_caller c = service_caller_of(uid);
    memset(&rx, 0, sizeof(rx));
    return kd_channel_release(sx.service, &c, id, on_released, NULL);
}

static enum kd_err release(uid_t uid, const char *id) {
    const enum kd_err r = ask(uid, id);
    if (r != KD_OK) {
        ck_assert(!rx.is_done);
        return r;
    }
    ck_assert(!rx.is_done); // never within the call
    fixture_run_until(release_is_done);
    return rx.err;
}

static const char *start(const char *script) {
    fx.config->channel.profile = KD_PROFILE_RELEASED;
    channel_start(script);
    return channel_session(7, "dev");
}

static struct kd_bytes ticket_of(const char *id) {
    static uint8_t room[KD_HSM_TICKET_MAX_BYTES];
    const struct kd_caller c = service_caller_of(7);
    struct kd_bytes ticket = KD_BYTES_NONE;
    ck_assert_err(kd_channel_ticket(sx.service, &c, id, &ticket), KD_OK);
    memcpy(room, ticket.p, ticket.n);
    return (struct kd_bytes) { room, ticket.n };
}

static bool shows_released(const char *id) {
    struct kd_session_info info;
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(kd_channel_session(sx.service, &c, id, &info), KD_OK);
    return info.is_released;
}

// ---- what is refused -------------------------------------------------------

START_TEST(who_may_make_sessions_may_not_get_their_keys_by_that) {
    fixture_file("policy", "principal \"app\" { uid = 7 }\nprincipal \"other\" { uid = 9 }\n"
                           "allow \"app\" { operations = {create, peer} keys = {\"*\"} }\n"
                           "allow \"app\" { operations = {handshake} keys = {\"identity\"} }\n"
                           "allow \"app\" { operations = {release} keys = {\"root\"} }\n"
                           "allow \"other\" { operations = {release} keys = {\"identity\"} }\n");
    const char *id = start("start ok\n");
    ck_assert_err(release(7, id), KD_ERR_DENIED);
    ck_assert_err(release(9, id), KD_ERR_DENIED); // may not make sessions
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_uint_eq(fixture_count("request session-release"), 0);
}
END_TEST

START_TEST(keys_of_sessions_of_others_and_of_none_are_not_given) {
    const char *id = start("start ok\n");
    ck_assert_err(release(9, id), KD_ERR_NO_SESSION);
    ck_assert_err(release(7, "0011223344556677"), KD_ERR_NO_SESSION);
    ck_assert_err(release(7, ""), KD_ERR_NO_SESSION);
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
}
END_TEST

START_TEST(resident_session_keeps_its_keys) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(release(7, id), KD_ERR_SESSION_RESIDENT);
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_uint_eq(fixture_count("request session-release"), 0);
}
END_TEST

START_TEST(expired_session_gives_nothing) {
    fx.config->channel.session_records_max = 1;
    const char *id = start("start ok\n");
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_SESSION_EXPIRED);
    ck_assert_err(release(7, id), KD_ERR_SESSION_EXPIRED);
}
END_TEST

START_TEST(second_release_gets_nothing_and_nothing_is_sealed_or_opened) {
    const char *id = start("start ok\n");
    const struct kd_bytes record = channel_record(id, 3, KD_RECORD_DATA, "x");
    ck_assert_err(release(7, id), KD_OK);
    ck_assert_err(release(7, id), KD_ERR_SESSION_RELEASED);
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_SESSION_RELEASED);
    ck_assert_err(channel_open(7, record), KD_ERR_SESSION_RELEASED);
    ck_assert(shows_released(id));
    ck_assert_uint_eq(fixture_count("request session-release"), 1);
    ck_assert_uint_eq(fixture_count("request record-seal"), 0);
    ck_assert_uint_eq(fixture_count("request record-open"), 0);
    ck_assert_err(channel_end(7, id), KD_OK);
    ck_assert_err(release(7, id), KD_ERR_NO_SESSION);
}
END_TEST

START_TEST(released_session_that_expires_seals_nothing_to_say_so) {
    const char *id = start("start ok\n");
    ck_assert_err(release(7, id), KD_OK);
    kd_clock_hold(kd_clock_mono_ms(), cx.session.expires_ms);
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_SESSION_EXPIRED);
    ck_assert_uint_eq(cx.results[0].answer.n, 0);
    kd_clock_release();
    ck_assert_uint_eq(fixture_count("request record-seal"), 0);
}
END_TEST

// ---- what is given ---------------------------------------------------------

START_TEST(what_was_counted_goes_with_the_keys) {
    const char *id = start("start ok\n");
    uint8_t tag[FAKE_TAG_BYTES];
    ck_assert_err(channel_seal(7, id, "abc"), KD_OK);
    ck_assert_err(channel_seal(7, id, "abc"), KD_OK);
    ck_assert_err(channel_open(7, channel_record(id, 5, KD_RECORD_DATA, "x")), KD_OK);
    ck_assert_err(channel_open(7, channel_record(id, 2, KD_RECORD_DATA, "y")), KD_OK);
    ck_assert_err(release(7, id), KD_OK);
    fake_tag(ticket_of(id), KD_BYTES_NONE, KD_BYTES_NONE, tag);
    ck_assert_mem_eq(rx.keys[0], tag, FAKE_TAG_BYTES);
    ck_assert_str_eq(rx.got.session.id, id);
    ck_assert(rx.got.session.is_released && !rx.got.is_client);
    ck_assert_uint_eq(rx.got.send_next, 2);
    ck_assert(rx.got.has_received);
    ck_assert_uint_eq(rx.got.received_top, 5);
    ck_assert_uint_eq(rx.seen[0], 1 | 1 << 3); // 5 and 2
    ck_assert_uint_eq(rx.got.records_left, rx.got.session.records_max - 4);
    ck_assert_uint_eq(rx.got.bytes_left, rx.got.session.bytes_max - 8);
    ck_assert(rx.got.left_ms > 0 &&
              rx.got.left_ms <= 1000 * (uint64_t)fx.config->channel.session_lifetime_sec);
    ck_assert(rx.got.otp.digits == 8 && rx.got.otp.step_sec == 30 && rx.got.otp.window == 1);
}
END_TEST

START_TEST(keys_that_no_record_used_start_at_zero) {
    const char *id = start("start ok\n");
    ck_assert_err(release(7, id), KD_OK);
    ck_assert_uint_eq(rx.got.send_next, 0);
    ck_assert(!rx.got.has_received);
    ck_assert_uint_eq(rx.seen[0], 0);
}
END_TEST

START_TEST(keys_wait_for_the_records_under_way_and_hold_up_new_ones) {
    const char *id = start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    const struct kd_record_item item = { .session = id, .data = kd_bytes_of_text("x") };
    const struct kd_record_work work = { .n_items = 1, .items = &item };
    sx.is_done = false;
    ck_assert_err(kd_channel_records(sx.service, &c, &work, channel_on_records, NULL), KD_OK);
    ck_assert_err(ask(7, id), KD_OK);
    ck_assert(!sx.is_done);
    struct kd_caller again = service_caller_of(7);
    ck_assert_err(kd_channel_release(sx.service, &again, id, on_released, NULL),
                  KD_ERR_CHANGE_UNDER_WAY);
    fixture_run_until(release_is_done);
    ck_assert(rx.records_were_first);
    ck_assert_err(rx.err, KD_OK);
    ck_assert_uint_eq(rx.got.send_next, 1);
}
END_TEST

START_TEST(what_comes_while_the_keys_leave_is_refused) {
    const char *id = start("start ok\n");
    const struct kd_bytes record = channel_record(id, 0, KD_RECORD_DATA, "x");
    ck_assert_err(ask(7, id), KD_OK);
    ck_assert_err(channel_update(7, id), KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_CHANGE_UNDER_WAY);
    ck_assert(!rx.is_done || rx.got.send_next == 0);
    fixture_run_until(release_is_done);
    ck_assert_err(rx.err, KD_OK);
    ck_assert_err(channel_open(7, record), KD_ERR_SESSION_RELEASED);
}
END_TEST

START_TEST(session_that_ends_meanwhile_gives_nothing) {
    const char *id = start("start ok\n");
    ck_assert_err(ask(7, id), KD_OK);
    ck_assert_err(channel_end(7, id), KD_OK);
    fixture_run_until(release_is_done);
    ck_assert_err(rx.err, KD_ERR_NO_SESSION);
}
END_TEST

START_TEST(keys_that_nobody_got_are_still_ours) {
    const char *id = start("on session-release error token\nonce\n");
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_err(release(7, id), KD_ERR_TOKEN);
    ck_assert(!shows_released(id));
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_uint_eq(cx.results[0].sequence, 1);
    ck_assert_err(release(7, id), KD_OK);
    ck_assert_uint_eq(rx.got.send_next, 2);
}
END_TEST

START_TEST(worker_that_dies_meanwhile_has_given_nothing_out_and_another_does) {
    const char *id = start("on session-release die\nonce\n");
    ck_assert_err(release(7, id), KD_OK);
    ck_assert_uint_eq(fixture_count("request session-release"), 2);
    ck_assert_err(release(7, id), KD_ERR_SESSION_RELEASED);
}
END_TEST

// ---- the next keys ---------------------------------------------------------

START_TEST(key_update_makes_keys_that_are_ours_again) {
    const char *id = start("start ok\n");
    uint8_t before[32];
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    const struct kd_bytes old = channel_record(id, 0, KD_RECORD_DATA, "old");
    ck_assert_err(release(7, id), KD_OK);
    memcpy(before, rx.keys[0], sizeof(before));
    ck_assert_err(channel_update(7, id), KD_OK);
    ck_assert_uint_eq(cx.session.update, 1);
    ck_assert(!cx.session.is_released);
    ck_assert_uint_eq(cx.record.n, 0); // for who has the old keys to seal
    ck_assert_uint_eq(fixture_count("request record-seal"), 1);
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_err(channel_open(7, old), KD_ERR_NOT_AUTHENTIC); // the old ones are not tried
    ck_assert_err(channel_open(7, channel_record(id, 0, KD_RECORD_DATA, "new")), KD_OK);
    ck_assert_err(release(7, id), KD_OK);
    ck_assert_uint_eq(rx.got.send_next, 1);
    ck_assert(memcmp(before, rx.keys[0], sizeof(before)) != 0);
}
END_TEST

START_TEST(keys_that_were_released_are_renewed_when_their_owner_says) {
    const char *id = start("start ok\n");
    for (uint32_t i = 1; i < 4; i++) {
        ck_assert_err(release(7, id), KD_OK);
        ck_assert_err(channel_update(7, id), KD_OK);
        ck_assert_uint_eq(cx.session.update, i);
        ck_assert_err(channel_update(7, id), KD_ERR_CHANGE_UNDER_WAY); // ours: nobody used them
    }
}
END_TEST

START_TEST(resume_makes_keys_that_are_ours_again) {
    const char *id = start("start ok\n");
    ck_assert_err(release(7, id), KD_OK);
    const struct kd_bytes ticket = ticket_of(id);
    const struct kd_bytes old = channel_record(id, 1, KD_RECORD_DATA, "old");
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_err(channel_open(7, old), KD_ERR_SESSION_RELEASED); // until the client follows
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_SESSION_RELEASED);
    ck_assert(shows_released(id));
    ck_assert_err(channel_open(7, channel_resumed_record(id, ticket, "nonce",
                                                         kd_buf_get(&cx.node_nonce), 0, "new")),
                  KD_OK);
    ck_assert(!shows_released(id));
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_err(channel_open(7, old), KD_ERR_NOT_AUTHENTIC);
}
END_TEST

START_TEST(after_a_restart_only_a_resume_goes_on_and_with_other_keys) {
    const char *id = start("start ok\n");
    uint8_t before[32];
    ck_assert_err(release(7, id), KD_OK);
    memcpy(before, rx.keys[0], sizeof(before));
    const struct kd_bytes ticket = ticket_of(id);
    channel_restart();
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_NO_SESSION);
    ck_assert_err(release(7, id), KD_ERR_NO_SESSION);
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_err(release(7, id), KD_ERR_CHANGE_UNDER_WAY); // the client has not followed
    ck_assert_err(channel_open(7, channel_resumed_record(id, ticket, "nonce",
                                                         kd_buf_get(&cx.node_nonce), 0, "new")),
                  KD_OK);
    ck_assert_err(release(7, id), KD_OK);
    ck_assert(memcmp(before, rx.keys[0], sizeof(before)) != 0);
}
END_TEST

static TCase *tcase_release(void) {
    TCase *t = tcase_create("release");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_add_test(t, who_may_make_sessions_may_not_get_their_keys_by_that);
    tcase_add_test(t, keys_of_sessions_of_others_and_of_none_are_not_given);
    tcase_add_test(t, resident_session_keeps_its_keys);
    tcase_add_test(t, expired_session_gives_nothing);
    tcase_add_test(t, second_release_gets_nothing_and_nothing_is_sealed_or_opened);
    tcase_add_test(t, released_session_that_expires_seals_nothing_to_say_so);
    tcase_add_test(t, what_was_counted_goes_with_the_keys);
    tcase_add_test(t, keys_that_no_record_used_start_at_zero);
    tcase_add_test(t, keys_wait_for_the_records_under_way_and_hold_up_new_ones);
    tcase_add_test(t, what_comes_while_the_keys_leave_is_refused);
    tcase_add_test(t, session_that_ends_meanwhile_gives_nothing);
    tcase_add_test(t, keys_that_nobody_got_are_still_ours);
    tcase_add_test(t, worker_that_dies_meanwhile_has_given_nothing_out_and_another_does);
    tcase_add_test(t, key_update_makes_keys_that_are_ours_again);
    tcase_add_test(t, keys_that_were_released_are_renewed_when_their_owner_says);
    tcase_add_test(t, resume_makes_keys_that_are_ours_again);
    tcase_add_test(t, after_a_restart_only_a_resume_goes_on_and_with_other_keys);
    return t;
}

UNIT_MAIN("release", tcase_release())
