// SPDX-License-Identifier: Apache-2.0
// ctl_data.c: what goes into a call and what comes out of it: paths, input,
// base64url members, and results in the form and place that was asked for.
#include "client/ctl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { SECRET_ID_BYTES = 22, PATH_MAX_BYTES = 256, LIST_LIMIT = 500 }; // id: base64url of 16 bytes

// ---- paths -----------------------------------------------------------------

static void put_path(struct kd_buf *path, const char *folder, const char *name, const char *tail) {
    kd_buf_printf(path, "/v1/%s/%s%s%s", folder, name, tail[0] == '\0' ? "" : "/", tail);
}

enum kd_exit kd_ctl_key_path(const struct kd_ctl *ctl, const char *name, const char *tail,
                             struct kd_buf *path) {
    if (!kd_name_is_valid(kd_bytes_of_text(name))) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "\"%.80s\" is no key name: 1 to 64 of A-Z a-z 0-9 . _ - and a letter or "
                           "digit first.",
                           name);
    }
    put_path(path, "keys", name, tail);
    return KD_EXIT_OK;
}

enum kd_exit kd_ctl_secret_path(const struct kd_ctl *ctl, const char *id, const char *tail,
                                struct kd_buf *path) {
    if (strlen(id) != SECRET_ID_BYTES ||
        strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") !=
            SECRET_ID_BYTES) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "\"%.80s\" is no id of a secret; keydctl secret list shows yours.", id);
    }
    put_path(path, "secrets", id, tail);
    return KD_EXIT_OK;
}

enum kd_exit kd_ctl_subject_path(const struct kd_ctl *ctl, const char *tail, struct kd_buf *path) {
    const char *secret = kd_args_text(ctl->args, "secret");
    const bool has_name = ctl->args->n_words > 0;
    if (has_name == (secret != NULL)) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "Give either the NAME of a key or --secret ID.");
    }
    return secret != NULL ? kd_ctl_secret_path(ctl, secret, tail, path)
                          : kd_ctl_key_path(ctl, ctl->args->words[0], tail, path);
}

// ---- input -----------------------------------------------------------------

enum kd_exit kd_ctl_read_file(const struct kd_ctl *ctl, const char *path, size_t max_bytes,
                              struct kd_buf *data) {
    const bool is_stdin = path == NULL || strcmp(path, "-") == 0;
    if (is_stdin && isatty(STDIN_FILENO) == 1) {
        fputs("keydctl: reading standard input; end it with Ctrl-D (--in FILE reads a file)\n",
              ctl->err);
    }
    enum kd_err e = kd_io_read(path, max_bytes, data);
    if (e == KD_ERR_ITEM_TOO_LARGE) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s is longer than %zu bytes, which is the most here.",
                           is_stdin ? "The input" : path, max_bytes);
    }
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s cannot be read: %s",
                           is_stdin ? "Standard input" : path, strerror(errno));
    }
    return KD_EXIT_OK;
}

enum kd_exit kd_ctl_read_input(const struct kd_ctl *ctl, struct kd_buf *data) {
    return kd_ctl_read_file(ctl, kd_args_text(ctl->args, "in"), KD_INPUT_MAX_BYTES, data);
}

enum kd_exit kd_ctl_put_bytes(const struct kd_ctl *ctl, json_t *object, const char *member,
                              struct kd_bytes data) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_B64_LEN(data.n) + 1);
    kd_b64_encode(&text, data);
    const char *p = kd_buf_get_text(&text);
    if (kd_buf_finish(&text) != KD_OK || json_object_set_new(object, member, json_string(p)) != 0) {
        return kd_ctl_no_memory(ctl);
    }
    kd_wipe(text.p, text.n);
    return KD_EXIT_OK;
}

enum kd_exit kd_ctl_put_version(const struct kd_ctl *ctl, json_t *body) {
    uint64_t version = 0;
    char why[KD_WHY_BYTES];
    if (kd_args_number(ctl->args, "version", 1, UINT32_MAX, &version, why) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s", why);
    }
    if (version != 0 &&
        json_object_set_new(body, "version", json_integer((json_int_t)version)) != 0) {
        return kd_ctl_no_memory(ctl);
    }
    return KD_EXIT_OK;
}

// ---- results ---------------------------------------------------------------

// What stands in a list is named by a name or an id, and goes into a path as it is.
static bool may_follow(const char *next, const char *after) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const size_t n = strlen(next);
    // A page that does not move on would be read for ever.
    return n > 0 && n <= KD_NAME_MAX_BYTES && strspn(next, letters) == n &&
           strcmp(next, after) != 0;
}

