// SPDX-License-Identifier: Apache-2.0
// operate.c: the operations with keys and derived secrets, one function each.
#include "hsm/exec.h"
#include "hsm/gcm.h"

#include <string.h>

enum { HMAC_MAX_BYTES = 48, DIGEST_MAX_BYTES = 48 };
enum { RANDOM_LEAST_BYTES = 16 }; // asked for, as kmsp11 gives no fewer than 8

// ---- the key of an operation -----------------------------------------------

struct subject {
    enum kd_key_type type;
    CK_OBJECT_HANDLE handle;
    struct kd_cached *cached; // a derived secret, to be released
};

static enum kd_err open_subject(struct kd_session *s, const struct kd_hsm_request *q, size_t i,
                                struct subject *out) {
    *out = (struct subject) { 0 };
    if (q->has_recipe) {
        out->type = q->recipe.type;
        return kd_cached_get(s, &q->recipe, &out->cached, &out->handle);
    }
    out->type = q->keys[i].type;
    return kd_object_get(s, &q->keys[i], &out->handle);
}

// `r` is what the operation gave: a handle that turned out stale is forgotten.
static void close_subject(struct kd_session *s, const struct kd_hsm_request *q, size_t i,
                          struct subject *subject, enum kd_err r) {
    if (subject->cached != NULL) {
        kd_cached_release(s, subject->cached, r == KD_ERR_NO_OBJECT);
    } else if (r == KD_ERR_NO_OBJECT) {
        kd_object_forget(s, &q->keys[i]);
    }
}

static size_t subjects(const struct kd_hsm_request *q) {
    return q->has_recipe ? 1 : q->n_keys;
}

// ---- sign, verify ----------------------------------------------------------

static enum kd_err digest_of(const struct kd_hsm_request *q, enum kd_key_type type,
                             struct kd_bytes data, uint8_t out[static DIGEST_MAX_BYTES],
                             struct kd_bytes *digest) {
    const size_t size = type == KD_KEY_EC_P256 ? 32 : 48;
    size_t n = 0;
    if (q->hash == KD_HASH_NONE) {
        *digest = data;
        return data.n == size ? KD_OK : KD_ERR_FIELD_INVALID;
    }
    enum kd_err r = kd_host_digest(q->hash, data, out, &n);
    *digest = (struct kd_bytes) { out, n };
    return r;
}

static enum kd_err token_sign(struct kd_session *s, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE key,
                              struct kd_bytes data, uint8_t *out, CK_ULONG *n) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM mechanism = { type, NULL, 0 };
    const struct kd_bytes some = data.n == 0 ? kd_bytes_of_text("") : data;
    enum kd_err r = kd_ckr("C_SignInit", p11->C_SignInit(s->handle, &mechanism, key));
    if (r != KD_OK) {
        return r;
    }
    return kd_ckr("C_Sign", p11->C_Sign(s->handle, kd_p11_bytes(some.p), some.n, out, n));
}

enum kd_err kd_exec_sign(struct kd_session *s, const struct kd_hsm_request *q,
                         const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    uint8_t hash[DIGEST_MAX_BYTES];
    struct kd_bytes digest;
    struct subject key;
    enum kd_err r;
    if (q->n_keys != 1 || !kd_key_type_is_ec(q->keys[0].type)) {
        return KD_ERR_KEY_TYPE;
    }
    if ((r = digest_of(q, q->keys[0].type, item->data, hash, &digest)) != KD_OK ||
        (r = open_subject(s, q, 0, &key)) != KD_OK) {
        return r;
    }
    const size_t size = kd_key_type_point_bytes(key.type) - 1; // r and s
    CK_ULONG n = size;
    uint8_t *at = kd_buf_extend(&s->out, size);
    r = at == NULL ? KD_ERR_NO_MEMORY : token_sign(s, CKM_ECDSA, key.handle, digest, at, &n);
    close_subject(s, q, 0, &key, r);
    if (r == KD_OK && n != size) {
        return KD_ERR_TOKEN;
    }
    result->out = (struct kd_bytes) { at, size };
    return r;
}

// Needs no token: the registered public point is enough.
enum kd_err kd_exec_verify(struct kd_session *s KD_UNUSED, const struct kd_hsm_request *q,
                           const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    uint8_t hash[DIGEST_MAX_BYTES];
    struct kd_bytes digest;
    for (size_t i = 0; i < q->n_keys && !result->ok; i++) {
        const struct kd_key_ref *key = &q->keys[i];
        enum kd_err r;
        if (!kd_key_type_is_ec(key->type)) {
            return KD_ERR_KEY_TYPE;
        }
        if ((r = digest_of(q, key->type, item->data, hash, &digest)) != KD_OK ||
            (r = kd_host_ecdsa_verify(key->type, key->proof, digest, item->tag, &result->ok)) !=
                KD_OK) {
            return r;
        }
        result->which = (uint8_t)i;
    }
    return KD_OK;
}

