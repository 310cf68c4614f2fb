// SPDX-License-Identifier: Apache-2.0
// cmd_records.c: keydctl handshake ..., session seal and session open: what a message server does
// with its devices' messages, by hand and from scripts.
#include "client/ctl.h"

#include <string.h>

enum { PATH_MAX_BYTES = 64, HANDSHAKE_ID_DIGITS = 16, LINES_MAX = 1024 };

// What is read goes to keyd as request[member].
static enum kd_exit call_with_input(struct kd_ctl *ctl, const char *path, const char *member,
                                    json_t *request, json_t **answer) {
    kd_auto(buf) struct kd_buf input = KD_BUF_INIT(KD_INPUT_MAX_BYTES + 1);
    enum kd_exit code;
    if (request == NULL) {
        return kd_ctl_no_memory(ctl);
    }
    if ((code = kd_ctl_read_input(ctl, &input)) != KD_EXIT_OK ||
        (code = kd_ctl_put_bytes(ctl, request, member, kd_buf_get(&input))) != KD_EXIT_OK) {
        return code;
    }
    return kd_ctl_call(ctl, "POST", path, request, answer);
}

// ---- handshake -------------------------------------------------------------

// The message for the peer is written, and what goes on with it is said beside.
static enum kd_exit tell_step(struct kd_ctl *ctl, const json_t *answer) {
    const json_t *session = json_object_get(answer, "session");
    if (!ctl->json && session != NULL) {
        fprintf(ctl->err, "session: %s peer: %s\n", kd_json_text(session, "session"),
                kd_json_text(session, "peer"));
    } else if (!ctl->json) {
        fprintf(ctl->err, "handshake: %s\n", kd_json_text(answer, "handshake"));
    }
    const bool has_message = json_object_get(answer, "message") != NULL;
    return ctl->json || has_message ? kd_ctl_write_member(ctl, answer, "message", false)
                                    : KD_EXIT_OK; // nothing is due to the peer
}

enum kd_exit kd_cmd_handshake_begin(struct kd_ctl *ctl) {
    kd_auto(json) json_t *request = json_object();
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = call_with_input(ctl, "/v1/handshakes", "message", request, &answer);
    return code == KD_EXIT_OK ? tell_step(ctl, answer) : code;
}

static enum kd_exit put_handshake_path(const struct kd_ctl *ctl, char path[static PATH_MAX_BYTES]) {
    const char *id = ctl->args->words[0];
    if (strlen(id) != HANDSHAKE_ID_DIGITS ||
        strspn(id, "0123456789abcdef") != HANDSHAKE_ID_DIGITS) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "\"%.80s\" is no id of a handshake; keydctl handshake begin says it.",
                           id);
    }
    snprintf(path, PATH_MAX_BYTES, "/v1/handshakes/%s", id);
    return KD_EXIT_OK;
}

enum kd_exit kd_cmd_handshake_step(struct kd_ctl *ctl) {
    kd_auto(json) json_t *request = json_object();
    kd_auto(json) json_t *answer = NULL;
    char path[PATH_MAX_BYTES];
    enum kd_exit code = put_handshake_path(ctl, path);
    if (code == KD_EXIT_OK) {
        code = call_with_input(ctl, path, "message", request, &answer);
    }
    return code == KD_EXIT_OK ? tell_step(ctl, answer) : code;
}

enum kd_exit kd_cmd_handshake_delete(struct kd_ctl *ctl) {
    kd_auto(json) json_t *none = NULL;
    char path[PATH_MAX_BYTES];
    const enum kd_exit code = put_handshake_path(ctl, path);
    return code == KD_EXIT_OK ? kd_ctl_call(ctl, "DELETE", path, NULL, &none) : code;
}

// ---- lines: a batch --------------------------------------------------------

// A record, which is a line of base64url, or a message for the session, which is one as it is.
static enum kd_exit add_line(const struct kd_ctl *ctl, const char *session, struct kd_bytes line,
                             json_t *items) {
    kd_auto(json) json_t *item = json_object();
    enum kd_exit code = KD_EXIT_OK;
    bool is_put;
    if (session != NULL) {
        code = kd_ctl_put_bytes(ctl, item, "data", line);
        is_put = json_object_set_new(item, "session", json_string(session)) == 0;
    } else {
        json_t *record = json_stringn((const char *)line.p, line.n);
        if (record == NULL) {
            return kd_ctl_fail(ctl, KD_EXIT_USAGE, "Line %zu is no record in base64url.",
                               json_array_size(items) + 1);
        }
        is_put = json_object_set_new(item, "record", record) == 0;
    }
    if (code != KD_EXIT_OK || !is_put || json_array_append(items, item) != 0) {
        return code != KD_EXIT_OK ? code : kd_ctl_no_memory(ctl);
    }
    return KD_EXIT_OK;
}

