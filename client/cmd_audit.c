// SPDX-License-Identifier: Apache-2.0
// cmd_audit.c: keydctl audit status, keydctl audit verify.
#include "client/audit_check.h"
#include "client/ctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MAX_BYTES = 256 };

static const char no_such_version[] = "urn:keyd:problem:no-such-version";

enum kd_exit kd_cmd_audit_status(struct kd_ctl *ctl) {
    kd_auto(json) json_t *status = NULL;
    enum kd_exit code = kd_ctl_call(ctl, "GET", "/v1/audit", NULL, &status);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        code = kd_ctl_print_json(ctl, status);
    } else {
        kd_output_members(ctl->out, status);
    }
    return code != KD_EXIT_OK || !json_is_true(json_object_get(status, "failing")) ? code
                                                                                   : KD_EXIT_NO;
}

// ---- verify ----------------------------------------------------------------

struct verify {
    struct kd_ctl *ctl;
    bool is_offline;
    char key[KD_NAME_MAX_BYTES + 1]; // of keyd's seals; "": none
    enum kd_exit failed;             // a seal could not be looked at
    json_t *faults;
};

static void on_fault(void *arg, const struct kd_audit_at *at, const char *what) {
    struct verify *v = arg;
    if (!v->ctl->json) {
        fprintf(v->ctl->out, "%s:%" PRIu64 ": ", at->file == NULL ? "-" : at->file, at->line);
        if (at->seq != 0) {
            fprintf(v->ctl->out, "line %" PRIu64 ": ", at->seq);
        }
        fprintf(v->ctl->out, "%s\n", what);
        return;
    }
    json_array_append_new(v->faults,
                          json_pack("{s:s, s:I, s:I, s:s}", "file",
                                    at->file == NULL ? "" : at->file, "line", (json_int_t)at->line,
                                    "seq", (json_int_t)at->seq, "what", what));
}

// The seal's version by name: keyd tries but the newest of those that have no name.
static enum kd_exit put_seal(struct verify *v, const struct kd_audit_seal *seal, json_t *body) {
    uint8_t data[KD_CHAIN_SEAL_BYTES];
    enum kd_exit code;
    kd_chain_seal_input(&seal->covers, data);
    if ((code = kd_ctl_put_bytes(v->ctl, body, "data", (struct kd_bytes) { data, sizeof(data) })) !=
            KD_EXIT_OK ||
        (code = kd_ctl_put_bytes(v->ctl, body, "mac", seal->mac)) != KD_EXIT_OK) {
        return code;
    }
    return seal->version == 0 ||
                   json_object_set_new(body, "version", json_integer(seal->version)) == 0
               ? KD_EXIT_OK
               : kd_ctl_no_memory(v->ctl);
}

static enum kd_exit ask_seal(struct verify *v, const struct kd_audit_seal *seal, bool *is_valid) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    kd_auto(json) json_t *body = json_object();
    kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
    enum kd_exit code;
    if ((code = put_seal(v, seal, body)) != KD_EXIT_OK ||
        (code = kd_ctl_key_path(v->ctl, seal->key, "mac-verify", &path)) != KD_EXIT_OK) {
        return code;
    }
    if (kd_rest_call(v->ctl->rest, "POST", kd_buf_get_text(&path), body, &a) != KD_OK) {
        return kd_ctl_fail(v->ctl, KD_EXIT_UNREACHABLE, "%s", kd_rest_failure(v->ctl->rest));
    }
    const bool is_problem = kd_rest_is_problem(a.status);
    if (is_problem && strcmp(kd_json_text(a.json, "type"), no_such_version) != 0) {
        return kd_ctl_problem(v->ctl, a.status, a.json);
    }
    *is_valid = !is_problem && json_is_true(json_object_get(a.json, "valid"));
    return KD_EXIT_OK;
}

// Only the key that keyd itself names: a line may name any.
static bool on_seal(void *arg, const struct kd_audit_at *at KD_UNUSED,
                    const struct kd_audit_seal *seal) {
    struct verify *v = arg;
    bool is_valid = false;
    if (v->is_offline || v->failed != KD_EXIT_OK) {
        return true;
    }
    if (strcmp(seal->key, v->key) != 0) {
        return false;
    }
    v->failed = ask_seal(v, seal, &is_valid);
    return v->failed != KD_EXIT_OK || is_valid;
}

