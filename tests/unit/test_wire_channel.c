// SPDX-License-Identifier: Apache-2.0
#include "unit.h"
#include "wire_samples.h"

// ---- failures of a handshake -------------------------------------------------

START_TEST(a_failed_step_carries_the_message_for_the_peer) {
    fill();
    for (int op = KD_HSM_HS_START; op <= KD_HSM_HS_CONFIRM; op++) {
        kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
        struct kd_hsm_result result = sample_result();
        result.err = KD_ERR_HS_NOT_AUTHENTIC;
        kd_hsm_put_result(&b, (enum kd_hsm_op)op, &result);
        struct kd_reader in = kd_reader_of(kd_buf_get(&b));
        struct kd_hsm_result got;
        ck_assert_err(kd_hsm_get_result(&in, (enum kd_hsm_op)op, &got), KD_OK);
        ck_assert_err(kd_reader_finish(&in), KD_OK);
        ck_assert_err(got.err, KD_ERR_HS_NOT_AUTHENTIC);
        ck_assert(kd_bytes_equal(got.out, result.out) && got.ticket.n == 0);
    }
}
END_TEST

static enum kd_err with_handshake(enum kd_hsm_op op, const struct kd_hsm_handshake *h) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    struct kd_hsm_handshake from = *h;
    const struct kd_hsm_item item = { .handshake = &from };
    kd_hsm_put_item(&b, op, &item);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    struct kd_reader in = kd_reader_of(kd_buf_get(&b));
    struct parts parts = { 0 };
    struct kd_hsm_item got = { 0 };
    use_parts(&got, &parts);
    enum kd_err r = kd_hsm_get_item(&in, op, &got);
    ck_assert(r != KD_OK || (parts.handshake.terms != NULL) == (h->terms != NULL));
    return r == KD_OK ? kd_reader_finish(&in) : r;
}

START_TEST(a_handshake_s_parts_have_their_limits) {
    fill();
    struct kd_hsm_handshake h = sample_handshake(NULL);
    ck_assert_err(with_handshake(KD_HSM_HS_START, &h), KD_OK);
    ck_assert_err(with_handshake(KD_HSM_HS_FINISH, &h), KD_OK); // an initiator's: no terms yet
    h.ead = some(KD_HSM_EAD_MAX_BYTES + 1);
    ck_assert_err(with_handshake(KD_HSM_HS_FINISH, &h), KD_ERR_MALFORMED);
    h.message = some(KD_EDHOC_MESSAGE_MAX_BYTES + 1);
    ck_assert_err(with_handshake(KD_HSM_HS_READ, &h), KD_ERR_MALFORMED);
    h.message = KD_BYTES_NONE;
    h.methods = 0;
    ck_assert_err(with_handshake(KD_HSM_HS_START, &h), KD_ERR_MALFORMED);
    h.methods = 16;
    ck_assert_err(with_handshake(KD_HSM_HS_START, &h), KD_ERR_MALFORMED);
    h.methods = 1;
    h.suites.n = 0;
    ck_assert_err(with_handshake(KD_HSM_HS_START, &h), KD_ERR_MALFORMED);
    h.suites.n = KD_SUITES_MAX;
    ck_assert_err(with_handshake(KD_HSM_HS_START, &h), KD_OK);
    h.cred = KD_BYTES_NONE;
    ck_assert_err(with_handshake(KD_HSM_HS_START, &h), KD_ERR_MALFORMED);
}
END_TEST

static TCase *tcase_channel(void) {
    TCase *c = tcase_create("wire_channel");
    tcase_add_test(c, a_failed_step_carries_the_message_for_the_peer);
    tcase_add_test(c, a_handshake_s_parts_have_their_limits);
    return c;
}

UNIT_MAIN("wire_channel", tcase_channel())
