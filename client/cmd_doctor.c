// SPDX-License-Identifier: Apache-2.0
// cmd_doctor.c: keydctl doctor: the checks in the order in which one depends on
// another, and what they found.
#include "client/doctor.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { WHAT_MAX_BYTES = 1024 };

static const char *const finding_names[] = {
    [KD_FINDING_OK] = "ok",
    [KD_FINDING_NOTE] = "note",
    [KD_FINDING_WRONG] = "WRONG",
    [KD_FINDING_SKIPPED] = "-",
};

static const char *const json_names[] = {
    [KD_FINDING_OK] = "ok",
    [KD_FINDING_NOTE] = "note",
    [KD_FINDING_WRONG] = "wrong",
    [KD_FINDING_SKIPPED] = "skipped",
};

static void (*const checks[])(struct kd_doctor *) = {
    kd_doctor_configuration, kd_doctor_worker, kd_doctor_module, kd_doctor_pin,     kd_doctor_state,
    kd_doctor_policy,        kd_doctor_token,  kd_doctor_daemon, kd_doctor_objects,
};

static void keep_ascii(char *text) {
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text >= 0x80) {
            *text = '?';
        }
    }
}

void kd_doctor_say(struct kd_doctor *d, const char *check, enum kd_finding finding,
                   const char *advice, const char *format, ...) {
    char what[WHAT_MAX_BYTES];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof(what), format, ap);
    va_end(ap);
    if (finding == KD_FINDING_WRONG) {
        d->worst = KD_FINDING_WRONG;
    }
    if (d->ctl->json) {
        keep_ascii(what); // what other programs said may be no UTF-8
        json_array_append_new(d->findings,
                              json_pack("{s:s, s:s, s:s, s:s}", "check", check, "finding",
                                        json_names[finding], "what", what, "advice", advice));
        return;
    }
    FILE *out = d->ctl->out;
    fprintf(out, "%-6s %-14s ", finding_names[finding], check);
    kd_output_text(out, what);
    fputc('\n', out);
    if (advice[0] != '\0') {
        fprintf(out, "%22sdo: ", "");
        kd_output_text(out, advice);
        fputc('\n', out);
    }
    fflush(out); // a check may take seconds
}

enum kd_exit kd_cmd_doctor(struct kd_ctl *ctl) {
    struct kd_doctor d = { .ctl = ctl,
                           .programs = kd_args_text(ctl->args, "programs"),
                           .findings = json_array() };
    for (size_t i = 0; i < KD_COUNT_OF(checks); i++) {
        checks[i](&d);
    }
    enum kd_exit code = d.worst == KD_FINDING_WRONG ? KD_EXIT_NO : KD_EXIT_OK;
    if (ctl->json) {
        kd_auto(json) json_t *answer =
            json_pack("{s:b, s:O}", "healthy", code == KD_EXIT_OK, "findings", d.findings);
        const enum kd_exit printed = kd_ctl_print_json(ctl, answer);
        code = printed != KD_EXIT_OK ? printed : code;
    } else {
        fputs(code == KD_EXIT_OK ? "All is well.\n" : "Something is wrong; see above.\n", ctl->out);
    }
    json_decref(d.findings);
    json_decref(d.keys);
    free(d.worker);
    return code;
}
