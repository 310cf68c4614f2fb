// SPDX-License-Identifier: Apache-2.0
// fuzz_ticket.c: what is in a ticket.  Only who has the ticket key can make one, which is
// another node or another version of this program; one that is taken encodes to the same bytes
// again.  The form is the file's own, so the file is part of the target.
#include "fuzz.h"

#include "hsm/ticket.c" // NOLINT(bugprone-suspicious-include)

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const struct kd_bytes in = { data, n };
    kd_auto(ticket) struct kd_ticket ticket = { .prk_out = NULL };
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(4096);
    if (read_text(in, &ticket) != KD_OK) {
        return 0;
    }
    put_text(&again, &ticket);
    if (kd_buf_finish(&again) != KD_OK || !kd_bytes_equal(in, kd_buf_get(&again))) {
        abort();
    }
    return 0;
}
