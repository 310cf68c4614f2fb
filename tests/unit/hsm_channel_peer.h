// SPDX-License-Identifier: Apache-2.0
// hsm_channel_peer.h: both ends of a channel for tests: the worker, with keys in
// the token, asked by kd_exec_request; and a client in software.
#ifndef KD_TESTS_HSM_CHANNEL_PEER_H
#define KD_TESTS_HSM_CHANNEL_PEER_H

#include "exec_call.h"

struct meeting {
    // how
    int method;
    int suite;
    enum kd_profile profile;
    bool is_reverse;          // the worker initiates
    struct kd_otp_params otp; // digits 0: the default
    // the worker's
    struct call_key identity;
    struct call_key root;
    struct call_key ticket_key;
    struct kd_hsm_session_terms terms;
    struct kd_hsm_session session; // as soon as there is a ticket
    uint8_t ticket[KD_HSM_TICKET_MAX_BYTES];
    // the client's
    struct kd_identity client;
    struct kd_point client_point;
    struct kd_edhoc *e;
    struct kd_soft_traffic traffic;
    struct kd_record_ivs ivs;
    // credentials and messages
    struct kd_buf id_cred[2]; // 0: the worker's
    struct kd_buf cred[2];
    struct kd_buf message;
};

void meeting_init(struct meeting *m, struct kd_session *s); // keys, after `how` has been set
void meeting_wipe(struct meeting *m);

// Requests with their heads; out may be read until the next.
enum kd_err ask_start(struct meeting *m, struct kd_session *s, struct call_result *out);
enum kd_err ask_read(struct meeting *m, struct kd_session *s, struct call_result *out);
enum kd_err ask_finish(struct meeting *m, struct kd_session *s, struct call_result *out);
enum kd_err ask_confirm(struct meeting *m, struct kd_session *s, struct call_result *out);

// The whole handshake; each step of the worker by another of its two sessions.
void meeting_hold(struct meeting *m);
// The same, which may fail, in a step of the worker; and then once more, from the beginning.
enum kd_err meeting_try(struct meeting *m);
void meeting_again(struct meeting *m);
// The client's keys, for the nonces of m->session.
void meeting_schedule(struct meeting *m);
void meeting_take_ticket(struct meeting *m, struct kd_bytes ticket);

struct kd_record_end client_end(struct meeting *m);
enum kd_err ask_seal(struct meeting *m, uint64_t sequence, struct kd_bytes body,
                     struct call_result *out);
enum kd_err ask_open(struct meeting *m, struct kd_bytes record, struct call_result *out);
struct kd_hsm_request ask_of(const struct meeting *m, enum kd_hsm_op op);

// A record each way goes through, with these sequence numbers.
void check_records(struct meeting *m, uint64_t sequence);

#endif
