// SPDX-License-Identifier: Apache-2.0
// Handshakes: what is refused and said to whom, limits, times, and lost workers.
#include "tests/unit/channel_fixture.h"

#include <stdio.h>
#include <string.h>

static const uint8_t refused_message[] = { 0x01, 0x67, 'r', 'e', 'f', 'u', 's', 'e', 'd' };

static size_t handshakes(void) {
    struct kd_channel_report report;
    kd_channel_report(sx.service, &report);
    return report.n_handshakes;
}

static size_t sessions(void) {
    struct kd_channel_report report;
    kd_channel_report(sx.service, &report);
    return report.n_sessions;
}

START_TEST(channel_without_an_identity_is_off) {
    fx.config->channel.identity = "";
    service_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_ERR_CONFIG);
    ck_assert_err(channel_add_peer("p", "k"), KD_ERR_CONFIG);
    ck_assert_err(channel_seal(7, "0011223344556677", "x"), KD_ERR_CONFIG);
}
END_TEST

START_TEST(nobody_begins_without_permission) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(8, "m1", 0), KD_ERR_DENIED);
    ck_assert_err(channel_step(8, "0011223344556677", channel_says("dev")), KD_ERR_DENIED);
}
END_TEST

START_TEST(identity_needs_its_certificate) {
    channel_start("start ok\n");
    fx.config->channel.certificate_file = fixture_path("policy");
    kd_service_reload(sx.service);
    ck_assert_err(channel_begin(7, "m1", 0), KD_ERR_OWN_CERTIFICATE);
    fx.config->channel.certificate_file = fixture_path("identity.pem");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(service_set_state("identity", 0, false), KD_OK);
    ck_assert_err(channel_begin(7, "m1", 0), KD_ERR_OWN_CERTIFICATE);
}
END_TEST

START_TEST(responder_ends_with_a_session) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(cx.refusal, KD_OK);
    ck_assert(!cx.has_session);
    ck_assert_mem_eq(cx.message.p, "m2", 2);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_OK);
    ck_assert(cx.has_session);
    ck_assert_str_eq(cx.peer, "device");
    ck_assert_uint_eq(cx.session.suite, 3);
    ck_assert_uint_eq(cx.session.method, 2);
    ck_assert_uint_eq(handshakes(), 0);
    ck_assert_uint_eq(sessions(), 1);
    // What rides on message_4, as docs/protocol.md says.
    struct kd_cbor c = kd_cbor_of((struct kd_bytes) { cx.message.p + 2, cx.message.n - 2 });
    char id[KD_SESSION_TEXT_BYTES];
    ck_assert_uint_eq(kd_cbor_read_array(&c), 6);
    ck_assert_uint_eq(kd_cbor_read_uint(&c), cx.session.created_ms);
    kd_hex_encode(kd_cbor_read_bytes(&c).p, KD_HSM_SESSION_ID_BYTES, id);
    ck_assert_str_eq(id, cx.session.id);
    ck_assert_uint_eq(kd_cbor_read_uint(&c), 86400);
    ck_assert_uint_eq(kd_cbor_read_uint(&c), KD_PROFILE_RESIDENT);
    ck_assert_uint_eq(kd_cbor_read_uint(&c), 1);
    ck_assert_uint_eq(kd_cbor_read_bytes(&c).n, 65);
    ck_assert_err(kd_cbor_finish(&c), KD_OK);
}
END_TEST

