// SPDX-License-Identifier: Apache-2.0
// Places for questions: a peer has its share of them and no more, by whatever connections, and
// nobody else has less for it.  What nobody has proven leaves a quarter.
#include "tests/unit/fake_client.h"
#include "tests/unit/unit.h"

#include <string.h>

enum { SHARE = 3, PLACES = 8, QUARTER = PLACES / 4 };

static struct fake_gateway f;
static struct kd_route unknown, another; // other connections
static unsigned n_done, n_busy;

static bool send_nothing(struct kd_route *route KD_UNUSED, struct kd_bytes frame KD_UNUSED) {
    return true;
}

static void set_up(void) {
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_err(fake_gateway_open(&f), KD_OK);
    f.config.pending_max = PLACES;
    f.config.pending_per_peer = SHARE;
    f.config.batch_max = 1;
    unknown = another = (struct kd_route) { .g = &f.g, .send = send_nothing };
    n_done = n_busy = 0;
}

static void tear_down(void) {
    ck_assert_uint_eq(f.g.pending_unproven, 0);
    ck_assert_uint_eq(kd_map_count(&f.g.shares), 0);
    kd_route_close(&unknown);
    kd_route_close(&another);
    fake_gateway_close(&f);
}

static void on_done(void *arg KD_UNUSED, struct kd_bytes answer) {
    struct kd_frame frame;
    struct kd_failure_body why;
    n_done++;
    n_busy += kd_frame_parse(answer, &frame) == KD_OK && frame.role == KD_FRAME_FAILURE &&
              kd_failure_parse(frame.body, &why) == KD_OK && why.code == KD_FAILURE_BUSY &&
              why.after_s == 1;
}

static void ask_kind(struct kd_route *route, enum kd_frame_kind kind) {
    static const uint8_t record[] = { 1, 2, 3 };
    const struct kd_frame frame = { .kind = kind, .id = 1, .body = { record, sizeof(record) } };
    const struct kd_origin origin = { "127.0.0.1:1", true, route };
    kd_auto(buf) struct kd_buf bytes = KD_BUF_INIT(64);
    kd_frame_put(&bytes, &frame);
    ck_assert_err(kd_buf_finish(&bytes), KD_OK);
    kd_gateway_ask(&f.g, kd_buf_get(&bytes), &origin, on_done, NULL);
    (void)kd_records_flush(&f.g);
}

static void ask(struct kd_route *route) {
    ask_kind(route, KD_FRAME_MESSAGE);
}

// keyd opens the record that it was asked for last: it is of this peer.
static void open_as(const char *peer, enum kd_record_type type) {
    kd_auto(buf) struct kd_buf result = KD_BUF_INIT(256);
    kd_cbor_put_array(&result, 7);
    kd_cbor_put_text(&result, "0102030405060708");
    kd_cbor_put_text(&result, peer);
    kd_cbor_put_text(&result, "");
    kd_cbor_put_bool(&result, true);
    kd_cbor_put_uint(&result, type);
    kd_cbor_put_uint(&result, 1);
    kd_cbor_put_bytes(&result, KD_BYTES_NONE);
    ck_assert_err(kd_buf_finish(&result), KD_OK);
    fake_client_answer_newest(200, kd_buf_get(&result));
}

// One more message of the peer is with the backend.
static void send_as(const char *peer, struct kd_route *route) {
    const size_t before = f.g.pending;
    ask(route);
    open_as(peer, KD_RECORD_DATA);
    ck_assert_uint_eq(f.g.pending, before + 1);
}

static void answer_one(void) {
    fake_client_answer(503, KD_BYTES_NONE); // the backend is away: that is to be sealed
    (void)kd_records_flush(&f.g);
    fake_client_answer_newest(503, KD_BYTES_NONE);
}

static void answer_all(void) {
    while (fake_client_first() != NULL) {
        fake_client_answer(503, KD_BYTES_NONE);
        (void)kd_records_flush(&f.g);
    }
    ck_assert_uint_eq(f.g.pending, 0);
}

static void fill(const char *peer, struct kd_route *route) {
    for (unsigned i = 0; i < SHARE; i++) {
        send_as(peer, route);
    }
    ck_assert_uint_eq(f.g.counts.over_share, 0);
}

