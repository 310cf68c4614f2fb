// SPDX-License-Identifier: Apache-2.0
// fake_crypto.c: what the fake's mechanisms do, by OpenSSL.
#include "fake_state.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

enum { TAG_BYTES = 16 };

// ---- making keys -----------------------------------------------------------

static CK_RV generate_key(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_ATTRIBUTE *list, CK_ULONG n,
                          CK_OBJECT_HANDLE *out) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_GenerateKey", h, &s);
    struct fake_object *o = rv == CKR_OK ? fake_object_new(s, list, n) : NULL;
    if (rv == CKR_OK && o == NULL) {
        rv = CKR_DEVICE_MEMORY;
    }
    if (rv == CKR_OK) {
        uint8_t value[64];
        const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
        const CK_KEY_TYPE type = m->mechanism == CKM_AES_KEY_GEN ? CKK_AES : CKK_GENERIC_SECRET;
        const CK_ULONG len = fake_number(o, CKA_VALUE_LEN);
        const CK_BBOOL yes = CK_TRUE;
        RAND_bytes(value, (int)len);
        fake_set(o, CKA_CLASS, &class, sizeof(class));
        fake_set(o, CKA_KEY_TYPE, &type, sizeof(type));
        fake_set(o, CKA_LOCAL, &yes, sizeof(yes));
        fake_set(o, CKA_VALUE, value, len);
        *out = o->handle;
    }
    return fake_leave_made(rv, out);
}

static struct fake_object *new_half(struct fake_session *s, const CK_ATTRIBUTE *list, CK_ULONG n,
                                    CK_OBJECT_CLASS class, EVP_PKEY *pair) {
    struct fake_object *o = fake_object_new(s, list, n);
    const CK_KEY_TYPE type = CKK_EC;
    const CK_BBOOL yes = CK_TRUE;
    uint8_t point[2 + 97];
    size_t len = 0;
    EVP_PKEY_get_octet_string_param(pair, OSSL_PKEY_PARAM_PUB_KEY, point + 2, 97, &len);
    point[0] = 0x04;
    point[1] = (uint8_t)len;
    fake_set(o, CKA_CLASS, &class, sizeof(class));
    fake_set(o, CKA_KEY_TYPE, &type, sizeof(type));
    fake_set(o, CKA_LOCAL, &yes, sizeof(yes));
    if (class == CKO_PUBLIC_KEY) {
        fake_set(o, CKA_EC_POINT, point, len + 2);
    }
    EVP_PKEY_up_ref(pair);
    o->pair = pair;
    return o;
}

static CK_RV generate_pair(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_ATTRIBUTE *public,
                           CK_ULONG n_public, CK_ATTRIBUTE *private, CK_ULONG n_private,
                           CK_OBJECT_HANDLE *out_public, CK_OBJECT_HANDLE *out_private) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_GenerateKeyPair", h, &s);
    (void)m;
    if (rv == CKR_OK && !fake_has_room(2)) {
        rv = CKR_DEVICE_MEMORY;
    }
    if (rv == CKR_OK) {
        struct kd_bytes oid = KD_BYTES_NONE;
        for (CK_ULONG i = 0; i < n_public; i++) {
            if (public[i].type == CKA_EC_PARAMS) {
                oid = (struct kd_bytes) { public[i].pValue, public[i].ulValueLen };
            }
        }
        EVP_PKEY *pair = EVP_EC_gen(oid.n == 10 ? "P-256" : "P-384");
        struct fake_object *a = new_half(s, public, n_public, CKO_PUBLIC_KEY, pair);
        struct fake_object *b = new_half(s, private, n_private, CKO_PRIVATE_KEY, pair);
        fake_set(b, CKA_EC_PARAMS, oid.p, oid.n);
        EVP_PKEY_free(pair);
        const bool is_kept = fake_does(FAKE_KEEPS_PAIRS);
        *out_public = is_kept ? fake_keep(a) : a->handle;
        *out_private = is_kept ? fake_keep(b) : b->handle;
    }
    if (rv != CKR_OK) {
        *out_public = fake_left_behind();
    }
    return fake_leave_made(rv, out_private);
}

// ---- beginning an operation --------------------------------------------------

