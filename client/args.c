// SPDX-License-Identifier: Apache-2.0
// args.c: reads options and words from argv by tables.  What they mean is the
// commands' affair (cmd_*.c).
#include "client/args.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// The row whose name is the n bytes at `name`.
static const struct kd_option *find(const struct kd_option *table, const char *name, size_t n) {
    for (; table != NULL && table->name != NULL; table++) {
        if (strlen(table->name) == n && memcmp(table->name, name, n) == 0) {
            return table;
        }
    }
    return NULL;
}

static KD_PRINTF(2, 3) enum kd_err refuse(char why[static KD_WHY_BYTES], const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(why, KD_WHY_BYTES, format, ap);
    va_end(ap);
    return KD_ERR_BAD_REQUEST;
}

struct reading {
    int argc;
    char *const *argv;
    int at; // the next of argv
    const struct kd_option *tables[2];
    struct kd_args *args;
    char *why; // KD_WHY_BYTES
};

static enum kd_err add(struct reading *r, const struct kd_option *option, const char *text) {
    if (kd_args_has(r->args, option->name)) {
        return refuse(r->why, "--%s is given twice.", option->name);
    }
    if (r->args->n_given == KD_ARGS_MAX) {
        return refuse(r->why, "There are too many options.");
    }
    r->args->given[r->args->n_given].option = option;
    r->args->given[r->args->n_given].text = text;
    r->args->n_given++;
    return KD_OK;
}

// One option at r->at, with its value if it takes one.
static enum kd_err read_option(struct reading *r) {
    const char *name = r->argv[r->at++];
    name = strcmp(name, "-h") == 0 ? "help" : name + 2;
    const char *equals = strchr(name, '=');
    const size_t n = equals == NULL ? strlen(name) : (size_t)(equals - name);
    const struct kd_option *option = find(r->tables[0], name, n);
    if (option == NULL) {
        option = find(r->tables[1], name, n);
    }
    if (option == NULL) {
        return refuse(r->why, "There is no option --%.*s here.", (int)(n < 60 ? n : 60), name);
    }
    if (option->value == NULL) {
        return equals == NULL ? add(r, option, "")
                              : refuse(r->why, "--%s takes no value.", option->name);
    }
    if (equals != NULL) {
        return add(r, option, equals + 1);
    }
    if (r->at == r->argc) {
        return refuse(r->why, "--%s needs a value: --%s %s.", option->name, option->name,
                      option->value);
    }
    return add(r, option, r->argv[r->at++]);
}

static enum kd_err add_word(struct reading *r, const char *word) {
    if (r->args->n_words == KD_WORDS_MAX) {
        return refuse(r->why, "There are too many words: \"%.60s\".", word);
    }
    r->args->words[r->args->n_words++] = word;
    return KD_OK;
}

// "-" alone is a word: standard input, where a file is asked for.
static bool is_option(const char *text) {
    return strcmp(text, "-h") == 0 || (text[0] == '-' && text[1] == '-');
}

static enum kd_err read_all(struct reading *r, bool to_word) {
    bool only_words = false;
    while (r->at < r->argc) {
        const char *text = r->argv[r->at];
        enum kd_err e = KD_OK;
        if (!only_words && strcmp(text, "--") == 0) {
            only_words = true;
            r->at++;
        } else if (!only_words && is_option(text)) {
            e = read_option(r);
        } else if (!only_words && text[0] == '-' && text[1] != '\0') {
            e = refuse(r->why, "There is no option %.60s; options have two dashes.", text);
        } else if (to_word) {
            return KD_OK;
        } else {
            e = add_word(r, text);
            r->at++;
        }
        if (e != KD_OK) {
            return e;
        }
    }
    return KD_OK;
}

enum kd_err kd_args_read(int argc, char *const argv[], const struct kd_option *first,
                         const struct kd_option *second, struct kd_args *args,
                         char why[static KD_WHY_BYTES]) {
    struct reading r = {
        .argc = argc, .argv = argv, .tables = { first, second }, .args = args, .why = why
    };
    return read_all(&r, false);
}

enum kd_err kd_args_read_to_word(int argc, char *const argv[], const struct kd_option *first,
                                 const struct kd_option *second, struct kd_args *args, int *n_taken,
                                 char why[static KD_WHY_BYTES]) {
    struct reading r = {
        .argc = argc, .argv = argv, .tables = { first, second }, .args = args, .why = why
    };
    enum kd_err e = read_all(&r, true);
    if (e == KD_OK) {
        *n_taken = r.at;
    }
    return e;
}

const char *kd_args_text(const struct kd_args *args, const char *name) {
    for (size_t i = 0; i < args->n_given; i++) {
        if (strcmp(args->given[i].option->name, name) == 0) {
            return args->given[i].text;
        }
    }
    return NULL;
}

bool kd_args_has(const struct kd_args *args, const char *name) {
    return kd_args_text(args, name) != NULL;
}

enum kd_err kd_args_number(const struct kd_args *args, const char *name, uint64_t low,
                           uint64_t high, uint64_t *out, char why[static KD_WHY_BYTES]) {
    const char *text = kd_args_text(args, name);
    if (text == NULL) {
        return KD_OK;
    }
    if (kd_number_parse(text, low, high, out) != KD_OK) {
        (void)refuse(why, "--%s takes a number from %llu to %llu.", name, (unsigned long long)low,
                     (unsigned long long)high);
        return KD_ERR_FIELD_INVALID;
    }
    return KD_OK;
}
