// SPDX-License-Identifier: Apache-2.0
// host.c: hashes, HKDF and AEAD on OpenSSL 3.  Points and signatures: point.c.
// An OpenSSL failure that is not an answer about the data is KD_ERR_NO_MEMORY:
// with fixed algorithms and checked lengths nothing else can make one.
#include "channel/host.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

KD_AUTO_DEFINE(md_ctx, EVP_MD_CTX *, EVP_MD_CTX_free)
KD_AUTO_DEFINE(cipher_ctx, EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
KD_AUTO_DEFINE(mac, EVP_MAC *, EVP_MAC_free)
KD_AUTO_DEFINE(mac_ctx, EVP_MAC_CTX *, EVP_MAC_CTX_free)

struct md_row {
    const char *name;
    const EVP_MD *(*md)(void);
    size_t n_bytes;
    bool is_xof; // is told how long its result is
};

static const struct md_row mds[] = {
    [KD_MD_SHA256] = { "SHA256", EVP_sha256, 32, false },
    [KD_MD_SHA384] = { "SHA384", EVP_sha384, 48, false },
    [KD_MD_SHA512] = { "SHA512", EVP_sha512, 64, false },
    [KD_MD_SHA512_256] = { "SHA512-256", EVP_sha512_256, 32, false },
    [KD_MD_SHAKE128] = { "SHAKE128", EVP_shake128, 32, true },
    [KD_MD_SHAKE256] = { "SHAKE256", EVP_shake256, 64, true },
};

struct aead_row {
    const EVP_CIPHER *(*cipher)(void);
    uint8_t key_bytes;
    uint8_t nonce_bytes;
    uint8_t tag_bytes;
    bool is_ccm; // wants its lengths before the data
};

static const struct aead_row aeads[] = {
    [KD_AEAD_CCM_16_64_128] = { EVP_aes_128_ccm, 16, 13, 8, true },
    [KD_AEAD_CCM_16_128_128] = { EVP_aes_128_ccm, 16, 13, 16, true },
    [KD_AEAD_A256GCM] = { EVP_aes_256_gcm, 32, 12, 16, false },
};

// The error queue belongs to the thread; nobody reads what we leave in it.
static enum kd_err failed(enum kd_err e) {
    ERR_clear_error();
    return e;
}

size_t kd_md_bytes(enum kd_md md) {
    return mds[md].n_bytes;
}

size_t kd_aead_key_bytes(enum kd_aead aead) {
    return aeads[aead].key_bytes;
}

size_t kd_aead_nonce_bytes(enum kd_aead aead) {
    return aeads[aead].nonce_bytes;
}

size_t kd_aead_tag_bytes(enum kd_aead aead) {
    return aeads[aead].tag_bytes;
}

// ---- hash and HKDF ---------------------------------------------------------

enum kd_err kd_host_hash(enum kd_md md, const struct kd_bytes *parts, size_t n_parts,
                         uint8_t *out) {
    kd_auto(md_ctx) EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (c == NULL || EVP_DigestInit_ex(c, mds[md].md(), NULL) != 1) {
        return failed(KD_ERR_NO_MEMORY);
    }
    for (size_t i = 0; i < n_parts; i++) {
        if (EVP_DigestUpdate(c, parts[i].p, parts[i].n) != 1) {
            return failed(KD_ERR_NO_MEMORY);
        }
    }
    int good = mds[md].is_xof ? EVP_DigestFinalXOF(c, out, mds[md].n_bytes)
                              : EVP_DigestFinal_ex(c, out, NULL);
    return good == 1 ? KD_OK : failed(KD_ERR_NO_MEMORY);
}

// One HMAC with the key that the context has.
static bool mac_parts(EVP_MAC_CTX *c, const struct kd_bytes *parts, size_t n_parts, uint8_t *out,
                      size_t n_out) {
    for (size_t i = 0; i < n_parts; i++) {
        if (EVP_MAC_update(c, parts[i].p, parts[i].n) != 1) {
            return false;
        }
    }
    size_t n = 0;
    return EVP_MAC_final(c, out, &n, n_out) == 1 && n == n_out;
}

// HMAC by a hash, without a key.  To find both by their names takes as long as an HMAC: each is
// made at its first use and kept for the life of the process.  NULL without memory.
static EVP_MAC_CTX *keyless_mac(enum kd_md md) {
    static _Atomic(EVP_MAC_CTX *) made[KD_COUNT_OF(mds)];
    EVP_MAC_CTX *kept = atomic_load(&made[md]);
    if (kept != NULL) {
        return kept;
    }
    char name[16];
    snprintf(name, sizeof(name), "%s", mds[md].name);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_end(),
    };
    kd_auto(mac) EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    kd_auto(mac_ctx) EVP_MAC_CTX *c = mac == NULL ? NULL : EVP_MAC_CTX_new(mac);
    if (c == NULL || EVP_MAC_CTX_set_params(c, params) != 1) {
        ERR_clear_error();
        return NULL;
    }
    if (atomic_compare_exchange_strong(&made[md], &kept, c)) {
        return KD_STEAL(c);
    }
    return kept; // that of a faster thread
}

