// SPDX-License-Identifier: Apache-2.0
// err.h: the one list of errors.  Every code has a stable name (the last part
// of a problem's type, RFC 9457), a sentence, and a class that says whose move
// it is; err.c has the table.  api/problem.c alone maps a class to HTTP.
#ifndef KD_BASE_ERR_H
#define KD_BASE_ERR_H

#include "attr.h"

#include <stdbool.h>

enum kd_err_class {
    KD_CLASS_OK,
    KD_CLASS_USAGE,     // the request is wrong: correct it
    KD_CLASS_AUTH,      // the caller did not say who he is, or we don't know him
    KD_CLASS_POLICY,    // the caller is known and may not do this
    KD_CLASS_MISSING,   // what the request names is not there
    KD_CLASS_METHOD,    // the resource is there, the HTTP method is not for it
    KD_CLASS_CONFLICT,  // the request does not fit the state or type of what it names
    KD_CLASS_TOO_LARGE, // a named limit was passed
    KD_CLASS_HEADER,    // the same by the request's header
    KD_CLASS_MEDIA,     // the body's media type is not one we read
    KD_CLASS_REFUSED,   // well formed, but cryptographically not acceptable
    KD_CLASS_BUSY,      // a limit of ours is reached now: repeat later
    KD_CLASS_AWAY,      // the token cannot be used now: repeat later
    KD_CLASS_TOKEN,     // the token answered with an error
    KD_CLASS_LACKING,   // the token cannot do this at all
    KD_CLASS_DEADLINE,  // the token did not answer in time
    KD_CLASS_SYSTEM,    // this host: memory, disk, file
    KD_CLASS_BUG,       // our own code
};

