// SPDX-License-Identifier: Apache-2.0
// policy.c: reads the policy file and answers who a caller is and whether it
// may do something.
#include "keyd/policy.h"

#include "keyd/conf.h"

#include <errno.h>
#include <grp.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

enum { HASH_BYTES = 32, HASH_TEXT_BYTES = 7 + 2 * HASH_BYTES };

struct hash {
    uint8_t bytes[HASH_BYTES];
};

enum { KEYS_MAX_HIGH = 1000000 };

// What makes keys, and what the limits of a rule are for.
static const uint32_t makes_keys = 1u << KD_MAY_CREATE | 1u << KD_MAY_ADOPT | 1u << KD_MAY_IMPORT;
static const uint32_t makes_versions = 1u << KD_MAY_ROTATE;

struct kd_rule {
    uint32_t permissions; // bit 1 << enum kd_permission
    size_t keys_max;      // 0: no limit
    size_t versions_max;  // 0: no limit
    size_t n_keys;
    char **keys; // patterns
};

struct kd_principal {
    char *name;
    size_t n_uids;
    uint32_t *uids;
    size_t n_gids;
    uint32_t *gids;
    size_t n_tokens;
    struct hash *tokens;
    size_t n_certificates;
    struct hash *certificates;
    size_t n_rules;
    struct kd_rule *rules;
};

struct kd_policy {
    size_t n_principals;
    struct kd_principal *principals; // in the order of the file
};

static bool concerns_a_key(enum kd_permission p) {
    return p != KD_MAY_RANDOM && p != KD_MAY_STATUS && p != KD_MAY_METRICS && p != KD_MAY_PEER &&
           p != KD_MAY_BACKUP;
}

// ---- questions -------------------------------------------------------------

static bool has_number(const uint32_t *numbers, size_t n, uint32_t v) {
    for (size_t i = 0; i < n; i++) {
        if (numbers[i] == v) {
            return true;
        }
    }
    return false;
}

static bool has_hash(const struct hash *hashes, size_t n, struct kd_bytes v) {
    bool found = false;
    for (size_t i = 0; i < n; i++) { // all of them: the time does not say which
        found |= kd_ct_equal((struct kd_bytes) { hashes[i].bytes, HASH_BYTES }, v);
    }
    return found;
}

static bool is_peer(const struct kd_principal *who, const struct kd_credential *c) {
    bool is_it =
        has_number(who->uids, who->n_uids, c->uid) || has_number(who->gids, who->n_gids, c->gid);
    for (size_t i = 0; !is_it && who->n_gids > 0 && i < c->n_groups; i++) {
        is_it = has_number(who->gids, who->n_gids, c->groups[i]);
    }
    return is_it;
}

const struct kd_principal *kd_policy_identify(const struct kd_policy *p,
                                              const struct kd_credential *c) {
    struct hash token;
    const bool has_token = c->bearer.n > 0;
    if (has_token &&
        EVP_Digest(c->bearer.p, c->bearer.n, token.bytes, NULL, EVP_sha256(), NULL) != 1) {
        return NULL;
    }
    const struct kd_bytes presented = { token.bytes, HASH_BYTES };
    for (size_t i = 0; i < p->n_principals; i++) {
        const struct kd_principal *who = &p->principals[i];
        // The strongest proof that was given decides alone (service.h).
        const bool is_it = has_token ? has_hash(who->tokens, who->n_tokens, presented)
                           : c->certificate.n > 0
                               ? has_hash(who->certificates, who->n_certificates, c->certificate)
                               : c->has_peer && is_peer(who, c);
        if (is_it) {
            return who;
        }
    }
    return NULL;
}

const char *kd_principal_name(const struct kd_principal *who) {
    return who->name;
}

bool kd_rule_has(const struct kd_rule *rule, const char *key) {
    for (size_t k = 0; k < rule->n_keys; k++) {
        if (kd_glob_match(rule->keys[k], key)) {
            return true;
        }
    }
    return false;
}

size_t kd_rule_max(const struct kd_rule *rule, enum kd_permission permission) {
    const uint32_t asked = 1u << permission;
    return (asked & makes_keys) != 0       ? rule->keys_max
           : (asked & makes_versions) != 0 ? rule->versions_max
                                           : 0;
}

const struct kd_rule *kd_principal_rule(const struct kd_principal *who,
                                        enum kd_permission permission, const char *key,
                                        const struct kd_rule *after) {
    for (size_t i = after == NULL ? 0 : (size_t)(after - who->rules) + 1; i < who->n_rules; i++) {
        const struct kd_rule *rule = &who->rules[i];
        if ((rule->permissions & 1u << permission) != 0 &&
            (!concerns_a_key(permission) || (key != NULL && kd_rule_has(rule, key)))) {
            return rule;
        }
    }
    return NULL;
}

