// SPDX-License-Identifier: Apache-2.0
// Each allocation of libkeyd fails in turn in the life of a session, with a server that does its
// part: what fails says that there is no memory, nothing leaks (the sanitizer's build says so), and
// the same device does it when it is asked again.  And what it remembers of what it has got.
#include "client/device_state.h"
#include "client/keyd.h"
#include "tests/unit/device_pair.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static struct device_pair p;
static char expired_file[96];

// The device's certificate, as it was before: of the same key.
static void write_expired(void) {
    struct pki_cert before = { X509_dup(p.own.x), p.own.key };
    ck_assert(X509_gmtime_adj(X509_getm_notAfter(before.x), -60) != NULL &&
              X509_sign(before.x, p.own.key, EVP_sha256()) > 0);
    pki_write_pem(expired_file, &before, 1);
    X509_free(before.x);
}

static void set_up(void) {
    device_pair_open(&p, NULL);
    snprintf(expired_file, sizeof(expired_file), "%s/expired", p.folder);
    write_expired();
}

static void tear_down(void) {
    device_pair_close(&p);
}

// ---- what a device does ----------------------------------------------------

static enum keyd_err make(void) {
    return keyd_device_new(&p.config, &p.device);
}

static enum keyd_err handshake(void) {
    const unsigned before = p.server.n_sessions;
    const enum keyd_err r = keyd_connect(p.device);
    ck_assert(r != KEYD_OK || p.server.n_sessions == before + 1);
    return r;
}

// The message is delivered once, or the caller knows that it may not have been.
static enum keyd_err ask(void) {
    uint8_t *answer = NULL;
    size_t n = 0;
    const unsigned before = p.server.n_messages;
    const enum keyd_err r = keyd_request(p.device, "message", 7, &answer, &n);
    ck_assert_uint_le(p.server.n_messages, before + 1);
    ck_assert((answer != NULL) == (r == KEYD_OK));
    if (r == KEYD_OK) {
        ck_assert_uint_eq(p.server.n_messages, before + 1);
        ck_assert(n == 7 && memcmp(answer, "message", 7) == 0);
    }
    free(answer);
    return r;
}

static enum keyd_err renew(void) {
    return keyd_update(p.device);
}

static enum keyd_err take_ticket(void) {
    return keyd_save(p.device);
}

static enum keyd_err end(void) {
    return keyd_close(p.device);
}

// It is done, or there was no memory; then it is done when it is asked again.
static void must(enum keyd_err (*step)(void), unsigned turn, const char *name) {
    const enum keyd_err r = step();
    if (r != KEYD_OK) {
        ck_assert_msg(memory_has_failed() && r == KEYD_ERR_MEMORY, "turn %u, %s: %s: %s", turn,
                      name, keyd_err_name(r), keyd_detail());
        const enum keyd_err again = step();
        ck_assert_msg(again == KEYD_OK, "turn %u, %s again: %s: %s", turn, name,
                      keyd_err_name(again), keyd_detail());
    }
}

START_TEST(a_device_that_was_made_can_connect) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum keyd_err r = make();
        ck_assert_keyd(r, memory_has_failed() ? KEYD_ERR_MEMORY : KEYD_OK);
        ck_assert((p.device != NULL) == (r == KEYD_OK));
    }
    ck_assert_uint_gt(turn, 5);
    ck_assert_keyd(handshake(), KEYD_OK);
}
END_TEST

START_TEST(a_handshake_is_made_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        ck_assert_keyd(make(), KEYD_OK);
        memory_resume();
        must(handshake, turn, "connect");
        (void)memory_has_failed();
        ck_assert_keyd(ask(), KEYD_OK);
        keyd_device_free(p.device);
        p.device = NULL;
    }
    ck_assert_uint_gt(turn, 15);
}
END_TEST

static int give_new_certificate(void *arg KD_UNUSED, uint8_t *certificate, size_t max, size_t *n) {
    memory_pause();
    const struct kd_bytes der = pki_der(&p.own);
    ck_assert_uint_le(der.n, max);
    memcpy(certificate, der.p, der.n);
    *n = der.n;
    memory_resume();
    return 0;
}

START_TEST(an_expired_certificate_is_renewed_or_there_is_no_memory) {
    unsigned turn = 0;
    p.config.certificate_file = expired_file;
    p.config.renew = give_new_certificate;
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        ck_assert_keyd(make(), KEYD_OK);
        memory_resume();
        must(handshake, turn, "connect");
        keyd_device_free(p.device);
        p.device = NULL;
    }
    ck_assert_uint_gt(turn, 15);
}
END_TEST

START_TEST(a_failed_handshake_leaves_the_session_before_it) {
    unsigned turn = 0;
    ck_assert_keyd(make(), KEYD_OK);
    ck_assert_keyd(handshake(), KEYD_OK);
    for (; memory_fails_at(turn); turn++) {
        const unsigned before = p.server.n_sessions;
        const enum keyd_err r = handshake();
        const bool has_other_keys = p.server.n_sessions != before; // there, whether or not here
        ck_assert_keyd(r, memory_has_failed() ? KEYD_ERR_MEMORY : KEYD_OK);
        if (r == KEYD_OK || !has_other_keys) {
            ck_assert_keyd(ask(), KEYD_OK);
        } else {
            ck_assert_keyd(handshake(), KEYD_OK);
        }
    }
    ck_assert_uint_gt(turn, 15);
}
END_TEST

