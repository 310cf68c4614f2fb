// SPDX-License-Identifier: Apache-2.0
// listener_tls.c: the certificate, key and client CA for TLS, read and tried at
// the start, so that a wrong file stops the start with its name.
#include "api/http.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PEM_MAX_BYTES = 1 << 20 };

static enum kd_err complain(const char *path, const char *what, const char *error) {
    kd_log(KD_LOG_ERROR, "http", what, "file=%s error=%s", path, error);
    return KD_ERR_CONFIG;
}

static enum kd_err read_stream(const char *path, FILE *file, char **out) {
    char *text = malloc(PEM_MAX_BYTES + 1);
    if (text == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    setvbuf(file, NULL, _IONBF, 0); // no copy of a key stays in the stream's buffer
    const size_t n = fread(text, 1, PEM_MAX_BYTES + 1, file);
    if (ferror(file) != 0 || n == 0 || n > PEM_MAX_BYTES || memchr(text, '\0', n) != NULL) {
        kd_wipe(text, PEM_MAX_BYTES + 1);
        free(text);
        return complain(path, "a TLS file is empty, too long or cannot be read", "");
    }
    text[n] = '\0';
    *out = text;
    return KD_OK;
}

static enum kd_err read_file(const char *path, char **out) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return complain(path, "a TLS file cannot be opened", strerror(errno));
    }
    enum kd_err err = read_stream(path, file, out);
    fclose(file);
    return err;
}

static enum kd_err check_key_file(const char *path) {
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & S_IRWXO) != 0) {
        return complain(path, "the TLS key's file is open to everybody", "");
    }
    return KD_OK;
}

static gnutls_datum_t datum(char *text) {
    return (gnutls_datum_t) { (unsigned char *)text, (unsigned)strlen(text) };
}

// Whether the library takes the certificate with this key, and the CA.
static enum kd_err try_files(const struct kd_http_config *config, const struct kd_tls_files *f) {
    gnutls_certificate_credentials_t credentials = NULL;
    if (gnutls_certificate_allocate_credentials(&credentials) != GNUTLS_E_SUCCESS) {
        return KD_ERR_NO_MEMORY;
    }
    const gnutls_datum_t certificate = datum(f->certificate);
    const gnutls_datum_t key = datum(f->key);
    enum kd_err err = KD_OK;
    int r =
        gnutls_certificate_set_x509_key_mem(credentials, &certificate, &key, GNUTLS_X509_FMT_PEM);
    if (r < 0) {
        err = complain(config->tls_certificate,
                       "the TLS certificate and key cannot be used together", gnutls_strerror(r));
    }
    if (err == KD_OK && f->client_ca != NULL) {
        const gnutls_datum_t ca = datum(f->client_ca);
        r = gnutls_certificate_set_x509_trust_mem(credentials, &ca, GNUTLS_X509_FMT_PEM);
        if (r <= 0) {
            err = complain(config->tls_client_ca, "the file has no CA certificate",
                           r < 0 ? gnutls_strerror(r) : "");
        }
    }
    gnutls_certificate_free_credentials(credentials);
    return err;
}

static bool is_set(const char *text) {
    return text != NULL && text[0] != '\0';
}

enum kd_err kd_tls_files_read(const struct kd_http_config *config, struct kd_tls_files *out) {
    if (!is_set(config->tls_certificate)) {
        if (is_set(config->tls_key) || is_set(config->tls_client_ca)) {
            return complain(is_set(config->tls_key) ? config->tls_key : config->tls_client_ca,
                            "a TLS key or client CA is set, but no TLS certificate", "");
        }
        return KD_OK;
    }
    if (!is_set(config->tls_key)) {
        return complain(config->tls_certificate, "a TLS certificate is set, but no TLS key", "");
    }
    kd_auto(tls_files) struct kd_tls_files f = { NULL, NULL, NULL };
    enum kd_err err = check_key_file(config->tls_key);
    if (err != KD_OK || (err = read_file(config->tls_certificate, &f.certificate)) != KD_OK ||
        (err = read_file(config->tls_key, &f.key)) != KD_OK) {
        return err;
    }
    if (is_set(config->tls_client_ca) &&
        (err = read_file(config->tls_client_ca, &f.client_ca)) != KD_OK) {
        return err;
    }
    err = try_files(config, &f);
    if (err != KD_OK) {
        return err;
    }
    *out = f;
    f = (struct kd_tls_files) { NULL, NULL, NULL };
    return KD_OK;
}

void kd_tls_files_wipe(struct kd_tls_files *f) {
    if (f->key != NULL) {
        kd_wipe(f->key, strlen(f->key));
    }
    free(f->certificate);
    free(f->key);
    free(f->client_ca);
    *f = (struct kd_tls_files) { NULL, NULL, NULL };
}
