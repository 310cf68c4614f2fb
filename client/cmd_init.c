// SPDX-License-Identifier: Apache-2.0
// cmd_init.c: keydctl init: a complete set-up in one go.  It refuses to begin
// where any of its files is there, and takes back what it wrote when a later
// step fails, so that it can always simply be run again.
#include "client/ctl.h"
#include "client/process.h"
#include "client/setup.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_MAX_BYTES = 4096, TIMEOUT_MS = 60000, LABEL_MAX_BYTES = 32, TOKEN_WAIT_MS = 10000 };

// Where distributions put SoftHSM's module.
static const char *const softhsm_modules[] = {
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
};

// ---- first keys ------------------------------------------------------------

struct first_key {
    const char *name;
    const char *type;
    const char *usages[2];
    const char *what_for;
};

static const struct first_key first_keys[] = {
    { "signing", "ec-p256", { "sign", NULL }, "keydctl sign, verify" },
    { "agreement", "ec-p256", { "derive", NULL }, "keydctl ecdh" },
    { "message-mac", "hmac-sha256", { "sign", "verify" }, "keydctl mac, mac-verify" },
    { "audit", "hmac-sha256", { "sign", "verify" }, "keydctl audit verify" },
    { "sealing", "aes-256", { "encrypt", "decrypt" }, "keydctl encrypt, decrypt" },
};

static const struct first_key channel_keys[] = {
    { "channel-identity", "ec-p256", { "sign", NULL }, "proves who this server is" },
    { "channel-root", "ec-p256", { "derive", NULL }, "the token's share of each session" },
    { "channel-ticket", "aes-256", { "encrypt", "decrypt" }, "seals session tickets" },
};

static bool is_exists(const struct kd_rest_answer *a) {
    return strcmp(kd_json_text(a->json, "type"), "urn:keyd:problem:key-exists") == 0;
}

static enum kd_exit make_key(struct kd_ctl *ctl, const struct first_key *key) {
    const char *second = key->usages[1];
    kd_auto(json) json_t *body = json_pack("{s:s, s:s, s:[s, s*]}", "name", key->name, "type",
                                           key->type, "usages", key->usages[0], second);
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    kd_auto(json) json_t *unused = NULL;
    enum kd_exit code = kd_ctl_connect(ctl);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (kd_rest_call(ctl->rest, "POST", "/v1/keys", body, &a) != KD_OK) {
        return kd_ctl_call(ctl, "POST", "/v1/keys", body, &unused); // says why
    }
    if (kd_rest_is_problem(a.status) && !is_exists(&a)) {
        return kd_ctl_problem(ctl, a.status, a.json);
    }
    fprintf(ctl->out, "%-16s %-12s %s: %s\n", key->name, key->type,
            kd_rest_is_problem(a.status) ? "was there" : "made in the token", key->what_for);
    return KD_EXIT_OK;
}

// keyd serves before its workers have logged in.  What is wrong for longer the first key is told.
static void wait_for_token(struct kd_ctl *ctl) {
    const struct timespec pause = { 0, 100 * 1000000L };
    const uint64_t end = kd_clock_mono_ms() + TOKEN_WAIT_MS;
    bool is_away = kd_ctl_connect(ctl) == KD_EXIT_OK;
    while (is_away && kd_clock_mono_ms() < end) {
        kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
        is_away = kd_rest_call(ctl->rest, "GET", "/readyz", NULL, &a) == KD_OK &&
                  strcmp(kd_json_text(a.json, "type"), "urn:keyd:problem:token-away") == 0;
        if (is_away) {
            nanosleep(&pause, NULL);
        }
    }
}

static enum kd_exit make_keys(struct kd_ctl *ctl, const struct first_key *keys, size_t n) {
    wait_for_token(ctl);
    for (size_t i = 0; i < n; i++) {
        const enum kd_exit code = make_key(ctl, &keys[i]);
        if (code != KD_EXIT_OK) {
            return code;
        }
    }
    return KD_EXIT_OK;
}

enum kd_exit kd_init_channel_keys(struct kd_ctl *ctl) {
    return make_keys(ctl, channel_keys, KD_COUNT_OF(channel_keys));
}

// ---- the files and the token -----------------------------------------------

