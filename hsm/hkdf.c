// SPDX-License-Identifier: Apache-2.0
// hkdf.c: HKDF (RFC 5869) whose input key is an object of the token, by the
// best way that the token has:
//   native      C_DeriveKey with CKM_HKDF_DERIVE: all in the token.
//   digest-key  HMAC's inner hash over the input is made with C_DigestKey, so the
//               input stays in the token; PRK and the result pass through
//               locked memory here.
//   extract     the input was made readable and passes through locked memory.
#include "hsm/session.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

enum { BLOCK_MAX_BYTES = 128, HASH_MAX_BYTES = 48, INPUT_MAX_BYTES = 128 };

KD_AUTO_DEFINE(kdf, EVP_KDF *, EVP_KDF_free)
KD_AUTO_DEFINE(kdf_ctx, EVP_KDF_CTX *, EVP_KDF_CTX_free)

struct hash {
    const char *name;
    const EVP_MD *md;
    CK_MECHANISM_TYPE mechanism;
    size_t block;
    size_t size;
};

static struct hash hash_of(enum kd_kdf kdf) {
    if (kdf == KD_KDF_HKDF_SHA384) {
        return (struct hash) { "SHA384", EVP_sha384(), CKM_SHA384, 128, 48 };
    }
    return (struct hash) { "SHA256", EVP_sha256(), CKM_SHA256, 64, 32 };
}

// Where the parts of the computation stand in the session's locked memory.
struct workspace {
    uint8_t prk[HASH_MAX_BYTES];
    uint8_t result[256];
    uint8_t input[INPUT_MAX_BYTES];
};
_Static_assert(sizeof(struct workspace) <= KD_SCRATCH_BYTES, "scratch is too small");

static struct workspace *workspace(struct kd_session *s) {
    return (struct workspace *)(void *)kd_secret_get(s->scratch);
}

// ---- extract ---------------------------------------------------------------

// HMAC's key block for a salt (RFC 2104: longer ones are hashed; RFC 5869 2.2:
// none is a block of zeros), xored with the pad.
static enum kd_err key_block(const struct hash *h, struct kd_bytes salt, uint8_t pad,
                             uint8_t out[static BLOCK_MAX_BYTES]) {
    memset(out, 0, h->block);
    if (salt.n > h->block) {
        if (EVP_Digest(salt.p, salt.n, out, NULL, h->md, NULL) != 1) {
            return KD_ERR_NO_MEMORY;
        }
    } else if (salt.n > 0) {
        memcpy(out, salt.p, salt.n);
    }
    for (size_t i = 0; i < h->block; i++) {
        out[i] ^= pad;
    }
    return KD_OK;
}

static enum kd_err update_digest(struct kd_session *s, struct kd_bytes data) {
    return data.n == 0
               ? KD_OK
               : kd_ckr("C_DigestUpdate",
                        s->token->p11->C_DigestUpdate(s->handle, kd_p11_bytes(data.p), data.n));
}

static enum kd_err inner_by_token(struct kd_session *s, const struct hash *h,
                                  CK_OBJECT_HANDLE input, struct kd_bytes prefix, uint8_t *block,
                                  uint8_t *out) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM digest = { h->mechanism, NULL, 0 };
    CK_ULONG n = h->size;
    enum kd_err r;
    if ((r = kd_ckr("C_DigestInit", p11->C_DigestInit(s->handle, &digest))) != KD_OK ||
        (r = update_digest(s, (struct kd_bytes) { block, h->block })) != KD_OK ||
        (r = update_digest(s, prefix)) != KD_OK ||
        (r = kd_ckr("C_DigestKey", p11->C_DigestKey(s->handle, input))) != KD_OK) {
        // Ends the operation that the session would otherwise still be in.
        uint8_t rest[HASH_MAX_BYTES];
        CK_ULONG rest_len = sizeof(rest);
        p11->C_DigestFinal(s->handle, rest, &rest_len);
        return r;
    }
    return kd_ckr("C_DigestFinal", p11->C_DigestFinal(s->handle, out, &n));
}

