// SPDX-License-Identifier: Apache-2.0
// Sessions and records: sequence numbers and windows also when workers fail,
// limits at their edges, owners, resume and update.
#include "tests/unit/channel_fixture.h"

#include <stdio.h>
#include <string.h>

static size_t sessions(void) {
    struct kd_channel_report report;
    kd_channel_report(sx.service, &report);
    return report.n_sessions;
}

static enum kd_err open_data(uid_t uid, const char *id, uint64_t sequence, const char *body) {
    return channel_open(uid, channel_record(id, sequence, KD_RECORD_DATA, body));
}

// The number in a record that was sealed.
static uint64_t sequence_of(const struct kd_buf *record) {
    struct kd_record_head head;
    ck_assert_err(kd_record_parse(kd_buf_get(record), &head), KD_OK);
    return head.sequence;
}

// ---- records ---------------------------------------------------------------

START_TEST(records_that_are_of_no_session_are_refused) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(channel_open(7, kd_bytes_of_text("x")), KD_ERR_RECORD_FORM);
    ck_assert_err(channel_open(7, KD_BYTES_NONE), KD_ERR_RECORD_FORM);
    ck_assert_err(channel_seal(7, "0011223344556677", "x"), KD_ERR_NO_SESSION);
    ck_assert_err(channel_seal(7, "", "x"), KD_ERR_NO_SESSION);
    const struct kd_bytes forged =
        channel_resumed_record(id, kd_bytes_of_text("T:?"), "", KD_BYTES_NONE, 0, "x");
    ck_assert_err(channel_open(7, forged), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(open_data(7, id, 0, "wrong code"), KD_ERR_RECORD_OTP);
    ck_assert_err(open_data(7, id, 0, "good"), KD_OK); // the forgeries moved nothing
    ck_assert_err(open_data(7, id, 0, "good"), KD_ERR_RECORD_REPLAYED);
}
END_TEST

START_TEST(session_is_its_makers_alone) {
    struct kd_session_info info[2];
    struct kd_bytes ticket;
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_caller other = service_caller_of(9);
    const struct kd_bytes record = channel_record(id, 0, KD_RECORD_DATA, "x");
    ck_assert_err(channel_seal(9, id, "x"), KD_ERR_NO_SESSION);
    ck_assert_err(channel_open(9, record), KD_ERR_NO_SESSION);
    ck_assert_err(channel_update(9, id), KD_ERR_NO_SESSION);
    ck_assert_err(kd_channel_session(sx.service, &other, id, info), KD_ERR_NO_SESSION);
    ck_assert_err(kd_channel_ticket(sx.service, &other, id, &ticket), KD_ERR_NO_SESSION);
    ck_assert_err(channel_end(9, id), KD_ERR_NO_SESSION);
    ck_assert_uint_eq(kd_channel_sessions(sx.service, &other, NULL, info, 2), 0);
    ck_assert_err(channel_open(7, record), KD_OK);
}
END_TEST

START_TEST(numbers_count_up_and_a_batch_has_its_own) {
    channel_start("start ok\n");
    const char *a = channel_session(7, "dev");
    const char *b = channel_session(7, "dev");
    const struct kd_record_item items[] = {
        { .session = a, .data = kd_bytes_of_text("1") },
        { .session = b, .data = kd_bytes_of_text("2") },
        { .session = "none" },
        { .session = a, .data = kd_bytes_of_text("3") },
    };
    const struct kd_record_work work = { .n_items = 4, .items = items };
    ck_assert_err(channel_records(7, &work), KD_OK);
    ck_assert_uint_eq(cx.n, 4);
    ck_assert_uint_eq(sequence_of(&cx.results[0].out), 0);
    ck_assert_uint_eq(sequence_of(&cx.results[1].out), 0);
    ck_assert_err(cx.results[2].err, KD_ERR_NO_SESSION);
    ck_assert_uint_eq(sequence_of(&cx.results[3].out), 1);
    ck_assert_str_eq(cx.results[1].session, b);
    ck_assert_uint_eq(fixture_count("request record-seal"), 1);
}
END_TEST

