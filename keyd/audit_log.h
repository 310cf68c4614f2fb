// SPDX-License-Identifier: Apache-2.0
// audit_log.h: the audit log as a file: what is there at the start, lines that are on the disk
// or not there at all, and the next file.  Everything here waits for the disk: it is for
// the thread of audit.c, and for one thread at a time.
#ifndef KD_KEYD_AUDIT_LOG_H
#define KD_KEYD_AUDIT_LOG_H

#include "base/base.h"

// Changes that were asked for and have no answer in the log yet.
#define KD_AUDIT_OPEN_MAX 512

struct kd_audit_open {
    size_t n;
    uint64_t seqs[KD_AUDIT_OPEN_MAX];
};

// A line to write; its members are kd_chain_put's.
struct kd_audit_line {
    struct kd_audit_line *next;
    uint64_t time_ms; // wall clock
    struct kd_buf members;
    bool is_asked;    // its answer is another line
    uint64_t answers; // the number of the line that this one answers; 0: none
    uint64_t seq;     // set when it is written
};

// What was there when the log was opened.
struct kd_audit_found {
    bool is_new;       // there was no file
    uint64_t n_lines;  // whole ones
    uint64_t n_cut;    // bytes of half a line, which are gone now
    uint64_t bad_line; // the first that does not follow the one before, from 1; 0: none
    bool is_behind;    // the registry knows of a later line, or of another one
    bool is_missing;   // the registry knows of a line, and there was none
    bool is_ahead;     // so far that the registry must be an old one
    struct kd_chain last;
    struct kd_audit_open unanswered;
};

// The registry is told of each seal in the moments after it: of more than these it has been told,
// and has forgotten it.
#define KD_AUDIT_SEALS_UNTOLD 2

struct kd_audit_log;

// Opens the file (made with mode 0600 if it is not there) and reads it.  `known`: the last line
// as the registry has it; zero: none.  What does not follow is said in *found and left as it
// is.  KD_ERR_CONFIG: it is no regular file, or another process writes it; KD_ERR_SYSTEM.  The
// log says why.
KD_MUST_CHECK enum kd_err kd_audit_log_open(const char *path, const struct kd_chain *known,
                                            struct kd_audit_log **out,
                                            struct kd_audit_found *found);
void kd_audit_log_close(struct kd_audit_log *log);
KD_AUTO_DEFINE(audit_log, struct kd_audit_log *, kd_audit_log_close)

// Writes lines from the first one on, as many as one round takes, and waits until they are on
// the disk; *rest: the first that was not written.  KD_ERR_AUDIT: none was, and
// kd_audit_log_reason says why; the same lines may be given again.
KD_MUST_CHECK enum kd_err kd_audit_log_write(struct kd_audit_log *log, struct kd_audit_line *first,
                                             struct kd_audit_line **rest);
const char *kd_audit_log_reason(const struct kd_audit_log *log);

// Gives the file its own name, PATH.N where N is the number of its first line, and begins the
// next.  KD_ERR_AUDIT: the file stays in use.
KD_MUST_CHECK enum kd_err kd_audit_log_rotate(struct kd_audit_log *log);
// Begins the next file if somebody has renamed or removed this one; *is_other: that was so.
KD_MUST_CHECK enum kd_err kd_audit_log_reopen(struct kd_audit_log *log, bool *is_other);

struct kd_chain kd_audit_log_last(const struct kd_audit_log *log);
uint64_t kd_audit_log_size(const struct kd_audit_log *log); // bytes of the file in use

#endif
