// SPDX-License-Identifier: Apache-2.0
// client_sockets.h: libcurl's sockets on the event loop.  Most are wanted again soon after libcurl
// wants nothing more of them, as connections are reused: those that it opens by us stay in the
// loop's set until it closes them.
#ifndef KD_GATEWAY_CLIENT_SOCKETS_H
#define KD_GATEWAY_CLIENT_SOCKETS_H

#include "base/base.h"

#include <curl/curl.h>

typedef void kd_client_ready(void *arg, curl_socket_t fd, int what); // CURL_CSELECT_...

struct kd_client_sockets {
    struct kd_loop *loop;
    kd_client_ready *ready;
    void *arg;
    struct kd_map all; // by descriptor
};

void kd_client_sockets_init(struct kd_client_sockets *s, struct kd_loop *loop,
                            kd_client_ready *ready, void *arg);
// When libcurl has closed all.
void kd_client_sockets_wipe(struct kd_client_sockets *s);

// Its transfers' connections are opened and closed by `s`, which lives longer than these.
void kd_client_sockets_serve(struct kd_client_sockets *s, CURL *easy);

// As libcurl says what it waits for: CURL_POLL_...
KD_MUST_CHECK enum kd_err kd_client_sockets_want(struct kd_client_sockets *s, curl_socket_t fd,
                                                 int what);

#endif
