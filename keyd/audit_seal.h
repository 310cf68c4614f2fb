// SPDX-License-Identifier: Apache-2.0
// audit_seal.h: seals of the audit log: from time to time, a MAC over its last line by a key in
// the token, in a line of its own.  Who can write the file, and later takes keyd over, too, cannot
// change what was sealed before: the key makes MACs of new heads only, through keyd, whose store
// knows how far the log has come.  Private to service.c and work.c.
#ifndef KD_KEYD_AUDIT_SEAL_H
#define KD_KEYD_AUDIT_SEAL_H

#include "keyd/audit.h"
#include "keyd/store.h"

struct kd_service;

struct kd_seal {
    struct kd_timer *timer;
    struct kd_chain covers; // of the seal under way
    uint32_t version;       // of the key, likewise
    uint64_t sealed_seq;    // the last line that a seal covers
    uint64_t own_seq;       // the line of that seal
    bool is_under_way;
    bool has_failed; // said in the log; until one is made again
};

// Opens the audit log, if the configuration wants one; `store` says what its last line was.
KD_MUST_CHECK enum kd_err kd_seal_open(struct kd_service *s, struct kd_store *store);
// After the last answer, and before the store is closed.
void kd_seal_close(struct kd_service *s);
// Unless nothing was written since the last one, or one is under way.
void kd_seal_now(struct kd_service *s);
void kd_seal_metrics(const struct kd_service *s, struct kd_buf *out);

#endif
