// SPDX-License-Identifier: Apache-2.0
// ctl.c: from the command line to the command, and what all commands need on
// the way to an answer.  The table is in commands.c, the commands in cmd_*.c.
#include "client/ctl.h"

#include "kd-build.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- memory ----------------------------------------------------------------

// Plaintexts and released values pass through JSON texts: nothing of them is left in memory that
// is free.
static void wiping_free(void *p) {
    if (p != NULL) {
        kd_wipe(p, malloc_usable_size(p));
        free(p);
    }
}

static void *malloc_or_end(size_t n) {
    void *p = malloc(n);
    if (p == NULL) {
        fputs("keydctl: There is not enough memory.\n", stderr);
        exit(KD_EXIT_USAGE);
    }
    return p;
}

void kd_ctl_init_library(void) {
    json_set_alloc_funcs(malloc_or_end, wiping_free);
}

// ---- what is said ----------------------------------------------------------

enum kd_exit kd_ctl_fail(const struct kd_ctl *ctl, enum kd_exit code, const char *format, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    fputs("keydctl: ", ctl->err);
    kd_output_text(ctl->err, text);
    fputc('\n', ctl->err);
    return code;
}

enum kd_exit kd_ctl_no_memory(const struct kd_ctl *ctl) {
    return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s", kd_err_sentence(KD_ERR_NO_MEMORY));
}

const char *kd_json_text(const json_t *object, const char *member) {
    const char *text = json_string_value(json_object_get(object, member));
    return text == NULL ? "" : text;
}

long long kd_json_number(const json_t *object, const char *member) {
    return json_integer_value(json_object_get(object, member));
}

// ---- calls -----------------------------------------------------------------

// The socket that the user named, or the set-up's, or the built-in one.
static const char *socket_path(const struct kd_ctl *ctl) {
    const char *path = kd_args_text(ctl->args, "socket");
    if (path != NULL) {
        return path;
    }
    const char *from_environment = getenv("KEYD_SOCKET");
    if (!kd_args_has(ctl->args, "config") && from_environment != NULL &&
        from_environment[0] != '\0') {
        return from_environment;
    }
    return ctl->settings.socket != NULL ? ctl->settings.socket : KD_RUNDIR "/keyd.sock";
}

enum kd_exit kd_ctl_connect(struct kd_ctl *ctl) {
    if (ctl->rest != NULL) {
        return KD_EXIT_OK;
    }
    const char *url = kd_args_text(ctl->args, "url");
    if (url != NULL && kd_args_has(ctl->args, "socket")) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "Give either --socket or --url.");
    }
    const struct kd_rest_config config = {
        .socket = url == NULL ? socket_path(ctl) : NULL,
        .url = url,
        .token_file = kd_args_text(ctl->args, "token-file"),
        .certificate = kd_args_text(ctl->args, "cert"),
        .key = kd_args_text(ctl->args, "key"),
        .ca = kd_args_text(ctl->args, "ca"),
    };
    char failure[KD_REST_FAILURE_BYTES];
    enum kd_err e = kd_rest_open(&config, &ctl->rest, failure);
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s",
                           failure[0] != '\0' ? failure : kd_err_sentence(e));
    }
    return KD_EXIT_OK;
}

// What to do when nobody answers.
static void advise(const struct kd_ctl *ctl, enum kd_err e) {
    const char *file = ctl->settings.file;
    if (e == KD_ERR_DENIED) {
        fputs("  The socket's group may use it: see unix-group and unix-mode in keyd.conf.\n",
              ctl->err);
    } else if (e == KD_ERR_TOKEN_AWAY && file != NULL) {
        fprintf(ctl->err,
                "  Is keyd running?  systemctl start keyd, or by hand: keyd --config %s\n"
                "  Another socket: --socket PATH or $KEYD_SOCKET.  What is wrong: keydctl doctor\n",
                file);
    } else if (e == KD_ERR_TOKEN_AWAY) {
        fputs("  Is keyd running?  There is no keyd.conf here yet: keydctl init makes a set-up.\n"
              "  Another place: --config FILE, --socket PATH or $KEYD_SOCKET.\n",
              ctl->err);
    } else {
        fputs("  keyd's log says more; keydctl doctor looks at the whole set-up.\n", ctl->err);
    }
}

static const struct {
    const char *type; // of the problem, without "urn:keyd:problem:"
    const char *advice;
} advices[] = {
    { "no-such-key", "keydctl key list shows the keys that you may see." },
    { "key-exists", "keydctl key rotate makes a new version of it; key delete destroys it." },
    { "no-such-secret", "Secrets end with their lifetime, and with keyd; derive it again." },
    { "key-usage", "keydctl key show NAME says what the key was made for." },
    { "unauthenticated",
      "No principal in the policy file matches this caller; see keyd-policy(5)." },
    { "denied", "The policy file says what this principal may do; see keyd-policy(5)." },
    { "private-key-import", "keyd makes private keys in the token: keydctl key create." },
};