// NULL without memory.
static EVP_MAC_CTX *mac_new(enum kd_md md, struct kd_bytes key) {
    // An empty salt is a key of no bytes; the pointer must not be NULL, which means "the same key".
    static const uint8_t empty[1];
    EVP_MAC_CTX *keyless = keyless_mac(md);
    kd_auto(mac_ctx) EVP_MAC_CTX *c = keyless == NULL ? NULL : EVP_MAC_CTX_dup(keyless);
    if (c == NULL || EVP_MAC_init(c, key.n == 0 ? empty : key.p, key.n, NULL) != 1) {
        ERR_clear_error();
        return NULL;
    }
    return KD_STEAL(c);
}

enum kd_err kd_host_hmac(enum kd_md md, struct kd_bytes key, const struct kd_bytes *parts,
                         size_t n_parts, uint8_t *out) {
    kd_auto(mac_ctx) EVP_MAC_CTX *c = mac_new(md, key);
    if (c == NULL || !mac_parts(c, parts, n_parts, out, kd_md_bytes(md))) {
        return failed(KD_ERR_NO_MEMORY);
    }
    return KD_OK;
}

enum kd_err kd_host_expand(enum kd_md md, struct kd_bytes prk, struct kd_bytes info, uint8_t *out,
                           size_t n) {
    size_t hash = kd_md_bytes(md);
    if (n > 255 * hash) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    kd_auto(mac_ctx) EVP_MAC_CTX *c = mac_new(md, prk);
    if (c == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    uint8_t block[KD_MD_MAX_BYTES];
    bool good = true;
    for (size_t done = 0, i = 1; done < n && good; i++) {
        uint8_t counter = (uint8_t)i;
        const struct kd_bytes parts[] = { { block, i == 1 ? 0 : hash }, info, { &counter, 1 } };
        good = (i == 1 || EVP_MAC_init(c, NULL, 0, NULL) == 1) &&
               mac_parts(c, parts, KD_COUNT_OF(parts), block, hash);
        size_t take = n - done < hash ? n - done : hash;
        memcpy(out + done, block, take);
        done += take;
    }
    kd_wipe(block, sizeof(block));
    return good ? KD_OK : failed(KD_ERR_NO_MEMORY);
}

// ---- AEAD ------------------------------------------------------------------

static EVP_CIPHER_CTX *aead_new(const struct aead_row *a, bool sealing, const uint8_t *key,
                                const uint8_t *nonce, const uint8_t *tag) {
    kd_auto(cipher_ctx) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (c == NULL || EVP_CipherInit_ex(c, a->cipher(), NULL, NULL, NULL, sealing) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_IVLEN, a->nonce_bytes, NULL) != 1) {
        return NULL;
    }
    // The library takes the tag through a pointer that is not const and only reads it.
    uint8_t copy[KD_AEAD_TAG_MAX_BYTES];
    if (tag != NULL) {
        memcpy(copy, tag, a->tag_bytes);
    }
    if ((tag != NULL || a->is_ccm) && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, a->tag_bytes,
                                                          tag == NULL ? NULL : copy) != 1) {
        return NULL;
    }
    if (EVP_CipherInit_ex(c, NULL, NULL, key, nonce, sealing) != 1) {
        return NULL;
    }
    return KD_STEAL(c);
}

