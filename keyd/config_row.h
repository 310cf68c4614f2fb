// SPDX-License-Identifier: Apache-2.0
// config_row.h: one row of the table of configuration keys.  Private to config.c,
// config_check.c and config_print.c.
#ifndef KD_KEYD_CONFIG_ROW_H
#define KD_KEYD_CONFIG_ROW_H

#include "keyd/config.h"

#include <confuse.h>

#define KD_CONFIG_TEXT_MAX 1024

enum kd_config_type {
    TEXT,
    PATH,
    NUMBER,
    NUMBER16,
    NUMBER64,
    OCTAL,
    SWITCH,
    LEVEL,
    LIST,
    NAME,
    NUMBERS,
    HASH,
    PROFILE,
    CREDENTIAL,
    TEXTS,
    OPERATIONS,
};

struct kd_config_row {
    const char *section;
    const char *name;
    enum kd_config_type type;
    bool in_http; // offset is into struct kd_http_config
    size_t offset;
    const char *initial;
    uint64_t low;
    uint64_t high;
    const char *help;
};

const char *kd_config_type_name(enum kd_config_type type);
// The value just read, or the last of a list; 0, or -1 and said to the parser what is wrong.
int kd_config_check(cfg_t *cfg, const struct kd_config_row *row, const cfg_opt_t *option);

#endif
