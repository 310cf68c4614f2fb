// SPDX-License-Identifier: Apache-2.0
// trust.c: see trust.h.  The path is OpenSSL's to find; what keyd wants beyond it (curves,
// hashes, usage, names) is looked at here, on the path that was found.
#include "keyd/trust.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { LEVEL_112_BITS = 2 }; // SSL_CTX_set_security_level(3): no MD5, no SHA-1

// A revocation list, and by whose certificate its signature was found to be good.
struct checked {
    X509_CRL *crl;
    X509 *issuer;
};

enum { CHECKED_MAX = 64 };

struct kd_trust {
    X509_STORE *store;
    bool has_crls;
    X509_STORE_CTX_check_crl_fn check_crl; // OpenSSL's own
    size_t n_checked;
    struct checked checked[CHECKED_MAX];
};

// ---- certificates ----------------------------------------------------------

static bool has_good_curve(const X509 *x) {
    char group[32];
    const EVP_PKEY *key = X509_get0_pubkey(x);
    return key != NULL && EVP_PKEY_is_a(key, "EC") == 1 &&
           EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                          NULL) == 1 &&
           (strcmp(group, SN_X9_62_prime256v1) == 0 || strcmp(group, SN_secp384r1) == 0);
}

static bool has_good_signature(const X509 *x) {
    switch (X509_get_signature_nid(x)) {
    case NID_ecdsa_with_SHA256:
    case NID_ecdsa_with_SHA384:
    case NID_ecdsa_with_SHA512:
    case NID_ecdsa_with_SHA3_256:
    case NID_ecdsa_with_SHA3_384:
    case NID_ecdsa_with_SHA3_512:
        return true;
    default:
        return false;
    }
}

static X509 *read_der(struct kd_bytes der) {
    const unsigned char *p = der.p;
    X509 *x = der.n > KD_EDHOC_CRED_MAX_BYTES ? NULL : d2i_X509(NULL, &p, (long)der.n);
    if (x != NULL && p != der.p + der.n) {
        X509_free(x);
        x = NULL;
    }
    return x;
}

// ---- the files -------------------------------------------------------------

static enum kd_err refuse_file(const char *path, const char *why, enum kd_err err) {
    kd_log(KD_LOG_ERROR, "trust", "a file cannot be used", "file=%s why=%s", path, why);
    return err;
}

static enum kd_err add(struct kd_trust *t, const X509_INFO *info, bool is_crl, const char *path) {
    if (is_crl) {
        return info->crl == NULL
                   ? refuse_file(path, "there is something else than revocation lists",
                                 KD_ERR_BAD_PUBLIC_KEY)
               : X509_STORE_add_crl(t->store, info->crl) == 1 ? KD_OK
                                                              : KD_ERR_NO_MEMORY;
    }
    if (info->x509 == NULL || info->x_pkey != NULL) {
        return refuse_file(path, "there is something else than certificates",
                           KD_ERR_BAD_PUBLIC_KEY);
    }
    if (!has_good_curve(info->x509)) {
        return refuse_file(path, "a certificate's key is not on P-256 or P-384",
                           KD_ERR_BAD_PUBLIC_KEY);
    }
    return X509_STORE_add_cert(t->store, info->x509) == 1 ? KD_OK : KD_ERR_NO_MEMORY;
}

static enum kd_err read_all(struct kd_trust *t, BIO *in, bool is_crl, const char *path) {
    STACK_OF(X509_INFO) *all = PEM_X509_INFO_read_bio(in, NULL, NULL, NULL);
    enum kd_err r = sk_X509_INFO_num(all) > 0
                        ? KD_OK
                        : refuse_file(path,
                                      is_crl ? "it has no revocation list in PEM"
                                             : "it has no certificate in PEM",
                                      KD_ERR_BAD_PUBLIC_KEY);
    for (int i = 0; r == KD_OK && i < sk_X509_INFO_num(all); i++) {
        r = add(t, sk_X509_INFO_value(all, i), is_crl, path);
    }
    sk_X509_INFO_pop_free(all, X509_INFO_free);
    return r;
}

static enum kd_err read_file(struct kd_trust *t, const char *path, bool is_crl) {
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return refuse_file(path, strerror(errno), KD_ERR_NO_FILE);
    }
    BIO *in = BIO_new_fp(f, BIO_CLOSE);
    if (in == NULL) {
        fclose(f);
        return KD_ERR_NO_MEMORY;
    }
    const bool is_small = fseek(f, 0, SEEK_END) == 0 && ftell(f) <= KD_TRUST_FILE_MAX_BYTES;
    rewind(f);
    enum kd_err r = is_small ? read_all(t, in, is_crl, path)
                             : refuse_file(path, "it is too large", KD_ERR_ITEM_TOO_LARGE);
    BIO_free(in);
    ERR_clear_error();
    return r;
}