static CK_RV begin(struct fake_session *s, enum fake_op op, CK_MECHANISM *m, CK_OBJECT_HANDLE key,
                   CK_ATTRIBUTE_TYPE usage) {
    const struct fake_object *o = fake_object_at(key);
    if (fake_does(FAKE_LOGS_IN_SESSIONS) && !s->is_logged_in) {
        return CKR_USER_NOT_LOGGED_IN;
    }
    if (s->op != FAKE_NONE) {
        return CKR_OPERATION_ACTIVE;
    }
    if (o == NULL) {
        return CKR_KEY_HANDLE_INVALID;
    }
    if (!fake_is(o, usage)) {
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    }
    s->op = op;
    s->mechanism = m->mechanism;
    s->key = key;
    if (m->mechanism == CKM_AES_GCM) {
        memcpy(&s->gcm, m->pParameter, sizeof(s->gcm));
    }
    return CKR_OK;
}

static CK_RV sign_init(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE key) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_SignInit", h, &s);
    return fake_leave(rv == CKR_OK ? begin(s, FAKE_SIGN, m, key, CKA_SIGN) : rv);
}

static bool is_zero(const CK_GCM_PARAMS *p) {
    static const uint8_t zeros[16] = { 0 };
    return memcmp(p->iv_ptr, zeros, p->iv_len) == 0;
}

static CK_RV encrypt_init(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE key) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_EncryptInit", h, &s);
    if (rv == CKR_OK && m->mechanism == CKM_AES_GCM && fake_does(FAKE_WANTS_ZERO_IV) &&
        !is_zero(m->pParameter)) {
        rv = CKR_ARGUMENTS_BAD;
    }
    return fake_leave(rv == CKR_OK ? begin(s, FAKE_ENCRYPT, m, key, CKA_ENCRYPT) : rv);
}

static CK_RV decrypt_init(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE key) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_DecryptInit", h, &s);
    return fake_leave(rv == CKR_OK ? begin(s, FAKE_DECRYPT, m, key, CKA_DECRYPT) : rv);
}

// The session's object under work, if it is in this operation.
static CK_RV in_operation(struct fake_session *s, enum fake_op op, struct fake_object **key) {
    if (s->op != op) {
        return CKR_OPERATION_NOT_INITIALIZED;
    }
    *key = fake_object_at(s->key);
    return *key == NULL ? CKR_KEY_HANDLE_INVALID : CKR_OK;
}

// ---- sign ------------------------------------------------------------------

static CK_RV ecdsa(const struct fake_object *key, const uint8_t *data, size_t n, uint8_t *out,
                   CK_ULONG *out_len) {
    const int half = EVP_PKEY_get_bits(key->pair) / 8;
    uint8_t der[160];
    size_t der_len = sizeof(der);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->pair, NULL);
    EVP_PKEY_sign_init(ctx);
    const int ok = EVP_PKEY_sign(ctx, der, &der_len, data, n);
    EVP_PKEY_CTX_free(ctx);
    const uint8_t *p = der;
    ECDSA_SIG *sig = ok == 1 ? d2i_ECDSA_SIG(NULL, &p, (long)der_len) : NULL;
    if (sig == NULL) {
        return CKR_GENERAL_ERROR;
    }
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, half);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + half, half);
    ECDSA_SIG_free(sig);
    *out_len = 2 * (CK_ULONG)half;
    return CKR_OK;
}

static CK_RV sign(CK_SESSION_HANDLE h, CK_BYTE *data, CK_ULONG n, CK_BYTE *out, CK_ULONG *out_len) {
    struct fake_session *s;
    struct fake_object *key;
    CK_RV rv = fake_enter("C_Sign", h, &s);
    if (rv != CKR_OK || (rv = in_operation(s, FAKE_SIGN, &key)) != CKR_OK) {
        return fake_leave(rv);
    }
    const size_t size = s->mechanism == CKM_ECDSA         ? (size_t)EVP_PKEY_get_bits(key->pair) / 4
                        : s->mechanism == CKM_SHA256_HMAC ? 32
                                                          : 48;
    if (*out_len < size) {
        *out_len = size;
        return fake_leave(CKR_BUFFER_TOO_SMALL); // and the operation stays
    }
    if (s->mechanism == CKM_ECDSA) {
        rv = ecdsa(key, data, n, out, out_len);
    } else {
        const struct kd_bytes value = fake_get(key, CKA_VALUE);
        HMAC(size == 32 ? EVP_sha256() : EVP_sha384(), value.p, (int)value.n, data, n, out, NULL);
        *out_len = size;
    }
    fake_end_operation(s);
    return fake_leave(rv);
}

