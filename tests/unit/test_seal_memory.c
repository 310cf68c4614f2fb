// SPDX-License-Identifier: Apache-2.0
// Each allocation of a seal of the audit log, and of what is written down after it, fails in turn:
// the seal is made and the store knows of it, or it is made when it is tried again.  So it is with
// the record that a PIN was refused: a PIN is submitted once.  And what a seal leaves for the next.
#include "keyd/state.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/service_fixture.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

static char log_file[160];

// ---- seals -----------------------------------------------------------------

static void set_up(void) {
    service_setup();
    snprintf(log_file, sizeof(log_file), "%s", fixture_path("audit.log"));
}

static void start(void) {
    fx.config->audit.file = log_file;
    fx.config->audit.key = "seal";
    fx.config->audit.seal_sec = 86400;
    service_start("start ok\n");
    ck_assert_err(service_create(7, "seal", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
}

static uint64_t last_seq(void) {
    struct kd_audit_report report;
    kd_audit_get(sx.service->audit, &report);
    return report.last.seq;
}

static uint64_t line_seq; // of the line that was written; 0: not yet

static void on_line(struct kd_audit_entry *entry, enum kd_err err) {
    ck_assert_err(err, KD_OK);
    line_seq = entry->line.seq;
    kd_audit_entry_free(entry);
}

static bool is_written(void) {
    return line_seq > 0;
}

// What is on the disk is reported a moment after who waits for it is told.
static void wait_for_report(uint64_t seq) {
    while (last_seq() < seq) {
        sched_yield();
    }
}

// One line more, that is not sealed yet; those before it are on the disk, too.
static void write_line(void) {
    memory_pause();
    struct kd_audit_entry *e = kd_audit_entry_new("policy.read");
    ck_assert_ptr_nonnull(e);
    e->done = on_line;
    line_seq = 0;
    ck_assert_err(kd_audit_write(sx.service->audit, e), KD_OK);
    fixture_run_until(is_written);
    wait_for_report(line_seq);
    memory_resume();
}

static bool is_over(void) {
    return !sx.service->seal.is_under_way && sx.service->pending == 0;
}

// Whether the log is sealed up to its last line.
static bool seal(void) {
    const uint64_t covered = last_seq();
    kd_seal_now(sx.service);
    fixture_run_until(is_over);
    (void)memory_has_failed();
    const struct kd_seal *s = &sx.service->seal;
    ck_assert(s->has_failed == (s->sealed_seq != covered));
    ck_assert(s->has_failed || s->own_seq == covered + 1);
    wait_for_report(covered + !s->has_failed);
    ck_assert_uint_eq(last_seq(), covered + !s->has_failed);
    return !s->has_failed;
}

struct question {
    struct kd_store_job job; // first
    uint64_t seq;
    bool is_answered;
};

static struct question question;

static enum kd_err read_fact(struct kd_store_job *job KD_UNUSED, struct kd_store *store) {
    uint8_t room[KD_FACT_MAX_BYTES];
    struct kd_buf value = KD_BUF_OVER(room);
    const enum kd_err r = kd_store_get_fact(store, "audit-last", &value);
    struct kd_reader in = kd_reader_of(kd_buf_get(&value));
    question.seq = kd_read_u64(&in);
    return r;
}

static void on_fact(struct kd_store_job *job KD_UNUSED, enum kd_err err) {
    ck_assert_err(err, KD_OK);
    question.is_answered = true;
}

static bool is_answered(void) {
    return question.is_answered;
}

// A fact waits for the one before it to be reported, and not in the store's queue.
static bool is_written_down(void) {
    return !sx.service->audit_last.is_under_way;
}

// The last line that was sealed, as the store has it.
static uint64_t known_seq(void) {
    fixture_run_until(is_written_down);
    question = (struct question) { .job = { .run = read_fact, .done = on_fact } };
    kd_store_thread_submit(sx.service->store, &question.job);
    fixture_run_until(is_answered);
    return question.seq;
}

START_TEST(a_seal_is_made_and_known_or_made_when_tried_again) {
    struct kd_audit_found found;
    const struct kd_chain nothing = { .seq = 0 };
    struct kd_audit_log *log = NULL;
    unsigned turn = 0, n_failed = 0;
    start();
    write_line();
    ck_assert(seal()); // the buffers of the worker are made
    for (; memory_fails_at(turn); turn++) {
        write_line();
        const bool is_sealed = seal();
        ck_assert(is_sealed || memory_has_failed());
        n_failed += !is_sealed;
        fixture_run_until(service_ready);
        ck_assert(is_sealed || seal());
        ck_assert_uint_eq(known_seq(), sx.service->seal.sealed_seq);
    }
    ck_assert_uint_gt(turn, 3);
    ck_assert_uint_gt(n_failed, 2);
    service_reset();
    ck_assert_err(kd_audit_log_open(log_file, &nothing, &log, &found), KD_OK);
    ck_assert_uint_eq(found.bad_line, 0);
    kd_audit_log_close(log);
}
END_TEST

// While the token makes the MAC others write.
START_TEST(a_line_that_came_before_its_seal_was_written_is_sealed_though_none_follows) {
    const struct kd_seal *s = NULL;
    start();
    s = &sx.service->seal;
    write_line();
    const uint64_t covered = last_seq();
    kd_seal_now(sx.service);
    write_line();
    fixture_run_until(is_over);
    ck_assert_uint_eq(s->sealed_seq, covered);
    ck_assert_uint_eq(s->own_seq, covered + 2);
    wait_for_report(covered + 2);
    kd_seal_now(sx.service);
    ck_assert(s->is_under_way);
    fixture_run_until(is_over);
    ck_assert_uint_eq(s->sealed_seq, covered + 2);
    wait_for_report(covered + 3);
    kd_seal_now(sx.service);
    ck_assert(!s->is_under_way); // nothing but the seal follows what it covers
}
END_TEST

// ---- a refused PIN ---------------------------------------------------------

static bool is_refused(void) {
    const char *detail;
    return kd_service_ready(sx.service, &detail) == KD_ERR_PIN_REFUSED;
}

START_TEST(a_refused_pin_is_not_submitted_again_whichever_allocation_fails) {
    char line[64];
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        snprintf(line, sizeof(line), "start refuse pin%u\n", turn);
        fixture_script(line);
        snprintf(line, sizeof(line), "pin%u\n", turn);
        fixture_file("pin", line);
        service_open();
        memory_resume();
        fixture_run_until(is_refused);
        (void)memory_has_failed();
        service_reset();
        service_open();
        fixture_run_until(is_refused);
        service_reset();
        snprintf(line, sizeof(line), "login pin%u\n", turn);
        ck_assert_uint_eq(fixture_count(line), 1);
    }
    ck_assert_uint_gt(turn, 2);
}
END_TEST

static TCase *tcase_seals(void) {
    TCase *t = tcase_create("seals");
    tcase_add_checked_fixture(t, set_up, service_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_line_that_came_before_its_seal_was_written_is_sealed_though_none_follows);
    return t;
}

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("memory");
    tcase_add_checked_fixture(t, set_up, service_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_seal_is_made_and_known_or_made_when_tried_again);
    tcase_add_test(t, a_refused_pin_is_not_submitted_again_whichever_allocation_fails);
    return t;
}

UNIT_MAIN("seal memory", tcase_seals(), tcase_memory())
