// SPDX-License-Identifier: Apache-2.0
// bootstrap.h: the bootstrap server as the service gives it to the HTTP layer: the CA, its
// devices, and what devices ask for.  The rules of service.h hold (one thread; what is passed
// in is copied; `done` comes later, exactly once, if the call returned KD_OK).
// docs/certificates.md says how it works.
//
// A device is a peer of the channel: its certificate, its place in the registry and the peer
// are written in one transaction, and a certificate is given out only after that.  The CA's
// key is in the token, named by [ca] key, and the general operations refuse it.  Without it
// the bootstrap server is off, and every call here is KD_ERR_CONFIG.
#ifndef KD_KEYD_BOOTSTRAP_H
#define KD_KEYD_BOOTSTRAP_H

#include "keyd/service.h"

enum kd_device_usage {
    KD_DEVICE_SIGN,  // its key signs
    KD_DEVICE_AGREE, // static Diffie-Hellman
};
enum kd_device_state {
    KD_DEVICE_ENROLLED, // no certificate yet
    KD_DEVICE_ACTIVE,
    KD_DEVICE_REVOKED, // for good
};
const char *kd_device_usage_name(enum kd_device_usage usage); // "sign", "agree"
KD_MUST_CHECK bool kd_device_usage_parse(const char *name, enum kd_device_usage *out);
const char *kd_device_state_name(enum kd_device_state state); // "enrolled", "active", "revoked"
KD_MUST_CHECK bool kd_device_state_parse(const char *name, enum kd_device_state *out);

// The ids of so many devices that were deleted are kept for each that there may be ([ca]
// devices-max): who may delete devices cannot fill the disk with them.
#define KD_DELETED_PER_DEVICE 10
#define KD_DEVICE_SERIAL_TEXT_BYTES 33 // hexadecimal, with NUL
#define KD_DEVICE_SECRET_TEXT_BYTES 28 // base64url of 160 random bits, with NUL
#define KD_DEVICE_URI_TEXT_BYTES 256

struct kd_device_info {
    const char *id;
    const char *relation; // "": none
    enum kd_device_usage usage;
    enum kd_device_state state;
    uint64_t created_ms;
    uint64_t secret_until_ms;                 // 0: it has no one-time secret
    char uri[KD_DEVICE_URI_TEXT_BYTES];       // where its certificate is, or will be
    struct kd_bytes certificate;              // DER; empty: none yet
    char serial[KD_DEVICE_SERIAL_TEXT_BYTES]; // "": none yet
    uint64_t from_ms, upto_ms;
};

// ---- for operators ---------------------------------------------------------

// `secret` is the new one-time secret, "" where there is none; it is not kept.
typedef void kd_device_done(void *arg, enum kd_err err, const char *detail,
                            const struct kd_device_info *device, const char *secret);

struct kd_device_spec {
    const char *id;
    const char *relation; // NULL or "": none
    enum kd_device_usage usage;
    uint32_t secret_lifetime_sec; // 0: the default
};
// KD_MAY_DEVICE.  KD_ERR_DEVICE_EXISTS, KD_ERR_DEVICE_DELETED, KD_ERR_PEER_EXISTS,
// KD_ERR_TOO_MANY, KD_ERR_BAD_NAME, KD_ERR_FIELD_INVALID (the lifetime, or the URI would be too
// long).
KD_MUST_CHECK enum kd_err kd_bootstrap_enrol(struct kd_service *s, const struct kd_caller *caller,
                                             const struct kd_device_spec *spec,
                                             kd_device_done *done, void *arg);
// How long a one-time secret may be good for; 0: there is no bootstrap server.
uint32_t kd_bootstrap_secret_lifetime_max(const struct kd_service *s);
// A new one-time secret, in the place of one that it has.  KD_ERR_DEVICE_REVOKED.
KD_MUST_CHECK enum kd_err kd_bootstrap_new_secret(struct kd_service *s,
                                                  const struct kd_caller *caller, const char *id,
                                                  uint32_t lifetime_sec, kd_device_done *done,
                                                  void *arg);
// At once and for good: the peer is refused, its sessions and tickets end.
KD_MUST_CHECK enum kd_err kd_bootstrap_revoke(struct kd_service *s, const struct kd_caller *caller,
                                              const char *id, kd_device_done *done, void *arg);
