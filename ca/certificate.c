// SPDX-License-Identifier: Apache-2.0
// certificate.c: certificates and the CA's own request, put together around a
// signature that is made elsewhere (RFC 5280, RFC 5758 3.2).
#include "ca/point.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

// AlgorithmIdentifier of ecdsa-with-SHA256 and -SHA384, without parameters.
static const uint8_t sha256_algorithm[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                            0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };
static const uint8_t sha384_algorithm[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                            0x48, 0xce, 0x3d, 0x04, 0x03, 0x03 };

static int algorithm_nid(const struct kd_ca_point *signer) {
    return signer->n == KD_CA_POINT_MAX_BYTES ? NID_ecdsa_with_SHA384 : NID_ecdsa_with_SHA256;
}

// ---- extensions ------------------------------------------------------------

static bool add(X509 *x, int nid, void *value, int critical) {
    return value != NULL && X509_add1_ext_i2d(x, nid, value, critical, X509V3_ADD_DEFAULT) == 1;
}

static bool add_constraints(X509 *x, bool is_ca) {
    BASIC_CONSTRAINTS *c = BASIC_CONSTRAINTS_new();
    if (c != NULL && is_ca) { // what it signs are certificates of devices and servers
        c->ca = 0xff;
        c->pathlen = ASN1_INTEGER_new();
    }
    const bool is_good =
        c != NULL && (!is_ca || c->pathlen != NULL) && add(x, NID_basic_constraints, c, 1);
    BASIC_CONSTRAINTS_free(c);
    return is_good;
}

static bool add_usage(X509 *x, const struct kd_ca_profile *p) {
    enum { DIGITAL_SIGNATURE = 0, KEY_AGREEMENT = 4, KEY_CERT_SIGN = 5, CRL_SIGN = 6 };
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool is_good = bits != NULL;
    if (p->names == NULL) {
        is_good = is_good && ASN1_BIT_STRING_set_bit(bits, KEY_CERT_SIGN, 1) == 1 &&
                  ASN1_BIT_STRING_set_bit(bits, CRL_SIGN, 1) == 1;
    } else {
        const int bit = p->usage == KD_CA_SIGN ? DIGITAL_SIGNATURE : KEY_AGREEMENT;
        is_good = is_good && ASN1_BIT_STRING_set_bit(bits, bit, 1) == 1;
    }
    is_good = is_good && add(x, NID_key_usage, bits, 1);
    ASN1_BIT_STRING_free(bits);
    return is_good;
}

// A device shows its certificate to the bootstrap server as a TLS client (RFC 7030 3.3.2).
static bool add_purpose(X509 *x, const struct kd_ca_profile *p) {
    if (p->names == NULL || p->names->device == NULL || p->usage != KD_CA_SIGN) {
        return true;
    }
    EXTENDED_KEY_USAGE *purposes = EXTENDED_KEY_USAGE_new();
    const bool is_good = purposes != NULL &&
                         sk_ASN1_OBJECT_push(purposes, OBJ_nid2obj(NID_client_auth)) > 0 &&
                         add(x, NID_ext_key_usage, purposes, 0);
    EXTENDED_KEY_USAGE_free(purposes);
    return is_good;
}

// RFC 5280 4.2.1.2, method 1.
static bool hash_point(const struct kd_ca_point *point, ASN1_OCTET_STRING *out) {
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    return EVP_Digest(point->bytes, point->n, hash, &n, EVP_sha1(), NULL) == 1 &&
           ASN1_OCTET_STRING_set(out, hash, (int)n) == 1;
}

// The issuer's name for its key, which its certificate says (RFC 5280 4.2.1.1).
static bool put_issuer_id(const struct kd_ca_profile *p, X509 *issuer, ASN1_OCTET_STRING *out) {
    const ASN1_OCTET_STRING *id = issuer == NULL ? NULL : X509_get0_subject_key_id(issuer);
    return id != NULL ? ASN1_STRING_copy(out, id) == 1 : hash_point(&p->signer, out);
}

static bool add_key_ids(X509 *x, const struct kd_ca_profile *p, X509 *issuer) {
    ASN1_OCTET_STRING *own = ASN1_OCTET_STRING_new();
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    bool is_good = own != NULL && authority != NULL &&
                   (authority->keyid = ASN1_OCTET_STRING_new()) != NULL &&
                   hash_point(&p->key, own) && put_issuer_id(p, issuer, authority->keyid) &&
                   add(x, NID_subject_key_identifier, own, 0) &&
                   add(x, NID_authority_key_identifier, authority, 0);
    ASN1_OCTET_STRING_free(own);
    AUTHORITY_KEYID_free(authority);
    return is_good;
}

