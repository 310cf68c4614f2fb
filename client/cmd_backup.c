// SPDX-License-Identifier: Apache-2.0
// cmd_backup.c: keydctl backup.
#include "client/ctl.h"

enum kd_exit kd_cmd_backup(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = json_object();
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = kd_ctl_call(ctl, "POST", "/v1/backup", body, &answer);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        return kd_ctl_print_json(ctl, answer);
    }
    kd_output_members(ctl->out, answer);
    fputs("This is the registry; keyd's user and root can read it. Copy it away, and then, in this "
          "order, what\nbelongs to it: the token, the configuration with its PIN, and the audit "
          "log.\n",
          ctl->out);
    return KD_EXIT_OK;
}