START_TEST(peer_is_told_of_one_time_passwords_that_are_not_the_usual) {
    for (unsigned i = 0; i < 2; i++) {
        fx.config->channel.profile = i == 0 ? KD_PROFILE_RESIDENT : KD_PROFILE_RELEASED;
        fx.config->channel.otp_digits = KD_OTP_DIGITS_MIN;
        fx.config->channel.otp_step_sec = KD_OTP_STEP_MAX_SEC;
        fx.config->channel.otp_window = KD_OTP_WINDOW_MAX;
        if (i == 0) {
            channel_start("start ok\n");
        }
        channel_session(7, "dev");
        struct kd_cbor c = kd_cbor_of((struct kd_bytes) { cx.message.p + 2, cx.message.n - 2 });
        ck_assert_uint_eq(kd_cbor_read_array(&c), i == 0 ? 7 : 5);
        (void)kd_cbor_read_uint(&c); // time, session, lifetime
        (void)kd_cbor_read_bytes(&c);
        (void)kd_cbor_read_uint(&c);
        ck_assert_uint_eq(kd_cbor_read_uint(&c), fx.config->channel.profile);
        if (i == 0) {
            ck_assert_uint_eq(kd_cbor_read_uint(&c), 1);
            ck_assert_uint_eq(kd_cbor_read_bytes(&c).n, 65);
        }
        const struct kd_otp_params p = kd_otp_params_read(&c);
        ck_assert_err(kd_cbor_finish(&c), KD_OK);
        ck_assert(p.digits == KD_OTP_DIGITS_MIN && p.step_sec == KD_OTP_STEP_MAX_SEC &&
                  p.window == KD_OTP_WINDOW_MAX);
    }
}
END_TEST

START_TEST(initiator_has_its_session_after_message_4) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "", 2), KD_ERR_HS_METHOD); // we sign
    ck_assert_err(channel_begin(7, "", 1), KD_OK);
    ck_assert_mem_eq(cx.message.p, "m1", 2);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_OK);
    ck_assert_mem_eq(cx.message.p, "m3", 2);
    ck_assert(!cx.has_session);
    ck_assert_uint_eq(sessions(), 0);
    ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text("m4")), KD_OK);
    ck_assert(cx.has_session);
    ck_assert_uint_eq(sessions(), 1);
    ck_assert_uint_eq(handshakes(), 0);
}
END_TEST

// Whose key has been taken from him holds message_4 back until another has his name.
START_TEST(session_is_not_made_for_another_who_got_the_name_meanwhile) {
    char handshake[KD_SESSION_TEXT_BYTES];
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "", 1), KD_OK);
    memcpy(handshake, cx.handshake, sizeof(handshake));
    ck_assert_err(channel_step(7, handshake, channel_says("dev")), KD_OK);
    ck_assert_err(channel_delete_peer(7, "device"), KD_OK);
    ck_assert_err(channel_add_peer("device", "dev"), KD_OK); // with another key
    ck_assert_err(channel_step(7, handshake, kd_bytes_of_text("m4")), KD_OK);
    ck_assert_err(cx.refusal, KD_ERR_HS_CREDENTIAL);
    ck_assert(!cx.has_session);
    ck_assert_uint_eq(sessions(), 0);
}
END_TEST

// RFC 9528 6.3: (2, 2) and (2, [24, -7]).
static const char has_suite_2[] = "\x02\x02";
static const char has_others[] = "\x02\x82\x18\x18\x26";

START_TEST(initiator_tries_once_more_with_a_suite_that_the_peer_has) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "", 1), KD_OK);
    char id[KD_SESSION_TEXT_BYTES];
    memcpy(id, cx.handshake, sizeof(id));
    ck_assert_err(channel_step(7, id, kd_bytes_of_text(has_suite_2)), KD_OK);
    ck_assert_err(cx.refusal, KD_OK);
    ck_assert_str_eq(cx.handshake, id); // the caller's is the same
    ck_assert_mem_eq(cx.message.p, "m1", 2);
    ck_assert_uint_eq(fixture_count("request handshake-start"), 2);
    ck_assert_uint_eq(handshakes(), 1);
    ck_assert_err(channel_step(7, id, channel_says("dev")), KD_OK);
    ck_assert_mem_eq(cx.message.p, "m3", 2);
    ck_assert_err(channel_step(7, id, kd_bytes_of_text("m4")), KD_OK);
    ck_assert(cx.has_session);
    ck_assert_uint_eq(fixture_count("request handshake-drop"), 1); // the first attempt
}
END_TEST

