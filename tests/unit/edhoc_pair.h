// SPDX-License-Identifier: Apache-2.0
// edhoc_pair.h: an initiator and a responder with OpenSSL keys, for tests.
#ifndef KD_TESTS_EDHOC_PAIR_H
#define KD_TESTS_EDHOC_PAIR_H

#include "channel/edhoc_state.h"

#define PAIR_EAD_A 70 // labels that both understand
#define PAIR_EAD_B 71

struct party {
    struct kd_identity identity;
    struct kd_point point;
    struct kd_buf id_cred;
    struct kd_buf cred;
    struct kd_edhoc_config config;
    struct kd_edhoc *e;
};

struct pair {
    struct party i;
    struct party r;
    struct kd_buf m[5]; // messages 1 to 4, as they were written
};

struct pair_shape {
    int method;
    int suite;
    enum kd_idcred_kind kind_i;
    enum kd_idcred_kind kind_r;
};

// A new pair, before message_1.  Change config and call pair_open.
struct pair *pair_new(const struct pair_shape *shape);
void pair_open(struct pair *p);
void pair_free(struct pair *p);
KD_AUTO_DEFINE(pair, struct pair *, pair_free)

// Finds the credential of the other party; KD_ERR_HS_CREDENTIAL for any other name.
enum kd_err pair_resolve(void *other, const struct kd_idcred *id, struct kd_peer *peer);

// Writes message n (1 to 4) with its EAD into p->m[n].
enum kd_err pair_write(struct pair *p, int n, const struct kd_ead *ead);
// Reads it on the other side, and authenticates where that comes next.
enum kd_err pair_read(struct pair *p, int n, struct kd_bytes message);
// Both for messages from..to; the first failure.
enum kd_err pair_run(struct pair *p, int from, int to);
struct kd_bytes pair_message(const struct pair *p, int n);

#endif
