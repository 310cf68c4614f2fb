// SPDX-License-Identifier: Apache-2.0
// bootstrap_state.h: the bootstrap server's own view of itself.  Private to bootstrap.c,
// device_work.c and issue.c.
#ifndef KD_KEYD_BOOTSTRAP_STATE_H
#define KD_KEYD_BOOTSTRAP_STATE_H

#include "ca/ca.h"
#include "keyd/bootstrap.h"
#include "keyd/channel_state.h"
#include "keyd/devices.h"

struct kd_bootstrap {
    struct kd_service *s;
    const struct kd_ca_config *config;
    struct kd_devices devices;
    struct kd_ca_chain chain; // of the file, read at the start and at a reload; n 0: none
    struct kd_buf fingerprint; // of the provisioning answer that is being given
    uint64_t issued, refused, revoked;
};

// For a caller with this permission: KD_ERR_CONFIG (off), KD_ERR_STOPPING, KD_ERR_DENIED.
KD_MUST_CHECK enum kd_err kd_bootstrap_admit(const struct kd_service *s,
                                             const struct kd_caller *caller,
                                             enum kd_permission permission,
                                             struct kd_bootstrap **out);

bool kd_bootstrap_is_of_chain(const struct kd_bootstrap *b, const struct kd_key_version *v);
// Whether the CA's certificate is of this version, or could be as there is none.
bool kd_bootstrap_is_certified(const struct kd_bootstrap *b, const struct kd_entry *e,
                               const struct kd_key_version *v);

void kd_device_describe(const struct kd_bootstrap *b, const struct kd_device_entry *e,
                        struct kd_device_info *out);

// Whose proof it is: KD_ERR_ENROLMENT, with the reason in the log.
KD_MUST_CHECK enum kd_err kd_bootstrap_judge(struct kd_bootstrap *b,
                                             const struct kd_device_proof *proof,
                                             struct kd_device_entry **out);

// ---- the service's side (service.c) ------------------------------------------

KD_MUST_CHECK enum kd_err kd_bootstrap_open(struct kd_service *s, struct kd_store *store,
                                            struct kd_bootstrap **out);
void kd_bootstrap_free(struct kd_bootstrap *b); // when no request is under way
void kd_bootstrap_reload(struct kd_bootstrap *b);
void kd_bootstrap_metrics(const struct kd_service *s, struct kd_buf *out);
// Is this peer a device, which is changed here only?
bool kd_bootstrap_has_peer(const struct kd_service *s, const char *name);

#endif
