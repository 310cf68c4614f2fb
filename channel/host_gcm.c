// SPDX-License-Identifier: Apache-2.0
// host_gcm.c: AES-256-GCM in software with a key that is set once.  To set it costs more
// than to seal a message of 1 KiB.  Errors are those of host.c.
#include "channel/host.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_BYTES = 16, BLOCK_BYTES = 16, HEAD_MAX_BYTES = 64 };

struct kd_host_gcm {
    EVP_CIPHER_CTX *c; // has cipher, key and direction; wiped by its free
};

static enum kd_err failed(enum kd_err e) {
    ERR_clear_error();
    return e;
}

enum kd_err kd_host_gcm_new(const struct kd_key32 *key, bool sealing, struct kd_host_gcm **out) {
    kd_auto(host_gcm) struct kd_host_gcm *g = calloc(1, sizeof(*g));
    if (g == NULL || (g->c = EVP_CIPHER_CTX_new()) == NULL ||
        EVP_CipherInit_ex(g->c, EVP_aes_256_gcm(), NULL, key->bytes, NULL, sealing) != 1) {
        return failed(KD_ERR_NO_MEMORY);
    }
    *out = KD_STEAL(g);
    return KD_OK;
}

void kd_host_gcm_free(struct kd_host_gcm *g) {
    if (g != NULL) {
        EVP_CIPHER_CTX_free(g->c);
        free(g);
    }
}

// -1: the direction stays.  The IV has the 12 bytes that GCM has by itself.
static bool start(EVP_CIPHER_CTX *c, const uint8_t *nonce, struct kd_bytes aad) {
    int ignored;
    return EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, -1) == 1 &&
           (aad.n == 0 || EVP_CipherUpdate(c, NULL, &ignored, aad.p, (int)aad.n) == 1);
}

// An update of nothing at the address NULL is the end for some ciphers: it is left out.
static bool update(EVP_CIPHER_CTX *c, struct kd_bytes in, uint8_t *out) {
    int ignored;
    return in.n == 0 || EVP_CipherUpdate(c, out, &ignored, in.p, (int)in.n) == 1;
}

// The head, and as much of the body as fills its last block: a body that begins within a
// block takes a tenth longer.  Then the rest of the body from where it is.
static bool update_both(EVP_CIPHER_CTX *c, struct kd_bytes head, struct kd_bytes body,
                        uint8_t *out) {
    KD_NO_INIT uint8_t block[HEAD_MAX_BYTES + BLOCK_BYTES];
    size_t n_more = (BLOCK_BYTES - head.n % BLOCK_BYTES) % BLOCK_BYTES;
    if (n_more > body.n) {
        n_more = body.n;
    }
    if (head.n == 0 || head.n > HEAD_MAX_BYTES) {
        return update(c, head, out) && update(c, body, out + head.n);
    }
    memcpy(block, head.p, head.n);
    if (n_more > 0) {
        memcpy(block + head.n, body.p, n_more);
    }
    const struct kd_bytes first = { block, head.n + n_more };
    const struct kd_bytes rest = { n_more < body.n ? body.p + n_more : NULL, body.n - n_more };
    const bool good = update(c, first, out) && update(c, rest, out + first.n);
    kd_wipe(block, first.n);
    return good;
}

enum kd_err kd_host_gcm_seal(struct kd_host_gcm *g, const uint8_t nonce[static 12],
                             struct kd_bytes aad, struct kd_bytes head, struct kd_bytes body,
                             uint8_t *out) {
    int ignored;
    if (head.n > KD_CBOR_MAX_BYTES || body.n > KD_CBOR_MAX_BYTES || aad.n > KD_CBOR_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    uint8_t *tag = out + head.n + body.n;
    if (!start(g->c, nonce, aad) || !update_both(g->c, head, body, out) ||
        EVP_CipherFinal_ex(g->c, tag, &ignored) != 1 ||
        EVP_CIPHER_CTX_ctrl(g->c, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) != 1) {
        return failed(KD_ERR_NO_MEMORY);
    }
    return KD_OK;
}

enum kd_err kd_host_gcm_open(struct kd_host_gcm *g, const uint8_t nonce[static 12],
                             struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out) {
    uint8_t nothing[TAG_BYTES]; // where the end of it could write; GCM does not
    int ignored;
    if (sealed.n < TAG_BYTES) {
        return KD_ERR_NOT_AUTHENTIC;
    }
    if (sealed.n > KD_CBOR_MAX_BYTES || aad.n > KD_CBOR_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    const struct kd_bytes text = { sealed.p, sealed.n - TAG_BYTES };
    // The library takes the tag through a pointer that is not const and only reads it.
    uint8_t *tag = (uint8_t *)(uintptr_t)(sealed.p + text.n);
    if (!start(g->c, nonce, aad) ||
        EVP_CIPHER_CTX_ctrl(g->c, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) != 1) {
        return failed(KD_ERR_NO_MEMORY);
    }
    if (!update(g->c, text, out) || EVP_CipherFinal_ex(g->c, nothing, &ignored) != 1) {
        kd_wipe(out, text.n);
        return failed(KD_ERR_NOT_AUTHENTIC);
    }
    return KD_OK;
}
