// SPDX-License-Identifier: Apache-2.0
// The n-th allocation of ours fails, for n = 1, 2, 3 ... until a whole handshake,
// a record and an envelope pass.
#include "channel/channel.h"
#include "edhoc_pair.h"
#include "failing_memory.h"
#include "unit.h"

static enum kd_err handshake(struct pair *p) {
    enum kd_err r = kd_edhoc_new(&p->i.config, &p->i.e);
    if (r != KD_OK || (r = kd_edhoc_new(&p->r.config, &p->r.e)) != KD_OK ||
        (r = pair_run(p, 1, 4)) != KD_OK) {
        return r;
    }
    kd_auto(secret) struct kd_secret *s = NULL;
    if ((r = kd_secret_new(32, &s)) != KD_OK ||
        (r = kd_edhoc_export(p->i.e, 32768, KD_BYTES_NONE, s)) != KD_OK) {
        return r;
    }
    return kd_edhoc_key_update(p->r.e, KD_BYTES_NONE);
}

static enum kd_err record(void) {
    static const struct kd_attachment fresh;
    struct kd_record_end end = { .ops = &kd_traffic_ops_soft,
                                 .is_client = true,
                                 .id = kd_bytes_of_text("id"),
                                 .otp = KD_OTP_DEFAULT };
    kd_auto(soft_traffic) struct kd_soft_traffic t;
    kd_auto(secret) struct kd_secret *s = NULL;
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(window) struct kd_window w = { 0 };
    kd_soft_traffic_init(&t, NULL);
    end.ctx = &t;
    enum kd_err r = kd_secret_new(32, &s);
    if (r != KD_OK || (r = kd_schedule_run(KD_MD_SHA256, s, &fresh, kd_soft_traffic_install, &t,
                                           &end.ivs)) != KD_OK) {
        return r;
    }
    const struct kd_key32 any = { { 1 } };
    kd_auto(kept_traffic) struct kd_kept_traffic kept;
    kd_kept_traffic_init(&kept, true, NULL);
    if ((r = kd_kept_traffic_install(&kept, KD_TRAFFIC_C2S, &any)) != KD_OK ||
        (r = kd_kept_traffic_install(&kept, KD_TRAFFIC_S2C, &any)) != KD_OK) {
        return r;
    }
    struct kd_record data = { KD_RECORD_DATA, kd_bytes_of_text("body") };
    struct kd_record_head head;
    if ((r = kd_record_seal(&end, 0, 0, KD_BYTES_NONE, &data, &out)) != KD_OK ||
        (r = kd_record_parse(kd_buf_get(&out), &head)) != KD_OK ||
        (r = kd_window_begin(&w, head.sequence)) != KD_OK) {
        return r;
    }
    end.is_client = false;
    r = kd_record_open(&end, &head, KD_BYTES_NONE, 0, &text, &data);
    kd_window_abort(&w, head.sequence);
    return r;
}

static enum kd_err envelope(const struct party *to) {
    const struct kd_keys keys = { &kd_keyops_openssl, NULL };
    uint8_t enc[KD_HPKE_ENC_BYTES];
    kd_auto(hpke) struct kd_hpke *a = NULL;
    kd_auto(hpke) struct kd_hpke *b = NULL;
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(64);
    enum kd_err r = kd_hpke_new_sender(&keys, &to->point, KD_BYTES_NONE, enc, &a);
    if (r != KD_OK || (r = kd_hpke_new_recipient(&keys, to->identity.key, &to->point,
                                                 (struct kd_bytes) { enc, sizeof(enc) },
                                                 KD_BYTES_NONE, &b)) != KD_OK) {
        return r;
    }
    return kd_hpke_seal(a, KD_BYTES_NONE, kd_bytes_of_text("text"), &out);
}

START_TEST(each_failed_allocation_is_reported_and_leaves_nothing) {
    const struct pair_shape shape = { _i, 2, KD_IDCRED_KID, KD_IDCRED_X5T };
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        kd_auto(pair) struct pair *p = pair_new(&shape);
        memory_resume();
        enum kd_err r = handshake(p);
        r = r == KD_OK ? record() : r;
        r = r == KD_OK ? envelope(&p->r) : r;
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
    }
    ck_assert_uint_gt(turn, 40);
}
END_TEST

static TCase *tcase_nomem(void) {
    TCase *t = tcase_create("no memory");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, each_failed_allocation_is_reported_and_leaves_nothing, 0, 4);
    return t;
}

UNIT_MAIN("channel without memory", tcase_nomem())
