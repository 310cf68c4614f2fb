// SPDX-License-Identifier: Apache-2.0
// doctor.h: what the checks of `keydctl doctor` share.  cmd_doctor.c has the
// order and the printing, doctor_files.c what lies on the disk, doctor_token.c
// the module and the token, doctor_daemon.c the running keyd, doctor_status.c what it says of
// itself.
#ifndef KD_CLIENT_DOCTOR_H
#define KD_CLIENT_DOCTOR_H

#include "client/ctl.h"
#include "client/process.h"

enum kd_finding {
    KD_FINDING_OK,
    KD_FINDING_NOTE,  // worth knowing
    KD_FINDING_WRONG, // something to do
    KD_FINDING_SKIPPED,
};

struct kd_doctor {
    struct kd_ctl *ctl;
    const char *programs; // --programs, or NULL
    char *worker;         // path of keyd-hsm; owned; NULL: not found
    bool is_ready;        // keyd says so: its PIN works
    bool has_login;       // a worker is logged in, and it is known since when
    long long login_sec;  // for so long is the one that logged in last
    json_t *keys;         // of the registry, as far as we may see them; NULL: not read
    json_t *findings;     // [{"check", "finding", "what", "advice"}]
    enum kd_finding worst;
};

// One point: what was found, and what to do about it ("" where nothing).
KD_PRINTF(5, 6)
void kd_doctor_say(struct kd_doctor *d, const char *check, enum kd_finding finding,
                   const char *advice, const char *format, ...);

void kd_doctor_configuration(struct kd_doctor *d);
void kd_doctor_worker(struct kd_doctor *d);
void kd_doctor_module(struct kd_doctor *d);
void kd_doctor_pin(struct kd_doctor *d);
void kd_doctor_state(struct kd_doctor *d);
void kd_doctor_policy(struct kd_doctor *d);
void kd_doctor_token(struct kd_doctor *d);
void kd_doctor_daemon(struct kd_doctor *d);
void kd_doctor_status(struct kd_doctor *d, const json_t *status); // what GET /v1/status gave
void kd_doctor_objects(struct kd_doctor *d);

#endif
