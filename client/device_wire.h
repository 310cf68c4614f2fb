// SPDX-License-Identifier: Apache-2.0
// device_wire.h: one frame there and its answer back, over TCP and UDP.
#ifndef KD_CLIENT_DEVICE_WIRE_H
#define KD_CLIENT_DEVICE_WIRE_H

#include "base/base.h"

struct kd_wire {
    char *host, *port;
    bool is_udp;
    int fd; // -1: not connected
};

#define KD_WIRE_INIT ((struct kd_wire) { .fd = -1 })

// "tcp://HOST:PORT" or "udp://HOST:PORT"; KD_ERR_BAD_URI.
KD_MUST_CHECK enum kd_err kd_wire_set(struct kd_wire *w, const char *server);
void kd_wire_wipe(struct kd_wire *w);

// Sends the frame, and appends the frame that answers it: the one with its id.  Over UDP it is
// sent again after 1, 2, 4 and 8 seconds.  KD_ERR_SYSTEM: no connection, or it was lost;
// KD_ERR_DEADLINE.
KD_MUST_CHECK enum kd_err kd_wire_exchange(struct kd_wire *w, struct kd_bytes frame,
                                           unsigned timeout_ms, struct kd_buf *answer);

#endif
