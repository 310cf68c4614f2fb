// SPDX-License-Identifier: Apache-2.0
// hsm_channel_cases.c: see hsm_channel_cases.h.
#include "hsm_channel_cases.h"

#include "hsm/handshakes.h"
#include "hsm_channel_peer.h"
#include "token_fixture.h"
#include "unit.h"

#include <string.h>

KD_AUTO_DEFINE_IN_PLACE(meeting, struct meeting, meeting_wipe)

static const int methods[] = { 0, 3, 1, 2 };
static const int suites[] = { 2, 3, 24 };
enum { CASES = KD_COUNT_OF(methods) * KD_COUNT_OF(suites) };

static struct meeting meeting_of(int i, enum kd_profile profile, bool is_reverse) {
    return (struct meeting) { .method = methods[(size_t)i / KD_COUNT_OF(suites)],
                              .suite = suites[(size_t)i % KD_COUNT_OF(suites)],
                              .profile = profile,
                              .is_reverse = is_reverse };
}

static struct meeting plain_meeting(void) {
    return (struct meeting) { .method = 0, .suite = 3, .profile = KD_PROFILE_RESIDENT };
}

// ---- handshakes ------------------------------------------------------------

START_TEST(a_client_that_initiates_gets_the_keys_that_the_token_has) {
    kd_auto(meeting) struct meeting m = meeting_of(_i, KD_PROFILE_RESIDENT, false);
    meeting_init(&m, token_session());
    meeting_hold(&m);
    check_records(&m, 0);
}
END_TEST

START_TEST(a_client_that_responds_gets_the_keys_that_the_token_has) {
    kd_auto(meeting) struct meeting m = meeting_of(_i, KD_PROFILE_RESIDENT, true);
    meeting_init(&m, token_session());
    meeting_hold(&m);
    check_records(&m, 0);
}
END_TEST

START_TEST(a_released_session_needs_no_root) {
    kd_auto(meeting) struct meeting m = meeting_of(_i, KD_PROFILE_RELEASED, false);
    meeting_init(&m, token_session());
    meeting_hold(&m);
    check_records(&m, 0);
}
END_TEST

// Until message_3 is due.
static void begin(struct meeting *m) {
    kd_auto(call) struct call_result c = { 0 };
    meeting_init(m, token_session());
    ck_assert_err(kd_edhoc_write_1(m->e, NULL, &m->message), KD_OK);
    ck_assert_err(ask_start(m, token_session(), &c), KD_OK);
    struct kd_peer peer = { .cred = kd_buf_get(&m->cred[0]) };
    ck_assert_err(kd_point_read(m->client.curve, m->identity.ref.proof, &peer.key), KD_OK);
    ck_assert_err(kd_edhoc_read_2(m->e, c.result.out), KD_OK);
    ck_assert_err(kd_edhoc_authenticate(m->e, &peer), KD_OK);
    kd_buf_reset(&m->message);
    ck_assert_err(kd_edhoc_write_3(m->e, NULL, &m->message), KD_OK);
}

START_TEST(a_step_out_of_turn_changes_nothing) {
    kd_auto(meeting) struct meeting m = plain_meeting();
    kd_auto(call) struct call_result c = { 0 };
    begin(&m);
    ck_assert_err(ask_start(&m, token_session(), &c), KD_ERR_HS_STATE);
    ck_assert_err(ask_finish(&m, token_session(), &c), KD_ERR_HS_STATE);
    ck_assert_err(ask_confirm(&m, token_session(), &c), KD_ERR_HS_STATE);
    ck_assert_err(ask_read(&m, token_session(), &c), KD_OK);
    ck_assert_err(ask_read(&m, token_session(), &c), KD_ERR_HS_STATE);
    ck_assert_err(ask_finish(&m, token_session(), &c), KD_OK);
    ck_assert_err(ask_finish(&m, token_session(), &c), KD_ERR_NO_HANDSHAKE);
}
END_TEST

