// SPDX-License-Identifier: Apache-2.0
// Envelopes in the service (J15): when they are opened, to the second, and that each is
// opened once whatever the clock, the disk and the configuration do in between.  The worker is
// the fake one: what it "opens" is the ciphertext.
#include "channel/envelope.h"
#include "tests/unit/channel_fixture.h"
#include "tests/unit/failing_memory.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { LEEWAY_SEC = 60, VALIDITY_MAX_SEC = 200, SOON_SEC = 60, BODY_BYTES = 5, TURNS_MAX = 200 };

static const uint64_t now_s = 1000000;

static struct {
    unsigned n_begun, n_done, n_opened;
    enum kd_err errors[8]; // in the order of their coming
    enum kd_err last;
    uint8_t id[KD_ENVELOPE_ID_BYTES];
    uint64_t expires_s;
    size_t body_bytes;
    char detail[256];
} ex;

static void be_at(uint64_t ms) {
    kd_clock_hold(5000, ms);
}

static void start(const char *script) {
    channel_start(script);
    ck_assert_err(service_create(7, "mailbox", KD_KEY_EC_P256, KD_USE_DERIVE), KD_OK);
}

static void setup(void) {
    channel_setup();
    memset(&ex, 0, sizeof(ex));
    struct kd_channel_config *c = &fx.config->channel;
    c->envelope = "mailbox";
    c->envelope_leeway_sec = LEEWAY_SEC;
    c->envelope_validity_max_sec = VALIDITY_MAX_SEC;
    c->envelopes_max = 4;
    be_at(now_s * 1000);
}

static void teardown(void) {
    kd_clock_release();
    channel_teardown();
}

// ---- making and opening ----------------------------------------------------

// Its message id is made of `number`.
static struct kd_bytes envelope(unsigned number, uint64_t time_s, uint64_t expires_s) {
    static const struct kd_keys keys = { &kd_keyops_openssl, NULL };
    static uint8_t room[8][512];
    static unsigned turn;
    uint8_t id[KD_ENVELOPE_ID_BYTES] = { (uint8_t)number };
    struct kd_envelope_key key;
    struct kd_point point;
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(sizeof(room[0]));
    const struct kd_caller c = service_caller_of(7);
    const struct kd_envelope terms = { .id = { id, sizeof(id) },
                                       .time_s = time_s,
                                       .expires_s = expires_s,
                                       .sender = kd_bytes_of_text("sensor") };
    ck_assert_err(kd_envelope_key(sx.service, &c, &key), KD_OK);
    ck_assert_err(kd_point_read(KD_CURVE_P256, key.point, &point), KD_OK);
    ck_assert_err(kd_envelope_seal(&keys, &point, &terms, kd_bytes_of_text("hello"), &out), KD_OK);
    uint8_t *to = room[turn++ % KD_COUNT_OF(room)];
    memcpy(to, out.p, out.n);
    return (struct kd_bytes) { to, out.n };
}

static void on_opened(void *arg KD_UNUSED, enum kd_err err, const char *detail,
                      const struct kd_envelope_opened *opened) {
    ck_assert_int_eq(opened != NULL, err == KD_OK);
    ck_assert_uint_lt(ex.n_done, KD_COUNT_OF(ex.errors));
    ex.errors[ex.n_done++] = err;
    ex.last = err;
    snprintf(ex.detail, sizeof(ex.detail), "%s", detail);
    if (opened != NULL) {
        ex.n_opened++;
        memcpy(ex.id, opened->id, sizeof(ex.id));
        ex.expires_s = opened->expires_s;
        ex.body_bytes = opened->body.n;
        ck_assert_str_eq(opened->sender, "sensor");
    }
}

static bool all_done(void) {
    return ex.n_done == ex.n_begun;
}

