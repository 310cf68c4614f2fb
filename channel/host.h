// SPDX-License-Identifier: Apache-2.0
// host.h: the one seam to the crypto library for what needs no key of a token:
// hashes, HMAC, HKDF, AEAD with handshake keys, points, signatures to verify.
// host*.c, point.c and keyops_openssl.c, with openssl_ec.c for both, are the only files of
// channel/ that see OpenSSL.
#ifndef KD_CHANNEL_HOST_H
#define KD_CHANNEL_HOST_H

#include "base/base.h"

enum kd_md {
    KD_MD_SHA256 = 1,
    KD_MD_SHA384,
    KD_MD_SHA512, // fingerprints only
    KD_MD_SHA512_256,
    KD_MD_SHAKE128, // SHA-3 family, of 256 and 512 bits (RFC 9054 3.3)
    KD_MD_SHAKE256,
};
#define KD_MD_MAX_BYTES 64    // of any of them
#define KD_HASH_MAX_BYTES 48  // of those that suites use
#define KD_CURVE_MAX_BYTES 48 // a coordinate
#define KD_POINT_MAX_BYTES 97 // 04 || x || y
#define KD_SIGNATURE_MAX_BYTES (2 * KD_CURVE_MAX_BYTES)

enum kd_curve {
    KD_CURVE_P256 = 1,
    KD_CURVE_P384,
};

// A public key: always whole and uncompressed, as tokens want it.
struct kd_point {
    enum kd_curve curve;
    uint8_t bytes[KD_POINT_MAX_BYTES];
};

size_t kd_md_bytes(enum kd_md md);
size_t kd_curve_bytes(enum kd_curve curve); // of a coordinate: 32, 48
size_t kd_point_bytes(enum kd_curve curve); // 65, 97

// ---- points ----------------------------------------------------------------

// All check that the point is on the curve and not at infinity
// (SP 800-56A 5.6.2.3; cofactor 1, so it is in the group); KD_ERR_BAD_POINT.
KD_MUST_CHECK enum kd_err kd_point_read(enum kd_curve curve, struct kd_bytes uncompressed,
                                        struct kd_point *out);
// Compressed or not (SEC 1 2.3.4), as in certificates.
KD_MUST_CHECK enum kd_err kd_point_decode(enum kd_curve curve, struct kd_bytes encoded,
                                          struct kd_point *out);
// EDHOC sends x alone (RFC 9528 3.7) and either y will do.  x = 0 is refused:
// nobody makes such a key, and it is the known probe for leaks (zero-value points).
KD_MUST_CHECK enum kd_err kd_point_from_x(enum kd_curve curve, struct kd_bytes x,
                                          struct kd_point *out);
struct kd_bytes kd_point_get(const struct kd_point *p);
struct kd_bytes kd_point_get_x(const struct kd_point *p);

// ECDSA; signature is r || s (RFC 9053 2.1).  KD_ERR_NOT_AUTHENTIC, also for
// any length but that of the curve.
KD_MUST_CHECK enum kd_err kd_host_verify(enum kd_md md, const struct kd_point *key,
                                         struct kd_bytes message, struct kd_bytes signature);
KD_MUST_CHECK enum kd_err kd_host_verify_digest(const struct kd_point *key, struct kd_bytes digest,
                                                struct kd_bytes signature);

// ---- hash and HKDF ---------------------------------------------------------

// Of all parts one after the other; out has kd_md_bytes(md).
KD_MUST_CHECK enum kd_err kd_host_hash(enum kd_md md, const struct kd_bytes *parts, size_t n_parts,
                                       uint8_t *out);
KD_MUST_CHECK enum kd_err kd_host_hmac(enum kd_md md, struct kd_bytes key,
                                       const struct kd_bytes *parts, size_t n_parts, uint8_t *out);
// RFC 5869 2.3; KD_ERR_ITEM_TOO_LARGE for more than 255 hashes.
KD_MUST_CHECK enum kd_err kd_host_expand(enum kd_md md, struct kd_bytes prk, struct kd_bytes info,
                                         uint8_t *out, size_t n);

// ---- AEAD ------------------------------------------------------------------

enum kd_aead {
    KD_AEAD_CCM_16_64_128 = 1, // COSE 10
    KD_AEAD_CCM_16_128_128,    // COSE 30
    KD_AEAD_A256GCM,           // COSE 3
};
#define KD_AEAD_KEY_MAX_BYTES 32
#define KD_AEAD_NONCE_MAX_BYTES 13
#define KD_AEAD_TAG_MAX_BYTES 16

size_t kd_aead_key_bytes(enum kd_aead aead);
size_t kd_aead_nonce_bytes(enum kd_aead aead);
size_t kd_aead_tag_bytes(enum kd_aead aead);

// key and nonce have the lengths above.  out: text.n + tag bytes.
KD_MUST_CHECK enum kd_err kd_host_seal(enum kd_aead aead, const uint8_t *key, const uint8_t *nonce,
                                       struct kd_bytes aad, struct kd_bytes text, uint8_t *out);
// out: sealed.n - tag bytes, all zero after a failure.  KD_ERR_NOT_AUTHENTIC.
KD_MUST_CHECK enum kd_err kd_host_open(enum kd_aead aead, const uint8_t *key, const uint8_t *nonce,
                                       struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out);

// AES-256-GCM with a key that is set once, for one direction: nonces have 12 bytes, tags
// 16.  One thread at a time.  `out` must not overlap what goes in.
struct kd_host_gcm;
KD_MUST_CHECK enum kd_err kd_host_gcm_new(const struct kd_key32 *key, bool sealing,
                                          struct kd_host_gcm **out);
void kd_host_gcm_free(struct kd_host_gcm *g); // wipes the key
KD_AUTO_DEFINE(host_gcm, struct kd_host_gcm *, kd_host_gcm_free)
// Of head and body, one after the other.  out: both, and the tag.
KD_MUST_CHECK enum kd_err kd_host_gcm_seal(struct kd_host_gcm *g, const uint8_t nonce[static 12],
                                           struct kd_bytes aad, struct kd_bytes head,
                                           struct kd_bytes body, uint8_t *out);
// As kd_host_open.
KD_MUST_CHECK enum kd_err kd_host_gcm_open(struct kd_host_gcm *g, const uint8_t nonce[static 12],
                                           struct kd_bytes aad, struct kd_bytes sealed,
                                           uint8_t *out);

// AES-256-CBC of one 32-byte block pair, IV 0, no padding: what
// CKM_AES_CBC_ENCRYPT_DATA does with a 256-bit key.
KD_MUST_CHECK enum kd_err kd_host_cbc_data(const struct kd_key32 *key, const struct kd_key32 *data,
                                           struct kd_key32 *out);

KD_MUST_CHECK enum kd_err kd_host_random(uint8_t *out, size_t n);

#endif