START_TEST(a_step_that_fails_ends_the_handshake_with_a_message_for_the_peer) {
    kd_auto(meeting) struct meeting m = plain_meeting();
    kd_auto(call) struct call_result c = { 0 };
    struct kd_edhoc_error said;
    begin(&m);
    m.message.p[m.message.n - 1] ^= 1;
    ck_assert_err(ask_read(&m, token_session(), &c), KD_ERR_HS_NOT_AUTHENTIC);
    ck_assert_err(kd_edhoc_error_parse(c.result.out, &said), KD_OK);
    m.message.p[m.message.n - 1] ^= 1;
    ck_assert_err(ask_read(&m, token_session(), &c), KD_ERR_NO_HANDSHAKE);
}
END_TEST

START_TEST(a_peer_that_nobody_knows_is_refused) {
    kd_auto(meeting) struct meeting m = plain_meeting();
    kd_auto(call) struct call_result c = { 0 };
    struct kd_edhoc_error said;
    begin(&m);
    ck_assert_err(ask_read(&m, token_session(), &c), KD_OK);
    const struct kd_hsm_request q = ask_of(&m, KD_HSM_HS_FINISH);
    struct kd_hsm_handshake h = { .id = "meeting", .terms = &m.terms };
    const struct kd_hsm_item item = { .handshake = &h };
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_ERR_HS_CREDENTIAL);
    ck_assert_err(kd_edhoc_error_parse(c.result.out, &said), KD_OK);
}
END_TEST

START_TEST(a_peer_with_another_key_is_not_authentic) {
    kd_auto(meeting) struct meeting m = plain_meeting();
    kd_auto(call) struct call_result c = { 0 };
    uint64_t other = KD_HANDLE_NONE;
    begin(&m);
    ck_assert_err(ask_read(&m, token_session(), &c), KD_OK);
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P256, &other, &m.client_point), KD_OK);
    kd_keyops_openssl.destroy(NULL, other);
    ck_assert_err(ask_finish(&m, token_session(), &c), KD_ERR_HS_NOT_AUTHENTIC);
}
END_TEST

START_TEST(what_is_dropped_is_gone) {
    kd_auto(meeting) struct meeting m = plain_meeting();
    kd_auto(call) struct call_result c = { 0 };
    begin(&m);
    const struct kd_hsm_request q = ask_of(&m, KD_HSM_HS_DROP);
    struct kd_hsm_handshake h = { .id = "meeting" };
    const struct kd_hsm_item item = { .handshake = &h };
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_OK);
    ck_assert_err(ask_read(&m, token_session(), &c), KD_ERR_NO_HANDSHAKE);
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_OK); // also where there is none
}
END_TEST

START_TEST(what_is_late_is_gone) {
    kd_auto(meeting) struct meeting m = plain_meeting();
    kd_auto(call) struct call_result c = { 0 };
    begin(&m);
    kd_clock_hold(kd_clock_mono_ms() + 10001, kd_clock_wall_ms());
    ck_assert_err(ask_read(&m, token_session(), &c), KD_ERR_NO_HANDSHAKE);
    kd_clock_release();
    ck_assert_uint_eq(kd_map_count(&token_opened()->token.handshakes), 0);
}
END_TEST

// Signing needs nothing of the sessions that are gone; static Diffie-Hellman does.
START_TEST(a_handshake_outlives_a_lost_session_only_without_its_keys) {
    kd_auto(meeting) struct meeting m = plain_meeting();
    kd_auto(call) struct call_result c = { 0 };
    m.method = _i == 0 ? 0 : 3;
    begin(&m);
    struct kd_session *sessions = token_opened()->sessions;
    ck_assert_err(kd_session_heal(&sessions[0], KD_ERR_SESSION_LOST), KD_OK);
    const uint64_t generation = sessions[0].generation;
    enum kd_err r = ask_read(&m, &sessions[0], &c);
    r = r == KD_OK ? ask_finish(&m, &sessions[0], &c) : r;
    ck_assert_err(r, _i == 0 ? KD_OK : KD_ERR_NO_HANDSHAKE);
    ck_assert_uint_eq(sessions[0].generation, generation);
}
END_TEST

