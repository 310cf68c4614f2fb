// SPDX-License-Identifier: Apache-2.0
// setup.h: the files of a set-up that `keydctl init` makes: where each goes and
// what it says.  Nothing that is there is ever written over.
#ifndef KD_CLIENT_SETUP_H
#define KD_CLIENT_SETUP_H

#include "base/base.h"

#include <sys/types.h>

#define KD_SETUP_PATH_BYTES 512
#define KD_SETUP_FILES 5

// All paths are absolute.
struct kd_setup {
    char folder[KD_SETUP_PATH_BYTES]; // configuration
    char config[KD_SETUP_PATH_BYTES];
    char policy[KD_SETUP_PATH_BYTES];
    char softhsm[KD_SETUP_PATH_BYTES]; // softhsm2.conf
    char pin[KD_SETUP_PATH_BYTES];
    char so_pin[KD_SETUP_PATH_BYTES];
    char state[KD_SETUP_PATH_BYTES]; // folders
    char tokens[KD_SETUP_PATH_BYTES];
    char run[KD_SETUP_PATH_BYTES];
    char socket[KD_SETUP_PATH_BYTES];
    bool is_system; // the system's folders, a socket for a group
    const char *module;
    const char *label;
    const char *worker; // path of keyd-hsm
    bool is_softhsm;
    bool has_token; // it is there already: its PIN and its files are not ours
    // Of a service that systemd starts as this user, with the PIN as a credential; NULL: of a keyd
    // that whoever makes the set-up starts.
    const char *user;
    uid_t uid;
    gid_t gid;
};

// The places: all in `dir`, or where it is NULL the system's folders for root and
// the user's own for others.  KD_ERR_CONFIG: why says what is wrong with the folder.
KD_MUST_CHECK enum kd_err kd_setup_places(const char *dir, struct kd_setup *s,
                                          char why[static KD_SETUP_PATH_BYTES]);

// Those of the files that are there already; returns how many.
size_t kd_setup_find_present(const struct kd_setup *s, const char *present[KD_SETUP_FILES]);

// Where there is a user: removes a state folder that is not the caller's, which systemd makes when
// the unit is started too early.  KD_ERR_DENIED: something is in it, and who owns it could put a
// link in the place of what is made there.
KD_MUST_CHECK enum kd_err kd_setup_take_state(const struct kd_setup *s);

// Folders and their parents; new ones of the set-up's own get mode 0700.  KD_ERR_DENIED: the one
// of the configuration is another user's, or all may write there or above it.
KD_MUST_CHECK enum kd_err kd_setup_make_folders(const struct kd_setup *s);
// Random PINs and softhsm2.conf, then (when the token is there) keyd.conf and policy.conf.
KD_MUST_CHECK enum kd_err kd_setup_write_token_files(const struct kd_setup *s);
KD_MUST_CHECK enum kd_err kd_setup_write_config(const struct kd_setup *s);
// Where there is a user: state and token, with all in them, become the user's.  The folders are the
// caller's until all in them has changed hands, so that nobody can put a link in a file's place.
KD_MUST_CHECK enum kd_err kd_setup_give(const struct kd_setup *s);
// After a failure: removes the files that this run has made.
void kd_setup_undo(const struct kd_setup *s);

#endif