START_TEST(copies_in_one_batch_pass_once) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes record = channel_record(id, 5, KD_RECORD_DATA, "x");
    const struct kd_record_item items[] = { { .data = record }, { .data = record } };
    const struct kd_record_work work = { .is_open = true, .n_items = 2, .items = items };
    ck_assert_err(channel_records(7, &work), KD_OK);
    ck_assert_err(cx.results[0].err, KD_OK);
    ck_assert_mem_eq(cx.results[0].out.p, "x", 1);
    ck_assert_err(cx.results[1].err, KD_ERR_RECORD_REPLAYED);
}
END_TEST

START_TEST(seal_is_not_repeated_and_its_number_is_gone) {
    channel_start("on record-seal die\nonce\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_TOKEN_AWAY);
    ck_assert_uint_eq(fixture_count("request record-seal"), 1);
    fixture_run_until(service_ready);
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_uint_eq(sequence_of(&cx.results[0].out), 1);
}
END_TEST

START_TEST(opening_is_repeated_elsewhere) {
    channel_start("on record-open die\nonce\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(open_data(7, id, 0, "x"), KD_OK);
    ck_assert_uint_eq(fixture_count("request record-open"), 2);
    ck_assert_err(open_data(7, id, 0, "x"), KD_ERR_RECORD_REPLAYED);
}
END_TEST

START_TEST(record_that_could_not_be_opened_may_come_again) {
    channel_start("on record-open error token\nonce\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(open_data(7, id, 0, "x"), KD_ERR_TOKEN);
    ck_assert_err(open_data(7, id, 0, "x"), KD_OK);
}
END_TEST

START_TEST(opened_close_ends_the_session) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(channel_open(7, channel_record(id, 0, KD_RECORD_CLOSE, "")), KD_OK);
    ck_assert_uint_eq(cx.results[0].type, KD_RECORD_CLOSE);
    ck_assert_uint_eq(sessions(), 0);
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_NO_SESSION);
}
END_TEST

START_TEST(sessions_end_with_their_peer) {
    channel_start("start ok\n");
    ck_assert_err(channel_add_peer("boat", "b"), KD_OK);
    const char *a = channel_session(7, "dev");
    const char *b = channel_session(9, "b");
    ck_assert_err(channel_delete_peer(7, "device"), KD_OK);
    ck_assert_err(channel_seal(7, a, "x"), KD_ERR_NO_SESSION);
    ck_assert_err(channel_seal(9, b, "x"), KD_OK);
}
END_TEST

START_TEST(sessions_are_listed_in_order) {
    struct kd_session_info info[4];
    channel_start("start ok\n");
    const char *a = channel_session(7, "dev");
    channel_session(9, "dev");
    const char *b = channel_session(7, "dev");
    const struct kd_caller c = service_caller_of(7);
    const char *first = strcmp(a, b) < 0 ? a : b;
    const char *last = first == a ? b : a;
    ck_assert_uint_eq(kd_channel_sessions(sx.service, &c, NULL, info, 4), 2);
    ck_assert_str_eq(info[0].id, first);
    ck_assert_str_eq(info[1].id, last);
    ck_assert_uint_eq(kd_channel_sessions(sx.service, &c, first, info, 4), 1);
    ck_assert_str_eq(info[0].id, last);
    ck_assert_uint_eq(kd_channel_sessions(sx.service, &c, last, info, 4), 0);
    ck_assert_uint_eq(kd_channel_sessions(sx.service, &c, "x", info, 4), 0);
    ck_assert_err(channel_end(7, first), KD_OK);
    ck_assert_uint_eq(kd_channel_sessions(sx.service, &c, NULL, info, 4), 1);
}
END_TEST

// ---- limits ----------------------------------------------------------------

START_TEST(last_record_passes_and_the_next_gets_an_expire_record) {
    fx.config->channel.session_records_max = 3;
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_err(open_data(7, id, 0, "x"), KD_OK);
    ck_assert_err(open_data(7, id, 1, "x"), KD_OK);
    ck_assert_err(open_data(7, id, 2, "x"), KD_ERR_SESSION_EXPIRED);
    ck_assert_uint_eq(cx.results[0].out.n, 0);
    ck_assert_uint_eq(sequence_of(&cx.results[0].answer), 1);
    struct kd_record_head head;
    ck_assert_err(kd_record_parse(kd_buf_get(&cx.results[0].answer), &head), KD_OK);
    ck_assert_uint_eq(head.ciphertext.p[FAKE_TAG_BYTES], KD_RECORD_EXPIRE);
    ck_assert_uint_eq(head.ciphertext.p[FAKE_TAG_BYTES + 1], KD_EXPIRED_RECORDS);
    ck_assert_err(channel_seal(7, id, "x"), KD_ERR_SESSION_EXPIRED);
    ck_assert_uint_eq(sequence_of(&cx.results[0].answer), 1); // the same, not another
    ck_assert_err(channel_update(7, id), KD_ERR_SESSION_EXPIRED);
}
END_TEST

START_TEST(bytes_are_counted_to_the_last) {
    fx.config->channel.session_bytes_max = 4;
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(channel_seal(7, id, "ab"), KD_OK);
    ck_assert_err(open_data(7, id, 0, "cd"), KD_OK);
    ck_assert_err(channel_seal(7, id, ""), KD_ERR_SESSION_EXPIRED);
    const char *other = channel_session(7, "dev");
    ck_assert_err(open_data(7, other, 0, "abcde"), KD_ERR_SESSION_EXPIRED);
    ck_assert_uint_eq(cx.results[0].out.n, 0);
    ck_assert_uint_gt(cx.results[0].answer.n, 0);
}
END_TEST

START_TEST(batch_does_not_pass_the_limit) {
    fx.config->channel.session_records_max = 1;
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_record_item items[] = {
        { .data = channel_record(id, 0, KD_RECORD_DATA, "a") },
        { .data = channel_record(id, 1, KD_RECORD_DATA, "b") },
    };
    const struct kd_record_work work = { .is_open = true, .n_items = 2, .items = items };
    ck_assert_err(channel_records(7, &work), KD_OK);
    ck_assert_err(cx.results[0].err, KD_OK);
    ck_assert_err(cx.results[1].err, KD_ERR_SESSION_EXPIRED);
    ck_assert_uint_gt(cx.results[1].answer.n, 0);
}
END_TEST

START_TEST(lifetime_ends_and_says_so) {
    fx.config->channel.session_lifetime_sec = 1;
    channel_start("start ok\n");
    kd_clock_hold(kd_clock_mono_ms(), kd_clock_wall_ms());
    const char *id = channel_session(7, "dev");
    struct kd_bytes ticket;
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(open_data(7, id, 0, "x"), KD_OK);
    const struct kd_bytes late = channel_record(id, 1, KD_RECORD_DATA, "x");
    kd_clock_hold(kd_clock_mono_ms(), cx.session.expires_ms - 1);
    ck_assert_err(kd_channel_ticket(sx.service, &c, id, &ticket), KD_OK);
    kd_clock_hold(kd_clock_mono_ms(), cx.session.expires_ms);
    ck_assert_err(channel_open(7, late), KD_ERR_SESSION_EXPIRED);
    ck_assert_uint_gt(cx.results[0].answer.n, 0);
    ck_assert_err(kd_channel_ticket(sx.service, &c, id, &ticket), KD_ERR_SESSION_EXPIRED);
    kd_clock_release();
}
END_TEST

// ---- resume ----------------------------------------------------------------

static struct kd_bytes copy_ticket(uid_t uid, const char *id) {
    static uint8_t room[KD_HSM_TICKET_MAX_BYTES];
    struct kd_bytes ticket;
    const struct kd_caller c = service_caller_of(uid);
    ck_assert_err(kd_channel_ticket(sx.service, &c, id, &ticket), KD_OK);
    memcpy(room, ticket.p, ticket.n);
    return (struct kd_bytes) { room, ticket.n };
}

START_TEST(tickets_that_are_none_are_refused) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    ck_assert_err(channel_resume(7, KD_BYTES_NONE, "n"), KD_ERR_TICKET);
    ck_assert_err(channel_resume(7, kd_bytes_of_text("rubbish"), "n"), KD_ERR_TICKET);
    ck_assert_err(channel_resume(7, ticket, ""), KD_ERR_FIELD_INVALID);
    ck_assert_err(channel_resume(7, ticket, "123456789012345678901234567890123"),
                  KD_ERR_FIELD_INVALID);
    ck_assert_err(channel_resume(8, ticket, "n"), KD_ERR_DENIED);
    ck_assert_err(channel_delete_peer(7, "device"), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "n"), KD_ERR_NO_PEER);
}
END_TEST

