// SPDX-License-Identifier: Apache-2.0
// device_state.h: what a device of keyd.h is made of, and the steps that its functions
// (device.c, device_push.c) are made of.
#ifndef KD_CLIENT_DEVICE_STATE_H
#define KD_CLIENT_DEVICE_STATE_H

#include "client/device_credentials.h"
#include "client/device_session.h"
#include "client/device_wire.h"

#include <pthread.h>
#include <sys/types.h>

// A push that comes again gets the acknowledgement that it got, where that was lost.
#define KD_DEVICE_ACKS 16
struct kd_device_ack {
    uint32_t id;
    uint8_t n; // 0: none
    uint8_t frame[127];
};

// Who listens tells the server so often that he is there, as a NAT forgets a way that is not used.
#define KD_DEVICE_KEEPALIVE_MS 60000

#define KD_DEVICE_WHY_BYTES 256
// As at the gateway.
#define KD_DEVICE_DATAGRAM_LOW_BYTES 256
#define KD_DEVICE_DATAGRAM_HIGH_BYTES 65507

// The lock is never held over the network.  A session is renewed by one thread at a time,
// which has is_renewing and alone uses the credentials; the others wait for it, or end what
// they have under way in the session before.  Where it fails, it has failed for those who waited.
struct keyd_device {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct kd_device_credentials credentials;
    struct kd_device_session *session; // NULL: none
    bool is_renewing;
    unsigned n_waiting; // threads, for the end of that
    unsigned n_failed;  // renewals; who waited for one has its result
    enum keyd_err failure;
    char why[KD_DEVICE_WHY_BYTES];
    struct kd_device_clock clock;
    uint32_t next_id;
    unsigned status;
    struct kd_wire wire;
    char *server; // as it was configured or moved to; NULL: the caller's functions
    pid_t owner;  // in a child of that process all is begun anew
    unsigned timeout_ms;
    size_t datagram_max_bytes;
    uint64_t renew_at_ms, heal_at_ms; // not before; of who renews
    uint64_t proven_link;                      // the server knows that we are at its other end
    unsigned n_closes;                         // who listened before the latest ends
    uint64_t proven_ms;                        // since when, or anew
    struct kd_device_ack acks[KD_DEVICE_ACKS]; // the latest
    unsigned n_acks;
    keyd_trace_fn *trace; // may be NULL
    void *trace_arg;
};

// A record there and the one that answers it.
struct kd_exchange {
    uint32_t id; // 0: the next; a message that is sent again keeps its own
    enum kd_frame_kind kind;
    enum kd_record_type type;
    struct kd_bytes body;
    bool is_unknown; // the session is not known there, or has expired
    struct kd_record record;
    struct kd_buf text; // of it
};

#define KD_EXCHANGE_INIT(a_kind, a_type)                                                           \
    ((struct kd_exchange) {                                                                        \
        .kind = (a_kind), .type = (a_type), .text = KD_BUF_INIT(KD_RECORD_MAX_BYTES) })

// In the session; where there is none, or it has expired or is not known any more, first in
// another one (J08).
enum keyd_err kd_device_exchange(struct keyd_device *d, struct kd_exchange *x);
// In the session that there is, when nothing else is under way in it and while nothing begins.
// KEYD_OK without one, for it has nothing to update or to close.
enum keyd_err kd_device_exchange_alone(struct keyd_device *d, struct kd_exchange *x);
// A frame that is no record; its body is borrowed from *answer.
enum keyd_err kd_device_ask(struct keyd_device *d, enum kd_frame_kind kind, struct kd_bytes body,
                            struct kd_buf *answer, struct kd_bytes *out,
                            struct kd_failure_body *why);
// Tells who watches of a frame.
void kd_device_trace(const struct keyd_device *d, bool has_come, const struct kd_buf *frame);
// Before each handshake: asks for another certificate where the own one is late (A05).
enum keyd_err kd_device_check_own(struct keyd_device *d);
// What the bootstrap server knows of both ends.
enum keyd_err kd_device_ask_bootstrap(struct keyd_device *d, bool *has_changed);
// After a handshake that either side did not accept: the same, and whether it can be better now.
bool kd_device_heal(struct keyd_device *d);
// kd_device_ask_bootstrap, by who does not renew yet.
enum keyd_err kd_device_refresh(struct keyd_device *d);
// A handshake.
enum keyd_err kd_device_renew(struct keyd_device *d);

// A handshake; who listens for pushes goes on in the new session.
enum keyd_err kd_device_connect(struct keyd_device *d);
// For its session, to resume by.
enum keyd_err kd_device_take_ticket(struct keyd_device *d);
// Into *text, which *body borrows from.
enum keyd_err kd_device_receive(struct keyd_device *d, unsigned timeout_ms, struct kd_buf *text,
                                struct kd_bytes *body);
// Ends the session that there is, and whoever listens.
enum keyd_err kd_device_close(struct keyd_device *d);
enum keyd_err kd_device_send_envelope(struct keyd_device *d, const char *sender, unsigned valid_s,
                                      struct kd_bytes message);
// In a child of fork(2): a session, a connection and numbers of its own.
enum keyd_err kd_device_leave_parent(struct keyd_device *d);
enum keyd_err kd_device_set_server(struct keyd_device *d, const char *server);

#endif
