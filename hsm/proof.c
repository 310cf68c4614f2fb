// SPDX-License-Identifier: Apache-2.0
// proof.c: holds an object against what is known of the key, so that a stale
// handle or a swapped object is found out before it is used.
#include "channel/channel.h"
#include "hsm/session.h"

#include <assert.h>
#include <string.h>

enum { AES_BLOCK_BYTES = 16 };
static_assert(sizeof(KD_CHECK_TEXT) > AES_BLOCK_BYTES, "one block of it is encrypted");

// A signature that verifies under the registered public key.
static enum kd_err check_signer(struct kd_session *s, const struct kd_key_ref *ref,
                                CK_OBJECT_HANDLE handle) {
    static const char text[] = "keyd: proof that this object holds the private key";
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM ecdsa = { CKM_ECDSA, NULL, 0 };
    uint8_t digest[48];
    uint8_t signature[KD_HSM_POINT_MAX_BYTES];
    CK_ULONG n = sizeof(signature);
    size_t digest_len = 0;
    bool is_valid = false;
    const enum kd_hash hash = ref->type == KD_KEY_EC_P256 ? KD_HASH_SHA256 : KD_HASH_SHA384;
    enum kd_err r;
    if ((r = kd_host_digest(hash, kd_bytes_of_text(text), digest, &digest_len)) != KD_OK ||
        (r = kd_ckr("C_SignInit", p11->C_SignInit(s->handle, &ecdsa, handle))) != KD_OK ||
        (r = kd_ckr("C_Sign", p11->C_Sign(s->handle, digest, digest_len, signature, &n))) !=
            KD_OK ||
        (r = kd_host_ecdsa_verify(ref->type, ref->proof, (struct kd_bytes) { digest, digest_len },
                                  (struct kd_bytes) { signature, n }, &is_valid)) != KD_OK) {
        return r;
    }
    return is_valid ? KD_OK : KD_ERR_OBJECT_CHANGED;
}

static bool is_sha256(enum kd_key_type type) {
    return type == KD_KEY_HMAC_SHA256 || type == KD_KEY_EC_P256;
}

// HMAC with the hash of the type, also where the key is what an EC key of that size agreed on.
static enum kd_err mac_of_text(struct kd_session *s, enum kd_key_type type, CK_OBJECT_HANDLE handle,
                               uint8_t out[static KD_MD_MAX_BYTES], size_t *n_out) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM hmac = { is_sha256(type) ? CKM_SHA256_HMAC : CKM_SHA384_HMAC, NULL, 0 };
    CK_ULONG n = KD_MD_MAX_BYTES;
    enum kd_err r = kd_ckr("C_SignInit", p11->C_SignInit(s->handle, &hmac, handle));
    if (r == KD_OK) {
        r = kd_ckr("C_Sign", p11->C_Sign(s->handle, kd_p11_bytes(KD_CHECK_TEXT),
                                         strlen(KD_CHECK_TEXT), out, &n));
    }
    *n_out = n;
    return r;
}

enum kd_err kd_proof_by_mac(struct kd_session *s, enum kd_key_type type, CK_OBJECT_HANDLE handle,
                            struct kd_bytes value) {
    const enum kd_md md = is_sha256(type) ? KD_MD_SHA256 : KD_MD_SHA384;
    const struct kd_bytes text = kd_bytes_of_text(KD_CHECK_TEXT);
    uint8_t got[KD_MD_MAX_BYTES];
    uint8_t want[KD_MD_MAX_BYTES];
    size_t n;
    enum kd_err r;
    if ((r = mac_of_text(s, type, handle, got, &n)) != KD_OK ||
        (r = kd_host_hmac(md, value, &text, 1, want)) != KD_OK) {
        return r;
    }
    return kd_ct_equal((struct kd_bytes) { got, n }, (struct kd_bytes) { want, kd_md_bytes(md) })
               ? KD_OK
               : KD_ERR_OBJECT_CHANGED;
}

// ---- derive keys -------------------------------------------------------------
//
// ECDH with the generator gives the x coordinate of the object's own public key: nothing secret,
// so it may be read; or, where the token makes nothing readable, be the key of a MAC that OpenSSL
// makes, too.

static enum kd_err derive_x(struct kd_session *s, enum kd_key_type type, CK_OBJECT_HANDLE handle,
                            const struct kd_secret_form *form, CK_OBJECT_HANDLE *out) {
    return kd_derive_ecdh(s, handle, type, kd_host_generator(type), form, out);
}

static enum kd_err compare_by_reading(struct kd_session *s, enum kd_key_type type,
                                      struct kd_bytes x, CK_OBJECT_HANDLE handle) {
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, x.n, 0, true };
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    enum kd_err r = derive_x(s, type, handle, &form, &made);
    if (r != KD_OK) {
        return r;
    }
    const size_t start = s->out.n;
    r = kd_read_value(s, made);
    kd_destroy(s, made);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_bytes got = { s->out.p + start, s->out.n - start };
    const bool is_same = kd_ct_equal(got, x);
    s->out.n = start;
    return is_same ? KD_OK : KD_ERR_OBJECT_CHANGED;
}

static enum kd_err compare_by_mac(struct kd_session *s, enum kd_key_type type, struct kd_bytes x,
                                  CK_OBJECT_HANDLE handle, bool *is_derived) {
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, x.n, KD_USE_SIGN, false };
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    enum kd_err r = derive_x(s, type, handle, &form, &made);
    *is_derived = r == KD_OK;
    if (r == KD_OK) {
        r = kd_proof_by_mac(s, type, made, x);
    }
    kd_destroy(s, made);
    // No HMAC with what is derived.
    return r == KD_ERR_KEY_TYPE || r == KD_ERR_KEY_USAGE ? KD_ERR_LACKING : r;
}

