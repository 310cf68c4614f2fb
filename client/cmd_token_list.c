// SPDX-License-Identifier: Apache-2.0
// cmd_token_list.c: keydctl token list: the tokens of a PKCS#11 module, and how keyd.conf names
// them.  keyd-hsm looks, without a PIN: this process loads no module.
#include "client/ctl.h"
#include "client/process.h"

#include <string.h>

enum { TIMEOUT_MS = 60000, FLAGS_MAX_BYTES = 512 };

// What keyd-hsm is to load: the module of --module, or else what keyd.conf says.
static enum kd_exit run_worker(const struct kd_ctl *ctl, struct kd_process *p) {
    const struct kd_settings *s = &ctl->settings;
    const char *module = kd_args_text(ctl->args, "module");
    const char *init_args = kd_args_text(ctl->args, "init-args");
    const char *programs = kd_args_text(ctl->args, "programs");
    kd_auto(buf) struct kd_buf found = KD_BUF_INIT(4096);
    const char *worker = programs == NULL ? s->worker_program : NULL;
    if (worker == NULL && kd_process_find(programs, "keyd-hsm", &found) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "keyd-hsm is not there: install keyd, or say where it is: --programs "
                           "DIR");
    }
    const char *argv[KD_SETTINGS_ARGS_MAX + 8] = { worker != NULL ? worker
                                                                  : kd_buf_get_text(&found),
                                                   "--list" };
    size_t n = 2;
    if (module == NULL) {
        n = kd_settings_put_module(s, argv, n);
    } else {
        argv[n++] = "--module";
        argv[n++] = module;
    }
    if (init_args != NULL) {
        argv[n++] = "--init-args";
        argv[n++] = init_args;
    }
    const enum kd_err e = kd_process_run(argv, TIMEOUT_MS, p);
    if (e == KD_OK && p->status == 0) {
        return KD_EXIT_OK;
    }
    fputs("keydctl: the tokens cannot be listed: ", ctl->err);
    kd_output_text(ctl->err, e != KD_OK ? kd_err_sentence(e) : kd_buf_get_text(&p->err));
    fputc('\n', ctl->err);
    return KD_EXIT_UNREACHABLE;
}

static bool has_flag(const json_t *token, const char *wanted) {
    size_t i;
    json_t *flag;
    json_array_foreach(json_object_get(token, "flags"), i, flag) {
        const char *name = json_string_value(flag);
        if (name != NULL && strcmp(name, wanted) == 0) {
            return true;
        }
    }
    return false;
}

// The flags that have no column of their own, or why the token cannot be looked at.
static void put_flags(struct kd_table *t, const json_t *token) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(FLAGS_MAX_BYTES);
    size_t i;
    json_t *flag;
    kd_buf_text(&text, kd_json_text(token, "error"));
    json_array_foreach(json_object_get(token, "flags"), i, flag) {
        const char *name = json_string_value(flag);
        if (name != NULL && strcmp(name, "initialized") != 0 &&
            strcmp(name, "login-required") != 0) {
            kd_buf_printf(&text, "%s%s", text.n == 0 ? "" : ",", name);
        }
    }
    kd_table_put(t, kd_buf_finish(&text) == KD_OK && text.n > 0 ? kd_buf_get_text(&text) : NULL);
}

static void put_row(struct kd_table *t, const json_t *token) {
    static const char *const members[] = { "label", "serial", "model" };
    const bool is_initialized = has_flag(token, "initialized");
    kd_table_printf(t, "%lld", kd_json_number(token, "slot"));
    for (size_t i = 0; i < KD_COUNT_OF(members); i++) {
        const char *text = kd_json_text(token, members[i]);
        kd_table_put(t, text[0] != '\0' ? text : NULL);
    }
    const bool is_known = json_object_get(token, "error") == NULL;
    kd_table_put(t, is_initialized ? "yes" : is_known ? "no" : NULL);
    kd_table_put(t, !is_initialized ? NULL : has_flag(token, "login-required") ? "yes" : "no");
    put_flags(t, token);
    kd_table_put(t, is_initialized ? kd_json_text(token, "uri") : NULL);
}

static enum kd_exit print_list(const struct kd_ctl *ctl, const json_t *modules) {
    static const char *const heads[] = { "SLOT",        "LABEL",     "SERIAL", "MODEL",
                                         "INITIALIZED", "NEEDS PIN", "FLAGS",  "URI" };
    kd_auto(table) struct kd_table *t = NULL;
    if (kd_table_new(heads, KD_COUNT_OF(heads), &t) != KD_OK) {
        return kd_ctl_no_memory(ctl);
    }
    size_t i;
    json_t *module;
    json_array_foreach((json_t *)(uintptr_t)modules, i, module) {
        size_t k;
        json_t *token;
        json_array_foreach(json_object_get(module, "tokens"), k, token) {
            put_row(t, token);
        }
    }
    return kd_ctl_print_table(ctl, t);
}

enum kd_exit kd_cmd_token_list(struct kd_ctl *ctl) {
    const bool has_module = kd_args_has(ctl->args, "module");
    if (!has_module && ctl->settings.file == NULL) {
        const char *file = kd_args_text(ctl->args, "config");
        if (file != NULL) {
            return kd_ctl_fail(ctl, KD_EXIT_USAGE, "The configuration %s cannot be read.", file);
        }
        fputs("keydctl: no keyd.conf could be read: these are the modules that p11-kit has "
              "configured (--module PATH names another)\n",
              ctl->err);
    }
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    const enum kd_exit code = run_worker(ctl, &p);
    if (code != KD_EXIT_OK) {
        return code;
    }
    kd_auto(json) json_t *list = json_loadb((const char *)p.out.p, p.out.n, 0, NULL);
    const json_t *modules = json_object_get(list, "modules");
    if (!json_is_array(modules)) {
        return kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE, "keyd-hsm said what is no list of tokens.");
    }
    return ctl->json ? kd_ctl_print_json(ctl, list) : print_list(ctl, modules);
}