START_TEST(session_goes_on_after_a_restart) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    const struct kd_bytes old = channel_record(id, 0, KD_RECORD_DATA, "x");
    ck_assert_err(channel_open(7, old), KD_OK);
    channel_restart();
    ck_assert_err(channel_open(7, old), KD_ERR_NO_SESSION);
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_str_eq(cx.session.id, id);
    ck_assert_uint_eq(cx.node_nonce.n, KD_HSM_CHANNEL_NONCE_BYTES);
    ck_assert_uint_eq(sequence_of(&cx.record), 0);
    ck_assert_err(channel_open(7, old), KD_ERR_NOT_AUTHENTIC); // it has other keys now
    ck_assert_err(channel_open(7, channel_resumed_record(id, ticket, "nonce",
                                                         kd_buf_get(&cx.node_nonce), 0, "y")),
                  KD_OK);
    ck_assert_err(channel_seal(7, id, "z"), KD_OK);
    ck_assert_uint_eq(sequence_of(&cx.results[0].out), 1);
}
END_TEST

START_TEST(what_was_stays_until_the_client_uses_the_new_keys) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    uint8_t first[KD_HSM_CHANNEL_NONCE_BYTES];
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    memcpy(first, cx.node_nonce.p, sizeof(first));
    ck_assert_err(open_data(7, id, 0, "old"), KD_OK);
    ck_assert_err(channel_seal(7, id, "old"), KD_OK);
    ck_assert_uint_eq(sequence_of(&cx.results[0].out), 0); // of the old use
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_mem_ne(first, cx.node_nonce.p, sizeof(first)); // the same request, other keys
    const struct kd_bytes nonce = kd_buf_get(&cx.node_nonce);
    ck_assert_err(open_data(7, id, 1, "old"), KD_OK);
    ck_assert_err(channel_open(7, channel_resumed_record(id, ticket, "nonce", nonce, 0, "new")),
                  KD_OK);
    ck_assert_err(channel_open(7, channel_resumed_record(id, ticket, "nonce", nonce, 0, "new")),
                  KD_ERR_RECORD_REPLAYED);
    ck_assert_err(open_data(7, id, 2, "old"), KD_ERR_NOT_AUTHENTIC);
    ck_assert_uint_eq(sessions(), 1);
}
END_TEST