START_TEST(terms_that_cannot_be_kept_are_refused) {
    kd_auto(meeting) struct meeting m = plain_meeting();
    kd_auto(call) struct call_result c = { 0 };
    begin(&m);
    ck_assert_err(ask_read(&m, token_session(), &c), KD_OK);
    if (_i == 0) {
        m.terms.is_client = true; // the root is the server's
        ck_assert_err(ask_finish(&m, token_session(), &c), KD_ERR_LACKING);
    } else if (_i == 1) {
        m.root.ref = m.ticket_key.ref;
        ck_assert_err(ask_finish(&m, token_session(), &c), KD_ERR_KEY_TYPE);
    } else {
        m.ticket_key.ref = m.root.ref;
        ck_assert_err(ask_finish(&m, token_session(), &c), KD_ERR_KEY_TYPE);
    }
    ck_assert_uint_eq(c.result.ticket.n, 0);
}
END_TEST

TCase *tcase_channel_handshakes(void) {
    TCase *c = tcase_create("handshakes");
    tcase_add_checked_fixture(c, token_setup, token_teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_step_out_of_turn_changes_nothing);
    tcase_add_test(c, a_step_that_fails_ends_the_handshake_with_a_message_for_the_peer);
    tcase_add_test(c, a_peer_that_nobody_knows_is_refused);
    tcase_add_test(c, a_peer_with_another_key_is_not_authentic);
    tcase_add_test(c, what_is_dropped_is_gone);
    tcase_add_test(c, what_is_late_is_gone);
    tcase_add_loop_test(c, a_handshake_outlives_a_lost_session_only_without_its_keys, 0, 2);
    tcase_add_loop_test(c, terms_that_cannot_be_kept_are_refused, 0, 3);
    tcase_add_loop_test(c, a_client_that_initiates_gets_the_keys_that_the_token_has, 0, CASES);
    tcase_add_loop_test(c, a_client_that_responds_gets_the_keys_that_the_token_has, 0, CASES);
    tcase_add_loop_test(c, a_released_session_needs_no_root, 0, CASES);
    return c;
}

// ---- sessions --------------------------------------------------------------

static struct meeting held(int i) {
    struct meeting m = plain_meeting();
    m.profile = i == 0 ? KD_PROFILE_RESIDENT : KD_PROFILE_RELEASED;
    return m;
}

static enum kd_err read_ticket(struct meeting *m, struct kd_bytes ticket, struct call_result *c) {
    const struct kd_hsm_request q = ask_of(m, KD_HSM_TICKET_READ);
    const struct kd_hsm_item item = { .data = ticket };
    return call_exec(token_session(), &q, &item, c);
}

