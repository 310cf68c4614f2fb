// SPDX-License-Identifier: Apache-2.0
// http_load.c: requests over N keep-alive connections on a Unix socket; prints what
// was counted as JSON.  The benchmark runs it and makes the requests beforehand.
//     http_load SOCKET FILE CONNECTIONS MS [REQUESTS-MAX]
//     http_load SOCKET FILE CONNECTIONS 0 [ANSWERS]
// FILE: whole requests, each after its length (4 bytes, big-endian).  They are sent
// in turn for MS milliseconds; with 0 each is sent once, and the bodies of what is answered are
// written to the file ANSWERS, in the same form and order.
#include "client/load.h"
#include "tests/bench/input.h"

#include <stdio.h>
#include <stdlib.h>

enum { BODY_MAX_BYTES = 1 << 24, WARMUP_MS = 200 };

// The requests in the file, which keeps their bytes; their number, 0 if it is broken.
static size_t split(struct kd_bytes file, struct kd_bytes **out) {
    struct kd_reader in = kd_reader_of(file);
    size_t n = 0;
    size_t room = 0;
    while (kd_reader_finish(&in) != KD_OK) {
        if (n == room) {
            room = room == 0 ? 1024 : 2 * room;
            struct kd_bytes *more = realloc(*out, room * sizeof(*more));
            if (more == NULL) {
                return 0;
            }
            *out = more;
        }
        const uint32_t length = kd_read_u32(&in);
        (*out)[n] = kd_read_bytes(&in, length);
        if ((*out)[n].n == 0) {
            return 0;
        }
        n++;
    }
    return n;
}

static void print(const struct kd_load_result *r) {
    printf("{\"answers\": %llu, \"refused\": %llu, \"status\": %u, \"per_sec\": %.1f, "
           "\"body_min\": %llu, \"body_max\": %llu, \"elapsed_us\": %llu, "
           "\"p50_us\": %u, \"p90_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n",
           (unsigned long long)r->answers, (unsigned long long)r->refused, r->status, r->per_sec,
           (unsigned long long)r->body_min_bytes, (unsigned long long)r->body_max_bytes,
           (unsigned long long)r->elapsed_us, r->p50_us, r->p90_us, r->p99_us, r->max_us);
}

static bool write_file(const char *path, const struct kd_buf *bodies, size_t n) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(INPUT_MAX_BYTES);
    for (size_t i = 0; i < n; i++) {
        kd_buf_block32(&out, kd_buf_get(&bodies[i]));
    }
    FILE *f = fopen(path, "wb");
    const bool ok = f != NULL && kd_buf_finish(&out) == KD_OK &&
                    fwrite(out.p, 1, out.n, f) == out.n && fflush(f) == 0;
    if (f != NULL) {
        fclose(f);
    }
    return ok;
}

static struct kd_buf *new_bodies(size_t n) {
    struct kd_buf *bodies = calloc(n, sizeof(*bodies));
    for (size_t i = 0; bodies != NULL && i < n; i++) {
        bodies[i] = KD_BUF_INIT(BODY_MAX_BYTES);
    }
    return bodies;
}

static void free_bodies(struct kd_buf *bodies, size_t n) {
    for (size_t i = 0; bodies != NULL && i < n; i++) {
        kd_buf_wipe(&bodies[i]);
    }
    free(bodies);
}

static int run(const struct kd_load_config *config, const char *answers) {
    struct kd_load_result r;
    char why[KD_LOAD_WHY_BYTES] = "";
    const enum kd_err e = kd_load_run(config, &r, why);
    if (e != KD_OK) {
        fprintf(stderr, "http_load: %s\n", why[0] != '\0' ? why : kd_err_sentence(e));
        return EXIT_FAILURE;
    }
    if (answers != NULL && !write_file(answers, config->bodies, config->n_requests)) {
        fprintf(stderr, "http_load: the answers cannot be written\n");
        return EXIT_FAILURE;
    }
    print(&r);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    kd_auto(buf) struct kd_buf file = KD_BUF_INIT(INPUT_MAX_BYTES);
    struct kd_bytes *requests = NULL;
    size_t n = 0;
    uint64_t connections = 0;
    uint64_t duration_ms = 0;
    uint64_t requests_max = 0;
    const bool is_good =
        argc >= 5 && argc <= 6 && input_read(argv[2], &file) &&
        (n = split(kd_buf_get(&file), &requests)) > 0 &&
        kd_number_parse(argv[3], 1, KD_LOAD_CONNECTIONS_MAX, &connections) == KD_OK &&
        kd_number_parse(argv[4], 0, 3600000, &duration_ms) == KD_OK;
    const bool once = duration_ms == 0;
    const char *answers = is_good && once && argc == 6 ? argv[5] : NULL;
    struct kd_buf *bodies = answers == NULL ? NULL : new_bodies(n);
    if (!is_good || (answers != NULL && bodies == NULL) ||
        (!once && argc == 6 && kd_number_parse(argv[5], 1, UINT64_MAX, &requests_max) != KD_OK)) {
        fprintf(stderr, "usage: http_load SOCKET FILE CONNECTIONS MS [REQUESTS-MAX]\n"
                        "       http_load SOCKET FILE CONNECTIONS 0 [ANSWERS]\n");
        free_bodies(bodies, n);
        free(requests);
        return 2;
    }
    const struct kd_load_config config = { .socket = argv[1],
                                           .connections = (unsigned)connections,
                                           .duration_ms = once ? 3600000 : duration_ms,
                                           .warmup_ms = once ? 0 : WARMUP_MS,
                                           .requests_max = requests_max,
                                           .requests = requests,
                                           .n_requests = n,
                                           .once = once,
                                           .bodies = bodies };
    const int status = run(&config, answers);
    free_bodies(bodies, n);
    free(requests);
    return status;
}
