// SPDX-License-Identifier: Apache-2.0
// cmd_key.c: keydctl key ...: making, showing and ending keys.
#include "client/ctl.h"
#include "client/eckey.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MAX_BYTES = 256, PEM_MAX_BYTES = 65536 };

// The newest enabled version's public key, or that of --version.
static const json_t *find_version(const json_t *key, long long number) {
    size_t i;
    json_t *version;
    json_array_foreach(json_object_get(key, "versions"), i, version) {
        if (kd_json_number(version, "version") == number) {
            return version;
        }
    }
    return NULL;
}

static enum kd_exit print_versions(const struct kd_ctl *ctl, const json_t *key) {
    static const char *const heads[] = { "VERSION", "STATE", "CREATED", "MADE IN THE TOKEN",
                                         "EXTRACTABLE" };
    kd_auto(table) struct kd_table *t = NULL;
    if (kd_table_new(heads, KD_COUNT_OF(heads), &t) != KD_OK) {
        return kd_ctl_no_memory(ctl);
    }
    size_t i;
    json_t *version;
    json_array_foreach(json_object_get(key, "versions"), i, version) {
        kd_table_printf(t, "%lld", kd_json_number(version, "version"));
        kd_table_put(t, kd_json_text(version, "state"));
        kd_table_put(t, kd_json_text(version, "created"));
        kd_table_put(t, json_is_true(json_object_get(version, "local")) ? "yes" : "no");
        kd_table_put(t, json_is_true(json_object_get(version, "extractable")) ? "YES" : "no");
    }
    return kd_ctl_print_table(ctl, t);
}

static enum kd_exit print_key(const struct kd_ctl *ctl, const json_t *key) {
    if (ctl->json) {
        return kd_ctl_print_json(ctl, key);
    }
    static const char *const members[] = {
        "name", "type", "usages", "origin", "created", "primary"
    };
    for (size_t i = 0; i < KD_COUNT_OF(members); i++) {
        kd_auto(json) json_t *one = json_object();
        json_t *value = json_object_get(key, members[i]);
        if (value != NULL && json_object_set(one, members[i], value) == 0) {
            kd_output_members(ctl->out, one);
        }
    }
    return print_versions(ctl, key);
}

// POST (or another method) on a key, whose new state is then printed.
static enum kd_exit change_key(struct kd_ctl *ctl, const char *path, const json_t *body) {
    kd_auto(json) json_t *key = NULL;
    enum kd_exit code = kd_ctl_call(ctl, "POST", path, body, &key);
    return code != KD_EXIT_OK ? code : print_key(ctl, key);
}

// "sign,verify" as a list.
static json_t *split_list(const char *text) {
    json_t *list = json_array();
    while (list != NULL && text[0] != '\0') {
        const size_t n = strcspn(text, ",");
        json_array_append_new(list, json_stringn(text, n));
        text += n + (text[n] == ',' ? 1 : 0);
    }
    return list;
}

// {"name": NAME}, with the name checked.
static enum kd_exit begin_key(const struct kd_ctl *ctl, json_t **body) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    const char *name = ctl->args->words[0];
    enum kd_exit code = kd_ctl_key_path(ctl, name, "", &path);
    if (code != KD_EXIT_OK) {
        return code;
    }
    *body = json_pack("{s:s}", "name", name);
    return *body != NULL ? KD_EXIT_OK : kd_ctl_no_memory(ctl);
}

enum kd_exit kd_cmd_key_create(struct kd_ctl *ctl) {
    const char *type = kd_args_text(ctl->args, "type");
    const char *usage = kd_args_text(ctl->args, "usage");
    if (type == NULL || usage == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "A new key needs --type and --usage; see keydctl help key create.");
    }
    kd_auto(json) json_t *body = NULL;
    enum kd_exit code = begin_key(ctl, &body);
    if (code != KD_EXIT_OK) {
        return code;
    }
    json_object_set_new(body, "type", json_string(type));
    json_object_set_new(body, "usages", split_list(usage));
    return change_key(ctl, "/v1/keys", body);
}