START_TEST(session_moves_to_who_resumed_it_when_its_client_follows) {
    struct kd_session_info info;
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    const struct kd_caller a = service_caller_of(7);
    ck_assert_err(channel_resume(9, ticket, "nonce"), KD_OK);
    ck_assert_err(kd_channel_session(sx.service, &a, id, &info), KD_OK);
    // A ticket alone gives nothing of what was before.
    ck_assert_err(channel_open(9, channel_record(id, 0, KD_RECORD_DATA, "x")),
                  KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(channel_end(9, id), KD_ERR_NO_SESSION);
    ck_assert_err(channel_update(9, id), KD_ERR_NO_SESSION);
    ck_assert_err(channel_seal(9, id, "x"), KD_OK);
    ck_assert_uint_eq(sequence_of(&cx.results[0].out), 1); // behind the confirmation
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_uint_eq(sequence_of(&cx.results[0].out), 0);
    ck_assert_err(channel_open(7, channel_record(id, 0, KD_RECORD_DATA, "x")), KD_OK);
    ck_assert_err(channel_open(9, channel_resumed_record(id, ticket, "nonce",
                                                         kd_buf_get(&cx.node_nonce), 0, "new")),
                  KD_OK);
    const struct kd_caller was = service_caller_of(7);
    ck_assert_err(kd_channel_session(sx.service, &was, id, &info), KD_ERR_NO_SESSION);
    const struct kd_caller is = service_caller_of(9);
    ck_assert_err(kd_channel_session(sx.service, &is, id, &info), KD_OK);
}
END_TEST

// Tickets go over the network in clear.
START_TEST(who_has_seen_a_ticket_does_not_end_the_session) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    channel_restart();
    ck_assert_err(channel_resume(9, ticket, "his"), KD_OK);
    ck_assert_err(channel_end(9, id), KD_OK); // of the attachment alone
    ck_assert_uint_eq(sessions(), 0);
    ck_assert_err(channel_resume(9, ticket, "his"), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_err(channel_end(9, id), KD_ERR_NO_SESSION); // it is of who resumed it last
    ck_assert_err(channel_seal(9, id, "x"), KD_ERR_NO_SESSION);
    ck_assert_err(channel_open(7, channel_resumed_record(id, ticket, "nonce",
                                                         kd_buf_get(&cx.node_nonce), 0, "new")),
                  KD_OK);
    ck_assert_err(channel_resume(9, ticket, "his"), KD_OK);
    ck_assert_err(channel_end(9, id), KD_ERR_NO_SESSION);
    ck_assert_err(channel_end(7, id), KD_OK);
    ck_assert_err(channel_resume(9, ticket, "his"), KD_ERR_SESSION_ENDED);
}
END_TEST

START_TEST(who_has_seen_a_ticket_uses_up_nothing_of_the_session) {
    fx.config->channel.session_records_max = 4;
    fx.config->channel.session_bytes_max = 8;
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    for (size_t i = 0; i < 2; i++) { // also where it is not here but for him
        ck_assert_err(channel_resume(9, ticket, "his"), KD_OK);
        ck_assert_err(channel_seal(9, id, "123456789"), KD_ERR_CHANGE_UNDER_WAY);
        for (size_t k = 0; k < 3 + i; k++) {
            ck_assert_err(channel_seal(9, id, "x"), KD_OK);
        }
        ck_assert_err(channel_seal(9, id, "x"), KD_ERR_CHANGE_UNDER_WAY);
        if (i == 0) {
            ck_assert_err(channel_seal(7, id, "x"), KD_OK);
            channel_restart();
        }
    }
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_err(channel_seal(7, id, "ab"), KD_OK);
    ck_assert_err(channel_open(7, channel_resumed_record(id, ticket, "nonce",
                                                         kd_buf_get(&cx.node_nonce), 0, "c")),
                  KD_OK);
    struct kd_session_info info;
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(kd_channel_session(sx.service, &c, id, &info), KD_OK);
    ck_assert_uint_eq(info.sent, 1); // it counts when the client has followed
    ck_assert_uint_eq(info.bytes, 3);
    ck_assert_err(channel_resume(9, ticket, "his"), KD_OK);
    ck_assert_err(channel_seal(7, id, "123456"), KD_ERR_SESSION_EXPIRED);
    ck_assert_err(channel_seal(9, id, "x"), KD_ERR_SESSION_EXPIRED);
    ck_assert_uint_eq(cx.results[0].answer.n, 0); // nor does he have its last word
}
END_TEST

START_TEST(ended_session_is_not_resumed_also_after_a_restart) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    ck_assert_err(channel_end(7, id), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_ERR_SESSION_ENDED);
    channel_restart();
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_ERR_SESSION_ENDED);
    const char *other = channel_session(7, "dev");
    const struct kd_bytes good = copy_ticket(7, other);
    channel_restart();
    ck_assert_err(channel_resume(7, good, "nonce"), KD_OK);
}
END_TEST

