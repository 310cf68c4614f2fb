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
#include <time.h>

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

// X509_cmp_time: not later, or no time at all.
static bool is_over(const X509 *x, uint64_t at_s) {
    time_t at = (time_t)at_s;
    return X509_cmp_time(X509_get0_notAfter(x), &at) <= 0;
}

static bool is_older(struct kd_bytes a, struct kd_bytes b) {
    X509 *x = parse_certificate(a);
    X509 *y = parse_certificate(b);
    const bool is_so = x == NULL || y == NULL ||
                       ASN1_TIME_compare(X509_get0_notBefore(x), X509_get0_notBefore(y)) < 0;
    X509_free(x);
    X509_free(y);
    return is_so;
}

static enum kd_device_age age_of(struct kd_bytes der, uint64_t now_s) {
    X509 *x = parse_certificate(der);
    int days = 0, seconds = 0;
    enum kd_device_age age = KD_DEVICE_AGE_EXPIRED;
    if (x != NULL && !is_over(x, now_s)) {
        age = KD_DEVICE_AGE_GOOD;
        if (ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(x), X509_get0_notAfter(x)) == 1) {
            const int64_t life_s = (int64_t)days * 86400 + seconds;
            const int64_t last_s = life_s / KD_DEVICE_LATE_PART;
            age =
                is_over(x, now_s + (uint64_t)(last_s > 0 ? last_s : 0)) ? KD_DEVICE_AGE_LATE : age;
        }
    }
    X509_free(x);
    return age;
}

// ---- credentials -----------------------------------------------------------

static void swap(struct kd_buf *a, struct kd_buf *b) {
    const struct kd_buf before = *a;
    *a = *b;
    *b = before;
}

// Takes an own certificate, and how it is named: by its URI, by its fingerprint, or whole.  Without
// memory all stays as it was.
static enum keyd_err put_own(struct kd_device_credentials *c, struct kd_bytes cert, bool is_whole) {
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
    return put_own(c, kd_buf_get(&der), false);
}

static enum keyd_err put_server(struct kd_device_credentials *c, struct kd_bytes der) {
    kd_auto(buf) struct kd_buf cred = KD_BUF_INIT(c->server_cred.max);
    struct kd_point point;
    enum keyd_err r = kd_device_point_of(der, &point);
    if (r != KEYD_OK) {
        return r;
    }
    kd_cred_put_certificate(&cred, der);
    r = kd_device_told(kd_buf_finish(&cred), KEYD_ERR_FILE);
    if (r == KEYD_OK) {
        swap(&c->server_cred, &cred);
        c->server_point = point;
    }
    return r;
}

static enum keyd_err read_server(struct kd_device_credentials *c,
                                 const struct keyd_config *config) {
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES);
    const enum keyd_err r = kd_device_read_certificate(config->server_certificate_file, &der);
    return r == KEYD_OK ? put_server(c, kd_buf_get(&der)) : r;
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

// ---- the own certificate, later ------------------------------------------------

enum kd_device_age kd_device_own_age(const struct kd_device_credentials *c, uint64_t now_s) {
    return age_of(kd_buf_get(&c->own_cert), now_s);
}

enum keyd_err kd_device_take_own(struct kd_device_credentials *c, struct kd_bytes der,
                                 uint64_t now_s, bool is_whole) {
    const struct kd_bytes own = kd_buf_get(&c->own_cert);
    struct kd_point point, before;
    if (kd_bytes_equal(der, own) || age_of(der, now_s) == KD_DEVICE_AGE_EXPIRED ||
        (!is_whole && is_older(der, own))) {
        return KEYD_ERR_EXPIRED;
    }
    if (kd_device_point_of(der, &point) != KEYD_OK || kd_device_point_of(own, &before) != KEYD_OK ||
        !kd_bytes_equal(kd_point_get(&point), kd_point_get(&before))) {
        return kd_detail_fail(KEYD_ERR_FILE, "The new certificate is of another key.");
    }
    return put_own(c, der, is_whole);
}

// ---- the server, later ----------------------------------------------------------

static bool is_envelope_key(const struct kd_device_credentials *c, struct kd_bytes point) {
    return c->has_envelope_point ? kd_bytes_equal(kd_point_get(&c->envelope_point), point)
                                 : point.n == 0;
}

enum keyd_err kd_device_take_server(struct kd_device_credentials *c, struct kd_bytes der,
                                    struct kd_bytes envelope, bool *has_changed) {
    kd_auto(buf) struct kd_buf cred = KD_BUF_INIT(c->server_cred.max);
    kd_cred_put_certificate(&cred, der);
    const bool is_known = kd_buf_finish(&cred) == KD_OK &&
                          kd_bytes_equal(kd_buf_get(&cred), kd_buf_get(&c->server_cred)) &&
                          is_envelope_key(c, envelope);
    const enum keyd_err r = is_known ? KEYD_OK : put_server(c, der);
    if (r == KEYD_OK && !is_known) {
        c->has_envelope_point =
            envelope.n > 0 && kd_point_read(KD_CURVE_P256, envelope, &c->envelope_point) == KD_OK;
        *has_changed = true;
    }
    return r;
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
