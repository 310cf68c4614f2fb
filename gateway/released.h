// SPDX-License-Identifier: Apache-2.0
// released.h: sessions whose traffic keys are here (mode = released).  Nothing is held, and
// everything goes to keyd, in mode resident and where the policy or the session's profile does not
// allow it.
#ifndef KD_GATEWAY_RELEASED_H
#define KD_GATEWAY_RELEASED_H

#include "gateway/gateway.h"

// Answers the question with q->body, as it would have been; before that, in mode released, the
// session's keys are asked for.
void kd_released_take(struct kd_question *q, const char *session);
// The same after the session's keys were renewed: a record under those before says so to the
// device.  false: they are not here, and nothing was answered.
bool kd_released_update(struct kd_question *q, uint64_t number);

// In place of keyd; false: it is not for us.
bool kd_released_open(struct kd_question *q);
bool kd_released_seal(struct kd_question *q);

// Whether the session of the record in the question's frame is here.
bool kd_released_has(const struct kd_question *q);
// keyd has opened a record of it: the keys here are of before.
void kd_released_forget(struct kd_gateway *g, const char *session);
size_t kd_released_count(const struct kd_gateway *g);

KD_MUST_CHECK enum kd_err kd_released_new(struct kd_gateway *g);
void kd_released_free(struct kd_gateway *g);

// ---- records.c, for it -------------------------------------------------------

// What is to be done with an opened record: session, peer, sequence, type and body are set.
void kd_records_opened(struct kd_question *q);
bool kd_records_keep_body(struct kd_question *q, struct kd_bytes body);
void kd_records_send_open(struct kd_question *q); // to keyd, whatever is here

#endif
