// SPDX-License-Identifier: Apache-2.0
// alt_engine.c: ECDSA signatures by OpenSSL with the engine pkcs11 (libp11), one thread,
// as a program has them that uses a token through OpenSSL.
//     alt_engine ENGINE.so MODULE KEY-URI MS   (the PIN comes on stdin)
// It logs in, prints "ready", waits for a line, measures, and prints operations a second.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tests/bench/alt_turn.h"

#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DATA_BYTES = 32, TEXT_BYTES = 256 };

static void must(const char *what, int ok) {
    if (ok != 1) {
        fprintf(stderr, "alt_engine: %s\n", what);
        ERR_print_errors_fp(stderr);
        exit(EXIT_FAILURE);
    }
}

static EVP_PKEY *open_key(const char *engine, const char *module, const char *uri) {
    char pin[TEXT_BYTES];
    if (fgets(pin, sizeof(pin), stdin) == NULL) {
        exit(2);
    }
    pin[strcspn(pin, "\n")] = '\0';
    ENGINE_load_dynamic();
    ENGINE *e = ENGINE_by_id("dynamic");
    must("the engine", e != NULL && ENGINE_ctrl_cmd_string(e, "SO_PATH", engine, 0) == 1 &&
                           ENGINE_ctrl_cmd_string(e, "ID", "pkcs11", 0) == 1 &&
                           ENGINE_ctrl_cmd_string(e, "LOAD", NULL, 0) == 1 &&
                           ENGINE_ctrl_cmd_string(e, "MODULE_PATH", module, 0) == 1 &&
                           ENGINE_ctrl_cmd_string(e, "PIN", pin, 0) == 1 && ENGINE_init(e) == 1);
    explicit_bzero(pin, sizeof(pin));
    EVP_PKEY *key = ENGINE_load_private_key(e, uri, NULL, NULL);
    must("the key", key != NULL);
    return key;
}

static void sign(void *context) {
    const unsigned char digest[DATA_BYTES] = { 0 };
    unsigned char signature[TEXT_BYTES];
    size_t n = sizeof(signature);
    must("EVP_PKEY_sign", EVP_PKEY_sign(context, signature, &n, digest, sizeof(digest)));
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: alt_engine ENGINE.so MODULE KEY-URI MS\n");
        return 2;
    }
    EVP_PKEY *key = open_key(argv[1], argv[2], argv[3]);
    if (!alt_wait()) {
        return 2;
    }
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
    must("EVP_PKEY_sign_init", c != NULL && EVP_PKEY_sign_init(c) == 1);
    alt_call_for(argv[4], sign, c);
    _exit(EXIT_SUCCESS); // some engines fail at the end of the process
}
