// SPDX-License-Identifier: Apache-2.0
// open.h: from a HELLO to a token that is logged in and probed; the way that the
// worker and keyd-hsm's single commands share.
#ifndef KD_HSM_OPEN_H
#define KD_HSM_OPEN_H

#include "hsm/session.h"

struct kd_opened {
    struct kd_modules modules;
    struct kd_token token;
    struct kd_session *sessions; // `threads` of them
    uint16_t threads;
    // Texts for the status message.
    struct kd_buf detail;
    struct kd_buf record;
    struct kd_buf module;
    struct kd_buf fields; // label, manufacturer, model, serial, uri, in a row
    char module_path[4096];
    char token_uri[1025];
    char init_args[1025];
    char pin_file[4096];
};

// Sets the environment, loads the module, finds the token, opens the sessions
// (as many as asked for, or as the token has), logs in, probes.  After a failure
// o->detail says what to do; kd_close in any case.  Before other threads.
KD_MUST_CHECK enum kd_err kd_open(const struct kd_hsm_hello *h, bool with_probe,
                                  struct kd_opened *o);
// The module or modules alone, without choosing a token.
KD_MUST_CHECK enum kd_err kd_open_modules(const struct kd_hsm_hello *h, struct kd_opened *o);
// Ends with C_Finalize; all threads have ended.
void kd_close(struct kd_opened *o);

// The status of an open token (err KD_OK), or of a failure; borrows from o.
void kd_open_status(struct kd_opened *o, enum kd_err err, struct kd_hsm_status *out);

#endif