static bool aead_start(EVP_CIPHER_CTX *c, const struct aead_row *a, struct kd_bytes aad, size_t n) {
    int ignored;
    return (!a->is_ccm || EVP_CipherUpdate(c, NULL, &ignored, NULL, (int)n) == 1) &&
           (aad.n == 0 || EVP_CipherUpdate(c, NULL, &ignored, aad.p, (int)aad.n) == 1);
}

enum kd_err kd_host_seal(enum kd_aead aead, const uint8_t *key, const uint8_t *nonce,
                         struct kd_bytes aad, struct kd_bytes text, uint8_t *out) {
    static const uint8_t empty[1];
    const struct aead_row *a = &aeads[aead];
    if (text.n > KD_CBOR_MAX_BYTES || aad.n > KD_CBOR_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    kd_auto(cipher_ctx) EVP_CIPHER_CTX *c = aead_new(a, true, key, nonce, NULL);
    int n = 0;
    int n_last = 0;
    if (c == NULL || !aead_start(c, a, aad, text.n) ||
        EVP_CipherUpdate(c, out, &n, text.n == 0 ? empty : text.p, (int)text.n) != 1 ||
        EVP_CipherFinal_ex(c, out + n, &n_last) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, a->tag_bytes, out + text.n) != 1) {
        return failed(KD_ERR_NO_MEMORY);
    }
    assert((size_t)n + (size_t)n_last == text.n);
    return KD_OK;
}

enum kd_err kd_host_open(enum kd_aead aead, const uint8_t *key, const uint8_t *nonce,
                         struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out) {
    static const uint8_t empty[1];
    const struct aead_row *a = &aeads[aead];
    if (sealed.n < a->tag_bytes) {
        return KD_ERR_NOT_AUTHENTIC;
    }
    size_t n_text = sealed.n - a->tag_bytes;
    if (sealed.n > KD_CBOR_MAX_BYTES || aad.n > KD_CBOR_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    kd_auto(cipher_ctx) EVP_CIPHER_CTX *c = aead_new(a, false, key, nonce, sealed.p + n_text);
    if (c == NULL || !aead_start(c, a, aad, n_text)) {
        return failed(KD_ERR_NO_MEMORY);
    }
    uint8_t nothing[KD_AEAD_TAG_MAX_BYTES]; // a place to write to where there is no text
    uint8_t *to = n_text == 0 ? nothing : out;
    int n = 0;
    // CCM answers at the update, GCM at the end.
    bool good = EVP_CipherUpdate(c, to, &n, n_text == 0 ? empty : sealed.p, (int)n_text) == 1 &&
                (a->is_ccm || EVP_CipherFinal_ex(c, to + n, &n) == 1);
    if (!good) {
        kd_wipe(out, n_text);
        return failed(KD_ERR_NOT_AUTHENTIC);
    }
    return KD_OK;
}

enum kd_err kd_host_cbc_data(const struct kd_key32 *key, const struct kd_key32 *data,
                             struct kd_key32 *out) {
    static const uint8_t iv[16];
    kd_auto(cipher_ctx) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n = 0;
    if (c == NULL || EVP_EncryptInit_ex(c, EVP_aes_256_cbc(), NULL, key->bytes, iv) != 1 ||
        EVP_CIPHER_CTX_set_padding(c, 0) != 1 ||
        EVP_EncryptUpdate(c, out->bytes, &n, data->bytes, sizeof(data->bytes)) != 1 ||
        n != (int)sizeof(out->bytes)) {
        return failed(KD_ERR_NO_MEMORY);
    }
    return KD_OK;
}

enum kd_err kd_host_random(uint8_t *out, size_t n) {
    return RAND_bytes(out, (int)n) == 1 ? KD_OK : failed(KD_ERR_SYSTEM);
}