bool kd_principal_has(const struct kd_principal *who, enum kd_permission permission) {
    for (size_t i = 0; i < who->n_rules; i++) {
        if ((who->rules[i].permissions & 1u << permission) != 0) {
            return true;
        }
    }
    return false;
}

bool kd_principal_may(const struct kd_principal *who, enum kd_permission permission,
                      const char *key) {
    return kd_principal_rule(who, permission, key, NULL) != NULL;
}

// ---- checks of the file ----------------------------------------------------

static int check_hash(cfg_t *cfg, cfg_opt_t *option) {
    struct hash unused;
    const char *text = option->values[option->nvalues - 1]->string;
    if (kd_conf_once(cfg, option) != 0) {
        return -1;
    }
    if (strncmp(text, "sha256:", 7) != 0 ||
        kd_hex_decode(text + 7, unused.bytes, HASH_BYTES) != KD_OK) {
        // The value itself is not shown: it may be a token put here by mistake.
        cfg_error(cfg, "'%s' must be sha256: and 64 hexadecimal digits (%s)", option->name,
                  strcmp(option->name, "token") == 0 ? "printf %s TOKEN | sha256sum"
                                                     : "openssl x509 -outform der | sha256sum");
        return -1;
    }
    return 0;
}

static int check_id(cfg_t *cfg, cfg_opt_t *option) {
    const long v = option->values[option->nvalues - 1]->number;
    if (kd_conf_once(cfg, option) != 0) {
        return -1;
    }
    if (v < 0 || v >= UINT32_MAX) { // (uid_t)-1 is nobody (chown(2))
        cfg_error(cfg, "'%s' is %ld: 0 to 4294967294 are allowed", option->name, v);
        return -1;
    }
    return 0;
}

static int check_account(cfg_t *cfg, cfg_opt_t *option) {
    const char *name = option->values[option->nvalues - 1]->string;
    if (kd_conf_once(cfg, option) != 0) {
        return -1;
    }
    const bool is_user = strcmp(option->name, "user") == 0;
    if (is_user ? getpwnam(name) == NULL : getgrnam(name) == NULL) {
        cfg_error(cfg, "there is no %s '%s' on this machine", option->name, name);
        return -1;
    }
    return 0;
}

static int check_operation(cfg_t *cfg, cfg_opt_t *option) {
    enum kd_permission unused;
    const char *name = option->values[option->nvalues - 1]->string;
    if (kd_conf_once(cfg, option) != 0) {
        return -1;
    }
    if (strcmp(name, "*") != 0 && !kd_permission_parse(name, &unused)) {
        cfg_error(cfg, "there is no operation '%s'", name);
        return -1;
    }
    return 0;
}

