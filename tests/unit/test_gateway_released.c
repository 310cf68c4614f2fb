// SPDX-License-Identifier: Apache-2.0
// Sessions that keyd has released to the gateway: which answers are none, what is opened and
// sealed here with the keys, and when they are given up.  The device is this test; its keys are
// zeros until an update.
#include "tests/unit/fake_client.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#define SESSION "0102030405060708"
#define ZEROS_12 "AAAAAAAAAAAAAAAA"
#define ZEROS_32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define EIGHTS_32 "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg"

static const char released[] =
    "{\"session\":{\"session\":\"" SESSION "\",\"peer\":\"pump\","
    "\"relation\":\"site\",\"registered\":true},\"role\":\"server\","
    "\"keys\":{\"c2s\":\"" ZEROS_32 "\",\"s2c\":\"" ZEROS_32 "\",\"otp\":\"" ZEROS_32 "\"},"
    "\"ivs\":{\"c2s\":\"" ZEROS_12 "\",\"s2c\":\"" ZEROS_12 "\"},"
    "\"send_next\":0,\"window\":null,"
    "\"left\":{\"milliseconds\":600000,\"records\":100,\"bytes\":1000},"
    "\"otp\":{\"digits\":8,\"step\":30,\"window\":1}}";

static const uint64_t mono_ms = 1000000, wall_ms = UINT64_C(1767225600000);
static const uint8_t session[] = { 1, 2, 3, 4, 5, 6, 7, 8 };

static struct fake_gateway f;
static struct kd_soft_traffic traffic; // the device's
static struct kd_buf answer;           // the last frame that the device was sent
static unsigned n_answers;

static void set_up(void) {
    kd_log_set_level(KD_LOG_ERROR);
    kd_clock_hold(mono_ms, wall_ms);
    ck_assert_err(fake_gateway_open(&f), KD_OK);
    traffic = (struct kd_soft_traffic) { .is_resident = false };
    answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
}

static void tear_down(void) {
    ck_assert_ptr_null(fake_client_first());
    fake_gateway_close(&f);
    kd_buf_wipe(&answer);
    kd_clock_release();
}

static void on_done(void *arg KD_UNUSED, struct kd_bytes frame) {
    n_answers++;
    kd_buf_reset(&answer);
    kd_buf_put(&answer, frame.p, frame.n);
}

// ---- keyd and the backend --------------------------------------------------

static void must_be_asked(const char *path) {
    (void)kd_records_flush(&f.g);
    ck_assert_ptr_nonnull(fake_client_first());
    ck_assert_str_eq(fake_client_first()->path, path);
}

static void reply(const char *path, unsigned status, const char *body) {
    must_be_asked(path);
    fake_client_answer(status, kd_bytes_of_text(body));
}

static void take(unsigned status, const char *body) {
    struct kd_question *q = kd_gateway_new_push(&f.g, 1, on_done, NULL);
    ck_assert_ptr_nonnull(q);
    n_answers = 0;
    kd_released_take(q, SESSION);
    reply("/v1/sessions/" SESSION "/release", status, body);
    ck_assert_uint_eq(n_answers, 1); // with what was ready before
}

// The good answer with `with` in the place of `what`.
static const char *changed(const char *what, const char *with) {
    static char text[2048];
    const char *at = strstr(released, what);
    ck_assert_msg(at != NULL, "%s", what);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - released), released, with,
             at + strlen(what));
    return text;
}

static void take_good(void) {
    take(200, released);
    ck_assert_uint_eq(kd_released_count(&f.g), 1);
}

// ---- the device ------------------------------------------------------------

static struct kd_record_end device(void) {
    return (struct kd_record_end) { .ops = &kd_traffic_ops_soft,
                                    .ctx = &traffic,
                                    .is_client = true,
                                    .id = { session, sizeof(session) },
                                    .otp = KD_OTP_DEFAULT };
}

