// SPDX-License-Identifier: Apache-2.0
// trust.h: judges the certificates of peers that nobody registered: path to an anchor
// (RFC 5280), dates, usage, revocation, and the name that the certificate binds.  Reads its
// files when it is opened; no I/O besides.  The loop's thread only.
#ifndef KD_KEYD_TRUST_H
#define KD_KEYD_TRUST_H

#include "base/base.h"
#include "channel/channel.h"

#define KD_TRUST_FILE_MAX_BYTES 16777216 // of anchors, of revocation lists
#define KD_TRUST_URIS_MAX 16             // in the subjectAltName of one certificate

struct kd_trust;

// PEM files; crl_file "": revocation is not asked for.  With it, each issuer of a path needs a
// list that is valid.  On failure the log says which file and why.  KD_ERR_NO_FILE,
// KD_ERR_BAD_PUBLIC_KEY (not a certificate or list, or of another curve than P-256 and P-384).
KD_MUST_CHECK enum kd_err kd_trust_open(const char *anchors_file, const char *crl_file,
                                        struct kd_trust **out);
void kd_trust_free(struct kd_trust *t);
KD_AUTO_DEFINE(trust, struct kd_trust *, kd_trust_free)

// What a certificate must say of its holder, as URIs in subjectAltName.
struct kd_trust_rules {
    const char *peer_uri; // prefix of exactly one URI, whose rest is the peer's name
    size_t n_required;
    const char *const *required; // patterns ('*' and '?'); each fits one of the URIs
};

// How the key is used in a handshake: bits, for a set.
enum kd_trust_use {
    KD_TRUST_SIGNS = 1,  // digitalSignature
    KD_TRUST_AGREES = 2, // keyAgreement: static Diffie-Hellman
};

struct kd_trust_name {
    char name[KD_NAME_MAX_BYTES + 1];
    unsigned uses; // what the certificate allows: enum kd_trust_use
};

// chain[0] is the peer's own, DER; the others may help to find a path.  KD_ERR_HS_CREDENTIAL:
// *why (a constant, for the log) says what is wrong; the peer is not told.  now_ms: wall clock.
KD_MUST_CHECK enum kd_err kd_trust_check(struct kd_trust *t, const struct kd_trust_rules *rules,
                                         const struct kd_bytes *chain, size_t n,
                                         enum kd_trust_use use, uint64_t now_ms,
                                         struct kd_trust_name *out, const char **why);

// The relation that a certificate (DER) binds its holder to: the rest of its one URI that begins
// with urn:keyd:relation: (docs/certificates.md); "" where there is none, or no good one.
void kd_trust_relation(struct kd_bytes certificate, char out[static KD_NAME_MAX_BYTES + 1]);

#endif
