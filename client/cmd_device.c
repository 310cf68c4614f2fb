// SPDX-License-Identifier: Apache-2.0
// cmd_device.c: keydctl ca, device ... and server-cert: the bootstrap server for its operators.
// Devices themselves speak EST with it.
#include "client/ctl.h"

#include <string.h>
#include <unistd.h>

enum { PATH_MAX_BYTES = 256, LIFETIME_MAX_SEC = 31536000 };

// ---- devices ---------------------------------------------------------------

// Calls METHOD /v1/devices/ID TAIL.
static enum kd_exit call_device(struct kd_ctl *ctl, const char *method, const char *tail,
                                const json_t *body, json_t **answer) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    const char *id = ctl->args->words[0];
    if (!kd_name_is_valid(kd_bytes_of_text(id))) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "\"%.80s\" is no id of a device: 1 to 64 of A-Z a-z 0-9 . _ - and a "
                           "letter or digit first.",
                           id);
    }
    kd_buf_printf(&path, "/v1/devices/%s%s", id, tail);
    return kd_ctl_call(ctl, method, kd_buf_get_text(&path), body, answer);
}

static enum kd_exit put_text(const struct kd_ctl *ctl, json_t *body, const char *option) {
    const char *text = kd_args_text(ctl->args, option);
    return text == NULL || json_object_set_new(body, option, json_string(text)) == 0
               ? KD_EXIT_OK
               : kd_ctl_fail(ctl, KD_EXIT_USAGE, "--%s is not text in UTF-8.", option);
}

static enum kd_exit put_lifetime(const struct kd_ctl *ctl, json_t *body) {
    uint64_t seconds = 0;
    char why[KD_WHY_BYTES] = "";
    if (!kd_args_has(ctl->args, "lifetime")) {
        return KD_EXIT_OK;
    }
    if (kd_args_number(ctl->args, "lifetime", 1, LIFETIME_MAX_SEC, &seconds, why) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s", why);
    }
    return json_object_set_new(body, "secret_lifetime", json_integer((json_int_t)seconds)) == 0
               ? KD_EXIT_OK
               : kd_ctl_no_memory(ctl);
}

static enum kd_exit print_device(const struct kd_ctl *ctl, const json_t *device) {
    if (ctl->json) {
        return kd_ctl_print_json(ctl, device);
    }
    kd_auto(json) json_t *shown = json_copy((json_t *)(uintptr_t)device);
    if (json_object_del(shown, "certificate") == 0) {
        json_object_set_new(shown, "certificate", json_string("--pem prints it"));
    }
    kd_output_members(ctl->out, shown);
    return KD_EXIT_OK;
}

// The secret alone goes to --out; without it, among the rest.
static enum kd_exit tell_secret(const struct kd_ctl *ctl, json_t *device) {
    if (!kd_args_has(ctl->args, "out")) {
        return print_device(ctl, device);
    }
    const char *secret = kd_json_text(device, "secret");
    const enum kd_exit code = kd_ctl_write(ctl, kd_bytes_of_text(secret), true);
    json_object_del(device, "secret");
    return code != KD_EXIT_OK ? code : print_device(ctl, device);
}

enum kd_exit kd_cmd_device_enroll(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = json_pack("{s:s}", "id", ctl->args->words[0]);
    kd_auto(json) json_t *device = NULL;
    enum kd_exit code;
    if (body == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "The id is not text in UTF-8.");
    }
    if ((code = put_text(ctl, body, "relation")) != KD_EXIT_OK ||
        (code = put_text(ctl, body, "usage")) != KD_EXIT_OK ||
        (code = put_lifetime(ctl, body)) != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "POST", "/v1/devices", body, &device)) != KD_EXIT_OK) {
        return code;
    }
    return tell_secret(ctl, device);
}

enum kd_exit kd_cmd_device_renew(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = json_object();
    kd_auto(json) json_t *device = NULL;
    enum kd_exit code;
    if ((code = put_lifetime(ctl, body)) != KD_EXIT_OK ||
        (code = call_device(ctl, "POST", "/secret", body, &device)) != KD_EXIT_OK) {
        return code;
    }
    return tell_secret(ctl, device);
}

static void put_row(struct kd_table *t, const json_t *device) {
    static const char *const members[] = { "id",        "relation",       "usage", "state",
                                           "not_after", "secret_expires", "uri" };
    for (size_t i = 0; i < KD_COUNT_OF(members); i++) {
        const char *text = kd_json_text(device, members[i]);
        kd_table_put(t, text[0] != '\0' ? text : NULL);
    }
}

enum kd_exit kd_cmd_device_list(struct kd_ctl *ctl) {
    static const char *const heads[] = { "ID",        "RELATION",     "USAGE", "STATE",
                                         "NOT AFTER", "SECRET UNTIL", "URI" };
    return kd_ctl_print_list(ctl, "devices", heads, KD_COUNT_OF(heads), put_row);
}

enum kd_exit kd_cmd_device_show(struct kd_ctl *ctl) {
    kd_auto(json) json_t *device = NULL;
    const enum kd_exit code = call_device(ctl, "GET", "", NULL, &device);
    if (code != KD_EXIT_OK || !kd_args_has(ctl->args, "pem")) {
        return code != KD_EXIT_OK ? code : print_device(ctl, device);
    }
    const char *pem = kd_json_text(device, "certificate");
    return pem[0] != '\0' ? kd_ctl_write(ctl, kd_bytes_of_text(pem), false)
                          : kd_ctl_fail(ctl, KD_EXIT_USAGE, "The device has no certificate yet.");
}

