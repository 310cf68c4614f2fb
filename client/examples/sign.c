/* SPDX-License-Identifier: Apache-2.0
 *
 * Signs each line of standard input with a key of keyd, in one call, and checks the signatures.
 *     sign SOCKET KEY [TOKEN_FILE]
 * Makes the key where there is none.  Prints a line "SIGNATURE VERSION" in hexadecimal for each.
 */
#include "client/keyd_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 64, LINE_BYTES = 1024 };

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, keyd_detail());
    return 1;
}

static enum keyd_err make_key(struct keyd_service *service, const char *name) {
    struct keyd_key key;
    const enum keyd_err err = keyd_key_show(service, name, &key);
    /* A program tells problems apart by their type, never by the sentence. */
    if (err == KEYD_OK || strcmp(keyd_problem(), "no-such-key") != 0) {
        return err;
    }
    return keyd_key_create(service, name, KEYD_EC_P256, KEYD_MAY_SIGN, &key);
}

static int show(struct keyd_service *service, const struct keyd_with *with, struct keyd_bytes line,
                const struct keyd_result *result) {
    if (result->err != KEYD_OK) {
        fprintf(stderr, "%s: %s\n", keyd_err_name(result->err), result->problem);
        return 1;
    }
    const struct keyd_bytes signature = { result->bytes, result->n };
    if (keyd_verify(service, with, line, 0, signature) != KEYD_OK) {
        return fail("verify");
    }
    for (size_t i = 0; i < result->n; i++) {
        printf("%02x", result->bytes[i]);
    }
    printf(" %u\n", result->version);
    return 0;
}

static int sign_lines(struct keyd_service *service, const char *name) {
    static char text[LINES_MAX][LINE_BYTES];
    static struct keyd_bytes lines[LINES_MAX];
    static struct keyd_result results[LINES_MAX];
    const struct keyd_with with = { .key = name };
    size_t n = 0;
    if (make_key(service, name) != KEYD_OK) {
        return fail(name);
    }
    while (n < LINES_MAX && fgets(text[n], LINE_BYTES, stdin) != NULL) {
        lines[n].p = text[n];
        lines[n].n = strcspn(text[n], "\n");
        n++;
    }
    if (n > 0 && keyd_sign_all(service, &with, lines, n, 0, results) != KEYD_OK) {
        return fail("sign");
    }
    int status = 0;
    for (size_t i = 0; i < n && status == 0; i++) {
        status = show(service, &with, lines[i], &results[i]);
    }
    return status;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: sign SOCKET KEY [TOKEN_FILE]\n");
        return 2;
    }
    const struct keyd_service_config config = { .socket = argv[1],
                                                .token_file = argc > 3 ? argv[3] : NULL,
                                                .timeout_ms = 10000 };
    struct keyd_service *service = NULL;
    if (keyd_service_open(&config, &service) != KEYD_OK) {
        return fail("open");
    }
    const int status = sign_lines(service, argv[2]);
    keyd_service_close(service);
    return status;
}
