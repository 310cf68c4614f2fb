// SPDX-License-Identifier: Apache-2.0
// fuzz_fetch.c: what comes to keyd-fetch and back.  The first byte says what the rest is: a URI,
// or a message.  A URI that is plain has no way out of its prefix; a message that is taken
// encodes to the same bytes again.
#include "fuzz.h"

#include "fetch/fetch.h"

#include <stdlib.h>
#include <string.h>

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

static void check_uri(struct kd_bytes uri) {
    if (!kd_fetch_uri_is_plain(uri)) {
        return;
    }
    must(uri.n > 8 && uri.n <= KD_FETCH_URI_MAX_BYTES && memcmp(uri.p, "https://", 8) == 0);
    must(memmem(uri.p, uri.n, "/../", 4) == NULL && memchr(uri.p, '\\', uri.n) == NULL);
    must(memchr(uri.p, '?', uri.n) == NULL && memchr(uri.p, '#', uri.n) == NULL);
    const uint8_t *slash = memchr(uri.p + 8, '/', uri.n - 8);
    must(slash != NULL && memchr(uri.p, '@', (size_t)(slash - uri.p)) == NULL);
}

static void check_again(const struct kd_buf *again, struct kd_bytes frame) {
    must(kd_buf_finish(again) == KD_OK && again->n == frame.n + 4 &&
         memcmp(again->p + 4, frame.p, frame.n) == 0);
}

static void read_message(uint8_t kind, struct kd_bytes frame) {
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(1 << 20);
    struct kd_fetch_hello h;
    struct kd_fetch_request q;
    struct kd_fetch_answer a;
    if (kind == 1 && kd_fetch_get_hello(frame, &h) == KD_OK) {
        kd_fetch_put_hello(&again, &h);
    } else if (kind == 2 && kd_fetch_get_request(frame, &q) == KD_OK) {
        kd_fetch_put_request(&again, &q);
    } else if (kind == 3 && kd_fetch_get_answer(frame, &a) == KD_OK) {
        kd_fetch_put_answer(&again, &a);
    } else {
        return;
    }
    check_again(&again, frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) {
        return 0;
    }
    const struct kd_bytes rest = { data + 1, n - 1 };
    struct kd_bytes frame;
    size_t length = 0;
    if (data[0] == 0) {
        check_uri(rest);
    } else if (kd_fetch_next_frame(rest, KD_FETCH_FRAME_MAX_BYTES, &frame, &length) == KD_OK &&
               length > 0) {
        must(length <= rest.n && frame.n + 4 == length);
        read_message(data[0] % 4, frame);
    }
    return 0;
}