static int check_pattern(cfg_t *cfg, cfg_opt_t *option) {
    const char *pattern = option->values[option->nvalues - 1]->string;
    if (kd_conf_once(cfg, option) != 0) {
        return -1;
    }
    const size_t n = strlen(pattern);
    const size_t fit = strspn(pattern, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789._-*?");
    if (n == 0 || n > KD_NAME_MAX_BYTES || fit != n) {
        cfg_error(cfg, "'%s' is not a key name or pattern (letters, digits, . _ - * ?)", pattern);
        return -1;
    }
    return 0;
}

static int check_max(cfg_t *cfg, cfg_opt_t *option) {
    const bool is_keys = strcmp(option->name, "keys-max") == 0;
    const long low = is_keys ? 1 : 2; // the last version always stays: with 1 nothing could rotate
    const long high = is_keys ? KEYS_MAX_HIGH : KD_KEY_VERSIONS_MAX;
    const long v = option->values[option->nvalues - 1]->number;
    if (kd_conf_once(cfg, option) != 0) {
        return -1;
    }
    if (v < low || v > high) {
        cfg_error(cfg, "'%s' is %ld: %ld to %ld are allowed", option->name, v, low, high);
        return -1;
    }
    return 0;
}

static uint32_t permissions_of(cfg_t *section) {
    uint32_t permissions = 0;
    for (unsigned i = 0; i < cfg_size(section, "operations"); i++) {
        enum kd_permission p;
        permissions |= kd_permission_parse(cfg_getnstr(section, "operations", i), &p)
                           ? 1u << p
                           : (1u << KD_PERMISSIONS) - 1;
    }
    return permissions;
}

static int check_title(cfg_t *cfg, cfg_opt_t *option) {
    cfg_t *section = cfg_opt_getnsec(option, option->nvalues - 1);
    if (!kd_name_is_valid(kd_bytes_of_text(section->title))) {
        cfg_error(cfg, "'%s' is not a name for a principal (letters, digits, . _ -)",
                  section->title);
        return -1;
    }
    return kd_conf_keep(cfg, option);
}

static int check_rule(cfg_t *cfg, cfg_opt_t *option) {
    cfg_t *section = cfg_opt_getnsec(option, option->nvalues - 1);
    if (cfg_size(section, "operations") == 0) {
        cfg_error(cfg, "allow \"%s\" names no operations", section->title);
        return -1;
    }
    const uint32_t permissions = permissions_of(section);
    bool needs_keys = false;
    for (unsigned p = 0; p < KD_PERMISSIONS; p++) {
        needs_keys |= (permissions & 1u << p) != 0 && concerns_a_key((enum kd_permission)p);
    }
    if (needs_keys && cfg_size(section, "keys") == 0) {
        cfg_error(cfg, "allow \"%s\" names no keys", section->title);
        return -1;
    }
    // A limit that limits nothing stands where somebody believes in it.
    if (cfg_getint(section, "keys-max") != 0 && (permissions & makes_keys) == 0) {
        cfg_error(cfg, "allow \"%s\" has keys-max, and none of create, import and adopt",
                  section->title);
        return -1;
    }
    if (cfg_getint(section, "versions-max") != 0 && (permissions & makes_versions) == 0) {
        cfg_error(cfg, "allow \"%s\" has versions-max, and not rotate", section->title);
        return -1;
    }
    return check_title(cfg, option);
}

// ---- building --------------------------------------------------------------

void kd_policy_free(struct kd_policy *p) {
    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < p->n_principals; i++) {
        struct kd_principal *who = &p->principals[i];
        for (size_t r = 0; r < who->n_rules; r++) {
            for (size_t k = 0; k < who->rules[r].n_keys; k++) {
                free(who->rules[r].keys[k]);
            }
            free(who->rules[r].keys);
        }
        free(who->rules);
        free(who->name);
        free(who->uids);
        free(who->gids);
        free(who->tokens);
        free(who->certificates);
    }
    free(p->principals);
    free(p);
}

