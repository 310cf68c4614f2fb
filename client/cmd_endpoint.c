// SPDX-License-Identifier: Apache-2.0
// cmd_endpoint.c: keydctl device provision, connect, send and listen: a device's own end of
// the secure channel, by libkeyd.  They talk to bootstrap server and gateway, not to keyd's API.
#include "client/ctl.h"
#include "client/keyd.h"
#include "client/trace.h"

#include "channel/channel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TIMEOUT_MAX_MS = 3600000,
    LISTEN_MS = 60000,
    ENVELOPE_VALID_S = 3600,
    PAUSE_FIRST_S = 1,
    PAUSE_LAST_S = 30,
    COUNT_MAX = 1000000,
};

// ---- what libkeyd answers --------------------------------------------------

static enum kd_exit exit_of(enum keyd_err err) {
    switch (err) {
    case KEYD_OK:
        return KD_EXIT_OK;
    case KEYD_ERR_BACKEND:
        return KD_EXIT_NO;
    case KEYD_ERR_REFUSED:
    case KEYD_ERR_SERVER:
        return KD_EXIT_REFUSED;
    case KEYD_ERR_TRANSPORT:
    case KEYD_ERR_TIMEOUT:
    case KEYD_ERR_BUSY:
        return KD_EXIT_UNREACHABLE;
    case KEYD_ERR_ARGUMENT:
    case KEYD_ERR_FILE:
    case KEYD_ERR_MEMORY:
    case KEYD_ERR_EXPIRED:
    case KEYD_ERR_DENIED: // a device is never answered so
    case KEYD_ERR_MISSING:
    case KEYD_ERR_STATE:
        break;
    }
    return KD_EXIT_USAGE;
}

static enum kd_exit tell(const struct kd_ctl *ctl, enum keyd_err err) {
    const char *text = keyd_err_text(err);
    const bool has_more = strcmp(keyd_detail(), text) != 0;
    return err == KEYD_OK ? KD_EXIT_OK
                          : kd_ctl_fail(ctl, exit_of(err), "%s%s%s", text, has_more ? " " : "",
                                        has_more ? keyd_detail() : "");
}

// ---- the device ------------------------------------------------------------

// Where frames are printed, and what has been printed.
struct watch {
    FILE *out;
    unsigned n_frames;
    size_t n_bytes; // of the bodies
};

static void trace(void *arg, int has_come, const uint8_t *frame, size_t n) {
    struct watch *w = arg;
    w->n_frames++;
    w->n_bytes += n - KD_FRAME_HEAD_BYTES;
    kd_trace_print(w->out, has_come != 0, (struct kd_bytes) { frame, n });
}

// watch: NULL where frames are not to be printed.
static enum kd_exit open_device(const struct kd_ctl *ctl, struct watch *watch,
                                struct keyd_device **out) {
    struct keyd_config config = { .server = kd_args_text(ctl->args, "server") };
    const char *directory = kd_args_text(ctl->args, "dir");
    char why[KD_WHY_BYTES] = "";
    uint64_t timeout_ms = 0;
    if (directory == NULL || config.server == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "Say with --dir where the device's files are (keydctl device provision "
                           "makes them), and with --server which gateway it talks to.");
    }
    if (kd_args_number(ctl->args, "timeout", 1, TIMEOUT_MAX_MS, &timeout_ms, why) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s", why);
    }
    config.timeout_ms = (unsigned)timeout_ms;
    config.trace = watch != NULL ? trace : NULL;
    config.trace_arg = watch;
    return tell(ctl, keyd_device_open(directory, &config, out));
}

enum kd_exit kd_cmd_device_provision(struct kd_ctl *ctl) {
    const struct keyd_bootstrap b = {
        .url = kd_args_text(ctl->args, "bootstrap"),
        .ca_file = kd_args_text(ctl->args, "ca"),
        .id = ctl->args->words[0],
        .secret_file = kd_args_text(ctl->args, "secret-file"),
        .directory = kd_args_text(ctl->args, "dir"),
    };
    if (b.url == NULL || b.secret_file == NULL || b.directory == NULL) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "Give --bootstrap https://HOST:PORT, --secret-file with the one-time "
                           "secret (keydctl device enroll made it), and --dir for the new files.");
    }
    const enum kd_exit code = tell(ctl, keyd_provision(&b));
    if (code == KD_EXIT_OK) {
        fprintf(ctl->out, "%s has a key and its certificate in %s.\n", b.id, b.directory);
    }
    return code;
}

enum kd_exit kd_cmd_device_connect(struct kd_ctl *ctl) {
    struct keyd_device *device = NULL;
    struct watch watch = { .out = ctl->err };
    const enum kd_exit code = open_device(ctl, &watch, &device);
    if (code != KD_EXIT_OK) {
        return code;
    }
    const enum keyd_err err = keyd_connect(device);
    if (err == KEYD_OK) {
        fprintf(ctl->out,
                "Connected: %zu bytes in %u messages. The server's clock is %+.1f s from ours.\n",
                watch.n_bytes, watch.n_frames, (double)keyd_clock_offset(device) / 1000);
        (void)keyd_close(device); // it ends by itself otherwise
    }
    const enum kd_exit told = tell(ctl, err);
    keyd_device_free(device);
    return told;
}

