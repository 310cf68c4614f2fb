// SPDX-License-Identifier: Apache-2.0
// cmd_encrypt.c: keydctl encrypt, decrypt, rewrap, random.  An encrypted file is one
// JSON object that says all that decrypt needs (docs/keydctl.1 describes it):
//     {"keyd": 1, "key": NAME or "secret": ID, "version": N, "iv": ..., "ciphertext": ...}
#include "client/ctl.h"

#include <string.h>

enum { PATH_MAX_BYTES = 256, FORMAT = 1, SEALED_MAX_BYTES = 2 * KD_INPUT_MAX_BYTES };

static enum kd_exit put_aad(struct kd_ctl *ctl, json_t *body) {
    const char *aad = kd_args_text(ctl->args, "aad");
    return aad == NULL ? KD_EXIT_OK : kd_ctl_put_bytes(ctl, body, "aad", kd_bytes_of_text(aad));
}

// kind: "key" or "secret".
static enum kd_exit print_sealed(struct kd_ctl *ctl, const char *kind, const char *name,
                                 const json_t *answer) {
    kd_auto(json) json_t *sealed =
        json_pack("{s:i, s:s, s:O*, s:O, s:O}", "keyd", FORMAT, kind, name, "version",
                  json_object_get(answer, "version"), "iv", json_object_get(answer, "iv"),
                  "ciphertext", json_object_get(answer, "ciphertext"));
    char *text = sealed == NULL ? NULL : json_dumps(sealed, JSON_COMPACT);
    if (text == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE, "The answer lacks \"iv\" or \"ciphertext\".");
    }
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(SEALED_MAX_BYTES);
    kd_buf_printf(&out, "%s\n", text);
    free(text);
    return kd_buf_finish(&out) == KD_OK ? kd_ctl_write(ctl, kd_buf_get(&out), false)
                                        : kd_ctl_no_memory(ctl);
}

enum kd_exit kd_cmd_encrypt(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(buf) struct kd_buf plaintext = KD_BUF_INIT(KD_INPUT_MAX_BYTES + 1);
    kd_auto(json) json_t *body = json_object();
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code;
    if ((code = kd_ctl_subject_path(ctl, "encrypt", &path)) != KD_EXIT_OK ||
        (code = put_aad(ctl, body)) != KD_EXIT_OK ||
        (code = kd_ctl_put_version(ctl, body)) != KD_EXIT_OK ||
        (code = kd_ctl_read_input(ctl, &plaintext)) != KD_EXIT_OK) {
        return code;
    }
    code = kd_ctl_put_bytes(ctl, body, "plaintext", kd_buf_get(&plaintext));
    if (plaintext.n > 0) {
        kd_wipe(plaintext.p, plaintext.n);
    }
    if (code != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "POST", kd_buf_get_text(&path), body, &answer)) != KD_EXIT_OK) {
        return code;
    }
    const char *secret = kd_args_text(ctl->args, "secret");
    return ctl->json        ? kd_ctl_print_json(ctl, answer)
           : secret != NULL ? print_sealed(ctl, "secret", secret, answer)
                            : print_sealed(ctl, "key", ctl->args->words[0], answer);
}

// The key that the command names, else the one that the file names.
static enum kd_exit sealed_path(struct kd_ctl *ctl, const json_t *sealed, struct kd_buf *path) {
    if (ctl->args->n_words > 0 || kd_args_has(ctl->args, "secret")) {
        return kd_ctl_subject_path(ctl, "decrypt", path);
    }
    const char *key = kd_json_text(sealed, "key");
    return key[0] != '\0'
               ? kd_ctl_key_path(ctl, key, "decrypt", path)
               : kd_ctl_secret_path(ctl, kd_json_text(sealed, "secret"), "decrypt", path);
}

static enum kd_exit read_sealed(struct kd_ctl *ctl, json_t **sealed) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(SEALED_MAX_BYTES + 1);
    enum kd_exit code =
        kd_ctl_read_file(ctl, kd_args_text(ctl->args, "in"), SEALED_MAX_BYTES, &text);
    if (code != KD_EXIT_OK) {
        return code;
    }
    kd_auto(json) json_t *value =
        text.n == 0 ? NULL : json_loadb((char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    if (kd_json_text(value, "iv")[0] == '\0' || kd_json_text(value, "ciphertext")[0] == '\0') {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "The input is not what keydctl encrypt wrote.");
    }
    const json_t *format = json_object_get(value, "keyd");
    if (format != NULL && json_integer_value(format) != FORMAT) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "The input was written by a later keydctl, in a form not known here.");
    }
    *sealed = KD_STEAL(value);
    return KD_EXIT_OK;
}

