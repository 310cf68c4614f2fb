// SPDX-License-Identifier: Apache-2.0
// doctor_token.c: the doctor's look at the module and the token, through the
// worker program: this process loads no module.
#include "client/doctor.h"

#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 48, TIMEOUT_MS = 60000, LINE_MAX_BYTES = 512, SHOWN_MAX = 5 };

// keyd-hsm with what keyd.conf says of the token.
static enum kd_err run_worker(const struct kd_doctor *d, const char *what, bool logs_in,
                              struct kd_process *p) {
    const struct kd_settings *s = &d->ctl->settings;
    const char *argv[ARGS_MAX] = { d->worker, what };
    size_t n = 2;
    if (s->module != NULL) {
        argv[n++] = "--module";
        argv[n++] = s->module;
    }
    if (s->module_args != NULL) {
        argv[n++] = "--init-args";
        argv[n++] = s->module_args;
    }
    for (size_t i = 0; i < s->n_environment; i++) {
        argv[n++] = "--env";
        argv[n++] = s->environment[i];
    }
    if (logs_in) {
        argv[n++] = "--uri";
        argv[n++] = s->uri != NULL ? s->uri : "pkcs11:";
        argv[n++] = "--pin-file";
        argv[n++] = s->pin_file;
    }
    return kd_process_run(argv, TIMEOUT_MS, p);
}

// The next line of text, NULL at the end; cuts it out of *rest.
static char *next_line(char **rest) {
    char *line = NULL;
    do {
        line = strsep(rest, "\n");
    } while (line != NULL && line[0] == '\0');
    return line;
}

// Does a token's URI have every attribute of the wanted one?
static bool uri_matches(const char *wanted, const char *line) {
    char copy[LINE_MAX_BYTES];
    snprintf(copy, sizeof(copy), "%s", strncmp(wanted, "pkcs11:", 7) == 0 ? wanted + 7 : wanted);
    char *rest = copy;
    for (char *part = strsep(&rest, ";?&"); part != NULL; part = strsep(&rest, ";?&")) {
        const char *at = part[0] == '\0' ? line : strstr(line, part);
        if (at == NULL || (part[0] != '\0' && strchr(";?& \t", at[strlen(part)]) == NULL)) {
            return false;
        }
    }
    return true;
}

static void check_list(struct kd_doctor *d, char *list) {
    const char *wanted = d->ctl->settings.uri != NULL ? d->ctl->settings.uri : "pkcs11:";
    kd_auto(buf) struct kd_buf found = KD_BUF_INIT(LINE_MAX_BYTES * SHOWN_MAX);
    size_t n_tokens = 0;
    size_t n_match = 0;
    char *rest = list;
    for (char *line = next_line(&rest); line != NULL; line = next_line(&rest)) {
        const char *uri = strstr(line, "pkcs11:");
        if (uri == NULL) {
            continue;
        }
        n_match += uri_matches(wanted, uri) ? 1 : 0;
        if (n_tokens++ < SHOWN_MAX) {
            kd_buf_printf(&found, "%s%.*s", n_tokens == 1 ? "" : "  ", (int)strcspn(uri, " \t"),
                          uri);
        }
    }
    if (n_match == 1) {
        kd_doctor_say(d, "token", KD_FINDING_OK, "", "%s", wanted);
    } else if (n_match > 1) {
        kd_doctor_say(d, "token", KD_FINDING_WRONG, "name one of them in token.uri",
                      "\"%s\" matches %zu tokens: %s", wanted, n_match, kd_buf_get_text(&found));
    } else if (n_tokens > 0) {
        kd_doctor_say(d, "token", KD_FINDING_WRONG, "write one of those into token.uri",
                      "No token is named by \"%s\". There are: %s", wanted,
                      kd_buf_get_text(&found));
    } else {
        kd_doctor_say(d, "token", KD_FINDING_WRONG,
                      "is the device there, its daemon running, SOFTHSM2_CONF right? "
                      "keydctl init makes a token of SoftHSM",
                      "The module loads and has no token.");
    }
}

