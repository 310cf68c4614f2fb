// SPDX-License-Identifier: Apache-2.0
// gateway.h: the message server's own view of itself.  A frame of a device
// (channel/frame.h) comes in through a listener (tcp.c, udp.c, http.c) as a question,
// and its answer goes back the same way:
//
//     listener -> kd_gateway_ask -> records.c (keyd opens it, in batches)
//              -> message.c (the backend) -> records.c (keyd seals) -> listener
//
// What the backend sends unasked goes web.c -> push.c -> records.c -> tcp.c or udp.c, and the
// device's acknowledgement comes back as a question.
//
// Handshakes, tickets and envelopes go by control.c.  No key is ever here, all that is
// secret to others stays in keyd's token; but in mode released, the traffic keys of sessions
// of profile released, in released.c alone.  One thread, one loop.
#ifndef KD_GATEWAY_GATEWAY_H
#define KD_GATEWAY_GATEWAY_H

#include "base/base.h"
#include "channel/channel.h"
#include "gateway/client.h"
#include "gateway/config.h"

struct kd_gateway;

#define KD_ADDRESS_TEXT_BYTES 64

// ---- questions ---------------------------------------------------------------

struct kd_question;
// The answer, a frame without a length before it; empty: there is none.  Borrowed.
typedef void kd_question_done(void *arg, struct kd_bytes answer);

struct kd_question {
    struct kd_gateway *g;
    struct kd_question *next; // of the list that it waits in
    kd_question_done *done;
    void *arg;
    struct kd_route *route;  // that it came by; NULL: one that does not stay
    bool is_stream;          // it came over TCP: the address is the device's own
    bool is_acknowledgement; // of a push
    bool is_push;            // ours to the device: to seal and send, not to answer
    bool has_retried;
    bool is_opened;        // session and peer are proven
    struct kd_peer_share *share; // that its place is of; NULL: nobody has proven whose it is
    struct kd_frame frame; // its body is of `bytes`
    struct kd_buf bytes;
    uint8_t head[KD_FRAME_HEAD_BYTES];        // of the question
    uint8_t answer_head[KD_FRAME_HEAD_BYTES]; // that the answer's record is bound to
    char address[KD_ADDRESS_TEXT_BYTES];
    char session[17];
    char peer[KD_NAME_MAX_BYTES + 1];
    char relation[KD_NAME_MAX_BYTES + 1]; // "": none
    bool is_registered;                   // the peer; else its certificate's issuer is believed
    uint64_t sequence;
    uint8_t type;       // of the record: opened, then to seal
    struct kd_buf body; // opened, then to seal
};

// How a frame came.
struct kd_origin {
    const char *address;
    bool is_stream;
    struct kd_route *route; // stays until `done`; NULL: none
};

// Takes a frame; `done` comes exactly once, perhaps before this returns.
void kd_gateway_ask(struct kd_gateway *g, struct kd_bytes frame, const struct kd_origin *origin,
                    kd_question_done *done, void *arg);
// A question of our own: to seal q->body in q->session, and give the frame to `done`.  NULL
// without memory, or where there are too many.
struct kd_question *kd_gateway_new_push(struct kd_gateway *g, uint32_t id, kd_question_done *done,
                                        void *arg);

// ---- places (places.c) ---------------------------------------------------------

struct kd_peer_share; // what one peer has of them
// For one more.  Unproven: nobody has proven whose it is.
bool kd_gateway_has_place(const struct kd_gateway *g, bool is_unproven);
// Of the peer that has proven itself by the question's route.  False: that one has all that are for
// it, or there is no memory.
bool kd_place_take(struct kd_question *q);
// From now on it is of q->peer, who has proven himself.  False, as above: it stays as it was.
bool kd_place_prove(struct kd_question *q);
void kd_place_give(struct kd_question *q);
void kd_places_wipe(struct kd_gateway *g); // when all are free

// ---- how a question ends -------------------------------------------------------

// With the answer to its kind.
void kd_question_answer(struct kd_question *q, struct kd_bytes body);
// Without one.
void kd_question_drop(struct kd_question *q);
// With a failure in clear; the reason is for the log.
void kd_question_fail(struct kd_question *q, enum kd_failure code, uint32_t after_s,
                      const char *reason);
