// SPDX-License-Identifier: Apache-2.0
// keyd-fetch as a process, each of whose own allocations fails in turn: it ends at its start, which
// keyd sees at once, or whatever it is asked is answered, no URI is blamed, and it goes on.
#include "fetch/fetch.h"
#include "tests/unit/failing_fetch.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEYD_FD = 3, WAIT_MS = 60000, TURNS_MAX = 100, ENDED = -1 };

static char prefix[40], uri[KD_FETCH_URI_MAX_BYTES + 1];
static int nobody; // a port where nobody listens
static pid_t child;
static unsigned now; // the turn
static int fd;
static struct kd_buf in;

// ---- the process -----------------------------------------------------------

static void run(unsigned turn, int stream) {
    char path[256], text[16];
    const char *build = getenv("KD_BUILDDIR");
    snprintf(path, sizeof(path), "%s/tests/unit/failing_fetch", build == NULL ? "." : build);
    snprintf(text, sizeof(text), "%u", turn);
    if (dup2(stream, KEYD_FD) == KEYD_FD && setenv("KD_FAILS_AT", text, 1) == 0) {
        execl(path, path, (char *)NULL);
    }
    _exit(99);
}

static void start(unsigned turn) {
    now = turn;
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    child = fork();
    if (child == 0) {
        close(pair[0]);
        run(turn, pair[1]);
    }
    ck_assert_int_gt(child, 0);
    close(pair[1]);
    fd = pair[0];
    in = KD_BUF_INIT(1 << 20);
}

// Its stream is over.  True: an allocation has failed.
static bool stop(bool is_good) {
    int status = 0;
    close(fd);
    kd_buf_wipe(&in);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "signal %d", WTERMSIG(status));
    status = WEXITSTATUS(status);
    const bool has_failed = (status & FAILING_FETCH_HAS_FAILED) != 0;
    ck_assert_int_eq(status & ~FAILING_FETCH_HAS_FAILED, is_good ? EXIT_SUCCESS : EXIT_FAILURE);
    return has_failed;
}

// ---- messages --------------------------------------------------------------

static void say(const struct kd_buf *out) {
    ck_assert_err(kd_buf_finish(out), KD_OK);
    (void)!send(fd, out->p, out->n, MSG_NOSIGNAL); // if it has ended, there is no answer
}

static void put_hello(struct kd_buf *out) {
    const struct kd_fetch_hello hello = { .timeout_ms = 10000,
                                          .bytes_max = 4096,
                                          .pending_max = 2,
                                          .n_prefixes = 1,
                                          .prefixes = { { kd_bytes_of_text(prefix), true } } };
    kd_fetch_put_hello(out, &hello);
}

static void put_request(struct kd_buf *out, uint32_t id) {
    const struct kd_fetch_request q = { .id = id, .uri = kd_bytes_of_text(uri) };
    kd_fetch_put_request(out, &q);
}

// The answer's result, ENDED if the process has.
static int read_result(uint32_t id) {
    struct kd_bytes frame = KD_BYTES_NONE;
    struct kd_fetch_answer answer;
    size_t n = 0;
    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ck_assert_err(kd_fetch_next_frame(kd_buf_get(&in), KD_FETCH_FRAME_MAX_BYTES, &frame, &n),
                      KD_OK);
        if (n > 0) {
            break;
        }
        ck_assert_msg(poll(&p, 1, WAIT_MS) == 1, "request %u has no answer in turn %u", id, now);
        uint8_t bytes[4096];
        const ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
        if (got <= 0) {
            return ENDED;
        }
        kd_buf_put(&in, bytes, (size_t)got);
    }
    ck_assert_err(kd_fetch_get_answer(frame, &answer), KD_OK);
    ck_assert_uint_eq(answer.id, id);
    ck_assert_uint_eq(answer.body.n, 0);
    kd_buf_drop_front(&in, n);
    return (int)answer.result;
}

// As keyd does: the first request goes with the greeting.
static int ask_first(void) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_FETCH_HELLO_MAX_BYTES);
    put_hello(&out);
    put_request(&out, 1);
    say(&out);
    return read_result(1);
}

static int ask_again(void) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(1024);
    put_request(&out, 2);
    say(&out);
    return read_result(2);
}

// ---- tests -----------------------------------------------------------------

static void set_up(void) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    nobody = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(nobody, (const struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(nobody, (struct sockaddr *)&a, &n), 0);
    snprintf(prefix, sizeof(prefix), "https://127.0.0.1:%u/", ntohs(a.sin_port));
    // Longer than the first room of a buffer.
    snprintf(uri, sizeof(uri), "%s%0*d", prefix, 200, 0);
}

static void tear_down(void) {
    close(nobody);
}

START_TEST(without_memory_each_request_is_answered_or_the_process_ends_at_once) {
    unsigned turn = 0, n_busy = 0, n_ended = 0;
    bool has_failed = true;
    for (; has_failed; turn++) {
        ck_assert_uint_lt(turn, TURNS_MAX);
        start(turn);
        const int first = ask_first();
        if (first == ENDED) {
            has_failed = stop(false);
            ck_assert(has_failed);
            n_ended++;
            continue;
        }
        const int second = ask_again();
        has_failed = stop(true);
        ck_assert_msg(first == KD_FETCH_CONNECT || (has_failed && first == KD_FETCH_BUSY),
                      "turn %u: result %d", turn, first);
        ck_assert_msg(second == KD_FETCH_CONNECT || (has_failed && second == KD_FETCH_BUSY),
                      "turn %u: result %d after %d", turn, second, first);
        ck_assert(first == KD_FETCH_CONNECT || second == KD_FETCH_CONNECT);
        n_busy += first == KD_FETCH_BUSY ? 1 : 0;
    }
    ck_assert_uint_gt(n_busy, 0);
    ck_assert_uint_gt(n_ended, 0);
}
END_TEST

static void must_end(const struct kd_buf *said) {
    start(TURNS_MAX);
    say(said);
    ck_assert_int_eq(read_result(1), ENDED);
    ck_assert(!stop(false));
}

START_TEST(a_stream_that_is_no_keyds_ends_the_process) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_FETCH_HELLO_MAX_BYTES);
    kd_buf_u32(&out, UINT32_MAX);
    must_end(&out);
    kd_buf_reset(&out);
    put_request(&out, 1); // before the greeting
    must_end(&out);
    kd_buf_reset(&out);
    put_hello(&out);
    kd_buf_u32(&out, UINT32_MAX);
    must_end(&out);
    kd_buf_reset(&out);
    put_hello(&out);
    put_hello(&out); // in place of a request
    must_end(&out);
}
END_TEST

START_TEST(the_process_ends_with_its_stream) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_FETCH_HELLO_MAX_BYTES);
    start(TURNS_MAX);
    ck_assert(!stop(true));
    put_hello(&out);
    start(TURNS_MAX);
    say(&out);
    ck_assert(!stop(true));
}
END_TEST

static TCase *tcase_process(void) {
    TCase *c = tcase_create("process");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, without_memory_each_request_is_answered_or_the_process_ends_at_once);
    tcase_add_test(c, the_process_ends_with_its_stream);
    tcase_add_test(c, a_stream_that_is_no_keyds_ends_the_process);
    return c;
}

UNIT_MAIN("fetch process", tcase_process())
