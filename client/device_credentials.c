// SPDX-License-Identifier: Apache-2.0
#include "client/device_credentials.h"

#include "client/device_detail.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum keyd_err kd_device_told(enum kd_err r, enum keyd_err other) {
    return r == KD_OK              ? KEYD_OK
           : r == KD_ERR_NO_MEMORY ? KEYD_ERR_MEMORY
           : r == KD_ERR_SYSTEM    ? KEYD_ERR_TRANSPORT
           : r == KD_ERR_DEADLINE  ? KEYD_ERR_TIMEOUT
                                   : other;
}

// ---- files -----------------------------------------------------------------

enum keyd_err kd_device_read_file(const char *path, bool is_secret, struct kd_buf *out) {
    struct stat st;
    if (path == NULL) {
        return kd_detail_fail(KEYD_ERR_ARGUMENT, "The configuration lacks a file's name.");
    }
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" cannot be read: %s", path,
                              strerror(errno));
    }
    const bool has_room = kd_buf_extend(out, KD_DEVICE_FILE_MAX_BYTES) != NULL;
    out->n = 0;
    const bool is_open_to_others =
        fstat(fileno(f), &st) != 0 || (is_secret && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0);
    if (has_room && !is_open_to_others) {
        out->n = fread(out->p, 1, KD_DEVICE_FILE_MAX_BYTES, f);
    }
    fclose(f);
    return is_open_to_others
               ? kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" is open to others: chmod 600.", path)
           : !has_room   ? KEYD_ERR_MEMORY
           : out->n == 0 ? kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" is empty.", path)
                         : KEYD_OK;
}

static enum keyd_err put_der(struct kd_buf *out, const X509 *x) {
    unsigned char *p = NULL;
    const int n = x == NULL ? -1 : i2d_X509(x, &p);
    if (n > 0) {
        kd_buf_reset(out);
        kd_buf_put(out, p, (size_t)n);
    }
    OPENSSL_free(p);
    return n > 0 ? kd_device_told(kd_buf_finish(out), KEYD_ERR_FILE) : KEYD_ERR_FILE;
}

static X509 *parse_certificate(struct kd_bytes text) {
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    X509 *x = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    const unsigned char *p = text.p;
    return x != NULL ? x : d2i_X509(NULL, &p, (long)text.n);
}

enum keyd_err kd_device_read_certificate(const char *path, struct kd_buf *der) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_DEVICE_FILE_MAX_BYTES);
    enum keyd_err r = kd_device_read_file(path, false, &text);
    if (r != KEYD_OK) {
        return r;
    }
    X509 *x = parse_certificate(kd_buf_get(&text));
    r = put_der(der, x);
    X509_free(x);
    return r == KEYD_ERR_FILE
               ? kd_detail_fail(r, "\"%.150s\" is no certificate in PEM or DER.", path)
               : r;
}

enum keyd_err kd_device_point_of(struct kd_bytes der, struct kd_point *out) {
    X509 *x = parse_certificate(der);
    const ASN1_BIT_STRING *key = x == NULL ? NULL : X509_get0_pubkey_bitstr(x);
    enum kd_err r = KD_ERR_BAD_PUBLIC_KEY;
    if (key != NULL) {
        const struct kd_bytes point = { ASN1_STRING_get0_data(key),
                                        (size_t)ASN1_STRING_length(key) };
        r = kd_point_read(point.n == kd_point_bytes(KD_CURVE_P256) ? KD_CURVE_P256 : KD_CURVE_P384,
                          point, out);
    }
    X509_free(x);
    return kd_device_told(r, KEYD_ERR_FILE);
}

static bool has_expired(struct kd_bytes der) {
    X509 *x = parse_certificate(der);
    const bool is_over = x == NULL || X509_cmp_current_time(X509_get0_notAfter(x)) <= 0;
    X509_free(x);
    return is_over;
}

// ---- credentials -----------------------------------------------------------

static void swap(struct kd_buf *a, struct kd_buf *b) {
    const struct kd_buf before = *a;
    *a = *b;
    *b = before;
}

// Takes an own certificate, and how it is named: by its URI, by its fingerprint, or whole.  Without
// memory all stays as it was.
static enum keyd_err take_own(struct kd_device_credentials *c, struct kd_bytes cert,
                              bool is_whole) {
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(c->own_cert.max);
    kd_auto(buf) struct kd_buf cred = KD_BUF_INIT(c->own_cred.max);
    kd_auto(buf) struct kd_buf id = KD_BUF_INIT(c->own_id.max);
    enum kd_err r = KD_OK;
    kd_buf_put(&der, cert.p, cert.n);
    kd_cred_put_certificate(&cred, cert);
    if (is_whole) {
        kd_idcred_put_x5chain(&id, &cert, 1);
    } else if (c->uri != NULL) {
        kd_idcred_put_x5u(&id, kd_bytes_of_text(c->uri));
    } else {
        r = kd_idcred_put_x5t(&id, KD_COSE_SHA256, cert);
    }
    if (r != KD_OK || (r = kd_buf_finish(&der)) != KD_OK || (r = kd_buf_finish(&cred)) != KD_OK ||
        (r = kd_buf_finish(&id)) != KD_OK) {
        return kd_device_told(r, KEYD_ERR_FILE);
    }
    swap(&c->own_cert, &der);
    swap(&c->own_cred, &cred);
    swap(&c->own_id, &id);
    c->identity.id_cred = kd_buf_get(&c->own_id);
    c->identity.cred = kd_buf_get(&c->own_cred);
    return KEYD_OK;
}

