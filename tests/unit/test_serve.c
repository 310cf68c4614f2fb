// SPDX-License-Identifier: Apache-2.0
// keyd-hsm itself, as keyd starts it, with a SoftHSM token.
#include "hsm/serve.h"

#include "token_fixture.h"
#include "unit.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 50000, PIPELINED = 64, SLOW_ITEMS = 256 };

static struct {
    int fd;
    pid_t pid;
    struct kd_buf in;
    size_t taken;
} worker;

static void start(void) {
    int pair[2];
    char program[4096];
    const char *build = getenv("KD_BUILDDIR");
    snprintf(program, sizeof(program), "%s/keyd-hsm", build == NULL ? "." : build);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    worker.pid = fork();
    if (worker.pid == 0) {
        if (pair[1] == 3 || dup2(pair[1], 3) == 3) {
            execl(program, "keyd-hsm", (char *)NULL);
        }
        _exit(99);
    }
    close(pair[1]);
    worker.fd = pair[0];
    worker.in = KD_BUF_INIT(32 << 20);
    worker.taken = 0;
}

// Hangs up, if that has not been done, and gives the exit status.
static int end(void) {
    int status = 0;
    shutdown(worker.fd, SHUT_WR);
    ck_assert_int_eq(waitpid(worker.pid, &status, 0), worker.pid);
    close(worker.fd);
    kd_buf_wipe(&worker.in);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void send_bytes(const void *p, size_t n) {
    const uint8_t *at = p;
    while (n > 0) {
        const ssize_t sent = send(worker.fd, at, n, MSG_NOSIGNAL);
        ck_assert_int_gt(sent, 0);
        at += sent;
        n -= (size_t)sent;
    }
}

// The next frame; none where the worker hangs up or says nothing for long.
static struct kd_bytes receive(void) {
    for (;;) {
        struct kd_bytes frame;
        size_t size = 0;
        if (worker.in.n > worker.taken) {
            const struct kd_bytes rest = { worker.in.p + worker.taken, worker.in.n - worker.taken };
            ck_assert_err(kd_hsm_frame_next(rest, &frame, &size), KD_OK);
        }
        if (size > 0) {
            worker.taken += size;
            return frame;
        }
        struct pollfd p = { .fd = worker.fd, .events = POLLIN };
        uint8_t bytes[65536];
        const ssize_t n = poll(&p, 1, WAIT_MS) == 1 ? recv(worker.fd, bytes, sizeof(bytes), 0) : 0;
        if (n <= 0) {
            return KD_BYTES_NONE;
        }
        kd_buf_put(&worker.in, bytes, (size_t)n);
        ck_assert_err(kd_buf_finish(&worker.in), KD_OK);
    }
}

static struct kd_hsm_status greet(const struct kd_hsm_hello *hello) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(65536);
    struct kd_hsm_status status = { 0 };
    uint32_t id = 99;
    const size_t at = kd_hsm_frame_begin(&b);
    kd_hsm_put_hello(&b, hello);
    kd_hsm_frame_end(&b, at);
    send_bytes(b.p, b.n);
    const struct kd_bytes frame = receive();
    ck_assert_uint_gt(frame.n, 0);
    struct kd_reader in = kd_reader_of(frame);
    ck_assert_err(kd_hsm_get_status(&in, &id, &status), KD_OK);
    ck_assert_uint_eq(id, 0);
    return status;
}

static void start_ready(uint16_t threads) {
    struct kd_hsm_hello hello = token_hello();
    hello.threads = threads;
    start();
    const struct kd_hsm_status status = greet(&hello);
    ck_assert_err(status.err, KD_OK);
    ck_assert_uint_eq(status.threads, threads);
}

static void put_ping(struct kd_buf *b, uint32_t id) {
    const size_t at = kd_hsm_frame_begin(b);
    const struct kd_hsm_request q = { .op = KD_HSM_PING, .id = id };
    kd_hsm_put_request(b, &q);
    kd_hsm_frame_end(b, at);
}

START_TEST(a_ping_is_answered_with_all_that_hello_was) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1024);
    struct kd_hsm_status status = { 0 };
    uint32_t id = 0;
    start_ready(2);
    put_ping(&b, 7);
    send_bytes(b.p, b.n);
    struct kd_reader in = kd_reader_of(receive());
    ck_assert_err(kd_hsm_get_status(&in, &id, &status), KD_OK);
    ck_assert_uint_eq(id, 7);
    ck_assert_uint_eq(status.threads, 2);
    ck_assert_uint_gt(status.module.n, 0);
    ck_assert_uint_gt(status.token_label.n, 0);
    ck_assert_uint_gt(status.token_uri.n, 0);
    ck_assert_int_eq(status.probe[KD_HSM_CAN_AES_GCM], KD_HSM_PROBE_VERIFIED);
}
END_TEST

