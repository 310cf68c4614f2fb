// SPDX-License-Identifier: Apache-2.0
// service_json.c: JSON of libkeyd-service.  Requests are written by hand, as are the few
// members that are read from answers with a secret: what jansson copies, it does not wipe.
#include "client/service_state.h"

#include <string.h>

// ---- writing ---------------------------------------------------------------

void kd_service_put_name(struct kd_buf *b, const char *name) {
    if (b->err == KD_OK && b->n > 0 && b->p[b->n - 1] != '{') {
        kd_buf_u8(b, ',');
    }
    kd_buf_printf(b, "\"%s\":", name);
}

void kd_service_put_text(struct kd_buf *b, const char *name, const char *text) {
    kd_service_put_name(b, name);
    kd_buf_printf(b, "\"%s\"", text);
}

void kd_service_put_number(struct kd_buf *b, const char *name, uint64_t value) {
    kd_service_put_name(b, name);
    kd_buf_printf(b, "%llu", (unsigned long long)value);
}

void kd_service_put_bytes(struct kd_buf *b, const char *name, struct kd_bytes value) {
    kd_service_put_name(b, name);
    kd_buf_u8(b, '"');
    kd_b64_encode(b, value);
    kd_buf_u8(b, '"');
}

// ---- into the caller's memory ----------------------------------------------

bool kd_service_copy(struct kd_bytes from, struct keyd_room *out) {
    if (from.n > out->max) {
        return false;
    }
    if (from.n > 0) {
        memcpy(out->p, from.p, from.n);
    }
    out->n = from.n;
    return true;
}

bool kd_service_copy_text(struct kd_bytes from, size_t max, char *out) {
    out[0] = '\0';
    if (from.n >= max) {
        return false;
    }
    if (from.n > 0) {
        memcpy(out, from.p, from.n);
    }
    out[from.n] = '\0';
    return true;
}

static bool decode(struct kd_bytes text, struct keyd_room *out) {
    struct kd_buf b = { .p = out->p, .cap = out->max, .max = out->max };
    if (kd_b64_decode(text, &b) != KD_OK || kd_buf_finish(&b) != KD_OK) {
        return false;
    }
    out->n = b.n;
    return true;
}

// ---- reading ---------------------------------------------------------------

static struct kd_bytes string_of(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    return (struct kd_bytes) { (const uint8_t *)json_string_value(v), json_string_length(v) };
}

bool kd_service_get_text(const json_t *o, const char *name, size_t max, char *out) {
    const struct kd_bytes text = string_of(o, name);
    return text.p != NULL && kd_service_copy_text(text, max, out);
}

bool kd_service_get_number(const json_t *o, const char *name, uint64_t *out) {
    const json_t *v = json_object_get(o, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0) {
        return false;
    }
    *out = (uint64_t)json_integer_value(v);
    return true;
}

bool kd_service_get_bytes(const json_t *o, const char *name, struct keyd_room *out) {
    const struct kd_bytes text = string_of(o, name);
    return text.p != NULL && decode(text, out);
}

// ---- reading in place ------------------------------------------------------

static void skip_blanks(struct kd_reader *r) {
    while (r->n > 0 && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r')) {
        (void)kd_read_u8(r);
    }
}

static bool skip_mark(struct kd_reader *r, char mark) {
    skip_blanks(r);
    const bool is_there = r->n > 0 && *r->p == (uint8_t)mark;
    if (is_there) {
        (void)kd_read_u8(r);
    }
    return is_there;
}

// The inside of a string without escapes, which names and base64url have not.
static bool read_plain(struct kd_reader *r, struct kd_bytes *out) {
    if (!skip_mark(r, '"')) {
        return false;
    }
    out->p = r->p;
    for (out->n = 0; out->n < r->n && r->p[out->n] != '"'; out->n++) {
        if (r->p[out->n] == '\\' || r->p[out->n] < ' ') {
            return false;
        }
    }
    (void)kd_read_bytes(r, out->n);
    return skip_mark(r, '"');
}

static bool skip_number(struct kd_reader *r) {
    size_t n = 0;
    skip_blanks(r);
    for (; r->n > 0 && *r->p >= '0' && *r->p <= '9'; n++) {
        (void)kd_read_u8(r);
    }
    return n > 0;
}

// An object of strings and whole numbers, whatever their order; exactly one has the name.
bool kd_service_find_bytes(struct kd_bytes json, const char *name, struct keyd_room *out) {
    struct kd_reader r = kd_reader_of(json);
    struct kd_bytes found = KD_BYTES_NONE;
    bool is_found = false;
    bool good = skip_mark(&r, '{');
    for (bool more = good; more; more = skip_mark(&r, ',')) {
        struct kd_bytes member;
        struct kd_bytes text = KD_BYTES_NONE;
        good = read_plain(&r, &member) && skip_mark(&r, ':');
        const bool is_text = good && !skip_number(&r);
        good = good && (!is_text || read_plain(&r, &text));
        const bool is_it = good && kd_bytes_equal(member, kd_bytes_of_text(name));
        if (!good || (is_it && (is_found || !is_text))) {
            return false;
        }
        found = is_it ? text : found;
        is_found = is_found || is_it;
    }
    good = good && skip_mark(&r, '}');
    skip_blanks(&r);
    return good && r.n == 0 && is_found && decode(found, out);
}

// ---- what goes into paths --------------------------------------------------

bool kd_service_is_name(const char *name) {
    return name != NULL && kd_name_is_valid(kd_bytes_of_text(name));
}

bool kd_service_is_id(const char *id) {
    const size_t n = id == NULL ? 0 : strnlen(id, KEYD_ID_BYTES);
    return n > 0 && n < KEYD_ID_BYTES &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

enum keyd_err kd_service_path(const struct keyd_with *with, const char *operation,
                              char path[static KD_SERVICE_PATH_BYTES]) {
    struct kd_buf b = { .p = (uint8_t *)path,
                        .cap = KD_SERVICE_PATH_BYTES,
                        .max = KD_SERVICE_PATH_BYTES };
    if (with == NULL ||
        (with->key == NULL ? !kd_service_is_id(with->secret) : !kd_service_is_name(with->key))) {
        return kd_service_wrong("The name of a key, or the id of a secret,");
    }
    kd_buf_printf(&b, "/v1/%s/%s/%s", with->key == NULL ? "secrets" : "keys",
                  with->key == NULL ? with->secret : with->key, operation);
    kd_buf_u8(&b, 0);
    return kd_buf_finish(&b) == KD_OK ? KEYD_OK : kd_service_wrong("The name");
}
