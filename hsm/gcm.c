// SPDX-License-Identifier: Apache-2.0
// gcm.c: see gcm.h.
#include "hsm/gcm.h"

static CK_GCM_PARAMS gcm_params(const uint8_t *iv, struct kd_bytes aad) {
    return (CK_GCM_PARAMS) { .iv_ptr = kd_p11_bytes(iv),
                             .iv_len = KD_HSM_GCM_IV_BYTES,
                             .iv_bits = KD_HSM_GCM_IV_BYTES * 8,
                             .aad_ptr = kd_p11_bytes(aad.p),
                             .aad_len = aad.n,
                             .tag_bits = KD_HSM_GCM_TAG_BYTES * 8 };
}

enum kd_err kd_gcm_seal(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                        struct kd_bytes aad, struct kd_bytes text, uint8_t *out) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    const struct kd_bytes some = text.n == 0 ? kd_bytes_of_text("") : text;
    CK_GCM_PARAMS params = gcm_params(iv, aad);
    CK_MECHANISM gcm = { CKM_AES_GCM, &params, sizeof(params) };
    CK_ULONG n = text.n + KD_HSM_GCM_TAG_BYTES;
    enum kd_err r;
    if ((r = kd_ckr("C_EncryptInit", p11->C_EncryptInit(s->handle, &gcm, key))) != KD_OK ||
        (r = kd_ckr("C_Encrypt",
                    p11->C_Encrypt(s->handle, kd_p11_bytes(some.p), text.n, out, &n))) != KD_OK) {
        return r;
    }
    return n == text.n + KD_HSM_GCM_TAG_BYTES ? KD_OK : KD_ERR_TOKEN;
}

// A forged tag is CKR_GENERAL_ERROR on SoftHSM and CKR_ENCRYPTED_DATA_INVALID on
// others: it is the data that is sick, not the token, so these never heal a
// session or end a worker.  What speaks of the session, the token or the handle
// is still that.
static enum kd_err decrypt_error(CK_RV rv) {
    switch (rv) {
    case CKR_GENERAL_ERROR:
    case CKR_FUNCTION_FAILED:
    case CKR_ENCRYPTED_DATA_INVALID:
    case CKR_ENCRYPTED_DATA_LEN_RANGE:
    case CKR_DATA_INVALID:
    case CKR_SIGNATURE_INVALID:
        return KD_ERR_NOT_AUTHENTIC;
    default:
        return kd_ckr("C_Decrypt", rv);
    }
}

enum kd_err kd_gcm_open(struct kd_session *s, CK_OBJECT_HANDLE key, const uint8_t *iv,
                        struct kd_bytes aad, struct kd_bytes sealed, uint8_t *out) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_GCM_PARAMS params = gcm_params(iv, aad);
    CK_MECHANISM gcm = { CKM_AES_GCM, &params, sizeof(params) };
    CK_ULONG n = sealed.n;
    enum kd_err r = kd_ckr("C_DecryptInit", p11->C_DecryptInit(s->handle, &gcm, key));
    if (r != KD_OK || (r = decrypt_error(p11->C_Decrypt(s->handle, kd_p11_bytes(sealed.p), sealed.n,
                                                        out, &n))) != KD_OK) {
        return r;
    }
    return n == sealed.n - KD_HSM_GCM_TAG_BYTES ? KD_OK : KD_ERR_TOKEN;
}
