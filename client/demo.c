// SPDX-License-Identifier: Apache-2.0
#include "client/demo.h"
#include "client/process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    READY_MS = 60000,
    STOP_MS = 30000,
    STEP_MS = 50,
    TEXT_MAX_BYTES = 16384,
    LINE_MAX_BYTES = 512,
    WORDS_MAX = 24,
    PORT_TRIES = 100,
};

extern char **environ;

static enum kd_exit failed(const struct kd_demo *d, const char *what) {
    return kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "%s: %s", what, strerror(errno));
}

static void pause_ms(int ms) {
    (void)poll(NULL, 0, ms);
}

// ---- commands of keydctl ---------------------------------------------------

enum kd_exit kd_demo_command(const char *line, FILE *out, FILE *err) {
    char copy[LINE_MAX_BYTES], *state = NULL;
    char *words[WORDS_MAX];
    int n = 0;
    snprintf(copy, sizeof(copy), "keydctl %s", line);
    for (char *w = strtok_r(copy, " ", &state); w != NULL && n < WORDS_MAX;
         w = strtok_r(NULL, " ", &state)) {
        words[n++] = w;
    }
    return kd_ctl_run(n, words, out, err);
}

// What it prints, into *out (to be freed); nothing of it is shown.
static enum kd_exit take_output(const char *line, char **out) {
    size_t n = 0;
    *out = NULL;
    FILE *all = open_memstream(out, &n);
    if (all == NULL) {
        return KD_EXIT_USAGE;
    }
    const enum kd_exit code = kd_demo_command(line, all, all);
    fclose(all);
    return code;
}

// ---- the folder ------------------------------------------------------------

static bool is_free(uint16_t port) {
    const struct sockaddr_in a = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool is_ok = fd >= 0 && bind(fd, (const struct sockaddr *)&a, sizeof(a)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is_ok;
}

// One that the system gives to nobody who connects (its range begins at 32768), so that it is
// free still when a program is started on it.  0: none was found.
static uint16_t free_port(void) {
    for (int i = 0; i < PORT_TRIES; i++) {
        uint16_t any = 0;
        if (getrandom(&any, sizeof(any), 0) == sizeof(any) && is_free(16384 + any % 16384)) {
            return 16384 + any % 16384;
        }
    }
    return 0;
}

enum kd_exit kd_demo_open(struct kd_demo *d, const struct kd_ctl *ctl, const char *folder) {
    *d = (struct kd_demo) { .ctl = ctl,
                            .keyd.name = "keyd",
                            .gateway.name = "keyd-gateway",
                            .bootstrap_port = free_port(),
                            .gateway_port = free_port(),
                            .admin_port = free_port() };
    if (mkdir(folder, 0700) != 0) {
        return errno == EEXIST ? kd_ctl_fail(ctl, KD_EXIT_USAGE,
                                             "There is a %s already. Name another folder, or "
                                             "remove it: it is of a demonstration before.",
                                             folder)
                               : failed(d, folder);
    }
    if (chdir(folder) != 0 || getcwd(d->folder, sizeof(d->folder)) == NULL) {
        return failed(d, folder);
    }
    const int n = snprintf(d->config, sizeof(d->config), "%s/keyd.conf", d->folder);
    if (n >= (int)sizeof(d->config) || d->bootstrap_port == 0 || d->gateway_port == 0 ||
        d->admin_port == 0) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "There are no free ports on 127.0.0.1.");
    }
    // What the commands are to find is here.
    return setenv("KEYD_CONFIG", d->config, 1) == 0 && unsetenv("KEYD_SOCKET") == 0
               ? KD_EXIT_OK
               : failed(d, "setenv");
}

static enum kd_exit append_text(const struct kd_demo *d, const char *path,
                                const struct kd_buf *text) {
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "a");
    const bool is_ok = f != NULL && fwrite(text->p, 1, text->n, f) == text->n;
    if (f == NULL || fclose(f) != 0 || !is_ok) {
        return failed(d, path);
    }
    fprintf(d->ctl->out, "$ cat >> %s\n", path);
    fwrite(text->p, 1, text->n, d->ctl->out);
    return KD_EXIT_OK;
}

enum kd_exit kd_demo_configure(struct kd_demo *d) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(TEXT_MAX_BYTES);
    const enum kd_err e = kd_demo_make_tls("bootstrap.key", "bootstrap.pem");
    if (e != KD_OK) {
        return kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "No TLS certificate could be made: %s",
                           kd_err_sentence(e));
    }
    kd_buf_printf(&text,
                  "channel {\n"
                  "    identity = \"channel-identity\"\n"
                  "    root = \"channel-root\"\n"
                  "    ticket = \"channel-ticket\"\n"
                  "    certificate-file = \"%s/channel.pem\"\n"
                  "    session-lifetime = %d\n"
                  "}\n",
                  d->folder, KD_DEMO_SESSION_SEC);
    kd_buf_printf(&text,
                  "ca {\n"
                  "    key = \"demo-ca\"\n"
                  "    certificate-file = \"%s/ca.pem\"\n"
                  "    server-id = \"demo\"\n"
                  "    base-uri = \"https://boot.example\"\n"
                  "}\n"
                  "bootstrap {\n"
                  "    tcp-address = \"127.0.0.1\"\n"
                  "    tcp-port = %u\n"
                  "    tls-certificate = \"%s/bootstrap.pem\"\n"
                  "    tls-key = \"%s/bootstrap.key\"\n"
                  "}\n",
                  d->folder, d->bootstrap_port, d->folder, d->folder);
    return append_text(d, "keyd.conf", &text);
}

// ---- the programs ----------------------------------------------------------

