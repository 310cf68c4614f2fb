// SPDX-License-Identifier: Apache-2.0
// settings.c: reads what keydctl needs of keyd.conf, with libconfuse.
#include "client/settings.h"

#include <confuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MAX_BYTES = 4096 };

void kd_settings_wipe(struct kd_settings *s) {
    free(s->file);
    free(s->socket);
    free(s->state_directory);
    free(s->policy_file);
    free(s->module);
    free(s->module_args);
    free(s->uri);
    free(s->pin_file);
    free(s->pin_credential);
    free(s->worker_program);
    for (size_t i = 0; i < s->n_environment; i++) {
        free(s->environment[i]);
    }
    *s = (struct kd_settings) { 0 };
}

enum kd_err kd_settings_user_directory(struct kd_buf *out) {
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (data != NULL && data[0] == '/') {
        kd_buf_printf(out, "%s/keyd", data);
    } else if (home != NULL && home[0] == '/') {
        kd_buf_printf(out, "%s/.local/share/keyd", home);
    } else {
        return KD_ERR_NO_FILE;
    }
    return kd_buf_finish(out);
}

// The file to read when none was named; "" where there is none.
static const char *find_file(struct kd_buf *path) {
    const char *from_environment = getenv("KEYD_CONFIG");
    if (from_environment != NULL && from_environment[0] != '\0') {
        return from_environment;
    }
    if (geteuid() != 0 && kd_settings_user_directory(path) == KD_OK) {
        kd_buf_text(path, "/keyd.conf");
        const char *own = kd_buf_get_text(path);
        if (access(own, F_OK) == 0) {
            return own;
        }
    }
    return access(KD_SYSCONFDIR "/keyd.conf", F_OK) == 0 ? KD_SYSCONFDIR "/keyd.conf" : "";
}

// keyd judges the file; here its errors only mean that it cannot be read.
static void be_silent(cfg_t *cfg, const char *format, va_list ap) {
    (void)cfg;
    (void)format;
    (void)ap;
}

// *to = a copy of the value, NULL where it is empty.
static bool copy(cfg_t *section, const char *name, char **to) {
    const char *text = section == NULL ? NULL : cfg_getstr(section, name);
    if (text == NULL || text[0] == '\0') {
        return true;
    }
    *to = strdup(text);
    return *to != NULL;
}

static bool copy_environment(cfg_t *token, struct kd_settings *s) {
    const unsigned n = token == NULL ? 0 : cfg_size(token, "environment");
    for (unsigned i = 0; i < n && i < KD_SETTINGS_ENV_MAX; i++) {
        s->environment[i] = strdup(cfg_getnstr(token, "environment", i));
        if (s->environment[i] == NULL) {
            return false;
        }
        s->n_environment++;
    }
    return true;
}

static enum kd_err copy_all(cfg_t *cfg, const char *file, struct kd_settings *s) {
    cfg_t *http = cfg_getsec(cfg, "http");
    cfg_t *token = cfg_getsec(cfg, "token");
    cfg_t *workers = cfg_getsec(cfg, "workers");
    s->file = strdup(file);
    const bool good = s->file != NULL && copy(http, "unix-path", &s->socket) &&
                      copy(cfg, "state-directory", &s->state_directory) &&
                      copy(cfg, "policy-file", &s->policy_file) &&
                      copy(token, "module", &s->module) &&
                      copy(token, "init-args", &s->module_args) && copy(token, "uri", &s->uri) &&
                      copy(token, "pin-file", &s->pin_file) &&
                      copy(token, "pin-credential", &s->pin_credential) &&
                      copy(workers, "program", &s->worker_program) && copy_environment(token, s);
    return good ? KD_OK : KD_ERR_NO_MEMORY;
}

static enum kd_err parse(const char *file, struct kd_settings *s) {
    // Sections that libconfuse does not know would upset it, so all are named.
    cfg_opt_t none[] = { CFG_END() };
    cfg_opt_t http[] = { CFG_STR("unix-path", NULL, CFGF_NONE), CFG_END() };
    cfg_opt_t token[] = { CFG_STR("module", NULL, CFGF_NONE),
                          CFG_STR("init-args", NULL, CFGF_NONE),
                          CFG_STR("uri", NULL, CFGF_NONE),
                          CFG_STR("pin-file", NULL, CFGF_NONE),
                          CFG_STR("pin-credential", NULL, CFGF_NONE),
                          CFG_STR_LIST("environment", NULL, CFGF_NONE),
                          CFG_END() };
    cfg_opt_t workers[] = { CFG_STR("program", NULL, CFGF_NONE), CFG_END() };
    cfg_opt_t options[] = {
        CFG_STR("state-directory", NULL, CFGF_NONE), CFG_STR("policy-file", NULL, CFGF_NONE),
        CFG_SEC("token", token, CFGF_NONE),          CFG_SEC("http", http, CFGF_NONE),
        CFG_SEC("workers", workers, CFGF_NONE),      CFG_SEC("secrets", none, CFGF_NONE),
        CFG_SEC("channel", none, CFGF_NONE),         CFG_SEC("trust", none, CFGF_NONE),
        CFG_SEC("fetch", none, CFGF_NONE),           CFG_SEC("ca", none, CFGF_NONE),
        CFG_SEC("bootstrap", none, CFGF_NONE),       CFG_SEC("audit", none, CFGF_NONE),
        CFG_END()
    };
    cfg_t *cfg = cfg_init(options, CFGF_IGNORE_UNKNOWN);
    if (cfg == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    cfg_set_error_function(cfg, be_silent);
    enum kd_err e = KD_ERR_CONFIG;
    switch (cfg_parse(cfg, file)) {
    case CFG_SUCCESS:
        e = copy_all(cfg, file, s);
        break;
    case CFG_FILE_ERROR:
        e = KD_ERR_NO_FILE;
        break;
    default:
        break;
    }
    cfg_free(cfg);
    return e;
}

enum kd_err kd_settings_read(const char *path, struct kd_settings *out) {
    kd_auto(buf) struct kd_buf found = KD_BUF_INIT(PATH_MAX_BYTES);
    const char *file = path != NULL ? path : find_file(&found);
    if (file[0] == '\0') {
        return KD_OK;
    }
    kd_auto(settings) struct kd_settings s = { 0 };
    enum kd_err e = parse(file, &s);
    // A system set-up that this user may not read is no reason to stop: its
    // socket may be at the built-in place, or named by --socket.
    if (e == KD_ERR_NO_FILE && path == NULL && getenv("KEYD_CONFIG") == NULL) {
        return KD_OK;
    }
    if (e != KD_OK) {
        return e;
    }
    *out = s;
    s = (struct kd_settings) { 0 };
    return KD_OK;
}

size_t kd_settings_put_module(const struct kd_settings *s, const char **argv, size_t n) {
    if (s->module != NULL) {
        argv[n++] = "--module";
        argv[n++] = s->module;
    }
    if (s->module_args != NULL) {
        argv[n++] = "--init-args";
        argv[n++] = s->module_args;
    }
    for (size_t i = 0; i < s->n_environment; i++) {
        argv[n++] = "--env";
        argv[n++] = s->environment[i];
    }
    return n;
}
