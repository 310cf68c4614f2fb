/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends each line of standard input as a message, and prints the answers.
 *     request SERVER KEY.pem CERTIFICATE.pem URI|- SERVER_CERTIFICATE.pem [NEW.der]
 * A line that begins with "!" is a command: !connect, !update, !save, !close, !move SERVER.
 */
#include "client/keyd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS = 6 };

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

static enum keyd_err command(struct keyd_device *device, const char *name) {
    if (strncmp(name, "move ", 5) == 0) {
        return keyd_move(device, name + 5);
    }
    return strcmp(name, "connect") == 0  ? keyd_connect(device)
           : strcmp(name, "update") == 0 ? keyd_update(device)
           : strcmp(name, "save") == 0   ? keyd_save(device)
           : strcmp(name, "close") == 0  ? keyd_close(device)
                                         : KEYD_ERR_ARGUMENT;
}

static enum keyd_err send_line(struct keyd_device *device, const char *line) {
    uint8_t *answer = NULL;
    size_t n = 0;
    const enum keyd_err err = keyd_request(device, line, strlen(line), &answer, &n);
    if (err == KEYD_OK) {
        printf("ok %.*s\n", (int)n, (const char *)answer);
    } else if (err == KEYD_ERR_BACKEND) {
        printf("%s %u\n", keyd_err_name(err), keyd_status(device));
    } else {
        printf("%s\n", keyd_err_name(err));
    }
    free(answer);
    return err;
}

int main(int argc, char **argv) {
    if (argc != ARGUMENTS && argc != ARGUMENTS + 1) {
        fprintf(stderr, "usage: request SERVER KEY CERTIFICATE URI|- SERVER_CERTIFICATE [NEW]\n");
        return 2;
    }
    const struct keyd_config config = {
        .server = argv[1],
        .key_file = argv[2],
        .certificate_file = argv[3],
        .certificate_uri = strcmp(argv[4], "-") == 0 ? NULL : argv[4],
        .server_certificate_file = argv[5],
        .timeout_ms = 5000,
        .renew = argc > ARGUMENTS ? renew : NULL,
        .renew_arg = argc > ARGUMENTS ? argv[ARGUMENTS] : NULL,
    };
    struct keyd_device *device = NULL;
    const enum keyd_err err = keyd_device_new(&config, &device);
    if (err != KEYD_OK) {
        printf("%s\n", keyd_err_name(err));
        return 1;
    }
    char line[70000];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '!') {
            printf("%s\n", keyd_err_name(command(device, line + 1)));
        } else {
            (void)send_line(device, line);
        }
        fflush(stdout);
    }
    keyd_device_free(device);
    return 0;
}
