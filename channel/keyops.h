// SPDX-License-Identifier: Apache-2.0
// keyops.h: the only way to a private key.  channel/ works with handles and
// never learns whether a token or software is behind them.  The table has an
// implementation on the token (hsm/), one on OpenSSL (keyops_openssl.c) and one
// for tests that replays recorded keys (tests/unit/replay_keys.c).
#ifndef KD_CHANNEL_KEYOPS_H
#define KD_CHANNEL_KEYOPS_H

#include "channel/host.h"

// A handle of the implementation: a private key, or an ECDH secret.
#define KD_HANDLE_NONE UINT64_C(0)

// Errors are those of the implementation (KD_ERR_TOKEN..., KD_ERR_NO_MEMORY)
// and those named here.  Points that come in have been checked by kd_point_*.
// Out-parameters are untouched on failure.
struct kd_keyops {
    // A new key pair for ECDH.  The caller destroys the handle.
    enum kd_err (*generate)(void *ctx, enum kd_curve curve, uint64_t *key, struct kd_point *point);

    // Z, the x coordinate of key * peer, as an object that only `extract` and
    // `destroy` know.  `key` is an ephemeral or a long-term key for ECDH.
    enum kd_err (*ecdh)(void *ctx, uint64_t key, const struct kd_point *peer, uint64_t *secret);

    // HKDF-Extract(salt, prefix || Z), RFC 5869 2.2.  `prk` has the bytes of
    // the hash and lies in a kd_secret.  EDHOC has no prefix, HPKE has one.
    enum kd_err (*extract)(void *ctx, enum kd_md md, struct kd_bytes salt, struct kd_bytes prefix,
                           uint64_t secret, uint8_t *prk);

    // ECDSA over the message (not its hash); signature is r || s of n bytes,
    // n = twice the coordinate of the key's curve.
    enum kd_err (*sign)(void *ctx, uint64_t key, enum kd_md md, struct kd_bytes message,
                        uint8_t *signature, size_t n);

    // KD_ERR_NOT_AUTHENTIC.
    enum kd_err (*verify)(void *ctx, enum kd_md md, const struct kd_point *key,
                          struct kd_bytes message, struct kd_bytes signature);

    enum kd_err (*random)(void *ctx, uint8_t *out, size_t n);

    // A handle from generate or ecdh; KD_HANDLE_NONE does nothing.
    void (*destroy)(void *ctx, uint64_t handle);
};

// The table with what it works on.
struct kd_keys {
    const struct kd_keyops *ops;
    void *ctx;
};

// ---- on OpenSSL ------------------------------------------------------------

// ctx is not used: handles are objects of their own.  Any thread.
extern const struct kd_keyops kd_keyops_openssl;

// The handles that these make are destroyed with kd_keyops_openssl.destroy.
// From PEM or DER (PKCS#8 or SEC 1, not encrypted); KD_ERR_BAD_PUBLIC_KEY where
// it is no private key on P-256 or P-384.
KD_MUST_CHECK enum kd_err kd_openssl_key_load(struct kd_bytes file, uint64_t *key);
// From the private scalar, as long as a coordinate.
KD_MUST_CHECK enum kd_err kd_openssl_key_from_scalar(enum kd_curve curve, struct kd_bytes scalar,
                                                     uint64_t *key);
KD_MUST_CHECK enum kd_err kd_openssl_key_point(uint64_t key, struct kd_point *out);

// The token's share of the session keys, computed by a client: the last 32
// bytes of Z, which is what a token keeps when it derives an AES-256 key.
KD_MUST_CHECK enum kd_err kd_openssl_secret_share(uint64_t secret, struct kd_key32 *out);

#endif
