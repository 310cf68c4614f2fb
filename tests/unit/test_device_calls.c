// SPDX-License-Identifier: Apache-2.0
// test_device_calls.c: the calls of libkeyd, with a server in this process, over a transport of the
// caller's: what they send, when they end, and what they say then.
#include "client/device_state.h"
#include "tests/unit/device_pair.h"
#include "tests/unit/unit.h"

#include <openssl/pem.h>
#include <sched.h>
#include <stdio.h>

enum { LONG_MS = 10000000 };

static struct device_pair p;
static char envelope_file[96];
static unsigned n_tickets, n_handshakes; // frames that asked for one, or were of one

static int take(void *arg, const uint8_t *frame, size_t n, unsigned timeout_ms) {
    n_tickets += frame[0] == KD_FRAME_TICKET;
    n_handshakes += frame[0] == KD_FRAME_HANDSHAKE;
    return device_server_send(arg, frame, n, timeout_ms);
}

static void set_up(void) {
    device_pair_open(&p, NULL);
    p.config.send = take;
    snprintf(envelope_file, sizeof(envelope_file), "%s/envelope", p.folder);
    FILE *f = fopen(envelope_file, "we");
    ck_assert(f != NULL && PEM_write_PUBKEY(f, p.theirs.key) == 1);
    fclose(f);
    n_tickets = n_handshakes = 0;
}

static void tear_down(void) {
    device_pair_close(&p);
    kd_clock_release();
}

// ---- messages that come unasked --------------------------------------------

static enum keyd_err receive(unsigned timeout_ms) {
    uint8_t *message = NULL;
    size_t n = 0;
    const enum keyd_err r = keyd_receive(p.device, timeout_ms, &message, &n);
    free(message);
    return r;
}

// All clocks go on, the server's as well.
static void hear_nothing_at(uint64_t mono_ms, unsigned tickets) {
    kd_clock_hold(mono_ms, kd_clock_wall_ms() + mono_ms - kd_clock_mono_ms());
    ck_assert_keyd(receive(0), KEYD_ERR_TIMEOUT);
    ck_assert_uint_eq(n_tickets, tickets);
}

START_TEST(who_listens_again_and_again_says_that_it_is_there_once_in_a_while) {
    const uint64_t began_ms = kd_clock_mono_ms();
    const uint64_t again_ms = began_ms + KD_DEVICE_KEEPALIVE_MS;
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
    hear_nothing_at(began_ms, 1);
    hear_nothing_at(began_ms, 1);
    hear_nothing_at(again_ms - 1, 1);
    hear_nothing_at(again_ms, 2);
    hear_nothing_at(again_ms + KD_DEVICE_KEEPALIVE_MS - 1, 2);
    hear_nothing_at(again_ms + KD_DEVICE_KEEPALIVE_MS, 3);
}
END_TEST

// ---- sizes -----------------------------------------------------------------

static void must_be_made(unsigned datagram_max_bytes, enum keyd_err expected) {
    p.config.datagram_max_bytes = datagram_max_bytes;
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), expected);
    keyd_device_free(p.device);
    p.device = NULL;
}

START_TEST(datagrams_have_a_least_and_a_most) {
    must_be_made(KD_DEVICE_DATAGRAM_LOW_BYTES - 1, KEYD_ERR_ARGUMENT);
    must_be_made(KD_DEVICE_DATAGRAM_LOW_BYTES, KEYD_OK);
    must_be_made(KD_DEVICE_DATAGRAM_HIGH_BYTES, KEYD_OK);
    must_be_made(KD_DEVICE_DATAGRAM_HIGH_BYTES + 1, KEYD_ERR_ARGUMENT);
}
END_TEST

static size_t n_traced; // bytes of the last frame that was to be sent

static void trace(void *arg KD_UNUSED, int has_come KD_UNUSED, const uint8_t *frame KD_UNUSED,
                  size_t n) {
    n_traced = n;
}

static void must_send(size_t n, enum keyd_err expected, size_t frame_bytes) {
    static const uint8_t zeros[KEYD_BODY_MAX];
    n_traced = 0;
    ck_assert_keyd(keyd_envelope(p.device, NULL, 60, zeros, n), expected);
    ck_assert_uint_eq(n_traced, frame_bytes);
}

// Nobody answers.
static void fill_datagrams(unsigned datagram_max_bytes, size_t max) {
    enum { N = 300 };
    p.config.datagram_max_bytes = datagram_max_bytes;
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
    ck_assert_keyd(keyd_envelope(p.device, NULL, 60, p.config.server, 0), KEYD_ERR_TIMEOUT);
    const size_t n_around = n_traced + 2; // with a body whose length has two bytes more
    ck_assert_uint_lt(n_around + N, max);
    must_send(N, KEYD_ERR_TIMEOUT, n_around + N);
    must_send(max - n_around, KEYD_ERR_TIMEOUT, max);
    must_send(max - n_around + 1, KEYD_ERR_ARGUMENT, 0);
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "datagram_max_bytes"));
    keyd_device_free(p.device);
    p.device = NULL;
}

START_TEST(frame_that_is_too_long_for_a_datagram_is_refused_at_once) {
    p.config.server = "udp://127.0.0.1:9";
    p.config.envelope_key_file = envelope_file;
    p.config.timeout_ms = 1;
    p.config.trace = trace;
    fill_datagrams(0, KD_FRAME_DATAGRAM_MAX_BYTES);
    fill_datagrams(5000, 5000);
}
END_TEST

