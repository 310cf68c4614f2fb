// SPDX-License-Identifier: Apache-2.0
// doctor_status.c: what the doctor makes of keyd's status.
#include "client/doctor.h"

#include <string.h>

enum { CERTIFICATE_SOON_SEC = 14 * 86400 }; // as channel.certificate-warn

// ---- token -----------------------------------------------------------------

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
                      "see keyd's log, and keydctl status; keydctl token list shows the token",
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

// ---- what was read from files ----------------------------------------------

static void check_policy(struct kd_doctor *d, const json_t *status) {
    const char *error = kd_json_text(json_object_get(status, "policy"), "error");
    if (error[0] != '\0') {
        kd_doctor_say(d, "policy", KD_FINDING_WRONG, "mend the file, then SIGHUP",
                      "keyd has refused the last policy, and an older one is in force: %s", error);
    }
}

// Handshakes are refused without it, and readiness does not depend on it.
static void check_certificate(struct kd_doctor *d, const json_t *status) {
    static const char advice[] =
        "a new one into the file that channel.certificate-file names, then SIGHUP; with a CA in "
        "keyd: keydctl server-cert";
    const json_t *channel = json_object_get(status, "channel");
    const json_t *certificate = json_object_get(channel, "certificate");
    const long long left = kd_json_number(certificate, "expires_in_sec");
    if (!json_is_true(json_object_get(channel, "on"))) {
        return;
    }
    if (!json_is_object(certificate)) {
        kd_doctor_say(d, "certificate", KD_FINDING_WRONG, advice,
                      "keyd has read no certificate for the channel: handshakes are refused.");
    } else if (left <= 0) {
        kd_doctor_say(d, "certificate", KD_FINDING_WRONG, advice,
                      "The channel's certificate has expired: handshakes are refused.");
    } else {
        kd_doctor_say(d, "certificate",
                      left < CERTIFICATE_SOON_SEC ? KD_FINDING_NOTE : KD_FINDING_OK,
                      left < CERTIFICATE_SOON_SEC ? advice : "",
                      "The channel's certificate is good for %lld days.", left / 86400);
    }
}

void kd_doctor_status(struct kd_doctor *d, const json_t *status) {
    check_workers(d, status);
    check_abilities(d, status);
    check_policy(d, status);
    check_certificate(d, status);
}
