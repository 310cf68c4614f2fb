// SPDX-License-Identifier: Apache-2.0
// fleet.c: many devices with software keys in one process, by libkeyd, for fleet.py.
//     fleet make FOLDER N
// writes keys and certificates, N.key and N.pem, for the peers d0, d1, ...
//     fleet run FOLDER N THREADS SECONDS SERVER SERVER SERVER SERVER SERVER SERVER
// has them all, and reads lines "round ACKS [move] [save]": each device sends messages, each of
// its own text, until so many were acknowledged; with `move` first goes on at the other side, with
// `save` takes a ticket then.  Servers are TCP, UDP, HTTP of the one side and of the other.
// Prints "ack TEXT" or "no TEXT ERROR" for each message, "stuck dN" for a device that did not get
// its ACKs within SECONDS, and "done".
#include "client/keyd.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

enum {
    SIDES = 2,
    TRANSPORTS = 3,
    RUN_WORDS = 6,
    PATH_BYTES = 512,
    TIMEOUT_MS = 20000,
    PAUSE_MS = 20,
    DAY_S = 86400,
    THREADS_MAX = 256,
};

struct one {
    struct keyd_device *device;
    unsigned number, side, n_sent;
};

static struct {
    struct one *all;
    unsigned n, n_threads, n_acks, seconds;
    bool moves, saves;
    char *const *servers;
    atomic_uint next; // the device that a thread takes up next
    time_t end;
} fleet;

static time_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static const char *path_of(const char *folder, const char *name, const char *end,
                           char path[static PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%s/%s.%s", folder, name, end);
    return path;
}

// ---- keys and certificates -------------------------------------------------

static void make_one(const char *folder, unsigned i) {
    char name[16], path[PATH_BYTES];
    snprintf(name, sizeof(name), "d%u", i);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_NAME *subject = X509_NAME_new();
    FILE *key_file = fopen(path_of(folder, name, "key", path), "w");
    FILE *certificate_file = fopen(path_of(folder, name, "pem", path), "w");
    if (key_file == NULL || certificate_file == NULL ||
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0) !=
            1 ||
        X509_set_version(x, X509_VERSION_3) != 1 ||
        ASN1_INTEGER_set(X509_get_serialNumber(x), (long)i + 1) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(x), -DAY_S) == NULL ||
        X509_gmtime_adj(X509_getm_notAfter(x), DAY_S) == NULL ||
        X509_set_subject_name(x, subject) != 1 || X509_set_issuer_name(x, subject) != 1 ||
        X509_set_pubkey(x, key) != 1 || X509_sign(x, key, EVP_sha256()) <= 0 ||
        PEM_write_PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_X509(certificate_file, x) != 1) {
        abort();
    }
    fclose(key_file);
    fclose(certificate_file);
    X509_NAME_free(subject);
    X509_free(x);
    EVP_PKEY_free(key);
}

// ---- a device's part of a round --------------------------------------------

static char *server_of(const struct one *d) {
    return fleet.servers[d->side * TRANSPORTS + d->number / SIDES % TRANSPORTS];
}

static bool is_reversed(const char *a, const uint8_t *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)a[i] != b[n - 1 - i]) {
            return false;
        }
    }
    return n == strlen(a);
}

static bool send_one(struct one *d) {
    char text[32];
    uint8_t *answer = NULL;
    size_t n = 0;
    snprintf(text, sizeof(text), "d%u.%u", d->number, d->n_sent++);
    const enum keyd_err err = keyd_request(d->device, text, strlen(text), &answer, &n);
    const bool is_good = err == KEYD_OK && is_reversed(text, answer, n);
    if (is_good) {
        printf("ack %s\n", text);
    } else {
        printf("no %s %s\n", text, err == KEYD_OK ? "another's answer" : keyd_err_name(err));
    }
    free(answer);
    return is_good;
}

// Until it is done: whatever was killed comes back.
static bool try_until(struct one *d, bool (*step)(struct one *d)) {
    const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
    while (!step(d)) {
        if (now() > fleet.end) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return true;
}

static bool save(struct one *d) {
    return keyd_save(d->device) == KEYD_OK;
}

static void take_part(struct one *d) {
    bool good = true;
    if (fleet.moves) {
        d->side = (d->side + 1) % SIDES;
        good = keyd_move(d->device, server_of(d)) == KEYD_OK;
    }
    for (unsigned i = 0; i < fleet.n_acks && good; i++) {
        good = try_until(d, send_one);
    }
    if (good && fleet.saves) {
        good = try_until(d, save);
    }
    if (!good) {
        printf("stuck d%u\n", d->number);
    }
}

static void *work(void *arg) {
    for (;;) {
        const unsigned i = atomic_fetch_add(&fleet.next, 1);
        if (i >= fleet.n) {
            return arg;
        }
        take_part(&fleet.all[i]);
    }
}

// ---- rounds ----------------------------------------------------------------

static void do_round(void) {
    pthread_t threads[THREADS_MAX];
    atomic_store(&fleet.next, 0);
    fleet.end = now() + (time_t)fleet.seconds;
    for (unsigned i = 0; i < fleet.n_threads; i++) {
        if (pthread_create(&threads[i], NULL, work, NULL) != 0) {
            abort();
        }
    }
    for (unsigned i = 0; i < fleet.n_threads; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("done\n");
    fflush(stdout);
}

static bool open_one(struct one *d, const char *folder, unsigned i) {
    char name[16], key[PATH_BYTES], certificate[PATH_BYTES], server[PATH_BYTES];
    snprintf(name, sizeof(name), "d%u", i);
    *d = (struct one) { .number = i, .side = i % SIDES };
    const struct keyd_config config = {
        .server = server_of(d),
        .key_file = path_of(folder, name, "key", key),
        .certificate_file = path_of(folder, name, "pem", certificate),
        .server_certificate_file = path_of(folder, "server", "pem", server),
        .timeout_ms = TIMEOUT_MS,
    };
    return keyd_device_new(&config, &d->device) == KEYD_OK;
}

static int run(const char *folder) {
    char line[64];
    for (unsigned i = 0; i < fleet.n; i++) {
        if (!open_one(&fleet.all[i], folder, i)) {
            fprintf(stderr, "%s\n", keyd_detail());
            return 1;
        }
    }
    while (fgets(line, sizeof(line), stdin) != NULL) {
        fleet.n_acks = (unsigned)strtoul(line + strcspn(line, " "), NULL, 10);
        fleet.moves = strstr(line, " move") != NULL;
        fleet.saves = strstr(line, " save") != NULL;
        do_round();
    }
    for (unsigned i = 0; i < fleet.n; i++) {
        keyd_device_free(fleet.all[i].device);
    }
    return 0;
}

// Each device over TCP has a connection.
static void raise_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "make") == 0) {
        umask(077);
        for (unsigned i = 0; i < strtoul(argv[3], NULL, 10); i++) {
            make_one(argv[2], i);
        }
        return 0;
    }
    if (argc != RUN_WORDS + SIDES * TRANSPORTS) {
        return 2;
    }
    raise_limit();
    fleet.n = (unsigned)strtoul(argv[3], NULL, 10);
    fleet.n_threads = (unsigned)strtoul(argv[4], NULL, 10) % THREADS_MAX;
    fleet.seconds = (unsigned)strtoul(argv[5], NULL, 10);
    fleet.servers = argv + RUN_WORDS;
    fleet.all = calloc(fleet.n, sizeof(*fleet.all));
    const int status = fleet.all == NULL ? 1 : run(argv[2]);
    free(fleet.all);
    return status;
}
