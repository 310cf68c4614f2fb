// SPDX-License-Identifier: Apache-2.0
// wire_samples.h: one of each message between front and worker, with all parts
// that it can have, for tests of wire*.c.
#ifndef KD_TESTS_WIRE_SAMPLES_H
#define KD_TESTS_WIRE_SAMPLES_H

#include "hsm/channel.h"

enum { MESSAGE_MAX_BYTES = 1 << 20 };

// Parts that an item and a result point to.
struct parts {
    struct kd_hsm_session_terms terms;
    struct kd_hsm_handshake handshake;
    struct kd_hsm_session session;
};

// Up to 70000 bytes, which are there after fill().
void fill(void);
struct kd_bytes some(size_t n);
struct kd_key_ref sample_key(void);
struct kd_recipe sample_recipe(void);
struct kd_hsm_request sample_request(enum kd_hsm_op op);
struct kd_hsm_session_terms sample_terms(void);
struct kd_hsm_handshake sample_handshake(struct kd_hsm_session_terms *terms);
struct kd_hsm_session sample_session(void);
void use_parts(struct kd_hsm_item *item, struct parts *p);
struct kd_hsm_item sample_item(void);
struct kd_hsm_result sample_result(void);
struct kd_hsm_hello sample_hello(void);
struct kd_hsm_status sample_status(void);

#endif
