// SPDX-License-Identifier: Apache-2.0
// cmd_derive.c: keydctl ecdh, derive, and secret ...: secrets that are derived
// in the token and stay there, or are released where policy allows it.
#include "client/ctl.h"
#include "client/eckey.h"

#include <stdlib.h>
#include <string.h>

enum {
    PATH_MAX_BYTES = 256,
    PEER_MAX_BYTES = 65536,
    INFO_MAX_BYTES = 1024,
    VALUE_MAX_BYTES = 512,
    LIST_LIMIT = 500,
};

// --NAME TEXT or --NAME-file FILE into the body, where one is given.
static enum kd_exit put_text_or_file(struct kd_ctl *ctl, const char *name, json_t *body) {
    char file_option[32];
    snprintf(file_option, sizeof(file_option), "%s-file", name);
    const char *text = kd_args_text(ctl->args, name);
    const char *file = kd_args_text(ctl->args, file_option);
    if (text != NULL && file != NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "Give either --%s or --%s.", name, file_option);
    }
    if (text != NULL) {
        return kd_ctl_put_bytes(ctl, body, name, kd_bytes_of_text(text));
    }
    if (file == NULL) {
        return KD_EXIT_OK;
    }
    kd_auto(buf) struct kd_buf data = KD_BUF_INIT(INFO_MAX_BYTES + 1);
    enum kd_exit code = kd_ctl_read_file(ctl, file, INFO_MAX_BYTES, &data);
    return code != KD_EXIT_OK ? code : kd_ctl_put_bytes(ctl, body, name, kd_buf_get(&data));
}

static enum kd_exit put_number(struct kd_ctl *ctl, const char *name, uint64_t high, json_t *body) {
    uint64_t value = 0;
    char why[KD_WHY_BYTES];
    if (kd_args_number(ctl->args, name, 1, high, &value, why) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s", why);
    }
    if (value != 0) {
        json_object_set_new(body, name, json_integer((json_int_t)value));
    }
    return KD_EXIT_OK;
}

static void put_text(struct kd_ctl *ctl, const char *name, json_t *body) {
    const char *text = kd_args_text(ctl->args, name);
    if (text != NULL) {
        json_object_set_new(body, name, json_string(text));
    }
}

static enum kd_exit put_peer(struct kd_ctl *ctl, json_t *body) {
    const char *file = kd_args_text(ctl->args, "peer");
    if (file == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "Whose key is the other half?  --peer FILE: a public key (PEM), a "
                           "certificate (PEM) or a JWK.");
    }
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(PEER_MAX_BYTES + 1);
    enum kd_exit code = kd_ctl_read_file(ctl, file, PEER_MAX_BYTES, &text);
    if (code != KD_EXIT_OK) {
        return code;
    }
    json_t *jwk = NULL;
    enum kd_err e = kd_eckey_read(kd_buf_get(&text), &jwk);
    if (e == KD_ERR_PRIVATE_KEY_IMPORT) {
        kd_wipe(text.p, text.n);
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s holds a private key. It was not sent. The public half will do: "
                           "openssl pkey -in %s -pubout",
                           file, file);
    }
    if (e == KD_ERR_NO_MEMORY) {
        return kd_ctl_no_memory(ctl);
    }
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s is no public key on P-256 or P-384 (PEM, certificate or JWK).",
                           file);
    }
    return json_object_set_new(body, "peer", jwk) == 0 ? KD_EXIT_OK : kd_ctl_no_memory(ctl);
}

static enum kd_exit put_options(struct kd_ctl *ctl, json_t *body) {
    const bool release = kd_args_has(ctl->args, "release");
    if (!release && kd_args_has(ctl->args, "length")) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--length goes with --release.");
    }
    if (release && (kd_args_has(ctl->args, "type") || kd_args_has(ctl->args, "lifetime"))) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "What is released does not stay: --type and --lifetime do not go with "
                           "--release.");
    }
    if (release) {
        json_object_set_new(body, "release", json_true());
    }
    put_text(ctl, "kdf", body);
    put_text(ctl, "type", body);
    enum kd_exit code;
    if ((code = put_text_or_file(ctl, "info", body)) != KD_EXIT_OK ||
        (code = put_text_or_file(ctl, "salt", body)) != KD_EXIT_OK ||
        (code = put_number(ctl, "lifetime", UINT32_MAX, body)) != KD_EXIT_OK ||
        (code = put_number(ctl, "length", 255, body)) != KD_EXIT_OK) {
        return code;
    }
    return kd_ctl_put_version(ctl, body);
}