static void send_record(enum kd_frame_kind kind, uint64_t sequence, enum kd_record_type type,
                        const char *body) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf bytes = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    const struct kd_origin origin = { "127.0.0.1:1", true, NULL };
    const struct kd_record_end end = device();
    const struct kd_record plain = { type, kd_bytes_of_text(body) };
    struct kd_frame frame = { .kind = kind, .id = 77 };
    uint8_t head[KD_FRAME_HEAD_BYTES];
    kd_frame_head(&frame, head);
    ck_assert_err(kd_record_seal(&end, sequence, wall_ms, (struct kd_bytes) { head, sizeof(head) },
                                 &plain, &record),
                  KD_OK);
    frame.body = kd_buf_get(&record);
    kd_frame_put(&bytes, &frame);
    n_answers = 0;
    kd_gateway_ask(&f.g, kd_buf_get(&bytes), &origin, on_done, NULL);
}

static void send_message(uint64_t sequence) {
    send_record(KD_FRAME_MESSAGE, sequence, KD_RECORD_DATA, "hello");
}

// The answer opens; is it bound to the head of its frame?
static void must_get(enum kd_record_type type, struct kd_bytes body, bool is_bound) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_record_end end = device();
    struct kd_frame frame;
    struct kd_record_head head;
    struct kd_record record;
    ck_assert_uint_eq(n_answers, 1);
    ck_assert_err(kd_frame_parse(kd_buf_get(&answer), &frame), KD_OK);
    ck_assert_int_eq(frame.role, KD_FRAME_ANSWER);
    ck_assert_err(kd_record_parse(frame.body, &head), KD_OK);
    const struct kd_bytes aad = { answer.p, is_bound ? KD_FRAME_HEAD_BYTES : 0 };
    ck_assert_err(kd_record_open(&end, &head, aad, wall_ms, &text, &record), KD_OK);
    ck_assert_int_eq(record.type, type);
    ck_assert(kd_bytes_equal(record.body, body));
}

static void must_get_text(const char *text) {
    must_get(KD_RECORD_DATA, kd_bytes_of_text(text), true);
}

static void must_fail(enum kd_failure code) {
    struct kd_frame frame;
    struct kd_failure_body why;
    ck_assert_uint_eq(n_answers, 1);
    ck_assert_err(kd_frame_parse(kd_buf_get(&answer), &frame), KD_OK);
    ck_assert_int_eq(frame.role, KD_FRAME_FAILURE);
    ck_assert_err(kd_failure_parse(frame.body, &why), KD_OK);
    ck_assert_int_eq(why.code, code);
}

static void must_go_on(uint64_t sequence) {
    send_message(sequence);
    reply("", 200, "hi");
    must_get_text("hi");
}

// keyd may have other keys of the session; here nothing was opened.
static void must_go_to_keyd(void) {
    const uint64_t before = f.g.counts.own_records;
    reply("/v1/records/open", 503, "");
    must_fail(KD_FAILURE_BUSY);
    ck_assert_uint_eq(f.g.counts.own_records, before);
}

// ---- what keyd answers -----------------------------------------------------

