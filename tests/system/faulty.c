// SPDX-License-Identifier: Apache-2.0
// faulty.c: a PKCS#11 module that stands before another one, counts the calls
// and lets chosen ones fail, so that the system tests can show what a real
// token does on its bad days.  For tests only.
//
//   FAULTY_MODULE  path of the module behind it
//   FAULTY_DIR     a directory; in it
//       calls      gets a line with each call's name
//       C_Sign     (or another function's name) if the file is there, its first
//                  word is the result: a CK_RV in hex, "hang", "crash", "abort", "slow"
//                  (it takes some seconds and then goes well), or "lose" (the token has
//                  closed all sessions of the process before the call); "old" before a CK_RV:
//                  only in processes that are older than the file.  The second word is how
//                  many calls of this process go well before that.  A third word: the first
//                  to fail renames it to C_Sign.done
#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SLOW_SEC = 4 };

static struct timespec loaded; // when this process did
static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST list;

static int open_in_dir(const char *name, int flags) {
    char path[512];
    const char *dir = getenv("FAULTY_DIR");
    snprintf(path, sizeof(path), "%s/%s", dir == NULL ? "/nowhere" : dir, name);
    return open(path, flags | O_CLOEXEC, 0600);
}

static void log_call(const char *name, const char *what) {
    char text[64];
    int file = open_in_dir("calls", O_WRONLY | O_APPEND | O_CREAT);
    if (file >= 0) {
        const int n = snprintf(text, sizeof(text), "%s%s\n", name, what);
        if (write(file, text, (size_t)n) != n) {
            abort();
        }
        close(file);
    }
}

// False: another process or thread has met it at the same time, and was first.
static bool retire(const char *name) {
    char from[512];
    char to[520];
    snprintf(from, sizeof(from), "%s/%s", getenv("FAULTY_DIR"), name);
    snprintf(to, sizeof(to), "%s.done", from);
    return rename(from, to) == 0;
}

// As if the token had been taken out and put in again.
static void lose_sessions(void) {
    CK_SLOT_ID slots[16];
    CK_ULONG n = sizeof(slots) / sizeof(slots[0]);
    if (real->C_GetSlotList(CK_TRUE, slots, &n) != CKR_OK) {
        abort();
    }
    for (CK_ULONG i = 0; i < n; i++) {
        real->C_CloseAllSessions(slots[i]);
    }
}

// Counts the call; gives the result that it must have instead of the module's,
// or CKR_OK.
static CK_RV disturb(const char *name, atomic_ulong *n_calls) {
    const unsigned long n_before = atomic_fetch_add(n_calls, 1);
    char text[32] = "";
    log_call(name, "");
    const int file = open_in_dir(name, O_RDONLY);
    if (file < 0) {
        return CKR_OK;
    }
    struct stat st;
    const ssize_t n = fstat(file, &st) == 0 ? read(file, text, sizeof(text) - 1) : 0;
    close(file);
    text[n > 0 ? n : 0] = '\0';
    const bool is_for_old = strncmp(text, "old", 3) == 0;
    if (is_for_old &&
        (loaded.tv_sec > st.st_mtim.tv_sec ||
         (loaded.tv_sec == st.st_mtim.tv_sec && loaded.tv_nsec > st.st_mtim.tv_nsec))) {
        return CKR_OK;
    }
    const char *after = strchr(text, ' ');
    if (after != NULL && n_before < strtoul(after, NULL, 10)) {
        return CKR_OK;
    }
    if (after != NULL && strchr(after + 1, ' ') != NULL && !retire(name)) {
        return CKR_OK;
    }
    if (strncmp(text, "crash", 5) == 0) {
        _exit(111);
    }
    if (strncmp(text, "abort", 5) == 0) {
        abort();
    }
    if (strncmp(text, "lose", 4) == 0) {
        lose_sessions();
        return CKR_OK;
    }
    while (strncmp(text, "hang", 4) == 0) {
        pause();
    }
    if (strncmp(text, "slow", 4) == 0) {
        sleep(SLOW_SEC);
        log_call(name, "-after-all");
        return CKR_OK;
    }
    return strtoul(is_for_old ? text + 3 : text, NULL, 16);
}

