// SPDX-License-Identifier: Apache-2.0
// doctor_token.c: the doctor's look at the module and the token, through the
// worker program: this process loads no module.
#include "client/doctor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TIMEOUT_MS = 60000, LINE_MAX_BYTES = 512, SHOWN_MAX = 5 };

// keyd-hsm with what keyd.conf says of the token.
static enum kd_err run_worker(const struct kd_doctor *d, const char *what, bool logs_in,
                              struct kd_process *p) {
    const struct kd_settings *s = &d->ctl->settings;
    const char *argv[KD_SETTINGS_ARGS_MAX + 8] = { d->worker, what };
    size_t n = kd_settings_put_module(s, argv, 2);
    if (logs_in) {
        argv[n++] = "--uri";
        argv[n++] = s->uri != NULL ? s->uri : "pkcs11:";
        argv[n++] = "--pin-file";
        argv[n++] = s->pin_file;
    }
    return kd_process_run(argv, TIMEOUT_MS, p);
}

// Does a token's URI have every attribute of the wanted one?
static bool uri_matches(const char *wanted, const char *uri) {
    char copy[LINE_MAX_BYTES];
    snprintf(copy, sizeof(copy), "%s", strncmp(wanted, "pkcs11:", 7) == 0 ? wanted + 7 : wanted);
    char *rest = copy;
    for (char *part = strsep(&rest, ";?&"); part != NULL; part = strsep(&rest, ";?&")) {
        const char *at = part[0] == '\0' ? uri : strstr(uri, part);
        if (at == NULL || (part[0] != '\0' && strchr(";?&", at[strlen(part)]) == NULL)) {
            return false;
        }
    }
    return true;
}

struct tokens {
    const char *wanted;
    struct kd_buf found; // URIs, for the user
    size_t n_tokens;
    size_t n_match;
    bool is_last_try;
};

static void look_at_token(struct tokens *t, const json_t *token) {
    const char *uri = kd_json_text(token, "uri");
    if (uri[0] == '\0') {
        return; // a slot whose token is not initialised
    }
    if (t->n_tokens++ < SHOWN_MAX) {
        kd_buf_printf(&t->found, "%s%s", t->n_tokens == 1 ? "" : "  ", uri);
    }
    if (!uri_matches(t->wanted, uri)) {
        return;
    }
    t->n_match++;
    size_t i;
    json_t *flag;
    json_array_foreach(json_object_get(token, "flags"), i, flag) {
        const char *name = json_string_value(flag);
        t->is_last_try =
            t->is_last_try || (name != NULL && (strcmp(name, "user-pin-final-try") == 0 ||
                                                strcmp(name, "user-pin-locked") == 0));
    }
}