// ---- revocation lists ------------------------------------------------------

static bool is_current(X509_STORE_CTX *ctx, const X509_CRL *crl) {
    time_t now = X509_VERIFY_PARAM_get_time(X509_STORE_CTX_get0_param(ctx));
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
    return next != NULL && X509_cmp_time(X509_CRL_get0_lastUpdate(crl), &now) < 0 &&
           X509_cmp_time(next, &now) > 0;
}

// A list for all certificates of its issuer, and a certificate that names no other list.
static bool is_simple(const X509 *x, const X509_CRL *crl) {
    return x != NULL && X509_get_ext_by_NID(x, NID_crl_distribution_points, -1) < 0 &&
           X509_CRL_get_ext_by_NID(crl, NID_issuing_distribution_point, -1) < 0;
}

static bool was_checked(const struct kd_trust *t, const X509_CRL *crl, const X509 *issuer) {
    for (size_t i = 0; i < t->n_checked; i++) {
        if (t->checked[i].crl == crl && X509_cmp(t->checked[i].issuer, issuer) == 0) {
            return true;
        }
    }
    return false;
}

// OpenSSL would hash the list for every peer: milliseconds, for one of 100,000 entries.
static int check_crl(X509_STORE_CTX *ctx, X509_CRL *crl) {
    struct kd_trust *t = X509_STORE_CTX_get_app_data(ctx);
    X509 *issuer = X509_STORE_CTX_get0_current_issuer(ctx);
    const bool is_plain = issuer != NULL && is_current(ctx, crl) &&
                          is_simple(X509_STORE_CTX_get_current_cert(ctx), crl);
    if (is_plain && was_checked(t, crl, issuer)) {
        return 1;
    }
    const int is_good = t->check_crl(ctx, crl);
    if (is_good == 1 && is_plain && t->n_checked < CHECKED_MAX && X509_up_ref(issuer) == 1) {
        t->checked[t->n_checked++] = (struct checked) { crl, issuer }; // the list is the store's
    }
    return is_good;
}

