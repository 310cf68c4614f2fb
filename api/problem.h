// SPDX-License-Identifier: Apache-2.0
// problem.h: errors as the caller sees them (RFC 9457).
#ifndef KD_API_PROBLEM_H
#define KD_API_PROBLEM_H

#include "base/base.h"

#define KD_PROBLEM_TYPE "urn:keyd:problem:"

unsigned kd_problem_status(enum kd_err err); // the HTTP status
// Appends the object.  detail, field and request_id may be "".
void kd_problem_write(struct kd_buf *out, enum kd_err err, const char *detail, const char *field,
                      const char *request_id);
// The same with one member more (RFC 9457 3.2), unless `value` is empty: what a refusal
// still gives, base64url.
void kd_problem_write_with(struct kd_buf *out, enum kd_err err, const char *detail,
                           const char *field, const char *request_id, const char *name,
                           struct kd_bytes value);

#endif