// ---- encrypt, decrypt ------------------------------------------------------

static bool gcm(const struct fake_session *s, struct kd_bytes key, bool is_encrypt,
                const uint8_t *in, size_t n, uint8_t *out, uint8_t *tag) {
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int got = 0;
    uint8_t rest[16];
    bool ok =
        EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key.p, s->gcm.iv_ptr, is_encrypt) == 1 &&
        EVP_CipherUpdate(ctx, NULL, &got, s->gcm.aad_ptr, (int)s->gcm.aad_len) == 1 &&
        EVP_CipherUpdate(ctx, out, &got, in, (int)n) == 1;
    if (!is_encrypt) {
        ok = ok && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1;
    }
    ok = ok && EVP_CipherFinal_ex(ctx, rest, &got) == 1;
    if (is_encrypt) {
        ok = ok && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) == 1;
    }
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static CK_RV encrypt(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG n, CK_BYTE *out,
                     CK_ULONG *out_len) {
    struct fake_session *s;
    struct fake_object *key;
    CK_RV rv = fake_enter("C_Encrypt", h, &s);
    if (rv != CKR_OK || (rv = in_operation(s, FAKE_ENCRYPT, &key)) != CKR_OK) {
        return fake_leave(rv);
    }
    const struct kd_bytes value = fake_get(key, CKA_VALUE);
    bool ok;
    if (s->mechanism == CKM_AES_GCM) {
        if (fake_does(FAKE_WRITES_IV)) {
            RAND_bytes(s->gcm.iv_ptr, (int)s->gcm.iv_len);
        }
        ok = gcm(s, value, true, in, n, out, out + n);
        *out_len = n + TAG_BYTES;
    } else { // one block of CKM_AES_ECB
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        int got = 0;
        ok = EVP_EncryptInit_ex(ctx, EVP_aes_256_ecb(), NULL, value.p, NULL) == 1 &&
             EVP_EncryptUpdate(ctx, out, &got, in, (int)n) == 1;
        EVP_CIPHER_CTX_free(ctx);
        *out_len = n;
    }
    fake_end_operation(s);
    return fake_leave(ok ? CKR_OK : CKR_FUNCTION_FAILED);
}

static CK_RV decrypt(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG n, CK_BYTE *out,
                     CK_ULONG *out_len) {
    struct fake_session *s;
    struct fake_object *key;
    CK_RV rv = fake_enter("C_Decrypt", h, &s);
    if (rv != CKR_OK || (rv = in_operation(s, FAKE_DECRYPT, &key)) != CKR_OK) {
        return fake_leave(rv);
    }
    *out_len = n - TAG_BYTES;
    const bool ok =
        gcm(s, fake_get(key, CKA_VALUE), false, in, n - TAG_BYTES, out, in + n - TAG_BYTES);
    fake_end_operation(s);
    return fake_leave(ok || fake_does(FAKE_TAKES_FORGERIES) ? CKR_OK : CKR_ENCRYPTED_DATA_INVALID);
}

// ---- digest ----------------------------------------------------------------

static CK_RV digest_init(CK_SESSION_HANDLE h, CK_MECHANISM *m) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_DigestInit", h, &s);
    if (rv == CKR_OK && s->op != FAKE_NONE) {
        rv = CKR_OPERATION_ACTIVE;
    }
    if (rv == CKR_OK) {
        s->op = FAKE_DIGEST;
        s->digest = EVP_MD_CTX_new();
        EVP_DigestInit_ex(s->digest, m->mechanism == CKM_SHA256 ? EVP_sha256() : EVP_sha384(),
                          NULL);
    }
    return fake_leave(rv);
}