// A stand-in for one function: types of the arguments, then their names.
#define STAND_IN(name, types, names)                                                               \
    static CK_RV stand_in_##name types {                                                           \
        static atomic_ulong n_calls;                                                               \
        const CK_RV r = disturb(#name, &n_calls);                                                  \
        return r == CKR_OK ? real->name names : r;                                                 \
    }

// The same for a function that ends an operation: that must be ended in the
// module, too, or it would be active for ever.
#define STAND_IN_LAST(name, types, names)                                                          \
    static CK_RV stand_in_##name types {                                                           \
        static atomic_ulong n_calls;                                                               \
        const CK_RV r = disturb(#name, &n_calls);                                                  \
        const CK_RV own = real->name names;                                                        \
        return r == CKR_OK ? own : r;                                                              \
    }

// clang-format off
STAND_IN(C_GetInfo, (CK_INFO_PTR a), (a))
STAND_IN(C_GetSlotList, (CK_BBOOL a, CK_SLOT_ID_PTR b, CK_ULONG_PTR c), (a, b, c))
STAND_IN(C_GetSlotInfo, (CK_SLOT_ID a, CK_SLOT_INFO_PTR b), (a, b))
STAND_IN(C_GetTokenInfo, (CK_SLOT_ID a, CK_TOKEN_INFO_PTR b), (a, b))
STAND_IN(C_GetMechanismInfo, (CK_SLOT_ID a, CK_MECHANISM_TYPE b, CK_MECHANISM_INFO_PTR c), (a, b, c))
STAND_IN(C_OpenSession, (CK_SLOT_ID a, CK_FLAGS b, CK_VOID_PTR c, CK_NOTIFY d, CK_SESSION_HANDLE_PTR e),
         (a, b, c, d, e))
STAND_IN_LAST(C_CloseSession, (CK_SESSION_HANDLE a), (a))
STAND_IN(C_GetSessionInfo, (CK_SESSION_HANDLE a, CK_SESSION_INFO_PTR b), (a, b))
STAND_IN(C_Logout, (CK_SESSION_HANDLE a), (a))
STAND_IN(C_FindObjectsInit, (CK_SESSION_HANDLE a, CK_ATTRIBUTE_PTR b, CK_ULONG c), (a, b, c))
STAND_IN(C_FindObjects, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE_PTR b, CK_ULONG c, CK_ULONG_PTR d),
         (a, b, c, d))
STAND_IN_LAST(C_FindObjectsFinal, (CK_SESSION_HANDLE a), (a))
STAND_IN(C_GetAttributeValue, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE_PTR c, CK_ULONG d),
         (a, b, c, d))
STAND_IN(C_CreateObject, (CK_SESSION_HANDLE a, CK_ATTRIBUTE_PTR b, CK_ULONG c, CK_OBJECT_HANDLE_PTR d),
         (a, b, c, d))
STAND_IN(C_CopyObject, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE_PTR c, CK_ULONG d,
                        CK_OBJECT_HANDLE_PTR e), (a, b, c, d, e))
STAND_IN(C_DestroyObject, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b), (a, b))
STAND_IN(C_GenerateKey, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_ATTRIBUTE_PTR c, CK_ULONG d,
                         CK_OBJECT_HANDLE_PTR e), (a, b, c, d, e))
STAND_IN(C_GenerateKeyPair, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_ATTRIBUTE_PTR c, CK_ULONG d,
                             CK_ATTRIBUTE_PTR e, CK_ULONG f, CK_OBJECT_HANDLE_PTR g,
                             CK_OBJECT_HANDLE_PTR h), (a, b, c, d, e, f, g, h))
STAND_IN(C_SignInit, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c), (a, b, c))
STAND_IN_LAST(C_Sign, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG_PTR e),
         (a, b, c, d, e))
STAND_IN(C_VerifyInit, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c), (a, b, c))
STAND_IN_LAST(C_Verify, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG e),
         (a, b, c, d, e))
STAND_IN(C_EncryptInit, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c), (a, b, c))
STAND_IN_LAST(C_Encrypt, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG_PTR e),
         (a, b, c, d, e))
