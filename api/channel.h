// SPDX-License-Identifier: Apache-2.0
// channel.h: what the handlers of the secure channel share (peers.c,
// handshakes.c, sessions.c, records.c).
#ifndef KD_API_CHANNEL_H
#define KD_API_CHANNEL_H

#include "api/http.h"
#include "api/json_in.h"

// For what the service returned at once: KD_OK begins the waiting, and where
// the channel is off the problem says so.
KD_MUST_CHECK enum kd_err kd_channel_wait(struct kd_request *q, enum kd_err err);
KD_MUST_CHECK enum kd_err kd_channel_told(struct kd_request *q, enum kd_err err);
// For lists, which a channel that is off does not have.
KD_MUST_CHECK enum kd_err kd_channel_check(struct kd_request *q);

struct kd_json_in kd_channel_input(struct kd_request *q);

bool kd_channel_is_session(const char *text); // the form of an id
// A member with the id of a session: 16 digits in hexadecimal.
KD_MUST_CHECK enum kd_err kd_channel_read_session(const struct kd_json_in *in, const char *name,
                                                  const char **out);
// A member of at least 1 and at most `max` bytes; KD_ERR_ITEM_TOO_LARGE.
KD_MUST_CHECK enum kd_err kd_channel_read_bytes(const struct kd_json_in *in, const char *name,
                                                size_t max, struct kd_bytes *out);

void kd_session_put(struct kd_buf *out, const struct kd_session_info *s);

#endif
