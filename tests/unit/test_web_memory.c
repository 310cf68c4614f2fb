// SPDX-License-Identifier: Apache-2.0
// Each allocation of the gateway's HTTP side fails in turn: who asks is answered, or is told that
// it is not now, or loses his connection; nothing goes on that is a part only of what came; nothing
// leaks (the sanitizer's build says so); and the next request is served.
#include "tests/unit/failing_memory.h"
#include "tests/unit/fake_client.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// ---- a gateway with one listener -------------------------------------------

// What is sent is longer than the first room of a buffer, and so is its answer.
enum { BODY_BYTES = 3000, SEALED_BYTES = 600, ANSWER_MS = 50000 };

static struct fake_gateway f;
static struct kd_web *web;
static struct sockaddr_in address;
static char where[64], token_file[32];
static char body[BODY_BYTES + 1];
static const char *expected; // in what keyd is asked; NULL: that is no record
static bool is_refused;      // by keyd, or it seals
static unsigned n_asked;

static void set_up(void) {
    strcpy(token_file, "/tmp/keyd-test-XXXXXX");
    const int fd = mkstemp(token_file);
    ck_assert_int_eq(write(fd, "once\n", 5), 5);
    close(fd);
    for (size_t i = 0; i < BODY_BYTES; i++) {
        body[i] = (char)('a' + i % 23);
    }
    kd_log_set_level(KD_LOG_ERROR);
    address = fake_free_address();
    snprintf(where, sizeof(where), "127.0.0.1:%u", ntohs(address.sin_port));
    ck_assert_err(fake_gateway_open(&f), KD_OK);
    f.config.connections_max = 8;
    f.config.idle_timeout_ms = 60000;
    f.config.push_timeout_ms = 1;
    f.config.push_token_file = "";
}

static void tear_down(void) {
    kd_web_close(web);
    fake_gateway_close(&f);
    unlink(token_file);
}

START_TEST(a_listener_opens_or_there_is_no_memory) {
    unsigned turn = 0;
    f.config.push_token_file = token_file;
    for (; memory_fails_at(turn); turn++) {
        web = NULL;
        const enum kd_err r = kd_web_open(&f.g, where, KD_WEB_PUSH, &web);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        ck_assert((web != NULL) == (r == KD_OK));
    }
    ck_assert_uint_gt(turn, 2);
}
END_TEST

// ---- keyd ------------------------------------------------------------------

static void answer_of_keyd(void) {
    static uint8_t room[SEALED_BYTES + 8];
    const struct fake_asked *asked = fake_client_first();
    struct kd_buf sealed = KD_BUF_OVER(room);
    n_asked++;
    if (expected == NULL) { // whether it is ready, and whether the backend is there
        fake_client_answer(200, KD_BYTES_NONE);
        return;
    }
    ck_assert_ptr_nonnull(memmem(asked->body.p, asked->body.n, expected, strlen(expected)));
    kd_cbor_put_array(&sealed, 1);
    kd_cbor_put_bytes(&sealed, (struct kd_bytes) { (const uint8_t *)body, SEALED_BYTES });
    ck_assert_err(kd_buf_finish(&sealed), KD_OK);
    fake_client_answer(is_refused ? 503 : 200, is_refused ? KD_BYTES_NONE : kd_buf_get(&sealed));
}

static uint64_t before_web(void *arg KD_UNUSED) {
    while (fake_client_first() != NULL) {
        answer_of_keyd();
    }
    return KD_LOOP_NO_LIMIT;
}

static uint64_t after_web(void *arg KD_UNUSED) {
    return fake_client_first() != NULL ? 0 : KD_LOOP_NO_LIMIT;
}

static void open_web(enum kd_web_role role) {
    ck_assert_err(kd_loop_prepare(f.g.loop, before_web, NULL), KD_OK);
    ck_assert_err(kd_web_open(&f.g, where, role, &web), KD_OK);
    ck_assert_err(kd_loop_prepare(f.g.loop, after_web, NULL), KD_OK);
}

// ---- who asks --------------------------------------------------------------

static int caller = -1;
static char answer[65536];
static size_t n_answer;

static void on_said(void *arg KD_UNUSED, uint32_t events KD_UNUSED) {
    const ssize_t n = recv(caller, answer + n_answer, sizeof(answer) - 1 - n_answer, MSG_DONTWAIT);
    n_answer += n > 0 ? (size_t)n : 0;
    if (n <= 0) {
        kd_loop_stop(f.g.loop);
    }
}

static void on_late(void *arg KD_UNUSED) {
    ck_abort_msg("neither an answer nor an end");
}

