// SPDX-License-Identifier: Apache-2.0
// cmd_init_channel.c: keydctl init --channel: the keys of the secure channel, a
// certificate for its identity, and its section in keyd.conf.  The certificate is signed
// while the identity is a key like others: once the section is in use it signs EDHOC messages only.
#include "client/ctl.h"
#include "client/selfcert.h"
#include "client/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_MAX_BYTES = 1 << 20, TBS_MAX_BYTES = 4096, PEM_MAX_BYTES = 8192, RAW_BYTES = 64 };

#define CERTIFICATE_DAYS 3650
#define IDENTITY "channel-identity"

// ---- before anything is made -----------------------------------------------

// Is there a line that begins a section of this name?
static bool has_section(const char *text, const char *name) {
    const size_t n = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += strspn(line, " \t\r\n");
        const char *rest = strncmp(line, name, n) == 0 ? line + n : "";
        if (rest[strspn(rest, " \t\r\n")] == '{') {
            return true;
        }
    }
    return false;
}

static enum kd_exit read_config(const struct kd_ctl *ctl, const char *path, struct kd_buf *text) {
    const enum kd_err e = kd_io_read(path, CONFIG_MAX_BYTES, text);
    kd_buf_u8(text, '\0');
    if (e != KD_OK || kd_buf_finish(text) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s cannot be read: %s", path, strerror(errno));
    }
    if (has_section((const char *)text->p, "channel")) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s has a section channel already. Nothing was changed.", path);
    }
    if (access(path, W_OK) != 0) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s cannot be written: %s", path, strerror(errno));
    }
    return KD_EXIT_OK;
}

// keyd that runs must be the one of this file, and its channel off.
static enum kd_exit check_daemon(struct kd_ctl *ctl) {
    kd_auto(json) json_t *status = NULL;
    const enum kd_exit code = kd_ctl_call(ctl, "GET", "/v1/status", NULL, &status);
    if (code != KD_EXIT_OK) {
        return code;
    }
    return json_is_true(json_object_get(json_object_get(status, "channel"), "on"))
               ? kd_ctl_fail(ctl, KD_EXIT_USAGE, "The channel of the running keyd is on already.")
               : KD_EXIT_OK;
}

// ---- the certificate -------------------------------------------------------

static enum kd_exit sign(struct kd_ctl *ctl, struct kd_bytes tbs, struct kd_buf *signature) {
    kd_auto(json) json_t *body = json_object();
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code = kd_ctl_put_bytes(ctl, body, "data", tbs);
    if (code != KD_EXIT_OK || (code = kd_ctl_call(ctl, "POST", "/v1/keys/" IDENTITY "/sign", body,
                                                  &answer)) != KD_EXIT_OK) {
        return code;
    }
    return kd_ctl_get_bytes(ctl, answer, "signature", signature);
}

static const char *public_key_of(const json_t *key) {
    const json_t *versions = json_object_get(key, "versions");
    const json_t *last = json_array_get(versions, json_array_size(versions) - 1);
    return kd_json_text(last, "pem");
}

static enum kd_exit make_certificate(struct kd_ctl *ctl, const char *path) {
    kd_auto(json) json_t *key = NULL;
    kd_auto(buf) struct kd_buf tbs = KD_BUF_INIT(TBS_MAX_BYTES);
    kd_auto(buf) struct kd_buf signature = KD_BUF_INIT(RAW_BYTES);
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(PEM_MAX_BYTES);
    enum kd_exit code = kd_ctl_call(ctl, "GET", "/v1/keys/" IDENTITY, NULL, &key);
    if (code != KD_EXIT_OK) {
        return code;
    }
    enum kd_err e = kd_selfcert_begin(public_key_of(key), "keyd", CERTIFICATE_DAYS, &tbs);
    if (e == KD_OK && (code = sign(ctl, kd_buf_get(&tbs), &signature)) != KD_EXIT_OK) {
        return code;
    }
    e = e != KD_OK ? e : kd_selfcert_finish(kd_buf_get(&tbs), kd_buf_get(&signature), &pem);
    e = e != KD_OK ? e : kd_io_write_new(path, kd_buf_get(&pem), 0644);
    if (e == KD_ERR_KEY_EXISTS) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "There is a %s already. It was left as it is.",
                           path);
    }
    return e == KD_OK ? KD_EXIT_OK
                      : kd_ctl_fail(ctl, KD_EXIT_USAGE, "The certificate %s cannot be made: %s",
                                    path, kd_err_sentence(e));
}

// ---- the section -----------------------------------------------------------

static enum kd_exit append_section(const struct kd_ctl *ctl, const char *path,
                                   const char *certificate) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(PEM_MAX_BYTES);
    kd_buf_printf(&text,
                  "\n# The secure channel for peers: docs/protocol.md, keyd.conf(5).\n"
                  "channel {\n"
                  "    identity = \"" IDENTITY "\"\n"
                  "    certificate-file = \"%s\"\n"
                  "    root = \"channel-root\"\n"
                  "    ticket = \"channel-ticket\"\n"
                  "}\n",
                  certificate);
    const int fd = kd_buf_finish(&text) == KD_OK ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    const bool is_written =
        fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return is_written
               ? KD_EXIT_OK
               : kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s cannot be written: %s", path, strerror(errno));
}

enum kd_exit kd_cmd_init_channel(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(CONFIG_MAX_BYTES + 1);
    char config[KD_SETUP_PATH_BYTES];
    char certificate[KD_SETUP_PATH_BYTES];
    const char *given = ctl->settings.file;
    char *whole = given == NULL ? NULL : realpath(given, NULL);
    const int n = whole == NULL ? -1 : snprintf(config, sizeof(config), "%s", whole);
    free(whole);
    if (n < 0 || n >= (int)sizeof(config)) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "Say with --config which keyd.conf gets the section channel.");
    }
    const int folder = (int)(strrchr(config, '/') - config);
    snprintf(certificate, sizeof(certificate), "%.*s/channel.pem", folder, config);
    if (strlen(certificate) != (size_t)folder + strlen("/channel.pem") ||
        strpbrk(certificate, "\"\\$#") != NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "The path of %s is too long or has odd characters.",
                           config);
    }
    enum kd_exit code;
    if ((code = read_config(ctl, config, &text)) != KD_EXIT_OK ||
        (code = check_daemon(ctl)) != KD_EXIT_OK ||
        (code = kd_init_channel_keys(ctl)) != KD_EXIT_OK ||
        (code = make_certificate(ctl, certificate)) != KD_EXIT_OK) {
        return code;
    }
    code = append_section(ctl, config, certificate);
    if (code != KD_EXIT_OK) {
        (void)unlink(certificate);
        return code;
    }
    fprintf(ctl->out,
            "channel.pem  self-signed, %d days; give it to the peers\n"
            "keyd.conf    has a section channel now\n"
            "What next: start keyd again; keydctl peer add NAME --pem FILE\n",
            CERTIFICATE_DAYS);
    return KD_EXIT_OK;
}
