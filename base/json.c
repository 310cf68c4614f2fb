// SPDX-License-Identifier: Apache-2.0
// json.c: one pass over the text, and one array of values.
#include "base/json.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_VALUES = 32, SPAN_MASK = (1 << 28) - 1 };

struct parser {
    struct kd_json_tree *tree;
    uint8_t *text;
    size_t n, at;
    size_t open[KD_JSON_DEPTH_MAX]; // places in the tree of the objects and arrays around
    size_t depth;
    bool is_fresh; // the innermost has just begun
    enum kd_err err;
};

// ---- failing ---------------------------------------------------------------

static bool fail(struct parser *p, const char *wrong) {
    p->err = KD_ERR_BAD_JSON;
    p->tree->wrong = p->at < p->n ? wrong : "The text ends too early";
    p->tree->at = p->at + 1;
    return false;
}

static bool fail_syntax(struct parser *p) {
    return fail(p, "Not valid JSON");
}

// ---- characters ------------------------------------------------------------

static uint8_t peek(const struct parser *p) {
    return p->at < p->n ? p->text[p->at] : 0;
}

static void skip_blanks(struct parser *p) {
    uint8_t c;
    while (p->at < p->n && ((c = p->text[p->at]) == ' ' || c == '\n' || c == '\r' || c == '\t')) {
        p->at++;
    }
}

static bool skip(struct parser *p, uint8_t c) {
    if (p->at < p->n && p->text[p->at] == c) {
        p->at++;
        return true;
    }
    return false;
}

static size_t skip_digits(struct parser *p) {
    const size_t start = p->at;
    while (peek(p) >= '0' && peek(p) <= '9') {
        p->at++;
    }
    return p->at - start;
}

// ---- values ----------------------------------------------------------------

static struct kd_json *innermost(const struct parser *p) {
    return p->depth == 0 ? NULL : &p->tree->root[p->open[p->depth - 1]];
}

// NULL: it has failed.  What was returned before may have moved.
static struct kd_json *add(struct parser *p, enum kd_json_type type) {
    struct kd_json_tree *t = p->tree;
    if (t->n == (t->max == 0 ? KD_JSON_VALUES_MAX : t->max)) {
        (void)fail(p, "Too many values");
        return NULL;
    }
    if (t->n == t->cap) {
        const size_t cap = t->cap == 0 ? FIRST_VALUES : t->cap * 2;
        struct kd_json *more = realloc(t->root, cap * sizeof(*more));
        if (more == NULL) {
            p->err = KD_ERR_NO_MEMORY;
            return NULL;
        }
        t->root = more;
        t->cap = cap;
    }
    struct kd_json *v = &t->root[t->n++];
    *v = (struct kd_json) { .type = type, .span = 1 };
    return v;
}

static bool read_word(struct parser *p, const char *word, enum kd_json_type type) {
    for (; *word != '\0'; word++) {
        if (!skip(p, (uint8_t)*word)) {
            return fail_syntax(p);
        }
    }
    return add(p, type) != NULL;
}

// Its digits; false: it is beyond 64 bits.
static bool to_integer(const uint8_t *p, const uint8_t *end, int64_t *out) {
    const bool is_negative = *p == '-';
    int64_t value = 0;
    for (p += is_negative ? 1 : 0; p < end; p++) {
        const int digit = *p - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) { // downwards, as there is one more
            return false;
        }
    }
    *out = value;
    return is_negative || !__builtin_sub_overflow(0, value, out);
}

static bool read_number(struct parser *p) {
    const size_t start = p->at;
    (void)skip(p, '-');
    if (!skip(p, '0') && skip_digits(p) == 0) {
        return fail_syntax(p);
    }
    const size_t end = p->at;
    if (skip(p, '.') && skip_digits(p) == 0) {
        return fail_syntax(p);
    }
    if (skip(p, 'e') || skip(p, 'E')) {
        (void)(skip(p, '+') || skip(p, '-'));
        if (skip_digits(p) == 0) {
            return fail_syntax(p);
        }
    }
    int64_t integer = 0;
    const bool fits = p->at == end && to_integer(p->text + start, p->text + end, &integer);
    struct kd_json *v = add(p, fits ? KD_JSON_INTEGER : KD_JSON_REAL);
    if (v != NULL) {
        v->integer = integer;
    }
    return v != NULL;
}