enum kd_exit kd_ctl_get_pages(struct kd_ctl *ctl, const char *folder, json_t *all) {
    char after[KD_NAME_MAX_BYTES + 1] = "";
    const char *state = kd_args_text(ctl->args, "state");
    if (state != NULL && !kd_name_is_valid(kd_bytes_of_text(state))) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "\"%.80s\" is no state.", state);
    }
    for (;;) {
        kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
        kd_buf_printf(&path, "/v1/%s?limit=%d%s%s%s%s", folder, LIST_LIMIT,
                      state == NULL ? "" : "&state=", state == NULL ? "" : state,
                      after[0] == '\0' ? "" : "&after=", after);
        kd_auto(json) json_t *page = NULL;
        enum kd_exit code = kd_ctl_call(ctl, "GET", kd_buf_get_text(&path), NULL, &page);
        if (code != KD_EXIT_OK) {
            return code;
        }
        if (json_array_extend(all, json_object_get(page, folder)) != 0) {
            return kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE, "The answer lacks \"%s\".", folder);
        }
        const char *next = kd_json_text(page, "next");
        if (!may_follow(next, after)) {
            return KD_EXIT_OK;
        }
        snprintf(after, sizeof(after), "%s", next);
    }
}

enum kd_exit kd_ctl_get_bytes(const struct kd_ctl *ctl, const json_t *answer, const char *member,
                              struct kd_buf *data) {
    const json_t *text = json_object_get(answer, member);
    const struct kd_bytes b = { (const uint8_t *)json_string_value(text),
                                json_string_length(text) };
    enum kd_err e = json_is_string(text) ? kd_b64_decode(b, data) : KD_ERR_BAD_BASE64;
    e = e == KD_OK ? kd_buf_finish(data) : e;
    if (e == KD_ERR_NO_MEMORY) {
        return kd_ctl_no_memory(ctl);
    }
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE,
                           "The answer lacks \"%s\": what answers is no keyd that keydctl knows.",
                           member);
    }
    return KD_EXIT_OK;
}

enum kd_exit kd_ctl_get_form(const struct kd_ctl *ctl, bool may_be_der, enum kd_form *form) {
    const char *name = kd_args_text(ctl->args, "format");
    *form = KD_FORM_BASE64URL;
    if (name != NULL && (!kd_form_parse(name, form) || (*form == KD_FORM_DER && !may_be_der))) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--format is one of base64, hex, raw%s.",
                           may_be_der ? ", der" : "");
    }
    return KD_EXIT_OK;
}

enum kd_exit kd_ctl_write(const struct kd_ctl *ctl, struct kd_bytes data, bool is_secret) {
    const char *path = kd_args_text(ctl->args, "out");
    if (path == NULL || strcmp(path, "-") == 0) {
        if (data.n > 0) {
            fwrite(data.p, 1, data.n, ctl->out);
        }
        return KD_EXIT_OK;
    }
    enum kd_err e = is_secret ? kd_io_write_new(path, data, 0600) : kd_io_write(path, data);
    if (e == KD_ERR_KEY_EXISTS) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s is there already. What is secret goes into a new file only: remove "
                           "it, or name another.",
                           path);
    }
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s cannot be written: %s", path, strerror(errno));
    }
    return KD_EXIT_OK;
}

enum kd_exit kd_ctl_write_member(const struct kd_ctl *ctl, const json_t *answer, const char *member,
                                 bool is_secret) {
    kd_auto(buf) struct kd_buf bytes = KD_BUF_INIT(KD_INPUT_MAX_BYTES);
    if (ctl->json) {
        return kd_ctl_print_json(ctl, answer);
    }
    const enum kd_exit code = kd_ctl_get_bytes(ctl, answer, member, &bytes);
    return code == KD_EXIT_OK ? kd_ctl_write(ctl, kd_buf_get(&bytes), is_secret) : code;
}

enum kd_exit kd_ctl_print_json(const struct kd_ctl *ctl, const json_t *value) {
    return kd_output_json(ctl->out, value, ctl->terminal) == KD_OK ? KD_EXIT_OK
                                                                   : kd_ctl_no_memory(ctl);
}

enum kd_exit kd_ctl_print_table(const struct kd_ctl *ctl, const struct kd_table *table) {
    return kd_table_print(table, ctl->out, ctl->terminal) == KD_OK ? KD_EXIT_OK
                                                                   : kd_ctl_no_memory(ctl);
}
