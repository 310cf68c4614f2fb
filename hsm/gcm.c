// SPDX-License-Identifier: Apache-2.0
// gcm.c: see gcm.h.
#include "hsm/gcm.h"

#include "channel/channel.h"

#include <openssl/rand.h>
#include <string.h>

static CK_GCM_PARAMS gcm_params(const uint8_t *iv, struct kd_bytes aad) {
    return (CK_GCM_PARAMS) { .iv_ptr = kd_p11_bytes(iv),
                             .iv_len = KD_HSM_GCM_IV_BYTES,
                             .iv_bits = KD_HSM_GCM_IV_BYTES * 8,
                             .aad_ptr = kd_p11_bytes(aad.p),
                             .aad_len = aad.n,
                             .tag_bits = KD_HSM_GCM_TAG_BYTES * 8 };
}

static const uint8_t zeros[KD_HSM_GCM_IV_BYTES];

static bool is_iv(const uint8_t *a, const uint8_t *b) {
    return kd_bytes_equal((struct kd_bytes) { a, KD_HSM_GCM_IV_BYTES },
                          (struct kd_bytes) { b, KD_HSM_GCM_IV_BYTES });
}

static enum kd_err seal(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                        struct kd_bytes aad, struct kd_bytes text, uint8_t *out, CK_ULONG *n) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    const struct kd_bytes some = text.n == 0 ? kd_bytes_of_text("") : text;
    CK_GCM_PARAMS params = gcm_params(iv, aad);
    CK_MECHANISM gcm = { CKM_AES_GCM, &params, sizeof(params) };
    enum kd_err r = kd_ckr("C_EncryptInit", p11->C_EncryptInit(s->handle, &gcm, key));
    return r == KD_OK ? kd_ckr("C_Encrypt",
                               p11->C_Encrypt(s->handle, kd_p11_bytes(some.p), text.n, out, n))
                      : r;
}

static enum kd_err seal_exactly(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                                struct kd_bytes aad, struct kd_bytes text, uint8_t *out) {
    CK_ULONG n = text.n + KD_HSM_GCM_TAG_BYTES;
    enum kd_err r = seal(s, key, iv, aad, text, out, &n);
    return r == KD_OK && n != text.n + KD_HSM_GCM_TAG_BYTES ? KD_ERR_TOKEN : r;
}

// A token that encrypts under another nonce than it was given writes that to where it stood: the
// result would never be opened by who knows the nonce.
enum kd_err kd_gcm_seal(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                        struct kd_bytes aad, struct kd_bytes text, uint8_t *out) {
    uint8_t nonce[KD_HSM_GCM_IV_BYTES];
    if (s->token->gcm != KD_GCM_UNDER_GIVEN_IV) {
        return KD_ERR_LACKING;
    }
    memcpy(nonce, iv, sizeof(nonce));
    const enum kd_err r = seal_exactly(s, key, nonce, aad, text, out);
    return r == KD_OK && !is_iv(nonce, iv) ? KD_ERR_LACKING : r;
}

// Zeros are no IV of a token's: two texts under one would show each other.
enum kd_err kd_gcm_seal_anew(struct kd_session *s, CK_OBJECT_HANDLE key, uint8_t *iv,
                             struct kd_bytes aad, struct kd_bytes text, uint8_t *out) {
    const enum kd_gcm_way way = s->token->gcm;
    memset(iv, 0, KD_HSM_GCM_IV_BYTES);
    if (way == KD_GCM_NOT) {
        return KD_ERR_LACKING;
    }
    if (way == KD_GCM_UNDER_GIVEN_IV && RAND_bytes(iv, KD_HSM_GCM_IV_BYTES) != 1) {
        return KD_ERR_NO_MEMORY;
    }
    const enum kd_err r = seal_exactly(s, key, iv, aad, text, out);
    return r == KD_OK && is_iv(iv, zeros) ? KD_ERR_TOKEN : r;
}

// A forged tag has as many names as there are modules (SoftHSM: CKR_GENERAL_ERROR): it is the data
// that is sick, not the token, so these never heal a session or end a worker.  What this one says
// the probe has seen; where it could not, what says nothing in particular is taken for it.
static enum kd_err meaning_of(const struct kd_token *t, CK_RV rv) {
    switch (rv) {
    case CKR_OK:
        return KD_OK;
    case KD_CKR_AEAD_DECRYPT_FAILED:
    case CKR_ENCRYPTED_DATA_INVALID:
    case CKR_ENCRYPTED_DATA_LEN_RANGE:
    case CKR_DATA_INVALID:
    case CKR_SIGNATURE_INVALID:
        return KD_ERR_NOT_AUTHENTIC;
    case CKR_GENERAL_ERROR:
    case CKR_FUNCTION_FAILED:
        if (t->gcm_forged_rv == CKR_OK) {
            return KD_ERR_NOT_AUTHENTIC;
        }
        break;
    default:
        break;
    }
    return rv == t->gcm_forged_rv ? KD_ERR_NOT_AUTHENTIC : kd_ckr("C_Decrypt", rv);
}

// *rv: what C_Decrypt gave.
static enum kd_err open(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                        struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out, CK_ULONG *n,
                        CK_RV *rv) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_GCM_PARAMS params = gcm_params(iv, aad);
    CK_MECHANISM gcm = { CKM_AES_GCM, &params, sizeof(params) };
    enum kd_err r = kd_ckr("C_DecryptInit", p11->C_DecryptInit(s->handle, &gcm, key));
    if (r == KD_OK) {
        *n = sealed.n;
        *rv = p11->C_Decrypt(s->handle, kd_p11_bytes(sealed.p), sealed.n, out, n);
    }
    return r;
}