START_TEST(initiator_does_not_try_again_and_again) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "", 1), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text(has_suite_2)), KD_OK);
    ck_assert_err(cx.refusal, KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text(has_suite_2)), KD_OK);
    ck_assert_err(cx.refusal, KD_ERR_HS_SUITE);
    ck_assert_ptr_nonnull(strstr(sx.last_detail, "suites 2; it was tried twice"));
    ck_assert_uint_eq(cx.message.n, 0); // an error is not answered with one
    ck_assert_uint_eq(handshakes(), 0);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_ERR_NO_HANDSHAKE);
    ck_assert_uint_eq(fixture_count("request handshake-start"), 2);
}
END_TEST

START_TEST(initiator_says_which_suites_the_peer_has_where_none_is_ours) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "", 1), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text(has_others)), KD_OK);
    ck_assert_err(cx.refusal, KD_ERR_HS_SUITE);
    ck_assert_ptr_nonnull(strstr(sx.last_detail, "suites 24, -7; none of them is ours"));
    ck_assert_uint_eq(fixture_count("request handshake-start"), 1);
    ck_assert_uint_eq(handshakes(), 0);
}
END_TEST

// A responder is told of no suites; and after message_2 there is no choice any more.
START_TEST(error_about_suites_counts_for_message_1_alone) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text(has_suite_2)), KD_OK);
    ck_assert_err(cx.refusal, KD_ERR_HS_MESSAGE);
    ck_assert_err(channel_begin(7, "", 1), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text(has_suite_2)), KD_OK);
    ck_assert_uint_eq(fixture_count("request handshake-start"), 2);
}
END_TEST

START_TEST(stranger_is_told_nothing) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("who")), KD_OK);
    ck_assert_err(cx.refusal, KD_ERR_HS_CREDENTIAL);
    ck_assert_uint_eq(cx.message.n, sizeof(refused_message));
    ck_assert_mem_eq(cx.message.p, refused_message, sizeof(refused_message));
    ck_assert_uint_eq(handshakes(), 0);
    ck_assert_uint_eq(sessions(), 0);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_ERR_NO_HANDSHAKE);
}
END_TEST

START_TEST(message_of_another_step_changes_nothing_and_a_wrong_one_ends_it) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text("early")), KD_OK);
    ck_assert_err(cx.refusal, KD_ERR_HS_STATE);
    ck_assert_uint_eq(handshakes(), 1);
    ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text("rubbish")), KD_OK);
    ck_assert_err(cx.refusal, KD_ERR_HS_MESSAGE);
    ck_assert_mem_eq(cx.message.p, "error", 5);
    ck_assert_uint_eq(handshakes(), 0);
}
END_TEST

START_TEST(handshake_is_its_makers_alone) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(channel_step(9, cx.handshake, channel_says("dev")), KD_ERR_NO_HANDSHAKE);
    const struct kd_caller other = service_caller_of(9);
    const struct kd_caller own = service_caller_of(7);
    ck_assert_err(kd_channel_abandon(sx.service, &other, cx.handshake), KD_ERR_NO_HANDSHAKE);
    ck_assert_err(kd_channel_abandon(sx.service, &own, "xyz"), KD_ERR_NO_HANDSHAKE);
    ck_assert_err(kd_channel_abandon(sx.service, &own, cx.handshake), KD_OK);
    ck_assert_err(kd_channel_abandon(sx.service, &own, cx.handshake), KD_ERR_NO_HANDSHAKE);
}
END_TEST

START_TEST(too_many_are_refused_before_the_token_is_asked) {
    fx.config->channel.handshakes_max = 2;
    fx.config->channel.handshakes_retry = 2;
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(channel_begin(9, "m1", 0), KD_OK);
    ck_assert_err(channel_begin(7, "m1", 0), KD_ERR_BUSY);
    ck_assert_err(channel_begin(7, "", 0), KD_ERR_BUSY);
    ck_assert_uint_eq(fixture_count("request handshake-start"), 2);
}
END_TEST

static struct kd_bytes cookie(void) {
    return (struct kd_bytes) { cx.cookie, sizeof(cx.cookie) };
}