START_TEST(an_answer_with_anything_missing_or_odd_takes_nothing) {
    static const struct {
        const char *what, *with;
    } bad[] = {
        { "{\"session\":{", "[\"session\",{" },
        { "\"window\":1}}", "\"window\":1}} "
                            "x" },
        { "\"window\":1}}", "\"window\":1}" },
        { "\"role\":\"server\"", "\"role\":\"server\",\"role\":\"server\"" },
        { "\"role\":\"server\"", "\"role\":\"client\"" },
        { "\"role\":\"server\",", "" },
        { SESSION, "0102030405060709" },
        { SESSION, "01020304050607" },
        { "\"peer\":\"pump\",", "" },
        { "pump", "" },
        { "pump", "a b" },
        { "pump", "p\\r\\nKeyd-Peer: q" },
        { "pump", "p2345678901234567890123456789012345678901234567890123456789012345" },
        { "\"site\"", "7" },
        { "site", "a/b" },
        { "site", "r2345678901234567890123456789012345678901234567890123456789012345" },
        { "\"c2s\":\"" ZEROS_32 "\"", "\"c2s\":\"\"" },
        { "\"s2c\":\"" ZEROS_32 "\"", "\"s2c\":\"" ZEROS_12 "\"" },
        { "\"otp\":\"" ZEROS_32 "\"", "\"otp\":\"" ZEROS_32 "AAA\"" },
        { "\"otp\":\"" ZEROS_32 "\"", "\"otp\":\"*" ZEROS_32 "\"" },
        { "\"keys\":{", "\"keys\":null,\"x\":{" },
        { "\"c2s\":\"" ZEROS_12 "\"", "\"c2s\":\"" ZEROS_32 "\"" },
        { "\"s2c\":\"" ZEROS_12 "\"", "\"s2c\":0" },
        { ",\"registered\":true", "" },
        { "\"registered\":true", "\"registered\":\"yes\"" },
        { "\"send_next\":0,", "" },
        { "\"send_next\":0", "\"send_next\":-1" },
        { "\"send_next\":0", "\"send_next\":\"0\"" },
        { "\"send_next\":0", "\"send_next\":0.0" },
        { "\"send_next\":0", "\"send_next\":1099511627777" },
        { "\"window\":null,", "" },
        { "\"window\":null", "\"window\":7" },
        { "\"window\":null", "\"window\":{}" },
        { "\"window\":null", "\"window\":{\"highest\":1,\"seen\":\"AQ\"}" },
        { "\"milliseconds\":600000", "\"milliseconds\":-1" },
        { "\"milliseconds\":600000,", "" },
        { "\"records\":100", "\"records\":18446744073709551616" },
        { "\"records\":100,", "" },
        { "\"bytes\":1000", "\"bytes\":null" },
        { "\"digits\":8", "\"digits\":264" },
        { "\"digits\":8", "\"digits\":0" },
        { "\"step\":30", "\"step\":65566" },
        { "\"step\":30", "\"step\":-65506" },
        { "\"window\":1}}", "\"window\":257}}" },
        { "\"otp\":{", "\"no\":{" },
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        take(200, changed(bad[i].what, bad[i].with));
        ck_assert_msg(kd_released_count(&f.g) == 0, "%s for %s", bad[i].with, bad[i].what);
    }
    take(200, "");
    take(200, "null");
    take(409, released);
    take(0, "");
    ck_assert_uint_eq(kd_released_count(&f.g), 0);
    take_good();
}
END_TEST

START_TEST(a_window_without_a_number_or_too_far_takes_nothing) {
    static const char *const highest[] = { "null", "-1", "\"5\"", "1099511627776" };
    char seen[172], window[256];
    memset(seen, 'A', sizeof(seen) - 1); // 128 bytes
    seen[sizeof(seen) - 1] = '\0';
    for (size_t i = 0; i < KD_COUNT_OF(highest); i++) {
        snprintf(window, sizeof(window), "\"window\":{\"highest\":%s,\"seen\":\"%s\"}", highest[i],
                 seen);
        take(200, changed("\"window\":null", window));
        ck_assert_msg(kd_released_count(&f.g) == 0, "%s", highest[i]);
    }
}
END_TEST

START_TEST(what_keyd_has_accepted_is_not_opened_again) {
    char seen[172], window[256];
    memset(seen, 'A', sizeof(seen) - 1);
    memcpy(seen, "BQ", 2); // the first byte is 5: the highest, and the highest - 2
    seen[sizeof(seen) - 1] = '\0';
    snprintf(window, sizeof(window), "\"window\":{\"highest\":5,\"seen\":\"%s\"}", seen);
    take(200, changed("\"window\":null", window));
    ck_assert_uint_eq(kd_released_count(&f.g), 1);
    send_message(5);
    must_go_to_keyd();
    send_message(3);
    must_go_to_keyd();
    must_go_on(4);
    must_go_on(6);
}
END_TEST

