// SPDX-License-Identifier: Apache-2.0
// problem.c: the one place where an error's class becomes an HTTP status.
#include "api/problem.h"

unsigned kd_problem_status(enum kd_err err) {
    switch (kd_err_class(err)) {
    case KD_CLASS_OK:
        return 200;
    case KD_CLASS_USAGE:
        return 400;
    case KD_CLASS_AUTH:
        return 401;
    case KD_CLASS_POLICY:
        return 403;
    case KD_CLASS_MISSING:
        return 404;
    case KD_CLASS_METHOD:
        return 405;
    case KD_CLASS_CONFLICT:
        return 409;
    case KD_CLASS_TOO_LARGE:
        return 413;
    case KD_CLASS_HEADER:
        return 431;
    case KD_CLASS_MEDIA:
        return 415;
    case KD_CLASS_REFUSED:
        return 422;
    case KD_CLASS_SYSTEM:
    case KD_CLASS_BUG:
        return 500;
    case KD_CLASS_LACKING:
        return 501;
    case KD_CLASS_TOKEN:
        return 502;
    case KD_CLASS_BUSY:
    case KD_CLASS_AWAY:
        return 503;
    case KD_CLASS_DEADLINE:
        return 504;
    }
    return 500;
}

void kd_problem_write(struct kd_buf *out, enum kd_err err, const char *detail, const char *field,
                      const char *request_id) {
    kd_problem_write_with(out, err, detail, field, request_id, "", KD_BYTES_NONE);
}

void kd_problem_write_with(struct kd_buf *out, enum kd_err err, const char *detail,
                           const char *field, const char *request_id, const char *name,
                           struct kd_bytes value) {
    kd_buf_text(out, "{\"type\":\"" KD_PROBLEM_TYPE);
    kd_buf_text(out, kd_err_name(err));
    kd_buf_text(out, "\",\"title\":");
    kd_json_put_text(out, kd_err_sentence(err));
    kd_buf_text(out, ",\"status\":");
    kd_json_put_number(out, kd_problem_status(err));
    if (detail[0] != '\0') {
        kd_buf_text(out, ",\"detail\":");
        kd_json_put_text(out, detail);
    }
    if (field[0] != '\0') {
        kd_buf_text(out, ",\"field\":");
        kd_json_put_text(out, field);
    }
    if (request_id[0] != '\0') {
        kd_buf_text(out, ",\"request_id\":");
        kd_json_put_text(out, request_id);
    }
    if (value.n > 0) {
        kd_json_member(out, name);
        kd_json_put_bytes(out, value);
    }
    kd_buf_u8(out, '}');
}
