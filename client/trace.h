// SPDX-License-Identifier: Apache-2.0
// trace.h: frames of the secure channel for people to read: a line for each.
#ifndef KD_CLIENT_TRACE_H
#define KD_CLIENT_TRACE_H

#include "base/base.h"

#include <stdio.h>

// "> handshake 37 bytes 0302..." for one that was sent, "<" for one that has come.  The bytes are
// those of its body: of EDHOC's message, or of the record.
void kd_trace_print(FILE *out, bool has_come, struct kd_bytes frame);

#endif
