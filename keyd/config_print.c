// SPDX-License-Identifier: Apache-2.0
// config_print.c: the sample file, from the table in config.c.
#include "keyd/config_row.h"

#include <string.h>

static const char *const type_names[] = {
    [TEXT] = "text",       [PATH] = "path",
    [NUMBER] = "number",   [NUMBER16] = "number",
    [NUMBER64] = "number", [OCTAL] = "octal",
    [SWITCH] = "switch",   [LEVEL] = "level",
    [LIST] = "list",       [NAME] = "name",
    [NUMBERS] = "numbers", [HASH] = "hash",
    [PROFILE] = "profile", [CREDENTIAL] = "credential",
    [TEXTS] = "texts",     [OPERATIONS] = "texts",
};

const char *kd_config_type_name(enum kd_config_type type) {
    return type_names[type];
}

static bool is_one_of(const char *type, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(type, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void print_key(struct kd_buf *out, const struct kd_config_key *key, const char *indent) {
    static const char *const bare[] = { "octal", "switch", "list", "numbers", "texts", "number" };
    kd_buf_printf(out, "%s# %s\n", indent, key->help);
    if (strcmp(key->type, "number") == 0) {
        kd_buf_printf(out, "%s# (%llu to %llu)\n", indent, (unsigned long long)key->low,
                      (unsigned long long)key->high);
    }
    const char *quote = is_one_of(key->type, bare, KD_COUNT_OF(bare)) ? "" : "\"";
    kd_buf_printf(out, "%s# %s = %s%s%s\n\n", indent, key->name, quote, key->initial, quote);
}

static void end_section(struct kd_buf *out) {
    out->n -= out->err == KD_OK ? 1 : 0; // no empty line before the brace
    kd_buf_text(out, "}\n");
}

void kd_config_print(struct kd_buf *out) {
    struct kd_config_key key;
    const char *section = "";
    kd_buf_text(out, "# Configuration of keyd; see keyd.conf(5).  What is commented out is the "
                     "default.\n\n");
    for (size_t i = 0; kd_config_key_at(i, &key); i++) {
        if (strcmp(key.section, section) != 0) { // rows of a section are together
            if (section[0] != '\0') {
                end_section(out);
                kd_buf_text(out, "\n");
            }
            kd_buf_printf(out, "%s {\n", key.section);
            section = key.section;
        }
        print_key(out, &key, section[0] == '\0' ? "" : "    ");
    }
    end_section(out);
}