START_TEST(peer_over_its_share_comes_again_later_and_others_do_not_notice) {
    fill("greedy", &f.route);
    ask(&f.route); // known by its connection: nobody is asked
    ck_assert_uint_eq(n_busy, 1);
    ck_assert_uint_eq(f.g.counts.over_share, 1);
    ck_assert_uint_eq(f.g.pending, SHARE);
    send_as("quiet", &another);
    ck_assert_uint_eq(n_busy, 1);
    answer_one();
    send_as("greedy", &f.route); // there is room again
    answer_all();
    ck_assert_uint_eq(f.g.counts.over_share, 1);
}
END_TEST

START_TEST(peer_has_one_share_by_however_many_connections) {
    fill("greedy", &f.route);
    for (unsigned i = 0; i < 2; i++) { // one that is new, and one that does not stay
        ask(i == 0 ? &unknown : NULL);
        ck_assert_uint_eq(f.g.pending, SHARE + 1);
        open_as("greedy", KD_RECORD_DATA);
        ck_assert_uint_eq(n_busy, i + 1);
        ck_assert_uint_eq(f.g.pending, SHARE);
    }
    ask(&unknown); // now it is known there, too
    ck_assert_uint_eq(n_busy, 3);
    ck_assert_uint_eq(f.g.pending, SHARE);
    answer_all();
    ck_assert_uint_eq(f.g.counts.over_share, 3);
}
END_TEST

// Also where another's came by it last.
START_TEST(place_is_of_who_sealed_the_record) {
    fill("a", &another);
    send_as("b", &f.route);
    ask(&f.route); // a place of b's, as it seems
    ck_assert_uint_eq(f.g.pending, SHARE + 2);
    open_as("a", KD_RECORD_DATA);
    ck_assert_uint_eq(n_busy, 1);
    ck_assert_uint_eq(f.g.pending, SHARE + 1);
    answer_all();
}
END_TEST

START_TEST(closing_is_answered_whatever_share_is_taken) {
    fill("greedy", &f.route);
    ask_kind(&unknown, KD_FRAME_CLOSE);
    open_as("greedy", KD_RECORD_CLOSE);
    ck_assert_uint_eq(n_done, 1);
    ck_assert_uint_eq(n_busy, 0);
    answer_all();
}
END_TEST

START_TEST(what_nobody_has_proven_leaves_a_quarter_to_who_is_known) {
    send_as("d", &f.route);
    answer_all();
    n_done = n_busy = 0;
    for (unsigned i = 0; i < PLACES; i++) {
        ask(i % 2 == 0 ? &unknown : NULL);
    }
    ck_assert_uint_eq(n_busy, QUARTER);
    ck_assert_uint_eq(f.g.pending, PLACES - QUARTER);
    ask(&f.route);
    ask(&f.route);
    ck_assert_uint_eq(n_busy, QUARTER);
    ask(&f.route); // now all are taken
    ck_assert_uint_eq(n_busy, QUARTER + 1);
    ck_assert_uint_eq(f.g.counts.over_share, 0);
    answer_all();
}
END_TEST

START_TEST(what_is_proven_takes_no_place_of_the_unproven) {
    static const char *const peers[] = { "a", "b", "c" };
    for (unsigned i = 0; i < 2 * SHARE; i++) {
        send_as(peers[i / SHARE], NULL);
    }
    ck_assert_uint_eq(f.g.pending_unproven, 0);
    send_as(peers[2], NULL);
    ck_assert_uint_eq(n_busy, 0);
    answer_all();
}
END_TEST

static TCase *tcase_places(void) {
    TCase *c = tcase_create("places");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, peer_over_its_share_comes_again_later_and_others_do_not_notice);
    tcase_add_test(c, peer_has_one_share_by_however_many_connections);
    tcase_add_test(c, place_is_of_who_sealed_the_record);
    tcase_add_test(c, closing_is_answered_whatever_share_is_taken);
    tcase_add_test(c, what_nobody_has_proven_leaves_a_quarter_to_who_is_known);
    tcase_add_test(c, what_is_proven_takes_no_place_of_the_unproven);
    return c;
}

UNIT_MAIN("gateway places", tcase_places())