// One that is revoked, when all its certificates have ended; its id is not given again.  `done` is
// given no device.  KD_ERR_DEVICE_NOT_REVOKED, KD_ERR_DEVICE_CERTIFIED (the detail says until
// when), KD_ERR_CHANGE_UNDER_WAY, KD_ERR_TOO_MANY (KD_DELETED_PER_DEVICE).
KD_MUST_CHECK enum kd_err kd_bootstrap_delete(struct kd_service *s, const struct kd_caller *caller,
                                              const char *id, kd_device_done *done, void *arg);
// KD_MAY_SHOW on the CA's key.
KD_MUST_CHECK enum kd_err kd_bootstrap_device(const struct kd_service *s,
                                              const struct kd_caller *caller, const char *id,
                                              struct kd_device_info *out);
// By id, those in this state alone (NULL: all).
size_t kd_bootstrap_devices(const struct kd_service *s, const struct kd_caller *caller,
                            const char *after, const enum kd_device_state *only,
                            struct kd_device_info *out, size_t max);

// ---- the CA ----------------------------------------------------------------

#define KD_BOOTSTRAP_CHAIN_MAX 6

struct kd_bootstrap_info {
    const char *key; // name
    const char *server;
    const char *base_uri;
    size_t n_certificates; // the CA's own, then those above it; 0: none yet
    struct kd_bytes certificates[KD_BOOTSTRAP_CHAIN_MAX];
    uint64_t from_ms, upto_ms; // of its own
    size_t n_devices;
};
KD_MUST_CHECK enum kd_err kd_bootstrap_show(const struct kd_service *s,
                                            const struct kd_caller *caller,
                                            struct kd_bootstrap_info *out);

typedef void kd_bootstrap_done(void *arg, enum kd_err err, const char *detail, struct kd_bytes der);
enum kd_bootstrap_paper {
    KD_PAPER_ROOT,    // a certificate of the CA's key, signed by itself; kept nowhere
    KD_PAPER_REQUEST, // a request of the CA's key for a CA above
    KD_PAPER_SERVER,  // a certificate of the channel's identity, from the CA
};
// KD_MAY_CA.  `subject`: the CA's common name, for the first two.
KD_MUST_CHECK enum kd_err kd_bootstrap_make(struct kd_service *s, const struct kd_caller *caller,
                                            enum kd_bootstrap_paper paper, const char *subject,
                                            kd_bootstrap_done *done, void *arg);

// ---- for devices -----------------------------------------------------------

// What a device shows of itself: its id with the one-time secret, or the certificate that TLS
// has seen the key of (SHA-256 of its DER).  Absent parts are empty.
struct kd_device_proof {
    const char *id;
    struct kd_bytes secret;
    struct kd_bytes certificate;
};
// A certificate for the key of this request (PKCS #10, DER).  The first one is asked for with
// the secret, the next ones with the certificate, which may have expired a while ago ([ca]
// renew-grace).  KD_ERR_ENROLMENT, whatever is wrong with the proof; KD_ERR_BAD_CSR.
KD_MUST_CHECK enum kd_err kd_bootstrap_certify(struct kd_service *s,
                                               const struct kd_device_proof *proof,
                                               struct kd_bytes request, bool is_renewal,
                                               kd_bootstrap_done *done, void *arg);
// What everybody may see.
KD_MUST_CHECK enum kd_err kd_bootstrap_chain(const struct kd_service *s,
                                             struct kd_bootstrap_info *out);
// The certificate of a device that is not revoked; KD_ERR_NO_DEVICE.
KD_MUST_CHECK enum kd_err kd_bootstrap_find(const struct kd_service *s, const char *server,
                                            const char *device, struct kd_bytes *der);
// DER of the attributes that requests should have (RFC 7030 4.5).
KD_MUST_CHECK enum kd_err kd_bootstrap_attributes(struct kd_service *s, struct kd_buf *out);

// All that a device needs to know for the channel (A04, A07).
struct kd_provision {
    struct kd_device_info device;
    const char *server;
    struct kd_bytes server_certificate; // DER
    const char *hash;                   // of its fingerprint, as the server says it: "sha-256/64"
    struct kd_bytes fingerprint;
    struct kd_bootstrap_info ca;
    size_t n_suites;
    uint8_t suites[4]; // the most preferred first
    size_t n_methods;
    uint8_t methods[4]; // the device's methods, from its key's and the server's usage
    const char *profile;
    struct kd_bytes channel_key; // point; empty: none
    uint32_t channel_key_version;
    struct kd_bytes envelope_key; // the same
    uint32_t envelope_key_version;
};
KD_MUST_CHECK enum kd_err kd_bootstrap_provision(struct kd_service *s,
                                                 const struct kd_device_proof *proof,
                                                 struct kd_provision *out);

#endif
