// SPDX-License-Identifier: Apache-2.0
// secrets.h: the derived secrets that callers hold: for each the way to it
// (nothing secret), who made it, and until when it lives.
#ifndef KD_KEYD_SECRETS_H
#define KD_KEYD_SECRETS_H

#include "base/base.h"
#include "keyd/config.h"
#include "keyd/service.h"

struct kd_secrets;
struct kd_secret_owner;

struct kd_secret_entry {
    char id[KD_SECRET_ID_TEXT_BYTES];
    bool is_made;     // false: the token is at it; only its maker's request sees it
    bool is_resident; // every step was the token's own
    char key[KD_NAME_MAX_BYTES + 1];
    uint32_t version;
    struct kd_recipe recipe; // its bytes are the entry's
    uint64_t created_ms;     // wall clock
    uint64_t expires_ms;     // wall clock
    struct kd_heap_node due; // monotonic
    struct kd_secret_owner *owner;
    // the owner's, in no order that is told
    struct kd_secret_entry *next;
    struct kd_secret_entry *prev;
};

// `gone` is told of each secret that expires.
typedef void kd_secret_gone(void *arg, const uint8_t id[static KD_HSM_SECRET_ID_BYTES]);
KD_MUST_CHECK enum kd_err kd_secrets_new(struct kd_loop *loop,
                                         const struct kd_secrets_config *config,
                                         kd_secret_gone *gone, void *arg, struct kd_secrets **out);
void kd_secrets_free(struct kd_secrets *s);
KD_AUTO_DEFINE(secrets, struct kd_secrets *, kd_secrets_free)

// Takes a place for a new secret: gives recipe->id, copies the recipe.
// KD_ERR_TOO_MANY where the principal, or all together, have as many as they may.
KD_MUST_CHECK enum kd_err kd_secrets_add(struct kd_secrets *s, const char *principal,
                                         const char *key, uint32_t version,
                                         struct kd_recipe *recipe, uint32_t lifetime_sec,
                                         struct kd_secret_entry **out);
// The principal's own, made and alive; else NULL.
struct kd_secret_entry *kd_secrets_get(const struct kd_secrets *s, const char *principal,
                                       const char *id);
// One that a request is making: by its id alone, made or not.
struct kd_secret_entry *kd_secrets_find(const struct kd_secrets *s, const char *id);
void kd_secrets_remove(struct kd_secrets *s, struct kd_secret_entry *e); // tells nobody
// Removes all that came from a key, or from one version of it (0: any), and tells `gone`.
void kd_secrets_remove_of_key(struct kd_secrets *s, const char *key, uint32_t version);
// The principal's that are made, at most `max` (at least 1), in the order of their ids: the first
// ones behind `after`, which may be of one that has ended, or "".  They live until the next change.
size_t kd_secrets_page(const struct kd_secrets *s, const char *principal, const char *after,
                       const struct kd_secret_entry **out, size_t max);
size_t kd_secrets_count(const struct kd_secrets *s);

#endif