START_TEST(closed_session_and_one_whose_records_are_used_up_are_not_resumed) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    ck_assert_err(channel_open(7, channel_record(id, 0, KD_RECORD_CLOSE, "")), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_ERR_SESSION_ENDED);
    fx.config->channel.session_records_max = 1;
    channel_restart();
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_ERR_SESSION_ENDED);
    const char *used = channel_session(7, "dev");
    const struct kd_bytes spent = copy_ticket(7, used);
    ck_assert_err(channel_seal(7, used, "x"), KD_OK);
    ck_assert_err(channel_seal(7, used, "x"), KD_ERR_SESSION_EXPIRED);
    channel_restart();
    ck_assert_err(channel_resume(7, spent, "nonce"), KD_ERR_SESSION_ENDED);
}
END_TEST

START_TEST(tickets_of_a_deleted_peer_are_not_those_of_the_next_of_its_name) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    channel_restart(); // the session is not here: nothing but the ticket knows it
    ck_assert_err(channel_delete_peer(7, "device"), KD_OK);
    ck_assert_err(channel_add_peer("device", "dev"), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_ERR_SESSION_ENDED);
    channel_restart();
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_ERR_SESSION_ENDED);
}
END_TEST

START_TEST(tickets_of_a_deleted_peer_end_also_when_the_clock_was_set_back) {
    channel_start("start ok\n");
    const uint64_t mono = kd_clock_mono_ms();
    const uint64_t wall = kd_clock_wall_ms();
    kd_clock_hold(mono, wall + 3600000);
    const struct kd_bytes ticket = copy_ticket(7, channel_session(7, "dev"));
    kd_clock_hold(mono, wall);
    ck_assert_err(channel_delete_peer(7, "device"), KD_OK);
    ck_assert_err(channel_add_peer("device", "dev"), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "n"), KD_ERR_SESSION_ENDED);
    kd_clock_release();
}
END_TEST