enum kd_err {
    KD_OK = 0,
    // usage
    KD_ERR_BAD_REQUEST,
    KD_ERR_BAD_JSON,
    KD_ERR_FIELD_MISSING,
    KD_ERR_FIELD_UNKNOWN,
    KD_ERR_FIELD_INVALID,
    KD_ERR_BAD_BASE64,
    KD_ERR_BAD_NAME,
    KD_ERR_BAD_URI,
    KD_ERR_BAD_PUBLIC_KEY,
    KD_ERR_BAD_CSR,
    KD_ERR_BATCH_EMPTY,
    KD_ERR_PRIVATE_KEY_IMPORT,
    KD_ERR_CONFIG,
    // usage: bytes that are not deterministic CBOR (base/cbor.h)
    KD_ERR_CBOR_TRUNCATED,
    KD_ERR_CBOR_TRAILING,
    KD_ERR_CBOR_NOT_SHORTEST,
    KD_ERR_CBOR_INDEFINITE,
    KD_ERR_CBOR_RESERVED,
    KD_ERR_CBOR_FLOAT,
    KD_ERR_CBOR_SIMPLE,
    KD_ERR_CBOR_UTF8,
    KD_ERR_CBOR_MAP_ORDER,
    KD_ERR_CBOR_MAP_DUPLICATE,
    KD_ERR_CBOR_DEPTH,
    KD_ERR_CBOR_TYPE,
    KD_ERR_CBOR_RANGE,
    // auth, policy
    KD_ERR_UNAUTHENTICATED,
    KD_ERR_ENROLMENT,
    KD_ERR_DENIED,
    KD_ERR_CROSS_SITE,
    // missing
    KD_ERR_NO_ROUTE,
    KD_ERR_NO_KEY,
    KD_ERR_NO_VERSION,
    KD_ERR_NO_SECRET,
    KD_ERR_NO_PEER,
    KD_ERR_NO_DEVICE,
    KD_ERR_NO_HANDSHAKE,
    KD_ERR_NO_SESSION,
    KD_ERR_NO_OBJECT,
    KD_ERR_NO_FILE,
    // method
    KD_ERR_METHOD,
    // conflict
    KD_ERR_KEY_EXISTS,
    KD_ERR_KEY_USAGE,
    KD_ERR_KEY_TYPE,
    KD_ERR_VERSION_DISABLED,
    KD_ERR_PUBLIC_ONLY,
    KD_ERR_OBJECT_AMBIGUOUS,
    KD_ERR_OBJECT_UNFIT,
    KD_ERR_OBJECT_CHANGED,
    KD_ERR_CHANGE_UNDER_WAY,
    KD_ERR_HS_STATE,
    KD_ERR_SEQUENCE_END,
    KD_ERR_SESSION_EXPIRED,
    KD_ERR_SESSION_ENDED,
    KD_ERR_SESSION_RELEASED,
    KD_ERR_SESSION_RESIDENT,
    KD_ERR_PEER_EXISTS,
    KD_ERR_DEVICE_EXISTS,
    KD_ERR_DEVICE_REVOKED,
    KD_ERR_DEVICE_NOT_REVOKED,
    KD_ERR_DEVICE_CERTIFIED,
    KD_ERR_DEVICE_DELETED,
    KD_ERR_PEER_IS_DEVICE,
    KD_ERR_KEY_RESERVED,
    KD_ERR_VERSION_PRIMARY,
    KD_ERR_VERSION_CERTIFIED,
    // too large
    KD_ERR_HEADER_TOO_LARGE,
    KD_ERR_BODY_TOO_LARGE,
    KD_ERR_BATCH_TOO_LARGE,
    KD_ERR_ITEM_TOO_LARGE,
    KD_ERR_TOO_MANY,
    // media
    KD_ERR_MEDIA_TYPE,
    // refused
    KD_ERR_BAD_POINT,
    KD_ERR_NOT_AUTHENTIC,
    // refused: messages of a handshake (RFC 9528) and records of the channel
    KD_ERR_HS_MESSAGE,
    KD_ERR_HS_METHOD,
    KD_ERR_HS_SUITE,
    KD_ERR_HS_CREDENTIAL,
    KD_ERR_HS_REFLECTED,
    KD_ERR_HS_EAD,
    KD_ERR_HS_NOT_AUTHENTIC,
    KD_ERR_HS_PEER,
    KD_ERR_FRAME,
    KD_ERR_RECORD_FORM,
    KD_ERR_RECORD_SESSION,
    KD_ERR_RECORD_REPLAYED,
    KD_ERR_RECORD_TOO_OLD,
    KD_ERR_RECORD_OTP,
    KD_ERR_ENVELOPE_FORM,
    KD_ERR_ENVELOPE_KEY,
    KD_ERR_ENVELOPE_TIME,
    KD_ERR_ENVELOPE_REPLAYED,
    KD_ERR_TICKET,
    // busy
    KD_ERR_BUSY,
    KD_ERR_HS_RETRY,
    KD_ERR_SESSIONS_FULL,
    KD_ERR_STOPPING,
    KD_ERR_AUDIT,
    // away
    KD_ERR_TOKEN_AWAY,
    KD_ERR_NO_MODULE,
    KD_ERR_NO_TOKEN,
    KD_ERR_PIN_MISSING,
    KD_ERR_PIN_REFUSED,
    KD_ERR_PIN_LAST_TRY,
    KD_ERR_OWN_CERTIFICATE,
    // token
    KD_ERR_TOKEN,
    KD_ERR_TOKEN_FULL,
    KD_ERR_SESSION_LOST,
    KD_ERR_DEVICE,
    // lacking
    KD_ERR_LACKING,
    // deadline
    KD_ERR_DEADLINE,
    // system
    KD_ERR_NO_MEMORY,
    KD_ERR_SYSTEM,
    KD_ERR_STORE,
    // bug
    KD_ERR_MALFORMED,
    KD_ERR_BUG,
    KD_ERR_COUNT
};

// All accept any value; one that is not in the table reads as KD_ERR_BUG.
const char *kd_err_name(enum kd_err e);
const char *kd_err_sentence(enum kd_err e);
enum kd_err_class kd_err_class(enum kd_err e);

// For values that come from another process.
bool kd_err_is_known(unsigned value);

// The code for an errno of a failed system call: KD_ERR_NO_MEMORY,
// KD_ERR_NO_FILE or KD_ERR_SYSTEM.  Logs nothing.
enum kd_err kd_err_from_errno(int errnum);

#endif
