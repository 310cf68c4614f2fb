// SPDX-License-Identifier: Apache-2.0
// cmd_demo.c: keydctl demo: the whole picture on one machine, by the commands that a user would
// type.  A step that does not end as it should ends the demonstration.
#include "client/demo.h"
#include "client/device_link.h"
#include "client/keyd.h"
#include "client/trace.h"

#include "channel/channel.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 512, REPLAY_MS = 10000 };

#define DEVICE "sensor-7"

// ---- telling ---------------------------------------------------------------

static void say(const struct kd_demo *d, const char *title) {
    fprintf(d->ctl->out, "\n== %s\n", title);
}

static void note(const struct kd_demo *d, const char *text) {
    fprintf(d->ctl->out, "   %s\n", text);
}

KD_PRINTF(3, 4)
static enum kd_exit run(const struct kd_demo *d, enum kd_exit expected, const char *format, ...) {
    char line[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    fprintf(d->ctl->out, "$ keydctl %s\n", line);
    fflush(d->ctl->out);
    // What it says on standard error belongs to the story: frames, and why not.
    const enum kd_exit code = kd_demo_command(line, d->ctl->out, d->ctl->out);
    return code == expected ? KD_EXIT_OK
                            : kd_ctl_fail(d->ctl, KD_EXIT_USAGE,
                                          "This command should have ended with %d, not %d. The "
                                          "logs are in %s.",
                                          expected, code, d->folder);
}

// ---- the set-up ------------------------------------------------------------

static enum kd_exit make_keys(const struct kd_demo *d) {
    enum kd_exit code =
        run(d, KD_EXIT_OK, "key create channel-identity --type ec-p256 --usage sign");
    code = code != KD_EXIT_OK
               ? code
               : run(d, KD_EXIT_OK, "key create channel-root --type ec-p256 --usage derive");
    return code != KD_EXIT_OK ? code
                              : run(d, KD_EXIT_OK,
                                    "key create channel-ticket --type aes-256 --usage "
                                    "encrypt,decrypt");
}

static enum kd_exit set_up(struct kd_demo *d) {
    const char *programs = kd_args_text(d->ctl->args, "programs");
    enum kd_exit code;
    say(d, "A set-up: a token (SoftHSM), a configuration, a channel for devices, and a CA");
    fprintf(d->ctl->out, "$ cd %s; export KEYD_CONFIG=%s\n", d->folder, d->config);
    if ((code = run(d, KD_EXIT_OK, "init --dir .%s%s", programs == NULL ? "" : " --programs ",
                    programs == NULL ? "" : programs)) != KD_EXIT_OK ||
        (code = kd_demo_configure(d)) != KD_EXIT_OK ||
        (code = kd_demo_start_keyd(d)) != KD_EXIT_OK) {
        return code;
    }
    say(d, "Its keys, made in the token; the CA's certificate, and the server's own");
    if ((code = make_keys(d)) != KD_EXIT_OK ||
        (code = run(d, KD_EXIT_OK, "ca init --subject Demo --out ca.pem")) != KD_EXIT_OK ||
        (code = kd_demo_reload(d)) != KD_EXIT_OK ||
        (code = run(d, KD_EXIT_OK, "server-cert --out channel.pem")) != KD_EXIT_OK ||
        (code = kd_demo_reload(d)) != KD_EXIT_OK) {
        return code;
    }
    say(d, "The gateway between devices and a backend (a small one, in this process)");
    return kd_demo_start_backend(d) == KD_OK
               ? kd_demo_start_gateway(d)
               : kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "The backend does not start.");
}

static enum kd_exit enroll(const struct kd_demo *d) {
    enum kd_exit code;
    say(d, "A device is let in by an operator, and gets its certificate from the bootstrap server");
    if ((code =
             run(d, KD_EXIT_OK, "device enroll " DEVICE " --relation contract-12 --out secret")) !=
            KD_EXIT_OK ||
        (code = run(d, KD_EXIT_OK,
                    "device provision " DEVICE " --bootstrap https://127.0.0.1:%u --ca "
                    "bootstrap.pem --secret-file secret --dir " DEVICE,
                    d->bootstrap_port)) != KD_EXIT_OK) {
        return code;
    }
    return run(d, KD_EXIT_OK, "device list");
}

// ---- messages --------------------------------------------------------------

static enum kd_exit send_message(const struct kd_demo *d) {
    enum kd_exit code;
    say(d, "A handshake: certificates are named by URI and fingerprint, not sent");
    if ((code = run(d, KD_EXIT_OK, "device connect --dir " DEVICE " --server tcp://127.0.0.1:%u",
                    d->gateway_port)) != KD_EXIT_OK) {
        return code;
    }
    say(d, "A message to the backend, and its answer");
    fputs("$ echo \"21.5 C\" > message.txt\n", d->ctl->out);
    const struct kd_bytes text = kd_bytes_of_text("21.5 C\n");
    if (kd_io_write("message.txt", text) != KD_OK) {
        return kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "message.txt cannot be written.");
    }
    return run(d, KD_EXIT_OK,
               "device send --dir " DEVICE " --server tcp://127.0.0.1:%u --in message.txt",
               d->gateway_port);
}

// Keeps the last message that was sent, as an eavesdropper would.
struct eavesdropper {
    FILE *out;
    struct kd_buf message;
};

