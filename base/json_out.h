// SPDX-License-Identifier: Apache-2.0
// json_out.h: writes JSON into a kd_buf.  Members are written one after the
// other; kd_json_member puts the comma where one is due.
#ifndef KD_BASE_JSON_OUT_H
#define KD_BASE_JSON_OUT_H

#include "buf.h"

#include <stdbool.h>

// A string, escaped; what is not UTF-8 becomes U+FFFD.
void kd_json_put_text(struct kd_buf *out, const char *text);
void kd_json_put_number(struct kd_buf *out, uint64_t n);
void kd_json_put_bool(struct kd_buf *out, bool b);
void kd_json_put_bytes(struct kd_buf *out, struct kd_bytes b); // base64url
void kd_json_put_time(struct kd_buf *out, uint64_t wall_ms);   // RFC 3339

// The name of a member (needs no escaping) and its colon, a comma before them
// unless they follow '{'.
void kd_json_member(struct kd_buf *out, const char *name);
// A comma unless a '[' stands before.
void kd_json_element(struct kd_buf *out);

#endif