enum kd_err kd_proof_of_deriver(struct kd_session *s, enum kd_key_type type, struct kd_bytes point,
                                CK_OBJECT_HANDLE handle, bool *is_derived) {
    const struct kd_bytes x = { point.p + 1, (point.n - 1) / 2 };
    *is_derived = false;
    const enum kd_err r = compare_by_reading(s, type, x, handle);
    // Refused: LACKING of what is sensitive, or of the mechanism; of a template it is TOKEN.
    return r == KD_ERR_LACKING || r == KD_ERR_TOKEN || r == KD_ERR_DEVICE
               ? compare_by_mac(s, type, x, handle, is_derived)
               : r;
}

static enum kd_err check_deriver(struct kd_session *s, const struct kd_key_ref *ref,
                                 CK_OBJECT_HANDLE handle) {
    bool is_derived;
    const enum kd_err r = kd_proof_of_deriver(s, ref->type, ref->proof, handle, &is_derived);
    if (r == KD_ERR_LACKING && is_derived) {
        // A token that keeps even this to itself: the object was found by id, label and class, and
        // that must do.  Any other error proves nothing.
        kd_log(KD_LOG_INFO, "token", "the token does not let a derive key be proved", "");
        return KD_OK;
    }
    return r;
}

// ---- secret keys -------------------------------------------------------------

static enum kd_err get_bool(struct kd_session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type,
                            bool *out) {
    CK_BBOOL v = CK_FALSE;
    CK_ATTRIBUTE a = KD_ATTRIBUTE(type, v);
    const CK_RV rv = s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1);
    *out = rv == CKR_OK && v == CK_TRUE;
    return rv == CKR_ATTRIBUTE_TYPE_INVALID ? KD_OK : kd_ckr("C_GetAttributeValue", rv);
}

// Not the usual block of zeros: encrypted, that is the secret with which GCM
// authenticates (SP 800-38D 7.1), and this is written down.  Nor is this text a
// counter block of GCM, whose last four bytes count from 1.
static enum kd_err encrypted_text(struct kd_session *s, CK_OBJECT_HANDLE handle, uint8_t *out) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM ecb = { CKM_AES_ECB, NULL, 0 };
    const struct kd_bytes text = { (const uint8_t *)KD_CHECK_TEXT, AES_BLOCK_BYTES };
    uint8_t block[32];
    CK_ULONG n = sizeof(block);
    enum kd_err r = kd_ckr("C_EncryptInit", p11->C_EncryptInit(s->handle, &ecb, handle));
    if (r == KD_OK) {
        r = kd_ckr("C_Encrypt", p11->C_Encrypt(s->handle, kd_p11_bytes(text.p), text.n, block, &n));
    }
    if (r == KD_OK) {
        memcpy(out, block, KD_HSM_CHECK_BYTES);
    }
    return r;
}

enum kd_err kd_proof_of_secret(struct kd_session *s, enum kd_key_type type, unsigned usages,
                               CK_OBJECT_HANDLE handle, uint8_t out[static KD_HSM_CHECK_BYTES],
                               size_t *n) {
    enum kd_err r = KD_ERR_LACKING;
    if (type == KD_KEY_AES_256 && (usages & KD_USE_ENCRYPT) != 0) {
        r = encrypted_text(s, handle, out);
    } else if (type != KD_KEY_AES_256 && (usages & KD_USE_SIGN) != 0) {
        uint8_t mac[KD_MD_MAX_BYTES];
        size_t n_mac;
        r = mac_of_text(s, type, handle, mac, &n_mac);
        memcpy(out, mac, r == KD_OK ? KD_HSM_CHECK_BYTES : 0);
    }
    *n = r == KD_OK ? KD_HSM_CHECK_BYTES : 0;
    return r == KD_ERR_LACKING ? KD_OK : r; // no check value, no complaint
}

static enum kd_err check_secret(struct kd_session *s, const struct kd_key_ref *ref,
                                CK_OBJECT_HANDLE handle) {
    bool can_sign = false;
    bool can_encrypt = false;
    uint8_t value[KD_HSM_CHECK_BYTES];
    size_t n = 0;
    enum kd_err r;
    if ((r = get_bool(s, handle, CKA_SIGN, &can_sign)) != KD_OK ||
        (r = get_bool(s, handle, CKA_ENCRYPT, &can_encrypt)) != KD_OK) {
        return r;
    }
    const unsigned usages = (can_sign ? KD_USE_SIGN : 0) | (can_encrypt ? KD_USE_ENCRYPT : 0);
    r = kd_proof_of_secret(s, ref->type, usages, handle, value, &n);
    if (r != KD_OK) {
        return r;
    }
    if (n == 0 && usages != 0) {
        return KD_ERR_LACKING; // the token does not say: no word against the object
    }
    return kd_ct_equal((struct kd_bytes) { value, n }, ref->proof) ? KD_OK : KD_ERR_OBJECT_CHANGED;
}

enum kd_err kd_proof_check(struct kd_session *s, const struct kd_key_ref *ref,
                           CK_OBJECT_HANDLE handle) {
    if (!kd_key_type_is_ec(ref->type)) {
        return ref->proof.n == 0 ? KD_OK : check_secret(s, ref, handle);
    }
    enum kd_err r = kd_host_point_check(ref->type, ref->proof);
    if (r != KD_OK) {
        return r;
    }
    bool can_sign = false;
    if ((r = get_bool(s, handle, CKA_SIGN, &can_sign)) != KD_OK) {
        return r;
    }
    return can_sign ? check_signer(s, ref, handle) : check_deriver(s, ref, handle);
}
