// SPDX-License-Identifier: Apache-2.0
// device_provision.c: a device's part with its bootstrap server (docs/certificates.md): a key,
// a certificate by EST (RFC 7030), what there is to know of the server; and the directory
// that they are kept in.
#include "client/device_detail.h"
#include "client/device_http.h"
#include "client/device_state.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pkcs7.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 30000,
    PATH_BYTES = 512,
    URL_BYTES = 512,
    SECRET_MAX_BYTES = 256,
    ANSWER_MAX_BYTES = 65536,
    PROVISION_MEMBERS = 13,
    POINT_BYTES = 65,
    SUITE_P384 = 24, // RFC 9528 10.2
    UNAUTHORISED = 401,
    OK = 200,
};

// The files of a directory.
#define KEY "key.pem"
#define CERTIFICATE "certificate.pem"
#define CERTIFICATE_URI "certificate.uri"
#define SERVER "server.pem"
#define ENVELOPE "envelope.pem"
#define BOOTSTRAP_URL "bootstrap.url"
#define BOOTSTRAP_CA "bootstrap.pem"

static const char *path_of(const char *directory, const char *name, char out[static PATH_BYTES]) {
    snprintf(out, PATH_BYTES, "%s/%s", directory, name);
    return out;
}

// ---- files -----------------------------------------------------------------

KD_COLD static enum keyd_err unwritten(const char *path) {
    return kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" cannot be written: %s", path, strerror(errno));
}

// Whole or not at all.
KD_COLD static enum keyd_err write_file(const char *directory, const char *name,
                                        struct kd_bytes text) {
    char path[PATH_BYTES], fresh[PATH_BYTES + 8];
    path_of(directory, name, path);
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    (void)unlink(fresh); // of an attempt before; what another holds open gets no key
    const int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return unwritten(fresh);
    }
    const bool is_written = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    return close(fd) == 0 && is_written && rename(fresh, path) == 0 ? KEYD_OK : unwritten(path);
}

KD_COLD static enum keyd_err write_bio(const char *directory, const char *name, BIO *bio) {
    char *p = NULL;
    const long n = bio == NULL ? 0 : BIO_get_mem_data(bio, &p);
    return n <= 0
               ? KEYD_ERR_MEMORY
               : write_file(directory, name, (struct kd_bytes) { (const uint8_t *)p, (size_t)n });
}

KD_COLD static enum keyd_err write_certificate(const char *directory, const char *name,
                                               struct kd_bytes der) {
    const unsigned char *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);
    BIO *bio = BIO_new(BIO_s_mem());
    const bool is_ok = x != NULL && bio != NULL && PEM_write_bio_X509(bio, x) == 1;
    const enum keyd_err r = is_ok ? write_bio(directory, name, bio) : KEYD_ERR_SERVER;
    BIO_free(bio);
    X509_free(x);
    return r;
}

// A point on P-256 as SubjectPublicKeyInfo (RFC 5480), whose head is always this; empty: none.
KD_COLD static enum keyd_err write_point(const char *directory, const char *name,
                                         struct kd_bytes point) {
    static const uint8_t head[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00 };
    uint8_t der[sizeof(head) + POINT_BYTES];
    if (point.n == 0) {
        return KEYD_OK;
    }
    if (point.n != POINT_BYTES) {
        return KEYD_ERR_SERVER;
    }
    memcpy(der, head, sizeof(head));
    memcpy(der + sizeof(head), point.p, point.n);
    BIO *bio = BIO_new(BIO_s_mem());
    const bool is_ok = bio != NULL && PEM_write_bio(bio, "PUBLIC KEY", "", der, sizeof(der)) > 0;
    const enum keyd_err r = is_ok ? write_bio(directory, name, bio) : KEYD_ERR_MEMORY;
    BIO_free(bio);
    return r;
}

KD_COLD static enum keyd_err write_text(const char *directory, const char *name, const char *text) {
    return write_file(directory, name, kd_bytes_of_text(text));
}

// A line that this library has written; "" where there is no file.
KD_COLD static void read_line(const char *directory, const char *name, char out[static URL_BYTES]) {
    char path[PATH_BYTES];
    FILE *f = fopen(path_of(directory, name, path), "re");
    out[0] = '\0';
    if (f != NULL) {
        if (fgets(out, URL_BYTES, f) == NULL) {
            out[0] = '\0';
        }
        fclose(f);
    }
    out[strcspn(out, "\n")] = '\0';
}

