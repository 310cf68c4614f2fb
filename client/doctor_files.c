// SPDX-License-Identifier: Apache-2.0
// doctor_files.c: the doctor's look at what lies on the disk: configuration,
// worker program, module, PIN file, state folder, policy.
#include "client/doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_MAX_BYTES = 4096, TIMEOUT_MS = 20000 };

// The last line of what a program said, which says most.
static const char *last_line(struct kd_buf *text) {
    while (text->n > 0 && text->p[text->n - 1] == '\n') {
        text->n--;
    }
    const char *whole = kd_buf_get_text(text);
    const char *line = strrchr(whole, '\n');
    return line == NULL ? whole : line + 1;
}

static void check_by_keyd(struct kd_doctor *d, const char *file) {
    kd_auto(buf) struct kd_buf keyd = KD_BUF_INIT(PATH_MAX_BYTES);
    if (kd_process_find(d->programs, "keyd", &keyd) != KD_OK) {
        kd_doctor_say(d, "configuration", KD_FINDING_WRONG,
                      "install keyd, or say where it is: --programs DIR",
                      "The program keyd is not installed in %s.", KD_SBINDIR);
        return;
    }
    const char *const argv[] = { kd_buf_get_text(&keyd), "--check-config", "--config", file, NULL };
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    const enum kd_err e = kd_process_run(argv, TIMEOUT_MS, &p);
    if (e == KD_OK && p.status == 0) {
        kd_doctor_say(d, "configuration", KD_FINDING_OK, "", "%s", file);
        return;
    }
    const char *said = last_line(p.err.n > 0 ? &p.err : &p.out);
    kd_doctor_say(d, "configuration", KD_FINDING_WRONG,
                  "correct the file; keyd --check-config --config FILE checks it again", "%s",
                  e != KD_OK ? kd_err_sentence(e) : said);
}

void kd_doctor_configuration(struct kd_doctor *d) {
    const char *file = d->ctl->settings.file;
    if (file == NULL) {
        kd_doctor_say(d, "configuration", KD_FINDING_WRONG,
                      "keydctl init makes a set-up; --config FILE names one that is elsewhere",
                      "There is no keyd.conf.");
        return;
    }
    check_by_keyd(d, file);
}

void kd_doctor_worker(struct kd_doctor *d) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    const char *named = d->ctl->settings.worker_program;
    if (named != NULL && access(named, X_OK) == 0) {
        kd_buf_text(&path, named);
    } else if (named != NULL || kd_process_find(d->programs, "keyd-hsm", &path) != KD_OK) {
        kd_doctor_say(d, "worker", KD_FINDING_WRONG,
                      "install keyd, or correct workers.program in keyd.conf",
                      "The worker program %s cannot be run: %s",
                      named != NULL ? named : KD_LIBEXECDIR "/keyd-hsm", strerror(errno));
        return;
    }
    d->worker = strdup(kd_buf_get_text(&path));
    kd_doctor_say(d, "worker", KD_FINDING_OK, "", "%s", kd_buf_get_text(&path));
}

void kd_doctor_module(struct kd_doctor *d) {
    const char *module = d->ctl->settings.module;
    if (d->ctl->settings.file == NULL) {
        return;
    }
    if (module == NULL) {
        kd_doctor_say(d, "module", KD_FINDING_NOTE, "p11-kit list-modules shows them",
                      "No module is named: all that p11-kit has configured are used.");
    } else if (access(module, R_OK) != 0) {
        kd_doctor_say(d, "module", KD_FINDING_WRONG,
                      "install the module (SoftHSM: apt-get install softhsm2), or correct "
                      "token.module in keyd.conf",
                      "%s cannot be read: %s", module, strerror(errno));
    } else {
        kd_doctor_say(d, "module", KD_FINDING_OK, "", "%s", module);
    }
}

