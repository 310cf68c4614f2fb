// SPDX-License-Identifier: Apache-2.0
// records.c: what a device's library takes to seal and to open a record, against bare
// AES-256-GCM of the same body and external data with a context that keeps its key.  The
// two take turns, every few calls; the ratio is the median of those of the turns.
#include "client/device_session.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 401, CALLS_MAX = 256, AAD_BYTES = 5, TAG_BYTES = 16 };

KD_AUTO_DEFINE(cipher_ctx, EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)

static const uint8_t aad_bytes[AAD_BYTES] = { 1, 2, 3, 4, 5 };
static const struct kd_bytes aad = { aad_bytes, sizeof(aad_bytes) };
static uint8_t body[KD_RECORD_BODY_MAX_BYTES];
static uint8_t bare_out[KD_RECORD_BODY_MAX_BYTES + TAG_BYTES];
static uint8_t bare_in[KD_RECORD_BODY_MAX_BYTES];

static void check(bool good, const char *what) {
    if (!good) {
        fprintf(stderr, "records: %s failed\n", what);
        exit(1);
    }
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

// ---- bare ------------------------------------------------------------------

static EVP_CIPHER_CTX *bare_new(bool sealing) {
    static const uint8_t key[32] = { 1 };
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    check(c != NULL && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, NULL, sealing) == 1,
          "the cipher");
    return c;
}

static void bare_seal(EVP_CIPHER_CTX *c, uint64_t counter, size_t n) {
    uint8_t iv[12] = { 0 };
    int ignored;
    memcpy(iv, &counter, sizeof(counter));
    check(EVP_EncryptInit_ex(c, NULL, NULL, NULL, iv) == 1 &&
              EVP_EncryptUpdate(c, NULL, &ignored, aad.p, (int)aad.n) == 1 &&
              EVP_EncryptUpdate(c, bare_out, &ignored, body, (int)n) == 1 &&
              EVP_EncryptFinal_ex(c, bare_out + n, &ignored) == 1 &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, bare_out + n) == 1,
          "a bare seal");
}

static void bare_open(EVP_CIPHER_CTX *c, struct kd_bytes sealed) {
    static const uint8_t iv[12];
    const size_t n = sealed.n - TAG_BYTES;
    uint8_t *tag = (uint8_t *)(uintptr_t)(sealed.p + n);
    int ignored;
    check(EVP_DecryptInit_ex(c, NULL, NULL, NULL, iv) == 1 &&
              EVP_DecryptUpdate(c, NULL, &ignored, aad.p, (int)aad.n) == 1 &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 &&
              EVP_DecryptUpdate(c, bare_in, &ignored, sealed.p, (int)n) == 1 &&
              EVP_DecryptFinal_ex(c, bare_in + n - 1, &ignored) == 1,
          "a bare open");
}

// ---- records ---------------------------------------------------------------

static struct kd_device_session *session_new(void) {
    static const struct kd_attachment fresh;
    // As a session's after its handshake: with a server whose clock is ours.
    const struct kd_device_clock clock = { true, (int64_t)kd_clock_wall_ms() -
                                                     (int64_t)kd_clock_boot_ms() };
    struct kd_device_session *s = kd_device_session_new(&clock);
    kd_auto(secret) struct kd_secret *secret = NULL;
    check(s != NULL && kd_secret_new(32, &secret) == KD_OK, "memory");
    memset(s->id, 7, 8);
    s->n_id = 8;
    s->otp = KD_OTP_DEFAULT;
    kd_kept_traffic_init(&s->traffic, true, NULL);
    check(kd_schedule_run(KD_MD_SHA256, secret, &fresh, kd_kept_traffic_install, &s->traffic,
                          &s->ivs) == KD_OK,
          "the keys");
    return s;
}

// The server's end of the same session.
static void server_init(const struct kd_device_session *s, struct kd_kept_traffic *t,
                        struct kd_record_end *end) {
    static const struct kd_attachment fresh;
    kd_auto(secret) struct kd_secret *secret = NULL;
    kd_kept_traffic_init(t, false, NULL);
    *end = (struct kd_record_end) {
        .ops = &kd_traffic_ops_kept, .ctx = t, .id = { s->id, s->n_id }, .otp = KD_OTP_DEFAULT
    };
    check(kd_secret_new(32, &secret) == KD_OK &&
              kd_schedule_run(KD_MD_SHA256, secret, &fresh, kd_kept_traffic_install, t,
                              &end->ivs) == KD_OK,
          "the keys");
}