static enum kd_err begin(uid_t uid, struct kd_bytes bytes) {
    const struct kd_caller c = service_caller_of(uid);
    const enum kd_err r = kd_envelope_open(sx.service, &c, bytes, on_opened, NULL);
    ex.n_begun += r == KD_OK;
    return r;
}

static void finish(void) {
    fixture_run_until(all_done);
    ex.n_begun = ex.n_done = 0;
}

static enum kd_err open_it(struct kd_bytes bytes) {
    const enum kd_err r = begin(7, bytes);
    if (r != KD_OK) {
        return r;
    }
    finish();
    return ex.last;
}

// ---- time ------------------------------------------------------------------

START_TEST(times_hold_to_the_second) {
    static const struct {
        int time, expires; // against now
        enum kd_err expected;
    } rows[] = {
        { LEEWAY_SEC + 1, LEEWAY_SEC + 2, KD_ERR_ENVELOPE_TIME }, // from the future
        { LEEWAY_SEC, LEEWAY_SEC + 1, KD_OK },
        { -90, -LEEWAY_SEC, KD_ERR_ENVELOPE_TIME }, // expired
        { -90, -LEEWAY_SEC + 1, KD_OK },
        { 0, VALIDITY_MAX_SEC + 1, KD_ERR_ENVELOPE_TIME }, // valid for too long
        { 0, VALIDITY_MAX_SEC, KD_OK },
        { 0, 0, KD_ERR_ENVELOPE_TIME }, // for no time
        { 0, -1, KD_ERR_ENVELOPE_TIME },
        { 0, 1, KD_OK },
    };
    fx.config->channel.envelopes_max = TURNS_MAX; // none of them wants for a place
    start("start ok\n");
    for (unsigned i = 0; i < KD_COUNT_OF(rows); i++) {
        const struct kd_bytes e = envelope(i, now_s + (uint64_t)(int64_t)rows[i].time,
                                           now_s + (uint64_t)(int64_t)rows[i].expires);
        const enum kd_err r = open_it(e);
        ck_assert_msg(r == rows[i].expected, "row %u: %s", i, kd_err_name(r));
    }
}
END_TEST

START_TEST(expiry_is_at_its_very_moment) {
    start("start ok\n");
    const struct kd_bytes first = envelope(1, now_s, now_s + 10);
    const struct kd_bytes second = envelope(2, now_s, now_s + 10);
    be_at((now_s + 10 + LEEWAY_SEC) * 1000);
    ck_assert_err(open_it(first), KD_ERR_ENVELOPE_TIME);
    be_at((now_s + 10 + LEEWAY_SEC) * 1000 - 1);
    ck_assert_err(open_it(second), KD_OK);
    ck_assert_uint_eq(ex.expires_s, now_s + 10);
    ck_assert_uint_eq(ex.id[0], 2);
    ck_assert_uint_eq(ex.body_bytes, BODY_BYTES);
}
END_TEST

START_TEST(times_that_no_clock_shows_are_refused) {
    static const uint64_t last = UINT64_MAX;
    start("start ok\n");
    ck_assert_err(open_it(envelope(1, now_s, last)), KD_ERR_ENVELOPE_TIME);
    ck_assert_err(open_it(envelope(1, last - 10, last)), KD_ERR_ENVELOPE_TIME);
    ck_assert_err(open_it(envelope(1, 0, 1)), KD_ERR_ENVELOPE_TIME);
    be_at(1000); // a host whose clock was never set: before the leeway has passed
    ck_assert_err(open_it(envelope(1, 0, 1)), KD_OK);
    ck_assert_err(open_it(envelope(1, 0, 1)), KD_ERR_ENVELOPE_REPLAYED);
}
END_TEST

// ---- once ------------------------------------------------------------------

