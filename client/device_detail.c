// SPDX-License-Identifier: Apache-2.0
#include "client/device_detail.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name, *text;
} errors[] = {
    [KEYD_OK] = { "ok", "It is done." },
    [KEYD_ERR_ARGUMENT] = { "argument", "An argument is missing, or too long." },
    [KEYD_ERR_FILE] = { "file", "A file cannot be read, or its key or certificate not be used." },
    [KEYD_ERR_MEMORY] = { "memory",
                          "There is not enough memory, or too little may be locked (ulimit -l)." },
    [KEYD_ERR_TRANSPORT] = { "transport", "There is no connection to the server." },
    [KEYD_ERR_TIMEOUT] = { "timeout", "Nothing came in time." },
    [KEYD_ERR_BUSY] = { "busy", "The server is busy, or its token is away: try later." },
    [KEYD_ERR_REFUSED] = { "refused", "The server did not accept it." },
    [KEYD_ERR_SERVER] = { "server", "This is not the server that is known, or not its answer." },
    [KEYD_ERR_BACKEND] = { "backend", "The backend has not answered, or with an error." },
    [KEYD_ERR_EXPIRED] = { "expired", "The own certificate has expired." },
    [KEYD_ERR_DENIED] = { "denied", "The caller is not known, or may not do this." },
    [KEYD_ERR_MISSING] = { "missing", "What is named is not there." },
    [KEYD_ERR_STATE] = { "state", "What is named has not the state or type for this." },
};

static _Thread_local char detail[512];

const char *keyd_err_name(enum keyd_err err) {
    return (size_t)err < KD_COUNT_OF(errors) ? errors[err].name : "unknown";
}

const char *keyd_err_text(enum keyd_err err) {
    return (size_t)err < KD_COUNT_OF(errors) ? errors[err].text : "An unknown error.";
}

const char *keyd_detail(void) {
    return detail;
}

void kd_detail_begin(void) {
    detail[0] = '\0';
}

enum keyd_err kd_detail_end(enum keyd_err err) {
    if (err == KEYD_OK) {
        detail[0] = '\0'; // what failed on the way was healed
    } else if (detail[0] == '\0') {
        snprintf(detail, sizeof(detail), "%s", keyd_err_text(err));
    }
    return err;
}

enum keyd_err kd_detail_fail(enum keyd_err err, const char *format, ...) {
    if (detail[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(detail, sizeof(detail), format, args);
        va_end(args);
    }
    return err;
}