// ---- strings ---------------------------------------------------------------

static uint64_t all(uint8_t c) {
    return c * UINT64_C(0x0101010101010101);
}

// The top bit of some byte of v is set where one of them is 0 (and of none else but bytes after
// it).
static uint64_t has_zero(uint64_t v) {
    return (v - all(1)) & ~v & all(0x80);
}

// To the first byte that is not ASCII, a control character, '"' or '\\'.  What it passes over may
// be a plaintext in base64, so it neither looks it up nor branches on it.
static size_t plain_length(const uint8_t *p, size_t n) {
    size_t i = 0;
    for (uint64_t v; n - i >= sizeof(v); i += sizeof(v)) {
        memcpy(&v, p + i, sizeof(v));
        if (((v | (v - all(0x20))) & all(0x80)) != 0 || has_zero(v ^ all('"')) != 0 ||
            has_zero(v ^ all('\\')) != 0) {
            break;
        }
    }
    while (i < n && p[i] >= 0x20 && p[i] < 0x80 && p[i] != '"' && p[i] != '\\') {
        i++;
    }
    return i;
}

static bool read_hex(struct parser *p, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++) {
        const uint8_t c = peek(p);
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            return fail_syntax(p);
        }
        *out = *out << 4 | (uint32_t)digit;
        p->at++;
    }
    return true;
}

static uint8_t *put_utf8(uint8_t *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (uint8_t)c;
    } else if (c < 0x800) {
        *to++ = (uint8_t)(0xc0 | c >> 6);
        *to++ = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        if (c < 0x10000) {
            *to++ = (uint8_t)(0xe0 | c >> 12);
        } else {
            *to++ = (uint8_t)(0xf0 | c >> 18);
            *to++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        }
        *to++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    return to;
}

// RFC 8259 section 7: behind "\u".  Halves of a pair must stand together.
static bool read_unicode(struct parser *p, uint8_t **to) {
    uint32_t c;
    uint32_t low = 0xdc00;
    if (!read_hex(p, &c)) {
        return false;
    }
    const bool is_pair = c >= 0xd800 && c < 0xdc00;
    if (is_pair && (!skip(p, '\\') || !skip(p, 'u') || !read_hex(p, &low))) {
        return p->err != KD_OK ? false : fail_syntax(p);
    }
    if (c == 0 || (c >= 0xdc00 && c < 0xe000) || low < 0xdc00 || low >= 0xe000) {
        p->at--; // its last digit
        return c == 0 ? fail(p, "A string has a NUL character") : fail_syntax(p);
    }
    *to = put_utf8(*to, is_pair ? 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00)) : c);
    return true;
}

