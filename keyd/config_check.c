// SPDX-License-Identifier: Apache-2.0
// config_check.c: whether one value of the configuration is what its row allows.
#include "keyd/config_row.h"

#include "fetch/fetch.h"
#include "keyd/service.h"
#include "keyd/words.h"

#include <limits.h>
#include <string.h>

enum { NUMBERS_MAX = KD_COUNT_OF(((struct kd_number_list *)NULL)->values) };

static int refuse_length(cfg_t *cfg, const struct kd_config_row *row, size_t n) {
    if (n >= row->low && n <= row->high) {
        return 0;
    }
    cfg_error(cfg, "'%s' has %zu bytes: %llu to %llu are allowed", row->name, n,
              (unsigned long long)row->low, (unsigned long long)row->high);
    return -1;
}

static int check_text(cfg_t *cfg, const struct kd_config_row *row, const char *text) {
    enum kd_log_level level;
    if (refuse_length(cfg, row, strlen(text)) != 0) {
        return -1;
    }
    if (row->type == PATH && text[0] != '\0' && text[0] != '/') {
        cfg_error(cfg, "'%s' must be an absolute path", row->name);
        return -1;
    }
    if (row->type == LEVEL && !kd_log_level_parse(text, &level)) {
        cfg_error(cfg, "'%s' must be error, warn, info or debug", row->name);
        return -1;
    }
    if (strcmp(row->name, "uri") == 0 && strncmp(text, "pkcs11:", 7) != 0) {
        cfg_error(cfg, "'uri' must begin with pkcs11: (RFC 7512)");
        return -1;
    }
    if (strcmp(row->name, "uri") == 0 &&
        (strstr(text, "pin-value") != NULL || strstr(text, "pin-source") != NULL)) {
        cfg_error(cfg, "'uri' must not hold a PIN or a way to it: use pin-file or pin-credential");
        return -1;
    }
    if (strcmp(row->name, "pin-credential") == 0 && strchr(text, '/') != NULL) {
        cfg_error(cfg, "'pin-credential' is a name, not a path; for a path use pin-file");
        return -1;
    }
    return 0;
}

static int check_word(cfg_t *cfg, const struct kd_config_row *row, const char *text) {
    struct kd_config scratch;
    if (row->type == NAME && text[0] != '\0' && !kd_name_is_valid(kd_bytes_of_text(text))) {
        cfg_error(cfg, "'%s' must be the name of a key", row->name);
        return -1;
    }
    if (row->type == HASH && !kd_config_hash_parse(text, &scratch.channel.x5t_hash)) {
        cfg_error(cfg,
                  "'%s' must be sha-256/64, sha-256, sha-384, sha-512, sha-512/256, shake128 "
                  "or shake256",
                  row->name);
        return -1;
    }
    if (row->type == CREDENTIAL && !kd_config_credential_parse(text, &scratch.channel.id_cred)) {
        cfg_error(cfg, "'%s' must be x5t, x5u, x5u+x5t or x5chain", row->name);
        return -1;
    }
    if (row->type == PROFILE && !kd_config_profile_parse(text, &scratch.channel.profile)) {
        cfg_error(cfg, "'%s' must be resident or released", row->name);
        return -1;
    }
    return 0;
}

static int check_number(cfg_t *cfg, const struct kd_config_row *row, long v) {
    if (v >= 0 && (uint64_t)v >= row->low && (uint64_t)v <= row->high) {
        return 0;
    }
    const unsigned long long low = row->low;
    const unsigned long long high = row->high;
    if (row->type == OCTAL) {
        cfg_error(cfg, "'%s' is 0%lo: 0%llo to 0%llo are allowed", row->name, (unsigned long)v, low,
                  high);
    } else {
        cfg_error(cfg, "'%s' is %ld: %llu to %llu are allowed", row->name, v, low, high);
    }
    return -1;
}

