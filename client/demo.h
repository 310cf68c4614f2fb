// SPDX-License-Identifier: Apache-2.0
// demo.h: what `keydctl demo` plays in: a folder with a set-up of its own, and the processes of
// it: keyd, keyd-gateway, and in this process a small backend.
#ifndef KD_CLIENT_DEMO_H
#define KD_CLIENT_DEMO_H

#include "client/ctl.h"

#include <stdatomic.h>
#include <sys/types.h>

#define KD_DEMO_PATH_BYTES 512
#define KD_DEMO_SESSION_SEC 3 // that a session lives there

struct MHD_Daemon;

// A program that runs, with its output in a log.
struct kd_demo_program {
    const char *name; // "keyd"; its log is NAME.log
    pid_t pid;        // 0: it does not run
};

struct kd_demo {
    const struct kd_ctl *ctl;
    char folder[KD_DEMO_PATH_BYTES]; // absolute; also the working directory
    char config[KD_DEMO_PATH_BYTES];
    uint16_t bootstrap_port, gateway_port, admin_port, backend_port;
    struct kd_demo_program keyd, gateway;
    struct MHD_Daemon *backend;
    atomic_uint n_messages; // that the backend has had
};

// What failed has been said on ctl->err; then, and at the end, kd_demo_close.

// Makes the folder, which must not be there, and chooses ports.
KD_MUST_CHECK enum kd_exit kd_demo_open(struct kd_demo *d, const struct kd_ctl *ctl,
                                        const char *folder);
// Adds channel, CA and bootstrap server to the keyd.conf that keydctl init has made, and prints it.
KD_MUST_CHECK enum kd_exit kd_demo_configure(struct kd_demo *d);
KD_MUST_CHECK enum kd_exit kd_demo_start_keyd(struct kd_demo *d);
// SIGHUP, and waits until keyd has read its files again.
KD_MUST_CHECK enum kd_exit kd_demo_reload(struct kd_demo *d);
KD_MUST_CHECK enum kd_exit kd_demo_start_gateway(struct kd_demo *d);
// Stops all that runs; the folder stays.
void kd_demo_close(struct kd_demo *d);

// A command of keydctl, in this process, as a user would type it: words with spaces between.
enum kd_exit kd_demo_command(const char *line, FILE *out, FILE *err);

// demo_backend.c: prints to `out` what comes, and answers.  Listens on 127.0.0.1.
KD_MUST_CHECK enum kd_err kd_demo_start_backend(struct kd_demo *d);
void kd_demo_stop_backend(struct kd_demo *d);

// demo_tls.c: a key and a self-signed certificate for 127.0.0.1, for a day.
KD_MUST_CHECK enum kd_err kd_demo_make_tls(const char *key_path, const char *certificate_path);

#endif
