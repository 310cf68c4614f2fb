// SPDX-License-Identifier: Apache-2.0
// room.c: how many keys and versions there may be: what the policy says (keyd-policy(5)), and the
// service's own limit.
#include "keyd/state.h"

// Those that the rule names, whoever made them, also what is being made or deleted; up to `max`.
static size_t count_keys(const struct kd_registry *g, const struct kd_rule *rule, size_t max) {
    size_t n = 0;
    for (size_t i = 0; i < g->n && n < max; i++) {
        n += kd_rule_has(rule, g->sorted[i]->key.name);
    }
    return n;
}

// In any state, pending too.
static size_t count_versions(const struct kd_registry *g, const char *name) {
    const struct kd_entry *e = kd_registry_get(g, name);
    return e == NULL ? 0 : e->key.n_versions + e->has_pending;
}

static void say_which_to_delete(struct kd_buf *why, const char *name) {
    kd_buf_printf(why, "; delete old ones: DELETE /v1/keys/%s/versions/{n}.", name);
}

static void say_what_is_needed(struct kd_buf *why, const struct kd_caller *caller,
                               enum kd_permission permission, const char *name) {
    const char *what = kd_permission_name(permission);
    kd_buf_printf(why, "Principal \"%s\" needs %s on \"%s\"", caller->principal, what, name);
    if (kd_principal_has(caller->policy, permission)) {
        kd_buf_printf(why, ", and has %s on other names only", what);
    }
    kd_buf_text(why, " (keyd-policy(5)).");
}

enum kd_err kd_service_room(const struct kd_service *s, const struct kd_caller *caller,
                            enum kd_permission permission, const char *name, struct kd_buf *why) {
    const bool is_version = permission == KD_MAY_ROTATE;
    const size_t n_versions = count_versions(&s->registry, name);
    if (is_version && n_versions >= KD_KEY_VERSIONS_MAX) {
        kd_buf_printf(why, "A key has at most %d versions", KD_KEY_VERSIONS_MAX);
        say_which_to_delete(why, name);
        return KD_ERR_TOO_MANY;
    }
    size_t max = 0;
    for (const struct kd_rule *rule = NULL;
         (rule = kd_principal_rule(caller->policy, permission, name, rule)) != NULL;) {
        max = kd_rule_max(rule, permission);
        if (max == 0 || (is_version ? n_versions : count_keys(&s->registry, rule, max)) < max) {
            return KD_OK;
        }
    }
    if (max == 0) {
        say_what_is_needed(why, caller, permission, name);
        return KD_ERR_DENIED;
    }
    if (is_version) {
        kd_buf_printf(why, "The policy's rule has versions-max = %zu, and the key as many", max);
        say_which_to_delete(why, name);
    } else {
        kd_buf_printf(why,
                      "The policy's rule has keys-max = %zu, and there are as many keys that it "
                      "names; delete what is not needed, or ask the operator.",
                      max);
    }
    return KD_ERR_TOO_MANY;
}
