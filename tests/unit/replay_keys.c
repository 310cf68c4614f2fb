// SPDX-License-Identifier: Apache-2.0
// replay_keys.c: see replay_keys.h.
#include "replay_keys.h"

#include "unit.h"
#include "vectors.h"

#include <string.h>

static enum kd_err generate(void *ctx, enum kd_curve curve, uint64_t *key, struct kd_point *point) {
    const struct replay_keys *k = ctx;
    enum kd_err r = kd_openssl_key_from_scalar(curve, k->ephemeral, key);
    return r == KD_OK ? kd_openssl_key_point(*key, point) : r;
}

static enum kd_err ecdh(void *ctx, uint64_t key, const struct kd_point *peer, uint64_t *secret) {
    struct replay_keys *k = ctx;
    enum kd_err r = kd_keyops_openssl.ecdh(NULL, key, peer, secret);
    return r == KD_OK ? kd_openssl_secret_share(*secret, &k->last_z) : r;
}

static enum kd_err sign(void *ctx, uint64_t key, enum kd_md md, struct kd_bytes message,
                        uint8_t *signature, size_t n) {
    const struct replay_keys *k = ctx;
    vectors_same("message to sign", message, k->to_sign);
    ck_assert_uint_eq(k->signature.n, n);
    // Our own signature must verify as well, and differs.
    enum kd_err r = kd_keyops_openssl.sign(NULL, key, md, message, signature, n);
    memcpy(signature, k->signature.p, n);
    return r;
}

static enum kd_err extract(void *ctx, enum kd_md md, struct kd_bytes salt, struct kd_bytes prefix,
                           uint64_t secret, uint8_t *prk) {
    (void)ctx;
    return kd_keyops_openssl.extract(NULL, md, salt, prefix, secret, prk);
}

static enum kd_err verify(void *ctx, enum kd_md md, const struct kd_point *key,
                          struct kd_bytes message, struct kd_bytes signature) {
    (void)ctx;
    return kd_host_verify(md, key, message, signature);
}

static enum kd_err random_bytes(void *ctx, uint8_t *out, size_t n) {
    (void)ctx;
    return kd_host_random(out, n);
}

static void destroy(void *ctx, uint64_t handle) {
    (void)ctx;
    kd_keyops_openssl.destroy(NULL, handle);
}

const struct kd_keyops replay_keyops = {
    .generate = generate,
    .ecdh = ecdh,
    .extract = extract,
    .sign = sign,
    .verify = verify,
    .random = random_bytes,
    .destroy = destroy,
};