void kd_doctor_token(struct kd_doctor *d) {
    if (d->worker == NULL || d->ctl->settings.file == NULL) {
        return;
    }
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    const enum kd_err e = run_worker(d, "--list", false, &p);
    if (e != KD_OK || p.status != 0) {
        kd_doctor_say(d, "token", KD_FINDING_WRONG,
                      "see what the module needs (token.environment, token.init-args)",
                      "The module does not load: %s",
                      e != KD_OK ? kd_err_sentence(e) : kd_buf_get_text(&p.err));
        return;
    }
    if (strstr(kd_buf_get_text(&p.out), "last try") != NULL) {
        kd_doctor_say(d, "token", KD_FINDING_WRONG,
                      "log in with the right PIN by the maker's own tool; that resets the count",
                      "The token shows its last try for the PIN; keyd leaves it alone.");
    }
    kd_buf_u8(&p.out, '\0');
    if (kd_buf_finish(&p.out) == KD_OK) {
        check_list(d, (char *)p.out.p);
    }
}

// ---- objects ---------------------------------------------------------------

static bool is_registered(const json_t *keys, const char *name, size_t n) {
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key) {
        const char *have = kd_json_text(key, "name");
        if (strlen(have) == n && memcmp(have, name, n) == 0) {
            return true;
        }
    }
    return false;
}

// The length of NAME in "NAME.vN", which is how keyd labels its objects; else 0.
static size_t name_in_label(const char *label) {
    const char *dot = strrchr(label, '.');
    if (dot == NULL || dot[1] != 'v' || dot[2] == '\0' ||
        dot[2 + strspn(dot + 2, "0123456789")] != '\0') {
        return 0;
    }
    const struct kd_bytes name = { (const uint8_t *)label, (size_t)(dot - label) };
    return kd_name_is_valid(name) ? name.n : 0;
}

static void check_objects(struct kd_doctor *d, char *text) {
    kd_auto(buf) struct kd_buf orphans = KD_BUF_INIT(LINE_MAX_BYTES);
    size_t n_ours = 0;
    size_t n_orphans = 0;
    char *rest = text;
    for (char *word = strsep(&rest, " \t\n\"'=;"); word != NULL;
         word = strsep(&rest, " \t\n\"'=;")) {
        const size_t n = name_in_label(word);
        if (n == 0) {
            continue;
        }
        n_ours++;
        if (!is_registered(d->keys, word, n) && n_orphans++ < SHOWN_MAX) {
            kd_buf_printf(&orphans, " %s", word);
        }
    }
    if (n_orphans > 0) {
        kd_doctor_say(
            d, "objects", KD_FINDING_NOTE,
            "keydctl key adopt takes one up again; else remove it with the token's tools. "
            "A key that you may not see is counted here too",
            "%zu of %zu objects named as keyd's are not in its registry:%s", n_orphans, n_ours,
            kd_buf_get_text(&orphans));
    } else {
        kd_doctor_say(d, "objects", KD_FINDING_OK, "",
                      "All objects that are named as keyd's are in its registry (%zu).", n_ours);
    }
}

void kd_doctor_objects(struct kd_doctor *d) {
    // Only with a PIN that works: a doctor must not use up a token's tries.
    if (d->worker == NULL || !d->is_ready || d->keys == NULL || d->ctl->settings.pin_file == NULL) {
        kd_doctor_say(d, "objects", KD_FINDING_SKIPPED, "",
                      "Not looked at: that needs a keyd that is ready, and a PIN file.");
        return;
    }
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    const enum kd_err e = run_worker(d, "--objects", true, &p);
    kd_buf_u8(&p.out, '\0');
    if (e != KD_OK || p.status != 0 || kd_buf_finish(&p.out) != KD_OK) {
        kd_doctor_say(d, "objects", KD_FINDING_NOTE, "", "The objects could not be listed: %s",
                      e != KD_OK ? kd_err_sentence(e) : kd_buf_get_text(&p.err));
        return;
    }
    check_objects(d, (char *)p.out.p);
}