START_TEST(message_whose_answer_is_too_large_may_have_been_delivered) {
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    p.server.fails = KD_FAILURE_TOO_LARGE;
    ck_assert_keyd(keyd_request(p.device, "m", 1, NULL, NULL), KEYD_ERR_TRANSPORT);
    ck_assert_str_eq(keyd_detail(), "The message or its answer is too large for this way.");
    ck_assert_keyd(keyd_request(p.device, "m", 1, NULL, NULL), KEYD_OK);
    ck_assert_uint_eq(p.server.n_sessions, 1);
}
END_TEST

// ---- the end ---------------------------------------------------------------

// Nothing comes but answers: who waits for more waits until he is let go.
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool waits, is_over;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static int take_at_gate(void *arg, const uint8_t *frame, size_t n, unsigned timeout_ms) {
    pthread_mutex_lock(&gate.lock);
    const int r = take(arg, frame, n, timeout_ms);
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    return r;
}

static int give_at_gate(void *arg, uint8_t *frame, size_t max, size_t *n, unsigned timeout_ms) {
    const struct device_server *s = arg;
    pthread_mutex_lock(&gate.lock);
    while (s->n_out == 0 && !gate.is_over) {
        gate.waits = true;
        pthread_cond_broadcast(&gate.changed);
        pthread_cond_wait(&gate.changed, &gate.lock);
    }
    const int r = device_server_receive(arg, frame, max, n, timeout_ms);
    pthread_mutex_unlock(&gate.lock);
    return r;
}

static void *listen_to_the_end(void *arg KD_UNUSED) {
    ck_assert_keyd(receive(LONG_MS), KEYD_ERR_TRANSPORT);
    ck_assert_str_eq(keyd_detail(), "The session was closed by keyd_close.");
    return NULL;
}

START_TEST(who_listens_ends_when_the_device_is_closed) {
    pthread_t listener;
    p.config.send = take_at_gate;
    p.config.receive = give_at_gate;
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
    ck_assert_int_eq(pthread_create(&listener, NULL, listen_to_the_end, NULL), 0);
    pthread_mutex_lock(&gate.lock);
    while (n_tickets == 0 || p.server.n_out > 0 || !gate.waits) {
        gate.waits = false;
        pthread_cond_wait(&gate.changed, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
    ck_assert_keyd(keyd_close(p.device), KEYD_OK);
    pthread_mutex_lock(&gate.lock);
    gate.is_over = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    pthread_join(listener, NULL);
    ck_assert_uint_eq(p.server.n_sessions, 1);
    ck_assert_keyd(receive(0), KEYD_ERR_TIMEOUT); // another call makes another
    ck_assert_uint_eq(p.server.n_sessions, 2);
}
END_TEST

// ---- calls that wait for each other ----------------------------------------

enum { ASKERS = 3 };

// A transport that breaks when it is let go.
static int break_at_gate(void *arg KD_UNUSED, uint8_t *frame KD_UNUSED, size_t max KD_UNUSED,
                         size_t *n KD_UNUSED, unsigned timeout_ms KD_UNUSED) {
    pthread_mutex_lock(&gate.lock);
    gate.waits = true;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.is_over) {
        pthread_cond_wait(&gate.changed, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
    return -1;
}

static void *ask_in_vain(void *arg KD_UNUSED) {
    ck_assert_keyd(keyd_request(p.device, "m", 1, NULL, NULL), KEYD_ERR_TRANSPORT);
    ck_assert_str_ne(keyd_detail(), "");
    return NULL;
}

static unsigned waiting(void) {
    pthread_mutex_lock(&p.device->lock);
    const unsigned n = p.device->n_waiting;
    pthread_mutex_unlock(&p.device->lock);
    return n;
}

START_TEST(a_handshake_that_fails_has_failed_for_all_who_waited_for_it) {
    pthread_t askers[ASKERS];
    p.config.send = take_at_gate;
    p.config.receive = break_at_gate;
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
    for (unsigned i = 0; i < ASKERS; i++) {
        ck_assert_int_eq(pthread_create(&askers[i], NULL, ask_in_vain, NULL), 0);
    }
    while (waiting() < ASKERS - 1) {
        sched_yield();
    }
    pthread_mutex_lock(&gate.lock);
    while (!gate.waits) {
        pthread_cond_wait(&gate.changed, &gate.lock);
    }
    gate.is_over = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    for (unsigned i = 0; i < ASKERS; i++) {
        pthread_join(askers[i], NULL);
    }
    ck_assert_uint_eq(n_handshakes, 1);
    ck_assert_keyd(keyd_connect(p.device), KEYD_ERR_TRANSPORT); // who did not wait tries himself
    ck_assert_uint_eq(n_handshakes, 2);
}
END_TEST

static TCase *tcase_unasked(void) {
    TCase *c = tcase_create("unasked");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, who_listens_again_and_again_says_that_it_is_there_once_in_a_while);
    tcase_add_test(c, who_listens_ends_when_the_device_is_closed);
    return c;
}

static TCase *tcase_sizes(void) {
    TCase *c = tcase_create("sizes");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, datagrams_have_a_least_and_a_most);
    tcase_add_test(c, frame_that_is_too_long_for_a_datagram_is_refused_at_once);
    tcase_add_test(c, message_whose_answer_is_too_large_may_have_been_delivered);
    return c;
}

static TCase *tcase_together(void) {
    TCase *c = tcase_create("together");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_handshake_that_fails_has_failed_for_all_who_waited_for_it);
    return c;
}

UNIT_MAIN("device calls", tcase_unasked(), tcase_sizes(), tcase_together())
