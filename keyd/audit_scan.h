// SPDX-License-Identifier: Apache-2.0
// audit_scan.h: what a file of the audit log holds.  Private to audit_log.c.
#ifndef KD_KEYD_AUDIT_SCAN_H
#define KD_KEYD_AUDIT_SCAN_H

#include "keyd/audit_log.h"

struct kd_audit_scan {
    uint64_t n_lines;
    uint64_t size;      // of whole lines
    uint64_t n_cut;     // bytes behind them
    uint64_t first_seq; // 0: no line
    uint64_t bad_line;
    bool is_other; // the line that the registry knows is there and is another
    uint64_t n_seals; // of lines after the one that the registry knows
    struct kd_chain last;
    struct kd_audit_open open;
};

// From the start of the file; *out is zero before.  KD_ERR_SYSTEM (errno), KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_audit_scan(int fd, const struct kd_chain *known,
                                        struct kd_audit_scan *out);

// A line was written or read: it asks (its number), or answers another.
void kd_audit_open_note(struct kd_audit_open *open, uint64_t asked, uint64_t answers);

#endif
