// SPDX-License-Identifier: Apache-2.0
// setup.c: writes the files of a set-up.  What each key means: keyd.conf(5) and
// keyd-policy(5).
#include "client/setup.h"

#include "client/io.h"
#include "client/settings.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 8192, PIN_RANDOM_BYTES = 16, SOCKET_PATH_MAX_BYTES = 107 };

// ---- places ----------------------------------------------------------------

static bool join(char to[static KD_SETUP_PATH_BYTES], const char *folder, const char *name) {
    const int n = snprintf(to, KD_SETUP_PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < KD_SETUP_PATH_BYTES;
}

// Characters that keyd.conf and softhsm2.conf would read as more than a character.
static bool is_plain(const char *path) {
    for (const char *c = path; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || strchr("\"'\\$#", *c) != NULL) {
            return false;
        }
    }
    return true;
}

static bool set_folder(const char *dir, char to[static KD_SETUP_PATH_BYTES]) {
    char here[KD_SETUP_PATH_BYTES];
    if (dir[0] == '/') {
        return snprintf(to, KD_SETUP_PATH_BYTES, "%s", dir) < KD_SETUP_PATH_BYTES;
    }
    return getcwd(here, sizeof(here)) != NULL && join(to, here, dir);
}

static bool set_private_places(const char *dir, struct kd_setup *s) {
    return set_folder(dir, s->folder) && join(s->state, s->folder, "state") &&
           join(s->tokens, s->folder, "tokens") && join(s->run, s->folder, "run");
}

static bool set_system_places(struct kd_setup *s) {
    s->is_system = true;
    return set_folder(KD_SYSCONFDIR, s->folder) && set_folder(KD_STATEDIR, s->state) &&
           join(s->tokens, KD_STATEDIR, "tokens") && set_folder(KD_RUNDIR, s->run);
}

static bool set_files(struct kd_setup *s) {
    return join(s->config, s->folder, "keyd.conf") && join(s->policy, s->folder, "policy.conf") &&
           join(s->softhsm, s->folder, "softhsm2.conf") && join(s->pin, s->folder, "pin") &&
           join(s->so_pin, s->folder, "so-pin") && join(s->socket, s->run, "keyd.sock");
}

enum kd_err kd_setup_places(const char *dir, struct kd_setup *s,
                            char why[static KD_SETUP_PATH_BYTES]) {
    kd_auto(buf) struct kd_buf own = KD_BUF_INIT(KD_SETUP_PATH_BYTES);
    if (dir == NULL && geteuid() != 0) {
        if (kd_settings_user_directory(&own) != KD_OK) {
            snprintf(why, KD_SETUP_PATH_BYTES, "There is no $HOME; say --dir DIR.");
            return KD_ERR_CONFIG;
        }
        dir = kd_buf_get_text(&own);
    }
    const bool fits = (dir == NULL ? set_system_places(s) : set_private_places(dir, s)) &&
                      set_files(s) && strlen(s->socket) <= SOCKET_PATH_MAX_BYTES;
    if (!fits) {
        snprintf(why, KD_SETUP_PATH_BYTES,
                 "The folder's path is too long: that of a socket in it may have %d bytes.",
                 SOCKET_PATH_MAX_BYTES);
        return KD_ERR_CONFIG;
    }
    if (!is_plain(s->folder)) {
        snprintf(why, KD_SETUP_PATH_BYTES,
                 "The folder's path has a quote, backslash, $, # or control character.");
        return KD_ERR_CONFIG;
    }
    return KD_OK;
}

// The first of the files that follow are made in any case.
static size_t n_own_files(const struct kd_setup *s) {
    return s->has_token ? 2 : KD_SETUP_FILES;
}

size_t kd_setup_find_present(const struct kd_setup *s, const char *present[KD_SETUP_FILES]) {
    const char *const files[KD_SETUP_FILES] = { s->config, s->policy, s->softhsm, s->pin,
                                                s->so_pin };
    size_t n = 0;
    for (size_t i = 0; i < n_own_files(s); i++) {
        struct stat st;
        if (lstat(files[i], &st) == 0) {
            present[n++] = files[i];
        }
    }
    return n;
}

// ---- folders ---------------------------------------------------------------