static enum kd_err take_hashes(cfg_t *section, const char *name, size_t *n, struct hash **out) {
    const unsigned count = cfg_size(section, name);
    *out = calloc(count + 1, sizeof(**out));
    if (*out == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    for (unsigned i = 0; i < count; i++) {
        enum kd_err r =
            kd_hex_decode(cfg_getnstr(section, name, i) + 7, (*out)[i].bytes, HASH_BYTES);
        if (r != KD_OK) {
            return r;
        }
    }
    *n = count;
    return KD_OK;
}

// Numbers, and the names of accounts resolved to numbers.
static enum kd_err take_ids(cfg_t *section, const char *number, const char *name, size_t *n,
                            uint32_t **out) {
    const unsigned numbers = cfg_size(section, number);
    const unsigned names = cfg_size(section, name);
    *out = calloc((size_t)numbers + names + 1, sizeof(**out));
    if (*out == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    for (unsigned i = 0; i < numbers; i++) {
        (*out)[(*n)++] = (uint32_t)cfg_getnint(section, number, i);
    }
    for (unsigned i = 0; i < names; i++) {
        const char *account = cfg_getnstr(section, name, i);
        const struct passwd *user = strcmp(name, "user") == 0 ? getpwnam(account) : NULL;
        const struct group *group = strcmp(name, "group") == 0 ? getgrnam(account) : NULL;
        if (user == NULL && group == NULL) {
            return KD_ERR_CONFIG; // gone since it was checked
        }
        (*out)[(*n)++] = user != NULL ? user->pw_uid : group->gr_gid;
    }
    return KD_OK;
}

static enum kd_err take_principal(cfg_t *section, struct kd_principal *who) {
    enum kd_err r;
    who->name = strdup(kd_conf_title(section));
    if (who->name == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    if ((r = take_ids(section, "uid", "user", &who->n_uids, &who->uids)) != KD_OK ||
        (r = take_ids(section, "gid", "group", &who->n_gids, &who->gids)) != KD_OK ||
        (r = take_hashes(section, "token", &who->n_tokens, &who->tokens)) != KD_OK) {
        return r;
    }
    return take_hashes(section, "certificate", &who->n_certificates, &who->certificates);
}

static enum kd_err take_rule(cfg_t *section, struct kd_principal *who) {
    const unsigned n = cfg_size(section, "keys");
    struct kd_rule *rules = realloc(who->rules, (who->n_rules + 1) * sizeof(*rules));
    if (rules == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    who->rules = rules;
    struct kd_rule *rule = &rules[who->n_rules++];
    *rule = (struct kd_rule) {
        .permissions = permissions_of(section),
        .keys_max = (size_t)cfg_getint(section, "keys-max"),
        .versions_max = (size_t)cfg_getint(section, "versions-max"),
        .keys = calloc(n + 1, sizeof(*rule->keys)),
    };
    if (rule->keys == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    for (unsigned i = 0; i < n; i++) {
        rule->keys[i] = strdup(cfg_getnstr(section, "keys", i));
        if (rule->keys[i] == NULL) {
            return KD_ERR_NO_MEMORY;
        }
        rule->n_keys++;
    }
    return KD_OK;
}

static struct kd_principal *principal_of(struct kd_policy *p, const char *name) {
    for (size_t i = 0; i < p->n_principals; i++) {
        if (strcmp(p->principals[i].name, name) == 0) {
            return &p->principals[i];
        }
    }
    return NULL;
}

static enum kd_err build(cfg_t *cfg, const char *path, struct kd_buf *errors, struct kd_policy *p) {
    enum kd_err r = KD_OK;
    const unsigned n = cfg_size(cfg, "principal");
    p->principals = calloc(n + 1, sizeof(*p->principals));
    if (p->principals == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    for (unsigned i = 0; i < n && r == KD_OK; i++) {
        cfg_t *section = cfg_getnsec(cfg, "principal", i);
        if (principal_of(p, kd_conf_title(section)) != NULL) {
            kd_buf_printf(errors, "%s:%d: a second principal \"%s\"\n", path, section->line,
                          kd_conf_title(section));
        }
        r = take_principal(section, &p->principals[p->n_principals++]);
    }
    for (unsigned i = 0; i < cfg_size(cfg, "allow") && r == KD_OK; i++) {
        cfg_t *section = cfg_getnsec(cfg, "allow", i);
        struct kd_principal *who = principal_of(p, kd_conf_title(section));
        if (who == NULL) {
            kd_buf_printf(errors, "%s:%d: there is no principal \"%s\"\n", path, section->line,
                          kd_conf_title(section));
        } else {
            r = take_rule(section, who);
        }
    }
    if (r == KD_OK && kd_buf_finish(errors) == KD_ERR_NO_MEMORY) {
        return KD_ERR_NO_MEMORY; // a complaint may be missing
    }
    return r == KD_OK && errors->n > 0 ? KD_ERR_CONFIG : r;
}

enum kd_err kd_policy_read(const char *path, struct kd_buf *errors, struct kd_policy **out) {
    cfg_opt_t principal[] = {
        CFG_INT_LIST("uid", NULL, CFGF_NODEFAULT),
        CFG_STR_LIST("user", NULL, CFGF_NODEFAULT),
        CFG_INT_LIST("gid", NULL, CFGF_NODEFAULT),
        CFG_STR_LIST("group", NULL, CFGF_NODEFAULT),
        CFG_STR_LIST("token", NULL, CFGF_NODEFAULT),
        CFG_STR_LIST("certificate", NULL, CFGF_NODEFAULT),
        CFG_END(),
    };
    static int (*const principal_checks[])(cfg_t *, cfg_opt_t *) = {
        check_id, check_account, check_id, check_account, check_hash, check_hash,
    };
    for (size_t i = 0; i < KD_COUNT_OF(principal_checks); i++) {
        principal[i].validcb = principal_checks[i];
    }
    cfg_opt_t allow[] = {
        CFG_STR_LIST("operations", NULL, CFGF_NODEFAULT),
        CFG_STR_LIST("keys", NULL, CFGF_NODEFAULT),
        CFG_INT("keys-max", 0, CFGF_NONE),
        CFG_INT("versions-max", 0, CFGF_NONE),
        CFG_END(),
    };
    allow[0].validcb = check_operation;
    allow[1].validcb = check_pattern;
    allow[2].validcb = check_max;
    allow[3].validcb = check_max;
    cfg_opt_t root[] = {
        CFG_SEC("principal", principal, CFGF_MULTI | CFGF_TITLE),
        CFG_SEC("allow", allow, CFGF_MULTI | CFGF_TITLE),
        CFG_END(),
    };
    root[0].validcb = check_title;
    root[1].validcb = check_rule;

    kd_auto(cfg) cfg_t *cfg = NULL;
    enum kd_err r = kd_conf_read(path, root, errors, &cfg);
    if (r != KD_OK) {
        return r;
    }
    kd_auto(policy) struct kd_policy *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    r = build(cfg, path, errors, p);
    if (r == KD_OK) {
        *out = KD_STEAL(p);
    }
    return r;
}
