// SPDX-License-Identifier: Apache-2.0
// cmd_status.c: keydctl status: is keyd ready, and what does it say of itself?
#include "client/ctl.h"

#include <string.h>

// 0: ready; 1: not, and *reason says why; else an error that was printed.
static enum kd_exit ask_ready(struct kd_ctl *ctl, json_t **reason) {
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    enum kd_exit code = kd_ctl_connect(ctl);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (kd_rest_call(ctl->rest, "GET", "/readyz", NULL, &a) != KD_OK) {
        kd_auto(json) json_t *none = NULL;                      // it may answer this time
        return kd_ctl_call(ctl, "GET", "/readyz", NULL, &none); // says why
    }
    if (a.status == 200) {
        return KD_EXIT_OK;
    }
    *reason = KD_STEAL(a.json);
    return KD_EXIT_NO;
}

static enum kd_exit print_workers(const struct kd_ctl *ctl, const json_t *workers) {
    static const char *const heads[] = { "WORKER", "STATE", "PID", "RESTARTS", "IN FLIGHT" };
    kd_auto(table) struct kd_table *t = NULL;
    if (!json_is_array(workers)) {
        return KD_EXIT_OK;
    }
    if (kd_table_new(heads, KD_COUNT_OF(heads), &t) != KD_OK) {
        return kd_ctl_no_memory(ctl);
    }
    size_t i;
    json_t *worker;
    json_array_foreach(workers, i, worker) {
        kd_table_printf(t, "%zu", i + 1);
        kd_table_put(t, kd_json_text(worker, "state"));
        kd_table_printf(t, "%lld", kd_json_number(worker, "pid"));
        kd_table_printf(t, "%lld", kd_json_number(worker, "restarts"));
        kd_table_printf(t, "%lld", kd_json_number(worker, "in_flight"));
    }
    fputs(ctl->terminal ? "\n" : "", ctl->out);
    return kd_ctl_print_table(ctl, t);
}

enum kd_exit kd_cmd_status(struct kd_ctl *ctl) {
    kd_auto(json) json_t *reason = NULL;
    kd_auto(json) json_t *status = NULL;
    enum kd_exit ready = ask_ready(ctl, &reason);
    if (ready != KD_EXIT_OK && ready != KD_EXIT_NO) {
        return ready;
    }
    enum kd_exit code = kd_ctl_call(ctl, "GET", "/v1/status", NULL, &status);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        code = kd_ctl_print_json(ctl, status);
        return code != KD_EXIT_OK ? code : ready;
    }
    if (ready == KD_EXIT_OK) {
        fputs("ready: yes\n", ctl->out);
    } else {
        // What /readyz says is for everybody; what it does not say is in the status.
        const char *detail = kd_json_text(json_object_get(status, "problem"), "detail");
        fputs("ready: NO: ", ctl->out);
        kd_output_text(ctl->out, detail[0] != '\0' ? detail : kd_json_text(reason, "title"));
        fputs("\n  keydctl doctor looks at the whole set-up.\n", ctl->out);
    }
    kd_auto(json) json_t *rest = json_copy(status);
    // These are above and below.
    json_object_del(rest, "ready");
    json_object_del(rest, "problem");
    json_object_del(rest, "workers");
    kd_output_members(ctl->out, rest);
    code = print_workers(ctl, json_object_get(status, "workers"));
    return code != KD_EXIT_OK ? code : ready;
}
