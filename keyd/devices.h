// SPDX-License-Identifier: Apache-2.0
// devices.h: the devices of the bootstrap server in memory, by id and by their certificates, and
// the ids of those that were deleted.  What is here has been written to the store before, but for
// what `is_new`, `is_busy` and `is_leaving` say.
#ifndef KD_KEYD_DEVICES_H
#define KD_KEYD_DEVICES_H

#include "ca/ca.h"
#include "keyd/store_devices.h"

struct kd_device_certificate {
    struct kd_buf der; // empty: none
    uint8_t serial[KD_CA_SERIAL_BYTES];
    uint8_t hash[32]; // SHA-256
    uint64_t from_ms, upto_ms;
};

struct kd_device_entry {
    char id[KD_NAME_MAX_BYTES + 1];
    char relation[KD_NAME_MAX_BYTES + 1];
    enum kd_device_usage usage;
    enum kd_device_state state;
    uint64_t created_ms;
    bool has_secret;
    uint8_t secret[KD_ENROL_HASH_BYTES];
    uint64_t secret_until_ms;
    struct kd_device_certificate current;
    struct kd_device_certificate previous; // good for one more renewal, not for handshakes
    bool is_new;                           // not on the disk yet: not to be found
    bool is_busy;                          // a certificate or secret is being made for it
    bool is_leaving; // being deleted: nothing else may begin
    bool is_unsaved; // revoked, and the disk does not know: may be revoked again
};

struct kd_devices {
    struct kd_map by_id, by_hash;
    struct kd_map deleted; // ids alone
    size_t n;
    size_t cap;
    struct kd_device_entry **sorted;
};

#define KD_DEVICES_INIT ((struct kd_devices) { 0 })
void kd_devices_wipe(struct kd_devices *d);

// Copies.  KD_ERR_DEVICE_EXISTS.
KD_MUST_CHECK enum kd_err kd_devices_add(struct kd_devices *d, const struct kd_store_device *from,
                                         struct kd_device_entry **out);
void kd_devices_remove(struct kd_devices *d, struct kd_device_entry *e);
// A kd_store_device_fn; arg is the devices.
KD_MUST_CHECK enum kd_err kd_devices_load(void *devices, const struct kd_store_device *from);

// Ids of devices that were deleted, and of one that is leaving.  A kd_store_deleted_fn; arg is the
// devices.  KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_devices_note_deleted(void *devices, const char *id);
void kd_devices_unnote_deleted(struct kd_devices *d, const char *id); // it stays
bool kd_devices_was_deleted(const struct kd_devices *d, const char *id);
// Such a name does not come in, whoever vouches for it.
bool kd_devices_shuts_out(const struct kd_devices *d, const char *id);

struct kd_device_entry *kd_devices_get(const struct kd_devices *d, const char *id); // or NULL
// The first whose id is greater than `after` (NULL: the first), or NULL.
struct kd_device_entry *kd_devices_next(const struct kd_devices *d, const char *after);
// By SHA-256 of its current or previous certificate, or NULL.
struct kd_device_entry *kd_devices_by_hash(const struct kd_devices *d, struct kd_bytes hash);

// A new current certificate, whose bytes are taken.  The one with this hash (that it was asked
// for with; empty: none) is the previous one from now on.  It needs no memory: places for both
// have been kept before, and are given back.
void kd_devices_renew(struct kd_devices *d, struct kd_device_entry *e,
                      struct kd_device_certificate *take_certificate, struct kd_bytes asked_with);
KD_MUST_CHECK enum kd_err kd_devices_keep_places(struct kd_devices *d);
void kd_devices_forgo_places(struct kd_devices *d); // where nothing comes of it

#endif
