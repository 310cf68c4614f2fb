// SPDX-License-Identifier: Apache-2.0
// What a device does with its session where the host's clock is set, and in a child of fork(2).
#include "tests/unit/device_pair.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DAY_MS INT64_C(86400000)

static struct device_pair p;
static uint64_t mono_ms, wall_ms;

static void set_up(void) {
    device_pair_open(&p, NULL);
    mono_ms = 5000000;
    wall_ms = (uint64_t)time(NULL) * 1000;
    kd_clock_hold(mono_ms, wall_ms);
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
}

static void tear_down(void) {
    device_pair_close(&p);
    kd_clock_release();
}

// Time passes, and somebody sets the host's clock; the server's goes on.
static void set_clock(int64_t passed_ms, int64_t ahead_ms) {
    mono_ms += (uint64_t)passed_ms;
    wall_ms += (uint64_t)passed_ms;
    p.server.ahead_ms = -ahead_ms;
    kd_clock_hold(mono_ms, (uint64_t)((int64_t)wall_ms + ahead_ms));
}

START_TEST(a_clock_that_is_set_loses_no_message_of_a_session) {
    static const int64_t ahead_ms[] = { DAY_MS, -400 * DAY_MS, 3600000, 0 };
    ck_assert_keyd(device_pair_ask(&p), KEYD_OK);
    for (size_t i = 0; i < KD_COUNT_OF(ahead_ms); i++) {
        set_clock(100000, ahead_ms[i]);
        ck_assert_keyd(device_pair_ask(&p), KEYD_OK);
        ck_assert_int_eq(keyd_clock_offset(p.device), -ahead_ms[i]);
    }
    ck_assert_uint_eq(p.server.n_sessions, 1);
    ck_assert_uint_eq(p.server.n_messages, 5);
}
END_TEST

START_TEST(the_difference_of_the_clocks_is_none_before_it_is_known) {
    p.server.ahead_ms = 7000;
    ck_assert_int_eq(keyd_clock_offset(p.device), 0);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_int_eq(keyd_clock_offset(p.device), 7000);
}
END_TEST

static TCase *tcase_clock(void) {
    TCase *c = tcase_create("clock");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_clock_that_is_set_loses_no_message_of_a_session);
    tcase_add_test(c, the_difference_of_the_clocks_is_none_before_it_is_known);
    return c;
}

// ---- fork ------------------------------------------------------------------

static int frames[2]; // a pipe for what a child has sent

static void pass_on(void *arg KD_UNUSED, int has_come, const uint8_t *frame, size_t n) {
    if (has_come == 0 && n > 0 && frame[0] == KD_FRAME_MESSAGE) {
        (void)!write(frames[1], frame, n);
    }
}

static void set_up_fork(void) {
    device_pair_open(&p, NULL);
    ck_assert_int_eq(pipe(frames), 0);
    p.config.trace = pass_on;
}

static void tear_down_fork(void) {
    device_pair_close(&p);
    close(frames[0]);
    close(frames[1]);
}

static void wait_for_child(pid_t child) {
    int status = -1;
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}

static size_t next_frame(uint8_t frame[static 256]) {
    const ssize_t n = read(frames[0], frame, 256);
    ck_assert_int_gt(n, 0);
    return (size_t)n;
}

// Whether the record of a child's can be opened with the keys of the parent's session, each of
// whose nonces is that of a number of the records.
START_TEST(a_child_never_uses_its_parents_keys) {
    uint8_t ours[256], theirs[256], answer[256];
    size_t n_answer = 0;
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
    ck_assert_keyd(device_pair_ask(&p), KEYD_OK);
    (void)next_frame(ours);
    const pid_t child = fork();
    if (child == 0) { // its server is a child, too
        _exit(device_pair_ask(&p) == KEYD_OK && p.server.n_sessions == 2 ? 0 : 1);
    }
    wait_for_child(child);
    const size_t n = next_frame(theirs);
    ck_assert_int_eq(device_server_send(&p.server, theirs, n, 0), 0);
    ck_assert_int_eq(device_server_receive(&p.server, answer, sizeof(answer), &n_answer, 0), 0);
    ck_assert_uint_eq(answer[0], KD_FRAME_FAILURE);
    ck_assert_uint_eq(p.server.n_messages, 1);
    ck_assert_keyd(device_pair_ask(&p), KEYD_OK);
    ck_assert_uint_eq(p.server.n_sessions, 1);
}
END_TEST

START_TEST(a_child_of_a_child_begins_anew_too) {
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    const pid_t child = fork();
    if (child == 0) {
        const bool is_ok = keyd_connect(p.device) == KEYD_OK && p.server.n_sessions == 2;
        const pid_t grandchild = fork();
        if (grandchild == 0) {
            _exit(device_pair_ask(&p) == KEYD_OK && p.server.n_sessions == 3 ? 0 : 1);
        }
        int status = -1;
        _exit(is_ok && waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 1);
    }
    wait_for_child(child);
    ck_assert_keyd(keyd_close(p.device), KEYD_OK);
}
END_TEST

