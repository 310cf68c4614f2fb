// SPDX-License-Identifier: Apache-2.0
// main.c: keyd-hsm.  Without arguments it is a worker and keyd is at the other
// end of descriptor 3; with one it is a command that looks at tokens.
#include "hsm/command.h"
#include "hsm/serve.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKER_FD = 3, SECONDS_MAX = 600, THREADS_MAX = 256, CACHED_SECRETS = 64, ORPHAN_SEC = 10 };

static const char usage[] =
    "keyd-hsm is started by keyd.  By itself it looks at PKCS#11 modules and tokens:\n"
    "  keyd-hsm --list       [--module PATH]\n"
    "  keyd-hsm --probe      --uri URI --pin-file FILE [--module PATH]\n"
    "  keyd-hsm --objects    --uri URI --pin-file FILE [--module PATH]\n"
    "  keyd-hsm --bench      --uri URI --pin-file FILE [--module PATH] [--seconds N | --ms N] "
    "[--threads N]\n"
    "                        [--only NAME,...]\n"
    "  keyd-hsm --init-token --label TEXT --pin-file FILE --so-pin-file FILE --module PATH\n"
    "Each takes --init-args TEXT and --env NAME=VALUE (again for more) for the module.\n"
    "Without --module it uses those that p11-kit has configured.\n";

typedef int command_fn(const struct kd_command_options *o);

static const struct {
    const char *name;
    command_fn *fn;
    bool needs_token;
} commands[] = {
    { "--list", kd_command_list, false },
    { "--probe", kd_command_probe, true },
    { "--objects", kd_command_objects, true },
    { "--bench", kd_command_bench, true },
    { "--init-token", kd_command_init_token, false },
};

static const struct option options[] = {
    { "module", required_argument, NULL, 'm' },   { "init-args", required_argument, NULL, 'i' },
    { "env", required_argument, NULL, 'e' },      { "uri", required_argument, NULL, 'u' },
    { "pin-file", required_argument, NULL, 'p' }, { "so-pin-file", required_argument, NULL, 's' },
    { "label", required_argument, NULL, 'l' },    { "seconds", required_argument, NULL, 't' },
    { "ms", required_argument, NULL, 'd' },       { "threads", required_argument, NULL, 'n' },
    { "only", required_argument, NULL, 'o' },     { NULL, 0, NULL, 0 },
};

// What this process knows must not be read out of it, and it must not outlive its parent.
static bool harden(void) {
    return kd_confine_process() == KD_OK && kd_confine_calls(KD_CONFINE_PARENT) == KD_OK &&
           prctl(PR_SET_PDEATHSIG, SIGTERM) == 0;
}

static void on_orphaned(int signal KD_UNUSED) {
    alarm(ORPHAN_SEC);
}

// A worker ends at the end of its stream, when the call under way is done: one
// that is killed while SoftHSM writes an object leaves half of it in the token.
// So what is sent to the whole group to stop keyd (by a terminal, by systemd) is
// for keyd alone, and without keyd a call has some seconds before SIGALRM ends it.
static bool end_with_stream(void) {
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    const struct sigaction orphaned = { .sa_handler = on_orphaned, .sa_flags = SA_RESTART };
    return sigaction(SIGINT, &ignore, NULL) == 0 && sigaction(SIGTERM, &ignore, NULL) == 0 &&
           sigaction(SIGHUP, &ignore, NULL) == 0 && sigaction(SIGUSR1, &orphaned, NULL) == 0 &&
           prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0;
}

static bool take_option(int option, struct kd_command_options *o) {
    struct kd_hsm_hello *h = &o->hello;
    uint64_t n = 0;
    switch (option) {
    case 'm':
        h->module = kd_bytes_of_text(optarg);
        return true;
    case 'i':
        h->init_args = kd_bytes_of_text(optarg);
        return true;
    case 'e':
        if (h->n_env == KD_HSM_ENV_MAX) {
            return false;
        }
        h->env[h->n_env++] = kd_bytes_of_text(optarg);
        return true;
    case 'u':
        h->token_uri = kd_bytes_of_text(optarg);
        return true;
    case 'p':
        h->pin_file = kd_bytes_of_text(optarg);
        return true;
    case 's':
        o->so_pin_file = optarg;
        return true;
    case 'l':
        o->label = optarg;
        return true;
    case 'o':
        o->only = optarg;
        return true;
    case 't':
        if (kd_number_parse(optarg, 1, SECONDS_MAX, &n) != KD_OK) {
            return false;
        }
        o->duration_ms = (unsigned)n * 1000;
        return true;
    case 'd':
        if (kd_number_parse(optarg, 1, SECONDS_MAX * 1000, &n) != KD_OK) {
            return false;
        }
        o->duration_ms = (unsigned)n;
        return true;
    case 'n':
        if (kd_number_parse(optarg, 1, THREADS_MAX, &n) != KD_OK) {
            return false;
        }
        h->threads = (uint16_t)n;
        return true;
    default:
        return false;
    }
}

static int run_command(size_t i, int argc, char **argv) {
    struct kd_command_options o = { .hello = { .threads = 1, .cached_secrets = CACHED_SECRETS },
                                    .duration_ms = 2000 };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (!take_option(option, &o)) {
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind != argc ||
        (commands[i].needs_token && (o.hello.token_uri.n == 0 || o.hello.pin_file.n == 0))) {
        fputs(usage, stderr);
        return 2;
    }
    return commands[i].fn(&o);
}

static bool is_worker(void) {
    int type = 0;
    socklen_t n = sizeof(type);
    return getsockopt(WORKER_FD, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

int main(int argc, char **argv) {
    if (!harden()) {
        perror("keyd-hsm");
        return EXIT_FAILURE;
    }
    if (argc == 1 && is_worker()) {
        kd_log_open();
        if (!end_with_stream()) {
            perror("keyd-hsm");
            return EXIT_FAILURE;
        }
        return (int)kd_serve(WORKER_FD);
    }
    for (size_t i = 0; argc > 1 && i < KD_COUNT_OF(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            kd_log_set_level(KD_LOG_ERROR);
            return run_command(i, argc - 1, argv + 1);
        }
    }
    const bool wants_help = argc == 2 && strcmp(argv[1], "--help") == 0;
    fputs(usage, wants_help ? stdout : stderr);
    return wants_help ? EXIT_SUCCESS : 2;
}
