// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/pki.h"

#include "tests/unit/unit.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static void add(X509 *x, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_msg(e != NULL, "%s", value);
    ck_assert_int_eq(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

static void add_extensions(X509 *x, const struct pki_spec *spec, X509 *issuer) {
    const char *fitting =
        spec->is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature";
    const char *usage = spec->usage == NULL ? fitting : spec->usage;
    add(x, issuer, NID_subject_key_identifier, "hash");
    if (issuer != x) {
        add(x, issuer, NID_authority_key_identifier, "keyid");
    }
    add(x, issuer, NID_basic_constraints, spec->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (usage[0] != '\0') {
        add(x, issuer, NID_key_usage, usage);
    }
    if (spec->extended != NULL) {
        add(x, issuer, NID_ext_key_usage, spec->extended);
    }
    if (spec->uris != NULL) {
        add(x, issuer, NID_subject_alt_name, spec->uris);
    }
}

struct pki_cert pki_make(const struct pki_spec *spec, const struct pki_cert *issuer) {
    static long serial;
    struct pki_cert c = { X509_new(), NULL };
    const bool is_rsa = spec->curve != NULL && strcmp(spec->curve, "RSA") == 0;
    c.key = is_rsa ? EVP_RSA_gen(2048) : EVP_EC_gen(spec->curve == NULL ? "P-256" : spec->curve);
    ck_assert_ptr_nonnull(c.key);
    const bool is_plain = spec->from_sec == 0 && spec->upto_sec == 0;
    X509_set_version(c.x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c.x), is_plain ? -3600 : spec->from_sec);
    X509_gmtime_adj(X509_getm_notAfter(c.x), is_plain ? 86400 : spec->upto_sec);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x), "CN", MBSTRING_ASC,
                               (const unsigned char *)spec->name, -1, -1, 0);
    X509_set_pubkey(c.x, c.key);
    X509 *by = issuer == NULL ? c.x : issuer->x;
    X509_set_issuer_name(c.x, X509_get_subject_name(by));
    add_extensions(c.x, spec, by);
    ck_assert_int_gt(X509_sign(c.x, issuer == NULL ? c.key : issuer->key,
                               spec->md == NULL ? EVP_sha256() : spec->md),
                     0);
    return c;
}

struct pki_cert pki_ca(const char *name, const struct pki_cert *issuer) {
    const struct pki_spec spec = { .name = name, .is_ca = true };
    return pki_make(&spec, issuer);
}

void pki_wipe(struct pki_cert *c) {
    X509_free(c->x);
    EVP_PKEY_free(c->key);
}

struct kd_bytes pki_der(const struct pki_cert *c) {
    static uint8_t room[16][16384];
    static size_t next;
    uint8_t *to = room[next++ % KD_COUNT_OF(room)];
    unsigned char *p = to;
    ck_assert_int_le(i2d_X509(c->x, NULL), (int)sizeof(room[0]));
    const int n = i2d_X509(c->x, &p);
    return (struct kd_bytes) { to, (size_t)n };
}

void pki_write_pem(const char *path, const struct pki_cert *certs, size_t n) {
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(PEM_write_X509(f, certs[i].x), 1);
    }
    fclose(f);
}

void pki_write_crl(const char *path, const struct pki_cert *issuer, const struct pki_cert *revoked,
                   long upto_sec) {
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *t = X509_gmtime_adj(NULL, -3600);
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x));
    X509_CRL_set1_lastUpdate(crl, t);
    if (revoked != NULL) {
        X509_REVOKED *r = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked->x));
        X509_REVOKED_set_revocationDate(r, t);
        X509_CRL_add0_revoked(crl, r);
    }
    X509_gmtime_adj(t, upto_sec);
    X509_CRL_set1_nextUpdate(crl, t);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer->x, NULL, NULL, crl, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid");
    X509_CRL_add_ext(crl, e, -1);
    X509_EXTENSION_free(e);
    ck_assert_int_gt(X509_CRL_sign(crl, issuer->key, EVP_sha256()), 0);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(PEM_write_X509_CRL(f, crl), 1);
    fclose(f);
    ASN1_TIME_free(t);
    X509_CRL_free(crl);
}
