// SPDX-License-Identifier: Apache-2.0
#include "client/trace.h"

#include "channel/channel.h"

#include <inttypes.h>

enum { SHOWN_BYTES = 160 };

static const char *failure_name(enum kd_failure code) {
    static const char *const names[KD_FAILURE_LAST + 1] = {
        [KD_FAILURE_REFUSED] = "refused",     [KD_FAILURE_UNKNOWN_SESSION] = "unknown session",
        [KD_FAILURE_BUSY] = "busy",           [KD_FAILURE_MALFORMED] = "malformed",
        [KD_FAILURE_TOO_LARGE] = "too large", [KD_FAILURE_RETRY] = "once more, with a cookie",
    };
    return names[code];
}

static void print_body(FILE *out, struct kd_bytes body) {
    const size_t n = body.n < SHOWN_BYTES ? body.n : SHOWN_BYTES;
    fprintf(out, "%3zu bytes ", body.n);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "%02x", body.p[i]);
    }
    fputs(n < body.n ? "...\n" : "\n", out);
}

void kd_trace_print(FILE *out, bool has_come, struct kd_bytes bytes) {
    struct kd_frame frame;
    struct kd_failure_body why;
    fputs(has_come ? "< " : "> ", out);
    if (kd_frame_parse(bytes, &frame) != KD_OK) {
        fprintf(out, "no frame: ");
        print_body(out, bytes);
    } else if (frame.role != KD_FRAME_FAILURE) {
        fprintf(out, "%-9s ", kd_frame_kind_name(frame.kind));
        print_body(out, frame.body);
    } else if (kd_failure_parse(frame.body, &why) == KD_OK) {
        fprintf(out, "failure: %s", failure_name(why.code));
        if (why.after_s > 0) {
            fprintf(out, ", again in %" PRIu32 " s", why.after_s);
        }
        fputc('\n', out);
    } else {
        fputs("failure: malformed itself\n", out);
    }
}