// ---- records ---------------------------------------------------------------

START_TEST(a_message_is_opened_and_its_answer_sealed_here) {
    take_good();
    must_go_on(0);
    ck_assert_uint_eq(f.g.counts.own_records, 2);
    must_go_on(1);
}
END_TEST

START_TEST(a_record_is_opened_once) {
    take_good();
    must_go_on(0);
    send_message(0);
    must_go_to_keyd();
}
END_TEST

START_TEST(over_the_share_of_its_peer_a_message_is_not_taken) {
    take_good();
    f.config.pending_per_peer = 2;
    send_message(0);
    send_message(1);
    ck_assert_uint_eq(n_answers, 0); // the backend has both
    send_message(2);
    must_fail(KD_FAILURE_BUSY);
    reply("", 204, "");
    send_message(3);
    ck_assert_uint_eq(n_answers, 0);
    reply("", 204, "");
    reply("", 204, "");
    ck_assert_uint_eq(f.g.counts.over_share, 1);
}
END_TEST

START_TEST(a_record_under_other_keys_goes_to_keyd) {
    take_good();
    memset(traffic.keys[KD_TRAFFIC_C2S].bytes, 1, 32);
    send_message(0);
    must_go_to_keyd();
    memset(traffic.keys[KD_TRAFFIC_C2S].bytes, 0, 32);
    must_go_on(0); // its number was not used up
}
END_TEST

START_TEST(a_wrong_one_time_password_is_refused_here) {
    take_good();
    kd_clock_hold(mono_ms, wall_ms + 3600000);
    send_message(0);
    must_fail(KD_FAILURE_REFUSED);
    kd_clock_hold(mono_ms, wall_ms);
}
END_TEST

START_TEST(a_record_of_another_type_is_no_message) {
    take_good();
    send_record(KD_FRAME_UPDATE, 0, KD_RECORD_ERROR, "\x01");
    must_fail(KD_FAILURE_MALFORMED);
}
END_TEST

// ---- limits ----------------------------------------------------------------

static void must_expire(enum kd_record_expiry why, bool has_keyd_to_know) {
    const uint8_t number[] = { (uint8_t)why };
    if (has_keyd_to_know) {
        ck_assert_uint_eq(n_answers, 0);
        reply("/v1/sessions/" SESSION, 204, "");
    }
    must_get(KD_RECORD_EXPIRE, (struct kd_bytes) { number, 1 }, false);
}

START_TEST(after_the_last_record_the_device_is_told_and_keyd_before) {
    take(200, changed("\"records\":100", "\"records\":2"));
    must_go_on(0);
    send_message(1);
    must_expire(KD_EXPIRED_RECORDS, true);
    send_message(2); // told again, keyd is not
    must_expire(KD_EXPIRED_RECORDS, false);
}
END_TEST

START_TEST(after_the_last_byte_the_device_is_told_and_keyd_before) {
    take(200, changed("\"bytes\":1000", "\"bytes\":4"));
    send_message(0);
    must_expire(KD_EXPIRED_BYTES, true);
}
END_TEST

START_TEST(an_answer_over_the_limit_is_not_sealed) {
    take(200, changed("\"bytes\":1000", "\"bytes\":6"));
    send_message(0);
    reply("", 200, "hi");
    must_expire(KD_EXPIRED_BYTES, true);
}
END_TEST

START_TEST(after_its_lifetime_the_device_is_told) {
    take_good();
    kd_clock_hold(mono_ms + 600000, wall_ms);
    send_message(0);
    must_expire(KD_EXPIRED_LIFETIME, false);
}
END_TEST

