// SPDX-License-Identifier: Apache-2.0
// cbor.c: the strict codec.  read_head is the one place where bytes become an
// item; skip walks over a whole item and holds the order of map keys.
#include "base/cbor.h"

#include "base/text.h"

enum {
    MAJOR_UINT,
    MAJOR_NINT,
    MAJOR_BYTES,
    MAJOR_TEXT,
    MAJOR_ARRAY,
    MAJOR_MAP,
    MAJOR_TAG,
    MAJOR_SIMPLE,
};

enum {
    INFO_ONE_BYTE = 24,
    INFO_EIGHT_BYTES = 27,
    INFO_INDEFINITE = 31,
    SIMPLE_FALSE = 20,
    SIMPLE_TRUE = 21,
    SIMPLE_NULL = 22,
};

struct kd_cbor kd_cbor_of(struct kd_bytes b) {
    return (struct kd_cbor) {
        .in = kd_reader_of(b),
        .err = b.n > KD_CBOR_MAX_BYTES ? KD_ERR_ITEM_TOO_LARGE : KD_OK,
    };
}

void kd_cbor_fail(struct kd_cbor *c, enum kd_err e) {
    if (c->err == KD_OK) {
        c->err = e;
    }
}

bool kd_cbor_has_more(const struct kd_cbor *c) {
    return c->err == KD_OK && c->in.n > 0;
}

static enum kd_cbor_type type_of_simple(uint64_t value) {
    return value == SIMPLE_FALSE  ? KD_CBOR_FALSE
           : value == SIMPLE_TRUE ? KD_CBOR_TRUE
                                  : KD_CBOR_NULL;
}

// The types follow the major types; only the simple values need a look.
static enum kd_cbor_type type_of(unsigned major, uint64_t value) {
    return major == MAJOR_SIMPLE ? type_of_simple(value) : (enum kd_cbor_type)major;
}

bool kd_cbor_is_next(const struct kd_cbor *c, enum kd_cbor_type type) {
    if (!kd_cbor_has_more(c)) {
        return false;
    }
    unsigned major = c->in.p[0] >> 5;
    unsigned info = c->in.p[0] & 31u;
    if (major == MAJOR_SIMPLE && (info < SIMPLE_FALSE || info > SIMPLE_NULL)) {
        return false;
    }
    return type_of(major, info) == type;
}

// ---- one head --------------------------------------------------------------

static uint64_t read_number(struct kd_reader *in, unsigned info) {
    switch (info) {
    case INFO_ONE_BYTE:
        return kd_read_u8(in);
    case INFO_ONE_BYTE + 1:
        return kd_read_u16(in);
    case INFO_ONE_BYTE + 2:
        return kd_read_u32(in);
    default:
        return kd_read_u64(in);
    }
}

// RFC 8949 4.2.1: the argument is as short as possible.
static bool is_shortest(unsigned info, uint64_t value) {
    switch (info) {
    case INFO_ONE_BYTE:
        return value >= INFO_ONE_BYTE;
    case INFO_ONE_BYTE + 1:
        return value > UINT8_MAX;
    case INFO_ONE_BYTE + 2:
        return value > UINT16_MAX;
    default:
        return value > UINT32_MAX;
    }
}

static enum kd_err check_simple(unsigned info) {
    if (info > INFO_ONE_BYTE && info <= INFO_EIGHT_BYTES) {
        return KD_ERR_CBOR_FLOAT;
    }
    return info >= SIMPLE_FALSE && info <= SIMPLE_NULL ? KD_OK : KD_ERR_CBOR_SIMPLE;
}

// The argument of a head whose first byte has been read.
static uint64_t read_argument(struct kd_cbor *c, unsigned major, unsigned info) {
    if (info == INFO_INDEFINITE) {
        kd_cbor_fail(c, KD_ERR_CBOR_INDEFINITE);
        return 0;
    }
    if (info > INFO_EIGHT_BYTES) {
        kd_cbor_fail(c, KD_ERR_CBOR_RESERVED);
        return 0;
    }
    if (major == MAJOR_SIMPLE) {
        kd_cbor_fail(c, check_simple(info));
        return info;
    }
    uint64_t value = read_number(&c->in, info);
    if (c->in.failed) {
        kd_cbor_fail(c, KD_ERR_CBOR_TRUNCATED);
    } else if (!is_shortest(info, value)) {
        kd_cbor_fail(c, KD_ERR_CBOR_NOT_SHORTEST);
    }
    return value;
}

