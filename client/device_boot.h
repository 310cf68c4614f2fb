// SPDX-License-Identifier: Apache-2.0
// device_boot.h: what a device asks its bootstrap server (docs/certificates.md): what there is to
// know of the server, a certificate by EST (RFC 7030), and the one that it has by its URI.
#ifndef KD_CLIENT_DEVICE_BOOT_H
#define KD_CLIENT_DEVICE_BOOT_H

#include "base/base.h"
#include "client/keyd.h"

#include <openssl/evp.h>

#define KD_BOOT_ANSWER_MAX_BYTES 65536
#define KD_BOOT_URL_BYTES 512

// Who is asked, and as whom.
struct kd_boot {
    const char *url;     // "https://HOST[:PORT]"
    const char *ca_file; // NULL: the system's
    const char *id;      // of the device
    const struct kd_secret *secret; // the one-time secret; NULL:
    struct kd_bytes certificate;    // of the device, DER, for TLS
    const char *key_file;
    unsigned timeout_ms; // for each request
};

// What a server answers of itself.
struct kd_boot_server {
    char uri[KD_BOOT_URL_BYTES]; // of the device's certificate
    struct kd_bytes certificate; // usable, as what is behind it; of the answer's bytes
    struct kd_bytes envelope;    // a point; empty: there is no such key
    uint64_t suite;              // of EDHOC, that the server prefers
};

// Of all: KEYD_ERR_TRANSPORT, KEYD_ERR_TIMEOUT, KEYD_ERR_BUSY; KEYD_ERR_REFUSED: the secret or the
// certificate is not good (any more), or there is none at the URI; KEYD_ERR_SERVER: the answer
// cannot be used.

// Does not use the secret up.  *out borrows from *answer.
enum keyd_err kd_boot_ask(const struct kd_boot *b, struct kd_buf *answer,
                          struct kd_boot_server *out);
// A certificate of this key: the first by the secret, the next by the one before.
enum keyd_err kd_boot_enroll(const struct kd_boot *b, EVP_PKEY *key, struct kd_buf *der);
// The certificate that there is, which the bootstrap server may have made without anybody hearing
// of it.  KEYD_ERR_REFUSED also where it is of another key.
enum keyd_err kd_boot_fetch(const struct kd_boot *b, const char *uri, EVP_PKEY *key,
                            struct kd_buf *der);

#endif