// message_1 is to come again, with this cookie.
void kd_question_retry(struct kd_question *q, struct kd_bytes cookie);
// What an error of keyd's means to the device.
void kd_question_fail_by(struct kd_question *q, unsigned status, const char *error);

// ---- records (records.c) -------------------------------------------------------

typedef void kd_opened_fn(struct kd_question *q);
// Gives the record in the frame to keyd; then `opened` with session, peer, type, body.
// What does not open ends the question.
void kd_records_open(struct kd_question *q);
// Seals q->type and q->body of the session, bound to answer_head, and answers with it.
void kd_records_seal(struct kd_question *q);
uint64_t kd_records_flush(void *gateway); // a kd_prepare_fn

// ---- what is done with them ----------------------------------------------------

void kd_message_opened(struct kd_question *q); // message.c: to the backend and back
void kd_control_opened(struct kd_question *q); // control.c: ticket, update, close
void kd_control_ask(struct kd_question *q);    // handshake, resume, envelope

// ---- pushes (push.c): messages that the device did not ask for -------------------

// A connection that stays, or an address that a device sends from over UDP; embedded in what the
// listener has for it.
struct kd_route {
    struct kd_gateway *g;
    bool (*send)(struct kd_route *route, struct kd_bytes frame); // false: it has too much unsent
    bool is_listed;                                              // the latest of this peer
    bool is_closed; // nothing can be sent by it, whoever it proves yet
    bool is_lossy;  // what is sent by it can be lost: it is sent again
    size_t frame_max_bytes;
    char peer[KD_NAME_MAX_BYTES + 1]; // as a record over it has proven; "": nobody yet
    char session[17];
};

// A record of this peer and session came over it.
void kd_route_prove(struct kd_route *route, const char *peer, const char *session);
void kd_route_close(struct kd_route *route);
size_t kd_routes_count(const struct kd_gateway *g);

// An HTTP status, and a line that says why: the device has acknowledged it (204), or not.
typedef void kd_pushed_fn(void *arg, unsigned status, const char *why);
// `done` comes exactly once, perhaps before this returns.
void kd_push(struct kd_gateway *g, const char *peer, struct kd_bytes body, kd_pushed_fn *done,
             void *arg);
void kd_push_acknowledged(struct kd_question *q); // an opened record
void kd_pushes_stop(struct kd_gateway *g);        // none is acknowledged any more
KD_MUST_CHECK enum kd_err kd_pushes_new(struct kd_gateway *g);
void kd_pushes_free(struct kd_gateway *g);

// ---- ready (ready.c): for a load balancer ----------------------------------------

// 200 and "ready": a message could be served now; or 503, and what is missing.
typedef void kd_ready_fn(void *arg, unsigned status, const char *line);
// Asks keyd, and connects to the backend, unless it has in the second before.  `done` comes exactly
// once, perhaps before this returns.
void kd_ready_ask(struct kd_gateway *g, kd_ready_fn *done, void *arg);
void kd_ready_stop(struct kd_gateway *g); // whoever waits is told
bool kd_ready_is_idle(const struct kd_gateway *g);
KD_MUST_CHECK enum kd_err kd_ready_new(struct kd_gateway *g);
void kd_ready_free(struct kd_gateway *g);

// ---- listeners -----------------------------------------------------------------

KD_MUST_CHECK enum kd_err kd_listeners_open(struct kd_gateway *g);
void kd_listeners_stop(struct kd_gateway *g); // no new connections and frames
void kd_listeners_close(struct kd_gateway *g);

struct kd_tcp;
struct kd_udp;
struct kd_web;
KD_MUST_CHECK enum kd_err kd_tcp_open(struct kd_gateway *g, const char *where, struct kd_tcp **out);
void kd_tcp_stop(struct kd_tcp *t);
bool kd_tcp_is_idle(const struct kd_tcp *t); // nothing left to send
void kd_tcp_close(struct kd_tcp *t);
KD_MUST_CHECK enum kd_err kd_udp_open(struct kd_gateway *g, const char *where, struct kd_udp **out);
void kd_udp_stop(struct kd_udp *u);
void kd_udp_close(struct kd_udp *u);
enum kd_web_role { KD_WEB_DEVICES, KD_WEB_ADMIN, KD_WEB_PUSH };
KD_MUST_CHECK enum kd_err kd_web_open(struct kd_gateway *g, const char *where,
                                      enum kd_web_role role, struct kd_web **out);