static enum kd_exit choose_module(const struct kd_ctl *ctl, struct kd_setup *s) {
    s->module = kd_args_text(ctl->args, "module");
    for (size_t i = 0; s->module == NULL && i < KD_COUNT_OF(softhsm_modules); i++) {
        s->module = access(softhsm_modules[i], R_OK) == 0 ? softhsm_modules[i] : NULL;
    }
    if (s->module == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "SoftHSM is not installed (apt-get install softhsm2), and no --module "
                           "names another PKCS#11 module.");
    }
    if (s->module[0] != '/' || access(s->module, R_OK) != 0) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--module %s: %s", s->module,
                           s->module[0] != '/' ? "give the whole path, from /." : strerror(errno));
    }
    s->is_softhsm = strstr(s->module, "softhsm") != NULL;
    // C_InitToken erases a token that is in use: only SoftHSM's free slot is safe.
    if (!s->is_softhsm && !s->has_token) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "init makes tokens of SoftHSM only. Set up the token with its maker's "
                           "tools, then say --no-token and --label LABEL for the files alone.");
    }
    return KD_EXIT_OK;
}

static enum kd_exit refuse_present(const struct kd_ctl *ctl, const struct kd_setup *s) {
    const char *present[KD_SETUP_FILES];
    const size_t n = kd_setup_find_present(s, present);
    if (n == 0) {
        return KD_EXIT_OK;
    }
    kd_ctl_fail(ctl, KD_EXIT_USAGE, "There is a set-up in %s already. Nothing was changed.",
                s->folder);
    for (size_t i = 0; i < n; i++) {
        fprintf(ctl->err, "  %s\n", present[i]);
    }
    fprintf(ctl->err,
            "  To go on with it: keyd --config %s\n"
            "  To see whether it is whole: keydctl --config %s doctor\n"
            "  For another one: keydctl init --dir DIR\n",
            s->config, s->config);
    return KD_EXIT_USAGE;
}

static enum kd_exit choose_user(const struct kd_ctl *ctl, struct kd_setup *s) {
    s->user = kd_args_text(ctl->args, "user");
    if (s->user == NULL) {
        return KD_EXIT_OK;
    }
    if (geteuid() != 0) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "--user gives files to another user, which takes root.");
    }
    const struct passwd *user = getpwnam(s->user);
    if (user == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "There is no user %s. systemd-sysusers makes those of keyd's units.",
                           s->user);
    }
    s->uid = user->pw_uid;
    s->gid = user->pw_gid;
    return KD_EXIT_OK;
}

static enum kd_exit take_state(const struct kd_ctl *ctl, const struct kd_setup *s) {
    return kd_setup_take_state(s) == KD_OK
               ? KD_EXIT_OK
               : kd_ctl_fail(ctl, KD_EXIT_USAGE,
                             "%s is another user's, with files in it. Move it away first.",
                             s->state);
}

static enum kd_exit choose(const struct kd_ctl *ctl, struct kd_setup *s, struct kd_buf *worker) {
    char why[KD_SETUP_PATH_BYTES] = "";
    enum kd_exit code;
    s->has_token = kd_args_has(ctl->args, "no-token");
    if (kd_setup_places(kd_args_text(ctl->args, "dir"), s, why) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s", why);
    }
    s->label = kd_args_has(ctl->args, "label") ? kd_args_text(ctl->args, "label") : "keyd";
    if (!kd_name_is_valid(kd_bytes_of_text(s->label)) || strlen(s->label) > LABEL_MAX_BYTES) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--label: 1 to %d of A-Z a-z 0-9 . _ -",
                           LABEL_MAX_BYTES);
    }
    if ((code = choose_user(ctl, s)) != KD_EXIT_OK ||
        (code = refuse_present(ctl, s)) != KD_EXIT_OK ||
        (code = take_state(ctl, s)) != KD_EXIT_OK || (code = choose_module(ctl, s)) != KD_EXIT_OK) {
        return code;
    }
    if (kd_process_find(kd_args_text(ctl->args, "programs"), "keyd-hsm", worker) != KD_OK) {
        return kd_ctl_fail(
            ctl, KD_EXIT_USAGE,
            "The worker program keyd-hsm is not installed in %s. --programs DIR says "
            "where it is.",
            KD_LIBEXECDIR);
    }
    s->worker = kd_buf_get_text(worker);
    return KD_EXIT_OK;
}

