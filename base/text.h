// SPDX-License-Identifier: Apache-2.0
// text.h: base64url (RFC 4648 section 5, no padding), hex, UTF-8, and checks on names and media
// types.
#ifndef KD_BASE_TEXT_H
#define KD_BASE_TEXT_H

#include "attr.h"
#include "buf.h"
#include "err.h"

#define KD_B64_LEN(n) (((n)*4 + 2) / 3)

// Appends.
void kd_b64_encode(struct kd_buf *out, struct kd_bytes in);
// Strict: no padding, no white space, unused bits zero (RFC 4648 section 3.5).
// Appends to out; KD_ERR_BAD_BASE64 leaves out as it was, a full buffer shows
// in kd_buf_finish.
KD_MUST_CHECK enum kd_err kd_b64_decode(struct kd_bytes text, struct kd_buf *out);

// Lower case; out has 2n + 1 bytes.
void kd_hex_encode(const uint8_t *in, size_t n, char *out);
// Exactly 2n digits of either case.
KD_MUST_CHECK enum kd_err kd_hex_decode(const char *text, uint8_t *out, size_t n);

// Bytes of the character that a text begins with (RFC 3629: no overlong forms, no surrogates,
// nothing above U+10FFFF); 0: it begins with none.
size_t kd_utf8_length(struct kd_bytes text);

// A name for a key or a principal: 1 to KD_NAME_MAX_BYTES of [a-z A-Z 0-9 . _ -],
// a letter or digit first.
#define KD_NAME_MAX_BYTES 64
bool kd_name_is_valid(struct kd_bytes name);

// '*' stands for any run of characters, '?' for one; nothing else is special.
bool kd_glob_match(const char *pattern, const char *text);

// Whether a Content-Type is this media type, with or without parameters, and whether it has the
// parameter ("usage=chain"): RFC 9110 8.3.1.  NULL: there is none.
bool kd_media_type_is(const char *content_type, const char *type);
bool kd_media_type_has(const char *content_type, const char *parameter);

// A decimal number without sign or leading zero, low..high.
KD_MUST_CHECK enum kd_err kd_number_parse(const char *text, uint64_t low, uint64_t high,
                                          uint64_t *out);

#endif
