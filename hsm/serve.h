// SPDX-License-Identifier: Apache-2.0
// serve.h: the worker: HELLO, then requests from one stream until it closes.
#ifndef KD_HSM_SERVE_H
#define KD_HSM_SERVE_H

#include "base/base.h"

// How the process ends; the front reads it from the exit status.
enum kd_worker_exit {
    KD_WORKER_EXIT_CLOSED = 0,  // the front has closed the stream
    KD_WORKER_EXIT_REFUSED = 3, // the token could not be opened: the status said why
    KD_WORKER_EXIT_RENEW = 4,   // the token went away: a fresh process may find it
    KD_WORKER_EXIT_STREAM = 5,  // the stream broke or made no sense
};

// Serves on fd, which stays the caller's.
enum kd_worker_exit kd_serve(int fd);

#endif
