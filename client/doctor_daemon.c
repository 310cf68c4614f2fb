// SPDX-License-Identifier: Apache-2.0
// doctor_daemon.c: the doctor's questions to the running keyd.
#include "client/doctor.h"

#include <errno.h>
#include <string.h>

// GET; false where nobody answers (said already).
static bool ask(struct kd_doctor *d, const char *path, struct kd_rest_answer *a) {
    const enum kd_err e = kd_rest_call(d->ctl->rest, "GET", path, NULL, a);
    if (e == KD_OK) {
        return true;
    }
    kd_doctor_say(d, "daemon", KD_FINDING_WRONG,
                  e == KD_ERR_DENIED
                      ? "join the socket's group (http.unix-group), or run as the user keyd runs as"
                      : "start it: systemctl start keyd, or by hand: keyd --config FILE",
                  "%s", kd_rest_failure(d->ctl->rest));
    return false;
}

// What /readyz says is for everybody; who may ask for the status is told more.
static void check_ready(struct kd_doctor *d, const struct kd_rest_answer *ready,
                        const struct kd_rest_answer *status) {
    if (d->is_ready) {
        kd_doctor_say(d, "ready", KD_FINDING_OK, "", "A worker is logged in.");
        return;
    }
    const json_t *more = json_object_get(status->json, "problem");
    const json_t *problem = status->status == 200 && json_is_object(more) ? more : ready->json;
    const char *detail = kd_json_text(problem, "detail");
    const char *title = kd_json_text(problem, "title");
    const bool is_pin = strstr(kd_json_text(problem, "type"), "pin-") != NULL;
    kd_doctor_say(d, "ready", KD_FINDING_WRONG,
                  is_pin ? "put the right PIN into the PIN file, then: systemctl reload keyd "
                           "(SIGHUP; restart, where it is a systemd credential). keyd tries no "
                           "PIN a second time by itself"
                         : "see the lines above and keyd's log",
                  "keyd is not ready: %s%s%s", title, detail[0] != '\0' ? " " : "", detail);
}

static void check_caller(struct kd_doctor *d, const struct kd_rest_answer *a) {
    if (a->status == 401) {
        kd_doctor_say(d, "caller", KD_FINDING_WRONG,
                      "add a principal with this uid to the policy file, then SIGHUP",
                      "keyd does not know this user.");
    } else if (a->status == 403) {
        kd_doctor_say(d, "caller", KD_FINDING_NOTE,
                      "for the rest of the checks, allow this principal \"status\"",
                      "keyd knows this user, who may not ask for its status.");
    } else if (a->status != 200) {
        kd_doctor_say(d, "caller", KD_FINDING_WRONG, "see keyd's log", "%s",
                      kd_json_text(a->json, "title"));
    } else {
        kd_doctor_say(d, "caller", KD_FINDING_OK, "", "keyd %s knows this user.",
                      kd_json_text(a->json, "version"));
        kd_doctor_status(d, a->json);
    }
}

// Where no log is kept, or it is none of this caller's business, there is nothing to say.
static void check_audit(struct kd_doctor *d) {
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    if (!ask(d, "/v1/audit", &a) || a.status != 200) {
        return;
    }
    const long long unsealed = kd_json_number(a.json, "seq") - kd_json_number(a.json, "sealed");
    if (json_is_true(json_object_get(a.json, "failing"))) {
        kd_doctor_say(d, "audit", KD_FINDING_WRONG,
                      "make room on its disk, or mend its rights: keyd goes on by itself",
                      "The audit log cannot be written, and keyd refuses what it must hold: %s",
                      kd_json_text(a.json, "reason"));
    } else if (kd_json_text(a.json, "key")[0] == '\0') {
        kd_doctor_say(d, "audit", KD_FINDING_NOTE, "name a key for it: audit.key in keyd.conf(5)",
                      "The audit log is chained, and not sealed.");
    } else {
        kd_doctor_say(d, "audit", KD_FINDING_OK, "", "The audit log is sealed but for %lld lines.",
                      unsealed);
    }
}

// One page; false at the end or where it could not be had (*failed).
static bool read_page(struct kd_doctor *d, json_t *keys, char after[static KD_NAME_MAX_BYTES + 1],
                      bool *failed) {
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    char path[128];
    snprintf(path, sizeof(path), "/v1/keys?limit=1000%s%s",
             after[0] == '\0' ? "" : "&after=", after);
    *failed = kd_rest_call(d->ctl->rest, "GET", path, NULL, &a) != KD_OK || a.status != 200 ||
              json_array_extend(keys, json_object_get(a.json, "keys")) != 0;
    const char *next = kd_json_text(a.json, "next");
    if (*failed || !kd_name_is_valid(kd_bytes_of_text(next)) || strcmp(next, after) == 0) {
        return false;
    }
    snprintf(after, KD_NAME_MAX_BYTES + 1, "%s", next);
    return true;
}

static void read_keys(struct kd_doctor *d) {
    char after[KD_NAME_MAX_BYTES + 1] = "";
    bool failed = false;
    kd_auto(json) json_t *keys = json_array();
    while (read_page(d, keys, after, &failed)) {
    }
    if (!failed) {
        d->keys = KD_STEAL(keys);
    }
}

void kd_doctor_daemon(struct kd_doctor *d) {
    kd_auto(rest_answer) struct kd_rest_answer ready = KD_REST_ANSWER_INIT;
    kd_auto(rest_answer) struct kd_rest_answer status = KD_REST_ANSWER_INIT;
    if (kd_ctl_connect(d->ctl) != KD_EXIT_OK) {
        kd_doctor_say(d, "daemon", KD_FINDING_WRONG, "see above",
                      "The settings of the connection cannot be used.");
        return;
    }
    if (!ask(d, "/readyz", &ready)) {
        return;
    }
    kd_doctor_say(d, "daemon", KD_FINDING_OK, "", "keyd answers on %s",
                  kd_rest_place(d->ctl->rest));
    d->is_ready = ready.status == 200;
    if (ask(d, "/v1/status", &status)) {
        check_ready(d, &ready, &status);
        check_caller(d, &status);
        check_audit(d);
        read_keys(d);
    }
}