static bool push_uri(GENERAL_NAMES *all, const char *prefix, const char *text) {
    if (text == NULL) {
        return true;
    }
    uint8_t room[KD_CA_URI_MAX_BYTES];
    struct kd_buf uri = KD_BUF_OVER(room);
    kd_buf_text(&uri, prefix);
    kd_buf_text(&uri, text);
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();
    if (name == NULL || string == NULL || kd_buf_finish(&uri) != KD_OK ||
        ASN1_STRING_set(string, uri.p, (int)uri.n) != 1) {
        GENERAL_NAME_free(name);
        ASN1_IA5STRING_free(string);
        return false;
    }
    GENERAL_NAME_set0_value(name, GEN_URI, string);
    if (sk_GENERAL_NAME_push(all, name) <= 0) {
        GENERAL_NAME_free(name);
        return false;
    }
    return true;
}

static bool add_names(X509 *x, const struct kd_ca_names *names) {
    if (names == NULL) {
        return true;
    }
    GENERAL_NAMES *all = GENERAL_NAMES_new();
    const bool is_good = all != NULL && push_uri(all, "urn:keyd:device:", names->device) &&
                         push_uri(all, "urn:keyd:server:", names->server) &&
                         push_uri(all, "urn:keyd:relation:", names->relation) &&
                         push_uri(all, "", names->uri) && add(x, NID_subject_alt_name, all, 0);
    GENERAL_NAMES_free(all);
    return is_good;
}

// ---- what is to be signed --------------------------------------------------

static bool set_common_name(X509_NAME *name, const char *text) {
    return name != NULL && X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                                      (const uint8_t *)text, -1, -1, 0) == 1;
}

static const char *subject_of(const struct kd_ca_profile *p) {
    return p->names == NULL           ? p->subject
           : p->names->device != NULL ? p->names->device
                                      : p->names->server;
}

static bool set_serial(X509 *x, const uint8_t serial[static KD_CA_SERIAL_BYTES]) {
    BIGNUM *n = BN_bin2bn(serial, KD_CA_SERIAL_BYTES, NULL);
    const bool is_good = n != NULL && BN_clear_bit(n, KD_CA_SERIAL_BYTES * 8 - 1) >= 0 &&
                         !BN_is_zero(n) && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
    BN_free(n);
    return is_good;
}

static bool set_times(X509 *x, const struct kd_ca_profile *p) {
    return p->from_ms < p->upto_ms &&
           ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(p->from_ms / 1000)) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(p->upto_ms / 1000)) != NULL;
}

static bool set_key(X509 *x, const struct kd_ca_point *key) {
    EVP_PKEY *pkey = kd_ca_pkey_of(key);
    const bool is_good = pkey != NULL && X509_set_pubkey(x, pkey) == 1;
    EVP_PKEY_free(pkey);
    return is_good;
}

// OpenSSL names the algorithm when it signs, which it does not here.
static bool set_algorithm(X509 *x, const struct kd_ca_point *signer) {
    X509_ALGOR *a = (X509_ALGOR *)(uintptr_t)X509_get0_tbs_sigalg(x);
    return X509_ALGOR_set0(a, OBJ_nid2obj(algorithm_nid(signer)), V_ASN1_UNDEF, NULL) == 1;
}

static bool fill(X509 *x, const struct kd_ca_profile *p, X509 *issuer) {
    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x, p->serial) &&
           set_times(x, p) && set_key(x, &p->key) && set_algorithm(x, &p->signer) &&
           set_common_name(X509_get_subject_name(x), subject_of(p)) &&
           X509_set_issuer_name(x, issuer == NULL ? X509_get_subject_name(x)
                                                  : X509_get_subject_name(issuer)) == 1 &&
           add_constraints(x, p->names == NULL) && add_usage(x, p) && add_purpose(x, p) &&
           add_key_ids(x, p, issuer) && add_names(x, p->names);
}

static X509 *read_certificate(struct kd_bytes der) {
    const unsigned char *p = der.p;
    return der.n == 0 ? NULL : d2i_X509(NULL, &p, (long)der.n);
}

