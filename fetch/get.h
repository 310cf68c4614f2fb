// SPDX-License-Identifier: Apache-2.0
// get.h: the transfers of keyd-fetch, all in one thread.
#ifndef KD_FETCH_GET_H
#define KD_FETCH_GET_H

#include "fetch/fetch.h"

struct kd_getter;

// Tells how a transfer ended; body is borrowed.
typedef void kd_getter_done(void *arg, const struct kd_fetch_answer *answer);

// The hello is borrowed and must stay.
KD_MUST_CHECK enum kd_err kd_getter_new(const struct kd_fetch_hello *hello, kd_getter_done *done,
                                        void *arg, struct kd_getter **out);
void kd_getter_free(struct kd_getter *g);

// Begins a transfer, or ends it at once with why it cannot be.
void kd_getter_begin(struct kd_getter *g, const struct kd_fetch_request *q);
// Waits for the network or for `fd` to be readable, and does what can be done.
KD_MUST_CHECK enum kd_err kd_getter_run(struct kd_getter *g, int fd, bool *is_readable);

#endif