START_TEST(a_ticket_with_any_bit_changed_is_refused) {
    kd_auto(meeting) struct meeting m = held(0);
    kd_auto(call) struct call_result c = { 0 };
    meeting_init(&m, token_session());
    meeting_hold(&m);
    const size_t n = m.session.ticket.n;
    for (size_t bit = 0; bit < 8 * n; bit++) {
        m.ticket[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_err(read_ticket(&m, m.session.ticket, &c), KD_ERR_TICKET);
        m.ticket[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 1; cut < n; cut++) {
        const struct kd_bytes part = { m.ticket, cut };
        ck_assert_err(read_ticket(&m, part, &c), KD_ERR_TICKET);
    }
    ck_assert_err(read_ticket(&m, m.session.ticket, &c), KD_OK);
    m.session.cache[0] ^= 1;
    m.ticket[0] ^= 1;
    ck_assert_err(ask_seal(&m, 1, kd_bytes_of_text("body"), &c), KD_ERR_TICKET);
}
END_TEST

START_TEST(a_ticket_of_another_key_is_refused) {
    kd_auto(meeting) struct meeting m = held(0);
    kd_auto(call) struct call_result c = { 0 };
    meeting_init(&m, token_session());
    meeting_hold(&m);
    ck_assert_err(call_generate(token_session(), KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT, 9,
                                &m.ticket_key),
                  KD_OK);
    ck_assert_err(read_ticket(&m, m.session.ticket, &c), KD_ERR_TICKET);
}
END_TEST

START_TEST(a_ticket_says_what_was_agreed) {
    kd_auto(meeting) struct meeting m = held(_i);
    kd_auto(call) struct call_result c = { 0 };
    meeting_init(&m, token_session());
    m.terms.is_stranger = _i == 1;
    memset(m.terms.stranger, _i, sizeof(m.terms.stranger));
    meeting_hold(&m);
    ck_assert_err(read_ticket(&m, m.session.ticket, &c), KD_OK);
    const struct kd_hsm_session_terms *t = c.result.terms;
    ck_assert_mem_eq(t->id, m.terms.id, sizeof(t->id));
    ck_assert(t->profile == m.terms.profile && !t->is_client);
    ck_assert(kd_bytes_equal(t->peer, m.terms.peer));
    ck_assert(t->created_ms == m.terms.created_ms && t->expires_ms == m.terms.expires_ms);
    ck_assert(t->records_max == m.terms.records_max && t->bytes_max == m.terms.bytes_max);
    ck_assert(t->update == 0 && t->root_version == m.terms.root_version);
    ck_assert(t->is_stranger == m.terms.is_stranger);
    ck_assert_mem_eq(t->stranger, m.terms.stranger, sizeof(t->stranger));
}
END_TEST

// Another process has nothing but the token and the request.
START_TEST(another_attachment_has_other_keys_and_the_ticket_is_enough) {
    kd_auto(meeting) struct meeting m = held(_i);
    kd_auto(call) struct call_result c = { 0 };
    meeting_init(&m, token_session());
    meeting_hold(&m);
    check_records(&m, 0);
    m.session.cache[0] ^= 1;
    m.session.client_nonce = kd_bytes_of_text("client's nonce..");
    m.session.node_nonce = kd_bytes_of_text("node's nonce....");
    token_reopen();
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_record_end old = client_end(&m);
    const struct kd_record record = { KD_RECORD_DATA, kd_bytes_of_text("old keys") };
    ck_assert_err(
        kd_record_seal(&old, 5, kd_clock_wall_ms(), kd_bytes_of_text("header"), &record, &b),
        KD_OK);
    ck_assert_err(ask_open(&m, kd_buf_get(&b), &c), KD_ERR_NOT_AUTHENTIC);
    meeting_schedule(&m);
    check_records(&m, 0);
}
END_TEST

START_TEST(one_time_passwords_are_of_the_form_that_the_ticket_says) {
    static const struct kd_otp_params forms[] = { { 6, 1, 0 }, { 9, 3600, 10 }, { 7, 60, 2 } };
    kd_auto(meeting) struct meeting m = held(_i % 2);
    kd_auto(call) struct call_result c = { 0 };
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    m.otp = forms[_i / 2];
    meeting_init(&m, token_session());
    meeting_hold(&m);
    kd_clock_hold(kd_clock_mono_ms(), m.terms.created_ms); // a step may be a second
    check_records(&m, 0);
    ck_assert_err(read_ticket(&m, m.session.ticket, &c), KD_OK);
    ck_assert(kd_otp_params_equal(&c.result.terms->otp, &m.otp));
    // One that is not of this form: authentic, and refused.
    struct kd_record_end end = client_end(&m);
    const struct kd_record record = { KD_RECORD_DATA, kd_bytes_of_text("x") };
    end.otp.digits = m.otp.digits == 8 ? 7 : 8;
    ck_assert_err(
        kd_record_seal(&end, 5, kd_clock_wall_ms(), kd_bytes_of_text("header"), &record, &b),
        KD_OK);
    ck_assert_err(ask_open(&m, kd_buf_get(&b), &c), KD_ERR_RECORD_OTP);
    // The window, to its end and no further.
    for (uint64_t apart = 0; apart <= 1; apart++) {
        const uint64_t steps = (uint64_t)m.otp.window + apart;
        kd_buf_reset(&b);
        end.otp = m.otp;
        ck_assert_err(kd_record_seal(&end, 6, kd_clock_wall_ms() - steps * 1000 * m.otp.step_sec,
                                     kd_bytes_of_text("header"), &record, &b),
                      KD_OK);
        ck_assert_err(ask_open(&m, kd_buf_get(&b), &c), apart == 0 ? KD_OK : KD_ERR_RECORD_OTP);
    }
    kd_clock_release();
}
END_TEST

START_TEST(an_update_renews_all_keys) {
    kd_auto(meeting) struct meeting m = held(_i);
    kd_auto(call) struct call_result c = { 0 };
    meeting_init(&m, token_session());
    meeting_hold(&m);
    const struct kd_hsm_request q = ask_of(&m, KD_HSM_TICKET_UPDATE);
    struct kd_hsm_session_terms next = m.terms;
    const struct kd_hsm_item item = { .session = &m.session,
                                      .terms = &next,
                                      .data = kd_bytes_of_text("\x01") };
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_ERR_TICKET); // not one higher
    next.update = 1;
    next.peer = kd_bytes_of_text("somebody else");
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_ERR_TICKET);
    next.peer = m.terms.peer;
    next.otp.digits = 6;
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_ERR_TICKET);
    next.otp = m.terms.otp;
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_OK);
    ck_assert(!kd_bytes_equal(c.result.out, m.session.ticket));
    meeting_take_ticket(&m, c.result.out);
    ck_assert_err(kd_edhoc_key_update(m.e, kd_bytes_of_text("\x01")), KD_OK);
    meeting_schedule(&m);
    check_records(&m, 0);
    ck_assert_err(read_ticket(&m, m.session.ticket, &c), KD_OK);
    ck_assert_uint_eq(c.result.terms->update, 1);
}
END_TEST

