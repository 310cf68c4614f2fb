// SPDX-License-Identifier: Apache-2.0
// text_file.h: a file that is written and read again, and what its reader complains of.
#ifndef KD_TESTS_TEXT_FILE_H
#define KD_TESTS_TEXT_FILE_H

#include "base/base.h"
#include "unit.h"

struct text_file {
    char path[64];
    struct kd_buf errors;
};
extern struct text_file tf;

void text_file_setup(void);
void text_file_teardown(void);
void text_file_write(const char *text); // and no errors yet
// That an error names this line (0: none) and this word.
void text_file_says(int line, const char *word);

#endif