static bool exists(const char *directory, const char *name) {
    char path[PATH_BYTES];
    return access(path_of(directory, name, path), F_OK) == 0;
}

// ---- the key and its request -------------------------------------------------

KD_COLD static EVP_PKEY *read_key(const char *directory) {
    char path[PATH_BYTES];
    FILE *f = fopen(path_of(directory, KEY, path), "re");
    EVP_PKEY *key = f == NULL ? NULL : PEM_read_PrivateKey(f, NULL, NULL, NULL);
    if (f != NULL) {
        fclose(f);
    }
    return key;
}

// The one that is there: a request whose answer was lost is made again with the same key.  A key
// has the curve of the suite that the handshakes will have (RFC 9528 3.6).
KD_COLD static enum keyd_err make_key(const char *directory, bool is_p384, EVP_PKEY **out) {
    if (exists(directory, KEY)) {
        *out = read_key(directory);
        return *out != NULL
                   ? KEYD_OK
                   : kd_detail_fail(KEYD_ERR_FILE, "\"%.150s/" KEY "\" holds no key.", directory);
    }
    EVP_PKEY *key = EVP_EC_gen(is_p384 ? "P-384" : "P-256");
    BIO *bio = BIO_new(BIO_s_secmem());
    const bool is_ok = key != NULL && bio != NULL &&
                       PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    const enum keyd_err r = is_ok ? write_bio(directory, KEY, bio) : KEYD_ERR_MEMORY;
    BIO_free(bio);
    if (r != KEYD_OK) {
        EVP_PKEY_free(key);
        return r;
    }
    *out = key;
    return KEYD_OK;
}

// PKCS #10 in base64 (RFC 7030 4.2.1).
KD_COLD static enum keyd_err put_request(EVP_PKEY *key, const char *id, struct kd_buf *out) {
    X509_REQ *q = X509_REQ_new();
    X509_NAME *name = X509_NAME_new();
    unsigned char *der = NULL;
    int n = -1;
    if (q != NULL && name != NULL &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)id, -1, -1,
                                   0) == 1 &&
        X509_REQ_set_subject_name(q, name) == 1 && X509_REQ_set_pubkey(q, key) == 1 &&
        X509_REQ_sign(q, key, EVP_sha256()) > 0) {
        n = i2d_X509_REQ(q, &der);
    }
    uint8_t *p = n <= 0 ? NULL : kd_buf_extend(out, (size_t)(n + 2) / 3 * 4 + 1);
    if (p != NULL) {
        out->n = (size_t)EVP_EncodeBlock(p, der, n);
    }
    OPENSSL_free(der);
    X509_NAME_free(name);
    X509_REQ_free(q);
    return p != NULL ? KEYD_OK : KEYD_ERR_MEMORY;
}