static void listen_in(void *arg, int has_come, const uint8_t *frame, size_t n) {
    struct eavesdropper *e = arg;
    kd_trace_print(e->out, has_come != 0, (struct kd_bytes) { frame, n });
    if (!has_come && n > 0 && frame[0] == KD_FRAME_MESSAGE) {
        kd_buf_reset(&e->message);
        kd_buf_put(&e->message, frame, n);
    }
}

static enum keyd_err ask(const struct kd_demo *d, struct keyd_device *device, const char *text) {
    uint8_t *answer = NULL;
    size_t n = 0;
    fprintf(d->ctl->out, "   device: \"%s\"\n", text);
    const enum keyd_err err = keyd_request(device, text, strlen(text), &answer, &n);
    if (err == KEYD_OK) {
        fprintf(d->ctl->out, "   device: the answer is: %.*s", (int)n, (const char *)answer);
    }
    free(answer);
    return err;
}

// From another connection, the same bytes.
static enum kd_exit replay(const struct kd_demo *d, const char *server,
                           const struct eavesdropper *e) {
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    struct kd_place place = { 0 };
    struct kd_link *link = NULL;
    struct kd_frame got;
    const uint64_t until_ms = kd_clock_mono_ms() + REPLAY_MS;
    const unsigned n_before = d->n_messages;
    say(d, "An eavesdropper sends the same bytes once more");
    enum kd_err r = kd_place_parse(server, &place);
    r = r == KD_OK ? kd_link_open(&place, until_ms, &link) : r;
    r = r == KD_OK ? kd_link_send(link, kd_buf_get(&e->message), until_ms) : r;
    kd_trace_print(d->ctl->out, false, kd_buf_get(&e->message));
    r = r == KD_OK ? kd_link_receive(link, until_ms, &answer) : r;
    kd_link_free(link);
    kd_place_wipe(&place);
    if (r != KD_OK || kd_frame_parse(kd_buf_get(&answer), &got) != KD_OK ||
        got.role != KD_FRAME_FAILURE || d->n_messages != n_before) {
        return kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "The replay was not refused.");
    }
    kd_trace_print(d->ctl->out, true, kd_buf_get(&answer));
    note(d, "Refused; the backend did not see it.");
    return KD_EXIT_OK;
}

static enum kd_exit outlive(const struct kd_demo *d, struct keyd_device *device) {
    say(d, "The session expires; the device's next message renews it, and nobody notices");
    fprintf(d->ctl->out, "   (%d seconds: session-lifetime is short here)\n", KD_DEMO_SESSION_SEC);
    fflush(d->ctl->out);
    (void)sleep(KD_DEMO_SESSION_SEC + 1);
    const enum keyd_err err = ask(d, device, "21.7 C");
    return err == KEYD_OK
               ? KD_EXIT_OK
               : kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "It was not renewed: %s", keyd_detail());
}

static enum kd_exit attack_and_expire(const struct kd_demo *d) {
    struct eavesdropper e = { d->ctl->out, KD_BUF_INIT(KD_FRAME_MAX_BYTES) };
    char server[LINE_MAX_BYTES];
    struct keyd_device *device = NULL;
    snprintf(server, sizeof(server), "tcp://127.0.0.1:%u", d->gateway_port);
    const struct keyd_config config = { .server = server, .trace = listen_in, .trace_arg = &e };
    say(d,
        "The same by libkeyd (keydctl device send --lines --trace), with someone who listens in");
    enum keyd_err err = keyd_device_open(DEVICE, &config, &device);
    err = err == KEYD_OK ? ask(d, device, "21.6 C") : err;
    enum kd_exit code = err == KEYD_OK ? replay(d, server, &e)
                                       : kd_ctl_fail(d->ctl, KD_EXIT_USAGE, "%s", keyd_detail());
    code = code == KD_EXIT_OK ? outlive(d, device) : code;
    keyd_device_free(device);
    kd_buf_wipe(&e.message);
    return code;
}

static enum kd_exit revoke_device(const struct kd_demo *d) {
    say(d, "The device is revoked: its sessions end, and it is not let in again");
    const enum kd_exit code = run(d, KD_EXIT_OK, "device revoke " DEVICE " --yes");
    return code != KD_EXIT_OK ? code
                              : run(d, KD_EXIT_REFUSED,
                                    "device connect --dir " DEVICE " --server tcp://127.0.0.1:%u",
                                    d->gateway_port);
}

static void how_to_go_on(const struct kd_demo *d) {
    say(d, "Done: every step ended as it should. keyd and the gateway are stopped.");
    fprintf(d->ctl->out,
            "   All is in %s: configurations, logs, the token.\n"
            "   To read:  docs/protocol.md, docs/gateway.md, docs/certificates.md, keydctl(1)\n"
            "   Away with it:  rm -r %s\n",
            d->folder, d->folder);
}

enum kd_exit kd_cmd_demo(struct kd_ctl *ctl) {
    const char *folder = ctl->args->n_words > 0 ? ctl->args->words[0] : "keyd-demo";
    struct kd_demo d;
    enum kd_exit code = kd_demo_open(&d, ctl, folder);
    code = code == KD_EXIT_OK ? set_up(&d) : code;
    code = code == KD_EXIT_OK ? enroll(&d) : code;
    code = code == KD_EXIT_OK ? send_message(&d) : code;
    code = code == KD_EXIT_OK ? attack_and_expire(&d) : code;
    code = code == KD_EXIT_OK ? revoke_device(&d) : code;
    kd_demo_close(&d);
    if (code == KD_EXIT_OK) {
        how_to_go_on(&d);
    }
    return code;
}
