// SPDX-License-Identifier: Apache-2.0
// Each allocation of the audit log and of its queue fails in turn: a line is whole on the disk, or
// who asked for it is told, or it is counted as lost; and the chain of lines goes on.  And so it is
// where the file cannot be written.
#include "keyd/audit.h"
#include "keyd/config.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char folder[32], path[64];
static const struct kd_chain nothing;
static struct kd_loop *loop;

static void set_up(void) {
    strcpy(folder, "/tmp/kd-audit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/audit.log", folder);
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_err(kd_loop_new(&loop), KD_OK);
}

static void tear_down(void) {
    kd_loop_free(loop);
    unlink(path);
    rmdir(folder);
}

// ---- the file --------------------------------------------------------------

START_TEST(a_log_opens_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        struct kd_audit_found found;
        kd_auto(audit_log) struct kd_audit_log *log = NULL;
        const enum kd_err r = kd_audit_log_open(path, &nothing, &log, &found);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        ck_assert((log != NULL) == (r == KD_OK));
    }
    ck_assert_uint_gt(turn, 2);
}
END_TEST

START_TEST(a_line_is_written_or_can_be_given_again) {
    enum { LINES_OF_A_FILE = 2 };
    struct kd_audit_found found;
    struct kd_audit_line line = { .members = KD_BUF_INIT(256) };
    struct kd_audit_line *rest = NULL;
    unsigned turn = 0;
    kd_buf_text(&line.members, "\"event\":\"key.create\"");
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        kd_auto(audit_log) struct kd_audit_log *log = NULL;
        unlink(path);
        // A file that is not the first begins with a line of its own.
        ck_assert_err(kd_audit_log_open(path, &(struct kd_chain) { .seq = 7 }, &log, &found),
                      KD_OK);
        memory_resume();
        const enum kd_err r = kd_audit_log_write(log, &line, &rest);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_AUDIT : KD_OK);
        if (r != KD_OK) {
            ck_assert_str_eq(kd_audit_log_reason(log), strerror(ENOMEM));
            ck_assert_uint_eq(kd_audit_log_size(log), 0);
            ck_assert_err(kd_audit_log_write(log, &line, &rest), KD_OK);
        }
        ck_assert_ptr_null(rest);
        kd_audit_log_close(KD_STEAL(log));
        ck_assert_err(kd_audit_log_open(path, &nothing, &log, &found), KD_OK);
        ck_assert_uint_eq(found.n_lines, LINES_OF_A_FILE);
        ck_assert_uint_eq(found.bad_line, 0);
        ck_assert_uint_eq(found.n_cut, 0);
    }
    ck_assert_uint_gt(turn, 2);
    kd_buf_wipe(&line.members);
}
END_TEST

// ---- the queue -------------------------------------------------------------

static unsigned n_done;

static void on_done(struct kd_audit_entry *entry, enum kd_err err) {
    n_done++;
    ck_assert_err(err, KD_OK);
    kd_audit_entry_free(entry);
}

static enum kd_err say(struct kd_audit *a, bool waits) {
    char long_text[600]; // more than the first room of a buffer
    memset(long_text, 't', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    struct kd_audit_entry *e = kd_audit_entry_new("key.create");
    if (e != NULL) {
        kd_audit_put(e, "principal", "app");
        kd_audit_put(e, "name", long_text);
        kd_audit_put_number(e, "status", 201);
        e->done = waits ? on_done : NULL;
    }
    return kd_audit_write(a, e);
}

static struct kd_audit *open_queue(void) {
    const struct kd_audit_config config = { .file = path, .bytes_max = 1 << 24, .key = "" };
    struct kd_audit *a = NULL;
    ck_assert_err(kd_audit_open(loop, &config, &nothing, &a), KD_OK);
    return a;
}

// How many lines the closed log has, after those of the start and before that of the stop.
static uint64_t n_lines(void) {
    struct kd_audit_found found;
    kd_auto(audit_log) struct kd_audit_log *log = NULL;
    ck_assert_err(kd_audit_log_open(path, &nothing, &log, &found), KD_OK);
    ck_assert_uint_eq(found.bad_line, 0);
    return found.n_lines - 2;
}

START_TEST(the_queue_opens_or_there_is_no_memory) {
    const struct kd_audit_config config = { .file = path, .bytes_max = 1 << 20, .key = "" };
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        struct kd_chain last;
        struct kd_audit *a = NULL;
        const enum kd_err r = kd_audit_open(loop, &config, &nothing, &a);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        ck_assert((a != NULL) == (r == KD_OK));
        kd_audit_close(a, &last);
    }
    ck_assert_uint_gt(turn, 4);
}
END_TEST