// The object that --uri names, into the body.
static enum kd_exit put_uri(const struct kd_ctl *ctl, json_t *body) {
    const char *uri = kd_args_text(ctl->args, "uri");
    if (uri == NULL || strncmp(uri, "pkcs11:", 7) != 0) {
        return kd_ctl_fail(
            ctl, KD_EXIT_USAGE,
            "Say which object of the token: --uri 'pkcs11:object=LABEL;type=private'.");
    }
    if (strstr(uri, "pin-value") != NULL) {
        return kd_ctl_fail(
            ctl, KD_EXIT_USAGE,
            "A PIN has no place in a URI; keyd has its own (pin-file in keyd.conf).");
    }
    return json_object_set_new(body, "uri", json_string(uri)) == 0 ? KD_EXIT_OK
                                                                   : kd_ctl_no_memory(ctl);
}

enum kd_exit kd_cmd_key_adopt(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = NULL;
    enum kd_exit code;
    if ((code = begin_key(ctl, &body)) != KD_EXIT_OK || (code = put_uri(ctl, body)) != KD_EXIT_OK) {
        return code;
    }
    return change_key(ctl, "/v1/keys", body);
}

enum kd_exit kd_cmd_key_import(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = NULL;
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(PEM_MAX_BYTES + 1);
    enum kd_exit code;
    if ((code = begin_key(ctl, &body)) != KD_EXIT_OK ||
        (code = kd_ctl_read_file(ctl, kd_args_text(ctl->args, "pem"), PEM_MAX_BYTES, &text)) !=
            KD_EXIT_OK) {
        return code;
    }
    if (kd_eckey_is_private(kd_buf_get(&text))) {
        kd_wipe(text.p, text.n);
        return kd_ctl_fail(
            ctl, KD_EXIT_USAGE,
            "This file holds a private key. It was not sent: keyd takes public keys "
            "only (openssl pkey -in FILE -pubout), and makes its private keys in the "
            "token.");
    }
    const bool is_jwk = text.n > 0 && text.p[0] == '{';
    json_t *value = is_jwk ? json_loadb((char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL)
                           : json_stringn((char *)text.p, text.n);
    if (json_object_set_new(body, is_jwk ? "jwk" : "pem", value) != 0) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "The file is neither PEM nor a JWK.");
    }
    return change_key(ctl, "/v1/keys", body);
}

// ---- list and show ---------------------------------------------------------

static void put_row(struct kd_table *t, const json_t *key) {
    uint8_t room[PATH_MAX_BYTES];
    struct kd_buf usages = KD_BUF_OVER(room);
    const json_t *list = json_object_get(key, "usages");
    size_t i;
    json_t *usage;
    json_array_foreach(list, i, usage) {
        kd_buf_printf(&usages, "%s%s", i == 0 ? "" : ",", json_string_value(usage));
    }
    const json_t *primary = json_object_get(key, "primary");
    kd_table_put(t, kd_json_text(key, "name"));
    kd_table_put(t, kd_json_text(key, "type"));
    kd_table_put(t, kd_buf_get_text(&usages));
    kd_table_put(t, kd_json_text(key, "origin"));
    if (json_is_integer(primary)) {
        kd_table_printf(t, "%lld", (long long)json_integer_value(primary));
    } else {
        kd_table_put(t, "disabled");
    }
    kd_table_printf(t, "%zu", json_array_size(json_object_get(key, "versions")));
    kd_table_put(t, kd_json_text(key, "created"));
}

enum kd_exit kd_cmd_key_list(struct kd_ctl *ctl) {
    static const char *const heads[] = { "NAME",    "TYPE",     "USAGES", "ORIGIN",
                                         "PRIMARY", "VERSIONS", "CREATED" };
    kd_auto(json) json_t *all = json_array();
    enum kd_exit code = kd_ctl_get_pages(ctl, "keys", all);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        kd_auto(json) json_t *answer = json_pack("{s:O, s:n}", "keys", all, "next");
        return kd_ctl_print_json(ctl, answer);
    }
    if (ctl->terminal && json_array_size(all) == 0) {
        fputs("There are no keys that you may see. keydctl key create makes one.\n", ctl->out);
        return KD_EXIT_OK;
    }
    kd_auto(table) struct kd_table *t = NULL;
    if (kd_table_new(heads, KD_COUNT_OF(heads), &t) != KD_OK) {
        return kd_ctl_no_memory(ctl);
    }
    size_t i;
    json_t *key;
    json_array_foreach(all, i, key) {
        put_row(t, key);
    }
    return kd_ctl_print_table(ctl, t);
}