static void check_pin_mode(struct kd_doctor *d, const char *path, const struct stat *st) {
    char advice[PATH_MAX_BYTES];
    if (!S_ISREG(st->st_mode)) {
        kd_doctor_say(d, "pin", KD_FINDING_WRONG, "put the PIN into the first line of a plain file",
                      "%s is not a regular file.", path);
    } else if ((st->st_mode & S_IRWXO) != 0) {
        snprintf(advice, sizeof(advice), "chmod 600 %s (and think of who may have read it)", path);
        kd_doctor_say(d, "pin", KD_FINDING_WRONG, advice,
                      "%s is open to everybody (mode %03o); keyd refuses it.", path,
                      (unsigned)(st->st_mode & 0777));
    } else if (st->st_size == 0) {
        kd_doctor_say(d, "pin", KD_FINDING_WRONG, "put the PIN into its first line", "%s is empty.",
                      path);
    } else if ((st->st_mode & S_IRWXG) != 0) {
        kd_doctor_say(d, "pin", KD_FINDING_NOTE, "chmod 600, if the group need not read it",
                      "%s can be read by its group (gid %u).", path, (unsigned)st->st_gid);
    } else {
        kd_doctor_say(d, "pin", KD_FINDING_OK, "", "%s (uid %u, mode %03o)", path,
                      (unsigned)st->st_uid, (unsigned)(st->st_mode & 0777));
    }
}

void kd_doctor_pin(struct kd_doctor *d) {
    const struct kd_settings *s = &d->ctl->settings;
    struct stat st;
    if (s->file == NULL) {
        return;
    }
    if (s->pin_credential != NULL) {
        kd_doctor_say(d, "pin", KD_FINDING_NOTE, "",
                      "The PIN is the systemd credential \"%s\"; only the service sees it.",
                      s->pin_credential);
    } else if (s->pin_file == NULL) {
        kd_doctor_say(d, "pin", KD_FINDING_WRONG, "set token.pin-file in keyd.conf",
                      "No PIN file is named.");
    } else if (stat(s->pin_file, &st) != 0) {
        kd_doctor_say(d, "pin", errno == EACCES ? KD_FINDING_NOTE : KD_FINDING_WRONG,
                      errno == EACCES ? "run the doctor as the user that keyd runs as"
                                      : "make the file: umask 077, the PIN in its first line",
                      "%s: %s", s->pin_file, strerror(errno));
    } else {
        check_pin_mode(d, s->pin_file, &st);
    }
}

void kd_doctor_state(struct kd_doctor *d) {
    const char *path = d->ctl->settings.state_directory;
    path = path != NULL ? path : KD_STATEDIR;
    struct stat st;
    if (d->ctl->settings.file == NULL) {
        return;
    }
    if (stat(path, &st) != 0) {
        kd_doctor_say(d, "state", KD_FINDING_NOTE, "", "%s: %s; keyd makes it when it starts.",
                      path, strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        kd_doctor_say(d, "state", KD_FINDING_WRONG, "correct state-directory in keyd.conf",
                      "%s is not a folder.", path);
    } else if (access(path, W_OK | X_OK) != 0) {
        kd_doctor_say(d, "state", KD_FINDING_NOTE,
                      "nothing, if keyd runs as another user (the owner below)",
                      "This user cannot write in %s (uid %u, mode %03o).", path,
                      (unsigned)st.st_uid, (unsigned)(st.st_mode & 0777));
    } else {
        kd_doctor_say(d, "state", KD_FINDING_OK, "", "%s", path);
    }
}

void kd_doctor_policy(struct kd_doctor *d) {
    const char *path = d->ctl->settings.policy_file;
    path = path != NULL ? path : KD_SYSCONFDIR "/policy.conf";
    struct stat st;
    if (d->ctl->settings.file == NULL) {
        return;
    }
    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        kd_doctor_say(d, "policy", KD_FINDING_WRONG,
                      "without it everything is refused; keyd-policy(5) shows how to write one",
                      "%s: %s", path, strerror(errno));
    } else if ((st.st_mode & S_IWOTH) != 0) {
        kd_doctor_say(d, "policy", KD_FINDING_WRONG, "chmod o-w, and read it again",
                      "Everybody may write %s.", path);
    } else {
        // Its syntax is checked with the configuration, by keyd itself.
        kd_doctor_say(d, "policy", KD_FINDING_OK, "", "%s", path);
    }
}
