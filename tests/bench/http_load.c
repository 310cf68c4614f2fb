// SPDX-License-Identifier: Apache-2.0
// http_load.c: one request, again and again, over N keep-alive connections on a
// Unix socket; prints what was counted as JSON.  The benchmark runs it.
//     http_load SOCKET PATH BODY-FILE CONNECTIONS SECONDS [REQUESTS-MAX]
#include "client/load.h"

#include <stdio.h>
#include <stdlib.h>

enum { BODY_MAX_BYTES = 4 << 20 };

static bool read_body(const char *path, struct kd_buf *out) {
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return false;
    }
    char part[65536];
    for (size_t n; (n = fread(part, 1, sizeof(part), f)) > 0;) {
        kd_buf_put(out, part, n);
    }
    const bool ok = ferror(f) == 0;
    fclose(f);
    return ok && kd_buf_finish(out) == KD_OK;
}

int main(int argc, char **argv) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(BODY_MAX_BYTES);
    kd_auto(buf) struct kd_buf request = KD_BUF_INIT(BODY_MAX_BYTES + 4096);
    uint64_t connections;
    uint64_t seconds;
    uint64_t requests_max = 0;
    if (argc < 6 || argc > 7 || !read_body(argv[3], &body) ||
        kd_number_parse(argv[4], 1, KD_LOAD_CONNECTIONS_MAX, &connections) != KD_OK ||
        kd_number_parse(argv[5], 1, 3600, &seconds) != KD_OK ||
        (argc == 7 && kd_number_parse(argv[6], 1, UINT64_MAX, &requests_max) != KD_OK) ||
        kd_load_request(argv[2], kd_buf_get_text(&body), &request) != KD_OK) {
        fprintf(stderr,
                "usage: http_load SOCKET PATH BODY-FILE CONNECTIONS SECONDS [REQUESTS-MAX]\n");
        return 2;
    }
    const struct kd_load_config config = { .socket = argv[1],
                                           .connections = (unsigned)connections,
                                           .duration_ms = seconds * 1000,
                                           .warmup_ms = 200,
                                           .requests_max = requests_max,
                                           .request = kd_buf_get(&request) };
    struct kd_load_result r;
    char why[KD_LOAD_WHY_BYTES] = "";
    const enum kd_err e = kd_load_run(&config, &r, why);
    if (e != KD_OK) {
        fprintf(stderr, "http_load: %s\n", why[0] != '\0' ? why : kd_err_sentence(e));
        return EXIT_FAILURE;
    }
    printf("{\"answers\": %llu, \"refused\": %llu, \"status\": %u, \"per_sec\": %.1f, "
           "\"p50_us\": %u, \"p90_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n",
           (unsigned long long)r.answers, (unsigned long long)r.refused, r.status, r.per_sec,
           r.p50_us, r.p90_us, r.p99_us, r.max_us);
    return EXIT_SUCCESS;
}
