// SPDX-License-Identifier: Apache-2.0
// wire.h: what wire.c and wire_hello.c share: reading a value that must be one
// of a range.  A value that is not marks the reader as failed.
#ifndef KD_HSM_WIRE_H
#define KD_HSM_WIRE_H

#include "base/base.h"

uint8_t kd_wire_read_enum(struct kd_reader *in, uint8_t low, uint8_t high);
bool kd_wire_read_bool(struct kd_reader *in);
enum kd_err kd_wire_read_err(struct kd_reader *in);

#endif
