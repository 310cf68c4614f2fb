// SPDX-License-Identifier: Apache-2.0
// Each allocation of the gateway fails in turn, in its constructors and in each dialogue of the
// corpus of fuzz_gateway.c: every question still ends once, nothing crashes, and nothing leaks
// (the sanitizer's build says so).
#include "gateway/config.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/fake_client.h"
#include "tests/unit/unit.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// ---- constructors ----------------------------------------------------------

START_TEST(a_gateway_is_made_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        struct fake_gateway f;
        const enum kd_err r = fake_gateway_open(&f);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        if (r == KD_OK) {
            fake_gateway_close(&f);
        }
    }
    ck_assert_uint_gt(turn, 8);
}
END_TEST

static unsigned read_in_turns(const char *text, enum kd_err without_failure) {
    char path[] = "/tmp/keyd-test-XXXXXX";
    const int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(4096);
        kd_auto(gateway_config) struct kd_gateway_config *config = NULL;
        const enum kd_err r = kd_gateway_config_read(path, &errors, &config);
        const bool fails = memory_has_failed();
        ck_assert_msg(r == without_failure || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        ck_assert((config != NULL) == (r == KD_OK));
    }
    unlink(path);
    return turn;
}

START_TEST(a_configuration_is_read_or_there_is_no_memory) {
    static const char text[] = "backend-url = \"http://127.0.0.1:1/\"\ntcp = {\"127.0.0.1:1\"}\n"
                               "udp = {\"127.0.0.1:1\", \"127.0.0.1:2\"}\nmode = \"released\"\n";
    ck_assert_uint_gt(read_in_turns(text, KD_OK), 1);
}
END_TEST

START_TEST(a_wrong_configuration_is_not_taken_for_want_of_memory_to_say_so) {
    static const char text[] = "backend-url = \"http://127.0.0.1:1/\"\ntcp = {\"127.0.0.1:1\"}\n"
                               "push = \"192.0.2.1:1\"\n"; // without a token
    ck_assert_uint_gt(read_in_turns(text, KD_ERR_CONFIG), 1);
}
END_TEST

// ---- dialogues -------------------------------------------------------------

static unsigned replay(const char *path) {
    static uint8_t bytes[65536];
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    const size_t n = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        (void)LLVMFuzzerTestOneInput(bytes, n); // aborts where something is wrong
    }
    return turn;
}

START_TEST(each_dialogue_ends_whichever_allocation_fails) {
    const char *root = getenv("KD_SRCDIR");
    char folder[4096];
    char path[8192];
    unsigned most = 0;
    snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus/gateway", root == NULL ? "." : root);
    DIR *d = opendir(folder);
    ck_assert_msg(d != NULL, "%s cannot be opened (set KD_SRCDIR)", folder);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
            const unsigned turns = replay(path);
            most = turns > most ? turns : most;
        }
    }
    closedir(d);
    ck_assert_uint_gt(most, 30);
}
END_TEST

// ---- connections -----------------------------------------------------------

enum { ANSWER_MS = 50000, KIND_THAT_IS_NOT = 0x7f };

struct caller {
    struct kd_loop *loop;
    int fd;
    size_t n; // bytes that came
    bool is_over;
};

static void on_said(void *arg, uint32_t events KD_UNUSED) {
    struct caller *c = arg;
    uint8_t bytes[64];
    const ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    c->n += n > 0 ? (size_t)n : 0;
    c->is_over = n <= 0;
    kd_loop_stop(c->loop);
}

static void on_late(void *arg KD_UNUSED) {
    ck_abort_msg("neither an answer nor an end");
}

// Two frames that nobody else is asked about, with their lengths: without memory the answer to one
// of them may be lost, as over any network.  How much came back.
static size_t call_tcp(struct fake_gateway *f, const struct sockaddr_in *address) {
    static const uint8_t frames[] = { 0, 0, 0, 5, KIND_THAT_IS_NOT, 0, 0, 0, 1,
                                      0, 0, 0, 5, KIND_THAT_IS_NOT, 0, 0, 0, 2 };
    struct caller c = { .loop = f->g.loop };
    struct kd_watch *watch = NULL;
    struct kd_timer *late = NULL;
    memory_pause(); // the caller has memory
    c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(c.fd, (const struct sockaddr *)address, sizeof(*address)), 0);
    ck_assert_int_eq(send(c.fd, frames, sizeof(frames), MSG_NOSIGNAL), sizeof(frames));
    ck_assert_err(kd_watch_new(c.loop, c.fd, EPOLLIN, on_said, &c, &watch), KD_OK);
    ck_assert_err(kd_timer_new(c.loop, on_late, NULL, &late), KD_OK);
    kd_timer_set(late, ANSWER_MS);
    memory_resume();
    ck_assert_err(kd_loop_run(c.loop), KD_OK);
    kd_timer_free(late);
    kd_watch_free(watch);
    close(c.fd);
    return c.n;
}

START_TEST(a_connection_is_served_or_ended_and_the_next_one_is_served) {
    const struct sockaddr_in address = fake_free_address();
    char where[64];
    struct fake_gateway f;
    struct kd_tcp *tcp = NULL;
    unsigned turn = 0;
    snprintf(where, sizeof(where), "127.0.0.1:%u", ntohs(address.sin_port));
    ck_assert_err(fake_gateway_open(&f), KD_OK);
    f.config.connections_max = f.config.in_flight_max = 8;
    f.config.unsent_max_bytes = 65536;
    f.config.idle_timeout_ms = f.config.frame_timeout_ms = 60000;
    ck_assert_err(kd_tcp_open(&f.g, where, &tcp), KD_OK);
    for (; memory_fails_at(turn); turn++) {
        const size_t n = call_tcp(&f, &address);
        ck_assert(memory_has_failed() || n > 0);
        ck_assert_uint_gt(call_tcp(&f, &address), 0);
    }
    ck_assert_uint_gt(turn, 2);
    kd_tcp_close(tcp);
    fake_gateway_close(&f);
}
END_TEST

START_TEST(a_listener_opens_or_there_is_no_memory) {
    struct fake_gateway f;
    unsigned turn = 0;
    ck_assert_err(fake_gateway_open(&f), KD_OK);
    f.config.answers_max = 4;
    f.config.datagram_max_bytes = 1200;
    for (; memory_fails_at(turn); turn++) {
        struct kd_udp *udp = NULL;
        const enum kd_err r = kd_udp_open(&f.g, "127.0.0.1:0", &udp);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        ck_assert((udp != NULL) == (r == KD_OK));
        kd_udp_close(udp);
    }
    ck_assert_uint_gt(turn, 1);
    fake_gateway_close(&f);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *c = tcase_create("memory");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_gateway_is_made_or_there_is_no_memory);
    tcase_add_test(c, a_configuration_is_read_or_there_is_no_memory);
    tcase_add_test(c, a_wrong_configuration_is_not_taken_for_want_of_memory_to_say_so);
    tcase_add_test(c, each_dialogue_ends_whichever_allocation_fails);
    tcase_add_test(c, a_connection_is_served_or_ended_and_the_next_one_is_served);
    tcase_add_test(c, a_listener_opens_or_there_is_no_memory);
    return c;
}

UNIT_MAIN("gateway memory", tcase_memory())
