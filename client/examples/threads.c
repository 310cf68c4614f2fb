/* SPDX-License-Identifier: Apache-2.0
 *
 * Many threads use one device at once, and some of them renew its session meanwhile.
 *     threads SERVER KEY.pem CERTIFICATE.pem URI|- SERVER_CERTIFICATE.pem THREADS MESSAGES
 * Each answer must be the message reversed; prints how many were, and what else came.
 */
#include "client/keyd.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS = 8, THREADS_MAX = 256, RENEW_EVERY = 25 };

static struct keyd_device *device;
static unsigned n_messages;

struct worker {
    pthread_t thread;
    unsigned number, good;
    enum keyd_err err; /* the first */
};

static bool is_reversed(const char *a, const uint8_t *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)a[i] != b[n - 1 - i]) {
            return false;
        }
    }
    return n == strlen(a);
}

static void note(struct worker *w, enum keyd_err err) {
    if (w->err == KEYD_OK && err != KEYD_OK) {
        w->err = err;
        fprintf(stderr, "%u: %s: %s\n", w->number, keyd_err_name(err), keyd_detail());
    }
}

static void *work(void *arg) {
    struct worker *w = arg;
    for (unsigned i = 0; i < n_messages; i++) {
        char message[32];
        uint8_t *answer = NULL;
        size_t n = 0;
        snprintf(message, sizeof(message), "%u-%u", w->number, i);
        const enum keyd_err err = keyd_request(device, message, strlen(message), &answer, &n);
        w->good += err == KEYD_OK && is_reversed(message, answer, n);
        note(w, err);
        free(answer);
        if (i % RENEW_EVERY == w->number % RENEW_EVERY) {
            note(w, w->number % 3 == 0   ? keyd_update(device)
                    : w->number % 3 == 1 ? keyd_connect(device)
                                         : keyd_save(device));
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    static struct worker workers[THREADS_MAX];
    if (argc != ARGUMENTS) {
        fprintf(stderr, "usage: threads SERVER KEY CERTIFICATE URI|- SERVER_CERTIFICATE THREADS "
                        "MESSAGES\n");
        return 2;
    }
    const struct keyd_config config = {
        .server = argv[1],
        .key_file = argv[2],
        .certificate_file = argv[3],
        .certificate_uri = strcmp(argv[4], "-") == 0 ? NULL : argv[4],
        .server_certificate_file = argv[5],
    };
    const unsigned n_threads = (unsigned)strtoul(argv[6], NULL, 10) % (THREADS_MAX + 1);
    unsigned good = 0;
    n_messages = (unsigned)strtoul(argv[7], NULL, 10);
    const enum keyd_err err = keyd_device_new(&config, &device);
    if (err != KEYD_OK) {
        printf("%s\n", keyd_err_name(err));
        return 1;
    }
    for (unsigned i = 0; i < n_threads; i++) {
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return 1;
        }
    }
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(workers[i].thread, NULL);
        good += workers[i].good;
        if (workers[i].err != KEYD_OK) {
            printf("%s ", keyd_err_name(workers[i].err));
        }
    }
    printf("%u\n", good);
    keyd_device_free(device);
    return 0;
}
