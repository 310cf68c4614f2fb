// SPDX-License-Identifier: Apache-2.0
// secret.h: the types in which secret bytes live: locked in memory, left out of
// core dumps, wiped when released, never formatted.  Comparison in constant time.
#ifndef KD_BASE_SECRET_H
#define KD_BASE_SECRET_H

#include "attr.h"
#include "buf.h"
#include "err.h"

#define KD_SECRET_MAX_BYTES 65536

// A secret of up to KD_SECRET_MAX_BYTES in pages of its own.
struct kd_secret;

// One-page secrets that are freed leave up to so many pages to the next ones, wiped and locked.
#define KD_SECRET_SPARE_MAX 16

// Any thread.  n > 0; the bytes are zero.  KD_ERR_NO_MEMORY also where RLIMIT_MEMLOCK is
// too small: a secret that could be swapped out is not handed out.
KD_MUST_CHECK enum kd_err kd_secret_new(size_t n, struct kd_secret **out);
void kd_secret_free(struct kd_secret *s);
uint8_t *kd_secret_get(struct kd_secret *s);
size_t kd_secret_len(const struct kd_secret *s);
// Makes it shorter and wipes what is cut off; n <= the length.
void kd_secret_truncate(struct kd_secret *s, size_t n);
KD_AUTO_DEFINE(secret, struct kd_secret *, kd_secret_free)

// The first line of a file (its end of line is not part of it), at most
// max_bytes.  KD_ERR_NO_FILE; KD_ERR_CONFIG where the file is empty, too long,
// not a regular file or open to others than its owner and group.
KD_MUST_CHECK enum kd_err kd_secret_read_file(const char *path, size_t max_bytes,
                                              struct kd_secret **out);

// Whether a folder may get files with secrets: it is this user's (or root's) and nobody else can
// put others in their place, in it or above it.
bool kd_secret_folder_is_own(const char *path);

// A 256-bit key that lives in place (on the stack or in a larger object).
struct kd_key32 {
    uint8_t bytes[32];
};
void kd_key32_wipe(struct kd_key32 *k);
KD_AUTO_DEFINE_IN_PLACE(key32, struct kd_key32, kd_key32_wipe)

// Wipes bytes that the compiler must not forget to wipe.
void kd_wipe(void *p, size_t n);

// Constant time in the contents.  Unequal lengths are unequal, at once.
KD_MUST_CHECK bool kd_ct_equal(struct kd_bytes a, struct kd_bytes b);

#endif