static enum kd_exit print_pem(const struct kd_ctl *ctl, const json_t *key) {
    kd_auto(json) json_t *wanted = json_object();
    enum kd_exit code = kd_ctl_put_version(ctl, wanted);
    if (code != KD_EXIT_OK) {
        return code;
    }
    long long number = kd_json_number(wanted, "version");
    number = number != 0 ? number : kd_json_number(key, "primary");
    const json_t *version = find_version(key, number);
    const char *pem = kd_json_text(version, "pem");
    if (pem[0] == '\0') {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s",
                           version == NULL ? "There is no such enabled version of the key."
                                           : "The key has no public part.");
    }
    return kd_ctl_write(ctl, kd_bytes_of_text(pem), false);
}

enum kd_exit kd_cmd_key_show(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *key = NULL;
    enum kd_exit code;
    if ((code = kd_ctl_key_path(ctl, ctl->args->words[0], "", &path)) != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "GET", kd_buf_get_text(&path), NULL, &key)) != KD_EXIT_OK) {
        return code;
    }
    return kd_args_has(ctl->args, "pem") ? print_pem(ctl, key) : print_key(ctl, key);
}

// ---- changes ---------------------------------------------------------------

static enum kd_exit change_named(struct kd_ctl *ctl, const char *tail) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *body = json_object();
    enum kd_exit code = kd_ctl_key_path(ctl, ctl->args->words[0], tail, &path);
    if (code == KD_EXIT_OK) {
        code = kd_ctl_put_version(ctl, body); // for commands that have --version
    }
    if (code == KD_EXIT_OK && kd_args_has(ctl->args, "uri")) {
        code = put_uri(ctl, body);
    }
    return code != KD_EXIT_OK ? code : change_key(ctl, kd_buf_get_text(&path), body);
}

enum kd_exit kd_cmd_key_rotate(struct kd_ctl *ctl) {
    return change_named(ctl, "rotate");
}

enum kd_exit kd_cmd_key_enable(struct kd_ctl *ctl) {
    return change_named(ctl, "enable");
}

enum kd_exit kd_cmd_key_disable(struct kd_ctl *ctl) {
    return change_named(ctl, "disable");
}

// Destroying a key in a token is for ever: it is asked for twice.
static enum kd_exit confirm(const struct kd_ctl *ctl, const char *name, const char *what) {
    if (kd_args_has(ctl->args, "yes")) {
        return KD_EXIT_OK;
    }
    if (isatty(STDIN_FILENO) != 1) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s of %s would be destroyed in the token, for ever. Say --yes.", what,
                           name);
    }
    fprintf(ctl->err, "%s of %s would be destroyed in the token, for ever. Type its name: ", what,
            name);
    char line[KD_NAME_MAX_BYTES + 2];
    if (fgets(line, sizeof(line), stdin) == NULL) {
        line[0] = '\0';
    }
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, name) == 0 ? KD_EXIT_OK
                                   : kd_ctl_fail(ctl, KD_EXIT_USAGE, "Nothing was destroyed.");
}

enum kd_exit kd_cmd_key_delete(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *wanted = json_object();
    kd_auto(json) json_t *none = NULL;
    const char *name = ctl->args->words[0];
    char what[32] = "All versions";
    char tail[32] = "";
    enum kd_exit code = kd_ctl_put_version(ctl, wanted);
    const long long number = kd_json_number(wanted, "version");
    if (number != 0) {
        snprintf(what, sizeof(what), "Version %lld", number);
        snprintf(tail, sizeof(tail), "versions/%lld", number);
    }
    if (code != KD_EXIT_OK || (code = kd_ctl_key_path(ctl, name, tail, &path)) != KD_EXIT_OK ||
        (code = confirm(ctl, name, what)) != KD_EXIT_OK) {
        return code;
    }
    return kd_ctl_call(ctl, "DELETE", kd_buf_get_text(&path), NULL, &none);
}
