// SPDX-License-Identifier: Apache-2.0
// wire.h: what the files wire*.c share: reading a value that must be one of a
// range, and the parts of the channel's messages.  A value that is not in its
// range marks the reader as failed.
#ifndef KD_HSM_WIRE_H
#define KD_HSM_WIRE_H

#include "hsm/channel.h"

uint8_t kd_wire_read_enum(struct kd_reader *in, uint8_t low, uint8_t high);
bool kd_wire_read_bool(struct kd_reader *in);
enum kd_err kd_wire_read_err(struct kd_reader *in);
// A block whose length is within low..high.
struct kd_bytes kd_wire_read_sized(struct kd_reader *in, struct kd_bytes block, size_t low,
                                   size_t high);

// ---- wire_channel.c --------------------------------------------------------

void kd_wire_put_terms(struct kd_buf *out, const struct kd_hsm_session_terms *t);
void kd_wire_get_terms(struct kd_reader *in, struct kd_hsm_session_terms *t);
void kd_wire_put_handshake(struct kd_buf *out, enum kd_hsm_op op, const struct kd_hsm_handshake *h);
// h->terms: room for them.
void kd_wire_get_handshake(struct kd_reader *in, enum kd_hsm_op op, struct kd_hsm_handshake *h);
void kd_wire_put_session(struct kd_buf *out, const struct kd_hsm_session *s);
void kd_wire_get_session(struct kd_reader *in, struct kd_hsm_session *s);
void kd_wire_put_agreed(struct kd_buf *out, const struct kd_hsm_result *r);
void kd_wire_get_agreed(struct kd_reader *in, struct kd_hsm_result *r);

#endif
