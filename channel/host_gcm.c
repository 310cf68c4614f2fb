// SPDX-License-Identifier: Apache-2.0
// host_gcm.c: AES-256-GCM in software with a key that is set once.  To set it costs more
// than to seal a message of 1 KiB.  Errors are those of host.c.
#include "channel/host.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_BYTES = 16, BLOCK_BYTES = 16, COPIED_MAX_BYTES = 4096 };

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

// The tag as the library's own parameter: its older calls for it make one each time.
static OSSL_PARAM tag_param(uint8_t *tag) {
    return OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, TAG_BYTES);
}

// The whole IV, which a length of -1 means (EVP_CTRL_GCM_SET_IV_FIXED).  To initialize the
// context with one instead costs a third of sealing 1 KiB more: OpenSSL 3 asks the cipher for
// the length of its IV each time.  It is taken through a pointer that is not const and only read.
static OSSL_PARAM iv_param(const uint8_t *iv) {
    return OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED,
                                             (uint8_t *)(uintptr_t)iv, (size_t)-1);
}

static bool start(EVP_CIPHER_CTX *c, const OSSL_PARAM *params, struct kd_bytes aad) {
    int ignored;
    return EVP_CIPHER_CTX_set_params(c, params) == 1 &&
           (aad.n == 0 || EVP_CipherUpdate(c, NULL, &ignored, aad.p, (int)aad.n) == 1);
}

// An update of nothing at the address NULL is the end for some ciphers: it is left out.
static bool update(EVP_CIPHER_CTX *c, struct kd_bytes in, uint8_t *out) {
    int ignored;
    return in.n == 0 || EVP_CipherUpdate(c, out, &ignored, in.p, (int)in.n) == 1;
}

// One text of head and body: a short body is put behind the head and sealed where it is, which
// costs less than another update; with a long one as much of it as fills the head's last block,
// as a body that begins within a block takes a tenth longer, then the rest from where it is.
static bool update_both(EVP_CIPHER_CTX *c, struct kd_bytes head, struct kd_bytes body,
                        uint8_t *out) {
    size_t n_more = body.n;
    if (body.n > COPIED_MAX_BYTES) {
        n_more = (BLOCK_BYTES - head.n % BLOCK_BYTES) % BLOCK_BYTES;
    }
    if (head.n > 0) {
        memcpy(out, head.p, head.n);
    }
    if (n_more > 0) {
        memcpy(out + head.n, body.p, n_more);
    }
    const struct kd_bytes first = { out, head.n + n_more };
    const struct kd_bytes rest = { n_more < body.n ? body.p + n_more : NULL, body.n - n_more };
    return update(c, first, out) && update(c, rest, out + first.n);
}

enum kd_err kd_host_gcm_seal(struct kd_host_gcm *g, const uint8_t nonce[static 12],
                             struct kd_bytes aad, struct kd_bytes head, struct kd_bytes body,
                             uint8_t *out) {
    int ignored;
    if (head.n > KD_CBOR_MAX_BYTES || body.n > KD_CBOR_MAX_BYTES || aad.n > KD_CBOR_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    uint8_t *tag = out + head.n + body.n;
    const OSSL_PARAM before[] = { iv_param(nonce), OSSL_PARAM_END };
    OSSL_PARAM after[] = { tag_param(tag), OSSL_PARAM_END };
    if (!start(g->c, before, aad) || !update_both(g->c, head, body, out) ||
        EVP_CipherFinal_ex(g->c, tag, &ignored) != 1 ||
        EVP_CIPHER_CTX_get_params(g->c, after) != 1) {
        kd_wipe(out, head.n + body.n); // perhaps in clear
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
    const OSSL_PARAM params[] = { iv_param(nonce),
                                  tag_param((uint8_t *)(uintptr_t)(sealed.p + text.n)),
                                  OSSL_PARAM_END };
    if (!start(g->c, params, aad)) {
        return failed(KD_ERR_NO_MEMORY);
    }
    if (!update(g->c, text, out) || EVP_CipherFinal_ex(g->c, nothing, &ignored) != 1) {
        kd_wipe(out, text.n);
        return failed(KD_ERR_NOT_AUTHENTIC);
    }
    return KD_OK;
}