// Who begins handshakes and never goes on does not shut the others out for the time of a handshake.
START_TEST(silent_peer_makes_room_for_who_has_a_cookie) {
    char silent[KD_SESSION_TEXT_BYTES];
    fx.config->channel.handshakes_max = 2;
    channel_start("start ok\n");
    const uint64_t began = kd_clock_mono_ms();
    kd_clock_hold(began, kd_clock_wall_ms());
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    memcpy(silent, cx.handshake, sizeof(silent));
    ck_assert_err(channel_begin_with(7, "m1", 0, "", KD_BYTES_NONE), KD_ERR_HS_RETRY);
    ck_assert_err(channel_begin_with(7, "m1", 0, "", cookie()), KD_OK);
    kd_clock_hold(began + KD_HANDSHAKE_SILENCE_MS - 1, kd_clock_wall_ms());
    ck_assert_err(channel_begin_with(7, "m1", 0, "", cookie()), KD_ERR_BUSY);
    kd_clock_hold(began + KD_HANDSHAKE_SILENCE_MS, kd_clock_wall_ms());
    ck_assert_err(channel_begin_with(7, "m1", 0, "", kd_bytes_of_text("forged")), KD_ERR_HS_RETRY);
    ck_assert_uint_eq(handshakes(), 2);
    ck_assert_err(channel_begin_with(7, "m1", 0, "", cookie()), KD_OK);
    ck_assert_uint_eq(handshakes(), 2);
    ck_assert_err(channel_step(7, silent, channel_says("dev")), KD_ERR_NO_HANDSHAKE);
    kd_clock_release();
}
END_TEST

// Of five, two begin as they are and three with the cookie that they were given.
START_TEST(from_half_of_them_on_message_1_must_come_back_with_its_cookie) {
    fx.config->channel.handshakes_max = 5;
    channel_start("start ok\n");
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    }
    ck_assert_err(channel_begin_with(7, "m1", 0, "here", KD_BYTES_NONE), KD_ERR_HS_RETRY);
    ck_assert_uint_eq(fixture_count("request handshake-start"), 3); // nothing was asked
    const struct kd_bytes good = cookie();
    uint8_t mine[KD_COOKIE_BYTES];
    memcpy(mine, good.p, good.n);
    const struct kd_bytes kept = { mine, sizeof(mine) };
    ck_assert_err(channel_begin_with(7, "m2", 0, "here", kept), KD_ERR_HS_RETRY);
    ck_assert_err(channel_begin_with(7, "m1", 0, "there", kept), KD_ERR_HS_RETRY);
    ck_assert_err(channel_begin_with(9, "m1", 0, "here", kept), KD_ERR_HS_RETRY);
    ck_assert_err(channel_begin_with(7, "m1", 0, "here", (struct kd_bytes) { mine, 20 }),
                  KD_ERR_HS_RETRY);
    ck_assert_uint_eq(fixture_count("request handshake-start"), 3);
    ck_assert_err(channel_begin_with(7, "m1", 0, "here", kept), KD_OK);
    ck_assert_err(channel_begin(7, "", 0), KD_OK); // ours needs none
    ck_assert_err(channel_begin_with(7, "m1", 0, "here", kept),
                  KD_ERR_BUSY); // the last is the last
    ck_assert_uint_eq(fixture_count("request handshake-start"), 5);
}
END_TEST

START_TEST(number_from_which_cookies_are_asked_for_can_be_said) {
    fx.config->channel.handshakes_retry = 1;
    channel_start("start ok\n");
    ck_assert_err(channel_begin_with(7, "m1", 0, "", kd_bytes_of_text("not asked for")), KD_OK);
    ck_assert_err(channel_begin(7, "m1", 0), KD_ERR_HS_RETRY);
    ck_assert_err(channel_begin_with(7, "m1", 0, "", cookie()), KD_OK);
    char address[KD_ADDRESS_MAX_BYTES + 2] = "";
    memset(address, 'a', sizeof(address) - 1);
    ck_assert_err(channel_begin_with(7, "m1", 0, address, KD_BYTES_NONE), KD_ERR_ITEM_TOO_LARGE);
    address[KD_ADDRESS_MAX_BYTES] = '\0';
    ck_assert_err(channel_begin_with(7, "m1", 0, address, KD_BYTES_NONE), KD_ERR_HS_RETRY);
}
END_TEST

static void on_nothing(void *arg KD_UNUSED, enum kd_err err KD_UNUSED, const char *detail KD_UNUSED,
                       const struct kd_handshake_result *result KD_UNUSED) {
}