static enum kd_err outer(const struct hash *h, const uint8_t *block, const uint8_t *inner,
                         uint8_t *prk) {
    uint8_t text[BLOCK_MAX_BYTES + HASH_MAX_BYTES];
    memcpy(text, block, h->block);
    memcpy(text + h->block, inner, h->size);
    const int ok = EVP_Digest(text, h->block + h->size, prk, NULL, h->md, NULL);
    kd_wipe(text, sizeof(text));
    return ok == 1 ? KD_OK : KD_ERR_NO_MEMORY;
}

static enum kd_err extract_by_digest(struct kd_session *s, const struct hash *h,
                                     CK_OBJECT_HANDLE input, struct kd_bytes salt,
                                     struct kd_bytes prefix) {
    uint8_t block[BLOCK_MAX_BYTES];
    uint8_t inner[HASH_MAX_BYTES];
    enum kd_err r;
    if ((r = key_block(h, salt, 0x36, block)) == KD_OK &&
        (r = inner_by_token(s, h, input, prefix, block, inner)) == KD_OK &&
        (r = key_block(h, salt, 0x5c, block)) == KD_OK) {
        r = outer(h, block, inner, workspace(s)->prk);
    }
    kd_wipe(inner, sizeof(inner));
    kd_wipe(block, sizeof(block)); // EDHOC's salts are secret
    return r;
}

// ---- OpenSSL's HKDF --------------------------------------------------------

static enum kd_err run_kdf(const struct hash *h, int mode, struct kd_bytes key,
                           struct kd_bytes salt, struct kd_bytes info, uint8_t *out, size_t n) {
    kd_auto(kdf) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    kd_auto(kdf_ctx) EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[6];
    OSSL_PARAM *p = params;
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)h->name, 0);
    *p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, kd_p11_bytes(key.p), key.n);
    if (salt.n > 0) {
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, kd_p11_bytes(salt.p), salt.n);
    }
    if (info.n > 0) {
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, kd_p11_bytes(info.p), info.n);
    }
    *p = OSSL_PARAM_construct_end();
    return ctx != NULL && EVP_KDF_derive(ctx, out, n, params) == 1 ? KD_OK : KD_ERR_NO_MEMORY;
}

static enum kd_err extract_by_reading(struct kd_session *s, const struct hash *h,
                                      CK_OBJECT_HANDLE input, struct kd_bytes salt,
                                      struct kd_bytes prefix) {
    struct workspace *w = workspace(s);
    if (prefix.n > INPUT_MAX_BYTES / 2) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    if (prefix.n > 0) {
        memcpy(w->input, prefix.p, prefix.n);
    }
    const CK_ULONG room = sizeof(w->input) - prefix.n;
    CK_ATTRIBUTE value = { CKA_VALUE, w->input + prefix.n, room };
    enum kd_err r = kd_ckr("C_GetAttributeValue",
                           s->token->p11->C_GetAttributeValue(s->handle, input, &value, 1));
    if (r != KD_OK || value.ulValueLen > room) {
        return r != KD_OK ? r : KD_ERR_TOKEN;
    }
    return run_kdf(h, EVP_KDF_HKDF_MODE_EXTRACT_ONLY,
                   (struct kd_bytes) { w->input, prefix.n + value.ulValueLen }, salt, KD_BYTES_NONE,
                   w->prk, h->size);
}

// PRK of prefix || input, in the workspace.
static enum kd_err extract(struct kd_session *s, enum kd_hsm_hkdf strategy, const struct hash *h,
                           CK_OBJECT_HANDLE input, struct kd_bytes salt, struct kd_bytes prefix) {
    return strategy == KD_HSM_HKDF_DIGEST    ? extract_by_digest(s, h, input, salt, prefix)
           : strategy == KD_HSM_HKDF_EXTRACT ? extract_by_reading(s, h, input, salt, prefix)
                                             : KD_ERR_LACKING;
}

