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

static void check_ready(struct kd_doctor *d, const struct kd_rest_answer *a) {
    d->is_ready = a->status == 200;
    if (d->is_ready) {
        kd_doctor_say(d, "ready", KD_FINDING_OK, "", "A worker is logged in.");
        return;
    }
    const char *detail = kd_json_text(a->json, "detail");
    const char *title = kd_json_text(a->json, "title");
    const bool is_pin = strstr(kd_json_text(a->json, "type"), "pin-") != NULL;
    kd_doctor_say(d, "ready", KD_FINDING_WRONG,
                  is_pin ? "put the right PIN into the PIN file, then: systemctl reload keyd "
                           "(SIGHUP; restart, where it is a systemd credential). keyd tries no "
                           "PIN a second time by itself"
                         : "see the lines above and keyd's log",
                  "keyd is not ready: %s%s%s", title, detail[0] != '\0' ? " " : "", detail);
}

// Of no use where there is no channel.
static bool is_needed(const json_t *status, const char *ability) {
    const json_t *channel = json_object_get(status, "channel");
    return strcmp(ability, "handshake") == 0 && json_is_true(json_object_get(channel, "on"));
}

static void check_abilities(struct kd_doctor *d, const json_t *status) {
    const char *name;
    json_t *probe;
    size_t n_good = 0;
    json_object_foreach(json_object_get(status, "abilities"), name, probe) {
        const char *found = json_string_value(probe);
        if (found != NULL && strcmp(found, "verified") == 0) {
            n_good++;
        } else if (found != NULL && strcmp(found, "wrong") == 0) {
            kd_doctor_say(d, "abilities", KD_FINDING_WRONG,
                          "do not use it; ask the maker of the module",
                          "%s: the token's answer is wrong.", name);
        } else if (is_needed(status, name)) {
            kd_doctor_say(d, "abilities", KD_FINDING_WRONG,
                          "another token, or no channel: take its section out of keyd.conf",
                          "This token cannot make handshakes of the channel.");
        } else {
            kd_doctor_say(d, "abilities", KD_FINDING_NOTE, "", "%s: %s", name,
                          found != NULL ? found : "not said");
        }
    }
    if (n_good > 0) {
        kd_doctor_say(d, "abilities", KD_FINDING_OK, "",
                      "%zu were tried with known answers; hkdf: %s", n_good,
                      kd_json_text(status, "hkdf"));
    } else if (d->is_ready) {
        kd_doctor_say(d, "abilities", KD_FINDING_WRONG,
                      "see keyd's log, and keydctl status; keyd-hsm --list shows the token",
                      "keyd is ready, but says of no ability that the token has it.");
    }
}

static void check_workers(struct kd_doctor *d, const json_t *status) {
    size_t i;
    json_t *worker;
    size_t n_ready = 0;
    long long restarts = 0;
    const json_t *workers = json_object_get(status, "workers");
    json_array_foreach(workers, i, worker) {
        restarts += kd_json_number(worker, "restarts");
        if (strcmp(kd_json_text(worker, "state"), "ready") != 0) {
            continue;
        }
        const long long sec = kd_json_number(worker, "ready_for_sec");
        n_ready++;
        d->login_sec = d->has_login && d->login_sec < sec ? d->login_sec : sec;
        d->has_login = true;
    }
    const size_t n = json_array_size(workers);
    kd_doctor_say(d, "workers", n_ready == n && n > 0 ? KD_FINDING_OK : KD_FINDING_WRONG,
                  restarts > 0 ? "keyd's log says why workers were restarted" : "",
                  "%zu of %zu ready, %lld restarts", n_ready, n, restarts);
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
        check_workers(d, a->json);
        check_abilities(d, a->json);
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
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    if (kd_ctl_connect(d->ctl) != KD_EXIT_OK) {
        kd_doctor_say(d, "daemon", KD_FINDING_WRONG, "see above",
                      "The settings of the connection cannot be used.");
        return;
    }
    if (!ask(d, "/readyz", &a)) {
        return;
    }
    kd_doctor_say(d, "daemon", KD_FINDING_OK, "", "keyd answers on %s",
                  kd_rest_place(d->ctl->rest));
    check_ready(d, &a);
    if (ask(d, "/v1/status", &a)) {
        check_caller(d, &a);
        read_keys(d);
    }
}
