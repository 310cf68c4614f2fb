// SPDX-License-Identifier: Apache-2.0
// device_provision.c: a device's part with its bootstrap server: a key, its first certificate, and
// the directory that all of it is kept in (device_boot.h, device_home.h).
#include "client/device_boot.h"
#include "client/device_detail.h"
#include "client/device_home.h"
#include "client/device_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TIMEOUT_MS = 30000, SECRET_MAX_BYTES = 256, SUITE_P384 = 24 }; // RFC 9528 10.2

// ---- provision -------------------------------------------------------------

// What a device knows beforehand, for its renewals.
KD_COLD static enum keyd_err stage_bootstrap(const struct keyd_bootstrap *b) {
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(KD_DEVICE_FILE_MAX_BYTES);
    enum keyd_err r = kd_home_stage(b->directory, KD_HOME_BOOTSTRAP, kd_bytes_of_text(b->url));
    if (r == KEYD_OK && b->ca_file != NULL) {
        r = kd_device_read_file(b->ca_file, false, &pem);
    }
    return r == KEYD_OK ? kd_home_stage(b->directory, KD_HOME_TRUSTED, kd_buf_get(&pem)) : r;
}

// All that is in a directory but the key.  With the certificate, which is the last, it is complete.
KD_COLD static enum keyd_err commit(const char *directory) {
    static const char *const names[] = { KD_HOME_SERVER,    KD_HOME_URI,     KD_HOME_ENVELOPE,
                                         KD_HOME_BOOTSTRAP, KD_HOME_TRUSTED, KD_HOME_CERTIFICATE };
    return kd_home_commit(directory, names, KD_COUNT_OF(names));
}

KD_COLD static enum keyd_err stage(const struct keyd_bootstrap *b,
                                   const struct kd_boot_server *server) {
    const enum keyd_err r =
        kd_home_stage_server(b->directory, server->certificate, server->uri, server->envelope);
    return r == KEYD_OK ? stage_bootstrap(b) : r;
}

KD_COLD static enum keyd_err keep(const char *directory, const struct kd_buf *der) {
    const enum keyd_err r =
        kd_home_stage_certificate(directory, KD_HOME_CERTIFICATE, kd_buf_get(der));
    return r == KEYD_OK ? commit(directory) : r;
}

// What can fail here does so before the secret is used up, but for the disk.
KD_COLD static enum keyd_err enroll(const struct keyd_bootstrap *b, const struct kd_boot *boot) {
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_BOOT_ANSWER_MAX_BYTES);
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES);
    struct kd_boot_server server;
    EVP_PKEY *key = NULL;
    enum keyd_err r = kd_boot_ask(boot, &answer, &server);
    if (r != KEYD_OK || (r = stage(b, &server)) != KEYD_OK) {
        return r;
    }
    r = kd_home_make_key(b->directory, server.suite == SUITE_P384, &key);
    r = r == KEYD_OK ? kd_boot_enroll(boot, key, &der) : r;
    EVP_PKEY_free(key);
    return r == KEYD_OK ? keep(b->directory, &der) : r;
}

// ---- after an interruption ----------------------------------------------------

// Where the certificate of this device is: of the attempt before, or of what is in use.
static bool read_uri(const struct keyd_bootstrap *b, bool is_staged,
                     char uri[static KD_HOME_LINE_BYTES]) {
    kd_home_read_line(b->directory, is_staged ? KD_HOME_URI KD_HOME_STAGED : KD_HOME_URI, uri);
    const char *id = strrchr(uri, '/');
    return id != NULL && strcmp(id + 1, b->id) == 0;
}

KD_COLD static enum keyd_err find_certificate(const struct keyd_bootstrap *b,
                                              const struct kd_boot *boot, struct kd_buf *der) {
    char uri[KD_HOME_LINE_BYTES];
    enum keyd_err r = KEYD_ERR_REFUSED;
    EVP_PKEY *key = kd_home_read_key(b->directory);
    const bool has_key = key != NULL;
    for (int i = 0; i < 2 && r == KEYD_ERR_REFUSED && has_key; i++) {
        if (read_uri(b, i == 0, uri)) {
            kd_detail_begin();
            r = kd_boot_fetch(boot, uri, key, der);
        }
    }
    EVP_PKEY_free(key);
    if (r == KEYD_ERR_REFUSED && has_key) {
        kd_detail_begin();
        kd_detail_fail(r, "The bootstrap server refuses the secret or the request, and has no "
                          "certificate of this key; its log has the reason.");
    }
    return r;
}