START_TEST(a_session_whose_time_is_over_only_says_so) {
    kd_auto(meeting) struct meeting m = held(_i);
    kd_auto(call) struct call_result c = { 0 };
    meeting_init(&m, token_session());
    meeting_hold(&m);
    check_records(&m, 0);
    kd_clock_hold(kd_clock_mono_ms(), m.terms.expires_ms);
    ck_assert_err(ask_seal(&m, 1, kd_bytes_of_text("body"), &c), KD_ERR_SESSION_EXPIRED);
    ck_assert_err(read_ticket(&m, m.session.ticket, &c), KD_ERR_SESSION_EXPIRED);
    const struct kd_hsm_request q = ask_of(&m, KD_HSM_RECORD_SEAL);
    const struct kd_hsm_item item = { .session = &m.session,
                                      .record_type = KD_RECORD_EXPIRE,
                                      .sequence = 1,
                                      .data = kd_bytes_of_text("\x01") };
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_OK);
    m.session.cache[0] ^= 1; // also where the ticket must be read again
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_OK);
    ck_assert_err(ask_seal(&m, 2, kd_bytes_of_text("body"), &c), KD_ERR_SESSION_EXPIRED);
    kd_clock_release();
}
END_TEST

// The limit is 2; one more may be there until its answer has been sent.
static void check_room(void) {
    ck_assert_uint_le(kd_traffic_cache_count(&token_opened()->token), 3);
    kd_traffic_cache_make_room(token_session());
    ck_assert_uint_le(kd_traffic_cache_count(&token_opened()->token), 2);
}

