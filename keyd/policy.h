// SPDX-License-Identifier: Apache-2.0
// policy.h: principals, how they are recognised, and what they may do:
// keyd-policy(5).  Deny by default.  A policy never changes: a reload makes a
// new one.  The enum of permissions is the service's (service.h).
#ifndef KD_KEYD_POLICY_H
#define KD_KEYD_POLICY_H

#include "base/base.h"
#include "keyd/service.h"

struct kd_policy;
struct kd_principal; // of a policy; lives as long

// KD_ERR_CONFIG, KD_ERR_NO_FILE: *errors has a line "file:line: what" for each complaint.
KD_MUST_CHECK enum kd_err kd_policy_read(const char *path, struct kd_buf *errors,
                                         struct kd_policy **out);
void kd_policy_free(struct kd_policy *p);
KD_AUTO_DEFINE(policy, struct kd_policy *, kd_policy_free)

// NULL: nobody that the policy knows.
const struct kd_principal *kd_policy_identify(const struct kd_policy *p,
                                              const struct kd_credential *credential);
const char *kd_principal_name(const struct kd_principal *who);
bool kd_principal_may(const struct kd_principal *who, enum kd_permission permission,
                      const char *key);

#endif