static enum kd_err watch_crls(struct kd_trust *t) {
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (ctx == NULL || X509_STORE_CTX_init(ctx, t->store, NULL, NULL) != 1) {
        X509_STORE_CTX_free(ctx);
        return KD_ERR_NO_MEMORY;
    }
    t->check_crl = X509_STORE_CTX_get_check_crl(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_set_check_crl(t->store, check_crl);
    return KD_OK;
}

// ---- open ------------------------------------------------------------------

enum kd_err kd_trust_open(const char *anchors_file, const char *crl_file, struct kd_trust **out) {
    kd_auto(trust) struct kd_trust *t = calloc(1, sizeof(*t));
    if (t == NULL || (t->store = X509_STORE_new()) == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    enum kd_err r = watch_crls(t);
    r = r == KD_OK ? read_file(t, anchors_file, false) : r;
    t->has_crls = crl_file[0] != '\0';
    if (r != KD_OK || (t->has_crls && (r = read_file(t, crl_file, true)) != KD_OK)) {
        return r;
    }
    *out = KD_STEAL(t);
    return KD_OK;
}

void kd_trust_free(struct kd_trust *t) {
    if (t != NULL) {
        for (size_t i = 0; i < t->n_checked; i++) {
            X509_free(t->checked[i].issuer);
        }
        X509_STORE_free(t->store);
        free(t);
    }
}

// ---- the path --------------------------------------------------------------

// The operator reads these; OpenSSL has sentences for the rest.
static const struct {
    int code;
    const char *why;
} reasons[] = {
    { X509_V_ERR_CERT_HAS_EXPIRED, "a certificate of its path has expired" },
    { X509_V_ERR_CERT_NOT_YET_VALID, "a certificate of its path is not valid yet" },
    { X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "no path leads to a trust anchor" },
    { X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "no path leads to a trust anchor" },
    { X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "no path leads to a trust anchor" },
    { X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "it is self-signed and no trust anchor" },
    { X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "its path ends at a root that is no trust anchor" },
    { X509_V_ERR_CERT_CHAIN_TOO_LONG, "its path is too long" },
    { X509_V_ERR_CERT_SIGNATURE_FAILURE, "a signature of its path is wrong" },
    { X509_V_ERR_CERT_REVOKED, "a certificate of its path is revoked" },
    { X509_V_ERR_UNABLE_TO_GET_CRL, "there is no revocation list of an issuer of its path" },
    { X509_V_ERR_CRL_HAS_EXPIRED, "the revocation list of an issuer of its path has expired" },
    { X509_V_ERR_CA_MD_TOO_WEAK, "a signature of its path is by a weak hash" },
    { X509_V_ERR_INVALID_CA, "an issuer of its path is not a CA" },
};

static const char *reason_of(int code) {
    for (size_t i = 0; i < KD_COUNT_OF(reasons); i++) {
        if (reasons[i].code == code) {
            return reasons[i].why;
        }
    }
    return X509_verify_cert_error_string(code); // constants
}

static enum kd_err set_up(struct kd_trust *t, X509_STORE_CTX *ctx, uint64_t now_ms) {
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    unsigned long flags =
        X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST;
    flags |= t->has_crls ? X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL : 0;
    X509_STORE_CTX_set_app_data(ctx, t);
    X509_VERIFY_PARAM_set_depth(param, KD_X5CHAIN_MAX);
    X509_VERIFY_PARAM_set_auth_level(param, LEVEL_112_BITS);
    X509_VERIFY_PARAM_set_time(param, (time_t)(now_ms / 1000));
    return X509_VERIFY_PARAM_set_flags(param, flags) == 1 ? KD_OK : KD_ERR_NO_MEMORY;
}

// One that has no extended key usage may have any.
static bool is_for_clients(X509 *x) {
    return (X509_get_extended_key_usage(x) & (XKU_SSL_CLIENT | XKU_ANYEKU)) != 0;
}

// The anchor is believed as it is: its own signature says nothing, nor what it is for.
static const char *judge_path(STACK_OF(X509) * path) {
    const int n = sk_X509_num(path);
    for (int i = 0; i < n; i++) {
        X509 *x = sk_X509_value(path, i);
        if (i > 0 && i + 1 < n && !is_for_clients(x)) {
            return "the extended key usage of an issuer of its path is not that of a client";
        }
        if (!has_good_curve(x)) {
            return "a key of its path is not on P-256 or P-384";
        }
        if (i + 1 < n && !has_good_signature(x)) {
            return "a signature of its path is not ECDSA with SHA-2 or SHA-3";
        }
    }
    return NULL;
}

static enum kd_err find_path(struct kd_trust *t, X509 *x, STACK_OF(X509) * others, uint64_t now_ms,
                             const char **why) {
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (ctx == NULL || X509_STORE_CTX_init(ctx, t->store, x, others) != 1 ||
        set_up(t, ctx, now_ms) != KD_OK) {
        X509_STORE_CTX_free(ctx);
        return KD_ERR_NO_MEMORY;
    }
    *why = X509_verify_cert(ctx) == 1 ? judge_path(X509_STORE_CTX_get0_chain(ctx))
                                      : reason_of(X509_STORE_CTX_get_error(ctx));
    const bool is_out_of_memory = X509_STORE_CTX_get_error(ctx) == X509_V_ERR_OUT_OF_MEM;
    X509_STORE_CTX_free(ctx);
    return is_out_of_memory ? KD_ERR_NO_MEMORY : *why == NULL ? KD_OK : KD_ERR_HS_CREDENTIAL;
}

// ---- usage -----------------------------------------------------------------

// A CA does not speak for itself here, and a certificate that says nothing of its usage
// allows none: RFC 5280 would let it do all.
static const char *judge_usage(X509 *x, enum kd_trust_use use, unsigned *uses) {
    const uint32_t flags = X509_get_extension_flags(x);
    const uint32_t usage = (flags & EXFLAG_KUSAGE) != 0 ? X509_get_key_usage(x) : 0;
    *uses = ((usage & KU_DIGITAL_SIGNATURE) != 0 ? KD_TRUST_SIGNS : 0u) |
            ((usage & KU_KEY_AGREEMENT) != 0 ? KD_TRUST_AGREES : 0u);
    if ((flags & (EXFLAG_INVALID | EXFLAG_CRITICAL)) != 0) {
        return "it has an extension that is broken, or critical and not known";
    }
    if ((flags & EXFLAG_CA) != 0) {
        return "it is a CA's";
    }
    if (!is_for_clients(x)) {
        return "its extended key usage is not that of a client";
    }
    if ((*uses & use) == 0) {
        return use == KD_TRUST_SIGNS ? "its key usage does not allow signatures"
                                     : "its key usage does not allow key agreement";
    }
    return NULL;
}

// ---- names -----------------------------------------------------------------

struct uris {
    size_t n;
    char texts[KD_TRUST_URIS_MAX][KD_X5U_MAX_BYTES + 1];
};

static const char *read_uris(X509 *x, struct uris *out) {
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    const char *why = NULL;
    out->n = 0;
    for (int i = 0; why == NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) {
            continue;
        }
        const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
        const size_t n = (size_t)ASN1_STRING_length(uri);
        const unsigned char *text = ASN1_STRING_get0_data(uri);
        if (out->n == KD_TRUST_URIS_MAX || n > KD_X5U_MAX_BYTES || memchr(text, 0, n) != NULL) {
            why = "its URIs are too many, too long, or no text";
            continue;
        }
        memcpy(out->texts[out->n], text, n);
        out->texts[out->n++][n] = '\0';
    }
    GENERAL_NAMES_free(names);
    return why;
}

void kd_trust_relation(struct kd_bytes certificate, char out[static KD_NAME_MAX_BYTES + 1]) {
    static const char prefix[] = "urn:keyd:relation:";
    const unsigned char *der = certificate.p;
    struct uris uris = { .n = 0 };
    const char *found = NULL;
    X509 *x = d2i_X509(NULL, &der, (long)certificate.n);
    const char *why = x == NULL ? "no certificate" : read_uris(x, &uris);
    X509_free(x);
    out[0] = '\0';
    for (size_t i = 0; why == NULL && i < uris.n; i++) {
        if (strncmp(uris.texts[i], prefix, sizeof(prefix) - 1) == 0) {
            why = found != NULL ? "two relations" : NULL;
            found = uris.texts[i] + sizeof(prefix) - 1;
        }
    }
    if (why == NULL && found != NULL && kd_name_is_valid(kd_bytes_of_text(found))) {
        memcpy(out, found, strlen(found) + 1);
    }
}

static const char *find_name(const struct uris *uris, const char *prefix, char *name) {
    const char *found = NULL;
    const size_t n = strlen(prefix);
    for (size_t i = 0; i < uris->n; i++) {
        if (strncmp(uris->texts[i], prefix, n) == 0) {
            if (found != NULL) {
                return "it has two peers' names";
            }
            found = uris->texts[i] + n;
        }
    }
    if (found == NULL) {
        return "it has no peer's name: no URI that begins with trust.peer-uri";
    }
    if (!kd_name_is_valid(kd_bytes_of_text(found))) {
        return "its peer's name is not one that keyd uses";
    }
    memcpy(name, found, strlen(found) + 1);
    return NULL;
}

static const char *judge_names(X509 *x, const struct kd_trust_rules *rules, char *name) {
    struct uris uris;
    const char *why = read_uris(x, &uris);
    if (why != NULL || (why = find_name(&uris, rules->peer_uri, name)) != NULL) {
        return why;
    }
    for (size_t i = 0; i < rules->n_required; i++) {
        bool is_there = false;
        for (size_t k = 0; k < uris.n; k++) {
            is_there = is_there || kd_glob_match(rules->required[i], uris.texts[k]);
        }
        if (!is_there) {
            return "it lacks a URI of trust.required-uris";
        }
    }
    return NULL;
}

// ---- all of it -------------------------------------------------------------

static enum kd_err judge(struct kd_trust *t, const struct kd_trust_rules *rules, X509 *x,
                         STACK_OF(X509) * others, enum kd_trust_use use, uint64_t now_ms,
                         struct kd_trust_name *out, const char **why) {
    enum kd_err r = find_path(t, x, others, now_ms, why);
    if (r != KD_OK) {
        return r;
    }
    if ((*why = judge_usage(x, use, &out->uses)) != NULL ||
        (*why = judge_names(x, rules, out->name)) != NULL) {
        return KD_ERR_HS_CREDENTIAL;
    }
    *why = "";
    return KD_OK;
}

enum kd_err kd_trust_check(struct kd_trust *t, const struct kd_trust_rules *rules,
                           const struct kd_bytes *chain, size_t n, enum kd_trust_use use,
                           uint64_t now_ms, struct kd_trust_name *out, const char **why) {
    struct kd_trust_name name = { .uses = 0 };
    *why = "a certificate of its chain cannot be read";
    if (n == 0 || n > KD_X5CHAIN_MAX) {
        return KD_ERR_HS_CREDENTIAL;
    }
    X509 *own = read_der(chain[0]);
    STACK_OF(X509) *others = sk_X509_new_null();
    enum kd_err r = own == NULL ? KD_ERR_HS_CREDENTIAL : others == NULL ? KD_ERR_NO_MEMORY : KD_OK;
    for (size_t i = 1; r == KD_OK && i < n; i++) {
        X509 *x = read_der(chain[i]);
        if (x == NULL || sk_X509_push(others, x) == 0) {
            X509_free(x);
            r = x == NULL ? KD_ERR_HS_CREDENTIAL : KD_ERR_NO_MEMORY;
        }
    }
    if (r == KD_OK) {
        r = judge(t, rules, own, others, use, now_ms, &name, why);
    }
    sk_X509_pop_free(others, X509_free);
    X509_free(own);
    ERR_clear_error();
    if (r == KD_OK) {
        *out = name;
    }
    return r;
}
