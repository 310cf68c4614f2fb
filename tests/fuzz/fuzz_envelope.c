// SPDX-License-Identifier: Apache-2.0
// fuzz_envelope.c: envelopes.  One that is taken encodes to the same bytes again, its
// additional data stand where they should, and its limits hold.
#include "fuzz.h"

#include "channel/envelope.h"

#include <stdlib.h>
#include <string.h>

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

static void put_head(struct kd_buf *out, const struct kd_envelope *e) {
    const struct kd_cbor_item sender = { .type = KD_CBOR_TEXT, .bytes = e->sender };
    kd_cbor_put_uint(out, KD_ENVELOPE_VERSION);
    kd_cbor_put_bytes(out, e->key_id);
    kd_cbor_put_bytes(out, e->id);
    kd_cbor_put_uint(out, e->time_s);
    kd_cbor_put_uint(out, e->expires_s);
    kd_cbor_put_item(out, &sender);
}

static void check_again(const struct kd_envelope *e, struct kd_bytes in) {
    kd_auto(buf) struct kd_buf aad = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    kd_auto(buf) struct kd_buf whole = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    put_head(&aad, e);
    kd_cbor_put_array(&whole, 8);
    kd_buf_put(&whole, aad.p, aad.n);
    kd_cbor_put_bytes(&whole, e->enc);
    kd_cbor_put_bytes(&whole, e->sealed);
    must(kd_buf_finish(&aad) == KD_OK && kd_buf_finish(&whole) == KD_OK);
    must(kd_bytes_equal(kd_buf_get(&aad), e->aad));
    must(kd_bytes_equal(kd_buf_get(&whole), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct kd_bytes in = { data, size };
    struct kd_envelope e;
    if (kd_envelope_parse(in, &e) == KD_OK) {
        must(in.n <= KD_ENVELOPE_MAX_BYTES && e.sender.n <= KD_ENVELOPE_SENDER_MAX_BYTES);
        must(e.sealed.n <= KD_ENVELOPE_BODY_MAX_BYTES + KD_HPKE_TAG_BYTES);
        must(e.sender.n == 0 || memchr(e.sender.p, 0, e.sender.n) == NULL);
        check_again(&e, in);
    }
    return 0;
}
