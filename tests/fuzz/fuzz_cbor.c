// SPDX-License-Identifier: Apache-2.0
// fuzz_cbor.c: whatever the codec accepts must encode to the same bytes again.
// Built by --enable-fuzz with clang; tests/fuzz/replay_cbor replays the corpus.
#include "fuzz.h"

#include "base/base.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kd_bytes in = { data, size };
    bool is_one = kd_cbor_check(in) == KD_OK;
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(size + 16);
    struct kd_cbor c = kd_cbor_of(in);
    while (kd_cbor_has_more(&c)) {
        struct kd_cbor_item item = kd_cbor_next(&c);
        if (c.err == KD_OK) {
            kd_cbor_put_item(&out, &item);
        }
    }
    enum kd_err r = kd_cbor_finish(&c);
    if ((is_one && r != KD_OK) || (r == KD_OK && !kd_bytes_equal(kd_buf_get(&out), in))) {
        abort();
    }
    return 0;
}
