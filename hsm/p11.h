// SPDX-License-Identifier: Apache-2.0
// p11.h: PKCS#11 as the worker uses it: p11-kit's header, the parts of PKCS#11
// 3.0 that it lacks, and ckr.c, the one place where a CK_RV becomes a kd_err.
#ifndef KD_HSM_P11_H
#define KD_HSM_P11_H

#include "base/base.h"

#include <p11-kit/pkcs11.h>

// PKCS#11 3.0, 5.1.6: a forged tag.
#define KD_CKR_AEAD_DECRYPT_FAILED 0x42UL
// PKCS#11 3.0, 6.64 HKDF.
#define KD_CKM_HKDF_DERIVE 0x402aUL
#define KD_CKF_HKDF_SALT_NULL 1UL
#define KD_CKF_HKDF_SALT_DATA 2UL

struct kd_hkdf_params {
    CK_BBOOL extract;
    CK_BBOOL expand;
    CK_MECHANISM_TYPE prf_hash;
    CK_ULONG salt_type;
    CK_BYTE *salt;
    CK_ULONG salt_len;
    CK_OBJECT_HANDLE salt_key;
    CK_BYTE *info;
    CK_ULONG info_len;
};

// PKCS#11 declares what it only reads as not const.
CK_BYTE *kd_p11_bytes(const void *p);

#define KD_ATTRIBUTE(type, value) ((CK_ATTRIBUTE) { (type), kd_p11_bytes(&(value)), sizeof(value) })
#define KD_ATTRIBUTE_BYTES(type, bytes)                                                            \
    ((CK_ATTRIBUTE) { (type), kd_p11_bytes((bytes).p), (bytes).n })

// The error for what a call of the module returned; logs everything but CKR_OK,
// with the call's name (while kd_ckr_quiet: at debug level).  KD_ERR_SESSION_LOST: open a new
// session and try again. KD_ERR_TOKEN_AWAY: the token is not to be reached.  KD_ERR_NO_OBJECT: a
// handle is stale.  KD_ERR_TOKEN: anything that has no better name.
KD_MUST_CHECK enum kd_err kd_ckr(const char *call, CK_RV rv);
// The same of a call that makes an object.  What one that has failed leaves where the handle would
// be is up to the module, and may name another key: *made is CK_INVALID_HANDLE then.
KD_MUST_CHECK enum kd_err kd_ckr_made(const char *call, CK_RV rv, CK_OBJECT_HANDLE *made);
// For the probe, which asks for what a token may well refuse.  This thread.
void kd_ckr_quiet(bool is_quiet);
struct kd_ckr_said {
    const char *call;
    CK_RV rv;
};
// The last that kd_ckr was given in this thread since kd_ckr_quiet, but for CKR_OK.
struct kd_ckr_said kd_ckr_said(void);
const char *kd_ckr_name(CK_RV rv); // "CKR_DEVICE_ERROR", or "CKR_?"

#endif