START_TEST(who_waits_for_a_line_is_answered_or_told_that_there_is_no_memory) {
    struct kd_audit *a = open_queue();
    struct kd_chain last;
    unsigned n_taken = 0;
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = say(a, true);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        ck_assert_err(say(a, true), KD_OK);
        n_taken += 1 + (r == KD_OK);
    }
    ck_assert_uint_gt(turn, 2);
    kd_audit_close(a, &last);
    ck_assert_uint_eq(n_done, n_taken);
    ck_assert_uint_eq(n_lines(), n_taken);
}
END_TEST

START_TEST(a_line_that_nobody_waits_for_is_written_or_counted) {
    struct kd_audit_report report;
    struct kd_audit *a = open_queue();
    struct kd_chain last;
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        kd_audit_say(a, "policy.read", "file", turn % 2 == 0 ? "policy" : "");
        const bool fails = memory_has_failed();
        kd_audit_get(a, &report);
        ck_assert_uint_eq(report.lost, turn + fails);
    }
    ck_assert_uint_gt(turn, 1);
    ck_assert_err(say(a, false), KD_OK);
    kd_audit_close(a, &last);
    ck_assert_uint_eq(n_lines(), 2); // of the last turn, and the one after
}
END_TEST

// ---- what is kept ------------------------------------------------------------

static enum kd_err heard;

static void on_heard(struct kd_audit_entry *entry, enum kd_err err) {
    heard = err;
    kd_audit_entry_free(entry);
    kd_loop_stop(loop);
}

// What becomes of a line that is waited for; those before it have been tried, too.
static enum kd_err wait_for_line(struct kd_audit *a) {
    struct kd_audit_entry *e = kd_audit_entry_new("key.delete");
    ck_assert_ptr_nonnull(e);
    e->done = on_heard;
    ck_assert_err(kd_audit_write(a, e), KD_OK);
    ck_assert_err(kd_loop_run(loop), KD_OK);
    return heard;
}

static uint64_t n_lost(struct kd_audit *a) {
    struct kd_audit_report report;
    kd_audit_get(a, &report);
    return report.lost;
}

START_TEST(lines_that_cannot_be_written_are_kept_up_to_their_limit_and_then_counted) {
    enum { CONTINUE = 1, FAILED = 1, RESUMED = 1, WAITED_FOR = 1, STOP = 1 };
    struct kd_audit *a = open_queue();
    struct kd_chain last;
    struct kd_audit_found found;
    struct kd_audit_log *log = NULL;
    ck_assert_err(wait_for_line(a), KD_OK);
    ck_assert_int_eq(truncate(path, 1), 0); // somebody cuts it, so it is not written any more
    ck_assert_err(wait_for_line(a), KD_ERR_AUDIT);
    for (unsigned i = FAILED; i < KD_AUDIT_KEPT_MAX; i++) { // that it failed is kept, too
        ck_assert_err(say(a, false), KD_OK);
    }
    ck_assert_err(wait_for_line(a), KD_ERR_AUDIT);
    ck_assert_uint_eq(n_lost(a), 0);
    ck_assert_err(say(a, false), KD_OK);
    ck_assert_err(wait_for_line(a), KD_ERR_AUDIT);
    ck_assert_uint_eq(n_lost(a), 1);
    ck_assert_int_eq(unlink(path), 0);
    kd_audit_reopen(a);
    ck_assert_err(wait_for_line(a), KD_OK);
    ck_assert_uint_eq(n_lost(a), 1);
    kd_audit_close(a, &last);
    ck_assert_err(kd_audit_log_open(path, &nothing, &log, &found), KD_OK);
    ck_assert_uint_eq(found.n_lines, CONTINUE + KD_AUDIT_KEPT_MAX + WAITED_FOR + RESUMED + STOP);
    ck_assert_uint_eq(found.bad_line, 0);
    kd_audit_log_close(log);
}
END_TEST

static TCase *tcase_kept(void) {
    TCase *t = tcase_create("kept");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, lines_that_cannot_be_written_are_kept_up_to_their_limit_and_then_counted);
    return t;
}

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("memory");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_log_opens_or_there_is_no_memory);
    tcase_add_test(t, a_line_is_written_or_can_be_given_again);
    tcase_add_test(t, the_queue_opens_or_there_is_no_memory);
    tcase_add_test(t, who_waits_for_a_line_is_answered_or_told_that_there_is_no_memory);
    tcase_add_test(t, a_line_that_nobody_waits_for_is_written_or_counted);
    return t;
}

UNIT_MAIN("audit memory", tcase_memory(), tcase_kept())
