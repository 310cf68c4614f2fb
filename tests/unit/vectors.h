// SPDX-License-Identifier: Apache-2.0
// vectors.h: test vectors are JSON files below tests/vectors; bytes are hex.
#ifndef KD_TESTS_VECTORS_H
#define KD_TESTS_VECTORS_H

#include "base/base.h"

#include <jansson.h>

// Bytes that a test keeps as long as it runs.
struct vectors_bytes {
    uint8_t *p;
    size_t n;
};
void vectors_bytes_free(struct vectors_bytes b);
KD_AUTO_DEFINE(vectors_bytes, struct vectors_bytes, vectors_bytes_free)
struct kd_bytes vectors_get(struct vectors_bytes b);

void vectors_json_free(json_t *j);
KD_AUTO_DEFINE(json, json_t *, vectors_json_free)

// All of these end the test where the file or the member is not as expected.
json_t *vectors_load(const char *path); // below tests/vectors
const char *vectors_text(const json_t *object, const char *name);
json_int_t vectors_int(const json_t *object, const char *name);
struct vectors_bytes vectors_from_hex(const char *hex);
struct vectors_bytes vectors_hex(const json_t *object, const char *name);
struct vectors_bytes vectors_file(const char *path); // any file, absolute

// Fails the test and shows both in hex where they differ.
void vectors_same(const char *what, struct kd_bytes got, struct kd_bytes expected);

#endif
