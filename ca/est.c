// SPDX-License-Identifier: Apache-2.0
// est.c: the forms that EST has for certificates, attributes and bodies
// (RFC 7030 4, RFC 8951), and PEM.
#include "ca/ca.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <string.h>

enum { BASE64_LINE_CHARS = 64 };

// ---- certificates ----------------------------------------------------------

static bool add_certificate(PKCS7 *p7, struct kd_bytes der) {
    const unsigned char *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);
    const bool is_good = x != NULL && PKCS7_add_certificate(p7, x) == 1;
    X509_free(x);
    return is_good;
}

enum kd_err kd_ca_put_pkcs7(const struct kd_bytes *certificates, size_t n, struct kd_buf *der) {
    PKCS7 *p7 = PKCS7_new();
    bool is_good = p7 != NULL && PKCS7_set_type(p7, NID_pkcs7_signed) == 1 &&
                   PKCS7_content_new(p7, NID_pkcs7_data) == 1 && PKCS7_set_detached(p7, 1) == 1;
    for (size_t i = 0; is_good && i < n; i++) {
        is_good = add_certificate(p7, certificates[i]);
    }
    uint8_t *bytes = NULL;
    const int n_bytes = is_good ? i2d_PKCS7(p7, &bytes) : -1;
    if (n_bytes > 0) {
        kd_buf_put(der, bytes, (size_t)n_bytes);
    }
    OPENSSL_free(bytes);
    PKCS7_free(p7);
    ERR_clear_error();
    return n_bytes > 0 ? kd_buf_finish(der) : KD_ERR_BAD_PUBLIC_KEY;
}

// ---- attributes ------------------------------------------------------------

// RFC 7030 4.5.2: ecPublicKey with the curve, and the signature algorithm.
static const uint8_t attributes_256[] = {
    0x30, 0x21, 0x30, 0x15, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x31, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
};
static const uint8_t attributes_384[] = {
    0x30, 0x1e, 0x30, 0x12, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x31, 0x07, 0x06,
    0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03,
};

void kd_ca_put_csrattrs(struct kd_buf *der, const struct kd_ca_point *like) {
    if (like->n == KD_CA_POINT_MAX_BYTES) {
        kd_buf_put(der, attributes_384, sizeof(attributes_384));
    } else {
        kd_buf_put(der, attributes_256, sizeof(attributes_256));
    }
}

// ---- base64 ----------------------------------------------------------------

enum kd_err kd_ca_put_base64(struct kd_bytes in, struct kd_buf *out) {
    enum { LINE_BYTES = BASE64_LINE_CHARS / 4 * 3 };
    for (size_t at = 0; at < in.n; at += LINE_BYTES) {
        uint8_t line[BASE64_LINE_CHARS + 1];
        const size_t n = in.n - at < LINE_BYTES ? in.n - at : LINE_BYTES;
        const int chars = EVP_EncodeBlock(line, in.p + at, (int)n);
        kd_buf_put(out, line, (size_t)chars);
        kd_buf_u8(out, '\n');
    }
    return kd_buf_finish(out);
}

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_digit(uint8_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
}

// RFC 8951 2: white space is of no meaning.  The digits, and how many '=' stand behind them.
static enum kd_err strip(struct kd_bytes text, struct kd_buf *digits, size_t *pads) {
    *pads = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (is_space(text.p[i])) {
            continue;
        }
        if (text.p[i] == '=') {
            ++*pads;
        } else if (!is_digit(text.p[i]) || *pads > 0) {
            return KD_ERR_BAD_BASE64;
        }
        kd_buf_u8(digits, text.p[i]);
    }
    return *pads > 2 || digits->n % 4 != 0 ? KD_ERR_BAD_BASE64 : kd_buf_finish(digits);
}

enum kd_err kd_ca_read_base64(struct kd_bytes text, struct kd_buf *out) {
    kd_auto(buf) struct kd_buf digits = KD_BUF_INIT(text.n);
    size_t pads = 0;
    enum kd_err r = strip(text, &digits, &pads);
    if (r != KD_OK || digits.n == 0) {
        return r;
    }
    uint8_t *to = kd_buf_extend(out, digits.n / 4 * 3);
    if (to == NULL) {
        return kd_buf_finish(out);
    }
    if (EVP_DecodeBlock(to, digits.p, (int)digits.n) != (int)(digits.n / 4 * 3)) {
        out->n -= digits.n / 4 * 3;
        return KD_ERR_BAD_BASE64;
    }
    out->n -= pads;
    return KD_OK;
}

void kd_ca_put_pem(struct kd_buf *out, const char *what, struct kd_bytes der) {
    kd_buf_printf(out, "-----BEGIN %s-----\n", what);
    const enum kd_err r KD_UNUSED = kd_ca_put_base64(der, out); // the buffer remembers
    kd_buf_printf(out, "-----END %s-----\n", what);
}

enum kd_err kd_ca_hash(struct kd_bytes der, uint8_t out[static 32]) {
    return EVP_Digest(der.p, der.n, out, NULL, EVP_sha256(), NULL) == 1 ? KD_OK : KD_ERR_NO_MEMORY;
}
