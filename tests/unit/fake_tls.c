// SPDX-License-Identifier: Apache-2.0
// fake_tls.c: see fake_tls.h.
#include "tests/unit/fake_tls.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <signal.h>
#include <unistd.h>

enum { REQUEST_MAX_BYTES = 8192, ANSWER_MAX_BYTES = 16384 };

static void serve(struct fake_tls *f, int fd) {
    char request[REQUEST_MAX_BYTES];
    char out[ANSWER_MAX_BYTES];
    SSL *ssl = SSL_new(f->tls);
    ck_assert_int_eq(SSL_set_fd(ssl, fd), 1);
    const int n = SSL_accept(ssl) == 1 ? SSL_read(ssl, request, sizeof(request) - 1) : 0;
    if (n > 0) {
        request[n] = '\0';
        (void)SSL_write(ssl, out, (int)f->answer(f->arg, request, out, sizeof(out)));
        (void)SSL_shutdown(ssl);
    }
    SSL_free(ssl);
}

static void serve_plain(struct fake_tls *f, int fd) {
    char request[REQUEST_MAX_BYTES];
    char out[ANSWER_MAX_BYTES];
    const ssize_t n = recv(fd, request, sizeof(request) - 1, 0);
    if (n > 0) {
        request[n] = '\0';
        (void)send(fd, out, f->answer(f->arg, request, out, sizeof(out)), MSG_NOSIGNAL);
    }
}

static void *run(void *arg) {
    struct fake_tls *f = arg;
    for (int fd; (fd = accept(f->listener, NULL, NULL)) >= 0;) {
        (f->is_plain ? serve_plain : serve)(f, fd);
        close(fd);
    }
    return NULL;
}

void fake_tls_start(struct fake_tls *f, const struct pki_cert *own) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    signal(SIGPIPE, SIG_IGN); // who has no memory hangs up
    f->tls = SSL_CTX_new(TLS_server_method());
    ck_assert_int_eq(SSL_CTX_use_certificate(f->tls, own->x), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(f->tls, own->key), 1);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(f->listener, (const struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(f->listener, 8), 0);
    ck_assert_int_eq(getsockname(f->listener, (struct sockaddr *)&a, &n), 0);
    f->port = ntohs(a.sin_port);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, run, f), 0);
}

void fake_tls_stop(struct fake_tls *f) {
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
    SSL_CTX_free(f->tls);
}
