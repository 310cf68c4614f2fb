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

// Files of the log before this one that are read for it: enough for KD_AUDIT_SEALS_UNTOLD seals
// where seals are made at all, and a start that does not take long where they are not.
#define KD_AUDIT_OLD_FILES_MAX 4

// PATH.N, where N is the number of the first line: 12 digits and more.
#define KD_AUDIT_NUMBER_DIGITS 12

// Adds to n_seals and is_other what files before this one have of lines that the registry does not
// know, the newest first, until it is more than KD_AUDIT_SEALS_UNTOLD.  Files that are not there,
// have other names or cannot be read have none.  Where this file has no line, as keyd was killed
// before the first, last and open are those of the newest, if it goes as far as the registry knows.
// KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_audit_scan_old(const char *path, const struct kd_chain *known,
                                            struct kd_audit_scan *scan);

// A line was written or read: it asks (its number), or answers another.
void kd_audit_open_note(struct kd_audit_open *open, uint64_t asked, uint64_t answers);

#endif
