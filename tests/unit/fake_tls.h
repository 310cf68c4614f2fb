// SPDX-License-Identifier: Apache-2.0
// fake_tls.h: a web server at 127.0.0.1 that answers as it is told, one request a connection, in
// a thread of its own.
#ifndef KD_TESTS_FAKE_TLS_H
#define KD_TESTS_FAKE_TLS_H

#include "tests/unit/pki.h"

#include <openssl/ssl.h>
#include <pthread.h>

struct fake_tls {
    // The whole answer to what was read of a request; its length.  In the server's thread.
    size_t (*answer)(void *arg, const char *request, char *out, size_t max);
    void *arg;
    bool is_plain; // without TLS; may change between two connections
    unsigned port; // from here on the server's
    int listener;
    SSL_CTX *tls;
    pthread_t thread;
};

void fake_tls_start(struct fake_tls *f, const struct pki_cert *own);
void fake_tls_stop(struct fake_tls *f);

#endif
