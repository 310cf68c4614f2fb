/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends each line of standard input as a message, and prints the answers.
 *     request SERVER KEY.pem CERTIFICATE.pem URI|- SERVER_CERTIFICATE.pem [NEW.der|-
 * [ENVELOPE.pem]] A line that begins with "!" is a command: !connect, !update, !save, !close, !move
 * SERVER, !receive MILLISECONDS, !envelope MESSAGE, !detail.
 */
#include "client/keyd.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS = 6, ENVELOPE_VALID_S = 60 };

/* A real device asks its bootstrap server for a new certificate (EST); this one has it in a file.
 */
static int renew(void *path, uint8_t *certificate, size_t max, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return -1;
    }
    *n = fread(certificate, 1, max, f);
    fclose(f);
    return 0;
}

static void say(enum keyd_err err, const uint8_t *text, size_t n) {
    if (err == KEYD_OK && text != NULL) {
        printf("ok %.*s\n", (int)n, (const char *)text);
    } else {
        printf("%s\n", keyd_err_name(err));
    }
}

static void receive(struct keyd_device *device, unsigned timeout_ms) {
    uint8_t *message = NULL;
    size_t n = 0;
    const enum keyd_err err = keyd_receive(device, timeout_ms, &message, &n);
    say(err, message, n);
    free(message);
}

static enum keyd_err command(struct keyd_device *device, const char *name) {
    if (strncmp(name, "move ", 5) == 0) {
        return keyd_move(device, name + 5);
    }
    if (strncmp(name, "envelope ", 9) == 0) {
        return keyd_envelope(device, "example", ENVELOPE_VALID_S, name + 9, strlen(name + 9));
    }
    return strcmp(name, "connect") == 0  ? keyd_connect(device)
           : strcmp(name, "update") == 0 ? keyd_update(device)
           : strcmp(name, "save") == 0   ? keyd_save(device)
           : strcmp(name, "close") == 0  ? keyd_close(device)
                                         : KEYD_ERR_ARGUMENT;
}

static void send_line(struct keyd_device *device, const char *line) {
    uint8_t *answer = NULL;
    size_t n = 0;
    const enum keyd_err err = keyd_request(device, line, strlen(line), &answer, &n);
    if (err == KEYD_ERR_BACKEND) {
        printf("%s %u\n", keyd_err_name(err), keyd_status(device));
    } else {
        say(err, answer, n);
    }
    free(answer);
}

static void do_line(struct keyd_device *device, const char *line) {
    if (line[0] != '!') {
        send_line(device, line);
    } else if (strncmp(line, "!receive ", 9) == 0) {
        receive(device, (unsigned)strtoul(line + 9, NULL, 10));
    } else if (strcmp(line, "!detail") == 0) {
        printf("%s\n", keyd_detail());
    } else {
        printf("%s\n", keyd_err_name(command(device, line + 1)));
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < ARGUMENTS || argc > ARGUMENTS + 2) {
        fprintf(stderr, "usage: request SERVER KEY CERTIFICATE URI|- SERVER_CERTIFICATE [NEW|- "
                        "[ENVELOPE_KEY]]\n");
        return 2;
    }
    const bool has_new = argc > ARGUMENTS && strcmp(argv[ARGUMENTS], "-") != 0;
    const struct keyd_config config = {
        .server = argv[1],
        .key_file = argv[2],
        .certificate_file = argv[3],
        .certificate_uri = strcmp(argv[4], "-") == 0 ? NULL : argv[4],
        .server_certificate_file = argv[5],
        .timeout_ms = 5000,
        .renew = has_new ? renew : NULL,
        .renew_arg = has_new ? argv[ARGUMENTS] : NULL,
        .envelope_key_file = argc > ARGUMENTS + 1 ? argv[ARGUMENTS + 1] : NULL,
    };
    struct keyd_device *device = NULL;
    const enum keyd_err err = keyd_device_new(&config, &device);
    if (err != KEYD_OK) {
        printf("%s\n", keyd_err_name(err));
        fprintf(stderr, "%s\n", keyd_detail());
        return 1;
    }
    char line[70000];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        do_line(device, line);
    }
    keyd_device_free(device);
    return 0;
}
