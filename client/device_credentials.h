// SPDX-License-Identifier: Apache-2.0
// device_credentials.h: a device's key and certificate, and its server's, from files.
#ifndef KD_CLIENT_DEVICE_CREDENTIALS_H
#define KD_CLIENT_DEVICE_CREDENTIALS_H

#include "channel/channel.h"
#include "client/keyd.h"

struct kd_device_credentials {
    struct kd_buf own_cert, own_cred, own_id; // certificate, CRED_I, ID_CRED_I
    struct kd_buf server_cred;
    struct kd_point server_point;
    bool has_envelope_point;
    struct kd_point envelope_point;
    struct kd_identity identity;
    char *uri; // of the own certificate; NULL: the fingerprint is sent
    keyd_renew_fn *renew; // NULL: by the bootstrap server, where there is
    void *renew_arg;
    char *directory; // of a device that was opened by it, from the root
    bool has_home;   // all that is above is from there
};

// Also after a failure the credentials are to be wiped.
KD_MUST_CHECK enum keyd_err kd_device_read_credentials(struct kd_device_credentials *c,
                                                       const struct keyd_config *config);
void kd_device_credentials_wipe(struct kd_device_credentials *c);

// How the own certificate is at a time, in seconds since 1970.
#define KD_DEVICE_LATE_PART 3
enum kd_device_age {
    KD_DEVICE_AGE_GOOD,
    KD_DEVICE_AGE_LATE, // in the last third of its life: another is asked for
    KD_DEVICE_AGE_EXPIRED,
};
enum kd_device_age kd_device_own_age(const struct kd_device_credentials *c, uint64_t now_s);
// Another own certificate, sent whole; or named as the one before, which it must not be older than
// then, as who names it may be late.  KEYD_ERR_EXPIRED: it is none, or the same; KEYD_ERR_FILE: of
// another key.
KD_MUST_CHECK enum keyd_err kd_device_take_own(struct kd_device_credentials *c, struct kd_bytes der,
                                               uint64_t now_s, bool is_whole);

// What the server has now; an empty point: no key for envelopes.
KD_MUST_CHECK enum keyd_err kd_device_take_server(struct kd_device_credentials *c,
                                                  struct kd_bytes der, struct kd_bytes envelope,
                                                  bool *has_changed);

#define KD_DEVICE_FILE_MAX_BYTES 65536
#define KD_DEVICE_CERTIFICATE_MAX_BYTES 4096 // DER
// What is in a file, which must not be empty; a secret's must be closed to others.
enum keyd_err kd_device_read_file(const char *path, bool is_secret, struct kd_buf *out);
// A certificate, PEM or DER.  KEYD_ERR_FILE.
enum keyd_err kd_device_read_certificate(const char *path, struct kd_buf *der);

// The key of a certificate (PEM or DER) if it is on P-256 or P-384.  KEYD_ERR_FILE.
enum keyd_err kd_device_point_of(struct kd_bytes certificate, struct kd_point *out);

// What an error of ours is to the library's user; `other` where it has no name there.
enum keyd_err kd_device_told(enum kd_err r, enum keyd_err other);

#endif
