// SPDX-License-Identifier: Apache-2.0
// ca.h: certificates and what goes with them, made from bytes: requests are read
// and judged, certificates are put together, answers of EST are written.  No I/O,
// no clock, no key: who holds the private key signs what kd_ca_begin_... gives and
// brings the signature back.  docs/certificates.md has the profile.
//
// Everything here may be called from any thread; nothing is kept between calls.
#ifndef KD_CA_CA_H
#define KD_CA_CA_H

#include "base/base.h"

#define KD_CA_CSR_MAX_BYTES 8192
#define KD_CA_CERTIFICATE_MAX_BYTES 4096
#define KD_CA_CHAIN_MAX 6        // certificates in a CA's file: its own and those above it
#define KD_CA_SERIAL_BYTES 16    // RFC 5280 4.1.2.2: positive, here 127 random bits
#define KD_CA_POINT_MAX_BYTES 97 // uncompressed, P-384
#define KD_CA_URI_MAX_BYTES 255
#define KD_CA_BACKDATE_SEC 300 // a certificate begins this much before it is made

// A public key as its uncompressed point: 65 bytes are of P-256, 97 of P-384.
struct kd_ca_point {
    size_t n;
    uint8_t bytes[KD_CA_POINT_MAX_BYTES];
};

// ---- names -----------------------------------------------------------------

// Who a certificate is of; each a name as kd_name_is_valid has it.
struct kd_ca_names {
    const char *device; // NULL: a server's certificate
    const char *server;
    const char *relation; // NULL: none
    const char *uri;      // where the certificate is found; NULL: nowhere
};
// BASE "/c/" server "/" device.  KD_ERR_ITEM_TOO_LARGE over KD_CA_URI_MAX_BYTES.
KD_MUST_CHECK enum kd_err kd_ca_put_uri(struct kd_buf *out, const char *base, const char *server,
                                        const char *device);

// ---- requests --------------------------------------------------------------

// A PKCS #10 request (RFC 2986, DER): signed by its own key, with SHA-2; the key is EC P-256
// or P-384; what it says of its name (common name, alternative names) is among `names`, and it
// does not ask to be a CA.  KD_ERR_BAD_CSR, with the reason in *why (a constant).
KD_MUST_CHECK enum kd_err kd_ca_read_request(struct kd_bytes der, const struct kd_ca_names *names,
                                             struct kd_ca_point *out, const char **why);

// ---- certificates ----------------------------------------------------------

enum kd_ca_usage {
    KD_CA_SIGN,  // digitalSignature, clientAuth: EDHOC methods with signatures
    KD_CA_AGREE, // keyAgreement: static Diffie-Hellman
};

struct kd_ca_profile {
    const struct kd_ca_names *names; // NULL: the CA's own certificate, `subject` then
    const char *subject;             // common name of the CA
    enum kd_ca_usage usage;
    struct kd_ca_point key;
    uint8_t serial[KD_CA_SERIAL_BYTES];
    uint64_t from_ms, upto_ms; // wall clock; whole seconds are used
    struct kd_bytes issuer;    // its certificate, DER; empty: signed by its own key
    struct kd_ca_point signer; // the issuer's key
};

// What is to be signed, with ECDSA over SHA-256 (P-256 signer) or SHA-384 (P-384).
KD_MUST_CHECK enum kd_err kd_ca_begin_certificate(const struct kd_ca_profile *profile,
                                                  struct kd_buf *tbs);
// A request of the CA's own key for a CA above it.
KD_MUST_CHECK enum kd_err kd_ca_begin_request(const char *subject, const struct kd_ca_point *key,
                                              struct kd_buf *tbs);
// Certificate or request from what was signed and the signature (r then s).  The signature is
// checked: KD_ERR_NOT_AUTHENTIC.
KD_MUST_CHECK enum kd_err kd_ca_finish(struct kd_bytes tbs, const struct kd_ca_point *signer,
                                       struct kd_bytes signature, struct kd_buf *der);

// ---- the CA's file ---------------------------------------------------------

// Certificates in PEM: the CA's own, which is of this key, then those above it, each signed by
// the next.  Dates are not looked at but given back, the first one's.
struct kd_ca_chain {
    size_t n;
    struct kd_bytes certificates[KD_CA_CHAIN_MAX]; // of `bytes`
    uint64_t from_ms, upto_ms;
    struct kd_ca_point key;
    struct kd_buf bytes;
};
#define KD_CA_CHAIN_INIT                                                                           \
    ((struct kd_ca_chain) { .bytes = KD_BUF_INIT(KD_CA_CHAIN_MAX * KD_CA_CERTIFICATE_MAX_BYTES) })
// KD_ERR_BAD_PUBLIC_KEY, with the reason in *why (a constant).
KD_MUST_CHECK enum kd_err kd_ca_read_chain(struct kd_bytes pem, struct kd_ca_chain *out,
                                           const char **why);
void kd_ca_chain_wipe(struct kd_ca_chain *chain);

KD_MUST_CHECK enum kd_err kd_ca_hash(struct kd_bytes der, uint8_t out[static 32]); // SHA-256
void kd_ca_put_pem(struct kd_buf *out, const char *what, struct kd_bytes der);     // "CERTIFICATE"

// ---- EST (RFC 7030, RFC 8951) ----------------------------------------------

// PKCS #7 with certificates and nothing else (RFC 7030 4.1.3), DER.
KD_MUST_CHECK enum kd_err kd_ca_put_pkcs7(const struct kd_bytes *certificates, size_t n,
                                          struct kd_buf *der);
// The attributes that a request should have: a key of the curve of `like`.
void kd_ca_put_csrattrs(struct kd_buf *der, const struct kd_ca_point *like);
// base64 with padding, in lines of 64 (RFC 4648 4); white space is passed over when reading,
// anything else is KD_ERR_BAD_BASE64.
KD_MUST_CHECK enum kd_err kd_ca_put_base64(struct kd_bytes in, struct kd_buf *out);
KD_MUST_CHECK enum kd_err kd_ca_read_base64(struct kd_bytes text, struct kd_buf *out);

#endif