START_TEST(without_a_number_to_send_nothing_is_sealed) {
    take(200, changed("\"send_next\":0", "\"send_next\":1099511627776"));
    send_message(0);
    reply("", 200, "hi");
    must_fail(KD_FAILURE_REFUSED);
}
END_TEST

// ---- keys that are given up ------------------------------------------------

START_TEST(a_session_that_keyd_has_ended_is_given_up) {
    take_good();
    kd_clock_hold(mono_ms + 2000, wall_ms);
    send_message(0);
    reply("/v1/sessions/" SESSION, 200, "{\"released\":true}");
    reply("", 200, "hi");
    must_get_text("hi");
    kd_clock_hold(mono_ms + 4000, wall_ms);
    send_message(1);
    reply("/v1/sessions/" SESSION, 404, "");
    must_go_to_keyd();
    ck_assert_uint_eq(kd_released_count(&f.g), 0);
}
END_TEST

START_TEST(keys_that_keyd_has_taken_back_are_given_up) {
    take_good();
    kd_clock_hold(mono_ms + 2000, wall_ms);
    send_message(0);
    reply("/v1/sessions/" SESSION, 200, "{\"released\":false}");
    must_go_to_keyd();
    ck_assert_uint_eq(kd_released_count(&f.g), 0);
}
END_TEST

START_TEST(a_device_that_closes_is_forgotten_and_keyd_told) {
    take_good();
    send_record(KD_FRAME_CLOSE, 0, KD_RECORD_CLOSE, "");
    ck_assert_uint_eq(kd_released_count(&f.g), 0);
    reply("/v1/sessions/" SESSION, 204, "");
    ck_assert_uint_eq(n_answers, 1);
}
END_TEST

static void update(const char *then) {
    static const uint8_t number[] = { 3 };
    send_record(KD_FRAME_UPDATE, 0, KD_RECORD_DATA, "");
    reply("/v1/sessions/" SESSION "/key-update", 200, "{\"session\":{\"update\":3}}");
    reply("/v1/sessions/" SESSION "/release", 200, then);
    must_get(KD_RECORD_KEY_UPDATE, (struct kd_bytes) { number, 1 }, false);
}

START_TEST(after_an_update_the_keys_before_open_until_the_device_follows) {
    take_good();
    update(changed("\"c2s\":\"" ZEROS_32, "\"c2s\":\"" EIGHTS_32));
    must_go_on(1);
    memset(traffic.keys[KD_TRAFFIC_C2S].bytes, 8, 32);
    must_go_on(0);
    memset(traffic.keys[KD_TRAFFIC_C2S].bytes, 0, 32);
    send_message(2);
    must_go_to_keyd();
}
END_TEST

// keyd does not know what was used here, and says what was left when it gave the first keys.
START_TEST(an_update_gives_nothing_of_the_limits_back) {
    take(200, changed("\"records\":100", "\"records\":5"));
    must_go_on(1);
    update(changed("\"c2s\":\"" ZEROS_32, "\"c2s\":\"" EIGHTS_32));
    memset(traffic.keys[KD_TRAFFIC_C2S].bytes, 8, 32);
    must_go_on(0);
    send_message(1);
    must_expire(KD_EXPIRED_RECORDS, true);
}
END_TEST

START_TEST(an_update_without_its_number_is_none) {
    static const char *const bad[] = { "{}", "{\"session\":{}}", "{\"session\":{\"update\":0}}",
                                       "{\"session\":{\"update\":-1}}",
                                       "{\"session\":{\"update\":\"3\"}}" };
    take_good();
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        send_record(KD_FRAME_UPDATE, i, KD_RECORD_DATA, "");
        reply("/v1/sessions/" SESSION "/key-update", 200, bad[i]);
        must_fail(KD_FAILURE_BUSY);
    }
}
END_TEST

