// SPDX-License-Identifier: Apache-2.0
// address.c: "address:port", as text and as a bound socket.
#include "gateway/gateway.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static enum kd_err complain(const char *where, const char *what, const char *why) {
    kd_log(KD_LOG_ERROR, "gateway", what, "address=%s reason=%s", where, why);
    return KD_ERR_CONFIG;
}

// "[::1]:4711" and "127.0.0.1:4711".
static bool split(const char *where, char host[static KD_ADDRESS_TEXT_BYTES], const char **port) {
    const char *colon = strrchr(where, ':');
    if (colon == NULL || colon == where || (size_t)(colon - where) >= KD_ADDRESS_TEXT_BYTES) {
        return false;
    }
    const bool has_brackets = where[0] == '[' && colon[-1] == ']';
    const char *from = has_brackets ? where + 1 : where;
    const size_t n = (size_t)(colon - from) - (has_brackets ? 1 : 0);
    memcpy(host, from, n);
    host[n] = '\0';
    *port = colon + 1;
    return true;
}

bool kd_address_is_loopback(const char *where) {
    return strncmp(where, "127.", 4) == 0 || strncmp(where, "[::1]", 5) == 0;
}

static enum kd_err bind_to(const char *where, const struct addrinfo *a, int *out) {
    const int one = 1;
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return complain(where, "no socket can be made", strerror(errno));
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (a->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 ||
        (a->ai_socktype == SOCK_STREAM && listen(fd, SOMAXCONN) != 0)) {
        const enum kd_err r = complain(where, "the address cannot be served", strerror(errno));
        close(fd);
        return r;
    }
    *out = fd;
    return KD_OK;
}

enum kd_err kd_address_bind(const char *where, int type, int *fd) {
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                                    .ai_socktype = type };
    char host[KD_ADDRESS_TEXT_BYTES];
    const char *port = "";
    struct addrinfo *a = NULL;
    if (!split(where, host, &port)) {
        return complain(where, "an address and a port are expected",
                        "such as 127.0.0.1:4711 or [::1]:4711");
    }
    const int r = getaddrinfo(host, port, &hints, &a);
    if (r != 0) {
        return complain(where, "this is not an address with a port", gai_strerror(r));
    }
    const enum kd_err err = bind_to(where, a, fd);
    freeaddrinfo(a);
    return err;
}

void kd_address_print(const void *address, char out[static KD_ADDRESS_TEXT_BYTES]) {
    struct sockaddr_storage a;
    char host[46] = "", port[8] = "";
    memcpy(&a.ss_family, (const char *)address + offsetof(struct sockaddr, sa_family),
           sizeof(a.ss_family));
    const socklen_t n =
        a.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    memcpy(&a, address, n);
    (void)getnameinfo((const struct sockaddr *)&a, n, host, sizeof(host), port, sizeof(port),
                      NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, KD_ADDRESS_TEXT_BYTES, a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
