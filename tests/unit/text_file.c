// SPDX-License-Identifier: Apache-2.0
#include "text_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct text_file tf;

void text_file_setup(void) {
    tf = (struct text_file) { .path = "/tmp/keyd-test-file-XXXXXX", .errors = KD_BUF_INIT(65536) };
    const int fd = mkstemp(tf.path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

void text_file_teardown(void) {
    kd_buf_wipe(&tf.errors);
    unlink(tf.path);
}

void text_file_write(const char *text) {
    FILE *f = fopen(tf.path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    kd_buf_reset(&tf.errors);
}

void text_file_says(int line, const char *word) {
    char at[96];
    const char *said = kd_buf_get_text(&tf.errors);
    snprintf(at, sizeof(at), "%s:%d: ", tf.path, line);
    ck_assert_msg(line == 0 || strstr(said, at) != NULL, "'%s' does not say line %d", said, line);
    ck_assert_msg(strstr(said, word) != NULL, "'%s' does not say '%s'", said, word);
}