static enum kd_exit make_token(const struct kd_ctl *ctl, const struct kd_setup *s) {
    char environment[KD_SETUP_PATH_BYTES + 16];
    snprintf(environment, sizeof(environment), "SOFTHSM2_CONF=%s", s->softhsm);
    const char *const argv[] = { s->worker, "--init-token", "--module", s->module,       "--label",
                                 s->label,  "--pin-file",   s->pin,     "--so-pin-file", s->so_pin,
                                 "--env",   environment,    NULL };
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    const enum kd_err e = kd_process_run(argv, TIMEOUT_MS, &p);
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s could not be run: %s", s->worker,
                           kd_err_sentence(e));
    }
    if (p.status != 0) {
        kd_ctl_fail(ctl, KD_EXIT_USAGE, "The token could not be made. keyd-hsm says:");
        kd_output_text(ctl->err, kd_buf_get_text(&p.out));
        kd_output_text(ctl->err, kd_buf_get_text(&p.err));
        return KD_EXIT_USAGE;
    }
    return KD_EXIT_OK;
}

static enum kd_exit make_all(const struct kd_ctl *ctl, const struct kd_setup *s) {
    enum kd_err e = kd_setup_make_folders(s);
    if (e == KD_ERR_DENIED) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s is another user's, or others may write there or in a folder above "
                           "it: who does could change policy and PIN. Nothing was written.",
                           s->folder);
    }
    if (e == KD_OK && !s->has_token) {
        e = kd_setup_write_token_files(s);
        if (e == KD_OK && make_token(ctl, s) != KD_EXIT_OK) {
            return KD_EXIT_USAGE;
        }
    }
    e = e != KD_OK ? e : kd_setup_write_config(s);
    e = e != KD_OK ? e : kd_setup_give(s);
    return e == KD_OK ? KD_EXIT_OK
                      : kd_ctl_fail(ctl, KD_EXIT_USAGE, "Nothing could be written in %s: %s",
                                    s->folder, strerror(errno));
}

static void print_made(const struct kd_ctl *ctl, const struct kd_setup *s) {
    fprintf(ctl->out, "Made in %s:\n", s->folder);
    fprintf(ctl->out, "  keyd.conf      the configuration, keyd.conf(5)\n");
    fprintf(ctl->out, "  policy.conf    who may do what: now you, everything; keyd-policy(5)\n");
    if (s->has_token) {
        fprintf(ctl->out,
                "To do before the start: put the PIN of the token \"%s\" into the first line of\n"
                "  %s    (a new file: umask 077, then an editor)\n",
                s->label, s->pin);
    } else {
        fprintf(
            ctl->out,
            "  softhsm2.conf  where SoftHSM keeps the token \"%s\": %s\n"
            "  pin, so-pin    random PINs that only you can read; keep copies in a safe place,\n"
            "                 without the PIN the keys in the token are lost\n",
            s->label, s->tokens);
    }
    if (s->user != NULL) {
        fprintf(ctl->out, "What next:\n"
                          "  systemctl enable --now keyd\n"
                          "  keydctl init --keys    makes five keys to begin with\n"
                          "  keydctl doctor         looks at everything\n");
        return;
    }
    fprintf(ctl->out,
            "What next:\n"
            "  keyd --config %s &\n"
            "  keydctl --config %s init --keys    makes five keys to begin with\n"
            "  keydctl --config %s doctor         looks at everything\n",
            s->config, s->config, s->config);
}

enum kd_exit kd_cmd_init(struct kd_ctl *ctl) {
    if (kd_args_has(ctl->args, "keys")) {
        return make_keys(ctl, first_keys, KD_COUNT_OF(first_keys));
    }
    if (kd_args_has(ctl->args, "channel")) {
        return kd_cmd_init_channel(ctl);
    }
    struct kd_setup s = { 0 };
    kd_auto(buf) struct kd_buf worker = KD_BUF_INIT(PATH_MAX_BYTES);
    enum kd_exit code = choose(ctl, &s, &worker);
    if (code != KD_EXIT_OK) {
        return code;
    }
    code = make_all(ctl, &s);
    if (code != KD_EXIT_OK) {
        kd_setup_undo(&s);
        return code;
    }
    print_made(ctl, &s);
    return KD_EXIT_OK;
}