static CK_RV digest_update(CK_SESSION_HANDLE h, CK_BYTE *data, CK_ULONG n) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_DigestUpdate", h, &s);
    if (rv == CKR_OK && s->op != FAKE_DIGEST) {
        rv = CKR_OPERATION_NOT_INITIALIZED;
    }
    if (rv == CKR_OK) {
        EVP_DigestUpdate(s->digest, data, n);
    }
    return fake_leave(rv);
}

static CK_RV digest_key(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE key) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_DigestKey", h, &s);
    const struct fake_object *o = rv == CKR_OK ? fake_object_at(key) : NULL;
    if (rv == CKR_OK && s->op != FAKE_DIGEST) {
        rv = CKR_OPERATION_NOT_INITIALIZED;
    } else if (rv == CKR_OK && o == NULL) {
        rv = CKR_KEY_HANDLE_INVALID;
        fake_end_operation(s);
    }
    if (rv == CKR_OK) {
        const struct kd_bytes value = fake_get(o, CKA_VALUE);
        EVP_DigestUpdate(s->digest, value.p, value.n);
    }
    return fake_leave(rv);
}

static CK_RV digest_final(CK_SESSION_HANDLE h, CK_BYTE *out, CK_ULONG *n) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_DigestFinal", h, &s);
    if (rv == CKR_OK && s->op != FAKE_DIGEST) {
        rv = CKR_OPERATION_NOT_INITIALIZED;
    }
    if (rv == CKR_OK) {
        unsigned got = 0;
        EVP_DigestFinal_ex(s->digest, out, &got);
        *n = got;
        fake_end_operation(s);
    }
    return fake_leave(rv);
}

// ---- derive ----------------------------------------------------------------

static EVP_PKEY *peer_of(EVP_PKEY *own, const CK_ECDH1_DERIVE_PARAMS *p) {
    EVP_PKEY *peer = EVP_PKEY_new();
    if (EVP_PKEY_copy_parameters(peer, own) != 1 ||
        EVP_PKEY_set1_encoded_public_key(peer, p->public_data, p->public_data_len) != 1) {
        EVP_PKEY_free(peer);
        return NULL;
    }
    return peer;
}

static bool ecdh(const struct fake_object *base, const void *params, uint8_t *out, size_t *n) {
    EVP_PKEY *peer = peer_of(base->pair, params);
    EVP_PKEY_CTX *ctx = peer == NULL ? NULL : EVP_PKEY_CTX_new(base->pair, NULL);
    const bool ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
                    EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, out, n) == 1;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return ok;
}

static bool cbc_data(const struct fake_object *base, const CK_AES_CBC_ENCRYPT_DATA_PARAMS *p,
                     uint8_t *out, size_t *n) {
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int got = 0;
    const bool ok =
        EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, fake_get(base, CKA_VALUE).p, p->iv) == 1 &&
        EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
        EVP_EncryptUpdate(ctx, out, &got, p->data_params, (int)p->length) == 1;
    EVP_CIPHER_CTX_free(ctx);
    *n = (size_t)got;
    return ok;
}

// As strict as kryoptic: no salt is a NULL pointer.
static CK_RV hkdf(const struct fake_object *base, const struct kd_hkdf_params *p, uint8_t *out,
                  size_t n) {
    const struct kd_bytes value = fake_get(base, CKA_VALUE);
    if (!fake_does(FAKE_HAS_HKDF)) {
        return CKR_MECHANISM_INVALID;
    }
    if ((p->salt_type == KD_CKF_HKDF_SALT_NULL) != (p->salt == NULL)) {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "HKDF", NULL);
    const bool ok =
        EVP_PKEY_derive_init(ctx) == 1 &&
        EVP_PKEY_CTX_set_hkdf_md(ctx, p->prf_hash == CKM_SHA256 ? EVP_sha256() : EVP_sha384()) ==
            1 &&
        EVP_PKEY_CTX_set1_hkdf_key(ctx, value.p, (int)value.n) == 1 &&
        (p->salt == NULL || EVP_PKEY_CTX_set1_hkdf_salt(ctx, p->salt, (int)p->salt_len) == 1) &&
        EVP_PKEY_CTX_add1_hkdf_info(ctx, p->info, (int)p->info_len) == 1 &&
        EVP_PKEY_derive(ctx, out, &n) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok ? CKR_OK : CKR_GENERAL_ERROR;
}