// White space is passed over: lines end as the server likes, or there is one (RFC 4648 4).
KD_COLD static enum kd_err read_base64(struct kd_bytes text, struct kd_buf *out) {
    uint8_t *p = kd_buf_extend(out, text.n / 4 * 3 + 3);
    EVP_ENCODE_CTX *e = p == NULL ? NULL : EVP_ENCODE_CTX_new();
    int n = 0, rest = 0;
    if (e == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    EVP_DecodeInit(e);
    const bool is_good = EVP_DecodeUpdate(e, p, &n, text.p, (int)text.n) >= 0 &&
                         EVP_DecodeFinal(e, p + n, &rest) == 1;
    EVP_ENCODE_CTX_free(e);
    out->n = is_good ? (size_t)n + (size_t)rest : 0;
    return is_good ? KD_OK : KD_ERR_MALFORMED;
}

// The certificate of this key among those of a certs-only answer (RFC 7030 4.2.3).
KD_COLD static enum keyd_err take_certificate(struct kd_bytes base64, EVP_PKEY *key,
                                              struct kd_buf *der) {
    kd_auto(buf) struct kd_buf bytes = KD_BUF_INIT(ANSWER_MAX_BYTES);
    const enum kd_err read = read_base64(base64, &bytes);
    if (read == KD_ERR_NO_MEMORY) {
        return KEYD_ERR_MEMORY;
    }
    const unsigned char *at = bytes.p;
    PKCS7 *p7 = read == KD_OK ? d2i_PKCS7(NULL, &at, (long)bytes.n) : NULL;
    unsigned char *p = NULL;
    int n = -1;
    const bool is_signed = p7 != NULL && PKCS7_type_is_signed(p7) && p7->d.sign != NULL;
    STACK_OF(X509) *all = is_signed ? p7->d.sign->cert : NULL;
    for (int i = 0; i < sk_X509_num(all) && n < 0; i++) {
        if (X509_check_private_key(sk_X509_value(all, i), key) == 1) {
            n = i2d_X509(sk_X509_value(all, i), &p);
        }
    }
    if (n > 0) {
        kd_buf_put(der, p, (size_t)n);
    }
    OPENSSL_free(p);
    PKCS7_free(p7);
    const enum kd_err r = kd_buf_finish(der);
    return n > 0 && (r == KD_OK || r == KD_ERR_NO_MEMORY)
               ? kd_device_told(r, KEYD_ERR_SERVER)
               : kd_detail_fail(KEYD_ERR_SERVER, "The bootstrap server's answer has no "
                                                 "certificate of this key.");
}

// ---- what the bootstrap server answers -----------------------------------------

KD_COLD static enum keyd_err ask(const struct kd_http_request *r, struct kd_buf *answer) {
    long status = 0;
    const enum kd_err err = kd_http_ask(r, &status, answer);
    if (err != KD_OK) {
        return kd_device_told(err, KEYD_ERR_TRANSPORT);
    }
    if (status == OK) {
        return KEYD_OK;
    }
    return status == UNAUTHORISED
               ? kd_detail_fail(KEYD_ERR_REFUSED, "The bootstrap server refuses the secret or the "
                                                  "certificate; its log has the reason.")
               : kd_detail_fail(status >= 500 ? KEYD_ERR_BUSY : KEYD_ERR_REFUSED,
                                "The bootstrap server answers with HTTP status %ld.", status);
}

// A name or a URI, whole: what C or a line of a file would cut off makes it another one.
static void read_name(struct kd_cbor *c, size_t max, char text[static URL_BYTES]) {
    const struct kd_bytes t = kd_cbor_read_text(c);
    bool is_plain = t.n <= max;
    for (size_t i = 0; i < t.n && is_plain; i++) {
        is_plain = t.p[i] > ' ' && t.p[i] < 0x7f;
    }
    if (!is_plain) {
        kd_cbor_fail(c, KD_ERR_MALFORMED);
    }
    if (c->err == KD_OK) {
        snprintf(text, URL_BYTES, "%.*s", (int)t.n, (const char *)t.p);
    }
}

static void skip_chain(struct kd_cbor *c) {
    for (size_t n = kd_cbor_read_array(c); n > 0 && c->err == KD_OK; n--) {
        (void)kd_cbor_read_bytes(c);
    }
}

// The first; 0 where there is none.
static uint64_t first_of(struct kd_cbor *c) {
    uint64_t first = 0;
    const size_t n = kd_cbor_read_array(c);
    for (size_t i = 0; i < n && c->err == KD_OK; i++) {
        const uint64_t one = kd_cbor_read_uint(c);
        first = i == 0 ? one : first;
    }
    return first;
}

// Looked at while the one-time secret is still good; an envelope key may be missing.
static bool are_usable(struct kd_bytes certificate, struct kd_bytes envelope) {
    struct kd_point point;
    return certificate.n <= KD_DEVICE_CERTIFICATE_MAX_BYTES &&
           kd_device_point_of(certificate, &point) == KEYD_OK &&
           (envelope.n == 0 || kd_point_read(KD_CURVE_P256, envelope, &point) == KD_OK);
}

// docs/certificates.md has its members.  *suite: of EDHOC, that the server prefers.
KD_COLD static enum keyd_err take_provision(const char *directory, const char *id,
                                            struct kd_bytes answer, uint64_t *suite) {
    char device[URL_BYTES] = "", uri[URL_BYTES] = "";
    struct kd_cbor c = kd_cbor_of(answer);
    const size_t n = kd_cbor_read_array(&c);
    const uint64_t version = kd_cbor_read_uint(&c);
    read_name(&c, KD_NAME_MAX_BYTES, device);
    read_name(&c, KD_X5U_MAX_BYTES, uri);
    (void)kd_cbor_read_bytes(&c); // the certificate there is
    (void)kd_cbor_read_text(&c);  // the server's id
    const struct kd_bytes certificate = kd_cbor_read_bytes(&c);
    skip_chain(&c);
    *suite = first_of(&c);
    (void)first_of(&c);           // methods
    (void)kd_cbor_read_text(&c);  // the profile
    (void)kd_cbor_read_bytes(&c); // the channel key comes with the handshake
    const struct kd_bytes envelope = kd_cbor_read_bytes(&c);
    (void)kd_cbor_read_uint(&c);
    if (kd_cbor_finish(&c) != KD_OK || n != PROVISION_MEMBERS || version != 1 ||
        strcmp(device, id) != 0 || certificate.n == 0) {
        return kd_detail_fail(KEYD_ERR_SERVER, "This is no answer of a bootstrap server.");
    }
    if (!are_usable(certificate, envelope)) {
        return kd_detail_fail(KEYD_ERR_SERVER, "The bootstrap server's answer has a key that no "
                                               "suite has.");
    }
    enum keyd_err r = write_certificate(directory, SERVER, certificate);
    r = r == KEYD_OK ? write_text(directory, CERTIFICATE_URI, uri) : r;
    return r == KEYD_OK ? write_point(directory, ENVELOPE, envelope) : r;
}

// ---- provision -------------------------------------------------------------

KD_COLD static enum keyd_err keep_bootstrap(const struct keyd_bootstrap *b) {
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(KD_DEVICE_FILE_MAX_BYTES);
    enum keyd_err r = write_text(b->directory, BOOTSTRAP_URL, b->url);
    if (r != KEYD_OK || b->ca_file == NULL) {
        return r;
    }
    r = kd_device_read_file(b->ca_file, false, &pem);
    return r == KEYD_OK ? write_file(b->directory, BOOTSTRAP_CA, kd_buf_get(&pem)) : r;
}

KD_COLD static enum keyd_err enroll(const struct keyd_bootstrap *b, const struct kd_secret *secret,
                                    EVP_PKEY **key) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(ANSWER_MAX_BYTES);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(ANSWER_MAX_BYTES);
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES);
    char url[URL_BYTES];
    struct kd_http_request r = { .url = url,
                                 .ca_file = b->ca_file,
                                 .user = b->id,
                                 .password = secret,
                                 .timeout_ms = b->timeout_ms == 0 ? TIMEOUT_MS : b->timeout_ms };
    uint64_t suite = 0;
    enum keyd_err err;
    snprintf(url, sizeof(url), "%s/provision", b->url); // does not use the secret up
    if ((err = ask(&r, &answer)) != KEYD_OK ||
        (err = take_provision(b->directory, b->id, kd_buf_get(&answer), &suite)) != KEYD_OK ||
        (err = make_key(b->directory, suite == SUITE_P384, key)) != KEYD_OK ||
        (err = put_request(*key, b->id, &body)) != KEYD_OK) {
        return err;
    }
    kd_buf_reset(&answer);
    r.type = "application/pkcs10";
    r.body = kd_buf_get(&body);
    snprintf(url, sizeof(url), "%s/.well-known/est/simpleenroll", b->url);
    if ((err = ask(&r, &answer)) != KEYD_OK ||
        (err = take_certificate(kd_buf_get(&answer), *key, &der)) != KEYD_OK) {
        return err;
    }
    return write_certificate(b->directory, CERTIFICATE, kd_buf_get(&der));
}