START_TEST(of_two_under_way_one_is_opened) {
    start("start ok\n");
    const struct kd_bytes e = envelope(1, now_s, now_s + 10);
    ck_assert_err(begin(7, e), KD_OK);
    ck_assert_err(begin(7, e), KD_OK); // the worker has not answered yet
    ck_assert_err(begin(7, envelope(2, now_s, now_s + 10)), KD_OK);
    finish();
    ck_assert_uint_eq(ex.n_opened, 2);
    const unsigned n_replayed = (ex.errors[0] == KD_ERR_ENVELOPE_REPLAYED) +
                                (ex.errors[1] == KD_ERR_ENVELOPE_REPLAYED) +
                                (ex.errors[2] == KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_uint_eq(n_replayed, 1);
    ck_assert_uint_eq(fixture_count("request envelope-open"), 3);
    ck_assert_err(open_it(e), KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_uint_eq(fixture_count("request envelope-open"), 3); // the token had no work with it
}
END_TEST

START_TEST(envelope_that_is_not_authentic_spends_no_id) {
    start("start ok\nonce\non envelope-open error not-authentic\n");
    const struct kd_bytes e = envelope(1, now_s, now_s + 10);
    ck_assert_err(open_it(e), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(open_it(e), KD_OK);
}
END_TEST

START_TEST(full_list_makes_room_when_envelopes_end) {
    start("start ok\n");
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_err(open_it(envelope(i, now_s, now_s + 10)), KD_OK);
    }
    ck_assert_err(open_it(envelope(4, now_s, now_s + 10)), KD_ERR_BUSY);
    be_at((now_s + 10 + LEEWAY_SEC) * 1000 - 1);
    ck_assert_err(open_it(envelope(4, now_s, now_s + 80)), KD_ERR_BUSY);
    be_at((now_s + 10 + LEEWAY_SEC) * 1000);
    ck_assert_err(open_it(envelope(4, now_s, now_s + 80)), KD_OK);
}
END_TEST

// Anybody can seal one, and says himself how long it is remembered.
START_TEST(from_half_on_an_envelope_must_expire_soon) {
    start("start ok\n");
    const uint64_t soon_s = now_s + SOON_SEC + LEEWAY_SEC; // by a clock that is ahead
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_err(open_it(envelope(i, now_s, now_s + VALIDITY_MAX_SEC)), KD_OK);
    }
    const struct kd_bytes late = envelope(2, now_s, soon_s + 1);
    ck_assert_err(open_it(late), KD_ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(ex.detail, "expires within a minute"));
    channel_restart();
    ck_assert_err(open_it(late), KD_ERR_BUSY);
    ck_assert_err(open_it(envelope(3, now_s + LEEWAY_SEC, soon_s)), KD_OK);
    be_at(now_s * 1000 + 1000);
    ck_assert_err(open_it(late), KD_OK); // now it is not long any more
    ck_assert_err(open_it(late), KD_ERR_ENVELOPE_REPLAYED);
    ck_assert_err(open_it(envelope(4, now_s, now_s + 2)), KD_ERR_BUSY); // all are taken
    be_at((soon_s + 1 + LEEWAY_SEC) * 1000);
    ck_assert_err(open_it(envelope(5, now_s + 150, now_s + 182)), KD_OK);
}
END_TEST

// The text is not given out before its id is on the disk: where that fails it is kept back, and
// the sender may try again.
START_TEST(text_is_kept_back_when_the_disk_is_full) {
    struct rlimit before;
    start("start ok\n");
    const struct kd_bytes e = envelope(1, now_s, now_s + 10);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit none = { 0, before.rlim_max };
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_err(begin(7, envelope(i, now_s, now_s + 10)), KD_OK);
    }
    finish();
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_err(ex.errors[i], KD_ERR_STORE);
    }
    ck_assert_uint_eq(ex.n_opened, 0);
    ck_assert_err(open_it(e), KD_OK);
    ck_assert_err(open_it(e), KD_ERR_ENVELOPE_REPLAYED);
    channel_restart();
    ck_assert_err(open_it(e), KD_ERR_ENVELOPE_REPLAYED);
}
END_TEST