struct bench {
    EVP_CIPHER_CTX *seal;
    EVP_CIPHER_CTX *open;
    struct kd_device_session *device;
    struct kd_record_end server;
    uint64_t sequence; // of the server
    uint64_t counter;  // of bare seals
    struct kd_buf out;
    struct kd_buf text;
    struct kd_buf records[CALLS_MAX];
    struct kd_buf bare[CALLS_MAX];
};

struct turn {
    double bare_ns;
    double record_ns;
};

static struct turn turn_seal(struct bench *b, size_t n, int n_calls) {
    const double start = now_ns();
    for (int i = 0; i < n_calls; i++) {
        bare_seal(b->seal, ++b->counter, n);
    }
    const double middle = now_ns();
    for (int i = 0; i < n_calls; i++) {
        kd_buf_reset(&b->out);
        check(kd_device_seal(b->device, KD_RECORD_DATA, (struct kd_bytes) { body, n }, aad,
                             &b->out) == KD_OK,
              "a seal");
    }
    return (struct turn) { middle - start, now_ns() - middle };
}

// Both open others than they opened last: as with what comes from a network, none is in the
// nearest cache.
static struct turn turn_open(struct bench *b, size_t n, int n_calls) {
    const struct kd_record data = { KD_RECORD_DATA, { body, n } };
    struct kd_record got;
    bare_seal(b->seal, 0, n);
    for (int i = 0; i < n_calls; i++) {
        kd_buf_reset(&b->records[i]);
        check(kd_record_seal(&b->server, b->sequence++, kd_clock_wall_ms(), aad, &data,
                             &b->records[i]) == KD_OK,
              "the server's seal");
        kd_buf_reset(&b->bare[i]);
        kd_buf_put(&b->bare[i], bare_out, n + TAG_BYTES);
    }
    const double start = now_ns();
    for (int i = 0; i < n_calls; i++) {
        bare_open(b->open, kd_buf_get(&b->bare[i]));
    }
    const double middle = now_ns();
    for (int i = 0; i < n_calls; i++) {
        check(kd_device_open(b->device, kd_buf_get(&b->records[i]), aad, &b->text, &got) == KD_OK &&
                  got.body.n == n,
              "an open");
    }
    return (struct turn) { middle - start, now_ns() - middle };
}

// ---- what is said ----------------------------------------------------------

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v) {
    qsort(v, TURNS, sizeof(*v), compare);
    return v[TURNS / 2];
}

static void measure(struct bench *b, const char *what,
                    struct turn (*take)(struct bench *, size_t, int), size_t n, double target) {
    static double bare[TURNS];
    static double record[TURNS];
    static double ratio[TURNS];
    const int n_calls = n > 16384 ? 8 : CALLS_MAX;
    (void)take(b, n, n_calls);
    for (int i = 0; i < TURNS; i++) {
        const struct turn t = take(b, n, n_calls);
        bare[i] = t.bare_ns / n_calls;
        record[i] = t.record_ns / n_calls;
        ratio[i] = t.record_ns / t.bare_ns;
    }
    printf("%s %6zu bytes: bare %8.0f ns, record %8.0f ns, ratio %.2f", what, n, median(bare),
           median(record), median(ratio));
    if (target > 0) {
        printf(" (target: at most %.2f)", target);
    }
    printf("\n");
}

// With an argument: records of so many bytes alone, for a profile.
int main(int argc, char **argv) {
    static struct bench b;
    const size_t n_only = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    struct kd_kept_traffic traffic;
    b.seal = bare_new(true);
    b.open = bare_new(false);
    b.device = session_new();
    server_init(b.device, &traffic, &b.server);
    b.out = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    b.text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        b.records[i] = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
        b.bare[i] = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    }
    static const struct {
        size_t n;
        double target;
    } rows[] = { { 64, 0 }, { 256, 0 }, { 1024, 1.3 }, { 16384, 0 }, { 65536, 1.05 } };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        if (n_only != 0 && rows[i].n != n_only) {
            continue;
        }
        measure(&b, "seal", turn_seal, rows[i].n, rows[i].target);
        measure(&b, "open", turn_open, rows[i].n, rows[i].target);
    }
    for (size_t i = 0; i < CALLS_MAX; i++) {
        kd_buf_wipe(&b.records[i]);
        kd_buf_wipe(&b.bare[i]);
    }
    kd_buf_wipe(&b.out);
    kd_buf_wipe(&b.text);
    kd_kept_traffic_wipe(&traffic);
    kd_device_session_free(b.device);
    EVP_CIPHER_CTX_free(b.seal);
    EVP_CIPHER_CTX_free(b.open);
    return 0;
}
