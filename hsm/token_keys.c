// SPDX-License-Identifier: Apache-2.0
// token_keys.c: see token_keys.h.  Z stays in the token where it has C_DigestKey;
// what comes out is PRK, which EDHOC needs in memory (docs/protocol.md).
#include "hsm/token_keys.h"

enum kd_curve kd_curve_of(enum kd_key_type type) {
    return type == KD_KEY_EC_P384 ? KD_CURVE_P384 : KD_CURVE_P256;
}

enum kd_key_type kd_key_type_of(enum kd_curve curve) {
    return curve == KD_CURVE_P384 ? KD_KEY_EC_P384 : KD_KEY_EC_P256;
}

// Whether our session objects are still there: a handle that outlived its
// object may name another one by now.
static bool is_current(const struct kd_token_keys *k) {
    struct kd_token *t = k->session->token;
    pthread_mutex_lock(&t->lock);
    const bool is_same = k->generation == t->generation;
    pthread_mutex_unlock(&t->lock);
    return is_same && k->generation == k->session->generation;
}

static enum kd_err open_key(struct kd_token_keys *k, uint64_t key, CK_OBJECT_HANDLE *out) {
    if (!is_current(k)) {
        return KD_ERR_SESSION_LOST;
    }
    if (key == KD_TOKEN_KEY_OWN) {
        return kd_object_get(k->session, &k->own, out);
    }
    *out = (CK_OBJECT_HANDLE)key;
    return KD_OK;
}

// ---- generate --------------------------------------------------------------

static enum kd_err token_generate(void *ctx, enum kd_curve curve, uint64_t *key,
                                  struct kd_point *point) {
    struct kd_token_keys *k = ctx;
    struct kd_session *s = k->session;
    const enum kd_key_type type = kd_key_type_of(curve);
    struct kd_pair pair;
    uint8_t bytes[KD_HSM_POINT_MAX_BYTES];
    if (!is_current(k)) {
        return KD_ERR_SESSION_LOST;
    }
    enum kd_err r = kd_session_pair_make(s, type, KD_USE_DERIVE, &pair);
    unsigned left = KD_PINNED_AT_ONCE;
    while (kd_pinned_gives_way(s, &s->token->traffic, r, &left)) {
        r = kd_session_pair_make(s, type, KD_USE_DERIVE, &pair);
    }
    if (r != KD_OK) {
        return r;
    }
    r = kd_public_point(s, type, pair.public_key, bytes);
    if (r == KD_OK) {
        r = kd_point_read(curve, (struct kd_bytes) { bytes, kd_point_bytes(curve) }, point);
        r = r == KD_ERR_BAD_POINT ? KD_ERR_TOKEN : r;
    }
    if (r != KD_OK) {
        kd_pair_destroy(s, &pair);
        return r;
    }
    kd_destroy(s, pair.public_key);
    *key = pair.private_key;
    return KD_OK;
}

// ---- ECDH and HKDF-Extract -------------------------------------------------

static enum kd_err derive(struct kd_token_keys *k, uint64_t key, const struct kd_point *peer,
                          CK_OBJECT_HANDLE *out) {
    const struct kd_secret_form form = {
        .type = CKK_GENERIC_SECRET,
        .n = kd_curve_bytes(peer->curve),
        .usages = KD_USE_DERIVE,
        .is_readable = k->session->token->hkdf_extract == KD_HSM_HKDF_EXTRACT,
    };
    CK_OBJECT_HANDLE base;
    enum kd_err r = open_key(k, key, &base);
    return r == KD_OK ? kd_derive_ecdh(k->session, base, kd_key_type_of(peer->curve),
                                       kd_point_get(peer), &form, out)
                      : r;
}

// The copy of a token's key may have gone stale: once more with another.
static bool may_try_again(struct kd_token_keys *k, uint64_t key, enum kd_err r) {
    if (r != KD_ERR_NO_OBJECT || key != KD_TOKEN_KEY_OWN) {
        return false;
    }
    kd_object_forget(k->session, &k->own);
    return true;
}

