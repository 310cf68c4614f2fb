// SPDX-License-Identifier: Apache-2.0
// cred.h: how the sides of a handshake name their credentials: ID_CRED_x, a
// COSE header map (RFC 9528 3.5.3, RFC 9360).  The credential itself, CRED_x,
// is a CBOR item: a certificate as a byte string, or a CWT claims set.
#ifndef KD_CHANNEL_CRED_H
#define KD_CHANNEL_CRED_H

#include "channel/host.h"

enum kd_idcred_kind {
    KD_IDCRED_KID = 1,
    KD_IDCRED_X5T,
    KD_IDCRED_X5U,
    KD_IDCRED_X5U_X5T, // both
    KD_IDCRED_X5CHAIN,
};

#define KD_X5CHAIN_MAX 4 // certificates
#define KD_X5U_MAX_BYTES 255

// Hashes for x5t, by their COSE number (RFC 9054, RFC 9360); no MD5, no SHA-1.
#define KD_COSE_SHA256_64 (-15)
#define KD_COSE_SHA256 (-16)
#define KD_COSE_SHA512_256 (-17)
#define KD_COSE_SHAKE128 (-18)
#define KD_COSE_SHA384 (-43)
#define KD_COSE_SHA512 (-44)
#define KD_COSE_SHAKE256 (-45)

// All borrowed from the bytes it was read from.
struct kd_idcred {
    enum kd_idcred_kind kind;
    struct kd_bytes encoded; // the whole map, as it came: this goes into the MAC
    struct kd_bytes kid;
    int x5t_hash; // KD_COSE_...
    struct kd_bytes x5t;
    struct kd_bytes x5u; // URI text, without NUL
    size_t n_chain;
    struct kd_bytes chain[KD_X5CHAIN_MAX]; // DER, the end entity's first
};

// Reads a map from the cursor; KD_ERR_HS_CREDENTIAL in the cursor for kinds and
// hashes that are not used.
void kd_idcred_read(struct kd_cbor *c, struct kd_idcred *out);
KD_MUST_CHECK enum kd_err kd_idcred_parse(struct kd_bytes encoded, struct kd_idcred *out);

// Builders, for those who have a certificate; they append a whole map.
void kd_idcred_put_kid(struct kd_buf *out, struct kd_bytes kid);
void kd_idcred_put_x5u(struct kd_buf *out, struct kd_bytes uri);
KD_MUST_CHECK enum kd_err kd_idcred_put_x5t(struct kd_buf *out, int hash, struct kd_bytes cert);
KD_MUST_CHECK enum kd_err kd_idcred_put_x5u_x5t(struct kd_buf *out, struct kd_bytes uri, int hash,
                                                struct kd_bytes cert);
void kd_idcred_put_x5chain(struct kd_buf *out, const struct kd_bytes *certs, size_t n);
// CRED_x of a certificate.
void kd_cred_put_certificate(struct kd_buf *out, struct kd_bytes cert);

// Whether the credential is the one that is named, as far as the name tells: the
// hash for x5t, the first certificate for x5chain.  KD_ERR_HS_CREDENTIAL.
KD_MUST_CHECK enum kd_err kd_idcred_fits(const struct kd_idcred *id, struct kd_bytes cred);

// ---- identifiers -----------------------------------------------------------

// C_I, C_R and a lone kid: bytes that are sent as the integer that they encode
// where they encode one of -24..23, else as a byte string (RFC 9528 3.3.2).
void kd_identifier_put(struct kd_buf *out, struct kd_bytes id);
// The longer form of one that has the shorter is KD_ERR_HS_MESSAGE.
struct kd_bytes kd_identifier_read(struct kd_cbor *c);

// In PLAINTEXT_2 and _3 a map of only kid is sent as that identifier.
void kd_idcred_put_compact(struct kd_buf *out, const struct kd_idcred *id);
// Either form; what was compact is written out into `whole`, which must live as
// long as the result.
void kd_idcred_read_compact(struct kd_cbor *c, struct kd_buf *whole, struct kd_idcred *out);

#endif
