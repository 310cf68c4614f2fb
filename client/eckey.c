// SPDX-License-Identifier: Apache-2.0
// eckey.c: PEM and certificates through OpenSSL.  keyd checks again whether a point is on its
// curve; here that is OpenSSL's import.
#include "client/eckey.h"

#include "client/rest_json.h" // kd_auto(json)

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

enum { COORDINATE_MAX_BYTES = 48 };

KD_AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)
KD_AUTO_DEFINE(x509, X509 *, X509_free)
KD_AUTO_DEFINE(bio, BIO *, BIO_free_all)
KD_AUTO_DEFINE(bn, BIGNUM *, BN_free)

static const struct curve {
    const char *openssl;
    const char *jwk;
    size_t n_bytes;
} curves[] = {
    { "prime256v1", "P-256", 32 },
    { "secp384r1", "P-384", 48 },
};

static bool has_text(struct kd_bytes text, const char *needle) {
    return text.n > 0 && memmem(text.p, text.n, needle, strlen(needle)) != NULL;
}

static json_t *load_object(struct kd_bytes text) {
    json_t *value =
        text.n == 0 ? NULL : json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    if (value != NULL && !json_is_object(value)) {
        json_decref(value);
        return NULL;
    }
    return value;
}

bool kd_eckey_is_private(struct kd_bytes text) {
    if (has_text(text, "PRIVATE KEY-----")) {
        return true;
    }
    kd_auto(json) json_t *jwk = load_object(text);
    return json_object_get(jwk, "d") != NULL || json_object_get(jwk, "k") != NULL;
}

static EVP_PKEY *read_pem(struct kd_bytes text) {
    kd_auto(bio) BIO *in = BIO_new_mem_buf(text.p, (int)text.n);
    if (in == NULL) {
        return NULL;
    }
    if (has_text(text, "BEGIN PUBLIC KEY-----")) {
        return PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
    }
    kd_auto(x509) X509 *certificate = PEM_read_bio_X509(in, NULL, NULL, NULL);
    return certificate == NULL ? NULL : X509_get_pubkey(certificate);
}

static const struct curve *curve_of(const EVP_PKEY *key) {
    char name[64];
    size_t n = 0;
    if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof(name), &n) !=
        1) {
        return NULL;
    }
    for (size_t i = 0; i < KD_COUNT_OF(curves); i++) {
        if (strcmp(curves[i].openssl, name) == 0) {
            return &curves[i];
        }
    }
    return NULL;
}

// RFC 7518 section 6.2.1.2: always as many bytes as the field has.
static enum kd_err coordinate(const EVP_PKEY *key, const char *param, size_t n,
                              struct kd_buf *out) {
    kd_auto(bn) BIGNUM *v = NULL;
    uint8_t bytes[COORDINATE_MAX_BYTES];
    if (EVP_PKEY_get_bn_param(key, param, &v) != 1 || BN_bn2binpad(v, bytes, (int)n) < 0) {
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    kd_b64_encode(out, (struct kd_bytes) { bytes, n });
    return kd_buf_finish(out);
}

static enum kd_err jwk_of(const EVP_PKEY *key, json_t **out) {
    const struct curve *curve = curve_of(key);
    if (curve == NULL) {
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    kd_auto(buf) struct kd_buf x = KD_BUF_INIT(KD_B64_LEN(COORDINATE_MAX_BYTES) + 1);
    kd_auto(buf) struct kd_buf y = KD_BUF_INIT(KD_B64_LEN(COORDINATE_MAX_BYTES) + 1);
    enum kd_err r;
    if ((r = coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, curve->n_bytes, &x)) != KD_OK ||
        (r = coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, curve->n_bytes, &y)) != KD_OK) {
        return r;
    }
    json_t *jwk = json_pack("{s:s, s:s, s:s, s:s}", "kty", "EC", "crv", curve->jwk, "x",
                            kd_buf_get_text(&x), "y", kd_buf_get_text(&y));
    if (jwk == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *out = jwk;
    return KD_OK;
}

enum kd_err kd_eckey_read(struct kd_bytes text, json_t **jwk) {
    if (kd_eckey_is_private(text)) {
        return KD_ERR_PRIVATE_KEY_IMPORT;
    }
    kd_auto(json) json_t *given = load_object(text);
    if (given != NULL) {
        // keyd itself reads the members.
        *jwk = KD_STEAL(given);
        return KD_OK;
    }
    if (text.n == 0 || text.n > INT_MAX) {
        return KD_ERR_BAD_PUBLIC_KEY;
    }
    kd_auto(pkey) EVP_PKEY *key = read_pem(text);
    return key == NULL ? KD_ERR_BAD_PUBLIC_KEY : jwk_of(key, jwk);
}
