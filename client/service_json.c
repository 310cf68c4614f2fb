// SPDX-License-Identifier: Apache-2.0
// service_json.c: JSON of libkeyd-service.  Requests are written by hand, and answers read in the
// place where they came: what jansson copies, it does not wipe.  What nobody asks for is passed
// over, and not judged but for its strings and brackets.
#include "client/service_state.h"

#include <string.h>
#include <time.h>

enum { DEPTH_MAX = 16, NUMBER_BYTES = 24, TIME_BYTES = 32 };

// ---- writing ---------------------------------------------------------------

void kd_service_put_name(struct kd_buf *b, const char *name) {
    if (b->err == KD_OK && b->n > 0 && b->p[b->n - 1] != '{') {
        kd_buf_u8(b, ',');
    }
    kd_buf_printf(b, "\"%s\":", name);
}

void kd_service_put_text(struct kd_buf *b, const char *name, const char *text) {
    kd_service_put_name(b, name);
    kd_buf_u8(b, '"');
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ') {
            kd_buf_printf(b, "\\u%04x", (unsigned char)*p);
        } else {
            kd_buf_u8(b, (uint8_t)*p);
        }
    }
    kd_buf_u8(b, '"');
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

void kd_service_put_point(struct kd_buf *b, const char *name, const uint8_t *point, size_t n) {
    kd_service_put_name(b, name);
    kd_buf_u8(b, '{');
    kd_service_put_text(b, "kty", "EC");
    kd_service_put_text(b, "crv", n == 48 ? "P-384" : "P-256");
    kd_service_put_bytes(b, "x", (struct kd_bytes) { point + 1, n });
    kd_service_put_bytes(b, "y", (struct kd_bytes) { point + 1 + n, n });
    kd_buf_u8(b, '}');
}

