// SPDX-License-Identifier: Apache-2.0
// args.h: the command line, read by tables: an option is a row, and what is not
// in the tables is refused.  No prefixes of names, no short options but -h.
#ifndef KD_CLIENT_ARGS_H
#define KD_CLIENT_ARGS_H

#include "base/base.h"

#define KD_ARGS_MAX 24
#define KD_WORDS_MAX 512 // of which some are files
#define KD_WHY_BYTES 256

// One row of a table; a row without a name ends it.
struct kd_option {
    const char *name;  // without the dashes
    const char *value; // what the help calls its value; NULL: it takes none
    const char *help;
};

struct kd_args {
    size_t n_given;
    struct {
        const struct kd_option *option;
        const char *text; // "" for an option without a value
    } given[KD_ARGS_MAX];
    size_t n_words; // what is no option, in order
    const char *words[KD_WORDS_MAX];
};

// Reads argv[0..argc) by the tables (either may be NULL) and adds to *args.
// KD_ERR_BAD_REQUEST, with a sentence in why: an option that is unknown, given
// twice, without its value or with one too many, or more words than fit.
// "-h" and "--help" are read as the option "help", which some table has.
KD_MUST_CHECK enum kd_err kd_args_read(int argc, char *const argv[], const struct kd_option *first,
                                       const struct kd_option *second, struct kd_args *args,
                                       char why[static KD_WHY_BYTES]);

// The same up to the first word: *n_taken says how many of argv were read.
KD_MUST_CHECK enum kd_err kd_args_read_to_word(int argc, char *const argv[],
                                               const struct kd_option *first,
                                               const struct kd_option *second, struct kd_args *args,
                                               int *n_taken, char why[static KD_WHY_BYTES]);

bool kd_args_has(const struct kd_args *args, const char *name);
const char *kd_args_text(const struct kd_args *args, const char *name); // NULL: not given
// *out stays as it is when the option was not given; KD_ERR_FIELD_INVALID, and
// why, for what is no number from low to high.
KD_MUST_CHECK enum kd_err kd_args_number(const struct kd_args *args, const char *name, uint64_t low,
                                         uint64_t high, uint64_t *out,
                                         char why[static KD_WHY_BYTES]);

#endif
