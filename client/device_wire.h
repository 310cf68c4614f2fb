// SPDX-License-Identifier: Apache-2.0
// device_wire.h: questions and their answers over one link, of many threads at once, and
// what the server sends unasked.  Whoever waits receives for all: there is no thread of
// our own.
//
// Threads: all functions from any thread.
#ifndef KD_CLIENT_DEVICE_WIRE_H
#define KD_CLIENT_DEVICE_WIRE_H

#include "client/device_http.h"
#include "client/device_link.h"

#include <pthread.h>

// Pushes that wait to be received, and the bytes of their frames; more are dropped, unacknowledged.
// Who sent them is not known yet.
#define KD_WIRE_PUSHES_MAX 64
#define KD_WIRE_PUSHES_MAX_BYTES 262144

struct kd_wire_link; // a link and who waits at it

struct kd_wire_turns { // one thread receives and one sends at a time
    bool has_reader, has_writer;
};

struct kd_wire {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct kd_place place;
    struct kd_http *http; // in place of a link
    struct kd_wire_link *link;
    struct kd_wire_turns own; // of the caller's functions, which one link takes over from another
    bool is_connecting;
    uint64_t n_links; // made so far
};

KD_MUST_CHECK enum kd_err kd_wire_init(struct kd_wire *w);
void kd_wire_wipe(struct kd_wire *w); // when nobody waits any more

// "tcp://", "udp://", "http://", "https://"; what awaits an answer fails.  KD_ERR_BAD_URI.
KD_MUST_CHECK enum kd_err kd_wire_set(struct kd_wire *w, const char *server);
void kd_wire_set_own(struct kd_wire *w, const struct kd_place *place);

bool kd_wire_is_http(struct kd_wire *w);
bool kd_wire_is_udp(struct kd_wire *w);

// Sends the frame, and appends the frame that answers it: the one with its id.  Where frames
// can be lost it is sent again after 1, 2, 4 and 8 seconds.  KD_ERR_SYSTEM: no connection, or
// it was lost; KD_ERR_DEADLINE, and where nothing at all came meanwhile the link is given up.
KD_MUST_CHECK enum kd_err kd_wire_exchange(struct kd_wire *w, struct kd_bytes frame,
                                           unsigned timeout_ms, struct kd_buf *answer);

// Gives up the link that there is, with what waits at it: the next question makes another.
void kd_wire_drop(struct kd_wire *w);
// The number of the link that there is, and 0 for none: it changes with every new one.
uint64_t kd_wire_link(struct kd_wire *w);
// Appends the next frame that was sent unasked over the link of this number; looks at least once.
// KD_ERR_SYSTEM: that link is lost; KD_ERR_DEADLINE.
KD_MUST_CHECK enum kd_err kd_wire_receive(struct kd_wire *w, uint64_t link, uint64_t until_ms,
                                          struct kd_buf *frame);
// Sends a frame that nothing answers, over the link that there is.
KD_MUST_CHECK enum kd_err kd_wire_tell(struct kd_wire *w, struct kd_bytes frame,
                                       unsigned timeout_ms);

#endif
