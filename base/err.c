// SPDX-License-Identifier: Apache-2.0
// err.c: names and classes of errors, and what errno is among them.
#include "base/err.h"

#include "base/err_list.h"

#include <errno.h>
#include <stdint.h>

#define NAME(error, name, class, sentence) [error] = (name),
static const char *const names[KD_ERR_COUNT] = { KD_ERR_LIST(NAME) };

#define CLASS(error, name, class, sentence) [error] = (class),
static const uint8_t classes[KD_ERR_COUNT] = { KD_ERR_LIST(CLASS) };

static size_t row_of(enum kd_err e) {
    return kd_err_is_known((unsigned)e) ? (size_t)e : KD_ERR_BUG;
}

const char *kd_err_name(enum kd_err e) {
    return names[row_of(e)];
}

enum kd_err_class kd_err_class(enum kd_err e) {
    return (enum kd_err_class)classes[row_of(e)];
}

bool kd_err_is_known(unsigned value) {
    return value < KD_ERR_COUNT;
}

enum kd_err kd_err_from_errno(int errnum) {
    switch (errnum) {
    case ENOMEM:
        return KD_ERR_NO_MEMORY;
    case ENOENT:
        return KD_ERR_NO_FILE;
    default:
        return KD_ERR_SYSTEM;
    }
}