static const char *advice_for(const char *type) {
    static const char urn[] = "urn:keyd:problem:";
    if (strncmp(type, urn, sizeof(urn) - 1) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < KD_COUNT_OF(advices); i++) {
        if (strcmp(type + sizeof(urn) - 1, advices[i].type) == 0) {
            return advices[i].advice;
        }
    }
    return NULL;
}

static void print_line(const struct kd_ctl *ctl, const char *head, const char *text) {
    if (text != NULL && text[0] != '\0') {
        fprintf(ctl->err, "  %s", head);
        kd_output_text(ctl->err, text);
        fputc('\n', ctl->err);
    }
}

enum kd_exit kd_ctl_problem(const struct kd_ctl *ctl, unsigned status, const json_t *problem) {
    if (ctl->json && problem != NULL && kd_output_json(ctl->err, problem, false) == KD_OK) {
        return KD_EXIT_REFUSED;
    }
    const char *title = kd_json_text(problem, "title");
    if (title[0] == '\0') {
        return kd_ctl_fail(ctl, KD_EXIT_REFUSED, "keyd answered with status %u and no reason.",
                           status);
    }
    kd_ctl_fail(ctl, KD_EXIT_REFUSED, "%s", title);
    print_line(ctl, "", kd_json_text(problem, "detail"));
    print_line(ctl, "member of the request: ", kd_json_text(problem, "field"));
    print_line(ctl, "", advice_for(kd_json_text(problem, "type")));
    print_line(ctl, "request id (it stands in keyd's log): ", kd_json_text(problem, "request_id"));
    return KD_EXIT_REFUSED;
}

enum kd_exit kd_ctl_call(struct kd_ctl *ctl, const char *method, const char *path,
                         const json_t *body, json_t **answer) {
    enum kd_exit code = kd_ctl_connect(ctl);
    if (code != KD_EXIT_OK) {
        return code;
    }
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    enum kd_err e = kd_rest_call(ctl->rest, method, path, body, &a);
    if (e != KD_OK) {
        kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE, "%s", kd_rest_failure(ctl->rest));
        advise(ctl, e);
        return KD_EXIT_UNREACHABLE;
    }
    if (kd_rest_is_problem(a.status)) {
        code = kd_ctl_problem(ctl, a.status, a.json);
        if (a.retry_after_sec > 0 && !ctl->json) {
            fprintf(ctl->err, "  Try again in %u s.\n", a.retry_after_sec);
        }
        return code;
    }
    if (a.json == NULL && a.status != 204) {
        return kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE, "What answers on %s is not keyd.",
                           kd_rest_place(ctl->rest));
    }
    *answer = KD_STEAL(a.json);
    return KD_EXIT_OK;
}

// ---- from the arguments to the command -------------------------------------

// The command that the words start with; "key create" takes two.
static const struct kd_command *find_command(int argc, char *const argv[], int *n_words) {
    for (const struct kd_command *c = kd_commands; c->name != NULL; c++) {
        const char *space = strchr(c->name, ' ');
        const size_t n = space == NULL ? strlen(c->name) : (size_t)(space - c->name);
        if (argc < 1 || strlen(argv[0]) != n || memcmp(argv[0], c->name, n) != 0) {
            continue;
        }
        if (space == NULL || (argc > 1 && strcmp(argv[1], space + 1) == 0)) {
            *n_words = space == NULL ? 1 : 2;
            return c;
        }
    }
    return NULL;
}

static void print_options(FILE *out, const struct kd_option *options) {
    for (const struct kd_option *o = options; o != NULL && o->name != NULL; o++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value == NULL ? "" : " ",
                 o->value == NULL ? "" : o->value);
        fprintf(out, "  %-24s %s\n", left, o->help);
    }
}

static void print_usage(FILE *out) {
    fputs("usage: keydctl [OPTIONS] COMMAND ...\n\nCommands:\n", out);
    for (const struct kd_command *c = kd_commands; c->name != NULL; c++) {
        char left[64];
        snprintf(left, sizeof(left), "%s %s", c->name, c->words);
        fprintf(out, "  %-24s %s\n", left, c->summary);
    }
    fputs("\nOptions of all commands:\n", out);
    print_options(out, kd_global_options);
    fputs("\nkeydctl help COMMAND says more; so does keydctl(1).\n", out);
}