void kd_service_put_given(struct kd_buf *b, const char *name, struct keyd_bytes value) {
    if (value.n > 0) {
        kd_service_put_bytes(b, name, kd_service_bytes(value));
    }
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

bool kd_service_get_bytes(const json_t *o, const char *name, struct keyd_room *out) {
    const json_t *v = json_object_get(o, name);
    const char *text = json_string_value(v);
    return text != NULL && decode(kd_bytes_of_text(text), out);
}

// ---- passing over ----------------------------------------------------------

static void skip_blanks(struct kd_reader *r) {
    while (r->n > 0 && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r')) {
        (void)kd_read_u8(r);
    }
}

static char peek(struct kd_reader *r) {
    skip_blanks(r);
    return (char)(r->n == 0 ? '\0' : *r->p);
}

static bool skip_mark(struct kd_reader *r, char mark) {
    const bool is_there = peek(r) == mark && r->n > 0;
    if (is_there) {
        (void)kd_read_u8(r);
    }
    return is_there;
}

// The inside of a string as it is written.
static bool read_string(struct kd_reader *r, struct kd_bytes *out) {
    if (!skip_mark(r, '"')) {
        return false;
    }
    size_t n = 0;
    while (n < r->n && r->p[n] != '"') {
        if (r->p[n] < ' ') {
            return false;
        }
        n += r->p[n] == '\\' ? 2 : 1;
    }
    if (n >= r->n) {
        return false;
    }
    *out = kd_read_bytes(r, n);
    (void)kd_read_u8(r);
    return true;
}

// A number, true, false or null.
static bool skip_plain(struct kd_reader *r) {
    size_t n = 0;
    while (r->n > 0 && *r->p != '\0' &&
           strchr("abcdefghijklmnopqrstuvwxyzE0123456789+-.", *r->p) != NULL) {
        (void)kd_read_u8(r);
        n++;
    }
    return n > 0;
}

static bool skip_value(struct kd_reader *r) {
    char closers[DEPTH_MAX];
    size_t n = 0;
    do {
        const char c = peek(r);
        struct kd_bytes inside;
        if (n > 0 && (c == closers[n - 1] || c == ',' || c == ':')) {
            n -= c == closers[n - 1] ? 1 : 0;
            (void)kd_read_u8(r);
        } else if (n < DEPTH_MAX && (c == '{' || c == '[')) {
            closers[n++] = c == '{' ? '}' : ']';
            (void)kd_read_u8(r);
        } else if (c == '"' ? !read_string(r, &inside) : !skip_plain(r)) {
            return false;
        }
    } while (n > 0);
    return true;
}

static bool read_value(struct kd_reader *r, struct kd_bytes *out) {
    skip_blanks(r);
    const struct kd_reader start = *r;
    if (!skip_value(r)) {
        return false;
    }
    *out = (struct kd_bytes) { start.p, start.n - r->n };
    return true;
}

static bool is_at_end(struct kd_reader *r) {
    return peek(r) == '\0' && r->n == 0;
}

// ---- values ----------------------------------------------------------------

// The last of the members with the name, and how many there are.
static bool scan(struct kd_bytes json, const char *name, struct kd_bytes *value, size_t *n) {
    struct kd_reader r = kd_reader_of(json);
    bool good = skip_mark(&r, '{');
    *n = 0;
    for (bool more = good; more; more = skip_mark(&r, ',')) {
        struct kd_bytes member;
        struct kd_bytes v;
        if (!read_string(&r, &member) || !skip_mark(&r, ':') || !read_value(&r, &v)) {
            return false;
        }
        if (kd_bytes_equal(member, kd_bytes_of_text(name))) {
            *value = v;
            (*n)++;
        }
    }
    return good && skip_mark(&r, '}') && is_at_end(&r);
}

bool kd_service_find(struct kd_bytes json, const char *name, struct kd_bytes *value) {
    size_t n = 0;
    return scan(json, name, value, &n) && n == 1;
}

// Without its quotes.
static bool inside_of(struct kd_bytes value, struct kd_bytes *out) {
    if (value.n < 2 || value.p[0] != '"') {
        return false;
    }
    *out = (struct kd_bytes) { value.p + 1, value.n - 2 };
    return true;
}

// Of the escapes those that keyd writes in what is read as text.
static bool unescape(struct kd_bytes from, struct keyd_room *out) {
    char *to = out->p;
    size_t n = 0;
    for (size_t i = 0; i < from.n; i++, n++) {
        char c = (char)from.p[i];
        if (c == '\\' && ++i < from.n) {
            c = (char)from.p[i];
            if (c != 'n' && c != '"' && c != '\\' && c != '/') {
                return false;
            }
            c = (char)(c == 'n' ? '\n' : c);
        }
        if (n >= out->max) {
            return false;
        }
        to[n] = c;
    }
    out->n = n;
    return true;
}

static bool text_of(struct kd_bytes value, struct keyd_room *out) {
    struct kd_bytes text;
    return inside_of(value, &text) && unescape(text, out);
}

static bool word_of(struct kd_bytes value, size_t max, char *out) {
    struct keyd_room room = { .p = out, .max = max - 1 };
    if (!text_of(value, &room)) {
        return false;
    }
    out[room.n] = '\0';
    return true;
}

static bool number_of(struct kd_bytes value, uint64_t max, uint64_t *out) {
    char digits[NUMBER_BYTES];
    return kd_service_copy_text(value, sizeof(digits), digits) &&
           kd_number_parse(digits, 0, max, out) == KD_OK;
}

static bool is_word(struct kd_bytes value, const char *word) {
    return kd_bytes_equal(value, kd_bytes_of_text(word));
}

// RFC 3339 in UTC; seconds, which the fraction is not needed for.
static bool time_of(struct kd_bytes value, uint64_t *out) {
    char text[TIME_BYTES];
    struct tm parts = { .tm_year = 0 };
    if (!word_of(value, sizeof(text), text)) {
        return false;
    }
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    const time_t seconds = rest == NULL ? -1 : timegm(&parts);
    if (seconds < 0) {
        return false;
    }
    rest += *rest == '.' ? 1 + strspn(rest + 1, "0123456789") : 0;
    *out = (uint64_t)seconds;
    return strcmp(rest, "Z") == 0;
}

static bool bytes_of(struct kd_bytes value, struct keyd_room *out) {
    struct kd_bytes text;
    return inside_of(value, &text) && decode(text, out);
}

static bool fixed_of(struct kd_bytes value, uint8_t *out, size_t n) {
    struct keyd_room room = { .p = out, .max = n };
    return bytes_of(value, &room) && room.n == n;
}

// ---- members ---------------------------------------------------------------

bool kd_service_find_text(struct kd_bytes json, const char *name, struct keyd_room *out) {
    struct kd_bytes v;
    return kd_service_find(json, name, &v) && text_of(v, out);
}

bool kd_service_find_word(struct kd_bytes json, const char *name, size_t max, char *out) {
    struct kd_bytes v;
    return kd_service_find(json, name, &v) && word_of(v, max, out);
}

bool kd_service_find_number(struct kd_bytes json, const char *name, uint64_t *out) {
    struct kd_bytes v;
    return kd_service_find(json, name, &v) && number_of(v, UINT64_MAX, out);
}

bool kd_service_find_bytes(struct kd_bytes json, const char *name, struct keyd_room *out) {
    struct kd_bytes v;
    return kd_service_find(json, name, &v) && bytes_of(v, out);
}

bool kd_service_find_fixed(struct kd_bytes json, const char *name, uint8_t *out, size_t n) {
    struct kd_bytes v;
    return kd_service_find(json, name, &v) && fixed_of(v, out, n);
}

bool kd_service_find_point(struct kd_bytes json, const char *name,
                           uint8_t point[static KEYD_POINT_MAX], size_t *n_point) {
    struct kd_bytes jwk;
    char curve[8];
    if (!kd_service_find(json, name, &jwk) ||
        !kd_service_find_word(jwk, "crv", sizeof(curve), curve)) {
        return false;
    }
    const size_t n = strcmp(curve, "P-384") == 0 ? 48 : 32;
    if (!kd_service_find_fixed(jwk, "x", point + 1, n) ||
        !kd_service_find_fixed(jwk, "y", point + 1 + n, n)) {
        return false;
    }
    point[0] = KD_SERVICE_POINT_FORM;
    *n_point = 1 + 2 * n;
    return true;
}

bool kd_service_each(struct kd_bytes json, kd_service_element_fn *take, void *arg, size_t *n) {
    struct kd_reader r = kd_reader_of(json);
    bool good = skip_mark(&r, '[');
    *n = 0;
    for (bool more = good && peek(&r) != ']'; more; more = skip_mark(&r, ',')) {
        struct kd_bytes element;
        if (!read_value(&r, &element) || !take(arg, *n, element)) {
            return false;
        }
        (*n)++;
    }
    return good && skip_mark(&r, ']') && is_at_end(&r);
}

// ---- into a struct ---------------------------------------------------------

// Numbers of C, whatever their width.
static bool store(uint64_t value, void *at, size_t size) {
    const unsigned narrow = (unsigned)value;
    if (size == sizeof(value)) {
        memcpy(at, &value, size);
        return true;
    }
    memcpy(at, &narrow, sizeof(narrow));
    return narrow == value;
}

static bool read_enum(struct kd_bytes value, const struct kd_service_field *f, void *at) {
    struct kd_bytes word;
    for (size_t i = 0; i < f->n_words && inside_of(value, &word); i++) {
        if (is_word(word, f->words[i])) {
            return store(i, at, f->size);
        }
    }
    return false;
}

static bool read_field(struct kd_bytes value, const struct kd_service_field *f, void *at) {
    uint64_t number = 0;
    switch (f->kind) {
    case KD_SERVICE_TEXT:
        return word_of(value, f->size, at);
    case KD_SERVICE_NUMBER:
        return number_of(value, UINT64_MAX, &number) && store(number, at, f->size);
    case KD_SERVICE_TIME:
        return time_of(value, &number) && store(number, at, f->size);
    case KD_SERVICE_FLAG:
        return (is_word(value, "true") || is_word(value, "false")) &&
               store(is_word(value, "true"), at, f->size);
    case KD_SERVICE_ENUM:
        return read_enum(value, f, at);
    case KD_SERVICE_BYTES:
        return fixed_of(value, at, f->size);
    }
    return false;
}

bool kd_service_read(struct kd_bytes json, const struct kd_service_field *fields, size_t n,
                     void *out) {
    for (size_t i = 0; i < n; i++) {
        const struct kd_service_field *f = &fields[i];
        struct kd_bytes value = KD_BYTES_NONE;
        size_t n_found = 0;
        if (!scan(json, f->name, &value, &n_found) || n_found > 1) {
            return false;
        }
        const bool is_missing = n_found == 0 || is_word(value, "null");
        if (is_missing ? !f->is_optional : !read_field(value, f, (uint8_t *)out + f->at)) {
            return false;
        }
    }
    return true;
}