// What keyd says before the files are read, so that all of it must be there.
static enum kd_exit ask_keyd(struct verify *v, struct kd_chain *known) {
    kd_auto(json) json_t *status = NULL;
    enum kd_exit code = kd_ctl_call(v->ctl, "GET", "/v1/audit", NULL, &status);
    if (code != KD_EXIT_OK) {
        return code == KD_EXIT_UNREACHABLE
                   ? kd_ctl_fail(v->ctl, code, "With --offline the chain alone is looked at.")
                   : code;
    }
    snprintf(v->key, sizeof(v->key), "%s", kd_json_text(status, "key"));
    known->seq = (uint64_t)kd_json_number(status, "seq");
    if (kd_hex_decode(kd_json_text(status, "head"), known->head, sizeof(known->head)) != KD_OK) {
        return kd_ctl_fail(v->ctl, KD_EXIT_REFUSED, "What keyd says of its log is not understood.");
    }
    return KD_EXIT_OK;
}

struct file {
    const char *path;
    uint64_t first;
};

static int by_number(const void *a, const void *b) {
    const struct file *x = a;
    const struct file *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

// In the order of their numbers; empty ones and what is no log are left for the check to blame.
static enum kd_exit sort_files(const struct kd_ctl *ctl, const char **out) {
    const size_t n = ctl->args->n_words;
    struct file *files = calloc(n, sizeof(*files));
    if (files == NULL) {
        return kd_ctl_no_memory(ctl);
    }
    enum kd_exit code = KD_EXIT_OK;
    for (size_t i = 0; i < n && code == KD_EXIT_OK; i++) {
        files[i].path = ctl->args->words[i];
        const enum kd_err r = kd_audit_first_seq(files[i].path, &files[i].first);
        if (r != KD_OK && r != KD_ERR_BAD_JSON) {
            code = kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s cannot be read.", files[i].path);
        }
    }
    qsort(files, n, sizeof(*files), by_number);
    for (size_t i = 0; i < n; i++) {
        out[i] = files[i].path;
    }
    free(files);
    return code;
}

static enum kd_exit print_result(const struct verify *v, const struct kd_audit_result *r) {
    const struct kd_ctl *ctl = v->ctl;
    if (ctl->json) {
        kd_auto(json) json_t *all = json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:b, s:O}", "lines", (json_int_t)r->lines, "first",
            (json_int_t)r->first, "last", (json_int_t)r->last, "seals", (json_int_t)r->seals,
            "sealed", (json_int_t)r->sealed, "seals_checked", !v->is_offline, "faults", v->faults);
        const enum kd_exit code = kd_ctl_print_json(ctl, all);
        return code != KD_EXIT_OK || r->faults == 0 ? code : KD_EXIT_NO;
    }
    fprintf(ctl->out, "%" PRIu64 " lines, %" PRIu64 " to %" PRIu64 ": %s", r->lines, r->first,
            r->last, r->faults == 0 ? "good" : "NOT GOOD");
    if (r->faults > 0) {
        fprintf(ctl->out, ", %" PRIu64 " faults", r->faults);
    }
    if (r->seals == 0) {
        fprintf(ctl->out, "; no seal\n");
    } else {
        fprintf(ctl->out, "; %" PRIu64 " seals%s, up to line %" PRIu64 "\n", r->seals,
                v->is_offline ? " (not looked at)" : " are keyd's", r->sealed);
    }
    return r->faults == 0 ? KD_EXIT_OK : KD_EXIT_NO;
}

static enum kd_exit verify(struct verify *v, const char **files) {
    struct kd_audit_checker checker = { .arg = v, .fault = on_fault, .seal = on_seal };
    struct kd_audit_result result;
    const char *at = NULL;
    enum kd_exit code = sort_files(v->ctl, files);
    if (code == KD_EXIT_OK && !v->is_offline) {
        code = ask_keyd(v, &checker.known);
    }
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (kd_audit_check(files, v->ctl->args->n_words, &checker, &result, &at) != KD_OK) {
        return kd_ctl_fail(v->ctl, KD_EXIT_USAGE, "%s cannot be read.", at == NULL ? "A file" : at);
    }
    return v->failed != KD_EXIT_OK ? v->failed : print_result(v, &result);
}

enum kd_exit kd_cmd_audit_verify(struct kd_ctl *ctl) {
    kd_auto(json) json_t *faults = json_array();
    struct verify v = { .ctl = ctl,
                        .is_offline = kd_args_has(ctl->args, "offline"),
                        .faults = faults };
    const char **files = calloc(ctl->args->n_words, sizeof(*files));
    if (files == NULL) {
        return kd_ctl_no_memory(ctl);
    }
    const enum kd_exit code = verify(&v, files);
    free(files);
    return code;
}