static enum kd_err make_folder(const char *path, mode_t mode) {
    char part[KD_SETUP_PATH_BYTES];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdir(part, 0755) != 0 && errno != EEXIST) {
            return kd_err_from_errno(errno);
        }
    }
    return mkdir(path, mode) == 0 || errno == EEXIST ? KD_OK : kd_err_from_errno(errno);
}

enum kd_err kd_setup_take_state(const struct kd_setup *s) {
    struct stat st;
    if (s->user == NULL || lstat(s->state, &st) != 0 ||
        (S_ISDIR(st.st_mode) && st.st_uid == geteuid())) {
        return KD_OK;
    }
    return rmdir(s->state) == 0 ? KD_OK : KD_ERR_DENIED;
}

enum kd_err kd_setup_make_folders(const struct kd_setup *s) {
    // The system's socket is for a group, its configuration for reading.
    const mode_t open_mode = s->is_system || s->user != NULL ? 0755 : 0700;
    enum kd_err e;
    if ((e = make_folder(s->folder, open_mode)) != KD_OK ||
        (e = make_folder(s->state, 0700)) != KD_OK ||
        (e = make_folder(s->run, open_mode)) != KD_OK) {
        return e;
    }
    if (!kd_secret_folder_is_own(s->folder)) {
        return KD_ERR_DENIED;
    }
    return s->is_softhsm ? make_folder(s->tokens, 0700) : KD_OK;
}

static enum kd_err give(const char *folder, uid_t uid, gid_t gid) {
    char path[KD_SETUP_PATH_BYTES];
    char *const paths[] = { path, NULL };
    snprintf(path, sizeof(path), "%s", folder);
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (tree == NULL) {
        return kd_err_from_errno(errno);
    }
    enum kd_err e = KD_OK;
    for (const FTSENT *x; e == KD_OK && (x = fts_read(tree)) != NULL;) {
        // A folder comes twice: it changes hands after all that is in it.
        if (x->fts_info != FTS_D && lchown(x->fts_accpath, uid, gid) != 0) {
            e = kd_err_from_errno(errno);
        }
    }
    fts_close(tree);
    return e;
}

enum kd_err kd_setup_give(const struct kd_setup *s) {
    if (s->user == NULL) {
        return KD_OK;
    }
    const char *const folders[] = { s->is_softhsm ? s->tokens : NULL, s->state, s->run };
    for (size_t i = 0; i < KD_COUNT_OF(folders); i++) {
        const enum kd_err e = folders[i] == NULL ? KD_OK : give(folders[i], s->uid, s->gid);
        if (e != KD_OK) {
            return e;
        }
    }
    return KD_OK;
}

// ---- files -----------------------------------------------------------------

// A PIN of 32 hexadecimal digits: 128 random bits, in the token's alphabet for sure.
static enum kd_err write_pin(const char *path) {
    enum { PIN_BYTES = 2 * PIN_RANDOM_BYTES + 1 };
    kd_auto(key32) struct kd_key32 random = { { 0 } };
    kd_auto(secret) struct kd_secret *pin = NULL;
    enum kd_err e = kd_secret_new(PIN_BYTES, &pin);
    if (e != KD_OK) {
        return e;
    }
    if (getrandom(random.bytes, PIN_RANDOM_BYTES, 0) != PIN_RANDOM_BYTES) {
        return KD_ERR_SYSTEM;
    }
    uint8_t *text = kd_secret_get(pin);
    kd_hex_encode(random.bytes, PIN_RANDOM_BYTES, (char *)text);
    text[PIN_BYTES - 1] = '\n';
    return kd_io_write_new(path, (struct kd_bytes) { text, PIN_BYTES }, 0600);
}

static enum kd_err write_text(const char *path, mode_t mode, const struct kd_buf *text) {
    const enum kd_err e = kd_buf_finish(text);
    return e != KD_OK ? e : kd_io_write_new(path, kd_buf_get(text), mode);
}

enum kd_err kd_setup_write_token_files(const struct kd_setup *s) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(FILE_MAX_BYTES);
    kd_buf_printf(&text,
                  "# For the workers of keyd (token.environment in %s).\n"
                  "directories.tokendir = %s\n"
                  "objectstore.backend = file\n"
                  "log.level = ERROR\n"
                  "slots.removable = false\n",
                  s->config, s->tokens);
    enum kd_err e;
    if ((e = write_pin(s->pin)) != KD_OK || (e = write_pin(s->so_pin)) != KD_OK) {
        return e;
    }
    return write_text(s->softhsm, 0644, &text);
}

