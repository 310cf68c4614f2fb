// SPDX-License-Identifier: Apache-2.0
// listener_tls.c: the certificate, key and client CA for TLS, read at the start and at a reload.
// They are ours and not libmicrohttpd's: it has no means to change them, but shows each session
// before its handshake.
#include "api/http.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { PEM_MAX_BYTES = 1 << 20 };

struct kd_tls {
    gnutls_certificate_credentials_t credentials;
    size_t holders;
    bool asks_clients; // for a certificate
};

// PEM texts.
struct tls_files {
    char *certificate;
    char *key;
    char *client_ca; // NULL: clients are not asked
};

static void tls_files_wipe(struct tls_files *f) {
    if (f->key != NULL) {
        kd_wipe(f->key, strlen(f->key));
    }
    free(f->certificate);
    free(f->key);
    free(f->client_ca);
}
KD_AUTO_DEFINE_IN_PLACE(tls_files, struct tls_files, tls_files_wipe)

// `reason` may be "".
static enum kd_err complain(char error[static KD_TLS_ERROR_BYTES], const char *path,
                            const char *what, const char *reason) {
    snprintf(error, KD_TLS_ERROR_BYTES, "%s: %s%s%s", path, what, reason[0] == '\0' ? "" : ": ",
             reason);
    return KD_ERR_CONFIG;
}

static enum kd_err no_memory(char error[static KD_TLS_ERROR_BYTES]) {
    snprintf(error, KD_TLS_ERROR_BYTES, "%s", kd_err_sentence(KD_ERR_NO_MEMORY));
    return KD_ERR_NO_MEMORY;
}

// ---- reading ---------------------------------------------------------------

static enum kd_err read_stream(const char *path, FILE *file, char *error, char **out) {
    char *text = malloc(PEM_MAX_BYTES + 1);
    if (text == NULL) {
        return no_memory(error);
    }
    setvbuf(file, NULL, _IONBF, 0); // no copy of a key stays in the stream's buffer
    const size_t n = fread(text, 1, PEM_MAX_BYTES + 1, file);
    if (ferror(file) != 0 || n == 0 || n > PEM_MAX_BYTES || memchr(text, '\0', n) != NULL) {
        kd_wipe(text, PEM_MAX_BYTES + 1);
        free(text);
        return complain(error, path, "a TLS file is empty, too long or cannot be read", "");
    }
    text[n] = '\0';
    *out = text;
    return KD_OK;
}

static enum kd_err read_file(const char *path, char *error, char **out) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return complain(error, path, "a TLS file cannot be opened", strerror(errno));
    }
    enum kd_err err = read_stream(path, file, error, out);
    fclose(file);
    return err;
}

static enum kd_err check_key_file(const char *path, char *error) {
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & S_IRWXO) != 0) {
        return complain(error, path, "the TLS key's file is open to everybody", "");
    }
    return KD_OK;
}

static bool is_set(const char *text) {
    return text != NULL && text[0] != '\0';
}

static enum kd_err read_files(const struct kd_http_config *config, char *error,
                              struct tls_files *f) {
    enum kd_err err = check_key_file(config->tls_key, error);
    if (err != KD_OK ||
        (err = read_file(config->tls_certificate, error, &f->certificate)) != KD_OK ||
        (err = read_file(config->tls_key, error, &f->key)) != KD_OK) {
        return err;
    }
    return is_set(config->tls_client_ca) ? read_file(config->tls_client_ca, error, &f->client_ca)
                                         : KD_OK;
}

static gnutls_datum_t datum(char *text) {
    return (gnutls_datum_t) { (unsigned char *)text, (unsigned)strlen(text) };
}

static enum kd_err take_files(const struct kd_http_config *config, const struct tls_files *f,
                              char *error, struct kd_tls *t) {
    const gnutls_datum_t certificate = datum(f->certificate);
    const gnutls_datum_t key = datum(f->key);
    int r = gnutls_certificate_set_x509_key_mem(t->credentials, &certificate, &key,
                                                GNUTLS_X509_FMT_PEM);
    if (r < 0) {
        return complain(error, config->tls_certificate,
                        "the TLS certificate and key cannot be used together", gnutls_strerror(r));
    }
    if (f->client_ca == NULL) {
        return KD_OK;
    }
    const gnutls_datum_t ca = datum(f->client_ca);
    r = gnutls_certificate_set_x509_trust_mem(t->credentials, &ca, GNUTLS_X509_FMT_PEM);
    if (r <= 0) {
        return complain(error, config->tls_client_ca, "the file has no CA certificate",
                        r < 0 ? gnutls_strerror(r) : "");
    }
    t->asks_clients = true;
    return KD_OK;
}