START_TEST(keys_that_were_lost_or_gave_way_are_made_again) {
    kd_auto(meeting) struct meeting m = held(_i);
    kd_auto(call) struct call_result c = { 0 };
    meeting_init(&m, token_session());
    meeting_hold(&m);
    for (uint8_t i = 0; i < 6; i++) {
        m.session.cache[0] = i; // more than the cache holds
        ck_assert_err(ask_seal(&m, i, kd_bytes_of_text("body"), &c), KD_OK);
    }
    check_room();
    ck_assert_err(kd_session_heal(token_session(), KD_ERR_SESSION_LOST), KD_OK);
    ck_assert_uint_eq(kd_traffic_cache_count(&token_opened()->token), 0);
    check_records(&m, 7);
}
END_TEST

// Session objects of the token that have this usage.
static size_t secret_objects(CK_ATTRIBUTE_TYPE usage) {
    size_t n = 0;
    CK_OBJECT_HANDLE found[8];
    CK_BBOOL no = CK_FALSE, yes = CK_TRUE;
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ATTRIBUTE template[] = { KD_ATTRIBUTE(CKA_TOKEN, no),
                                KD_ATTRIBUTE(CKA_CLASS, class),
                                { usage, &yes, sizeof(yes) } };
    ck_assert_err(kd_object_find(token_session(), template, 3, found, 8, &n), KD_OK);
    return n;
}

START_TEST(keys_that_are_forgotten_or_late_are_destroyed) {
    kd_auto(meeting) struct meeting m = held(_i);
    kd_auto(call) struct call_result c = { 0 };
    struct kd_token *t = &token_opened()->token;
    meeting_init(&m, token_session());
    meeting_hold(&m);
    check_records(&m, 0);
    ck_assert_uint_eq(kd_traffic_cache_count(t), 1);
    const struct kd_hsm_request q = { .op = KD_HSM_FORGET };
    const struct kd_hsm_item item = { .data = { m.session.cache, sizeof(m.session.cache) } };
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_OK);
    ck_assert_uint_eq(kd_traffic_cache_count(t), 0);
    check_records(&m, 1);
    kd_traffic_cache_expire(token_session());
    ck_assert_uint_eq(kd_traffic_cache_count(t), 1);
    kd_clock_hold(kd_clock_mono_ms(), m.terms.expires_ms);
    kd_traffic_cache_expire(token_session());
    kd_clock_release();
    ck_assert_uint_eq(kd_traffic_cache_count(t), 0);
    ck_assert_uint_le(secret_objects(CKA_ENCRYPT), 1); // at most the copy of the ticket key
    ck_assert_uint_eq(secret_objects(CKA_SIGN), 0);
    ck_assert_uint_eq(secret_objects(CKA_DERIVE), 0);
}
END_TEST

START_TEST(a_direction_has_its_key_from_its_first_use) {
    kd_auto(meeting) struct meeting m = held(_i);
    kd_auto(call) struct call_result c = { 0 };
    m.profile = KD_PROFILE_RESIDENT;
    meeting_init(&m, token_session());
    meeting_hold(&m);
    const size_t before = secret_objects(CKA_ENCRYPT); // a copy of the ticket key
    ck_assert_err(ask_seal(&m, 0, kd_bytes_of_text("body"), &c), KD_OK);
    ck_assert_err(ask_seal(&m, 1, kd_bytes_of_text("body"), &c), KD_OK);
    ck_assert_uint_eq(secret_objects(CKA_ENCRYPT), before + 1);
    ck_assert_uint_eq(secret_objects(CKA_SIGN), 1);
    ck_assert_uint_eq(secret_objects(CKA_DERIVE), 1); // R
    check_records(&m, 2);
    ck_assert_uint_eq(secret_objects(CKA_ENCRYPT), before + 2);
    ck_assert_uint_eq(secret_objects(CKA_SIGN), 1);
    ck_assert_uint_eq(secret_objects(CKA_DERIVE), 0);
}
END_TEST