// ---- mac -------------------------------------------------------------------

static size_t mac_size(enum kd_key_type type) {
    return type == KD_KEY_HMAC_SHA256 ? 32 : type == KD_KEY_HMAC_SHA384 ? 48 : 0;
}

static enum kd_err compute_mac(struct kd_session *s, const struct kd_hsm_request *q, size_t i,
                               struct kd_bytes data, uint8_t out[static HMAC_MAX_BYTES],
                               size_t *size) {
    struct subject key;
    enum kd_err r = open_subject(s, q, i, &key);
    if (r != KD_OK) {
        return r;
    }
    CK_ULONG n = HMAC_MAX_BYTES;
    *size = mac_size(key.type);
    r = *size == 0 ? KD_ERR_KEY_TYPE
                   : token_sign(s, *size == 32 ? CKM_SHA256_HMAC : CKM_SHA384_HMAC, key.handle,
                                data, out, &n);
    close_subject(s, q, i, &key, r);
    return r == KD_OK && n != *size ? KD_ERR_TOKEN : r;
}

enum kd_err kd_exec_mac(struct kd_session *s, const struct kd_hsm_request *q,
                        const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    uint8_t mac[HMAC_MAX_BYTES];
    size_t n = 0;
    enum kd_err r = compute_mac(s, q, 0, item->data, mac, &n);
    if (r != KD_OK) {
        return r;
    }
    const size_t start = s->out.n;
    kd_buf_put(&s->out, mac, n);
    result->out = (struct kd_bytes) { s->out.p + start, n };
    return kd_buf_finish(&s->out);
}

// The token compares: for a key that may verify and not sign.
static enum kd_err token_verify(struct kd_session *s, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE key,
                                const struct kd_hsm_item *item, bool *ok) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM mechanism = { type, NULL, 0 };
    const struct kd_bytes data = item->data.n == 0 ? kd_bytes_of_text("") : item->data;
    enum kd_err r = kd_ckr("C_VerifyInit", p11->C_VerifyInit(s->handle, &mechanism, key));
    if (r != KD_OK) {
        return r;
    }
    const CK_RV rv = p11->C_Verify(s->handle, kd_p11_bytes(data.p), data.n,
                                   kd_p11_bytes(item->tag.p), item->tag.n);
    *ok = rv == CKR_OK;
    return rv == CKR_SIGNATURE_INVALID ? KD_OK : kd_ckr("C_Verify", rv);
}

static enum kd_err check_mac(struct kd_session *s, const struct kd_hsm_request *q, size_t i,
                             const struct kd_hsm_item *item, bool *ok) {
    struct subject key;
    enum kd_err r = open_subject(s, q, i, &key);
    if (r != KD_OK) {
        return r;
    }
    const size_t size = mac_size(key.type);
    if (size == 0) {
        r = KD_ERR_KEY_TYPE;
    } else if (item->tag.n == size) {
        r = token_verify(s, size == 32 ? CKM_SHA256_HMAC : CKM_SHA384_HMAC, key.handle, item, ok);
    }
    close_subject(s, q, i, &key, r);
    return r;
}

enum kd_err kd_exec_mac_verify(struct kd_session *s, const struct kd_hsm_request *q,
                               const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    uint8_t mac[HMAC_MAX_BYTES];
    for (size_t i = 0; i < subjects(q) && !result->ok; i++) {
        size_t n = 0;
        kd_ckr_quiet(true); // a key that may not sign is no news
        enum kd_err r = compute_mac(s, q, i, item->data, mac, &n);
        kd_ckr_quiet(false);
        if (r == KD_ERR_KEY_USAGE || r == KD_ERR_KEY_TYPE) { // the latter is NSS's word for it
            r = check_mac(s, q, i, item, &result->ok);
            result->which = (uint8_t)i;
            if (r == KD_OK) {
                continue;
            }
        }
        if (r != KD_OK) {
            return r;
        }
        result->ok = kd_ct_equal((struct kd_bytes) { mac, n }, item->tag);
        result->which = (uint8_t)i;
    }
    kd_wipe(mac, sizeof(mac)); // a forger's right answer
    return KD_OK;
}

// ---- encrypt, decrypt: AES-256-GCM -----------------------------------------

// The initialisation vector is random (SP 800-38D 8.2.2), never the caller's.
enum kd_err kd_exec_encrypt(struct kd_session *s, const struct kd_hsm_request *q,
                            const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct subject key;
    enum kd_err r = open_subject(s, q, 0, &key);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_bytes data = item->data.n == 0 ? kd_bytes_of_text("") : item->data;
    const size_t n = data.n + KD_HSM_GCM_TAG_BYTES;
    uint8_t *at = kd_buf_extend(&s->out, KD_HSM_GCM_IV_BYTES + n);
    if (at == NULL) {
        r = KD_ERR_NO_MEMORY;
    } else if (key.type != KD_KEY_AES_256) {
        r = KD_ERR_KEY_TYPE;
    } else {
        r = kd_gcm_seal_anew(s, key.handle, at, item->aad, data, at + KD_HSM_GCM_IV_BYTES);
    }
    close_subject(s, q, 0, &key, r);
    result->iv = (struct kd_bytes) { at, KD_HSM_GCM_IV_BYTES };
    result->out = (struct kd_bytes) { at + KD_HSM_GCM_IV_BYTES, n };
    return r;
}