// Clients will refuse it; it is served, as none would be no better.
static void warn_of_time(const struct kd_http_config *config, const struct kd_tls *t) {
    gnutls_x509_crt_t *chain = NULL;
    unsigned n = 0;
    if (gnutls_certificate_get_x509_crt(t->credentials, 0, &chain, &n) != GNUTLS_E_SUCCESS) {
        return;
    }
    const time_t now = (time_t)(kd_clock_wall_ms() / 1000);
    if (n > 0 && (gnutls_x509_crt_get_expiration_time(chain[0]) < now ||
                  gnutls_x509_crt_get_activation_time(chain[0]) > now)) {
        kd_log(KD_LOG_WARN, "http", "the TLS certificate has expired, or its time has not come",
               "certificate=%s", config->tls_certificate);
    }
    for (unsigned i = 0; i < n; i++) {
        gnutls_x509_crt_deinit(chain[i]);
    }
    gnutls_free(chain);
}

static enum kd_err check_config(const struct kd_http_config *config, char *error) {
    if (is_set(config->tls_certificate)) {
        return is_set(config->tls_key) ? KD_OK
                                       : complain(error, config->tls_certificate,
                                                  "a TLS certificate is set, but no TLS key", "");
    }
    if (is_set(config->tls_key) || is_set(config->tls_client_ca)) {
        return complain(error, is_set(config->tls_key) ? config->tls_key : config->tls_client_ca,
                        "a TLS key or client CA is set, but no TLS certificate", "");
    }
    return KD_OK;
}

enum kd_err kd_tls_new(const struct kd_http_config *config, char error[static KD_TLS_ERROR_BYTES],
                       struct kd_tls **out) {
    kd_auto(tls_files) struct tls_files f = { NULL, NULL, NULL };
    error[0] = '\0';
    enum kd_err err = check_config(config, error);
    if (err != KD_OK || !is_set(config->tls_certificate) ||
        (err = read_files(config, error, &f)) != KD_OK) {
        return err;
    }
    struct kd_tls *t = calloc(1, sizeof(*t));
    if (t == NULL || gnutls_certificate_allocate_credentials(&t->credentials) != GNUTLS_E_SUCCESS) {
        free(t);
        return no_memory(error);
    }
    t->holders = 1;
    err = take_files(config, &f, error, t);
    if (err != KD_OK) {
        kd_tls_drop(t);
        return err;
    }
    warn_of_time(config, t);
    *out = t;
    return KD_OK;
}

// ---- connections -----------------------------------------------------------

static int no_certificate(gnutls_session_t session KD_UNUSED, const gnutls_datum_t *names KD_UNUSED,
                          int n_names KD_UNUSED, const gnutls_pk_algorithm_t *algorithms KD_UNUSED,
                          int n_algorithms KD_UNUSED, gnutls_pcert_st **certificates KD_UNUSED,
                          unsigned *n_certificates KD_UNUSED, gnutls_privkey_t *key KD_UNUSED) {
    return -1;
}

void *kd_tls_no_certificate(void) {
    return (void *)(uintptr_t)no_certificate;
}

struct kd_tls *kd_tls_hold(struct kd_tls *t, struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info =
        t == NULL ? NULL : MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info == NULL || info->tls_session == NULL ||
        gnutls_credentials_set(info->tls_session, GNUTLS_CRD_CERTIFICATE, t->credentials) !=
            GNUTLS_E_SUCCESS) {
        return NULL;
    }
    if (t->asks_clients) {
        gnutls_certificate_server_set_request(info->tls_session, GNUTLS_CERT_REQUEST);
    }
    t->holders++;
    return t;
}

void kd_tls_drop(struct kd_tls *t) {
    if (t != NULL && --t->holders == 0) {
        gnutls_certificate_free_credentials(t->credentials);
        free(t);
    }
}