struct user {
    struct meeting *m;
    struct kd_session *session;
    uint64_t first;
    enum kd_err wrong; // the first
};

// Seals with many numbers, and sessions that come and go.
static void *use_session(void *arg) {
    struct user *u = arg;
    const struct kd_hsm_request q = ask_of(u->m, KD_HSM_RECORD_SEAL);
    struct kd_hsm_session session = u->m->session;
    for (uint64_t i = 0; i < 60; i++) {
        kd_auto(call) struct call_result c = { 0 };
        const struct kd_hsm_item item = { .session = &session,
                                          .sequence = u->first + i,
                                          .data = kd_bytes_of_text("body") };
        session.cache[0] = (uint8_t)(i / 2 % 4);
        const enum kd_err r = call_exec(u->session, &q, &item, &c);
        u->wrong = u->wrong == KD_OK ? r : u->wrong;
    }
    return NULL;
}

START_TEST(two_threads_share_the_keys_of_a_session) {
    kd_auto(meeting) struct meeting m = held(_i);
    struct user users[2];
    pthread_t threads[2];
    meeting_init(&m, token_session());
    meeting_hold(&m);
    for (size_t i = 0; i < 2; i++) {
        users[i] = (struct user) { &m, &token_opened()->sessions[i], 1000 * i, KD_OK };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_session, &users[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_err(users[i].wrong, KD_OK);
    }
    check_room();
}
END_TEST

static enum kd_err ask_release(struct meeting *m, struct call_result *c) {
    struct kd_hsm_request q = ask_of(m, KD_HSM_SESSION_RELEASE);
    q.n_keys = 1;
    const struct kd_hsm_item item = { .session = &m->session };
    return call_exec(token_session(), &q, &item, c);
}

// The client's own are the expected: c2s, s2c, otp, and both IVs.
static void check_released(struct meeting *m, struct kd_bytes keys) {
    struct kd_reader in = kd_reader_of(keys);
    ck_assert_uint_eq(keys.n, KD_HSM_RELEASED_BYTES);
    for (size_t i = 0; i < KD_TRAFFIC_KEYS; i++) {
        ck_assert(kd_ct_equal(kd_read_bytes(&in, 32),
                              (struct kd_bytes) { m->traffic.keys[i].bytes, 32 }));
    }
    ck_assert(kd_bytes_equal(kd_read_bytes(&in, KD_RECORD_IV_BYTES),
                             (struct kd_bytes) { m->ivs.c2s, KD_RECORD_IV_BYTES }));
    ck_assert(kd_bytes_equal(kd_read_bytes(&in, KD_RECORD_IV_BYTES),
                             (struct kd_bytes) { m->ivs.s2c, KD_RECORD_IV_BYTES }));
}

START_TEST(the_keys_of_a_resident_session_are_not_released) {
    kd_auto(meeting) struct meeting m = held(_i);
    kd_auto(call) struct call_result c = { 0 };
    m.profile = KD_PROFILE_RESIDENT;
    meeting_init(&m, token_session());
    meeting_hold(&m);
    ck_assert_err(ask_release(&m, &c), KD_ERR_KEY_TYPE);
    check_records(&m, 0); // and now they are in the cache
    ck_assert_err(ask_release(&m, &c), KD_ERR_KEY_TYPE);
    ck_assert_uint_eq(c.result.out.n, 0);
}
END_TEST

START_TEST(released_keys_are_the_client_s_and_the_worker_keeps_none) {
    kd_auto(meeting) struct meeting m = meeting_of(_i, KD_PROFILE_RELEASED, false);
    kd_auto(call) struct call_result c = { 0 };
    struct kd_token *t = &token_opened()->token;
    meeting_init(&m, token_session());
    meeting_hold(&m);
    ck_assert_err(ask_release(&m, &c), KD_OK); // from the ticket alone
    check_released(&m, c.result.out);
    ck_assert_uint_eq(kd_traffic_cache_count(t), 0);
    check_records(&m, 0); // for the worker this is no state: it is the front's
    ck_assert_uint_eq(kd_traffic_cache_count(t), 1);
    ck_assert_err(ask_release(&m, &c), KD_OK);
    check_released(&m, c.result.out);
    ck_assert_uint_eq(kd_traffic_cache_count(t), 0);
    kd_clock_hold(kd_clock_mono_ms(), m.terms.expires_ms);
    ck_assert_err(ask_release(&m, &c), KD_ERR_SESSION_EXPIRED);
    kd_clock_release();
}
END_TEST

START_TEST(an_envelope_opens_with_the_token_s_key_alone) {
    struct call_key key;
    kd_auto(call) struct call_result c = { 0 };
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1000);
    kd_auto(hpke) struct kd_hpke *h = NULL;
    const struct kd_keys keys = { &kd_keyops_openssl, NULL };
    const struct kd_bytes info = kd_bytes_of_text("info");
    struct kd_point point;
    ck_assert_err(call_generate(token_session(), KD_KEY_EC_P256, KD_USE_DERIVE, 5, &key), KD_OK);
    ck_assert_err(kd_point_read(KD_CURVE_P256, key.ref.proof, &point), KD_OK);
    ck_assert_err(kd_hpke_new_sender(&keys, &point, info, kd_buf_extend(&b, KD_HPKE_ENC_BYTES), &h),
                  KD_OK);
    ck_assert_err(kd_hpke_seal(h, kd_bytes_of_text("aad"), kd_bytes_of_text("text"), &b), KD_OK);
    const struct kd_hsm_request q = { .op = KD_HSM_ENVELOPE_OPEN,
                                      .n_keys = 1,
                                      .keys = { key.ref } };
    struct kd_hsm_item item = { .data = kd_buf_get(&b),
                                .iv = info,
                                .aad = kd_bytes_of_text("aad") };
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_OK);
    ck_assert(kd_bytes_equal(c.result.out, kd_bytes_of_text("text")));
    item.aad = kd_bytes_of_text("aaz");
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_ERR_NOT_AUTHENTIC);
    item.data.n = 80;
    ck_assert_err(call_exec(token_session(), &q, &item, &c), KD_ERR_NOT_AUTHENTIC);
}
END_TEST