static enum keyd_err load_key(struct kd_device_credentials *c, struct kd_bytes pem,
                              const char *path, struct kd_point *point) {
    enum kd_err r = kd_openssl_key_load(pem, &c->identity.key);
    r = r == KD_OK ? kd_openssl_key_point(c->identity.key, point) : r;
    return r == KD_OK
               ? KEYD_OK
               : kd_detail_fail(kd_device_told(r, KEYD_ERR_FILE),
                                "\"%.150s\" holds no private key on P-256 or P-384 in PEM.", path);
}

static enum keyd_err read_own(struct kd_device_credentials *c, const struct keyd_config *config) {
    kd_auto(buf) struct kd_buf key = KD_BUF_INIT(KD_DEVICE_FILE_MAX_BYTES);
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES);
    struct kd_point point, certified;
    enum keyd_err r;
    if ((r = kd_device_read_file(config->key_file, true, &key)) != KEYD_OK ||
        (r = load_key(c, kd_buf_get(&key), config->key_file, &point)) != KEYD_OK ||
        (r = kd_device_read_certificate(config->certificate_file, &der)) != KEYD_OK ||
        (r = kd_device_point_of(kd_buf_get(&der), &certified)) != KEYD_OK) {
        return r;
    }
    if (!kd_bytes_equal(kd_point_get(&point), kd_point_get(&certified))) {
        return kd_detail_fail(KEYD_ERR_FILE, "The certificate \"%.150s\" is of another key.",
                              config->certificate_file);
    }
    c->identity.curve = point.curve;
    return take_own(c, kd_buf_get(&der), false);
}

static enum keyd_err read_server(struct kd_device_credentials *c,
                                 const struct keyd_config *config) {
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES);
    enum keyd_err r;
    if ((r = kd_device_read_certificate(config->server_certificate_file, &der)) != KEYD_OK ||
        (r = kd_device_point_of(kd_buf_get(&der), &c->server_point)) != KEYD_OK) {
        return r;
    }
    kd_cred_put_certificate(&c->server_cred, kd_buf_get(&der));
    return kd_device_told(kd_buf_finish(&c->server_cred), KEYD_ERR_FILE);
}

// The server's key for envelopes, where the configuration has it.
static enum keyd_err read_envelope_key(struct kd_device_credentials *c, const char *path) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_DEVICE_FILE_MAX_BYTES);
    const enum keyd_err r = path == NULL ? KEYD_OK : kd_device_read_file(path, false, &text);
    if (path == NULL || r != KEYD_OK) {
        return r;
    }
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    unsigned char *p = NULL;
    const size_t n = key == NULL ? 0 : EVP_PKEY_get1_encoded_public_key(key, &p);
    c->has_envelope_point =
        kd_point_read(KD_CURVE_P256, (struct kd_bytes) { p, n }, &c->envelope_point) == KD_OK;
    OPENSSL_free(p);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return c->has_envelope_point
               ? KEYD_OK
               : kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" is no public key on P-256 in PEM.",
                                path);
}

// A05: the expiry is seen before the URI is sent.
enum keyd_err kd_device_check_own(struct kd_device_credentials *c) {
    const struct kd_bytes own = kd_buf_get(&c->own_cert);
    if (!has_expired(own)) {
        return KEYD_OK;
    }
    uint8_t der[KD_DEVICE_CERTIFICATE_MAX_BYTES];
    size_t n = 0;
    struct kd_point point, before;
    if (c->renew == NULL || c->renew(c->renew_arg, der, sizeof(der), &n) != 0 || n == 0 ||
        n > sizeof(der) || has_expired((struct kd_bytes) { der, n })) {
        return kd_detail_fail(KEYD_ERR_EXPIRED, "The own certificate has expired, and there is "
                                                "no new one.");
    }
    if (kd_device_point_of((struct kd_bytes) { der, n }, &point) != KEYD_OK ||
        kd_device_point_of(own, &before) != KEYD_OK ||
        !kd_bytes_equal(kd_point_get(&point), kd_point_get(&before))) {
        return kd_detail_fail(KEYD_ERR_FILE, "The new certificate is of another key.");
    }
    return take_own(c, (struct kd_bytes) { der, n }, true);
}

// ---- all of them -------------------------------------------------------------

KD_COLD enum keyd_err kd_device_read_credentials(struct kd_device_credentials *c,
                                                 const struct keyd_config *config) {
    *c = (struct kd_device_credentials) {
        .own_cert = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES),
        .own_cred = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES + 8),
        .own_id = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES + 64),
        .server_cred = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES + 8),
        .renew = config->renew,
        .renew_arg = config->renew_arg,
    };
    if (config->certificate_uri != NULL) {
        if (strlen(config->certificate_uri) > KD_X5U_MAX_BYTES) {
            return kd_detail_fail(KEYD_ERR_ARGUMENT, "certificate_uri has more than %d bytes.",
                                  KD_X5U_MAX_BYTES);
        }
        if ((c->uri = strdup(config->certificate_uri)) == NULL) {
            return KEYD_ERR_MEMORY;
        }
    }
    enum keyd_err r = read_own(c, config);
    r = r == KEYD_OK ? read_server(c, config) : r;
    return r == KEYD_OK ? read_envelope_key(c, config->envelope_key_file) : r;
}

void kd_device_credentials_wipe(struct kd_device_credentials *c) {
    kd_keyops_openssl.destroy(NULL, c->identity.key);
    kd_buf_wipe(&c->own_cert);
    kd_buf_wipe(&c->own_cred);
    kd_buf_wipe(&c->own_id);
    kd_buf_wipe(&c->server_cred);
    free(c->uri);
    free(c->directory);
}
