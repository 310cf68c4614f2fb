// SPDX-License-Identifier: Apache-2.0
// fake_state.h: what fake_p11.c and fake_crypto.c share.
#ifndef KD_TESTS_FAKE_STATE_H
#define KD_TESTS_FAKE_STATE_H

#include "fake_p11.h"

#include <openssl/evp.h>

#define FAKE_SESSIONS_MAX 16
#define FAKE_OBJECTS_MAX 128
#define FAKE_ATTRIBUTES_MAX 24
#define FAKE_VALUE_MAX_BYTES 256

struct fake_attribute {
    CK_ATTRIBUTE_TYPE type;
    size_t n;
    uint8_t value[FAKE_VALUE_MAX_BYTES];
};

struct fake_object {
    CK_OBJECT_HANDLE handle; // 0: free
    CK_SESSION_HANDLE owner; // 0: a token object
    EVP_PKEY *pair;          // of both halves of a key pair
    size_t n;
    struct fake_attribute list[FAKE_ATTRIBUTES_MAX];
};

enum fake_op { FAKE_NONE, FAKE_SIGN, FAKE_ENCRYPT, FAKE_DECRYPT, FAKE_DIGEST };

struct fake_session {
    CK_SESSION_HANDLE handle; // 0: free
    enum fake_op op;
    CK_MECHANISM_TYPE mechanism;
    CK_OBJECT_HANDLE key;
    EVP_MD_CTX *digest;
    CK_GCM_PARAMS gcm;
    bool is_logged_in; // with FAKE_LOGS_IN_SESSIONS
    bool is_searching;
    size_t n_found;
    size_t n_given;
    CK_OBJECT_HANDLE found[FAKE_OBJECTS_MAX];
};

// Takes the lock, counts the call and makes it fail where it is to; *s (may be
// NULL) is the session.  fake_leave gives the lock back, whatever enter gave.
CK_RV fake_enter(const char *call, CK_SESSION_HANDLE handle, struct fake_session **s);
CK_RV fake_leave(CK_RV rv);
// Of a call that makes an object.  What one that fails leaves where its result would be is up to
// the module: here it is the handle of a key that must live.
CK_RV fake_leave_made(CK_RV rv, CK_OBJECT_HANDLE *made);
CK_OBJECT_HANDLE fake_left_behind(void);
bool fake_does(enum fake_habit habit);
bool fake_has_room(unsigned n); // for session objects

struct fake_object *fake_object_at(CK_OBJECT_HANDLE handle); // NULL
struct fake_object *fake_object_new(struct fake_session *s, const CK_ATTRIBUTE *list, CK_ULONG n);
CK_OBJECT_HANDLE fake_keep(struct fake_object *o); // makes a token object of it
struct kd_bytes fake_get(const struct fake_object *o, CK_ATTRIBUTE_TYPE type);
void fake_set(struct fake_object *o, CK_ATTRIBUTE_TYPE type, const void *value, size_t n);
bool fake_is(const struct fake_object *o, CK_ATTRIBUTE_TYPE type);
CK_ULONG fake_number(const struct fake_object *o, CK_ATTRIBUTE_TYPE type);
void fake_end_operation(struct fake_session *s);

void fake_fill_crypto(CK_FUNCTION_LIST *list);

#endif