static bool is_utf8(struct kd_bytes text) {
    while (text.n > 0) {
        const size_t n = *text.p < 0x80 ? 1 : kd_utf8_length(text); // most are ASCII
        if (n == 0) {
            return false;
        }
        text = (struct kd_bytes) { text.p + n, text.n - n };
    }
    return true;
}

// What a head promises must be able to follow: n bytes, or n items of at least
// one byte each.
static bool is_there(const struct kd_cbor *c, unsigned major, uint64_t value) {
    switch (major) {
    case MAJOR_BYTES:
    case MAJOR_TEXT:
    case MAJOR_ARRAY:
        return value <= c->in.n;
    case MAJOR_MAP:
        return value <= c->in.n / 2;
    case MAJOR_TAG:
        return c->in.n > 0;
    default:
        return true;
    }
}

// Of bytes that are there.
static const uint8_t *take(struct kd_cbor *c, size_t n) {
    const uint8_t *at = c->in.p;
    c->in.p += n;
    c->in.n -= n;
    return at;
}

// False after a failure.
static bool read_head(struct kd_cbor *c, struct kd_cbor_item *out) {
    if (c->err != KD_OK || c->in.n == 0) {
        kd_cbor_fail(c, KD_ERR_CBOR_TRUNCATED);
        return false;
    }
    const uint8_t first = *take(c, 1);
    const unsigned major = first >> 5;
    const unsigned info = first & 31u;
    const bool is_short = info < INFO_ONE_BYTE && major != MAJOR_SIMPLE; // most are
    const uint64_t value = is_short ? info : read_argument(c, major, info);
    if (c->err == KD_OK && !is_there(c, major, value)) {
        kd_cbor_fail(c, KD_ERR_CBOR_TRUNCATED);
    }
    if (c->err != KD_OK) {
        return false;
    }
    const bool has_bytes = major == MAJOR_BYTES || major == MAJOR_TEXT;
    *out = (struct kd_cbor_item) { .type = type_of(major, value), .value = value };
    if (has_bytes) {
        out->bytes = (struct kd_bytes) { take(c, (size_t)value), (size_t)value };
    }
    if (major == MAJOR_TEXT && !is_utf8(out->bytes)) {
        kd_cbor_fail(c, KD_ERR_CBOR_UTF8);
        return false;
    }
    return true;
}

// ---- whole items -----------------------------------------------------------

// Public data, so time does not matter: below 0, 0 or above 0 as a is before,
// equal to or after b in bytewise lexicographic order (RFC 8949 4.2.1).
static int compare(struct kd_bytes a, struct kd_bytes b) {
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        if (a.p[i] != b.p[i]) {
            return a.p[i] < b.p[i] ? -1 : 1;
        }
    }
    return a.n == b.n ? 0 : a.n < b.n ? -1 : 1;
}

static struct kd_bytes skip(struct kd_cbor *c, unsigned depth);

static void skip_pairs(struct kd_cbor *c, uint64_t n, unsigned depth) {
    struct kd_bytes last = KD_BYTES_NONE;
    for (uint64_t i = 0; i < n && c->err == KD_OK; i++) {
        struct kd_bytes key = skip(c, depth);
        int order = compare(last, key);
        if (order >= 0) {
            kd_cbor_fail(c, order == 0 ? KD_ERR_CBOR_MAP_DUPLICATE : KD_ERR_CBOR_MAP_ORDER);
        }
        last = key;
        skip(c, depth);
    }
}

// `depth` more levels are allowed.  The recursion ends with it.
static struct kd_bytes skip(struct kd_cbor *c, unsigned depth) {
    const uint8_t *start = c->in.p;
    size_t before = c->in.n;
    struct kd_cbor_item item = { .type = KD_CBOR_NULL };
    (void)read_head(c, &item);
    bool holds = item.type == KD_CBOR_ARRAY || item.type == KD_CBOR_MAP || item.type == KD_CBOR_TAG;
    if (holds && depth == 0) {
        kd_cbor_fail(c, KD_ERR_CBOR_DEPTH);
    } else if (item.type == KD_CBOR_MAP) {
        skip_pairs(c, item.value, depth - 1);
    } else if (holds) {
        uint64_t n = item.type == KD_CBOR_TAG ? 1 : item.value;
        for (uint64_t i = 0; i < n && c->err == KD_OK; i++) {
            skip(c, depth - 1);
        }
    }
    return c->err == KD_OK ? (struct kd_bytes) { start, before - c->in.n } : KD_BYTES_NONE;
}

struct kd_bytes kd_cbor_read_whole(struct kd_cbor *c) {
    return skip(c, KD_CBOR_MAX_DEPTH);
}