START_TEST(forgotten_envelope_stays_refused_when_the_clock_goes_back) {
    start("start ok\n");
    const struct kd_bytes e = envelope(1, now_s, now_s + 10);
    ck_assert_err(open_it(e), KD_OK);
    be_at((now_s + 10 + LEEWAY_SEC) * 1000);
    ck_assert_err(open_it(envelope(2, now_s, now_s + 90)), KD_OK); // forgets the first
    be_at(now_s * 1000);
    ck_assert_err(open_it(e), KD_ERR_ENVELOPE_TIME);
    channel_restart();
    ck_assert_err(open_it(e), KD_ERR_ENVELOPE_TIME);
    ck_assert_err(open_it(envelope(3, now_s, now_s + 11)), KD_OK);
}
END_TEST

START_TEST(forgotten_envelope_stays_refused_when_the_leeway_grows) {
    start("start ok\n");
    const struct kd_bytes e = envelope(1, now_s, now_s + 10);
    ck_assert_err(open_it(e), KD_OK);
    be_at((now_s + 10 + LEEWAY_SEC) * 1000);
    ck_assert_err(open_it(envelope(2, now_s, now_s + 90)), KD_OK);
    fx.config->channel.envelope_leeway_sec = 3600;
    channel_restart();
    ck_assert_err(open_it(e), KD_ERR_ENVELOPE_TIME);
}
END_TEST

// Each allocation on the way fails in turn: the envelope is opened, or it can be once there is
// memory.
START_TEST(envelope_is_opened_or_there_is_no_memory) {
    fx.config->channel.envelopes_max = TURNS_MAX;
    start("start ok\n");
    ck_assert_err(open_it(envelope(255, now_s, now_s + 10)), KD_OK); // buffers grow
    unsigned failures = 0;
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        ck_assert_uint_lt(turn, TURNS_MAX);
        memory_pause();
        const struct kd_bytes e = envelope(turn, now_s, now_s + 10);
        memory_resume();
        const enum kd_err r = open_it(e);
        const bool fails = memory_has_failed();
        failures += r != KD_OK;
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        ck_assert_err(open_it(e), r == KD_OK ? KD_ERR_ENVELOPE_REPLAYED : KD_OK);
    }
    ck_assert_uint_gt(failures, 3);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}
END_TEST

START_TEST(only_who_may_opens) {
    struct kd_envelope_key key;
    start("start ok\n");
    const struct kd_caller reader = service_caller_of(8);
    ck_assert_err(begin(8, envelope(1, now_s, now_s + 10)), KD_ERR_DENIED);
    ck_assert_err(kd_envelope_key(sx.service, &reader, &key), KD_OK); // may show
    ck_assert_err(open_it(envelope(1, now_s, now_s + 10)), KD_OK);
}
END_TEST

static TCase *tcase_envelopes(void) {
    TCase *t = tcase_create("envelopes");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, times_hold_to_the_second);
    tcase_add_test(t, expiry_is_at_its_very_moment);
    tcase_add_test(t, times_that_no_clock_shows_are_refused);
    tcase_add_test(t, of_two_under_way_one_is_opened);
    tcase_add_test(t, envelope_that_is_not_authentic_spends_no_id);
    tcase_add_test(t, full_list_makes_room_when_envelopes_end);
    tcase_add_test(t, from_half_on_an_envelope_must_expire_soon);
    tcase_add_test(t, text_is_kept_back_when_the_disk_is_full);
    tcase_add_test(t, forgotten_envelope_stays_refused_when_the_clock_goes_back);
    tcase_add_test(t, forgotten_envelope_stays_refused_when_the_leeway_grows);
    tcase_add_test(t, envelope_is_opened_or_there_is_no_memory);
    tcase_add_test(t, only_who_may_opens);
    return t;
}

UNIT_MAIN("envelopes", tcase_envelopes())