static CK_RV derive_value(CK_MECHANISM *m, const struct fake_object *from, size_t n_hkdf,
                          uint8_t *value, size_t *n) {
    bool ok = false;
    if (m->mechanism == KD_CKM_HKDF_DERIVE && from->pair == NULL) {
        *n = n_hkdf;
        return hkdf(from, m->pParameter, value, n_hkdf);
    }
    if (m->mechanism == CKM_ECDH1_DERIVE && from->pair != NULL) {
        ok = ecdh(from, m->pParameter, value, n);
    } else if (m->mechanism == CKM_AES_CBC_ENCRYPT_DATA && from->pair == NULL) {
        ok = cbc_data(from, m->pParameter, value, n);
    }
    return ok ? CKR_OK : CKR_MECHANISM_INVALID;
}

static size_t value_length(const CK_ATTRIBUTE *list, CK_ULONG n) {
    for (CK_ULONG i = 0; i < n; i++) {
        if (list[i].type == CKA_VALUE_LEN) {
            return *(const CK_ULONG *)list[i].pValue;
        }
    }
    return 0;
}

static bool is_readable(const CK_ATTRIBUTE *list, CK_ULONG n) {
    for (CK_ULONG i = 0; i < n; i++) {
        if (list[i].type == CKA_SENSITIVE) {
            return *(const CK_BBOOL *)list[i].pValue == CK_FALSE;
        }
    }
    return true;
}

static CK_RV derive_key(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE base,
                        CK_ATTRIBUTE *list, CK_ULONG n, CK_OBJECT_HANDLE *out) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_DeriveKey", h, &s);
    const struct fake_object *from = rv == CKR_OK ? fake_object_at(base) : NULL;
    if (rv == CKR_OK && from == NULL) {
        rv = CKR_KEY_HANDLE_INVALID;
    } else if (rv == CKR_OK && !fake_is(from, CKA_DERIVE)) {
        rv = CKR_KEY_FUNCTION_NOT_PERMITTED;
    }
    if (rv != CKR_OK) {
        return fake_leave_made(rv, out);
    }
    uint8_t value[64];
    size_t len = sizeof(value);
    if (fake_does(FAKE_SHOWS_NOTHING) && is_readable(list, n)) {
        return fake_leave_made(CKR_TEMPLATE_INCONSISTENT, out);
    }
    if ((rv = derive_value(m, from, value_length(list, n), value, &len)) != CKR_OK) {
        return fake_leave_made(rv, out);
    }
    struct fake_object *o = fake_object_new(s, list, n);
    if (o == NULL) {
        return fake_leave_made(CKR_DEVICE_MEMORY, out);
    }
    const CK_ULONG wanted = fake_number(o, CKA_VALUE_LEN);
    if (wanted > len) {
        return fake_leave_made(CKR_TEMPLATE_INCONSISTENT, out);
    }
    fake_set(o, CKA_VALUE, value + len - wanted, wanted);
    *out = o->handle;
    return fake_leave(CKR_OK);
}

static CK_RV generate_random(CK_SESSION_HANDLE h, CK_BYTE *out, CK_ULONG n) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_GenerateRandom", h, &s);
    if (rv == CKR_OK) {
        rv = RAND_bytes(out, (int)n) == 1 ? CKR_OK : CKR_FUNCTION_FAILED;
    }
    return fake_leave(rv);
}

void fake_fill_crypto(CK_FUNCTION_LIST *list) {
    list->C_GenerateKey = generate_key;
    list->C_GenerateKeyPair = generate_pair;
    list->C_SignInit = sign_init;
    list->C_Sign = sign;
    list->C_EncryptInit = encrypt_init;
    list->C_Encrypt = encrypt;
    list->C_DecryptInit = decrypt_init;
    list->C_Decrypt = decrypt;
    list->C_DigestInit = digest_init;
    list->C_DigestUpdate = digest_update;
    list->C_DigestKey = digest_key;
    list->C_DigestFinal = digest_final;
    list->C_DeriveKey = derive_key;
    list->C_GenerateRandom = generate_random;
}