START_TEST(a_session_lives_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        ck_assert_keyd(make(), KEYD_OK);
        ck_assert_keyd(handshake(), KEYD_OK);
        memory_resume();
        must(ask, turn, "request");
        must(renew, turn, "update");
        must(ask, turn, "request under other keys");
        must(take_ticket, turn, "save");
        const unsigned n_resumed = p.server.n_resumed;
        p.server.forgets = true;
        must(ask, turn, "request that resumes");
        const bool has_resumed = p.server.n_resumed == n_resumed + 1;
        must(end, turn, "close");
        ck_assert(memory_has_failed() || has_resumed);
        keyd_device_free(p.device);
        p.device = NULL;
    }
    ck_assert_uint_gt(turn, 30);
}
END_TEST

START_TEST(a_ticket_that_was_saved_is_there) {
    unsigned turn = 0;
    ck_assert_keyd(make(), KEYD_OK);
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        ck_assert_keyd(handshake(), KEYD_OK);
        memory_resume();
        must(take_ticket, turn, "save");
        (void)memory_has_failed();
        const unsigned n_resumed = p.server.n_resumed;
        p.server.forgets = true;
        ck_assert_keyd(ask(), KEYD_OK);
        ck_assert_uint_eq(p.server.n_resumed, n_resumed + 1);
    }
    ck_assert_uint_gt(turn, 3);
}
END_TEST

// ---- what is sent unasked ----------------------------------------------------

enum { PUSHES = KD_DEVICE_ACKS + 3 };

static struct kd_buf pushes[PUSHES];
static const struct kd_buf *coming[2]; // before all that the server answers

static int receive_coming(void *arg, uint8_t *frame, size_t max, size_t *n, unsigned timeout_ms) {
    for (size_t i = 0; i < KD_COUNT_OF(coming) && p.server.n_out == 0; i++) {
        if (coming[i] != NULL) {
            const struct kd_bytes b = kd_buf_get(coming[i]);
            ck_assert_uint_le(b.n, max);
            memcpy(frame, b.p, b.n);
            *n = b.n;
            coming[i] = NULL;
            return 0;
        }
    }
    return device_server_receive(arg, frame, max, n, timeout_ms);
}

// One that is new, and before it the frame of one that has come already (-1: none), which is not
// given out again.  How many acknowledgements there were.
static unsigned receive_one(size_t i, int again) {
    uint8_t *message = NULL;
    size_t n = 0;
    const unsigned before = p.server.n_acks;
    pushes[i] = KD_BUF_INIT(1024);
    device_server_push(&p.server, (uint32_t)i + 1, "unasked", &pushes[i]);
    coming[0] = again < 0 ? NULL : &pushes[again];
    coming[1] = &pushes[i];
    ck_assert_keyd(keyd_receive(p.device, 60000, &message, &n), KEYD_OK);
    ck_assert(n == 7 && memcmp(message, "unasked", 7) == 0);
    free(message);
    return p.server.n_acks - before;
}

START_TEST(push_that_comes_again_is_acknowledged_again_while_its_is_among_the_latest) {
    p.config.receive = receive_coming;
    ck_assert_keyd(make(), KEYD_OK);
    ck_assert_keyd(handshake(), KEYD_OK);
    for (size_t i = 0; i < KD_DEVICE_ACKS; i++) {
        ck_assert_uint_eq(receive_one(i, -1), 1);
    }
    ck_assert_uint_eq(receive_one(KD_DEVICE_ACKS, 0), 2);     // the oldest that is kept
    ck_assert_uint_eq(receive_one(KD_DEVICE_ACKS + 1, 0), 1); // that was kept
    ck_assert_uint_eq(receive_one(KD_DEVICE_ACKS + 2, KD_DEVICE_ACKS + 1), 2);
    for (size_t i = 0; i < PUSHES; i++) {
        kd_buf_wipe(&pushes[i]);
    }
}
END_TEST

static TCase *tcase_session(void) {
    TCase *c = tcase_create("session");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_device_that_was_made_can_connect);
    tcase_add_test(c, a_handshake_is_made_or_there_is_no_memory);
    tcase_add_test(c, an_expired_certificate_is_renewed_or_there_is_no_memory);
    tcase_add_test(c, a_failed_handshake_leaves_the_session_before_it);
    tcase_add_test(c, a_session_lives_or_there_is_no_memory);
    tcase_add_test(c, a_ticket_that_was_saved_is_there);
    tcase_add_test(c, push_that_comes_again_is_acknowledged_again_while_its_is_among_the_latest);
    return c;
}

UNIT_MAIN("session memory", tcase_session())