KD_COLD enum keyd_err keyd_provision(const struct keyd_bootstrap *b) {
    kd_auto(secret) struct kd_secret *secret = NULL;
    EVP_PKEY *key = NULL;
    kd_detail_begin();
    if (b == NULL || b->url == NULL || b->id == NULL || b->secret_file == NULL ||
        b->directory == NULL || strlen(b->directory) > PATH_BYTES / 2 ||
        strlen(b->url) > URL_BYTES / 2 || strncmp(b->url, "https://", 8) != 0) {
        return kd_detail_end(KEYD_ERR_ARGUMENT);
    }
    const enum kd_err read = kd_secret_read_file(b->secret_file, SECRET_MAX_BYTES, &secret);
    enum keyd_err r =
        read == KD_OK || read == KD_ERR_NO_MEMORY
            ? kd_device_told(read, KEYD_ERR_FILE)
            : kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" holds no secret, or is open to others.",
                             b->secret_file);
    if (r == KEYD_OK && mkdir(b->directory, 0700) != 0 && errno != EEXIST) {
        r = unwritten(b->directory);
    }
    if (r == KEYD_OK && !kd_secret_folder_is_own(b->directory)) {
        r = kd_detail_fail(KEYD_ERR_FILE,
                           "\"%.150s\" is another user's, or others may write there or above it.",
                           b->directory);
    }
    if (r == KEYD_OK && (r = keep_bootstrap(b)) == KEYD_OK) {
        r = enroll(b, secret, &key);
    }
    EVP_PKEY_free(key);
    return kd_detail_end(r);
}