struct kd_cbor_item kd_cbor_next(struct kd_cbor *c) {
    if (kd_cbor_is_next(c, KD_CBOR_MAP)) {
        struct kd_cbor ahead = *c;
        skip(&ahead, KD_CBOR_MAX_DEPTH);
        kd_cbor_fail(c, ahead.err);
    }
    struct kd_cbor_item item;
    return read_head(c, &item) ? item : (struct kd_cbor_item) { .type = KD_CBOR_NULL };
}

// ---- one type --------------------------------------------------------------

// False, and nothing in `out`, after a failure.
static bool read_type(struct kd_cbor *c, enum kd_cbor_type type, struct kd_cbor_item *out) {
    if (type == KD_CBOR_MAP) {
        *out = kd_cbor_next(c);
    } else {
        (void)read_head(c, out);
    }
    if (c->err == KD_OK && out->type != type) {
        kd_cbor_fail(c, KD_ERR_CBOR_TYPE);
    }
    return c->err == KD_OK;
}

static uint64_t read_value(struct kd_cbor *c, enum kd_cbor_type type) {
    struct kd_cbor_item item;
    return read_type(c, type, &item) ? item.value : 0;
}

// The way of most numbers and strings: a head of one byte, or with two or four bytes of argument.
// False, and nothing is read: the general way reads it or says what is wrong.
static inline bool read_usual_head(struct kd_cbor *c, unsigned major, size_t *value) {
    const uint8_t *p = c->in.p;
    if (c->err != KD_OK || c->in.n < 1 || *p >> 5 != major) {
        return false;
    }
    const unsigned info = *p & 31u;
    size_t n_head = 1;
    size_t n = info;
    if (info == INFO_ONE_BYTE + 1 && c->in.n >= 3) {
        n_head = 3;
        n = (size_t)p[1] << 8 | p[2];
    } else if (info == INFO_ONE_BYTE + 2 && c->in.n >= 5) {
        n_head = 5;
        n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    } else if (info >= INFO_ONE_BYTE) {
        return false;
    }
    if ((n_head > 1 && !is_shortest(info, n)) || (major != MAJOR_UINT && n > c->in.n - n_head)) {
        return false;
    }
    (void)take(c, n_head);
    *value = n;
    return true;
}

uint64_t kd_cbor_read_uint(struct kd_cbor *c) {
    size_t value;
    return read_usual_head(c, MAJOR_UINT, &value) ? value : read_value(c, KD_CBOR_UINT);
}

static struct kd_bytes read_string(struct kd_cbor *c, enum kd_cbor_type type) {
    struct kd_cbor_item item;
    return read_type(c, type, &item) ? item.bytes : KD_BYTES_NONE;
}

struct kd_bytes kd_cbor_read_bytes(struct kd_cbor *c) {
    size_t n;
    return read_usual_head(c, MAJOR_BYTES, &n) ? (struct kd_bytes) { take(c, n), n }
                                               : read_string(c, KD_CBOR_BYTES);
}

struct kd_bytes kd_cbor_read_text(struct kd_cbor *c) {
    size_t n;
    if (!read_usual_head(c, MAJOR_TEXT, &n)) {
        return read_string(c, KD_CBOR_TEXT);
    }
    const struct kd_bytes text = { take(c, n), n };
    if (is_utf8(text)) {
        return text;
    }
    kd_cbor_fail(c, KD_ERR_CBOR_UTF8);
    return KD_BYTES_NONE;
}

int64_t kd_cbor_read_int(struct kd_cbor *c) {
    struct kd_cbor_item item = kd_cbor_next(c);
    if (c->err != KD_OK) {
        return 0;
    }
    if (item.type != KD_CBOR_UINT && item.type != KD_CBOR_NINT) {
        kd_cbor_fail(c, KD_ERR_CBOR_TYPE);
        return 0;
    }
    if (item.value > INT64_MAX) {
        kd_cbor_fail(c, KD_ERR_CBOR_RANGE);
        return 0;
    }
    return item.type == KD_CBOR_UINT ? (int64_t)item.value : -1 - (int64_t)item.value;
}

size_t kd_cbor_read_array(struct kd_cbor *c) {
    return (size_t)read_value(c, KD_CBOR_ARRAY);
}

size_t kd_cbor_read_map(struct kd_cbor *c) {
    return (size_t)read_value(c, KD_CBOR_MAP);
}

uint64_t kd_cbor_read_tag(struct kd_cbor *c) {
    return read_value(c, KD_CBOR_TAG);
}

bool kd_cbor_read_bool(struct kd_cbor *c) {
    struct kd_cbor_item item = kd_cbor_next(c);
    if (c->err == KD_OK && item.type != KD_CBOR_TRUE && item.type != KD_CBOR_FALSE) {
        kd_cbor_fail(c, KD_ERR_CBOR_TYPE);
    }
    return c->err == KD_OK && item.type == KD_CBOR_TRUE;
}