static void say_tokens(struct kd_doctor *d, struct tokens *t) {
    if (t->is_last_try) {
        kd_doctor_say(d, "token", KD_FINDING_WRONG,
                      "log in with the right PIN by the maker's own tool; that resets the count",
                      "The token is locked or on the last try of its PIN; keyd leaves it alone.");
    } else if (t->n_match == 1) {
        kd_doctor_say(d, "token", KD_FINDING_OK, "", "%s", t->wanted);
    } else if (t->n_match > 1) {
        kd_doctor_say(d, "token", KD_FINDING_WRONG, "name one of them in token.uri",
                      "\"%s\" matches %zu tokens: %s", t->wanted, t->n_match,
                      kd_buf_get_text(&t->found));
    } else if (t->n_tokens > 0) {
        kd_doctor_say(d, "token", KD_FINDING_WRONG, "write one of those into token.uri",
                      "No token is named by \"%s\". There are: %s", t->wanted,
                      kd_buf_get_text(&t->found));
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
    kd_auto(json) json_t *list = json_loadb((const char *)p.out.p, p.out.n, 0, NULL);
    if (e != KD_OK || p.status != 0 || list == NULL) {
        kd_doctor_say(d, "token", KD_FINDING_WRONG,
                      "see what the module needs (token.environment, token.init-args)",
                      "The module does not load: %s",
                      e != KD_OK ? kd_err_sentence(e) : kd_buf_get_text(&p.err));
        return;
    }
    struct tokens t = { .wanted = d->ctl->settings.uri != NULL ? d->ctl->settings.uri : "pkcs11:",
                        .found = KD_BUF_INIT(LINE_MAX_BYTES * SHOWN_MAX) };
    size_t i;
    json_t *module;
    json_array_foreach(json_object_get(list, "modules"), i, module) {
        size_t k;
        json_t *token;
        json_array_foreach(json_object_get(module, "tokens"), k, token) {
            look_at_token(&t, token);
        }
    }
    say_tokens(d, &t);
    kd_buf_wipe(&t.found);
}

// ---- objects ---------------------------------------------------------------

static bool has_version(const json_t *key, json_int_t number) {
    size_t i;
    json_t *version;
    json_array_foreach(json_object_get(key, "versions"), i, version) {
        if (json_integer_value(json_object_get(version, "version")) == number) {
            return true;
        }
    }
    return false;
}

// Whether the object of this label is one that keyd knows: the first n bytes are the key's name.
static bool is_registered(const json_t *keys, const char *label, size_t n) {
    const json_int_t number = strtoll(label + n + strlen(".v"), NULL, 10);
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key) {
        const char *have = kd_json_text(key, "name");
        if (strlen(have) == n && memcmp(have, label, n) == 0) {
            return has_version(key, number);
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

static void check_objects(struct kd_doctor *d, const json_t *objects) {
    kd_auto(buf) struct kd_buf orphans = KD_BUF_INIT(LINE_MAX_BYTES);
    size_t n_ours = 0;
    size_t n_orphans = 0;
    size_t i;
    json_t *object;
    json_array_foreach(objects, i, object) {
        const char *label = kd_json_text(object, "label");
        const size_t n = name_in_label(label);
        if (n == 0) {
            continue;
        }
        n_ours++;
        if (!is_registered(d->keys, label, n) && n_orphans++ < SHOWN_MAX) {
            kd_buf_printf(&orphans, " %s", label);
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

// Not changed since the last worker read it, and was logged in: what it has is a PIN that works.
static bool has_worked(const struct kd_doctor *d, const char *pin_file) {
    struct stat st;
    if (!d->has_login || stat(pin_file, &st) != 0) {
        return false;
    }
    const uint64_t changed_ms =
        (uint64_t)st.st_ctim.tv_sec * 1000 + (uint64_t)st.st_ctim.tv_nsec / 1000000;
    return changed_ms + (uint64_t)d->login_sec * 1000 <= kd_clock_wall_ms();
}

void kd_doctor_objects(struct kd_doctor *d) {
    // Only with a PIN that works: a doctor must not use up a token's tries.
    const char *pin_file = d->ctl->settings.pin_file;
    if (d->worker == NULL || !d->is_ready || d->keys == NULL || pin_file == NULL) {
        kd_doctor_say(d, "objects", KD_FINDING_SKIPPED, "",
                      "Not looked at: that needs a keyd that is ready, and a PIN file.");
        return;
    }
    if (!has_worked(d, pin_file)) {
        kd_doctor_say(d, "objects", KD_FINDING_SKIPPED,
                      "restart keyd, which tries a PIN once, then the doctor again",
                      "Not looked at: nothing shows that the token takes the PIN that is in the "
                      "file now.");
        return;
    }
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    const enum kd_err e = run_worker(d, "--objects", true, &p);
    kd_auto(json) json_t *list = json_loadb((const char *)p.out.p, p.out.n, 0, NULL);
    if (e != KD_OK || p.status != 0 || list == NULL) {
        kd_doctor_say(d, "objects", KD_FINDING_NOTE, "", "The objects could not be listed: %s",
                      e != KD_OK ? kd_err_sentence(e) : kd_buf_get_text(&p.err));
        return;
    }
    check_objects(d, json_object_get(list, "objects"));
}