enum kd_err kd_exec_decrypt(struct kd_session *s, const struct kd_hsm_request *q,
                            const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    if (item->iv.n != KD_HSM_GCM_IV_BYTES || item->data.n < KD_HSM_GCM_TAG_BYTES) {
        return KD_ERR_NOT_AUTHENTIC;
    }
    enum kd_err r = KD_ERR_NOT_AUTHENTIC;
    for (size_t i = 0; i < subjects(q) && r == KD_ERR_NOT_AUTHENTIC; i++) {
        struct subject key;
        if ((r = open_subject(s, q, i, &key)) != KD_OK) {
            return r;
        }
        kd_buf_reset(&s->out);
        uint8_t *at = kd_buf_extend(&s->out, item->data.n);
        r = at == NULL ? KD_ERR_NO_MEMORY
            : key.type != KD_KEY_AES_256
                ? KD_ERR_KEY_TYPE
                : kd_gcm_open(s, key.handle, item->iv.p, item->aad, item->data, at);
        close_subject(s, q, i, &key, r);
        result->which = (uint8_t)i;
        result->out = (struct kd_bytes) { at, item->data.n - KD_HSM_GCM_TAG_BYTES };
    }
    return r;
}

// Seals at `at` what the buffer has at `text`.
static enum kd_err seal_again(struct kd_session *s, const struct kd_hsm_item *item,
                              struct kd_bytes text, uint8_t *at) {
    CK_OBJECT_HANDLE key;
    if (item->key.type != KD_KEY_AES_256) {
        return KD_ERR_KEY_TYPE;
    }
    enum kd_err r = kd_object_get(s, &item->key, &key);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_bytes some = text.n == 0 ? kd_bytes_of_text("") : text;
    r = kd_gcm_seal_anew(s, key, at, item->aad, some, at + KD_HSM_GCM_IV_BYTES);
    if (r == KD_ERR_NO_OBJECT) {
        kd_object_forget(s, &item->key);
    }
    return r;
}

// The text is in the session's own buffer between the two, and is no part of the result; exec.c
// wipes the buffer, also where one of them fails.
enum kd_err kd_exec_rewrap(struct kd_session *s, const struct kd_hsm_request *q,
                           const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_hsm_result opened = { .err = KD_OK };
    enum kd_err r = kd_exec_decrypt(s, q, item, &opened);
    if (r != KD_OK) {
        return r;
    }
    const size_t start = s->out.n; // the text is at the beginning
    const size_t n = opened.out.n + KD_HSM_GCM_TAG_BYTES;
    uint8_t *at = kd_buf_extend(&s->out, KD_HSM_GCM_IV_BYTES + n);
    if (at == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    r = seal_again(s, item, (struct kd_bytes) { s->out.p, opened.out.n }, at);
    kd_wipe(s->out.p, start);
    result->which = opened.which;
    result->iv = (struct kd_bytes) { at, KD_HSM_GCM_IV_BYTES };
    result->out = (struct kd_bytes) { at + KD_HSM_GCM_IV_BYTES, n };
    return r;
}

// ---- derive, release, random -----------------------------------------------

enum kd_err kd_exec_derive(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                           const struct kd_hsm_item *item, struct kd_hsm_result *result KD_UNUSED) {
    struct kd_cached *cached = NULL;
    CK_OBJECT_HANDLE handle;
    enum kd_err r = kd_cached_get(s, &item->recipe, &cached, &handle);
    if (r == KD_OK) {
        kd_cached_release(s, cached, false);
    }
    return r;
}

enum kd_err kd_exec_release(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                            const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    const size_t start = s->out.n;
    enum kd_err r = kd_derive_release(s, &item->recipe);
    result->out = (struct kd_bytes) { s->out.p + start, s->out.n - start };
    return r;
}

enum kd_err kd_exec_random(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                           const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    if (item->n == 0 || item->n > KD_HSM_RANDOM_MAX_BYTES) {
        return KD_ERR_FIELD_INVALID;
    }
    const size_t n = item->n < RANDOM_LEAST_BYTES ? RANDOM_LEAST_BYTES : item->n;
    uint8_t *at = kd_buf_extend(&s->out, n);
    if (at == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    result->out = (struct kd_bytes) { at, item->n };
    return kd_ckr("C_GenerateRandom", s->token->p11->C_GenerateRandom(s->handle, at, n));
}