static enum kd_err open_exactly(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                                struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out) {
    CK_ULONG n;
    CK_RV rv;
    enum kd_err r = open(s, key, iv, aad, sealed, out, &n, &rv);
    if (r != KD_OK || (r = meaning_of(s->token, rv)) != KD_OK) {
        return r;
    }
    return n == sealed.n - KD_HSM_GCM_TAG_BYTES ? KD_OK : KD_ERR_TOKEN;
}

enum kd_err kd_gcm_open(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                        struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out) {
    return s->token->gcm == KD_GCM_NOT ? KD_ERR_LACKING
                                       : open_exactly(s, key, iv, aad, sealed, out);
}

// ---- the probe -------------------------------------------------------------

enum { PROBE_ROOM_BYTES = 96 };

// Seals and holds the result against OpenSSL's under the IV that stands there then.
static enum kd_err try_seal(struct kd_session *s, CK_OBJECT_HANDLE key,
                            const uint8_t value[static 32], struct kd_bytes text, uint8_t *iv,
                            uint8_t sealed[static PROBE_ROOM_BYTES], bool *is_right) {
    uint8_t want[PROBE_ROOM_BYTES];
    CK_ULONG n = PROBE_ROOM_BYTES;
    enum kd_err r;
    if ((r = seal(s, key, iv, text, text, sealed, &n)) != KD_OK ||
        (r = kd_host_seal(KD_AEAD_A256GCM, value, iv, text, text, want)) != KD_OK) {
        return r;
    }
    if (n != text.n + KD_HSM_GCM_TAG_BYTES) {
        return KD_ERR_LACKING; // Luna in FIPS mode adds its IV to the result
    }
    *is_right = kd_ct_equal((struct kd_bytes) { sealed, n }, (struct kd_bytes) { want, n });
    return KD_OK;
}

static enum kd_err open_forged(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                               struct kd_bytes aad, struct kd_bytes sealed, CK_RV *rv) {
    uint8_t forged[PROBE_ROOM_BYTES];
    uint8_t opened[PROBE_ROOM_BYTES];
    CK_ULONG n;
    memcpy(forged, sealed.p, sealed.n);
    forged[0] ^= 1;
    return open(s, key, iv, aad, (struct kd_bytes) { forged, sealed.n }, opened, &n, rv);
}

// Twice, as the first may have been a failure of the moment; and what speaks of session, handle or
// memory is never taken for a word on the data.
static enum kd_err probe_forgery(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                                 struct kd_bytes aad, struct kd_bytes sealed, bool *is_right) {
    CK_RV first;
    CK_RV second;
    enum kd_err r;
    s->token->gcm_forged_rv = CKR_OK;
    if ((r = open_forged(s, key, iv, aad, sealed, &first)) != KD_OK ||
        (r = open_forged(s, key, iv, aad, sealed, &second)) != KD_OK) {
        return r;
    }
    *is_right = *is_right && first != CKR_OK && second != CKR_OK;
    r = kd_ckr("C_Decrypt", first);
    const bool is_of_data = r == KD_ERR_TOKEN || r == KD_ERR_DEVICE || r == KD_ERR_LACKING;
    if (is_of_data && first == second) {
        s->token->gcm_forged_rv = first;
    }
    return KD_OK;
}

// Finds out whose IV it is, and leaves in `iv` the one that was used.
static enum kd_err probe_seal(struct kd_session *s, CK_OBJECT_HANDLE key,
                              const uint8_t value[static 32], struct kd_bytes text, uint8_t *iv,
                              uint8_t sealed[static PROBE_ROOM_BYTES], bool *is_right) {
    static const uint8_t given[KD_HSM_GCM_IV_BYTES] = { 1 };
    enum kd_gcm_way *way = &s->token->gcm;
    memcpy(iv, given, sizeof(given));
    const enum kd_err r = try_seal(s, key, value, text, iv, sealed, is_right);
    *way = r == KD_OK && !is_iv(iv, given) ? KD_GCM_UNDER_OWN_IV : KD_GCM_UNDER_GIVEN_IV;
    if (r != KD_ERR_LACKING && r != KD_ERR_TOKEN && r != KD_ERR_DEVICE) {
        return r;
    }
    // CloudHSM: "Expect IV to be all 0", and then it writes its own.
    memset(iv, 0, KD_HSM_GCM_IV_BYTES);
    const enum kd_err again = try_seal(s, key, value, text, iv, sealed, is_right);
    if (again == KD_OK && !is_iv(iv, zeros)) {
        *way = KD_GCM_UNDER_OWN_IV;
        return KD_OK;
    }
    if (r == KD_ERR_LACKING) {
        *way = KD_GCM_NOT;
    }
    return r;
}

static enum kd_err probe(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t value[static 32],
                         bool *is_right) {
    const struct kd_bytes text = kd_bytes_of_text("keyd probe");
    uint8_t iv[KD_HSM_GCM_IV_BYTES];
    uint8_t sealed[PROBE_ROOM_BYTES];
    uint8_t opened[PROBE_ROOM_BYTES];
    enum kd_err r = probe_seal(s, key, value, text, iv, sealed, is_right);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_bytes body = { sealed, text.n + KD_HSM_GCM_TAG_BYTES };
    if ((r = open_exactly(s, key, iv, text, body, opened)) != KD_OK) {
        return r;
    }
    *is_right = *is_right && kd_ct_equal((struct kd_bytes) { opened, text.n }, text);
    return probe_forgery(s, key, iv, text, body, is_right);
}

enum kd_err kd_gcm_probe(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t value[static 32],
                         bool *is_right) {
    const enum kd_err r = probe(s, key, value, is_right);
    if (r == KD_OK && !*is_right) {
        s->token->gcm = KD_GCM_NOT; // what is wrong is not used
    }
    return r;
}
