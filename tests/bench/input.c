// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/input.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHUNK_BYTES = 1 << 20 };

bool input_read(const char *path, struct kd_buf *out) {
    FILE *f = fopen(path, "rb");
    char *part = malloc(CHUNK_BYTES);
    if (f != NULL && part != NULL) {
        for (size_t n; (n = fread(part, 1, CHUNK_BYTES, f)) > 0;) {
            kd_buf_put(out, part, n);
        }
    }
    const bool ok = f != NULL && part != NULL && ferror(f) == 0;
    if (f != NULL) {
        fclose(f);
    }
    free(part);
    return ok && kd_buf_finish(out) == KD_OK;
}
