// SPDX-License-Identifier: Apache-2.0
// cmd_token.c: keydctl token new: a bearer token for a principal of the policy.
#include "client/ctl.h"

#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

enum { RANDOM_BYTES = 32, HASH_BYTES = 32 };
#define TOKEN_PREFIX "keyd_"
#define TOKEN_BYTES (sizeof(TOKEN_PREFIX) - 1 + KD_B64_LEN(RANDOM_BYTES))

// Random bytes of the kernel as "keyd_" and base64url; hash: SHA-256 of that text.
static enum kd_err make_token(struct kd_buf *token, char hash[static 2 * HASH_BYTES + 1]) {
    kd_auto(key32) struct kd_key32 random = { { 0 } };
    uint8_t digest[HASH_BYTES];
    if (getrandom(random.bytes, RANDOM_BYTES, 0) != RANDOM_BYTES) {
        return KD_ERR_SYSTEM;
    }
    kd_buf_text(token, TOKEN_PREFIX);
    kd_b64_encode(token, (struct kd_bytes) { random.bytes, RANDOM_BYTES });
    enum kd_err e = kd_buf_finish(token);
    if (e != KD_OK) {
        return e;
    }
    if (EVP_Digest(token->p, token->n, digest, NULL, EVP_sha256(), NULL) != 1) {
        return KD_ERR_SYSTEM;
    }
    kd_hex_encode(digest, HASH_BYTES, hash);
    kd_buf_u8(token, '\n');
    return kd_buf_finish(token);
}

static void print_policy(FILE *out, const char *name, const char *hash) {
    fprintf(out,
            "# For the policy file; keyd reads it again on SIGHUP (systemctl reload keyd).\n"
            "principal \"%s\" {\n"
            "    token = { \"sha256:%s\" }\n"
            "}\n"
            "allow \"%s\" {\n"
            "    operations = { \"show\", \"sign\" }\n"
            "    keys = { \"*\" }\n"
            "}\n",
            name, hash, name);
}

enum kd_exit kd_cmd_token_new(struct kd_ctl *ctl) {
    const char *name = ctl->args->words[0];
    if (!kd_name_is_valid(kd_bytes_of_text(name))) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "\"%.80s\" is no name of a principal: 1 to 64 of A-Z a-z 0-9 . _ - and "
                           "a letter or digit first.",
                           name);
    }
    char hash[2 * HASH_BYTES + 1];
    kd_auto(buf) struct kd_buf token = KD_BUF_INIT(TOKEN_BYTES + 2);
    const enum kd_err e = make_token(&token, hash);
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "No token could be made: %s", kd_err_sentence(e));
    }
    enum kd_exit code = kd_ctl_write(ctl, kd_buf_get(&token), true);
    kd_wipe(token.p, token.n);
    if (code != KD_EXIT_OK) {
        return code;
    }
    // Standard output is the token's where there is no --out.
    print_policy(kd_args_has(ctl->args, "out") ? ctl->out : ctl->err, name, hash);
    return KD_EXIT_OK;
}
