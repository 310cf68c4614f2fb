// SPDX-License-Identifier: Apache-2.0
// ckr.c: what the module's return values mean to us, in one table.
#include "hsm/p11.h"

struct row {
    CK_RV rv;
    const char *name;
    enum kd_err err;
};

#define ROW(rv, err)                                                                               \
    { rv, #rv, err }

// Values that are not here are KD_ERR_TOKEN.
static const struct row table[] = {
    ROW(CKR_OK, KD_OK),
    ROW(CKR_SESSION_HANDLE_INVALID, KD_ERR_SESSION_LOST),
    ROW(CKR_SESSION_CLOSED, KD_ERR_SESSION_LOST),
    ROW(CKR_USER_NOT_LOGGED_IN, KD_ERR_SESSION_LOST),
    // An operation that did not end with its error holds the session for ever;
    // there is no C_SignCancel before PKCS#11 3.0, so another session is the cure.
    ROW(CKR_OPERATION_ACTIVE, KD_ERR_SESSION_LOST),
    ROW(CKR_DEVICE_ERROR, KD_ERR_DEVICE),
    ROW(CKR_DEVICE_REMOVED, KD_ERR_TOKEN_AWAY),
    ROW(CKR_TOKEN_NOT_PRESENT, KD_ERR_TOKEN_AWAY),
    ROW(CKR_TOKEN_NOT_RECOGNIZED, KD_ERR_TOKEN_AWAY),
    ROW(CKR_SLOT_ID_INVALID, KD_ERR_TOKEN_AWAY),
    ROW(CKR_CRYPTOKI_NOT_INITIALIZED, KD_ERR_TOKEN_AWAY),
    ROW(CKR_KEY_HANDLE_INVALID, KD_ERR_NO_OBJECT),
    ROW(CKR_OBJECT_HANDLE_INVALID, KD_ERR_NO_OBJECT),
    ROW(CKR_DEVICE_MEMORY, KD_ERR_TOKEN_FULL),
    ROW(CKR_SESSION_COUNT, KD_ERR_TOKEN_FULL),
    ROW(CKR_HOST_MEMORY, KD_ERR_NO_MEMORY),
    ROW(CKR_PIN_INCORRECT, KD_ERR_PIN_REFUSED),
    ROW(CKR_PIN_INVALID, KD_ERR_PIN_REFUSED),
    ROW(CKR_PIN_LEN_RANGE, KD_ERR_PIN_REFUSED),
    ROW(CKR_PIN_EXPIRED, KD_ERR_PIN_REFUSED),
    ROW(CKR_PIN_LOCKED, KD_ERR_PIN_LAST_TRY),
    ROW(CKR_MECHANISM_INVALID, KD_ERR_LACKING),
    // Parameters are always well formed and checked before: it has not this form of it, as
    // ECDH without a KDF, or GCM with an IV of the caller's.
    ROW(CKR_MECHANISM_PARAM_INVALID, KD_ERR_LACKING),
    ROW(CKR_FUNCTION_NOT_SUPPORTED, KD_ERR_LACKING),
    ROW(CKR_ATTRIBUTE_SENSITIVE, KD_ERR_LACKING), // this token shows it to nobody
    ROW(CKR_KEY_FUNCTION_NOT_PERMITTED, KD_ERR_KEY_USAGE),
    ROW(CKR_KEY_TYPE_INCONSISTENT, KD_ERR_KEY_TYPE),
    ROW(CKR_ARGUMENTS_BAD, KD_ERR_TOKEN),
    ROW(CKR_ATTRIBUTE_TYPE_INVALID, KD_ERR_TOKEN),
    ROW(CKR_ATTRIBUTE_VALUE_INVALID, KD_ERR_TOKEN),
    ROW(CKR_BUFFER_TOO_SMALL, KD_ERR_TOKEN),
    ROW(CKR_DATA_INVALID, KD_ERR_TOKEN),
    ROW(CKR_DATA_LEN_RANGE, KD_ERR_TOKEN),
    ROW(CKR_ENCRYPTED_DATA_INVALID, KD_ERR_TOKEN),
    ROW(CKR_ENCRYPTED_DATA_LEN_RANGE, KD_ERR_TOKEN),
    ROW(CKR_FUNCTION_CANCELED, KD_ERR_TOKEN),
    ROW(CKR_FUNCTION_FAILED, KD_ERR_TOKEN),
    ROW(CKR_GENERAL_ERROR, KD_ERR_TOKEN),
    ROW(CKR_KEY_SIZE_RANGE, KD_ERR_TOKEN),
    ROW(CKR_OPERATION_NOT_INITIALIZED, KD_ERR_TOKEN),
    ROW(CKR_SESSION_READ_ONLY, KD_ERR_TOKEN),
    ROW(CKR_SESSION_READ_ONLY_EXISTS, KD_ERR_TOKEN),
    ROW(CKR_TEMPLATE_INCOMPLETE, KD_ERR_TOKEN),
    ROW(CKR_TEMPLATE_INCONSISTENT, KD_ERR_TOKEN),
    ROW(CKR_TOKEN_WRITE_PROTECTED, KD_ERR_TOKEN),
    ROW(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, KD_ERR_TOKEN),
    ROW(CKR_USER_PIN_NOT_INITIALIZED, KD_ERR_TOKEN),
    ROW(CKR_USER_TOO_MANY_TYPES, KD_ERR_TOKEN),
    ROW(CKR_USER_TYPE_INVALID, KD_ERR_TOKEN),
};

static const struct row *find(CK_RV rv) {
    for (size_t i = 0; i < KD_COUNT_OF(table); i++) {
        if (table[i].rv == rv) {
            return &table[i];
        }
    }
    return NULL;
}

const char *kd_ckr_name(CK_RV rv) {
    const struct row *row = find(rv);
    return row == NULL ? "CKR_?" : row->name;
}

static _Thread_local bool quiet;
static _Thread_local struct kd_ckr_said said = { "-", CKR_OK };

struct kd_ckr_said kd_ckr_said(void) {
    return said;
}

void kd_ckr_quiet(bool is_quiet) {
    quiet = is_quiet;
    said = (struct kd_ckr_said) { "-", CKR_OK };
}

enum kd_err kd_ckr(const char *call, CK_RV rv) {
    if (rv == CKR_OK) {
        return KD_OK;
    }
    const struct row *row = find(rv);
    said = (struct kd_ckr_said) { call, rv };
    kd_log(quiet ? KD_LOG_DEBUG : KD_LOG_WARN, "token", "the module refused a call",
           "call=%s rv=0x%lx name=%s", call, (unsigned long)rv, kd_ckr_name(rv));
    return row == NULL ? KD_ERR_TOKEN : row->err;
}

enum kd_err kd_ckr_made(const char *call, CK_RV rv, CK_OBJECT_HANDLE *made) {
    const enum kd_err r = kd_ckr(call, rv);
    if (r != KD_OK) {
        *made = CK_INVALID_HANDLE;
    }
    return r;
}

CK_BYTE *kd_p11_bytes(const void *p) {
    return (CK_BYTE *)(uintptr_t)p;
}