// An enrolment has used the secret up, and nobody here heard of its end, or could write it: the
// certificate that it brought is at its URI, and is as good as the secret for the rest.
KD_COLD static enum keyd_err recover(const struct keyd_bootstrap *b, const struct kd_boot *boot) {
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_BOOT_ANSWER_MAX_BYTES);
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES);
    char key_file[KD_HOME_PATH_BYTES];
    struct kd_boot_server server;
    enum keyd_err r = find_certificate(b, boot, &der);
    if (r != KEYD_OK) {
        return r;
    }
    struct kd_boot by_certificate = *boot;
    by_certificate.secret = NULL;
    by_certificate.certificate = kd_buf_get(&der);
    by_certificate.key_file = kd_home_path(b->directory, KD_HOME_KEY, key_file);
    if ((r = kd_boot_ask(&by_certificate, &answer, &server)) != KEYD_OK ||
        (r = stage(b, &server)) != KEYD_OK) {
        return r;
    }
    return keep(b->directory, &der);
}

KD_COLD enum keyd_err keyd_provision(const struct keyd_bootstrap *b) {
    kd_auto(secret) struct kd_secret *secret = NULL;
    kd_detail_begin();
    if (b == NULL || b->url == NULL || b->id == NULL || b->secret_file == NULL ||
        b->directory == NULL || strlen(b->directory) > KD_HOME_DIRECTORY_MAX_BYTES ||
        strlen(b->url) > KD_BOOT_URL_BYTES / 2 || strncmp(b->url, "https://", 8) != 0) {
        return kd_detail_end(KEYD_ERR_ARGUMENT);
    }
    const enum kd_err read = kd_secret_read_file(b->secret_file, SECRET_MAX_BYTES, &secret);
    enum keyd_err r =
        read == KD_OK || read == KD_ERR_NO_MEMORY
            ? kd_device_told(read, KEYD_ERR_FILE)
            : kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" holds no secret, or is open to others.",
                             b->secret_file);
    if (r == KEYD_OK && mkdir(b->directory, 0700) != 0 && errno != EEXIST) {
        r = kd_home_unwritten(b->directory);
    }
    if (r == KEYD_OK && !kd_secret_folder_is_own(b->directory)) {
        r = kd_detail_fail(KEYD_ERR_FILE,
                           "\"%.150s\" is another user's, or others may write there or above it.",
                           b->directory);
    }
    const struct kd_boot boot = { .url = b->url,
                                  .ca_file = b->ca_file,
                                  .id = b->id,
                                  .secret = secret,
                                  .timeout_ms = b->timeout_ms == 0 ? TIMEOUT_MS : b->timeout_ms };
    r = r == KEYD_OK ? enroll(b, &boot) : r;
    return kd_detail_end(r == KEYD_ERR_REFUSED ? recover(b, &boot) : r);
}

// ---- a device from its directory -----------------------------------------------

static void or_else(const char **given, const char *otherwise) {
    *given = *given == NULL ? otherwise : *given;
}

// From the root: the program may go elsewhere.
KD_COLD static enum keyd_err find_directory(const char *directory, char **out) {
    char *path = realpath(directory, NULL);
    if (path == NULL) {
        return errno == ENOMEM ? KEYD_ERR_MEMORY
                               : kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" cannot be read: %s",
                                                directory, strerror(errno));
    }
    if (strlen(path) > KD_HOME_DIRECTORY_MAX_BYTES) {
        free(path);
        return kd_detail_fail(KEYD_ERR_ARGUMENT, "The directory's path has more than %d bytes.",
                              KD_HOME_DIRECTORY_MAX_BYTES);
    }
    *out = path;
    return KEYD_OK;
}

KD_COLD enum keyd_err keyd_device_open(const char *directory, const struct keyd_config *config,
                                       struct keyd_device **out) {
    char key[KD_HOME_PATH_BYTES], own[KD_HOME_PATH_BYTES], peer[KD_HOME_PATH_BYTES];
    char envelope[KD_HOME_PATH_BYTES], uri[KD_HOME_LINE_BYTES];
    char *home = NULL;
    kd_detail_begin();
    if (directory == NULL || config == NULL || out == NULL) {
        return kd_detail_end(KEYD_ERR_ARGUMENT);
    }
    enum keyd_err r = find_directory(directory, &home);
    if (r != KEYD_OK) {
        return kd_detail_end(r);
    }
    struct keyd_config c = *config;
    kd_home_read_line(home, KD_HOME_URI, uri);
    or_else(&c.key_file, kd_home_path(home, KD_HOME_KEY, key));
    or_else(&c.certificate_file, kd_home_path(home, KD_HOME_CERTIFICATE, own));
    or_else(&c.certificate_uri, uri[0] == '\0' ? NULL : uri);
    or_else(&c.server_certificate_file, kd_home_path(home, KD_HOME_SERVER, peer));
    or_else(&c.envelope_key_file, kd_home_has(home, KD_HOME_ENVELOPE)
                                      ? kd_home_path(home, KD_HOME_ENVELOPE, envelope)
                                      : NULL);
    struct keyd_device *d = NULL;
    r = keyd_device_new(&c, &d);
    if (r != KEYD_OK) {
        free(home);
        return r;
    }
    d->credentials.directory = home; // its own now
    d->credentials.has_home = config->key_file == NULL && config->certificate_file == NULL &&
                              config->server_certificate_file == NULL &&
                              config->envelope_key_file == NULL;
    *out = d;
    return KEYD_OK;
}
