// SPDX-License-Identifier: Apache-2.0
// document.h: man pages and samples of docs/, to hold them against the code.
#ifndef KD_TESTS_DOCUMENT_H
#define KD_TESTS_DOCUMENT_H

#include "base/base.h"

void document_read(const char *name, struct kd_buf *out);
// Puts the paths that the documents have in the place of this build's.
void document_paths(struct kd_buf *text);
// Of a page of a configuration: is `text` in the item of this key?
bool document_says(struct kd_buf *page, const char *key, const char *text);
unsigned document_items(struct kd_buf *page); // how many keys it has

#endif
