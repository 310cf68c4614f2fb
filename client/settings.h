// SPDX-License-Identifier: Apache-2.0
// settings.h: the part of keyd.conf that keydctl needs: where the socket is,
// and for `doctor` where the pieces of the set-up are.  keyd alone judges the
// file (keyd --check-config); here what is unknown is passed over.
#ifndef KD_CLIENT_SETTINGS_H
#define KD_CLIENT_SETTINGS_H

#include "base/base.h"

#define KD_SETTINGS_ENV_MAX 16

struct kd_settings {
    char *file;   // that was read; NULL: none was found
    char *socket; // http.unix-path
    char *state_directory;
    char *policy_file;
    char *module; // token.*
    char *module_args;
    char *uri;
    char *pin_file;
    char *pin_credential;
    char *worker_program; // workers.program
    size_t n_environment;
    char *environment[KD_SETTINGS_ENV_MAX];
};

// Reads `path`, or where it is NULL the first of: $KEYD_CONFIG, the user's own
// set-up (keydctl init), the system's.  Only a path that was asked for must be
// there: KD_ERR_NO_FILE, KD_ERR_CONFIG.
KD_MUST_CHECK enum kd_err kd_settings_read(const char *path, struct kd_settings *out);
void kd_settings_wipe(struct kd_settings *s);
KD_AUTO_DEFINE_IN_PLACE(settings, struct kd_settings, kd_settings_wipe)

// What keyd-hsm is told of the module (--module, --init-args, --env), from argv[n] on; the new n.
#define KD_SETTINGS_ARGS_MAX (4 + 2 * KD_SETTINGS_ENV_MAX)
size_t kd_settings_put_module(const struct kd_settings *s, const char **argv, size_t n);

// Where `keydctl init` puts a user's own set-up; KD_ERR_NO_FILE without a home.
KD_MUST_CHECK enum kd_err kd_settings_user_directory(struct kd_buf *out);

#endif