static enum kd_exit read_lines(const struct kd_ctl *ctl, const char *session, json_t *items) {
    kd_auto(buf) struct kd_buf input = KD_BUF_INIT(KD_INPUT_MAX_BYTES + 1);
    enum kd_exit code = kd_ctl_read_input(ctl, &input);
    struct kd_bytes left = kd_buf_get(&input);
    while (code == KD_EXIT_OK && left.n > 0) {
        const uint8_t *end = memchr(left.p, '\n', left.n);
        const size_t n = end == NULL ? left.n : (size_t)(end - left.p);
        if (json_array_size(items) == LINES_MAX) {
            return kd_ctl_fail(ctl, KD_EXIT_USAGE, "There are more than %d lines.", LINES_MAX);
        }
        code = add_line(ctl, session, (struct kd_bytes) { left.p, n }, items);
        const size_t used = end == NULL ? n : n + 1;
        left = (struct kd_bytes) { left.p + used, left.n - used };
    }
    return code != KD_EXIT_OK || json_array_size(items) > 0
               ? code
               : kd_ctl_fail(ctl, KD_EXIT_USAGE, "There are no lines.");
}

// A line for each, "-" where it was refused; why is said beside.
static enum kd_exit write_items(struct kd_ctl *ctl, const json_t *answer, bool is_seal) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(2 * KD_INPUT_MAX_BYTES);
    enum kd_exit refused = KD_EXIT_OK;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        const json_t *problem = json_object_get(item, "error");
        enum kd_exit code = KD_EXIT_OK;
        if (problem != NULL) {
            fprintf(ctl->err, "line %zu: ", i + 1);
            refused = kd_ctl_problem(ctl, (unsigned)kd_json_number(problem, "status"), problem);
            kd_buf_text(&out, "-");
        } else if (is_seal) {
            kd_buf_text(&out, kd_json_text(item, "record"));
        } else {
            code = kd_ctl_get_bytes(ctl, item, "data", &out);
        }
        if (code != KD_EXIT_OK) {
            return code;
        }
        kd_buf_u8(&out, '\n');
    }
    if (kd_buf_finish(&out) == KD_ERR_NO_MEMORY) {
        return kd_ctl_no_memory(ctl);
    }
    const enum kd_exit code = kd_ctl_write(ctl, kd_buf_get(&out), !is_seal);
    return code != KD_EXIT_OK ? code : refused;
}

static enum kd_exit run_lines(struct kd_ctl *ctl, const char *path, const char *session) {
    kd_auto(json) json_t *items = json_array();
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code = read_lines(ctl, session, items);
    if (code != KD_EXIT_OK) {
        return code;
    }
    kd_auto(json) json_t *request = json_pack("{s:O}", "items", items);
    code = kd_ctl_call(ctl, "POST", path, request, &answer);
    if (code != KD_EXIT_OK) {
        return code;
    }
    return ctl->json ? kd_ctl_print_json(ctl, answer) : write_items(ctl, answer, session != NULL);
}

// ---- session seal, open ----------------------------------------------------

enum kd_exit kd_cmd_session_seal(struct kd_ctl *ctl) {
    static const char path[] = "/v1/records/seal";
    const char *session = ctl->args->words[0];
    if (kd_args_has(ctl->args, "lines")) {
        return run_lines(ctl, path, session);
    }
    kd_auto(json) json_t *request = json_pack("{s:s}", "session", session);
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = call_with_input(ctl, path, "data", request, &answer);
    return code == KD_EXIT_OK ? kd_ctl_write_member(ctl, answer, "record", false) : code;
}

enum kd_exit kd_cmd_session_open(struct kd_ctl *ctl) {
    static const char path[] = "/v1/records/open";
    if (kd_args_has(ctl->args, "lines")) {
        return run_lines(ctl, path, NULL);
    }
    kd_auto(json) json_t *request = json_object();
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = call_with_input(ctl, path, "record", request, &answer);
    return code == KD_EXIT_OK ? kd_ctl_write_member(ctl, answer, "data", true) : code;
}
