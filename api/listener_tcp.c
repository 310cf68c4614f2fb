// SPDX-License-Identifier: Apache-2.0
// listener_tcp.c: the TCP socket.  Without TLS only loopback addresses are
// accepted: bearer tokens would otherwise cross a network in clear.
#include "api/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        return ntohl(in.sin_addr.s_addr) >> 24 == 127;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof(in6));
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
}

static enum kd_err complain(const struct kd_http_config *config, const char *what,
                            const char *error, enum kd_err err) {
    kd_log(KD_LOG_ERROR, "http", what, "address=%s port=%u error=%s", config->tcp_address,
           config->tcp_port, error);
    return err;
}

static enum kd_err bind_and_listen(const struct kd_http_config *config,
                                   const struct addrinfo *address, struct kd_listener *l) {
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return complain(config, "no socket can be made", strerror(errno), KD_ERR_SYSTEM);
    }
    const int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (address->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
        enum kd_err err =
            complain(config, "the address cannot be served", strerror(errno), KD_ERR_SYSTEM);
        close(fd);
        return err;
    }
    l->fd = fd;
    return KD_OK;
}

static enum kd_err open_address(const struct kd_http_config *config, const struct addrinfo *address,
                                struct kd_listener *l) {
    const bool has_tls = config->tls_certificate != NULL && config->tls_certificate[0] != '\0';
    if (!has_tls && !is_loopback(address->ai_addr)) {
        return complain(config, "TCP without TLS is served on loopback addresses only", "",
                        KD_ERR_CONFIG);
    }
    return bind_and_listen(config, address, l);
}

enum kd_err kd_listener_tcp_open(const struct kd_http_config *config, struct kd_listener *l) {
    const struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
        .ai_socktype = SOCK_STREAM,
    };
    char port[8];
    snprintf(port, sizeof(port), "%u", config->tcp_port);
    struct addrinfo *address = NULL;
    const int r = getaddrinfo(config->tcp_address, port, &hints, &address);
    if (r != 0) {
        return complain(config, "this is not an IPv4 or IPv6 address", gai_strerror(r),
                        KD_ERR_CONFIG);
    }
    enum kd_err err = open_address(config, address, l);
    freeaddrinfo(address);
    return err;
}

uint16_t kd_http_port(const struct kd_http *h) {
    for (size_t i = 0; i < h->n_listeners; i++) {
        struct sockaddr_storage address;
        socklen_t n = sizeof(address);
        if (h->listeners[i].is_unix ||
            getsockname(h->listeners[i].fd, (struct sockaddr *)&address, &n) != 0) {
            continue;
        }
        if (address.ss_family == AF_INET6) {
            struct sockaddr_in6 in6;
            memcpy(&in6, &address, sizeof(in6));
            return ntohs(in6.sin6_port);
        }
        struct sockaddr_in in;
        memcpy(&in, &address, sizeof(in));
        return ntohs(in.sin_port);
    }
    return 0;
}