enum kd_exit kd_cmd_device_revoke(struct kd_ctl *ctl) {
    kd_auto(json) json_t *device = NULL;
    kd_auto(json) json_t *body = json_object();
    if (!kd_args_has(ctl->args, "yes")) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s would be revoked for ever, and its sessions would end. Say --yes.",
                           ctl->args->words[0]);
    }
    const enum kd_exit code = call_device(ctl, "POST", "/revoke", body, &device);
    return code != KD_EXIT_OK ? code : print_device(ctl, device);
}

enum kd_exit kd_cmd_device_delete(struct kd_ctl *ctl) {
    kd_auto(json) json_t *nothing = NULL;
    if (!kd_args_has(ctl->args, "yes")) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s would be deleted, and no device could have its id again. Say --yes.",
                           ctl->args->words[0]);
    }
    return call_device(ctl, "DELETE", "", NULL, &nothing);
}

// ---- the CA ----------------------------------------------------------------

static enum kd_exit make_paper(struct kd_ctl *ctl, const char *path, const char *member,
                               const json_t *body) {
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = kd_ctl_call(ctl, "POST", path, body, &answer);
    if (code != KD_EXIT_OK) {
        return code;
    }
    return ctl->json ? kd_ctl_print_json(ctl, answer)
                     : kd_ctl_write(ctl, kd_bytes_of_text(kd_json_text(answer, member)), false);
}

static bool has_key(const json_t *keys, const char *name) {
    size_t i;
    json_t *key;
    json_array_foreach((json_t *)(uintptr_t)keys, i, key) {
        if (strcmp(kd_json_text(key, "name"), name) == 0) {
            return true;
        }
    }
    return false;
}

// The key of the configuration, made where it is not there.
static enum kd_exit make_key(struct kd_ctl *ctl, const char *name) {
    kd_auto(json) json_t *keys = json_array();
    kd_auto(json) json_t *made = NULL;
    const char *type = kd_args_text(ctl->args, "type");
    const enum kd_exit code = kd_ctl_get_pages(ctl, "keys", keys);
    if (code != KD_EXIT_OK || has_key(keys, name)) {
        return code;
    }
    kd_auto(json) json_t *body = json_pack("{s:s, s:s, s:[s]}", "name", name, "type",
                                           type == NULL ? "ec-p256" : type, "usages", "sign");
    if (body == NULL) {
        return kd_ctl_no_memory(ctl);
    }
    return kd_ctl_call(ctl, "POST", "/v1/keys", body, &made);
}

enum kd_exit kd_cmd_ca_init(struct kd_ctl *ctl) {
    const bool is_request = kd_args_has(ctl->args, "request");
    const char *subject = kd_args_text(ctl->args, "subject");
    kd_auto(json) json_t *ca = NULL;
    enum kd_exit code = kd_ctl_call(ctl, "GET", "/v1/ca", NULL, &ca);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (json_array_size(json_object_get(ca, "certificates")) > 0 &&
        !kd_args_has(ctl->args, "again")) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "The CA has a certificate already (keydctl ca show). --again makes "
                           "another one for the same key.");
    }
    if ((code = make_key(ctl, kd_json_text(ca, "key"))) != KD_EXIT_OK) {
        return code;
    }
    kd_auto(json) json_t *body =
        json_pack("{s:s}", "subject", subject == NULL ? kd_json_text(ca, "server") : subject);
    if (body == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--subject is not text in UTF-8.");
    }
    code = make_paper(ctl, is_request ? "/v1/ca/request" : "/v1/ca/root",
                      is_request ? "request" : "certificate", body);
    if (code == KD_EXIT_OK) {
        fputs(is_request
                  ? "Let the CA above sign it; its answer, then the certificates above it, go into "
                    "the\nfile that ca.certificate-file names. Then SIGHUP (systemctl reload "
                    "keyd).\n"
                  : "It goes into the file that ca.certificate-file names. Then SIGHUP (systemctl "
                    "reload keyd).\n",
              ctl->err);
    }
    return code;
}

enum kd_exit kd_cmd_ca_show(struct kd_ctl *ctl) {
    kd_auto(json) json_t *ca = NULL;
    const enum kd_exit code = kd_ctl_call(ctl, "GET", "/v1/ca", NULL, &ca);
    if (code != KD_EXIT_OK || ctl->json) {
        return code != KD_EXIT_OK ? code : kd_ctl_print_json(ctl, ca);
    }
    json_t *all = json_object_get(ca, "certificates");
    if (!kd_args_has(ctl->args, "pem")) {
        json_object_set_new(ca, "certificates", json_integer((json_int_t)json_array_size(all)));
        kd_output_members(ctl->out, ca);
        return KD_EXIT_OK;
    }
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(65536);
    for (size_t i = 0; i < json_array_size(all); i++) {
        const char *text = json_string_value(json_array_get(all, i));
        kd_buf_text(&pem, text == NULL ? "" : text);
    }
    return kd_buf_finish(&pem) == KD_OK ? kd_ctl_write(ctl, kd_buf_get(&pem), false)
                                        : kd_ctl_no_memory(ctl);
}

enum kd_exit kd_cmd_server_cert(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = json_object();
    const enum kd_exit code = make_paper(ctl, "/v1/ca/server-certificate", "certificate", body);
    if (code == KD_EXIT_OK) {
        fputs("It goes into the file that channel.certificate-file names. Then SIGHUP (systemctl "
              "reload keyd).\n",
              ctl->err);
    }
    return code;
}