// One request by a connection of its own.  The status; 0: it ended without one.
static unsigned call(const char *head, const char *more, const void *bytes, size_t n) {
    char text[512];
    struct kd_watch *watch = NULL;
    struct kd_timer *late = NULL;
    memory_pause(); // the caller has memory
    snprintf(text, sizeof(text),
             "%s HTTP/1.1\r\n%sHost: g\r\nConnection: close\r\n"
             "Content-Type: " KD_FRAME_MEDIA_TYPE "\r\nContent-Length: %zu\r\n\r\n",
             head, more, n);
    caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(caller, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(send(caller, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    ck_assert_int_eq(send(caller, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
    ck_assert_err(kd_watch_new(f.g.loop, caller, EPOLLIN, on_said, NULL, &watch), KD_OK);
    ck_assert_err(kd_timer_new(f.g.loop, on_late, NULL, &late), KD_OK);
    kd_timer_set(late, ANSWER_MS);
    n_answer = 0;
    memory_resume();
    ck_assert_err(kd_loop_run(f.g.loop), KD_OK);
    kd_timer_free(late);
    kd_watch_free(watch);
    close(caller);
    answer[n_answer] = '\0';
    return n_answer == 0 ? 0 : (unsigned)atoi(answer + strlen("HTTP/1.1 "));
}

static struct kd_bytes answer_body(void) {
    const char *end = strstr(answer, "\r\n\r\n");
    ck_assert_ptr_nonnull(end);
    const char *at = end + 4;
    return (struct kd_bytes) { (const uint8_t *)at, (size_t)(answer + n_answer - at) };
}

// Calls it with the 1st, 2nd, ... allocation failing until none does; what it gives then must be
// what it gives with memory.  How often it was told that there is no memory.
static unsigned each_in_turn(unsigned (*ask)(void), unsigned status) {
    unsigned n_told = 0;
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        const unsigned got = ask();
        const bool fails = memory_has_failed();
        ck_assert_msg(got == status || (fails && (got == 0 || got == 503)), "turn %u: %u", turn,
                      got);
        n_told += got == 503;
        ck_assert_uint_eq(ask(), status);
    }
    return n_told;
}

static unsigned send_frame(void) {
    static const uint8_t head[] = { KD_FRAME_HANDSHAKE, 0, 0, 0, 9, 0xf5 };
    uint8_t bytes[sizeof(head) + BODY_BYTES];
    struct kd_frame frame;
    struct kd_failure_body why;
    memcpy(bytes, head, sizeof(head));
    memcpy(bytes + sizeof(head), body, BODY_BYTES);
    const unsigned status = call("POST /", "", bytes, sizeof(bytes));
    if (status == 200) {
        ck_assert_err(kd_frame_parse(answer_body(), &frame), KD_OK);
        ck_assert_uint_eq(frame.id, 9);
        ck_assert_err(kd_failure_parse(frame.body, &why), KD_OK);
        ck_assert_int_eq(why.code, KD_FAILURE_BUSY);
    }
    return status;
}

START_TEST(a_device_gets_a_frame_that_is_whole_or_is_told_that_there_is_no_memory) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(2 * BODY_BYTES);
    kd_b64_encode(&text, (struct kd_bytes) { (const uint8_t *)body, BODY_BYTES });
    expected = kd_buf_get_text(&text);
    is_refused = true;
    open_web(KD_WEB_DEVICES);
    ck_assert_uint_gt(each_in_turn(send_frame, 200), 1);
    ck_assert_uint_gt(n_asked, 1);
}
END_TEST

static unsigned push(void) {
    const unsigned before = f.n_sent;
    const unsigned status = call("POST /push/boat", "", body, BODY_BYTES);
    ck_assert(status != 503 || f.n_sent == before);
    return status;
}

START_TEST(a_message_goes_to_a_device_whole_or_not_at_all) {
    enum { NOBODY_KNOWS = 504 }; // as the device does not acknowledge
    expected = body;
    open_web(KD_WEB_PUSH);
    kd_route_prove(&f.route, "boat", "0123456789abcdef");
    f.route.frame_max_bytes = KD_FRAME_MAX_BYTES;
    ck_assert_uint_gt(each_in_turn(push, NOBODY_KNOWS), 1);
    ck_assert_uint_gt(f.n_sent, 1);
}
END_TEST

static unsigned read_metrics(void) {
    const unsigned status = call("GET /metrics", "", "", 0);
    if (status == 200) {
        ck_assert_ptr_nonnull(strstr(answer, "\nkeyd_gateway_pending 0\n"));
    }
    return status;
}

START_TEST(metrics_are_whole_or_there_is_no_memory) {
    open_web(KD_WEB_ADMIN);
    ck_assert_uint_gt(each_in_turn(read_metrics, 200), 1);
}
END_TEST

static unsigned read_ready(void) {
    enum { KNOWN_FOR_MS = 1000 };
    const uint64_t now = kd_clock_mono_ms() + KNOWN_FOR_MS;
    kd_clock_hold(now, now); // what was found out before is not known any more
    const unsigned status = call("GET /readyz", "", "", 0);
    if (status == 200) {
        const struct kd_bytes line = answer_body(); // without memory for it, the status alone
        ck_assert(line.n == 0 || kd_bytes_equal(line, kd_bytes_of_text("ready\n")));
    }
    return status;
}

START_TEST(ready_is_said_or_there_is_no_memory) {
    expected = NULL;
    open_web(KD_WEB_ADMIN);
    ck_assert_uint_gt(each_in_turn(read_ready, 200), 1);
    kd_clock_release();
}
END_TEST

// ---- another configuration -------------------------------------------------

static char config_file[32];

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    ck_assert(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

// The n-th: its limits, and its token, which stands in a file.
static void write_config(unsigned n) {
    char text[512];
    snprintf(text, sizeof(text),
             "backend-url = \"http://127.0.0.1:1/\"\ntcp = {\"127.0.0.1:1\"}\npush = \"%s\"\n"
             "push-token-file = \"%s\"\nlog-level = \"error\"\npush-timeout-ms = %u\n",
             where, token_file, 1000 + n);
    write_file(config_file, text);
    snprintf(text, sizeof(text), "token-%u\n", n);
    write_file(token_file, text);
}

static bool token_holds(unsigned n) {
    enum { NO_DEVICE = 404, UNKNOWN = 401 };
    char head[96];
    snprintf(head, sizeof(head), "Authorization: Bearer token-%u\r\n", n);
    const unsigned status = call("POST /push/boat", head, "", 0);
    ck_assert(status == NO_DEVICE || status == UNKNOWN);
    return status == NO_DEVICE;
}

// What the log says meanwhile.
static void reload(char *said, size_t size) {
    const int before = dup(STDERR_FILENO);
    FILE *log = tmpfile();
    ck_assert(before >= 0 && log != NULL && dup2(fileno(log), STDERR_FILENO) >= 0);
    kd_gateway_reload(&f.g, config_file);
    (void)memory_has_failed();
    ck_assert(dup2(before, STDERR_FILENO) >= 0);
    close(before);
    rewind(log);
    said[fread(said, 1, size - 1, log)] = '\0';
    fclose(log);
}

// The n-th configuration is in force, whole.
static void check_config(unsigned n, bool has_new_clients) {
    ck_assert_uint_eq(f.g.config->push_timeout_ms, 1000 + n);
    if (has_new_clients) {
        ck_assert_ptr_eq(f.g.keyd->config, &f.g.config->keyd);
        ck_assert_ptr_eq(f.g.strangers->config, &f.g.config->keyd);
        ck_assert_ptr_eq(f.g.backend->config, &f.g.config->backend);
    }
    ck_assert(token_holds(n));
}

// With the 0th, that is to be freed as those after it.
static void open_with_config(void) {
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(4096);
    strcpy(config_file, "/tmp/keyd-test-XXXXXX");
    close(mkstemp(config_file));
    write_config(0);
    ck_assert_err(kd_gateway_config_read(config_file, &errors, &f.g.config), KD_OK);
    open_web(KD_WEB_PUSH);
    f.g.push = web;
}

static void close_with_config(void) {
    kd_gateway_free_retired(&f.g);
    kd_gateway_config_free(f.g.config);
    f.g.config = &f.config;
    unlink(config_file);
}

START_TEST(a_configuration_is_taken_whole_or_not_at_all_and_the_log_says_so) {
    char said[4096];
    unsigned turn = 0;
    unsigned n = 0; // in force
    open_with_config();
    for (; memory_fails_at(turn); turn++) {
        const struct kd_client *keyd = f.g.keyd;
        memory_pause();
        write_config(n + 1);
        memory_resume();
        reload(said, sizeof(said));
        const bool is_taken = f.g.keyd != keyd;
        ck_assert(is_taken || memory_has_failed());
        ck_assert_msg(is_taken ? said[0] == '\0' : strstr(said, "not taken") != NULL, "turn %u: %s",
                      turn, said);
        n += is_taken;
        check_config(n, is_taken);
        ck_assert(!token_holds(n + 1));
    }
    ck_assert_uint_gt(turn, 8);
    ck_assert_uint_gt(n, 0);
    close_with_config();
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *c = tcase_create("memory");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_listener_opens_or_there_is_no_memory);
    tcase_add_test(c, a_device_gets_a_frame_that_is_whole_or_is_told_that_there_is_no_memory);
    tcase_add_test(c, a_message_goes_to_a_device_whole_or_not_at_all);
    tcase_add_test(c, metrics_are_whole_or_there_is_no_memory);
    tcase_add_test(c, ready_is_said_or_there_is_no_memory);
    tcase_add_test(c, a_configuration_is_taken_whole_or_not_at_all_and_the_log_says_so);
    return c;
}

UNIT_MAIN("web memory", tcase_memory())