// ---- a device from its directory -----------------------------------------------

// A keyd_renew_fn (RFC 7030 4.2.2): the certificate that has expired is shown in TLS.
KD_COLD static int renew(void *arg, uint8_t *certificate, size_t max, size_t *n) {
    const char *directory = arg;
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(ANSWER_MAX_BYTES);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(ANSWER_MAX_BYTES);
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(max);
    char base[URL_BYTES], uri[URL_BYTES], url[2 * URL_BYTES];
    char own[PATH_BYTES], key_file[PATH_BYTES], ca[PATH_BYTES];
    read_line(directory, BOOTSTRAP_URL, base);
    read_line(directory, CERTIFICATE_URI, uri);
    const char *id = strrchr(uri, '/');
    snprintf(url, sizeof(url), "%s/.well-known/est/simplereenroll", base);
    struct kd_http_request r = { .url = url,
                                 .certificate_file = path_of(directory, CERTIFICATE, own),
                                 .key_file = path_of(directory, KEY, key_file),
                                 .type = "application/pkcs10",
                                 .timeout_ms = TIMEOUT_MS };
    r.ca_file = exists(directory, BOOTSTRAP_CA) ? path_of(directory, BOOTSTRAP_CA, ca) : NULL;
    EVP_PKEY *key = read_key(directory);
    bool is_ok = key != NULL && id != NULL && put_request(key, id + 1, &body) == KEYD_OK;
    r.body = kd_buf_get(&body);
    is_ok = is_ok && ask(&r, &answer) == KEYD_OK &&
            take_certificate(kd_buf_get(&answer), key, &der) == KEYD_OK &&
            write_certificate(directory, CERTIFICATE, kd_buf_get(&der)) == KEYD_OK;
    EVP_PKEY_free(key);
    if (is_ok) {
        memcpy(certificate, der.p, der.n);
        *n = der.n;
    }
    return is_ok ? 0 : -1;
}

static void or_else(const char **given, const char *otherwise) {
    *given = *given == NULL ? otherwise : *given;
}

KD_COLD enum keyd_err keyd_device_open(const char *directory, const struct keyd_config *config,
                                       struct keyd_device **out) {
    char key[PATH_BYTES], own[PATH_BYTES], peer[PATH_BYTES], envelope[PATH_BYTES], uri[URL_BYTES];
    kd_detail_begin();
    if (directory == NULL || strlen(directory) > PATH_BYTES / 2 || config == NULL || out == NULL) {
        return kd_detail_end(KEYD_ERR_ARGUMENT);
    }
    char *copy = strdup(directory);
    struct keyd_config c = *config;
    read_line(directory, CERTIFICATE_URI, uri);
    or_else(&c.key_file, path_of(directory, KEY, key));
    or_else(&c.certificate_file, path_of(directory, CERTIFICATE, own));
    or_else(&c.certificate_uri, uri[0] == '\0' ? NULL : uri);
    or_else(&c.server_certificate_file, path_of(directory, SERVER, peer));
    or_else(&c.envelope_key_file,
            exists(directory, ENVELOPE) ? path_of(directory, ENVELOPE, envelope) : NULL);
    if (c.renew == NULL) {
        c.renew = renew;
        c.renew_arg = copy;
    }
    struct keyd_device *d = NULL;
    const enum keyd_err r = copy == NULL ? kd_detail_end(KEYD_ERR_MEMORY) : keyd_device_new(&c, &d);
    if (r != KEYD_OK) {
        free(copy);
        return r;
    }
    d->credentials.directory = copy; // its own now
    *out = d;
    return KEYD_OK;
}
