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
struct kd_rule;      // the same

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
bool kd_principal_has(const struct kd_principal *who, enum kd_permission permission); // on any key

// One rule after the other that allows it: the first behind `after` (NULL: from the start); NULL at
// their end.
const struct kd_rule *kd_principal_rule(const struct kd_principal *who,
                                        enum kd_permission permission, const char *key,
                                        const struct kd_rule *after);
// Does it name this key?
bool kd_rule_has(const struct kd_rule *rule, const char *key);
// It allows what makes a key (create, import, adopt) while there are fewer keys that it names, and
// what makes a version (rotate) while the key has fewer; 0: however many there are.
size_t kd_rule_max(const struct kd_rule *rule, enum kd_permission permission);

#endif
