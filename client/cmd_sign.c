// SPDX-License-Identifier: Apache-2.0
// cmd_sign.c: keydctl sign, verify, mac, mac-verify.
#include "client/ctl.h"

#include <string.h>

enum { PATH_MAX_BYTES = 256, TAG_MAX_BYTES = 1024 };

#define INPUT_BUF KD_BUF_INIT(KD_INPUT_MAX_BYTES + 1)

// Is it what openssl(1) writes?  keyd says that all else is not valid, and not why.
static bool is_der(struct kd_bytes signature) {
    uint8_t raw[KD_ECDSA_RAW_MAX_BYTES];
    return kd_ecdsa_from_der(signature, raw, sizeof(raw));
}

// {"data": ..., "version"?, "prehashed"?, "format"?}
static enum kd_exit begin_body(struct kd_ctl *ctl, bool is_signature, json_t *body) {
    kd_auto(buf) struct kd_buf data = INPUT_BUF;
    enum kd_form form;
    enum kd_exit code;
    if ((code = kd_ctl_get_form(ctl, is_signature, &form)) != KD_EXIT_OK ||
        (code = kd_ctl_read_input(ctl, &data)) != KD_EXIT_OK) {
        return code;
    }
    const bool is_digest = is_signature && kd_args_has(ctl->args, "digest");
    if (is_digest && data.n != 32 && data.n != 48) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "A digest has 32 bytes (SHA-256, for P-256) or 48 (SHA-384, for P-384); "
                           "this has %zu. openssl dgst -sha256 -binary FILE makes one.",
                           data.n);
    }
    if (is_digest) {
        json_object_set_new(body, "prehashed", json_true());
    }
    if (form == KD_FORM_DER) {
        json_object_set_new(body, "format", json_string("der"));
    }
    code = kd_ctl_put_bytes(ctl, body, "data", kd_buf_get(&data));
    return code != KD_EXIT_OK ? code : kd_ctl_put_version(ctl, body);
}

// A signature or MAC given as text (--NAME) or as a file (--NAME-file), in --format.
static enum kd_exit put_tag(struct kd_ctl *ctl, const char *name, json_t *body) {
    char file_option[32];
    snprintf(file_option, sizeof(file_option), "%s-file", name);
    const char *given = kd_args_text(ctl->args, name);
    const char *file = kd_args_text(ctl->args, file_option);
    if ((given == NULL) == (file == NULL)) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "Give either --%s or --%s.", name, file_option);
    }
    const bool is_signature = strcmp(name, "signature") == 0;
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(TAG_MAX_BYTES + 1);
    kd_auto(buf) struct kd_buf read = KD_BUF_INIT(TAG_MAX_BYTES + 1);
    enum kd_form form;
    enum kd_exit code = kd_ctl_get_form(ctl, is_signature, &form);
    if (code == KD_EXIT_OK && file != NULL) {
        code = kd_ctl_read_file(ctl, file, TAG_MAX_BYTES, &text);
    } else if (code == KD_EXIT_OK) {
        kd_buf_text(&text, given);
    }
    if (code != KD_EXIT_OK) {
        return code;
    }
    enum kd_err e = kd_buf_finish(&text);
    e = e == KD_OK ? kd_form_read(form, kd_buf_get(&text), &read) : e;
    if (e == KD_ERR_NO_MEMORY) {
        return kd_ctl_no_memory(ctl);
    }
    if (e != KD_OK || (form == KD_FORM_DER && !is_der(kd_buf_get(&read)))) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "The %s is not in the form that --format names (base64 where it is not "
                           "given; openssl's signatures are der).",
                           name);
    }
    return kd_ctl_put_bytes(ctl, body, name, kd_buf_get(&read));
}

static enum kd_exit print_tag(struct kd_ctl *ctl, const char *member, const json_t *answer) {
    if (ctl->json) {
        return kd_ctl_print_json(ctl, answer);
    }
    const bool is_signature = strcmp(member, "signature") == 0;
    kd_auto(buf) struct kd_buf raw = KD_BUF_INIT(TAG_MAX_BYTES);
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4 * TAG_MAX_BYTES);
    enum kd_form form;
    enum kd_exit code;
    if ((code = kd_ctl_get_form(ctl, is_signature, &form)) != KD_EXIT_OK ||
        (code = kd_ctl_get_bytes(ctl, answer, member, &raw)) != KD_EXIT_OK) {
        return code;
    }
    const enum kd_err e = kd_form_write(form, kd_buf_get(&raw), &out);
    if (e == KD_ERR_NO_MEMORY) {
        return kd_ctl_no_memory(ctl);
    }
    return e == KD_OK ? kd_ctl_write(ctl, kd_buf_get(&out), false)
                      : kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE, "keyd gave no usable %s.", member);
}

static enum kd_exit make_tag(struct kd_ctl *ctl, const char *operation, const char *member,
                             bool is_signature) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *body = json_object();
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code;
    if ((code = kd_ctl_subject_path(ctl, operation, &path)) != KD_EXIT_OK ||
        (code = begin_body(ctl, is_signature, body)) != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "POST", kd_buf_get_text(&path), body, &answer)) != KD_EXIT_OK) {
        return code;
    }
    return print_tag(ctl, member, answer);
}

static enum kd_exit check_tag(struct kd_ctl *ctl, const char *operation, const char *member,
                              bool is_signature) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *body = json_object();
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code;
    if ((code = kd_ctl_subject_path(ctl, operation, &path)) != KD_EXIT_OK ||
        (code = put_tag(ctl, member, body)) != KD_EXIT_OK ||
        (code = begin_body(ctl, is_signature, body)) != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "POST", kd_buf_get_text(&path), body, &answer)) != KD_EXIT_OK) {
        return code;
    }
    // Only a plain true is a yes.
    const bool is_valid = json_is_true(json_object_get(answer, "valid"));
    if (ctl->json) {
        code = kd_ctl_print_json(ctl, answer);
    } else if (is_valid && json_object_get(answer, "version") != NULL) {
        fprintf(ctl->out, "valid (version %lld)\n", kd_json_number(answer, "version"));
    } else {
        fputs(is_valid ? "valid\n" : "NOT valid\n", ctl->out);
    }
    return code != KD_EXIT_OK ? code : is_valid ? KD_EXIT_OK : KD_EXIT_NO;
}

enum kd_exit kd_cmd_sign(struct kd_ctl *ctl) {
    return make_tag(ctl, "sign", "signature", true);
}

enum kd_exit kd_cmd_verify(struct kd_ctl *ctl) {
    return check_tag(ctl, "verify", "signature", true);
}

enum kd_exit kd_cmd_mac(struct kd_ctl *ctl) {
    return make_tag(ctl, "mac", "mac", false);
}

enum kd_exit kd_cmd_mac_verify(struct kd_ctl *ctl) {
    return check_tag(ctl, "mac-verify", "mac", false);
}
