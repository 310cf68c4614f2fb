// SPDX-License-Identifier: Apache-2.0
// envelopes.h: which envelopes were opened (channel.h says how): each once at this node until
// it expires.
#ifndef KD_KEYD_ENVELOPES_H
#define KD_KEYD_ENVELOPES_H

#include "keyd/channel.h"
#include "keyd/store_thread.h"

struct kd_spent_entry;

struct kd_spent {
    struct kd_map by_id;
    struct kd_spent_entry *oldest, *newest; // in the order of their coming
    size_t max;
    uint64_t soon_ms;
    uint64_t floor_ms; // the latest end of those that were forgotten
};

// Half of `max` is for ids that end within soon_ms from when they come.
void kd_spent_init(struct kd_spent *s, size_t max, uint64_t soon_ms);
void kd_spent_wipe(struct kd_spent *s);
// A kd_store_spent_fn; arg is the list.
KD_MUST_CHECK enum kd_err kd_spent_load(void *spent, struct kd_bytes id, uint64_t until_ms);
// KD_ERR_ENVELOPE_REPLAYED; KD_ERR_ENVELOPE_TIME: it may be one of those that were forgotten, when
// the clock was ahead of what it is now.
KD_MUST_CHECK enum kd_err kd_spent_check(const struct kd_spent *s, struct kd_bytes id,
                                         uint64_t until_ms);
// Looks first at some, and forgets those that ended until now_ms.  Errors of kd_spent_check,
// KD_ERR_BUSY: full, or half full and it ends late.
KD_MUST_CHECK enum kd_err kd_spent_add(struct kd_spent *s, struct kd_bytes id, uint64_t until_ms,
                                       uint64_t now_ms);
void kd_spent_remove(struct kd_spent *s, struct kd_bytes id);

// ---- the service's side ------------------------------------------------------

struct kd_opening;

// Writes ids down before the texts go out.
struct kd_spent_writer {
    struct kd_store_job job; // first
    struct kd_opening *writing, *waiting;
    uint64_t past_ms; // what ended until then is refused for its time and can be forgotten
};

struct kd_envelopes {
    struct kd_spent spent;
    struct kd_spent_writer writer;
    uint64_t counts[KD_ERR_COUNT]; // by result
};
struct kd_channel_config;
void kd_envelopes_init(struct kd_envelopes *e, const struct kd_channel_config *config);
void kd_envelopes_metrics(const struct kd_envelopes *e, struct kd_buf *out);

#endif