// ---- send ------------------------------------------------------------------

static enum kd_exit send_one(const struct kd_ctl *ctl, struct keyd_device *device,
                             struct kd_bytes message, bool is_line) {
    uint8_t *answer = NULL;
    size_t n = 0;
    enum kd_exit code = tell(ctl, keyd_request(device, message.p, message.n, &answer, &n));
    if (code == KD_EXIT_OK && is_line) {
        fwrite(answer, 1, n, ctl->out);
        fputc('\n', ctl->out);
        fflush(ctl->out);
    } else if (code == KD_EXIT_OK) {
        code = kd_ctl_write(ctl, (struct kd_bytes) { answer, n }, false);
    }
    free(answer);
    return code;
}

static enum kd_exit send_whole(const struct kd_ctl *ctl, struct keyd_device *device) {
    kd_auto(buf) struct kd_buf message = KD_BUF_INIT(KEYD_BODY_MAX + 1);
    const enum kd_exit code =
        kd_ctl_read_file(ctl, kd_args_text(ctl->args, "in"), KEYD_BODY_MAX, &message);
    if (code != KD_EXIT_OK || !kd_args_has(ctl->args, "envelope")) {
        return code != KD_EXIT_OK ? code : send_one(ctl, device, kd_buf_get(&message), false);
    }
    return tell(ctl, keyd_envelope(device, kd_args_text(ctl->args, "sender"), ENVELOPE_VALID_S,
                                   message.p, message.n));
}

// Each line as it comes, all in one session; a line that failed does not stop the others.
static enum kd_exit send_lines(const struct kd_ctl *ctl, struct keyd_device *device) {
    enum kd_exit code = KD_EXIT_OK;
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    while ((n = getline(&line, &size, stdin)) >= 0) {
        const size_t text_n = (size_t)n - (n > 0 && line[n - 1] == '\n' ? 1 : 0);
        const struct kd_bytes text = { (const uint8_t *)line, text_n };
        const enum kd_exit one = send_one(ctl, device, text, true);
        code = one == KD_EXIT_OK ? code : one;
    }
    free(line);
    return code;
}

enum kd_exit kd_cmd_device_send(struct kd_ctl *ctl) {
    const bool has_lines = kd_args_has(ctl->args, "lines");
    struct keyd_device *device = NULL;
    if (has_lines && (kd_args_has(ctl->args, "in") || kd_args_has(ctl->args, "out") ||
                      kd_args_has(ctl->args, "envelope"))) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "--lines reads standard input and writes to standard output, in a "
                           "session.");
    }
    struct watch watch = { .out = ctl->err };
    enum kd_exit code = open_device(ctl, kd_args_has(ctl->args, "trace") ? &watch : NULL, &device);
    if (code != KD_EXIT_OK) {
        return code;
    }
    code = has_lines ? send_lines(ctl, device) : send_whole(ctl, device);
    (void)keyd_close(device); // it ends by itself otherwise
    keyd_device_free(device);
    return code;
}

// ---- listen ----------------------------------------------------------------

static bool is_passing(enum keyd_err err) {
    return err == KEYD_ERR_TRANSPORT || err == KEYD_ERR_BUSY;
}

// Until --count of them have come, or for ever; what is wrong for a while is waited for.
static enum kd_exit listen_for(const struct kd_ctl *ctl, struct keyd_device *device,
                               uint64_t count) {
    unsigned pause_s = PAUSE_FIRST_S;
    for (uint64_t n_come = 0; count == 0 || n_come < count;) {
        uint8_t *message = NULL;
        size_t n = 0;
        const enum keyd_err err = keyd_receive(device, LISTEN_MS, &message, &n);
        if (err == KEYD_OK) {
            fwrite(message, 1, n, ctl->out);
            fputc('\n', ctl->out);
            free(message);
            if (fflush(ctl->out) != 0) {
                return KD_EXIT_USAGE; // the caller says why
            }
            n_come++;
            pause_s = PAUSE_FIRST_S;
        } else if (is_passing(err)) {
            fprintf(ctl->err, "keydctl: %s  Again in %u s.\n", keyd_err_text(err), pause_s);
            (void)sleep(pause_s);
            pause_s = 2 * pause_s < PAUSE_LAST_S ? 2 * pause_s : PAUSE_LAST_S;
        } else if (err != KEYD_ERR_TIMEOUT) {
            return tell(ctl, err);
        }
    }
    return KD_EXIT_OK;
}

enum kd_exit kd_cmd_device_listen(struct kd_ctl *ctl) {
    struct keyd_device *device = NULL;
    char why[KD_WHY_BYTES] = "";
    uint64_t count = 0;
    if (kd_args_number(ctl->args, "count", 1, COUNT_MAX, &count, why) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s", why);
    }
    struct watch watch = { .out = ctl->err };
    enum kd_exit code = open_device(ctl, kd_args_has(ctl->args, "trace") ? &watch : NULL, &device);
    if (code != KD_EXIT_OK) {
        return code;
    }
    code = listen_for(ctl, device, count);
    (void)keyd_close(device);
    keyd_device_free(device);
    return code;
}