static enum kd_exit print_plaintext(struct kd_ctl *ctl, const json_t *answer) {
    if (ctl->json) {
        return kd_ctl_print_json(ctl, answer);
    }
    kd_auto(buf) struct kd_buf plaintext = KD_BUF_INIT(SEALED_MAX_BYTES);
    enum kd_exit code = kd_ctl_get_bytes(ctl, answer, "plaintext", &plaintext);
    if (code == KD_EXIT_OK) {
        code = kd_ctl_write(ctl, kd_buf_get(&plaintext), true);
    }
    if (plaintext.n > 0) {
        kd_wipe(plaintext.p, plaintext.n);
    }
    return code;
}

// What a file has of the body of decrypt and rewrap; then the call.
static enum kd_exit call_with_sealed(struct kd_ctl *ctl, const char *path, const json_t *sealed,
                                     json_t **answer) {
    kd_auto(json) json_t *body = json_pack("{s:O, s:O, s:O*}", "iv", json_object_get(sealed, "iv"),
                                           "ciphertext", json_object_get(sealed, "ciphertext"),
                                           "version", json_object_get(sealed, "version"));
    const enum kd_exit code = put_aad(ctl, body);
    return code == KD_EXIT_OK ? kd_ctl_call(ctl, "POST", path, body, answer) : code;
}

enum kd_exit kd_cmd_decrypt(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *sealed = NULL;
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code;
    if ((code = read_sealed(ctl, &sealed)) != KD_EXIT_OK ||
        (code = sealed_path(ctl, sealed, &path)) != KD_EXIT_OK ||
        (code = call_with_sealed(ctl, kd_buf_get_text(&path), sealed, &answer)) != KD_EXIT_OK) {
        return code;
    }
    return print_plaintext(ctl, answer);
}

enum kd_exit kd_cmd_rewrap(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *sealed = NULL;
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code;
    if ((code = read_sealed(ctl, &sealed)) != KD_EXIT_OK) {
        return code;
    }
    const char *key = ctl->args->n_words > 0 ? ctl->args->words[0] : kd_json_text(sealed, "key");
    if (key[0] == '\0') {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "The input names no key: only a key has versions.");
    }
    if ((code = kd_ctl_key_path(ctl, key, "rewrap", &path)) != KD_EXIT_OK ||
        (code = call_with_sealed(ctl, kd_buf_get_text(&path), sealed, &answer)) != KD_EXIT_OK) {
        return code;
    }
    return ctl->json ? kd_ctl_print_json(ctl, answer) : print_sealed(ctl, "key", key, answer);
}

enum kd_exit kd_cmd_random(struct kd_ctl *ctl) {
    uint64_t length = 0;
    if (kd_number_parse(ctl->args->words[0], 1, 4096, &length) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "How many bytes: a number from 1 to 4096.");
    }
    kd_auto(json) json_t *body = json_pack("{s:I}", "length", (json_int_t)length);
    kd_auto(json) json_t *answer = NULL;
    kd_auto(buf) struct kd_buf raw = KD_BUF_INIT(length + 1);
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(3 * length + 2);
    enum kd_form form;
    enum kd_exit code;
    if ((code = kd_ctl_get_form(ctl, false, &form)) != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "POST", "/v1/random", body, &answer)) != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        return kd_ctl_print_json(ctl, answer);
    }
    if ((code = kd_ctl_get_bytes(ctl, answer, "random", &raw)) != KD_EXIT_OK) {
        return code;
    }
    code = kd_form_write(form, kd_buf_get(&raw), &out) == KD_OK
               ? kd_ctl_write(ctl, kd_buf_get(&out), true)
               : kd_ctl_no_memory(ctl);
    kd_wipe(raw.p, raw.n);
    kd_wipe(out.p, out.n);
    return code;
}