static enum kd_exit print_released(struct kd_ctl *ctl, const json_t *answer) {
    kd_auto(buf) struct kd_buf raw = KD_BUF_INIT(VALUE_MAX_BYTES);
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(3 * VALUE_MAX_BYTES);
    enum kd_form form;
    enum kd_exit code;
    if ((code = kd_ctl_get_form(ctl, false, &form)) != KD_EXIT_OK ||
        (code = kd_ctl_get_bytes(ctl, answer, "value", &raw)) != KD_EXIT_OK) {
        return code;
    }
    enum kd_err e = kd_form_write(form, kd_buf_get(&raw), &out);
    code = e == KD_OK ? kd_ctl_write(ctl, kd_buf_get(&out), true) : kd_ctl_no_memory(ctl);
    kd_wipe(raw.p, raw.n);
    if (out.n > 0) {
        kd_wipe(out.p, out.n);
    }
    return code;
}

static enum kd_exit print_result(struct kd_ctl *ctl, const json_t *answer) {
    if (kd_args_has(ctl->args, "release") && !ctl->json) {
        return print_released(ctl, answer);
    }
    if (ctl->json) {
        return kd_ctl_print_json(ctl, answer);
    }
    if (!ctl->terminal) { // a script wants the id
        fprintf(ctl->out, "%s\n", kd_json_text(answer, "secret"));
        return KD_EXIT_OK;
    }
    kd_output_members(ctl->out, answer);
    return KD_EXIT_OK;
}

static enum kd_exit derive(struct kd_ctl *ctl, const char *operation, json_t *body) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *answer = NULL;
    enum kd_form form;
    enum kd_exit code;
    if ((code = kd_ctl_subject_path(ctl, operation, &path)) != KD_EXIT_OK ||
        (code = kd_ctl_get_form(ctl, false, &form)) != KD_EXIT_OK ||
        (code = put_options(ctl, body)) != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "POST", kd_buf_get_text(&path), body, &answer)) != KD_EXIT_OK) {
        return code;
    }
    return print_result(ctl, answer);
}

enum kd_exit kd_cmd_ecdh(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = json_object();
    enum kd_exit code = put_peer(ctl, body);
    return code != KD_EXIT_OK ? code : derive(ctl, "ecdh", body);
}

enum kd_exit kd_cmd_derive(struct kd_ctl *ctl) {
    if (!kd_args_has(ctl->args, "kdf")) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "Say how: --kdf aes-cbc-data, hkdf-sha256 or hkdf-sha384.");
    }
    kd_auto(json) json_t *body = json_object();
    return derive(ctl, "derive", body);
}

// ---- secret list, show, delete ---------------------------------------------

enum kd_exit kd_cmd_secret_list(struct kd_ctl *ctl) {
    static const char *const heads[] = {
        "SECRET", "KEY", "VERSION", "TYPE", "EXPIRES", "RESIDENCE"
    };
    kd_auto(json) json_t *all = json_array();
    enum kd_exit code = kd_ctl_get_pages(ctl, "secrets", all);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        kd_auto(json) json_t *answer = json_pack("{s:O, s:n}", "secrets", all, "next");
        return kd_ctl_print_json(ctl, answer);
    }
    kd_auto(table) struct kd_table *t = NULL;
    if (kd_table_new(heads, KD_COUNT_OF(heads), &t) != KD_OK) {
        return kd_ctl_no_memory(ctl);
    }
    size_t i;
    json_t *secret;
    json_array_foreach(all, i, secret) {
        kd_table_put(t, kd_json_text(secret, "secret"));
        kd_table_put(t, kd_json_text(secret, "key"));
        kd_table_printf(t, "%lld", kd_json_number(secret, "version"));
        kd_table_put(t, kd_json_text(secret, "type"));
        kd_table_put(t, kd_json_text(secret, "expires"));
        kd_table_put(t, kd_json_text(secret, "residence"));
    }
    return kd_ctl_print_table(ctl, t);
}

enum kd_exit kd_cmd_secret_show(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *secret = NULL;
    enum kd_exit code;
    if ((code = kd_ctl_secret_path(ctl, ctl->args->words[0], "", &path)) != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "GET", kd_buf_get_text(&path), NULL, &secret)) != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        return kd_ctl_print_json(ctl, secret);
    }
    kd_output_members(ctl->out, secret);
    return KD_EXIT_OK;
}

enum kd_exit kd_cmd_secret_delete(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *none = NULL;
    enum kd_exit code = kd_ctl_secret_path(ctl, ctl->args->words[0], "", &path);
    return code != KD_EXIT_OK ? code
                              : kd_ctl_call(ctl, "DELETE", kd_buf_get_text(&path), NULL, &none);
}