// ---- a server with a connection ------------------------------------------------

static int listener;
static unsigned n_connections;

static bool receive_all(int fd, uint8_t *out, size_t n) {
    return recv(fd, out, n, MSG_WAITALL) == (ssize_t)n;
}

static void serve(int fd) {
    static uint8_t frame[KD_FRAME_MAX_BYTES];
    uint8_t head[4];
    size_t n = 0;
    while (receive_all(fd, head, sizeof(head))) {
        n = (size_t)head[2] << 8 | head[3]; // ours are short
        if (!receive_all(fd, frame, n)) {
            return;
        }
        device_server_send(&p.server, frame, n, 0);
        if (device_server_receive(&p.server, frame, sizeof(frame), &n, 0) == 0) {
            const uint8_t before[4] = { 0, 0, (uint8_t)(n >> 8), (uint8_t)n };
            (void)send(fd, before, sizeof(before), MSG_NOSIGNAL | MSG_MORE);
            (void)send(fd, frame, n, MSG_NOSIGNAL);
        }
    }
}

static void *run(void *arg KD_UNUSED) {
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
        n_connections++;
        serve(fd);
        close(fd);
    }
    return NULL;
}

START_TEST(a_child_leaves_its_parents_connection) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    char url[64];
    pthread_t thread;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (const struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&a, &n), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, run, NULL), 0);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", ntohs(a.sin_port));
    p.config.server = url;
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
    ck_assert_keyd(device_pair_ask(&p), KEYD_OK);
    const pid_t child = fork();
    if (child == 0) {
        const bool is_ok = keyd_close(p.device) == KEYD_OK;
        keyd_device_free(p.device);
        _exit(is_ok ? 0 : 1);
    }
    wait_for_child(child);
    ck_assert_keyd(device_pair_ask(&p), KEYD_OK);
    ck_assert_uint_eq(p.server.n_sessions, 1);
    keyd_device_free(p.device);
    p.device = NULL;
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(n_connections, 1);
    close(listener);
}
END_TEST

static TCase *tcase_fork(void) {
    TCase *c = tcase_create("fork");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up_fork, tear_down_fork);
    tcase_add_test(c, a_child_never_uses_its_parents_keys);
    tcase_add_test(c, a_child_of_a_child_begins_anew_too);
    tcase_add_test(c, a_child_leaves_its_parents_connection);
    return c;
}

// ---- calls -----------------------------------------------------------------

static void *ask_in_a_thread(void *arg) {
    const unsigned *status = arg;
    ck_assert_uint_eq(keyd_status(p.device), 418); // that of the other, until it has its own
    p.server.status = *status;
    ck_assert_keyd(device_pair_ask(&p), KEYD_ERR_BACKEND);
    ck_assert_uint_eq(keyd_status(p.device), *status);
    return NULL;
}

START_TEST(a_status_is_of_the_thread_that_got_it) {
    unsigned other = 503;
    pthread_t thread;
    ck_assert_uint_eq(keyd_status(p.device), 0);
    p.server.status = 418;
    ck_assert_keyd(device_pair_ask(&p), KEYD_ERR_BACKEND);
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_in_a_thread, &other), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(keyd_status(p.device), 418);
}
END_TEST

START_TEST(nothing_is_asked_of_no_device) {
    ck_assert_uint_eq(keyd_status(NULL), 0);
    ck_assert_int_eq(keyd_clock_offset(NULL), 0);
    ck_assert_keyd(keyd_connect(NULL), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_refresh(NULL), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_refresh(p.device), KEYD_ERR_ARGUMENT); // not of a directory
}
END_TEST

START_TEST(an_envelope_is_good_for_a_time_that_can_be) {
    ck_assert_keyd(keyd_envelope(p.device, NULL, 0, "m", 1), KEYD_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "seconds"));
    ck_assert_keyd(keyd_envelope(p.device, NULL, KEYD_ENVELOPE_VALID_MAX + 1, "m", 1),
                   KEYD_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "seconds"));
    ck_assert_keyd(keyd_envelope(p.device, NULL, KEYD_ENVELOPE_VALID_MAX, "m", 1),
                   KEYD_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "envelope_key_file")); // there is none here
    ck_assert_keyd(keyd_envelope(p.device, NULL, 1, "m", 1), KEYD_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "envelope_key_file"));
}
END_TEST

static TCase *tcase_calls(void) {
    TCase *c = tcase_create("calls");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_status_is_of_the_thread_that_got_it);
    tcase_add_test(c, nothing_is_asked_of_no_device);
    tcase_add_test(c, an_envelope_is_good_for_a_time_that_can_be);
    return c;
}

UNIT_MAIN("device ask", tcase_clock(), tcase_fork(), tcase_calls())