// NAME=value with a name that setenv takes.
static int check_entry(cfg_t *cfg, const struct kd_config_row *row, const cfg_opt_t *option) {
    const char *entry = option->values[option->nvalues - 1]->string;
    const size_t name = strcspn(entry, "=");
    if (option->nvalues > row->high) {
        cfg_error(cfg, "'%s' has more than %llu entries", row->name, (unsigned long long)row->high);
        return -1;
    }
    if (name == 0 || entry[name] != '=' || strlen(entry) > KD_CONFIG_TEXT_MAX) {
        cfg_error(cfg, "'%s': an entry must be NAME=value, of at most %d bytes", row->name,
                  KD_CONFIG_TEXT_MAX);
        return -1;
    }
    return 0;
}

static int check_item(cfg_t *cfg, const struct kd_config_row *row, const cfg_opt_t *option) {
    const char *text = option->values[option->nvalues - 1]->string;
    const size_t n = strlen(text);
    if (option->nvalues > KD_TEXTS_MAX) {
        cfg_error(cfg, "'%s' has more than %d entries", row->name, KD_TEXTS_MAX);
        return -1;
    }
    if (n == 0 || n > row->high) {
        cfg_error(cfg, "'%s': an entry has %zu bytes: 1 to %llu are allowed", row->name, n,
                  (unsigned long long)row->high);
        return -1;
    }
    if (strcmp(row->section, "fetch") == 0 && !kd_fetch_prefix_is_valid(text)) {
        cfg_error(cfg, "'%s': an entry must be https://HOST/ or https://HOST/PATH/", row->name);
        return -1;
    }
    return 0;
}

static int check_operation(cfg_t *cfg, const struct kd_config_row *row, const cfg_opt_t *option) {
    static const unsigned known = 1u << KD_MAY_SIGN | 1u << KD_MAY_VERIFY | 1u << KD_MAY_MAC |
                                  1u << KD_MAY_MAC_VERIFY | 1u << KD_MAY_ENCRYPT |
                                  1u << KD_MAY_DECRYPT | 1u << KD_MAY_REWRAP | 1u << KD_MAY_ECDH |
                                  1u << KD_MAY_DERIVE | 1u << KD_MAY_RANDOM;
    const char *text = option->values[option->nvalues - 1]->string;
    enum kd_permission p;
    if (!kd_permission_parse(text, &p) || (known & 1u << p) == 0) {
        cfg_error(cfg, "'%s': '%s' is no operation with a key", row->name, text);
        return -1;
    }
    return 0;
}

static bool is_channel_number(const struct kd_config_row *row, long v) {
    return strcmp(row->name, "suites") == 0 ? kd_suite_get((int)v) != NULL
                                            : v >= 0 && (uint64_t)v <= row->high;
}

static int check_numbers(cfg_t *cfg, const struct kd_config_row *row, const cfg_opt_t *option) {
    const long v = option->values[option->nvalues - 1]->number;
    if (option->nvalues > NUMBERS_MAX) {
        cfg_error(cfg, "'%s' has more than %d entries", row->name, (int)NUMBERS_MAX);
        return -1;
    }
    if (v > INT_MAX || !is_channel_number(row, v)) {
        cfg_error(cfg, "'%s': %ld is not one of those that keyd knows", row->name, v);
        return -1;
    }
    for (unsigned i = 0; i + 1 < option->nvalues; i++) {
        if (option->values[i]->number == v) {
            cfg_error(cfg, "'%s' has %ld twice", row->name, v);
            return -1;
        }
    }
    return 0;
}

int kd_config_check(cfg_t *cfg, const struct kd_config_row *row, const cfg_opt_t *option) {
    switch (row->type) {
    case TEXT:
    case PATH:
    case LEVEL:
        return check_text(cfg, row, option->values[0]->string);
    case NUMBER:
    case NUMBER16:
    case NUMBER64:
    case OCTAL:
        return check_number(cfg, row, option->values[0]->number);
    case SWITCH:
        return 0;
    case LIST:
        return check_entry(cfg, row, option);
    case NAME:
    case HASH:
    case PROFILE:
    case CREDENTIAL:
        return check_word(cfg, row, option->values[0]->string);
    case TEXTS:
        return check_item(cfg, row, option);
    case OPERATIONS:
        return check_operation(cfg, row, option);
    case NUMBERS:
        return check_numbers(cfg, row, option);
    }
    return -1;
}
