// SPDX-License-Identifier: Apache-2.0
// request.c: judges certificate requests of devices (PKCS #10, RFC 2986).
#include "ca/point.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

enum kd_err kd_ca_put_uri(struct kd_buf *out, const char *base, const char *server,
                          const char *device) {
    const size_t before = out->n;
    kd_buf_printf(out, "%s/c/%s/%s", base, server, device);
    enum kd_err r = kd_buf_finish(out);
    return r == KD_OK && out->n - before > KD_CA_URI_MAX_BYTES ? KD_ERR_ITEM_TOO_LARGE : r;
}

// ---- names -----------------------------------------------------------------

static bool is_text(const ASN1_STRING *s, const char *prefix, const char *text) {
    const struct kd_bytes head = kd_bytes_of_text(prefix);
    struct kd_bytes all = { ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s) };
    if (text == NULL || all.n < head.n ||
        !kd_bytes_equal((struct kd_bytes) { all.p, head.n }, head)) {
        return false;
    }
    all.p += head.n;
    all.n -= head.n;
    return kd_bytes_equal(all, kd_bytes_of_text(text));
}

// Any number of common names, none of another.
static const char *judge_subject(const X509_NAME *subject, const struct kd_ca_names *names) {
    const char *id = names->device == NULL ? names->server : names->device;
    int at = -1;
    while ((at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0) {
        const X509_NAME_ENTRY *e = X509_NAME_get_entry(subject, at);
        if (!is_text(X509_NAME_ENTRY_get_data(e), "", id)) {
            return "its common name is another's";
        }
    }
    return NULL;
}

static bool is_own_name(const GENERAL_NAME *name, const struct kd_ca_names *names) {
    if (name->type != GEN_URI) {
        return false;
    }
    const ASN1_STRING *uri = name->d.uniformResourceIdentifier;
    return is_text(uri, "urn:keyd:device:", names->device) ||
           is_text(uri, "urn:keyd:server:", names->server) ||
           is_text(uri, "urn:keyd:relation:", names->relation) || is_text(uri, "", names->uri);
}

static const char *judge_names(const STACK_OF(X509_EXTENSION) * extensions,
                               const struct kd_ca_names *names) {
    int critical = 0;
    GENERAL_NAMES *all = X509V3_get_d2i(extensions, NID_subject_alt_name, &critical, NULL);
    if (all == NULL) {
        return critical == -1 ? NULL : "its subjectAltName cannot be read";
    }
    const char *why = NULL;
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        if (!is_own_name(sk_GENERAL_NAME_value(all, i), names)) {
            why = "its subjectAltName has a name that is not its own";
        }
    }
    GENERAL_NAMES_free(all);
    return why;
}

static const char *judge_constraints(const STACK_OF(X509_EXTENSION) * extensions) {
    int critical = 0;
    BASIC_CONSTRAINTS *c = X509V3_get_d2i(extensions, NID_basic_constraints, &critical, NULL);
    if (c == NULL) {
        return critical == -1 ? NULL : "its basicConstraints cannot be read";
    }
    const bool is_ca = c->ca != 0;
    BASIC_CONSTRAINTS_free(c);
    return is_ca ? "it asks to be a CA" : NULL;
}

static const char *judge_extensions(X509_REQ *req, const struct kd_ca_names *names) {
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(req);
    if (extensions == NULL) {
        return NULL;
    }
    const char *why = judge_names(extensions, names);
    why = why == NULL ? judge_constraints(extensions) : why;
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return why;
}

// ---- proof of possession ---------------------------------------------------

static const char *judge_signature(X509_REQ *req, struct kd_ca_point *key) {
    EVP_PKEY *pkey = X509_REQ_get0_pubkey(req);
    if (!kd_ca_point_of(pkey, key)) {
        return "its key is not one of P-256 or P-384";
    }
    switch (X509_REQ_get_signature_nid(req)) {
    case NID_ecdsa_with_SHA256:
    case NID_ecdsa_with_SHA384:
    case NID_ecdsa_with_SHA512:
        break;
    default:
        return "it is not signed with ECDSA and SHA-2";
    }
    // RFC 2986 4.2: with the key that it is for.
    return X509_REQ_verify(req, pkey) == 1 ? NULL : "it is not signed by the key that it is for";
}

static const char *judge(X509_REQ *req, const struct kd_ca_names *names, struct kd_ca_point *key) {
    const char *why = judge_signature(req, key);
    why = why == NULL ? judge_subject(X509_REQ_get_subject_name(req), names) : why;
    return why == NULL ? judge_extensions(req, names) : why;
}

enum kd_err kd_ca_read_request(struct kd_bytes der, const struct kd_ca_names *names,
                               struct kd_ca_point *out, const char **why) {
    if (der.n > KD_CA_CSR_MAX_BYTES) {
        *why = "it is too long";
        return KD_ERR_ITEM_TOO_LARGE;
    }
    const unsigned char *p = der.p;
    struct kd_ca_point key = { 0 };
    X509_REQ *req = der.n == 0 ? NULL : d2i_X509_REQ(NULL, &p, (long)der.n);
    const char *wrong = req == NULL || p != der.p + der.n ? "it is not a PKCS #10 request in DER"
                                                          : judge(req, names, &key);
    X509_REQ_free(req);
    ERR_clear_error();
    if (wrong != NULL) {
        *why = wrong;
        return KD_ERR_BAD_CSR;
    }
    *out = key;
    return KD_OK;
}