static void put_random(struct kd_buf *b, uint32_t id, uint16_t n_items, uint16_t n) {
    const size_t at = kd_hsm_frame_begin(b);
    const struct kd_hsm_request q = { .op = KD_HSM_RANDOM, .id = id, .n_items = n_items };
    const struct kd_hsm_item item = { .n = n };
    kd_hsm_put_request(b, &q);
    for (size_t i = 0; i < n_items; i++) {
        kd_hsm_put_item(b, KD_HSM_RANDOM, &item);
    }
    kd_hsm_frame_end(b, at);
}

static uint32_t id_of(struct kd_bytes frame) {
    struct kd_reader in = kd_reader_of(frame);
    return kd_read_u32(&in);
}

// ---- the first message -------------------------------------------------------

START_TEST(a_front_that_goes_before_it_says_anything_ends_it) {
    start();
    ck_assert_int_eq(end(), KD_WORKER_EXIT_CLOSED);
}
END_TEST

START_TEST(what_is_no_hello_ends_it) {
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {
        { "\0\0\0\0", 4 },                      // an empty frame
        { "\0\0\0\1\1", 5 },                    // a hello that is cut
        { "\0\0\0\5hello", 9 },                 // garbage
        { "\xff\xff\xff\xff\1\1\1\1", 8 },      // over the limit
        { "\0\x40\0\1", 4 },                    // by one
        { "GET / HTTP/1.0\r\n\r\n", 18 },       // another protocol
        { "\0\0\0\x09\1\0\0\0\0\0\0\0\0", 13 }, // half a hello in a whole frame
        { "\0\0", 2 },                          // half a length
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        start();
        send_bytes(rows[i].bytes, rows[i].n);
        ck_assert_int_eq(end(), KD_WORKER_EXIT_STREAM);
    }
}
END_TEST

START_TEST(a_token_that_is_not_there_is_told_and_ends_it) {
    struct kd_hsm_hello hello = token_hello();
    hello.token_uri = kd_bytes_of_text("pkcs11:token=another");
    start();
    const struct kd_hsm_status status = greet(&hello);
    ck_assert_err(status.err, KD_ERR_NO_TOKEN);
    ck_assert_ptr_nonnull(memmem(status.detail.p, status.detail.n, "token=test", 10));
    ck_assert_int_eq(end(), KD_WORKER_EXIT_REFUSED);
    hello.module = kd_bytes_of_text("/nonexistent.so");
    start();
    ck_assert_err(greet(&hello).err, KD_ERR_NO_MODULE);
    ck_assert_int_eq(end(), KD_WORKER_EXIT_REFUSED);
}
END_TEST

static void write_pin(const char *pin) {
    const struct kd_hsm_hello hello = token_hello();
    char path[256] = { 0 };
    memcpy(path, hello.pin_file.p, hello.pin_file.n);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "%s\n", pin);
    fclose(f);
}

static bool says(const struct kd_hsm_status *status, const char *text) {
    return memmem(status->detail.p, status->detail.n, text, strlen(text)) != NULL;
}

START_TEST(a_refused_pin_is_submitted_once_when_its_record_comes_back) {
    struct kd_hsm_hello hello = token_hello();
    uint8_t record[KD_HSM_PIN_RECORD_MAX_BYTES];
    write_pin("87654321");
    start();
    struct kd_hsm_status status = greet(&hello);
    ck_assert_err(status.err, KD_ERR_PIN_REFUSED);
    ck_assert(says(&status, "CKR_PIN_INCORRECT")); // submitted
    ck_assert_uint_gt(status.refused_pin.n, 0);
    memcpy(record, status.refused_pin.p, status.refused_pin.n);
    hello.refused_pin = (struct kd_bytes) { record, status.refused_pin.n };
    ck_assert_int_eq(end(), KD_WORKER_EXIT_REFUSED);
    start();
    status = greet(&hello);
    ck_assert_err(status.err, KD_ERR_PIN_REFUSED);
    ck_assert(says(&status, "refused before")); // not submitted
    ck_assert(!says(&status, "87654321"));
    ck_assert_int_eq(end(), KD_WORKER_EXIT_REFUSED);
    write_pin("12345678");
    start();
    ck_assert_err(greet(&hello).err, KD_OK);
    ck_assert_int_eq(end(), KD_WORKER_EXIT_CLOSED);
}
END_TEST

// ---- requests ----------------------------------------------------------------