START_TEST(full_list_of_ends_refuses_old_tickets_and_lets_none_back_in) {
    static uint8_t rooms[4][KD_HSM_TICKET_MAX_BYTES];
    struct kd_bytes tickets[4];
    fx.config->channel.ended_max = 2;
    channel_start("start ok\n");
    for (size_t i = 0; i < KD_COUNT_OF(tickets); i++) {
        const char *id = channel_session(7, "dev");
        const struct kd_bytes ticket = copy_ticket(7, id);
        memcpy(rooms[i], ticket.p, ticket.n);
        tickets[i] = (struct kd_bytes) { rooms[i], ticket.n };
        ck_assert_err(channel_end(7, id), KD_OK);
    }
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < KD_COUNT_OF(tickets); i++) {
            ck_assert_err(channel_resume(7, tickets[i], "nonce"), KD_ERR_SESSION_ENDED);
        }
        channel_restart();
    }
}
END_TEST

static bool no_session(void) {
    return sessions() == 0;
}

START_TEST(resume_that_nobody_follows_goes_away) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    channel_restart();
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_uint_eq(sessions(), 1);
    kd_clock_hold(kd_clock_mono_ms() + fx.config->channel.handshake_timeout_ms, kd_clock_wall_ms());
    fixture_run_until(no_session);
    kd_clock_release();
}
END_TEST

