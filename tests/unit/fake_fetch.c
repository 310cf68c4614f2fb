// SPDX-License-Identifier: Apache-2.0
// fake_fetch.c: in place of keyd-fetch: answers with a certificate of one byte, or, where the URI
// ends in "busy", that it is busy.
#include "fetch/fetch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEYD_FD = 3 };

// False: keyd has gone.
static bool read_frame(struct kd_buf *in, size_t max, struct kd_bytes *frame, size_t *n) {
    *n = 0;
    while (kd_fetch_next_frame(kd_buf_get(in), max, frame, n) == KD_OK && *n == 0) {
        uint8_t bytes[4096];
        const ssize_t got = recv(KEYD_FD, bytes, sizeof(bytes), 0);
        if (got <= 0) {
            return false;
        }
        kd_buf_put(in, bytes, (size_t)got);
    }
    return *n > 0;
}

static bool ends_in(struct kd_bytes text, const char *end) {
    const size_t n = strlen(end);
    return text.n >= n &&
           kd_bytes_equal((struct kd_bytes) { text.p + text.n - n, n }, kd_bytes_of_text(end));
}

static void answer(const struct kd_fetch_request *q) {
    const bool is_busy = ends_in(q->uri, "busy");
    const struct kd_fetch_answer a = { .id = q->id,
                                       .result = is_busy ? KD_FETCH_BUSY : KD_FETCH_CERTIFICATE,
                                       .body = kd_bytes_of_text(is_busy ? "" : "c") };
    uint8_t room[64];
    struct kd_buf out = KD_BUF_OVER(room);
    kd_fetch_put_answer(&out, &a);
    (void)send(KEYD_FD, out.p, out.n, MSG_NOSIGNAL);
}

int main(void) {
    kd_auto(buf) struct kd_buf in = KD_BUF_INIT(KD_FETCH_HELLO_MAX_BYTES + 65536);
    struct kd_bytes frame;
    size_t n;
    if (!read_frame(&in, KD_FETCH_HELLO_MAX_BYTES, &frame, &n)) {
        return EXIT_FAILURE;
    }
    kd_buf_drop_front(&in, n);
    while (read_frame(&in, KD_FETCH_FRAME_MAX_BYTES, &frame, &n)) {
        struct kd_fetch_request q;
        if (kd_fetch_get_request(frame, &q) != KD_OK) {
            return EXIT_FAILURE;
        }
        answer(&q);
        kd_buf_drop_front(&in, n);
    }
    return EXIT_SUCCESS;
}