static void print_command(FILE *out, const struct kd_command *c) {
    fprintf(out, "usage: keydctl %s%s%s%s\n\n%s\n", c->name, c->words[0] == '\0' ? "" : " ",
            c->words, c->options == NULL ? "" : " [OPTIONS]", c->summary);
    if (c->help[0] != '\0') {
        fprintf(out, "\n%s\n", c->help);
    }
    if (c->options != NULL) {
        fputs("\nOptions:\n", out);
        print_options(out, c->options);
    }
}

// keydctl key: lists the commands that start so.
static bool print_group(FILE *out, const char *group) {
    bool found = false;
    const size_t n = strlen(group);
    for (const struct kd_command *c = kd_commands; c->name != NULL; c++) {
        if (strncmp(c->name, group, n) == 0 && c->name[n] == ' ') {
            fputs(found ? "" : "usage:\n", out);
            fprintf(out, "  keydctl %s %s\n      %s\n", c->name, c->words, c->summary);
            found = true;
        }
    }
    return found;
}

static enum kd_exit help(struct kd_ctl *ctl, int argc, char *const argv[]) {
    int n = 0;
    const struct kd_command *c = find_command(argc, argv, &n);
    if (argc == 0) {
        print_usage(ctl->out);
        return KD_EXIT_OK;
    }
    if (c != NULL) {
        print_command(ctl->out, c);
        return KD_EXIT_OK;
    }
    if (print_group(ctl->out, argv[0])) {
        return KD_EXIT_OK;
    }
    return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                       "There is no command \"%.60s\"; keydctl help lists them.", argv[0]);
}

static enum kd_exit run_command(struct kd_ctl *ctl, const struct kd_command *c,
                                const struct kd_args *args) {
    if (kd_args_has(args, "help")) {
        print_command(ctl->out, c);
        return KD_EXIT_OK;
    }
    if (args->n_words < c->words_min || args->n_words > c->words_max) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "usage: keydctl %s %s%s", c->name, c->words,
                           c->options == NULL ? "" : " [OPTIONS]; see keydctl help");
    }
    ctl->json = kd_args_has(args, "json");
    const char *file = kd_args_text(args, "config");
    enum kd_err e = kd_settings_read(file, &ctl->settings);
    if (e != KD_OK && (!c->is_offline || kd_args_has(args, "keys"))) {
        return kd_ctl_fail(
            ctl, KD_EXIT_USAGE,
            "The configuration %s cannot be read: %s  keyd --check-config says where.",
            file != NULL ? file : "file", kd_err_sentence(e));
    }
    enum kd_exit code = c->run(ctl);
    if (fflush(ctl->out) != 0 || ferror(ctl->out) != 0) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "The output could not be written.");
    }
    return code;
}

// Before the command only: behind it, --version may be a key's.
static const struct kd_option lead_options[] = {
    { "version", NULL, "print the version of keydctl" },
    { NULL, NULL, NULL },
};

static enum kd_exit dispatch(struct kd_ctl *ctl, int argc, char *const argv[],
                             struct kd_args *args) {
    char why[KD_WHY_BYTES] = "";
    int n = 0;
    if (kd_args_read_to_word(argc, argv, lead_options, kd_global_options, args, &n, why) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s keydctl help lists the options.", why);
    }
    argc -= n;
    argv += n;
    if (kd_args_has(args, "version")) {
        fputs("keydctl " PACKAGE_VERSION "\n", ctl->out);
        return KD_EXIT_OK;
    }
    if (argc == 0 && kd_args_has(args, "help")) {
        return help(ctl, 0, argv);
    }
    if (argc == 0) {
        print_usage(ctl->err);
        return KD_EXIT_USAGE;
    }
    if (strcmp(argv[0], "help") == 0) {
        return help(ctl, argc - 1, argv + 1);
    }
    const struct kd_command *c = find_command(argc, argv, &n);
    if (c == NULL) {
        if (print_group(ctl->err, argv[0])) {
            return KD_EXIT_USAGE;
        }
        return help(ctl, argc, argv);
    }
    if (kd_args_read(argc - n, argv + n, c->options, kd_global_options, args, why) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s See keydctl help %s.", why, c->name);
    }
    return run_command(ctl, c, args);
}

enum kd_exit kd_ctl_run(int argc, char *const argv[], FILE *out, FILE *err) {
    struct kd_args args = { 0 };
    struct kd_ctl ctl = {
        .args = &args, .out = out, .err = err, .terminal = isatty(fileno(out)) == 1
    };
    enum kd_exit code = dispatch(&ctl, argc - 1, argv + 1, &args);
    kd_rest_close(ctl.rest);
    kd_settings_wipe(&ctl.settings);
    return code;
}