static enum kd_err put_allocated(struct kd_buf *out, uint8_t *bytes, int n) {
    if (n > 0) {
        kd_buf_put(out, bytes, (size_t)n);
    }
    OPENSSL_free(bytes);
    ERR_clear_error();
    return n > 0 ? kd_buf_finish(out) : KD_ERR_BUG;
}

enum kd_err kd_ca_begin_certificate(const struct kd_ca_profile *p, struct kd_buf *tbs) {
    X509 *x = X509_new();
    X509 *issuer = read_certificate(p->issuer);
    uint8_t *bytes = NULL;
    int n = -1;
    if (x != NULL && (issuer != NULL || p->issuer.n == 0) && fill(x, p, issuer)) {
        n = i2d_re_X509_tbs(x, &bytes);
    }
    X509_free(x);
    X509_free(issuer);
    return put_allocated(tbs, bytes, n);
}

enum kd_err kd_ca_begin_request(const char *subject, const struct kd_ca_point *key,
                                struct kd_buf *tbs) {
    X509_REQ *req = X509_REQ_new();
    EVP_PKEY *pkey = kd_ca_pkey_of(key);
    uint8_t *bytes = NULL;
    int n = -1;
    if (req != NULL && pkey != NULL && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
        set_common_name(X509_REQ_get_subject_name(req), subject) &&
        X509_REQ_set_pubkey(req, pkey) == 1) {
        n = i2d_re_X509_REQ_tbs(req, &bytes);
    }
    X509_REQ_free(req);
    EVP_PKEY_free(pkey);
    return put_allocated(tbs, bytes, n);
}

// ---- with its signature ----------------------------------------------------

static bool is_signed(struct kd_bytes tbs, const struct kd_ca_point *signer, struct kd_bytes sig) {
    EVP_PKEY *pkey = kd_ca_pkey_of(signer);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const EVP_MD *md = signer->n == KD_CA_POINT_MAX_BYTES ? EVP_sha384() : EVP_sha256();
    const bool is_good = pkey != NULL && ctx != NULL &&
                         EVP_DigestVerifyInit(ctx, NULL, md, NULL, pkey) == 1 &&
                         EVP_DigestVerify(ctx, sig.p, sig.n, tbs.p, tbs.n) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return is_good;
}

// X.690 8.1: lengths up to 65535.
static void put_head(struct kd_buf *out, uint8_t tag, size_t n) {
    kd_buf_u8(out, tag);
    if (n >= 256) {
        kd_buf_u8(out, 0x82);
        kd_buf_u8(out, (uint8_t)(n >> 8));
    } else if (n >= 128) {
        kd_buf_u8(out, 0x81);
    }
    kd_buf_u8(out, (uint8_t)n);
}

enum kd_err kd_ca_finish(struct kd_bytes tbs, const struct kd_ca_point *signer,
                         struct kd_bytes signature, struct kd_buf *der) {
    const bool is_384 = signer->n == KD_CA_POINT_MAX_BYTES;
    if (tbs.n > KD_CA_CERTIFICATE_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    if (signature.n != signer->n - 1) { // r and s are as long as x and y
        return KD_ERR_NOT_AUTHENTIC;
    }
    uint8_t sig[KD_ECDSA_DER_MAX_BYTES];
    const size_t n_sig = kd_ecdsa_to_der(signature, sig);
    if (!is_signed(tbs, signer, (struct kd_bytes) { sig, n_sig })) {
        return KD_ERR_NOT_AUTHENTIC;
    }
    kd_auto(buf) struct kd_buf inner = KD_BUF_INIT(KD_CA_CERTIFICATE_MAX_BYTES);
    kd_buf_put(&inner, tbs.p, tbs.n);
    kd_buf_put(&inner, is_384 ? sha384_algorithm : sha256_algorithm, sizeof(sha256_algorithm));
    put_head(&inner, 0x03, n_sig + 1); // BIT STRING
    kd_buf_u8(&inner, 0);
    kd_buf_put(&inner, sig, n_sig);
    const enum kd_err r = kd_buf_finish(&inner);
    if (r != KD_OK) {
        return r;
    }
    put_head(der, 0x30, inner.n);
    kd_buf_put(der, inner.p, inner.n);
    return kd_buf_finish(der);
}
