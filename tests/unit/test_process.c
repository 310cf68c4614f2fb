// SPDX-License-Identifier: Apache-2.0
// test_process.c: running another program and finding keyd's.
#include "client/process.h"
#include "tests/unit/unit.h"

#include <string.h>

static enum kd_err run_shell(const char *script, uint32_t timeout_ms, struct kd_process *p) {
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };
    return kd_process_run(argv, timeout_ms, p);
}

START_TEST(a_program_that_is_not_there) {
    const char *const argv[] = { "/nonexistent/keyd-hsm", NULL };
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    ck_assert_err(kd_process_run(argv, 1000, &p), KD_ERR_NO_FILE);
}
END_TEST

START_TEST(one_that_does_not_end_is_ended) {
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    const uint64_t start = kd_clock_mono_ms();
    ck_assert_err(run_shell("exec sleep 60", 100, &p), KD_ERR_DEADLINE);
    ck_assert_uint_lt(kd_clock_mono_ms() - start, 50000);
    ck_assert_int_eq(p.status, 128 + 15);
}
END_TEST

// A script that is ended when it has said that it is ready; where the machine is slow that takes
// longer than the shortest of these times.
static void end_when_ready(const char *script, uint32_t grace_ms, int status) {
    for (uint32_t ms = 500; ms < 60000; ms *= 4) {
        kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
        p.grace_ms = grace_ms != 0 ? grace_ms : p.grace_ms;
        ck_assert_err(run_shell(script, ms, &p), KD_ERR_DEADLINE);
        if (p.out.n > 0) {
            ck_assert_str_eq(kd_buf_get_text(&p.out), "ready\n");
            ck_assert_int_eq(p.status, status);
            return;
        }
    }
    ck_abort_msg("the shell does not start");
}

// keyd-hsm in a login, which must not be cut off.
START_TEST(one_that_is_ended_may_finish_its_work) {
    end_when_ready("trap 'sleep 1; exit 7' TERM; echo ready; while :; do sleep 0.1; done", 0, 7);
}
END_TEST

START_TEST(one_that_does_not_want_to_end_is_killed) {
    end_when_ready("trap '' TERM; echo ready; exec sleep 60", 100, 128 + 9);
}
END_TEST

START_TEST(one_that_says_too_much_is_stopped) {
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    ck_assert_err(run_shell("exec cat /dev/zero", 60000, &p), KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

START_TEST(both_outputs_and_the_status_come_back) {
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    ck_assert_err(run_shell("echo out; echo err >&2; cat; exit 7", 60000, &p), KD_OK);
    ck_assert_str_eq(kd_buf_get_text(&p.out), "out\n");
    ck_assert_str_eq(kd_buf_get_text(&p.err), "err\n");
    ck_assert_int_eq(p.status, 7);
    kd_auto(process) struct kd_process killed = KD_PROCESS_INIT;
    ck_assert_err(run_shell("kill -TERM $$", 60000, &killed), KD_OK);
    ck_assert_int_eq(killed.status, 128 + 15);
}
END_TEST

START_TEST(programs_are_found_in_the_folder_that_was_named_only) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(4096);
    ck_assert_err(kd_process_find("/nonexistent", "sh", &path), KD_ERR_NO_FILE);
    ck_assert_err(kd_process_find("/bin", "no-such-program", &path), KD_ERR_NO_FILE);
    ck_assert_err(kd_process_find("/usr", "bin", &path), KD_ERR_NO_FILE); // a folder
    ck_assert_uint_eq(path.n, 0);
    ck_assert_err(kd_process_find("/bin/../bin", "sh", &path), KD_OK);
    ck_assert_int_eq(kd_buf_get_text(&path)[0], '/');
    ck_assert_ptr_null(strstr(kd_buf_get_text(&path), ".."));
}
END_TEST

static TCase *tcase_process(void) {
    TCase *t = tcase_create("process");
    tcase_add_test(t, a_program_that_is_not_there);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, one_that_does_not_end_is_ended);
    tcase_add_test(t, one_that_is_ended_may_finish_its_work);
    tcase_add_test(t, one_that_does_not_want_to_end_is_killed);
    tcase_add_test(t, one_that_says_too_much_is_stopped);
    tcase_add_test(t, both_outputs_and_the_status_come_back);
    tcase_add_test(t, programs_are_found_in_the_folder_that_was_named_only);
    return t;
}

UNIT_MAIN("process", tcase_process())
