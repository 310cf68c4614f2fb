// SPDX-License-Identifier: Apache-2.0
// output.h: what people read: tables and lines of "name value".  On a terminal
// columns are aligned and have heads; elsewhere a row is a line with tabs, so
// that cut and awk can take it.  Control characters are written as '?': names
// and labels come from a token that others may have written.
#ifndef KD_CLIENT_OUTPUT_H
#define KD_CLIENT_OUTPUT_H

#include "base/base.h"

#include <jansson.h>
#include <stdio.h>

#define KD_TABLE_COLUMNS_MAX 8

struct kd_table;

// heads are borrowed.
KD_MUST_CHECK enum kd_err kd_table_new(const char *const *heads, size_t n_columns,
                                       struct kd_table **out);
void kd_table_free(struct kd_table *t);
KD_AUTO_DEFINE(table, struct kd_table *, kd_table_free)

// Copies the next cell, row by row; NULL reads as "-".  A failure to get memory
// shows in kd_table_print.
void kd_table_put(struct kd_table *t, const char *text);
KD_PRINTF(2, 3) void kd_table_printf(struct kd_table *t, const char *format, ...);
KD_MUST_CHECK enum kd_err kd_table_print(const struct kd_table *t, FILE *out, bool terminal);

// One text without control characters.
void kd_output_text(FILE *out, const char *text);
// "name: value" lines for every member, members of objects as "outer.inner".
void kd_output_members(FILE *out, const json_t *object);
// JSON: on a terminal indented, else one line.  KD_ERR_NO_MEMORY, KD_ERR_SYSTEM.
KD_MUST_CHECK enum kd_err kd_output_json(FILE *out, const json_t *value, bool terminal);
// A plain value as text: strings as they are, numbers, true, false, "-" for
// null, lists with commas.  Appends.
void kd_output_scalar(struct kd_buf *out, const json_t *value);

#endif