// The file with the token of who may push; "": anybody may where only this machine gets, else the
// token stays as it was.  So it does after errors.
KD_MUST_CHECK enum kd_err kd_web_read_token(struct kd_web *w, const char *path);
void kd_web_stop(struct kd_web *w);
bool kd_web_is_idle(const struct kd_web *w);
void kd_web_close(struct kd_web *w);

// A socket at "address:port" or "[address]:port", bound, not blocking.
KD_MUST_CHECK enum kd_err kd_address_bind(const char *where, int type, int *fd);
// By how it is written: 127.x.y.z or [::1].
bool kd_address_is_loopback(const char *where);
// "1.2.3.4:5" of the other end.
void kd_address_print(const void *address, char out[static KD_ADDRESS_TEXT_BYTES]);

// ---- the gateway ---------------------------------------------------------------

#define KD_GATEWAY_LISTENERS_MAX 8

struct kd_record_batch; // records.c
struct kd_pushes;       // push.c
struct kd_retired;      // reload.c
struct kd_takings;      // released.c
struct kd_ready;        // ready.c
// For hooks that come after kd_records_flush: how long the loop may wait with what they have added.
// Records that gather until keyd has answered those before them do not keep it awake.
uint64_t kd_records_wait(const struct kd_gateway *g);

struct kd_gateway_counts {
    uint64_t frames[KD_FRAME_KIND_LAST + 1];   // by kind
    uint64_t answered[KD_FRAME_KIND_LAST + 1]; // with their answer
    uint64_t failed[KD_FAILURE_LAST + 1];      // by what the device was told
    uint64_t repeated;                         // datagrams that had been answered before
    uint64_t backend[6];                       // answers by class of status; 0: none came
    uint64_t batches, batched;                 // requests of records, and records in them
    uint64_t own_records;                      // opened and sealed here
    uint64_t pushes[6];                        // by class of what the backend was told
    uint64_t over_share;                       // frames of peers that had pending_per_peer
};

struct kd_gateway {
    struct kd_loop *loop;
    struct kd_gateway_config *config; // this and the three after it change at a reload
    struct kd_client *keyd;
    struct kd_client *strangers; // to keyd too, for what anybody may ask: holds up no record
    struct kd_client *backend;
    struct kd_retired *retired; // those before, while something is under way by them
    struct kd_record_batch *open, *seal;
    size_t pending;          // questions without an answer
    size_t pending_unproven; // of them, of nobody known
    struct kd_map shares;    // of those that are known, by peer
    bool is_stopping;
    size_t n_tcp, n_udp, n_web;
    struct kd_tcp *tcp[KD_GATEWAY_LISTENERS_MAX];
    struct kd_udp *udp[KD_GATEWAY_LISTENERS_MAX];
    struct kd_web *web[KD_GATEWAY_LISTENERS_MAX];
    struct kd_web *admin, *push;
    struct kd_pushes *pushes;
    struct kd_takings *takings;
    struct kd_ready *ready;
    struct kd_gateway_counts counts;
    // Lines of the log that devices and strangers cause.
    struct kd_gateway_said {
        struct kd_log_limit failed[KD_FAILURE_LAST + 1]; // by what the device was told
        struct kd_log_limit handshake, message, envelope, accept, share;
    } said;
};

KD_MUST_CHECK enum kd_err kd_records_new(struct kd_gateway *g);
void kd_records_free(struct kd_gateway *g);

// Descriptors for all connections of this configuration, as many as the process may have; where
// they are too few the log says so.
void kd_gateway_raise_descriptors(const struct kd_gateway_config *c);
// Takes another configuration from the file; a wrong one changes nothing, and the log says why.
void kd_gateway_reload(struct kd_gateway *g, const char *path);
void kd_gateway_free_retired(struct kd_gateway *g);
void kd_gateway_metrics(const struct kd_gateway *g, struct kd_buf *out);

#endif