static bool read_escape(struct parser *p, uint8_t **to) {
    static const char written[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";
    const uint8_t c = peek(p);
    const char *found = c == 0 ? NULL : strchr(written, c);
    if (found == NULL && c != 'u') {
        return fail_syntax(p);
    }
    p->at++;
    if (found == NULL) {
        return read_unicode(p, to);
    }
    *(*to)++ = (uint8_t)meant[found - written];
    return true;
}

// What is read is never shorter than what is written, so it never catches up.
static bool read_string(struct parser *p) {
    if (!skip(p, '"')) {
        return fail_syntax(p);
    }
    const size_t start = p->at;
    uint8_t *to = p->text + start;
    for (;;) {
        uint8_t *from = p->text + p->at;
        size_t n = plain_length(from, p->n - p->at);
        if (n == 0 && p->at < p->n && *from >= 0x80) {
            n = kd_utf8_length((struct kd_bytes) { from, p->n - p->at });
        }
        if (n > 0) {
            if (to != from) {
                memmove(to, from, n);
            }
            to += n;
            p->at += n;
        } else if (skip(p, '"')) {
            break;
        } else if (!skip(p, '\\')) {
            return fail_syntax(p);
        } else if (!read_escape(p, &to)) {
            return false;
        }
    }
    *to = '\0'; // at the latest on the mark
    struct kd_json *v = add(p, KD_JSON_STRING);
    if (v == NULL) {
        return false;
    }
    v->text = (const char *)p->text + start;
    v->n = (uint32_t)(to - (p->text + start));
    return true;
}

// ---- objects and arrays ----------------------------------------------------

// Without its value; the one that was added last.
static bool is_repeated(const struct parser *p, const struct kd_json *object) {
    const struct kd_json *last = &p->tree->root[p->tree->n - 1];
    for (const struct kd_json *at = object + 1; at != last; at = kd_json_next(at + 1)) {
        if (at->n == last->n && strcmp(at->text, last->text) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_name(struct parser *p) {
    skip_blanks(p);
    const size_t start = p->at;
    if (!read_string(p)) {
        return false;
    }
    const struct kd_json *object = innermost(p);
    if (object->n == KD_JSON_MEMBERS_MAX || is_repeated(p, object)) {
        p->at = start;
        return fail(p, object->n == KD_JSON_MEMBERS_MAX ? "An object has too many members"
                                                        : "A member is repeated");
    }
    skip_blanks(p);
    return skip(p, ':') || fail_syntax(p);
}

static bool open_one(struct parser *p, enum kd_json_type type) {
    if (p->depth == KD_JSON_DEPTH_MAX) {
        return fail(p, "Nested too deeply");
    }
    if (add(p, type) == NULL) {
        return false;
    }
    p->at++;
    p->open[p->depth++] = p->tree->n - 1;
    p->is_fresh = true;
    return true;
}

static bool read_value(struct parser *p) {
    p->is_fresh = false;
    skip_blanks(p);
    switch (peek(p)) {
    case '{':
        return open_one(p, KD_JSON_OBJECT);
    case '[':
        return open_one(p, KD_JSON_ARRAY);
    case '"':
        return read_string(p);
    case 't':
        return read_word(p, "true", KD_JSON_TRUE);
    case 'f':
        return read_word(p, "false", KD_JSON_FALSE);
    case 'n':
        return read_word(p, "null", KD_JSON_NULL);
    default:
        return read_number(p);
    }
}

// Ends what ends after a value.  True: another is due in what is left.
static bool goes_on(struct parser *p) {
    struct kd_json *v;
    while ((v = innermost(p)) != NULL) {
        v->n += p->is_fresh ? 0 : 1;
        skip_blanks(p);
        if (skip(p, v->type == KD_JSON_OBJECT ? '}' : ']')) {
            v->span = (p->tree->n - p->open[--p->depth]) & SPAN_MASK;
            p->is_fresh = false;
        } else {
            return p->is_fresh || skip(p, ',') || fail_syntax(p);
        }
    }
    return false;
}

enum kd_err kd_json_read(struct kd_json_tree *t, struct kd_buf *text) {
    struct parser p = { .tree = t, .text = text->p, .n = text->n };
    bool is_good;
    t->n = 0;
    do {
        const struct kd_json *around = innermost(&p);
        is_good = (!kd_json_is(around, KD_JSON_OBJECT) || read_name(&p)) && read_value(&p);
    } while (is_good && goes_on(&p));
    skip_blanks(&p);
    if (p.err == KD_OK && p.at < p.n) {
        (void)fail_syntax(&p);
    }
    return p.err;
}

void kd_json_wipe(struct kd_json_tree *t) {
    free(t->root);
    *t = KD_JSON_TREE_INIT;
}

// ---- what was read ---------------------------------------------------------

const struct kd_json *kd_json_get(const struct kd_json *object, const char *name) {
    if (!kd_json_is(object, KD_JSON_OBJECT)) {
        return NULL;
    }
    for (const struct kd_json *at = kd_json_first(object); at != kd_json_end(object);
         at = kd_json_next(at + 1)) {
        if (strcmp(at->text, name) == 0) {
            return at + 1;
        }
    }
    return NULL;
}

const char *kd_json_string(const struct kd_json *v) {
    return kd_json_is(v, KD_JSON_STRING) ? v->text : NULL;
}