START_TEST(all_of_many_requests_are_answered_once) {
    const uint16_t threads = (uint16_t)_i;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1 << 20);
    bool seen[PIPELINED] = { false };
    start_ready(threads);
    for (uint32_t i = 0; i < PIPELINED; i++) {
        if (i % 3 == 0) {
            put_ping(&b, i);
        } else {
            put_random(&b, i, (uint16_t)(i + 1), 32);
        }
    }
    send_bytes(b.p, b.n);
    for (size_t i = 0; i < PIPELINED; i++) {
        const struct kd_bytes frame = receive();
        ck_assert_msg(frame.n > 0, "after %zu replies none came", i);
        const uint32_t id = id_of(frame);
        ck_assert_uint_lt(id, PIPELINED);
        ck_assert(!seen[id]);
        seen[id] = true;
    }
    ck_assert_int_eq(end(), KD_WORKER_EXIT_CLOSED);
}
END_TEST

// A reply that is late must not wait for another request.
START_TEST(a_slow_request_is_answered_though_a_quick_one_behind_it_was) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1 << 20);
    start_ready(2);
    for (size_t round = 0; round < 5; round++) {
        kd_buf_reset(&b);
        put_random(&b, 1, SLOW_ITEMS, KD_HSM_RANDOM_MAX_BYTES);
        put_ping(&b, 2);
        send_bytes(b.p, b.n);
        ck_assert_uint_gt(receive().n, 0);
        ck_assert_uint_gt(receive().n, 0);
    }
    ck_assert_int_eq(end(), KD_WORKER_EXIT_CLOSED);
}
END_TEST

START_TEST(a_frame_that_comes_byte_by_byte_is_answered) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1 << 20);
    start_ready(1);
    put_random(&b, 7, 1, 16);
    for (size_t i = 0; i < b.n; i++) {
        send_bytes(b.p + i, 1);
    }
    ck_assert_uint_eq(id_of(receive()), 7);
    ck_assert_int_eq(end(), KD_WORKER_EXIT_CLOSED);
}
END_TEST

START_TEST(results_that_are_more_than_a_frame_are_an_error_of_the_batch) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1 << 20);
    struct kd_hsm_reply reply;
    start_ready(1);
    put_random(&b, 8, KD_HSM_BATCH_MAX_ITEMS, KD_HSM_RANDOM_MAX_BYTES);
    put_ping(&b, 9);
    send_bytes(b.p, b.n);
    struct kd_reader in = kd_reader_of(receive());
    ck_assert_err(kd_hsm_get_reply(&in, &reply), KD_OK);
    ck_assert_err(reply.err, KD_ERR_BATCH_TOO_LARGE);
    ck_assert_err(kd_reader_finish(&in), KD_OK);
    ck_assert_uint_eq(id_of(receive()), 9);
    ck_assert_int_eq(end(), KD_WORKER_EXIT_CLOSED);
}
END_TEST

START_TEST(a_malformed_frame_ends_it) {
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {
        { "\0\0\0\0", 4 },
        { "\0\0\0\1\x63", 5 },                                // no such operation
        { "\0\0\0\1\2", 5 },                                  // a ping that is cut
        { "\xff\xff\xff\xff", 4 },                            // over the limit
        { "\0\0\0\x0b\2\0\0\0\1\0\0\0\0\0\7", 15 },           // a byte behind a ping
        { "\0\0\0\x0c\x09\0\0\0\1\0\0\0\0\1\0\0\0\0\0", 16 }, // mac without a key
        { "\0\0\0\x64\2", 5 },                                // hung up in a frame
    };
    for (int threads = 1; threads <= 4; threads += 3) {
        for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
            start_ready((uint16_t)threads);
            send_bytes(rows[i].bytes, rows[i].n);
            ck_assert_int_eq(end(), KD_WORKER_EXIT_STREAM);
        }
    }
}
END_TEST

static TCase *tcase_worker(void) {
    TCase *c = tcase_create("worker");
    tcase_set_timeout(c, 100);
    tcase_add_checked_fixture(c, token_make, token_remove);
    tcase_add_test(c, a_front_that_goes_before_it_says_anything_ends_it);
    tcase_add_test(c, a_ping_is_answered_with_all_that_hello_was);
    tcase_add_test(c, what_is_no_hello_ends_it);
    tcase_add_test(c, a_token_that_is_not_there_is_told_and_ends_it);
    tcase_add_test(c, a_refused_pin_is_submitted_once_when_its_record_comes_back);
    tcase_add_test(c, a_malformed_frame_ends_it);
    tcase_add_test(c, results_that_are_more_than_a_frame_are_an_error_of_the_batch);
    tcase_add_test(c, a_frame_that_comes_byte_by_byte_is_answered);
    tcase_add_test(c, a_slow_request_is_answered_though_a_quick_one_behind_it_was);
    tcase_add_loop_test(c, all_of_many_requests_are_answered_once, 1, 5);
    return c;
}

TOKEN_MAIN(TOKEN_SOFTHSM, "serve", tcase_worker())
