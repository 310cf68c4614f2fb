// SPDX-License-Identifier: Apache-2.0
// jwk.c: public EC keys, in and out.
#include "api/jwk.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

struct curve {
    enum kd_key_type type;
    const char *crv;  // RFC 7518 6.2.1.1
    const char *name; // OpenSSL's
    size_t n;         // bytes of a coordinate
    size_t n_head;
    uint8_t head[32]; // SubjectPublicKeyInfo (RFC 5480) up to the point
};

static const struct curve curves[] = {
    { KD_KEY_EC_P256, "P-256", "prime256v1", 32, 26, { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a,
                                                       0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                                                       0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
                                                       0x01, 0x07, 0x03, 0x42, 0x00 } },
    { KD_KEY_EC_P384, "P-384", "secp384r1", 48, 23, { 0x30, 0x76, 0x30, 0x10, 0x06, 0x07,
                                                      0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
                                                      0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
                                                      0x00, 0x22, 0x03, 0x62, 0x00 } },
};

static const struct curve *curve_of(enum kd_key_type type) {
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        if (curves[i].type == type) {
            return &curves[i];
        }
    }
    return NULL;
}

// ---- JWK -------------------------------------------------------------------

static const char *text_member(const struct kd_json *object, const char *name) {
    const char *text = kd_json_string(kd_json_get(object, name));
    return text == NULL ? "" : text;
}

static bool has_private_part(const struct kd_json *jwk) {
    // RFC 7518 6.2.2, 6.3.2, 6.4.1
    static const char *const names[] = { "d", "p", "q", "dp", "dq", "qi", "oth", "k" };
    for (size_t i = 0; i < KD_COUNT_OF(names); i++) {
        if (kd_json_get(jwk, names[i]) != NULL) {
            return true;
        }
    }
    return strcmp(text_member(jwk, "kty"), "oct") == 0;
}

// RFC 7518 6.2.1.2: a coordinate has the full length of the field.
static enum kd_err read_coordinate(const struct kd_json *jwk, const char *name, size_t n,
                                   uint8_t *out) {
    const struct kd_json *v = kd_json_get(jwk, name);
    if (!kd_json_is(v, KD_JSON_STRING)) {
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    kd_auto(buf) struct kd_buf decoded = KD_BUF_INIT(n);
    const enum kd_err err = kd_b64_decode(kd_json_string_bytes(v), &decoded);
    if (kd_buf_finish(&decoded) == KD_ERR_NO_MEMORY) {
        return KD_ERR_NO_MEMORY;
    }
    if (err != KD_OK || kd_buf_finish(&decoded) != KD_OK || decoded.n != n) {
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    memcpy(out, decoded.p, n);
    return KD_OK;
}

enum kd_err kd_jwk_read(const struct kd_json_in *in, const char *member,
                        struct kd_public_key *out) {
    const struct kd_json *jwk = kd_json_get(in->object, member);
    if (!kd_json_is(jwk, KD_JSON_OBJECT)) {
        return kd_json_blame(in, member, KD_ERR_FIELD_INVALID, "A JWK (an object) is expected.");
    }
    if (has_private_part(jwk)) {
        return kd_json_blame(in, member, KD_ERR_PRIVATE_KEY_IMPORT, "");
    }
    if (strcmp(text_member(jwk, "kty"), "EC") != 0) {
        return kd_json_blame(in, member, KD_ERR_BAD_PUBLIC_KEY, "kty must be EC.");
    }
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        const struct curve *c = &curves[i];
        if (strcmp(text_member(jwk, "crv"), c->crv) != 0) {
            continue;
        }
        struct kd_public_key key = { .type = c->type, .n = 1 + 2 * c->n, .point = { 4 } };
        enum kd_err err = read_coordinate(jwk, "x", c->n, key.point + 1);
        err = err == KD_OK ? read_coordinate(jwk, "y", c->n, key.point + 1 + c->n) : err;
        if (err == KD_ERR_NO_MEMORY) {
            return err;
        }
        if (err != KD_OK) {
            return kd_json_blame(in, member, KD_ERR_BAD_PUBLIC_KEY,
                                 "x and y must be base64url and have the length of the field.");
        }
        *out = key;
        return KD_OK;
    }
    return kd_json_blame(in, member, KD_ERR_BAD_PUBLIC_KEY, "crv must be P-256 or P-384.");
}

void kd_jwk_write(struct kd_buf *out, enum kd_key_type type, struct kd_bytes point) {
    const struct curve *c = curve_of(type);
    if (c == NULL || point.n != 1 + 2 * c->n) {
        kd_buf_text(out, "null");
        return;
    }
    kd_buf_text(out, "{\"kty\":\"EC\",\"crv\":\"");
    kd_buf_text(out, c->crv);
    kd_buf_text(out, "\",\"x\":");
    kd_json_put_bytes(out, (struct kd_bytes) { point.p + 1, c->n });
    kd_buf_text(out, ",\"y\":");
    kd_json_put_bytes(out, (struct kd_bytes) { point.p + 1 + c->n, c->n });
    kd_buf_u8(out, '}');
}

// ---- OpenSSL ---------------------------------------------------------------

KD_AUTO_DEFINE(bio, BIO *, BIO_vfree)
KD_AUTO_DEFINE(x509, X509 *, X509_free)
KD_AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)
KD_AUTO_DEFINE(pkey_ctx, EVP_PKEY_CTX *, EVP_PKEY_CTX_free)

bool kd_public_key_is_on_curve(const struct kd_public_key *key) {
    const struct curve *c = curve_of(key->type);
    kd_auto(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (c == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0) {
        return false;
    }
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)c->name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)key->point,
                                          key->n),
        OSSL_PARAM_construct_end(),
    };
    // Reading the point checks the curve's equation.
    kd_auto(pkey) EVP_PKEY *pkey = NULL;
    const bool is_ok = EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) > 0;
    ERR_clear_error();
    return is_ok;
}

