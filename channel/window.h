// SPDX-License-Identifier: Apache-2.0
// window.h: sequence numbers of one session at one end.  A number to send is
// reserved before the record is sealed; one that was received is pending from
// before it is opened until it is committed (the record is authentic) or
// aborted (it is not).  Of copies in flight the one that is committed first passes.
// A forged record moves nothing, and is in no true one's way.  Not thread safe.
#ifndef KD_CHANNEL_WINDOW_H
#define KD_CHANNEL_WINDOW_H

#include "base/base.h"

#define KD_WINDOW_BITS 1024 // how far behind the highest a number may come
#define KD_WINDOW_BYTES (KD_WINDOW_BITS / 8)
#define KD_WINDOW_PENDING_MAX 1024 // being opened at the same time

struct kd_window {
    bool has_any;
    uint64_t top; // highest that was committed
    uint64_t seen[KD_WINDOW_BITS / 64];
    uint64_t *pending; // owned; only while something is pending
    size_t n_pending;
    size_t cap_pending;
};

// All zero is an empty window.
void kd_window_wipe(struct kd_window *w);
KD_AUTO_DEFINE_IN_PLACE(window, struct kd_window, kd_window_wipe)

// KD_ERR_RECORD_REPLAYED; KD_ERR_RECORD_TOO_OLD; KD_ERR_BUSY where KD_WINDOW_PENDING_MAX are
// pending; KD_ERR_NO_MEMORY.  Others of the number may be pending: which is the true one is not
// known yet.
KD_MUST_CHECK enum kd_err kd_window_begin(struct kd_window *w, uint64_t sequence);
// Each begin is followed by one of these.  KD_ERR_RECORD_REPLAYED: another of this number was
// committed since the begin.
KD_MUST_CHECK enum kd_err kd_window_commit(struct kd_window *w, uint64_t sequence);
void kd_window_abort(struct kd_window *w, uint64_t sequence);

// For who opens at once and under one lock, so that nothing is pending meanwhile: what
// begin answers but KD_ERR_BUSY, and, once the record is authentic, its number is seen.
KD_MUST_CHECK enum kd_err kd_window_check(const struct kd_window *w, uint64_t sequence);
void kd_window_take(struct kd_window *w, uint64_t sequence);
// What was committed, for who goes on with it: bit i % 8 of byte i / 8 stands for top - i.
void kd_window_save(const struct kd_window *w, uint8_t out[static KD_WINDOW_BYTES]);
// The same window again, with nothing pending; w is empty before.
void kd_window_restore(struct kd_window *w, uint64_t top,
                       const uint8_t from[static KD_WINDOW_BYTES]);

// ---- sending ---------------------------------------------------------------

struct kd_sequence {
    uint64_t next; // starts at 0
};

// n numbers at once, *first and those behind it.  KD_ERR_SEQUENCE_END, and
// nothing is reserved, where they would pass KD_RECORD_SEQUENCE_MAX.
KD_MUST_CHECK enum kd_err kd_sequence_reserve(struct kd_sequence *s, uint64_t n, uint64_t *first);

#endif
