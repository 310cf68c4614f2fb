// SPDX-License-Identifier: Apache-2.0
#include "token_fixture.h"

#include "hsm/command.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const softhsm_paths[] = {
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    NULL,
};
static const char *const nss_paths[] = {
    "/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
    "/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
    "/usr/lib64/libsoftokn3.so",
    NULL,
};

static struct {
    enum token_kind kind;
    const char *module;
    char dir[32];
    char pin[64];
    char so_pin[64];
    char conf[64];
    char env[80];
    char init_args[128];
    struct kd_opened opened;
} fixture;

static bool choose(enum token_kind kind) {
    const char *const *paths = kind == TOKEN_SOFTHSM ? softhsm_paths : nss_paths;
    fixture.kind = kind;
    for (size_t i = 0; paths[i] != NULL; i++) {
        if (access(paths[i], R_OK) == 0) {
            fixture.module = paths[i];
            return true;
        }
    }
    return false;
}

int token_run(enum token_kind kind, const char *name, TCase *const *cases, size_t n) {
    if (!choose(kind)) {
        printf("1..0 # SKIP %s is not installed\n", kind == TOKEN_NSS ? "NSS" : "SoftHSM");
        return EXIT_SUCCESS;
    }
    return unit_run(name, cases, n);
}

bool token_is_nss(void) {
    return fixture.kind == TOKEN_NSS;
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

// A program of the search path, its arguments up to NULL.
static void run(const char *const *arguments) {
    const pid_t child = fork();
    if (child == 0) {
        execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s failed", arguments[0]);
}

struct kd_hsm_hello token_hello(void) {
    struct kd_hsm_hello h = { .module = kd_bytes_of_text(fixture.module),
                              .pin_file = kd_bytes_of_text(fixture.pin),
                              .threads = 2,
                              .cached_secrets = 2 };
    if (fixture.kind == TOKEN_SOFTHSM) {
        h.token_uri = kd_bytes_of_text("pkcs11:token=test");
        h.n_env = 1;
        h.env[0] = kd_bytes_of_text(fixture.env);
    } else {
        h.token_uri = kd_bytes_of_text("pkcs11:token=NSS%20Certificate%20DB");
        h.init_args = kd_bytes_of_text(fixture.init_args);
    }
    return h;
}

static void make_softhsm(void) {
    char text[256];
    snprintf(text, sizeof(text),
             "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n",
             fixture.dir);
    write_file(fixture.conf, text);
    write_file(fixture.so_pin, "so-87654321\n");
    struct kd_command_options o = { .hello = token_hello(),
                                    .label = "test",
                                    .so_pin_file = fixture.so_pin };
    // In a process of its own: a module is best initialised once in each.
    const pid_t child = fork();
    if (child == 0) {
        _exit(kd_command_init_token(&o));
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void token_make(void) {
    strcpy(fixture.dir, "/tmp/keyd-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fixture.dir));
    snprintf(fixture.pin, sizeof(fixture.pin), "%s/pin", fixture.dir);
    snprintf(fixture.so_pin, sizeof(fixture.so_pin), "%s/so-pin", fixture.dir);
    snprintf(fixture.conf, sizeof(fixture.conf), "%s/conf", fixture.dir);
    snprintf(fixture.env, sizeof(fixture.env), "SOFTHSM2_CONF=%s", fixture.conf);
    snprintf(fixture.init_args, sizeof(fixture.init_args),
             "configdir='sql:%s' flags=", fixture.dir);
    write_file(fixture.pin, "12345678\n");
    if (fixture.kind == TOKEN_SOFTHSM) {
        make_softhsm();
        return;
    }
    char database[64];
    snprintf(database, sizeof(database), "sql:%s", fixture.dir);
    const char *const certutil[] = { "certutil", "-N", "-d", database, "-f", fixture.pin, NULL };
    run(certutil);
}

void token_remove(void) {
    const char *const rm[] = { "rm", "-rf", fixture.dir, NULL };
    run(rm);
}

static void open_token(void) {
    const struct kd_hsm_hello hello = token_hello();
    const enum kd_err r = kd_open(&hello, true, &fixture.opened);
    ck_assert_msg(r == KD_OK, "%s: %s", kd_err_name(r), kd_buf_get_text(&fixture.opened.detail));
}

void token_setup(void) {
    kd_log_set_level(KD_LOG_ERROR);
    token_make();
    open_token();
}

void token_reopen(void) {
    kd_close(&fixture.opened);
    open_token();
}

void token_teardown(void) {
    kd_close(&fixture.opened);
    token_remove();
}

struct kd_opened *token_opened(void) {
    return &fixture.opened;
}

struct kd_session *token_session(void) {
    return &fixture.opened.sessions[0];
}
