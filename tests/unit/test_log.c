// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char logged[8192];

// Runs with standard error caught in `logged` from here to end_catch.
static int pipe_fds[2];
static int saved_stderr;

static void begin_catch(void) {
    ck_assert_int_eq(pipe(pipe_fds), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
}

static void end_catch(void) {
    dup2(saved_stderr, STDERR_FILENO);
    close(pipe_fds[1]);
    ssize_t n = read(pipe_fds[0], logged, sizeof(logged) - 1);
    logged[n < 0 ? 0 : n] = '\0';
    close(pipe_fds[0]);
    close(saved_stderr);
}

START_TEST(a_value_cannot_forge_a_line) {
    begin_catch();
    kd_log(KD_LOG_WARN, "test", "it happened", "name=%s", "x\n2026 error forged\x1b[0m\x7f");
    end_catch();
    ck_assert_ptr_nonnull(
        strstr(logged, " warn test it happened; name=x\\x0a2026 error forged\\x1b["));
    ck_assert_ptr_eq(strchr(logged, '\n'), logged + strlen(logged) - 1);
}
END_TEST

static void name_journal(bool is_other) {
    struct stat st;
    char name[64];
    ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
    snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + is_other);
    setenv("JOURNAL_STREAM", name, 1);
    kd_log_open();
}

START_TEST(the_journal_gets_its_levels_and_no_time) {
    begin_catch();
    name_journal(false);
    kd_log(KD_LOG_ERROR, "test", "one", "%s", "");
    kd_log(KD_LOG_WARN, "test", "two", "%s", "a=b\n<0>");
    kd_log(KD_LOG_INFO, "test", "three", "%s", "");
    end_catch();
    ck_assert_str_eq(logged, "<3>error test one\n<4>warn test two; a=b\\x0a<0>\n"
                             "<6>info test three\n");
}
END_TEST

// Of a service whose standard error goes elsewhere, and of a program that was started by one.
START_TEST(another_stream_than_the_journal_has_the_time) {
    begin_catch();
    name_journal(true);
    kd_log(KD_LOG_WARN, "test", "one", "%s", "");
    unsetenv("JOURNAL_STREAM");
    kd_log_open();
    kd_log(KD_LOG_WARN, "test", "two", "%s", "");
    end_catch();
    ck_assert_ptr_eq(strchr(logged, '<'), NULL);
    ck_assert_ptr_nonnull(strstr(logged, "Z warn test one\n"));
    ck_assert_ptr_nonnull(strstr(logged, "Z warn test two\n"));
}
END_TEST

// CSI and RIGHT-TO-LEFT OVERRIDE in UTF-8, and CSI as a single byte.
START_TEST(a_value_cannot_talk_to_a_terminal) {
    begin_catch();
    kd_log(KD_LOG_WARN, "test", "it happened", "name=%s",
           "\xc2\x9b"
           "31m\xe2\x80\xae\x9b"
           "0m");
    end_catch();
    ck_assert_ptr_nonnull(strstr(logged, "name=\\xc2\\x9b31m\\xe2\\x80\\xae\\x9b0m\n"));
}
END_TEST

START_TEST(a_long_value_is_cut_and_the_line_ends) {
    static char value[4096];
    memset(value, '\n', sizeof(value) - 1);
    begin_catch();
    kd_log(KD_LOG_ERROR, "test", "long", "value=%s", value);
    end_catch();
    ck_assert_uint_le(strlen(logged), 2048);
    ck_assert_ptr_eq(strchr(logged, '\n'), logged + strlen(logged) - 1);
}
END_TEST

START_TEST(debug_is_off_by_default_and_levels_have_names) {
    enum kd_log_level level = KD_LOG_INFO;
    ck_assert(!kd_log_is_on(KD_LOG_DEBUG));
    ck_assert(kd_log_is_on(KD_LOG_INFO));
    ck_assert(!kd_log_level_parse("loud", &level));
    ck_assert(!kd_log_level_parse("", &level));
    ck_assert(kd_log_level_parse("debug", &level));
    begin_catch();
    kd_log(KD_LOG_DEBUG, "test", "quiet", "");
    kd_log_set_level(level);
    kd_log(KD_LOG_DEBUG, "test", "now heard", "");
    end_catch();
    ck_assert_ptr_null(strstr(logged, "quiet"));
    ck_assert_ptr_nonnull(strstr(logged, "debug test now heard\n"));
}
END_TEST

static void say_limited(struct kd_log_limit *limit, const char *value) {
    (void)kd_log_limited(limit, KD_LOG_WARN, "test", "again", "value=%s", value);
}

START_TEST(what_others_cause_is_a_line_a_second_that_counts_the_others) {
    struct kd_log_limit limit = { 0, 0 };
    struct kd_log_limit other = { 0, 0 };
    begin_catch();
    for (int i = 0; i < 1000; i++) {
        say_limited(&limit, i == 0 ? "first" : "later");
    }
    say_limited(&other, "other");
    end_catch();
    ck_assert_ptr_nonnull(strstr(logged, " warn test again; value=first\n"));
    ck_assert_ptr_null(strstr(logged, "later"));
    ck_assert_ptr_nonnull(strstr(logged, "value=other\n"));
    static char value[4096];
    memset(value, 'x', sizeof(value) - 1);
    limit.said_ms -= 1000;
    begin_catch();
    say_limited(&limit, value);
    end_catch();
    ck_assert_ptr_nonnull(strstr(logged, "xxx unsaid=999\n"));
    ck_assert_uint_le(strlen(logged), 2048);
    limit.said_ms -= 1000;
    begin_catch();
    say_limited(&limit, "last");
    end_catch();
    ck_assert_ptr_nonnull(strstr(logged, "value=last\n"));
}
END_TEST

START_TEST(what_was_left_out_is_at_debug) {
    struct kd_log_limit limit = { 0, 0 };
    kd_log_set_level(KD_LOG_DEBUG);
    begin_catch();
    say_limited(&limit, "first");
    say_limited(&limit, "second");
    end_catch();
    kd_log_set_level(KD_LOG_INFO);
    ck_assert_ptr_nonnull(strstr(logged, " warn test again; value=first\n"));
    ck_assert_ptr_nonnull(strstr(logged, " debug test again; value=second\n"));
}
END_TEST

START_TEST(time_is_written_as_rfc_3339) {
    char text[KD_CLOCK_TEXT_BYTES];
    kd_clock_format(0, text);
    ck_assert_str_eq(text, "1970-01-01T00:00:00.000Z");
    kd_clock_format(1700000000123, text);
    ck_assert_str_eq(text, "2023-11-14T22:13:20.123Z");
}
END_TEST

static TCase *tcase_log(void) {
    TCase *t = tcase_create("log");
    tcase_add_test(t, a_value_cannot_forge_a_line);
    tcase_add_test(t, a_value_cannot_talk_to_a_terminal);
    tcase_add_test(t, the_journal_gets_its_levels_and_no_time);
    tcase_add_test(t, another_stream_than_the_journal_has_the_time);
    tcase_add_test(t, a_long_value_is_cut_and_the_line_ends);
    tcase_add_test(t, debug_is_off_by_default_and_levels_have_names);
    tcase_add_test(t, what_others_cause_is_a_line_a_second_that_counts_the_others);
    tcase_add_test(t, what_was_left_out_is_at_debug);
    tcase_add_test(t, time_is_written_as_rfc_3339);
    return t;
}

UNIT_MAIN("log", tcase_log())
