// SPDX-License-Identifier: Apache-2.0
// fuzz_record.c: records.  The first byte says whether the rest is a record or
// the plaintext of one.  A record that opens must encode to the same bytes again.
#include "fuzz.h"

#include "channel/record.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t now_ms = UINT64_C(1767225600000);

static void end_init(struct kd_record_end *end, struct kd_soft_traffic *traffic, bool is_client) {
    kd_soft_traffic_init(traffic, NULL);
    memset(traffic->keys, 7, sizeof(traffic->keys));
    *end = (struct kd_record_end) { .ops = &kd_traffic_ops_soft,
                                    .ctx = traffic,
                                    .is_client = is_client,
                                    .id = kd_bytes_of_text("12345678"),
                                    .otp = KD_OTP_DEFAULT };
}

static void open_record(struct kd_record_end *end, struct kd_bytes in) {
    struct kd_record_head head;
    if (kd_record_parse(in, &head) != KD_OK) {
        return;
    }
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_record record;
    if (kd_record_open(end, &head, KD_BYTES_NONE, now_ms, &text, &record) != KD_OK) {
        return;
    }
    end->is_client = true;
    if (kd_record_seal(end, head.sequence, now_ms, KD_BYTES_NONE, &record, &again) != KD_OK) {
        abort();
    }
    // Equal but for the OTP step, which may be a neighbour.
    if (again.n != in.n) {
        abort();
    }
}

static void open_text(const struct kd_record_end *end, struct kd_bytes in) {
    static const char structure[] = "\x83\x68"
                                    "Encrypt0\x43\xa1\x01\x03\x40";
    static const uint8_t nonce[KD_RECORD_IV_BYTES];
    kd_auto(buf) struct kd_buf sealed = KD_BUF_INIT(in.n + KD_RECORD_TAG_BYTES);
    uint8_t *to = kd_buf_extend(&sealed, in.n + KD_RECORD_TAG_BYTES);
    if (to == NULL ||
        kd_traffic_ops_soft.seal(end->ctx, KD_TRAFFIC_C2S, nonce, kd_bytes_of_text(structure), in,
                                 KD_BYTES_NONE, to) != KD_OK) {
        abort();
    }
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_record record;
    const struct kd_record_head head = { end->id, 0, kd_buf_get(&sealed) };
    enum kd_err r = kd_record_open(end, &head, KD_BYTES_NONE, now_ms, &text, &record);
    if (r != KD_OK && r != KD_ERR_RECORD_FORM && r != KD_ERR_RECORD_OTP) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > KD_RECORD_BODY_MAX_BYTES) {
        return 0;
    }
    struct kd_soft_traffic traffic;
    struct kd_record_end end;
    end_init(&end, &traffic, false);
    struct kd_bytes in = { data + 1, size - 1 };
    if (data[0] % 2 == 0) {
        open_record(&end, in);
    } else {
        open_text(&end, in);
    }
    return 0;
}
