// SPDX-License-Identifier: Apache-2.0
// slow_module.c: a PKCS#11 module that stands before another one and makes it as slow
// as an HSM on the network: each call that does an operation's work takes SLOW_US longer,
// and SLOW_AT_ONCE of them run at once in all processes together.  For the benchmark only.
//
//   SLOW_MODULE   path of the module behind it
//   SLOW_LIMIT    a file, made by the first process; who has it open shares one limit
//
// Delayed are C_Sign, C_Encrypt, C_Decrypt, C_DeriveKey and C_GenerateKeyPair.  The calls
// that begin an operation (C_SignInit ...) are not, nor is what looks for objects: so a MAC
// costs one delay.  The delay passes before the module behind is called, without its lock.
#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { SLOW_US = 2000, SLOW_AT_ONCE = 32 };

// In the file of SLOW_LIMIT.
struct limit {
    int is_made;
    sem_t free;
};

static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST list;
static struct limit *limit;

static void take_time(void) {
    prctl(PR_SET_TIMERSLACK, 1L); // 2 ms are meant, not 2.06
    struct timespec left = { .tv_nsec = SLOW_US * 1000L };
    while (sem_wait(&limit->free) != 0) {
    }
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    sem_post(&limit->free);
}

#define STAND_IN(name, types, names)                                                               \
    static CK_RV stand_in_##name types {                                                           \
        take_time();                                                                               \
        return real->name names;                                                                   \
    }

// clang-format off
STAND_IN(C_Sign, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG_PTR e),
         (a, b, c, d, e))
STAND_IN(C_Encrypt, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG_PTR e),
         (a, b, c, d, e))
STAND_IN(C_Decrypt, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG_PTR e),
         (a, b, c, d, e))
STAND_IN(C_DeriveKey, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c, CK_ATTRIBUTE_PTR d,
                       CK_ULONG e, CK_OBJECT_HANDLE_PTR f), (a, b, c, d, e, f))
STAND_IN(C_GenerateKeyPair, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_ATTRIBUTE_PTR c, CK_ULONG d,
                             CK_ATTRIBUTE_PTR e, CK_ULONG f, CK_OBJECT_HANDLE_PTR g,
                             CK_OBJECT_HANDLE_PTR h), (a, b, c, d, e, f, g, h))
// clang-format on

static bool open_limit(void) {
    const char *path = getenv("SLOW_LIMIT");
    const int file = path == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) {
        return false;
    }
    // Who comes first makes it; the others wait for that.
    bool ok = flock(file, LOCK_EX) == 0 && ftruncate(file, sizeof(struct limit)) == 0;
    void *p = ok ? mmap(NULL, sizeof(struct limit), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                 : MAP_FAILED;
    if (p != MAP_FAILED) {
        limit = p;
        if (!limit->is_made) {
            limit->is_made = sem_init(&limit->free, 1, SLOW_AT_ONCE) == 0;
        }
        ok = limit->is_made;
    }
    flock(file, LOCK_UN); // the mapping keeps the file open
    close(file);
    return ok && p != MAP_FAILED;
}

static void stand_in(void) {
    list = *real;
    list.C_Sign = stand_in_C_Sign;
    list.C_Encrypt = stand_in_C_Encrypt;
    list.C_Decrypt = stand_in_C_Decrypt;
    list.C_DeriveKey = stand_in_C_DeriveKey;
    list.C_GenerateKeyPair = stand_in_C_GenerateKeyPair;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
    if (real == NULL) {
        const char *path = getenv("SLOW_MODULE");
        void *module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
        CK_C_GetFunctionList get = NULL;
        *(void **)&get = module == NULL ? NULL : dlsym(module, "C_GetFunctionList");
        if (get == NULL || !open_limit() || get(&real) != CKR_OK) {
            return CKR_GENERAL_ERROR;
        }
        stand_in();
    }
    *out = &list;
    return CKR_OK;
}
