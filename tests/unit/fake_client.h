// SPDX-License-Identifier: Apache-2.0
// fake_client.h: in place of gateway/client.c: what the gateway asks keyd and the backend waits
// here until the test answers it.  And a gateway without listeners in front of it.
#ifndef KD_TESTS_FAKE_CLIENT_H
#define KD_TESTS_FAKE_CLIENT_H

#include "gateway/released.h"

#include <netinet/in.h>

struct kd_client {
    const struct kd_client_config *config;
    size_t pending;
};

#define FAKE_PATH_BYTES 96

struct fake_asked {
    struct fake_asked *next;
    struct kd_client *client;
    char path[FAKE_PATH_BYTES]; // "" for the backend
    bool is_connect;
    struct kd_buf body;
    kd_client_done *done;
    void *arg;
};

// The oldest that has no answer; NULL: none.
const struct fake_asked *fake_client_first(void);
void fake_client_answer(unsigned status, struct kd_bytes body); // the oldest
void fake_client_answer_newest(unsigned status, struct kd_bytes body);

struct fake_gateway {
    struct kd_gateway g;
    struct kd_gateway_config config; // of limits that tests may change
    struct kd_route route;           // a connection that stays
    unsigned n_sent;                 // by the route
};

// KD_ERR_NO_MEMORY, and then there is nothing to close.
KD_MUST_CHECK enum kd_err fake_gateway_open(struct fake_gateway *f);
void fake_gateway_close(struct fake_gateway *f); // with nothing left to answer

// For a listener at 127.0.0.1: nobody is there now.
struct sockaddr_in fake_free_address(void);

#endif