START_TEST(after_an_update_that_was_not_taken_nothing_is_sealed_with_the_keys_before) {
    take_good();
    update("{}");
    send_message(1);
    reply("", 200, "hi");
    reply("/v1/records/seal", 503, ""); // keyd's, as it knows
    ck_assert_uint_eq(n_answers, 1);
    must_fail(KD_FAILURE_BUSY);
}
END_TEST

static void on_stop(void *loop) {
    kd_loop_stop(loop);
}

static void run_timers_at(uint64_t at_ms) {
    struct kd_timer *stop = NULL;
    kd_clock_hold(at_ms, wall_ms);
    ck_assert_err(kd_timer_new(f.g.loop, on_stop, f.g.loop, &stop), KD_OK);
    kd_timer_set(stop, 0);
    ck_assert_err(kd_loop_run(f.g.loop), KD_OK);
    kd_timer_free(stop);
}

START_TEST(a_session_is_forgotten_some_time_after_its_end) {
    take_good();
    run_timers_at(mono_ms + 600000);
    ck_assert_uint_eq(kd_released_count(&f.g), 1);
    run_timers_at(mono_ms + 600000 + 300000);
    ck_assert_uint_eq(kd_released_count(&f.g), 0);
}
END_TEST

START_TEST(the_keys_before_an_update_open_for_a_minute) {
    take_good();
    update(changed("\"c2s\":\"" ZEROS_32, "\"c2s\":\"" EIGHTS_32));
    f.config.released_check_ms = 600000;
    run_timers_at(mono_ms + 59999);
    must_go_on(1);
    run_timers_at(mono_ms + 120000);
    send_message(2);
    must_go_to_keyd();
}
END_TEST

// ---- all of them -----------------------------------------------------------

static TCase *tcase_answers(void) {
    TCase *c = tcase_create("answers");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, an_answer_with_anything_missing_or_odd_takes_nothing);
    tcase_add_test(c, a_window_without_a_number_or_too_far_takes_nothing);
    tcase_add_test(c, what_keyd_has_accepted_is_not_opened_again);
    return c;
}

static TCase *tcase_records(void) {
    TCase *c = tcase_create("records");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_message_is_opened_and_its_answer_sealed_here);
    tcase_add_test(c, a_record_is_opened_once);
    tcase_add_test(c, over_the_share_of_its_peer_a_message_is_not_taken);
    tcase_add_test(c, a_record_under_other_keys_goes_to_keyd);
    tcase_add_test(c, a_wrong_one_time_password_is_refused_here);
    tcase_add_test(c, a_record_of_another_type_is_no_message);
    tcase_add_test(c, after_the_last_record_the_device_is_told_and_keyd_before);
    tcase_add_test(c, after_the_last_byte_the_device_is_told_and_keyd_before);
    tcase_add_test(c, an_answer_over_the_limit_is_not_sealed);
    tcase_add_test(c, after_its_lifetime_the_device_is_told);
    tcase_add_test(c, without_a_number_to_send_nothing_is_sealed);
    return c;
}

static TCase *tcase_ends(void) {
    TCase *c = tcase_create("ends");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_session_that_keyd_has_ended_is_given_up);
    tcase_add_test(c, keys_that_keyd_has_taken_back_are_given_up);
    tcase_add_test(c, a_device_that_closes_is_forgotten_and_keyd_told);
    tcase_add_test(c, after_an_update_the_keys_before_open_until_the_device_follows);
    tcase_add_test(c, an_update_gives_nothing_of_the_limits_back);
    tcase_add_test(c, an_update_without_its_number_is_none);
    tcase_add_test(c, after_an_update_that_was_not_taken_nothing_is_sealed_with_the_keys_before);
    tcase_add_test(c, a_session_is_forgotten_some_time_after_its_end);
    tcase_add_test(c, the_keys_before_an_update_open_for_a_minute);
    return c;
}

UNIT_MAIN("gateway released", tcase_answers(), tcase_records(), tcase_ends())