static void show_log(const struct kd_demo *d, const struct kd_demo_program *p) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_PROCESS_OUTPUT_MAX_BYTES);
    char path[LINE_MAX_BYTES];
    snprintf(path, sizeof(path), "%s.log", p->name);
    if (kd_io_read(path, KD_PROCESS_OUTPUT_MAX_BYTES - 1, &text) == KD_OK) {
        fputs(kd_buf_get_text(&text), d->ctl->err);
    }
}

static enum kd_exit spawn(struct kd_demo *d, struct kd_demo_program *p, const char *config) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(LINE_MAX_BYTES);
    char log[LINE_MAX_BYTES], option[] = "--config", file[LINE_MAX_BYTES];
    const char *programs = kd_args_text(d->ctl->args, "programs");
    if (kd_process_find(programs, p->name, &path) != KD_OK) {
        return kd_ctl_fail(d->ctl, KD_EXIT_USAGE,
                           "%s is not installed. --programs DIR says where it is.", p->name);
    }
    snprintf(log, sizeof(log), "%s.log", p->name);
    snprintf(file, sizeof(file), "%s", config);
    char *const argv[] = { (char *)path.p, option, file, NULL };
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        return failed(d, p->name);
    }
    int r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    r = r != 0 ? r
               : posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log,
                                                  O_WRONLY | O_CREAT | O_APPEND, 0600);
    r = r != 0 ? r : posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    r = r != 0 ? r : posix_spawn(&p->pid, kd_buf_get_text(&path), &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    errno = r;
    fprintf(d->ctl->out, "$ %s --config %s &\n", p->name, config);
    return r == 0 ? KD_EXIT_OK : failed(d, p->name);
}

// Whether it has ended by itself; then it has no pid any more.
static bool has_ended(struct kd_demo_program *p) {
    if (waitpid(p->pid, NULL, WNOHANG) != p->pid) {
        return false;
    }
    p->pid = 0;
    return true;
}

static enum kd_exit wait_ready(struct kd_demo *d, struct kd_demo_program *p,
                               bool (*is_ready)(const struct kd_demo *d)) {
    const uint64_t end_ms = kd_clock_mono_ms() + READY_MS;
    while (!is_ready(d)) {
        if (has_ended(p) || kd_clock_mono_ms() > end_ms) {
            show_log(d, p);
            return kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "%s did not become ready; its log is above.",
                               p->name);
        }
        pause_ms(STEP_MS);
    }
    return KD_EXIT_OK;
}

static bool is_keyd_ready(const struct kd_demo *d KD_UNUSED) {
    char *text = NULL;
    const enum kd_exit code = take_output("status", &text);
    free(text);
    return code == KD_EXIT_OK;
}

static bool is_gateway_ready(const struct kd_demo *d) {
    const struct sockaddr_in a = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons(d->gateway_port) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool is_ready = fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is_ready;
}

enum kd_exit kd_demo_start_keyd(struct kd_demo *d) {
    const enum kd_exit code = spawn(d, &d->keyd, d->config);
    return code == KD_EXIT_OK ? wait_ready(d, &d->keyd, is_keyd_ready) : code;
}

enum kd_exit kd_demo_start_gateway(struct kd_demo *d) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(TEXT_MAX_BYTES);
    kd_buf_printf(&text,
                  "keyd-socket = \"%s/run/keyd.sock\"\n"
                  "backend-url = \"http://127.0.0.1:%u/messages\"\n"
                  "tcp = {\"127.0.0.1:%u\"}\n"
                  "admin = \"127.0.0.1:%u\"\n",
                  d->folder, d->backend_port, d->gateway_port, d->admin_port);
    enum kd_exit code = append_text(d, "keyd-gateway.conf", &text);
    code = code == KD_EXIT_OK ? spawn(d, &d->gateway, "keyd-gateway.conf") : code;
    return code == KD_EXIT_OK ? wait_ready(d, &d->gateway, is_gateway_ready) : code;
}

// When keyd has read its files, as its status says; "" where it does not say.
static void read_time(char out[static LINE_MAX_BYTES]) {
    char *text = NULL;
    out[0] = '\0';
    if (take_output("status --json", &text) == KD_EXIT_OK) {
        kd_auto(json) json_t *status = json_loads(text, 0, NULL);
        snprintf(out, LINE_MAX_BYTES, "%s",
                 kd_json_text(json_object_get(status, "policy"), "read"));
    }
    free(text);
}

enum kd_exit kd_demo_reload(struct kd_demo *d) {
    char before[LINE_MAX_BYTES], now[LINE_MAX_BYTES];
    const uint64_t end_ms = kd_clock_mono_ms() + READY_MS;
    fputs("$ kill -HUP $(pidof keyd)      # it reads its files again\n", d->ctl->out);
    read_time(before);
    if (kill(d->keyd.pid, SIGHUP) != 0) {
        return failed(d, "keyd");
    }
    do {
        pause_ms(STEP_MS);
        read_time(now);
    } while (strcmp(before, now) == 0 && kd_clock_mono_ms() < end_ms);
    return strcmp(before, now) != 0
               ? KD_EXIT_OK
               : kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "keyd does not read its files again.");
}

static void stop(struct kd_demo_program *p) {
    const uint64_t end_ms = kd_clock_mono_ms() + STOP_MS;
    if (p->pid == 0) {
        return;
    }
    (void)kill(p->pid, SIGTERM);
    while (!has_ended(p)) {
        if (kd_clock_mono_ms() > end_ms) {
            (void)kill(p->pid, SIGKILL);
        }
        pause_ms(STEP_MS);
    }
}

void kd_demo_close(struct kd_demo *d) {
    stop(&d->gateway);
    stop(&d->keyd);
    kd_demo_stop_backend(d);
}
