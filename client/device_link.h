// SPDX-License-Identifier: Apache-2.0
// device_link.h: one connection to a server that frames go over (docs/protocol.md,
// Frames): TCP, UDP, or functions of the caller's.
//
// Threads: one may send and one receive at the same time; device_wire.c sees to it.
#ifndef KD_CLIENT_DEVICE_LINK_H
#define KD_CLIENT_DEVICE_LINK_H

#include "base/base.h"
#include "client/keyd.h"

// Where to: "tcp://HOST:PORT" and "udp://HOST:PORT", or the caller's functions.
struct kd_place {
    char *host, *port;
    bool is_lossy;      // frames can be lost: they are sent again
    keyd_send_fn *send; // NULL: by host and port
    keyd_receive_fn *receive;
    void *arg;
};

// A port is a number from 1 to 65535.  KD_ERR_BAD_URI.
KD_MUST_CHECK enum kd_err kd_place_parse(const char *server, struct kd_place *out);
void kd_place_wipe(struct kd_place *p);

struct kd_link;

// The addresses of a name share the time; how long the name is looked up for is not bounded.
// KD_ERR_SYSTEM, and keyd_detail says why; KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_link_open(const struct kd_place *place, uint64_t until_ms,
                                       struct kd_link **out);
void kd_link_free(struct kd_link *l);
// Ends the wait of who receives; nothing can be sent any more.  Why: an errno, where the link has
// seen no other reason itself.
void kd_link_shut(struct kd_link *l, int why);
// For keyd_detail of this thread: why it was shut, or nothing comes; if there is a reason.
void kd_link_explain(const struct kd_link *l, enum keyd_err err);
bool kd_link_is_stream(const struct kd_link *l); // TCP
// Changes whenever something has come, if only a part of a frame.  From any thread.
unsigned long kd_link_came(const struct kd_link *l);

// KD_ERR_SYSTEM, KD_ERR_DEADLINE.  After a failure over a stream nothing more can be sent.
KD_MUST_CHECK enum kd_err kd_link_send(struct kd_link *l, struct kd_bytes frame, uint64_t until_ms);
// Appends a frame.  KD_ERR_DEADLINE: there is none yet, and what has come of one is kept.
KD_MUST_CHECK enum kd_err kd_link_receive(struct kd_link *l, uint64_t until_ms,
                                          struct kd_buf *frame);

#endif
