// SPDX-License-Identifier: Apache-2.0
// recipe.h: turns what a caller asks for (ecdh, derive) into the way to a
// secret that a worker can go, after everything about it has been checked.
#ifndef KD_KEYD_RECIPE_H
#define KD_KEYD_RECIPE_H

#include "keyd/state.h"

// Borrows from the registry, the secrets and the derivation; do not move it:
// the last step's info may be in `context`.
struct kd_plan {
    struct kd_recipe recipe; // without its id
    const char *key;         // name of the base key
    uint32_t version;
    bool is_resident; // every step is the token's own
    uint32_t lifetime_sec;
    struct kd_wrong wrong;   // of one that cannot be made
    uint8_t context[32]; // aes-cbc-data: the data that is encrypted
};

// Errors: those of policy, keys and secrets, and KD_ERR_KEY_TYPE, KD_ERR_BAD_POINT,
// KD_ERR_FIELD_MISSING, KD_ERR_FIELD_INVALID, KD_ERR_ITEM_TOO_LARGE, KD_ERR_LACKING,
// KD_ERR_TOO_MANY (steps); out->wrong says more of some, and of the rest is untouched.
KD_MUST_CHECK enum kd_err kd_plan_make(const struct kd_service *s, const struct kd_caller *caller,
                                       const struct kd_derivation *d, struct kd_plan *out);

#endif