static void on_no_records(void *arg KD_UNUSED, enum kd_err err KD_UNUSED,
                          const char *detail KD_UNUSED,
                          const struct kd_record_result *results KD_UNUSED, size_t n KD_UNUSED) {
}

// The worker does not answer: its queue of 8 fills.  Records of sessions get the last two places.
START_TEST(sessions_go_first_when_the_queue_is_long) {
    fx.config->workers.queue_max = 8;
    channel_start("on record-seal hang\n");
    const char *id = channel_session(7, "dev");
    const struct kd_caller c = service_caller_of(7);
    const struct kd_record_item item = { .session = id, .data = kd_bytes_of_text("x") };
    const struct kd_record_work work = { .n_items = 1, .items = &item };
    const struct kd_handshake_start first = { .message = kd_bytes_of_text("m1") };
    kd_auto(buf) struct kd_buf given = KD_BUF_INIT(KD_COOKIE_BYTES);
    for (unsigned i = 0; i < 4; i++) { // half
        ck_assert_err(kd_channel_records(sx.service, &c, &work, on_no_records, NULL), KD_OK);
    }
    ck_assert_err(kd_channel_begin(sx.service, &c, &first, &given, on_nothing, NULL),
                  KD_ERR_HS_RETRY);
    struct kd_handshake_start again = first;
    again.cookie = kd_buf_get(&given);
    for (unsigned i = 0; i < 2; i++) { // to three quarters
        ck_assert_err(kd_channel_begin(sx.service, &c, &again, NULL, on_nothing, NULL), KD_OK);
    }
    ck_assert_err(kd_channel_begin(sx.service, &c, &again, NULL, on_nothing, NULL), KD_ERR_BUSY);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_err(kd_channel_records(sx.service, &c, &work, on_no_records, NULL), KD_OK);
    }
}
END_TEST

START_TEST(no_more_sessions_than_configured) {
    fx.config->channel.sessions_max = 1;
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    char first[KD_SESSION_TEXT_BYTES];
    memcpy(first, cx.handshake, sizeof(first));
    channel_session(7, "dev");
    ck_assert_err(channel_begin(7, "m1", 0), KD_ERR_SESSIONS_FULL);
    ck_assert_err(channel_step(7, first, channel_says("dev")), KD_OK);
    ck_assert_err(cx.refusal, KD_ERR_SESSIONS_FULL);
    ck_assert_uint_eq(sessions(), 1);
}
END_TEST

static bool none_left(void) {
    return handshakes() == 0;
}

START_TEST(handshake_ends_with_its_time) {
    channel_start("start ok\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_uint_eq(handshakes(), 1);
    kd_clock_hold(kd_clock_mono_ms() + fx.config->channel.handshake_timeout_ms, kd_clock_wall_ms());
    fixture_run_until(none_left);
    kd_clock_release();
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_ERR_NO_HANDSHAKE);
}
END_TEST

START_TEST(handshake_is_gone_with_its_worker) {
    channel_start("on handshake-read die\nonce\n");
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    char first[KD_SESSION_TEXT_BYTES];
    memcpy(first, cx.handshake, sizeof(first));
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_ERR_TOKEN_AWAY);
    ck_assert_uint_eq(fixture_count("request handshake-read"), 1); // nobody else was asked
    fixture_run_until(service_ready);
    ck_assert_err(channel_step(7, first, channel_says("dev")), KD_ERR_NO_HANDSHAKE);
    ck_assert_uint_eq(handshakes(), 0);
    channel_session(7, "dev");
}
END_TEST

static void on_step(void *arg, enum kd_err err, const char *detail KD_UNUSED,
                    const struct kd_handshake_result *result) {
    *(enum kd_err *)arg = result != NULL ? result->err : err;
    sx.is_done = true;
    sx.last_err = KD_OK;
}