enum kd_err kd_hkdf_extract(struct kd_session *s, enum kd_hsm_hkdf strategy, enum kd_kdf kdf,
                            CK_OBJECT_HANDLE input, struct kd_bytes salt, struct kd_bytes prefix,
                            uint8_t *prk) {
    const struct hash h = hash_of(kdf);
    enum kd_err r = extract(s, strategy, &h, input, salt, prefix);
    if (r == KD_OK) {
        memcpy(prk, workspace(s)->prk, h.size);
    }
    kd_wipe(workspace(s), sizeof(struct workspace));
    return r;
}

// The result, in the workspace.
static enum kd_err through_memory(struct kd_session *s, enum kd_hsm_hkdf strategy,
                                  CK_OBJECT_HANDLE input, const struct kd_derive_step *step,
                                  size_t n) {
    struct workspace *w = workspace(s);
    const struct hash h = hash_of(step->kdf);
    enum kd_err r = extract(s, strategy, &h, input, step->salt, KD_BYTES_NONE);
    if (r == KD_OK) {
        r = run_kdf(&h, EVP_KDF_HKDF_MODE_EXPAND_ONLY, (struct kd_bytes) { w->prk, h.size },
                    KD_BYTES_NONE, step->info, w->result, n);
    }
    return r;
}

// ---- native ----------------------------------------------------------------

static enum kd_err native(struct kd_session *s, CK_OBJECT_HANDLE input,
                          const struct kd_derive_step *step, const struct kd_secret_form *form,
                          CK_OBJECT_HANDLE *out) {
    struct kd_hkdf_params params = {
        .extract = CK_TRUE,
        .expand = CK_TRUE,
        .prf_hash = hash_of(step->kdf).mechanism,
        .salt_type = step->salt.n > 0 ? KD_CKF_HKDF_SALT_DATA : KD_CKF_HKDF_SALT_NULL,
        .salt = step->salt.n > 0 ? kd_p11_bytes(step->salt.p) : NULL,
        .salt_len = step->salt.n,
        .info = kd_p11_bytes(step->info.p),
        .info_len = step->info.n,
    };
    CK_MECHANISM hkdf = { KD_CKM_HKDF_DERIVE, &params, sizeof(params) };
    return kd_derive_by(s, &hkdf, input, form, out);
}

// ---- for derive.c ----------------------------------------------------------

enum kd_err kd_hkdf(struct kd_session *s, enum kd_hsm_hkdf strategy, CK_OBJECT_HANDLE input,
                    const struct kd_derive_step *step, const struct kd_secret_form *form,
                    CK_OBJECT_HANDLE *out) {
    if (strategy == KD_HSM_HKDF_NATIVE) {
        return native(s, input, step, form, out);
    }
    enum kd_err r = through_memory(s, strategy, input, step, form->n);
    if (r == KD_OK) {
        r = kd_derive_import(s, (struct kd_bytes) { workspace(s)->result, form->n }, form, out);
    }
    kd_wipe(workspace(s), sizeof(struct workspace));
    return r;
}

enum kd_err kd_hkdf_release(struct kd_session *s, enum kd_hsm_hkdf strategy, CK_OBJECT_HANDLE input,
                            const struct kd_derive_step *step) {
    enum kd_err r;
    if (strategy == KD_HSM_HKDF_NATIVE) {
        const struct kd_secret_form form = { .type = CKK_GENERIC_SECRET,
                                             .n = step->out_len,
                                             .is_readable = true };
        CK_OBJECT_HANDLE result = CK_INVALID_HANDLE;
        r = native(s, input, step, &form, &result);
        if (r == KD_OK) {
            r = kd_read_value(s, result);
            kd_destroy(s, result);
        }
        return r;
    }
    r = through_memory(s, strategy, input, step, step->out_len);
    if (r == KD_OK) {
        kd_buf_put(&s->out, workspace(s)->result, step->out_len);
        r = kd_buf_finish(&s->out);
    }
    kd_wipe(workspace(s), sizeof(struct workspace));
    return r;
}