START_TEST(ticket_of_an_older_key_version_is_tried_with_it) {
    channel_start("on ticket-read error ticket\nonce\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes ticket = copy_ticket(7, id);
    ck_assert_err(service_rotate("ticket"), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_uint_eq(fixture_count("request ticket-read"), 2);
}
END_TEST

// ---- update ----------------------------------------------------------------

START_TEST(new_keys_start_at_zero_and_old_ones_hold_until_the_peer_follows) {
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    const struct kd_bytes before = channel_record(id, 0, KD_RECORD_DATA, "old");
    const struct kd_bytes late = channel_record(id, 1, KD_RECORD_DATA, "old");
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_err(channel_update(7, id), KD_OK);
    ck_assert_uint_eq(cx.session.update, 1);
    ck_assert_uint_eq(sequence_of(&cx.record), 1); // of the old keys
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_uint_eq(sequence_of(&cx.results[0].out), 0);
    ck_assert_err(channel_open(7, before), KD_OK);
    ck_assert_err(channel_update(7, id), KD_ERR_CHANGE_UNDER_WAY);
    ck_assert_err(open_data(7, id, 0, "new"), KD_OK);
    ck_assert_err(channel_open(7, late), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(channel_update(7, id), KD_OK);
    ck_assert_uint_eq(cx.session.update, 2);
}
END_TEST

START_TEST(update_that_fails_leaves_the_session_as_it_was) {
    channel_start("on record-seal die\nonce\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(channel_update(7, id), KD_ERR_TOKEN_AWAY);
    fixture_run_until(service_ready);
    ck_assert_err(open_data(7, id, 0, "old"), KD_OK);
    ck_assert_err(channel_update(7, id), KD_OK);
    ck_assert_uint_eq(cx.session.update, 1);
}
END_TEST

START_TEST(numbers_are_in_the_metrics) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1 << 20);
    channel_start("start ok\n");
    const char *id = channel_session(7, "dev");
    ck_assert_err(channel_seal(7, id, "x"), KD_OK);
    ck_assert_err(channel_open(7, kd_bytes_of_text("x")), KD_ERR_RECORD_FORM);
    kd_service_metrics(sx.service, &text);
    const char *all = kd_buf_get_text(&text);
    ck_assert_ptr_nonnull(strstr(all, "\nkeyd_channel_sessions 1\n"));
    ck_assert_ptr_nonnull(strstr(all, "\nkeyd_channel_handshakes_total{result=\"ok\"} 1\n"));
    ck_assert_ptr_nonnull(
        strstr(all, "\nkeyd_channel_records_total{op=\"seal\",result=\"ok\"} 1\n"));
    ck_assert_ptr_nonnull(
        strstr(all, "\nkeyd_channel_records_total{op=\"open\",result=\"record-form\"} 1\n"));
}
END_TEST

static TCase *tcase_sessions(void) {
    TCase *t = tcase_create("sessions");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_add_test(t, records_that_are_of_no_session_are_refused);
    tcase_add_test(t, session_is_its_makers_alone);
    tcase_add_test(t, numbers_count_up_and_a_batch_has_its_own);
    tcase_add_test(t, copies_in_one_batch_pass_once);
    tcase_add_test(t, seal_is_not_repeated_and_its_number_is_gone);
    tcase_add_test(t, opening_is_repeated_elsewhere);
    tcase_add_test(t, record_that_could_not_be_opened_may_come_again);
    tcase_add_test(t, opened_close_ends_the_session);
    tcase_add_test(t, sessions_end_with_their_peer);
    tcase_add_test(t, sessions_are_listed_in_order);
    tcase_add_test(t, last_record_passes_and_the_next_gets_an_expire_record);
    tcase_add_test(t, bytes_are_counted_to_the_last);
    tcase_add_test(t, batch_does_not_pass_the_limit);
    tcase_add_test(t, lifetime_ends_and_says_so);
    tcase_add_test(t, tickets_that_are_none_are_refused);
    tcase_add_test(t, session_goes_on_after_a_restart);
    tcase_add_test(t, what_was_stays_until_the_client_uses_the_new_keys);
    tcase_add_test(t, session_moves_to_who_resumed_it_when_its_client_follows);
    tcase_add_test(t, who_has_seen_a_ticket_does_not_end_the_session);
    tcase_add_test(t, who_has_seen_a_ticket_uses_up_nothing_of_the_session);
    tcase_add_test(t, ended_session_is_not_resumed_also_after_a_restart);
    tcase_add_test(t, closed_session_and_one_whose_records_are_used_up_are_not_resumed);
    tcase_add_test(t, tickets_of_a_deleted_peer_are_not_those_of_the_next_of_its_name);
    tcase_add_test(t, tickets_of_a_deleted_peer_end_also_when_the_clock_was_set_back);
    tcase_add_test(t, full_list_of_ends_refuses_old_tickets_and_lets_none_back_in);
    tcase_add_test(t, resume_that_nobody_follows_goes_away);
    tcase_add_test(t, ticket_of_an_older_key_version_is_tried_with_it);
    tcase_add_test(t, new_keys_start_at_zero_and_old_ones_hold_until_the_peer_follows);
    tcase_add_test(t, update_that_fails_leaves_the_session_as_it_was);
    tcase_add_test(t, numbers_are_in_the_metrics);
    return t;
}

UNIT_MAIN("sessions", tcase_sessions())