START_TEST(peer_that_is_deleted_meanwhile_gets_no_session) {
    channel_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    enum kd_err outcome = KD_OK;
    ck_assert_err(channel_begin(7, "", 1), KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_OK);
    ck_assert_err(channel_delete_peer(7, "device"), KD_OK);
    ck_assert_err(service_wait_for(kd_channel_step(sx.service, &c, cx.handshake,
                                                   kd_bytes_of_text("m4"), on_step, &outcome)),
                  KD_OK);
    ck_assert_err(outcome, KD_ERR_HS_CREDENTIAL);
    ck_assert_uint_eq(sessions(), 0);
}
END_TEST

START_TEST(second_step_at_once_is_refused) {
    channel_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    enum kd_err outcome = KD_ERR_BUG;
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert_err(
        kd_channel_step(sx.service, &c, cx.handshake, channel_says("dev"), on_step, &outcome),
        KD_OK);
    ck_assert_err(channel_step(7, cx.handshake, channel_says("dev")), KD_ERR_HS_STATE);
    ck_assert_err(service_wait_for(KD_OK), KD_OK);
    ck_assert_err(outcome, KD_OK);
}
END_TEST

START_TEST(keys_of_the_channel_are_for_nothing_else) {
    channel_start("start ok\n");
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("x") };
    ck_assert_err(
        service_work((struct kd_work) { .operation = KD_OPERATION_SIGN, .key = "identity" }, &item,
                     1),
        KD_ERR_KEY_RESERVED);
    ck_assert_err(
        service_work((struct kd_work) { .operation = KD_OPERATION_ENCRYPT, .key = "ticket" }, &item,
                     1),
        KD_ERR_KEY_RESERVED);
    uint8_t room[97];
    const struct kd_derivation d = { .key = "root", .peer = service_point(room), .release = true };
    ck_assert_err(service_derive(&d, 1), KD_ERR_KEY_RESERVED);
    ck_assert_err(service_delete("root"), KD_ERR_KEY_RESERVED);
    ck_assert_err(service_delete("ticket"), KD_ERR_KEY_RESERVED);
    ck_assert_err(service_rotate("root"), KD_OK);
    ck_assert_ptr_nonnull(strstr(sx.key_text, "2=1"));
}
END_TEST

static TCase *tcase_handshakes(void) {
    TCase *t = tcase_create("handshakes");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_add_test(t, channel_without_an_identity_is_off);
    tcase_add_test(t, nobody_begins_without_permission);
    tcase_add_test(t, identity_needs_its_certificate);
    tcase_add_test(t, responder_ends_with_a_session);
    tcase_add_test(t, peer_is_told_of_one_time_passwords_that_are_not_the_usual);
    tcase_add_test(t, initiator_has_its_session_after_message_4);
    tcase_add_test(t, session_is_not_made_for_another_who_got_the_name_meanwhile);
    tcase_add_test(t, initiator_tries_once_more_with_a_suite_that_the_peer_has);
    tcase_add_test(t, initiator_does_not_try_again_and_again);
    tcase_add_test(t, initiator_says_which_suites_the_peer_has_where_none_is_ours);
    tcase_add_test(t, error_about_suites_counts_for_message_1_alone);
    tcase_add_test(t, stranger_is_told_nothing);
    tcase_add_test(t, message_of_another_step_changes_nothing_and_a_wrong_one_ends_it);
    tcase_add_test(t, handshake_is_its_makers_alone);
    tcase_add_test(t, too_many_are_refused_before_the_token_is_asked);
    tcase_add_test(t, silent_peer_makes_room_for_who_has_a_cookie);
    tcase_add_test(t, from_half_of_them_on_message_1_must_come_back_with_its_cookie);
    tcase_add_test(t, number_from_which_cookies_are_asked_for_can_be_said);
    tcase_add_test(t, sessions_go_first_when_the_queue_is_long);
    tcase_add_test(t, no_more_sessions_than_configured);
    tcase_add_test(t, handshake_ends_with_its_time);
    tcase_add_test(t, handshake_is_gone_with_its_worker);
    tcase_add_test(t, peer_that_is_deleted_meanwhile_gets_no_session);
    tcase_add_test(t, second_step_at_once_is_refused);
    tcase_add_test(t, keys_of_the_channel_are_for_nothing_else);
    return t;
}

UNIT_MAIN("handshakes", tcase_handshakes())