static bool point_of(const EVP_PKEY *pkey, struct kd_public_key *out) {
    char group[32] = "";
    if (EVP_PKEY_is_a(pkey, "EC") != 1 ||
        EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                       NULL) != 1) {
        return false;
    }
    uint8_t x[48];
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        const struct curve *c = &curves[i];
        if (strcmp(group, c->name) != 0) {
            continue;
        }
        struct kd_public_key key = { .type = c->type, .n = 1 + 2 * c->n, .point = { 4 } };
        static const char *const names[] = { OSSL_PKEY_PARAM_EC_PUB_X, OSSL_PKEY_PARAM_EC_PUB_Y };
        for (size_t j = 0; j < KD_COUNT_OF(names); j++) {
            BIGNUM *v = NULL;
            const bool is_ok = EVP_PKEY_get_bn_param(pkey, names[j], &v) == 1 &&
                               BN_bn2binpad(v, x, (int)c->n) == (int)c->n;
            BN_free(v);
            if (!is_ok) {
                return false;
            }
            memcpy(key.point + 1 + j * c->n, x, c->n);
        }
        *out = key;
        return true;
    }
    return false;
}

// ---- PEM -------------------------------------------------------------------

static enum kd_err read_certificate(const struct kd_json_in *in, const char *member, BIO *bio,
                                    struct kd_public_key *out, struct kd_bytes *der) {
    kd_auto(x509) X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    const EVP_PKEY *pkey = x509 == NULL ? NULL : X509_get0_pubkey(x509);
    if (pkey == NULL || !point_of(pkey, out)) {
        return kd_json_blame(in, member, KD_ERR_BAD_PUBLIC_KEY, "");
    }
    const int n = i2d_X509(x509, NULL);
    const size_t start = in->arena->n;
    uint8_t *p =
        n <= 0 || start + (size_t)n > in->arena->cap ? NULL : kd_buf_extend(in->arena, (size_t)n);
    if (p == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    i2d_X509(x509, &p);
    *der = (struct kd_bytes) { in->arena->p + start, (size_t)n };
    return KD_OK;
}

static enum kd_err read_block(const struct kd_json_in *in, const char *member, BIO *bio,
                              bool is_certificate, struct kd_public_key *out,
                              struct kd_bytes *certificate) {
    if (is_certificate) {
        return read_certificate(in, member, bio, out, certificate);
    }
    kd_auto(pkey) EVP_PKEY *pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    return pkey != NULL && point_of(pkey, out)
               ? KD_OK
               : kd_json_blame(in, member, KD_ERR_BAD_PUBLIC_KEY, "");
}

enum kd_err kd_pem_read(const struct kd_json_in *in, const char *member, struct kd_public_key *out,
                        struct kd_bytes *certificate) {
    const char *text = NULL;
    enum kd_err err = kd_json_text(in, member, true, &text);
    if (err != KD_OK) {
        return err;
    }
    static const char begin[] = "-----BEGIN ";
    if (strstr(text, "PRIVATE KEY-----") != NULL) {
        return kd_json_blame(in, member, KD_ERR_PRIVATE_KEY_IMPORT, "");
    }
    const char *first = strstr(text, begin);
    if (first == NULL || strstr(first + 1, begin) != NULL) {
        return kd_json_blame(in, member, KD_ERR_BAD_PUBLIC_KEY,
                             "One PEM block is expected, PUBLIC KEY or CERTIFICATE.");
    }
    kd_auto(bio) BIO *bio = BIO_new_mem_buf(first, -1);
    if (bio == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const bool is_certificate = strncmp(first + strlen(begin), "CERTIFICATE-", 12) == 0;
    *certificate = KD_BYTES_NONE;
    err = read_block(in, member, bio, is_certificate, out, certificate);
    ERR_clear_error();
    return err;
}

// ---- writing PEM -----------------------------------------------------------

// As a JSON string, so the line ends are written as \n (RFC 7468 2).
static void put_pem(struct kd_buf *out, const char *label, const uint8_t *der, size_t n) {
    kd_buf_text(out, "\"-----BEGIN ");
    kd_buf_text(out, label);
    kd_buf_text(out, "-----\\n");
    enum { LINE_BYTES = 48, LINE_CHARACTERS = 64 };
    for (size_t i = 0; i < n; i += LINE_BYTES) {
        uint8_t line[LINE_CHARACTERS + 1];
        const size_t part = n - i < LINE_BYTES ? n - i : LINE_BYTES;
        const int written = EVP_EncodeBlock(line, der + i, (int)part);
        kd_buf_put(out, line, (size_t)written);
        kd_buf_text(out, "\\n");
    }
    kd_buf_text(out, "-----END ");
    kd_buf_text(out, label);
    kd_buf_text(out, "-----\\n\"");
}

void kd_spki_pem_write(struct kd_buf *out, enum kd_key_type type, struct kd_bytes point) {
    const struct curve *c = curve_of(type);
    if (c == NULL || point.n != 1 + 2 * c->n) {
        kd_buf_text(out, "null");
        return;
    }
    uint8_t der[sizeof(c->head) + KD_HSM_POINT_MAX_BYTES];
    memcpy(der, c->head, c->n_head);
    memcpy(der + c->n_head, point.p, point.n);
    put_pem(out, "PUBLIC KEY", der, c->n_head + point.n);
}

void kd_certificate_pem_write(struct kd_buf *out, struct kd_bytes der) {
    put_pem(out, "CERTIFICATE", der.p, der.n);
}
