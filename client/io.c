// SPDX-License-Identifier: Apache-2.0
// io.c: bounded reading, careful writing, and the forms of bytes.
#include "client/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 65536 };

static enum kd_err read_fd(int fd, size_t max_bytes, struct kd_buf *out) {
    char *chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    size_t total = 0;
    enum kd_err r = KD_OK;
    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK_BYTES);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            r = n == 0 ? KD_OK : kd_err_from_errno(errno);
            break;
        }
        total += (size_t)n;
        if (total > max_bytes) {
            r = KD_ERR_ITEM_TOO_LARGE;
            break;
        }
        kd_buf_put(out, chunk, (size_t)n);
    }
    kd_wipe(chunk, CHUNK_BYTES);
    free(chunk);
    return r != KD_OK ? r : kd_buf_finish(out);
}

enum kd_err kd_io_read(const char *path, size_t max_bytes, struct kd_buf *out) {
    if (path == NULL || strcmp(path, "-") == 0) {
        return read_fd(STDIN_FILENO, max_bytes, out);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return kd_err_from_errno(errno);
    }
    enum kd_err r = read_fd(fd, max_bytes, out);
    close(fd);
    return r;
}

static enum kd_err write_fd(int fd, struct kd_bytes data) {
    while (data.n > 0) {
        ssize_t n = write(fd, data.p, data.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return kd_err_from_errno(errno);
        }
        data.p += n;
        data.n -= (size_t)n;
    }
    return KD_OK;
}

static enum kd_err write_file(const char *path, int flags, mode_t mode, struct kd_bytes data) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | flags, mode);
    if (fd < 0) {
        return errno == EEXIST ? KD_ERR_KEY_EXISTS : kd_err_from_errno(errno);
    }
    enum kd_err r = write_fd(fd, data);
    if (close(fd) != 0 && r == KD_OK) {
        r = kd_err_from_errno(errno);
    }
    return r;
}

enum kd_err kd_io_write_new(const char *path, struct kd_bytes data, mode_t mode) {
    return write_file(path, O_EXCL, mode, data);
}

enum kd_err kd_io_write(const char *path, struct kd_bytes data) {
    return write_file(path, O_TRUNC, 0644, data); // certificates may be in such
}

// ---- forms -----------------------------------------------------------------

static const struct {
    const char *name;
    enum kd_form form;
} forms[] = {
    { "base64", KD_FORM_BASE64URL },
    { "hex", KD_FORM_HEX },
    { "raw", KD_FORM_RAW },
    { "der", KD_FORM_DER },
};

bool kd_form_parse(const char *name, enum kd_form *out) {
    for (size_t i = 0; i < KD_COUNT_OF(forms); i++) {
        if (strcmp(forms[i].name, name) == 0) {
            *out = forms[i].form;
            return true;
        }
    }
    return false;
}

static enum kd_err write_hex(struct kd_bytes data, struct kd_buf *out) {
    for (size_t i = 0; i < data.n; i++) {
        char digits[3];
        kd_hex_encode(data.p + i, 1, digits);
        kd_buf_text(out, digits);
    }
    kd_buf_u8(out, '\n');
    return kd_buf_finish(out);
}

enum kd_err kd_form_write(enum kd_form form, struct kd_bytes data, struct kd_buf *out) {
    switch (form) {
    case KD_FORM_BASE64URL:
        kd_b64_encode(out, data);
        kd_buf_u8(out, '\n');
        return kd_buf_finish(out);
    case KD_FORM_HEX:
        return write_hex(data, out);
    case KD_FORM_RAW:
    case KD_FORM_DER:
        kd_buf_put(out, data.p, data.n);
        return kd_buf_finish(out);
    }
    return KD_ERR_BUG;
}

static struct kd_bytes without_space_behind(struct kd_bytes text) {
    while (text.n > 0 && strchr(" \t\r\n", text.p[text.n - 1]) != NULL &&
           text.p[text.n - 1] != '\0') {
        text.n--;
    }
    return text;
}

static enum kd_err read_hex(struct kd_bytes text, struct kd_buf *out) {
    if (text.n % 2 != 0) {
        return KD_ERR_BAD_BASE64;
    }
    for (size_t i = 0; i < text.n; i += 2) {
        const char digits[3] = { (char)text.p[i], (char)text.p[i + 1], '\0' };
        uint8_t byte;
        if (kd_hex_decode(digits, &byte, 1) != KD_OK) {
            return KD_ERR_BAD_BASE64;
        }
        kd_buf_u8(out, byte);
    }
    return kd_buf_finish(out);
}

enum kd_err kd_form_read(enum kd_form form, struct kd_bytes text, struct kd_buf *out) {
    enum kd_err r;
    switch (form) {
    case KD_FORM_BASE64URL:
        r = kd_b64_decode(without_space_behind(text), out);
        return r != KD_OK ? r : kd_buf_finish(out);
    case KD_FORM_HEX:
        return read_hex(without_space_behind(text), out);
    case KD_FORM_RAW:
    case KD_FORM_DER:
        kd_buf_put(out, text.p, text.n);
        return kd_buf_finish(out);
    }
    return KD_ERR_BUG;
}
