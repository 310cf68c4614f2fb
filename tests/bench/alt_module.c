// SPDX-License-Identifier: Apache-2.0
// alt_module.c: a program that uses a key through a PKCS#11 module, one thread, as one
// would without keyd: C_SignInit and C_Sign again and again.  The benchmark runs it on
// p11-kit-client.so, behind which a p11-kit server has the token.
//     alt_module MODULE TOKEN-LABEL KEY-LABEL mac|sign MS   (the PIN comes on stdin)
// It logs in, prints "ready", waits for a line, measures, and prints operations a second.
#include "tests/bench/alt_turn.h"

#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 64, DATA_BYTES = 32, TEXT_BYTES = 256 };

static CK_FUNCTION_LIST *p11;

static void must(const char *what, CK_RV r) {
    if (r != CKR_OK) {
        fprintf(stderr, "alt_module: %s: 0x%lx\n", what, (unsigned long)r);
        exit(EXIT_FAILURE);
    }
}

static void load(const char *path) {
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = NULL;
    *(void **)&get = module == NULL ? NULL : dlsym(module, "C_GetFunctionList");
    must(path, get == NULL ? CKR_GENERAL_ERROR : get(&p11));
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    must("C_Initialize", p11->C_Initialize(&args));
}

static CK_SLOT_ID find_slot(const char *label) {
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    must("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &n));
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO info;
        if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
            strncmp((const char *)info.label, label, strlen(label)) == 0) {
            return slots[i];
        }
    }
    must("the token", CKR_TOKEN_NOT_PRESENT);
    return 0;
}

static CK_SESSION_HANDLE log_in(CK_SLOT_ID slot) {
    char pin[TEXT_BYTES];
    CK_SESSION_HANDLE s = 0;
    if (fgets(pin, sizeof(pin), stdin) == NULL) {
        exit(2);
    }
    pin[strcspn(pin, "\n")] = '\0';
    must("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &s));
    const CK_RV r = p11->C_Login(s, CKU_USER, (CK_UTF8CHAR_PTR)pin, strlen(pin));
    explicit_bzero(pin, sizeof(pin));
    must("C_Login", r == CKR_USER_ALREADY_LOGGED_IN ? CKR_OK : r);
    return s;
}

static CK_OBJECT_HANDLE find_key(CK_SESSION_HANDLE s, const char *label, bool is_mac) {
    CK_OBJECT_CLASS class = is_mac ? CKO_SECRET_KEY : CKO_PRIVATE_KEY;
    char name[TEXT_BYTES];
    snprintf(name, sizeof(name), "%s", label);
    CK_ATTRIBUTE template[] = { { CKA_CLASS, &class, sizeof(class) },
                                { CKA_LABEL, name, strlen(name) } };
    CK_OBJECT_HANDLE key = 0;
    CK_ULONG n = 0;
    must("C_FindObjectsInit", p11->C_FindObjectsInit(s, template, 2));
    must("C_FindObjects", p11->C_FindObjects(s, &key, 1, &n));
    must("C_FindObjectsFinal", p11->C_FindObjectsFinal(s));
    must("the key", n == 1 ? CKR_OK : CKR_KEY_HANDLE_INVALID);
    return key;
}

struct job {
    CK_SESSION_HANDLE session;
    CK_MECHANISM mechanism;
    CK_OBJECT_HANDLE key;
};

static void sign(void *job) {
    struct job *j = job;
    CK_BYTE data[DATA_BYTES] = { 0 };
    CK_BYTE out[TEXT_BYTES];
    CK_ULONG n = sizeof(out);
    must("C_SignInit", p11->C_SignInit(j->session, &j->mechanism, j->key));
    must("C_Sign", p11->C_Sign(j->session, data, sizeof(data), out, &n));
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: alt_module MODULE TOKEN-LABEL KEY-LABEL mac|sign MS\n");
        return 2;
    }
    const bool is_mac = strcmp(argv[4], "mac") == 0;
    load(argv[1]);
    const CK_SESSION_HANDLE s = log_in(find_slot(argv[2]));
    struct job job = { .session = s,
                       .mechanism = { is_mac ? CKM_SHA256_HMAC : CKM_ECDSA, NULL, 0 },
                       .key = find_key(s, argv[3], is_mac) };
    if (!alt_wait()) {
        return 2;
    }
    alt_call_for(argv[5], sign, &job);
    p11->C_Finalize(NULL);
    return EXIT_SUCCESS;
}