TCase *tcase_channel_sessions(void) {
    TCase *c = tcase_create("sessions");
    tcase_add_checked_fixture(c, token_setup, token_teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_ticket_with_any_bit_changed_is_refused);
    tcase_add_test(c, a_ticket_of_another_key_is_refused);
    tcase_add_loop_test(c, a_ticket_says_what_was_agreed, 0, 2);
    tcase_add_loop_test(c, another_attachment_has_other_keys_and_the_ticket_is_enough, 0, 2);
    tcase_add_loop_test(c, one_time_passwords_are_of_the_form_that_the_ticket_says, 0, 6);
    tcase_add_loop_test(c, an_update_renews_all_keys, 0, 2);
    tcase_add_loop_test(c, a_session_whose_time_is_over_only_says_so, 0, 2);
    tcase_add_loop_test(c, keys_that_were_lost_or_gave_way_are_made_again, 0, 2);
    tcase_add_loop_test(c, keys_that_are_forgotten_or_late_are_destroyed, 0, 2);
    tcase_add_loop_test(c, a_direction_has_its_key_from_its_first_use, 0, 2);
    tcase_add_loop_test(c, two_threads_share_the_keys_of_a_session, 0, 2);
    tcase_add_test(c, the_keys_of_a_resident_session_are_not_released);
    tcase_add_loop_test(c, released_keys_are_the_client_s_and_the_worker_keeps_none, 0, CASES);
    tcase_add_test(c, an_envelope_opens_with_the_token_s_key_alone);
    return c;
}