static void put_config(const struct kd_setup *s, struct kd_buf *text) {
    kd_buf_printf(text,
                  "# keyd.conf(5) names all keys; keyd --check-config --config %s checks this.\n"
                  "state-directory = \"%s\"\n"
                  "policy-file = \"%s\"\n\n"
                  "token {\n"
                  "    module = \"%s\"\n"
                  "    uri = \"pkcs11:token=%s\"\n",
                  s->config, s->state, s->policy, s->module, s->label);
    if (s->is_softhsm) {
        kd_buf_printf(text, "    environment = { \"SOFTHSM2_CONF=%s\" }\n", s->softhsm);
    }
    if (s->user != NULL) {
        kd_buf_printf(text,
                      "    # systemd hands the PIN to the service: LoadCredential= of the unit, "
                      "from\n"
                      "    # the first line of %s.\n"
                      "    pin-credential = \"pin\"\n"
                      "}\n\n",
                      s->pin);
    } else {
        kd_buf_printf(text,
                      "    # The PIN in its first line; only the workers read it.\n"
                      "    pin-file = \"%s\"\n"
                      "}\n\n",
                      s->pin);
    }
    if (strcmp(s->worker, KD_LIBEXECDIR "/keyd-hsm") != 0) {
        kd_buf_printf(text, "workers {\n    program = \"%s\"\n}\n\n", s->worker);
    }
    kd_buf_printf(
        text,
        "# keydctl audit verify looks at it; the key seals it (keydctl init --keys makes it).\n"
        "audit {\n"
        "    file = \"%s/audit.log\"\n"
        "    key = \"audit\"\n"
        "}\n\n"
        "http {\n"
        "    unix-path = \"%s\"\n"
        "    %s\n"
        "}\n",
        s->state, s->socket,
        s->is_system ? "# Other users: set unix-group, and see the policy file."
                     : "unix-mode = 0600");
}

static void put_policy(struct kd_buf *text) {
    kd_buf_printf(text,
                  "# Who may do what with which keys: keyd-policy(5). What is not allowed here is\n"
                  "# refused. keyd reads this file again on SIGHUP.\n\n"
                  "# The user that made this set-up may do everything.\n"
                  "principal \"owner\" {\n"
                  "    uid = { %lu }\n"
                  "}\n"
                  "allow \"owner\" {\n"
                  "    operations = { \"*\" }\n"
                  "    keys = { \"*\" }\n"
                  "}\n\n"
                  "# A server that may use its own keys and no others. \"release\" is not among\n"
                  "# its operations, so what it derives stays in the token.\n"
                  "#principal \"orders\" {\n"
                  "#    user = { \"orders\" }\n"
                  "#}\n"
                  "#allow \"orders\" {\n"
                  "#    operations = { \"show\", \"sign\", \"mac\", \"mac-verify\", \"ecdh\", "
                  "\"derive\", \"encrypt\", \"decrypt\" }\n"
                  "#    keys = { \"orders-*\" }\n"
                  "#}\n"
                  "#allow \"orders\" {\n"
                  "#    operations = { \"random\", \"status\" }\n"
                  "#}\n\n"
                  "# A caller over TCP, known by a bearer token: keydctl token new NAME prints\n"
                  "# the lines for it.\n",
                  (unsigned long)geteuid());
}

enum kd_err kd_setup_write_config(const struct kd_setup *s) {
    kd_auto(buf) struct kd_buf config = KD_BUF_INIT(FILE_MAX_BYTES);
    kd_auto(buf) struct kd_buf policy = KD_BUF_INIT(FILE_MAX_BYTES);
    put_config(s, &config);
    put_policy(&policy);
    const enum kd_err e = write_text(s->policy, 0644, &policy);
    return e != KD_OK ? e : write_text(s->config, 0644, &config);
}

void kd_setup_undo(const struct kd_setup *s) {
    const char *const files[KD_SETUP_FILES] = { s->config, s->policy, s->softhsm, s->pin,
                                                s->so_pin };
    for (size_t i = 0; i < n_own_files(s); i++) {
        (void)unlink(files[i]);
    }
}