static enum kd_err token_ecdh(void *ctx, uint64_t key, const struct kd_point *peer,
                              uint64_t *secret) {
    struct kd_token_keys *k = ctx;
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    if (key == KD_TOKEN_KEY_OWN && k->own.type != kd_key_type_of(peer->curve)) {
        return KD_ERR_KEY_TYPE;
    }
    enum kd_err r = derive(k, key, peer, &made);
    if (may_try_again(k, key, r)) {
        r = derive(k, key, peer, &made);
    }
    unsigned left = KD_PINNED_AT_ONCE;
    while (kd_pinned_gives_way(k->session, &k->session->token->traffic, r, &left)) {
        r = derive(k, key, peer, &made);
    }
    if (r == KD_OK) {
        *secret = made;
    }
    return r;
}

static enum kd_err token_extract(void *ctx, enum kd_md md, struct kd_bytes salt,
                                 struct kd_bytes prefix, uint64_t secret, uint8_t *prk) {
    struct kd_token_keys *k = ctx;
    CK_OBJECT_HANDLE input;
    enum kd_err r = open_key(k, secret, &input);
    return r == KD_OK
               ? kd_hkdf_extract(k->session, k->session->token->hkdf_extract,
                                 md == KD_MD_SHA384 ? KD_KDF_HKDF_SHA384 : KD_KDF_HKDF_SHA256,
                                 input, salt, prefix, prk)
               : r;
}

// ---- signatures ------------------------------------------------------------

static enum kd_err sign_once(struct kd_token_keys *k, uint64_t key, struct kd_bytes digest,
                             uint8_t *signature, size_t n) {
    CK_FUNCTION_LIST *p11 = k->session->token->p11;
    CK_MECHANISM ecdsa = { CKM_ECDSA, NULL, 0 };
    CK_ULONG got = n;
    CK_OBJECT_HANDLE handle;
    enum kd_err r = open_key(k, key, &handle);
    if (r != KD_OK ||
        (r = kd_ckr("C_SignInit", p11->C_SignInit(k->session->handle, &ecdsa, handle))) != KD_OK ||
        (r = kd_ckr("C_Sign", p11->C_Sign(k->session->handle, kd_p11_bytes(digest.p), digest.n,
                                          signature, &got))) != KD_OK) {
        return r;
    }
    return got == n ? KD_OK : KD_ERR_TOKEN;
}

static enum kd_err token_sign(void *ctx, uint64_t key, enum kd_md md, struct kd_bytes message,
                              uint8_t *signature, size_t n) {
    struct kd_token_keys *k = ctx;
    uint8_t digest[KD_MD_MAX_BYTES];
    if (key == KD_TOKEN_KEY_OWN && kd_key_type_point_bytes(k->own.type) != n + 1) {
        return KD_ERR_KEY_TYPE;
    }
    enum kd_err r = kd_host_hash(md, &message, 1, digest);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_bytes hash = { digest, kd_md_bytes(md) };
    r = sign_once(k, key, hash, signature, n);
    return may_try_again(k, key, r) ? sign_once(k, key, hash, signature, n) : r;
}

static enum kd_err host_verify(void *ctx KD_UNUSED, enum kd_md md, const struct kd_point *key,
                               struct kd_bytes message, struct kd_bytes signature) {
    return kd_host_verify(md, key, message, signature);
}

static enum kd_err host_random(void *ctx KD_UNUSED, uint8_t *out, size_t n) {
    return kd_host_random(out, n);
}

static void token_destroy(void *ctx, uint64_t handle) {
    struct kd_token_keys *k = ctx;
    if (handle != KD_HANDLE_NONE && handle != KD_TOKEN_KEY_OWN && is_current(k)) {
        kd_destroy(k->session, (CK_OBJECT_HANDLE)handle);
    }
}

const struct kd_keyops kd_keyops_token = {
    .generate = token_generate,
    .ecdh = token_ecdh,
    .extract = token_extract,
    .sign = token_sign,
    .verify = host_verify,
    .random = host_random,
    .destroy = token_destroy,
};
