// SPDX-License-Identifier: Apache-2.0
// io.h: files and standard input in, results out, and the forms in which
// keydctl writes bytes.
#ifndef KD_CLIENT_IO_H
#define KD_CLIENT_IO_H

#include "base/base.h"

#include <sys/types.h>

// The most that goes into one request: its base64url and the JSON around it
// stay under keyd's default limit of 4 MiB for a body.
#define KD_INPUT_MAX_BYTES (3u * 1000 * 1000)

// Reads the whole file, or standard input where path is NULL or "-", at most
// max bytes: KD_ERR_ITEM_TOO_LARGE beyond that.  Appends to out.
KD_MUST_CHECK enum kd_err kd_io_read(const char *path, size_t max_bytes, struct kd_buf *out);

// Writes a file that must not exist yet, with this mode; KD_ERR_KEY_EXISTS where it does.
KD_MUST_CHECK enum kd_err kd_io_write_new(const char *path, struct kd_bytes data, mode_t mode);
// Writes or replaces a file that holds nothing secret.
KD_MUST_CHECK enum kd_err kd_io_write(const char *path, struct kd_bytes data);

enum kd_form {
    KD_FORM_BASE64URL, // and a line feed
    KD_FORM_HEX,       // and a line feed
    KD_FORM_RAW,
    KD_FORM_DER, // signatures only: ECDSA-Sig-Value (RFC 3279 section 2.2.3)
};
KD_MUST_CHECK bool kd_form_parse(const char *name, enum kd_form *out);

// What a server gave as base64url, in another form (not DER, see eckey.h).  Appends.
KD_MUST_CHECK enum kd_err kd_form_write(enum kd_form form, struct kd_bytes data,
                                        struct kd_buf *out);
// The other way; white space at the end of base64url and hex is passed over.
KD_MUST_CHECK enum kd_err kd_form_read(enum kd_form form, struct kd_bytes text, struct kd_buf *out);

#endif
