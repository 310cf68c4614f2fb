// SPDX-License-Identifier: Apache-2.0
#include "client/device_boot.h"

#include "client/device_credentials.h"
#include "client/device_detail.h"
#include "client/device_http.h"

#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

enum { PROVISION_MEMBERS = 13, UNAUTHORISED = 401, UNDER_WAY = 409, OK = 200 };

// ---- questions ---------------------------------------------------------------

KD_COLD static enum keyd_err ask(const struct kd_boot *b, const char *url, const char *type,
                                 struct kd_bytes body, struct kd_buf *answer) {
    const bool is_by_secret = b->secret != NULL;
    const struct kd_http_request r = { .url = url,
                                       .ca_file = b->ca_file,
                                       .user = is_by_secret ? b->id : NULL,
                                       .password = b->secret,
                                       .certificate = b->certificate,
                                       .key_file = b->key_file,
                                       .type = type,
                                       .body = body,
                                       .timeout_ms = b->timeout_ms };
    long status = 0;
    const enum kd_err err = kd_http_ask(&r, &status, answer);
    if (err != KD_OK) {
        return kd_device_told(err, KEYD_ERR_TRANSPORT);
    }
    if (status == OK) {
        return KEYD_OK;
    }
    return status == UNAUTHORISED
               ? kd_detail_fail(KEYD_ERR_REFUSED, "The bootstrap server refuses the secret or the "
                                                  "certificate; its log has the reason.")
               : kd_detail_fail(status >= 500 || status == UNDER_WAY ? KEYD_ERR_BUSY
                                                                     : KEYD_ERR_REFUSED,
                                "The bootstrap server answers with HTTP status %ld.", status);
}

// ---- what there is to know ---------------------------------------------------

// A name or a URI, whole: what C or a line of a file would cut off makes it another one.
static void read_name(struct kd_cbor *c, size_t max, char text[static KD_BOOT_URL_BYTES]) {
    const struct kd_bytes t = kd_cbor_read_text(c);
    bool is_plain = t.n <= max;
    for (size_t i = 0; i < t.n && is_plain; i++) {
        is_plain = t.p[i] > ' ' && t.p[i] < 0x7f;
    }
    if (!is_plain) {
        kd_cbor_fail(c, KD_ERR_MALFORMED);
    }
    if (c->err == KD_OK) {
        snprintf(text, KD_BOOT_URL_BYTES, "%.*s", (int)t.n, (const char *)t.p);
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

// docs/certificates.md has its members.
KD_COLD static enum keyd_err read_server(struct kd_bytes answer, const char *id,
                                         struct kd_boot_server *out) {
    char device[KD_BOOT_URL_BYTES] = "";
    struct kd_cbor c = kd_cbor_of(answer);
    *out = (struct kd_boot_server) { .uri = "" };
    const size_t n = kd_cbor_read_array(&c);
    const uint64_t version = kd_cbor_read_uint(&c);
    read_name(&c, KD_NAME_MAX_BYTES, device);
    read_name(&c, KD_X5U_MAX_BYTES, out->uri);
    (void)kd_cbor_read_bytes(&c); // the certificate there is
    (void)kd_cbor_read_text(&c);  // the server's id
    out->certificate = kd_cbor_read_bytes(&c);
    skip_chain(&c);
    out->suite = first_of(&c);
    (void)first_of(&c);           // methods
    (void)kd_cbor_read_text(&c);  // the profile
    (void)kd_cbor_read_bytes(&c); // the channel key comes with the handshake
    out->envelope = kd_cbor_read_bytes(&c);
    (void)kd_cbor_read_uint(&c);
    if (kd_cbor_finish(&c) != KD_OK || n != PROVISION_MEMBERS || version != 1 ||
        strcmp(device, id) != 0 || out->certificate.n == 0) {
        return kd_detail_fail(KEYD_ERR_SERVER, "This is no answer of a bootstrap server.");
    }
    return are_usable(out->certificate, out->envelope)
               ? KEYD_OK
               : kd_detail_fail(KEYD_ERR_SERVER, "The bootstrap server's answer has a key that no "
                                                 "suite has.");
}

KD_COLD enum keyd_err kd_boot_ask(const struct kd_boot *b, struct kd_buf *answer,
                                  struct kd_boot_server *out) {
    char url[KD_BOOT_URL_BYTES];
    snprintf(url, sizeof(url), "%s/provision", b->url);
    const enum keyd_err r = ask(b, url, NULL, KD_BYTES_NONE, answer);
    return r == KEYD_OK ? read_server(kd_buf_get(answer), b->id, out) : r;
}

// ---- a certificate -----------------------------------------------------------

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
    kd_auto(buf) struct kd_buf bytes = KD_BUF_INIT(KD_BOOT_ANSWER_MAX_BYTES);
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

KD_COLD enum keyd_err kd_boot_enroll(const struct kd_boot *b, EVP_PKEY *key, struct kd_buf *der) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(KD_BOOT_ANSWER_MAX_BYTES);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_BOOT_ANSWER_MAX_BYTES);
    char url[KD_BOOT_URL_BYTES];
    snprintf(url, sizeof(url), "%s/.well-known/est/%s", b->url,
             b->secret != NULL ? "simpleenroll" : "simplereenroll");
    enum keyd_err r = put_request(key, b->id, &body);
    r = r == KEYD_OK ? ask(b, url, "application/pkcs10", kd_buf_get(&body), &answer) : r;
    return r == KEYD_OK ? take_certificate(kd_buf_get(&answer), key, der) : r;
}

// /c/<server id>/<device id> of a URI.
static const char *path_of(const char *uri) {
    const char *at = uri + strlen(uri);
    for (unsigned n_slashes = 0; at > uri && n_slashes < 3;) {
        n_slashes += *--at == '/' ? 1 : 0;
    }
    return at;
}

// It is public: nothing is shown.  Asked of the bootstrap server itself, as servers may reach it by
// another name.
KD_COLD enum keyd_err kd_boot_fetch(const struct kd_boot *b, const char *uri, EVP_PKEY *key,
                                    struct kd_buf *der) {
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_BOOT_ANSWER_MAX_BYTES);
    const struct kd_boot nobody = { .ca_file = b->ca_file, .timeout_ms = b->timeout_ms };
    char url[2 * KD_BOOT_URL_BYTES];
    snprintf(url, sizeof(url), "%s%s", b->url, path_of(uri));
    const enum keyd_err r = ask(&nobody, url, NULL, KD_BYTES_NONE, &answer);
    if (r != KEYD_OK) {
        return r;
    }
    const unsigned char *p = answer.p;
    X509 *x = d2i_X509(NULL, &p, (long)answer.n);
    const bool is_ours = x != NULL && X509_check_private_key(x, key) == 1;
    X509_free(x);
    if (!is_ours) {
        return kd_detail_fail(KEYD_ERR_REFUSED, "At %.200s is no certificate of this key.", url);
    }
    kd_buf_put(der, answer.p, (size_t)(p - answer.p));
    return kd_device_told(kd_buf_finish(der), KEYD_ERR_SERVER);
}
