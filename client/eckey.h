// SPDX-License-Identifier: Apache-2.0
// eckey.h: public EC keys as OpenSSL's files have them (PEM) turned into what
// the API takes (JWK, RFC 7517).
#ifndef KD_CLIENT_ECKEY_H
#define KD_CLIENT_ECKEY_H

#include "base/base.h"

#include <jansson.h>

// A file's text with a PEM public key, a PEM certificate or a JWK.
// KD_ERR_PRIVATE_KEY_IMPORT: it holds a private key, which has no business here;
// KD_ERR_BAD_PUBLIC_KEY: none of these, or not on P-256 or P-384.
KD_MUST_CHECK enum kd_err kd_eckey_read(struct kd_bytes text, json_t **jwk);

// Does this text hold a PEM private key, or a JWK with a private part?
bool kd_eckey_is_private(struct kd_bytes text);

#endif