STAND_IN(C_DecryptInit, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c), (a, b, c))
STAND_IN_LAST(C_Decrypt, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG_PTR e),
         (a, b, c, d, e))
STAND_IN(C_DigestInit, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b), (a, b))
STAND_IN(C_DigestUpdate, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c), (a, b, c))
STAND_IN(C_DigestKey, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b), (a, b))
STAND_IN_LAST(C_DigestFinal, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG_PTR c), (a, b, c))
STAND_IN(C_DeriveKey, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c, CK_ATTRIBUTE_PTR d,
                       CK_ULONG e, CK_OBJECT_HANDLE_PTR f), (a, b, c, d, e, f))
STAND_IN(C_GenerateRandom, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c), (a, b, c))
// clang-format on

// A login of a process that is logged in submits no PIN, and is none of those that are counted.
static CK_RV stand_in_C_Login(CK_SESSION_HANDLE a, CK_USER_TYPE b, CK_UTF8CHAR_PTR c, CK_ULONG d) {
    static atomic_ulong n_calls;
    CK_SESSION_INFO info;
    const bool is_in = real->C_GetSessionInfo(a, &info) == CKR_OK &&
                       (info.state == CKS_RW_USER_FUNCTIONS || info.state == CKS_RO_USER_FUNCTIONS);
    const CK_RV r = is_in ? CKR_OK : disturb("C_Login", &n_calls);
    return r == CKR_OK ? real->C_Login(a, b, c, d) : r;
}

static void stand_in(void) {
    list = *real;
    list.C_GetInfo = stand_in_C_GetInfo;
    list.C_GetSlotList = stand_in_C_GetSlotList;
    list.C_GetSlotInfo = stand_in_C_GetSlotInfo;
    list.C_GetTokenInfo = stand_in_C_GetTokenInfo;
    list.C_GetMechanismInfo = stand_in_C_GetMechanismInfo;
    list.C_OpenSession = stand_in_C_OpenSession;
    list.C_CloseSession = stand_in_C_CloseSession;
    list.C_GetSessionInfo = stand_in_C_GetSessionInfo;
    list.C_Login = stand_in_C_Login;
    list.C_Logout = stand_in_C_Logout;
    list.C_FindObjectsInit = stand_in_C_FindObjectsInit;
    list.C_FindObjects = stand_in_C_FindObjects;
    list.C_FindObjectsFinal = stand_in_C_FindObjectsFinal;
    list.C_GetAttributeValue = stand_in_C_GetAttributeValue;
    list.C_CreateObject = stand_in_C_CreateObject;
    list.C_CopyObject = stand_in_C_CopyObject;
    list.C_DestroyObject = stand_in_C_DestroyObject;
    list.C_GenerateKey = stand_in_C_GenerateKey;
    list.C_GenerateKeyPair = stand_in_C_GenerateKeyPair;
    list.C_SignInit = stand_in_C_SignInit;
    list.C_Sign = stand_in_C_Sign;
    list.C_VerifyInit = stand_in_C_VerifyInit;
    list.C_Verify = stand_in_C_Verify;
    list.C_EncryptInit = stand_in_C_EncryptInit;
    list.C_Encrypt = stand_in_C_Encrypt;
    list.C_DecryptInit = stand_in_C_DecryptInit;
    list.C_Decrypt = stand_in_C_Decrypt;
    list.C_DigestInit = stand_in_C_DigestInit;
    list.C_DigestUpdate = stand_in_C_DigestUpdate;
    list.C_DigestKey = stand_in_C_DigestKey;
    list.C_DigestFinal = stand_in_C_DigestFinal;
    list.C_DeriveKey = stand_in_C_DeriveKey;
    list.C_GenerateRandom = stand_in_C_GenerateRandom;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
    if (real == NULL) {
        const char *path = getenv("FAULTY_MODULE");
        void *module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
        CK_C_GetFunctionList get = NULL;
        *(void **)&get = module == NULL ? NULL : dlsym(module, "C_GetFunctionList");
        if (get == NULL || get(&real) != CKR_OK) {
            return CKR_GENERAL_ERROR;
        }
        stand_in();
        clock_gettime(CLOCK_REALTIME, &loaded);
    }
    *out = &list;
    return CKR_OK;
}
