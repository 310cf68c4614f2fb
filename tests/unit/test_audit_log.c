// SPDX-License-Identifier: Apache-2.0
#include "keyd/audit_scan.h"

#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static char path[128];
static struct kd_audit_log *log_;
static struct kd_audit_found found;
static const struct kd_chain nothing;

static void set_up(void) {
    snprintf(folder, sizeof(folder), "/tmp/kd-audit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/audit.log", folder);
    ck_assert_err(kd_audit_log_open(path, &nothing, &log_, &found), KD_OK);
    ck_assert(found.is_new);
}

static void tear_down(void) {
    kd_audit_log_close(log_);
    log_ = NULL;
    char command[160];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void open_again(const struct kd_chain *known) {
    kd_audit_log_close(log_);
    log_ = NULL;
    ck_assert_err(kd_audit_log_open(path, known, &log_, &found), KD_OK);
}

// Files may have no more bytes meanwhile: those of check, too, which notes each of its assertions.
static void put_with_limit(rlim_t bytes, struct kd_audit_line *line, struct kd_audit_line **rest,
                           enum kd_err *err) {
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    const struct rlimit full = { bytes, before.rlim_max };
    const int set = setrlimit(RLIMIT_FSIZE, &full);
    *err = kd_audit_log_write(log_, line, rest);
    const int reset = setrlimit(RLIMIT_FSIZE, &before);
    ck_assert(set == 0 && reset == 0);
}

static enum kd_err put_to(rlim_t limit, bool is_asked, uint64_t answers, uint64_t *seq) {
    enum kd_err r;
    struct kd_audit_line line = { .time_ms = 1764000000000,
                                  .members = KD_BUF_INIT(256),
                                  .is_asked = is_asked,
                                  .answers = answers };
    struct kd_audit_line *rest = &line;
    kd_buf_text(&line.members, "\"event\":\"key.create\"");
    if (is_asked) {
        kd_buf_text(&line.members, ",\"phase\":\"asked\"");
    }
    if (answers != 0) {
        kd_buf_printf(&line.members, ",\"asked\":%llu", (unsigned long long)answers);
    }
    if (limit == RLIM_INFINITY) {
        r = kd_audit_log_write(log_, &line, &rest);
    } else {
        put_with_limit(limit, &line, &rest, &r);
    }
    ck_assert_ptr_eq(rest, r == KD_OK ? NULL : &line);
    kd_buf_wipe(&line.members);
    if (seq != NULL) {
        *seq = line.seq;
    }
    return r;
}

static enum kd_err put(bool is_asked, uint64_t answers, uint64_t *seq) {
    return put_to(RLIM_INFINITY, is_asked, answers, seq);
}

static void put_seal(uint64_t covers) {
    struct kd_audit_line line = { .time_ms = 1764000000000, .members = KD_BUF_INIT(256) };
    struct kd_audit_line *rest = &line;
    kd_buf_printf(&line.members, "\"event\":\"audit.seal\",\"covers\":%llu,\"head\":\"0\"",
                  (unsigned long long)covers);
    ck_assert_err(kd_audit_log_write(log_, &line, &rest), KD_OK);
    kd_buf_wipe(&line.members);
}

static void put_some(size_t n) {
    for (size_t i = 0; i < n; i++) {
        ck_assert_err(put(false, 0, NULL), KD_OK);
    }
}

static size_t read_file(const char *name, char *out, size_t max) {
    FILE *f = fopen(name, "r");
    ck_assert_ptr_nonnull(f);
    const size_t n = fread(out, 1, max - 1, f);
    out[n] = '\0';
    fclose(f);
    return n;
}

static void write_file(const char *name, const char *text, size_t n) {
    const int fd = open(name, O_WRONLY | O_TRUNC | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
    close(fd);
}

// Each line of the file must follow the one before.
static struct kd_chain check_file(const char *name, struct kd_chain from, size_t n_lines) {
    char text[16384];
    read_file(name, text, sizeof(text));
    size_t n = 0;
    char *at = text;
    for (char *end; (end = strchr(at, '\n')) != NULL; at = end + 1, n++) {
        struct kd_chain_line line;
        ck_assert_err(kd_chain_read((struct kd_bytes) { (uint8_t *)at, (size_t)(end - at) }, &line),
                      KD_OK);
        ck_assert_int_eq(kd_chain_check(&from, &line), KD_CHAIN_GOOD);
        from = kd_chain_at(&line);
    }
    ck_assert_str_eq(at, ""); // no half line
    ck_assert_uint_eq(n, n_lines);
    return from;
}

START_TEST(what_is_no_regular_file_of_ours_is_refused) {
    struct kd_audit_log *other = NULL;
    char name[160];
    ck_assert_err(kd_audit_log_open(path, &nothing, &other, &found), KD_ERR_CONFIG); // in use
    ck_assert_err(kd_audit_log_open(folder, &nothing, &other, &found), KD_ERR_SYSTEM);
    snprintf(name, sizeof(name), "%s/fifo", folder);
    ck_assert_int_eq(mkfifo(name, 0600), 0);
    ck_assert_err(kd_audit_log_open(name, &nothing, &other, &found), KD_ERR_CONFIG);
    snprintf(name, sizeof(name), "%s/link", folder);
    ck_assert_int_eq(symlink("/dev/null", name), 0);
    ck_assert_err(kd_audit_log_open(name, &nothing, &other, &found), KD_ERR_SYSTEM);
    snprintf(name, sizeof(name), "%s/none/audit.log", folder);
    ck_assert_err(kd_audit_log_open(name, &nothing, &other, &found), KD_ERR_SYSTEM);
    ck_assert_ptr_null(other);
}
END_TEST

START_TEST(half_a_line_is_cut_wherever_it_ends) {
    char text[4096];
    put_some(3);
    const struct kd_chain all = kd_audit_log_last(log_);
    const size_t n = read_file(path, text, sizeof(text));
    const char *last = memrchr(text, '\n', n - 1);
    const size_t n_two = (size_t)(last + 1 - text);
    for (size_t cut = n_two + 1; cut < n; cut++) {
        kd_audit_log_close(log_);
        write_file(path, text, cut);
        ck_assert_err(kd_audit_log_open(path, &nothing, &log_, &found), KD_OK);
        ck_assert_uint_eq(found.n_lines, 2);
        ck_assert_uint_eq(found.n_cut, cut - n_two);
        ck_assert_uint_eq(found.bad_line, 0);
        put_some(1);
        check_file(path, nothing, 3);
    }
    const struct kd_chain again = kd_audit_log_last(log_);
    ck_assert_mem_eq(&again, &all, sizeof(all)); // the same line in its place
}
END_TEST

START_TEST(a_tail_of_zeros_is_cut) { // what some file systems leave after a power cut
    char text[4096];
    put_some(2);
    const size_t n = read_file(path, text, sizeof(text));
    memset(text + n, 0, 100);
    kd_audit_log_close(log_);
    write_file(path, text, n + 100);
    ck_assert_err(kd_audit_log_open(path, &nothing, &log_, &found), KD_OK);
    ck_assert_uint_eq(found.n_cut, 100);
    put_some(1);
    check_file(path, nothing, 3);
}
END_TEST

START_TEST(a_line_that_does_not_follow_is_found_at_the_start) {
    char text[4096];
    put_some(4);
    const size_t n = read_file(path, text, sizeof(text));
    char *second = strchr(text, '\n') + 1;
    strstr(second, "create")[0] = 'C';
    kd_audit_log_close(log_);
    write_file(path, text, n);
    ck_assert_err(kd_audit_log_open(path, &nothing, &log_, &found), KD_OK);
    ck_assert_uint_eq(found.bad_line, 3); // the third does not follow the second any more
    ck_assert_uint_eq(found.n_lines, 4);
    put_some(1);
    ck_assert_uint_eq(kd_audit_log_last(log_).seq, 5);
}
END_TEST

START_TEST(lines_that_the_registry_knows_are_missed) {
    char text[4096];
    put_some(2);
    const size_t n_two = read_file(path, text, sizeof(text));
    put_some(2);
    const struct kd_chain known = kd_audit_log_last(log_);
    open_again(&known);
    ck_assert(!found.is_behind);
    struct kd_chain other = known;
    other.head[0] ^= 1;
    open_again(&other);
    ck_assert(found.is_behind); // another line of this number
    kd_audit_log_close(log_);
    write_file(path, text, n_two);
    ck_assert_err(kd_audit_log_open(path, &known, &log_, &found), KD_OK);
    ck_assert(found.is_behind);
    uint64_t seq = 0;
    ck_assert_err(put(false, 0, &seq), KD_OK);
    ck_assert_uint_eq(seq, 5); // no number twice: the gap stays to be seen
    kd_audit_log_close(log_);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_err(kd_audit_log_open(path, &known, &log_, &found), KD_OK);
    ck_assert(found.is_missing);
    ck_assert(found.is_new);
    put_some(1);
    check_file(path, known, 2); // it goes on from what the registry knows
}
END_TEST

// Between a seal and its way into the registry keyd may be killed; but an old registry knows of
// none of many.
START_TEST(a_registry_that_is_older_than_the_log_is_seen) {
    put_some(2);
    const struct kd_chain known = kd_audit_log_last(log_);
    put_seal(1); // of what it knows
    put_seal(2);
    for (size_t i = 0; i < KD_AUDIT_SEALS_UNTOLD; i++) {
        put_seal(kd_audit_log_last(log_).seq);
    }
    open_again(&known);
    ck_assert(!found.is_ahead && !found.is_behind && found.bad_line == 0);
    put_seal(kd_audit_log_last(log_).seq);
    open_again(&known);
    ck_assert(found.is_ahead && !found.is_behind);
    const struct kd_chain last = kd_audit_log_last(log_);
    open_again(&last);
    ck_assert(!found.is_ahead);
}
END_TEST

static void put_untold_seals(size_t n) {
    for (size_t i = 0; i < n; i++) {
        put_seal(kd_audit_log_last(log_).seq);
    }
}

// The seals are in the files before, as the log has been rotated since.
START_TEST(a_registry_that_is_older_than_rotated_files_is_seen) {
    put_some(2);
    const struct kd_chain known = kd_audit_log_last(log_);
    put_some(1); // the first line that a seal may cover and the registry does not know
    put_untold_seals(KD_AUDIT_SEALS_UNTOLD);
    ck_assert_err(kd_audit_log_rotate(log_), KD_OK);
    put_some(1);
    open_again(&known);
    ck_assert(!found.is_ahead && !found.is_behind && found.bad_line == 0);
    ck_assert_err(kd_audit_log_rotate(log_), KD_OK);
    put_untold_seals(1);
    const struct kd_chain last = kd_audit_log_last(log_);
    ck_assert_err(kd_audit_log_rotate(log_), KD_OK);
    open_again(&known); // the file in use is empty: killed before its first line
    ck_assert(found.is_ahead);
    open_again(&last);
    put_some(1);
    open_again(&known);
    ck_assert(found.is_ahead && !found.is_behind);
    struct kd_chain other = known;
    other.head[0] ^= 1; // a line of a file before, and another one
    open_again(&other);
    ck_assert(found.is_behind);
    open_again(&last);
    ck_assert(!found.is_ahead && !found.is_behind);
}
END_TEST

// So many files and no more are read; names that are no numbers, links and folders are none.
START_TEST(files_before_are_read_up_to_a_limit) {
    char name[160], link[160];
    put_some(2);
    const struct kd_chain known = kd_audit_log_last(log_);
    put_some(1); // the first line that a seal may cover and the registry does not know
    put_untold_seals(KD_AUDIT_SEALS_UNTOLD + 1);
    snprintf(name, sizeof(name), "%s.%012d", path, 1); // as the next rotation names it
    for (size_t i = 0; i < KD_AUDIT_OLD_FILES_MAX; i++) {
        ck_assert_err(kd_audit_log_rotate(log_), KD_OK);
        put_some(1);
        open_again(&known);
        ck_assert_msg(found.is_ahead, "after %zu rotations", i + 1);
    }
    ck_assert_err(kd_audit_log_rotate(log_), KD_OK);
    put_some(1);
    open_again(&known);
    ck_assert(!found.is_ahead);
    // With the others out of the way the first of them is the next to be read.
    char command[256];
    snprintf(command, sizeof(command), "cd %s && for f in audit.log.0*[2-9]; do mv $f x$f; done",
             folder);
    ck_assert_int_eq(system(command), 0);
    open_again(&known);
    ck_assert(found.is_ahead);
    snprintf(link, sizeof(link), "%s.old", path);
    ck_assert_int_eq(rename(name, link), 0);
    open_again(&known);
    ck_assert(!found.is_ahead);
    ck_assert_int_eq(symlink(link, name), 0);
    open_again(&known);
    ck_assert(!found.is_ahead);
    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(mkdir(name, 0700), 0);
    open_again(&known);
    ck_assert(!found.is_ahead);
}
END_TEST

START_TEST(a_full_disk_leaves_whole_lines_and_heals) {
    char text[16384];
    put_some(2);
    const struct kd_chain two = kd_audit_log_last(log_);
    signal(SIGXFSZ, SIG_IGN);
    const rlim_t size = kd_audit_log_size(log_);
    for (rlim_t more = 0; more < 100; more += 33) {
        ck_assert_err(put_to(size + more, false, 0, NULL), KD_ERR_AUDIT);
        ck_assert_str_eq(kd_audit_log_reason(log_), "File too large");
        ck_assert_uint_eq(read_file(path, text, sizeof(text)), size); // nothing of it
        const struct kd_chain last = kd_audit_log_last(log_);
        ck_assert_mem_eq(&last, &two, sizeof(two));
    }
    put_some(2);
    check_file(path, nothing, 4);
}
END_TEST

START_TEST(a_file_that_somebody_cut_is_not_written_until_another_is_there) {
    char old[160];
    bool is_other = false;
    put_some(3);
    const struct kd_chain three = kd_audit_log_last(log_);
    ck_assert_int_eq(truncate(path, 10), 0);
    ck_assert_err(put(false, 0, NULL), KD_ERR_AUDIT);
    ck_assert_err(put(false, 0, NULL), KD_ERR_AUDIT);
    snprintf(old, sizeof(old), "%s/old", folder);
    ck_assert_int_eq(rename(path, old), 0);
    ck_assert_err(kd_audit_log_reopen(log_, &is_other), KD_OK);
    ck_assert(is_other);
    put_some(1);
    check_file(path, three, 2);
}
END_TEST

START_TEST(the_next_file_begins_with_the_head_of_the_one_before) {
    char old[160];
    uint64_t asked[3];
    for (size_t i = 0; i < KD_COUNT_OF(asked); i++) {
        ck_assert_err(put(true, 0, &asked[i]), KD_OK);
    }
    ck_assert_err(put(false, asked[1], NULL), KD_OK);
    const struct kd_chain four = kd_audit_log_last(log_);
    ck_assert_err(kd_audit_log_rotate(log_), KD_OK);
    ck_assert_err(kd_audit_log_rotate(log_), KD_OK); // empty: nothing to do
    snprintf(old, sizeof(old), "%s.000000000001", path);
    check_file(old, nothing, 4);
    put_some(1);
    check_file(path, four, 2);
    open_again(&nothing); // what is open is known from the one file
    ck_assert_uint_eq(found.unanswered.n, 2);
    ck_assert_uint_eq(found.unanswered.seqs[0], asked[0]);
    ck_assert_uint_eq(found.unanswered.seqs[1], asked[2]);
    ck_assert_err(put(false, asked[0], NULL), KD_OK);
    open_again(&nothing);
    ck_assert_uint_eq(found.unanswered.n, 1);
    ck_assert_uint_eq(found.unanswered.seqs[0], asked[2]);
    snprintf(old, sizeof(old), "%s.000000000005", path);
    write_file(old, "mine", 4); // in the way
    ck_assert_err(kd_audit_log_rotate(log_), KD_ERR_AUDIT);
    put_some(1); // the file stays in use
    check_file(path, four, 4);
}
END_TEST

START_TEST(who_was_killed_before_the_first_line_goes_on_from_the_file_before) {
    uint64_t asked = 0;
    put_some(2);
    const struct kd_chain known = kd_audit_log_last(log_);
    ck_assert_err(put(true, 0, &asked), KD_OK); // the registry knows of it by a seal alone
    const struct kd_chain last = kd_audit_log_last(log_);
    ck_assert_err(kd_audit_log_rotate(log_), KD_OK);
    open_again(&known);
    ck_assert(found.is_missing && !found.is_behind);
    ck_assert_uint_eq(found.unanswered.n, 1);
    ck_assert_uint_eq(found.unanswered.seqs[0], asked);
    put_some(1);
    check_file(path, last, 2); // no number twice
    open_again(&known);
    ck_assert_uint_eq(found.unanswered.n, 1);
}
END_TEST

START_TEST(a_file_that_was_renamed_is_followed_by_another) {
    char old[160];
    bool is_other = true;
    put_some(2);
    ck_assert_err(kd_audit_log_reopen(log_, &is_other), KD_OK);
    ck_assert(!is_other);
    snprintf(old, sizeof(old), "%s.1", path);
    ck_assert_int_eq(rename(path, old), 0);
    put_some(1); // until it is told
    ck_assert_err(kd_audit_log_reopen(log_, &is_other), KD_OK);
    ck_assert(is_other);
    const struct kd_chain three = check_file(old, nothing, 3);
    put_some(1);
    check_file(path, three, 2);
}
END_TEST

START_TEST(many_lines_are_one_round_up_to_its_limit) {
    enum { LINES = 40000 };
    struct kd_audit_line *lines = calloc(LINES, sizeof(*lines));
    ck_assert_ptr_nonnull(lines);
    for (size_t i = 0; i < LINES; i++) {
        lines[i].members = KD_BUF_INIT(64);
        kd_buf_text(&lines[i].members, "\"event\":\"x\"");
        lines[i].next = i + 1 < LINES ? &lines[i + 1] : NULL;
    }
    size_t rounds = 0;
    for (struct kd_audit_line *at = lines; at != NULL; rounds++) {
        ck_assert_err(kd_audit_log_write(log_, at, &at), KD_OK);
    }
    ck_assert_uint_gt(rounds, 1);
    ck_assert_uint_lt(rounds, 10);
    ck_assert_uint_eq(lines[LINES - 1].seq, LINES);
    const struct kd_chain last = kd_audit_log_last(log_);
    open_again(&last);
    ck_assert_uint_eq(found.n_lines, LINES);
    ck_assert_uint_eq(found.bad_line, 0);
    ck_assert(!found.is_behind);
    for (size_t i = 0; i < LINES; i++) {
        kd_buf_wipe(&lines[i].members);
    }
    free(lines);
}
END_TEST

static TCase *tcase_log(void) {
    TCase *tc = tcase_create("audit_log");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_is_no_regular_file_of_ours_is_refused);
    tcase_add_test(tc, half_a_line_is_cut_wherever_it_ends);
    tcase_add_test(tc, a_tail_of_zeros_is_cut);
    tcase_add_test(tc, a_line_that_does_not_follow_is_found_at_the_start);
    tcase_add_test(tc, lines_that_the_registry_knows_are_missed);
    tcase_add_test(tc, a_registry_that_is_older_than_the_log_is_seen);
    tcase_add_test(tc, a_registry_that_is_older_than_rotated_files_is_seen);
    tcase_add_test(tc, files_before_are_read_up_to_a_limit);
    tcase_add_test(tc, a_full_disk_leaves_whole_lines_and_heals);
    tcase_add_test(tc, a_file_that_somebody_cut_is_not_written_until_another_is_there);
    tcase_add_test(tc, the_next_file_begins_with_the_head_of_the_one_before);
    tcase_add_test(tc, who_was_killed_before_the_first_line_goes_on_from_the_file_before);
    tcase_add_test(tc, a_file_that_was_renamed_is_followed_by_another);
    tcase_add_test(tc, many_lines_are_one_round_up_to_its_limit);
    return tc;
}

UNIT_MAIN("audit_log", tcase_log())
