// SPDX-License-Identifier: Apache-2.0
// log.h: one event a line on standard error:
//     2026-01-31T23:59:59.999Z warn workers a worker died; worker=1 signal=11
// A sentence for people, then key=value for machines.  Control characters in
// values are written as \xNN, so that no value can forge a line.  To systemd's journal, which has a
// time and a level for each line, it goes as
//     <4>warn workers a worker died; worker=1 signal=11
#ifndef KD_BASE_LOG_H
#define KD_BASE_LOG_H

#include "attr.h"

#include <stdbool.h>
#include <stdint.h>

enum kd_log_level {
    KD_LOG_ERROR, // the operator must act
    KD_LOG_WARN,  // a peer or the token misbehaved
    KD_LOG_INFO,  // the state changed
    KD_LOG_DEBUG, // off by default
};

// Looks whether standard error is the journal ($JOURNAL_STREAM, systemd.exec(5)).  Before other
// threads start.
void kd_log_open(void);
void kd_log_set_level(enum kd_log_level level); // before other threads start
KD_MUST_CHECK bool kd_log_level_parse(const char *text, enum kd_log_level *out);
bool kd_log_is_on(enum kd_log_level level);

// `what` says what happened; `format` (may be "") gives "key=value key=value".
// Thread safe; a line is written with one call.
KD_PRINTF(4, 5)
void kd_log(enum kd_log_level level, const char *subsystem, const char *what, const char *format,
            ...);

// For what somebody outside can cause as often as he likes: a line of each limit a second, which
// says how many were left out since the one before (unsaid=N); those are at debug.  A limit is of
// one thread, and begins as zeros.  True: it was said.
struct kd_log_limit {
    uint64_t said_ms; // monotonic
    uint64_t unsaid;
};
KD_PRINTF(5, 6)
bool kd_log_limited(struct kd_log_limit *limit, enum kd_log_level level, const char *subsystem,
                    const char *what, const char *format, ...);

#endif