void kd_cbor_read_null(struct kd_cbor *c) {
    (void)read_value(c, KD_CBOR_NULL);
}

enum kd_err kd_cbor_finish(const struct kd_cbor *c) {
    if (c->err != KD_OK) {
        return c->err;
    }
    return c->in.n == 0 ? KD_OK : KD_ERR_CBOR_TRAILING;
}

enum kd_err kd_cbor_check(struct kd_bytes b) {
    struct kd_cbor c = kd_cbor_of(b);
    (void)kd_cbor_read_whole(&c);
    return kd_cbor_finish(&c);
}

// ---- writing ---------------------------------------------------------------

size_t kd_cbor_head_bytes(uint64_t value) {
    return value < INFO_ONE_BYTE ? 1
           : value <= UINT8_MAX  ? 2
           : value <= UINT16_MAX ? 3
           : value <= UINT32_MAX ? 5
                                 : 9;
}

static unsigned info_of(size_t n_head, uint64_t value) {
    switch (n_head) {
    case 1:
        return (unsigned)value;
    case 2:
        return INFO_ONE_BYTE;
    case 3:
        return INFO_ONE_BYTE + 1;
    case 5:
        return INFO_ONE_BYTE + 2;
    default:
        return INFO_EIGHT_BYTES;
    }
}

static void put_head(struct kd_buf *b, unsigned major, uint64_t value) {
    const size_t n = kd_cbor_head_bytes(value);
    uint8_t *at = kd_buf_extend(b, n);
    if (at == NULL) {
        return;
    }
    at[0] = (uint8_t)(major << 5 | info_of(n, value));
    for (size_t i = n - 1; i > 0; i--) {
        at[i] = (uint8_t)value;
        value >>= 8;
    }
}

void kd_cbor_put_uint(struct kd_buf *b, uint64_t v) {
    put_head(b, MAJOR_UINT, v);
}

void kd_cbor_put_int(struct kd_buf *b, int64_t v) {
    if (v >= 0) {
        put_head(b, MAJOR_UINT, (uint64_t)v);
        return;
    }
    put_head(b, MAJOR_NINT, (uint64_t)(-1 - v));
}

void kd_cbor_put_bytes_head(struct kd_buf *b, size_t n) {
    put_head(b, MAJOR_BYTES, n);
}

void kd_cbor_put_bytes(struct kd_buf *b, struct kd_bytes v) {
    put_head(b, MAJOR_BYTES, v.n);
    kd_buf_put(b, v.p, v.n);
}

static void put_text(struct kd_buf *b, struct kd_bytes v) {
    put_head(b, MAJOR_TEXT, v.n);
    kd_buf_put(b, v.p, v.n);
}

void kd_cbor_put_text(struct kd_buf *b, const char *text) {
    put_text(b, kd_bytes_of_text(text));
}

void kd_cbor_put_array(struct kd_buf *b, size_t n_items) {
    put_head(b, MAJOR_ARRAY, n_items);
}

void kd_cbor_put_map(struct kd_buf *b, size_t n_pairs) {
    put_head(b, MAJOR_MAP, n_pairs);
}

void kd_cbor_put_tag(struct kd_buf *b, uint64_t tag) {
    put_head(b, MAJOR_TAG, tag);
}

void kd_cbor_put_bool(struct kd_buf *b, bool v) {
    put_head(b, MAJOR_SIMPLE, v ? SIMPLE_TRUE : SIMPLE_FALSE);
}

void kd_cbor_put_null(struct kd_buf *b) {
    put_head(b, MAJOR_SIMPLE, SIMPLE_NULL);
}

void kd_cbor_put_item(struct kd_buf *b, const struct kd_cbor_item *item) {
    switch (item->type) {
    case KD_CBOR_UINT:
    case KD_CBOR_NINT:
    case KD_CBOR_ARRAY:
    case KD_CBOR_MAP:
    case KD_CBOR_TAG:
        put_head(b, (unsigned)item->type, item->value);
        return;
    case KD_CBOR_BYTES:
        kd_cbor_put_bytes(b, item->bytes);
        return;
    case KD_CBOR_TEXT:
        put_text(b, item->bytes);
        return;
    case KD_CBOR_FALSE:
    case KD_CBOR_TRUE:
        kd_cbor_put_bool(b, item->type == KD_CBOR_TRUE);
        return;
    case KD_CBOR_NULL:
        kd_cbor_put_null(b);
        return;
    }
}
