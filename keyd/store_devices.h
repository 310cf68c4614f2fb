// SPDX-License-Identifier: Apache-2.0
// store_devices.h: the devices of the bootstrap server on disk, every certificate that was ever
// issued to them, and the ids of devices that were deleted.  As with store.h each function is one
// transaction that is on the disk when it returns; in the store's thread.
#ifndef KD_KEYD_STORE_DEVICES_H
#define KD_KEYD_STORE_DEVICES_H

#include "ca/ca.h"
#include "keyd/bootstrap.h"
#include "keyd/store.h"

#define KD_ENROL_HASH_BYTES 32 // SHA-256 of a one-time secret

struct kd_store_certificate {
    struct kd_bytes serial; // KD_CA_SERIAL_BYTES; empty: none
    uint64_t from_ms, upto_ms;
    struct kd_bytes der;
};

struct kd_store_device {
    const char *id;
    const char *relation; // "": none
    enum kd_device_usage usage;
    enum kd_device_state state;
    uint64_t created_ms;
    struct kd_bytes secret; // hash; empty: none
    uint64_t secret_until_ms;
    struct kd_store_certificate current;
    struct kd_store_certificate previous; // the one that the current one was asked for with
};
typedef KD_MUST_CHECK enum kd_err kd_store_device_fn(void *arg, const struct kd_store_device *d);
// In the order of ids.  Ends with fn's first failure.
KD_MUST_CHECK enum kd_err kd_store_load_devices(struct kd_store *s, kd_store_device_fn *fn,
                                                void *arg);

// A device that has no certificate yet.  KD_ERR_DEVICE_EXISTS.
KD_MUST_CHECK enum kd_err kd_store_add_device(struct kd_store *s, const struct kd_store_device *d);
// Its one-time secret, in the place of one that it has.  KD_ERR_DEVICE_REVOKED.
KD_MUST_CHECK enum kd_err kd_store_set_secret(struct kd_store *s, const char *id,
                                              struct kd_bytes hash, uint64_t until_ms);
// Revokes the device, all its certificates, and deletes the peer that it is.
KD_MUST_CHECK enum kd_err kd_store_revoke_device(struct kd_store *s, const char *id,
                                                 uint64_t now_ms);

// A device that is revoked and whose certificates have all ended goes, with them; its id is kept.
// KD_ERR_NO_DEVICE, KD_ERR_DEVICE_NOT_REVOKED; KD_ERR_DEVICE_CERTIFIED: *until_ms is the end of
// the last of them, which has not come at now_ms.
KD_MUST_CHECK enum kd_err kd_store_delete_device(struct kd_store *s, const char *id,
                                                 uint64_t now_ms, uint64_t *until_ms);
typedef KD_MUST_CHECK enum kd_err kd_store_deleted_fn(void *arg, const char *id);
// The ids of devices that were deleted, in their order.  Ends with fn's first failure.
KD_MUST_CHECK enum kd_err kd_store_load_deleted(struct kd_store *s, kd_store_deleted_fn *fn,
                                                void *arg);

struct kd_store_issue {
    const struct kd_store_certificate *certificate;
    uint64_t now_ms;
    // For a device, else NULL.  Its secret is used up; the peer is added or replaced.
    const char *device;
    struct kd_bytes previous; // serial, may be empty
    const struct kd_store_peer *peer;
};
// All or nothing of it.  KD_ERR_DEVICE_REVOKED.
KD_MUST_CHECK enum kd_err kd_store_issue(struct kd_store *s, const struct kd_store_issue *issue);

#endif
