// SPDX-License-Identifier: Apache-2.0
// audit_check.h: reads the files of an audit log (docs/audit.md) line by line and says what is
// wrong with them.  It asks nobody: seals are handed on to whoever can have them checked.
#ifndef KD_CLIENT_AUDIT_CHECK_H
#define KD_CLIENT_AUDIT_CHECK_H

#include "base/base.h"

#include <stdio.h>

// Where a line is.
struct kd_audit_at {
    const char *file;
    uint64_t line; // from 1
    uint64_t seq;  // its number; 0: it has none
};

// A seal whose head is that of the line that it covers.
struct kd_audit_seal {
    struct kd_chain covers;
    const char *key; // borrowed during the call
    uint32_t version;
    struct kd_bytes mac;
};

struct kd_audit_checker {
    void *arg;
    void (*fault)(void *arg, const struct kd_audit_at *at, const char *what);
    // Is its MAC right?
    bool (*seal)(void *arg, const struct kd_audit_at *at, const struct kd_audit_seal *seal);
    // What the log must hold: keyd's last line at the start of the check; zero: not known.
    struct kd_chain known;
};

struct kd_audit_result {
    uint64_t lines;
    uint64_t first, last; // numbers; 0: there is no line
    uint64_t faults;
    uint64_t seals;  // that are right
    uint64_t sealed; // the last line that one of them covers; 0: none
};

// One line of the log that is the first of a file, without its end; for putting files in order.
// KD_ERR_NO_FILE, KD_ERR_SYSTEM; KD_ERR_BAD_JSON: what it begins with is no line of a log.
KD_MUST_CHECK enum kd_err kd_audit_first_seq(const char *path, uint64_t *out);

// Files in the order of their numbers.  KD_ERR_NO_FILE, KD_ERR_SYSTEM, KD_ERR_NO_MEMORY: the
// file that could not be read is *at_file.
KD_MUST_CHECK enum kd_err kd_audit_check(const char *const *files, size_t n,
                                         const struct kd_audit_checker *checker,
                                         struct kd_audit_result *out, const char **at_file);

#endif
